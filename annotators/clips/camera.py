"""Camera motion, measured on thumbnails.

Shapes: H and W are the size of a frame in pixels, P = 24 points on a grid over it.
"""

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from data.arrays import FloatArray, ImageArray

INTERVAL_S: Final = 0.1
"""Camera motion is measured between frames this far apart, and every other interval is skipped. The
interval is long enough for a slow pan to be visible on a thumbnail and short enough for a fast pan
to be tracked."""

_EPSILON_S: Final = 1e-6
_POINTS_DOWN: Final = 4
_POINTS_ACROSS: Final = 6
_MIN_POINTS: Final = 4
# A sixth of a thumbnail's width, so that a window is mostly background or mostly person.
_WINDOW_PX: Final = 11
# Tracks displacements of up to about 6 pixels, which is one image width per second.
_PYRAMID_LEVELS: Final = 2
# Smallest eigenvalue of a window's gradient matrix; below it, the window has no texture to track.
_MIN_EIGENVALUE: Final = 1e-3


class CameraMotion:
    """Measures the motion of the background over the frames of one video, in order."""

    def __init__(self) -> None:
        self._before_s = -math.inf
        self._before_HW: ImageArray | None = None

    def push(self, pts_s: float, image_HW3: ImageArray) -> float | None:
        """Add the next frame.

        Args:
            pts_s: presentation time of the frame, seconds.
            image_HW3: (H, W, 3) RGB image.

        Returns:
            Speed over the last 0.1 s in image widths per second, or None when no speed is measured
            at this frame or when too few points can be tracked.
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


def global_shift(a_HW: ImageArray, b_HW: ImageArray) -> tuple[float, float] | None:
    """Return the displacement of the background between two images.

    The displacement is the median of the pyramidal optical flow (Lucas and Kanade, 1981; Bouguet,
    2000) over a grid of points. People who cover a minority of the points do not affect a median.

    Args:
        a_HW: (H, W) luma of the earlier image.
        b_HW: (H, W) luma of the later image.

    Returns:
        (x, y) in pixels, or None when too few points can be tracked.
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
def _grid(height: int, width: int) -> FloatArray:
    """Return points spread evenly over an image, (P, 1, 2), in pixels."""
    y = (np.arange(_POINTS_DOWN) + 0.5) * height / _POINTS_DOWN
    x = (np.arange(_POINTS_ACROSS) + 0.5) * width / _POINTS_ACROSS
    points_P2 = np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1)
    return points_P2.astype(np.float32)[:, None]
