"""Rules for the legs. Lengths are relative to the person's leg length.

Shapes: T frames at 20 fps, N events.
"""

import itertools
from typing import Final

import numpy as np
from scipy.ndimage import maximum_filter1d

from annotators.motion.events import (
    Direction,
    EventKind,
    Level,
    MotionEvent,
    Part,
    Side,
    measure_event,
)
from annotators.motion.rules.posture import LOW_HIPS, UPRIGHT_DEG, hip_height, trunk_tilt_deg
from annotators.motion.rules.sides import is_too_slow, ramp_pieces, share_of
from annotators.motion.signals import (
    Signals,
    Span,
    flexion_deg,
    join_spans,
    spans,
    speed_T,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS

# ---- legs (in leg lengths)
KICK_HEIGHT: Final = 0.28
KICK_AHEAD: Final = 0.35
KICK_SPEED: Final = 3.2
"""Speed of the foot relative to the hips, leg lengths per second. A walking foot reaches 3."""
LOW_KICK_SPEED: Final = 5.5
"""A low kick is recognized only by its speed. A jogging foot reaches 4."""
LOW_KICK_RATIO: Final = 1.5
"""Smallest ratio to the speed of the other foot within a second. It is about 1 for a sprinter."""
LEG_RAISE: Final = 0.25
"""A foot is lifted less in a step."""

MAX_LEG_MOVE_S: Final = 1.5


def _foot_T3(signals: Signals, side: str) -> FloatArray:
    """Return the ankle relative to the hips as (outward, up, forward), (T, 3), leg lengths."""
    vector_T3 = signals.in_body_axes(signals.joint_T3(f"{side}_ankle") - signals.hips_T3())
    return vector_T3 / signals.size.leg_m * np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])


def _foot_level(height: float) -> Level:
    """Return the level of a foot, given its height above its standing height in leg lengths."""
    if height > 0.8:
        return Level.HIP
    return Level.KNEE if height > 0.4 else Level.LOW


def kicks(signals: Signals, side: Side) -> list[MotionEvent]:
    """Find feet that move forward and up while the knee straightens."""
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    foot = _foot_T3(signals, side)
    ankle_T = signals.joint_T3(f"{side}_ankle")[:, 1]
    height_T = (ankle_T - np.percentile(ankle_T, 10)) / leg_m
    speed = speed_T(foot)
    knee_T = flexion_deg(signals, f"{side}_hip", f"{side}_knee", f"{side}_ankle")
    upright_T = (trunk_tilt_deg(signals) < UPRIGHT_DEG) & (hip_height(signals) > LOW_HIPS)
    out_T = np.hypot(np.maximum(foot[:, 2], 0), np.maximum(foot[:, 0], 0))
    high_T = (height_T > KICK_HEIGHT) & (out_T > KICK_AHEAD) & (knee_T < 65)
    other = speed_T(_foot_T3(signals, "right" if side == "left" else "left"))
    fast_T = maximum_filter1d(speed, 9) > np.maximum(
        LOW_KICK_SPEED, LOW_KICK_RATIO * maximum_filter1d(other, FPS + 1)
    )
    mask_T = (high_T | (fast_T & (foot[:, 2] > KICK_AHEAD))) & upright_T
    result: list[MotionEvent] = []
    for start, end in join_spans(spans(mask_T, 2), 3):
        lead = max(start - 6, 0)
        top = start + int(np.argmax(height_T[start:end] + foot[start:end, 2]))
        # The foot has to rise while it is fast: a leg that swings back down is not a kick.
        peak = float(speed[lead : top + 1].max())
        bent = float(knee_T[lead : top + 1].max() - knee_T[start:end].min())
        if peak < KICK_SPEED or bent < 20 or not signals.seen(f"{side}_leg", (lead, end)):
            continue
        ahead, outward = foot[top, 2], foot[top, 0]
        direction = Direction.FORWARD if ahead >= abs(outward) else Direction.SIDE
        amount = max(float(height_T[top]), 0.0) * leg_m
        span = _fast_part(speed, lead, min(end + 2, signals.num_frames), top)
        result.append(
            measure_event(
                signals,
                span,
                EventKind.KICK,
                Part.LEG,
                side=side,
                direction=direction,
                level=Level.HIP if height_T[top] > 0.8 else Level.KNEE,
                magnitude=amount,
                peak_speed=peak * leg_m,
            )
        )
    return result


def _fast_part(speed: FloatArray, start: int, end: int, top: int) -> Span:
    """Return the part of a kick from where the foot gets fast to where it is slow again."""
    peak = start + int(np.argmax(speed[start : top + 1]))
    slow = 0.35 * speed[peak]
    before = np.flatnonzero(speed[start:peak] < slow)
    after = np.flatnonzero(speed[top:end] < slow)
    first = start + int(before[-1]) if len(before) else start
    last = top + int(after[0]) + 1 if len(after) else end
    return first, max(last, first + 2)


def leg_raises(signals: Signals, side: Side, busy_T: BoolArray) -> list[MotionEvent]:
    """Find feet that are lifted off the floor or put down while the other carries the body."""
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    other = "right" if side == "left" else "left"
    ankle_T = signals.height_T(f"{side}_ankle")
    rest_m = float(np.percentile(ankle_T, 10))
    height_T = (ankle_T - rest_m) / leg_m
    standing_T = signals.height_T(f"{other}_ankle") < ankle_T
    upright_T = (hip_height(signals) > LOW_HIPS) & ~busy_T
    upright_T &= trunk_tilt_deg(signals) < UPRIGHT_DEG + 15
    foot = _foot_T3(signals, side)
    knee_T = flexion_deg(signals, f"{side}_hip", f"{side}_knee", f"{side}_ankle")
    points = turning_points(height_T, LEG_RAISE)
    result: list[MotionEvent] = []
    ramps = [
        span
        for start, end in itertools.pairwise(points)
        for span in ramp_pieces(height_T, start, end, LEG_RAISE)
    ]
    for span in ramps:
        first, last = span[0], span[1] - 1
        change = float(height_T[last] - height_T[first])
        rises = change > 0
        top = last if rises else first
        if abs(change) < LEG_RAISE or not standing_T[top]:
            continue
        if (
            share_of(upright_T, span) < 0.7
            or is_too_slow(span, MAX_LEG_MOVE_S)
            or not signals.seen(f"{side}_leg", span)
        ):
            continue
        if not signals.seen(f"{other}_leg", span):
            continue
        outward, _, ahead = foot[top].tolist()
        if ahead < -0.2:
            direction = Direction.BACKWARD
        elif outward > 0.45 and outward > ahead:
            direction = Direction.SIDE
        else:
            direction = Direction.FORWARD
        bent = bool(knee_T[top] > 60)
        amount = abs(change) * leg_m
        result.append(
            measure_event(
                signals,
                span,
                EventKind.RAISE if rises else EventKind.LOWER,
                Part.KNEE if bent and direction is not Direction.SIDE else Part.LEG,
                side=side,
                direction=direction if rises else Direction.DOWN,
                level=_foot_level(float(height_T[top])),
                magnitude=amount,
                peak_speed=float(np.abs(np.gradient(height_T)[slice(*span)]).max() * FPS) * leg_m,
            )
        )
    return result
