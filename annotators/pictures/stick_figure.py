"""Animations of a motion: a stick figure on a floor, with the description of its steps.

Shapes: T frames at 20 fps, J = 22 joints.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from annotators.motion.describe import describe_motion
from annotators.pictures.preview import side_rgb
from annotators.wording.phrases import in_words
from annotators.wording.timeline import timeline
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import BONES, FPS, JOINT_NAMES
from data.schemas import Row

WIDTH_PX: Final = 480
HEIGHT_PX: Final = 480
TEXT_PX: Final = 84
VIEW_YAW_DEG: Final = 25.0
VIEW_PITCH_DEG: Final = 12.0
STRIP_PX: Final = 160
"""Side of one image in a strip."""
MARGIN_M: Final = 0.35
GRID_M: Final = 0.5
MAX_STEPS: Final = 8
_UNSEEN_RGB: Final = (215, 215, 215)


def describe_steps(joints_TJ3: FloatArray) -> list[tuple[float, float, str]]:
    """Describe a motion as steps of (start_s, end_s, text), in order of time.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.
    """
    description = describe_motion(joints_TJ3)
    return [
        (clause.start_s, clause.end_s, in_words(clause, "base", "the"))
        for clause in timeline(description, MAX_STEPS)
    ]


def stored_steps(row: Row) -> list[tuple[float, float, str]]:
    """Return the steps that a dataset tells of a motion, as of :func:`describe_steps`.

    Args:
        row: row of the table ``motions``.
    """
    steps = [
        (float(text["start_s"]), float(text["end_s"]), str(text["text"]))
        for text in row["texts"]
        if text["level"] == "fine"
    ]
    return sorted(steps)


def draw_motion(
    joints_TJ3: FloatArray,
    title: str,
    steps: Sequence[tuple[float, float, str]],
    credible_TJ: BoolArray | None = None,
    frames: Sequence[int] | None = None,
) -> list[PIL.Image.Image]:
    """Draw one image per frame: the figure, its path on the floor, the title and the current step.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        title: text above the figure.
        steps: start_s, end_s and text of the steps; the current steps are written below the figure.
        credible_TJ: (T, 22) joints that were seen; by default all. Bones of others are light gray.
        frames: the frames to draw; by default all.
    """
    flat_TJ2, to_px = _projection(joints_TJ3)
    path_T2 = to_px(joints_TJ3[:, 0] * np.array([1.0, 0.0, 1.0]) + _floor(joints_TJ3))
    font = ImageFont.load_default(15)
    # Limbs closer to the viewer are drawn last, over the others.
    depth_TJ = _view(joints_TJ3)[..., 2]
    pictures: list[PIL.Image.Image] = []
    for frame in range(len(joints_TJ3)) if frames is None else frames:
        joints_J2 = flat_TJ2[frame]
        image = PIL.Image.new("RGB", (WIDTH_PX, HEIGHT_PX + TEXT_PX), (250, 250, 250))
        pen = ImageDraw.Draw(image)
        _draw_floor(pen, joints_TJ3, to_px)
        pen.line([tuple(p) for p in path_T2[: frame + 1].tolist()], fill=(200, 120, 120), width=2)
        bones = sorted(BONES, key=lambda bone: depth_TJ[frame, list(bone)].mean())
        for start, end in bones:
            ends = [tuple(joints_J2[start].tolist()), tuple(joints_J2[end].tolist())]
            seen = credible_TJ is None or credible_TJ[frame, [start, end]].all()
            color = _limb_rgb(JOINT_NAMES[end]) if seen else _UNSEEN_RGB
            pen.line(ends, fill=color, width=6)
        head = joints_J2[15]
        pen.ellipse((*(head - 9), *(head + 9)), fill=(70, 70, 70))
        pen.text((10, 8), "\n".join(wrap(title, 62)[:2]), (20, 20, 20), font=font)
        time_s = frame / FPS
        now = [text for start_s, end_s, text in steps if start_s <= time_s <= end_s]
        pen.text((10, HEIGHT_PX + 6), f"{time_s:4.1f} s", (120, 120, 120), font=font)
        lines = [line for text in now[:2] for line in wrap(text, 54)][:4]
        pen.text((70, HEIGHT_PX + 6), "\n".join(lines), (20, 20, 20), font=font)
        pictures.append(image)
    return pictures


def draw_strip(joints_TJ3: FloatArray, title: str, columns: int = 8) -> PIL.Image.Image:
    """Draw evenly spaced frames of a motion side by side, with the title in the corner.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        title: text in the corner.
        columns: number of frames.
    """
    frames = np.linspace(0, len(joints_TJ3) - 1, columns).astype(int).tolist()
    strip = PIL.Image.new("RGB", (columns * STRIP_PX, STRIP_PX), "white")
    for column, picture in enumerate(draw_motion(joints_TJ3, "", [], frames=frames)):
        figure = picture.crop((0, 24, WIDTH_PX, 24 + WIDTH_PX))
        strip.paste(figure.resize((STRIP_PX, STRIP_PX)), (STRIP_PX * column, 0))
    ImageDraw.Draw(strip).text((6, 4), title, (0, 0, 0), font=ImageFont.load_default(14))
    return strip


def save_sheet(strips: Sequence[PIL.Image.Image], path: Path) -> None:
    """Save strips of equal width below each other as one image."""
    sheet = PIL.Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    sheet.quantize(64).save(path)


def save_moving(pictures: Sequence[PIL.Image.Image], path: Path) -> None:
    """Save images as an animation at 20 fps: a GIF or an MP4, by the suffix of the path.

    Raises:
        ValueError: the suffix is neither ``.gif`` nor ``.mp4``.
    """
    if path.suffix.lower() == ".gif":
        # All frames share one palette, so that colors do not flicker.
        palette = pictures[0].quantize(64)
        small = [picture.quantize(palette=palette) for picture in pictures]
        small[0].save(path, save_all=True, append_images=small[1:], duration=1000 // FPS, loop=0)
    elif path.suffix.lower() == ".mp4":
        import cv2  # noqa: PLC0415 - only here

        size = pictures[0].size
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size)
        for picture in pictures:
            writer.write(np.asarray(picture)[:, :, ::-1].copy())
        writer.release()
    else:
        raise ValueError(
            f"{path}: expected a name ending in .gif or .mp4. Remedy: choose one of them."
        )


def _limb_rgb(joint: str) -> tuple[int, int, int]:
    # The light gray of skeletons on video frames is not visible on this background.
    sided = joint.startswith(("left", "right"))
    return side_rgb(joint) if sided else (110, 110, 110)


def _view(joints: FloatArray) -> FloatArray:
    """Rotate world positions to the viewer's axes, (..., 3): x right, y up, z toward the viewer."""
    yaw, pitch = np.radians(VIEW_YAW_DEG), np.radians(VIEW_PITCH_DEG)
    x = joints[..., 0] * np.cos(yaw) - joints[..., 2] * np.sin(yaw)
    z = joints[..., 0] * np.sin(yaw) + joints[..., 2] * np.cos(yaw)
    y = joints[..., 1] * np.cos(pitch) - z * np.sin(pitch)
    return np.stack([x, y, z * np.cos(pitch) + joints[..., 1] * np.sin(pitch)], axis=-1)


def _floor(joints_TJ3: FloatArray) -> FloatArray:
    return np.array([0.0, float(joints_TJ3[..., 1].min()), 0.0])


def _projection(joints_TJ3: FloatArray) -> tuple[FloatArray, Any]:
    """Fit the whole motion into the image.

    Returns:
        Positions of all joints in pixels, (T, J, 2), and the function that maps points to pixels.
    """
    seen = _view(joints_TJ3)[..., :2]
    low, high = seen.min(axis=(0, 1)) - MARGIN_M, seen.max(axis=(0, 1)) + MARGIN_M
    scale = min(WIDTH_PX / (high[0] - low[0]), (HEIGHT_PX - 40) / (high[1] - low[1]))
    middle = (low + high) / 2

    def to_px(points: FloatArray) -> FloatArray:
        flat = (_view(points)[..., :2] - middle) * scale
        return flat * np.array([1.0, -1.0]) + np.array([WIDTH_PX / 2, HEIGHT_PX / 2 + 20])

    return to_px(joints_TJ3), to_px


def _draw_floor(pen: ImageDraw.ImageDraw, joints_TJ3: FloatArray, to_px: Any) -> None:
    floor = _floor(joints_TJ3)
    ground = joints_TJ3[:, 0]
    low = np.floor((ground.min(axis=0) - 1.0) / GRID_M) * GRID_M
    high = np.ceil((ground.max(axis=0) + 1.0) / GRID_M) * GRID_M
    for axis, other in ((0, 2), (2, 0)):
        for value in np.arange(low[axis], high[axis] + GRID_M / 2, GRID_M):
            ends = np.zeros((2, 3))
            ends[:, axis] = value
            ends[:, other] = low[other], high[other]
            line = [tuple(point) for point in to_px(ends + floor).tolist()]
            pen.line(line, fill=(222, 226, 232), width=1)
