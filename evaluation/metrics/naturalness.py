"""Whether motions could be real: jitter, foot skate, floor penetration and float, joint speed.

Compare with real motions of the same kind: real feet roll and swing low, and real jumps leave the
floor.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`). Positions are meters, y up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from data.arrays import FloatArray
from data.motion.quality import foot_skate, jitter
from data.motion.skeleton import FPS

TOLERANCE_M: Final = 0.005
"""Height within which the lowest joint counts as on the floor (Yuan et al., see below)."""


@dataclass(frozen=True, slots=True)
class Naturalness:
    """Measures of a motion, or means over a set of motions; None where nothing was measurable.

    Attributes:
        jitter_m_s3: mean jerk of all joints, see :func:`data.motion.quality.jitter`.
        foot_skate_m_s: mean horizontal speed of toes on the floor, see
            :func:`data.motion.quality.foot_skate`.
        penetration_mm: mean depth of the lowest joint below the floor.
        float_mm: mean height of the lowest joint above the floor.
        speed_m_s: mean speed of all joints.
    """

    jitter_m_s3: float | None
    foot_skate_m_s: float | None
    penetration_mm: float | None
    float_mm: float | None
    speed_m_s: float | None


def naturalness(joints_TJ3: FloatArray, fps: float = FPS, floor_m: float = 0.0) -> Naturalness:
    """Measure a motion.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up, including the path of the root.
        fps: frames per second.
        floor_m: height of the floor; 0 for motions decoded from HumanML3D features.

    Raises:
        ValueError: the shape is not (T, J, 3), or there are no frames.
    """
    penetration_mm, float_mm = floor_errors_mm(joints_TJ3, floor_m)
    return Naturalness(
        jitter(joints_TJ3, fps),
        foot_skate(joints_TJ3, fps),
        penetration_mm,
        float_mm,
        joint_speed(joints_TJ3, fps),
    )


def mean_naturalness(measures: Iterable[Naturalness]) -> Naturalness:
    """Return the means over motions; each measure over the motions that have it."""
    found = list(measures)
    return Naturalness(
        _mean(one.jitter_m_s3 for one in found),
        _mean(one.foot_skate_m_s for one in found),
        _mean(one.penetration_mm for one in found),
        _mean(one.float_mm for one in found),
        _mean(one.speed_m_s for one in found),
    )


def floor_errors_mm(joints_TJ3: FloatArray, floor_m: float = 0.0) -> tuple[float, float]:
    """Compute penetration and float in millimeters.

    Source: Yuan et al., "PhysDiff: Physics-Guided Human Motion Diffusion Model", ICCV 2023, there
    of the vertices of a mesh; here of joints, so that values are comparable among skeletons only.

    Args:
        joints_TJ3: positions, (T, J, 3), meters, y up.
        floor_m: height of the floor.

    Returns:
        The mean over frames of the depth of the lowest joint below the floor, and of its height
        above it, both 0 in a frame where it is within 5 mm of the floor.

    Raises:
        ValueError: the shape is not (T, J, 3), or there are no frames.
    """
    if joints_TJ3.ndim != 3 or joints_TJ3.shape[2] != 3 or not len(joints_TJ3):
        raise ValueError(
            f"joints: expected (T, J, 3) with at least one frame, found {joints_TJ3.shape}. "
            "Remedy: leave empty motions out."
        )
    lowest_T = joints_TJ3[..., 1].astype(np.float64).min(axis=1) - floor_m
    below_T = np.where(lowest_T < -TOLERANCE_M, -lowest_T, 0.0)
    above_T = np.where(lowest_T > TOLERANCE_M, lowest_T, 0.0)
    return 1000 * float(below_T.mean()), 1000 * float(above_T.mean())


def joint_speed(joints_TJ3: FloatArray, fps: float = FPS) -> float | None:
    """Return the mean speed of all joints in m/s, or None for fewer than two frames."""
    if len(joints_TJ3) < 2:
        return None
    step_TJ3 = np.diff(joints_TJ3.astype(np.float64), axis=0)
    return float(np.linalg.norm(step_TJ3, axis=-1).mean()) * fps


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
