"""How far the camera has turned since the first frame, as a shift of the picture.

Without it a person followed by a panning camera seems to walk on the spot, and a shaking camera
makes everybody jump. Phase correlation of neighbouring frames finds the shift of the largest part
of the picture that moves as one, which is the background (Kuglin and Hines 1975).

Shapes: T frames.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH_PX: Final = 256
_MIN_RESPONSE: Final = 0.08
"""Correlation peaks below tell nothing: a blurred, dark or wholly changed picture."""

_MAX_SHIFT: Final = 0.25
"""Largest believable shift between two frames, in picture widths."""


class CameraMotion:
    """Feed it the frames of a clip in order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._window: NDArray[np.float32] | None = None
        self._shifts: list[tuple[float, float]] = []

    def add(self, image_HW3: NDArray[np.uint8]) -> None:
        """Compare a frame, RGB, with the one before."""
        height, width = image_HW3.shape[:2]
        size = (_WIDTH_PX, max(32, round(_WIDTH_PX * height / width)))
        small = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if self._last is None or self._window is None:
            self._window = cv2.createHanningWindow(size, cv2.CV_32F).astype(np.float32)
            self._shifts.append((0.0, 0.0))
        else:
            (dx, dy), response = cv2.phaseCorrelate(self._last, gray, self._window)
            reliable = response >= _MIN_RESPONSE and max(abs(dx), abs(dy)) < _MAX_SHIFT * _WIDTH_PX
            self._shifts.append((dx / _WIDTH_PX, dy / _WIDTH_PX) if reliable else (0.0, 0.0))
        self._last = gray

    def shifts_T2(self) -> NDArray[np.float64]:
        """How far the picture has moved since the first frame, (T, 2), in picture widths."""
        return np.cumsum(np.array(self._shifts, dtype=np.float64).reshape(-1, 2), axis=0)
