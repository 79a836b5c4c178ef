"""The timeline of a motion: its events, merged, counted and filtered, as clauses.

Clauses are typed like the events that they come from; :mod:`annotators.wording.phrases` words them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from annotators.motion.activities import WEIGHTS, ActivityKind, is_cartwheel, poses_of
from annotators.motion.describe import MotionDescription
from annotators.motion.events import (
    BEND_ARM,
    BEND_TORSO,
    LOWER_ARM,
    LOWER_HEAD,
    LOWER_KNEE,
    LOWER_LEG,
    RAISE_ARM,
    RAISE_HEAD,
    RAISE_KNEE,
    RAISE_LEG,
    Direction,
    EventKind,
    Facing,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
)

MAX_GAP_S: Final = 2.0
"""Repeated actions that are further apart are separate clauses."""
MIN_TELL_GAP_S: Final = 1.5
"""Smallest pause between actions that becomes a clause."""
SLOW_WALK: Final = 0.9
"""Leg lengths per second; about 0.75 m/s."""
BRISK_WALK: Final = 2.0
"""Leg lengths per second; about 1.7 m/s."""
SLOW_HAND_MPS: Final = 0.7
FAST_HAND_MPS: Final = 2.6
MAX_COUNTED_STEPS: Final = 12
MIN_HELD_S: Final = 1.0
"""A posture that is held for a shorter time is a transition."""
EXTENT_SHARE: Final = 0.4
"""Share of the importance of an act that depends on its extent."""
REPEAT_BONUS: Final = 0.015
LONG_PAUSE_SHARE: Final = 0.4
"""A pause that takes so much of the time is a part of what the person does."""
OBJECT_BONUS: Final = 0.12
"""What is done with an object is the point of a movement."""
MAX_STIR_S: Final = 1.0
"""Two pauses that are so close to each other are one."""
MIN_HOLD_S: Final = 1.5
MIN_LEG_S: Final = 0.7
"""Shorter parts of a walk between its turns are dropped."""


class BodyAct(StrEnum):
    """Action that follows from events and postures together."""

    SIT_DOWN = "sit_down"
    SQUAT_DOWN = "squat_down"
    KNEEL_DOWN = "kneel_down"
    LIE_DOWN = "lie_down"
    SINK_INTO_STANCE = "sink_into_stance"
    LUNGE = "sink_into_lunge"
    BEND_KNEES = "bend_knees"
    STAND_UP = "stand_up"
    GET_UP = "get_up"
    """A change from lying to sitting, squatting or kneeling."""
    LEAVE_STANCE = "leave_stance"
    STRAIGHTEN_LEGS = "straighten_legs"
    CARTWHEEL = "cartwheel"
    POSES = "poses"
    """An exercise that goes from one held pose to the next."""
    KEEP_STILL = "keep_still"
    STAY = "stay"
    """No movement is large enough to be named."""


class Manner(StrEnum):
    """Manner of an action."""

    SLOWLY = "slowly"
    BRISKLY = "briskly"
    QUICKLY = "quickly"


@dataclass(frozen=True, slots=True)
class Way:
    """A path over the floor, as evidence."""

    length_m: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A time without movement, as evidence."""

    duration_s: float


Act = EventKind | PostureKind | BodyAct
ActKey = Act | tuple[EventKind, Part]
"""Key that matches an act, optionally of one part of the body only."""
Evidence = MotionEvent | Posture | Way | Pause


@dataclass(frozen=True, slots=True)
class Clause:
    """An action of the timeline, ready to be worded.

    Attributes:
        act: action.
        start_s, end_s: span, seconds.
        weight: importance, 0..1.
        evidence: measurements of each repetition, in order.
        event: event of the action, if it is one.
        posture: posture of the action, if it is one, or the posture that is held meanwhile.
        back: action that directly reverses this one and is worded together with it.
        count: number of repetitions.
        frequency_hz: repetitions per second; 0 if they are not rhythmic.
        manner: manner of the action.
        num_steps: number of steps of a walk; 0 if it is unreliable.
        goes_on: whether a walk continues after a turn.
        during: walk or run during which the action happens.
        along: event at the same time that is worded together with this one.
    """

    act: Act
    start_s: float
    end_s: float
    weight: float
    evidence: tuple[tuple[Evidence, ...], ...]
    event: MotionEvent | None = None
    posture: Posture | None = None
    back: "Clause | None" = None
    count: int = 1
    frequency_hz: float = 0.0
    manner: Manner | None = None
    num_steps: int = 0
    goes_on: bool = False
    during: EventKind | None = None
    along: MotionEvent | None = None

    @property
    def part(self) -> Part | None:
        """Part that moves."""
        return self.event.part if self.event else None

    @property
    def side(self) -> Side | None:
        """Side of the part, or the supporting leg."""
        if self.event:
            return self.event.side
        return self.posture.side if self.posture else None

    def is_again(self, other: "Clause") -> bool:
        """Return whether both are the same action, apart from count and extent."""
        return self._identity == other._identity

    @property
    def _identity(self) -> tuple[Act, Part | None, Side | None, Direction | Facing | None, bool]:
        way = self.event.direction if self.event else None
        if self.posture:
            way = self.posture.facing
        return self.act, self.part, self.side, way, self.back is not None

    @property
    def keys(self) -> tuple[ActKey, ...]:
        """Return the keys that match this clause: its act, and its act with its part."""
        if self.event is None:
            return (self.act,)
        return self.act, (self.event.kind, self.event.part)


def timeline(description: MotionDescription, max_clauses: int = 8) -> list[Clause]:
    """Return the most important clauses of a motion, in order of time.

    Args:
        description: description of the motion.
        max_clauses: largest number of clauses. Repetitions are merged before they are counted.
    """
    clauses = [c for e in description.events if (c := _event_clause(e, description))]
    clauses += [c for p in description.postures if (c := _posture_clause(p, description))]
    clauses += _poses(description)
    clauses = _split_walks(clauses, description)
    clauses = _pair(clauses)
    clauses = _merge(clauses)
    clauses = _joined_flights(_drop_shadowed(clauses))
    clauses = [replace(c, weight=_salience(c, description)) for c in clauses]
    clauses = sorted(clauses, key=lambda c: (c.start_s, c.end_s))
    clauses = _fill_pauses(clauses, description)
    if len(clauses) > max_clauses:
        kept = sorted(clauses, key=lambda c: c.weight, reverse=True)[:max_clauses]
        clauses = [c for c in clauses if c in kept]
    return clauses or [_fallback(description)]


# --------------------------------------------------------------------------------- one event

_KINDS: Final[Mapping[ActKey, ActivityKind]] = {
    EventKind.WALK: ActivityKind.WALK,
    EventKind.RUN: ActivityKind.RUN,
    EventKind.TURN: ActivityKind.TURN,
    EventKind.SKIP: ActivityKind.SKIP,
    EventKind.CRAWL: ActivityKind.CRAWL,
    EventKind.CLIMB: ActivityKind.CLIMB,
    EventKind.RIDE: ActivityKind.RIDE,
    EventKind.STEP: ActivityKind.STEP,
    EventKind.JUMPING_JACK: ActivityKind.JUMPING_JACK,
    EventKind.JUMP_DOWN: ActivityKind.JUMP_DOWN,
    EventKind.LAND: ActivityKind.LAND,
    EventKind.SOMERSAULT: ActivityKind.SOMERSAULT,
    EventKind.CATCH: ActivityKind.CATCH,
    EventKind.SERVE: ActivityKind.SERVE,
    EventKind.REACH: ActivityKind.REACH,
    EventKind.PICK_UP: ActivityKind.PICK_UP,
    EventKind.PUT_DOWN: ActivityKind.PUT_DOWN,
    EventKind.DRIBBLE: ActivityKind.DRIBBLE,
    EventKind.JUGGLE: ActivityKind.JUGGLE,
    EventKind.HOLD: ActivityKind.HOLD,
    EventKind.DRINK: ActivityKind.DRINK,
    EventKind.READ: ActivityKind.READ,
    EventKind.PLAY: ActivityKind.PLAY,
    EventKind.APPROACH: ActivityKind.APPROACH,
    EventKind.PART: ActivityKind.PART,
    EventKind.FACE: ActivityKind.FACE,
    EventKind.HAND_OVER: ActivityKind.HAND_OVER,
    EventKind.HUG: ActivityKind.HUG,
    EventKind.SHAKE_HANDS: ActivityKind.SHAKE_HANDS,
    EventKind.PUSH: ActivityKind.PUSH,
    EventKind.WALK_TOGETHER: ActivityKind.WALK_TOGETHER,
    EventKind.JUMP: ActivityKind.JUMP,
    EventKind.HOP: ActivityKind.HOP,
    EventKind.PRESS: ActivityKind.PUSH_UP,
    EventKind.UNPRESS: ActivityKind.PUSH_UP,
    EventKind.WAVE: ActivityKind.WAVE,
    EventKind.SWING: ActivityKind.SWING,
    EventKind.PUNCH: ActivityKind.PUNCH,
    EventKind.THROW: ActivityKind.THROW,
    EventKind.CIRCLE: ActivityKind.CIRCLE,
    EventKind.CLAP: ActivityKind.CLAP,
    EventKind.GESTURE: ActivityKind.GESTURE,
    EventKind.EXTEND: ActivityKind.REACH,
    EventKind.KICK: ActivityKind.KICK,
    EventKind.STRAIGHTEN: ActivityKind.LOWER,
    EventKind.LEAN: ActivityKind.LEAN,
    EventKind.TWIST: ActivityKind.TWIST,
    EventKind.LOWER: ActivityKind.LOWER,
    RAISE_ARM: ActivityKind.RAISE,
    RAISE_LEG: ActivityKind.RAISE_LEG,
    RAISE_KNEE: ActivityKind.RAISE_LEG,
    RAISE_HEAD: ActivityKind.LOWER,
    BEND_ARM: ActivityKind.BEND_ARM,
    BEND_TORSO: ActivityKind.BEND,
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
}
"""Activity whose weight an act has."""


_ARM_LIFTS: Final = (RAISE_ARM, LOWER_ARM)
_WALKS: Final = (EventKind.WALK, EventKind.RUN)
_UNCOUNTED: Final = (EventKind.JUGGLE, EventKind.DRIBBLE)
"""Series of which some touches are missed."""


def _weight(act: Act, part: Part | None = None) -> float:
    if isinstance(act, EventKind) and act not in _KINDS and part is not None:
        return WEIGHTS[_KINDS[act, part]]
    return WEIGHTS[_KINDS[act]]


def _event_clause(event: MotionEvent, description: MotionDescription) -> Clause | None:
    """Return the clause of one event, or None if another clause covers it."""
    if event.kind in (EventKind.SINK, EventKind.RISE):
        return _level_clause(event, description)
    if event.kind is EventKind.HOLD and not event.object and event.duration_s < MIN_HOLD_S:
        return None  # Every raised hand stays up for a moment.
    clause = Clause(
        act=event.kind,
        start_s=event.start_s,
        end_s=event.end_s,
        weight=min(_weight(event.kind, event.part) + (OBJECT_BONUS if event.object else 0.0), 0.98),
        evidence=((event,),),
        event=event,
    )
    if event.kind in _WALKS:
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


def _posture_at(description: MotionDescription, time_s: float) -> Posture | None:
    for posture in description.postures:
        holds = posture.start_s - 0.03 <= time_s <= posture.end_s + 0.03
        if holds and posture.kind is not PostureKind.ONE_LEG:
            return posture
    return None


def _kind_at(description: MotionDescription, time_s: float) -> PostureKind:
    posture = _posture_at(description, time_s)
    return posture.kind if posture else PostureKind.UNKNOWN


_SINKS: Final[Mapping[PostureKind, BodyAct]] = {
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
        weight=_weight(act),
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
    return _SINKS.get(after, BodyAct.BEND_KNEES)


def _rise(before: PostureKind, after: PostureKind) -> BodyAct | None:
    if before in _LOW and after in (PostureKind.STANDING, PostureKind.BENDING):
        return BodyAct.STAND_UP
    if before is PostureKind.LYING and after in _LOW:
        return BodyAct.GET_UP
    if after is not PostureKind.STANDING:
        return None
    stance = before in (PostureKind.WIDE_STANCE, PostureKind.LUNGE)
    return BodyAct.LEAVE_STANCE if stance else BodyAct.STRAIGHTEN_LEGS


def _posture_clause(posture: Posture, description: MotionDescription) -> Clause | None:
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
        weight=_weight(act),
        evidence=((posture,),),
        posture=posture,
    )


def _poses(description: MotionDescription) -> list[Clause]:
    """Return the clause of an exercise of several poses, if the motion is one."""
    held = poses_of(description.postures)
    if not held:
        return []
    return [
        Clause(
            act=BodyAct.POSES,
            start_s=held[0].start_s,
            end_s=max(p.end_s for p in description.postures if p.kind in {h.kind for h in held}),
            weight=_weight(BodyAct.POSES),
            evidence=(tuple(held),),
        )
    ]


# --------------------------------------------------------------------------------- the timeline


def _joined_flights(clauses: Sequence[Clause]) -> list[Clause]:
    """Join a jump down and the somersault in it into one clause."""
    result = list(clauses)
    for jump in [c for c in clauses if c.act is EventKind.JUMP_DOWN]:
        for over in [c for c in result if c.act is EventKind.SOMERSAULT]:
            shared_s = min(jump.end_s, over.end_s) - max(jump.start_s, over.start_s)
            if shared_s >= 0.5 * min(jump.end_s - jump.start_s, over.end_s - over.start_s):
                result.remove(over)
                result[result.index(jump)] = replace(
                    jump,
                    along=over.event,
                    weight=max(jump.weight, over.weight),
                    evidence=((*jump.evidence[0], *over.evidence[0]),),
                )
                break
    return result


def _salience(clause: Clause, description: MotionDescription) -> float:
    """Return the importance of a clause, 0..1: how rare the act is, and how far and long it goes.

    What moves most, longest and highest is the main event of a motion, not what comes first.
    """
    grown = clause.weight * (1.0 - EXTENT_SHARE + EXTENT_SHARE * _extent(clause, description))
    return min(grown + REPEAT_BONUS * min(clause.count - 1, 4), 0.99)


def _extent(clause: Clause, description: MotionDescription) -> float:
    """Return the extent of a clause relative to a full movement of its kind, 0..1."""
    share = (clause.end_s - clause.start_s) / max(description.end_s - description.start_s, 0.05)
    event = clause.event
    if event is None:
        lasts = clause.act in _POSTURES and clause.act not in (
            BodyAct.CARTWHEEL,
            PostureKind.UPSIDE_DOWN,
        )
        return min(share * 1.5, 1.0) if lasts else 1.0
    full = next((_FULL[key] for key in clause.keys if key in _FULL), None)
    if full is None:
        return 1.0
    way = event.relative
    if clause.act in _WALKS:
        way = description.traveled_m(clause.start_s, clause.end_s) / description.size.leg_m
    return min(max(way / full, share if clause.act in _WALKS else 0.0), 1.0)


def _split_walks(clauses: Sequence[Clause], description: MotionDescription) -> list[Clause]:
    """Split walks at their turns into parts: walk, turn, walk on."""
    turns = [c for c in clauses if c.act is EventKind.TURN]
    result: list[Clause] = [c for c in clauses if c not in turns]
    loose = list(turns)
    for walk in [c for c in clauses if c.act in _WALKS]:
        within = [
            t
            for t in turns
            if min(t.end_s, walk.end_s) - max(t.start_s, walk.start_s) > 0.5 * (t.end_s - t.start_s)
        ]
        if not within:
            continue
        result.remove(walk)
        loose = [t for t in loose if t not in within]
        clock = walk.start_s
        goes_on = False
        for turn in within:
            if turn.start_s - clock >= MIN_LEG_S:
                result.append(_leg_of(walk, clock, turn.start_s, description, goes_on=goes_on))
                goes_on = True
            weight = max(turn.weight, walk.weight - 0.01)
            during = EventKind.RUN if walk.act is EventKind.RUN else EventKind.WALK
            result.append(replace(turn, during=during, weight=weight))
            clock = turn.end_s
        if walk.end_s - clock >= MIN_LEG_S:
            result.append(_leg_of(walk, clock, walk.end_s, description, goes_on=goes_on))
    return result + loose


def _leg_of(
    walk: Clause, start_s: float, end_s: float, description: MotionDescription, *, goes_on: bool
) -> Clause:
    """Return a part of a walk with its own evidence."""
    way = Way(description.traveled_m(start_s, end_s), end_s - start_s)
    return replace(
        walk,
        start_s=start_s,
        end_s=end_s,
        evidence=((way,),),
        num_steps=0,
        goes_on=goes_on,
        manner=None if goes_on else walk.manner,
    )


_BACK: Final[Mapping[ActKey, tuple[ActKey, float]]] = {
    RAISE_ARM: (LOWER_ARM, 1.2),
    RAISE_LEG: (LOWER_LEG, 1.2),
    RAISE_KNEE: (LOWER_KNEE, 1.2),
    RAISE_HEAD: (LOWER_HEAD, 0.8),
    LOWER_HEAD: (RAISE_HEAD, 0.8),
    BEND_TORSO: (EventKind.STRAIGHTEN, 0.8),
    EventKind.LEAN: (EventKind.STRAIGHTEN, 0.8),
    EventKind.PRESS: (EventKind.UNPRESS, 1.0),
    BodyAct.SQUAT_DOWN: (BodyAct.STAND_UP, 1.0),
    BodyAct.SIT_DOWN: (PostureKind.SITTING, 0.5),
    BodyAct.KNEEL_DOWN: (PostureKind.KNEELING, 0.5),
    BodyAct.SINK_INTO_STANCE: (PostureKind.WIDE_STANCE, 0.5),
    BodyAct.LUNGE: (PostureKind.LUNGE, 0.5),
    BodyAct.LIE_DOWN: (PostureKind.LYING, 0.5),
}
"""An act, the act that reverses or holds it, and the longest pause between the two, seconds."""


def _pair(clauses: Sequence[Clause]) -> list[Clause]:
    """Merge clauses with those that directly reverse them, such as raising and lowering an arm."""
    ordered = sorted(clauses, key=lambda c: c.start_s)
    used: set[int] = set()
    result: list[Clause] = []
    for index, first in enumerate(ordered):
        if index in used:
            continue
        partner = _partner(first, ordered, range(index + 1, len(ordered)), used)
        if partner is None:
            result.append(first)
            continue
        used.add(partner)
        other = ordered[partner]
        result.append(
            replace(
                first,
                back=other,
                end_s=max(first.end_s, other.end_s),
                evidence=((*first.evidence[0], *other.evidence[0]),),
            )
        )
    return result


def _partner(first: Clause, ordered: Sequence[Clause], later: range, used: set[int]) -> int | None:
    """Return the index of the clause that reverses the first one, or None."""
    found = next((_BACK[key] for key in first.keys if key in _BACK), None)
    if found is None:
        return None
    back, longest_s = found
    return next(
        (
            index
            for index in later
            if index not in used
            and back in ordered[index].keys
            and ordered[index].side is first.side
            and -0.6 <= ordered[index].start_s - first.end_s <= longest_s
        ),
        None,
    )


_FULL: Final[Mapping[ActKey, float]] = {
    EventKind.WALK: 4.0,
    EventKind.RUN: 4.0,
    EventKind.TURN: 0.5,
    EventKind.STEP: 1.0,
    RAISE_ARM: 1.5,
    LOWER_ARM: 1.5,
    RAISE_LEG: 0.7,
    RAISE_KNEE: 0.7,
    LOWER_LEG: 0.7,
    LOWER_KNEE: 0.7,
    BEND_ARM: 0.3,
    EventKind.EXTEND: 0.3,
    BEND_TORSO: 0.2,
    EventKind.LEAN: 0.12,
    EventKind.STRAIGHTEN: 0.2,
    EventKind.SWING: 1.5,
    EventKind.WAVE: 0.6,
    EventKind.KICK: 0.5,
}
"""Relative magnitude (``MotionEvent.relative``; leg lengths of a walk) of a full movement."""
_SINKING: Final = frozenset({*_SINKS.values(), BodyAct.BEND_KNEES})
_RISING: Final = frozenset(
    {BodyAct.STAND_UP, BodyAct.GET_UP, BodyAct.LEAVE_STANCE, BodyAct.STRAIGHTEN_LEGS}
)
_POSTURES: Final = frozenset({*PostureKind, BodyAct.CARTWHEEL})
_ONCE: Final = frozenset(
    {
        BodyAct.POSES,
        *_WALKS,
        EventKind.TURN,
        EventKind.STRAIGHTEN,
        EventKind.LOWER,
        *_RISING,
        *_POSTURES,
    }
)
"""Acts that are not merged with a repetition: walks, turns, postures and returns to a usual one."""


def _merge(clauses: Sequence[Clause]) -> list[Clause]:
    """Merge an action that is soon repeated into one clause with a count."""
    result: list[Clause] = []
    for clause in sorted(clauses, key=lambda c: c.start_s):
        once = clause.act in _ONCE and clause.back is None
        position = max((i for i, c in enumerate(result) if c.is_again(clause)), default=None)
        if once or position is None or clause.start_s - result[position].end_s > MAX_GAP_S:
            result.append(clause)
        else:
            result[position] = _merged(result[position], clause)
    return result


def _merged(before: Clause, again: Clause) -> Clause:
    bolder = max(before, again, key=lambda c: c.end_s - c.start_s)
    count = before.count + again.count
    span_s = max(again.end_s - before.start_s, 0.1)
    return replace(
        before,
        event=bolder.event,
        posture=bolder.posture,
        back=bolder.back,
        end_s=max(before.end_s, again.end_s),
        evidence=before.evidence + again.evidence,
        count=count,
        frequency_hz=count / span_s if before.frequency_hz > 0 else 0.0,
        weight=min(before.weight + 0.03, 0.99),
        manner=before.manner if before.manner is again.manner else None,
    )


def _drop_shadowed(clauses: Sequence[Clause]) -> list[Clause]:
    """Drop clauses that a stronger clause over the same span implies or makes unreliable."""
    kept: list[Clause] = []
    for clause in clauses:
        shadows = [
            other
            for other in clauses
            if other is not clause
            and _shadows(other, clause)
            and min(other.end_s, clause.end_s) - max(other.start_s, clause.start_s)
            >= 0.5 * max(clause.end_s - clause.start_s, 0.05)
        ]
        if not shadows:
            kept.append(clause)
    return kept


@dataclass(frozen=True, slots=True)
class _Implied:
    """Acts that another act implies.

    Attributes:
        alone: implied acts without their reversal.
        with_back: implied acts that are merged with their reversal.
    """

    alone: frozenset[ActKey]
    with_back: frozenset[ActKey] = frozenset()


_LEG_LIFTS: Final = frozenset[ActKey](
    {
        RAISE_LEG,
        RAISE_KNEE,
    }
)
_LEG_MOVES: Final = _LEG_LIFTS | {
    LOWER_LEG,
    LOWER_KNEE,
}
_NODS: Final = frozenset[ActKey]({LOWER_HEAD, RAISE_HEAD})
_LEVELS: Final = frozenset[ActKey]({*_SINKING, *_RISING})
_TILTS: Final = frozenset[ActKey]({EventKind.BEND, EventKind.STRAIGHTEN, EventKind.LEAN})
_TILTS_AND_BACK: Final = frozenset[ActKey]({EventKind.BEND, EventKind.LEAN})
_EVERYTHING: Final = frozenset[ActKey]({*EventKind, *PostureKind, *BodyAct})
_OF_A_JUMP_DOWN: Final = frozenset[ActKey](
    {EventKind.JUMP_DOWN, EventKind.LAND, EventKind.SOMERSAULT}
)
_BENDS: Final = _Implied(_LEVELS | _NODS | {PostureKind.BENDING}, frozenset({LOWER_HEAD}))

_LYING: Final = _Implied(
    _TILTS | {EventKind.TURN, EventKind.RAISE, EventKind.LOWER, PostureKind.BENDING},
    _TILTS_AND_BACK | {RAISE_ARM},
)
_IMPLIED: Final[Mapping[Act, _Implied]] = {
    BodyAct.CARTWHEEL: _Implied(
        _TILTS
        | _LEVELS
        | {
            EventKind.RAISE,
            EventKind.LOWER,
            EventKind.TURN,
            EventKind.SWING,
            EventKind.WALK,
            EventKind.EXTEND,
            EventKind.TWIST,
            EventKind.WAVE,
            PostureKind.BENDING,
            PostureKind.HANDS_AND_FEET,
        },
        _EVERYTHING,
    ),
    BodyAct.SIT_DOWN: _Implied(_TILTS, _TILTS_AND_BACK),
    BodyAct.STAND_UP: _Implied(_TILTS, _TILTS_AND_BACK),
    BodyAct.SQUAT_DOWN: _Implied(
        _TILTS | {PostureKind.BENDING, PostureKind.SQUATTING}, _TILTS_AND_BACK
    ),
    EventKind.SOMERSAULT: _Implied(_EVERYTHING - _OF_A_JUMP_DOWN, _EVERYTHING - _OF_A_JUMP_DOWN),
    EventKind.JUMP_DOWN: _Implied(
        _LEVELS
        | _LEG_MOVES
        | _POSTURES
        | _TILTS
        | {EventKind.JUMP, EventKind.WALK, EventKind.RUN, EventKind.STEP, EventKind.TURN},
        _SINKING | _LEG_LIFTS | _TILTS_AND_BACK,
    ),
    EventKind.LAND: _Implied(
        _LEVELS | _TILTS | _NODS | {PostureKind.SQUATTING, PostureKind.BENDING}, _TILTS_AND_BACK
    ),
    EventKind.JUMPING_JACK: _Implied(
        _LEVELS
        | _LEG_MOVES
        | _NODS
        | {EventKind.RAISE, EventKind.LOWER, EventKind.SWING, EventKind.WAVE, EventKind.CIRCLE}
        | {EventKind.HOLD, EventKind.STEP, EventKind.JUMP, EventKind.HOP, EventKind.WALK}
        | {PostureKind.WIDE_STANCE, PostureKind.LUNGE, EventKind.EXTEND, EventKind.BEND},
        frozenset({EventKind.RAISE, LOWER_HEAD}),
    ),
    EventKind.STEP: _Implied(frozenset({LOWER_LEG, LOWER_KNEE, EventKind.WALK})),
    EventKind.CRAWL: _Implied(_POSTURES | _TILTS | _LEVELS | {EventKind.PRESS, EventKind.UNPRESS}),
    EventKind.RIDE: _Implied(_LEG_MOVES | _POSTURES | {EventKind.WALK, EventKind.STEP}),
    EventKind.JUGGLE: _Implied(
        _LEG_MOVES | {EventKind.KICK, EventKind.STEP, PostureKind.ONE_LEG}, _LEG_LIFTS
    ),
    EventKind.DRIBBLE: _Implied(
        frozenset({EventKind.SWING, BEND_ARM, EventKind.EXTEND, LOWER_ARM})
    ),
    EventKind.HUG: _Implied(frozenset({EventKind.HOLD, EventKind.LEAN, EventKind.APPROACH})),
    EventKind.JUMP: _Implied(
        _LEVELS | _LEG_MOVES | _POSTURES | {BEND_TORSO, EventKind.STRAIGHTEN, EventKind.WALK},
        _SINKING | _LEG_LIFTS | {EventKind.BEND},
    ),
    EventKind.HOP: _Implied(_LEVELS | _LEG_MOVES | {PostureKind.ONE_LEG, EventKind.WALK}),
    EventKind.BEND: _BENDS,
    BodyAct.BEND_KNEES: _BENDS,
    EventKind.KICK: _Implied(_LEG_MOVES | {EventKind.LEAN}, _LEG_LIFTS | {EventKind.LEAN}),
    BodyAct.LIE_DOWN: _LYING,
    PostureKind.LYING: _LYING,
    PostureKind.ONE_LEG: _Implied(frozenset({LOWER_LEG, LOWER_KNEE})),
    EventKind.PRESS: _Implied(_POSTURES | _TILTS | _NODS | _LEVELS, frozenset({EventKind.BEND})),
}
"""Implied acts by the stronger act."""


def _shadows(strong: Clause, weak: Clause) -> bool:
    implied = _IMPLIED.get(strong.act)
    if implied is None:
        return False
    needless = implied.with_back if weak.back else implied.alone
    return any(key in needless for key in weak.keys)


def _fill_pauses(clauses: list[Clause], description: MotionDescription) -> list[Clause]:
    """Add clauses for standing or sitting still in long gaps between other clauses."""
    result = list(clauses)
    total_s = max(description.end_s - description.start_s, 0.05)
    for start_s, end_s in _joined_pauses(description.still, clauses):
        begin, end = start_s, end_s
        for clause in clauses:
            if clause.end_s > begin and clause.start_s <= begin:
                begin = clause.end_s
            if begin < clause.start_s < end:
                end = clause.start_s
        if end - begin >= MIN_TELL_GAP_S:
            share = (end - begin) / total_s
            weight = _weight(BodyAct.KEEP_STILL)
            result.append(
                Clause(
                    act=BodyAct.KEEP_STILL,
                    start_s=begin,
                    end_s=end,
                    weight=max(weight, 0.7 * share) if share >= LONG_PAUSE_SHARE else weight,
                    evidence=((Pause(end - begin),),),
                    posture=_posture_at(description, (begin + end) / 2),
                )
            )
    return sorted(result, key=lambda c: (c.start_s, c.end_s))


def _joined_pauses(
    still: Sequence[tuple[float, float]], clauses: Sequence[Clause]
) -> list[tuple[float, float]]:
    """Join pauses between which nothing is told."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in still:
        if joined and start_s - joined[-1][1] <= MAX_STIR_S:
            between = any(c.start_s < start_s and c.end_s > joined[-1][1] for c in clauses)
            if not between:
                joined[-1] = (joined[-1][0], end_s)
                continue
        joined.append((start_s, end_s))
    return joined


def _fallback(description: MotionDescription) -> Clause:
    """Return the clause of a motion without any movement that is large enough to be named."""
    longest = max(description.postures, key=lambda p: p.duration_s)
    return Clause(
        act=BodyAct.STAY,
        start_s=description.start_s,
        end_s=description.end_s,
        weight=_weight(BodyAct.STAY),
        evidence=((longest,),),
        posture=longest,
    )
