"""Hands that go down to something and bring it up, or put it down.

Nobody sees the thing that is taken; the rule follows from what the body does. A hand that touches
the floor in an exercise hangs again afterward, while one that has taken something is held up in
front of the body with a bent elbow.

Shapes: T frames at 20 fps.
"""

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import Direction, EventKind, MotionEvent, Part, Side, measure_event
from annotators.motion.rules.arms import hand_level, hand_T3
from annotators.motion.rules.posture import hip_height, trunk_tilt_deg
from annotators.motion.signals import Signals, Span, flexion_deg, join_spans, spans
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS

LOW_HAND: Final = 0.75
"""Height of a hand that reaches down, leg lengths above the floor: below the middle of the thigh,
where no hand of an upright person hangs."""
STOOP_HAND: Final = 0.9
"""Height below the hips of the hand of somebody who is in a stoop when the motion begins."""
MIN_STOOP_DEG: Final = 30.0
LOW_BODY: Final = 0.85
"""A hand gets so low only if the trunk stoops by so much, or the hips are so low."""
LOOK_S: Final = 1.2
"""Time before and after the reach in which the hand is held up if it carries something."""
CARRY_S: Final = 0.3
CARRY_UP: Final = -0.72
CARRY_ELBOW_DEG: Final = 35.0
CARRY_AHEAD: Final = 0.25
"""A carrying hand is higher than a hanging one, in front of the shoulder, with a bent elbow; in arm
lengths."""
MAX_REACH_S: Final = 4.0
REST_MPS: Final = 0.6
"""A hand that takes or leaves something is slow there; one that swings past is not."""
MIN_WAY_DOWN: Final = 0.25
"""Smallest way down of a hand that only reaches, leg lengths."""


def reaches_down(signals: Signals, side: Side, on_hands_T: BoolArray) -> list[MotionEvent]:
    """Find hands that reach down, pick something up, or put something down.

    Args:
        signals: signals of the motion.
        side: left or right.
        on_hands_T: (T,) frames at which the hands carry the body, sit or lie beside it.
    """
    if not signals.posture_seen or f"{side}_arm" not in signals.parts:
        return []
    height_T = _hand_height_T(signals, side)
    carries_T = _carries_T(signals, side)
    result: list[MotionEvent] = []
    for span in _low_spans(signals, side):
        start, end = span
        if on_hands_T[start:end].mean() > 0.3 or end - start > MAX_REACH_S * FPS:
            continue
        earlier = slice(max(start - int(LOOK_S * FPS), 0), start)
        before = carries_T[earlier].sum() >= CARRY_S * FPS
        # Of a hand that is low from the first frame on, nobody knows what it held.
        empty = signals.part_T[f"{side}_arm"][earlier].sum() >= CARRY_S * FPS and not before
        after = carries_T[end : end + int(LOOK_S * FPS)].sum() >= CARRY_S * FPS
        kind = EventKind.REACH
        if after and empty:
            kind = EventKind.PICK_UP
        elif before and not after and end < signals.num_frames - CARRY_S * FPS:
            kind = EventKind.PUT_DOWN
        event = _reach(signals, side, span, kind, float(height_T[start:end].min()))
        if event is not None:
            result.append(event)
    return result


def comes_up_s(signals: Signals, side: Side) -> float | None:
    """Return when a hand comes up that is low from the first frame on, or None, seconds.

    Of a motion that begins in a stoop nobody knows what the hand holds.
    """
    if not signals.posture_seen or f"{side}_arm" not in signals.parts:
        return None
    first = next(iter(_low_spans(signals, side, STOOP_HAND)), None)
    begins = first is not None and first[0] <= CARRY_S * FPS
    return signals.end_s(first) if first is not None and begins else None


def _hand_height_T(signals: Signals, side: Side) -> FloatArray:
    """Return the height of a hand above the floor, (T,), leg lengths."""
    height_T = signals.height_T(f"{side}_wrist") / signals.size.leg_m
    return gaussian_filter1d(height_T, 1.0, mode="nearest")


def _low_spans(signals: Signals, side: Side, below: float = LOW_HAND) -> list[Span]:
    """Return the spans of frames in which a hand of a stooping or low body is so low."""
    stoops_T = (trunk_tilt_deg(signals) > MIN_STOOP_DEG) | (hip_height(signals) < LOW_BODY)
    low_T = (_hand_height_T(signals, side) < below) & stoops_T
    return join_spans(spans(low_T & signals.part_T[f"{side}_arm"], 3), 4)


def _carries_T(signals: Signals, side: Side) -> BoolArray:
    """Return the frames at which a hand is held up in front of an upright body, (T,)."""
    hand = hand_T3(signals, side)
    elbow_T = flexion_deg(signals, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
    upright_T = (trunk_tilt_deg(signals) < MIN_STOOP_DEG) & signals.part_T[f"{side}_arm"]
    held_T = (hand[:, 1] > CARRY_UP) & (hand[:, 2] > CARRY_AHEAD) & (elbow_T > CARRY_ELBOW_DEG)
    return upright_T & held_T


def _reach(
    signals: Signals, side: Side, span: Span, kind: EventKind, height: float
) -> MotionEvent | None:
    """Measure a reach; None if the hand only swings past."""
    wrist_T3 = signals.joint_T3(f"{side}_wrist")
    speed_N = np.linalg.norm(np.gradient(wrist_T3, axis=0), axis=1)[slice(*span)] * FPS
    before = max(span[0] - FPS // 2, 0)
    way = float(wrist_T3[before, 1] - wrist_T3[slice(*span), 1].min()) / signals.size.leg_m
    if speed_N.min() > REST_MPS or (kind is EventKind.REACH and way < MIN_WAY_DOWN):
        return None
    return measure_event(
        signals,
        span,
        kind,
        Part.ARM,
        side=side,
        direction=Direction.UP if kind is EventKind.PICK_UP else Direction.DOWN,
        level=hand_level(signals, side, span[1] - 1),
        magnitude=float(np.ptp(wrist_T3[before : span[1], 1])),
        peak_speed=float(speed_N.max()),
        gap_m=height * signals.size.leg_m,
    )
