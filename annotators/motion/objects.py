"""What people do with objects: the table of objects, near joints and movements.

Two detectors have to agree on an object before it is in ``PoseTrack.objects``. An object alone says
little (a ball may lie beside a foot), and so does a movement alone (a foot that goes up and down).
Together they say what a human would: who keeps lifting the feet in place with a ball at the ankles
juggles it. What no row of the table says is not said.

Shapes: T frames at 20 fps, N frames of a span.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import (
    EventKind,
    MotionEvent,
    Part,
    Side,
    measure_event,
)
from annotators.motion.rules.arms import hand_T3
from annotators.motion.rules.posture import hip_height
from annotators.motion.rules.shots import SHOT_SPEED_MPS, with_shots
from annotators.motion.rules.sides import overlaps
from annotators.motion.signals import (
    SIDES,
    Signals,
    Span,
    join_spans,
    spans,
    turning_points,
)
from data.motion.skeleton import FPS
from data.records import ObjectSpan

BALLS: Final = frozenset({"ball", "sports ball", "frisbee"})
STICKS: Final = frozenset({"baseball bat", "tennis racket"})
BOARDS: Final = frozenset({"skateboard", "snowboard", "surfboard", "skis"})
CUPS: Final = frozenset({"cup", "bottle", "wine glass"})
ANIMALS: Final = frozenset({"dog", "cat"})
HELD: Final = frozenset(
    {
        *("umbrella", "handbag", "suitcase", "backpack", "cell phone", "book", "laptop"),
        *("scissors", "knife", "fork", "spoon", "banana", "apple", "sandwich", "pizza"),
        *("toothbrush", "remote", "kite", "teddy bear"),
        *(*CUPS, *STICKS, *BALLS),
    }
)
"""Labels of COCO by what a person does with the thing."""

LIFT: Final = 0.05
"""Smallest rise of a foot that touches a ball, leg lengths."""
MAX_LIFT_S: Final = 0.7
"""Longest time of a foot above half of its rise."""
MIN_TOUCHES: Final = 3
MAX_TOUCH_GAP_S: Final = 1.6
"""A ball that is kept in the air falls for at most 0.8 s up and down again."""
IN_PLACE: Final = 1.0
"""Largest way of the hips of who juggles, leg lengths in :data:`MAX_TOUCH_GAP_S`."""
PUSH: Final = 0.20
"""Smallest way down of a hand that pushes a ball to the floor, arm lengths."""
PUSH_HEIGHT: Final = (-1.0, 0.0)
MIN_PUSHES: Final = 2
MAX_PUSH_GAP_S: Final = 1.0
AT_MOUTH: Final = 0.45
"""Largest distance of a wrist from the head when one drinks, torso lengths."""
DRINK_S: Final = 0.4
READ_S: Final = 1.5
READ_SPEED: Final = 0.6
PLAY_S: Final = 0.8
HOLD_S: Final = 1.0
RIDE_S: Final = 0.5
RIDE_PACE: Final = 0.4
"""Speed of who rides, leg lengths per second; who pushes a bicycle walks."""
RIDE_WAY: Final = 1.0
"""Smallest way of who rides, leg lengths; others stay with their bicycle."""
MIN_SCORE: Final = 0.3
JOIN_S: Final = 2.0
"""A ball that is thrown up, or hidden by a leg, is back within this time."""

_STROKES: Final = (EventKind.THROW, EventKind.SWING, EventKind.PUNCH, EventKind.SERVE)
_WALKS: Final = (EventKind.WALK, EventKind.RUN)


@dataclass(frozen=True, slots=True)
class _Scene:
    """Motion of a person with one object nearby.

    Attributes:
        signals: signals of the motion.
        events: events of the body.
        thing: the object.
        span: frames at which the object is near.
    """

    signals: Signals
    events: Sequence[MotionEvent]
    thing: ObjectSpan
    span: Span

    @property
    def joint(self) -> str:
        """Joint without its side: ``wrist``, ``ankle``, ``hip``."""
        return self.thing.near.split("_")[-1]

    @property
    def side(self) -> Side | None:
        """Side of the near joint."""
        side = self.thing.near.split("_")[0]
        return Side(side) if side in SIDES else None

    @property
    def duration_s(self) -> float:
        return (self.span[1] - self.span[0]) / FPS

    def during(self, *kinds: EventKind) -> list[MotionEvent]:
        """Return the events of these kinds that overlap the time with the object."""
        start_s, end_s = self.thing.start_s - 0.3, self.thing.end_s + 0.3
        return [
            e for e in self.events if e.kind in kinds and start_s <= e.end_s and e.start_s <= end_s
        ]

    def is_of_side(self, event: MotionEvent) -> bool:
        return self.side is None or event.side in (self.side, Side.BOTH, None)


def with_objects(
    signals: Signals, events: Sequence[MotionEvent], objects: Sequence[ObjectSpan]
) -> list[MotionEvent]:
    """Add what a person does with objects, and name the objects of throws and swings.

    Args:
        signals: signals of the motion.
        events: events of the body.
        objects: objects near the person, and those of the scene, which are near no joint.

    Returns:
        The events in order of time, those that an action with an object explains replaced by it.
    """
    result = list(events)
    if any(thing.name in BALLS and not thing.near for thing in objects):
        result = with_shots(signals, result)
    for thing in sorted(_joined(objects), key=lambda o: o.score, reverse=True):
        span = signals.frames_of(thing.start_s, thing.end_s)
        if not thing.near or thing.score < MIN_SCORE or span[1] - span[0] < 2:
            continue
        scene = _Scene(signals, result, thing, span)
        for names, joints, rule in _TABLE:
            if thing.name in names and scene.joint in joints:
                found = rule(scene)
                if found:
                    result = _merged(_without_touches(result, found, scene), found)
                    break
    return sorted(result, key=lambda e: (e.start_s, e.end_s))


def _without_touches(
    events: list[MotionEvent], found: Sequence[MotionEvent], scene: "_Scene"
) -> list[MotionEvent]:
    """Drop steps of who juggles, which are touches of the ball, while the ball is there."""
    if not any(e.kind is EventKind.JUGGLE for e in found):
        return events
    steps = scene.during(EventKind.STEP)
    return [e for e in events if e not in steps]


def _joined(objects: Sequence[ObjectSpan]) -> list[ObjectSpan]:
    """Join the spans of one thing that is lost for a moment or goes from foot to foot.

    The thing of a hand stays with its side, since it matters which hand does something.
    """
    by_place: dict[tuple[str, str], list[ObjectSpan]] = {}
    for thing in sorted(objects, key=lambda o: o.start_s):
        joint = thing.near if thing.near.endswith("wrist") else thing.near.split("_")[-1]
        spans_ = by_place.setdefault((thing.name, joint), [])
        if spans_ and thing.start_s - spans_[-1].end_s <= JOIN_S:
            last = spans_[-1]
            spans_[-1] = replace(
                last,
                end_s=max(last.end_s, thing.end_s),
                score=max(last.score, thing.score),
                near=joint,
            )
        else:
            spans_.append(replace(thing, near=joint))
    return [thing for spans_ in by_place.values() for thing in spans_]


def _merged(events: list[MotionEvent], found: list[MotionEvent]) -> list[MotionEvent]:
    """Add events, without those that they replace or repeat."""
    fresh = [
        e
        for e in found
        if not any(o.kind is e.kind and o.object == e.object and overlaps(e, [o]) for o in events)
    ]
    explained = [
        o
        for o in events
        if o.kind in _EXPLAINED and any(overlaps(o, [e]) and _explains(e, o) for e in fresh)
    ]
    return [*(o for o in events if o not in explained), *fresh]


def _explains(event: MotionEvent, other: MotionEvent) -> bool:
    if event.part is not other.part and not (event.part is Part.LEG and other.part is Part.KNEE):
        return False
    same = {event.side, other.side} & {None, Side.BOTH} or event.side is other.side
    return bool(same) and other.kind in _EXPLAINED


_EXPLAINED: Final = (
    *(EventKind.SWING, EventKind.THROW, EventKind.PUNCH, EventKind.WAVE, EventKind.CLAP),
    *(EventKind.RAISE, EventKind.LOWER, EventKind.KICK, EventKind.STEP, EventKind.HOLD),
    *(EventKind.BEND, EventKind.EXTEND),
)
"""Movements of a limb that are told by an action of the same limb with an object."""


# ---------------------------------------------------------------------------------------- balls


def _foot_touches(signals: Signals, span: Span) -> list[int]:
    """Return the frames at which one foot is up for a moment while the other stands."""
    leg_m = signals.size.leg_m
    found: list[int] = []
    heights = {
        side: gaussian_filter1d(signals.height_T(f"{side}_ankle") / leg_m, 1.0, mode="nearest")
        for side in SIDES
    }
    for side, other in (("left", "right"), ("right", "left")):
        up_T = heights[side]
        points = turning_points(up_T, LIFT)
        for before, top, after in zip(points, points[1:], points[2:], strict=False):
            rest = max(up_T[before], up_T[after])
            # The foot is up for a moment only; it may have stood still for long before.
            high = np.flatnonzero(up_T[before : after + 1] > (up_T[top] + rest) / 2)
            brief = len(high) > 0 and high[-1] - high[0] < MAX_LIFT_S * FPS
            above = up_T[top] > heights[other][top] + LIFT / 2
            if up_T[top] > rest and brief and above and span[0] <= top < span[1]:
                found.append(top)
    return sorted(found)


def _juggles(scene: _Scene) -> list[MotionEvent]:
    """Find feet that keep a ball in the air in place, or drive it while the person runs."""
    signals = scene.signals
    if not signals.legs_seen:
        return []
    touches = _foot_touches(signals, scene.span)
    pelvis_T3 = signals.joint_T3("pelvis") / signals.size.leg_m
    result: list[MotionEvent] = []
    for group in _grouped(touches, MAX_TOUCH_GAP_S):
        if len(group) < MIN_TOUCHES:
            continue
        way_2 = (pelvis_T3[group[-1]] - pelvis_T3[group[0]])[[0, 2]]
        seconds = max((group[-1] - group[0]) / FPS, 1 / FPS)
        stays = float(np.linalg.norm(way_2)) < IN_PLACE * max(seconds / MAX_TOUCH_GAP_S, 1.0)
        kind = EventKind.JUGGLE if stays else EventKind.DRIBBLE
        result.append(_series(scene, group, kind, Part.LEG, Side.BOTH))
    return result


def _dribbles(scene: _Scene) -> list[MotionEvent]:
    """Find a hand that pushes a ball down again and again."""
    side = scene.side
    if side is None or f"{side}_arm" not in scene.signals.parts:
        return []
    up_T = hand_T3(scene.signals, side)[:, 1]
    points = turning_points(up_T, PUSH)
    pushes = [
        low
        for high, low in itertools.pairwise(points)
        if up_T[low] < up_T[high]
        and PUSH_HEIGHT[0] < up_T[low] < PUSH_HEIGHT[1]
        and scene.span[0] - 2 <= low < scene.span[1] + 2
        and low - high < FPS
    ]
    return [
        _series(scene, group, EventKind.DRIBBLE, Part.ARM, side)
        for group in _grouped(pushes, MAX_PUSH_GAP_S)
        if len(group) >= MIN_PUSHES
    ]


def _grouped(frames: Sequence[int], gap_s: float) -> list[list[int]]:
    groups: list[list[int]] = []
    for frame in frames:
        if groups and frame - groups[-1][-1] <= gap_s * FPS:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _series(
    scene: _Scene, frames: Sequence[int], kind: EventKind, part: Part, side: Side
) -> MotionEvent:
    signals = scene.signals
    span = (max(frames[0] - 4, 0), min(frames[-1] + 5, signals.num_frames))
    joint = "ankle" if part is Part.LEG else "wrist"
    sides = SIDES if side is Side.BOTH else (side,)
    ways = [float(np.ptp(signals.joint_T3(f"{s}_{joint}")[slice(*span), 1])) for s in sides]
    seconds = max((frames[-1] - frames[0]) / FPS, 1 / FPS)
    event = measure_event(
        signals,
        span,
        kind,
        part,
        side=side,
        magnitude=max(ways),
        peak_speed=0.0,
        count=len(frames),
        frequency_hz=(len(frames) - 1) / seconds,
    )
    return replace(event, object=scene.thing.name)


def _throws(scene: _Scene) -> list[MotionEvent]:
    """Find a ball that leaves a fast hand, or comes to a hand that reaches for it."""
    result: list[MotionEvent] = []
    for event in scene.during(*_STROKES, EventKind.RAISE):
        leaves = event.start_s - 0.2 <= scene.thing.end_s <= event.end_s + 0.5
        fast = event.part is Part.ARM and event.peak_speed >= SHOT_SPEED_MPS
        if fast and leaves and scene.is_of_side(event):
            result.append(replace(event, kind=EventKind.THROW, object=scene.thing.name))
    clip_s = scene.signals.time_T[0]
    for event in scene.during(EventKind.RAISE, EventKind.REACH, EventKind.EXTEND):
        comes = scene.thing.start_s > clip_s + 0.5
        comes = comes and event.start_s <= scene.thing.start_s <= event.end_s + 0.5
        if event.part is Part.ARM and comes and not result and scene.is_of_side(event):
            result.append(replace(event, kind=EventKind.CATCH, object=scene.thing.name))
    return result


def _hand_and_ball(scene: _Scene) -> list[MotionEvent]:
    """Name what a hand does with a ball: dribbling, throwing and catching, else holding."""
    return [*_dribbles(scene), *_throws(scene)] or _holds(scene)


# --------------------------------------------------------------------------------- other objects


def _swings(scene: _Scene) -> list[MotionEvent]:
    """Name the bat or racket of a stroke."""
    strokes = [e for e in scene.during(*_STROKES) if e.count == 1]
    found = [
        replace(
            e,
            kind=EventKind.SERVE if e.kind is EventKind.SERVE else EventKind.SWING,
            object=scene.thing.name,
        )
        for e in strokes
        if scene.is_of_side(e)
    ]
    return found or _holds(scene)


def _rides(scene: _Scene) -> list[MotionEvent]:
    """Find who moves on a bicycle or board without walking."""
    signals = scene.signals
    if scene.duration_s < RIDE_S or any(
        overlaps(w, [_as_event(scene)]) for w in scene.during(*_WALKS)
    ):
        return []
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]] / signals.size.leg_m
    net = float(np.linalg.norm(ground_T2[scene.span[1] - 1] - ground_T2[scene.span[0]]))
    path = float(np.linalg.norm(np.diff(ground_T2[slice(*scene.span)], axis=0), axis=1).sum())
    if net / scene.duration_s < RIDE_PACE or net < RIDE_WAY or net < 0.7 * path:
        return [replace(_as_event(scene), object=scene.thing.name)]
    event = measure_event(
        signals,
        scene.span,
        EventKind.RIDE,
        Part.BODY,
        magnitude=net * signals.size.leg_m,
        peak_speed=net * signals.size.leg_m / scene.duration_s,
    )
    return [replace(event, object=scene.thing.name)]


def _drinks(scene: _Scene) -> list[MotionEvent]:
    """Find a cup or bottle that a hand keeps at the mouth."""
    side = scene.side
    signals = scene.signals
    if side is None or f"{side}_arm" not in signals.parts or "head" not in signals.parts:
        return _holds(scene)
    way_T3 = signals.joint_T3(f"{side}_wrist") - signals.joint_T3("head")
    near_T = np.linalg.norm(way_T3, axis=1) < AT_MOUTH * signals.size.torso_m
    near_T &= signals.part_T[f"{side}_arm"] & signals.part_T["head"]
    near_T[: scene.span[0]] = near_T[scene.span[1] :] = False
    found = [s for s in join_spans(spans(near_T, 3), 4) if s[1] - s[0] >= DRINK_S * FPS]
    drinks = [_hand_event(scene, span, EventKind.DRINK) for span in found]
    return drinks or _holds(scene)


def _reads(scene: _Scene) -> list[MotionEvent]:
    """Find who holds a book before the chest and hardly moves."""
    signals = scene.signals
    if scene.duration_s < READ_S or scene.side is None:
        return []
    hand = hand_T3(signals, scene.side)[slice(*scene.span)]
    slow = float(np.median(np.linalg.norm(np.gradient(hand, axis=0), axis=1))) * FPS < READ_SPEED
    up = float(np.median(hand[:, 1])) > -0.8
    return [_hand_event(scene, scene.span, EventKind.READ)] if slow and up else _holds(scene)


def _plays(scene: _Scene) -> list[MotionEvent]:
    """Find who has to do with an animal: bends or squats to it, or throws it something."""
    if scene.duration_s < PLAY_S:
        return []
    low = float(hip_height(scene.signals)[slice(*scene.span)].min()) < 0.7
    kinds = (EventKind.BEND, EventKind.REACH, EventKind.PICK_UP, EventKind.THROW, EventKind.SWING)
    if not low and not scene.during(*kinds):
        return []
    return [replace(_as_event(scene), kind=EventKind.PLAY, object=scene.thing.name)]


def _holds(scene: _Scene) -> list[MotionEvent]:
    """Say what a hand holds; a ball has to stay at the hand, because it may also fly past."""
    least_s = HOLD_S if scene.thing.name not in BALLS else 1.5 * HOLD_S
    if scene.side is None or scene.duration_s < least_s:
        return []
    return [_hand_event(scene, scene.span, EventKind.HOLD)]


def _hand_event(scene: _Scene, span: Span, kind: EventKind) -> MotionEvent:
    event = measure_event(
        scene.signals, span, kind, Part.ARM, side=scene.side, magnitude=0.0, peak_speed=0.0
    )
    return replace(event, object=scene.thing.name)


def _as_event(scene: _Scene) -> MotionEvent:
    return measure_event(
        scene.signals, scene.span, EventKind.HOLD, Part.BODY, magnitude=0.0, peak_speed=0.0
    )


_Rule = Callable[[_Scene], list[MotionEvent]]
_HANDS: Final = frozenset({"wrist"})
_FEET: Final = frozenset({"ankle"})
_ANY: Final = frozenset({"wrist", "ankle", "hip"})
_TABLE: Final[Sequence[tuple[frozenset[str], frozenset[str], _Rule]]] = (
    (BALLS, _FEET | {"hip"}, _juggles),
    (BALLS, _HANDS, _hand_and_ball),
    (STICKS, _HANDS, _swings),
    (frozenset({"bicycle", "motorcycle", "horse"}), _ANY, _rides),
    (BOARDS, _FEET, _rides),
    (CUPS, _HANDS, _drinks),
    (frozenset({"book"}), _HANDS, _reads),
    (ANIMALS, _ANY, _plays),
    (HELD, _HANDS, _holds),
)
"""Names of objects, joints near which they are, and the rule that names what is done with them."""
