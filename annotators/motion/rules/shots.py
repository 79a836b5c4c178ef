"""Rules for throws of a ball that the scene has, but whose place in the hands is not seen.

The ball in a hand is too small or too hidden to be seen surely. It is thrown up if a bent arm
straightens overhead at once from the head, where two hands hold a ball.

Shapes: T frames at 20 fps.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from annotators.motion.events import (
    LOWER_ARM,
    RAISE_ARM,
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Side,
    measure_event,
)
from annotators.motion.rules.arms import hand_level, hand_T3
from annotators.motion.signals import (
    MAX_FILL_FRAMES,
    MIN_CONFIDENCE,
    SIDES,
    Signals,
    Span,
    flexion_deg,
    spans,
    speed_T,
)
from data.arrays import BoolArray
from data.motion.skeleton import FPS, JOINT

SHOT_SPEED_MPS: Final = 1.8
"""Smallest speed of a hand that throws a ball."""
SHOT_BENT_DEG: Final = 75.0
SHOT_STRAIGHT_DEG: Final = 45.0
"""An arm that throws a ball up is bent by so much, with the hand near the head, then straight."""
SHOT_S: Final = 0.5
"""Longest time from the bent to the straight arm."""
SHOT_START: Final = -0.35
SHOT_END: Final = 0.6
"""Height of the hand above the shoulder before and after, arm lengths."""
SHOT_SIDE: Final = 1.3
"""An arm that straightens by so much more than the other one is the one that throws."""
SHOT_SEEN: Final = 0.8
"""Smallest share of a throw in which both hands are seen if both throw. The hand that only steadies
the ball moves alike, mostly half hidden; then the side is not told."""
FOLLOW_S: Final = 0.6
"""The arms of who has thrown come down, or were brought up for it, within this time."""
AT_HEAD: Final = 0.0
"""Smallest height above the shoulder of a hand that holds a ball at the head, arm lengths."""

_ARM_MOVES: Final = (
    *(EventKind.SWING, EventKind.THROW, EventKind.PUNCH, EventKind.WAVE, EventKind.CLAP),
    *(EventKind.RAISE, EventKind.LOWER, EventKind.HOLD, EventKind.BEND, EventKind.EXTEND),
)
"""Movements of an arm that a throw tells."""


def with_shots(signals: Signals, events: Sequence[MotionEvent]) -> list[MotionEvent]:
    """Turn fast raises of who shoots a ball of the scene into throws of it.

    Args:
        signals: signals of the motion.
        events: events of the body.

    Returns:
        The events with the throws, without those of the arms that belong to a throw.
    """
    result = list(events)
    for event in events:
        if event in result and event.is_one_of((RAISE_ARM,)):
            thrown = _thrown(signals, event)
            if thrown is not None:
                result = [e for e in result if e is not event]
                result = [*_without_arms_of(thrown, result), thrown]
    for side, other in (SIDES, SIDES[::-1]):
        for thrown in _unhidden_shots(signals, side, other):
            if not any(e.kind is EventKind.THROW and _meets(e, thrown) for e in result):
                result = [*_without_arms_of(thrown, result), thrown]
    return result


def _meets(event: MotionEvent, other: MotionEvent) -> bool:
    return event.start_s <= other.end_s and other.start_s <= event.end_s


def _without_arms_of(thrown: MotionEvent, events: Sequence[MotionEvent]) -> list[MotionEvent]:
    """Return the events without those that bring the arms up for a throw, or down after it."""

    def belongs(event: MotionEvent) -> bool:
        if event.part is not Part.ARM or event.kind not in _ARM_MOVES:
            return False
        if event.is_one_of((LOWER_ARM,)):
            return thrown.start_s <= event.end_s and event.start_s <= thrown.end_s + FOLLOW_S
        return thrown.start_s - FOLLOW_S <= event.end_s and event.start_s <= thrown.end_s

    return [event for event in events if not belongs(event)]


def _thrown(signals: Signals, event: MotionEvent) -> MotionEvent | None:
    """Return the throw that a raise of an arm or of both is, or None."""
    sides = SIDES if event.side is Side.BOTH else (str(event.side),)
    shots = {side: shot for side in sides if (shot := _shot_of(signals, side, event))}
    if not shots:
        return None
    side, (span, straightened_deg) = max(shots.items(), key=lambda item: item[1][1])
    alike = any(
        SHOT_SIDE * other_deg > straightened_deg
        for other, (_, other_deg) in shots.items()
        if other != side
    )
    if not alike:
        return _throw(signals, span, side, Side(side))
    seen = min(float(_hand_seen_T(signals, s)[slice(*span)].mean()) for s in SIDES)
    return _throw(signals, span, side, Side.BOTH if seen >= SHOT_SEEN else None)


def _throw(signals: Signals, span: Span, hand: str, side: Side | None) -> MotionEvent:
    """Measure a throw by one hand. The side that is told may be both, or none if it is unsure."""
    wrist_T3 = signals.joint_T3(f"{hand}_wrist") - signals.joint_T3(f"{hand}_shoulder")
    thrown = measure_event(
        signals,
        span,
        EventKind.THROW,
        Part.ARM,
        side=side,
        direction=Direction.UP,
        level=hand_level(signals, Side(hand), span[1] - 1),
        magnitude=float(np.linalg.norm(wrist_T3[span[1] - 1] - wrist_T3[span[0]])),
        peak_speed=float(speed_T(wrist_T3)[slice(*span)].max()),
    )
    return replace(thrown, object="ball")


def _shot_of(signals: Signals, side: str, event: MotionEvent) -> tuple[Span, float] | None:
    """Return the span in which an arm throws up during a raise, and by how much it straightens."""
    margin_s = 2 / FPS
    first, last = np.searchsorted(
        signals.time_T, (event.start_s - margin_s, event.end_s + margin_s)
    ).tolist()
    bend_T = flexion_deg(signals, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
    up_T = hand_T3(signals, side)[:, 1]
    # Who aims holds the ball up with bent arms: the throw is where they straighten at once.
    starts = [
        frame
        for frame in (first + np.flatnonzero(bend_T[first:last] >= SHOT_BENT_DEG)).tolist()
        if (bend_T[frame : min(frame + int(SHOT_S * FPS), last)] <= SHOT_STRAIGHT_DEG).any()
    ]
    if not starts:
        return None
    bent = max(starts, key=lambda frame: bend_T[frame])
    straight = np.flatnonzero(bend_T[bent:last] <= SHOT_STRAIGHT_DEG)
    end = min(bent + int(straight[0]) + 2, last)
    speed = speed_T(signals.joint_T3(f"{side}_wrist") - signals.joint_T3(f"{side}_shoulder"))
    shoots = (
        end - bent <= SHOT_S * FPS
        and up_T[bent] >= SHOT_START
        and up_T[end - 1] >= SHOT_END
        and speed[bent:end].max() >= SHOT_SPEED_MPS
        and signals.seen(f"{side}_arm", (bent, end))
    )
    return ((bent, end), float(bend_T[bent] - bend_T[end - 1])) if shoots else None


def _unhidden_shots(signals: Signals, side: str, other: str) -> list[MotionEvent]:
    """Find an arm that was hidden and appears straight overhead, right after a hold at the head.

    Of a player who is seen from the side or from behind, the body hides the arm that throws, until
    it is stretched out. Before, the other hand is seen where it holds the ball up.
    """
    if signals.exact or f"{other}_arm" not in signals.parts:
        return []
    bend_T, up_T = (
        flexion_deg(signals, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"),
        hand_T3(signals, side)[:, 1],
    )
    holds_T = (
        (flexion_deg(signals, f"{other}_shoulder", f"{other}_elbow", f"{other}_wrist"))
        >= SHOT_BENT_DEG
    ) & (hand_T3(signals, other)[:, 1] >= AT_HEAD)
    holds_T &= _hand_seen_T(signals, other)
    result: list[MotionEvent] = []
    seen_T = _hand_seen_T(signals, side)
    for first, end in spans(seen_T, 2):
        hidden = first >= MAX_FILL_FRAMES and not seen_T[first - MAX_FILL_FRAMES : first].any()
        held = np.flatnonzero(holds_T[:first])
        if not hidden or not len(held) or first - held[-1] > SHOT_S * FPS:
            continue
        last = min(first + 2, end)
        if bend_T[first:last].max() <= SHOT_STRAIGHT_DEG and up_T[first:last].min() >= SHOT_END:
            result.append(_throw(signals, (int(held[-1]), last), side, Side(side)))
    return result


def _hand_seen_T(signals: Signals, side: str) -> BoolArray:
    """Return whether the elbow and the hand of a side are seen at each frame, (T,)."""
    joints = [JOINT[f"{side}_elbow"], JOINT[f"{side}_wrist"]]
    return signals.confidence_TJ[:, joints].min(axis=1) >= MIN_CONFIDENCE
