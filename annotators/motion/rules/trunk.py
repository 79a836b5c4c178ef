"""Rules for the torso and the head.

Shapes: T frames at 20 fps, N events.
"""

import itertools
from dataclasses import dataclass
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
from annotators.motion.rules.posture import LYING_DEG, UPRIGHT_DEG, trunk_tilt_deg
from annotators.motion.rules.sides import is_too_slow, overlaps, ramp_pieces, share_of
from annotators.motion.signals import (
    SIDES,
    Signals,
    Span,
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
CLEAR_TILT_DEG: Final = 45.0
MAX_ROLL_DEG: Final = 20.0
MAX_TILT_DEG: Final = 110.0
MAX_TILT_STEP_DEG: Final = 12.0
"""Largest change per frame, 240 degrees per second."""
MIN_TILT_RATE_DPS: Final = 12.0
"""Smallest mean speed of a small estimated tilt. A slower one is the drift of an estimate, and its
times are no times of a movement."""
MIN_TWIST_DEG: Final = 35.0
MIN_NOD_DEG: Final = 30.0
MIN_NOD_ESTIMATED_DEG: Final = 50.0
"""The depth of an estimated head has an error of about half a head."""


_Tilt = tuple[EventKind, Direction | None]
_STRAIGHTEN: Final[_Tilt] = (EventKind.STRAIGHTEN, None)


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis about which the trunk turns.

    Attributes:
        min_deg: smallest movement.
        up: kind and direction of a movement away from upright whose angle increases.
        down: the same of one whose angle decreases.
        back: kind of the return to upright; None if it is not told.
        across: whether the movement is to the left or right.
    """

    min_deg: float
    up: _Tilt
    down: _Tilt
    back: _Tilt | None = _STRAIGHTEN
    across: bool = False


_PITCH: Final = _Axis(
    MIN_BEND_FORWARD_DEG,
    (EventKind.BEND, Direction.FORWARD),
    (EventKind.LEAN, Direction.BACKWARD),
)
_ROLL: Final = _Axis(
    MIN_LEAN_DEG,
    (EventKind.LEAN, Direction.LEFT),
    (EventKind.LEAN, Direction.RIGHT),
    across=True,
)
_TWIST: Final = _Axis(
    MIN_TWIST_DEG,
    (EventKind.TWIST, Direction.LEFT),
    (EventKind.TWIST, Direction.RIGHT),
    back=None,
)


_SIDEWAYS: Final = (Direction.LEFT, Direction.RIGHT)


def torso_moves(signals: Signals) -> list[MotionEvent]:
    """Find bends forward and back up, leans, and twists of the trunk."""
    if "torso" not in signals.parts:
        return []
    trunk_T3 = signals.trunk_T3()
    up_T = np.maximum(trunk_T3[:, 1], 1e-6)
    pitch_T = np.degrees(np.arctan2(trunk_T3[:, 2], up_T))
    roll_T = np.degrees(np.arctan2(trunk_T3[:, 0], up_T))
    result = [*_tilts(signals, pitch_T, _PITCH), *_tilts(signals, roll_T, _ROLL)]
    if not signals.exact:
        # A twist depends on the depth of hips and shoulders, which estimated poses do not give.
        return _without_lesser_bends(result)
    shoulders_T3 = signals.relative_T3("left_shoulder", "right_shoulder")
    hips_T3 = signals.relative_T3("left_hip", "right_hip")
    twist_T = np.degrees(
        np.unwrap(np.arctan2(-shoulders_T3[:, 2], shoulders_T3[:, 0]))
        - np.unwrap(np.arctan2(-hips_T3[:, 2], hips_T3[:, 0]))
    )
    return [*result, *_tilts(signals, twist_T, _TWIST)]


def _without_lesser_bends(events: list[MotionEvent]) -> list[MotionEvent]:
    """Drop bends forward in which an estimated trunk leans farther to a side.

    A trunk that tips to a side is called so; how far it goes forward as well is the less certain.
    """
    leans = [e for e in events if e.kind is EventKind.LEAN and e.direction in _SIDEWAYS]
    return [
        event
        for event in events
        if event.kind is not EventKind.BEND
        or not overlaps(event, [lean for lean in leans if lean.magnitude > event.magnitude])
    ]


def _tilts(signals: Signals, angle_T: FloatArray, axis: _Axis) -> list[MotionEvent]:
    """Find the movements of the trunk about one axis, given its angle, (T,), degrees."""
    min_deg = axis.min_deg if signals.exact else ESTIMATED_TILT_FACTOR * axis.min_deg
    rate_T = np.gradient(angle_T) * FPS if len(angle_T) > 1 else np.zeros_like(angle_T)
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(turning_points(angle_T, min_deg)):
        if not min_deg <= abs(angle_T[end] - angle_T[start]) <= MAX_TILT_DEG:
            continue
        for span in ramp_pieces(angle_T, start, end, min_deg):
            first, last = angle_T[span[0]], angle_T[span[1] - 1]
            change = float(last - first)
            leaves = abs(last) > abs(first)
            tilt = (axis.up if change > 0 else axis.down) if leaves else axis.back
            if tilt is None or not _is_clear_tilt(signals, span, abs(change), axis):
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
                    peak_speed=float(np.abs(rate_T[slice(*span)]).max()),
                )
            )
    return result


def _is_clear_tilt(signals: Signals, span: Span, change_deg: float, axis: _Axis) -> bool:
    """Return whether a tilt is measured, and neither drift, nor upside down, nor a depth flip."""
    if not signals.seen("torso", span) or is_too_slow(span):
        return False
    if signals.trunk_T3()[slice(*span), 1].min() < -0.3 * signals.size.torso_m:
        return False
    if signals.exact:
        return True
    # A trunk cannot tilt so fast: the sign of the estimated depth has flipped.
    step_deg = change_deg / (span[1] - span[0])
    flips = step_deg > MAX_TILT_STEP_DEG
    drifts = change_deg < CLEAR_TILT_DEG and step_deg * FPS < MIN_TILT_RATE_DPS
    # Without visible legs the lean toward the camera is a guess of the pose model.
    rooted = any(signals.seen(f"{s}_leg", span, 0.6) for s in SIDES)
    return rooted and not (flips or drifts) and _is_in_image(signals, span, change_deg, axis)


def _is_in_image(signals: Signals, span: Span, change_deg: float, axis: _Axis) -> bool:
    """Return whether a tilt lies in the image, or is so large that the image shows it anyway.

    A trunk that tilts by 45 degrees toward the camera is clearly shorter in the image; one that
    tilts by 20 degrees is nearly as long as before, and its lean is a guess. A tilt to the side has
    to be seen from the front, because a trunk that bends far forward may seem to roll.
    """
    if axis.across:
        upright = float(np.median(trunk_tilt_deg(signals)[slice(*span)])) < LYING_DEG
        return upright and signals.sees_direction(span, across=True)
    if signals.sees_direction(span, across=False):
        return True
    trunk_T3 = signals.trunk_T3()[[span[0], span[1] - 1]]
    roll_deg = np.degrees(np.arctan2(trunk_T3[:, 0], np.maximum(trunk_T3[:, 1], 1e-6)))
    # A trunk that leans to the side is shorter in the image as well.
    return change_deg >= CLEAR_TILT_DEG and abs(float(np.diff(roll_deg)[0])) < MAX_ROLL_DEG


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
        if not signals.sees_direction(span, across=False):
            continue  # A nod toward the camera is a guess of the pose model.
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
