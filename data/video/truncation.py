"""Detection of truncated files: the container declares more bytes than the file holds."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from av.video.stream import VideoStream

from data.errors import ItemError, Reason
from data.video.files import unreadable


@dataclass(frozen=True, slots=True)
class Truncation:
    """The container's structure extends past the end of the file.

    ``certain`` is false if only the sample index can decide whether media data is missing.
    """

    detail: str
    certain: bool


_MP4_FIRST_BOXES: Final = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp"}
)


def find_truncation(path: Path, size_bytes: int) -> Truncation | None:
    """Compare the sizes that the container declares with the size of the file."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
                missing = _missing_in_avi(file, size_bytes)
                certain = True
            elif head[:4] == b"\x1a\x45\xdf\xa3":
                missing = _missing_in_matroska(file, size_bytes)
                certain = True
            elif head[4:8] in _MP4_FIRST_BOXES:
                missing, certain = _missing_in_mp4(file, size_bytes)
            else:
                return None
    except OSError as error:
        raise unreadable(path, error) from error
    if missing is None:
        return None
    return Truncation(f"{path}: expected a whole file, found {missing}.", certain)


def reads_past(stream: VideoStream, size_bytes: int) -> bool:
    """Whether the sample index points past the end of the file."""
    return any(entry.pos + entry.size > size_bytes for entry in stream.index_entries)


def truncated(truncation: Truncation) -> ItemError:
    """The error for a truncated file."""
    return ItemError(
        Reason.TRUNCATED,
        truncation.detail,
        "Copy or download the file again; if no whole copy exists, remux what is left "
        "(ffmpeg -i in -c copy out.mkv).",
    )


def _missing_in_mp4(file: BinaryIO, size_bytes: int) -> tuple[str | None, bool]:
    """What an MP4 file lacks, and whether that is certainly media data."""
    position = 0
    found: set[bytes] = set()
    overrun = 0
    while position + 8 <= size_bytes:
        file.seek(position)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        elif length == 0:
            length = size_bytes - position
        if length < 8:
            break
        found.add(kind)
        if position + length > size_bytes and kind in {b"mdat", b"moov", b"moof"}:
            overrun = position + length - size_bytes
        position += length
    if not found & {b"moov", b"moof"}:
        return "no index (moov box)", True
    if overrun:
        return f"{overrun} bytes less than its boxes declare", b"moof" in found
    return None, False


def _missing_in_avi(file: BinaryIO, size_bytes: int) -> str | None:
    position = 0
    while position + 12 <= size_bytes:
        file.seek(position)
        kind, length, form = struct.unpack("<4sI4s", file.read(12))
        if kind == b"RIFF":
            position += 12
            continue
        end = position + 8 + length
        if kind == b"LIST" and form == b"movi" and end > size_bytes:
            return f"{end - size_bytes} bytes less than its frame list declares"
        if length == 0:
            break
        position = end + length % 2
    return None


def _missing_in_matroska(file: BinaryIO, size_bytes: int) -> str | None:
    file.seek(4)
    header_bytes = _ebml_size(file)
    if header_bytes is None:
        return None
    file.seek(header_bytes, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return None
    # A live recording does not declare its size; it cannot be distinguished from a truncated one.
    segment_bytes = _ebml_size(file)
    if segment_bytes is None:
        return None
    overrun = file.tell() + segment_bytes - size_bytes
    return f"{overrun} bytes less than its segment declares" if overrun > 0 else None


def _ebml_size(file: BinaryIO) -> int | None:
    """Read an EBML variable-length size; None if it is missing or marked as unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    num_bytes = 9 - first[0].bit_length()
    rest = file.read(num_bytes - 1)
    value_bits = 7 * num_bytes
    value = int.from_bytes(first + rest, "big") & ((1 << value_bits) - 1)
    return None if value == (1 << value_bits) - 1 else value
