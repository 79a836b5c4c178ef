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
from numpy.typing import NDArray
from pydantic import Field

from data.config import Config
from data.errors import ItemError, Reason
from data.records import Frame, VideoProbe
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
"""Decoding threads. There is a worker process per core: two videos at a time with one thread each
decode faster than one at a time with two."""
_EPSILON_S: Final = 1e-6
_DECORD_MIN_WIDTH_PX: Final = 32
"""decord takes the padding of narrower rows for further color channels."""
_SEEKS_BY_INDEX: Final = frozenset({"mov", "matroska", "avi"})
_DECORD_ERRORS: Final = () if decord is None else (decord.DECORDError, RuntimeError)
DecoderName = Literal["decord", "pyav"]
Image = NDArray[np.uint8]


class ReaderConfig(Config):
    """How video files are decoded."""

    decoder: Literal["auto", "decord", "pyav"] = Field(
        default="auto",
        description="auto: decord for healthy files of constant rate, PyAV for all others. "
        "pyav: always PyAV. decord: decord or nothing; files that it cannot be trusted with fail.",
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
    scan = scan_file(path)
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
    scan = scan_file(path)
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
        scan: Scan,
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


def _seek_target(scan: Scan, first: int) -> int | None:
    """PTS of the key frame to start from, None to start from the beginning."""
    timeline = scan.timeline
    if timeline.counted or first == 0:
        return None
    key = int(np.searchsorted(timeline.key_pts, timeline.pts[first], side="right")) - 1
    if not _SEEKS_BY_INDEX & set(scan.probe.container.split(",")):
        # Seeking by byte position can land inside a group of pictures: let one go by.
        key -= 1
    return int(timeline.key_pts[key]) if key > 0 else None


def _distrust_of_decord(scan: Scan) -> str | None:
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
