"""Search a file or folder with an importer; an error affects only that file or folder."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from data.errors import ItemError, Reason, Stage, UnexpectedItemError
from data.motion_records import Unforeseen
from data.records import Rejection
from data.video.files import is_utf8, size_of
from data.video.sources import path_item_id

MAX_FOUND: Final = 250_000
"""Maximum number of files in a folder, or of motions in a file. A worker returns all of them at
once."""


@dataclass(frozen=True, slots=True)
class Search:
    """A pending search of a file or folder; a worker calls :meth:`run`.

    Attributes:
        path: path of the file or folder.
        find: the importer, a picklable function. An :class:`~data.errors.ItemError` becomes a
            rejection of the path.
        size_bytes: size of the file, for the time limit.
    """

    path: Path
    find: Callable[[Path], Iterable[Any]]
    size_bytes: int = 0

    @classmethod
    def of(cls, path: Path, find: Callable[[Path], Iterable[Any]]) -> "Search":
        """Create the search of a file, including its size."""
        return cls(path, find, size_of(path))

    def run(self) -> list[Any]:
        """Return everything that was found, or a single rejection if that is too much."""
        found = list(itertools.islice(find_in(self.path, self.find), MAX_FOUND + 1))
        if len(found) <= MAX_FOUND:
            return found
        error = ItemError(
            Reason.TOO_LARGE,
            f"expected at most {MAX_FOUND} files or motions in {self.path}, found more.",
            "Split it, and name the parts (or the nested folders) as separate sources.",
        )
        return [rejected(path_item_id(self.path), str(self.path), error)]


Item = TypeVar("Item")


def find_in(
    path: Path, find: Callable[[Path], Iterable[Item]]
) -> Iterator[Item | Rejection | Unforeseen]:
    """Yield what an importer finds in a file or folder; errors become rejections.

    Args:
        path: the file or folder.
        find: the importer. An :class:`~data.errors.ItemError` becomes a rejection of the path.
    """
    if not is_utf8(path):
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
        # The worker turns it into a rejection with the right remedy.
        raise
    except Exception as error:  # noqa: BLE001 - becomes a rejection, and is logged
        yield Unforeseen(path_item_id(path), str(path), UnexpectedItemError.of(error))


def rejected(item_id: str, item: str, error: ItemError) -> Rejection:
    """The rejection of an item that cannot be imported."""
    return Rejection.of(item_id, item, Stage.IMPORT, error)
