"""Rules for fast and repeated movements of the hands: waves, strokes, circles, claps.

Lengths are relative to the person's arm length. As in MotionScript (Yazdian et al.,
arXiv 2312.12634), the rules describe how a relation between joints changes, how much, and how
fast. The bin edges were chosen on the CMU sequences and on half of the Bandai-Namco takes, with
wide margins for poses estimated from a single camera.

Shapes: T frames at 20 fps, N events.
"""

import itertools
from typing import Final

import numpy as np

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Side,
    Unit,
    measure_event,
)
from annotators.motion.rules.arms import HANGING, RAISED, arm_ok_T, hand_level, hand_T3
from annotators.motion.rules.sides import share_of
from annotators.motion.signals import (
    SIDES,
    Signals,
    Span,
    join_spans,
    spans,
    speed_T,
    trim_ramp,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS

# ---- strokes
WAVE_SWING: Final = 0.11
"""Smallest half-wave of a hand, about 5 cm, which is above the noise of estimated poses."""
LOW_SWING_ESTIMATED: Final = 0.25
"""Smallest half-wave of an estimated hand that is not raised: a low hand also sways with the trunk
and the weapon or bag that it carries."""
SMALL_SWING: Final = 0.010
"""Smallest half-wave from the wrist of a still arm, about 5 mm. It has to repeat evenly and
often."""
SMALL_WAVE_SWINGS: Final = 8
MAX_HALF_WAVE_FRAMES: Final = 20
MIN_SWINGS: Final = 4
MIN_SWINGS_ESTIMATED: Final = 5
"""Two full waves, because a hand that is raised may overshoot once."""
SWING_EVENNESS: Final = 0.35
SWING_EVENNESS_ESTIMATED: Final = 0.50
"""Smallest ratio of the smallest to the largest half-wave of a wave."""

STROKE_SPEED: Final = 5.0
"""Arm lengths per second (2.4 m/s). A relaxed raise is slower."""
STROKE_SPEED_ESTIMATED: Final = 4.2
"""Smoothed estimates at 20 fps lose a part of the highest speed."""
STROKE_LENGTH: Final = 0.7
PUNCH_REACH: Final = 0.72
PUNCH_GAIN: Final = 0.22
THRUST_GAIN: Final = 0.35
THRUST_SPEED: Final = 2.0
"""It is lower than STROKE_SPEED, so a thrust has to occur at least twice."""
THROW_SPEED: Final = 7.5
CLAP_NEAR: Final = 0.30
"""Largest distance of the wrists when the palms touch."""
CLAP_OPEN: Final = 0.25
CLAP_SPEED: Final = 1.5
"""Smallest speed of the wrists toward each other, arm lengths per second."""
GESTURE_NEAR: Final = 0.60
GESTURE_OPEN: Final = 0.06
"""Smallest change of the distance of the wrists, about 3 cm."""
MIN_GESTURE_SWINGS: Final = 5
ARRIVAL: Final = 1.8
GESTURE_EVENNESS: Final = 0.40
CIRCLE_DEG: Final = 330.0
CIRCLE_RADIUS: Final = 0.45


def _swings(
    signal_T: FloatArray, span: Span, min_change: float, min_swings: int, evenness: float
) -> tuple[list[int], float] | None:
    """Find the longest run of even and fast swings back and forth in a span.

    Returns:
        The frames of the turning points and the median size of the swings, or None.
    """
    points = [span[0] + p for p in turning_points(signal_T[slice(*span)], min_change)]
    runs: list[list[int]] = [[]]
    for first, second in itertools.pairwise(points):
        if second - first > MAX_HALF_WAVE_FRAMES:
            runs.append([])
            continue
        runs[-1] = [*runs[-1], second] if runs[-1] else [first, second]
    best = max(runs, key=len)
    sizes = np.abs(np.diff(signal_T[best]))
    # In the first and the last swing, the hand may be raised and lowered.
    while len(sizes) >= min_swings and sizes[0] < evenness * sizes.max():
        best, sizes = best[1:], sizes[1:]
    while len(sizes) >= min_swings and sizes[-1] < evenness * sizes.max():
        best, sizes = best[:-1], sizes[:-1]
    if len(sizes) < min_swings or np.median(sizes) < evenness * sizes.max():
        return None
    return best, float(np.median(sizes))


def _full_swings(signal_T: FloatArray, frames: list[int]) -> list[int]:
    """Remove the first and the last swing if the hand is raised and lowered in them."""
    sizes = np.abs(np.diff(signal_T[frames]))
    full = sizes >= 0.6 * np.median(sizes)
    return frames[0 if full[0] else 1 : len(frames) if full[-1] else -1]


_TO_AND_FRO: Final = (
    Direction.SIDE_TO_SIDE,
    Direction.UP_AND_DOWN,
    Direction.FORWARD_AND_BACK,
)
_THERE: Final = (
    (Direction.ACROSS, Direction.SIDE),
    (Direction.DOWN, Direction.UP),
    (Direction.BACKWARD, Direction.FORWARD),
)
"""Directions of swings by axis (outward, up, forward): along the axis, and its two directions."""


def waves(signals: Signals, side: Side, moving_T: BoolArray) -> list[MotionEvent]:
    """Find a hand that swings back and forth at least twice, raised (a wave) or low."""
    hand = hand_T3(signals, side)
    arm_m = signals.size.arm_m
    ok_T = arm_ok_T(signals, side)
    min_swings = MIN_SWINGS if signals.exact else MIN_SWINGS_ESTIMATED
    evenness = SWING_EVENNESS if signals.exact else SWING_EVENNESS_ESTIMATED
    result: list[MotionEvent] = []
    for raised, mask_T in (
        (True, (hand[:, 1] > RAISED) & ok_T),
        (False, (hand[:, 1] <= RAISED) & ok_T & ~moving_T),
    ):
        least = WAVE_SWING if raised or signals.exact else LOW_SWING_ESTIMATED
        for span in join_spans(spans(mask_T, 6), 3):
            found = [
                (len(swings[0]) * swings[1], axis, swings)
                for axis in range(3)
                if (swings := _swings(hand[:, axis], span, least, min_swings, evenness))
                and _is_in_image(signals, axis, swings[0])
            ]
            if not found and raised and signals.exact:
                found = _small_waves(hand, span)
            if not found:
                continue
            _, axis, (frames, size) = max(found)
            frames = _full_swings(hand[:, axis], frames)
            cycles = max(len(frames) // 2, 2)
            wave_span = (frames[0], frames[-1] + 1)
            lifted_N = (
                signals.joint_T3(f"{side}_wrist")[slice(*wave_span), 1]
                > signals.joint_T3(f"{side}_elbow")[slice(*wave_span), 1]
            )
            high = float(np.median(hand[slice(*wave_span), 1]))
            hand_high = bool(lifted_N.mean() > 0.6) and high > (RAISED + 0.1, -0.1, 9.0)[axis]
            seconds = (frames[-1] - frames[0]) / FPS
            result.append(
                measure_event(
                    signals,
                    wave_span,
                    EventKind.WAVE if raised and hand_high else EventKind.SWING,
                    Part.ARM,
                    side=side,
                    direction=_TO_AND_FRO[axis],
                    level=hand_level(signals, side, frames[len(frames) // 2]),
                    magnitude=size * arm_m,
                    peak_speed=float(speed_T(hand)[slice(*wave_span)].max()) * arm_m,
                    count=cycles,
                    frequency_hz=cycles / seconds,
                )
            )
    return result


def _is_in_image(signals: Signals, axis: int, frames: list[int]) -> bool:
    """Return whether swings along an axis (outward, up, forward) are seen, not guessed in depth."""
    span = (frames[0], frames[-1] + 1)
    return axis == 1 or signals.sees_direction(span, across=axis == 0)


def _small_waves(
    hand_T3_: FloatArray, span: Span
) -> list[tuple[float, int, tuple[list[int], float]]]:
    """Find waves from the wrist, in which the forearm moves little, but evenly and many times."""
    found: list[tuple[float, int, tuple[list[int], float]]] = []
    for axis in (0, 1):
        swings = _swings(hand_T3_[:, axis], span, SMALL_SWING, SMALL_WAVE_SWINGS, 0.0)
        if swings is None:
            continue
        gaps = np.diff(swings[0])
        if np.std(gaps) < 0.5 * np.mean(gaps) and np.mean(gaps) < 12:
            found.append((len(gaps) * swings[1], axis, swings))
    return found


def thrusts(signals: Signals, side: Side) -> list[MotionEvent]:
    """Find a series of punches: a hand that is pushed forward and drawn back at least twice."""
    hand = hand_T3(signals, side)
    arm_m = signals.size.arm_m
    reach_T = np.linalg.norm(hand, axis=1)
    speed = speed_T(hand)
    ok_T = arm_ok_T(signals, side)
    points = turning_points(reach_T, THRUST_GAIN)
    out = [
        p
        for before, p in itertools.pairwise(points)
        if reach_T[p] > max(reach_T[before], PUNCH_REACH)
        and hand[p, 2] > 0.7
        and -0.4 < hand[p, 1] < 0.4
        and p - before < FPS
        and speed[before : p + 1].max() > THRUST_SPEED
    ]
    groups: list[list[int]] = []
    for frame in out:
        if groups and frame - groups[-1][-1] <= 2.5 * FPS:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    result: list[MotionEvent] = []
    for group in groups:
        span = (max(group[0] - 8, 0), min(group[-1] + 8, signals.num_frames))
        if len(group) < 2 or share_of(ok_T, span) < 0.8:
            continue
        peak_mps = float(speed[slice(*span)].max()) * arm_m
        gain_m = float(np.ptp(reach_T[slice(*span)])) * arm_m
        result.append(
            measure_event(
                signals,
                span,
                EventKind.PUNCH,
                Part.ARM,
                side=side,
                direction=Direction.FORWARD,
                level=hand_level(signals, side, group[0]),
                magnitude=gain_m,
                peak_speed=peak_mps,
                count=len(group),
                frequency_hz=(len(group) - 1) * FPS / (group[-1] - group[0]),
            )
        )
    return result


def strokes(
    signals: Signals, side: Side, busy_T: BoolArray, moving_T: BoolArray
) -> list[MotionEvent]:
    """Find fast single movements of a hand: punches, throws, swings."""
    hand = hand_T3(signals, side)
    arm_m = signals.size.arm_m
    speed = speed_T(hand)
    ok_T = arm_ok_T(signals, side)
    reach_T = np.linalg.norm(hand, axis=1)
    result: list[MotionEvent] = []
    min_speed = STROKE_SPEED if signals.exact else STROKE_SPEED_ESTIMATED
    # A stroke lasts from the acceleration of the hand to the end of its deceleration.
    for span in spans(speed > 0.35 * min_speed, 3):
        peak = float(speed[slice(*span)].max())
        if peak < min_speed or share_of(ok_T, span) < 0.8 or share_of(busy_T, span) > 0.5:
            continue
        first, last = hand[span[0]], hand[span[1] - 1]
        way = last - first
        length = float(np.linalg.norm(way))
        stretched = span[0] + int(np.argmax(reach_T[slice(*span)]))
        gain = float(reach_T[stretched] - reach_T[span[0]])
        if (
            gain >= PUNCH_GAIN
            and reach_T[stretched] >= PUNCH_REACH
            and hand[stretched, 2] > 0.5
            and -0.55 < hand[stretched, 1] < 0.5
            and first[1] > HANGING
        ):
            kind, direction = EventKind.PUNCH, Direction.FORWARD
        elif (
            peak >= THROW_SPEED
            and first[1] > 0.1
            and first[2] < 0.35
            and way[2] > 0.5
            and share_of(moving_T, span) < 0.5
        ):
            kind, direction = EventKind.THROW, Direction.FORWARD
        elif length >= STROKE_LENGTH and share_of(moving_T, span) < 0.5:
            axis = int(np.argmax(np.abs(way)))
            kind, direction = EventKind.SWING, _THERE[axis][int(way[axis] > 0)]
            if direction in (Direction.UP, Direction.DOWN):
                continue  # The hand is raised or lowered, which is another event.
        else:
            continue
        result.append(
            measure_event(
                signals,
                span,
                kind,
                Part.ARM,
                side=side,
                direction=direction,
                level=hand_level(signals, side, span[1] - 1),
                magnitude=length * arm_m,
                peak_speed=peak * arm_m,
            )
        )
    return result


def circles(signals: Signals, side: Side) -> list[MotionEvent]:
    """Find full circles of a straight arm around the shoulder."""
    hand = hand_T3(signals, side)
    ok_T = arm_ok_T(signals, side)
    result: list[MotionEvent] = []
    for horizontal, names in (
        (2, (Direction.FORWARD, Direction.BACKWARD)),
        (0, (Direction.INWARD, Direction.OUTWARD)),
    ):
        plane_T2 = hand[:, [horizontal, 1]]
        angle_T = np.degrees(np.unwrap(np.arctan2(plane_T2[:, 1], plane_T2[:, 0])))
        points = turning_points(angle_T, CIRCLE_DEG)
        for start, end in itertools.pairwise(points):
            amount = float(abs(angle_T[end] - angle_T[start]))
            span = trim_ramp(angle_T, start, end)
            radius_N = np.linalg.norm(plane_T2[slice(*span)], axis=1)
            if amount < CIRCLE_DEG or radius_N.min() < CIRCLE_RADIUS or share_of(ok_T, span) < 0.8:
                continue
            # The angle decreases when the hand moves forward at the top.
            direction = names[int(angle_T[end] > angle_T[start])]
            times = max(round(amount / 360), 1)
            seconds = signals.end_s(span) - signals.start_s(span)
            result.append(
                measure_event(
                    signals,
                    span,
                    EventKind.CIRCLE,
                    Part.ARM,
                    side=side,
                    direction=direction,
                    magnitude=amount,
                    unit=Unit.DEGREES,
                    peak_speed=float(np.abs(np.gradient(angle_T)[slice(*span)]).max() * FPS),
                    count=times,
                    frequency_hz=times / max(seconds, 1 / FPS),
                )
            )
            break
    return result[:1]


def claps(signals: Signals, moving_T: BoolArray) -> list[MotionEvent]:
    """Find hands that come together at least twice in quick succession."""
    if not {"left_arm", "right_arm"} <= signals.parts:
        return []
    arm_m = signals.size.arm_m
    apart_T = (
        np.linalg.norm(signals.joint_T3("left_wrist") - signals.joint_T3("right_wrist"), axis=1)
        / arm_m
    )
    closing_T = -np.gradient(apart_T) * FPS if len(apart_T) > 1 else np.zeros_like(apart_T)
    points = turning_points(apart_T, CLAP_OPEN)
    meets = [
        p
        for i, p in enumerate(points)
        if apart_T[p] < CLAP_NEAR
        and 0 < i < len(points) - 1
        and apart_T[points[i - 1]] > apart_T[p]
        and min(hand_T3(signals, side)[p, 1] for side in SIDES) > HANGING
        and closing_T[max(p - 6, 0) : p + 1].max() > CLAP_SPEED
        and not moving_T[p]
    ]
    result: list[MotionEvent] = []
    groups: list[list[int]] = []
    for meet in meets:
        if groups and meet - groups[-1][-1] <= 1.2 * FPS:
            groups[-1].append(meet)
        else:
            groups.append([meet])
    for group in groups:
        if len(group) < 3:
            continue
        span = (max(group[0] - 4, 0), min(group[-1] + 4, signals.num_frames))
        if not signals.seen("left_arm", span) or not signals.seen("right_arm", span):
            continue
        seconds = (group[-1] - group[0]) / FPS
        result.append(
            measure_event(
                signals,
                span,
                EventKind.CLAP,
                Part.ARM,
                side=Side.BOTH,
                level=hand_level(signals, Side.LEFT, group[0]),
                magnitude=float(np.ptp(apart_T[slice(*span)])) * arm_m,
                peak_speed=float(np.abs(np.gradient(apart_T)[slice(*span)]).max() * FPS) * arm_m,
                count=len(group),
                frequency_hz=(len(group) - 1) / seconds,
                gap_m=float(apart_T[group].max()) * arm_m,
            )
        )
    return result


def _without_arrivals(apart_T: FloatArray, span: Span) -> list[int]:
    """Return the turning points of a distance without its first and last changes.

    In these the hands come together and part, or are held still before.
    """
    frames = [span[0] + p for p in turning_points(apart_T[slice(*span)], GESTURE_OPEN)]

    def arrives(first: int, last: int) -> bool:
        sizes = np.abs(np.diff(apart_T[frames]))
        large = abs(apart_T[last] - apart_T[first]) > ARRIVAL * np.median(sizes)
        return bool(large or last - first > MAX_HALF_WAVE_FRAMES)

    while len(frames) > MIN_GESTURE_SWINGS and arrives(frames[0], frames[1]):
        frames = frames[1:]
    while len(frames) > MIN_GESTURE_SWINGS and arrives(frames[-2], frames[-1]):
        frames = frames[:-1]
    return frames


def gestures(signals: Signals, busy_T: BoolArray) -> list[MotionEvent]:
    """Find hands that are held together before the body and open and close at least three times.

    Args:
        signals: signals of the motion.
        busy_T: (T,) frames at which the person walks or claps.
    """
    if not signals.sharp or not {"left_arm", "right_arm"} <= signals.parts:
        return []
    arm_m = signals.size.arm_m
    wrists_T3 = signals.joint_T3("left_wrist") - signals.joint_T3("right_wrist")
    apart_T = np.linalg.norm(wrists_T3, axis=1) / arm_m
    up_T = np.min([hand_T3(signals, side)[:, 1] for side in SIDES], axis=0)
    held_T = (apart_T < GESTURE_NEAR) & (up_T > HANGING) & ~busy_T
    for side in SIDES:
        held_T &= signals.part_T[f"{side}_arm"]
    result: list[MotionEvent] = []
    for span in join_spans(spans(held_T, 6), 3):
        frames = _without_arrivals(apart_T, span)
        sizes = np.abs(np.diff(apart_T[frames]))
        even = len(sizes) >= MIN_GESTURE_SWINGS and sizes.min() >= GESTURE_EVENNESS * sizes.max()
        if not even or np.diff(frames).max() > MAX_HALF_WAVE_FRAMES:
            continue
        size = float(np.median(sizes))
        seconds = max((frames[-1] - frames[0]) / FPS, 1 / FPS)
        cycles = len(frames) // 2
        result.append(
            measure_event(
                signals,
                (frames[0], frames[-1] + 1),
                EventKind.GESTURE,
                Part.ARM,
                side=Side.BOTH,
                level=hand_level(signals, Side.RIGHT, frames[len(frames) // 2]),
                magnitude=size * arm_m,
                peak_speed=float(np.abs(np.gradient(apart_T)[slice(*span)]).max() * FPS) * arm_m,
                count=cycles,
                frequency_hz=cycles / seconds,
                gap_m=float(apart_T[slice(*span)].min()) * arm_m,
            )
        )
    return result
