"""Measures how the camera moves, on tiny frames.

Shapes: H, W size of a frame in pixels, B = 16 blocks of it.
"""

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

INTERVAL_S: Final = 0.1
"""Motion is measured over this time, every other time: long enough for a slow pan to show on a
thumbnail, short enough for a fast one to keep half of the image in view."""

_EPSILON_S: Final = 1e-6
_BLOCKS_PER_SIDE: Final = 4
_MIN_BLOCKS: Final = 3
_MIN_SIDE_PX: Final = 12  # blocks of three pixels, the least that has an inner gradient
_MIN_RESPONSE: Final = 0.1  # a correlation peak this low is no common displacement
_MIN_GRADIENT: Final = 2.0  # squared grey levels per pixel and pixel: above compression noise
_MIN_CORNERNESS: Final = 0.02  # det/trace² of a block's gradients: less sees one direction only


class CameraMotion:
    """Takes the frames of one video in order and measures the motion of the background."""

    def __init__(self) -> None:
        self._before_s = -math.inf
        self._before_HW: FloatArray | None = None

    def push(self, pts_s: float, image_HW3: NDArray[np.uint8]) -> float | None:
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
        luma_HW = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before_HW, self._before_s = self._before_HW, pts_s
        if before_HW is None:
            self._before_HW = luma_HW
            return None
        self._before_HW = None
        shift_px = global_shift(before_HW, luma_HW)
        return None if shift_px is None else math.hypot(*shift_px) / luma_HW.shape[1] / elapsed_s


def global_shift(a_HW: FloatArray, b_HW: FloatArray) -> tuple[float, float] | None:
    """How far the background moves from one image to another.

    Whole pixels by phase correlation (Kuglin and Hines, 1975); the rest as the median over blocks
    of the optical flow (Lucas and Kanade, 1981), which people in a minority of blocks do not sway.
    Phase correlation alone is no better than a tenth of a pixel, a slow pan on a thumbnail.

    Args:
        a_HW: (H, W) luma, 0..255.
        b_HW: the same, later.

    Returns:
        (x, y) in pixels, or None when too few blocks show enough detail to tell.
    """
    height, width = a_HW.shape
    # phaseCorrelate (OpenCV 5.0) multiplies the taper into its arguments: it gets copies.
    (x, y), response = cv2.phaseCorrelate(a_HW.copy(), b_HW.copy(), _taper(height, width))
    whole_x, whole_y = (round(x), round(y)) if response >= _MIN_RESPONSE else (0, 0)
    rest = _median_flow(
        a_HW[
            max(0, -whole_y) : height - max(0, whole_y), max(0, -whole_x) : width - max(0, whole_x)
        ],
        b_HW[max(0, whole_y) : height + min(0, whole_y), max(0, whole_x) : width + min(0, whole_x)],
    )
    return None if rest is None else (whole_x + rest[0], whole_y + rest[1])


@lru_cache(maxsize=4)
def _taper(height: int, width: int) -> FloatArray:
    """Hann window, (H, W): without it the image's borders are its strongest edges."""
    window_HW = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    return window_HW.astype(np.float32)


def _median_flow(a_HW: FloatArray, b_HW: FloatArray) -> tuple[float, float] | None:
    """Median over blocks of a displacement below about a pixel."""
    if min(a_HW.shape) < _MIN_SIDE_PX:
        return None
    a_HW = cv2.GaussianBlur(a_HW, (3, 3), 0).astype(np.float32)
    b_HW = cv2.GaussianBlur(b_HW, (3, 3), 0).astype(np.float32)
    mean_HW = (a_HW + b_HW) / 2
    right_HW = cv2.Sobel(mean_HW, cv2.CV_32F, 1, 0, ksize=1, scale=0.5).astype(np.float32)
    down_HW = cv2.Sobel(mean_HW, cv2.CV_32F, 0, 1, ksize=1, scale=0.5).astype(np.float32)
    later_HW = b_HW - a_HW
    xx_B, xy_B, yy_B = _block_means(right_HW * right_HW, right_HW * down_HW, down_HW * down_HW)
    xt_B, yt_B = _block_means(right_HW * later_HW, down_HW * later_HW)
    trace_B = xx_B + yy_B
    det_B = xx_B * yy_B - xy_B * xy_B
    tells_B = (det_B > _MIN_CORNERNESS * trace_B**2) & (trace_B > _MIN_GRADIENT)
    if np.count_nonzero(tells_B) < _MIN_BLOCKS:
        return None
    x_B = (xy_B * yt_B - yy_B * xt_B)[tells_B] / det_B[tells_B]
    y_B = (xy_B * xt_B - xx_B * yt_B)[tells_B] / det_B[tells_B]
    return float(np.median(x_B)), float(np.median(y_B))


def _block_means(*images_HW: FloatArray) -> list[FloatArray]:
    """Mean of each image over each block of a grid."""
    grid = (_BLOCKS_PER_SIDE, _BLOCKS_PER_SIDE)
    return [
        cv2.resize(image_HW, grid, interpolation=cv2.INTER_AREA).ravel().astype(np.float32)
        for image_HW in images_HW
    ]
