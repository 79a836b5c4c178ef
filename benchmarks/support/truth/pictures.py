"""Contact strips: frames of a span with the skeleton of a track and the labeled boxes.

Frames are (H, W, 3) uint8 RGB.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.support.truth.labels import LabeledPerson
from benchmarks.support.truth.people import MIN_CONFIDENCE, FoundTrack, frame_at
from data.arrays import FloatArray, ImageArray
from data.motion.skeleton import BONES, JOINT_NAMES
from data.video.probe import probe_video
from data.video.reader import open_frames

NUM_FRAMES: Final = 6
MARGIN_S: Final = 0.3
DECODED_SIDE_PX: Final = 1280
CELL_HEIGHT_PX: Final = 300
LABEL_RGB: Final = (60, 220, 60)
TRACK_RGB: Final = ((255, 140, 0), (0, 170, 255), (240, 240, 240))
"""Colors of the left, the right and the middle of a skeleton."""


def write_strip(
    path: Path,
    video: Path,
    span: tuple[float, float],
    title: str,
    *,
    tracks: Sequence[FoundTrack] = (),
    person: LabeledPerson | None = None,
) -> None:
    """Write frames of a span side by side as a PNG file.

    Args:
        path: the picture.
        video: the video.
        span: (start, end), seconds.
        title: text above the frames.
        tracks: tracks whose skeletons are drawn.
        person: labeled person whose box is drawn, and on whom the frames are centered.
    """
    probe = probe_video(video)
    start_s = max(0.0, span[0] - MARGIN_S)
    end_s = max(start_s + 0.1, min(span[1] + MARGIN_S, probe.duration_s))
    rate = (NUM_FRAMES - 1) / (end_s - start_s)
    with open_frames(
        video,
        probe,
        start_s=start_s,
        end_s=end_s + 1e-3,
        sample_fps=rate,
        max_side_px=DECODED_SIDE_PX,
    ) as reader:
        frames = list(reader)
    scale = min(1.0, DECODED_SIDE_PX / max(probe.width_px, probe.height_px))
    cells = [_cell(frame.image, frame.pts_s, scale, tracks, person, span) for frame in frames]
    if not cells:
        return
    strip = np.concatenate(cells, 1)
    banner = np.full((24, strip.shape[1], 3), 255, np.uint8)
    cv2.putText(banner, title[:150], (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate([banner, strip])[:, :, ::-1])


def file_name(*words: str) -> str:
    """Return a file name made of words."""
    return re.sub(r"[^a-zA-Z0-9.+-]+", "_", "_".join(words)).strip("_") + ".png"


def _cell(
    image: ImageArray,
    time_s: float,
    scale: float,
    tracks: Sequence[FoundTrack],
    person: LabeledPerson | None,
    span: tuple[float, float],
) -> ImageArray:
    canvas = np.ascontiguousarray(image)
    for found in tracks:
        _draw_skeleton(canvas, found, time_s, scale)
    low_2, high_2 = np.zeros(2, int), np.array(image.shape[1::-1])
    if person is not None and person.is_visible(time_s):
        box_4 = (person.box_near(time_s) * scale).astype(int)
        cv2.rectangle(canvas, box_4[:2].tolist(), box_4[2:].tolist(), LABEL_RGB, 1)
    if person is not None:
        # The same window for all frames of a strip, so that movement is seen.
        boxes_24 = np.stack([person.box_near(time_s) for time_s in span]) * scale
        margin = 0.4 * float((boxes_24[:, 2:] - boxes_24[:, :2]).max())
        low_2 = np.maximum(low_2, (boxes_24[:, :2].min(0) - margin).astype(int))
        high_2 = np.minimum(high_2, (boxes_24[:, 2:].max(0) + margin).astype(int))
    canvas = canvas[low_2[1] : high_2[1], low_2[0] : high_2[0]]
    width_px = max(1, round(canvas.shape[1] * CELL_HEIGHT_PX / canvas.shape[0]))
    size = (width_px, CELL_HEIGHT_PX)
    cell: ImageArray = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)
    cv2.putText(cell, f"{time_s:.2f}", (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1)
    return cell


def _draw_skeleton(canvas: ImageArray, found: FoundTrack, time_s: float, scale: float) -> None:
    frame = frame_at(found.track, time_s)
    if frame is None:
        return
    points_J2: FloatArray = found.track.joints_2d[frame] * scale
    for first, second in BONES:
        if min(found.track.confidence[frame][[first, second]]) < MIN_CONFIDENCE:
            continue
        name = JOINT_NAMES[second]
        side = 0 if name.startswith("left") else 1 if name.startswith("right") else 2
        ends = [points_J2[joint].astype(int).tolist() for joint in (first, second)]
        cv2.line(canvas, ends[0], ends[1], TRACK_RGB[side], 2)
