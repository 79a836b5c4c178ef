"""Turns a video into clips: one decoding pass finds the shots, which are cut into even windows.

Shapes: H, W size of a thumbnail in pixels.
"""

import hashlib
import math
from array import array
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from annotators.shots import THUMBNAIL_SIDE_PX, ShotConfig, ShotDetector
from data.errors import ItemError, Reason, Stage
from data.records import Clip, Frame, Rejection, Shot, VideoProbe, VideoScan
from data.video import scan_thumbnails
from pathlib import Path

_MIN_DECODED_SHARE: Final = 0.5
"""A video of which fewer frames decode is rejected: most of what it shows would be missing."""

_CAMERA_INTERVAL_S: Final = 0.1
"""Camera motion is measured over this time: long enough for a slow pan to be seen on a thumbnail,
short enough for a fast one to keep half of the image in view."""

_MIN_RESPONSE: Final = 0.05
"""Peak of a phase correlation below which the two images have no common motion."""

_STATIC_SPEED: Final = 0.02
"""Image widths per second below which a camera counts as static: a tripod in the wind."""

_CLIP_ID_LENGTH: Final = 16
_EPSILON_S: Final = 1e-6


class ClipConfig(BaseModel):
    """How videos are cut into clips."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_clip_s: float = Field(
        default=10.0, gt=0, le=600, description="Longer shots are cut into clips of even length."
    )
    min_clip_s: float = Field(
        default=1.0, gt=0, description="Shorter shots are left out; at most half of max_clip_s."
    )
    shots: ShotConfig = Field(
        default_factory=ShotConfig, description="How the cuts between shots are found."
    )

    @model_validator(mode="after")
    def _halves_are_long_enough(self) -> "ClipConfig":
        # A shot a little longer than a clip may be becomes two halves, which must be clips too.
        if 2 * self.min_clip_s > self.max_clip_s:
            raise ValueError(
                f"min_clip_s: expected at most half of max_clip_s = {self.max_clip_s:g}, "
                f"found {self.min_clip_s:g}"
            )
        return self


class _CameraMotion:
    """Measures the motion of the whole image between frames about 0.1 s apart.

    Phase correlation (Kuglin and Hines, 1975): the background has one displacement and so one high
    peak, whatever the people before it do.
    """

    def __init__(self) -> None:
        self._before: tuple[float, NDArray[np.float32]] | None = None
        self._taper_HW: NDArray[np.float32] | None = None
        self.numbers = array("q")
        self.speeds = array("f")

    def push(self, number: int, frame: Frame) -> None:
        """Take a frame; every 0.1 s a speed, in image widths per second, comes of it."""
        if self._before is not None:
            elapsed_s = frame.pts_s - self._before[0]
            if elapsed_s < _CAMERA_INTERVAL_S - _EPSILON_S:
                return
        luma_HW = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if self._taper_HW is None:
            height, width = luma_HW.shape
            self._taper_HW = np.outer(np.hanning(height + 2), np.hanning(width + 2))[
                1:-1, 1:-1
            ].astype(np.float32)
        if self._before is not None:
            before_s, before_HW = self._before
            shift_px, response = cv2.phaseCorrelate(before_HW, luma_HW, self._taper_HW)
            if response >= _MIN_RESPONSE:
                self.numbers.append(number)
                self.speeds.append(
                    math.hypot(*shift_px) / luma_HW.shape[1] / (frame.pts_s - before_s)
                )
        self._before = (frame.pts_s, luma_HW)
