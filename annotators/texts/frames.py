"""Frames of clips and videos for the prompts of visual models, with the people marked in them."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from annotators.chat.protocol import Jpeg
from annotators.motion.describe import inside_frame
from annotators.motion.signals import MIN_CONFIDENCE
from annotators.texts.config import CaptionConfig
from annotators.texts.people import Person
from data.arrays import FloatArray, ImageArray
from data.records import Clip, VideoProbe
from data.video.reader import ReaderConfig, open_frames

BOX_MARGIN: Final = 0.12
"""Margin of a box around the joints, relative to its longer side: hands, feet and the top of the
head are beyond the joints."""
CROP_MARGIN: Final = 0.25
"""Margin of a crop, so that what the person reaches for is seen."""
MAX_DECODED_PX: Final = 1920
"""Longer side of the frames that crops are cut from, at most."""
NEAR_S: Final = 0.1
"""Largest time between a frame and the pose that its box is drawn from."""

_COLORS_RGB: Final = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 130, 48),
    (145, 30, 180),
    (0, 180, 180),
    (240, 50, 230),
    (128, 128, 0),
)


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A frame of a prompt and its time in the video."""

    time_s: float
    picture: Jpeg


def sample_times(start_s: float, end_s: float, count: int) -> list[float]:
    """Return times spread evenly over a span: the midpoints of ``count`` equal intervals."""
    window_s = (end_s - start_s) / count
    return [start_s + (index + 0.5) * window_s for index in range(count)]


def read_clip_frames(
    path: Path,
    probe: VideoProbe,
    clip: Clip,
    config: CaptionConfig,
    reader: ReaderConfig,
    boxed: Sequence[Person] = (),
) -> tuple[TimedFrame, ...]:
    """Read the sampled frames of a clip in one pass.

    Args:
        path: path of the video.
        probe: properties of the video.
        clip: the clip.
        config: number, size and quality of the frames.
        reader: configuration of the reader.
        boxed: people to mark with numbered boxes.

    Raises:
        ItemError: the video cannot be read.
    """
    frames: list[TimedFrame] = []
    for time_s, image in _images(path, probe, clip, config, reader, config.max_side_px):
        scale = image.shape[0] / probe.height_px
        for person in boxed:
            draw_box(image, person, time_s, scale, probe)
        frames.append(TimedFrame(time_s, Jpeg.encode(image, config.jpeg_quality)))
    return tuple(frames)


def read_crops(
    path: Path,
    probe: VideoProbe,
    clip: Clip,
    config: CaptionConfig,
    reader: ReaderConfig,
    people: Sequence[Person],
) -> list[tuple[TimedFrame, ...]]:
    """Read frames that are cropped to each person, who is marked with a box, in one pass.

    A crop is the same region in all frames, so that it shows how the person moves.

    Args:
        path: path of the video.
        probe: properties of the video.
        clip: the clip.
        config: number, size and quality of the frames.
        reader: configuration of the reader.
        people: people to show.

    Returns:
        The frames of each person.

    Raises:
        ItemError: the video cannot be read.
    """
    regions = [_region(person, probe) for person in people]
    smallest_px = min(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in regions)
    longer_px = max(probe.width_px, probe.height_px)
    decoded_px = min(longer_px * config.max_side_px / smallest_px, MAX_DECODED_PX, longer_px)
    frames: list[list[TimedFrame]] = [[] for _ in people]
    for time_s, image in _images(path, probe, clip, config, reader, max(round(decoded_px), 32)):
        scale = image.shape[0] / probe.height_px
        for person, region, found in zip(people, regions, frames, strict=True):
            marked = image.copy()
            draw_box(marked, person, time_s, scale, probe)
            x0, y0, x1, y1 = (round(value * scale) for value in region)
            crop = _shrunk(marked[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], config.max_side_px)
            found.append(TimedFrame(time_s, Jpeg.encode(crop, config.jpeg_quality)))
    return [tuple(found) for found in frames]


def _images(
    path: Path,
    probe: VideoProbe,
    clip: Clip,
    config: CaptionConfig,
    reader: ReaderConfig,
    max_side_px: int,
) -> Iterator[tuple[float, ImageArray]]:
    """Yield the sampled frames of a clip with their times."""
    times_s = sample_times(clip.start_s, clip.end_s, config.frames_per_clip)
    with open_frames(
        path,
        probe,
        start_s=times_s[0],
        end_s=clip.end_s,
        sample_fps=config.frames_per_clip / (clip.end_s - clip.start_s),
        max_side_px=max_side_px,
        config=reader,
    ) as frames:
        for frame in frames:
            yield frame.pts_s, np.array(frame.image)


def read_video_frames(
    path: Path, probe: VideoProbe, duration_s: float, config: CaptionConfig, reader: ReaderConfig
) -> tuple[TimedFrame, ...]:
    """Read frames spread over a whole video, with a seek to each, because they are far apart.

    Raises:
        ItemError: the video cannot be read.
    """
    found: dict[float, TimedFrame] = {}
    step_s = float(1 / probe.fps)
    for time_s in sample_times(0.0, duration_s, config.frames_per_video):
        with ExitStack() as stack:
            frames = stack.enter_context(
                open_frames(
                    path,
                    probe,
                    start_s=max(0.0, time_s - step_s),
                    end_s=time_s + step_s,
                    sample_fps=float(probe.fps),
                    max_side_px=config.max_side_px,
                    config=reader,
                )
            )
            for frame in itertools.islice(frames, 1):
                picture = Jpeg.encode(frame.image, config.jpeg_quality)
                found[frame.pts_s] = TimedFrame(frame.pts_s, picture)
    return tuple(found[time_s] for time_s in sorted(found))


# ---------------------------------------------------------------------------------------- marks


def draw_box(
    image_HW3: ImageArray, person: Person, time_s: float, scale: float, probe: VideoProbe
) -> None:
    """Draw the numbered box of a person in place, if the person is measured at that time.

    Args:
        image_HW3: (H, W, 3) RGB image.
        person: the person.
        time_s: time of the image in the video.
        scale: pixels of the image per pixel of the video.
        probe: properties of the video.
    """
    track = person.track
    nearest = int(np.argmin(np.abs(track.pts_s - time_s)))
    if abs(track.pts_s[nearest] - time_s) > NEAR_S:
        return
    box = _bounds(person, probe, slice(nearest, nearest + 1), BOX_MARGIN)
    if box is None:
        return
    x0, y0, x1, y1 = (round(value * scale) for value in box)
    color = _COLORS_RGB[(person.number - 1) % len(_COLORS_RGB)]
    height_px, width_px = image_HW3.shape[:2]
    thickness = max(1, round(max(height_px, width_px) / 250))
    cv2.rectangle(image_HW3, (x0, y0), (x1, y1), color, thickness)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, max(0.4, max(height_px, width_px) / 900)
    (text_px, line_px), base_px = cv2.getTextSize(str(person.number), font, size, 2)
    # The number is inside of the box where it would be above the picture.
    bottom = y0 if y0 >= line_px + base_px else y0 + line_px + base_px
    corner = (x0 + text_px + 4, bottom)
    cv2.rectangle(image_HW3, (x0, bottom - line_px - base_px), corner, color, -1)
    at = (x0 + 2, bottom - base_px // 2 - 1)
    cv2.putText(image_HW3, str(person.number), at, font, size, (255, 255, 255), 2, cv2.LINE_AA)


def _region(person: Person, probe: VideoProbe) -> tuple[float, float, float, float]:
    """Return the region of a person in all frames: x0, y0, x1, y1 in pixels of the video."""
    whole = 0.0, 0.0, float(probe.width_px), float(probe.height_px)
    return _bounds(person, probe, slice(None), CROP_MARGIN) or whole


def _bounds(
    person: Person, probe: VideoProbe, frames: slice, margin: float
) -> tuple[float, float, float, float] | None:
    """Return the bounds of the visible joints in some frames with a margin; None without any."""
    track, size = person.track, (probe.width_px, probe.height_px)
    seen_TJ = (track.confidence >= MIN_CONFIDENCE) & inside_frame(track, size)
    points_N2: FloatArray = track.joints_2d[frames][seen_TJ[frames]]
    if len(points_N2) < 3:
        return None
    (x0, y0), (x1, y1) = points_N2.min(axis=0).tolist(), points_N2.max(axis=0).tolist()
    more = margin * max(x1 - x0, y1 - y0)
    return (
        max(x0 - more, 0.0),
        max(y0 - more, 0.0),
        min(x1 + more, float(size[0])),
        min(y1 + more, float(size[1])),
    )


def _shrunk(image_HW3: ImageArray, max_side_px: int) -> ImageArray:
    """Return an image whose longer side has at most this length."""
    height_px, width_px = image_HW3.shape[:2]
    scale = max_side_px / max(height_px, width_px)
    if scale >= 1:
        return np.ascontiguousarray(image_HW3)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    return np.asarray(cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA), np.uint8)
