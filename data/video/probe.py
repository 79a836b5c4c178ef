"""Probe video files by scanning their packets, without decoding them.

The first displayed frame of a video is at 0 s, whatever the container declares. The index of a
frame is its rank among the timestamps of all packets, so it does not depend on the decoder.
Lengths declared in container headers are ignored.
"""

import math
import struct
from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

import av
import av.container
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.records import VideoProbe
from data.video.files import require_file, unreadable
from data.video.truncation import Truncation, find_truncation, reads_past, truncated

MAX_SIDE_PX: Final = 16384
MAX_PIXELS: Final = 8192 * 8192
"""Maximum size of a frame. It admits 360-degree video of 11520 x 5760. The limit exists because
decoders hold several frames in memory."""
MAX_GIF_PIXELS: Final = 100_000_000_000
"""Maximum number of pixels of all frames of a GIF together, equal to 27 minutes of 1920 x 1080 at
30 fps. A frame of 24 bytes is enough to make a decoder process the whole canvas."""
MAX_FPS: Final = 1000
MAX_DURATION_S: Final = 24 * 3600.0
_PROBE_DECODE_PACKETS: Final = 100
_NO_TS: Final = np.iinfo(np.int64).min

# Playlists and image patterns make FFmpeg open other files or addresses, so untrusted files must
# have one of these formats. Audio formats are listed to distinguish them from damaged videos.
_VIDEO_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,mxf,"
    "nut,rm,ivf,m4v,h264,hevc,obu,av1,dv,wtv,yuv4mpegpipe,vc1,mjpeg"
)
_AUDIO_FORMATS: Final = "mp3,wav,flac,aac,ac3,eac3,aiff,caf,amr,w64,ape,wv,tta,dts,au"
_OPEN_OPTIONS: Final = {
    "format_whitelist": f"{_VIDEO_FORMATS},{_AUDIO_FORMATS}",
    "protocol_whitelist": "file",
}


@dataclass(frozen=True, slots=True)
class Timeline:
    """Display times of the frames of a video, according to its packets.

    Attributes:
        pts: (N,) int64, strictly increasing, in units of the stream's time base.
        pts_s: (N,) float64, seconds since the first frame.
        key_pts: (K,) int64, ascending: PTS of the key frames, where decoding can start.
        counted: whether the packets carry no usable PTS; then the n-th decoded frame is frame n.
        last_duration: duration of the last frame in the same units; 0 if unknown.
    """

    pts: NDArray[np.int64]
    pts_s: NDArray[np.float64]
    key_pts: NDArray[np.int64]
    counted: bool
    last_duration: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Result of the packet scan: the public probe, and what decoding needs in addition."""

    probe: VideoProbe
    timeline: Timeline
    square_pixels: bool
    mirrored: bool


@dataclass(frozen=True, slots=True)
class _Packets:
    """Fields of all packets of a stream, in file order; ``_NO_TS`` where a timestamp is missing.

    ``first_frame`` is the first frame that could be decoded, kept for its orientation.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    key: NDArray[np.bool_]
    discard: NDArray[np.bool_]
    num_corrupt: int
    num_errors: int
    first_frame: VideoFrame | None


def probe_video(path: Path) -> VideoProbe:
    """Scan all packets of a video file; only its first frame is decoded (for its orientation).

    Args:
        path: the file; its extension does not matter.

    Returns:
        The probe. Its ``issues`` list non-fatal problems as ``code:count``.

    Raises:
        ItemError: the file cannot be used; the reason states why.
    """
    return scan_file(path).probe


def scan_file(path: Path) -> Scan:
    """Scan all packets of a video file. The last 8 results are cached by path, size and mtime.

    Raises:
        ItemError: the file cannot be used; the reason states why.
    """
    status = require_file(path)
    # Every clip opens its video anew. Size and mtime in the key invalidate a changed file.
    return _scan_cached(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _scan_cached(path: Path, size_bytes: int, _mtime_ns: int) -> Scan:
    truncation = find_truncation(path, size_bytes)
    try:
        container = open_container(path)
    except (FFmpegError, OSError, ValueError) as error:
        raise open_failure(path, error, truncation) from error
    with container:
        stream = video_stream(path, container)
        _display_size(path, stream, 0)  # Raises for frames too large to decode.
        packets = _read_packets(container, stream)
        if truncation is not None and (truncation.certain or reads_past(stream, size_bytes)):
            raise truncated(truncation)
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


def open_container(path: Path) -> av.container.InputContainer:
    """Open a local file in one of the allowed container formats."""
    # With "file:" and an absolute path, a name cannot act as an address. Invalid metadata tags
    # are replaced, since they are not needed.
    return av.open(
        f"file:{path.absolute()}", mode="r", options=dict(_OPEN_OPTIONS), metadata_errors="replace"
    )


def _check_gif(path: Path, stream: VideoStream, num_frames: int) -> None:
    """Raise for a still image, and for an animation that would take hours to decode."""
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


def open_failure(path: Path, error: Exception, truncation: Truncation | None) -> ItemError:
    """The error for a file that :func:`open_container` cannot open."""
    if truncation is not None:
        return truncated(truncation)
    if isinstance(error, PermissionError):
        return unreadable(path, error)
    return _not_a_video(path, "a file that no video demuxer recognizes")


def _not_a_video(path: Path, found: str) -> ItemError:
    return ItemError(
        Reason.NOT_A_VIDEO,
        f"{path}: expected a video, found {found}.",
        "Remove the file from the sources, or convert it to MP4.",
    )


def video_stream(path: Path, container: av.container.InputContainer) -> VideoStream:
    """Return the first video stream that is not cover art or a still image."""
    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    for stream in container.streams.video:
        if stream.disposition & still:
            continue
        # The stubs claim otherwise, but a stream without a decoder has no codec context.
        if cast("object", stream.codec_context) is None:
            raise ItemError(
                Reason.DECODE_FAILED,
                f"{path}: expected a video codec that FFmpeg can decode, found an unknown one.",
                "Convert the video with the program that made it.",
            )
        # The frame size may also grow after the header.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    kinds = sorted({s.type for s in container.streams if s.type != "video"})
    covers = " (cover art is not counted)" if container.streams.video else ""
    raise ItemError(
        Reason.NO_VIDEO_STREAM,
        f"{path}: expected a video stream, found only: {', '.join(kinds) or 'nothing'}{covers}.",
        "Remove the file from the sources.",
    )


def packets_of(
    container: av.container.InputContainer, stream: VideoStream, on_error: Callable[[], None]
) -> Generator["Packet[VideoStream]"]:
    """Yield the packets of a stream; continue after read errors as long as packets follow."""
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

    for packet in packets_of(container, stream, count_error):
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
    """Decode a packet; return no frames if it is damaged."""
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
) -> Scan:
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
    # Some writers store nonsensical durations.
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
    return Scan(probe, timeline, square_pixels, mirrored)


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
) -> tuple[Timeline, list[str]]:
    issues: list[str] = []
    shown = ~packets.discard
    first_key = int(np.argmax(packets.key)) if packets.key.any() else 0
    # Frames before the first key frame, in file order or in display order, cannot be decoded.
    shown[:first_key] = False
    if packets.pts[first_key] != _NO_TS:
        shown &= (packets.pts >= packets.pts[first_key]) | (packets.pts == _NO_TS)
    num_unshown = int((~shown & ~packets.discard).sum())
    if num_unshown:
        issues.append(f"before_first_keyframe:{num_unshown}")
    if not shown.any():
        raise ItemError(
            Reason.ZERO_FRAMES,
            f"{path}: expected visible frames, found {len(packets.pts)} packets, all hidden by an "
            "edit list.",
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
    return Timeline(unique, pts_s, keys, counted, last_duration), issues


def _times_are_guessed(stream: VideoStream, pts: NDArray[np.int64]) -> bool:
    """Whether the timestamps follow file order although the frames are reordered for display.

    AVI stores no display times. For H.264, FFmpeg then generates times that ignore reordering.
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
    """Whether some frames share a display time although their number and duration fit the span.

    A packet of an MPEG program stream carries one time and may hold several small frames. FFmpeg
    may assign that time to the wrong one of them.
    """
    return (
        stream.container.format.name == "mpeg"
        and len(np.unique(pts)) < len(pts)
        and bool(np.all(duration == duration[0]))
        and int(np.ptp(pts)) == (len(pts) - 1) * int(duration[0])
    )


def _rate(
    stream: VideoStream, timeline: Timeline, time_base: Fraction, constant_rate: bool
) -> Fraction:
    """Frame rate according to the packets; the header's exact rate if it agrees with them."""
    header = stream.average_rate or stream.guessed_rate or Fraction(0)
    num_intervals = len(timeline.pts) - 1
    if num_intervals == 0:
        return header if 0 < header <= MAX_FPS else Fraction(1)
    span_s = int(timeline.pts[-1] - timeline.pts[0]) * time_base
    # A container with millisecond timestamps rounds every one of them.
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
    """Whether a header declares clearly more video than the packets hold."""
    slack_s = max(0.5, 3 * interval_s) + max(0.0, start_offset_s)
    reported_s = 0.0
    if stream.duration is not None and stream.time_base is not None:
        reported_s = float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        reported_s = max(reported_s, container.duration / av.time_base)
    return reported_s > duration_s + slack_s or stream.frames > num_packets


def _orientation(frame: VideoFrame | None) -> tuple[int, bool]:
    """Clockwise rotation that makes a frame upright (a multiple of 90), and whether to mirror it.

    The display matrix maps stored (x, y) to displayed (a·x + c·y, b·x + d·y), y down. A negative
    determinant means a rotation followed by a horizontal mirror.
    """
    matrix = None if frame is None else frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    mirrored = a * d - b * c < 0
    angle_deg = math.degrees(math.atan2(b, -a if mirrored else a))
    return round(angle_deg / 90) * 90 % 360, mirrored


def _display_size(path: Path, stream: VideoStream, rotation_deg: int) -> tuple[int, int, bool]:
    """Return the displayed width and height, and whether the stored pixels are square."""
    width_px, height_px = stream.codec_context.width, stream.codec_context.height
    if not (0 < width_px <= MAX_SIDE_PX and 0 < height_px <= MAX_SIDE_PX):
        raise _absurd(
            path, f"a frame of 1 to {MAX_SIDE_PX} px per side", f"{width_px} x {height_px}"
        )
    if width_px * height_px > MAX_PIXELS:
        raise _absurd(path, f"a frame of at most {MAX_PIXELS} px", f"{width_px} x {height_px}")
    aspect = stream.sample_aspect_ratio
    # A ratio outside this range is a mistake; one within 1 % of square is a rounding error.
    square = aspect is None or not Fraction(1, 4) <= aspect <= 4 or abs(aspect - 1) < 0.01
    if aspect is not None and not square:
        width_px = max(1, round(width_px * aspect))
    if rotation_deg % 180:
        width_px, height_px = height_px, width_px
    return width_px, height_px, square
