"""The rotation and the zoom of a camera during a clip, measured on the background.

A camera that turns about its center and zooms maps the picture of the background by a homography
with four parameters, whatever the depth of the scene. Corners of a key frame are followed through
the next frames; the people are left out afterward, when it is known where they are. Every frame is
compared with its key frame and not with the frame before, so that a camera that shakes or returns
does not drift. A camera that also travels is measured as one that turns: it follows the part of
the background with the most corners.

Shapes: H and W are the size of a frame in pixels, M frames, P corners, N boxes. Camera axes are
x to the right, y up and z toward the camera. World axes are those of the camera at the first frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from data.arrays import BoolArray, FloatArray, ImageArray

_SIDE_PX: Final = 320
"""Longer side of the image in which corners are followed. One pixel is 5 mm of a person who is as
high as the image is wide."""
_CELLS: Final = (5, 4)
_CORNERS_PER_CELL: Final = 10
"""Corners are spread over a grid (columns, rows), so that a sharp person, a logo or a subtitle does
not have all of them."""
_MAX_CORNERS: Final = 600
_CORNER_QUALITY: Final = 0.005
_CORNER_DISTANCE_PX: Final = 6
_WINDOW_PX: Final = 13
_PYRAMID_LEVELS: Final = 2
_MIN_EIGENVALUE: Final = 5e-4
_MAX_ERROR: Final = 12.0
"""Largest mean difference of the luma in the window of a corner that is found again."""
_KEEP_SHARE: Final = 0.6
"""A new key frame is taken when fewer of its corners are found."""
_MAX_SHIFT_SHARE: Final = 0.2
"""A new key frame is taken when the corners moved by this share of the image, before too many
leave it and before their windows look different."""
_LOST_FRAMES: Final = 10
"""A frame without corners (a flash, a blur) is skipped. A picture that is lost for longer (0.5 s)
gets a new key frame, and the camera counts as still in between."""

_MIN_CORNERS: Final = 10
_MIN_INLIER_SHARE: Final = 0.35
_INLIER_PX: Final = 1.2
_STILL_PX: Final = 0.35
"""A background that moves less since its key frame is still. It is the noise of a followed
corner."""
_SURELY_STILL_SHARE: Final = 0.6
_STILL_PREFERENCE: Final = 1.5
"""A still background is believed against a moving one with up to this many times its corners: a bus
or an animal that crosses the picture."""
_BOX_MARGIN: Final = 0.12
"""People are left out with this margin, in sizes of their box: shadows, loose clothes, objects."""


@dataclass(frozen=True, slots=True)
class CameraPath:
    """Orientation and zoom of the camera at each frame of a clip.

    Attributes:
        times_M: (M,) times of the frames, seconds.
        turns_M3: (M, 3) rotation vectors from camera axes to world axes, radians.
        zoom_M: (M,) focal length relative to the first frame.
        measured_M: (M,) whether the frame was measured; elsewhere the camera is interpolated.
    """

    times_M: FloatArray
    turns_M3: FloatArray
    zoom_M: FloatArray
    measured_M: BoolArray

    @classmethod
    def still(cls, times_M: FloatArray) -> "CameraPath":
        """Return the path of a camera that does not move."""
        count = len(times_M)
        return cls(times_M, np.zeros((count, 3)), np.ones(count), np.ones(count, np.bool_))

    @property
    def moves(self) -> bool:
        """Whether the camera moves at any time."""
        return bool(self.turns_M3.any() or (self.zoom_M != 1).any())

    def at(self, pts_T: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the rotation matrices (T, 3, 3) and the zoom (T,) at the given times."""
        turns_T3 = np.stack(
            [np.interp(pts_T, self.times_M, self.turns_M3[:, axis]) for axis in range(3)], axis=1
        )
        zoom_T = np.interp(pts_T, self.times_M, self.zoom_M)
        return Rotation.from_rotvec(turns_T3).as_matrix(), zoom_T

    def steadied(self, sigma_frames: float) -> "CameraPath":
        """Return the path without the shakes of the camera, by a Gaussian filter."""
        return CameraPath(
            self.times_M,
            gaussian_filter1d(self.turns_M3, sigma_frames, axis=0, mode="nearest"),
            np.exp(gaussian_filter1d(np.log(self.zoom_M), sigma_frames, mode="nearest")),
            self.measured_M,
        )

    def measured_share(self, start_s: float, end_s: float) -> float:
        """Return the share of the frames from ``start_s`` to ``end_s`` that were measured."""
        inside_M = (self.times_M >= start_s - 1e-6) & (self.times_M <= end_s + 1e-6)
        return float(self.measured_M[inside_M].mean()) if inside_M.any() else 0.0


@dataclass(slots=True)
class _Key:
    """A key frame, its corners, and where they are in the following frames."""

    step: int
    luma_HW: ImageArray
    corners_P2: FloatArray
    found: list[tuple[int, FloatArray, BoolArray]] = field(default_factory=list)


class BackgroundMotion:
    """Measures the camera from corners that are followed through the frames of a clip.

    Frames are added in order with :meth:`add`, at about 20 fps. :meth:`path` is called once at the
    end, with the places of the people, and leaves their corners out.
    """

    def __init__(self) -> None:
        self._keys: list[_Key] = []
        self._guess_P2: FloatArray = np.zeros((0, 2))
        self._lost = 0
        self._step = -1
        self._size_px = (0, 0)

    def add(self, image_HW3: ImageArray) -> None:
        """Add the next frame, (H, W, 3) RGB."""
        self._step += 1
        luma_HW = _small_luma(image_HW3)
        self._size_px = (luma_HW.shape[1], luma_HW.shape[0])
        if not self._keys:
            self._start_key(luma_HW)
            return
        key = self._keys[-1]
        places_P2, found_P = self._follow(key, luma_HW)
        share = float(found_P.mean()) if len(found_P) else 0.0
        shift_px = 0.0
        if found_P.any():
            shift_px = float(np.median(np.abs(places_P2 - key.corners_P2)[found_P].max(axis=1)))
        good = share >= _KEEP_SHARE
        self._lost = 0 if good else self._lost + 1
        if good or np.count_nonzero(found_P) >= _MIN_CORNERS:
            key.found.append((self._step, places_P2, found_P))
            self._guess_P2 = np.where(found_P[:, None], places_P2, self._guess_P2)
        worn = good and shift_px > _MAX_SHIFT_SHARE * max(self._size_px)
        fading = not good and np.count_nonzero(found_P) >= _MIN_CORNERS
        if worn or fading or self._lost > _LOST_FRAMES:
            self._start_key(luma_HW)

    def path(
        self, times_M: FloatArray, boxes: Sequence[FloatArray], focal_length_widths: float
    ) -> CameraPath:
        """Measure the camera.

        Args:
            times_M: (M,) times of the added frames, seconds.
            boxes: for each frame, the boxes of the people as (N, 4): left, top, right and bottom
                in shares of the image's width and height.
            focal_length_widths: focal length at the first frame, in longer image sides.

        Returns:
            The path of the camera, which is exactly still where the background is.
        """
        focal_px = focal_length_widths * max(self._size_px)
        count = len(times_M)
        if not self._keys:
            return CameraPath.still(times_M)
        turns_M3, log_zoom_M = np.full((count, 3), np.nan), np.full(count, np.nan)
        turns_M3[:1], log_zoom_M[:1] = 0, 0
        for key in self._keys:
            if np.isnan(log_zoom_M[key.step]):
                # The picture was lost before this key frame: the camera is where it was last.
                known = np.flatnonzero(~np.isnan(log_zoom_M[: key.step]))[-1]
                turn_3, log_zoom = turns_M3[known], float(log_zoom_M[known])
            else:
                turn_3, log_zoom = turns_M3[key.step], float(log_zoom_M[key.step])
            at_key = Rotation.from_rotvec(turn_3)
            behind_P = self._outside(key.corners_P2, boxes[key.step])
            rays_P3 = self._rays(key.corners_P2, focal_px * np.exp(log_zoom))
            for step, places_P2, found_P in key.found:
                use_P = found_P & behind_P & self._outside(places_P2, boxes[step])
                change_4 = _fit(
                    key.corners_P2[use_P],
                    places_P2[use_P],
                    rays_P3[use_P],
                    self._size_px,
                    focal_px * float(np.exp(log_zoom)),
                )
                if change_4 is not None:
                    # The fit turns rays of the key frame to rays of this frame.
                    turns_M3[step] = (at_key * Rotation.from_rotvec(change_4[:3]).inv()).as_rotvec()
                    log_zoom_M[step] = log_zoom + change_4[3]
        return filled_path(times_M, turns_M3, log_zoom_M)

    def _start_key(self, luma_HW: ImageArray) -> None:
        corners_P2 = _spread_corners(luma_HW)
        self._keys.append(_Key(self._step, luma_HW, corners_P2))
        self._guess_P2 = corners_P2.copy()
        self._lost = 0

    def _follow(self, key: _Key, luma_HW: ImageArray) -> tuple[FloatArray, BoolArray]:
        """Find the corners of the key frame in another frame, starting where they were last."""
        if not len(key.corners_P2):
            return np.zeros((0, 2), np.float32), np.zeros(0, np.bool_)
        places_P12, found_P1, error_P1 = cv2.calcOpticalFlowPyrLK(
            key.luma_HW,
            luma_HW,
            key.corners_P2[:, None],
            self._guess_P2[:, None].astype(np.float32),
            winSize=(_WINDOW_PX, _WINDOW_PX),
            maxLevel=_PYRAMID_LEVELS,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
            minEigThreshold=_MIN_EIGENVALUE,
        )
        places_P2 = places_P12[:, 0].astype(np.float32)
        inside_P = ((places_P2 >= 0) & (places_P2 < np.array(self._size_px))).all(axis=1)
        return places_P2, (found_P1[:, 0] > 0) & (error_P1[:, 0] < _MAX_ERROR) & inside_P

    def _outside(self, points_P2: FloatArray, boxes_N4: FloatArray) -> BoolArray:
        """Return whether each point is outside of all boxes, (P,)."""
        size_2 = np.array(self._size_px)
        low_N2, high_N2 = boxes_N4[:, :2] * size_2, boxes_N4[:, 2:] * size_2
        margin_N1 = _BOX_MARGIN * (high_N2 - low_N2).max(axis=1, keepdims=True)
        within_PN = (
            (points_P2[:, None] > low_N2 - margin_N1) & (points_P2[:, None] < high_N2 + margin_N1)
        ).all(axis=2)
        return ~within_PN.any(axis=1)

    def _rays(self, points_P2: FloatArray, focal_px: float) -> FloatArray:
        width, height = self._size_px
        x_P, y_P = points_P2[:, 0] - width / 2, height / 2 - points_P2[:, 1]
        return np.stack([x_P / focal_px, y_P / focal_px, -np.ones_like(x_P)], axis=1)


def _small_luma(image_HW3: ImageArray) -> ImageArray:
    height, width = image_HW3.shape[:2]
    scale = _SIDE_PX / max(height, width)
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    small = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _spread_corners(luma_HW: ImageArray) -> FloatArray:
    """Return the best corners of each cell of a grid, (P, 2), pixels."""
    # The stubs of OpenCV do not know that it returns None for a plain image.
    corners_P12: Any = cv2.goodFeaturesToTrack(
        luma_HW, _MAX_CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE_PX
    )
    if corners_P12 is None:
        return np.zeros((0, 2), np.float32)
    corners_P2 = corners_P12[:, 0]
    columns, rows = _CELLS
    height, width = luma_HW.shape
    cell_P = (corners_P2 * np.array([columns / width, rows / height])).astype(int) @ [1, columns]
    # The corners are in order of their quality.
    keep = [np.flatnonzero(cell_P == cell)[:_CORNERS_PER_CELL] for cell in range(columns * rows)]
    return corners_P2[np.concatenate(keep)]


def _fit(
    before_P2: FloatArray,
    after_P2: FloatArray,
    rays_P3: FloatArray,
    size_px: tuple[int, int],
    focal_px: float,
) -> FloatArray | None:
    """Fit the rotation and the zoom between two frames.

    Args:
        before_P2: (P, 2) corners in the first frame, pixels.
        after_P2: (P, 2) the same corners in the second frame, pixels.
        rays_P3: rays of the corners in the first frame.
        size_px: width and height of the image.
        focal_px: focal length at the first frame.

    Returns:
        Rotation vector that turns rays of the first frame to the second, and the logarithm of the
        ratio of the focal lengths, (4,); None if the corners do not agree on one.
    """
    if len(before_P2) < _MIN_CORNERS:
        return None
    still_share = float((np.linalg.norm(after_P2 - before_P2, axis=1) < _STILL_PX).mean())
    if still_share > _SURELY_STILL_SHARE:
        return np.zeros(4)
    found: Any = cv2.estimateAffinePartial2D(
        before_P2, after_P2, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX, maxIters=200
    )
    affine_23, inlier_P1 = found
    if affine_23 is None:
        return None
    inlier_P = inlier_P1[:, 0] > 0
    if still_share > max(_MIN_INLIER_SHARE, inlier_P.mean() / _STILL_PREFERENCE):
        return np.zeros(4)
    if inlier_P.sum() < _MIN_CORNERS or inlier_P.mean() < _MIN_INLIER_SHARE:
        return None
    center_2 = np.array(size_px) / 2
    shift_2 = affine_23 @ np.array([*center_2, 1.0]) - center_2
    scale = float(np.hypot(affine_23[0, 0], affine_23[1, 0]))
    roll_rad = float(np.arctan2(affine_23[1, 0], affine_23[0, 0]))
    # A shift to the right turns rays about the y axis, and a shift down about the x axis.
    first_4 = np.array([-shift_2[1] / focal_px, -shift_2[0] / focal_px, -roll_rad, np.log(scale)])
    return _refined(first_4, rays_P3[inlier_P], after_P2[inlier_P] - center_2, focal_px)


def _refined(
    change_4: FloatArray, rays_P3: FloatArray, after_P2: FloatArray, focal_px: float
) -> FloatArray:
    """Minimize the distance of the mapped corners by Gauss-Newton steps with Huber weights."""

    def mapped(parameters_4: FloatArray) -> FloatArray:
        turned_P3 = rays_P3 @ Rotation.from_rotvec(parameters_4[:3]).as_matrix().T
        scale_P1 = focal_px * np.exp(parameters_4[3]) / -turned_P3[:, 2:]
        return turned_P3[:, :2] * scale_P1 * np.array([1.0, -1.0])

    step = 1e-5
    for _ in range(4):
        here_P2 = mapped(change_4)
        error_P2 = after_P2 - here_P2
        slope_P24 = np.stack(
            [(mapped(change_4 + step * axis_4) - here_P2) / step for axis_4 in np.eye(4)], axis=2
        )
        distance_P = np.linalg.norm(error_P2, axis=1)
        weight_P = 1 / np.maximum(distance_P / (_INLIER_PX / 3), 1.0)
        normal_44 = np.einsum("pij,p,pik->jk", slope_P24, weight_P, slope_P24)
        moment_4 = np.einsum("pij,p,pi->j", slope_P24, weight_P, error_P2)
        change_4 = change_4 + np.linalg.solve(normal_44 + 1e-9 * np.eye(4), moment_4)
    return change_4


def filled_path(times_M: FloatArray, turns_M3: FloatArray, log_zoom_M: FloatArray) -> CameraPath:
    """Interpolate the camera over the frames that were not measured."""
    measured_M = ~np.isnan(log_zoom_M)
    known_M = times_M[measured_M]
    turns_M3[measured_M] = _unwrapped(turns_M3[measured_M])
    filled_M3 = np.stack(
        [np.interp(times_M, known_M, turns_M3[measured_M, axis]) for axis in range(3)], axis=1
    )
    zoom_M = np.exp(np.interp(times_M, known_M, log_zoom_M[measured_M]))
    return CameraPath(times_M, filled_M3, zoom_M, measured_M)


def _unwrapped(turns_M3: FloatArray) -> FloatArray:
    """Make rotation vectors continuous, as of a camera that turns by more than 180 degrees."""
    result_M3 = turns_M3.copy()
    for frame in range(1, len(result_M3)):
        angle_rad, before_3 = float(np.linalg.norm(result_M3[frame])), result_M3[frame - 1]
        # No rotation has no axis, and is a full turn about that of the frame before.
        axis_3 = result_M3[frame] if angle_rad > 1e-6 else before_3
        axis_3 = axis_3 / max(float(np.linalg.norm(axis_3)), 1e-9)
        turns = round((float(before_3 @ axis_3) - angle_rad) / (2 * np.pi))
        result_M3[frame] += 2 * np.pi * turns * axis_3
    return result_M3
