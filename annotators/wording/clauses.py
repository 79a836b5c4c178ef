"""From events and postures to the clauses of a timeline."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from annotators.motion.activities import (
    EVENT_ACTIVITIES,
    WEIGHTS,
    ActivityKind,
    is_cartwheel,
    poses_of,
)
from annotators.motion.describe import MotionDescription
from annotators.motion.events import (
    LOWER_ARM,
    RAISE_ARM,
    RAISE_HEAD,
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
)
from annotators.wording.acts import Act, ActKey, BodyAct, Clause, Manner

SLOW_WALK: Final = 0.9
"""Leg lengths per second; about 0.75 m/s."""
BRISK_WALK: Final = 2.0
"""Leg lengths per second; about 1.7 m/s."""
SLOW_HAND_MPS: Final = 0.7
FAST_HAND_MPS: Final = 2.6
MAX_COUNTED_STEPS: Final = 12
MIN_HELD_S: Final = 1.0
"""A posture that is held for a shorter time is a transition."""
MIN_HOLD_S: Final = 1.5
OBJECT_BONUS: Final = 0.12
"""What is done with an object is the point of a movement."""
MAX_STIR_S: Final = 1.0
"""Two pauses that are so close to each other are one."""


# --------------------------------------------------------------------------------- one event

_KINDS: Final[Mapping[ActKey, ActivityKind]] = {
    **EVENT_ACTIVITIES,
    EventKind.WALK: ActivityKind.WALK,
    EventKind.RUN: ActivityKind.RUN,
    EventKind.TURN: ActivityKind.TURN,
    EventKind.LAND: ActivityKind.LAND,
    EventKind.HOLD: ActivityKind.HOLD,
    EventKind.UNPRESS: ActivityKind.PUSH_UP,
    EventKind.STRAIGHTEN: ActivityKind.LOWER,
    EventKind.LOWER: ActivityKind.LOWER,
    RAISE_HEAD: ActivityKind.LOWER,
    PostureKind.SITTING: ActivityKind.SIT,
    PostureKind.SQUATTING: ActivityKind.CROUCH,
    PostureKind.KNEELING: ActivityKind.KNEEL,
    PostureKind.BENDING: ActivityKind.CROUCH,
    PostureKind.WIDE_STANCE: ActivityKind.WIDE_STANCE,
    PostureKind.LUNGE: ActivityKind.LUNGE,
    PostureKind.SIDE_PLANK: ActivityKind.SIDE_PLANK,
    PostureKind.PLANK: ActivityKind.PLANK,
    PostureKind.ALL_FOURS: ActivityKind.KNEEL,
    PostureKind.HANDS_AND_FEET: ActivityKind.BEND,
    PostureKind.LYING: ActivityKind.LIE,
    PostureKind.ONE_LEG: ActivityKind.BALANCE,
    PostureKind.UPSIDE_DOWN: ActivityKind.UPSIDE_DOWN,
    BodyAct.SIT_DOWN: ActivityKind.SIT_DOWN,
    BodyAct.SQUAT_DOWN: ActivityKind.SQUAT,
    BodyAct.KNEEL_DOWN: ActivityKind.KNEEL_DOWN,
    BodyAct.LIE_DOWN: ActivityKind.LIE_DOWN,
    BodyAct.SINK_INTO_STANCE: ActivityKind.WIDE_STANCE,
    BodyAct.LUNGE: ActivityKind.LUNGE,
    BodyAct.BEND_KNEES: ActivityKind.LOWER,
    BodyAct.STAND_UP: ActivityKind.STAND_UP,
    BodyAct.GET_UP: ActivityKind.GET_UP,
    BodyAct.LEAVE_STANCE: ActivityKind.LOWER,
    BodyAct.STRAIGHTEN_LEGS: ActivityKind.LOWER,
    BodyAct.CARTWHEEL: ActivityKind.CARTWHEEL,
    BodyAct.POSES: ActivityKind.STRETCH,
    BodyAct.KEEP_STILL: ActivityKind.STAND,
    BodyAct.STAY: ActivityKind.STILL,
    BodyAct.STAY_UPRIGHT: ActivityKind.STILL,
}
"""Activity whose weight an act has."""


_ARM_LIFTS: Final = (RAISE_ARM, LOWER_ARM)
WALKS: Final = (EventKind.WALK, EventKind.RUN)
_UNCOUNTED: Final = (EventKind.JUGGLE, EventKind.DRIBBLE)
"""Series of which some touches are missed."""


def weight_of(act: Act, part: Part | None = None) -> float:
    """Return the weight of an act, optionally of one part of the body."""
    if isinstance(act, EventKind) and act not in _KINDS and part is not None:
        return WEIGHTS[_KINDS[act, part]]
    return WEIGHTS[_KINDS[act]]


def event_clause(event: MotionEvent, description: MotionDescription) -> Clause | None:
    """Return the clause of one event, or None if another clause covers it."""
    if event.kind in (EventKind.SINK, EventKind.RISE):
        return _level_clause(event, description)
    if event.kind is EventKind.HOLD and not event.object and event.duration_s < MIN_HOLD_S:
        return None  # Every raised hand stays up for a moment.
    clause = Clause(
        act=event.kind,
        start_s=event.start_s,
        end_s=event.end_s,
        weight=min(
            weight_of(event.kind, event.part) + (OBJECT_BONUS if event.object else 0.0), 0.98
        ),
        evidence=((event,),),
        event=event,
    )
    if event.kind in WALKS:
        leg_m = description.size.leg_m
        return replace(
            clause, manner=_walk_manner(event, leg_m), num_steps=_countable_steps(event, leg_m)
        )
    return replace(
        clause,
        count=1 if event.kind in _UNCOUNTED else event.count,
        frequency_hz=event.frequency_hz,
        manner=_hand_manner(event) if event.is_one_of(_ARM_LIFTS) else None,
    )


def _walk_manner(event: MotionEvent, leg_m: float) -> Manner | None:
    speed = event.magnitude / max(event.duration_s, 0.05) / leg_m
    if event.kind is EventKind.RUN or event.direction in (Direction.LEFT, Direction.RIGHT):
        return None
    if speed < SLOW_WALK:
        return Manner.SLOWLY
    return Manner.BRISKLY if speed > BRISK_WALK else None


def _countable_steps(event: MotionEvent, leg_m: float) -> int:
    # Steps that are longer than a leg mean that some steps were missed.
    plausible = event.magnitude / event.count <= leg_m
    sure = event.kind is EventKind.WALK and event.count <= MAX_COUNTED_STEPS and plausible
    return event.count if sure else 0


def _hand_manner(event: MotionEvent) -> Manner | None:
    if event.peak_speed > FAST_HAND_MPS:
        return Manner.QUICKLY
    slow = event.peak_speed < SLOW_HAND_MPS and event.duration_s > 1.0
    return Manner.SLOWLY if slow else None


# ------------------------------------------------------------------------- postures and changes


def posture_at(description: MotionDescription, time_s: float) -> Posture | None:
    """Return the posture of the whole body at a time."""
    for posture in description.postures:
        holds = posture.start_s - 0.03 <= time_s <= posture.end_s + 0.03
        if holds and posture.kind is not PostureKind.ONE_LEG:
            return posture
    return None


def _kind_at(description: MotionDescription, time_s: float) -> PostureKind:
    posture = posture_at(description, time_s)
    return posture.kind if posture else PostureKind.UNKNOWN


SINKS: Final[Mapping[PostureKind, BodyAct]] = {
    PostureKind.SITTING: BodyAct.SIT_DOWN,
    PostureKind.SQUATTING: BodyAct.SQUAT_DOWN,
    PostureKind.KNEELING: BodyAct.KNEEL_DOWN,
    PostureKind.LYING: BodyAct.LIE_DOWN,
    PostureKind.WIDE_STANCE: BodyAct.SINK_INTO_STANCE,
    PostureKind.LUNGE: BodyAct.LUNGE,
}
"""Action of a downward movement of the hips, by the posture after it."""
_LOW: Final = (
    PostureKind.SITTING,
    PostureKind.SQUATTING,
    PostureKind.KNEELING,
    PostureKind.LYING,
)
_ON_HANDS: Final = (
    PostureKind.PLANK,
    PostureKind.SIDE_PLANK,
    PostureKind.ALL_FOURS,
    PostureKind.HANDS_AND_FEET,
    PostureKind.UPSIDE_DOWN,
)


def _level_clause(event: MotionEvent, description: MotionDescription) -> Clause | None:
    """Return the clause of a change of hip height, by the postures before and after it."""
    before = _kind_at(description, event.start_s - 0.1)
    after = _kind_at(description, event.end_s + 0.1)
    if event.kind is EventKind.SINK:
        act = _sink(before, after)
    elif _has_landed(event, description):
        act = BodyAct.STAND_UP
    else:
        act = _rise(before, after)
    if act is None:
        return None
    return Clause(
        act=act,
        start_s=event.start_s,
        end_s=event.end_s,
        weight=weight_of(act),
        evidence=((event,),),
    )


def _has_landed(event: MotionEvent, description: MotionDescription) -> bool:
    """Return whether a rise follows a landing at once."""
    lands = [e for e in description.events if e.kind is EventKind.LAND]
    return any(-0.2 <= event.start_s - land.end_s <= MAX_STIR_S for land in lands)


def _sink(before: PostureKind, after: PostureKind) -> BodyAct | None:
    told_by_posture = after is PostureKind.BENDING or after in _ON_HANDS
    if told_by_posture or before in _ON_HANDS or (before is after and after in _LOW):
        return None
    return SINKS.get(after, BodyAct.BEND_KNEES)


def _rise(before: PostureKind, after: PostureKind) -> BodyAct | None:
    if before in _LOW and after in (PostureKind.STANDING, PostureKind.BENDING):
        return BodyAct.STAND_UP
    if before is PostureKind.LYING and after in _LOW:
        return BodyAct.GET_UP
    if after is not PostureKind.STANDING:
        return None
    stance = before in (PostureKind.WIDE_STANCE, PostureKind.LUNGE)
    return BodyAct.LEAVE_STANCE if stance else BodyAct.STRAIGHTEN_LEGS


def posture_clause(posture: Posture, description: MotionDescription) -> Clause | None:
    """Return the clause of a held posture, or None if it is usual or a transition."""
    if posture.kind in (PostureKind.STANDING, PostureKind.UNKNOWN):
        return None
    brief = posture.kind in (PostureKind.UPSIDE_DOWN, PostureKind.ONE_LEG)
    if not brief and posture.duration_s < MIN_HELD_S:
        return None
    round_ = is_cartwheel(posture, description.postures)
    act = BodyAct.CARTWHEEL if round_ else posture.kind
    return Clause(
        act=act,
        start_s=posture.start_s,
        end_s=posture.end_s,
        weight=weight_of(act),
        evidence=((posture,),),
        posture=posture,
    )


def poses_clause(description: MotionDescription) -> list[Clause]:
    """Return the clause of an exercise of several poses, if the motion is one."""
    held = poses_of(description.postures)
    if not held:
        return []
    return [
        Clause(
            act=BodyAct.POSES,
            start_s=held[0].start_s,
            end_s=max(p.end_s for p in description.postures if p.kind in {h.kind for h in held}),
            weight=weight_of(BodyAct.POSES),
            evidence=(tuple(held),),
        )
    ]
