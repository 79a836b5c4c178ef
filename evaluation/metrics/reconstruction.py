"""Errors of reconstructed motions in millimeters: MPJPE, PA-MPJPE, path and acceleration error.

Sources: Ionescu et al., "Human3.6M", TPAMI 2014 (MPJPE); Umeyama, "Least-Squares Estimation of
Transformation Parameters Between Two Point Patterns", TPAMI 1991 (alignment of PA-MPJPE); Kanazawa
et al., "Learning 3D Human Dynamics from Video", CVPR 2019 (acceleration error).

Shapes: T frames, J joints. Positions are meters, y up, the pelvis is joint 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data.arrays import BoolArray, FloatArray

_GROUND = (0, 2)


@dataclass(frozen=True, slots=True)
class ReconstructionErrors:
    """Mean errors over the frames of a set of motions.

    Attributes:
        mpjpe_mm: mean joint error after the pelvis of each frame is aligned.
        pa_mpjpe_mm: mean joint error after rotation, scale and place of each frame are aligned.
        path_mm: mean error of the pelvis on the floor.
        acceleration_mm: mean error of the joints' accelerations, in mm per squared frame; None if
            no motion has three frames.
        motions: number of motions.
        frames: number of frames.
    """

    mpjpe_mm: float
    pa_mpjpe_mm: float
    path_mm: float
    acceleration_mm: float | None
    motions: int
    frames: int


def compare_motions(
    pairs: Iterable[tuple[FloatArray, FloatArray, BoolArray | None]],
) -> ReconstructionErrors:
    """Compute the mean errors of a set of motions; every frame has the same weight.

    Args:
        pairs: real motion (T, J, 3), reconstructed motion (T, J, 3), and which joints of the real
            one were seen (T, J) or None for all.

    Raises:
        ValueError: there are no frames, or a pair's shapes differ.
    """
    joints: list[FloatArray] = []
    aligned: list[FloatArray] = []
    paths: list[FloatArray] = []
    accelerations: list[FloatArray] = []
    for real_TJ3, made_TJ3, seen_TJ in pairs:
        joints.append(joint_errors_mm(real_TJ3, made_TJ3, seen_TJ))
        aligned.append(aligned_errors_mm(real_TJ3, made_TJ3, seen_TJ))
        paths.append(path_errors_mm(real_TJ3, made_TJ3))
        accelerations.append(acceleration_errors_mm(real_TJ3, made_TJ3))
    frames = sum(map(len, paths))
    if not frames:
        raise ValueError("motions: expected at least one frame, found none. Remedy: add motions.")
    accelerated_T = np.concatenate(accelerations)
    return ReconstructionErrors(
        float(np.nanmean(np.concatenate(joints))),
        float(np.nanmean(np.concatenate(aligned))),
        float(np.concatenate(paths).mean()),
        float(accelerated_T.mean()) if accelerated_T.size else None,
        len(paths),
        frames,
    )


def joint_errors_mm(
    real_TJ3: FloatArray, made_TJ3: FloatArray, seen_TJ: BoolArray | None = None
) -> FloatArray:
    """Compute the MPJPE of each frame after the pelvises are aligned, (T,), in millimeters.

    Args:
        real_TJ3: real motion, (T, J, 3), meters.
        made_TJ3: motion that is compared with it, (T, J, 3), meters.
        seen_TJ: which joints count, (T, J); by default all. A frame without any is NaN.

    Raises:
        ValueError: the shapes differ.
    """
    _check(real_TJ3, made_TJ3)
    real, made = real_TJ3.astype(np.float64), made_TJ3.astype(np.float64)
    return _mean_mm((real - real[:, :1]) - (made - made[:, :1]), seen_TJ)


def aligned_errors_mm(
    real_TJ3: FloatArray, made_TJ3: FloatArray, seen_TJ: BoolArray | None = None
) -> FloatArray:
    """Compute the PA-MPJPE of each frame, (T,), in millimeters.

    The reconstructed pose is moved, turned and scaled so that the sum of squared distances of the
    joints that count is smallest; it is not mirrored.

    Args:
        real_TJ3: real motion, (T, J, 3), meters.
        made_TJ3: motion that is compared with it, (T, J, 3), meters.
        seen_TJ: which joints count, (T, J); by default all. A frame without any is NaN.

    Raises:
        ValueError: the shapes differ.
    """
    _check(real_TJ3, made_TJ3)
    weight_TJ1 = np.ones((*real_TJ3.shape[:2], 1)) if seen_TJ is None else seen_TJ[..., None] * 1.0
    count_T11 = np.maximum(weight_TJ1.sum(1, keepdims=True), 1)
    real_mean_T13 = (real_TJ3 * weight_TJ1).sum(1, keepdims=True) / count_T11
    made_mean_T13 = (made_TJ3 * weight_TJ1).sum(1, keepdims=True) / count_T11
    real = (real_TJ3 - real_mean_T13) * weight_TJ1
    made = (made_TJ3 - made_mean_T13) * weight_TJ1
    left_T33, spread_T3, right_T33 = np.linalg.svd(made.transpose(0, 2, 1) @ real)
    # The last axis is turned back where the best orthogonal matrix would mirror the pose.
    sign_T = np.sign(np.linalg.det(left_T33 @ right_T33))
    left_T33[..., -1] *= sign_T[:, None]
    spread_T3[:, -1] *= sign_T
    scale_T = spread_T3.sum(1) / np.maximum((made**2).sum((1, 2)), np.finfo(np.float64).tiny)
    fitted = scale_T[:, None, None] * (made @ (left_T33 @ right_T33))
    return _mean_mm(real - fitted, seen_TJ)


def path_errors_mm(real_TJ3: FloatArray, made_TJ3: FloatArray) -> FloatArray:
    """Compute the horizontal distance of the pelvises in each frame, (T,), in millimeters.

    Raises:
        ValueError: the shapes differ.
    """
    _check(real_TJ3, made_TJ3)
    apart_T3 = real_TJ3[:, 0].astype(np.float64) - made_TJ3[:, 0]
    return 1000 * np.linalg.norm(apart_T3[:, _GROUND], axis=-1)


def acceleration_errors_mm(real_TJ3: FloatArray, made_TJ3: FloatArray) -> FloatArray:
    """Compute the mean error of the accelerations of joints, (T - 2,), in mm per squared frame.

    Accelerations are second differences of positions, without any alignment. At 20 frames per
    second, 1 mm per squared frame is 0.4 m/s².

    Returns:
        One value for each frame but the first and the last; empty for fewer than three frames.

    Raises:
        ValueError: the shapes differ.
    """
    _check(real_TJ3, made_TJ3)
    apart_TJ3 = np.diff(real_TJ3.astype(np.float64) - made_TJ3, n=2, axis=0)
    return 1000 * np.linalg.norm(apart_TJ3, axis=-1).mean(axis=1)


def _mean_mm(apart_TJ3: FloatArray, seen_TJ: BoolArray | None) -> FloatArray:
    """Return the mean length over the joints that count of each frame, (T,), NaN without any."""
    lengths_TJ = 1000 * np.linalg.norm(apart_TJ3, axis=-1)
    if seen_TJ is None:
        return lengths_TJ.mean(axis=1)
    count_T = seen_TJ.sum(axis=1)
    mean_T = (lengths_TJ * seen_TJ).sum(axis=1) / np.maximum(count_T, 1)
    return np.where(count_T > 0, mean_T, np.nan)


def _check(real_TJ3: FloatArray, made_TJ3: FloatArray) -> None:
    if real_TJ3.ndim != 3 or real_TJ3.shape[2] != 3 or real_TJ3.shape != made_TJ3.shape:
        raise ValueError(
            f"motions: expected the same shape (T, J, 3), found {real_TJ3.shape} and "
            f"{made_TJ3.shape}. Remedy: cut both to the same frames."
        )
