"""Measures how the camera moves, on tiny frames.

Shapes: H, W size of a frame in pixels, P = 24 points on a grid over it.
"""

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

INTERVAL_S: Final = 0.1
"""Motion is measured over this time, every other time: long enough for a slow pan to show on a
thumbnail, short enough for a fast one to be followed."""

_EPSILON_S: Final = 1e-6
_POINTS_DOWN: Final = 4
_POINTS_ACROSS: Final = 6
_MIN_POINTS: Final = 4
_WINDOW_PX: Final = 11  # a sixth of a thumbnail's width: mostly background or mostly person
_PYRAMID_LEVELS: Final = 2  # follows up to about 6 pixels, one image width per second
_MIN_EIGENVALUE: Final = 1e-3  # of a window's gradients; below, it shows nothing to follow


class CameraMotion:
    """Takes the frames of one video in order and measures the motion of the background."""

    def __init__(self) -> None:
        self._before_s = -math.inf
        self._before_HW: Image | None = None

    def push(self, pts_s: float, image_HW3: Image) -> float | None:
        """Take the next frame.

        Args:
            pts_s: its time.
            image_HW3: (H, W, 3) RGB.

        Returns:
            Speed over the last 0.1 s, in image widths per second; None when it is not measured
            at this frame, or when the images do not tell.
        """
        elapsed_s = pts_s - self._before_s
        if elapsed_s < INTERVAL_S - _EPSILON_S:
            return None
        luma_HW = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        before_HW, self._before_s = self._before_HW, pts_s
        if before_HW is None:
            self._before_HW = luma_HW
            return None
        self._before_HW = None
        shift_px = global_shift(before_HW, luma_HW)
        return None if shift_px is None else math.hypot(*shift_px) / luma_HW.shape[1] / elapsed_s


def global_shift(a_HW: Image, b_HW: Image) -> tuple[float, float] | None:
    """How far the background moves from one image to another.

    The median over a grid of points of the pyramidal optical flow (Lucas and Kanade, 1981; Bouguet,
    2000), which people at a minority of the points do not sway.

    Args:
        a_HW: (H, W) luma.
        b_HW: the same, later.

    Returns:
        (x, y) in pixels, or None when too few points can be followed.
    """
    points_P12 = _grid(*a_HW.shape)
    moved_P12, found_P1, _ = cv2.calcOpticalFlowPyrLK(
        a_HW,
        b_HW,
        points_P12,
        points_P12.copy(),
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_PYRAMID_LEVELS,
        minEigThreshold=_MIN_EIGENVALUE,
    )
    found_P = found_P1[:, 0] > 0
    if np.count_nonzero(found_P) < _MIN_POINTS:
        return None
    x, y = np.median((moved_P12 - points_P12)[found_P, 0], axis=0)
    return float(x), float(y)


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> NDArray[np.float32]:
    """Points spread evenly over an image, (P, 1, 2), in pixels."""
    y = (np.arange(_POINTS_DOWN) + 0.5) * height / _POINTS_DOWN
    x = (np.arange(_POINTS_ACROSS) + 0.5) * width / _POINTS_ACROSS
    points_P2 = np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1)
    return points_P2.astype(np.float32)[:, None]
