"""Single steps that are no part of a walk.

Lengths are relative to the person's leg length, see :mod:`annotators.motion.rules.posture`.

Shapes: T frames at 20 fps.
"""

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import EventKind, MotionEvent, Part, Side, measure_event
from annotators.motion.rules.posture import LYING_DEG, hip_height, trunk_tilt_deg
from annotators.motion.rules.sides import course_of, direction_of, is_sure_direction
from annotators.motion.signals import SIDES, Signals, Span, hysteresis, spans, speed_T
from data.arrays import BoolArray
from data.motion.skeleton import FPS

FOOT_MOVES: Final = 0.6
"""Speed of a foot over the floor that is no error of the estimate, leg lengths per second."""
MIN_STEP_WAY: Final = 0.35
MIN_STEP_HIPS: Final = 0.5
MAX_STEP_S: Final = 0.6
"""Longest swing of a foot. A leg that is lifted before it is set down elsewhere is raised first."""
FOOT_DOWN: Final = 0.2
"""Largest height of a foot that is set down above the other, leg lengths; estimates are this
inaccurate."""
MIN_SURE: Final = 0.7
"""Smallest mean confidence of each leg at which its side is sure: in a side view the pose model
takes the hidden leg for the other."""


def steps(signals: Signals, busy_T: BoolArray) -> list[MotionEvent]:
    """Find single steps: one foot moves over the floor to another place while the other stands.

    The direction is None if errors of the estimated facing and depth could change it.

    Args:
        signals: signals of the motion.
        busy_T: (T,) frames of walks, runs and leaps.
    """
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    upright_T = (hip_height(signals) > MIN_STEP_HIPS) & (trunk_tilt_deg(signals) < LYING_DEG)
    feet = {
        side: gaussian_filter1d(signals.joint_T3(f"{side}_ankle"), 1.5, axis=0, mode="nearest")
        for side in SIDES
    }
    speeds = {side: speed_T(feet[side][:, [0, 2]]) / leg_m for side in SIDES}
    result: list[MotionEvent] = []
    for side in (Side.LEFT, Side.RIGHT):
        other = Side.RIGHT if side is Side.LEFT else Side.LEFT
        moves_T = hysteresis(speeds[side], 2 * FOOT_MOVES, FOOT_MOVES)
        for first, last in spans(moves_T & ~busy_T, 3):
            span = (max(first, last - int(MAX_STEP_S * FPS)), last)
            inside = slice(*span)
            stands = float((speeds[other][inside] < 2 * FOOT_MOVES).mean())
            if (
                stands < 0.5
                or upright_T[inside].mean() < 0.8
                or not _legs_told_apart(signals, span)
            ):
                continue
            over = float(feet[side][last - 1, 1] - feet[other][last - 1, 1]) / leg_m
            if not signals.exact and over > FOOT_DOWN:
                continue  # A leg that moves through the air has not stepped.
            way_13 = (feet[side][last - 1] - feet[side][span[0]])[None] / leg_m
            at = (span[0], span[0] + 1)
            left, ahead = course_of(signals, way_13, at)
            if np.hypot(left, ahead) < MIN_STEP_WAY:
                continue
            direction = direction_of(left, ahead)
            # The body may turn with the step.
            sure = all(
                is_sure_direction(signals, way_13, (frame, frame + 1), direction)
                for frame in (span[0], last - 1)
            )
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.STEP,
                    Part.LEG,
                    side=side,
                    direction=direction if sure else None,
                    magnitude=float(np.hypot(left, ahead)) * leg_m,
                    peak_speed=float(speeds[side][inside].max()) * leg_m,
                )
            )
    return sorted(result, key=lambda e: e.start_s)


def _legs_told_apart(signals: Signals, span: Span) -> bool:
    """Return whether both legs are seen well enough to tell the left one from the right one."""
    seen = all(signals.seen(f"{side}_leg", span) for side in SIDES)
    sure = min(signals.mean_confidence((f"{side}_knee", f"{side}_ankle"), span) for side in SIDES)
    return seen and (signals.exact or sure >= MIN_SURE)
