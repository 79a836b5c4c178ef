"""Reading what a stranger packed: members of ZIP archives and NumPy arrays, within limits.

A small file can unpack to gigabytes, so what its headers declare is checked before anything is
read, and no more than that is read. Nothing is unpickled.
"""

import io
import lzma
import math
import stat
import struct
import tokenize
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.video.reader import file_kind

MAX_BYTES: Final = 512_000_000
"""Of a text file, in an archive or not."""
MAX_ARRAY_BYTES: Final = 1_000_000_000
"""Of one array: float32 joints of two days at 20 fps."""
MAX_MEMBERS: Final = 1_000_000
MAX_LISTING_BYTES: Final = 64_000_000
"""Of the part of an archive that lists its members: a million with names of 18 characters."""

# Beside its own error, `zipfile` lets those of the decompressors through, and raises RuntimeError
# for encrypted members and NotImplementedError for methods that it does not know.
_ZIP_ERRORS: Final = (
    BadZipFile,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)
# A header is Python's own literal; NumPy reads damaged ones with the tokeniser of Python 2's.
_HEADER_ERRORS: Final = (
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)


class _Archived(io.FileIO):
    """An archive's file. `zipfile` reads the list of members in one go, however long it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does; no more than a list may be long."""
        if size is not None and size > MAX_LISTING_BYTES:
            raise too_large(f"a list of members of {size} bytes", f"{MAX_LISTING_BYTES}")
        return super().read(size)


@contextmanager
def open_archive(path: Path) -> Generator[ZipFile]:
    """Open a ZIP archive.

    Raises:
        ItemError: it is none, or is damaged where its members are listed.
    """
    with open_file(path) as file, _Archived(file.fileno(), closefd=False) as archived:
        try:
            archive = ZipFile(archived)
        except _ZIP_ERRORS as error:
            raise _damaged(path.name, error) from error
        if len(archive.infolist()) > MAX_MEMBERS:
            raise too_large(f"{len(archive.infolist())} members", f"{MAX_MEMBERS}")
        yield archive


def read_member(archive: ZipFile, info: ZipInfo, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a member.

    Raises:
        ItemError: it is damaged, encrypted or larger than the limit.
    """
    if info.file_size > max_bytes:
        raise too_large(f"{info.file_size} bytes when unpacked", f"{max_bytes}")
    try:
        return archive.read(info)
    except _ZIP_ERRORS as error:
        raise _damaged(info.filename, error) from error


def open_file(path: Path) -> IO[bytes]:
    """Open a regular file.

    Raises:
        ItemError: it cannot be read, or is none: opening a pipe or a device may never return, and
            reading from it may never end.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ItemError(
                Reason.NOT_A_FILE,
                f"expected a regular file at {path}, found {file_kind(mode)}.",
                "Name a file, or leave it out.",
            )
        return path.open("rb")
    except OSError as error:
        raise ItemError(
            Reason.NOT_FOUND if isinstance(error, FileNotFoundError) else Reason.UNREADABLE,
            f"expected a readable file at {path}, found: {error.strerror}.",
            "Correct the path or its permissions.",
        ) from error


def read_small_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file.

    Raises:
        ItemError: it cannot be read, is no regular file, or is larger than the limit.
    """
    with open_file(path) as file:
        try:
            # Its size is not believed: the file may grow.
            data = file.read(max_bytes + 1)
        except OSError as error:
            raise ItemError(
                Reason.UNREADABLE,
                f"expected a readable file at {path}, found: {error.strerror}.",
                "Check the disk, or copy the file again.",
            ) from error
    if len(data) > max_bytes:
        raise too_large(f"more in {path.name}", f"{max_bytes} bytes")
    return data


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file.

    Raises:
        ItemError: it holds no array, objects, or more than the limit.
    """
    with open_file(path) as file:
        return _read_array(file, path.name)


def read_npz_member(archive: ZipFile, info: ZipInfo) -> NDArray[Any]:
    """The array of a member of a ``.npz`` file.

    Raises:
        ItemError: it holds no array, objects, or more than the limit.
    """
    if info.file_size > MAX_ARRAY_BYTES:
        raise too_large(f"{info.file_size} bytes when unpacked", f"{MAX_ARRAY_BYTES}")
    try:
        file = archive.open(info)
    except _ZIP_ERRORS as error:
        raise _damaged(info.filename, error) from error
    with file:
        return _read_array(file, info.filename)


def _read_array(file: IO[bytes], name: str) -> NDArray[Any]:
    """Read an array after its header, whose size is believed only as a limit."""
    try:
        version = npy.read_magic(file)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, column_major, dtype = read_header[version](file)
        num_bytes = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or dtype.names is not None:
            raise ValueError("objects")
        if min(shape, default=0) < 0 or num_bytes > MAX_ARRAY_BYTES:
            raise too_large(f"an array of {shape} {dtype}", f"{MAX_ARRAY_BYTES}")
        data = file.read(num_bytes)
        if len(data) < num_bytes:
            raise ValueError(f"only {len(data)} of {num_bytes} bytes")
        array = np.frombuffer(data, dtype)
        return array.reshape(shape, order="F" if column_major else "C")
    except (*_ZIP_ERRORS, *_HEADER_ERRORS) as error:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected a NumPy array without objects in {name}, found {_briefly(error)}.",
            "Save it with numpy.save or numpy.savez.",
        ) from error


def too_large(found: str, limit: str) -> ItemError:
    """The error of a file that is larger than we read."""
    return ItemError(
        Reason.TOO_LARGE, f"expected at most {limit}, found {found}.", "Split it, or leave it out."
    )


def _damaged(name: str, error: Exception) -> ItemError:
    encrypted = isinstance(error, RuntimeError) and "encrypted" in str(error)
    return ItemError(
        Reason.WRONG_FORM,
        f"expected a ZIP archive that can be read, found at {name}: {_briefly(error)}.",
        "Pack it without a password." if encrypted else "Copy, download or pack it again.",
    )


def _briefly(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
