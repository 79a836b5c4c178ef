"""Decode video frames. Every stage uses this reader, so that all stages agree on times and indices.

The first displayed frame of a video is at 0 s, and every frame carries its own display time (PTS).
The index of a frame is its rank among the timestamps of all packets (:mod:`data.video.probe`). It
does not depend on the decoder, on where reading starts, or on frames lost to damage.

decord reads files that the packet scan finds healthy, of constant frame rate and starting at 0.
PyAV reads all others, because decord raises on damaged files, ignores a start offset, and can hang
on files that declare more frames than they hold. Callers run the reader with a wall-clock limit
(:mod:`data.workers.workers`).

Shapes: N frames of the video in display order, H and W in pixels.
"""

import math
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import av.container
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from pydantic import Field

from data.arrays import FloatArray, ImageArray, IndexArray
from data.config import Config
from data.errors import ItemError, Reason
from data.records import Frame, VideoProbe
from data.video.files import is_utf8
from data.video.probe import (
    Scan,
    Timeline,
    open_container,
    open_failure,
    packets_of,
    scan_file,
    video_stream,
)

try:
    import decord
except ImportError:  # There are no wheels for ARM.
    decord = None

NUM_THREADS: Final = 1
"""Decoding threads. There is one worker process per core, and two videos decode faster in parallel
with one thread each than one after the other with two threads."""
_EPSILON_S: Final = 1e-6
_DECORD_MIN_WIDTH_PX: Final = 32
"""decord mistakes the row padding of narrower frames for color channels."""
_SEEKS_BY_INDEX: Final = frozenset({"mov", "matroska", "avi"})
_DECORD_ERRORS: Final = () if decord is None else (decord.DECORDError, RuntimeError)
DecoderName = Literal["decord", "pyav"]


class ReaderConfig(Config):
    """How video files are decoded."""

    decoder: Literal["auto", "decord", "pyav"] = Field(
        default="auto",
        description="auto: decord for healthy files of constant frame rate, PyAV for all others. "
        "pyav: always PyAV. decord: always decord; files that it may read wrongly are rejected.",
    )


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
    """Read frames of a video, upright and with their times.

    Args:
        path: the file.
        probe: result of :func:`data.video.probe.probe_video` for the file.
        start_s: begin of the half-open span of display times.
        end_s: end of the span; None: the end of the video.
        sample_fps: read the frames nearest to ``start_s + k / sample_fps``, each at most once;
            None: read every frame.
        max_side_px: shrink frames so that the longer side has at most this many pixels; smaller
            frames are not enlarged.
        config: selects the decoder; automatic by default.

    Returns:
        A context manager to iterate over once.

    Raises:
        ItemError: the file cannot be read, or cannot be read by the configured decoder.
        ValueError: an argument is out of range.
    """
    if not 0 <= start_s < math.inf or (end_s is not None and not end_s > start_s):
        raise ValueError(f"{path}: expected 0 <= start_s < end_s, found {start_s} and {end_s}")
    if sample_fps is not None and not 0 < sample_fps < math.inf:
        raise ValueError(f"{path}: expected sample_fps > 0, found {sample_fps}")
    if max_side_px is not None and max_side_px < 1:
        raise ValueError(f"{path}: expected max_side_px >= 1, found {max_side_px}")
    scan = scan_file(path)
    longer_px = max(probe.width_px, probe.height_px)
    scale = 1.0 if max_side_px is None else min(1.0, max_side_px / longer_px)
    indices = _select(scan.timeline.pts_s, start_s, end_s, sample_fps)
    return FrameReader(
        path, scan, indices, _scaled_size(probe, scale), (config or ReaderConfig()).decoder
    )


def scan_thumbnails(path: Path, probe: VideoProbe, *, width_px: int = 128) -> "FrameReader":
    """Read every frame of a video as a thumbnail, as fast as possible, to detect shots.

    The loop filter is skipped for frames that no other frame refers to. Skipping it for all frames
    accumulates errors, which drop at key frames and look like cuts.

    Args:
        path: the file.
        probe: result of :func:`data.video.probe.probe_video` for the file.
        width_px: width of the images; never larger than the video's width.

    Returns:
        A context manager to iterate over once.

    Raises:
        ItemError: the file cannot be read.
    """
    scan = scan_file(path)
    indices = np.arange(len(scan.timeline.pts))
    size = _scaled_size(probe, min(1.0, width_px / probe.width_px))
    return FrameReader(path, scan, indices, size, "pyav", draft=True)


def _scaled_size(probe: VideoProbe, scale: float) -> tuple[int, int]:
    return max(1, round(probe.width_px * scale)), max(1, round(probe.height_px * scale))


def _select(
    pts_s: FloatArray, start_s: float, end_s: float | None, sample_fps: float | None
) -> IndexArray:
    """Ascending indices of the frames in a span, subsampled to a regular grid."""
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
    # A tie goes to the earlier frame, regardless of rounding errors in the times.
    nearer_right = (inside[right] - grid) < (grid - inside[right - 1]) - _EPSILON_S
    return first + np.unique(np.where(nearer_right, right, right - 1))


class FrameReader:
    """Frames of one video in display order. Use as a context manager and iterate once.

    Created by :func:`open_frames` and :func:`scan_thumbnails`.

    Attributes:
        decoder: the decoder in use, ``decord`` or ``pyav``.
    """

    def __init__(
        self,
        path: Path,
        scan: Scan,
        indices: IndexArray,
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
        """Problems so far as ``code:count``; complete after the iteration."""
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
        """Close the file."""
        self._decord = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            ItemError: none of the requested frames can be decoded.
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

    def _frame(self, index: int, image: ImageArray) -> Frame:
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
            distrust = f"its frames are {self._stored_size_px[0]} px wide"
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

    def _iterate_decord(self, indices: IndexArray) -> Generator[Frame, None, IndexArray]:
        """Yield frames until decord fails; return the indices of the remaining frames."""
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

    def _iterate_pyav(self, indices: IndexArray) -> Generator[Frame]:
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
        """Yield decoded frames with ascending indices, beginning at ``first`` or before it."""
        seek_pts = _seek_target(self._scan, first)
        if seek_pts is not None:
            counts = dict(self._counts)
            frames = self._decode_all(seek_pts)
            start = next(frames, None)
            if start is not None and start[0] <= first:
                yield start
                yield from frames
                return
            # The seek went past the frame: decode from the start.
            self._counts = counts
            self.close()
        yield from self._decode_all(None)

    def _decode_all(self, seek_pts: int | None) -> Generator[tuple[int, VideoFrame]]:
        timeline = self._scan.timeline
        try:
            self._container = container = open_container(self._path)
        except (FFmpegError, OSError, ValueError) as error:
            raise open_failure(self._path, error, None) from error
        stream = video_stream(self._path, container)
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
        packets = packets_of(container, stream, lambda: self._count("read_errors"))
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


def _index_of(timeline: Timeline, pts: int | None) -> int | None:
    """Index of the frame displayed at ``pts``, or of the nearest one if damage changed the PTS."""
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


def _seek_target(scan: Scan, first: int) -> int | None:
    """PTS of the key frame to seek to; None: start from the beginning."""
    timeline = scan.timeline
    if timeline.counted or first == 0:
        return None
    key = int(np.searchsorted(timeline.key_pts, timeline.pts[first], side="right")) - 1
    if not _SEEKS_BY_INDEX & set(scan.probe.container.split(",")):
        # Seeking by byte position can land inside a group of pictures: start one group earlier.
        key -= 1
    return int(timeline.key_pts[key]) if key > 0 else None


def _distrust_of_decord(scan: Scan) -> str | None:
    """Why decord may read this file wrongly; None if it reads it correctly."""
    probe = scan.probe
    reasons = {
        "it is not installed": decord is None,
        "its path is not UTF-8": not is_utf8(scan.probe.path),
        "the packet scan found " + ", ".join(probe.issues): bool(probe.issues),
        "its rate varies": not probe.constant_rate,
        f"it starts at {probe.start_offset_s:g} s": probe.start_offset_s != 0,
        f"it is rotated by {probe.rotation_deg} degrees": probe.rotation_deg != 0,
        "its pixels are not square": not scan.square_pixels,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


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
