"""Synthetic videos with known cuts, made from real single-shot clips.

Pieces of real clips are joined by hard cuts, dissolves and fades, and disturbed by what fools shot
detectors without being a cut: whip pans, flashes, flares, exposure jumps, shake, something passing
close to the lens, repeated frames. All are re-encoded with H.264, some badly.

Shapes: N frames, H and W in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from data.video.probe import probe_video
from data.video.reader import open_frames

Frames = NDArray[np.uint8]

_SOURCE_SIDE_PX: Final = 256
_MAX_SOURCE_FRAMES: Final = 300
_SIZES_PX: Final = ((256, 144), (256, 144), (240, 180), (144, 256))
_RATES: Final = (Fraction(15), Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(50))


@dataclass(frozen=True, slots=True)
class Transition:
    """A true shot boundary.

    Attributes:
        kind: ``hard``, ``dissolve``, ``fade_black`` or ``fade_white``.
        first, last: a detection in ``first..last`` (inclusive frame indices) is right.
    """

    kind: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A synthetic video with its true cuts; ``traps`` lists the disturbances that are no cuts."""

    path: Path
    transitions: tuple[Transition, ...]
    traps: tuple[str, ...]


def load_source(path: Path) -> Frames:
    """Up to 300 frames of a clip as (N, H, W, 3) RGB with a longer side of 256 px."""
    images: list[Frames] = []
    with open_frames(path, probe_video(path), max_side_px=_SOURCE_SIDE_PX) as reader:
        for frame in reader:
            images.append(frame.image)
            if len(images) == _MAX_SOURCE_FRAMES:
                break
    return np.stack(images)


def make_videos(sources: Sequence[Frames], folder: Path, count: int, seed: int) -> list[Synthetic]:
    """Write ``count`` videos into ``folder``; the same arguments give the same videos."""
    return [
        _make_video(sources, folder / f"synthetic_{seed}_{number:03}.mp4", seed * 1000 + number)
        for number in range(count)
    ]


def write_video(path: Path, frames_NHW3: Frames, fps: Fraction, crf: int = 23) -> None:
    """Encode (N, H, W, 3) RGB frames with H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames_NHW3.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for image in frames_NHW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _make_video(sources: Sequence[Frames], path: Path, seed: int) -> Synthetic:
    rng = np.random.default_rng(seed)
    size_px = _SIZES_PX[rng.integers(len(_SIZES_PX))]
    traps: list[str] = []
    source = int(rng.integers(len(sources)))
    frames = _piece(sources[source], size_px, rng, traps)
    transitions: list[Transition] = []
    for _ in range(int(rng.integers(3, 7))):
        # A third of the cuts stay in the same footage: other time, other framing.
        if rng.random() > 1 / 3:
            source = int(rng.integers(len(sources)))
        following = _piece(sources[source], size_px, rng, traps)
        kind = str(rng.choice(["hard", "hard", "dissolve", "fade_black", "fade_white"]))
        frames, transition = JOINS[kind](frames, following, rng)
        transitions.append(transition)
    if rng.random() < 0.2:
        traps.append("dark")
        frames = _expose(frames, float(rng.uniform(0.12, 0.3)))
    write_video(path, frames, _RATES[rng.integers(len(_RATES))], int(rng.choice([20, 28, 38])))
    return Synthetic(path, tuple(transitions), tuple(traps))


def _piece(
    source: Frames, size_px: tuple[int, int], rng: np.random.Generator, traps: list[str]
) -> Frames:
    """Part of a source, cropped at random to a size, perhaps with a trap in it."""
    length = min(int(rng.integers(25, 110)), len(source))
    start = int(rng.integers(len(source) - length + 1))
    frames = source[start : start + length]
    if rng.random() < 0.15 and length > 20:
        traps.append("whip")
        frames = whip_pan(frames, size_px, rng)
    else:
        frames = _crop(frames, size_px, float(rng.uniform(1.0, 1.8)), rng.random(2))
    if rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    if rng.random() < 0.5 and length > 20:
        name = str(rng.choice(sorted(TRAPS)))
        traps.append(name)
        frames = TRAPS[name](frames, rng)
    return frames


def _crop(frames: Frames, size_px: tuple[int, int], zoom: float, at: NDArray[np.float64]) -> Frames:
    """Fill a size with a zoomed-in part; ``at`` (x, y in 0..1) says which."""
    width, height = size_px
    scale = zoom * max(width / frames.shape[2], height / frames.shape[1])
    view_w = min(round(width / scale), frames.shape[2])
    view_h = min(round(height / scale), frames.shape[1])
    x = round(at[0] * (frames.shape[2] - view_w))
    y = round(at[1] * (frames.shape[1] - view_h))
    return np.stack(
        [cv2.resize(f[y : y + view_h, x : x + view_w], size_px).astype(np.uint8) for f in frames]
    )


def _blend(a: Frames, b: Frames, weight_N: NDArray[np.float64]) -> Frames:
    weight = weight_N[:, None, None, None]
    return np.clip(np.round(a * (1 - weight) + b * weight), 0, 255).astype(np.uint8)


def _expose(frames: Frames, gain: float) -> Frames:
    return np.clip(frames * np.float32(gain), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------- transitions


def join_hard(a: Frames, b: Frames, _: np.random.Generator) -> tuple[Frames, Transition]:
    """Cut from A to B."""
    return np.concatenate([a, b]), Transition("hard", len(a) - 1, len(a) + 1)


def join_dissolve(a: Frames, b: Frames, rng: np.random.Generator) -> tuple[Frames, Transition]:
    """Dissolve from A to B over 5 to 25 frames."""
    length = int(min(rng.integers(5, 26), len(a) // 2, len(b) // 2))
    weight_N = np.arange(1, length + 1) / (length + 1)
    mixed = _blend(a[-length:], b[:length], weight_N)
    start = len(a) - length
    joined = np.concatenate([a[:-length], mixed, b[length:]])
    return joined, Transition("dissolve", start, start + length)


def _join_fade(
    a: Frames, b: Frames, rng: np.random.Generator, color: int, kind: str
) -> tuple[Frames, Transition]:
    out = int(min(rng.integers(4, 16), len(a) // 2))
    into = int(min(rng.integers(4, 16), len(b) // 2))
    hold = np.full((int(rng.integers(1, 8)), *a.shape[1:]), color, dtype=np.uint8)
    flat = np.full_like(a[:1], color)
    a_out = _blend(a[-out:], flat, np.arange(1, out + 1) / (out + 1))
    b_in = _blend(b[:into], flat, 1 - np.arange(1, into + 1) / (into + 1))
    start = len(a) - out
    joined = np.concatenate([a[:-out], a_out, hold, b_in, b[into:]])
    return joined, Transition(kind, start, start + out + len(hold) + into)


def join_fade_black(a: Frames, b: Frames, rng: np.random.Generator) -> tuple[Frames, Transition]:
    """A fades out to black, B fades in."""
    return _join_fade(a, b, rng, 0, "fade_black")


def join_fade_white(a: Frames, b: Frames, rng: np.random.Generator) -> tuple[Frames, Transition]:
    """A fades out to white, B fades in."""
    return _join_fade(a, b, rng, 255, "fade_white")


JOINS: Final[
    dict[str, Callable[[Frames, Frames, np.random.Generator], tuple[Frames, Transition]]]
] = {
    "hard": join_hard,
    "dissolve": join_dissolve,
    "fade_black": join_fade_black,
    "fade_white": join_fade_white,
}


# ---------------------------------------------------------------------------- traps


def whip_pan(frames: Frames, size_px: tuple[int, int], rng: np.random.Generator) -> Frames:
    """A view that jumps sideways across the frame within 4 to 9 frames, with motion blur."""
    width, height = size_px
    zoom = float(rng.uniform(2.0, 2.6))
    scale = zoom * max(width / frames.shape[2], height / frames.shape[1])
    view_w = min(round(width / scale), frames.shape[2])
    view_h = min(round(height / scale), frames.shape[1])
    y = int(rng.integers(frames.shape[1] - view_h + 1))
    length = int(rng.integers(4, 10))
    start = int(rng.integers(5, max(6, len(frames) - length - 5)))
    progress_N = np.clip((np.arange(len(frames)) - start) / length, 0, 1)
    progress_N = progress_N * progress_N * (3 - 2 * progress_N)
    travel = frames.shape[2] - view_w
    images: list[Frames] = []
    for index, frame in enumerate(frames):
        previous = progress_N[max(0, index - 1)]
        # The shutter is open for half of the frame's time.
        shutter = np.linspace((previous + progress_N[index]) / 2, progress_N[index], 7)
        views = [
            frame[y : y + view_h, x : x + view_w] for x in np.round(shutter * travel).astype(int)
        ]
        blurred = np.mean(views, axis=0).astype(np.uint8)
        images.append(cv2.resize(blurred, size_px).astype(np.uint8))
    return np.stack(images)


def flash(frames: Frames, rng: np.random.Generator) -> Frames:
    """A photographer's flash: 1 or 2 bright frames."""
    start = int(rng.integers(6, len(frames) - 8))
    lit = frames[start : start + int(rng.integers(1, 3))]
    bright = np.clip(lit * rng.uniform(1.5, 4) + rng.uniform(20, 90), 0, 255).astype(np.uint8)
    return np.concatenate([frames[:start], bright, frames[start + len(lit) :]])


def exposure_change(frames: Frames, rng: np.random.Generator) -> Frames:
    """Gain that jumps or ramps to another value and stays there."""
    start = int(rng.integers(5, len(frames) - 5))
    gain = float(rng.choice([rng.uniform(0.4, 0.7), rng.uniform(1.4, 2.0)]))
    progress_N = np.clip((np.arange(len(frames)) - start) / rng.integers(1, 12), 0, 1)
    gain_N = (1 + progress_N * (gain - 1))[:, None, None, None]
    return np.clip(frames * gain_N, 0, 255).astype(np.uint8)


def flare(frames: Frames, rng: np.random.Generator) -> Frames:
    """A patch of light that crosses the image."""
    height, width = frames.shape[1:3]
    y, x = np.mgrid[:height, :width]
    start, length = int(rng.integers(4, len(frames) - 8)), int(rng.integers(4, 12))
    lit = frames.astype(np.float32)
    from_x, to_x = rng.uniform(0, width, 2)
    center_x = np.linspace(from_x, to_x, length)
    center_y, radius = rng.uniform(0, height), rng.uniform(0.2, 0.5) * width
    for index, cx in zip(range(start, len(frames)), center_x, strict=False):
        spot = np.exp(-((x - cx) ** 2 + (y - center_y) ** 2) / (2 * radius**2))
        lit[index] += (230 * spot)[:, :, None]
    return np.clip(lit, 0, 255).astype(np.uint8)


def shake(frames: Frames, rng: np.random.Generator) -> Frames:
    """A camera that is knocked: for half a second the view jumps about."""
    height, width = frames.shape[1:3]
    start = int(rng.integers(3, len(frames) - 12))
    shaken = frames.copy()
    for index in range(start, min(start + 12, len(frames))):
        dx, dy = rng.normal(0, 0.06, 2) * (width, height)
        shift = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float32)
        shaken[index] = cv2.warpAffine(
            frames[index], shift, (width, height), borderMode=cv2.BORDER_REFLECT
        )
    return shaken


def passer_by(frames: Frames, rng: np.random.Generator) -> Frames:
    """Something dark and wide passes close to the lens."""
    width = frames.shape[2]
    start, length = int(rng.integers(4, len(frames) - 8)), int(rng.integers(4, 10))
    body = int(rng.uniform(0.5, 1.0) * width)
    color = rng.integers(10, 90, 3)
    passed = frames.copy()
    for index, left in zip(
        range(start, len(frames)), np.linspace(-body, width, length).astype(int), strict=False
    ):
        passed[index, :, max(0, left) : max(0, left + body)] = color
    return passed


def repeated_frames(frames: Frames, rng: np.random.Generator) -> Frames:
    """Frames shown twice, as a conversion to a higher frame rate does."""
    return frames[np.sort(np.concatenate([np.arange(len(frames)), rng.permutation(len(frames))]))]


TRAPS: Final[dict[str, Callable[[Frames, np.random.Generator], Frames]]] = {
    "flash": flash,
    "exposure_change": exposure_change,
    "flare": flare,
    "shake": shake,
    "passer_by": passer_by,
    "repeated_frames": repeated_frames,
}
