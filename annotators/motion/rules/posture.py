"""Postures, balances, changes of level, and stillness.

Lengths are relative to the person's leg length, so that the rules are valid for children and for
estimates with a wrong scale. As in MotionScript (Yazdian et al., arXiv 2312.12634) and PoseScript,
relations between joints are divided into named bins. The bin edges were chosen on the CMU sequences
and on half of the Bandai-Namco takes.

Shapes: T frames at 20 fps, N spans.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
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
    measure_event,
)
from annotators.motion.rules.sides import is_too_slow, ramp_pieces
from annotators.motion.signals import (
    SIDES,
    Signals,
    Span,
    flexion_deg,
    hysteresis,
    spans,
    speed_T,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS, JOINT

# ---- posture (angles of the trunk from upright; heights in leg lengths above the floor)
UPRIGHT_DEG: Final = 45.0
"""A trunk that is tilted further is bent over (PoseScript divides vertical from horizontal
here)."""
LYING_DEG: Final = 60.0
UPSIDE_DOWN_DEG: Final = 125.0
LOW_HIPS: Final = 0.70
"""With lower hips the body squats, sits or kneels (knees bent by about 90 degrees)."""
GROUND_HIPS: Final = 0.35
"""With lower hips the body sits on the floor."""
HIPS_ON_FLOOR: Final = 0.22
"""Hip joints of a body that lies on the floor are at 0.1."""
LYING_SHOULDERS: Final = 0.60
NEAR_FLOOR: Final = 0.22
"""A lower knee or hand touches the floor. The margin is needed because joints are inside the body
and the floor is estimated."""
FEET_UNDER: Final = 0.35
"""Largest horizontal distance from the hips to the feet in a squat, where the feet carry the
body."""
WIDE_FEET: Final = 0.80
WIDE_HIPS: Final = 0.85
"""In a lunge or straddle, the feet are further apart than in a long step and the hips are lower."""
BENT_KNEE_DEG: Final = 45.0
KNEE_GAP_DEG: Final = 25.0
"""In a lunge one knee is bent by so much, and by so much more than the other."""
ON_THE_SIDE: Final = 0.6
"""Smallest vertical share of the line of the shoulders in a side plank."""
ARM_UNDER: Final = 0.25
"""Smallest height of the lower shoulder above its hand, leg lengths, on a stretched arm."""
ONE_LEG_LIFT: Final = 0.20
"""One leg carries the body while the other foot is held at least this much higher."""
BALANCING_HIPS: Final = 0.95
"""The hips of who stands on one leg are higher than in a lunge."""
ONE_LEG_MIN_S: Final = 0.8
HIGH_LIFT: Final = 0.4
HIGH_LIFT_MIN_S: Final = 0.7
"""An estimated foot that goes as high as the other knee is not in a step, in which it is up for at
most 0.6 s: estimates begin late and end early, where the knee is hidden."""
LONG_BALANCE_S: Final = 1.2
END_FRAMES: Final = 3
"""Of an estimated motion, the lift or the return of the foot has to be seen, so not at the first or
last frames, unless the balance is long: otherwise it may be a step of which a part is seen."""
MIN_POSTURE_FRAMES: Final = 6
"""0.3 s. A shorter posture is a transition between two others."""

MAX_HIPS: Final = 1.3
"""Hips of who stands on tiptoe are at 1.2, because leg lengths end at the ankles."""
MIN_SINK: Final = 0.22
MIN_SINK_ESTIMATED: Final = 0.28
"""Smallest change of the hip height, leg lengths."""
MIN_SINK_RATE: Final = 0.2
"""Smallest rate of an estimated change of the hip height, leg lengths per second. Where furniture
hides the legs, their estimate drifts from bent to straight in two seconds."""
PRESS_RISE: Final = 0.15
"""Smallest rise of the shoulders from the floor, leg lengths."""
STAND_SHARE: Final = 0.6
"""Who stands in place is seen to have both feet where they are for this share of the time."""
RESTING_FOOT: Final = 0.5
"""Largest speed of a foot that stands, leg lengths per second; errors of the estimate are as
fast."""
STILL_SPEED: Final = 0.20
"""Speed of the faster joints, leg lengths per second. Breathing and balancing are slower."""
HANDS_WORK: Final = 0.10
HANDS_WORK_TIMES: Final = 3
"""Nobody holds still whose hands go so far apart or together, arm lengths, so many times."""


def trunk_tilt_deg(signals: Signals) -> FloatArray:
    """Return the angle of the trunk from upright, (T,), degrees."""
    trunk_T3 = signals.trunk_T3()
    return np.degrees(np.arctan2(np.hypot(trunk_T3[:, 0], trunk_T3[:, 2]), trunk_T3[:, 1]))


def hip_height(signals: Signals) -> FloatArray:
    """Return the height of the hips above the lower foot, (T,), leg lengths."""
    return (signals.hips_T3()[:, 1] - signals.floor_T) / signals.size.leg_m


def _posture_codes(signals: Signals) -> list[tuple[PostureKind, BoolArray]]:
    """Return the kinds of posture with masks of their frames, (T,), in order of precedence."""
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
    side_plank_T = _side_plank_T(signals, arms) & (hips_T > 0.12) & (tilt_T > UPRIGHT_DEG)
    return [
        (PostureKind.SIDE_PLANK, side_plank_T),
        (PostureKind.UPSIDE_DOWN, (tilt_T > UPSIDE_DOWN_DEG) & (top_foot_T > 0.1)),
        (
            PostureKind.LYING,
            (tilt_T > LYING_DEG)
            & (hips_T < GROUND_HIPS + 0.1)
            & (shoulders_T < LYING_SHOULDERS)
            & ~(on_hands_T & (hips_T > GROUND_HIPS)),
        ),
        # The chest is pushed up from the floor, the hips stay on it.
        (PostureKind.LYING, on_hands_T & (tilt_T > UPRIGHT_DEG) & (hips_T < HIPS_ON_FLOOR)),
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


def _side_plank_T(signals: Signals, arms: list[str]) -> BoolArray:
    """Return the frames at which one stretched arm carries a body that faces sideways, (T,)."""
    across_T3 = signals.joint_T3("left_shoulder") - signals.joint_T3("right_shoulder")
    up_T = across_T3[:, 1] / np.maximum(np.linalg.norm(across_T3, axis=1), 1e-9)
    result_T = np.zeros(signals.num_frames, dtype=np.bool_)
    for side in arms:
        under_T = up_T < -ON_THE_SIDE if side == "left" else up_T > ON_THE_SIDE
        hand_T = signals.height_T(f"{side}_wrist") / signals.size.leg_m
        shoulder_T = signals.height_T(f"{side}_shoulder") / signals.size.leg_m
        result_T |= under_T & (hand_T < NEAR_FLOOR) & (shoulder_T > hand_T + ARM_UNDER)
    return result_T


def _stance(signals: Signals, span: Span) -> tuple[PostureKind, Side | None]:
    """Return whether a wide stance is a lunge, and the bent leg if so."""
    left, right = (
        float(np.median(flexion_deg(signals, f"{s}_hip", f"{s}_knee", f"{s}_ankle")[slice(*span)]))
        for s in SIDES
    )
    seen = all(signals.seen(f"{side}_leg", span, 0.6) for side in SIDES)
    if not seen or max(left, right) < BENT_KNEE_DEG or abs(left - right) < KNEE_GAP_DEG:
        return PostureKind.WIDE_STANCE, None
    return PostureKind.LUNGE, Side.LEFT if left > right else Side.RIGHT


def _facing(signals: Signals, span: Span) -> Facing:
    """Return whether the chest points down, up, or sideways."""
    across_T3 = signals.joint_T3("left_shoulder") - signals.joint_T3("right_shoulder")
    shoulders_T3 = (signals.joint_T3("left_shoulder") + signals.joint_T3("right_shoulder")) / 2
    trunk_T3 = shoulders_T3 - signals.hips_T3()
    chest_T3 = np.cross(across_T3, trunk_T3)[span[0] : span[1]]
    up = float(np.median(chest_T3[:, 1] / np.maximum(np.linalg.norm(chest_T3, axis=1), 1e-9)))
    if abs(up) < 0.5:
        return Facing.SIDE
    return Facing.SUPINE if up > 0 else Facing.PRONE


def postures(signals: Signals) -> list[Posture]:
    """Return the postures over time, ``unknown`` where torso and legs are not measured."""
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

    # Two codes may have the same kind, so kinds are compared.
    kind_T = np.array(names)[code_T]
    edges = [0, *(np.flatnonzero(kind_T[1:] != kind_T[:-1]) + 1).tolist(), len(kind_T)]
    runs: list[tuple[PostureKind, Span]] = []
    for start, end in itertools.pairwise(edges):
        kind = PostureKind(kind_T[start])
        short = end - start < min(MIN_POSTURE_FRAMES, signals.num_frames)
        if runs and (short or runs[-1][0] == kind):
            runs[-1] = (runs[-1][0], (runs[-1][1][0], end))
        elif short and end < len(kind_T):
            # A transition at the start of the motion belongs to the next posture.
            kind_T[start:end] = kind_T[end]
            runs.append((PostureKind(kind_T[end]), (start, end)))
        else:
            runs.append((kind, (start, end)))

    tilt_T, hips_T = trunk_tilt_deg(signals), hip_height(signals)
    result: list[Posture] = []
    for kind, span in runs:
        inside = slice(*span)
        seen_kind = kind if body_T[inside].mean() >= 0.5 else PostureKind.UNKNOWN
        side = None
        if seen_kind is PostureKind.WIDE_STANCE:
            seen_kind, side = _stance(signals, span)
        result.append(
            Posture(
                seen_kind,
                signals.start_s(span),
                signals.end_s(span),
                tilt_deg=float(np.median(tilt_T[inside])),
                hips=float(np.median(hips_T[inside])),
                facing=_facing(signals, span) if seen_kind is PostureKind.LYING else None,
                side=side,
            )
        )
    return result


def one_leg_balances(signals: Signals, moving_T: BoolArray) -> list[Posture]:
    """Return spans in which one leg carries the body while the person stays in place."""
    if not signals.body_seen:
        return []
    leg_m = signals.size.leg_m
    lift_T = signals.joint_T3("left_ankle")[:, 1] - signals.joint_T3("right_ankle")[:, 1]
    upright_T = (hip_height(signals) > LOW_HIPS) & ~moving_T
    apart_T3 = signals.joint_T3("left_ankle") - signals.joint_T3("right_ankle")
    apart_T = np.hypot(apart_T3[:, 0], apart_T3[:, 2]) / leg_m
    # In a lunge the heel of the rear foot is up, but the foot carries the body too.
    lunges_T = (apart_T > WIDE_FEET) & (hip_height(signals) < BALANCING_HIPS)
    upright_T &= (trunk_tilt_deg(signals) < LYING_DEG) & ~lunges_T
    result: list[Posture] = []
    for side, raised_T in ((Side.LEFT, -lift_T), (Side.RIGHT, lift_T)):
        mask_T = hysteresis(raised_T / leg_m, ONE_LEG_LIFT, 0.5 * ONE_LEG_LIFT) & upright_T
        mask_T &= _feet_seen_T(signals)
        result += [
            Posture(
                PostureKind.ONE_LEG,
                signals.start_s(span),
                signals.end_s(span),
                side=side,
                lift_m=float(np.median(raised_T[slice(*span)])),
            )
            for span in spans(mask_T, int(HIGH_LIFT_MIN_S * FPS))
            if _lasts(signals, span, float(raised_T[slice(*span)].max()) / leg_m)
            and _is_seen_balance(signals, span)
        ]
    return result


def _lasts(signals: Signals, span: Span, highest: float) -> bool:
    """Return whether a foot stays up for longer than in a step, given its largest height."""
    high = highest >= HIGH_LIFT and not signals.exact
    return span[1] - span[0] >= int((HIGH_LIFT_MIN_S if high else ONE_LEG_MIN_S) * FPS)


def _feet_seen_T(signals: Signals) -> BoolArray:
    """Return the frames at which trunk and both feet are measured, (T,).

    The knee of a leg that is raised across the other one is often hidden; where the foot is tells
    the balance.
    """
    ankles = [JOINT["left_ankle"], JOINT["right_ankle"]]
    return signals.part_T["torso"] & signals.usable_TJ[:, ankles].all(axis=1)


def _is_seen_balance(signals: Signals, span: Span) -> bool:
    begins = span[0] >= END_FRAMES
    ends = span[1] <= signals.num_frames - END_FRAMES
    return signals.exact or begins or ends or span[1] - span[0] >= LONG_BALANCE_S * FPS


def standing_feet_T(signals: Signals) -> BoolArray:
    """Return whether both feet are measured and stay where they are, (T,)."""
    feet_TN3 = np.stack([signals.joint_T3(f"{side}_ankle") for side in SIDES], axis=1)
    feet_TN3 = gaussian_filter1d(feet_TN3, 2.0, axis=0, mode="nearest")
    rests_T = speed_T(feet_TN3).max(axis=1) < RESTING_FOOT * signals.size.leg_m
    return rests_T & signals.part_T["left_leg"] & signals.part_T["right_leg"]


def level_changes(signals: Signals, held: Sequence[Posture]) -> list[MotionEvent]:
    """Find large downward and upward movements of the hips.

    Args:
        signals: signals of the motion.
        held: postures of the motion, of which the one that a movement leads into or out of is kept.
    """
    if not signals.posture_seen:
        return []
    hips_T = gaussian_filter1d(hip_height(signals), 2.0, mode="nearest")
    result: list[MotionEvent] = []
    points = turning_points(hips_T, MIN_SINK if signals.exact else MIN_SINK_ESTIMATED)
    least = MIN_SINK if signals.exact else MIN_SINK_ESTIMATED
    pieces = [
        span
        for start, end in itertools.pairwise(points)
        for span in ramp_pieces(hips_T, start, end, 0.8 * least)
    ]
    for span in pieces:
        rate = abs(hips_T[span[1] - 1] - hips_T[span[0]]) / (span[1] - span[0]) * FPS
        if not signals.exact and (is_too_slow(span) or rate < MIN_SINK_RATE):
            continue  # The estimate of the floor, the root or hidden legs drifts.
        high = float(max(hips_T[span[0]], hips_T[span[1] - 1]))
        legs = any(signals.seen(f"{side}_leg", span, 0.7) for side in signals.leg_sides)
        # Hips that are higher than in standing are an error of the floor, or a flight.
        if legs and high < MAX_HIPS:
            moved = _level_change(signals, span, hips_T, EventKind.RISE, EventKind.SINK, Part.BODY)
            sinks = moved.kind is EventKind.SINK
            low_s = moved.end_s + 0.1 if sinks else moved.start_s - 0.1
            result.append(replace(moved, posture=_kind_at(held, low_s)))
    return result


def _kind_at(held: Sequence[Posture], time_s: float) -> PostureKind | None:
    holds = (p.kind for p in held if p.start_s - 0.03 <= time_s <= p.end_s + 0.03)
    return next(holds, None)


def _level_change(
    signals: Signals, span: Span, height_T: FloatArray, up: EventKind, down: EventKind, part: Part
) -> MotionEvent:
    """Measure a change of the height of a part, whose height (T,) is in leg lengths."""
    leg_m = signals.size.leg_m
    change = float(height_T[span[1] - 1] - height_T[span[0]])
    speed_mps = np.abs(np.gradient(height_T)[slice(*span)]) * FPS * leg_m
    return measure_event(
        signals,
        span,
        up if change > 0 else down,
        part,
        direction=Direction.UP if change > 0 else Direction.DOWN,
        magnitude=abs(change) * leg_m,
        peak_speed=float(speed_mps.max()),
    )


def presses(signals: Signals, held: list[Posture]) -> list[MotionEvent]:
    """Find upward and downward movements of the shoulders while the hands are on the floor."""
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
    pieces = [
        span
        for start, end in itertools.pairwise(points)
        for span in ramp_pieces(shoulders_T, start, end, PRESS_RISE * 0.8)
    ]
    for span in pieces:
        change = float(shoulders_T[span[1] - 1] - shoulders_T[span[0]])
        low_s = signals.start_s(span) if change > 0 else signals.end_s(span)
        if (
            abs(change) < PRESS_RISE * 0.8
            or on_floor_T[slice(*span)].mean() < 0.7
            or not any(p.start_s - 0.2 <= low_s <= p.end_s + 0.2 for p in down)
        ):
            continue
        result.append(
            _level_change(
                signals, span, shoulders_T, EventKind.PRESS, EventKind.UNPRESS, Part.TORSO
            )
        )
    return result


def still_spans(signals: Signals) -> list[Span]:
    """Return spans of at least one second in which no measured joint moves noticeably."""
    seen_J = signals.usable_TJ.mean(axis=0) >= 0.6
    if not seen_J.any():
        return []
    joints_TN3 = gaussian_filter1d(signals.joints_TJ3[:, seen_J], 2.0, axis=0, mode="nearest")
    fastest_T = np.percentile(speed_T(joints_TN3), 90, axis=1) / signals.size.leg_m
    return [s for s in spans(fastest_T < STILL_SPEED, FPS) if not _hands_work(signals, s)]


def _hands_work(signals: Signals, span: Span) -> bool:
    """Return whether the hands go apart and together again and again in a still body."""
    if not signals.sharp or not all(signals.seen(f"{side}_arm", span) for side in SIDES):
        return False
    between_T3 = signals.joint_T3("left_wrist") - signals.joint_T3("right_wrist")
    apart_N = np.linalg.norm(between_T3[slice(*span)], axis=1) / signals.size.arm_m
    return len(turning_points(apart_N, HANDS_WORK)) > HANDS_WORK_TIMES
