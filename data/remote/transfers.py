"""Download a file to the disk, and continue where a cut transfer stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.remote.errors import CutError, TooLargeError, UnsuitableError

ATTEMPTS: Final = 6
FIRST_WAIT_S: Final = 0.2
"""Wait before the second attempt; it doubles from one attempt to the next."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer to a request for the content of a file, from a position on.

    Attributes:
        start: position of the first byte; 0 if the server ignores the requested one.
        size_bytes: size of the whole file; None if the server does not tell.
        etag: identifier of this content.
        modified_ns: time of the last change, ns since 1970; 0 if the server does not tell.
        chunks: the content. Reading it raises :class:`~data.remote.errors.CutError` if the
            connection ends early.
    """

    start: int
    size_bytes: int | None
    etag: str
    modified_ns: int
    chunks: Iterator[bytes]


OpenAt = Callable[[int, str], AbstractContextManager[Stream]]
"""Requests the content from a position on, provided that it still has the given ``etag``; an empty
one means any."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Facts about a downloaded file, see :class:`Stream`."""

    size_bytes: int
    etag: str
    modified_ns: int


def download(open_at: OpenAt, target: Path, address: str, max_bytes: int) -> Fetched:
    """Download a file; a transfer that is cut is continued.

    Args:
        open_at: function that requests the content.
        target: file to write, which is overwritten.
        address: address for messages.
        max_bytes: largest size that is accepted.

    Raises:
        UnsuitableError: the file is larger, or changed between two attempts.
        CutError: the last attempt was cut, too.
        data.remote.errors.RemoteError: the content cannot be requested.
    """
    done, etag = 0, ""
    attempt = 0
    with target.open("wb") as file:
        while True:
            try:
                with open_at(done, etag) as stream:
                    if done and etag and stream.etag != etag:
                        raise UnsuitableError(
                            f"{address}: expected the same content during a download, found that "
                            "it changed. Remedy: run the same command again."
                        )
                    if stream.start != done:
                        done = stream.start
                        file.seek(done)
                        file.truncate()
                    etag = stream.etag
                    _require_size(stream.size_bytes or 0, max_bytes, address)
                    for chunk in stream.chunks:
                        done += file.write(chunk)
                        _require_size(done, max_bytes, address)
                    if stream.size_bytes is not None and done != stream.size_bytes:
                        raise CutError(
                            f"{address}: expected {stream.size_bytes} bytes, found {done}. "
                            "Remedy: run the same command again."
                        )
                    return Fetched(done, etag, stream.modified_ns)
            except CutError:
                attempt += 1
                if attempt == ATTEMPTS:
                    raise
                file.flush()
                # Without an identifier of the content, two halves could be of different files.
                done = done if etag else 0
                file.seek(done)
                file.truncate()
                time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))


def _require_size(size_bytes: int, max_bytes: int, address: str) -> None:
    if size_bytes > max_bytes:
        raise TooLargeError(
            f"{address}: expected at most {max_bytes / 1e6:,.0f} MB, found {size_bytes / 1e6:,.0f} "
            "MB or more. Remedy: raise the limit, or leave it out."
        )
