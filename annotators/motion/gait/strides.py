"""Walks that only the legs tell, because the picture does not show a path.

A camera that travels beside somebody keeps them at the same place of the picture, and behind them
the background moves in ways that no rotation of the camera explains.

Lengths are relative to the person's leg length, see :mod:`annotators.motion.rules.posture`.

Shapes: T frames at 20 fps.
"""

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import EventKind, MotionEvent, Part, measure_event
from annotators.motion.gait.travel import RUN_FLIGHT_SHARE, flight_share, kicks_back
from annotators.motion.rules.legs import STANDING_HIPS
from annotators.motion.rules.posture import UPRIGHT_DEG, hip_height, trunk_tilt_deg
from annotators.motion.signals import SIDES, Signals, flexion_deg, spans, turning_points
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS

MIN_STRIDE: Final = 0.5
"""Smallest change of the distance of the feet, ahead of each other, from one step to the next."""
FOOT_AHEAD: Final = 0.2
"""Each foot is at least so far ahead of the other in its step."""
MIN_STEP_S, MAX_STEP_S = 0.33, 0.85
"""Time from one step to the next. Faster ones may be a run, whose path is not known."""
MIN_STRIDES: Final = 3
MAX_LIFT: Final = 0.3
"""Largest difference of height of the feet; it is 0.1 to 0.25 in a walk, and 0.4 on a bicycle."""
STRAIGHT_DEG: Final = 50.0
"""Largest flexion of the knee of the foot that is ahead, which is about to carry the body."""
SHAKE_FRAMES: Final = 1.5


def strides(signals: Signals, busy_T: BoolArray) -> list[MotionEvent]:
    """Find walks of an estimated motion by feet that step ahead of each other in turn.

    Only somebody who is seen from the side shows this: the depth of a foot is a guess.

    Args:
        signals: signals of the motion.
        busy_T: (T,) frames of walks, runs and leaps that are known already.

    Returns:
        Walks without a direction and with a peak speed of 0, because no path is measured; their
        magnitude is the sum of the steps.
    """
    if signals.exact or not signals.body_seen:
        return []
    ahead_T = _left_ahead_T(signals)
    upright_T = (trunk_tilt_deg(signals) < UPRIGHT_DEG) & (hip_height(signals) > STANDING_HIPS)
    free_T = upright_T & signals.body_T & ~busy_T
    result: list[MotionEvent] = []
    for start, end in spans(free_T, int(MIN_STRIDES * MIN_STEP_S * FPS)):
        points = [start + frame for frame in turning_points(ahead_T[start:end], MIN_STRIDE)]
        for run in _in_turn(signals, ahead_T, points):
            if len(run) <= MIN_STRIDES:
                continue
            span = (run[0], run[-1] + 1)
            if not signals.sees_direction(span, across=False):
                continue
            if flight_share(signals, span) >= RUN_FLIGHT_SHARE or kicks_back(signals, span):
                continue  # A run of which the pace is not known.
            ways = np.abs(np.diff(ahead_T[run]))
            seconds = (run[-1] - run[0]) / FPS
            way_m = float(ways.sum()) / 2 * signals.size.leg_m
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.WALK,
                    Part.BODY,
                    magnitude=way_m,
                    peak_speed=0.0,
                    count=len(run) - 1,
                    frequency_hz=(len(run) - 1) / seconds,
                )
            )
    return result


def _left_ahead_T(signals: Signals) -> FloatArray:
    """Return how far the left foot is ahead of the right one, (T,), leg lengths."""
    apart_T3 = signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")
    ahead_T = signals.in_body_axes(apart_T3)[:, 2] / signals.size.leg_m
    return gaussian_filter1d(ahead_T, SHAKE_FRAMES, mode="nearest")


def _in_turn(signals: Signals, ahead_T: FloatArray, points: list[int]) -> list[list[int]]:
    """Return runs of turning points at which one foot and then the other steps ahead."""
    runs: list[list[int]] = [[]]
    for frame in points:
        before = runs[-1][-1] if runs[-1] else None
        if not _is_step(signals, ahead_T, frame):
            runs.append([])
        elif before is None or _follows(signals, before, frame):
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return runs


def _is_step(signals: Signals, ahead_T: FloatArray, frame: int) -> bool:
    side = "left" if ahead_T[frame] > 0 else "right"
    knee_T = flexion_deg(signals, f"{side}_hip", f"{side}_knee", f"{side}_ankle")
    return abs(float(ahead_T[frame])) >= FOOT_AHEAD and float(knee_T[frame]) <= STRAIGHT_DEG


def _follows(signals: Signals, before: int, frame: int) -> bool:
    lift_N = np.subtract(*(signals.joint_T3(f"{s}_ankle")[before:frame, 1] for s in SIDES))
    low = float(np.abs(lift_N).max()) <= MAX_LIFT * signals.size.leg_m
    return low and MIN_STEP_S <= (frame - before) / FPS <= MAX_STEP_S
