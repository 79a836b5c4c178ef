"""Where to look for people in a frame."""

import math
from typing import Final

import numpy as np

WINDOW_SHARES: Final = (1.0, 0.6, 0.38)
"""Sides of the square search windows, as shares of the shorter side of the frame."""

WINDOW_STEP: Final = 0.65
"""Distance between neighboring windows in shares of their side: all people smaller than the rest
of the side lie whole in one of them."""


Window = tuple[int, int, int, int]


def search_windows(width_px: int, height_px: int) -> tuple[list[Window], list[Window]]:
    """Return the large and the small search windows as (left, top, right, bottom), pixels."""
    windows: list[list[Window]] = []
    for share in WINDOW_SHARES:
        side = max(64, round(min(width_px, height_px) * share))
        lefts, tops = _window_starts(width_px, side), _window_starts(height_px, side)
        windows.append(
            [
                (left, top, min(left + side, width_px), min(top + side, height_px))
                for top in tops
                for left in lefts
            ]
        )
    whole: Window = (0, 0, width_px, height_px)
    large = [whole, *(window for window in windows[0] if window != whole)]
    return large, [window for group in windows[1:] for window in group]


def _window_starts(length_px: int, side_px: int) -> list[int]:
    spare = max(0, length_px - side_px)
    count = 1 + math.ceil(spare / (side_px * WINDOW_STEP))
    return [round(v) for v in np.linspace(0, spare, count)]
