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
    SIDES,
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

SIDE_RAISE: Final = 0.35
SIDE_FOOT: Final = 0.50
SIDE_LIFT: Final = 0.10
"""A leg is raised to the side if its foot goes so far, to so far from the middle, and is so far
above the other foot, which tells it from a wide stance."""
STANDING_HIPS: Final = 0.85
"""With lower hips the legs go apart into a lunge, and no foot is lifted."""
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


def _lifts(
    height_T: FloatArray, outward_T: FloatArray, over_T: FloatArray
) -> list[tuple[Span, bool]]:
    """Return the spans in which a foot is lifted (true) or put down (false).

    A straight leg that is raised to the side goes far outward, but its foot only a little up.

    Args:
        height_T: (T,) height of the foot, leg lengths.
        outward_T: (T,) distance of the foot to the side, leg lengths.
        over_T: (T,) height of the foot above the other one, leg lengths.
    """
    found: list[tuple[Span, bool]] = []
    for signal_T, least, to_the_side in (
        (height_T, LEG_RAISE, False),
        (outward_T, SIDE_RAISE, True),
    ):
        for start, end in itertools.pairwise(turning_points(signal_T, least)):
            for span in ramp_pieces(signal_T, start, end, least):
                first, last = span[0], span[1] - 1
                rises = bool(signal_T[last] > signal_T[first])
                top = last if rises else first
                if abs(signal_T[last] - signal_T[first]) < least:
                    continue
                if to_the_side and (outward_T[top] < SIDE_FOOT or over_T[top] < SIDE_LIFT):
                    continue
                again = any(
                    up is rises and min(s[1], span[1]) > max(s[0], span[0]) for s, up in found
                )
                if not again:
                    found.append((span, rises))
    return sorted(found)


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
    upright_T = (hip_height(signals) > STANDING_HIPS) & ~busy_T
    upright_T &= trunk_tilt_deg(signals) < UPRIGHT_DEG + 15
    foot = _foot_T3(signals, side)
    knee_T = flexion_deg(signals, f"{side}_hip", f"{side}_knee", f"{side}_ankle")
    over_T = (signals.joint_T3(f"{side}_ankle") - signals.joint_T3(f"{other}_ankle"))[:, 1] / leg_m
    result: list[MotionEvent] = []
    for span, rises in _lifts(height_T, foot[:, 0], over_T):
        top = span[1] - 1 if rises else span[0]
        slow = is_too_slow(span, MAX_LEG_MOVE_S)
        upright = upright_T[top] and share_of(upright_T, span) >= 0.7
        if not standing_T[top] or slow or not upright:
            continue
        if not all(signals.seen(f"{s}_leg", span) for s in SIDES):
            continue
        change = float(height_T[span[1] - 1] - height_T[span[0]])
        outward, _, ahead = foot[top].tolist()
        if outward > 0.45 and outward > abs(ahead):
            direction = Direction.SIDE
        elif ahead < -0.2:
            direction = Direction.BACKWARD
        else:
            direction = Direction.FORWARD
        bent = bool(knee_T[top] > 60)
        amount = max(abs(change), float(over_T[top])) * leg_m
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
