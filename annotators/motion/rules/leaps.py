"""Movements with both feet off the floor.

Lengths are relative to the person's leg length, see :mod:`annotators.motion.rules.posture`.

Shapes: T frames at 20 fps, N spans.
"""

from typing import Final

import numpy as np

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Side,
    measure_event,
)
from annotators.motion.rules.posture import LYING_DEG, trunk_tilt_deg
from annotators.motion.signals import (
    SIDES,
    Signals,
    hysteresis,
    spans,
)
from data.motion.skeleton import FPS

JUMP_LIFT: Final = 0.07
JUMP_RISE: Final = 0.20
"""Rise of the hips from their lowest to their highest. A runner's hips rise by about 0.12."""
MIN_JUMP_FRAMES: Final = 3


def jumps(signals: Signals) -> list[MotionEvent]:
    """Find spans with both feet off the floor and rising hips."""
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    lift_T = np.minimum(
        *(
            signals.height_T(f"{side}_ankle", f"{side}_foot")
            - np.percentile(signals.height_T(f"{side}_ankle", f"{side}_foot"), 10)
            for side in SIDES
        )
    )
    hips_T = signals.hips_T3()[:, 1]
    tilt_T = trunk_tilt_deg(signals)
    ground_T3 = signals.joint_T3("pelvis")
    rise_T = np.gradient(hips_T) * FPS if len(hips_T) > 1 else np.zeros_like(hips_T)
    result: list[MotionEvent] = []
    for start, end in spans(hysteresis(lift_T / leg_m, JUMP_LIFT, JUMP_LIFT / 2), MIN_JUMP_FRAMES):
        top = start + int(np.argmax(hips_T[start:end]))
        before = hips_T[max(0, start - 8) : top + 1].min()
        after = hips_T[top : min(len(hips_T), end + 8)].min()
        if (
            hips_T[top] - max(before, after) < JUMP_RISE * leg_m
            or tilt_T[start:end].max() > LYING_DEG
            or not signals.seen("left_leg", (start, end))
            or not signals.seen("right_leg", (start, end))
            or end - start > FPS  # Hanging, or a drifting floor, not a jump.
        ):
            continue
        way_T3 = signals.in_body_axes(ground_T3[[end - 1]] - ground_T3[[start]] + 0 * ground_T3)
        left, _, ahead = way_T3[top]
        height_m, way_m = float(lift_T[start:end].max()), float(np.hypot(left, ahead))
        if way_m < 0.3 * leg_m:
            direction = Direction.UP
        elif abs(ahead) >= abs(left):
            direction = Direction.FORWARD if ahead > 0 else Direction.BACKWARD
        else:
            direction = Direction.LEFT if left > 0 else Direction.RIGHT
        gap_N = (
            signals.joint_T3("left_ankle")[start:end, 1]
            - signals.joint_T3("right_ankle")[start:end, 1]
        ) / leg_m
        # In a hop the same foot is up from takeoff to landing.
        one_foot = abs(gap_N.mean()) > 0.15 and bool(
            (gap_N[[0, -1]] * np.sign(gap_N.mean()) > 0.1).all()
        )
        standing = Side.RIGHT if gap_N.mean() > 0 else Side.LEFT
        result.append(
            measure_event(
                signals,
                (max(0, start - 3), min(len(hips_T), end + 3)),
                EventKind.HOP if one_foot else EventKind.JUMP,
                Part.BODY,
                side=standing if one_foot else None,
                direction=direction,
                magnitude=height_m,
                peak_speed=float(np.abs(rise_T[start:end]).max()),
                air_s=(end - start) / FPS,
                way_m=way_m,
            )
        )
    return result
