"""Find the videos that a user names by files, folders, globs, addresses and lists."""

import csv
import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import ItemError, Reason, Stage
from data.records import Rejection
from data.remote.addresses import S3Address, is_address, is_s3, name_of, parse_s3, without_secrets
from data.remote.errors import RemoteError
from data.remote.objects import list_objects
from data.remote.web import SCHEME
from data.video.files import is_utf8, require_file

VIDEO_EXTENSIONS: Final = frozenset(
    {
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".gif",
        ".ivf",
        ".m1v",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".nut",
        ".obu",
        ".ogm",
        ".ogv",
        ".qt",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    }
)
LIST_EXTENSIONS: Final = frozenset({".txt", ".csv", ".parquet"})
PATH_COLUMNS: Final = ("path", "video")

_SHOWN_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class RemoteVideo:
    """A video that is not on this machine.

    Attributes:
        address: ``s3://…`` or ``https://…``.
        size_bytes: its size, if it is known without a download.
        modified_ns: time of its last change, ns since 1970, if it is known.
    """

    address: str
    size_bytes: int | None = None
    modified_ns: int | None = None

    @property
    def item(self) -> str:
        """The address without what may be secret in it; rows and messages show it."""
        return without_secrets(self.address)

    @property
    def item_id(self) -> str:
        """The ``item_id`` of the video if it cannot be downloaded."""
        return _item_id(self.address)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Result of :func:`discover_videos`.

    Attributes:
        files: absolute paths of regular files, sorted; each real file once.
        rejections: sources and files with video names that cannot be used, sorted by item.
        usable_ids: ``item_id`` of lists, folders and globs that contributed files. Rejections of
            them by an earlier run, when they were missing or empty, no longer apply.
        remote: videos that are not on this machine, sorted by address.
    """

    files: tuple[Path, ...]
    rejections: tuple[Rejection, ...]
    usable_ids: frozenset[str] = frozenset()
    remote: tuple[RemoteVideo, ...] = ()


def shortened(names: Sequence[str]) -> str:
    """The first names of a list and, if it is longer, their total number; for messages."""
    shown = ", ".join(names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} … ({len(names)} in all)"


def path_item_id(path: Path) -> str:
    """The ``item_id`` of a file whose content cannot be hashed. It depends only on the path."""
    return _item_id(str(path.absolute()))


def discover_videos(sources: Sequence[str], recursive: bool = True) -> Discovery:
    """Find the video files of all sources.

    Args:
        sources: files, folders, globs (``**`` matches nested folders), addresses (``https://`` of a
            file, ``s3://`` of an object or a prefix), and lists of these: ``.txt``
            (one per line, ``#`` starts a comment line), ``.csv`` or ``.parquet`` (a column ``path``
            or ``video``; paths are relative to the list). In folders, and for globs without a fixed
            extension, only files with a video extension count.
        recursive: whether to search nested folders.

    Returns:
        Files and rejections, independent of the order of the sources.

    Raises:
        ValueError: a source is empty, or a list cannot be read.
    """
    search = _Search(recursive)
    for source in sources:
        if not source.strip():
            raise ValueError("sources: expected a path, found an empty text. Remedy: remove it.")
        search.add(source, Path.cwd(), may_be_list=True)
    return search.result()


class _Search:
    """Collects the files and rejections of the sources."""

    def __init__(self, recursive: bool) -> None:
        self._recursive = recursive
        self._paths: set[Path] = set()
        self._rejections: dict[str, Rejection] = {}
        self._usable: set[str] = set()
        self._remote: dict[str, RemoteVideo] = {}

    def result(self) -> Discovery:
        files: dict[str, Path] = {}
        for path in sorted(self._paths):
            if not is_utf8(path):
                self._reject_name(path)
                continue
            try:
                require_file(path)
            except ItemError as error:
                self._reject(str(path), error)
                continue
            files.setdefault(os.path.realpath(path), path)
        rejections = sorted(self._rejections.values(), key=lambda rejection: rejection.item)
        return Discovery(
            tuple(files.values()),
            tuple(rejections),
            frozenset(_item_id(item) for item in self._usable.difference(self._rejections)),
            tuple(self._remote[address] for address in sorted(self._remote)),
        )

    def add(self, source: str, base: Path, *, may_be_list: bool) -> None:
        """Add a source; relative paths are resolved against the folder ``base``."""
        if is_address(source):
            self._add_address(source.strip())
            return
        path = base / Path(source).expanduser()
        mode = _mode(path)
        if mode is None and glob.has_magic(source):
            self._add_glob(source, path)
        elif may_be_list and path.suffix.lower() in LIST_EXTENSIONS and not _is_folder(mode):
            for entry, where in _read_list(path):
                if entry.strip():
                    self._usable.add(where)
                    self.add(entry, path.parent, may_be_list=False)
                else:
                    self._reject_not_found(where, "a path", "an empty cell", "Fill in the path.")
        elif _is_folder(mode) and not _is_video_name(path):
            if self._add_folder(path):
                self._usable.add(str(path))
            else:
                self._reject_not_found(
                    str(path),
                    "video files in the folder",
                    "none",
                    "Check the folder; name files with unusual extensions individually.",
                )
        else:
            self._paths.add(path)

    def _add_folder(self, folder: Path) -> bool:
        """Add the videos in a folder. Return whether there were any candidates."""
        num_candidates = 0
        visited: set[str] = set()

        def unreadable(error: OSError) -> None:
            nonlocal num_candidates
            num_candidates += 1
            self._reject_unreadable(error)

        for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
            # Symbolic links can form a loop, so no folder is visited twice.
            real = os.path.realpath(parent)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            path = Path(parent)
            if path != folder:
                self._usable.add(parent)
            candidates = [name for name in (*names, *folders) if _is_video_name(Path(name))]
            self._paths.update(path / name for name in candidates)
            num_candidates += len(candidates)
            folders[:] = sorted(
                name
                for name in folders
                if self._recursive and name not in candidates and not name.startswith(".")
            )
        return num_candidates > 0

    def _add_glob(self, source: str, pattern: Path) -> None:
        takes_any = not glob.has_magic(pattern.suffix) and pattern.suffix != ""
        found = [Path(name) for name in glob.iglob(str(pattern), recursive=True)]  # noqa: PTH207
        files = [path for path in found if _is_video_name(path) or not path.is_dir()]
        matches = [path for path in files if takes_any or _is_video_name(path)]
        self._paths.update(matches)
        if matches:
            self._usable.add(source)
        else:
            self._reject_not_found(
                source, "a pattern that matches video files", "no match", "Correct the pattern."
            )

    def _reject(self, item: str, error: ItemError) -> None:
        self._rejections[item] = Rejection.of(_item_id(item), item, Stage.INGEST, error)

    def _reject_not_found(self, item: str, expected: str, found: str, remedy: str) -> None:
        detail = f"{item}: expected {expected}, found {found}."
        self._reject(item, ItemError(Reason.NOT_FOUND, detail, remedy))

    def _reject_unreadable(self, error: OSError) -> None:
        item = str(error.filename)
        detail = f"{item}: expected a readable folder, found: {error.strerror}."
        remedy = "Give this user the right to read the folder."
        self._reject(item, ItemError(Reason.UNREADABLE, detail, remedy))

    def _reject_name(self, path: Path) -> None:
        item = os.fsencode(path).decode("utf-8", "backslashreplace")
        detail = f"{item}: expected a file name in UTF-8, found other bytes."
        self._reject(item, ItemError(Reason.UNREADABLE, detail, "Rename the file."))

    def _add_address(self, source: str) -> None:
        try:
            if is_s3(source):
                self._add_objects(source)
            elif source.startswith(f"{SCHEME}://"):
                self._remote[source] = RemoteVideo(source)
            else:
                self._reject_not_found(
                    without_secrets(source),
                    "a path, or an address https:// or s3://",
                    "another address",
                    "Download the video, or mount the storage.",
                )
        except (RemoteError, ValueError) as error:
            detail, _, remedy = str(error).partition(" Remedy: ")
            item = "an address" if isinstance(error, ValueError) else without_secrets(source)
            self._reject(item, ItemError(Reason.NOT_FOUND, detail, remedy or "Correct it."))

    def _add_objects(self, source: str) -> None:
        """Add an object, or the objects with video names below a prefix."""
        address = parse_s3(source)
        is_video = _is_video_name(Path(name_of(source)))
        found = 0
        for one in list_objects(address if is_video else address.child("")):
            below = one.key.removeprefix(f"{address.key}/" if address.key else "")
            if is_video and one.key != address.key:
                continue
            if not is_video and (not _is_video_name(Path(below)) or not self._takes(below)):
                continue
            modified_ns = int(one.modified.timestamp() * 1e9)
            video = RemoteVideo(
                str(S3Address(address.bucket, one.key)), one.size_bytes, modified_ns
            )
            self._remote[video.address] = video
            found += 1
        if found:
            self._usable.add(source)
        else:
            self._reject_not_found(
                source, "a video, or a prefix with videos", "none", "Correct the address."
            )

    def _takes(self, below: str) -> bool:
        """Whether an object below a prefix is searched, like a file below a folder."""
        folders = below.split("/")[:-1]
        return not any(name.startswith(".") for name in folders) and (
            self._recursive or not folders
        )


def _item_id(item: str) -> str:
    return f"path-{hashlib.sha256(os.fsencode(item)).hexdigest()[:16]}"


def _mode(path: Path) -> int | None:
    """The ``st_mode`` of a path; None if it cannot be read."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _is_folder(mode: int | None) -> bool:
    return mode is not None and stat.S_ISDIR(mode)


def _is_video_name(path: Path) -> bool:
    # macOS creates a hidden file ._clip.mp4, which is not a video, next to clip.mp4.
    return path.suffix.lower() in VIDEO_EXTENSIONS and not path.name.startswith(".")


def _read_list(path: Path) -> list[tuple[str, str]]:
    """Read the entries of a list, each with its location for messages.

    Raises:
        ValueError: the list cannot be read, has no path column, or no entry.
    """
    readers = {".txt": _read_txt, ".csv": _read_csv, ".parquet": _read_parquet}
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no regular file")
        entries = readers[path.suffix.lower()](path)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(
            f"{path}: expected a readable list of video paths, found: {found}. "
            "Remedy: correct the list or its path."
        ) from error
    if not entries:
        raise ValueError(
            f"{path}: expected at least one video path, found none. "
            "Remedy: add paths, or remove the list."
        )
    return entries


def _read_txt(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [
        (line.strip(), f"{path} line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _read_csv(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        column = _path_column(reader.fieldnames or ())
        return _with_rows(path, (row[column] for row in reader))


def _read_parquet(path: Path) -> list[tuple[str, str]]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        column = _path_column(file.schema_arrow.names)
        return _with_rows(path, file.read(columns=[column])[column].to_pylist())


def _path_column(names: Iterable[str]) -> str:
    names = list(names)
    for column in PATH_COLUMNS:
        if column in names:
            return column
    expected = " or ".join(f"`{column}`" for column in PATH_COLUMNS)
    raise ValueError(f"no column {expected} among {', '.join(names) or 'no columns'}")


def _with_rows(path: Path, cells: Iterable[object]) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    for number, cell in enumerate(cells, start=1):
        if cell is not None and not isinstance(cell, str):
            raise ValueError(f"{type(cell).__name__} instead of text in row {number}")
        entries.append((cell or "", f"{path} row {number}"))
    return entries
