"""The position of one person relative to the camera, and the path of the pelvis by its feet.

Shapes: T frames at 20 fps, J = 22 joints, A anchors. 3-D positions are in meters, x to the right,
y up, z toward the camera. 2-D positions are in pixels of the source video, y down.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, median_filter

from data.arrays import FloatArray
from data.motion.skeleton import JOINT

_ANCHORS: Final = tuple(
    JOINT[f"{side}_{part}"]
    for part in ("hip", "shoulder", "knee", "ankle", "elbow")
    for side in ("left", "right")
)
"""Joints that determine the position of the body relative to the camera."""
_DEPTH_MEDIAN_FRAMES, _DEPTH_SIGMA_FRAMES, _DEPTH_STIFFNESS = 9, 4, 16.0
_STRETCH_POWER, _MIN_TRUST = 6, 1e-3
_FLOOR_STIFFNESS, _FLOOR_QUANTILE = 4000.0, 0.12
_ODOMETRY_SIGMA_FRAMES: Final = 1.0


@dataclass(frozen=True, slots=True)
class Lens:
    """A pinhole camera.

    Attributes:
        focal_px: focal length at a zoom of 1, pixels.
        x_px, y_px: image center, pixels.
    """

    focal_px: float
    x_px: float
    y_px: float

    def rays(self, pixels_TJ2: FloatArray, zoom_T: FloatArray) -> FloatArray:
        """Return the directions of pixels in camera axes, (T, J, 3), with z = -1."""
        focal_T1 = self.focal_px * zoom_T[:, None]
        x_TJ = (pixels_TJ2[..., 0] - self.x_px) / focal_T1
        y_TJ = (self.y_px - pixels_TJ2[..., 1]) / focal_T1
        return np.stack([x_TJ, y_TJ, -np.ones_like(x_TJ)], axis=-1)

    def pixels(self, rays_TJ3: FloatArray, zoom_T: FloatArray) -> FloatArray:
        """Return the pixels of directions in camera axes, (T, J, 2)."""
        scale_TJ = self.focal_px * zoom_T[:, None] / np.maximum(-rays_TJ3[..., 2], 0.05)
        x_TJ = self.x_px + rays_TJ3[..., 0] * scale_TJ
        y_TJ = self.y_px - rays_TJ3[..., 1] * scale_TJ
        return np.stack([x_TJ, y_TJ], axis=-1)


def pelvis_from_camera(
    body_TJ3: FloatArray, rays_TJ3: FloatArray, confidence_TJ: FloatArray
) -> FloatArray:
    """Estimate the pelvis from the position and the size of the body in the image.

    The translation that projects the metric body onto its pixels is the solution of one linear
    least-squares problem per frame. Its depth is noisy and therefore smoothed strongly, and the
    horizontal and vertical positions are computed from the smoothed depth. Joints that are not
    visible have almost no weight, so feet that leave the picture do not move the body.

    Args:
        body_TJ3: (T, 22, 3) joints relative to the pelvis, in camera axes, meters.
        rays_TJ3: (T, 22, 3) directions of the joints in camera axes, with z = -1.
        confidence_TJ: (T, 22) confidence of the joints, 0..1.

    Returns:
        (T, 3) positions relative to the camera, meters.
    """
    anchors = list(_ANCHORS)
    weight_TA = confidence_TJ[:, anchors] ** 2 + 1e-4
    u_TA, v_TA = rays_TJ3[:, anchors, 0], rays_TJ3[:, anchors, 1]
    x_TA, y_TA, z_TA = np.moveaxis(body_TJ3[:, anchors], -1, 0)

    # Solve u (D - z) = x + X and v (D - z) = y + Y for the pelvis (X, Y) and the distance D.
    zero_TA, one_TA = np.zeros_like(u_TA), np.ones_like(u_TA)
    rows_TB3 = np.concatenate(
        [np.stack([one_TA, zero_TA, -u_TA], -1), np.stack([zero_TA, one_TA, -v_TA], -1)], axis=1
    )
    right_TB = np.concatenate([-u_TA * z_TA - x_TA, -v_TA * z_TA - y_TA], axis=1)
    weight_TB = np.concatenate([weight_TA, weight_TA], axis=1)
    normal_T33 = np.einsum("tbi,tb,tbj->tij", rows_TB3, weight_TB, rows_TB3) + 1e-9 * np.eye(3)
    moment_T3 = np.einsum("tbi,tb,tb->ti", rows_TB3, weight_TB, right_TB)
    distance_T = np.linalg.solve(normal_T33, moment_T3[..., None])[:, 2, 0]

    log_distance_T = np.log(np.clip(distance_T, 0.3, 200))
    log_distance_T = median_filter(log_distance_T, _DEPTH_MEDIAN_FRAMES, mode="nearest")
    trust_T = _size_trust(body_TJ3[:, anchors], weight_TA)
    distance_T = np.exp(_weighted_smooth(log_distance_T, trust_T))

    total_T = weight_TA.sum(axis=1)
    deep_TA = distance_T[:, None] - z_TA
    x_T = (weight_TA * (u_TA * deep_TA - x_TA)).sum(axis=1) / total_T
    y_T = (weight_TA * (v_TA * deep_TA - y_TA)).sum(axis=1) / total_T
    return np.stack([x_T, y_T, -distance_T], axis=1)


def _weighted_smooth(values_T: FloatArray, weights_T: FloatArray) -> FloatArray:
    """Smooth a series, bridging values of low weight by their neighbors (Whittaker), (T,)."""
    if len(values_T) < 2:
        return values_T
    bands_BT = np.zeros((2, len(values_T)))
    bands_BT[1] = weights_T + 2 * _DEPTH_STIFFNESS
    bands_BT[1, [0, -1]] -= _DEPTH_STIFFNESS
    bands_BT[0, 1:] = -_DEPTH_STIFFNESS
    smooth_T = np.asarray(solveh_banded(bands_BT, weights_T * values_T), dtype=np.float64)
    return gaussian_filter1d(smooth_T, _DEPTH_SIGMA_FRAMES, mode="nearest")


def _size_trust(body_TA3: FloatArray, weight_TA: FloatArray) -> FloatArray:
    """Return how well the size of the body tells its distance, (T,), above 0 and at most 1.

    A body that crouches or bends is foreshortened in ways that the network does not see, and seems
    farther away. Its distance is taken from the frames around, in which it is stretched out.

    Args:
        body_TA3: (T, A, 3) anchors relative to the pelvis, meters.
        weight_TA: (T, A) weights of the anchors.
    """
    stretch_T = np.ptp(body_TA3[..., 1], axis=1)
    usual_m = max(float(np.percentile(stretch_T, 75)), 1e-3)
    trust_T = np.minimum(stretch_T / usual_m, 1.0) ** _STRETCH_POWER * weight_TA.mean(axis=1)
    return np.maximum(trust_T, _MIN_TRUST)


def foot_odometry(joints_TJ3: FloatArray) -> FloatArray:
    """Estimate the pelvis path from the foot that stands on the floor, (T, 3), meters.

    The lower foot is assumed to stand still. The path has steps but no jumps. It is used where the
    motion of the camera cannot be measured.

    Args:
        joints_TJ3: positions relative to the pelvis, (T, 22, 3), meters, y up.
    """
    smooth_TJ3 = gaussian_filter1d(
        joints_TJ3.astype(np.float64), _ODOMETRY_SIGMA_FRAMES, axis=0, mode="nearest"
    )
    feet_T23 = np.stack(
        [
            (smooth_TJ3[:, JOINT[f"{side}_ankle"]] + smooth_TJ3[:, JOINT[f"{side}_foot"]]) / 2
            for side in ("left", "right")
        ],
        axis=1,
    )
    lower_T = feet_T23[:, :, 1].argmin(axis=1)
    frames_T = np.arange(len(feet_T23))
    root_T3 = np.zeros((len(feet_T23), 3))
    if len(feet_T23) > 1:
        standing_T = lower_T[1:]
        steps_T3 = feet_T23[frames_T[1:], standing_T] - feet_T23[frames_T[:-1], standing_T]
        root_T3[1:] = -np.cumsum(steps_T3, axis=0)
    root_T3[:, 1] = -feet_T23[frames_T, lower_T, 1]
    return root_T3


def lower_envelope(values_T: FloatArray, weights_T: FloatArray) -> FloatArray:
    """Fit a smooth curve along the lower edge of a series.

    The method is asymmetric least squares (Eilers 2005). The curve follows a linear drift exactly
    and bends only slowly.

    Args:
        values_T: (T,) the series.
        weights_T: (T,) weights of the values.

    Returns:
        The curve, (T,).
    """
    count = len(values_T)
    if count < 4:
        return np.full(count, values_T.min())
    # The matrix D'D of the second differences D plus the weights is symmetric and banded; these
    # are its upper bands.
    bend = np.diff(np.eye(count), 2, axis=0)
    stiff = _FLOOR_STIFFNESS * bend.T @ bend
    bands_BT = np.zeros((3, count))
    for band in range(3):
        bands_BT[2 - band, band:] = np.diagonal(stiff, band)
    # Where all weights are 0 the curve is straight; a small weight keeps the matrix regular.
    weights_T = np.maximum(weights_T, 1e-6)
    side_T = np.ones(count)
    envelope_T = values_T
    for _ in range(20):
        weighted_BT = bands_BT.copy()
        weighted_BT[2] += weights_T * side_T
        right_T = weights_T * side_T * values_T
        envelope_T = np.asarray(solveh_banded(weighted_BT, right_T), dtype=np.float64)
        updated_T = np.where(values_T > envelope_T, _FLOOR_QUANTILE, 1 - _FLOOR_QUANTILE)
        if np.array_equal(updated_T, side_T):
            break
        side_T = updated_T
    return envelope_T
