"""Frames of a clip with the skeletons of its people drawn on them.

Shapes: H and W are the size of a frame in pixels, J = 22 joints.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import cv2
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc
from PIL import ImageDraw, ImageFont

from data.arrays import FloatArray, ImageArray
from data.motion.skeleton import BONES, JOINT, JOINT_NAMES
from data.records import PoseTrack
from data.schemas import Row, load_track
from data.store.dataset import Dataset
from data.video.probe import probe_video
from data.video.reader import open_frames

NUM_FRAMES: Final = 5
FRAME_HEIGHT_PX: Final = 240
FIGURE_TEXT_PX: Final = 18
QUICK_LOOK_S: Final = 1.0
MIN_CONFIDENCE: Final = 0.3
"""Joints of lower confidence are not drawn, because the model guesses those that are hidden."""

SURE_QUALITY: Final = 0.7
"""Clips with poses of at least this quality are preferred."""
SHOWN_FRAMES: Final = 120
"""Preferred length of the motion to show: long enough for an action, and fast to render."""

_LEFT_RGB, _RIGHT_RGB, _MIDDLE_RGB = (255, 140, 0), (0, 170, 255), (240, 240, 240)


@dataclass(frozen=True, slots=True)
class AnnotatedClip:
    """One annotated clip with its video and its people.

    Attributes:
        video: row of the table ``videos``.
        annotations: rows of the table ``annotations``, at least one; one per described person, the
            one with the most steps first.
        tracks: pose tracks of the people in the clip.
    """

    video: dict[str, Any]
    annotations: tuple[dict[str, Any], ...]
    tracks: tuple[PoseTrack, ...]

    @property
    def annotation(self) -> dict[str, Any]:
        """Annotation of the person with the most steps."""
        return self.annotations[0]


def best_clip(dataset: Dataset, clip_id: str | None = None) -> AnnotatedClip | None:
    """Choose the clip to show as an example of a dataset.

    Clips with reliable poses come first, then those with the most steps. Clips whose video file
    no longer exists are skipped.

    Args:
        dataset: dataset to choose from.
        clip_id: consider only this clip.

    Returns:
        The clip, or None when there is none to show.
    """
    where = None if clip_id is None else {"clip_id": [clip_id]}
    quality = {
        row["clip_id"]: row["quality"]
        for row in dataset.rows("clips", ["clip_id", "quality"], where)
    }
    paths = {row["video_id"]: row["path"] for row in dataset.rows("videos", ["video_id", "path"])}
    candidates: list[tuple[bool, int, float, str, str]] = []
    columns = ["clip_id", "video_id", "medium", "fine"]
    for batch in dataset.batches("annotations", columns, where):
        # The steps are counted in Arrow, because the texts of a large dataset would take too much
        # memory as Python objects.
        ids = zip(batch["clip_id"].to_pylist(), batch["video_id"].to_pylist(), strict=True)
        counts = zip(_lengths(batch["medium"]), _lengths(batch["fine"]), strict=True)
        for (clip, video), (medium, steps) in zip(ids, counts, strict=True):
            if medium:
                sure = quality[clip]
                candidates.append((sure > SURE_QUALITY, steps, sure, clip, video))
    candidates.sort(reverse=True)
    for _, _, _, clip, video in candidates:
        if Path(paths[video]).is_file():
            return _load_clip(dataset, clip, video)
    return None


def _load_clip(dataset: Dataset, clip_id: str, video_id: str) -> AnnotatedClip:
    """Join the annotations of the people of a clip with its video and its poses."""
    of_clip = {"clip_id": [clip_id]}
    (video,) = dataset.rows("videos", where={"video_id": [video_id]})
    # The first sample of each person.
    annotations: dict[int, dict[str, Any]] = {}
    for row in dataset.rows("annotations", where=of_clip):
        if row["medium"]:
            annotations.setdefault(row["track_id"], row)
    told = sorted(annotations.values(), key=lambda row: -len(row["fine"]))
    tracks = tuple(load_track(row) for row in dataset.rows("poses", where=of_clip))
    return AnnotatedClip(video, tuple(told), tracks)


def _lengths(lists: pa.ChunkedArray) -> list[int]:
    return pc.call_function("list_value_length", [lists]).to_pylist()


def best_motion(dataset: Dataset, motion_id: str | None = None) -> Row | None:
    """Choose the motion to show as an example: one with texts that lasts about six seconds.

    Args:
        dataset: dataset to choose from.
        motion_id: consider only this motion.

    Returns:
        The row of the motion, or None when there is none to show.
    """
    if motion_id is None:
        best: tuple[bool, int, str] | None = None
        for batch in dataset.batches("motions", ["motion_id", "num_frames", "texts"]):
            texts = _lengths(batch["texts"])
            frames, ids = batch["num_frames"].to_pylist(), batch["motion_id"].to_pylist()
            for one, num_frames, num_texts in zip(ids, frames, texts, strict=True):
                found = bool(num_texts), -abs(num_frames - SHOWN_FRAMES), one
                best = found if best is None else max(best, found)
        if best is None:
            return None
        motion_id = best[2]
    return next(dataset.rows("motions", where={"motion_id": [motion_id]}), None)


def draw_skeleton(image_HW3: ImageArray, joints_J2: FloatArray, seen_J: Sequence[bool]) -> None:
    """Draw one person onto an image in place, the left side in orange and the right side in blue.

    Args:
        image_HW3: (H, W, 3) RGB image.
        joints_J2: (22, 2) joint positions in pixels of this image.
        seen_J: whether to draw each joint.
    """
    thickness = max(1, round(image_HW3.shape[0] / 120))
    points = [tuple(int(v) for v in np.rint(joint)) for joint in joints_J2]
    for parent, joint in BONES:
        if seen_J[parent] and seen_J[joint]:
            color = side_rgb(JOINT_NAMES[joint])
            cv2.line(image_HW3, points[parent], points[joint], color, thickness, cv2.LINE_AA)
    for joint, point in enumerate(points):
        if seen_J[joint]:
            color = side_rgb(JOINT_NAMES[joint])
            cv2.circle(image_HW3, point, thickness + 1, color, -1, cv2.LINE_AA)


def _draw_number(image_HW3: ImageArray, joints_J2: FloatArray, number: int) -> None:
    """Write the number of a person above the head, in place."""
    x, y = joints_J2[JOINT["head"]].tolist()
    at = (round(x) - 4, max(round(y) - round(image_HW3.shape[0] / 16), 14))
    for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(
            image_HW3, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness, cv2.LINE_AA
        )


def _draw_box(image_HW3: ImageArray, box_4: FloatArray) -> None:
    """Draw the box of a person of whom only a part is seen, in place."""
    left, top, right, bottom = np.rint(box_4).astype(int).tolist()
    cv2.rectangle(image_HW3, (left, top), (right, bottom), _MIDDLE_RGB, 2)


def pose_frames(
    clip: AnnotatedClip,
    num_frames: int = NUM_FRAMES,
    height_px: int = FRAME_HEIGHT_PX,
    longest_s: float = math.inf,
) -> list[tuple[float, ImageArray]]:
    """Return evenly spaced frames of a clip with the skeletons of its people.

    Args:
        clip: clip to show.
        num_frames: number of frames.
        height_px: largest height of the images.
        longest_s: length of the part to show of a longer clip, from its first step on.

    Returns:
        Pairs of the time in the video, in seconds, and the (H, W, 3) RGB image.
    """
    path = Path(clip.video["path"])
    probe = probe_video(path)
    start_s, end_s = clip.annotation["start_s"], clip.annotation["end_s"]
    if end_s - start_s > longest_s:
        start_s = min(clip.annotation["fine"][0]["start_s"], end_s - longest_s)
        end_s = start_s + longest_s
    scale = min(1.0, height_px / probe.height_px)
    pictures: list[tuple[float, ImageArray]] = []
    with open_frames(
        path,
        probe,
        start_s=start_s,
        end_s=end_s,
        sample_fps=num_frames / (end_s - start_s),
        max_side_px=round(scale * max(probe.width_px, probe.height_px)),
    ) as frames:
        for frame in frames:
            image = np.ascontiguousarray(frame.image)
            for track in clip.tracks:
                nearest = int(np.argmin(np.abs(track.pts_s - frame.pts_s)))
                if abs(track.pts_s[nearest] - frame.pts_s) <= 0.1:
                    ratio = image.shape[0] / probe.height_px
                    if track.boxes is not None:
                        _draw_box(image, track.boxes[nearest] * ratio)
                        continue
                    seen = (track.confidence[nearest] >= MIN_CONFIDENCE).tolist()
                    joints_J2 = track.joints_2d[nearest] * ratio
                    draw_skeleton(image, joints_J2, seen)
                    if len(clip.annotations) > 1:
                        _draw_number(image, joints_J2, track.track_id)
            pictures.append((frame.pts_s, image))
    return pictures[:num_frames]


def pose_strip(clip: AnnotatedClip, longest_s: float = math.inf) -> ImageArray:
    """Return frames of a clip side by side, each with its time, as one (H, W, 3) RGB image."""
    pictures: list[ImageArray] = []
    for pts_s, image in pose_frames(clip, longest_s=longest_s):
        at = (6, image.shape[0] - 8)
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(
                image, f"{pts_s:.1f} s", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness
            )
        pictures.append(image)
    return np.hstack(pictures)


def pose_strip_jpeg(clip: AnnotatedClip) -> bytes:
    """Return :func:`pose_strip` of a short part of a clip as a JPEG file.

    Only a short part is decoded, so that the preview at the end of a run is cheap.
    """
    strip = pose_strip(clip, longest_s=QUICK_LOOK_S)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
    if not done:
        raise AssertionError("OpenCV could not encode an image that it drew")
    return data.tobytes()


def clip_figure(clip: AnnotatedClip) -> ImageArray:
    """Return :func:`pose_strip` with the three levels of annotation below it, (H, W, 3) RGB."""
    strip = pose_strip(clip)
    width_px = strip.shape[1]
    font = ImageFont.load_default(size=FIGURE_TEXT_PX)
    lines = [f"coarse   {clip.annotation['coarse']}"]
    for annotation in clip.annotations:
        if len(clip.annotations) > 1:
            lines.append(f"person {annotation['track_id']}")
        lines += [f"medium   {text}" for text in annotation["medium"][:1]]
        lines += [
            f"fine     {step['start_s']:.1f}-{step['end_s']:.1f} s  {step['text']}"
            f"   [{step['grounding']['verdict']}: {step['grounding']['measurement']}]"
            for step in annotation["fine"]
        ]
    letters = int(width_px / font.getlength("n"))
    wrapped = [part for line in lines for part in wrap(line, letters, subsequent_indent=" " * 9)]
    line_px = round(FIGURE_TEXT_PX * 1.5)
    figure = PIL.Image.new(
        "RGB", (width_px, strip.shape[0] + line_px * (len(wrapped) + 1)), (255, 255, 255)
    )
    figure.paste(PIL.Image.fromarray(strip))
    draw = ImageDraw.Draw(figure)
    for row, text in enumerate(wrapped):
        at = (line_px // 2, strip.shape[0] + line_px // 2 + row * line_px)
        draw.text(at, text, fill=(20, 20, 20), font=font)
    return np.asarray(figure)


def side_rgb(joint: str) -> tuple[int, int, int]:
    """Return the color of a joint: left orange, right blue, middle light gray."""
    if joint.startswith("left"):
        return _LEFT_RGB
    return _RIGHT_RGB if joint.startswith("right") else _MIDDLE_RGB
