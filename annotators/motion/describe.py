"""Describe a motion of 22 joints by its postures, path, events and activities.

Only what is measured is described. A joint that is not visible is not measured, and a part with
such joints has no events. For example, the legs in an upper-body shot are guesses of the pose
model.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np

from annotators.motion.body import (
    Path,
    jumps,
    level_changes,
    locomotion,
    one_leg_balances,
    path_of,
    postures,
    presses,
    still_spans,
    travel,
    turns,
)
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
from annotators.motion.limbs import (
    circles,
    claps,
    elbow_bends,
    head_moves,
    kicks,
    leg_raises,
    mask_of,
    pair_sides,
    raises,
    strokes,
    thrusts,
    torso_moves,
    waves,
)
from annotators.motion.signals import BodySize, Signals, Span, foot_odometry, prepare
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS
from data.records import PoseTrack

KINEMATICS_VERSION: Final = "1"
"""Version of the rules. It is increased whenever a rule changes the description of a motion."""


class ActivityKind(StrEnum):
    """Kind of an activity."""

    CARTWHEEL = "cartwheel"
    PUSH_UP = "push_up"
    KICK = "kick"
    THROW = "throw"
    PUNCH = "punch"
    CLAP = "clap"
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
    STAND = "stand"
    STILL = "still"


WEIGHTS: Final[Mapping[ActivityKind, float]] = {
    ActivityKind.CARTWHEEL: 0.99,
    ActivityKind.PUSH_UP: 0.95,
    ActivityKind.KICK: 0.90,
    ActivityKind.THROW: 0.84,
    ActivityKind.PUNCH: 0.86,
    ActivityKind.CLAP: 0.84,
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
    }
)
"""Activities whose score is scaled by their share of the time."""

MIN_SHARP_HEIGHT_PX: Final = 140
"""Smallest height of a body in the image at which the wave of a hand exceeds the noise of the pose
model (about 3 % of the body)."""
DANCE_SIGNS: Final = 3
"""Number of kinds of dance-like movement (see :func:`_dance_signs`) in a dance."""


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


@dataclass(frozen=True, slots=True)
class MotionDescription:
    """The description of one motion.

    Attributes:
        start_s, end_s: times of the first and the last frame, seconds.
        parts: body parts that are measured most of the time (see ``PART_JOINTS`` of the signals).
        size: body lengths.
        path: length and turn of the whole path; undefined if the legs are not measured.
        postures: postures in order of time.
        events: events in order of time.
        time_T: (T,) times of the frames, seconds.
        travel_T: (T,) distance that the pelvis traveled up to each frame, meters.
        still: spans (start_s, end_s) in which no measured joint moves noticeably.
        activities: activities in order of time.
        main: activity with the highest score.
    """

    start_s: float
    end_s: float
    parts: frozenset[str]
    size: BodySize
    path: Path
    postures: tuple[Posture, ...]
    events: tuple[MotionEvent, ...]
    time_T: FloatArray
    travel_T: FloatArray
    still: tuple[tuple[float, float], ...]
    activities: tuple[Activity, ...]
    main: Activity

    @property
    def activity(self) -> str:
        """Label of the main activity."""
        return self.main.label

    @property
    def body_seen(self) -> bool:
        """Whether both legs and the torso are measured."""
        return {"left_leg", "right_leg", "torso"} <= self.parts

    def traveled_m(self, start_s: float, end_s: float) -> float:
        """Return the distance traveled in a span of time, meters."""
        first, last = np.interp((start_s, end_s), self.time_T, self.travel_T)
        return float(last - first)


def describe_motion(
    joints_TJ3: FloatArray,
    *,
    pts_s: FloatArray | None = None,
    valid: BoolArray | None = None,
    confidence: FloatArray | None = None,
    sharp: bool = True,
) -> MotionDescription:
    """Describe a motion.

    Args:
        joints_TJ3: world positions with the root trajectory applied, (T, 22, 3), meters, y up,
            20 fps.
        pts_s: (T,) times of the frames, seconds; by default from 0 at 20 fps.
        valid: (T,) whether a frame was measured and not filled in.
        confidence: (T, 22) confidence of each joint, 0..1. Without it the joints are treated as
            motion capture, in which smaller movements are significant.
        sharp: whether the body is large enough in the image to measure small movements.

    Returns:
        The description.

    Raises:
        ValueError: the motion is empty, has another shape, or is not finite.
    """
    signals = prepare(joints_TJ3, pts_s=pts_s, valid=valid, confidence=confidence, sharp=sharp)
    walks = locomotion(signals)
    held = postures(signals)
    leaps = jumps(signals)
    moving_T = _covered(signals, walks)
    # Movements of arms and legs in the air belong to the jump.
    airborne_T = _covered(signals, leaps)
    balances = one_leg_balances(signals, moving_T)
    events = [
        *walks,
        *leaps,
        *turns(signals),
        *level_changes(signals),
        *presses(signals, held),
        *torso_moves(signals),
        *head_moves(signals),
        *claps(signals, moving_T),
        *_arm_events(signals, moving_T),
        *_leg_events(signals, moving_T | airborne_T),
    ]
    events = pair_sides(_without_noise(events))
    activities = _activities(signals, events, held, balances)
    return MotionDescription(
        start_s=float(signals.time_T[0]),
        end_s=float(signals.time_T[-1]),
        parts=signals.mostly,
        size=signals.size,
        path=path_of(signals),
        postures=tuple(sorted([*held, *balances], key=lambda p: (p.start_s, p.end_s))),
        events=tuple(events),
        time_T=signals.time_T,
        travel_T=travel(signals),
        still=tuple((signals.start_s(s), signals.end_s(s)) for s in still_spans(signals)),
        activities=tuple(activities),
        main=max(activities, key=lambda a: (a.score, a.end_s - a.start_s)),
    )


def describe_track(
    track: PoseTrack, frame_size_px: tuple[int, int], *, camera_moves: bool
) -> MotionDescription:
    """Describe the motion of a person in a clip.

    Args:
        track: pose track of the person.
        frame_size_px: (width, height) of the video. Joints outside of it are not measured.
        camera_moves: whether the camera moves. If so, the path is estimated by foot odometry,
            because the path in the image contains the motion of the camera.

    Returns:
        The description, in the time of the video.
    """
    root_T3 = foot_odometry(track.joints_3d) if camera_moves else track.root_trajectory
    heights_T = np.ptp(track.joints_2d[:, :, 1], axis=1)
    return describe_motion(
        track.joints_3d + root_T3[:, None],
        pts_s=track.pts_s,
        valid=track.valid,
        confidence=np.where(inside_frame(track, frame_size_px), track.confidence, 0.0),
        sharp=bool(np.median(heights_T) >= MIN_SHARP_HEIGHT_PX),
    )


def inside_frame(track: PoseTrack, frame_size_px: tuple[int, int]) -> BoolArray:
    """Return whether each joint is inside the image, (T, 22)."""
    in_TJ2 = (track.joints_2d >= 0) & (track.joints_2d <= np.array(frame_size_px))
    return np.logical_and(in_TJ2[:, :, 0], in_TJ2[:, :, 1])


def _span_of(signals: Signals, start_s: float, end_s: float) -> Span:
    """Return the frames of a span of time."""
    start, end = np.searchsorted(signals.time_T, (start_s - 1e-9, end_s + 1e-9))
    return int(start), int(end)


def _covered(signals: Signals, events: Sequence[MotionEvent]) -> BoolArray:
    """Return whether each frame is inside one of the events, (T,)."""
    return mask_of(signals.num_frames, [_span_of(signals, e.start_s, e.end_s) for e in events])


def _arm_events(signals: Signals, moving_T: BoolArray) -> list[MotionEvent]:
    events: list[MotionEvent] = []
    clapping_T = _covered(signals, claps(signals, moving_T))
    for side in (Side.LEFT, Side.RIGHT):
        if f"{side}_arm" not in signals.parts:
            continue
        round_ = circles(signals, side)
        thrown = thrusts(signals, side)
        busy_T = clapping_T | _covered(signals, [*round_, *thrown])
        waving = (
            []
            if not signals.sharp
            else [w for w in waves(signals, side, moving_T) if not _inside(signals, w, busy_T)]
        )
        busy_T = busy_T | _covered(signals, waving)
        struck = strokes(signals, side, busy_T, moving_T)
        busy_T = busy_T | _covered(signals, [s for s in struck if s.kind is not EventKind.SWING])
        lifted = raises(signals, side, busy_T, moving_T)
        struck = [s for s in struck if s.kind is not EventKind.SWING or not _overlaps(s, lifted)]
        busy_T = busy_T | _covered(signals, [*lifted, *struck])
        bent = elbow_bends(signals, side, busy_T, moving_T)
        events += [*round_, *thrown, *waving, *struck, *lifted, *bent]
    return events


def _leg_events(signals: Signals, busy_T: BoolArray) -> list[MotionEvent]:
    events: list[MotionEvent] = []
    for side in (Side.LEFT, Side.RIGHT):
        kicked = kicks(signals, side)
        lifted = leg_raises(signals, side, busy_T | _covered(signals, kicked))
        events += [*kicked, *lifted]
    return events


def _inside(signals: Signals, event: MotionEvent, mask_T: BoolArray) -> bool:
    return float(mask_T[slice(*_span_of(signals, event.start_s, event.end_s))].mean()) > 0.5


def _overlaps(event: MotionEvent, others: Sequence[MotionEvent]) -> bool:
    """Return whether at least half of the event is inside one of the others."""
    return any(
        min(event.end_s, other.end_s) - max(event.start_s, other.start_s)
        >= 0.5 * max(event.duration_s, 1 / FPS)
        for other in others
    )


def _without_noise(events: list[MotionEvent]) -> list[MotionEvent]:
    """Drop events that are part of a larger event, such as the kicks of a runner."""
    return [
        event
        for event in events
        if not _overlaps(event, [e for e in events if e.kind in _PART_OF.get(event.kind, ())])
    ]


_WALKS: Final = (EventKind.WALK, EventKind.RUN)
_LEAPS: Final = (EventKind.JUMP, EventKind.HOP)
_PART_OF: Final[Mapping[EventKind, tuple[EventKind, ...]]] = {
    EventKind.KICK: (EventKind.RUN, *_LEAPS),
    EventKind.SINK: _LEAPS,
    EventKind.RISE: _LEAPS,
    EventKind.TWIST: (EventKind.TURN, *_WALKS),
    EventKind.LEAN: _WALKS,
    EventKind.STRAIGHTEN: _WALKS,
}
"""Kinds of events that may be part of others, with the kinds of those others."""


# ---------------------------------------------------------------------------------- activities


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


def _activities(
    signals: Signals,
    events: Sequence[MotionEvent],
    held: Sequence[Posture],
    balances: Sequence[Posture],
) -> list[Activity]:
    """Return at least one activity, in order of time."""
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
        within = [t for t in turned if _overlaps(t, [event])]
        kind = ActivityKind.RUN if event.kind is EventKind.RUN else ActivityKind.WALK
        add(kind, event, *within, label=_walk_label(event, within))
    for event in turned:
        if not _overlaps(event, walks):
            add(ActivityKind.TURN, event, label=f"turn_{event.direction}")

    for event in events:
        kind = _activity_of(event)
        if kind is not None:
            add(kind, event, label=_label(kind, event))
    for posture in balances:
        add(ActivityKind.BALANCE, posture)
    _posture_activities(events, held, add)

    signs = _dance_signs(events)
    if len(signs) >= DANCE_SIGNS:
        add(ActivityKind.DANCE, *signs)
    if not found or all(a.score <= WEIGHTS[ActivityKind.LOWER] for a in found):
        still = max(held, key=lambda p: p.duration_s)
        if still.kind is PostureKind.STANDING:
            add(ActivityKind.STAND, still)
        elif still.kind is PostureKind.UNKNOWN or not found:
            add(ActivityKind.STILL, still)
    return sorted(found, key=lambda a: (a.start_s, a.end_s))


_EVENT_ACTIVITIES: Final[Mapping[EventKey, ActivityKind]] = {
    EventKind.JUMP: ActivityKind.JUMP,
    EventKind.HOP: ActivityKind.HOP,
    EventKind.KICK: ActivityKind.KICK,
    EventKind.CLAP: ActivityKind.CLAP,
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
    return _EVENT_ACTIVITIES.get(event.kind) or _EVENT_ACTIVITIES.get((event.kind, event.part))


def _label(kind: ActivityKind, event: MotionEvent) -> str:
    if kind in _OF_THE_ARMS:
        return f"{kind}_both_arms" if event.side is Side.BOTH else f"{kind}_{event.side}_arm"
    if kind is ActivityKind.RAISE_LEG:
        return f"raise_{event.side}_leg"
    return f"lean_{event.direction}" if kind is ActivityKind.LEAN else kind.value


def _walk_label(event: MotionEvent, within: Sequence[MotionEvent]) -> str:
    turn_deg = sum(t.magnitude * (1 if t.direction is Direction.LEFT else -1) for t in within)
    if event.direction is not Direction.FORWARD:
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


def is_cartwheel(posture: Posture, held: Sequence[Posture]) -> bool:
    """Return whether an upside-down posture is a cartwheel.

    It is one if it is short and the person stands before or after it.
    """
    stands = any(p.kind is PostureKind.STANDING for p in held)
    return posture.kind is PostureKind.UPSIDE_DOWN and stands and posture.duration_s < 2.0


def _near(events: Sequence[MotionEvent], kind: EventKind, time_s: float) -> list[MotionEvent]:
    return [e for e in events if e.kind is kind and e.start_s - 0.6 <= time_s <= e.end_s + 0.6]
