"""Pictures and videos of clips, made in killable workers and kept in a bounded cache.

Browsers cannot play every codec, and no file that a dataset names is sent as it is: what is sent
was decoded by the one reader of this project and encoded again, with the times of the reader.

Shapes: T frames of a track at 20 fps, J = 22 joints.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import PIL.Image
from PIL import ImageDraw

from data.arrays import FloatArray
from data.errors import ItemError, Reason
from data.motion.skeleton import BONES
from data.video.files import hash_file
from data.video.probe import probe_video
from data.video.reader import open_frames
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers

MAX_SIDE_PX: Final = 960
THUMB_PX: Final = (384, 216)
CACHE_BYTES: Final = 2 * 10**9
"""Maximum size of the cached pictures and videos; those that were used longest ago go first."""
MAX_SPAN_S: Final = 60.0
"""Maximum length of a video that is made; clips have at most 10 s by default."""
FORMAT: Final = 1
"""Raised whenever pictures or videos are made differently."""
_TICKS_PER_S: Final = 90_000
_LIMITS: Final = WorkerConfig(num_workers=2, min_timeout_s=60.0, max_timeout_s=300.0)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a video file.

    Attributes:
        path: the file.
        video_id: content hash that the file must have; empty if it is not known.
        start_s, end_s: half-open span of display times.
    """

    path: Path
    video_id: str
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length of the span in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Portrait:
    """A frame with the people of a clip, cut to the one who is described.

    Attributes:
        span: the clip.
        time_s: time of the frame.
        joints_J2: joints of the person at that time, pixels of the upright frame; None without.
    """

    span: Span
    time_s: float
    joints_J2: FloatArray | None


@dataclass(frozen=True, slots=True)
class _Job:
    """A span or portrait to make, and the file to write."""

    item: Any
    target: Path


class Media:
    """Makes pictures and videos on request. Use as a context manager.

    Args:
        folder: folder of the cache; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._workers = Workers(_LIMITS)
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> "Media":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def video(self, span: Span) -> Path:
        """Return an MP4 of a span that browsers play; its time 0 is the start of the span.

        Raises:
            ItemError: the file is missing, has changed or cannot be decoded.
        """
        if not 0 < span.duration_s <= MAX_SPAN_S:
            span = Span(span.path, span.video_id, span.start_s, span.start_s + MAX_SPAN_S)
        return self._made(span, "mp4", _write_video)

    def thumbnail(self, portrait: Portrait) -> Path:
        """Return a JPEG of a person.

        Raises:
            ItemError: the file is missing, has changed or cannot be decoded.
        """
        return self._made(portrait, "jpg", _write_portrait)

    def _made(self, item: Span | Portrait, ending: str, write: Callable[[_Job], None]) -> Path:
        span = item if isinstance(item, Span) else item.span
        try:
            status = span.path.stat()
        except (OSError, ValueError) as error:
            raise ItemError(
                Reason.NOT_FOUND,
                f"{span.path}: expected the video, found none.",
                "Put the file back where it was annotated, or browse without pictures.",
            ) from error
        state = f"{FORMAT} {item!r} {status.st_size} {status.st_mtime_ns}"
        name = hashlib.sha256(state.encode()).hexdigest()[:24]
        path = self._folder / f"{name}.{ending}"
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if not path.is_file():
                self._make(_Job(item, path), write, span)
            os.utime(path)
        return path

    def _make(self, job: _Job, write: Callable[[_Job], None], span: Span) -> None:
        workers = self._workers.for_run(UnexpectedErrors())
        temporary = job.target.with_suffix(f".making{job.target.suffix}")
        video_s = min(span.duration_s, MAX_SPAN_S)
        ((_, error),) = workers.run(write, [_Job(job.item, temporary)], video_s=lambda _: video_s)
        if isinstance(error, ItemError):
            temporary.unlink(missing_ok=True)
            raise error
        temporary.replace(job.target)
        self._forget()

    def _forget(self) -> None:
        """Remove the files that were used longest ago while the cache is too large."""
        files = [(file.stat(), file) for file in self._folder.iterdir() if file.is_file()]
        total = sum(status.st_size for status, _ in files)
        for status, file in sorted(files, key=lambda found: found[0].st_mtime_ns):
            if total <= CACHE_BYTES:
                break
            file.unlink(missing_ok=True)
            total -= status.st_size


def _write_video(job: _Job) -> None:
    encode_video(job.item, job.target)


def _write_portrait(job: _Job) -> None:
    draw_portrait(job.item).save(job.target, "JPEG", quality=82)


def encode_video(span: Span, target: Path) -> None:
    """Encode a span as H.264 in MP4, with the times of the reader.

    Args:
        span: what to encode.
        target: file to write.

    Raises:
        ItemError: the file has changed or cannot be decoded.
    """
    _check_content(span)
    probe = probe_video(span.path)
    with (
        open_frames(
            span.path, probe, start_s=span.start_s, end_s=span.end_s, max_side_px=MAX_SIDE_PX
        ) as frames,
        av.open(str(target), "w", options={"movflags": "faststart"}) as container,
    ):
        stream: Any = None
        for frame in frames:
            height, width = (side - side % 2 for side in frame.image.shape[:2])
            if stream is None:
                stream = container.add_stream("libx264", rate=30)
                stream.width, stream.height = width, height
                stream.pix_fmt = "yuv420p"
                # A key frame every few frames makes a step back in time quick.
                stream.options = {"preset": "veryfast", "crf": "24", "g": "12"}
                stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
            image = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame.image[:height, :width]), format="rgb24"
            )
            image.pts = round((frame.pts_s - span.start_s) * _TICKS_PER_S)
            image.time_base = Fraction(1, _TICKS_PER_S)
            container.mux(stream.encode(image))
        if stream is None:
            raise ItemError(
                Reason.ZERO_FRAMES,
                f"{span.path}: expected frames from {span.start_s:.2f} to {span.end_s:.2f} s, "
                "found none.",
                "Check that the video is the one that was annotated.",
            )
        container.mux(stream.encode(None))


def draw_portrait(portrait: Portrait) -> PIL.Image.Image:
    """Draw a frame of a clip, cut around a person with their skeleton.

    Raises:
        ItemError: the file has changed or cannot be decoded.
    """
    span = portrait.span
    _check_content(span)
    probe = probe_video(span.path)
    start_s = max(0.0, min(portrait.time_s, probe.duration_s - 0.2))
    with open_frames(
        span.path, probe, start_s=start_s, end_s=start_s + 0.5, max_side_px=MAX_SIDE_PX
    ) as frames:
        frame = next(iter(frames), None)
    if frame is None:
        raise ItemError(
            Reason.ZERO_FRAMES,
            f"{span.path}: expected a frame at {start_s:.2f} s, found none.",
            "Check that the video is the one that was annotated.",
        )
    image = PIL.Image.fromarray(frame.image)
    joints_J2 = None
    if portrait.joints_J2 is not None:
        joints_J2 = portrait.joints_J2 * (image.width / probe.width_px)
    box = _crop(image.size, joints_J2)
    scale = THUMB_PX[0] / (box[2] - box[0])
    thumb = image.resize(THUMB_PX, PIL.Image.Resampling.LANCZOS, box=box)
    if joints_J2 is not None:
        draw = ImageDraw.Draw(thumb)
        points = [tuple(point) for point in (joints_J2 - box[:2]) * scale]
        for color, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
            for a, b in BONES:
                draw.line([points[a], points[b]], fill=color, width=width)
    return thumb


def _crop(
    size_px: tuple[int, int], joints_J2: FloatArray | None
) -> tuple[float, float, float, float]:
    """Return the box of a thumbnail's shape that shows a person, or the middle of the frame."""
    width, height = size_px
    ratio = THUMB_PX[0] / THUMB_PX[1]
    most = min(width, height * ratio)
    if joints_J2 is None:
        center, wide = np.array([width / 2, height / 2]), most
    else:
        low, high = joints_J2.min(0), joints_J2.max(0)
        center = (low + high) / 2
        # The person fills two thirds of the picture.
        wide = 1.5 * max(high[0] - low[0], (high[1] - low[1]) * ratio)
        wide = float(np.clip(wide, most / 4, most))
    tall = wide / ratio
    left = float(np.clip(center[0] - wide / 2, 0, width - wide))
    top = float(np.clip(center[1] - tall / 2, 0, height - tall))
    return left, top, left + wide, top + tall


def _check_content(span: Span) -> None:
    if span.video_id and hash_file(span.path) != span.video_id:
        raise ItemError(
            Reason.NOT_FOUND,
            f"{span.path}: expected the video that was annotated ({span.video_id}), found another "
            "content.",
            "Put the original file back, or annotate the new one.",
        )
