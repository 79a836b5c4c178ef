"""Rules for the arms.

Lengths are relative to the person's arm length. As in MotionScript (Yazdian et al.,
arXiv 2312.12634), the rules describe how a relation between joints changes, how much, and how
fast. The bin edges were chosen on the CMU sequences and on half of the Bandai-Namco takes, with
wide margins for poses estimated from a single camera.

Shapes: T frames at 20 fps, N events.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from annotators.motion.events import (
    Direction,
    EventKind,
    Level,
    MotionEvent,
    Part,
    Side,
    Unit,
    measure_event,
)
from annotators.motion.rules.posture import UPRIGHT_DEG, trunk_tilt_deg
from annotators.motion.rules.sides import both_sides, is_too_slow, overlaps, ramp_pieces, share_of
from annotators.motion.signals import (
    MAX_FILL_FRAMES,
    MIN_CONFIDENCE,
    PART_JOINTS,
    SETTLE_FRAMES,
    SIDES,
    Signals,
    Span,
    flexion_deg,
    speed_T,
    trim_ramp,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS, JOINT

# ---- arms (hand relative to the shoulder, in arm lengths; hanging is about -0.95)
MIN_RAISE: Final = 0.40
"""Smallest change of the height of a raised or lowered hand, about from the hip to the chest."""
HANGING: Final = -0.70
RAISED: Final = -0.45
"""A higher hand is at the chest or above, where it can wave."""
LEVELS: Final = (
    (0.55, Level.ABOVE_HEAD),
    (0.20, Level.HEAD),
    (-0.20, Level.SHOULDER),
    (-0.50, Level.CHEST),
    (-0.70, Level.WAIST),
)
"""Lower limit of the hand's height above the shoulder, in torso lengths, for each level."""
AHEAD: Final = 0.45
"""Smallest distance of a hand in front of or beside the shoulder. The larger distance decides."""

MIN_BEND_DEG: Final = 60.0
TOLD_SHARE: Final = 0.5
"""An elbow that bends by so much of its way within other events of the arm belongs to them."""
HELD_LEVELS: Final = (Level.SHOULDER, Level.HEAD, Level.ABOVE_HEAD)
HOLD_S: Final = 0.8
HOLD_DRIFT: Final = 0.30
"""A hand that is held up stays within this distance, arm lengths."""
MIN_HAND_SEEN: Final = 0.5
"""Smallest share of an event's frames at which the hand that moves is seen. Of a hand that is seen
only before and after, the way between is a guess."""
TWIN_S: Final = 0.2
"""Arms that move alike start and end within this time of each other."""
TWIN_SHARE: Final = 0.5
"""Smallest way up or down of the other hand, relative to that of an arm that is raised. Two
arms that go down end at one height, and a way that would be told of an arm alone is enough."""
APPEARS_FRAMES: Final = 3
"""An arm that was hidden and comes into sight is seen for so long before it counts."""
APART: Final = 0.15
"""Distance from the trunk, arm lengths, at which a hand beside it cannot be hidden behind it."""
OVER_HEAD: Final = 0.40
OVER_HEAD_DEG: Final = 60.0
"""A hand that is less than so far above the head joint, torso lengths, with the elbow bent by so
much, is at the head and not above it: it touches the hair, the brow or a hat."""
TWIN_CONFIDENCE: Final = 0.35
"""Smallest mean confidence of the other hand. One arm of two that move alike is often half hidden
by the body; the raise of an arm that is not seen at all is not told."""


def hand_T3(signals: Signals, side: str) -> FloatArray:
    """Return the hand relative to the shoulder as (outward, up, forward), (T, 3), arm lengths."""
    hand = signals.relative_T3(f"{side}_wrist", f"{side}_shoulder") / signals.size.arm_m
    return hand * np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])


def hand_level(signals: Signals, side: Side, frame: int) -> Level:
    """Return the level of a hand."""
    up = hand_T3(signals, side)[frame, 1] * signals.size.arm_m / signals.size.torso_m
    level = next((name for edge, name in LEVELS if up >= edge), Level.LOW)
    return Level.HEAD if level is Level.ABOVE_HEAD and _at_head(signals, side, frame) else level


def _at_head(signals: Signals, side: Side, frame: int) -> bool:
    """Return whether a bent arm has the hand at the head, and not above it."""
    over_m = float((signals.joint_T3(f"{side}_wrist") - signals.joint_T3("head"))[frame, 1])
    bend_T = flexion_deg(signals, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
    return over_m < OVER_HEAD * signals.size.torso_m and float(bend_T[frame]) > OVER_HEAD_DEG


def hand_speed(signals: Signals, event: MotionEvent) -> float:
    """Return the highest speed of the hand of an event, arm lengths per second."""
    start, end = signals.frames_of(event.start_s, event.end_s)
    sides = SIDES if event.side in (None, Side.BOTH) else (event.side.value,)
    return max(float(speed_T(hand_T3(signals, s))[start:end].max()) for s in sides)


def hand_top(signals: Signals, event: MotionEvent) -> float:
    """Return the largest height of the hand of an event above its shoulder, arm lengths."""
    start, end = signals.frames_of(event.start_s, event.end_s)
    sides = SIDES if event.side in (None, Side.BOTH) else (event.side.value,)
    return max(float(hand_T3(signals, s)[start:end, 1].max()) for s in sides)


def is_hand_seen(signals: Signals, event: MotionEvent) -> bool:
    """Return whether the hands of an event are seen while they move, not only before and after."""
    if signals.exact or event.part is not Part.ARM:
        return True
    return all(
        float((_hand_confidence(signals, side, event) >= MIN_CONFIDENCE).mean()) >= MIN_HAND_SEEN
        for side in (SIDES if event.side in (None, Side.BOTH) else (event.side,))
    )


def _hand_confidence(signals: Signals, side: str, event: MotionEvent) -> FloatArray:
    """Return the confidence of a hand at the N frames of an event, (N,)."""
    start, end = signals.frames_of(event.start_s, event.end_s)
    return signals.confidence_TJ[start:end, JOINT[f"{side}_wrist"]]


def _hand_direction(hand_3: FloatArray) -> Direction | None:
    outward, up, ahead = hand_3.tolist()
    if up > 0.75:
        return Direction.UP
    if ahead >= AHEAD and ahead > 1.2 * abs(outward):
        return Direction.FORWARD
    if outward >= AHEAD and outward > 1.2 * abs(ahead):
        return Direction.SIDE
    return None


def arm_ok_T(signals: Signals, side: str) -> BoolArray:
    """Return the frames at which the arm is measured and the trunk does not lie, (T,)."""
    ok_T = signals.part_T[f"{side}_arm"].copy()
    if "torso" in signals.parts:
        ok_T &= trunk_tilt_deg(signals) < UPRIGHT_DEG + 15
    return ok_T


def raises(
    signals: Signals, side: Side, busy_T: BoolArray, moving_T: BoolArray
) -> list[MotionEvent]:
    """Find upward and downward movements of a hand of at least :data:`MIN_RAISE`.

    Args:
        signals: signals of the motion.
        side: left or right.
        busy_T: (T,) frames at which the hand waves or strikes, which are other events.
        moving_T: (T,) frames at which the person walks, where arms swing.
    """
    hand = hand_T3(signals, side)
    up_T, arm_m = hand[:, 1], signals.size.arm_m
    rate_T = np.gradient(up_T) * FPS * arm_m if len(up_T) > 1 else np.zeros_like(up_T)
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(turning_points(up_T, MIN_RAISE)):
        if abs(up_T[end] - up_T[start]) < MIN_RAISE:
            continue
        for span in ramp_pieces(up_T, start, end, MIN_RAISE):
            high = float(max(up_T[span[0]], up_T[span[1] - 1]))
            swings = share_of(moving_T, span) > 0.5 and high < 0.15
            rises = bool(up_T[end] > up_T[start])
            if not rises and _settles(signals, span):
                continue
            busy = share_of(busy_T, span) > 0.6 or is_too_slow(span)
            if busy or swings or not _moves_the_arm(signals, side, span):
                continue
            last = min(span[1], len(up_T) - 1)
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.RAISE if rises else EventKind.LOWER,
                    Part.ARM,
                    side=side,
                    direction=_hand_direction(hand[last]) if rises else Direction.DOWN,
                    level=hand_level(signals, side, span[1] - 1),
                    magnitude=abs(float(up_T[span[1] - 1] - up_T[span[0]])) * arm_m,
                    peak_speed=float(np.abs(rate_T[slice(*span)]).max()),
                )
            )
    return result


def _settles(signals: Signals, span: Span) -> bool:
    """Return whether an estimate comes to rest in the first frames in which somebody is seen."""
    return not signals.exact and span[0] < SETTLE_FRAMES and span[1] <= MAX_FILL_FRAMES


def _moves_the_arm(signals: Signals, side: Side, span: Span) -> bool:
    """Return whether the hand itself goes up or down, and not the shoulder beside a still hand.

    If the trunk bends or lies, the hand has to move in the room as well, and up to the shoulders
    or down from there.
    """
    if not signals.seen(f"{side}_arm", span, 0.7):
        return False
    if share_of(arm_ok_T(signals, side), span) >= 0.7:
        return True
    up_T = hand_T3(signals, side)[:, 1]
    wrist_T = signals.joint_T3(f"{side}_wrist")[:, 1] / signals.size.arm_m
    first, last = span[0], span[1] - 1
    in_room = (wrist_T[last] - wrist_T[first]) * np.sign(up_T[last] - up_T[first])
    return bool(in_room >= 0.8 * MIN_RAISE and max(up_T[first], up_T[last]) > 0.0)


def holds(
    signals: Signals, side: Side, lifted: list[MotionEvent], moving_T: BoolArray
) -> list[MotionEvent]:
    """Find hands that stay up after they were raised to the shoulder or higher."""
    hand = hand_T3(signals, side)
    result: list[MotionEvent] = []
    for event in lifted:
        if event.kind is not EventKind.RAISE or event.level not in HELD_LEVELS:
            continue
        start = int(np.searchsorted(signals.time_T, event.end_s - 1e-9))
        away_N = np.linalg.norm(hand[start:] - hand[start], axis=1) > HOLD_DRIFT
        end = start + (int(np.argmax(away_N)) if away_N.any() else len(away_N))
        span = (start, end)
        if end - start < HOLD_S * FPS or share_of(moving_T, span) > 0.5:
            continue
        if not signals.seen(f"{side}_arm", span, 0.7):
            continue
        result.append(
            measure_event(
                signals,
                span,
                EventKind.HOLD,
                Part.ARM,
                side=side,
                level=event.level,
                magnitude=float(np.ptp(hand[slice(*span), 1])) * signals.size.arm_m,
                peak_speed=0.0,
            )
        )
    return result


def with_both_arms(signals: Signals, events: Sequence[MotionEvent]) -> list[MotionEvent]:
    """Turn a raise or lowering of one arm into one of both where the other arm moves alike.

    Of two arms that move together, an estimate often measures one smaller, because it moves in
    depth or is half hidden. Its movement then has no event, or one of another kind. Of motion
    capture nothing changes.

    Args:
        signals: signals of the motion.
        events: events of the motion, those of equal arms already paired.

    Returns:
        The events, without those of the other arm that the events of both arms tell.
    """
    result = list(events)
    if signals.exact:
        return result
    for event in events:
        if event not in result or event.side not in (Side.LEFT, Side.RIGHT):
            continue
        if event.part is not Part.ARM or event.kind not in _LIFTS:
            continue
        other = Side.RIGHT if event.side is Side.LEFT else Side.LEFT
        of_other = [
            e
            for e in result
            if e.part is Part.ARM
            and e.side in (other, Side.BOTH)
            and e.start_s < event.end_s + TWIN_S
            and e.end_s > event.start_s - TWIN_S
        ]
        told = [e for e in of_other if e.kind in _TOLD_BY_LIFTS and e.count == 1]
        twin = _twin_of(signals, event, other) if len(told) == len(of_other) else None
        if twin is not None and (overlaps(twin, [event]) or overlaps(event, [twin])):
            result = [e for e in result if e is not event and e not in told]
            result.append(both_sides(event, twin))
    return sorted(result, key=lambda e: (e.start_s, e.end_s))


_LIFTS: Final = (EventKind.RAISE, EventKind.LOWER)
_TOLD_BY_LIFTS: Final = (EventKind.SWING, EventKind.BEND, EventKind.EXTEND)
"""Movements of an arm that its being raised or lowered tells."""


def _twin_of(signals: Signals, event: MotionEvent, other: Side) -> MotionEvent | None:
    """Return the movement of the other arm that goes with that of an event, or None."""
    start, end = signals.frames_of(event.start_s, event.end_s)
    margin = round(TWIN_S * FPS)
    first, last = max(start - margin, 0), min(end + margin, signals.num_frames)
    hand = hand_T3(signals, other)
    appears = _appears(signals, event, other, (start, last))
    if appears is not None:
        return replace(
            event,
            side=other,
            direction=_hand_direction(hand[appears]),
            level=hand_level(signals, other, appears),
            end_s=max(event.end_s, float(signals.time_T[appears])),
            confidence=signals.mean_confidence((f"{other}_wrist",), (appears, last)),
        )
    rises = event.kind is EventKind.RAISE
    up_N = hand[first:last, 1]
    # The largest change in the direction of the event between two frames.
    gone_N = up_N - np.minimum.accumulate(up_N) if rises else np.maximum.accumulate(up_N) - up_N
    to = int(np.argmax(gone_N))
    begin = int(np.argmin(up_N[: to + 1]) if rises else np.argmax(up_N[: to + 1]))
    way = float(gone_N[to])
    sure = float(_hand_confidence(signals, other, event).mean())
    least = TWIN_SHARE * max(event.relative, MIN_RAISE)
    least = least if rises else min(least, MIN_RAISE)
    if sure < TWIN_CONFIDENCE or way < least or max(up_N[begin], up_N[to]) < RAISED:
        return None
    span = (first + begin, first + to + 1)
    return measure_event(
        signals,
        span,
        event.kind,
        Part.ARM,
        side=other,
        direction=_hand_direction(hand[first + to]) if rises else Direction.DOWN,
        level=hand_level(signals, other, first + to),
        magnitude=way * signals.size.arm_m,
        peak_speed=float(np.abs(np.diff(up_N[begin : to + 1])).max()) * FPS * signals.size.arm_m,
    )


def _appears(signals: Signals, event: MotionEvent, other: Side, span: Span) -> int | None:
    """Return the frame at which a hidden arm comes into sight at the shoulder or higher, or None.

    The body hid it before. Beside the body it would have been seen, so that it was raised there
    together with the arm of the event.
    """
    if event.kind is not EventKind.RAISE or event.level not in HELD_LEVELS:
        return None
    joints = [JOINT[f"{other}_elbow"], JOINT[f"{other}_wrist"]]
    seen_T = signals.confidence_TJ[:, joints].min(axis=1) >= MIN_CONFIDENCE
    hidden = slice(max(span[0] - MAX_FILL_FRAMES, 0), span[0] + 1)
    appears = span[0] + int(np.argmax(seen_T[slice(*span)]))
    lasts = slice(appears, appears + APPEARS_FRAMES)
    if seen_T[hidden].any() or seen_T[lasts].sum() < APPEARS_FRAMES:
        return None
    # Across the image, the hand is outside of the shoulders and hips.
    trunk_TN = signals.joints_TJ3[:, [JOINT[name] for name in PART_JOINTS["torso"]], 0]
    hand_T = signals.joint_T3(f"{other}_wrist")[:, 0]
    beside_T = np.maximum(trunk_TN.min(axis=1) - hand_T, hand_T - trunk_TN.max(axis=1))
    beside = float(beside_T[lasts].min()) > APART * signals.size.arm_m
    at = appears + APPEARS_FRAMES - 1
    return at if beside and hand_level(signals, other, at) in HELD_LEVELS else None


def elbow_bends(
    signals: Signals, side: Side, busy_T: BoolArray, moving_T: BoolArray
) -> list[MotionEvent]:
    """Find elbows that bend or straighten outside of all other events of the arm."""
    bend_T = flexion_deg(signals, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
    ok_T = signals.part_T[f"{side}_arm"]
    points = turning_points(bend_T, MIN_BEND_DEG)
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(points):
        amount = float(abs(bend_T[end] - bend_T[start]))
        if amount < MIN_BEND_DEG:
            continue
        span = trim_ramp(bend_T, start, end)
        other_T = busy_T | moving_T
        bent_N = np.abs(np.diff(bend_T[slice(*span)]))
        told_deg = float(bent_N[other_T[span[0] + 1 : span[1]]].sum())
        if (
            share_of(ok_T, span) < 0.8
            or share_of(other_T, span) > 0.3
            or told_deg > TOLD_SHARE * amount
            or is_too_slow(span)
        ):
            continue
        bends = bool(bend_T[end] > bend_T[start])
        last = min(span[1], signals.num_frames - 1)
        direction = None if bends else _hand_direction(hand_T3(signals, side)[last])
        result.append(
            measure_event(
                signals,
                span,
                EventKind.BEND if bends else EventKind.EXTEND,
                Part.ARM,
                side=side,
                direction=direction,
                level=hand_level(signals, side, last),
                magnitude=amount,
                unit=Unit.DEGREES,
                peak_speed=float(np.abs(np.gradient(bend_T)[slice(*span)]).max() * FPS),
            )
        )
    return result
