"""The one reader of video files, for every stage.

Time: the first displayed frame of a video is 0 s, whatever its container says; every frame carries
its own time of display (PTS). A frame's index is its rank among the timestamps that a scan of all
packets finds, so it does not depend on the decoder, on where reading started, or on frames that are
lost to damage. Lengths in container headers are never believed.

decord reads files that the packet scan finds healthy, of constant rate and starting at 0; PyAV
reads all others (decord refuses or raises on damage, ignores a start offset, and can hang on files
that report more frames than they hold). The caller sets a wall-clock limit
(``data/workers/workers.py``).

Shapes: N frames of the video in display order, H and W in pixels.
"""

import hashlib
import math
import os
import stat
import struct
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, cast

import av
import av.container
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.errors import ItemError, Reason
from data.records import Frame, VideoProbe

try:
    import decord
except ImportError:  # There are no wheels for ARM.
    decord = None

MAX_SIDE_PX: Final = 16384
MAX_PIXELS: Final = 8192 * 8192
"""Of a picture, 360-degree video of 11520 x 5760 included: decoders keep several at a time."""
MAX_GIF_PIXELS: Final = 100_000_000_000
"""Of all pictures of a GIF together: 27 minutes of 1920 x 1080 at 30 fps. A frame of 24 bytes makes
a decoder go over the whole canvas."""
MAX_FPS: Final = 1000
MAX_DURATION_S: Final = 24 * 3600.0
NUM_THREADS: Final = 1
"""Decoding threads. There is a worker process per core: two videos at a time with one thread each
decode faster than one at a time with two."""

_EPSILON_S: Final = 1e-6
_PROBE_DECODE_PACKETS: Final = 100
_HASH_LENGTH: Final = 16

# Playlists and image patterns make FFmpeg open *other* files or addresses, so a stranger's file may
# only be what is named here. Audio formats stand in the list to be told from damaged videos.
_VIDEO_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,mxf,"
    "nut,rm,ivf,m4v,h264,hevc,obu,av1,dv,wtv,yuv4mpegpipe,vc1,mjpeg"
)
_AUDIO_FORMATS: Final = "mp3,wav,flac,aac,ac3,eac3,aiff,caf,amr,w64,ape,wv,tta,dts,au"
_OPEN_OPTIONS: Final = {
    "format_whitelist": f"{_VIDEO_FORMATS},{_AUDIO_FORMATS}",
    "protocol_whitelist": "file",
}

DecoderName = Literal["decord", "pyav"]
Image = NDArray[np.uint8]


class ReaderConfig(BaseModel):
    """How video files are decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder: Literal["auto", "decord", "pyav"] = Field(
        default="auto",
        description="auto: decord for healthy files of constant rate, PyAV for all others. "
        "pyav: always PyAV. decord: decord or nothing; files that it cannot be trusted with fail.",
    )


@dataclass(frozen=True, slots=True)
class _Timeline:
    """When the frames of a video are displayed, by its packets.

    Attributes:
        pts: (N,) int64, strictly increasing, in units of the stream's time base.
        pts_s: (N,) float64, seconds since the first.
        key_pts: (K,) int64, ascending: where decoding can start.
        counted: the packets carry no usable PTS, so the n-th frame out of the decoder is frame n.
        last_duration: how long the last frame is displayed, in the same units; 0 when not said.
    """

    pts: NDArray[np.int64]
    pts_s: NDArray[np.float64]
    key_pts: NDArray[np.int64]
    counted: bool
    last_duration: int


@dataclass(frozen=True, slots=True)
class _Scan:
    """Result of the packet scan: the public part, and what decoding needs beside it."""

    probe: VideoProbe
    timeline: _Timeline
    square_pixels: bool
    mirrored: bool


@dataclass(frozen=True, slots=True)
class _Packets:
    """What the packets of a stream say, in file order; ``_NO_TS`` where they say nothing.

    ``first_frame`` is the first that decodes, kept for its orientation, None if none did.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    key: NDArray[np.bool_]
    discard: NDArray[np.bool_]
    num_corrupt: int
    num_errors: int
    first_frame: VideoFrame | None


@dataclass(frozen=True, slots=True)
class _Truncation:
    """The container's structure ends behind the end of the file.

    ``certain`` is false where only the sample index can tell whether media is missing.
    """

    detail: str
    certain: bool


_NO_TS: Final = np.iinfo(np.int64).min


# ------------------------------------------------------------------------------- files


def hash_file(path: Path) -> str:
    """SHA-256 of the content, the first 16 hex characters: the ``video_id``.

    Raises:
        ItemError: the file is missing, not a regular file, empty or unreadable.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_LENGTH]
    except OSError as error:
        raise _unreadable(path, error) from error


def require_file(path: Path) -> os.stat_result:
    """Refuse what is no regular file with content, before anything can block on opening it.

    Raises:
        ItemError: the file is missing, not a regular file, empty or out of reach.
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
        raise _unreadable(path, error) from error
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


def file_kind(mode: int) -> str:
    """What a file is that is no regular one, in words, by its ``st_mode``."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _unreadable(path: Path, error: OSError) -> ItemError:
    return ItemError(
        Reason.UNREADABLE,
        f"{path}: expected to read the file, found: {error.strerror or type(error).__name__}.",
        "Give this user the right to read the file and its folder, and check the disk.",
    )


# ------------------------------------------------------------------------------- probing


def probe_video(path: Path) -> VideoProbe:
    """Scan all packets of a video file; only its first frame is decoded (for its orientation).

    Args:
        path: the file; its extension does not matter.

    Returns:
        What the packets say. ``issues`` lists what is wrong but not fatal, as ``code:number``.

    Raises:
        ItemError: the file cannot be carried through; the reason says why.
    """
    return _scan_file(path).probe


def _scan_file(path: Path) -> _Scan:
    status = require_file(path)
    # Every clip of a video is opened on its own; the key makes a changed file a different one.
    return _scan_cached(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _scan_cached(path: Path, size_bytes: int, _mtime_ns: int) -> _Scan:
    truncation = _find_truncation(path, size_bytes)
    try:
        container = _open_container(path)
    except (FFmpegError, OSError, ValueError) as error:
        raise _open_failure(path, error, truncation) from error
    with container:
        stream = _video_stream(path, container)
        _display_size(path, stream, 0)  # Refuses what would fill the memory when it is decoded.
        packets = _read_packets(container, stream)
        if truncation is not None and (truncation.certain or _reads_past(stream, size_bytes)):
            raise _truncated(truncation)
        if container.format.name == "gif":
            _check_gif(path, stream, len(packets.pts))
        if not len(packets.pts):
            raise ItemError(
                Reason.ZERO_FRAMES,
                f"{path}: expected video frames, found a {stream.codec_context.name} stream "
                "without any.",
                "Record or export the video again.",
            )
        return _describe(path, size_bytes, container, stream, packets)


def _open_container(path: Path) -> av.container.InputContainer:
    # An absolute path behind "file:" can be no address; broken tags are no reason to fail.
    return av.open(
        f"file:{path.absolute()}", mode="r", options=dict(_OPEN_OPTIONS), metadata_errors="replace"
    )


def _check_gif(path: Path, stream: VideoStream, num_frames: int) -> None:
    """Refuse a still image, and an animation that would take hours to decode."""
    if num_frames == 1:
        raise _not_a_video(path, "a still image")
    width_px, height_px = stream.codec_context.width, stream.codec_context.height
    if width_px * height_px * num_frames > MAX_GIF_PIXELS:
        raise ItemError(
            Reason.ABSURD_HEADER,
            f"{path}: expected a GIF of at most {MAX_GIF_PIXELS} px in all its frames, found "
            f"{num_frames} frames of {width_px} x {height_px}.",
            "Convert it to a smaller MP4 "
            "(ffmpeg -i in.gif -vf scale=640:-2 -pix_fmt yuv420p out.mp4), or cut it.",
        )


def _open_failure(path: Path, error: Exception, truncation: _Truncation | None) -> ItemError:
    if truncation is not None:
        return _truncated(truncation)
    if isinstance(error, PermissionError):
        return _unreadable(path, error)
    return _not_a_video(path, "a file that no video demuxer recognises")


def _not_a_video(path: Path, found: str) -> ItemError:
    return ItemError(
        Reason.NOT_A_VIDEO,
        f"{path}: expected a video, found {found}.",
        "Remove the file from the sources, or convert it to MP4.",
    )


def _truncated(truncation: _Truncation) -> ItemError:
    return ItemError(
        Reason.TRUNCATED,
        truncation.detail,
        "Copy or download the file again; if no whole copy exists, remux what is left "
        "(ffmpeg -i in -c copy out.mkv).",
    )


def _video_stream(path: Path, container: av.container.InputContainer) -> VideoStream:
    """The first stream of moving pictures: cover art and still images are none."""
    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    for stream in container.streams.video:
        if stream.disposition & still:
            continue
        # The stubs do not say so, but there is no context where there is no decoder.
        if cast("object", stream.codec_context) is None:
            raise ItemError(
                Reason.DECODE_FAILED,
                f"{path}: expected a video codec that FFmpeg can decode, found an unknown one.",
                "Convert the video with the program that made it.",
            )
        # Pictures may grow behind the header, too.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    kinds = sorted({s.type for s in container.streams if s.type != "video"})
    covers = " (cover art is not counted)" if container.streams.video else ""
    raise ItemError(
        Reason.NO_VIDEO_STREAM,
        f"{path}: expected a video stream, found only: {', '.join(kinds) or 'nothing'}{covers}.",
        "Remove the file from the sources.",
    )


def _packets_of(
    container: av.container.InputContainer, stream: VideoStream, on_error: Callable[[], None]
) -> Generator["Packet[VideoStream]"]:
    """The stream's packets, going on behind unreadable places as long as something follows."""
    progressed = True
    while progressed:
        progressed = False
        try:
            for packet in container.demux(stream):
                if packet.size:
                    progressed = True
                    yield packet
        except FFmpegError:
            on_error()
        else:
            return


def _read_packets(container: av.container.InputContainer, stream: VideoStream) -> _Packets:
    rows = array("q")
    num_corrupt = num_errors = 0
    first_frame: VideoFrame | None = None

    def count_error() -> None:
        nonlocal num_errors
        num_errors += 1

    for packet in _packets_of(container, stream, count_error):
        rows.extend(
            (
                _NO_TS if packet.pts is None else packet.pts,
                _NO_TS if packet.dts is None else packet.dts,
                packet.duration or 0,
                packet.is_keyframe,
                packet.is_discard,
            )
        )
        num_corrupt += packet.is_corrupt
        if first_frame is None and len(rows) <= 5 * _PROBE_DECODE_PACKETS:
            first_frame = next(iter(_decode(stream, packet)), None)
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    return _Packets(
        columns[0],
        columns[1],
        columns[2],
        columns[3].astype(np.bool_),
        columns[4].astype(np.bool_),
        num_corrupt,
        num_errors,
        first_frame,
    )


def _decode(stream: VideoStream, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
    """Frames that a packet yields; none when it is damaged."""
    try:
        return stream.decode(packet)
    except FFmpegError:
        return []


def _describe(
    path: Path,
    size_bytes: int,
    container: av.container.InputContainer,
    stream: VideoStream,
    packets: _Packets,
) -> _Scan:
    time_base = stream.time_base
    if time_base is None or time_base <= 0:
        raise _absurd(path, "a positive time base", f"{time_base}")
    issues = _packet_issues(packets)
    timeline, timeline_issues = _timeline(path, packets, stream, time_base)
    issues += timeline_issues

    num_frames = len(timeline.pts)
    intervals = np.diff(timeline.pts)
    interval = float(np.median(intervals)) if num_frames > 1 else 0.0
    constant_rate = num_frames == 1 or bool(np.ptp(intervals) <= interval / 2)
    fps = _rate(stream, timeline, time_base, constant_rate)
    if not 0 < fps <= MAX_FPS:
        raise _absurd(path, f"a frame rate above 0 and up to {MAX_FPS} fps", f"{float(fps):g} fps")

    last_s = float(timeline.last_duration * time_base)
    # Some writers leave nonsense there.
    if not 0.5 / fps <= last_s <= max(1.0, 10 / fps):
        last_s = float(1 / fps)
    duration_s = float(timeline.pts_s[-1]) + last_s
    if not 0 < duration_s <= MAX_DURATION_S:
        raise _absurd(
            path, f"timestamps spanning up to {MAX_DURATION_S / 3600:g} hours", f"{duration_s:g} s"
        )
    start_offset_s = float(int(timeline.pts[0]) * time_base)
    interval_s = float(interval * time_base)
    if _over_reported(container, stream, len(packets.pts), duration_s, interval_s, start_offset_s):
        issues.append("over_reported_length")

    rotation_deg, mirrored = _orientation(packets.first_frame)
    if mirrored:
        issues.append("mirrored")
    width_px, height_px, square_pixels = _display_size(path, stream, rotation_deg)
    probe = VideoProbe(
        path=path,
        size_bytes=size_bytes,
        container=container.format.name,
        codec=stream.codec_context.name,
        width_px=width_px,
        height_px=height_px,
        rotation_deg=rotation_deg,
        fps=fps,
        start_offset_s=start_offset_s,
        duration_s=duration_s,
        num_packets=len(packets.pts),
        constant_rate=constant_rate,
        issues=tuple(issues),
    )
    return _Scan(probe, timeline, square_pixels, mirrored)


def _packet_issues(packets: _Packets) -> list[str]:
    counts = {
        "corrupt_packets": packets.num_corrupt,
        "read_errors": packets.num_errors,
        "hidden_by_edit_list": int(packets.discard.sum()),
    }
    return [f"{code}:{count}" for code, count in counts.items() if count]


def _absurd(path: Path, expected: str, found: str) -> ItemError:
    return ItemError(
        Reason.ABSURD_HEADER,
        f"{path}: expected {expected}, found {found}.",
        "Re-encode the video (ffmpeg -i in -c:v libx264 out.mp4).",
    )


def _timeline(
    path: Path, packets: _Packets, stream: VideoStream, time_base: Fraction
) -> tuple[_Timeline, list[str]]:
    issues: list[str] = []
    shown = ~packets.discard
    first_key = int(np.argmax(packets.key)) if packets.key.any() else 0
    # A decoder cannot show what comes before the first key frame, in the file or on the screen.
    shown[:first_key] = False
    if packets.pts[first_key] != _NO_TS:
        shown &= (packets.pts >= packets.pts[first_key]) | (packets.pts == _NO_TS)
    num_unshown = int((~shown & ~packets.discard).sum())
    if num_unshown:
        issues.append(f"before_first_keyframe:{num_unshown}")
    if not shown.any():
        raise ItemError(
            Reason.ZERO_FRAMES,
            f"{path}: expected frames to show, found {len(packets.pts)} packets that an edit list "
            "hides.",
            "Export the video again without an edit list.",
        )
    pts = packets.pts[shown]
    counted = True
    if bool(np.any(pts == _NO_TS)) or _times_are_guessed(stream, pts):
        issues.append("no_timestamps")
        pts = packets.dts[shown]
    elif _times_are_misplaced(stream, pts, packets.duration[shown]):
        issues.append("misplaced_timestamps")
        pts = np.linspace(pts.min(), pts.max(), len(pts)).astype(np.int64)
    else:
        counted = False
    if np.any(pts == _NO_TS):
        rate = stream.average_rate or stream.guessed_rate
        if rate is None or rate <= 0:
            raise _absurd(path, "timestamps or a frame rate", "neither")
        pts = np.round(np.arange(len(pts)) * float(1 / (rate * time_base))).astype(np.int64)
    unique = np.unique(pts)
    if len(unique) < len(pts):
        issues.append(f"duplicate_timestamps:{len(pts) - len(unique)}")
    keys = np.sort(packets.pts[packets.key & (packets.pts != _NO_TS)])
    pts_s = (unique - unique[0]) * time_base.numerator / time_base.denominator
    last_duration = int(packets.duration[shown][np.argmax(pts)])
    return _Timeline(unique, pts_s, keys, counted, last_duration), issues


def _times_are_guessed(stream: VideoStream, pts: NDArray[np.int64]) -> bool:
    """Whether the times follow the order of the file though its frames are shown in another one.

    AVI stores no time of display; for H.264 FFmpeg then makes up one that ignores reordering.
    """
    in_file_order = bool(np.all(np.diff(pts) > 0))
    return (
        stream.container.format.name == "avi"
        and stream.codec_context.has_b_frames > 0
        and in_file_order
    )


def _times_are_misplaced(
    stream: VideoStream, pts: NDArray[np.int64], duration: NDArray[np.int64]
) -> bool:
    """Whether some frames share a time of display, though all together are evenly spaced.

    A packet of an MPEG program stream carries one time and may hold several small frames; FFmpeg
    can give that time to the wrong one of them.
    """
    return (
        stream.container.format.name == "mpeg"
        and len(np.unique(pts)) < len(pts)
        and bool(np.all(duration == duration[0]))
        and int(np.ptp(pts)) == (len(pts) - 1) * int(duration[0])
    )


def _rate(
    stream: VideoStream, timeline: _Timeline, time_base: Fraction, constant_rate: bool
) -> Fraction:
    """Frames per second by the packets; the header's exact value where the packets agree."""
    header = stream.average_rate or stream.guessed_rate or Fraction(0)
    num_intervals = len(timeline.pts) - 1
    if num_intervals == 0:
        return header if 0 < header <= MAX_FPS else Fraction(1)
    span_s = int(timeline.pts[-1] - timeline.pts[0]) * time_base
    # A container that counts milliseconds rounds every timestamp.
    if constant_rate and abs(header * span_s - num_intervals) <= 0.5:
        return header
    return num_intervals / span_s


def _over_reported(
    container: av.container.InputContainer,
    stream: VideoStream,
    num_packets: int,
    duration_s: float,
    interval_s: float,
    start_offset_s: float,
) -> bool:
    """Whether a header promises clearly more video than the packets are."""
    slack_s = max(0.5, 3 * interval_s) + max(0.0, start_offset_s)
    reported_s = 0.0
    if stream.duration is not None and stream.time_base is not None:
        reported_s = float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        reported_s = max(reported_s, container.duration / av.time_base)
    return reported_s > duration_s + slack_s or stream.frames > num_packets


def _orientation(frame: VideoFrame | None) -> tuple[int, bool]:
    """Clockwise rotation that shows a frame upright (a multiple of 90), and whether to mirror it.

    The display matrix maps stored (x, y) to shown (a·x + c·y, b·x + d·y), y down; a negative
    determinant is a rotation followed by a horizontal mirror.
    """
    matrix = None if frame is None else frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    mirrored = a * d - b * c < 0
    angle_deg = math.degrees(math.atan2(b, -a if mirrored else a))
    return round(angle_deg / 90) * 90 % 360, mirrored


def _display_size(path: Path, stream: VideoStream, rotation_deg: int) -> tuple[int, int, bool]:
    """Width and height as displayed, and whether the stored pixels are square."""
    width_px, height_px = stream.codec_context.width, stream.codec_context.height
    if not (0 < width_px <= MAX_SIDE_PX and 0 < height_px <= MAX_SIDE_PX):
        raise _absurd(
            path, f"a picture of 1 to {MAX_SIDE_PX} px a side", f"{width_px} x {height_px}"
        )
    if width_px * height_px > MAX_PIXELS:
        raise _absurd(path, f"a picture of at most {MAX_PIXELS} px", f"{width_px} x {height_px}")
    aspect = stream.sample_aspect_ratio
    # Outside of this range it is a mistake; within 1 % of square it is a rounding.
    square = aspect is None or not Fraction(1, 4) <= aspect <= 4 or abs(aspect - 1) < 0.01
    if aspect is not None and not square:
        width_px = max(1, round(width_px * aspect))
    if rotation_deg % 180:
        width_px, height_px = height_px, width_px
    return width_px, height_px, square


# ------------------------------------------------------------------------------- truncation


def _find_truncation(path: Path, size_bytes: int) -> _Truncation | None:
    """Compare the sizes that the container's own structure declares with the file's."""
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
        raise _unreadable(path, error) from error
    if missing is None:
        return None
    return _Truncation(f"{path}: expected a whole file, found {missing}.", certain)


_MP4_FIRST_BOXES: Final = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp"}
)


def _missing_in_mp4(file: BinaryIO, size_bytes: int) -> tuple[str | None, bool]:
    """What an MP4 lacks, and whether that surely is media."""
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
    # A live recording does not know its size, and cannot be told from a cut one.
    segment_bytes = _ebml_size(file)
    if segment_bytes is None:
        return None
    overrun = file.tell() + segment_bytes - size_bytes
    return f"{overrun} bytes less than its segment declares" if overrun > 0 else None


def _ebml_size(file: BinaryIO) -> int | None:
    """Read an EBML variable-length size; None when it says "unknown" or is not there."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    num_bytes = 9 - first[0].bit_length()
    rest = file.read(num_bytes - 1)
    value_bits = 7 * num_bytes
    value = int.from_bytes(first + rest, "big") & ((1 << value_bits) - 1)
    return None if value == (1 << value_bits) - 1 else value


def _reads_past(stream: VideoStream, size_bytes: int) -> bool:
    """Whether the sample index points behind the end of the file."""
    return any(entry.pos + entry.size > size_bytes for entry in stream.index_entries)


# ------------------------------------------------------------------------------- reading


def open_frames(
    path: Path,
    probe: VideoProbe,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    sample_fps: float | None = None,
    max_side_px: int | None = None,
    config: ReaderConfig | None = None,
) -> "FrameReader":
    """Read frames of a video, upright, with their times.

    Args:
        path: the file.
        probe: what :func:`probe_video` said of it.
        start_s: where the half-open span of display times begins.
        end_s: where it ends; None is the end of the video.
        sample_fps: take the frames nearest to ``start_s + k / sample_fps``, each at most once;
            None takes every frame.
        max_side_px: shrink so that the longer side has at most this; never enlarges.
        config: which decoder; automatic by default.

    Returns:
        A context manager to iterate over once.

    Raises:
        ItemError: the file cannot be read, or not by the decoder that ``config`` insists on.
        ValueError: an argument makes no sense.
    """
    if not 0 <= start_s < math.inf or (end_s is not None and not end_s > start_s):
        raise ValueError(f"{path}: expected 0 <= start_s < end_s, found {start_s} and {end_s}")
    if sample_fps is not None and not 0 < sample_fps < math.inf:
        raise ValueError(f"{path}: expected sample_fps > 0, found {sample_fps}")
    if max_side_px is not None and max_side_px < 1:
        raise ValueError(f"{path}: expected max_side_px >= 1, found {max_side_px}")
    scan = _scan_file(path)
    longer_px = max(probe.width_px, probe.height_px)
    scale = 1.0 if max_side_px is None else min(1.0, max_side_px / longer_px)
    indices = _select(scan.timeline.pts_s, start_s, end_s, sample_fps)
    return FrameReader(
        path, scan, indices, _scaled_size(probe, scale), (config or ReaderConfig()).decoder
    )


def scan_thumbnails(path: Path, probe: VideoProbe, *, width_px: int = 128) -> "FrameReader":
    """Read every frame of a video, tiny, as fast as can be: for finding shots, not for looking at.

    The loop filter is left out where no other frame refers to the result; leaving it out everywhere
    adds up to jumps at key frames that look like cuts.

    Args:
        path: the file.
        probe: what :func:`probe_video` said of it.
        width_px: width of the images; never more than the video's.

    Returns:
        A context manager to iterate over once.

    Raises:
        ItemError: the file cannot be read.
    """
    scan = _scan_file(path)
    indices = np.arange(len(scan.timeline.pts))
    size = _scaled_size(probe, min(1.0, width_px / probe.width_px))
    return FrameReader(path, scan, indices, size, "pyav", draft=True)


def _scaled_size(probe: VideoProbe, scale: float) -> tuple[int, int]:
    return max(1, round(probe.width_px * scale)), max(1, round(probe.height_px * scale))


def _select(
    pts_s: NDArray[np.float64], start_s: float, end_s: float | None, sample_fps: float | None
) -> NDArray[np.intp]:
    """Indices, ascending, of the frames of a span, thinned out to a grid."""
    first = int(np.searchsorted(pts_s, start_s - _EPSILON_S))
    last = len(pts_s)
    if end_s is not None:
        last = int(np.searchsorted(pts_s, end_s - _EPSILON_S))
    inside = pts_s[first:last]
    if sample_fps is None or len(inside) < 2:
        return np.arange(first, last)
    stop_s = float(inside[-1]) + _EPSILON_S if end_s is None else end_s - _EPSILON_S
    grid = start_s + np.arange(math.ceil((stop_s - start_s) * sample_fps)) / sample_fps
    right = np.clip(np.searchsorted(inside, grid), 1, len(inside) - 1)
    # Half-way between two frames the earlier is taken, whatever the rounding of their times.
    nearer_right = (inside[right] - grid) < (grid - inside[right - 1]) - _EPSILON_S
    return first + np.unique(np.where(nearer_right, right, right - 1))


class FrameReader:
    """Frames of one video in display order. Use as a context manager and iterate once.

    Made by :func:`open_frames` and :func:`scan_thumbnails`.

    Attributes:
        decoder: ``decord`` or ``pyav``: the one that really reads.
    """

    def __init__(
        self,
        path: Path,
        scan: _Scan,
        indices: NDArray[np.intp],
        size_px: tuple[int, int],
        decoder: Literal["auto", "decord", "pyav"],
        *,
        draft: bool = False,
    ) -> None:
        self.decoder: DecoderName = "pyav"
        self._path = path
        self._scan = scan
        self._indices = indices
        self._draft = draft
        rotated = scan.probe.rotation_deg % 180 != 0
        width_px, height_px = size_px
        self._stored_size_px = (height_px, width_px) if rotated else size_px
        self._counts: dict[str, int] = {}
        self._num_yielded = 0
        self._decord: Any = None
        self._container: av.container.InputContainer | None = None
        if decoder != "pyav" and len(indices):
            self._open_decord(required=decoder == "decord")

    @property
    def issues(self) -> tuple[str, ...]:
        """What went wrong so far, as ``code:number``; complete when the iteration is."""
        return tuple(f"{code}:{count}" for code, count in self._counts.items())

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._decord = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            ItemError: none of the wanted frames can be decoded.
        """
        indices = self._indices
        if self._decord is not None:
            indices = yield from self._iterate_decord(indices)
        if len(indices):
            yield from self._iterate_pyav(indices)
        num_missing = len(self._indices) - self._num_yielded
        if num_missing:
            self._counts["missing_frames"] = num_missing
        if num_missing and self._num_yielded == 0:
            raise ItemError(
                Reason.DECODE_FAILED,
                f"{self._path}: expected {len(self._indices)} frames, decoded none "
                f"({', '.join(self.issues) or 'no error reported'}).",
                "Check that the video plays; re-encode it (ffmpeg -i in -c:v libx264 out.mp4).",
            )

    def _count(self, code: str) -> None:
        self._counts[code] = self._counts.get(code, 0) + 1

    def _frame(self, index: int, image: Image) -> Frame:
        self._num_yielded += 1
        quarter_turns = self._scan.probe.rotation_deg // 90
        if quarter_turns:
            image = np.rot90(image, -quarter_turns)
        if self._scan.mirrored:
            image = image[:, ::-1]
        return Frame(index, float(self._scan.timeline.pts_s[index]), np.ascontiguousarray(image))

    # decord

    def _open_decord(self, *, required: bool) -> None:
        distrust = _distrust_of_decord(self._scan)
        if self._stored_size_px[0] < _DECORD_MIN_WIDTH_PX:
            distrust = f"its pictures are {self._stored_size_px[0]} px wide"
        if distrust is None:
            try:
                reader = _decord_reader(self._path, self._stored_size_px)
            except _DECORD_ERRORS as error:
                distrust = f"decord cannot open it ({type(error).__name__})"
                self._count("decord_refused")
            else:
                if len(reader) == len(self._scan.timeline.pts):
                    self._decord, self.decoder = reader, "decord"
                    return
                distrust = f"decord finds {len(reader)} frames in it"
                self._count("decord_refused")
        if required:
            raise ItemError(
                Reason.DECODE_FAILED,
                f"{self._path}: expected a file for decord, found that {distrust}.",
                "Set decoder to auto.",
            )

    def _iterate_decord(
        self, indices: NDArray[np.intp]
    ) -> Generator[Frame, None, NDArray[np.intp]]:
        """Yield frames until decord fails; return the indices that are left."""
        for position, index in enumerate(indices.tolist()):
            try:
                image = self._decord[index].asnumpy()
            except _DECORD_ERRORS:
                self._count("decord_failed")
                self._decord = None
                self.decoder = "pyav"
                return indices[position:]
            yield self._frame(index, image)
        return indices[:0]

    # PyAV

    def _iterate_pyav(self, indices: NDArray[np.intp]) -> Generator[Frame]:
        wanted = np.zeros(len(self._scan.timeline.pts), dtype=np.bool_)
        wanted[indices] = True
        reformatter = VideoReformatter()
        width_px, height_px = self._stored_size_px
        interpolation = Interpolation.AREA if self._draft else Interpolation.BILINEAR
        for index, decoded in self._decode_from(int(indices[0])):
            if wanted[index]:
                rgb = reformatter.reformat(
                    decoded, width_px, height_px, "rgb24", interpolation=interpolation, threads=1
                )
                yield self._frame(index, np.asarray(rgb.to_ndarray(), dtype=np.uint8))
            if index >= indices[-1]:
                return

    def _decode_from(self, first: int) -> Generator[tuple[int, VideoFrame]]:
        """Yield decoded frames with their indices, ascending, at the latest from ``first`` on."""
        seek_pts = _seek_target(self._scan, first)
        if seek_pts is not None:
            counts = dict(self._counts)
            frames = self._decode_all(seek_pts)
            start = next(frames, None)
            if start is not None and start[0] <= first:
                yield start
                yield from frames
                return
            # The container's index led elsewhere: read from the start.
            self._counts = counts
            self.close()
        yield from self._decode_all(None)

    def _decode_all(self, seek_pts: int | None) -> Generator[tuple[int, VideoFrame]]:
        timeline = self._scan.timeline
        try:
            self._container = container = _open_container(self._path)
        except (FFmpegError, OSError, ValueError) as error:
            raise _open_failure(self._path, error, None) from error
        stream = _video_stream(self._path, container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = NUM_THREADS
        if self._draft:
            stream.codec_context.options = {
                **stream.codec_context.options,
                "skip_loop_filter": "noref",
            }
        if seek_pts is not None:
            try:
                container.seek(seek_pts, stream=stream)
            except FFmpegError:
                return
        previous = -1
        for number, decoded in enumerate(self._decode_packets(container, stream)):
            index = number if timeline.counted else _index_of(timeline, decoded.pts)
            if index is None or not previous < index < len(timeline.pts):
                if index is not None and (seek_pts is None or previous >= 0):
                    self._count("unordered_frames")
                continue
            if decoded.is_corrupt:
                self._count("corrupt_frames")
            previous = index
            yield index, decoded

    def _decode_packets(
        self, container: av.container.InputContainer, stream: VideoStream
    ) -> Generator[VideoFrame]:
        packets = _packets_of(container, stream, lambda: self._count("read_errors"))
        for packet in _then_flush(packets):
            try:
                frames = stream.decode(packet)
            except FFmpegError:
                self._count("decode_errors")
                continue
            yield from frames


def _then_flush(packets: Iterator["Packet[VideoStream]"]) -> Iterator["Packet[VideoStream] | None"]:
    yield from packets
    yield None


def _index_of(timeline: _Timeline, pts: int | None) -> int | None:
    """Index of the frame displayed at ``pts``; the nearest where damage changed it."""
    if pts is None:
        return None
    right = int(np.searchsorted(timeline.pts, pts))
    if right < len(timeline.pts) and timeline.pts[right] == pts:
        return right
    if right == 0:
        return None
    if right == len(timeline.pts):
        return right - 1
    left_nearer = pts - timeline.pts[right - 1] <= timeline.pts[right] - pts
    return right - 1 if left_nearer else right


def _seek_target(scan: _Scan, first: int) -> int | None:
    """PTS of the key frame to start from, None to start from the beginning."""
    timeline = scan.timeline
    if timeline.counted or first == 0:
        return None
    key = int(np.searchsorted(timeline.key_pts, timeline.pts[first], side="right")) - 1
    if not _SEEKS_BY_INDEX & set(scan.probe.container.split(",")):
        # Seeking by byte position can land inside a group of pictures: let one go by.
        key -= 1
    return int(timeline.key_pts[key]) if key > 0 else None


_DECORD_MIN_WIDTH_PX: Final = 32
"""decord takes the padding of narrower rows for further color channels."""
_SEEKS_BY_INDEX: Final = frozenset({"mov", "matroska", "avi"})


def _distrust_of_decord(scan: _Scan) -> str | None:
    """Why decord would read this file wrongly, or None."""
    probe = scan.probe
    reasons = {
        "it is not installed": decord is None,
        "its path is not UTF-8": not _is_utf8(scan.probe.path),
        "the packet scan found " + ", ".join(probe.issues): bool(probe.issues),
        "its rate varies": not probe.constant_rate,
        f"it starts at {probe.start_offset_s:g} s": probe.start_offset_s != 0,
        f"it is rotated by {probe.rotation_deg} degrees": probe.rotation_deg != 0,
        "its pixels are not square": not scan.square_pixels,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _decord_reader(path: Path, size_px: tuple[int, int]) -> Any:
    if decord is None:
        raise AssertionError("decord is asked for only where it is installed")
    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(
        str(path.absolute()),
        ctx=decord.cpu(0),
        width=size_px[0],
        height=size_px[1],
        num_threads=NUM_THREADS,
    )


_DECORD_ERRORS: Final = () if decord is None else (decord.DECORDError, RuntimeError)
