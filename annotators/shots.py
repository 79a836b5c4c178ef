"""Finds the cuts of a video in one pass over tiny frames, in constant memory.

Three kinds of shot boundary, each told by what only it does:

- **fade**: the image goes through one flat colour, with different scenes on the two sides;
- **hard cut**: one step between two frames is much larger than the steps around it, and no frame
  shortly before matches any frame shortly after. A flash, a flare or a passer-by brings the same
  scene back; a whip pan or a falling camera is many large steps; both fail the test;
- **dissolve**: the frames between two different scenes lie on the straight line from one to the
  other, at an even pace. Moving cameras and people do not move images along straight lines.

"Matches" is decided by moving blocks of one image over the other: normalised correlation, so that a
change of exposure does not count, with one displacement for the whole image, so that a panning
camera does not count.

Shapes: N frames, H = 18 and W = 32 px of a working image (portrait video is transposed), P places
of a block in it, B blocks, D displacements, L frames of a dissolve, F = values of a coarse image.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.intp]

THUMBNAIL_SIDE_PX: Final = 64
"""Longer side of the frames that the detector is made for; it takes any size."""

_W_PX: Final = 32
_H_PX: Final = 18
_COARSE_PX: Final = (16, 9)  # (width, height)

# Blocks of 8 × 6 px, 4 across and 3 down: large enough to be told apart, small enough that most
# show only background when people move.
_BLOCK_H_PX: Final = 6
_BLOCK_W_PX: Final = 8
_MIN_OVERLAP: Final = 0.4  # share of the image's detail that a displacement must keep in view
_NOISE: Final = 3.0  # block contrast (grey levels × √pixels) that says nothing: compression noise

_FLAT_STD: Final = 2.0  # spatial deviation of luma, in grey levels, of a blank working image
_LONG_FLAT_S: Final = 1.0  # a blank stretch of this length is a shot of its own
_MIN_GAP_FRAMES: Final = 3  # two boundaries that are closer are one
_MEMORY_STEP_S: Final = 0.25
_MEMORY_S: Final = 2.5
_CHUNK_FRAMES: Final = 128
_DISSOLVE_FRAMES: Final = (6, 10, 16, 24)
_DISSOLVE_MIN_STEP: Final = 6.0


class ShotConfig(BaseModel):
    """How the cuts between shots are found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_step: float = Field(
        default=3.5,
        gt=0,
        le=255,
        description="Smallest mean change between two frames, in grey levels, that can be a cut. "
        "Lower finds cuts in darker videos.",
    )
    step_ratio: float = Field(
        default=1.5,
        ge=1,
        le=100,
        description="How many times larger a hard cut is than the changes just before and after.",
    )
    max_similarity: float = Field(
        default=0.66,
        gt=0,
        le=1,
        description="Scenes that match better than this (0..1) are the same shot. Higher finds "
        "cuts between more similar scenes, and more false ones.",
    )
    flash_s: float = Field(
        default=0.5,
        ge=0,
        le=2,
        description="A disturbance after which the same scene is back within this time is no cut.",
    )
    gradual: bool = Field(default=True, description="Find dissolves and fades too.")
    max_dissolve_residual: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="How far the frames of a dissolve may lie from the straight blend of the two "
        "scenes, as a share of the scenes' difference.",
    )


@dataclass(frozen=True, slots=True)
class Patches:
    """All places of a block in one working image, to be matched against other images.

    Attributes:
        unit_PC: (P, C) the blocks' values without their mean, at unit length.
        contrast_P: (P,) that length before: how much detail the block shows.
    """

    unit_PC: FloatArray
    contrast_P: FloatArray


def describe(image_HW3: FloatArray) -> Patches:
    """Cut all blocks out of a working image and take out their mean and contrast."""
    blocks = np.lib.stride_tricks.sliding_window_view(
        image_HW3, (_BLOCK_H_PX, _BLOCK_W_PX), axis=(0, 1)
    ).reshape(_NUM_PLACES, 3, _BLOCK_H_PX * _BLOCK_W_PX)
    centred_PC = (blocks - blocks.mean(axis=2, keepdims=True)).reshape(_NUM_PLACES, -1)
    contrast_P = np.sqrt(np.einsum("pc,pc->p", centred_PC, centred_PC))
    return Patches(centred_PC / (contrast_P[:, None] + _NOISE), contrast_P)


def similarity(a: Patches, b: Patches) -> float:
    """How well a displacement of the whole of ``a`` explains ``b``: 1 fully, 0 not at all.

    Normalised cross-correlation of blocks (Lewis, *Fast Normalized Cross-Correlation*, 1995), each
    allowed one pixel beside the common displacement, weighted by the blocks' contrast.
    """
    match_BP = a.unit_PC[_BLOCK_PLACES] @ b.unit_PC.T
    match_PPB = np.ascontiguousarray(match_BP.reshape(-1, _PLACES_H, _PLACES_W).transpose(1, 2, 0))
    near_BP = cv2.dilate(match_PPB, _NEIGHBOURS).transpose(2, 0, 1).reshape(-1)
    weight_BD = (a.contrast_P[_BLOCK_PLACES] + _NOISE)[:, None] * _IN_VIEW_BD
    in_view_D = weight_BD.sum(axis=0)
    correlation_D = (near_BP[_TARGET_BD] * weight_BD).sum(axis=0)
    enough_D = in_view_D > _MIN_OVERLAP * in_view_D[_NO_DISPLACEMENT]
    return float(np.max(correlation_D[enough_D] / in_view_D[enough_D]))


def _displacement_tables() -> tuple[IntArray, IntArray, NDArray[np.bool_], int]:
    """Where the blocks lie, and where each lands in the other image under each displacement."""
    y_B, x_B = (
        grid.ravel()
        for grid in np.meshgrid(
            np.linspace(0, _PLACES_H - 1, 3).astype(int),
            np.linspace(0, _PLACES_W - 1, 4).astype(int),
            indexing="ij",
        )
    )
    y_D, x_D = (
        grid.ravel()
        for grid in np.meshgrid(
            np.arange(-(_H_PX // 2), _H_PX // 2 + 1),
            np.arange(-(_W_PX // 2), _W_PX // 2 + 1),
            indexing="ij",
        )
    )
    y_BD, x_BD = y_B[:, None] + y_D, x_B[:, None] + x_D
    in_view_BD = (y_BD >= 0) & (y_BD < _PLACES_H) & (x_BD >= 0) & (x_BD < _PLACES_W)
    block_offset_B1 = np.arange(len(y_B))[:, None] * _NUM_PLACES
    target_BD = np.where(in_view_BD, y_BD * _PLACES_W + x_BD, 0) + block_offset_B1
    return y_B * _PLACES_W + x_B, target_BD, in_view_BD, len(y_D) // 2


_PLACES_H: Final = _H_PX - _BLOCK_H_PX + 1
_PLACES_W: Final = _W_PX - _BLOCK_W_PX + 1
_NUM_PLACES: Final = _PLACES_H * _PLACES_W
_BLOCK_PLACES, _TARGET_BD, _IN_VIEW_BD, _NO_DISPLACEMENT = _displacement_tables()
_NEIGHBOURS: Final = np.ones((3, 3), dtype=np.uint8)


@dataclass(slots=True)
class _Window:
    """The frames in memory, and measures of them; ``start`` is the number of the first.

    Attributes:
        images: N working images (H, W, 3), luma and the two colour differences, 0..255.
        coarse_NF: (N, F) the same, smaller: what changes are measured on.
        step_N: mean change since the frame before, grey levels.
        flat_N: the image shows nothing.
    """

    start: int
    images: list[FloatArray]
    coarse_NF: FloatArray
    step_N: FloatArray
    flat_N: NDArray[np.bool_]
    _patches: dict[int, Patches] = field(default_factory=dict[int, Patches])

    @classmethod
    def of(cls, start: int, images: list[FloatArray]) -> "_Window":
        """Measure the frames in memory."""
        coarse_NF = np.stack(
            [cv2.resize(i, _COARSE_PX, interpolation=cv2.INTER_AREA).ravel() for i in images]
        )
        luma_NF = np.stack([image[:, :, 0].ravel() for image in images])
        change_NF = np.abs(np.diff(coarse_NF, axis=0, prepend=coarse_NF[:1]))
        return cls(
            start=start,
            images=images,
            coarse_NF=coarse_NF,
            step_N=3 * change_NF.mean(axis=1),
            flat_N=_flat(luma_NF),
        )

    @property
    def end(self) -> int:
        return self.start + len(self.images)

    def similarity(self, a: int, b: int) -> float:
        """Of two frames, by their numbers."""
        return similarity(self.described(a), self.described(b))

    def described(self, frame: int) -> Patches:
        if frame not in self._patches:
            self._patches[frame] = describe(self.images[frame - self.start])
        return self._patches[frame]


class ShotDetector:
    """Takes the frames of one video in order and tells where shots begin.

    Decisions look at most a few seconds back and one second ahead, so memory does not grow.

    Args:
        fps: frame rate, for what is told in seconds.
        config: thresholds.
    """

    def __init__(self, fps: float, config: ShotConfig | None = None) -> None:
        self._config = config or ShotConfig()
        self._fps = fps
        self._flash_frames = min(max(3, round(self._config.flash_s * fps)), 30)
        self._back = max(round(_MEMORY_S * fps), self._flash_frames, 2 * max(_DISSOLVE_FRAMES))
        self._ahead = max(self._flash_frames, 2 * max(_DISSOLVE_FRAMES))
        self._images: list[FloatArray] = []
        self._start = 0  # number of the first image in memory
        self._decided = 0  # all frames before this one are decided
        self._cuts: list[int] = []
        self._flat_start: int | None = None
        self._before_flat: list[Patches] = []

    def push(self, image: NDArray[np.uint8]) -> None:
        """Take the next frame, (height, width, 3) RGB, of any size."""
        if image.shape[0] > image.shape[1]:
            image = image.transpose(1, 0, 2)
        small = cv2.resize(image, (_W_PX, _H_PX), interpolation=cv2.INTER_AREA)
        self._images.append(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32))
        if self._start + len(self._images) >= self._decided + _CHUNK_FRAMES + self._ahead:
            self._decide(self._decided + _CHUNK_FRAMES)

    def finish(self) -> tuple[int, ...]:
        """The first frames of all shots but the first: numbers of pushed frames, ascending."""
        self._decide(self._start + len(self._images))
        return tuple(self._cuts)

    def _decide(self, until: int) -> None:
        if not self._images:
            return
        window = _Window.of(self._start, self._images)
        cuts: list[int] = []
        if self._config.gradual:
            self._cuts += self._fades(window, until)
        self._cuts += self._hard_cuts(window, until)
        if self._config.gradual:
            self._cuts += self._dissolves(window, until)
        self._cuts.sort()
        self._decided = until
        drop = max(0, until - self._back - self._start)
        del self._images[:drop]
        self._start += drop

    def _shot_start(self, frame: int) -> int:
        """Where the shot of the frame before ``frame`` begins, as far as is known."""
        return max((cut for cut in self._cuts if cut < frame), default=0)

    def _is_clear(self, frame: int) -> bool:
        return all(abs(frame - cut) >= _MIN_GAP_FRAMES for cut in self._cuts[-_RECENT_CUTS:])

    # fades

    def _fades(self, window: _Window, until: int) -> list[int]:
        """Boundaries at blank stretches that end before ``until``."""
        cuts: list[int] = []
        flat_N = window.flat_N[self._decided - window.start : until - window.start]
        edges = np.flatnonzero(np.diff(flat_N, prepend=self._flat_start is not None))
        for edge in (edges + self._decided).tolist():
            if self._flat_start is None:
                self._flat_start = edge
                first = max(window.start, self._shot_start(edge))
                self._before_flat = _shown(
                    window, [edge - o for o in _FADE_OFFSETS if edge - o >= first]
                )
            else:
                cuts += self._flat_cuts(window, self._flat_start, edge)
                self._flat_start = None
        if self._flat_start is not None and until == window.end and self._is_long(until):
            cuts.append(self._flat_start)  # a blank end
        return [cut for cut in cuts if cut > 0]

    def _is_long(self, end: int) -> bool:
        return self._flat_start is not None and end - self._flat_start >= _LONG_FLAT_S * self._fps

    def _flat_cuts(self, window: _Window, start: int, end: int) -> list[int]:
        if self._is_long(end):
            return [start, end]
        after = _shown(window, [end - 1 + o for o in _FADE_OFFSETS if end - 1 + o < window.end])
        if not self._before_flat or not after:
            return []
        same = max(similarity(a, b) for a in self._before_flat for b in after)
        return [] if same > _FADE_SIM else [(start + end) // 2]

    # hard cuts

    def _hard_cuts(self, window: _Window, until: int) -> list[int]:
        """Frames in the undecided range at which another shot starts abruptly."""
        step_N = window.step_N
        padded = np.pad(step_N, _AROUND_FRAMES)
        around_N = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND_FRAMES + 1).copy()
        usual_N = np.median(around_N, axis=1)
        around_N[:, _AROUND_FRAMES] = 0
        near = slice(_AROUND_FRAMES - _NEAR_FRAMES, _AROUND_FRAMES + _NEAR_FRAMES + 1)
        # One grey level more, lest noise in still images count as change.
        ratio_N = step_N / (around_N[:, near].max(axis=1) + 1)
        candidate_N = (
            (step_N >= self._config.min_step)
            & (ratio_N >= self._config.step_ratio)
            & (step_N >= _USUAL_RATIO * (usual_N + 1))
        )
        if self._config.gradual:
            candidate_N &= ~window.flat_N & ~np.roll(window.flat_N, 1)
        first = max(1, self._decided - window.start)
        offsets = np.flatnonzero(candidate_N[first : until - window.start]) + first
        cuts: list[int] = []
        for offset in offsets.tolist():
            frame = window.start + offset
            if self._is_clear(frame) and self._is_other_scene(window, frame, ratio_N[offset]):
                self._cuts.append(frame)
        return cuts

    def _is_other_scene(self, window: _Window, frame: int, ratio: float) -> bool:
        """No frame shortly before ``frame`` shows the scene of any shortly after."""
        shot_start = max(window.start, self._shot_start(frame))
        memory_step = max(1, round(_MEMORY_STEP_S * self._fps))
        pairs = [
            *((frame - 1, frame + o) for o in _offsets(self._flash_frames)),
            *((frame - 1 - o, frame) for o in _offsets(self._flash_frames)),
            *((frame - 1 - o, frame + o) for o in (1, 2, 4)),
            *((m, frame) for m in range(frame - self._flash_frames - memory_step, frame - self._back, -memory_step)),
        ]
        best = max(
            window.similarity(a, b) for a, b in pairs if a >= shot_start and b < window.end
        )
        DEBUG.append((frame, float(ratio), window.similarity(frame-1,frame), best))
        limit = self._config.max_similarity + float(np.clip(.12*math.log2(ratio/3), -.12, .12))
        return best <= limit

    # dissolves

    def _dissolves(self, window: _Window, until: int) -> list[int]:
        found: list[tuple[float, int, int, int]] = []
        for length in _DISSOLVE_FRAMES:
            found += self._blends(window, until, length)
        cuts: list[int] = []
        for _, start, end, middle in sorted(found, reverse=True):
            if all(c <= start - 3 or c >= end + 4 for c in (*self._cuts, *cuts)):
                cuts.append(middle)
        return cuts

    def _blends(self, window, until, length):
        coarse_NF = window.coarse_NF
        if len(coarse_NF) <= length: return []
        change_N = 3 * np.abs(coarse_NF[length:] - coarse_NF[:-length]).mean(axis=1)
        reach = max(2, length // 3)
        padded = np.pad(change_N, reach)
        peak_N = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
        starts = np.flatnonzero((change_N == peak_N) & (change_N >= _DISSOLVE_MIN_STEP))
        out = []
        for start in starts.tolist():
            middle = window.start + start + length // 2
            if not self._decided <= middle < until: continue
            end = start + length
            if window.flat_N[start:end + 1].any(): continue
            base_F = coarse_NF[start]
            across_F = coarse_NF[end] - base_F
            size = float(across_F @ across_F)
            path_LF = coarse_NF[start + 1 : end] - base_F
            along_L = path_LF @ across_F / size
            aside_LF = path_LF - along_L[:, None] * across_F
            residual = math.sqrt(float(np.mean(np.sum(aside_LF**2, axis=1))) / size)
            progress = np.concatenate([[0], along_L, [1]])
            dev = np.abs(progress - np.linspace(0, 1, length + 1)).max()
            step = np.diff(progress).max()
            if residual > self._config.max_dissolve_residual or dev > .25 or step > .45: continue
            a, b = window.start + start, window.start + end
            ss=[window.similarity(max(a-o,window.start),min(b+o,window.end-1)) for o in (0,3,8)]
            s=max(ss)
            DEBUGD.append((a,b,residual,dev,step,s,change_N[start],ss))
            if ss[0] + 1.5*residual > .85: continue
            mid = window.start + start + int(np.argmax(progress >= 0.5))
            out.append((float(change_N[start] * (1 - residual)), a, b, mid))
        return out


def _offsets(limit: int) -> list[int]:
    return [o for o in (0, 1, 2, 3, 5, 8, 12, 18, 25) if o <= limit]


def _shown(window: _Window, frames: list[int]) -> list[Patches]:
    return [window.described(f) for f in frames if not window.flat_N[f - window.start]]

DEBUG=[]; DEBUGD=[]
_FADE_OFFSETS: Final = (1, 3, 8, 14)
_AROUND_FRAMES: Final = 8
_NEAR_FRAMES: Final = 2
_USUAL_RATIO: Final = 2.0
_RECENT_CUTS=16

def _flat(luma_NF):
    std=luma_NF.std(axis=1); mean=luma_NF.mean(axis=1)
    return (std < np.minimum(_FLAT_STD, .15*np.median(std))) & ((mean<25)|(mean>225))
_FADE_SIM=.85
