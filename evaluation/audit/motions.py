"""What is wrong with one motion, whatever its texts say.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`), D = 263 features.
Positions are meters, y up.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from pydantic import Field

from data.arrays import BoolArray, FloatArray
from data.config import Config
from data.motion.bodies import stature, tposes
from data.motion.features import features_to_joints
from data.motion.quality import (
    FlawKind,
    MotionGates,
    find_flaws,
    foot_skate,
    jitter,
)
from data.motion.skeleton import FPS, JOINT
from evaluation.audit.findings import Finding, Fix, Kind, Severity
from evaluation.audit.sources import Item

_FLAWS: Final = {
    FlawKind.TELEPORT: Kind.TELEPORT,
    FlawKind.LIMB_DRIFT: Kind.LIMB_DRIFT,
    FlawKind.COLLAPSED: Kind.LIMB_DRIFT,
    FlawKind.TOO_SHORT: Kind.LENGTH,
}
_ANKLES: Final = (JOINT["left_ankle"], JOINT["right_ankle"])
_TOES: Final = (JOINT["left_foot"], JOINT["right_foot"])
_KNEES: Final = (JOINT["left_knee"], JOINT["right_knee"])
_HIPS: Final = (JOINT["left_hip"], JOINT["right_hip"])


class MotionLimits(Config):
    """Limits of a motion. They are wide: real motions of the field satisfy them."""

    gates: MotionGates = Field(default_factory=MotionGates)
    static_m: float = Field(
        default=0.02,
        gt=0,
        description="Way of the joint that moves farthest below which a motion is static, meters. "
        "Somebody who holds a pose sways by 3 cm.",
    )
    frozen_s: float = Field(
        default=0.5, gt=0, description="Time without any change from which frames are frozen."
    )
    t_pose_s: float = Field(
        default=0.25, gt=0, description="Time from which a T-pose at an end is a finding."
    )
    skate_m_s: float = Field(
        default=0.45, gt=0, description="Mean speed of toes on the floor, m/s."
    )
    jitter_m_s3: float = Field(
        default=600.0, gt=0, description="Mean jerk, m/s³; captured runs reach 400."
    )
    floating_m: float = Field(
        default=0.15, gt=0, description="Height of the lowest joint above the floor, meters."
    )
    floating_s: float = Field(
        default=1.2, gt=0, description="Time of floating; jumps of athletes last 0.9 s."
    )
    floor_m: float = Field(
        default=0.1, gt=0, description="Distance of the lowest joint of the motion from height 0."
    )
    min_stature_m: float = Field(default=0.9, gt=0, description="Least height of a person.")
    max_stature_m: float = Field(default=2.4, gt=0, description="Greatest height of a person.")
    max_length_s: float = Field(
        default=60.0, gt=0, description="Length above which a motion is long for a caption."
    )


def motion_findings(item: Item, limits: MotionLimits) -> tuple[list[Finding], FloatArray | None]:
    """Check a motion.

    Args:
        item: the motion; its joints, if it has any, are those of a file, as they are.
        limits: limits.

    Returns:
        The findings; and the joints in meters, (T, 22, 3), or None if nothing can be measured in
        them.
    """
    features_TD = item.features_TD
    if features_TD is None:
        return [], None
    broken = np.flatnonzero(~np.isfinite(features_TD).all(axis=1))
    if broken.size:
        measured = (
            f"{broken.size} of {len(features_TD)} feature vectors have values that are not finite, "
            f"the first at {broken[0] / FPS:.2f} s"
        )
        share = broken.size / len(features_TD)
        return [
            Finding(
                Kind.NON_FINITE,
                item.item_id,
                measured,
                item.split,
                value=share,
                start_s=broken[0] / FPS,
                end_s=(broken[-1] + 1) / FPS,
                fix=Fix.DROP_MOTION,
            )
        ], None
    joints_TJ3 = features_to_joints(features_TD)
    # A file of joints tells of the floor, the unit and the axes, features do not.
    raw = item.joints_TJ3 if item.joints_TJ3 is not None else joints_TJ3
    findings = [*_of_space(item, raw, limits), *_of_stillness(item, joints_TJ3, limits)]
    findings += _of_movement(item, joints_TJ3, limits)
    return findings, joints_TJ3


def _of_space(item: Item, joints_TJ3: FloatArray, limits: MotionLimits) -> Iterator[Finding]:
    """Check unit, axes and floor."""
    note = partial(Finding, item_id=item.item_id, split=item.split)
    if not np.isfinite(joints_TJ3).all():
        bad = int((~np.isfinite(joints_TJ3)).any(axis=(1, 2)).sum())
        measured = f"{bad} of {len(joints_TJ3)} frames of joints are not finite"
        yield note(Kind.NON_FINITE, measurement=measured, value=bad, fix=Fix.DROP_MOTION)
        return
    height_m = stature(joints_TJ3)
    if not limits.min_stature_m <= height_m <= limits.max_stature_m:
        limit_m = limits.min_stature_m if height_m < limits.min_stature_m else limits.max_stature_m
        yield note(
            Kind.SCALE,
            measurement=f"the bones make a person of {height_m:.3g} m",
            value=height_m,
            threshold=limit_m,
        )
        return
    up_3 = np.median(joints_TJ3[:, JOINT["head"]] - joints_TJ3[:, _ANKLES].mean(axis=1), axis=0)
    axis = int(np.abs(up_3).argmax())
    # Somebody who lies has the head beside the feet; then the axis is not known.
    if (axis != 1 or up_3[axis] < 0) and abs(up_3[axis]) > 0.7 * height_m:
        sign = "-" if up_3[axis] < 0 else "+"
        yield note(
            Kind.UP_AXIS,
            measurement=f"the head is {abs(up_3[axis]):.2f} m from the feet along {sign}"
            f"{'xyz'[axis]}",
            value=float(up_3[axis]),
            severity=Severity.WARNING if axis != 1 and abs(up_3[1]) > 0.3 else None,
        )
        return
    floor_m = float(joints_TJ3[..., 1].min())
    if abs(floor_m) > limits.floor_m:
        where = "below" if floor_m < 0 else "above"
        yield note(
            Kind.OFF_THE_FLOOR,
            measurement=f"the lowest joint is {100 * abs(floor_m):.0f} cm {where} height 0",
            value=floor_m,
            threshold=limits.floor_m,
        )


def _of_stillness(item: Item, joints_TJ3: FloatArray, limits: MotionLimits) -> Iterator[Finding]:
    note = partial(Finding, item_id=item.item_id, split=item.split)
    length_s = len(joints_TJ3) / FPS
    posed_T = tposes(joints_TJ3)
    way_m = float(np.linalg.norm(np.ptp(joints_TJ3, axis=0), axis=-1).max())
    if posed_T.mean() >= 0.8:
        yield note(
            Kind.T_POSE,
            measurement=f"T-pose in {posed_T.mean():.0%} of the frames",
            value=float(posed_T.mean()),
            threshold=0.8,
            start_s=0.0,
            end_s=length_s,
            fix=Fix.DROP_MOTION,
            severity=Severity.ERROR,
        )
    elif way_m >= limits.static_m:
        # A calibration is at an end; in the middle, arms may stretch sideways.
        for at_end, span in ((False, _run_at(posed_T)), (True, _run_at(posed_T[::-1]))):
            if span / FPS >= limits.t_pose_s:
                start_s = length_s - span / FPS if at_end else 0.0
                yield note(
                    Kind.T_POSE,
                    measurement=f"T-pose in the {'last' if at_end else 'first'} {span / FPS:.2f} s",
                    value=span / FPS,
                    threshold=limits.t_pose_s,
                    start_s=start_s,
                    end_s=start_s + span / FPS,
                    confidence=0.6,
                )
    if way_m < limits.static_m:
        yield note(
            Kind.STATIC,
            measurement=f"no joint moves by more than {1000 * way_m:.1f} mm in {length_s:.1f} s",
            value=way_m,
            threshold=limits.static_m,
            start_s=0.0,
            end_s=length_s,
            fix=Fix.DROP_MOTION,
        )
        return
    first, last = _longest(_same_as_before(joints_TJ3))
    if (last - first) / FPS >= limits.frozen_s:
        yield note(
            Kind.FROZEN,
            measurement=f"all joints stand still to 0.1 mm for {(last - first) / FPS:.2f} s",
            value=(last - first) / FPS,
            threshold=limits.frozen_s,
            start_s=first / FPS,
            end_s=last / FPS,
        )


def _of_movement(item: Item, joints_TJ3: FloatArray, limits: MotionLimits) -> Iterator[Finding]:
    note = partial(Finding, item_id=item.item_id, split=item.split)
    length_s = len(joints_TJ3) / FPS
    for flaw in find_flaws(joints_TJ3, limits.gates, credible_TJ=item.credible_TJ):
        yield note(_FLAWS[flaw.kind], measurement=flaw.detail)
    if length_s > limits.max_length_s:
        yield note(
            Kind.LENGTH,
            measurement=f"lasts {length_s:.0f} s",
            value=length_s,
            threshold=limits.max_length_s,
        )
    skate_m_s = foot_skate(joints_TJ3, credible_TJ=item.credible_TJ)
    if skate_m_s is not None and skate_m_s > limits.skate_m_s:
        yield note(
            Kind.SKATING,
            measurement=f"toes on the floor move at {skate_m_s:.2f} m/s on average",
            value=skate_m_s,
            threshold=limits.skate_m_s,
        )
    jerk = jitter(joints_TJ3)
    if jerk is not None and jerk > limits.jitter_m_s3:
        yield note(
            Kind.JITTER,
            measurement=f"the mean jerk is {jerk:.0f} m/s³",
            value=jerk,
            threshold=limits.jitter_m_s3,
        )
    lowest_T = joints_TJ3[..., 1].min(axis=1)
    first, last = _longest(lowest_T > limits.floating_m)
    if (last - first) / FPS > limits.floating_s:
        high_m = float(np.median(lowest_T[first:last]))
        yield note(
            Kind.FLOATING,
            measurement=f"all joints are {100 * high_m:.0f} cm above the floor for "
            f"{(last - first) / FPS:.1f} s",
            value=(last - first) / FPS,
            threshold=limits.floating_s,
            start_s=first / FPS,
            end_s=last / FPS,
            confidence=0.6,
        )
    yield from _of_sides(item, joints_TJ3)


def _of_sides(item: Item, joints_TJ3: FloatArray) -> Iterator[Finding]:
    """Check that toes point and knees bend to the front that hips and shoulders define."""
    left, right = (
        joints_TJ3[:, [JOINT[f"{s}_hip"], JOINT[f"{s}_shoulder"]]].sum(1) for s in _SIDES
    )
    across_T3 = left - right
    front_T3 = np.stack([-across_T3[:, 2], np.zeros(len(across_T3)), across_T3[:, 0]], axis=-1)
    width_T1 = np.linalg.norm(front_T3, axis=-1, keepdims=True)
    front_T3 = front_T3 / np.maximum(width_T1, 1e-9)
    toes_TF3 = joints_TJ3[:, _TOES] - joints_TJ3[:, _ANKLES]
    middle_TF3 = (joints_TJ3[:, _HIPS] + joints_TJ3[:, _ANKLES]) / 2
    knees_TF3 = joints_TJ3[:, _KNEES] - middle_TF3
    toe_m, knee_m = (
        float((ways * front_T3[:, None]).sum(-1).mean()) for ways in (toes_TF3, knees_TF3)
    )
    if toe_m < _BACKWARD_M and knee_m < _BACKWARD_M:
        yield Finding(
            Kind.SIDES_EXCHANGED,
            item.item_id,
            f"toes point {-100 * toe_m:.0f} cm and knees bend {-100 * knee_m:.0f} cm backward, "
            "seen from hips and shoulders",
            item.split,
            value=toe_m,
            threshold=_BACKWARD_M,
            fix=Fix.EXCHANGE_SIDES,
        )


_SIDES: Final = ("left", "right")
_BACKWARD_M: Final = -0.01
"""Mean way of the toes and the knees to the front; of real motions it is 0 to 0.2 m."""


def _same_as_before(joints_TJ3: FloatArray) -> BoolArray:
    """Return at which frames no joint has moved by a tenth of a millimeter, (T,)."""
    moved_T = np.linalg.norm(np.diff(joints_TJ3, axis=0), axis=-1).max(axis=1, initial=0.0)
    return np.concatenate([[False], moved_T < 1e-4])


def _run_at(flags_T: BoolArray) -> int:
    """Return the number of frames at the start that have a flag."""
    return int(flags_T.argmin()) if not flags_T.all() else len(flags_T)


def _longest(flags_T: BoolArray) -> tuple[int, int]:
    """Return the longest run of flagged frames as (first, end); (0, 0) without one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags_T.astype(np.int8), [0]])))
    if not edges.size:
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    best = int((ends - starts).argmax())
    return int(starts[best]), int(ends[best])
