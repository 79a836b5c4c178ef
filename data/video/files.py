"""Checks that a path names a readable regular file, and the content hash of that file."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from data.errors import ItemError, Reason

_HASH_LENGTH: Final = 16


def hash_file(path: Path) -> str:
    """Return the ``video_id``: the first 16 hex characters of the content's SHA-256.

    Raises:
        ItemError: the file is missing, not a regular file, empty or unreadable.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_LENGTH]
    except OSError as error:
        raise unreadable(path, error) from error


def require_file(path: Path) -> os.stat_result:
    """Check that a path names a regular, non-empty file. Opening a pipe or a device could block.

    Returns:
        The result of ``stat``.

    Raises:
        ItemError: the file is missing, not a regular file, empty or inaccessible.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "a link to nothing" if path.is_symlink() else "nothing"
        raise ItemError(
            Reason.NOT_FOUND,
            f"{path}: expected a video file, found {found}.",
            "Correct the path, or restore the file.",
        ) from error
    except ValueError as error:
        raise ItemError(
            Reason.NOT_FOUND,
            f"{str(path)!r}: expected a path, found one with a null character.",
            "Correct the path.",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise ItemError(
            Reason.NOT_A_FILE,
            f"{path}: expected a regular file, found {file_kind(status.st_mode)}.",
            "Name a video file; for a folder of videos, name the folder without a video extension.",
        )
    if status.st_size == 0:
        raise ItemError(
            Reason.EMPTY_FILE,
            f"{path}: expected a video, found 0 bytes.",
            "Copy or download the file again.",
        )
    return status


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it cannot be read, which is reported on opening."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def is_utf8(path: Path) -> bool:
    """Whether a path can be encoded in UTF-8, as Parquet and decord require."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def file_kind(mode: int) -> str:
    """Describe the kind of a file that is not a regular one, from its ``st_mode``."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def unreadable(path: Path, error: OSError) -> ItemError:
    """The error for a file that the operating system refuses to read."""
    return ItemError(
        Reason.UNREADABLE,
        f"{path}: expected to read the file, found: {error.strerror or type(error).__name__}.",
        "Give this user the right to read the file and its folder, and check the disk.",
    )
