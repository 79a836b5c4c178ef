"""Activities: what a person does in a span, found from events and postures.

The activity with the highest score is the main one of a motion.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from annotators.motion.events import (
    BEND_ARM,
    BEND_TORSO,
    LOWER_ARM,
    RAISE_ARM,
    RAISE_KNEE,
    RAISE_LEG,
    Direction,
    EventKey,
    EventKind,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
)
from annotators.motion.rules.posture import STAND_SHARE
from annotators.motion.rules.sides import overlaps
from annotators.motion.signals import Signals
from data.arrays import BoolArray
from data.motion.skeleton import FPS


class ActivityKind(StrEnum):
    """Kind of an activity."""

    SOMERSAULT = "somersault"
    JUMP_DOWN = "jump_down"
    JUMPING_JACK = "jumping_jack"
    CARTWHEEL = "cartwheel"
    PUSH_UP = "push_up"
    KICK = "kick"
    THROW = "throw"
    CATCH = "catch"
    SERVE = "serve"
    DRIBBLE = "dribble"
    JUGGLE = "juggle"
    RIDE = "ride"
    CLIMB = "climb"
    CRAWL = "crawl"
    SKIP = "skip"
    PICK_UP = "pick_up"
    PUT_DOWN = "put_down"
    HUG = "hug"
    HAND_OVER = "hand_over"
    SHAKE_HANDS = "shake_hands"
    PUSH = "push"
    APPROACH = "approach"
    PART = "part"
    FACE = "face"
    WALK_TOGETHER = "walk_together"
    LAND = "land"
    STEP = "step"
    HOLD = "hold"
    DRINK = "drink"
    READ = "read"
    PLAY = "play"
    PUNCH = "punch"
    CLAP = "clap"
    GESTURE = "gesture"
    JUMP = "jump"
    HOP = "hop"
    UPSIDE_DOWN = "upside_down"
    DANCE = "dance"
    WAVE = "wave"
    CIRCLE = "circle"
    RUN = "run"
    WALK = "walk"
    SIT_DOWN = "sit_down"
    STAND_UP = "stand_up"
    KNEEL_DOWN = "kneel_down"
    LIE_DOWN = "lie_down"
    GET_UP = "get_up"
    SQUAT = "squat"
    BEND = "bend"
    RAISE_LEG = "raise_leg"
    BALANCE = "balance"
    RAISE = "raise"
    SWING = "swing"
    TURN = "turn"
    LEAN = "lean"
    TWIST = "twist"
    LOWER = "lower"
    REACH = "reach"
    BEND_ARM = "bend_arm"
    LIE = "lie"
    PLANK = "plank"
    SIT = "sit"
    KNEEL = "kneel"
    CROUCH = "crouch"
    WIDE_STANCE = "wide_stance"
    LUNGE = "lunge"
    SIDE_PLANK = "side_plank"
    STRETCH = "stretch"
    STAND = "stand"
    STILL = "still"


WEIGHTS: Final[Mapping[ActivityKind, float]] = {
    ActivityKind.SOMERSAULT: 0.99,
    ActivityKind.JUMP_DOWN: 0.97,
    ActivityKind.JUMPING_JACK: 0.95,
    ActivityKind.CARTWHEEL: 0.99,
    ActivityKind.PUSH_UP: 0.95,
    ActivityKind.KICK: 0.90,
    ActivityKind.THROW: 0.84,
    ActivityKind.CATCH: 0.82,
    ActivityKind.SERVE: 0.93,
    ActivityKind.DRIBBLE: 0.92,
    ActivityKind.JUGGLE: 0.94,
    ActivityKind.RIDE: 0.92,
    ActivityKind.CLIMB: 0.90,
    ActivityKind.CRAWL: 0.86,
    ActivityKind.SKIP: 0.86,
    ActivityKind.PICK_UP: 0.78,
    ActivityKind.PUT_DOWN: 0.76,
    ActivityKind.HUG: 0.90,
    ActivityKind.HAND_OVER: 0.86,
    ActivityKind.SHAKE_HANDS: 0.88,
    ActivityKind.PUSH: 0.80,
    ActivityKind.APPROACH: 0.30,
    ActivityKind.PART: 0.30,
    ActivityKind.FACE: 0.20,
    ActivityKind.WALK_TOGETHER: 0.76,
    ActivityKind.LAND: 0.66,
    ActivityKind.STEP: 0.50,
    ActivityKind.HOLD: 0.40,
    ActivityKind.DRINK: 0.88,
    ActivityKind.READ: 0.84,
    ActivityKind.PLAY: 0.80,
    ActivityKind.PUNCH: 0.86,
    ActivityKind.CLAP: 0.84,
    ActivityKind.GESTURE: 0.78,
    ActivityKind.JUMP: 0.88,
    ActivityKind.HOP: 0.88,
    ActivityKind.UPSIDE_DOWN: 0.85,
    ActivityKind.DANCE: 0.92,
    ActivityKind.WAVE: 0.80,
    ActivityKind.CIRCLE: 0.78,
    ActivityKind.RUN: 0.80,
    ActivityKind.WALK: 0.75,
    ActivityKind.SIT_DOWN: 0.70,
    ActivityKind.STAND_UP: 0.70,
    ActivityKind.KNEEL_DOWN: 0.70,
    ActivityKind.LIE_DOWN: 0.70,
    ActivityKind.GET_UP: 0.70,
    ActivityKind.SQUAT: 0.70,
    ActivityKind.BEND: 0.62,
    ActivityKind.RAISE_LEG: 0.55,
    ActivityKind.BALANCE: 0.75,
    ActivityKind.RAISE: 0.60,
    ActivityKind.SWING: 0.58,
    ActivityKind.TURN: 0.55,
    ActivityKind.LEAN: 0.45,
    ActivityKind.TWIST: 0.45,
    ActivityKind.LOWER: 0.40,
    ActivityKind.REACH: 0.40,
    ActivityKind.BEND_ARM: 0.30,
    ActivityKind.LIE: 0.38,
    ActivityKind.PLANK: 0.38,
    ActivityKind.SIT: 0.36,
    ActivityKind.KNEEL: 0.38,
    ActivityKind.CROUCH: 0.38,
    ActivityKind.WIDE_STANCE: 0.45,
    ActivityKind.LUNGE: 0.66,
    ActivityKind.SIDE_PLANK: 0.62,
    ActivityKind.STRETCH: 0.93,
    ActivityKind.STAND: 0.20,
    ActivityKind.STILL: 0.10,
}
"""Weight of each activity in the choice of the main one. Rarer activities have larger weights, so
that a clip with a kick is about the kick and not about the steps before it."""
LASTING: Final = frozenset(
    {
        ActivityKind.WALK,
        ActivityKind.RUN,
        ActivityKind.BALANCE,
        ActivityKind.STAND,
        ActivityKind.STILL,
        ActivityKind.SIT,
        ActivityKind.LIE,
        ActivityKind.KNEEL,
        ActivityKind.READ,
        ActivityKind.PLAY,
    }
)
"""Activities whose score is scaled by their share of the time."""

DANCE_SIGNS: Final = 3
"""Number of kinds of dance-like movement (see :func:`_dance_signs`) in a dance."""
RICH_SIGNS: Final = 5
"""Number of kinds of movement (see :func:`_rich_signs`) that occur together only in a dance."""
MIN_POSES: Final = 3
MIN_POSE_S: Final = 0.4
MAX_DANCE_LEAPS: Final = 3
"""Many jumps are an exercise or a game."""


@dataclass(frozen=True, slots=True)
class Activity:
    """An activity of the person over a span.

    Attributes:
        kind: kind of the activity.
        label: kind with side and direction, e.g. ``walk_turn_left`` or ``raise_both_arms``.
        start_s, end_s: span, seconds.
        score: importance for the motion, 0..1.
        events: events that the activity consists of.
        postures: postures that the activity consists of.
    """

    kind: ActivityKind
    label: str
    start_s: float
    end_s: float
    score: float
    events: tuple[MotionEvent, ...] = ()
    postures: tuple[Posture, ...] = ()


_WALKS: Final = (EventKind.WALK, EventKind.RUN)
_LEAPS: Final = (EventKind.JUMP, EventKind.HOP)


class AddActivity(Protocol):
    """Function that adds an activity of a kind (key of :data:`WEIGHTS`) and its sources."""

    def __call__(
        self, kind: ActivityKind, *sources: MotionEvent | Posture, label: str = ""
    ) -> None:
        """Add an activity. The default label is its kind."""
        ...


def _score(kind: ActivityKind, start_s: float, end_s: float, total_s: float) -> float:
    weight = WEIGHTS[kind]
    if kind not in LASTING:
        return weight
    share = min((end_s - start_s) / max(total_s, 1 / FPS), 1.0)
    return weight * (0.6 + 0.4 * share)


def find_activities(
    signals: Signals,
    events: Sequence[MotionEvent],
    held: Sequence[Posture],
    balances: Sequence[Posture],
    stands_T: BoolArray,
) -> list[Activity]:
    """Return at least one activity, in order of time.

    Args:
        signals: signals of the motion.
        events: events of the motion.
        held: postures of the whole motion.
        balances: spans on one leg.
        stands_T: (T,) whether both feet are measured and stay where they are.
    """
    total_s = float(signals.time_T[-1] - signals.time_T[0])
    found: list[Activity] = []

    def add(kind: ActivityKind, *sources: MotionEvent | Posture, label: str = "") -> None:
        start_s = min(s.start_s for s in sources)
        end_s = max(s.end_s for s in sources)
        found.append(
            Activity(
                kind=kind,
                label=label or kind.value,
                start_s=start_s,
                end_s=end_s,
                score=_score(kind, start_s, end_s, total_s),
                events=tuple(s for s in sources if isinstance(s, MotionEvent)),
                postures=tuple(s for s in sources if isinstance(s, Posture)),
            )
        )

    turned = [e for e in events if e.kind is EventKind.TURN]
    walks = [e for e in events if e.kind in _WALKS]
    for event in walks:
        within = [t for t in turned if overlaps(t, [event])]
        kind = ActivityKind.RUN if event.kind is EventKind.RUN else ActivityKind.WALK
        add(kind, event, *within, label=_walk_label(event, within))
    for event in turned:
        if not overlaps(event, walks):
            add(ActivityKind.TURN, event, label=f"turn_{event.direction}")

    found += activities_of(events, total_s)
    for posture in balances:
        add(ActivityKind.BALANCE, posture)
    _posture_activities(events, held, add)

    poses = poses_of(held)
    if poses:
        add(ActivityKind.STRETCH, *poses)
    signs = _dance_signs(events)
    rich = _rich_signs(events, [*held, *balances]) if signals.exact else []
    if len(signs) >= DANCE_SIGNS:
        add(ActivityKind.DANCE, *signs)
    elif rich:
        add(ActivityKind.DANCE, *rich)
    if not found or all(a.score <= WEIGHTS[ActivityKind.LOWER] for a in found):
        still = max(held, key=lambda p: p.duration_s)
        stands = signals.exact or stands_T.mean() >= STAND_SHARE
        if still.kind is PostureKind.STANDING and stands:
            add(ActivityKind.STAND, still)
        elif still.kind in (PostureKind.STANDING, PostureKind.UNKNOWN) or not found:
            add(ActivityKind.STILL, still)
    return sorted(found, key=lambda a: (a.start_s, a.end_s))


def main_activity(activities: Sequence[Activity]) -> Activity:
    """Return the activity with the highest score; of equal ones the longest."""
    return max(activities, key=lambda a: (a.score, a.end_s - a.start_s))


def activities_of(events: Sequence[MotionEvent], total_s: float) -> list[Activity]:
    """Return the activity of each event that is one by itself.

    Args:
        events: events of one person.
        total_s: duration of the motion, seconds.
    """
    return [
        Activity(
            kind=kind,
            label=_label(kind, event),
            start_s=event.start_s,
            end_s=event.end_s,
            score=_score(kind, event.start_s, event.end_s, total_s),
            events=(event,),
        )
        for event in events
        if (kind := _activity_of(event)) is not None
    ]


EVENT_ACTIVITIES: Final[Mapping[EventKey, ActivityKind]] = {
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
    EventKind.SOMERSAULT: ActivityKind.SOMERSAULT,
    EventKind.JUMP_DOWN: ActivityKind.JUMP_DOWN,
    EventKind.JUMPING_JACK: ActivityKind.JUMPING_JACK,
    EventKind.CATCH: ActivityKind.CATCH,
    EventKind.SERVE: ActivityKind.SERVE,
    EventKind.DRIBBLE: ActivityKind.DRIBBLE,
    EventKind.JUGGLE: ActivityKind.JUGGLE,
    EventKind.RIDE: ActivityKind.RIDE,
    EventKind.CLIMB: ActivityKind.CLIMB,
    EventKind.CRAWL: ActivityKind.CRAWL,
    EventKind.SKIP: ActivityKind.SKIP,
    EventKind.PICK_UP: ActivityKind.PICK_UP,
    EventKind.PUT_DOWN: ActivityKind.PUT_DOWN,
    EventKind.REACH: ActivityKind.REACH,
    EventKind.STEP: ActivityKind.STEP,
    EventKind.JUMP: ActivityKind.JUMP,
    EventKind.HOP: ActivityKind.HOP,
    EventKind.KICK: ActivityKind.KICK,
    EventKind.CLAP: ActivityKind.CLAP,
    EventKind.GESTURE: ActivityKind.GESTURE,
    EventKind.PUNCH: ActivityKind.PUNCH,
    EventKind.THROW: ActivityKind.THROW,
    EventKind.PRESS: ActivityKind.PUSH_UP,
    EventKind.EXTEND: ActivityKind.REACH,
    EventKind.LEAN: ActivityKind.LEAN,
    EventKind.TWIST: ActivityKind.TWIST,
    EventKind.WAVE: ActivityKind.WAVE,
    EventKind.CIRCLE: ActivityKind.CIRCLE,
    EventKind.SWING: ActivityKind.SWING,
    BEND_ARM: ActivityKind.BEND_ARM,
    BEND_TORSO: ActivityKind.BEND,
    RAISE_ARM: ActivityKind.RAISE,
    LOWER_ARM: ActivityKind.LOWER,
    RAISE_LEG: ActivityKind.RAISE_LEG,
    RAISE_KNEE: ActivityKind.RAISE_LEG,
}
"""Activity of each kind of event. Other events are not activities."""
_OF_THE_ARMS: Final = frozenset(
    {
        ActivityKind.WAVE,
        ActivityKind.RAISE,
        ActivityKind.LOWER,
        ActivityKind.CIRCLE,
        ActivityKind.SWING,
    }
)
"""Activities whose labels contain the side of the arm."""


def _activity_of(event: MotionEvent) -> ActivityKind | None:
    return EVENT_ACTIVITIES.get(event.kind) or EVENT_ACTIVITIES.get((event.kind, event.part))


def _label(kind: ActivityKind, event: MotionEvent) -> str:
    if kind in _OF_THE_ARMS:
        return f"{kind}_both_arms" if event.side is Side.BOTH else f"{kind}_{event.side}_arm"
    if kind is ActivityKind.RAISE_LEG:
        return f"raise_{event.side}_leg"
    return f"lean_{event.direction}" if kind is ActivityKind.LEAN else kind.value


def _walk_label(event: MotionEvent, within: Sequence[MotionEvent]) -> str:
    turn_deg = sum(t.magnitude * (1 if t.direction is Direction.LEFT else -1) for t in within)
    if event.direction not in (Direction.FORWARD, None):
        return f"{event.kind}_{event.direction}"
    if abs(turn_deg) >= 45.0:
        return f"{event.kind}_turn_{'left' if turn_deg > 0 else 'right'}"
    return event.kind.value


def _dance_signs(
    events: Sequence[MotionEvent],
) -> list[MotionEvent]:
    """Return one event for each kind of movement that occurs in dances.

    Walks, sports and chores rarely combine several of these kinds.
    """
    high_legs = [
        e for e in events if e.part is Part.LEG and e.relative > 0.45 and e.duration_s < 2.0
    ]
    spins = [e for e in events if e.kind is EventKind.TURN and e.magnitude >= 170]
    leaps = [e for e in events if e.kind in _LEAPS]
    arms = [e for e in events if e.is_one_of(_ARM_RAISES) and e.side is Side.BOTH]
    bends = [e for e in events if e.is_one_of(_TRUNK_TILTS)]
    # Many jumps are an exercise or a game.
    central = [kind[0] for kind in (high_legs, spins, leaps[:1] if len(leaps) <= 3 else []) if kind]
    if len(central) < 2 and not any(e.magnitude >= 300 for e in spins):
        return []
    return [*central, *(kind[0] for kind in (arms, bends) if kind)]


def _rich_signs(
    events: Sequence[MotionEvent], postures: Sequence[Posture]
) -> list[MotionEvent | Posture]:
    """Return one movement of each kind if they are as various as only in a dance.

    Of estimated poses, whose errors look like a rich movement, this is not asked.
    """
    if any(e.kind is EventKind.SOMERSAULT for e in events):
        return []
    leaps = [e for e in events if e.kind in _LEAPS]
    turns = [e for e in events if e.kind is EventKind.TURN and e.magnitude >= 120.0]
    arms = [e for e in events if e.is_one_of(_ARM_RAISES) and e.relative > 0.8]
    kinds: list[Sequence[MotionEvent | Posture]] = [
        [e for e in events if e.kind in _LEG_LIFTS and e.part in _OF_LEGS and e.relative > 0.45],
        turns,
        leaps if len(leaps) <= MAX_DANCE_LEAPS else [],
        arms,
        [e for e in events if e.is_one_of((*_TRUNK_TILTS, EventKind.TWIST))],
        [p for p in postures if p.kind in _DANCE_POSTURES],
        [e for e in events if e.kind is EventKind.SINK],
    ]
    found = [kind[0] for kind in kinds if kind]
    if len(leaps) > MAX_DANCE_LEAPS:
        return []
    enough = len(found) >= RICH_SIGNS or (len(found) >= RICH_SIGNS - 1 and turns and arms)
    return found if enough else []


_LEG_LIFTS: Final = (EventKind.RAISE, EventKind.KICK)
_OF_LEGS: Final = (Part.LEG, Part.KNEE)
_DANCE_POSTURES: Final = (PostureKind.ONE_LEG, PostureKind.LUNGE, PostureKind.WIDE_STANCE)
_ARM_RAISES: Final = (RAISE_ARM,)
_TRUNK_TILTS: Final = (BEND_TORSO, (EventKind.LEAN, Part.TORSO))
_GOES_DOWN: Final[Mapping[PostureKind, ActivityKind]] = {
    PostureKind.SITTING: ActivityKind.SIT_DOWN,
    PostureKind.SQUATTING: ActivityKind.SQUAT,
    PostureKind.KNEELING: ActivityKind.KNEEL_DOWN,
    PostureKind.LYING: ActivityKind.LIE_DOWN,
}
_COMES_UP: Final[Mapping[PostureKind, ActivityKind]] = {
    PostureKind.SITTING: ActivityKind.STAND_UP,
    PostureKind.KNEELING: ActivityKind.GET_UP,
    PostureKind.LYING: ActivityKind.GET_UP,
}
_LASTS: Final[Mapping[PostureKind, ActivityKind]] = {
    PostureKind.SITTING: ActivityKind.SIT,
    PostureKind.SQUATTING: ActivityKind.CROUCH,
    PostureKind.KNEELING: ActivityKind.KNEEL,
    PostureKind.LYING: ActivityKind.LIE,
    PostureKind.PLANK: ActivityKind.PLANK,
    PostureKind.WIDE_STANCE: ActivityKind.WIDE_STANCE,
    PostureKind.LUNGE: ActivityKind.LUNGE,
    PostureKind.SIDE_PLANK: ActivityKind.SIDE_PLANK,
    PostureKind.ALL_FOURS: ActivityKind.KNEEL,
}
"""Activities of taking, leaving and holding each posture."""


def _posture_activities(
    events: Sequence[MotionEvent],
    held: Sequence[Posture],
    add: AddActivity,
) -> None:
    """Add activities for changes of posture and for held postures."""
    upright = (PostureKind.STANDING, PostureKind.BENDING)
    for before, after in itertools.pairwise(held):
        if before.kind in upright and after.kind in _GOES_DOWN:
            moves = _near(events, EventKind.SINK, after.start_s)
            add(_GOES_DOWN[after.kind], *(moves or [after]))
        if before.kind in _COMES_UP and after.kind in (*upright, PostureKind.SQUATTING):
            moves = _near(events, EventKind.RISE, after.start_s)
            add(_COMES_UP[before.kind], *(moves or [after]))
    for posture in held:
        if posture.kind in _LASTS and posture.duration_s >= 0.8:
            add(_LASTS[posture.kind], posture)
        if posture.kind is PostureKind.UPSIDE_DOWN:
            cartwheel = is_cartwheel(posture, held)
            add(ActivityKind.CARTWHEEL if cartwheel else ActivityKind.UPSIDE_DOWN, posture)


def poses_of(held: Sequence[Posture]) -> list[Posture]:
    """Return one posture of each kind of an exercise that goes from one held pose to the next.

    It has at least three kinds of poses, two of them on the hands, as in yoga.

    Args:
        held: postures of a motion in order of time.

    Returns:
        The first posture of each kind, in order of time; empty if there are fewer.
    """
    found: dict[PostureKind, Posture] = {}
    for posture in held:
        if posture.kind in _POSES and posture.duration_s >= MIN_POSE_S:
            found.setdefault(posture.kind, posture)
    on_hands = [kind for kind in found if kind in _POSES_ON_HANDS]
    enough = len(found) >= MIN_POSES and len(on_hands) >= MIN_POSES - 1
    return list(found.values()) if enough else []


_POSES_ON_HANDS: Final = (
    PostureKind.PLANK,
    PostureKind.SIDE_PLANK,
    PostureKind.HANDS_AND_FEET,
    PostureKind.ALL_FOURS,
)
_POSES: Final = (*_POSES_ON_HANDS, PostureKind.LUNGE, PostureKind.WIDE_STANCE)


def is_cartwheel(posture: Posture, held: Sequence[Posture]) -> bool:
    """Return whether an upside-down posture is a cartwheel.

    It is one if it is short and the person stands before or after it.
    """
    stands = any(p.kind is PostureKind.STANDING for p in held)
    return posture.kind is PostureKind.UPSIDE_DOWN and stands and posture.duration_s < 2.0


def _near(events: Sequence[MotionEvent], kind: EventKind, time_s: float) -> list[MotionEvent]:
    return [e for e in events if e.kind is kind and e.start_s - 0.6 <= time_s <= e.end_s + 0.6]
