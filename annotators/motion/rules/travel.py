"""The path over the floor: walks, runs and turns.

Lengths are relative to the person's leg length, see :mod:`annotators.motion.rules.posture`.

Shapes: T frames at 20 fps, N spans.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Unit,
    measure_event,
)
from annotators.motion.rules.posture import (
    LOW_HIPS,
    LYING_DEG,
    hip_height,
    trunk_tilt_deg,
)
from annotators.motion.signals import (
    PATH_SMOOTH_FRAMES,
    SIDES,
    Signals,
    Span,
    hysteresis,
    join_spans,
    spans,
    speed_T,
    turning_points,
)
from data.arrays import FloatArray
from data.motion.skeleton import FPS

GRAVITY_MPS2: Final = 9.81

# ---- path
MOVING_ON: Final = 0.40
MOVING_OFF: Final = 0.22
"""Speed in leg lengths per second. Swaying in place is slower than 0.2."""
MIN_PATH: Final = 0.75
"""Smallest path of a walk, leg lengths. About one step is only a shift of weight."""
MIN_STEP: Final = 0.12
"""Smallest change of the distance between the ankles, along the path, in a step."""
RUN_SPEED: Final = 0.71
"""Speed divided by sqrt(g * leg) at a Froude number of 0.5, where people start to run."""
MIN_RUN_PACE: Final = 0.38
"""A run with a lower average speed is as slow as a walk, so its steps are noise."""
BRISK_SPEED: Final = 0.40
RUN_CADENCE: Final = 2.55
"""Steps per second. A brisk walk has 2.2; a jog with short steps has 2.5 or more."""
FLIGHT_LIFT: Final = 0.05
RUN_FLIGHT_SHARE: Final = 0.12
"""Share of the time with both ankles above their standing height. It is 0 in a walk."""

MIN_TURN_DEG: Final = 45.0
TURN_STEP_DEG: Final = 30.0
MIN_TURN_RATE_DPS: Final = 15.0


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
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]]
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    length_m = float(travel(signals)[-1])
    net_m = float(np.linalg.norm(ground_T2[-1] - ground_T2[0]))
    turn_deg = float(np.degrees(signals.heading_T[-1] - signals.heading_T[0]))
    return Path(length_m, net_m, turn_deg)


def travel(signals: Signals) -> FloatArray:
    """Return the distance that the pelvis traveled up to each frame, (T,), meters."""
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]]
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    steps_T = np.linalg.norm(np.diff(ground_T2, axis=0, prepend=ground_T2[:1]), axis=1)
    return np.cumsum(steps_T)


def moving_spans(signals: Signals) -> list[Span]:
    """Return spans in which the body travels on its feet."""
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
    """Return the frames of a span at which one foot is furthest ahead, one per step."""
    start, end = span
    ground_T2 = signals.joint_T3("pelvis")[:, [0, 2]]
    ground_T2 = gaussian_filter1d(ground_T2, PATH_SMOOTH_FRAMES, axis=0, mode="nearest")
    velocity_N2 = np.gradient(ground_T2, axis=0)[start:end]
    course_N2 = velocity_N2 / np.maximum(np.linalg.norm(velocity_N2, axis=1, keepdims=True), 1e-9)
    apart_T3 = signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")
    ahead_N = (apart_T3[start:end][:, [0, 2]] * course_N2).sum(axis=1) / signals.size.leg_m
    return [start + frame for frame in turning_points(ahead_N, MIN_STEP)]


def _flight_share(signals: Signals, span: Span) -> float:
    """Return the share of a span in which both ankles are above their standing height."""
    leg_m = signals.size.leg_m
    lifted_N = np.ones(span[1] - span[0], dtype=np.bool_)
    for side in SIDES:
        ankle_T = signals.joint_T3(f"{side}_ankle")[:, 1] - signals.floor_T
        lifted_N &= ankle_T[slice(*span)] > np.percentile(ankle_T, 8) + FLIGHT_LIFT * leg_m
    return float(lifted_N.mean())


def _course(signals: Signals, span: Span) -> Direction:
    """Return the dominant direction of travel relative to the body."""
    velocity_T3 = np.gradient(
        gaussian_filter1d(signals.joint_T3("pelvis"), PATH_SMOOTH_FRAMES, axis=0, mode="nearest"),
        axis=0,
    )
    left, _, ahead = signals.in_body_axes(velocity_T3)[slice(*span)].sum(axis=0)
    if abs(ahead) >= abs(left):
        return Direction.FORWARD if ahead >= 0 else Direction.BACKWARD
    return Direction.LEFT if left > 0 else Direction.RIGHT


def locomotion(signals: Signals) -> list[MotionEvent]:
    """Find walks and runs with their direction, distance, speed and steps."""
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


def turns(signals: Signals) -> list[MotionEvent]:
    """Find changes of heading of at least 45 degrees."""
    if "torso" not in signals.parts:
        return []
    yaw_T = np.degrees(signals.heading_T)
    # The heading of a body that lies or bends down is undefined.
    upright_T = trunk_tilt_deg(signals) < LYING_DEG
    points = turning_points(yaw_T, TURN_STEP_DEG)
    result: list[MotionEvent] = []
    rate_T = np.gradient(yaw_T) * FPS if len(yaw_T) > 1 else np.zeros_like(yaw_T)
    for start, end in itertools.pairwise(points):
        way = np.sign(yaw_T[end] - yaw_T[start])
        # A pause divides a turn in one direction into two turns.
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
