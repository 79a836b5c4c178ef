"""Turns of the body about the vertical.

Shapes: T frames at 20 fps.
"""

import itertools
from typing import Final

import numpy as np

from annotators.motion.events import Direction, EventKind, MotionEvent, Part, Unit, measure_event
from annotators.motion.rules.posture import LYING_DEG, trunk_tilt_deg
from annotators.motion.signals import Signals, Span, hysteresis, join_spans, spans, turning_points
from data.arrays import FloatArray
from data.motion.skeleton import FPS

MIN_TURN_DEG: Final = 45.0
TURN_STEP_DEG: Final = 30.0
MIN_TURN_RATE_DPS: Final = 15.0
FAST_TURN_SHARE: Final = 0.4
SURE_TURN_DEG: Final = 65.0
WOBBLE_S: Final = 0.5
"""A smaller estimated turn is not told so soon before or after a larger one to the other side."""


def _turning(rate_T: FloatArray, yaw_T: FloatArray, start: int, end: int) -> list[Span]:
    """Return the parts of a turn in one direction that are fast, or else those that are not slow.

    A slow drift of the heading before a fast turn is no part of it.
    """
    peak = float(rate_T[start : end + 1].max())
    for off in (FAST_TURN_SHARE * peak, MIN_TURN_RATE_DPS):
        turning_T = hysteresis(rate_T, 2 * MIN_TURN_RATE_DPS, max(off, MIN_TURN_RATE_DPS))
        turning_T[:start] = turning_T[end + 1 :] = False
        found = join_spans(spans(turning_T, 4), 5)
        if any(abs(yaw_T[last - 1] - yaw_T[first]) >= MIN_TURN_DEG for first, last in found):
            return found
    return []


def turns(signals: Signals) -> list[MotionEvent]:
    """Find changes of heading of at least 45 degrees."""
    if "torso" not in signals.parts:
        return []
    yaw_T = np.degrees(signals.heading_T)
    # The heading of a body that lies or bends down is undefined.
    upright_T = trunk_tilt_deg(signals) < LYING_DEG
    points = turning_points(yaw_T, TURN_STEP_DEG)
    result: list[MotionEvent] = []
    rate_T = np.gradient(yaw_T) * FPS if len(yaw_T) > 1 else np.zeros_like(yaw_T)
    for start, end in itertools.pairwise(points):
        way = np.sign(yaw_T[end] - yaw_T[start])
        # A pause divides a turn in one direction into two turns.
        for span in _turning(rate_T * way, yaw_T, start, end):
            amount = float(abs(yaw_T[span[1] - 1] - yaw_T[span[0]]))
            if amount < MIN_TURN_DEG or not signals.seen("torso", span, 0.7):
                continue
            if upright_T[slice(*span)].mean() < 0.8:
                continue
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.TURN,
                    Part.BODY,
                    direction=Direction.LEFT if way > 0 else Direction.RIGHT,
                    magnitude=amount,
                    unit=Unit.DEGREES,
                    peak_speed=float(np.abs(rate_T[slice(*span)]).max()),
                )
            )
    return result if signals.exact else _without_wobbles(result)


def _without_wobbles(found: list[MotionEvent]) -> list[MotionEvent]:
    """Drop small turns right before or after a larger one to the other side.

    The estimated heading swings back where the pose model takes the front of a body for its back.
    """

    def wobbles(turn: MotionEvent) -> bool:
        return turn.magnitude < SURE_TURN_DEG and any(
            other.direction is not turn.direction
            and other.magnitude > turn.magnitude
            and max(other.start_s - turn.end_s, turn.start_s - other.end_s) <= WOBBLE_S
            for other in found
        )

    return [turn for turn in found if not wobbles(turn)]
