"""Searching a file or folder with an importer, so that an error in one costs only that one."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from data.errors import ItemError, Reason, Stage, UnexpectedItemError
from data.motion_records import Unforeseen
from data.records import Rejection
from data.video.sources import path_item_id

MAX_FOUND: Final = 250_000
"""Files of a folder, or motions of a file: what is found in a worker comes over in one piece."""


@dataclass(frozen=True, slots=True)
class Search:
    """A file or folder that is yet to be looked into; that is a worker's task, see :meth:`run`.

    Attributes:
        path: of the file or folder.
        find: the importer, a function that can be pickled; errors of
            :class:`~data.errors.ItemError` are rejections of the path.
        size_bytes: of the file, for the time limit.
    """

    path: Path
    find: Callable[[Path], Iterable[Any]]
    size_bytes: int = 0

    @classmethod
    def of(cls, path: Path, find: Callable[[Path], Iterable[Any]]) -> "Search":
        """The search of a file, whose size is looked up."""
        return cls(path, find, size_of(path))

    def run(self) -> list[Any]:
        """What is found there; a rejection alone where that is too much."""
        found = list(itertools.islice(find_in(self.path, self.find), MAX_FOUND + 1))
        if len(found) <= MAX_FOUND:
            return found
        error = ItemError(
            Reason.TOO_LARGE,
            f"expected at most {MAX_FOUND} files or motions in {self.path}, found more.",
            "Split it, and name the parts (the folders in a folder) as sources of their own.",
        )
        return [rejected(path_item_id(self.path), str(self.path), error)]


FoundItem = TypeVar("FoundItem")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where they cannot be told: whoever opens it says what is wrong."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def find_in(
    path: Path, find: Callable[[Path], Iterable[FoundItem]]
) -> Iterator[FoundItem | Rejection | Unforeseen]:
    """What an importer finds in a file or folder; an error there costs only that one.

    Args:
        path: the file or folder.
        find: the importer; errors of :class:`~data.errors.ItemError` are rejections of the path.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        item = os.fsencode(path).decode("utf-8", "backslashreplace")
        error = ItemError(
            Reason.UNREADABLE, "expected a name in UTF-8, found other bytes.", "Rename the file."
        )
        yield rejected(path_item_id(path), item, error)
        return
    try:
        yield from find(path)
    except ItemError as error:
        yield rejected(path_item_id(path), str(path), error)
    except OSError as error:
        problem = ItemError(
            Reason.UNREADABLE,
            f"expected to read {path}, found: {error.strerror or error}.",
            "Correct the path or its permissions, and check the disk.",
        )
        yield rejected(path_item_id(path), str(path), problem)
    except MemoryError:
        # The worker's affair: it says what to do.
        raise
    except Exception as error:  # noqa: BLE001 - becomes a rejection, and is logged
        yield Unforeseen(path_item_id(path), str(path), UnexpectedItemError.of(error))


def rejected(item_id: str, item: str, error: ItemError) -> Rejection:
    """The rejection of something that an importer cannot use."""
    return Rejection.of(item_id, item, Stage.IMPORT, error)
