"""List the files of a source together with their importers.

For a source without new files, workers run only this module. It therefore imports neither torch nor
pandas, which take seconds to load.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from data.errors import ItemError, Reason
from data.importers.arrays import find_npy, find_npz
from data.importers.bvh import find_bvh, find_bvh_in_zip
from data.importers.humanml3d import is_humanml3d, list_humanml3d
from data.importers.plans import find_plans
from data.importers.search import Search
from data.motion_records import Found

_IN_FOLDERS: Final[Mapping[str, Callable[[Path], Found]]] = {
    ".bvh": find_bvh,
    ".npy": find_npy,
    ".npz": find_npz,
}
_NAMED: Final[Mapping[str, Callable[[Path], Found]]] = {**_IN_FOLDERS, ".zip": find_bvh_in_zip}
PLAN_FILES: Final = (".txt", ".json")
"""Suffixes of files of plans."""


def list_motions(path: Path) -> Iterator[Search]:
    """List the files of a source that may hold motions.

    Args:
        path: a BVH or NumPy file, an archive of such files, or a folder of them.

    Raises:
        ItemError: the path is no such source.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise ItemError(Reason.NOT_FOUND, f"expected {path}, found nothing.", "Correct the path.")
    if path.is_dir() and is_humanml3d(path):
        yield from list_humanml3d(path)
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _IN_FOLDERS)
        if not files:
            raise ItemError(
                Reason.WRONG_FORM,
                f"expected motions in {path}, found no .bvh, .npy or .npz.",
                "Name files or folders that hold motions.",
            )
        for file in files:
            yield Search.of(file, _IN_FOLDERS[file.suffix.lower()])
    elif suffix in _NAMED:
        yield Search.of(path, _NAMED[suffix])
    else:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected .bvh, .zip, .npy, .npz, .txt, .json or a folder, found {path.name}.",
            "Name files or folders that hold motions.",
        )


def list_files(path: Path) -> Iterator[Search]:
    """List the files of a source that may hold motions or plans.

    Args:
        path: a source of :func:`list_motions`, or a file of plans.

    Raises:
        ItemError: the path is no such source.
    """
    if path.suffix.lower() in PLAN_FILES and path.exists() and not path.is_dir():
        yield Search.of(path, find_plans)
    else:
        yield from list_motions(path)


def run_search(numbered: tuple[int, Search]) -> list[Any]:
    """Run a search; its number lets the caller restore the order."""
    return numbered[1].run()
