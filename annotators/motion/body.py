"""Whole-body rules: posture, path and steps, turns, jumps.

Shapes: T frames at 20 fps, N spans. Lengths are compared with the person's own leg, so that the
rules hold for a child, and for an estimate whose scale is off. The codes follow the idea of
MotionScript (Yazdian et al., arXiv 2312.12634) and PoseScript: joint relations cut into named bins.
The bin edges below are ours, set by
looking at the CMU sequences and at half of the Bandai-Namco takes.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from annotators.motion.events import (
    Direction,
    EventKind,
    Facing,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
    Unit,
    measure_event,
)
from annotators.motion.signals import (
    PATH_SMOOTH_FRAMES,
    SIDES,
    Bools,
    Floats,
    Signals,
    Span,
    flexion_deg,
    hysteresis,
    join_spans,
    spans,
    speed_T,
    trim_ramp,
    turning_points,
)
from data.motion.skeleton import FPS

GRAVITY_MPS2: Final = 9.81

# ---- posture (angles of the trunk from upright; heights in leg lengths above the floor)
UPRIGHT_DEG: Final = 45.0
"""A trunk further from upright than this is bent over (PoseScript's vertical/horizontal split)."""
LYING_DEG: Final = 60.0
UPSIDE_DOWN_DEG: Final = 125.0
STANDING_HIPS: Final = 0.85
"""Hips this high, by the leg length: the legs are about straight and carry the body."""
LOW_HIPS: Final = 0.70
"""Under it the body is down: squatting, sitting or kneeling (knees bent by about 90 degrees)."""
GROUND_HIPS: Final = 0.35
"""The seat is on the ground."""
LYING_SHOULDERS: Final = 0.60
NEAR_FLOOR: Final = 0.22
"""A knee or a hand that touches the floor: joints lie above the skin and the floor is estimated."""
STRAIGHT_KNEE_DEG: Final = 50.0
FEET_UNDER: Final = 0.35
"""Horizontal distance hips to feet under which a squat is carried by the feet."""
WIDE_FEET: Final = 0.80
WIDE_HIPS: Final = 0.85
"""A lunge, or a straddle: feet further apart than a long step, hips sunk between them."""
ONE_LEG_LIFT: Final = 0.20
"""Foot this far above the other, held: one leg carries the body."""
ONE_LEG_MIN_S: Final = 1.2
MIN_POSTURE_FRAMES: Final = 6
"""0.3 s; a shorter posture is a passage between two."""

MIN_SINK: Final = 0.22
MIN_SINK_ESTIMATED: Final = 0.28
"""Hips going down or up, leg lengths."""

# ---- path
MOVING_ON: Final = 0.40
MOVING_OFF: Final = 0.22
"""Speed in leg lengths per second. Swaying on the spot stays under 0.2."""
MIN_PATH: Final = 0.75
"""Leg lengths; one step, about, is a shift of weight and no walk."""
MIN_STEP: Final = 0.12
"""Change of the distance between the ankles, along the path, that makes a step."""
RUN_SPEED: Final = 0.71
"""Speed over sqrt(g * leg): Froude number 0.5, where people change from walk to run."""
MIN_RUN_PACE: Final = 0.38
"""A run that is on average slower than a walk has its steps from noise."""
BRISK_SPEED: Final = 0.40
RUN_CADENCE: Final = 2.55
"""Steps per second. A brisk walk makes 2.2, a jog of short steps 2.5 and more."""
FLIGHT_LIFT: Final = 0.05
RUN_FLIGHT_SHARE: Final = 0.12
"""Share of the time with both ankles above their standing height: a walk has none."""

# ---- turns and jumps
MIN_TURN_DEG: Final = 45.0
TURN_STEP_DEG: Final = 30.0
MIN_TURN_RATE_DPS: Final = 15.0
PRESS_RISE: Final = 0.15
"""Shoulders pushed off the floor, leg lengths."""
STILL_SPEED: Final = 0.20
"""Leg lengths per second of the faster joints: breathing and balance stay under it."""
JUMP_LIFT: Final = 0.07
JUMP_RISE: Final = 0.20
"""Hips from their lowest to their highest; a runner's rise by about 0.12."""
MIN_JUMP_FRAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Path:
    """Where the body went over the whole motion.

    Attributes:
        length_m: length of the pelvis' path over the floor.
        net_m: distance between its ends.
        turn_deg: total change of heading; positive to the person's left.
    """

    length_m: float
    net_m: float
    turn_deg: float


# ------------------------------------------------------------------------------------- posture


def trunk_tilt_deg(signals: Signals) -> Floats:
    """Angle of the trunk from upright, (T,), degrees."""
    trunk_T3 = signals.trunk_T3()
    return np.degrees(np.arctan2(np.hypot(trunk_T3[:, 0], trunk_T3[:, 2]), trunk_T3[:, 1]))


def hip_height(signals: Signals) -> Floats:
    """Height of the hips over the lower foot, (T,), leg lengths."""
    return (signals.hips_T3()[:, 1] - signals.floor_T) / signals.size.leg_m


def _posture_codes(signals: Signals) -> list[tuple[PostureKind, Bools]]:
    """Each posture with the frames (T,) that qualify; the first that holds is taken."""
    leg_m = signals.size.leg_m
    legs = signals.leg_sides
    tilt_T = trunk_tilt_deg(signals)
    hips_T = hip_height(signals)
    shoulders_T = signals.height_T("left_shoulder", "right_shoulder") / leg_m
    knees_T = signals.height_T(*(f"{side}_knee" for side in legs)) / leg_m
    ankles_TN3 = np.stack([signals.joint_T3(f"{side}_ankle") for side in legs], axis=1)
    ankles_TN3 = (ankles_TN3 - signals.hips_T3()[:, None]) / leg_m
    top_foot_T = ankles_TN3[:, :, 1].max(axis=1)
    bend_T = np.min(
        [flexion_deg(signals, f"{s}_hip", f"{s}_knee", f"{s}_ankle") for s in legs], axis=0
    )
    offset_T3 = ankles_TN3.mean(axis=1)
    under_T = np.hypot(offset_T3[:, 0], offset_T3[:, 2]) < FEET_UNDER
    ahead_T = signals.in_body_axes(offset_T3)[:, 2]

    apart_T3 = signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")
    wide_T = np.hypot(apart_T3[:, 0], apart_T3[:, 2]) > WIDE_FEET * leg_m
    wide_T &= (np.abs(apart_T3[:, 1]) < NEAR_FLOOR * leg_m) & signals.legs_seen

    arms = [side for side in SIDES if f"{side}_arm" in signals.parts]
    hands_T = signals.height_T(*(f"{side}_wrist" for side in arms or SIDES)) / leg_m
    on_hands_T = (hands_T < NEAR_FLOOR) & (shoulders_T > hands_T + 0.2) & np.bool_(bool(arms))
    low_T = hips_T < LOW_HIPS
    return [
        (PostureKind.UPSIDE_DOWN, (tilt_T > UPSIDE_DOWN_DEG) & (top_foot_T > 0.1)),
        (
            PostureKind.LYING,
            (tilt_T > LYING_DEG)
            & (hips_T < GROUND_HIPS + 0.1)
            & (shoulders_T < LYING_SHOULDERS)
            & ~(on_hands_T & (hips_T > GROUND_HIPS)),
        ),
        (PostureKind.ALL_FOURS, on_hands_T & (tilt_T > UPRIGHT_DEG) & (knees_T < NEAR_FLOOR)),
        (PostureKind.PLANK, on_hands_T & (tilt_T > UPRIGHT_DEG) & (hips_T < LOW_HIPS) & ~under_T),
        (PostureKind.HANDS_AND_FEET, on_hands_T & (tilt_T > UPRIGHT_DEG) & (bend_T < 90.0)),
        (
            PostureKind.SITTING,
            low_T & (hips_T < GROUND_HIPS) & (tilt_T <= LYING_DEG) & (ahead_T > 0.0),
        ),
        (
            PostureKind.WIDE_STANCE,
            (hips_T < WIDE_HIPS) & wide_T & ~on_hands_T & (tilt_T <= UPRIGHT_DEG),
        ),
        (
            PostureKind.KNEELING,
            low_T & (knees_T < NEAR_FLOOR) & (tilt_T <= LYING_DEG) & ~on_hands_T,
        ),
        (
            PostureKind.SITTING,
            low_T & (ahead_T > FEET_UNDER - 0.05) & (bend_T > 40.0) & (tilt_T < 50.0),
        ),
        (PostureKind.SQUATTING, low_T & under_T),
        (PostureKind.BENDING, tilt_T > UPRIGHT_DEG),
    ]


def _facing(signals: Signals, span: Span) -> Facing:
    """Whether the chest points down, up, or sideways."""
    across_T3 = signals.joint_T3("left_shoulder") - signals.joint_T3("right_shoulder")
    shoulders_T3 = (signals.joint_T3("left_shoulder") + signals.joint_T3("right_shoulder")) / 2
    trunk_T3 = shoulders_T3 - signals.hips_T3()
    chest_T3 = np.cross(across_T3, trunk_T3)[span[0] : span[1]]
    up = float(np.median(chest_T3[:, 1] / np.maximum(np.linalg.norm(chest_T3, axis=1), 1e-9)))
    if abs(up) < 0.5:
        return Facing.SIDE
    return Facing.SUPINE if up > 0 else Facing.PRONE


def postures(signals: Signals) -> list[Posture]:
    """How the body is held over time; ``unknown`` where torso and legs are not measured."""
    if not signals.posture_seen:
        start_s, end_s = float(signals.time_T[0]), float(signals.time_T[-1])
        return [Posture(PostureKind.UNKNOWN, start_s, end_s)]
    names = [PostureKind.STANDING]
    code_T = np.zeros(signals.num_frames, dtype=np.intp)
    for name, mask_T in reversed(_posture_codes(signals)):
        names.append(name)
        code_T[mask_T] = len(names) - 1
    code_T = median_filter(code_T, size=min(7, signals.num_frames), mode="nearest")
    body_T = signals.part_T["torso"] & np.any(
        [signals.part_T[f"{side}_leg"] for side in signals.leg_sides], axis=0
    )

    # One kind may have two codes: compare by name.
    kind_T = np.array(names)[code_T]
    edges = [0, *(np.flatnonzero(kind_T[1:] != kind_T[:-1]) + 1).tolist(), len(kind_T)]
    runs: list[tuple[PostureKind, Span]] = []
    for start, end in itertools.pairwise(edges):
        kind = PostureKind(kind_T[start])
        short = end - start < min(MIN_POSTURE_FRAMES, signals.num_frames)
        if runs and (short or runs[-1][0] == kind):
            runs[-1] = (runs[-1][0], (runs[-1][1][0], end))
        elif short and end < len(kind_T):
            # A passage at the very start belongs to what follows.
            kind_T[start:end] = kind_T[end]
            runs.append((PostureKind(kind_T[end]), (start, end)))
        else:
            runs.append((kind, (start, end)))

    tilt_T, hips_T = trunk_tilt_deg(signals), hip_height(signals)
    result: list[Posture] = []
    for kind, span in runs:
        inside = slice(*span)
        seen_kind = kind if body_T[inside].mean() >= 0.5 else PostureKind.UNKNOWN
        result.append(
            Posture(
                seen_kind,
                signals.start_s(span),
                signals.end_s(span),
                tilt_deg=float(np.median(tilt_T[inside])),
                hips=float(np.median(hips_T[inside])),
                facing=_facing(signals, span) if seen_kind is PostureKind.LYING else None,
            )
        )
    return result


def one_leg_balances(signals: Signals, moving_T: Bools) -> list[Posture]:
    """Spans in which one leg carries the body while the person stays on the spot."""
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    lift_T = signals.joint_T3("left_ankle")[:, 1] - signals.joint_T3("right_ankle")[:, 1]
    upright_T = (hip_height(signals) > LOW_HIPS) & ~moving_T
    result: list[Posture] = []
    for side, raised_T in ((Side.LEFT, -lift_T), (Side.RIGHT, lift_T)):
        mask_T = hysteresis(raised_T / leg_m, ONE_LEG_LIFT, 0.7 * ONE_LEG_LIFT) & upright_T
        result += [
            Posture(
                PostureKind.ONE_LEG,
                signals.start_s(span),
                signals.end_s(span),
                side=side,
                lift_m=float(np.median(raised_T[slice(*span)])),
            )
            for span in spans(mask_T, int(ONE_LEG_MIN_S * FPS))
        ]
    return result


# ---------------------------------------------------------------------------------------- path


def path_of(signals: Signals) -> Path:
    """Length, net distance and turning of the whole motion."""
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]]
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    length_m = float(travel(signals)[-1])
    net_m = float(np.linalg.norm(ground_T2[-1] - ground_T2[0]))
    turn_deg = float(np.degrees(signals.heading_T[-1] - signals.heading_T[0]))
    return Path(length_m, net_m, turn_deg)


def travel(signals: Signals) -> Floats:
    """Way of the pelvis over the floor up to each frame, (T,), metres."""
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]]
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    steps_T = np.linalg.norm(np.diff(ground_T2, axis=0, prepend=ground_T2[:1]), axis=1)
    return np.cumsum(steps_T)


def moving_spans(signals: Signals) -> list[Span]:
    """Spans in which the body travels over the floor on its feet."""
    if not signals.body_seen:
        return []
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]] / signals.size.leg_m
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    moving_T = hysteresis(speed_T(ground_T2), MOVING_ON, MOVING_OFF)
    body_T = signals.part_T["left_leg"] & signals.part_T["right_leg"]
    result: list[Span] = []
    for start, end in join_spans(spans(moving_T), 4):
        length = float(np.linalg.norm(np.diff(ground_T2[start:end], axis=0), axis=1).sum())
        net = float(np.linalg.norm(ground_T2[end - 1] - ground_T2[start]))
        if length >= MIN_PATH and net >= MIN_PATH / 2 and body_T[start:end].mean() >= 0.5:
            result.append((start, end))
    return result


def step_frames(signals: Signals, span: Span) -> list[int]:
    """Frames inside the span at which a foot is furthest ahead of the other: one per step."""
    start, end = span
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]]
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    velocity_N2 = np.gradient(ground_T2, axis=0)[start:end]
    course_N2 = velocity_N2 / np.maximum(np.linalg.norm(velocity_N2, axis=1, keepdims=True), 1e-9)
    apart_T3 = signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")
    ahead_N = (apart_T3[start:end][:, [0, 2]] * course_N2).sum(axis=1) / signals.size.leg_m
    return [start + frame for frame in turning_points(ahead_N, MIN_STEP)]


def _flight_share(signals: Signals, span: Span) -> float:
    """Share of the span in which both ankles are higher than they are when they stand."""
    leg_m = signals.size.leg_m
    lifted_N = np.ones(span[1] - span[0], dtype=np.bool_)
    for side in SIDES:
        ankle_T = signals.joint_T3(f"{side}_ankle")[:, 1] - signals.floor_T
        lifted_N &= ankle_T[slice(*span)] > np.percentile(ankle_T, 8) + FLIGHT_LIFT * leg_m
    return float(lifted_N.mean())


def _course(signals: Signals, span: Span) -> Direction:
    """Direction of travel in the body's terms, by the larger share of the way."""
    velocity_T3 = np.gradient(
        gaussian_filter1d(signals.joint_T3("pelvis"), PATH_SMOOTH_FRAMES, axis=0, mode="nearest"),
        axis=0,
    )
    left, _, ahead = signals.in_body_axes(velocity_T3)[slice(*span)].sum(axis=0)
    if abs(ahead) >= abs(left):
        return Direction.FORWARD if ahead >= 0 else Direction.BACKWARD
    return Direction.LEFT if left > 0 else Direction.RIGHT


def locomotion(signals: Signals) -> list[MotionEvent]:
    """Walks and runs: direction, way, speed, steps."""
    leg_m = signals.size.leg_m
    ground_T3 = gaussian_filter1d(
        signals.joint_T3("pelvis"), PATH_SMOOTH_FRAMES, axis=0, mode="nearest"
    )
    speed = speed_T(ground_T3[:, [0, 2]])
    hips_T = hip_height(signals)
    tilt_T = trunk_tilt_deg(signals)
    result: list[MotionEvent] = []
    for span in moving_spans(signals):
        inside = slice(*span)
        if np.median(hips_T[inside]) < LOW_HIPS or np.median(tilt_T[inside]) > LYING_DEG:
            continue
        steps = step_frames(signals, span)
        num_steps = max(len(steps) - 1, 0)
        duration_s = max(signals.end_s(span) - signals.start_s(span), 1 / FPS)
        if num_steps < 2:
            continue
        cadence_hz = num_steps / max((steps[-1] - steps[0]) / FPS, 1 / FPS)
        usual_mps = float(np.percentile(speed[inside], 70))
        pace = usual_mps / np.sqrt(GRAVITY_MPS2 * leg_m)
        flies = _flight_share(signals, span) >= RUN_FLIGHT_SHARE
        length_m = float(
            np.linalg.norm(np.diff(ground_T3[inside][:, [0, 2]], axis=0), axis=1).sum()
        )
        mean_pace = length_m / duration_s / np.sqrt(GRAVITY_MPS2 * leg_m)
        runs = mean_pace >= MIN_RUN_PACE and (
            pace >= RUN_SPEED
            or (pace >= 0.55 and flies)
            or (pace >= BRISK_SPEED and cadence_hz >= RUN_CADENCE)
        )
        result.append(
            measure_event(
                signals,
                span,
                EventKind.RUN if runs else EventKind.WALK,
                Part.BODY,
                direction=_course(signals, span),
                magnitude=length_m,
                peak_speed=float(speed[inside].max()),
                count=num_steps,
                frequency_hz=cadence_hz,
            )
        )
    return result


# ------------------------------------------------------------------------------ turns and jumps


def turns(signals: Signals) -> list[MotionEvent]:
    """Changes of heading of at least 45 degrees."""
    if "torso" not in signals.parts:
        return []
    yaw_T = np.degrees(signals.heading_T)
    # The heading of a body that lies or bends deep says nothing.
    upright_T = trunk_tilt_deg(signals) < LYING_DEG
    points = turning_points(yaw_T, TURN_STEP_DEG)
    result: list[MotionEvent] = []
    rate_T = np.gradient(yaw_T) * FPS if len(yaw_T) > 1 else np.zeros_like(yaw_T)
    for start, end in itertools.pairwise(points):
        way = np.sign(yaw_T[end] - yaw_T[start])
        # Pauses inside a turn in one direction make it two turns.
        turning_T = hysteresis(rate_T * way, 2 * MIN_TURN_RATE_DPS, MIN_TURN_RATE_DPS)
        turning_T[:start] = turning_T[end + 1 :] = False
        for span in join_spans(spans(turning_T, 4), 5):
            amount = float(abs(yaw_T[span[1] - 1] - yaw_T[span[0]]))
            if amount < MIN_TURN_DEG or not signals.seen("torso", span, 0.7):
                continue
            if upright_T[slice(*span)].mean() < 0.8:
                continue
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.TURN,
                    Part.BODY,
                    direction=Direction.LEFT if way > 0 else Direction.RIGHT,
                    magnitude=amount,
                    unit=Unit.DEGREES,
                    peak_speed=float(np.abs(rate_T[slice(*span)]).max()),
                )
            )
    return result


def jumps(signals: Signals) -> list[MotionEvent]:
    """Spans with both feet off the floor and the hips thrown up."""
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    lift_T = np.minimum(
        *(
            signals.height_T(f"{side}_ankle", f"{side}_foot")
            - np.percentile(signals.height_T(f"{side}_ankle", f"{side}_foot"), 10)
            for side in SIDES
        )
    )
    hips_T = signals.hips_T3()[:, 1]
    tilt_T = trunk_tilt_deg(signals)
    ground_T3 = signals.joint_T3("pelvis")
    rise_T = np.gradient(hips_T) * FPS if len(hips_T) > 1 else np.zeros_like(hips_T)
    result: list[MotionEvent] = []
    for start, end in spans(hysteresis(lift_T / leg_m, JUMP_LIFT, JUMP_LIFT / 2), MIN_JUMP_FRAMES):
        top = start + int(np.argmax(hips_T[start:end]))
        before = hips_T[max(0, start - 8) : top + 1].min()
        after = hips_T[top : min(len(hips_T), end + 8)].min()
        if (
            hips_T[top] - max(before, after) < JUMP_RISE * leg_m
            or tilt_T[start:end].max() > LYING_DEG
            or not signals.seen("left_leg", (start, end))
            or not signals.seen("right_leg", (start, end))
            or end - start > FPS  # Longer than a second is a hang or a drifting floor.
        ):
            continue
        way_T3 = signals.in_body_axes(ground_T3[[end - 1]] - ground_T3[[start]] + 0 * ground_T3)
        left, _, ahead = way_T3[top]
        height_m, way_m = float(lift_T[start:end].max()), float(np.hypot(left, ahead))
        if way_m < 0.3 * leg_m:
            direction = Direction.UP
        elif abs(ahead) >= abs(left):
            direction = Direction.FORWARD if ahead > 0 else Direction.BACKWARD
        else:
            direction = Direction.LEFT if left > 0 else Direction.RIGHT
        gap_N = (
            signals.joint_T3("left_ankle")[start:end, 1]
            - signals.joint_T3("right_ankle")[start:end, 1]
        ) / leg_m
        # A hop keeps the same foot up from take-off to landing.
        one_foot = abs(gap_N.mean()) > 0.15 and bool(
            (gap_N[[0, -1]] * np.sign(gap_N.mean()) > 0.1).all()
        )
        standing = Side.RIGHT if gap_N.mean() > 0 else Side.LEFT
        result.append(
            measure_event(
                signals,
                (max(0, start - 3), min(len(hips_T), end + 3)),
                EventKind.HOP if one_foot else EventKind.JUMP,
                Part.BODY,
                side=standing if one_foot else None,
                direction=direction,
                magnitude=height_m,
                peak_speed=float(np.abs(rise_T[start:end]).max()),
                air_s=(end - start) / FPS,
                way_m=way_m,
            )
        )
    return result


def level_changes(signals: Signals) -> list[MotionEvent]:
    """The hips going down or up far enough to be told."""
    if not signals.posture_seen:
        return []
    leg_m = signals.size.leg_m
    hips_T = gaussian_filter1d(hip_height(signals), 2.0, mode="nearest")
    result: list[MotionEvent] = []
    points = turning_points(hips_T, MIN_SINK if signals.exact else MIN_SINK_ESTIMATED)
    for start, end in itertools.pairwise(points):
        span = trim_ramp(hips_T, start, end)
        change = float(hips_T[span[1] - 1] - hips_T[span[0]])
        if not any(signals.seen(f"{side}_leg", span, 0.7) for side in signals.leg_sides):
            continue
        speed_mps = np.abs(np.gradient(hips_T)[slice(*span)]) * FPS * leg_m
        result.append(
            measure_event(
                signals,
                span,
                EventKind.RISE if change > 0 else EventKind.SINK,
                Part.BODY,
                direction=Direction.UP if change > 0 else Direction.DOWN,
                magnitude=abs(change) * leg_m,
                peak_speed=float(speed_mps.max()),
            )
        )
    return result


def presses(signals: Signals, held: list[Posture]) -> list[MotionEvent]:
    """The shoulders pushed up from the floor, or let down, while the hands stay on it."""
    arms = [side for side in SIDES if f"{side}_arm" in signals.parts]
    if not signals.posture_seen or not arms:
        return []
    leg_m = signals.size.leg_m
    middle_T = (signals.joint_T3("left_shoulder") + signals.joint_T3("right_shoulder"))[:, 1] / 2
    shoulders_T = gaussian_filter1d((middle_T - signals.floor_T) / leg_m, 2.0, mode="nearest")
    hands_T = np.max([signals.joint_T3(f"{side}_wrist")[:, 1] for side in arms], axis=0)
    on_floor_T = (hands_T - signals.floor_T) / leg_m < 2 * NEAR_FLOOR
    low = (PostureKind.LYING, PostureKind.PLANK, PostureKind.ALL_FOURS)
    down = [p for p in held if p.kind in low]
    result: list[MotionEvent] = []
    points = turning_points(shoulders_T, PRESS_RISE)
    for start, end in itertools.pairwise(points):
        span = trim_ramp(shoulders_T, start, end)
        change = float(shoulders_T[span[1] - 1] - shoulders_T[span[0]])
        low_s = signals.start_s(span) if change > 0 else signals.end_s(span)
        if (
            abs(change) < PRESS_RISE * 0.8
            or on_floor_T[slice(*span)].mean() < 0.7
            or not any(p.start_s - 0.2 <= low_s <= p.end_s + 0.2 for p in down)
        ):
            continue
        speed_mps = np.abs(np.gradient(shoulders_T)[slice(*span)]) * FPS * leg_m
        result.append(
            measure_event(
                signals,
                span,
                EventKind.PRESS if change > 0 else EventKind.UNPRESS,
                Part.TORSO,
                direction=Direction.UP if change > 0 else Direction.DOWN,
                magnitude=abs(change) * leg_m,
                peak_speed=float(speed_mps.max()),
            )
        )
    return result


def still_spans(signals: Signals) -> list[Span]:
    """Spans of a second and more in which no measured joint moves noticeably."""
    seen_J = signals.usable_TJ.mean(axis=0) >= 0.6
    if not seen_J.any():
        return []
    joints_TN3 = gaussian_filter1d(signals.joints_TJ3[:, seen_J], 2.0, axis=0, mode="nearest")
    fastest_T = np.percentile(speed_T(joints_TN3), 90, axis=1) / signals.size.leg_m
    return spans(fastest_T < STILL_SPEED, FPS)
