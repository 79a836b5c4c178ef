"""Read members of untrusted ZIP archives and NumPy arrays within limits.

A small file can unpack to gigabytes. Declared sizes are therefore checked before anything is read,
and no more than the declared size is read. Nothing is unpickled.
"""

import io
import lzma
import math
import stat
import struct
import tokenize
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.video.files import file_kind

MAX_BYTES: Final = 512_000_000
"""Maximum size of a text file, inside or outside an archive."""
MAX_ARRAY_BYTES: Final = 256 * 1024**2
"""Maximum size of one array: float32 joints of 14 hours at 20 fps."""
MAX_HEADER_BYTES: Final = 65_536
CHUNK_BYTES: Final = 1024**2
"""Chunk size for reading a file piece by piece."""
MAX_MEMBERS: Final = 1_000_000
MAX_LISTING_BYTES: Final = 64_000_000
"""Maximum size of a central directory: a million members with names of 18 characters."""

# `zipfile` raises its own error, errors of the decompressors, RuntimeError for encrypted members,
# and NotImplementedError for unknown compression methods.
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
# The header of an array is a Python literal. NumPy tokenizes invalid ones again, as it supports
# headers written by Python 2.
_HEADER_ERRORS: Final = (
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)


class _Archived(io.FileIO):
    """The file of an archive. `zipfile` reads the central directory at once, whatever its size."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most ``MAX_LISTING_BYTES`` at once."""
        if size is not None and size > MAX_LISTING_BYTES:
            raise too_large(f"a list of members of {size} bytes", f"{MAX_LISTING_BYTES}")
        return super().read(size)


@contextmanager
def open_archive(path: Path) -> Generator[ZipFile]:
    """Open a ZIP archive.

    Raises:
        ItemError: the file is not a ZIP archive, or its central directory is damaged.
    """
    with open_file(path) as file, _Archived(file.fileno(), closefd=False) as archived:
        try:
            archive = ZipFile(archived)
        except _ZIP_ERRORS as error:
            raise _damaged(path.name, error) from error
        if len(archive.infolist()) > MAX_MEMBERS:
            raise too_large(f"{len(archive.infolist())} members", f"{MAX_MEMBERS}")
        yield archive


def read_member(archive: ZipFile, info: ZipInfo) -> bytes:
    """Read a member.

    Raises:
        ItemError: the member is damaged, encrypted or larger than the limit.
    """
    return b"".join(member_chunks(archive, info))


def member_chunks(archive: ZipFile, info: ZipInfo) -> Iterator[bytes]:
    """Read a member in chunks. Raises the errors of :func:`read_member`."""
    if info.file_size > MAX_BYTES:
        raise too_large(f"{info.file_size} bytes when unpacked", f"{MAX_BYTES}")
    try:
        with archive.open(info) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except _ZIP_ERRORS as error:
        raise _damaged(info.filename, error) from error


def open_file(path: Path) -> IO[bytes]:
    """Open a regular file.

    Raises:
        ItemError: the file cannot be read, or is not a regular file. Opening a pipe or a device may
            block, and reading from it may never end.
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


def read_small_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        ItemError: the file cannot be read, is not a regular file, or is larger than the limit.
    """
    return b"".join(file_chunks(path))


def file_chunks(path: Path) -> Iterator[bytes]:
    """Read a file in chunks. Raises the errors of :func:`read_small_file`."""
    with open_file(path) as file:
        num_bytes = 0
        try:
            while chunk := file.read(CHUNK_BYTES):
                # Count the bytes, because the file may grow while it is read.
                num_bytes += len(chunk)
                if num_bytes > MAX_BYTES:
                    raise too_large(f"more in {path.name}", f"{MAX_BYTES} bytes")
                yield chunk
        except OSError as error:
            raise ItemError(
                Reason.UNREADABLE,
                f"expected a readable file at {path}, found: {error.strerror}.",
                "Check the disk, or copy the file again.",
            ) from error


class StoredArray:
    """An array in an open file of which only the header was read.

    Args:
        file: file at the beginning of the header.
        name: name of the file, for messages.

    Raises:
        ItemError: the file holds no array, or an array of objects.

    Attributes:
        shape: shape according to the header.
        dtype: type according to the header.
        num_bytes: size of all values.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        with self._as_item_error():
            header = _Header(file)
            version = npy.read_magic(header)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            self.shape, self._column_major, self.dtype = read[version](header)
            if self.dtype.hasobject or self.dtype.names is not None:
                raise ValueError("objects")
            if min(self.shape, default=0) < 0:
                raise ValueError(f"a shape of {self.shape}")
        self.num_bytes = math.prod(self.shape) * self.dtype.itemsize

    def read(self, max_bytes: int = MAX_ARRAY_BYTES) -> NDArray[Any]:
        """Read the values.

        Raises:
            ItemError: the array exceeds the limit, or is truncated.
        """
        self._require(max_bytes)
        with self._as_item_error():
            data = self._file.read(self.num_bytes)
            if len(data) < self.num_bytes:
                raise ValueError(f"only {len(data)} of {self.num_bytes} bytes")
        array = np.frombuffer(data, self.dtype)
        return array.reshape(self.shape, order="F" if self._column_major else "C")

    def chunks(self) -> Iterator[bytes]:
        """Yield the values in row-major order, in chunks.

        Raises:
            ItemError: as :meth:`read`.
        """
        self._require(MAX_ARRAY_BYTES)
        if self._column_major and len(self.shape) > 1:
            # The rows of a column-major array are scattered over the file.
            array = self.read()
            step = max(1, CHUNK_BYTES * len(array) // max(1, self.num_bytes))
            for first in range(0, len(array), step):
                yield array[first : first + step].tobytes()
            return
        left = self.num_bytes
        with self._as_item_error():
            while left:
                chunk = self._file.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise ValueError(f"only {self.num_bytes - left} of {self.num_bytes} bytes")
                left -= len(chunk)
                yield chunk

    def _require(self, max_bytes: int) -> None:
        if self.num_bytes > max_bytes:
            found = f"an array of {self.shape} {self.dtype}, {self.num_bytes} bytes when unpacked"
            raise too_large(found, f"{max_bytes} bytes")

    @contextmanager
    def _as_item_error(self) -> Generator[None]:
        try:
            yield
        except (*_ZIP_ERRORS, *_HEADER_ERRORS) as error:
            raise ItemError(
                Reason.WRONG_FORM,
                f"expected a NumPy array without objects in {self._name}, found {_briefly(error)}.",
                "Save it with numpy.save or numpy.savez.",
            ) from error


class _Header:
    """Reads the header of an array, whose length the file declares, within a limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ValueError(f"a header of {size} bytes")
        return self._file.read(size)


@contextmanager
def open_npy(path: Path) -> Generator[StoredArray]:
    """Open the array of a ``.npy`` file.

    Raises:
        ItemError: the file holds no array, or an array of objects.
    """
    with open_file(path) as file:
        yield StoredArray(file, path.name)


@contextmanager
def open_npz_member(archive: ZipFile, info: ZipInfo) -> Generator[StoredArray]:
    """Open the array of a member of a ``.npz`` file.

    Raises:
        ItemError: the member holds no array, or an array of objects.
    """
    try:
        file = archive.open(info)
    except _ZIP_ERRORS as error:
        raise _damaged(info.filename, error) from error
    with file:
        yield StoredArray(file, info.filename)


def too_large(found: str, limit: str) -> ItemError:
    """The error for content above a limit."""
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
