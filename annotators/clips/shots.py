"""Shot boundary detection in one pass over thumbnails, in constant memory.

The detector finds three kinds of boundary:

- **fade**: the image passes through one flat color, with different scenes on the two sides.
- **hard cut**: the change between two frames is much larger than the changes around it, and no
  frame shortly before it matches any frame shortly after it. A flash, a flare or a passer-by does
  not qualify, because the same scene returns. A whip pan or a falling camera does not qualify,
  because it causes many large changes in a row.
- **dissolve**: the frames between two different scenes lie on the straight line from one to the
  other, at an even pace. Moving cameras and people do not move images along straight lines.

Two images match when blocks of one correlate with the other under a common displacement. The
correlation is normalized, so a change of exposure does not count as a change of scene, and the
displacement is shared by the whole image, so a panning camera does not either. The detector keeps
a few seconds of every shot in memory, so a damaged stretch of video that returns to the scene
before it is not a cut.

The thresholds were chosen on half of the clips of ``benchmarks/synthetic_shots.py`` and checked on
the other half (``benchmarks/shots.py``).

Shapes: N frames in memory, H = 18 and W = 32 px of a working image (portrait video is transposed),
B blocks of an image, P positions of a block, D displacements, C values of a block, L frames inside
a dissolve, F values of a coarse image.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from pydantic import Field

from data.arrays import BoolArray, FloatArray, ImageArray, IndexArray
from data.config import Config

THUMBNAIL_SIDE_PX: Final = 64
"""Longer side of the frames to pass to the detector, which does not use a higher resolution."""

_W_PX: Final = 32
_H_PX: Final = 18

# Blocks of 8 × 6 px, 4 across and 3 down. They are large enough to be distinctive, and small enough
# that most of them contain only background when people move.
_BLOCK_H_PX: Final = 6
_BLOCK_W_PX: Final = 8
_BLOCKS_DOWN: Final = 3
_BLOCKS_ACROSS: Final = 4
_MIN_IN_VIEW: Final = 0.4  # smallest share of an image's detail inside the other when displaced
_NOISE_CONTRAST: Final = 3.0  # contrast of a block that contains only compression noise

# A step is the change between two consecutive frames. It counts as large relative to the two steps
# on either side (all are large in a whip pan) and to the median of the surrounding half second
# (which film grain and repeated frames affect).
_NEAR_FRAMES: Final = 2
_AROUND_FRAMES: Final = 8
_MIN_USUAL_RATIO: Final = 2.0

# The more a step stands out, the more similar the two scenes may be and still count as two. After
# a step that is no larger than those around it, the scene has to be entirely different.
_NEUTRAL_RATIO: Final = 3.0
_LENIENCY_PER_DOUBLING: Final = 0.12
_MAX_LENIENCY: Final = 0.12

_OFFSETS: Final = (0, 1, 2, 3, 5, 8, 12, 18, 25)  # distances from a step, in frames, to compare
_MAX_FLASH_FRAMES: Final = 30
_MEMORY_S: Final = 2.5
_MEMORY_INTERVAL_S: Final = 0.25

# An image is blank when the spatial standard deviation of its luma, in gray levels, is below a
# share of the median deviation, so that dark scenes are not blank. The threshold is clipped to a
# range between the compression noise of a black image and the lowest contrast of real scenes.
_FLAT_SHARE: Final = 0.15
_FLAT_MIN_STD: Final = 0.5
_FLAT_MAX_STD: Final = 2.0
_LONG_FLAT_S: Final = 2.0  # a blank stretch of at least this length is a shot of its own
_FADE_OFFSETS: Final = (1, 3, 8, 14)  # distances from a blank stretch, in frames, to compare
# A blank image is itself evidence of a cut. Only the same view after it (a flash, a hand in front
# of the lens) is evidence against one.
_MAX_FADE_SIMILARITY: Final = 0.85
_FADE_REACH_FRAMES: Final = 16  # the ramp of a fade is a straight line too

_DISSOLVE_FRAMES: Final = (6, 10, 16, 24)
_DISSOLVE_MIN_CHANGE: Final = 6.0  # gray levels from end to end
_DISSOLVE_MAX_LAG: Final = 0.25  # deviation from an even pace, as a share of the whole change
_DISSOLVE_MAX_STEP: Final = 0.45  # a larger share of the change in one frame is a hard cut
# The straighter the line between the two ends, the more similar they may be: 0.95 - 2 × residual.
_DISSOLVE_MAX_SIMILARITY: Final = 0.95
_SIMILARITY_PER_RESIDUAL: Final = 2.0
_DISSOLVE_GAP_FRAMES: Final = 3  # smallest distance to other boundaries

_MIN_SHOT_FRAMES: Final = 3
_CHUNK_FRAMES: Final = 256
_RECENT_CUTS: Final = 32


class ShotConfig(Config):
    """How the cuts between shots are found."""

    min_step: float = Field(
        default=3.5,
        gt=0,
        le=255,
        description="Smallest change between two frames, in gray levels, that can be a cut. "
        "Lower values find cuts in darker videos.",
    )
    min_step_ratio: float = Field(
        default=1.5,
        ge=1,
        le=100,
        description="Smallest ratio of the change at a cut to the changes just before and after.",
    )
    max_similarity: float = Field(
        default=0.66,
        gt=0,
        le=1,
        description="Scenes that match better than this (0..1) are one shot. Higher values find "
        "cuts between more similar scenes, and more false cuts.",
    )
    flash_s: float = Field(
        default=0.5,
        ge=0,
        le=2,
        description="There is no cut when the same scene returns within this time.",
    )
    gradual: bool = Field(default=True, description="Also find dissolves and fades.")
    max_dissolve_residual: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Largest distance of the frames of a dissolve from a blend of its two ends, as "
        "a share of the difference of the ends.",
    )


@dataclass(frozen=True, slots=True)
class Patches:
    """The blocks at all positions of one working image, to be matched against another image.

    Attributes:
        unit_PC: (P, C) values of the blocks, with zero mean and unit length.
        contrast_P: (P,) length of the zero-mean values, a measure of the detail in a block.
    """

    unit_PC: FloatArray
    contrast_P: FloatArray


def describe(image_HW3: FloatArray) -> Patches:
    """Extract all blocks of a working image and normalize their mean and contrast.

    Args:
        image_HW3: (18, 32, 3) values in 0..255.
    """
    blocks_PKC = np.lib.stride_tricks.sliding_window_view(
        image_HW3, (_BLOCK_H_PX, _BLOCK_W_PX), axis=(0, 1)
    ).reshape(_NUM_PLACES, 3, -1)
    centered_PC = (blocks_PKC - blocks_PKC.mean(axis=2, keepdims=True)).reshape(_NUM_PLACES, -1)
    contrast_P = np.sqrt(np.einsum("pc,pc->p", centered_PC, centered_PC))
    return Patches(centered_PC / (contrast_P[:, None] + _NOISE_CONTRAST), contrast_P)


def similarity(a: Patches, b: Patches) -> float:
    """Return how well one displacement of ``a`` explains ``b``, from 0 (not at all) to 1 (fully).

    The similarity is the normalized cross-correlation of the blocks (J. P. Lewis, "Fast Normalized
    Cross-Correlation", 1995), weighted by their contrast. Each block may deviate from the common
    displacement by one pixel.
    """
    # The product is computed for one row of blocks at a time, because a larger product would start
    # the threads of OpenBLAS, which then busy-wait.
    rows_BC = a.unit_PC[_BLOCK_PLACES_B].reshape(_BLOCKS_DOWN, _BLOCKS_ACROSS, -1)
    match_BP = rows_BC @ b.unit_PC.T
    match_PPB = np.ascontiguousarray(match_BP.reshape(-1, _PLACES_H, _PLACES_W).transpose(1, 2, 0))
    near_BP = cv2.dilate(match_PPB, _ONE_PIXEL).transpose(2, 0, 1).ravel()
    weight_BD = (a.contrast_P[_BLOCK_PLACES_B] + _NOISE_CONTRAST)[:, None] * _IN_VIEW_BD
    weight_D = weight_BD.sum(axis=0)
    match_D = (near_BP[_TARGETS_BD] * weight_BD).sum(axis=0)
    seen_D = weight_D > _MIN_IN_VIEW * weight_D[_NO_DISPLACEMENT]
    return float(np.max(match_D[seen_D] / weight_D[seen_D]))


def _grid(ys: IndexArray, xs: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return all pairs of the two as two flat arrays."""
    return np.repeat(ys, len(xs)), np.tile(xs, len(ys))


_PLACES_H: Final = _H_PX - _BLOCK_H_PX + 1
_PLACES_W: Final = _W_PX - _BLOCK_W_PX + 1
_NUM_PLACES: Final = _PLACES_H * _PLACES_W
_ONE_PIXEL: Final = np.ones((3, 3), dtype=np.uint8)

# Position of each block in the other image for each displacement of up to half the image.
_BLOCK_Y_B, _BLOCK_X_B = _grid(
    np.linspace(0, _PLACES_H - 1, _BLOCKS_DOWN).astype(np.intp),
    np.linspace(0, _PLACES_W - 1, _BLOCKS_ACROSS).astype(np.intp),
)
_SHIFT_Y_D, _SHIFT_X_D = _grid(
    np.arange(-(_H_PX // 2), _H_PX // 2 + 1), np.arange(-(_W_PX // 2), _W_PX // 2 + 1)
)
_Y_BD: Final = _BLOCK_Y_B[:, None] + _SHIFT_Y_D
_X_BD: Final = _BLOCK_X_B[:, None] + _SHIFT_X_D
_BLOCK_PLACES_B: Final = _BLOCK_Y_B * _PLACES_W + _BLOCK_X_B
_IN_VIEW_BD: Final = (_Y_BD >= 0) & (_Y_BD < _PLACES_H) & (_X_BD >= 0) & (_X_BD < _PLACES_W)
_TARGETS_BD: Final = (
    np.where(_IN_VIEW_BD, _Y_BD * _PLACES_W + _X_BD, 0)
    + np.arange(len(_BLOCK_PLACES_B))[:, None] * _NUM_PLACES
)
_NO_DISPLACEMENT: Final = len(_SHIFT_Y_D) // 2


@dataclass(slots=True)
class _Window:
    """The frames in memory and measurements of them. Frames are identified by their video index.

    Attributes:
        start: index of the first frame in memory.
        images_NHW3: (N, H, W, 3) working images in YCrCb, 0..255.
        coarse_NF: (N, F) the images at half the size, where small shifts do not count as change.
        step_N: (N,) change since the previous frame, gray levels.
        flat_N: (N,) whether the image is blank.
        patches: cache of the patches of frames that were compared.
    """

    start: int
    images_NHW3: FloatArray
    coarse_NF: FloatArray
    step_N: FloatArray
    flat_N: BoolArray
    patches: dict[int, Patches] = field(default_factory=dict[int, Patches])

    @classmethod
    def of(cls, start: int, images: list[ImageArray]) -> "_Window":
        """Measure the frames in memory."""
        images_NHW3 = np.stack(images).astype(np.float32)
        rows_NHW3 = images_NHW3[:, ::2] + images_NHW3[:, 1::2]
        sums_NHW3 = rows_NHW3[:, :, ::2] + rows_NHW3[:, :, 1::2]
        coarse_NF = (sums_NHW3.reshape(len(images), -1) / 4).astype(np.float32)
        std_N = images_NHW3[..., 0].std(axis=(1, 2))
        return cls(
            start=start,
            images_NHW3=images_NHW3,
            coarse_NF=coarse_NF,
            step_N=_change(coarse_NF, np.concatenate([coarse_NF[:1], coarse_NF[:-1]])),
            flat_N=std_N < np.clip(_FLAT_SHARE * np.median(std_N), _FLAT_MIN_STD, _FLAT_MAX_STD),
        )

    @property
    def end(self) -> int:
        """Index after the last frame in memory."""
        return self.start + len(self.images_NHW3)

    def is_flat(self, start: int, end: int) -> bool:
        """Return whether any of the frames is blank; frames not in memory count as not blank."""
        first = max(start - self.start, 0)
        return bool(self.flat_N[first : max(end - self.start, 0)].any())

    def describe(self, frame: int) -> Patches:
        """Return the patches of a frame."""
        if frame not in self.patches:
            self.patches[frame] = describe(self.images_NHW3[frame - self.start])
        return self.patches[frame]

    def describe_shown(self, frames: Iterable[int]) -> list[Patches]:
        """Return the patches of those of the frames that are in memory and not blank."""
        in_memory = [f for f in frames if self.start <= f < self.end]
        return [self.describe(f) for f in in_memory if not self.is_flat(f, f + 1)]


def _change(a_NF: FloatArray, b_NF: FloatArray) -> FloatArray:
    """Return the difference of coarse images: mean over pixels, summed over the three channels."""
    return 3 * np.abs(a_NF - b_NF).mean(axis=1)


@dataclass(frozen=True, slots=True, order=True)
class _Dissolve:
    """A candidate for a dissolve; better candidates compare greater.

    Attributes:
        merit: change from end to end, reduced by the share that no blend explains.
        start, end: last frame that shows only the first scene, first frame that shows only the
            second.
        middle: first frame in which the second scene has the larger weight.
    """

    merit: float
    start: int
    end: int
    middle: int


class ShotDetector:
    """Finds the first frames of the shots of one video, whose frames are pushed in order.

    Decisions use at most a few seconds before and two seconds after a frame, so the memory use is
    constant.

    Args:
        fps: frame rate, to convert the times of the configuration to frames.
        config: thresholds.
    """

    def __init__(self, fps: float, config: ShotConfig | None = None) -> None:
        self._config = config or ShotConfig()
        self._fps = fps
        self._flash_frames = min(max(3, round(self._config.flash_s * fps)), _MAX_FLASH_FRAMES)
        self._memory_step = max(1, round(_MEMORY_INTERVAL_S * fps))
        self._ahead = max(self._flash_frames, 2 * max(_DISSOLVE_FRAMES))
        self._back = max(self._ahead, round(_MEMORY_S * fps))
        self._images: list[ImageArray] = []
        self._start = 0
        self._decided = 0
        self._cuts: list[int] = []
        self._flat_start: int | None = None
        self._before_flat: list[Patches] = []

    @property
    def num_frames_in_memory(self) -> int:
        """Number of frames that are currently in memory."""
        return len(self._images)

    def push(self, image: ImageArray) -> None:
        """Add the next frame, (height, width, 3) RGB, of any size."""
        if image.shape[0] > image.shape[1]:
            image = image.transpose(1, 0, 2)
        small = cv2.resize(image, (_W_PX, _H_PX), interpolation=cv2.INTER_AREA)
        self._images.append(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.uint8, copy=False))
        if self._start + len(self._images) >= self._decided + _CHUNK_FRAMES + self._ahead:
            self._decide(self._decided + _CHUNK_FRAMES)

    def finish(self) -> tuple[int, ...]:
        """Return the first frames of all shots but the first, in ascending order.

        Frames are counted from the first one pushed.
        """
        if self._images:
            self._decide(self._start + len(self._images))
        return tuple(self._cuts)

    def _decide(self, until: int) -> None:
        """Find the boundaries before frame ``until`` and drop frames that are no longer needed."""
        window = _Window.of(self._start, self._images)
        if self._config.gradual:
            self._find_fades(window, until)
        self._find_hard_cuts(window, until)
        if self._config.gradual:
            self._find_dissolves(window, until)
        self._cuts.sort()
        self._decided = until
        drop = max(0, until - self._back - self._start)
        del self._images[:drop]
        self._start += drop

    def _shot_start(self, frame: int) -> int:
        """Return the first frame of the shot that contains ``frame - 1``, by the known cuts."""
        return max((cut for cut in self._cuts if cut < frame), default=0)

    def _is_clear(self, start: int, end: int, gap_frames: int) -> bool:
        """Return whether no recent boundary is inside a span or closer than ``gap_frames``."""
        recent = self._cuts[-_RECENT_CUTS:]
        return all(cut <= start - gap_frames or cut >= end + gap_frames for cut in recent)

    # fades

    def _find_fades(self, window: _Window, until: int) -> None:
        """Decide on the blank stretches that end before ``until``."""
        flat_N = window.flat_N[self._decided - window.start : until - window.start]
        edges = np.flatnonzero(np.diff(flat_N, prepend=self._flat_start is not None))
        for edge in (edges + self._decided).tolist():
            if self._flat_start is None:
                self._flat_start = edge
                first = self._shot_start(edge)
                self._before_flat = window.describe_shown(
                    edge - offset for offset in _FADE_OFFSETS if edge - offset >= first
                )
            else:
                self._end_flat(window, self._flat_start, edge)
                self._flat_start = None
        if self._flat_start is not None and until == window.end:
            self._end_flat(window, self._flat_start, until)

    def _end_flat(self, window: _Window, start: int, end: int) -> None:
        """Add the boundaries of a blank stretch: both ends if it is long, else its middle."""
        if end - start >= _LONG_FLAT_S * self._fps:
            self._cuts += [cut for cut in (start, end) if 0 < cut < window.end]
            return
        after = window.describe_shown(end - 1 + offset for offset in _FADE_OFFSETS)
        # Blank frames at the start or end of a video belong to the adjacent shot.
        if self._before_flat and after:
            best = max(similarity(a, b) for a in self._before_flat for b in after)
            if best <= _MAX_FADE_SIMILARITY:
                self._cuts.append((start + end) // 2)

    # hard cuts

    def _find_hard_cuts(self, window: _Window, until: int) -> None:
        step_N = window.step_N
        around_N = np.lib.stride_tricks.sliding_window_view(
            np.pad(step_N, _AROUND_FRAMES), 2 * _AROUND_FRAMES + 1
        ).copy()
        usual_N = np.median(around_N, axis=1)
        around_N[:, _AROUND_FRAMES] = 0  # the step itself
        near = slice(_AROUND_FRAMES - _NEAR_FRAMES, _AROUND_FRAMES + _NEAR_FRAMES + 1)
        # One gray level is added so that noise in still images does not count as change.
        ratio_N = step_N / (around_N[:, near].max(axis=1) + 1)
        candidate_N = (
            (step_N >= self._config.min_step)
            & (ratio_N >= self._config.min_step_ratio)
            & (step_N >= _MIN_USUAL_RATIO * (usual_N + 1))
        )
        if self._config.gradual:  # _find_fades handles blank frames
            candidate_N &= ~window.flat_N
            candidate_N[1:] &= ~window.flat_N[:-1]
        first = max(1, self._decided - window.start)
        for n in (np.flatnonzero(candidate_N[first : until - window.start]) + first).tolist():
            frame = window.start + n
            if self._is_clear(frame, frame, _MIN_SHOT_FRAMES) and self._is_other_scene(
                window, frame, float(ratio_N[n])
            ):
                self._cuts.append(frame)

    def _is_other_scene(self, window: _Window, frame: int, ratio: float) -> bool:
        """Return whether no frame shortly before ``frame`` matches any frame shortly after it."""
        leniency = _LENIENCY_PER_DOUBLING * math.log2(ratio / _NEUTRAL_RATIO)
        leniency = min(max(leniency, -_MAX_LENIENCY), _MAX_LENIENCY)
        limit = self._config.max_similarity + leniency
        offsets = [offset for offset in _OFFSETS if offset <= self._flash_frames]
        remembered = range(
            frame - self._flash_frames - self._memory_step, frame - self._back, -self._memory_step
        )
        pairs = [
            *((frame - 1, frame + offset) for offset in offsets),
            *((frame - 1 - offset, frame) for offset in offsets[1:]),
            *((frame - 2, frame + 1), (frame - 3, frame + 2), (frame - 5, frame + 4)),
            *((before, frame) for before in remembered),
        ]
        first = max(window.start, self._shot_start(frame))
        return all(
            similarity(window.describe(before), window.describe(after)) <= limit
            for before, after in pairs
            if before >= first and after < window.end
        )

    # dissolves

    def _find_dissolves(self, window: _Window, until: int) -> None:
        found = [
            dissolve
            for length in _DISSOLVE_FRAMES
            for dissolve in self._blends(window, until, length)
        ]
        for dissolve in sorted(found, reverse=True):
            if self._is_clear(dissolve.start, dissolve.end, _DISSOLVE_GAP_FRAMES):
                self._cuts.append(dissolve.middle)

    def _blends(self, window: _Window, until: int, length: int) -> Iterable[_Dissolve]:
        """Yield undecided stretches of ``length`` frames that blend one scene into another."""
        if len(window.coarse_NF) <= length:
            return
        coarse_NF = window.coarse_NF
        change_N = _change(coarse_NF[length:], coarse_NF[:-length])
        reach = max(2, length // 3)
        peak_N = np.lib.stride_tricks.sliding_window_view(
            np.pad(change_N, reach), 2 * reach + 1
        ).max(axis=1)
        peaks = np.flatnonzero((change_N == peak_N) & (change_N >= _DISSOLVE_MIN_CHANGE))
        for n in peaks.tolist():
            start, end = window.start + n, window.start + n + length
            if not self._decided <= start + length // 2 < until or window.is_flat(
                start - _FADE_REACH_FRAMES, end + _FADE_REACH_FRAMES + 1
            ):
                continue
            residual, progress_L = _fit_blend(coarse_NF[n : n + length + 1])
            lag = float(np.abs(progress_L - np.linspace(0, 1, length + 1)).max())
            if (
                residual > self._config.max_dissolve_residual
                or lag > _DISSOLVE_MAX_LAG
                or float(np.diff(progress_L).max()) > _DISSOLVE_MAX_STEP
            ):
                continue
            alike = similarity(window.describe(start), window.describe(end))
            if alike <= _DISSOLVE_MAX_SIMILARITY - _SIMILARITY_PER_RESIDUAL * residual:
                middle = start + int(np.argmax(progress_L >= 0.5))
                yield _Dissolve(float(change_N[n]) * (1 - residual), start, end, middle)


def _fit_blend(coarse_LF: FloatArray) -> tuple[float, FloatArray]:
    """Fit every frame as a blend of the first and the last frame.

    Args:
        coarse_LF: (L, F) coarse images, of which the first and the last differ.

    Returns:
        The root mean square distance from the blends as a share of the distance between the ends,
        and the weights of the last frame in the blends, (L,).
    """
    path_LF = coarse_LF - coarse_LF[0]
    size = float(path_LF[-1] @ path_LF[-1])
    progress_L = path_LF @ path_LF[-1] / size
    aside_LF = path_LF - progress_L[:, None] * path_LF[-1]
    inside = max(1, len(coarse_LF) - 2)  # the ends lie on the line by definition
    return math.sqrt(float(np.sum(aside_LF**2)) / inside / size), progress_L
