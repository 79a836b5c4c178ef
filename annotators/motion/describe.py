"""From any 22-joint motion to what it shows: postures, path, events, activities.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`).

Only what is measured is told. A joint that the pose model does not see is not measured, and a part
with unseen joints has no events: an upper-body shot has no legs, whatever the model drew there.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

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
from annotators.motion.events import MotionEvent, Posture, Side
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
from annotators.motion.signals import BodySize, Bools, Signals, Span, foot_odometry, prepare
from data.motion.skeleton import FPS
from data.records import PoseTrack

KINEMATICS_VERSION: Final = "1"
"""Raised whenever a rule changes what is told of a motion."""

WEIGHTS: Final = {
    "cartwheel": 0.99,
    "push_up": 0.95,
    "kick": 0.90,
    "throw": 0.84,
    "punch": 0.86,
    "clap": 0.84,
    "jump": 0.88,
    "hop": 0.88,
    "upside_down": 0.85,
    "dance": 0.92,
    "wave": 0.80,
    "circle": 0.78,
    "run": 0.80,
    "walk": 0.75,
    "sit_down": 0.70,
    "stand_up": 0.70,
    "kneel_down": 0.70,
    "lie_down": 0.70,
    "get_up": 0.70,
    "squat": 0.70,
    "bend": 0.62,
    "raise_leg": 0.55,
    "balance": 0.75,
    "raise": 0.60,
    "swing": 0.58,
    "turn": 0.55,
    "lean": 0.45,
    "twist": 0.45,
    "lower": 0.40,
    "reach": 0.40,
    "bend_arm": 0.30,
    "lie": 0.38,
    "plank": 0.38,
    "sit": 0.36,
    "kneel": 0.38,
    "crouch": 0.38,
    "wide_stance": 0.45,
    "stand": 0.20,
    "still": 0.10,
}
"""How much an activity says of a motion when it is there: the rarer, the more. A clip with a kick
is told by the kick and not by the steps before it."""
LASTING: Final = frozenset({"walk", "run", "balance", "stand", "still", "sit", "lie", "kneel"})
"""Activities that count by their share of the time."""

MIN_SHARP_HEIGHT_PX: Final = 140
"""Height of a body in the picture under which a hand's wave is as small as the pose model's noise
(about 3 % of the body)."""
DANCE_SIGNS: Final = 3
"""Kinds of dance-like movement (see :func:`_dance_signs`) that together make a dance."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What the person does, over a span.

    Attributes:
        label: e.g. ``walk``, ``walk_turn_left``, ``raise_both_arms``, ``sit_down``.
        start_s, end_s: the span, seconds.
        score: 0..1, how much it says of the motion.
        events: the events behind it.
        postures: the postures behind it.
    """

    label: str
    start_s: float
    end_s: float
    score: float
    events: tuple[MotionEvent, ...] = ()
    postures: tuple[Posture, ...] = ()


@dataclass(frozen=True, slots=True)
class MotionDescription:
    """All that is told of one motion.

    Attributes:
        start_s, end_s: times of the first and the last frame.
        parts: body parts that are measured (see ``PART_JOINTS`` of the signals).
        size: body lengths.
        path: way and turning of the whole motion; meaningless when the legs are not measured.
        postures: in order of time.
        events: in order of time.
        time_T: (T,) times of the frames, seconds.
        travel_T: (T,) way of the pelvis over the floor up to each frame, metres.
        still: spans (start_s, end_s) in which no measured joint moves noticeably.
        activities: in order of time.
        activity: label of the activity with the highest score.
    """

    start_s: float
    end_s: float
    parts: frozenset[str]
    size: BodySize
    path: Path
    postures: tuple[Posture, ...]
    events: tuple[MotionEvent, ...]
    time_T: NDArray[np.float64]
    travel_T: NDArray[np.float64]
    still: tuple[tuple[float, float], ...]
    activities: tuple[Activity, ...]
    activity: str

    @property
    def body_seen(self) -> bool:
        """Whether both legs and the torso are measured."""
        return {"left_leg", "right_leg", "torso"} <= self.parts

    def travelled_m(self, start_s: float, end_s: float) -> float:
        """Way over the floor in a span of time, metres."""
        first, last = np.interp((start_s, end_s), self.time_T, self.travel_T)
        return float(last - first)


def describe_motion(
    joints_TJ3: NDArray[np.floating],
    *,
    pts_s: NDArray[np.floating] | None = None,
    valid: NDArray[np.bool_] | None = None,
    confidence: NDArray[np.floating] | None = None,
    sharp: bool = True,
) -> MotionDescription:
    """Describe a motion.

    Args:
        joints_TJ3: world positions with the root trajectory applied, (T, 22, 3), metres, y up,
            20 fps.
        pts_s: (T,) times of the frames, seconds; from 0 when not given.
        valid: (T,) false where a frame was filled in.
        confidence: (T, 22) how sure each joint is, 0..1. Without it the joints are taken for
            motion capture, of which smaller movements are told.
        sharp: false for a body so small in its picture that small movements are noise.

    Returns:
        The description.

    Raises:
        ValueError: the motion is empty, of another shape, or not finite.
    """
    signals = prepare(joints_TJ3, pts_s=pts_s, valid=valid, confidence=confidence, sharp=sharp)
    walks = locomotion(signals)
    held = postures(signals)
    leaps = jumps(signals)
    moving_T = _covered(signals, walks)
    # Arms and legs that swing in the air belong to the jump.
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
    best = max(activities, key=lambda a: (a.score, a.end_s - a.start_s))
    return MotionDescription(
        start_s=float(signals.time_T[0]),
        end_s=float(signals.time_T[-1]),
        parts=signals.parts,
        size=signals.size,
        path=path_of(signals),
        postures=tuple(sorted([*held, *balances], key=lambda p: (p.start_s, p.end_s))),
        events=tuple(events),
        time_T=signals.time_T,
        travel_T=travel(signals),
        still=tuple((signals.start_s(s), signals.end_s(s)) for s in still_spans(signals)),
        activities=tuple(activities),
        activity=best.label,
    )


def describe_track(
    track: PoseTrack, frame_size_px: tuple[int, int], *, camera_moves: bool
) -> MotionDescription:
    """Describe a person's motion through a clip.

    Args:
        track: the person.
        frame_size_px: (width, height) of the video; what lies outside is not measured.
        camera_moves: the path in the picture is then not the person's: it is taken from the feet.

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


def inside_frame(track: PoseTrack, frame_size_px: tuple[int, int]) -> Bools:
    """Whether each joint lies in the picture, (T, 22)."""
    in_TJ2 = (track.joints_2d >= 0) & (track.joints_2d <= np.array(frame_size_px))
    return np.logical_and(in_TJ2[:, :, 0], in_TJ2[:, :, 1])


def _span_of(signals: Signals, start_s: float, end_s: float) -> Span:
    """Frames of a span of time."""
    start, end = np.searchsorted(signals.time_T, (start_s - 1e-9, end_s + 1e-9))
    return int(start), int(end)


def _covered(signals: Signals, events: Sequence[MotionEvent]) -> Bools:
    """(T,) whether a frame lies in one of the events."""
    return mask_of(signals.num_frames, [_span_of(signals, e.start_s, e.end_s) for e in events])


def _arm_events(signals: Signals, moving_T: Bools) -> list[MotionEvent]:
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
        busy_T = busy_T | _covered(signals, [s for s in struck if s.kind != "swing"])
        lifted = raises(signals, side, busy_T, moving_T)
        struck = [s for s in struck if s.kind != "swing" or not _overlaps(s, lifted)]
        busy_T = busy_T | _covered(signals, [*lifted, *struck])
        bent = elbow_bends(signals, side, busy_T, moving_T)
        events += [*round_, *thrown, *waving, *struck, *lifted, *bent]
    return events


def _leg_events(signals: Signals, busy_T: Bools) -> list[MotionEvent]:
    events: list[MotionEvent] = []
    for side in (Side.LEFT, Side.RIGHT):
        kicked = kicks(signals, side)
        lifted = leg_raises(signals, side, busy_T | _covered(signals, kicked))
        events += [*kicked, *lifted]
    return events


def _inside(signals: Signals, event: MotionEvent, mask_T: Bools) -> bool:
    return float(mask_T[slice(*_span_of(signals, event.start_s, event.end_s))].mean()) > 0.5


def _overlaps(event: MotionEvent, others: Sequence[MotionEvent]) -> bool:
    """Whether at least half of the event lies in one of the others."""
    return any(
        min(event.end_s, other.end_s) - max(event.start_s, other.start_s)
        >= 0.5 * max(event.duration_s, 1 / FPS)
        for other in others
    )


def _without_noise(events: list[MotionEvent]) -> list[MotionEvent]:
    """Drop what is a part of something larger: a runner's kicks, the twist of a turn."""
    runs = [e for e in events if e.kind == "run"]
    leaps = [e for e in events if e.kind in ("jump", "hop")]
    spins = [e for e in events if e.kind == "turn"]
    walks = [e for e in events if e.kind in ("walk", "run")]
    kept: list[MotionEvent] = []
    for event in events:
        part_of = {
            "kick": [*runs, *leaps],
            "sink": leaps,
            "rise": leaps,
            "twist": [*spins, *walks],
            "lean": walks,
            "straighten": walks,
        }.get(event.kind, [])
        if not _overlaps(event, part_of):
            kept.append(event)
    return kept


# ---------------------------------------------------------------------------------- activities


class AddActivity(Protocol):
    """Adds an activity of a kind (key of :data:`WEIGHTS`) with what it was seen from."""

    def __call__(self, kind: str, label: str, *sources: MotionEvent | Posture) -> None:
        """Add one."""
        ...


def _score(label: str, start_s: float, end_s: float, total_s: float) -> float:
    weight = WEIGHTS[label]
    if label not in LASTING:
        return weight
    share = min((end_s - start_s) / max(total_s, 1 / FPS), 1.0)
    return weight * (0.6 + 0.4 * share)


def _activities(
    signals: Signals,
    events: Sequence[MotionEvent],
    held: Sequence[Posture],
    balances: Sequence[Posture],
) -> list[Activity]:
    """Activities in order of time; at least one."""
    total_s = float(signals.time_T[-1] - signals.time_T[0])
    found: list[Activity] = []

    def add(kind: str, label: str, *sources: MotionEvent | Posture) -> None:
        start_s = min(s.start_s for s in sources)
        end_s = max(s.end_s for s in sources)
        found.append(
            Activity(
                label=label,
                start_s=start_s,
                end_s=end_s,
                score=_score(kind, start_s, end_s, total_s),
                events=tuple(s for s in sources if isinstance(s, MotionEvent)),
                postures=tuple(s for s in sources if isinstance(s, Posture)),
            )
        )

    turned = [e for e in events if e.kind == "turn"]
    walks = [e for e in events if e.kind in ("walk", "run")]
    for event in walks:
        within = [t for t in turned if _overlaps(t, [event])]
        add(event.kind, _walk_label(event, within), event, *within)
    for event in turned:
        if not _overlaps(event, walks):
            add("turn", f"turn_{event.direction}", event)

    for event in events:
        named = _event_activity(event)
        if named is not None:
            add(*named, event)
    for posture in balances:
        add("balance", "balance", posture)
    _posture_activities(events, held, add)

    signs = _dance_signs(events)
    if len(signs) >= DANCE_SIGNS:
        add("dance", "dance", *signs)
    if not found or all(a.score <= WEIGHTS["lower"] for a in found):
        still = max(held, key=lambda p: p.duration_s)
        if still.kind in ("standing", "unknown"):
            add(
                "stand" if still.kind == "standing" else "still",
                "stand" if still.kind == "standing" else "still",
                still,
            )
    return sorted(found, key=lambda a: (a.start_s, a.end_s))


_EVENT_ACTIVITIES: Final = {
    "jump body": ("jump", "jump"),
    "hop body": ("hop", "hop"),
    "kick leg": ("kick", "kick"),
    "clap arm": ("clap", "clap"),
    "punch arm": ("punch", "punch"),
    "throw arm": ("throw", "throw"),
    "press torso": ("push_up", "push_up"),
    "extend arm": ("reach", "reach"),
    "bend arm": ("bend_arm", "bend_arm"),
    "bend torso": ("bend", "bend"),
    "lean torso": ("lean", "lean_{direction}"),
    "twist torso": ("twist", "twist"),
    "wave arm": ("wave", "wave_{arms}"),
    "raise arm": ("raise", "raise_{arms}"),
    "lower arm": ("lower", "lower_{arms}"),
    "circle arm": ("circle", "circle_{arms}"),
    "swing arm": ("swing", "swing_{arms}"),
    "raise leg": ("raise_leg", "raise_{side}_leg"),
    "raise knee": ("raise_leg", "raise_{side}_leg"),
}
"""Kind and label by action and part; other events are no activity of their own."""


def _event_activity(event: MotionEvent) -> tuple[str, str] | None:
    named = _EVENT_ACTIVITIES.get(f"{event.kind} {event.part}")
    if named is None:
        return None
    arms = "both_arms" if event.side == "both" else f"{event.side}_arm"
    return named[0], named[1].format(direction=event.direction, arms=arms, side=event.side)


def _walk_label(event: MotionEvent, within: Sequence[MotionEvent]) -> str:
    turn_deg = sum(t.magnitude * (1 if t.direction == "left" else -1) for t in within)
    label = event.kind
    if event.direction != "forward":
        label = f"{label}_{event.direction}"
    elif abs(turn_deg) >= 45.0:
        label = f"{label}_turn_{'left' if turn_deg > 0 else 'right'}"
    return label


def _dance_signs(
    events: Sequence[MotionEvent],
) -> list[MotionEvent]:
    """One event per kind of movement that walks, sports and chores rarely combine."""
    high_legs = [e for e in events if e.part == "leg" and e.relative > 0.45 and e.duration_s < 2.0]
    spins = [e for e in events if e.kind == "turn" and e.magnitude >= 170]
    leaps = [e for e in events if e.kind in ("jump", "hop")]
    arms = [e for e in events if e.kind == "raise" and e.part == "arm" and e.side == "both"]
    bends = [e for e in events if e.part == "torso" and e.kind in ("bend", "lean")]
    # Many jumps are an exercise or a game.
    central = [kind[0] for kind in (high_legs, spins, leaps[:1] if len(leaps) <= 3 else []) if kind]
    if len(central) < 2 and not any(e.magnitude >= 300 for e in spins):
        return []
    return [*central, *(kind[0] for kind in (arms, bends) if kind)]


def _posture_activities(
    events: Sequence[MotionEvent],
    held: Sequence[Posture],
    add: AddActivity,
) -> None:
    """Changes of posture, and postures that last."""
    down = {
        "sitting": "sit_down",
        "squatting": "squat",
        "kneeling": "kneel_down",
        "lying": "lie_down",
    }
    up = {"sitting": "stand_up", "kneeling": "get_up", "lying": "get_up"}
    names = {
        "sitting": "sit",
        "squatting": "crouch",
        "kneeling": "kneel",
        "lying": "lie",
        "plank": "plank",
        "wide_stance": "wide_stance",
        "all_fours": "kneel",
    }
    for before, after in itertools.pairwise(held):
        if before.kind in ("standing", "bending") and after.kind in down:
            moves = _near(events, "sink", after.start_s)
            add(down[after.kind], down[after.kind], *(moves or [after]))
        if before.kind in up and after.kind in ("standing", "bending", "squatting"):
            moves = _near(events, "rise", after.start_s)
            add(up[before.kind], up[before.kind], *(moves or [after]))
    for posture in held:
        if posture.kind in names and posture.duration_s >= 0.8:
            add(names[posture.kind], names[posture.kind], posture)
        if posture.kind == "upside_down":
            spun = [p for p in held if p.kind == "standing"]
            kind = "cartwheel" if spun and posture.duration_s < 2.0 else "upside_down"
            add(kind, kind, posture)


def _near(events: Sequence[MotionEvent], action: str, time_s: float) -> list[MotionEvent]:
    return [e for e in events if e.kind == action and e.start_s - 0.6 <= time_s <= e.end_s + 0.6]
