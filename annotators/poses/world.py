"""People of a clip in one space that stands still while the camera moves.

The camera is the origin, at the height of the ground. The axes are those of the camera at the first
frame, turned so that people who stand upright are vertical: cameras look down or up, and are held
askew. The scale of each person comes from an assumed body height, so that distances between people
are right as far as their heights are equal.

Shapes: T frames at 20 fps, J = 22 joints, N samples. 3-D positions are in meters, x to the right,
y up, z toward the camera. 2-D positions are in pixels of the source video, y down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.spatial.transform import Rotation

from annotators.clips.background import CameraPath
from annotators.poses.trajectory import Lens, foot_odometry, lower_envelope, pelvis_from_camera
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS, JOINT

_STEADY_SIGMA_FRAMES: Final = 10.0
"""The steady camera follows the real one with its shakes (faster than about 0.5 s) removed."""
MIN_MEASURED_SHARE: Final = 0.5
"""Smallest share of the frames in which the camera has to be measured. With less, the feet tell the
path of the body."""

_MIN_FEET_CONFIDENCE: Final = 0.4
_MIN_LIMB_CONFIDENCE: Final = 0.5
_RISE_FROM_M, _RISE_FULL_M = 0.05, 0.13
"""A standing person's feet are measured up to this high above the ground, and higher feet surely
are."""
_OFF_GROUND_M: Final = 0.4
"""Feet this high above the ground are off it (on a roof, a bar, a step, in the air). Lower feet may
stand on a floor that the estimated distance lifts."""
_DISTANCE_ERROR: Final = 0.12
"""Slow error of the distance of a person who stands, as a share of it."""
_LOWEST_FRAMES: Final = 8
"""The ground is where the feet are lowest for 0.4 s."""
_GROUND_NOISE_M: Final = 0.15
_PITCH_SLOPE, _ROLL_SLOPE = 0.15, 0.03
"""Standard deviations of the slope of the ground in depth and across that are expected before
anything is measured: hills, and what is left of the tilt of the camera."""
_SNAP_MEDIAN_FRAMES, _SNAP_SIGMA_FRAMES = 9, 2.0
"""The feet are put on the ground by a smooth correction, so that a leg that is wrong for less than
0.25 s does not lift the body."""

_MIN_UPRIGHT_FRAMES: Final = 10
_UPRIGHT_DEG: Final = 30.0
"""Largest bend of hip and knee of somebody who stands upright."""
_MAX_TILT_DEG: Final = 45.0
_PITCH_TRUST: Final = 0.8
"""The part of the pitch measured by upright bodies (error about 6 degrees) that is believed; level
cameras are the most common ones (standard deviation about 12 degrees)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One person as the pose model sees them.

    Attributes:
        pts_T: (T,) times, seconds.
        body_TJ3: (T, 22, 3) joints relative to the pelvis, in camera axes, meters.
        pixels_TJ2: (T, 22, 2) joints in the image, pixels.
        confidence_TJ: (T, 22) confidence of the joints, 0..1.
    """

    pts_T: FloatArray
    body_TJ3: FloatArray
    pixels_TJ2: FloatArray
    confidence_TJ: FloatArray


class View:
    """The real and the steady camera over the frames of one track.

    Args:
        camera: path of the camera.
        lens: the camera at its first frame.
        pts_T: (T,) times of the frames, seconds.
    """

    def __init__(self, camera: CameraPath, lens: Lens, pts_T: FloatArray) -> None:
        self._lens = lens
        self._real_T33, self._real_zoom_T = camera.at(pts_T)
        steady = camera.steadied(_STEADY_SIGMA_FRAMES)
        self._steady_T33, self._steady_zoom_T = steady.at(pts_T)
        self._moves = camera.moves

    def steadied(self, pixels_TJ2: FloatArray) -> FloatArray:
        """Return where the steady camera sees pixels of the real one, (T, J, 2)."""
        if not self._moves:
            return pixels_TJ2
        rays_TJ3 = self._lens.rays(pixels_TJ2, self._real_zoom_T)
        turn_T33 = np.swapaxes(self._steady_T33, 1, 2) @ self._real_T33
        return self._lens.pixels(_turned(rays_TJ3, turn_T33), self._steady_zoom_T)

    def shaken(self, pixels_TJ2: FloatArray) -> FloatArray:
        """Return where the real camera sees pixels of the steady one, (T, J, 2)."""
        if not self._moves:
            return pixels_TJ2
        rays_TJ3 = self._lens.rays(pixels_TJ2, self._steady_zoom_T)
        turn_T33 = np.swapaxes(self._real_T33, 1, 2) @ self._steady_T33
        return self._lens.pixels(_turned(rays_TJ3, turn_T33), self._real_zoom_T)

    def in_world(self, body_TJ3: FloatArray) -> FloatArray:
        """Turn vectors from the axes of the real camera to world axes, (T, J, 3)."""
        return _turned(body_TJ3, self._real_T33) if self._moves else body_TJ3

    def pelvis(
        self, body_TJ3: FloatArray, steady_TJ2: FloatArray, confidence_TJ: FloatArray
    ) -> FloatArray:
        """Estimate the pelvis in world axes, (T, 3), meters, the camera at 0.

        Args:
            body_TJ3: (T, 22, 3) joints relative to the pelvis, in world axes, meters.
            steady_TJ2: (T, 22, 2) joints in the image of the steady camera, pixels.
            confidence_TJ: (T, 22) confidence of the joints, 0..1.
        """
        rays_TJ3 = self._lens.rays(steady_TJ2, self._steady_zoom_T)
        inward_TJ3 = _turned(body_TJ3, np.swapaxes(self._steady_T33, 1, 2))
        pelvis_T3 = pelvis_from_camera(inward_TJ3, rays_TJ3, confidence_TJ)
        return _turned(pelvis_T3[:, None], self._steady_T33)[:, 0]


def _turned(vectors_TJ3: FloatArray, turn_T33: FloatArray) -> FloatArray:
    return np.einsum("tij,tkj->tki", turn_T33, vectors_TJ3)


@dataclass(frozen=True, slots=True)
class Placed:
    """A person in world axes, before the ground is known.

    Attributes:
        body_TJ3: (T, 22, 3) joints relative to the pelvis, in world axes, meters.
        pelvis_T3: (T, 3) pelvis relative to the camera, meters.
        confidence_TJ: (T, 22) confidence of the joints, 0..1.
        measured: whether the camera was measured, so that the pelvis is placed by the image.
    """

    body_TJ3: FloatArray
    pelvis_T3: FloatArray
    confidence_TJ: FloatArray
    measured: bool

    def turned(self, turn_33: FloatArray) -> "Placed":
        """Return the person in other axes."""
        return replace(
            self, body_TJ3=self.body_TJ3 @ turn_33.T, pelvis_T3=self.pelvis_T3 @ turn_33.T
        )

    @property
    def lowest_T(self) -> FloatArray:
        """(T,) height of the lowest joint relative to the pelvis, meters."""
        return self.body_TJ3[:, :, 1].min(axis=1)

    @property
    def feet_seen_T(self) -> BoolArray:
        """(T,) whether a foot is visible."""
        feet = [JOINT["left_foot"], JOINT["right_foot"]]
        sight_T = median_filter(self.confidence_TJ[:, feet].max(axis=1), 5, mode="nearest")
        return sight_T > _MIN_FEET_CONFIDENCE


def upright(people: Sequence[Placed]) -> list[Placed]:
    """Turn the axes so that people who stand upright are vertical.

    Without anybody who stands upright for half a second the axes stay as they are.
    """
    axes = [axis_3 for person in people if (axis_3 := _upright_axis(person)) is not None]
    if not axes:
        return list(people)
    # Positive for heads that are nearer to the camera than the feet, so for one that looks down.
    pitches = [float(np.arctan2(axis_3[2], axis_3[1])) for axis_3 in axes]
    rolls = [float(np.arctan2(axis_3[0], axis_3[1])) for axis_3 in axes]
    # One person may lean to a side. The camera is askew by what all people agree on.
    agree = len(rolls) > 1 and (min(rolls) > 0 or max(rolls) < 0)
    roll_rad = min(rolls, key=abs) if agree else 0.0
    pitch_rad = _PITCH_TRUST * float(np.median(pitches))
    turn_33 = Rotation.from_euler("xz", [-pitch_rad, roll_rad]).as_matrix()
    return [person.turned(turn_33) for person in people]


def _upright_axis(person: Placed) -> FloatArray | None:
    """Return the median direction from the ankles to the shoulders while standing, (3,)."""

    def middle(part: str) -> FloatArray:
        pair = [JOINT[f"left_{part}"], JOINT[f"right_{part}"]]
        return person.body_TJ3[:, pair].mean(axis=1)

    def bend_deg(first_T3: FloatArray, second_T3: FloatArray) -> FloatArray:
        cosine_T = (_unit(first_T3) * _unit(second_T3)).sum(axis=-1)
        return np.degrees(np.arccos(np.clip(cosine_T, -1, 1)))

    ankles_T3, knees_T3 = middle("ankle"), middle("knee")
    hips_T3, shoulders_T3 = middle("hip"), middle("shoulder")
    shown = [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "hip")]
    axis_T3 = _unit(shoulders_T3 - ankles_T3)
    stands_T = (
        (person.confidence_TJ[:, shown].min(axis=1) > _MIN_LIMB_CONFIDENCE)
        & (bend_deg(knees_T3 - ankles_T3, hips_T3 - knees_T3) < _UPRIGHT_DEG)
        & (bend_deg(hips_T3 - knees_T3, shoulders_T3 - hips_T3) < _UPRIGHT_DEG)
        & (axis_T3[:, 1] > np.cos(np.radians(_MAX_TILT_DEG)))
    )
    if stands_T.sum() < _MIN_UPRIGHT_FRAMES:
        return None
    return np.median(axis_T3[stands_T], axis=0)


def _unit(vectors_T3: FloatArray) -> FloatArray:
    return vectors_T3 / np.maximum(np.linalg.norm(vectors_T3, axis=-1, keepdims=True), 1e-9)


def root_trajectories(people: Sequence[Placed]) -> list[FloatArray]:
    """Put the people of a clip on one ground.

    Returns:
        For each person the path of the pelvis, (T, 3), meters: y is the height above the ground, x
        and z are relative to the camera.
    """
    slope_2 = _ground_slope([person for person in people if person.measured])
    return [_root(person, slope_2) for person in people]


def _root(person: Placed, slope_2: FloatArray) -> FloatArray:
    if not person.measured:
        by_foot_T3 = foot_odometry(person.body_TJ3)
        start_3 = person.pelvis_T3[0] * np.array([1.0, 0.0, 1.0])
        return by_foot_T3 + start_3
    pelvis_T3 = person.pelvis_T3
    lowest_T, seen_T = person.lowest_T, person.feet_seen_T
    level_T = pelvis_T3[:, 1] - pelvis_T3[:, [0, 2]] @ slope_2
    if not seen_T.any():
        # Somebody whose feet are never seen stands on the ground most of the time.
        height_T = level_T + np.median(-lowest_T - level_T)
    else:
        # Where the feet are hidden, the network folds the legs, and the picture tells the height.
        frames_T = np.arange(len(level_T))
        offset_T = _rise(level_T + lowest_T, seen_T) - lowest_T - level_T
        offset_T = np.interp(frames_T, frames_T[seen_T], offset_T[seen_T])
        height_T = level_T + offset_T
    return np.stack([pelvis_T3[:, 0], height_T, pelvis_T3[:, 2]], axis=1)


def _rise(lowest_T: FloatArray, seen_T: BoolArray) -> FloatArray:
    """Return the height of the lowest joint above the ground, (T,), meters.

    The height is 0 while it is within the noise of a standing person. The ground is where the feet
    are lowest, plus the slow drift of feet that stand on it.

    Args:
        lowest_T: (T,) height of the lowest joint relative to the camera, meters.
        seen_T: (T,) whether the feet are visible. Other frames do not affect the ground.
    """
    lasting_T = median_filter(lowest_T, _SNAP_MEDIAN_FRAMES, mode="nearest")
    ground_m = _lowest_level(lasting_T[seen_T])
    # An error of the distance lifts or sinks whom the camera sees from above or below.
    off_ground_m = _OFF_GROUND_M + _DISTANCE_ERROR * abs(ground_m)
    on_ground_T = seen_T & (lasting_T - ground_m < off_ground_m)
    drift_T = lower_envelope(lasting_T - ground_m, on_ground_T.astype(np.float64))
    above_T = lowest_T - ground_m - np.clip(drift_T, -off_ground_m, off_ground_m)
    sure_T = np.clip((above_T - _RISE_FROM_M) / (_RISE_FULL_M - _RISE_FROM_M), 0, 1)
    snap_T = np.maximum(above_T, 0) * sure_T * sure_T * (3 - 2 * sure_T) - above_T
    snap_T = median_filter(snap_T, _SNAP_MEDIAN_FRAMES, mode="nearest")
    return above_T + gaussian_filter1d(snap_T, _SNAP_SIGMA_FRAMES, mode="nearest")


def _lowest_level(heights_N: FloatArray) -> float:
    """Return the mean of the lowest values, which last :data:`_LOWEST_FRAMES` together."""
    return float(np.sort(heights_N)[:_LOWEST_FRAMES].mean())


def _ground_slope(people: Sequence[Placed]) -> FloatArray:
    """Fit the slope of the ground across and in depth to the lowest feet of all people, (2,).

    Every person has a ground level of their own, because the distance of a person of unknown height
    is unknown by a factor, and with it the level of their feet.
    """
    feet: list[FloatArray] = []
    for person in people:
        seen_T = person.feet_seen_T
        if seen_T.any():
            pelvis_N3 = person.pelvis_T3[seen_T]
            lowest_N = pelvis_N3[:, 1] + person.lowest_T[seen_T]
            feet.append(np.stack([pelvis_N3[:, 0], pelvis_N3[:, 2], lowest_N], axis=1))
    slope_2 = np.zeros(2)
    if not feet:
        return slope_2
    # Consecutive frames have the same error, so a second counts as one sample.
    prior_22 = np.diag(_GROUND_NOISE_M**2 / np.array([_ROLL_SLOPE, _PITCH_SLOPE]) ** 2) * FPS
    for _ in range(10):
        normal_22, moment_2 = prior_22.copy(), np.zeros(2)
        for places_N3 in feet:
            above_N = places_N3[:, 2] - places_N3[:, :2] @ slope_2
            above_N = above_N - _lowest_level(above_N)
            on_ground_N = above_N < _OFF_GROUND_M
            here_N3 = places_N3[on_ground_N]
            off_N3 = here_N3 - here_N3.mean(axis=0)
            normal_22 += off_N3[:, :2].T @ off_N3[:, :2]
            moment_2 += off_N3[:, :2].T @ off_N3[:, 2]
        slope_2 = np.linalg.solve(normal_22, moment_2)
    return slope_2
