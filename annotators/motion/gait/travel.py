"""The path over the floor: walks, runs, climbs and crawls.

Lengths are relative to the person's leg length, see :mod:`annotators.motion.rules.posture`.

Shapes: T frames at 20 fps, N spans.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    measure_event,
)
from annotators.motion.rules.posture import (
    LOW_HIPS,
    LYING_DEG,
    hip_height,
    trunk_tilt_deg,
)
from annotators.motion.rules.sides import course_of, direction_of, is_sure_direction, ramp_pieces
from annotators.motion.signals import (
    PATH_SMOOTH_FRAMES,
    SIDES,
    Signals,
    Span,
    flexion_deg,
    hysteresis,
    join_spans,
    spans,
    speed_T,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS

GRAVITY_MPS2: Final = 9.81

# ---- path
MOVING_ON: Final = 0.40
MOVING_OFF: Final = 0.22
"""Speed in leg lengths per second. Swaying in place is slower than 0.2."""
MIN_PATH: Final = 0.75
"""Smallest path of a walk, leg lengths. About one step is only a shift of weight."""
MIN_LEG_SHARE: Final = 0.3
LONG_SWING_LIFT: Final = 0.20
LONG_SWING_S: Final = 0.7
"""A foot is in the air for at most 0.6 s in a slow step. If it stays up longer, the person balances
on the other leg, and the shift of the pelvis is no walk."""
BACKWARD_PACE: Final = 0.8
"""Largest speed of who surely walks backward, leg lengths per second."""
FEET_PASS: Final = 0.15
"""Smallest distance of the feet along the path before and after one passes the other."""
MIN_STRIDE: Final = 0.25
"""Smallest median change of the distance of the feet along the path in a walk; it is 0.35 in a slow
and 0.7 in a usual one."""
MIN_FULL_STRIDES: Final = 2
MAX_STEPS_WAY: Final = 1.5
MIN_UNSEEN_WAY: Final = 1.2
"""Smallest path of a walk of which one leg or the feet are not seen."""
MIN_CUT_WAY: Final = 1.0
"""The same for somebody who comes into the picture or leaves it, so that a part of it is seen."""
DRIFT_SHARE: Final = 0.3
UNSEEN_DRIFT_SHARE: Final = 0.5
"""An estimated path that is slower than this share of its highest speed is drift, or the body only
shifts before it sets off. Where a leg is not seen, more of a fast path is."""
FAST_PATH: Final = 1.5
"""Highest speed of a fast path, leg lengths per second."""
CUT_FRAMES: Final = FPS // 4
"""A path that starts or ends so near to the first or last frame is cut by it."""
LEAVING: Final = 0.5
"""Speed at the last frame of somebody who walks out of the picture, leg lengths per second."""
MIN_CLIMB: Final = 0.6
MIN_CLIMB_S: Final = 1.0
MAX_CLIMB_RATE: Final = 1.2
"""Largest speed of a climb, leg lengths per second; on stairs it is about 0.5."""
MIN_SKIP_HOPS: Final = 2
MIN_CRAWL: Final = 0.8
MAX_STEPS: Final = 2
"""A path with so few steps is told as steps, not as a walk."""
MIN_STEP: Final = 0.12
"""Smallest change of the distance between the ankles, along the path, in a step."""
RUN_SPEED: Final = 0.71
"""Speed divided by sqrt(g * leg) at a Froude number of 0.5, where people start to run."""
MIN_RUN_PACE: Final = 0.38
"""A run with a lower average speed is as slow as a walk, so its steps are noise."""
JOG_SPEED: Final = 0.55
BRISK_SPEED: Final = 0.40
RUN_CADENCE: Final = 2.55
"""Steps per second. A brisk walk has 2.2; a jog with short steps has 2.5 or more."""
FLIGHT_LIFT: Final = 0.05
RUN_FLIGHT_SHARE: Final = 0.12
"""Share of the time with both ankles above their standing height. It is 0 in a walk."""
SLOW_RUN_PACE: Final = 0.30
"""Smallest pace of a run that is told by the knees; a run in slow motion of a third has it."""
RUN_KNEE_DEG: Final = 85.0
"""Flexion of the knee of the foot that swings behind the body. In a walk it is about 60 degrees and
in a jog over 90, at any speed of the film. On stairs the knee bends as far, but with the foot below
or before the hips."""
RUN_STRAIGHT_DEG: Final = 55.0
RUN_KNEE_BEHIND: Final = -0.15


@dataclass(frozen=True, slots=True)
class Path:
    """The path of the body over the whole motion.

    Attributes:
        length_m: length of the horizontal path of the pelvis.
        net_m: distance between the ends of the path.
        turn_deg: total change of heading, positive to the person's left.
    """

    length_m: float
    net_m: float
    turn_deg: float


def path_of(signals: Signals) -> Path:
    """Return the length, net distance and turn of the path of the whole motion."""
    ground_T2 = _ground_T2(signals)
    length_m = float(travel(signals)[-1])
    net_m = float(np.linalg.norm(ground_T2[-1] - ground_T2[0]))
    turn_deg = float(np.degrees(signals.heading_T[-1] - signals.heading_T[0]))
    return Path(length_m, net_m, turn_deg)


def travel(signals: Signals) -> FloatArray:
    """Return the distance that the pelvis traveled up to each frame, (T,), meters."""
    ground_T2 = _ground_T2(signals)
    steps_T = np.linalg.norm(np.diff(ground_T2, axis=0, prepend=ground_T2[:1]), axis=1)
    return np.cumsum(steps_T)


def _ground_T2(signals: Signals, unit_m: float = 1.0) -> FloatArray:
    """Return the smoothed place of the pelvis over the floor, (T, 2), in a unit of length."""
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]] / unit_m
    return gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")


def moving_spans(signals: Signals, off_feet_T: BoolArray) -> list[Span]:
    """Return spans in which the body travels on its feet.

    A person whose feet come into the picture walks before as well if the hips are seen; the longer
    way that :func:`locomotion` asks of it tells it from a lean toward the camera.

    Args:
        signals: signals of the motion.
        off_feet_T: (T,) frames of flights and rolls, in which nobody walks.
    """
    if "torso" not in signals.parts:
        return []
    ground_T2 = _ground_T2(signals, signals.size.leg_m)
    speeds_T = speed_T(ground_T2)
    moving_T = hysteresis(speeds_T, MOVING_ON, MOVING_OFF)
    if not signals.exact:
        moving_T = _without_drift(signals, moving_T, speeds_T)
    moving_T &= ~(_on_one_leg_T(signals) | off_feet_T)
    result: list[Span] = []
    for start, end in join_spans(spans(moving_T), 4):
        length = float(np.linalg.norm(np.diff(ground_T2[start:end], axis=0), axis=1).sum())
        # Who walks in a circle ends at the start, but has been away.
        away = np.linalg.norm(ground_T2[start:end] - ground_T2[start], axis=1).max()
        if length >= MIN_PATH and away >= MIN_PATH / 2 and _legs_seen(signals, (start, end)):
            result.append((start, end))
    return result


def _without_drift(signals: Signals, moving_T: BoolArray, speeds_T: FloatArray) -> BoolArray:
    """Return the frames of paths without those that are slow for their path, (T,)."""
    result_T = np.zeros_like(moving_T)
    for start, end in spans(moving_T):
        path_N = speeds_T[start:end]
        seen_N = path_N[signals.part_T["torso"][start:end]]
        peak = seen_N.max() if len(seen_N) else path_N.max()
        unseen = UNSEEN_DRIFT_SHARE if peak >= FAST_PATH else DRIFT_SHARE
        share_N = np.where(signals.body_T[start:end], DRIFT_SHARE, unseen)
        result_T[start:end] = path_N >= share_N * peak
    return result_T


def _legs_seen(signals: Signals, span: Span) -> bool:
    """Return whether a leg is measured for a part of a span, or comes into the picture at its end.

    Whose legs are never seen may ride as well as walk.
    """
    if any(signals.seen(f"{side}_leg", span, MIN_LEG_SHARE) for side in SIDES):
        return signals.seen("torso", span, 0.5)
    around = slice(max(span[0] - FPS // 2, 0), span[1] + FPS // 2)
    legs_T = np.logical_or.reduce([signals.part_T[f"{side}_leg"] for side in SIDES])
    return bool(legs_T[around].sum() >= FPS // 4) and signals.seen("torso", span, 0.4)


def _on_one_leg_T(signals: Signals) -> BoolArray:
    """Return the frames at which one foot is in the air for longer than in a step, (T,)."""
    lift_T = signals.joint_T3("left_ankle")[:, 1] - signals.joint_T3("right_ankle")[:, 1]
    lift_T = lift_T / signals.size.leg_m
    result_T = np.zeros(signals.num_frames, dtype=np.bool_)
    for up_T in (lift_T, -lift_T):
        lifted_T = (up_T > LONG_SWING_LIFT) & signals.body_T
        for start, end in spans(lifted_T, int(LONG_SWING_S * FPS)):
            result_T[start:end] = True
    return result_T


def step_frames(signals: Signals, span: Span) -> list[int]:
    """Return the frames of a span at which one foot is furthest ahead, one per step."""
    return [span[0] + frame for frame in turning_points(_ahead(signals, span), MIN_STEP)]


def _ahead(signals: Signals, span: Span) -> FloatArray:
    """Return how far the left foot is ahead of the right along the path, (N,), leg lengths."""
    inside = slice(*span)
    ground_T2 = _ground_T2(signals)
    velocity_N2 = np.gradient(ground_T2, axis=0)[inside]
    course_N2 = velocity_N2 / np.maximum(np.linalg.norm(velocity_N2, axis=1, keepdims=True), 1e-9)
    apart_T3 = signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")
    return (apart_T3[inside][:, [0, 2]] * course_N2).sum(axis=1) / signals.size.leg_m


def flight_share(signals: Signals, span: Span) -> float:
    """Return the share of a span in which both ankles are above their standing height."""
    leg_m = signals.size.leg_m
    lifted_N = np.ones(span[1] - span[0], dtype=np.bool_)
    for side in SIDES:
        ankle_T = signals.joint_T3(f"{side}_ankle")[:, 1] - signals.floor_T
        lifted_N &= ankle_T[slice(*span)] > np.percentile(ankle_T, 8) + FLIGHT_LIFT * leg_m
    return float(lifted_N.mean())


def _course(signals: Signals, span: Span) -> Direction | None:
    """Return the dominant direction of travel relative to the body.

    People mostly go where they look. Of an estimated motion, another direction counts only if it
    lies in the image whatever the errors of facing and depth are: somebody who walks past the
    camera or toward it seems to step to the side. Nor do people walk backward fast, but the pose
    model takes the back of a body for its front now and then.
    """
    velocity_T3 = np.gradient(
        gaussian_filter1d(signals.joint_T3("pelvis"), PATH_SMOOTH_FRAMES, axis=0, mode="nearest"),
        axis=0,
    )
    way_N3 = velocity_T3[slice(*span)]
    left, ahead = course_of(signals, way_N3, span)
    direction = direction_of(left, ahead)
    if signals.exact or direction is Direction.FORWARD:
        return direction
    if direction is not Direction.BACKWARD and _feet_pass(signals, span):
        return Direction.FORWARD
    pace = float(np.hypot(left, ahead)) / max(span[1] - span[0], 1) * FPS / signals.size.leg_m
    if direction is Direction.BACKWARD and pace > BACKWARD_PACE:
        return None
    return direction if is_sure_direction(signals, way_N3, span, direction) else None


def _feet_pass(signals: Signals, span: Span) -> bool:
    """Return whether the feet pass each other along the path.

    They do not in steps to the side, in which one foot leads and the other follows. If they do, the
    estimated heading is wrong, and the person walks where the path goes.
    """
    ahead_T = _ahead(signals, span)
    return float(ahead_T.max()) > FEET_PASS and float(ahead_T.min()) < -FEET_PASS


def locomotion(signals: Signals, off_feet_T: BoolArray) -> list[MotionEvent]:
    """Find walks and runs with their direction, distance, speed and number of steps.

    A path of up to two steps is no walk, see :func:`steps`.

    Args:
        signals: signals of the motion.
        off_feet_T: (T,) frames of flights and rolls.
    """
    hips_T = hip_height(signals)
    tilt_T = trunk_tilt_deg(signals)
    result: list[MotionEvent] = []
    for path in moving_spans(signals, off_feet_T):
        span, inside = path, slice(*path)
        if np.median(hips_T[inside]) < LOW_HIPS or np.median(tilt_T[inside]) > LYING_DEG:
            continue
        feet = step_frames(signals, span)
        both = all(signals.seen(f"{side}_leg", span, 0.5) for side in SIDES)
        if both and (len(feet) - 1 < 1 or _shuffles(signals, span, feet)):
            feet = _striding(signals, span, feet)
            if not feet:
                continue
            span = (feet[0], feet[-1] + 1)
        gait = _gait(signals, span, feet, both=both)
        if gait is None:
            continue
        sideways = gait.direction in (Direction.LEFT, Direction.RIGHT)
        if sideways and not signals.sees_direction(span, across=True):
            continue  # Who is seen from the side seems to step toward the camera: drift.
        leaves = _leaves(signals, span)
        few = both and len(feet) - 1 <= MAX_STEPS and gait.kind is not EventKind.RUN
        if few and not leaves:
            short = gait.magnitude <= MAX_STEPS_WAY * signals.size.leg_m
            if short or len(feet) - 1 < MAX_STEPS:
                continue
        cut = leaves or (span[0] <= CUT_FRAMES and not signals.exact)
        least = MIN_CUT_WAY if cut else MIN_UNSEEN_WAY
        if both or gait.magnitude >= least * signals.size.leg_m:
            result.append(gait)
    return result


def _leaves(signals: Signals, span: Span) -> bool:
    """Return whether somebody is under way at the last frame of an estimated motion.

    Of a walk out of the picture only the first steps are seen.
    """
    if signals.exact or span[1] < signals.num_frames - CUT_FRAMES:
        return False
    ground_T2 = _ground_T2(signals, signals.size.leg_m)
    return float(speed_T(ground_T2)[-1]) >= LEAVING


def _shuffles(signals: Signals, span: Span, feet: list[int]) -> bool:
    """Return whether the feet hardly pass each other, so that the path is an error of the root.

    Motion capture has no such errors.
    """
    if signals.exact:
        return False
    ways = _ways(signals, span, feet)
    return len(ways) == 0 or float(np.median(ways)) < MIN_STRIDE


def _ways(signals: Signals, span: Span, feet: list[int]) -> FloatArray:
    """Return how far the distance of the feet along the path changes in each step, leg lengths."""
    ahead_N = _ahead(signals, span)
    return np.abs(np.diff(ahead_N[[frame - span[0] for frame in feet]]))


def _striding(signals: Signals, span: Span, feet: list[int]) -> list[int]:
    """Return the frames of steps of the longest part of an estimated path with full strides.

    Somebody who has stood with drifting feet walks off, or comes to a stand. It is empty if no two
    strides follow each other, or if the part is too short.
    """
    if signals.exact:
        return []
    long_ = spans(_ways(signals, span, feet) >= MIN_STRIDE, MIN_FULL_STRIDES)
    if not long_:
        return []
    start, end = max(long_, key=lambda part: part[1] - part[0])
    way_m = travel(signals)[feet[end]] - travel(signals)[feet[start]]
    return feet[start : end + 1] if way_m >= MIN_PATH * signals.size.leg_m else []


def _gait(signals: Signals, span: Span, steps: list[int], *, both: bool) -> MotionEvent | None:
    """Measure a walk or run over a span.

    Args:
        signals: signals of the motion.
        span: frames of the path.
        steps: frames of its steps.
        both: whether both legs are seen. Otherwise the pace alone tells a run.

    Returns:
        The walk or run; None if the legs are not seen and the pace is that of both.
    """
    leg_m = signals.size.leg_m
    ground_T3 = gaussian_filter1d(
        signals.joint_T3("pelvis"), PATH_SMOOTH_FRAMES, axis=0, mode="nearest"
    )
    speed = speed_T(ground_T3[:, [0, 2]])
    inside = slice(*span)
    num_steps = max(len(steps) - 1, 0)
    duration_s = max(signals.end_s(span) - signals.start_s(span), 1 / FPS)
    lasts_s = max((steps[-1] - steps[0]) / FPS, 1 / FPS) if num_steps else duration_s
    cadence_hz = num_steps / lasts_s
    length_m = float(np.linalg.norm(np.diff(ground_T3[inside][:, [0, 2]], axis=0), axis=1).sum())
    root = np.sqrt(GRAVITY_MPS2 * leg_m)
    pace = float(np.percentile(speed[inside], 70)) / root
    flies = both and flight_share(signals, span) >= RUN_FLIGHT_SHARE
    # Steps of an estimate are counted too often where it shakes, so a jog has to be seen to fly.
    jogs = cadence_hz >= RUN_CADENCE and (signals.exact or flies)
    runs = length_m / duration_s / root >= MIN_RUN_PACE and (
        pace >= RUN_SPEED or (pace >= JOG_SPEED and flies) or (pace >= BRISK_SPEED and jogs)
    )
    if not (runs or both) and pace >= JOG_SPEED:
        return None
    bends = length_m / duration_s / root >= SLOW_RUN_PACE and kicks_back(signals, span)
    return measure_event(
        signals,
        span,
        EventKind.RUN if runs or bends else EventKind.WALK,
        Part.BODY,
        direction=_course(signals, span),
        magnitude=length_m,
        peak_speed=float(speed[inside].max()),
        count=max(num_steps, 1),
        frequency_hz=cadence_hz,
    )


def kicks_back(signals: Signals, span: Span) -> bool:
    """Return whether the feet swing up behind the body with bent knees, as in a run."""
    peaks: list[float] = []
    for side in SIDES:
        if not signals.seen(f"{side}_leg", span, 0.6):
            return False
        knee_T = flexion_deg(signals, f"{side}_hip", f"{side}_knee", f"{side}_ankle")
        foot_T3 = signals.in_body_axes(signals.joint_T3(f"{side}_ankle") - signals.hips_T3())
        behind_T = foot_T3[:, 2] / signals.size.leg_m < RUN_KNEE_BEHIND
        bent_N = np.where(behind_T, knee_T, 0.0)[slice(*span)]
        # A leg that carries the body is nearly straight in between; one that never is, is a guess.
        carries = knee_T[slice(*span)].min() <= RUN_STRAIGHT_DEG
        peaks.append(float(bent_N.max()) if carries else 0.0)
    return min(peaks) >= RUN_KNEE_DEG


def crawls(signals: Signals, held: list[Posture]) -> list[MotionEvent]:
    """Find paths over the floor on hands and knees or hands and feet."""
    leg_m = signals.size.leg_m
    way_T = travel(signals)
    result: list[MotionEvent] = []
    for posture in held:
        if posture.kind not in (PostureKind.ALL_FOURS, PostureKind.HANDS_AND_FEET):
            continue
        span = signals.frames_of(posture.start_s, posture.end_s)
        ground_N2 = signals.joint_T3("pelvis")[slice(*span)][:, [0, 2]]
        net_m = float(np.linalg.norm(ground_N2[-1] - ground_N2[0])) if len(ground_N2) else 0.0
        if net_m < MIN_CRAWL * leg_m or posture.duration_s < 0.8:
            continue
        result.append(
            measure_event(
                signals,
                span,
                EventKind.CRAWL,
                Part.BODY,
                direction=_course(signals, span),
                magnitude=float(way_T[span[1] - 1] - way_T[span[0]]),
                peak_speed=float(np.gradient(way_T)[slice(*span)].max() * FPS),
            )
        )
    return result


def climbs(signals: Signals, off_feet_T: BoolArray) -> list[MotionEvent]:
    """Find bodies that go up or down against the scene, feet and hips alike, and not in a flight.

    Args:
        signals: signals of the motion.
        off_feet_T: (T,) frames of flights and rolls.
    """
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    hips_T = gaussian_filter1d(signals.hips_T3()[:, 1] / leg_m, 4.0, mode="nearest")
    feet_T = gaussian_filter1d(signals.floor_T / leg_m, FPS / 2, mode="nearest")
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(turning_points(feet_T, MIN_CLIMB)):
        for span in ramp_pieces(feet_T, start, end, MIN_CLIMB):
            first, last = span[0], span[1] - 1
            change = float(feet_T[last] - feet_T[first])
            hips = float(hips_T[last] - hips_T[first])
            slow = (last - first) / FPS >= MIN_CLIMB_S and abs(change) <= MAX_CLIMB_RATE * (
                (last - first) / FPS
            )
            alike = hips * np.sign(change) >= 0.7 * abs(change)
            seen = signals.body_T[slice(*span)].mean() >= 0.6
            if abs(change) < MIN_CLIMB or not (slow and alike and seen):
                continue
            if off_feet_T[slice(*span)].mean() > 0.2:
                continue
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.CLIMB,
                    Part.BODY,
                    direction=Direction.UP if change > 0 else Direction.DOWN,
                    magnitude=abs(change) * leg_m,
                    peak_speed=float(np.abs(np.gradient(hips_T)[slice(*span)]).max() * FPS) * leg_m,
                )
            )
    return result


def skips(events: list[MotionEvent]) -> list[MotionEvent]:
    """Turn hops on alternate legs within a walk or run into skipping.

    Args:
        events: walks, runs and hops of a motion.

    Returns:
        The events, with the walk replaced and the hops removed where the person skips.
    """
    result = list(events)
    for walk in [e for e in events if e.kind in (EventKind.WALK, EventKind.RUN)]:
        hops = sorted(
            (
                e
                for e in events
                if e.kind is EventKind.HOP and walk.start_s - 0.3 <= e.start_s <= walk.end_s + 0.3
            ),
            key=lambda e: e.start_s,
        )
        changes = sum(a.side is not b.side for a, b in itertools.pairwise(hops))
        if len(hops) >= MIN_SKIP_HOPS and changes >= len(hops) - 1:
            result = [e for e in result if e is not walk and e not in hops]
            result.append(replace(walk, kind=EventKind.SKIP, count=len(hops)))
        elif sum(e.duration_s for e in hops) >= 0.5 * walk.duration_s:
            result.remove(walk)  # Who hops along on one leg neither walks nor runs.
    return result
