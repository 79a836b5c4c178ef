"""Rules for the torso and the head.

Shapes: T frames at 20 fps, N events.
"""

import itertools
from typing import Final

import numpy as np

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Unit,
    measure_event,
)
from annotators.motion.rules.posture import UPRIGHT_DEG, trunk_tilt_deg
from annotators.motion.rules.sides import is_too_slow, share_of
from annotators.motion.signals import (
    SIDES,
    Signals,
    trim_ramp,
    turning_points,
)
from data.arrays import FloatArray
from data.motion.skeleton import FPS

# ---- torso, head
MIN_BEND_FORWARD_DEG: Final = 25.0
MIN_LEAN_DEG: Final = 18.0
ESTIMATED_TILT_FACTOR: Final = 1.3
"""A tilt toward the camera is measured along the depth axis, which is the least accurate one."""
MAX_TILT_DEG: Final = 110.0
MAX_TILT_STEP_DEG: Final = 12.0
"""Largest change per frame, 240 degrees per second."""
MIN_TWIST_DEG: Final = 35.0
MIN_NOD_DEG: Final = 30.0
MIN_NOD_ESTIMATED_DEG: Final = 50.0
"""The depth of an estimated head has an error of about half a head."""


_Tilt = tuple[EventKind, Direction | None]
_PITCHES: Final = (
    (EventKind.BEND, Direction.FORWARD),
    (EventKind.LEAN, Direction.BACKWARD),
)
_ROLLS: Final = ((EventKind.LEAN, Direction.LEFT), (EventKind.LEAN, Direction.RIGHT))
_TWISTS: Final = ((EventKind.TWIST, Direction.LEFT), (EventKind.TWIST, Direction.RIGHT))
"""Kind and direction of a trunk movement whose angle increases, and of one whose angle
decreases."""


def torso_moves(signals: Signals) -> list[MotionEvent]:
    """Find bends forward and back up, leans, and twists of the trunk."""
    if "torso" not in signals.parts:
        return []
    trunk_T3 = signals.trunk_T3()
    pitch_T = np.degrees(np.arctan2(trunk_T3[:, 2], np.maximum(trunk_T3[:, 1], 1e-6)))
    roll_T = np.degrees(np.arctan2(trunk_T3[:, 0], np.maximum(trunk_T3[:, 1], 1e-6)))
    result: list[MotionEvent] = []

    def moves(
        angle_T: FloatArray,
        min_deg: float,
        away: tuple[_Tilt, _Tilt],
        back: _Tilt | None = (EventKind.STRAIGHTEN, None),
    ) -> None:
        # `away` has the movements in the positive and the negative direction, `back` the return.
        points = turning_points(angle_T, min_deg)
        for start, end in itertools.pairwise(points):
            change = float(angle_T[end] - angle_T[start])
            if not min_deg <= abs(change) <= MAX_TILT_DEG:
                continue
            span = trim_ramp(angle_T, start, end)
            upside = trunk_T3[slice(*span), 1].min() < -0.3 * signals.size.torso_m
            # A trunk cannot tilt so fast: the sign of the estimated depth has flipped.
            flips = not signals.exact and abs(change) / (span[1] - span[0]) > MAX_TILT_STEP_DEG
            # Without visible legs the lean toward the camera is a guess of the pose model.
            rooted = signals.exact or any(signals.seen(f"{s}_leg", span, 0.6) for s in SIDES)
            if not (rooted and signals.seen("torso", span)) or upside or flips or is_too_slow(span):
                continue
            leaves = abs(angle_T[end]) > abs(angle_T[start])
            tilt = away[0 if change > 0 else 1] if leaves else back
            if tilt is None:
                continue
            kind, direction = tilt
            result.append(
                measure_event(
                    signals,
                    span,
                    kind,
                    Part.TORSO,
                    direction=direction,
                    magnitude=abs(change),
                    unit=Unit.DEGREES,
                    peak_speed=float(np.abs(np.gradient(angle_T)[slice(*span)]).max() * FPS),
                )
            )

    factor = 1.0 if signals.exact else ESTIMATED_TILT_FACTOR
    moves(pitch_T, factor * MIN_BEND_FORWARD_DEG, _PITCHES)
    moves(roll_T, factor * MIN_LEAN_DEG, _ROLLS)

    if not signals.exact:
        # A twist depends on the depth of hips and shoulders, which estimated poses do not give.
        return result
    shoulders_T3 = signals.relative_T3("left_shoulder", "right_shoulder")
    hips_T3 = signals.relative_T3("left_hip", "right_hip")
    twist_T = np.degrees(
        np.unwrap(np.arctan2(-shoulders_T3[:, 2], shoulders_T3[:, 0]))
        - np.unwrap(np.arctan2(-hips_T3[:, 2], hips_T3[:, 0]))
    )
    moves(twist_T, MIN_TWIST_DEG, _TWISTS, back=None)
    return result


def head_moves(signals: Signals) -> list[MotionEvent]:
    """Find downward and upward movements of the head relative to the trunk."""
    if not signals.sharp or not {"head", "torso"} <= signals.parts:
        return []
    middle_T3 = (signals.joint_T3("left_shoulder") + signals.joint_T3("right_shoulder")) / 2
    head_T3 = signals.in_body_axes(signals.joint_T3("head") - middle_T3)
    trunk_T3 = signals.trunk_T3()
    nod_T = np.degrees(
        np.arctan2(head_T3[:, 2], head_T3[:, 1]) - np.arctan2(trunk_T3[:, 2], trunk_T3[:, 1])
    )
    upright_T = trunk_tilt_deg(signals) < UPRIGHT_DEG
    min_deg = MIN_NOD_DEG if signals.exact else MIN_NOD_ESTIMATED_DEG
    points = turning_points(nod_T, min_deg)
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(points):
        change = float(nod_T[end] - nod_T[start])
        if abs(change) < min_deg or abs(change) > 120:
            continue
        span = trim_ramp(nod_T, start, end)
        if share_of(upright_T & signals.part_T["head"] & signals.part_T["torso"], span) < 0.8:
            continue
        result.append(
            measure_event(
                signals,
                span,
                EventKind.LOWER if change > 0 else EventKind.RAISE,
                Part.HEAD,
                direction=Direction.DOWN if change > 0 else Direction.UP,
                magnitude=abs(change),
                unit=Unit.DEGREES,
                peak_speed=float(np.abs(np.gradient(nod_T)[slice(*span)]).max() * FPS),
            )
        )
    return result
