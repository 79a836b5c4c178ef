"""Movements with both feet off the floor: jumps, hops, jumping jacks, jumps down, somersaults.

Lengths are relative to the person's leg length, see :mod:`annotators.motion.rules.posture`.

Shapes: T frames at 20 fps, N frames of a span.
"""

import itertools
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    PostureKind,
    Side,
    Unit,
    measure_event,
)
from annotators.motion.rules.posture import LOW_HIPS, LYING_DEG, hip_height, trunk_tilt_deg
from annotators.motion.rules.sides import course_of
from annotators.motion.signals import (
    MIN_CONFIDENCE,
    MIN_IN_IMAGE,
    SIDES,
    Signals,
    Span,
    hysteresis,
    join_spans,
    lowest_foot,
    spans,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS

JUMP_LIFT: Final = 0.07
JUMP_RISE: Final = 0.20
"""Rise of the hips from their lowest to their highest. A runner's hips rise by about 0.12."""
MIN_JUMP_FRAMES: Final = 3

# ---- jumping jacks
JACK_SPREAD: Final = 0.35
"""Smallest change of the distance between the ankles, from closed to open legs."""
JACK_OPEN: Final = 0.50
"""Smallest distance of the ankles with open legs. Standing feet are 0.2 to 0.35 apart."""
JACK_HANDS_UP: Final = 0.10
JACK_HANDS_DOWN: Final = -0.45
"""Height of the hands above the shoulders, arm lengths, with open and with closed legs."""
MAX_JACK_S: Final = 2.4
"""Longest time from closed over open to closed legs; in step jacks it is about 2 s."""
JACK_WINDOW: Final = 6
"""Frames around open and closed legs within which the hands may reach their own end."""

# ---- jumps down and landings
MIN_DROP: Final = 0.35
"""Smallest fall of the lower foot below the place of the take-off."""
DROP_SPEED: Final = 2.2
"""Smallest speed of the falling foot, leg lengths per second; a fall of 0.25 m reaches it. A foot
that steps down a stair reaches about 1.2."""
MAX_DROP_S: Final = 2.0
TOUCH_SHARE: Final = 0.06
"""A foot has landed where the rest of its fall is less than this share, the error of the scale."""
LANDING_SINK: Final = 0.15
"""Smallest fall of the hips after the feet have touched the floor."""
LANDING_S: Final = 0.7

# ---- somersaults
TURN_OVER_DEG: Final = 270.0
"""Smallest rotation of the trunk. Before and after a roll it leans forward by up to 45 degrees."""
TURN_OVER_S: Final = 3.0
INVERTED: Final = -0.3
"""Smallest height of the shoulders above the hips, torso lengths, of a trunk that is upside
down."""
UNSEEN_RATE_DPS: Final = 100.0
UNSEEN_TILT_DEG: Final = 45.0
UNSEEN_FRAMES: Final = 6
"""A trunk that is tilted by so much and turns so fast when it is lost in the air for so long goes
on in the same direction, because nothing stops the rotation of a body in flight."""
MAX_UNSEEN_RATE_DPS: Final = 1000.0
FAST_TILT_DEG: Final = 50.0


def _feet_T(signals: Signals) -> FloatArray:
    """Return the height of the lower foot in the world, (T,), leg lengths."""
    sure_TJ = signals.confidence_TJ >= MIN_CONFIDENCE
    feet_T = lowest_foot(signals.joints_TJ3, sure_TJ, signals.size.leg_m)
    return feet_T / signals.size.leg_m


def _way(signals: Signals, start: int, end: int, at: int) -> tuple[Direction, float]:
    """Return the direction and the length, meters, of the path from one frame to another."""
    pelvis_T3 = signals.joint_T3("pelvis")
    left, ahead = course_of(signals, (pelvis_T3[end] - pelvis_T3[start])[None], (at, at + 1))
    length_m = float(np.hypot(left, ahead))
    if length_m < 0.3 * signals.size.leg_m:
        return Direction.UP, length_m
    if abs(ahead) >= abs(left):
        return (Direction.FORWARD if ahead > 0 else Direction.BACKWARD), length_m
    return (Direction.LEFT if left > 0 else Direction.RIGHT), length_m


# -------------------------------------------------------------------------------- jumps and hops


def jumps(signals: Signals) -> list[MotionEvent]:
    """Find spans with both feet off the floor and rising hips."""
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
            or end - start > FPS  # Hanging, or a drifting floor, not a jump.
        ):
            continue
        direction, way_m = _way(signals, start, end - 1, top)
        standing = _hopping_leg(signals, (start, end))
        result.append(
            measure_event(
                signals,
                (max(0, start - 3), min(len(hips_T), end + 3)),
                EventKind.HOP if standing else EventKind.JUMP,
                Part.BODY,
                side=standing,
                direction=direction,
                magnitude=float(lift_T[start:end].max()),
                peak_speed=float(np.abs(rise_T[start:end]).max()),
                air_s=(end - start) / FPS,
                way_m=way_m,
            )
        )
    return result


def _hopping_leg(signals: Signals, span: Span) -> Side | None:
    """Return the leg that takes off and lands, if the other is up all the time."""
    gap_N = (signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle"))[slice(*span), 1]
    gap_N = gap_N / signals.size.leg_m
    up = np.sign(gap_N.mean())
    if abs(gap_N.mean()) <= 0.15 or not bool((gap_N[[0, -1]] * up > 0.1).all()):
        return None
    return Side.RIGHT if up > 0 else Side.LEFT


# ---------------------------------------------------------------------------------- jumping jacks


def jumping_jacks(signals: Signals) -> list[MotionEvent]:
    """Find legs and arms that open and close together, once or in a row, in place and upright."""
    hands_T = _hands_up_T(signals)
    if not signals.body_seen or hands_T is None:
        return []
    leg_m = signals.size.leg_m
    apart_T3 = (signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")) / leg_m
    spread_T = gaussian_filter1d(np.hypot(apart_T3[:, 0], apart_T3[:, 2]), 1.0, mode="nearest")
    tilt_T = trunk_tilt_deg(signals)
    points = turning_points(spread_T, JACK_SPREAD)
    found: list[Span] = []
    for closed, opened, again in zip(points, points[1:], points[2:], strict=False):
        if (
            spread_T[opened] >= JACK_OPEN
            and spread_T[opened] > max(spread_T[closed], spread_T[again])
            and _opens(hands_T, closed, opened, again)
            and abs(apart_T3[opened, 1]) < 0.25
            and tilt_T[closed : again + 1].max() < LYING_DEG
            and signals.body_T[closed : again + 1].mean() >= 0.7
        ):
            # The legs may stand closed long before and after.
            moves_N = np.flatnonzero(np.abs(np.gradient(spread_T[closed : again + 1])) > 0.01)
            span = (closed + int(moves_N[0]), closed + int(moves_N[-1]) + 1)
            if span[1] - span[0] <= MAX_JACK_S * FPS and _stays(signals, span):
                found.append(span)
    result: list[MotionEvent] = []
    for start, end in join_spans(found, FPS // 2):
        inside = [span for span in found if start <= span[0] < end]
        seconds = max((end - start) / FPS, 1 / FPS)
        result.append(
            measure_event(
                signals,
                (start, end),
                EventKind.JUMPING_JACK,
                Part.BODY,
                magnitude=float(np.ptp(spread_T[start:end])) * leg_m,
                peak_speed=float(np.abs(np.gradient(spread_T)[start:end]).max() * FPS) * leg_m,
                count=len(inside),
                frequency_hz=len(inside) / seconds if len(inside) > 1 else 0.0,
            )
        )
    return result


def _hands_up_T(signals: Signals) -> FloatArray | None:
    """Return the height of the measured hands above the shoulders, (T,), arm lengths."""
    sides = [side for side in SIDES if f"{side}_arm" in signals.parts]
    if not sides:
        return None
    up_TN = np.stack([signals.relative_T3(f"{s}_wrist", f"{s}_shoulder")[:, 1] for s in sides], 1)
    return up_TN.mean(axis=1) / signals.size.arm_m


def _opens(hands_T: FloatArray, closed: int, opened: int, again: int) -> bool:
    """Return whether the hands are down, up and down together with the legs."""

    def around(frame: int) -> FloatArray:
        return hands_T[max(frame - JACK_WINDOW, 0) : frame + JACK_WINDOW + 1]

    down = max(around(closed).min(), around(again).min())
    return bool(around(opened).max() >= JACK_HANDS_UP and down <= JACK_HANDS_DOWN)


def _stays(signals: Signals, span: Span) -> bool:
    """Return whether the pelvis ends near where it was."""
    path_N2 = signals.joint_T3("pelvis")[slice(*span)][:, [0, 2]]
    return bool(np.linalg.norm(path_N2[-1] - path_N2[0]) < 0.8 * signals.size.leg_m)


# ------------------------------------------------------------------------- jumps down, landings


def drops(signals: Signals) -> list[MotionEvent]:
    """Find jumps that end clearly lower than they began, and the landings after them."""
    if not signals.posture_seen or signals.num_frames < MIN_JUMP_FRAMES:
        return []
    leg_m = signals.size.leg_m
    feet_T = _feet_T(signals)
    rate_T = np.gradient(feet_T) * FPS
    result: list[MotionEvent] = []
    for high, low in itertools.pairwise(turning_points(feet_T, MIN_DROP)):
        if feet_T[high] <= feet_T[low]:
            continue
        start = _take_off(feet_T, high)
        # The feet touch the floor when the fall ends; they may stay there long.
        on_floor = feet_T[low] + TOUCH_SHARE * (feet_T[high] - feet_T[low])
        touch = high + int(np.argmax(feet_T[high : low + 1] <= on_floor))
        if not _is_fall(signals, start, touch) or rate_T[high : touch + 1].min() > -DROP_SPEED:
            continue
        direction, way_m = _way(signals, start, touch, start)
        span = (start, min(touch + 1, signals.num_frames))
        result.append(
            measure_event(
                signals,
                span,
                EventKind.JUMP_DOWN,
                Part.BODY,
                direction=Direction.DOWN if direction is Direction.UP else direction,
                magnitude=float(feet_T[start] - feet_T[touch]) * leg_m,
                peak_speed=float(-rate_T[high : touch + 1].min()) * leg_m,
                air_s=(span[1] - span[0]) / FPS,
                way_m=way_m,
            )
        )
        result += _landing(signals, touch)
    return result


def _is_fall(signals: Signals, start: int, touch: int) -> bool:
    """Return whether feet and hips fall together, and the feet end below the take-off."""
    feet_T = _feet_T(signals)
    hips_T = signals.hips_T3()[:, 1] / signals.size.leg_m
    drop = float(feet_T[start] - feet_T[touch])
    fell = float(hips_T[start : touch + 1].max() - hips_T[touch])
    return (
        drop >= MIN_DROP
        and fell >= 0.5 * drop
        and touch - start <= MAX_DROP_S * FPS
        and trunk_tilt_deg(signals)[touch] < 120.0
        and _seen_T(signals)[max(touch - 2, 0) : touch + 6].mean() >= 0.5
    )


def _seen_T(signals: Signals) -> BoolArray:
    """Return the frames at which the torso and a leg are measured, (T,).

    From the side one leg hides the other, and in a landing both do the same.
    """
    legs_T = np.logical_or.reduce([signals.part_T[f"{side}_leg"] for side in SIDES])
    return legs_T & signals.part_T["torso"]


def _take_off(feet_T: FloatArray, high: int) -> int:
    """Return the frame at which the feet leave the floor before they are at their highest."""
    before_N = feet_T[max(high - FPS, 0) : high + 1]
    floor = float(np.median(before_N[: max(len(before_N) // 2, 1)]))
    near = np.flatnonzero(np.abs(before_N - floor) < 0.08)
    return max(high - FPS, 0) + int(near[-1]) if len(near) else high


def _landing(signals: Signals, touch: int) -> list[MotionEvent]:
    """Return the landing after a frame at which the feet touch the floor, if the legs give way."""
    hips_T = hip_height(signals)
    last = min(touch + int(LANDING_S * FPS), signals.num_frames - 1)
    if last <= touch:
        return []
    low = touch + int(np.argmin(hips_T[touch : last + 1]))
    sink = float(hips_T[touch] - hips_T[low])
    if sink < LANDING_SINK or not _seen_T(signals)[touch : low + 1].mean() >= 0.5:
        return []
    leg_m = signals.size.leg_m
    return [
        measure_event(
            signals,
            (touch, low + 1),
            EventKind.LAND,
            Part.BODY,
            direction=Direction.DOWN,
            magnitude=sink * leg_m,
            peak_speed=float(np.abs(np.gradient(hips_T)[touch : low + 1]).max() * FPS) * leg_m,
            posture=PostureKind.SQUATTING if hips_T[low] < LOW_HIPS else None,
        )
    ]


# -------------------------------------------------------------------------------- somersaults


def somersaults(signals: Signals) -> list[MotionEvent]:
    """Find trunks that turn over forward or backward, in the air or on the floor.

    The rotation is measured about the left-right axis of the body, so a cartwheel, which turns
    about the forward axis, is none.
    """
    if "torso" not in signals.parts or signals.num_frames < 4:
        return []
    found = _turns_over(signals, *_turned_over_deg(signals))
    if not found and not signals.exact:
        found = _turns_over(signals, *_turned_in_image_deg(signals))
    return found


def _turns_over(signals: Signals, turned_T: FloatArray, crossed_T: BoolArray) -> list[MotionEvent]:
    """Find full turns of the trunk, given its angle, degrees, positive forward."""
    trunk_T3 = signals.trunk_T3()
    inverted_T = trunk_T3[:, 1] < INVERTED * signals.size.torso_m
    tilt_T = trunk_tilt_deg(signals)
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(turning_points(turned_T, TURN_OVER_DEG)):
        way = float(np.sign(turned_T[end] - turned_T[start]))
        first, last = _core(turned_T * way, start, end)
        amount = float(abs(turned_T[last] - turned_T[first]))
        inside = slice(first, last + 1)
        if (
            amount < TURN_OVER_DEG
            or last - first > TURN_OVER_S * FPS
            or not (inverted_T[inside].any() or crossed_T[inside].any())
            or min(tilt_T[first], tilt_T[last]) > 75.0
        ):
            continue
        rounds = max(round(amount / 360), 1)
        result.append(
            measure_event(
                signals,
                (first, last + 1),
                EventKind.SOMERSAULT,
                Part.BODY,
                direction=Direction.FORWARD if way > 0 else Direction.BACKWARD,
                magnitude=amount,
                unit=Unit.DEGREES,
                peak_speed=float(np.abs(np.gradient(turned_T)[inside]).max() * FPS),
                count=rounds,
            )
        )
    return result


def _core(turned_T: FloatArray, start: int, end: int) -> Span:
    """Trim a rotation to the part in which it is fast."""
    fast = np.flatnonzero(np.diff(turned_T[start : end + 1]) * FPS > FAST_TILT_DEG)
    if len(fast) == 0:
        return start, end
    return start + int(fast[0]), start + int(fast[-1]) + 1


def _turned_over_deg(signals: Signals) -> tuple[FloatArray, BoolArray]:
    """Return the rotation of the trunk about the left-right axis and where it was unseen.

    Returns:
        The accumulated angle, (T,), degrees, positive forward, and (T,) the frames of gaps in the
        air over which the trunk has turned through upside down although nobody saw it.
    """
    frames = np.flatnonzero(signals.part_T["torso"])
    crossed_T = np.zeros(signals.num_frames, dtype=np.bool_)
    if len(frames) < 4:
        return np.zeros(signals.num_frames), crossed_T
    trunk_T3, left_T3 = _trunk_axes(signals)
    before, after = trunk_T3[frames[:-1]], trunk_T3[frames[1:]]
    axis = left_T3[frames[:-1]] + left_T3[frames[1:]]
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    # Only the part of the rotation about the left-right axis counts.
    before = before - (before * axis).sum(axis=1, keepdims=True) * axis
    after = after - (after * axis).sum(axis=1, keepdims=True) * axis
    step_deg = np.degrees(
        np.arctan2((np.cross(before, after) * axis).sum(axis=1), (before * after).sum(axis=1))
    )
    gaps = np.diff(frames)
    tilt_T = trunk_tilt_deg(signals)
    for index in np.flatnonzero(gaps > UNSEEN_FRAMES):
        rest = _unseen_turn(step_deg, gaps, int(index))
        tilted = tilt_T[frames[index]] >= UNSEEN_TILT_DEG
        if rest and tilted and _in_the_air(signals, int(frames[index]), int(frames[index + 1])):
            step_deg[index] += rest
            crossed_T[frames[index] : frames[index + 1] + 1] = True
    total = np.concatenate(([0.0], np.cumsum(step_deg)))
    return np.interp(np.arange(signals.num_frames), frames, total), crossed_T


def _turned_in_image_deg(signals: Signals) -> tuple[FloatArray, BoolArray]:
    """Return the rotation of the trunk in the image of who is seen from the side.

    In the air the pose model may lose the left-right axis, but the trunk in the image goes round.
    Who faces the camera turns a cartwheel in the image, and has no rotation here.

    Returns:
        The accumulated angle, (T,), degrees, positive forward, and (T,) false everywhere.
    """
    never_T = np.zeros(signals.num_frames, dtype=np.bool_)
    trunk_T3, _ = _trunk_axes(signals)
    in_image_T = np.hypot(trunk_T3[:, 0], trunk_T3[:, 1])
    frames = np.flatnonzero(signals.part_T["torso"] & (in_image_T > MIN_IN_IMAGE))
    if len(frames) < 4:
        return np.zeros(signals.num_frames), never_T
    angle_N = np.unwrap(np.arctan2(trunk_T3[frames, 0], trunk_T3[frames, 1]))
    # The heading is that of the last upright moment, since it is lost in the air.
    upright_N = trunk_tilt_deg(signals)[frames] < LYING_DEG
    last_N = np.maximum.accumulate(np.where(upright_N, np.arange(len(frames)), 0))
    facing_N = np.sin(signals.heading_T[frames[last_N]])
    way_N = np.where(np.abs(facing_N) > MIN_IN_IMAGE, np.sign(facing_N), 0.0)
    steps_N = np.diff(angle_N, prepend=angle_N[0]) * way_N
    turned_N = np.degrees(np.cumsum(steps_N))
    return np.interp(np.arange(signals.num_frames), frames, turned_N), never_T


def _trunk_axes(signals: Signals) -> tuple[FloatArray, FloatArray]:
    """Return the trunk and the left-right axis in the world, (T, 3) each, as unit vectors."""
    shoulders_T3 = (signals.joint_T3("left_shoulder") + signals.joint_T3("right_shoulder")) / 2
    trunk_T3 = shoulders_T3 - signals.hips_T3()
    left_T3 = sum(
        signals.joint_T3(f"left_{name}") - signals.joint_T3(f"right_{name}")
        for name in ("hip", "shoulder")
    )
    return tuple(
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        for vectors in (trunk_T3, np.asarray(left_T3))
    )


def _unseen_turn(step_deg: FloatArray, gaps: FloatArray, index: int) -> float:
    """Return the full turn, degrees, that a trunk makes in a gap beside the shortest rotation.

    The shorter way would reverse the rotation, which a body in flight cannot do.
    """
    before = step_deg[max(index - 3, 0) : index]
    if len(before) == 0:
        return 0.0
    rate_dps = float(before.mean()) * FPS
    way = np.sign(rate_dps)
    if abs(rate_dps) < UNSEEN_RATE_DPS or step_deg[index] * way > -20.0:
        return 0.0
    full = 360.0 * way
    mean_dps = abs(step_deg[index] + full) / (gaps[index] / FPS)
    return float(full) if mean_dps < MAX_UNSEEN_RATE_DPS else 0.0


def _in_the_air(signals: Signals, start: int, end: int) -> bool:
    """Return whether the feet are higher at the start of a gap than a second around it.

    A gap on the floor, behind an obstacle or out of the picture is no flight.
    """
    feet_T = _feet_T(signals)
    around = feet_T[max(start - FPS, 0) : start + 1]
    later = feet_T[end : end + FPS + 1]
    leaves = feet_T[start] - np.percentile(around, 20) > 0.15
    falls = feet_T[end] - later.min() > 0.15
    return bool(leaves or falls)
