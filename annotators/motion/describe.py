"""Describe a motion of 22 joints by its postures, path, events and activities.

Only what is measured is described. A joint that is not visible is not measured, and a part with
such joints has no events. For example, the legs in an upper-body shot are guesses of the pose
model.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.ndimage import maximum_filter1d

from annotators.motion.activities import (
    Activity,
    activities_of,
    find_activities,
    main_activity,
)
from annotators.motion.events import (
    RAISE_ARM,
    Direction,
    EventKind,
    Level,
    MotionEvent,
    Posture,
    PostureKind,
    Side,
)
from annotators.motion.gait.steps import steps
from annotators.motion.gait.strides import strides
from annotators.motion.gait.travel import (
    Path,
    climbs,
    crawls,
    locomotion,
    path_of,
    skips,
    travel,
)
from annotators.motion.gait.turns import turns
from annotators.motion.objects import with_objects
from annotators.motion.rules.arms import (
    elbow_bends,
    hand_speed,
    hand_top,
    holds,
    is_hand_seen,
    raises,
    with_both_arms,
)
from annotators.motion.rules.handling import comes_up_s, reaches_down
from annotators.motion.rules.leaps import drops, jumping_jacks, jumps, somersaults
from annotators.motion.rules.legs import kicks, leg_raises
from annotators.motion.rules.posture import (
    STAND_SHARE,
    level_changes,
    one_leg_balances,
    postures,
    presses,
    standing_feet_T,
    still_spans,
)
from annotators.motion.rules.sides import mask_of, overlaps, pair_sides
from annotators.motion.rules.strokes import circles, claps, gestures, strokes, thrusts, waves
from annotators.motion.rules.trunk import head_moves, torso_moves
from annotators.motion.signals import BodySize, Signals, prepare
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS
from data.records import ObjectSpan, PoseTrack

KINEMATICS_VERSION: Final = "5"
"""Version of the rules. It is increased whenever a rule changes the description of a motion."""


MIN_SHARP_HEIGHT_PX: Final = 140
"""Smallest height of a body in the image at which the wave of a hand exceeds the noise of the pose
model (about 3 % of the body)."""
MIN_EVENT_CONFIDENCE: Final = 0.4
"""Smallest mean confidence of the joints of an event. Gaps count as 0, so that an event of which
more than half was filled in is a guess."""
SWING_OVER_RAISE: Final = 1.5
TOSS_S: Final = 0.8
TOSS_SPEED: Final = 3.8
"""Speed of a hand that throws what it has picked up, arm lengths per second. A hand that holds it
up to look at it is slower than 2.5."""
MIN_SERVE_HEIGHT: Final = 0.3
"""Height of the striking hand above its shoulder, arm lengths."""
FOLLOW_THROUGH_S: Final = 1.5
"""A wave or applause that lasts longer is one, whatever came before."""
SERVE_S: Final = 2.0
"""Longest time from the toss of a ball to the stroke overhead."""
MIN_STAND_S: Final = 1.0
"""Shortest time after which somebody is said to stand in place."""
ON_HANDS_S: Final = 0.1
"""Longest time from a posture on the hands to a tilt of the trunk that leads out of it."""
SET_OFF_S: Final = 0.3
"""The first foot is lifted so long before an estimated path begins, and the last one is put down so
long after it."""
WIND_UP_S: Final = 0.6
"""Before a jump the knees bend and the hands swing down, which is no reach to the floor."""


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
        part_T: for each body part of ``PART_JOINTS``, (T,) whether it is measured at the frame.
        time_T: (T,) times of the frames, seconds.
        stands_T: (T,) whether both feet are measured and stay where they are.
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
    part_T: Mapping[str, BoolArray]
    time_T: FloatArray
    stands_T: BoolArray
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

    def seen(self, part: str, start_s: float, end_s: float, share: float = 0.7) -> bool:
        """Return whether a body part is measured in at least ``share`` of a span of time.

        Args:
            part: a key of ``PART_JOINTS``, e.g. ``left_arm``.
            start_s: start of the span, seconds.
            end_s: end of the span; at least the nearest frame is looked at.
            share: smallest share of the frames.
        """
        return self._share(self.part_T[part], start_s, end_s) >= share

    def stands(self, start_s: float, end_s: float) -> bool:
        """Return whether somebody is seen to stand in place in a span of at least a second.

        Upright people without any movement that is named may also walk beside a camera that
        follows them, or sit on a bicycle.
        """
        long_enough = end_s - start_s >= MIN_STAND_S - 0.5 / FPS
        return long_enough and self._share(self.stands_T, start_s, end_s) >= STAND_SHARE

    def _share(self, mask_T: BoolArray, start_s: float, end_s: float) -> float:
        first, last = np.searchsorted(self.time_T, (start_s - 1e-9, end_s + 1e-9))
        first = min(int(first), len(self.time_T) - 1)
        return float(mask_T[first : max(int(last), first + 1)].mean())

    def with_events(self, more: Sequence[MotionEvent]) -> "MotionDescription":
        """Return the description with more events, such as those with other people.

        An activity of each event is added, and the main activity is chosen again.
        """
        if not more:
            return self
        events = sorted([*self.events, *more], key=lambda e: (e.start_s, e.end_s))
        total_s = self.end_s - self.start_s
        activities = [*self.activities, *activities_of(more, total_s)]
        return replace(
            self,
            events=tuple(events),
            activities=tuple(sorted(activities, key=lambda a: (a.start_s, a.end_s))),
            main=main_activity(activities),
        )

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
    objects: Sequence[ObjectSpan] = (),
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
        objects: objects near the person and of the scene.

    Returns:
        The description.

    Raises:
        ValueError: the motion is empty, has another shape, or is not finite.
    """
    signals = prepare(joints_TJ3, pts_s=pts_s, valid=valid, confidence=confidence, sharp=sharp)
    held = postures(signals)
    leaps = [*jumping_jacks(signals), *drops(signals), *somersaults(signals), *jumps(signals)]
    # Movements of arms and legs in the air belong to the jump.
    airborne_T = _covered(signals, leaps)
    off_feet_T = _covered(signals, [e for e in leaps if e.kind in _OFF_FEET])
    hops = [e for e in leaps if e.kind is EventKind.HOP]
    travels = skips([*locomotion(signals, off_feet_T), *hops])
    travels += strides(signals, airborne_T | _covered(signals, travels))
    leaps = [e for e in leaps if e.kind is not EventKind.HOP]
    moving_T = _covered(signals, [e for e in travels if e.kind in (*_WALKS, EventKind.SKIP)])
    if not signals.exact:
        moving_T = _widened(moving_T, SET_OFF_S)
    balances = one_leg_balances(signals, moving_T)
    clapped = claps(signals, moving_T)
    pressed = presses(signals, held)
    events = [
        *travels,
        *steps(signals, moving_T | airborne_T),
        *crawls(signals, held),
        *climbs(signals, off_feet_T),
        *leaps,
        *turns(signals),
        *level_changes(signals, held),
        *pressed,
        *_off_the_hands(torso_moves(signals), held, pressed),
        *head_moves(signals),
        *clapped,
        *gestures(signals, moving_T | _covered(signals, clapped)),
        *_arm_events(signals, held, moving_T, off_feet_T),
        *_leg_events(signals, moving_T | airborne_T),
    ]
    events = _without_follow_throughs(_with_serves(signals, events))
    events = [e for e in _without_noise(_without_wind_ups(events)) if is_hand_seen(signals, e)]
    events = with_both_arms(signals, pair_sides(events, exact=signals.exact))
    events = with_objects(signals, events, objects)
    stands_T = standing_feet_T(signals)
    activities = find_activities(signals, events, held, balances, stands_T)
    return MotionDescription(
        start_s=float(signals.time_T[0]),
        end_s=float(signals.time_T[-1]),
        parts=signals.mostly,
        size=signals.size,
        path=path_of(signals),
        postures=tuple(sorted([*held, *balances], key=lambda p: (p.start_s, p.end_s))),
        events=tuple(events),
        part_T=signals.part_T,
        time_T=signals.time_T,
        stands_T=stands_T,
        travel_T=travel(signals),
        still=tuple((signals.start_s(s), signals.end_s(s)) for s in still_spans(signals)),
        activities=tuple(activities),
        main=main_activity(activities),
    )


def describe_track(
    track: PoseTrack, frame_size_px: tuple[int, int], things: Sequence[ObjectSpan] = ()
) -> MotionDescription:
    """Describe the motion of a person in a clip.

    Args:
        track: pose track of the person.
        frame_size_px: (width, height) of the video. Joints outside of it are not measured.
        things: objects of the scene, in addition to those near the person.

    Returns:
        The description, in the time of the video.
    """
    heights_T = np.ptp(track.joints_2d[:, :, 1], axis=1)
    return describe_motion(
        track.motion_TJ3,
        pts_s=track.pts_s,
        valid=track.valid,
        confidence=np.where(inside_frame(track, frame_size_px), track.confidence, 0.0),
        sharp=bool(np.median(heights_T) >= MIN_SHARP_HEIGHT_PX),
        objects=(*track.objects, *things),
    )


def inside_frame(track: PoseTrack, frame_size_px: tuple[int, int]) -> BoolArray:
    """Return whether each joint is inside the image, (T, 22)."""
    in_TJ2 = (track.joints_2d >= 0) & (track.joints_2d <= np.array(frame_size_px))
    return np.logical_and(in_TJ2[:, :, 0], in_TJ2[:, :, 1])


def _covered(signals: Signals, events: Sequence[MotionEvent]) -> BoolArray:
    """Return whether each frame is inside one of the events, (T,)."""
    return mask_of(signals.num_frames, [signals.frames_of(e.start_s, e.end_s) for e in events])


def _widened(mask_T: BoolArray, by_s: float) -> BoolArray:
    """Return a mask with so much more before and after each of its spans, (T,)."""
    return maximum_filter1d(mask_T.astype(np.int8), 2 * round(by_s * FPS) + 1).astype(np.bool_)


def _arm_events(
    signals: Signals, held: Sequence[Posture], moving_T: BoolArray, off_feet_T: BoolArray
) -> list[MotionEvent]:
    events: list[MotionEvent] = []
    spans_s = [(p.start_s, p.end_s) for p in held if p.kind in _NO_REACH]
    on_hands_T = off_feet_T | mask_of(signals.num_frames, [signals.frames_of(*s) for s in spans_s])
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
        # Of a swing and a raise at the same time, the larger movement counts.
        lifted = [e for e in lifted if not overlaps(e, _larger_swings(e, struck))]
        struck = [s for s in struck if s.kind is not EventKind.SWING or not overlaps(s, lifted)]
        busy_T = busy_T | _covered(signals, [*lifted, *struck])
        bent = elbow_bends(signals, side, busy_T, moving_T)
        held_up = holds(signals, side, lifted, moving_T)
        down = reaches_down(signals, side, on_hands_T)
        taken_s = [e.end_s for e in down if e.kind is EventKind.PICK_UP]
        if (up_s := comes_up_s(signals, side)) is not None:
            taken_s.append(up_s)
        lifted, struck = (_as_throws(signals, moved, taken_s) for moved in (lifted, struck))
        events += [*round_, *thrown, *waving, *struck, *lifted, *bent, *held_up, *down]
    return events


def _as_throws(
    signals: Signals, moved: Sequence[MotionEvent], taken_s: Sequence[float]
) -> list[MotionEvent]:
    """Turn a fast movement forward of a hand that has just come up from below into a throw.

    Args:
        signals: signals of the motion.
        moved: movements of a hand.
        taken_s: times at which the hand has picked something up, or has come up from a stoop in
            which the motion begins.
    """
    return [
        replace(event, kind=EventKind.THROW)
        if event.kind in (EventKind.SWING, EventKind.RAISE)
        and event.direction is Direction.FORWARD
        and any(-0.2 <= event.start_s - up_s <= TOSS_S for up_s in taken_s)
        and hand_speed(signals, event) >= TOSS_SPEED
        else event
        for event in moved
    ]


def _with_serves(signals: Signals, events: Sequence[MotionEvent]) -> list[MotionEvent]:
    """Turn a fast stroke from above the head into a serve if the other hand was just up there."""
    tossed = [e for e in events if e.is_one_of((RAISE_ARM,)) and e.level in _OVERHEAD]
    result: list[MotionEvent] = []
    for event in events:
        other = Side.RIGHT if event.side is Side.LEFT else Side.LEFT
        before = [
            e
            for e in tossed
            if e.side in (other, Side.BOTH) and 0.0 <= event.start_s - e.start_s <= SERVE_S
        ]
        strikes = event.kind in (EventKind.THROW, EventKind.SWING) and event.count == 1
        serves = before and strikes and hand_top(signals, event) > MIN_SERVE_HEIGHT
        result.append(replace(event, kind=EventKind.SERVE) if serves else event)
    return result


def _larger_swings(event: MotionEvent, struck: Sequence[MotionEvent]) -> list[MotionEvent]:
    """Return the swings that go further than a raise or lowering, of which it is only a part."""
    swings = [s for s in struck if s.kind is EventKind.SWING and s.count == 1]
    return [s for s in swings if s.magnitude > SWING_OVER_RAISE * event.magnitude]


def _leg_events(signals: Signals, busy_T: BoolArray) -> list[MotionEvent]:
    events: list[MotionEvent] = []
    for side in (Side.LEFT, Side.RIGHT):
        kicked = kicks(signals, side)
        lifted = leg_raises(signals, side, busy_T | _covered(signals, kicked))
        events += [*kicked, *lifted]
    return events


def _inside(signals: Signals, event: MotionEvent, mask_T: BoolArray) -> bool:
    return float(mask_T[slice(*signals.frames_of(event.start_s, event.end_s))].mean()) > 0.5


def _off_the_hands(
    events: Sequence[MotionEvent], held: Sequence[Posture], pressed: Sequence[MotionEvent]
) -> list[MotionEvent]:
    """Drop tilts of the trunk between postures on the hands or the floor, which name them.

    Args:
        events: tilts of the trunk.
        held: postures of the motion.
        pressed: movements of the shoulders up from the floor or down to it, on the hands.
    """
    spans_s = [(p.start_s, p.end_s) for p in held if p.kind in _ON_FLOOR]
    spans_s += [(e.start_s, e.end_s) for e in pressed]

    def on_hands(time_s: float) -> bool:
        return any(first - ON_HANDS_S <= time_s <= last + ON_HANDS_S for first, last in spans_s)

    return [e for e in events if not (on_hands(e.start_s) and on_hands(e.end_s))]


def _without_follow_throughs(events: list[MotionEvent]) -> list[MotionEvent]:
    """Drop brief waves and claps right after a stroke, in which the arms come to rest."""
    strokes_ = [e for e in events if e.kind in _STROKES and e.count == 1]
    return [
        event
        for event in events
        if (
            event.kind not in (EventKind.WAVE, EventKind.CLAP)
            and not (event.kind is EventKind.SWING and event.count > 1)
        )
        or event.duration_s > FOLLOW_THROUGH_S
        or not any(
            -0.3 <= event.start_s - stroke.end_s <= 0.6
            and {event.side, stroke.side} != {Side.LEFT, Side.RIGHT}
            for stroke in strokes_
        )
    ]


def _without_wind_ups(events: list[MotionEvent]) -> list[MotionEvent]:
    """Drop hands that swing down before a leap or after it."""
    leaps = [e for e in events if e.kind in _IN_FLIGHT]
    return [
        event
        for event in events
        if event.kind not in _HANDLING
        or not any(
            event.end_s > leap.start_s - WIND_UP_S and event.start_s < leap.end_s + WIND_UP_S / 2
            for leap in leaps
        )
    ]


def _without_noise(events: list[MotionEvent]) -> list[MotionEvent]:
    """Drop events that are part of a larger event, such as the kicks of a runner, and guesses."""
    events = [event for event in events if event.confidence >= MIN_EVENT_CONFIDENCE]
    return [
        event
        for event in events
        if not overlaps(event, [e for e in events if e.kind in _PART_OF.get(event.kind, ())])
    ]


_OVERHEAD: Final = (Level.HEAD, Level.ABOVE_HEAD)
_WALKS: Final = (EventKind.WALK, EventKind.RUN)
_LEAPS: Final = (EventKind.JUMP, EventKind.HOP)
_OFF_FEET: Final = (EventKind.JUMPING_JACK, EventKind.JUMP_DOWN, EventKind.SOMERSAULT)
"""Leaps during which nobody walks."""
_NO_REACH: Final = (
    PostureKind.LYING,
    PostureKind.SITTING,
    PostureKind.PLANK,
    PostureKind.SIDE_PLANK,
    PostureKind.ALL_FOURS,
    PostureKind.HANDS_AND_FEET,
    PostureKind.UPSIDE_DOWN,
)
"""Postures in which a low hand supports the body or lies beside it."""
_ON_FLOOR: Final = tuple(kind for kind in _NO_REACH if kind is not PostureKind.SITTING)
_IN_FLIGHT: Final = (*_LEAPS, EventKind.JUMP_DOWN, EventKind.SOMERSAULT, EventKind.JUMPING_JACK)
_STROKES: Final = (EventKind.THROW, EventKind.SERVE, EventKind.PUNCH, EventKind.SWING)
_HANDLING: Final = (EventKind.REACH, EventKind.PICK_UP, EventKind.PUT_DOWN)
_PART_OF: Final[Mapping[EventKind, tuple[EventKind, ...]]] = {
    EventKind.KICK: (EventKind.RUN, *_IN_FLIGHT),
    EventKind.STEP: _IN_FLIGHT,
    EventKind.JUMP: (EventKind.JUMPING_JACK, EventKind.JUMP_DOWN, EventKind.SOMERSAULT),
    EventKind.HOP: (EventKind.JUMPING_JACK, EventKind.JUMP_DOWN, EventKind.SOMERSAULT),
    EventKind.SINK: (*_IN_FLIGHT, EventKind.LAND),
    EventKind.RISE: _IN_FLIGHT,
    EventKind.TWIST: (EventKind.TURN, EventKind.SOMERSAULT, *_WALKS),
    EventKind.LEAN: (EventKind.SOMERSAULT, *_WALKS),
    EventKind.BEND: (EventKind.SOMERSAULT,),
    EventKind.TURN: (EventKind.SOMERSAULT,),
    EventKind.STRAIGHTEN: (EventKind.SOMERSAULT, *_WALKS),
    EventKind.RAISE: (EventKind.SOMERSAULT,),
    EventKind.LOWER: (EventKind.SOMERSAULT,),
    EventKind.SWING: (EventKind.SOMERSAULT,),
    EventKind.REACH: (EventKind.SOMERSAULT, EventKind.LAND, EventKind.RUN),
    EventKind.PICK_UP: (EventKind.SOMERSAULT, EventKind.RUN),
    EventKind.PUT_DOWN: (EventKind.SOMERSAULT, EventKind.RUN),
}
"""Kinds of events that may be part of others, with the kinds of those others."""
