"""Search the sources of an import in worker processes.

Listing a folder and searching one of its files are separate worker calls with limits on time and
memory, so that no untrusted file or folder can block the importing process or exhaust its memory.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data.errors import ItemError, Reason
from data.importers.listing import list_files, list_motions, run_search
from data.importers.search import Search, find_in, rejected
from data.motion_records import Found, Pending, Unforeseen
from data.records import Annotation, Rejection
from data.store.manifest import MANIFEST, DatasetError
from data.synthetic.activities import find_procedural, parse_procedural
from data.video.sources import path_item_id
from data.workers.workers import Workers

SEARCHED_TOGETHER: Final = 256
"""Number of files that are searched in parallel while their results keep their order. The results
of all of them may have to wait for the first file."""

FindMotions = Callable[[Path], Found]
FoundItem = Pending | Annotation | Rejection | Unforeseen


def find_motions(path: Path) -> Found:
    """Find the motions of a file or folder in this process.

    Args:
        path: a BVH or NumPy file, an archive of such files, or a folder of them;
            ``procedural:COUNT`` or ``procedural:COUNT:SEED`` for synthetic motions.

    Raises:
        ItemError: the path is no such source.
    """
    synthetic = parse_procedural(str(path))
    if synthetic is not None:
        yield from find_procedural(*synthetic)
        return
    for search in list_motions(path):
        yield from search.run()


def search_sources(
    sources: Iterable[str],
    workers: Workers,
    find_in_dataset: FindMotions | None = None,
    ended: Mapping[str, Rejection] | None = None,
) -> Iterator[FoundItem]:
    """Find the motions and plans of all sources, in an order independent of the workers.

    Args:
        sources: sources of :func:`find_motions`, files of plans, and annotated video datasets.
        workers: worker processes that search files and folders.
        find_in_dataset: finds the motions of annotated video datasets.
        ended: rejections of earlier searches that are not repeated, by ``item_id``.

    Raises:
        data.workers.unexpected.UnexpectedErrorsError: too many unexpected errors.
    """
    for source in sources:
        path = Path(source)
        synthetic = parse_procedural(source)
        if synthetic is not None:
            yield from find_procedural(*synthetic)
        elif find_in_dataset is not None and _is_dataset(path):
            yield from find_in(path, partial(_in_dataset, find_in_dataset))
        else:
            listed = list(_search([Search(path, list_files)], workers, ended or {}))
            yield from (item for item in listed if not isinstance(item, Search))
            files = [item for item in listed if isinstance(item, Search)]
            yield from _search(files, workers, ended or {})


def _search(
    searches: Iterable[Search], workers: Workers, ended: Mapping[str, Rejection]
) -> Iterator[Any]:
    """Yield the results of searches in the order of the searches."""
    waiting = iter(searches)
    while group := list(itertools.islice(waiting, SEARCHED_TOGETHER)):
        found: dict[int, list[Any]] = {}
        numbered: list[tuple[int, Search]] = []
        for number, search in enumerate(group):
            # The search failed in an earlier run and is repeated only on request.
            rejection = ended.get(path_item_id(search.path)) if ended else None
            if rejection is None:
                numbered.append((number, search))
            else:
                found[number] = [rejection]
        results = workers.run(
            run_search, numbered, size_bytes=_size_bytes, name=_name, stage="search"
        )
        turn = 0
        for (number, search), result in results:
            found[number] = [_ended(search, result)] if isinstance(result, ItemError) else result
            while turn in found:
                yield from found.pop(turn)
                turn += 1
        for number in sorted(found):
            yield from found.pop(number)


def _size_bytes(numbered: tuple[int, Search]) -> int:
    return numbered[1].size_bytes


def _name(numbered: tuple[int, Search]) -> str:
    return str(numbered[1].path)


def _ended(search: Search, error: ItemError) -> Rejection:
    return rejected(path_item_id(search.path), str(search.path), error)


def _is_dataset(path: Path) -> bool:
    try:
        return (path / MANIFEST).is_file()
    except OSError:
        return False


def _in_dataset(find: FindMotions, path: Path) -> Found:
    try:
        yield from find(path)
    except (DatasetError, pa.ArrowException, OSError, JSONDecodeError) as error:
        raise ItemError(
            Reason.UNREADABLE,
            f"expected the tables of a dataset in {path}, found: {error}.",
            "Copy the dataset again, or annotate its videos into a new one.",
        ) from error
