"""Movements of two people together: approach, part, hug, shake hands and the like.

The people of a clip are in one space (``root_trajectory`` of their tracks), but the depth of one
camera is inaccurate. Distances along the depth axis therefore count only beyond an error that grows
with the distance from the camera, and contacts of hands need an agreement in the image plane.

Shapes: T frames that both people share, at 20 fps. Lengths are in meters, or in the mean leg or arm
length of the two.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from annotators.motion.describe import MotionDescription, describe_track
from annotators.motion.events import Direction, EventKind, MotionEvent, Part, Side, Unit
from annotators.motion.signals import (
    MIN_CONFIDENCE,
    SIDES,
    Span,
    hysteresis,
    join_spans,
    spans,
    trim_ramp,
    turning_points,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS, JOINT, heading_rad
from data.records import ObjectSpan, PoseTrack

MIN_SHARED_S: Final = 0.5
DEPTH_ERROR: Final = 0.12
"""Error of the distance from the camera, as a share of it. A body's height in the image, from which
it follows, is wrong by so much when the person bends or the height is unusual."""
MIN_DEPTH_ERROR_M: Final = 0.2

NEAR: Final = 1.8
"""Distance of two people who have to do with each other, leg lengths; about 1.5 m."""
MIN_CLOSING: Final = 1.2
"""Smallest change of the distance when people approach or part."""
MOVER_SHARE: Final = 0.35
"""Smallest share of the change that is one person's own movement if that person approaches."""
STOPS_S: Final = 0.5
"""Who approaches stops there, and who parts has stood there; others pass by."""
MAX_STEP_UP: Final = 0.8
"""Largest difference of the heights of two people who meet, leg lengths: one may sit."""
FACING_DEG: Final = 50.0
FACE_S: Final = 1.0

HUG_APART: Final = 0.75
"""Largest distance of the chests in a hug, leg lengths."""
HUG_HAND: Final = 0.75
"""Largest distance of a hand that is around the other, from the other's trunk, arm lengths."""
HUG_S: Final = 0.6

TOUCH: Final = 0.42
"""Largest distance of two wrists whose hands meet, arm lengths: two half hands and the error."""
REACH_OUT: Final = 0.45
"""Smallest horizontal distance of a hand that is held out, from its own shoulder."""
MIN_TOUCH_S: Final = 0.30
"""Hands that pass each other in the image meet for a shorter time."""
MAX_HAND_OVER_S: Final = 2.0
SHAKE_S: Final = 0.6
SHAKE_HEIGHT: Final = (-0.95, -0.15)
"""Height of hands that are shaken, from the shoulder, arm lengths."""

PUSH_TOUCH: Final = 0.6
"""Largest distance of a wrist from the middle of the trunk that its hand touches."""
PUSH_SPEED: Final = 2.0
"""Smallest speed of a hand that pushes, arm lengths per second."""
PUSH_LEAD_FRAMES: Final = 7
PUSHED_WAY: Final = 0.3
"""Smallest way of the pushed body in :data:`PUSH_S`, leg lengths."""
PUSH_S: Final = 0.8

TOGETHER_S: Final = 1.2
TOGETHER_DEG: Final = 35.0
TOGETHER_SPREAD: Final = 0.5
"""Largest change of the distance while two people walk side by side, leg lengths."""

_WALKS: Final = (EventKind.WALK, EventKind.RUN)


@dataclass(frozen=True, slots=True)
class _Body:
    """One of two people over the frames that they share.

    Attributes:
        track_id: the track.
        joints_TJ3: (T, 22, 3) world positions, meters.
        sure_TJ: (T, 22) whether the joint is measured.
        walks_T: (T,) whether the person walks or runs.
    """

    track_id: int
    joints_TJ3: FloatArray
    sure_TJ: BoolArray
    walks_T: BoolArray

    def joint_T3(self, name: str) -> FloatArray:
        return self.joints_TJ3[:, JOINT[name]]

    def sees(self, *names: str) -> BoolArray:
        return np.logical_and.reduce(self.sure_TJ[:, [JOINT[name] for name in names]], axis=1)

    @property
    def chest_T3(self) -> FloatArray:
        return (self.joint_T3("left_shoulder") + self.joint_T3("right_shoulder")) / 2


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two people over the frames that they share.

    Attributes:
        a, b: the two.
        time_T: (T,) times, seconds.
        leg_m, arm_m: mean lengths.
        error_T: (T,) error of the distance along the depth axis, meters.
    """

    a: _Body
    b: _Body
    time_T: FloatArray
    leg_m: float
    arm_m: float
    error_T: FloatArray

    def other(self, body: _Body) -> _Body:
        return self.b if body is self.a else self.a

    def apart_T(self, first_T3: FloatArray, second_T3: FloatArray, *, flat: bool) -> FloatArray:
        """Return the distance of two points, (T,), meters, beyond the error of the depth."""
        way_T3 = second_T3 - first_T3
        depth_T = np.maximum(np.abs(way_T3[:, 2]) - self.error_T, 0.0)
        up_T = 0.0 if flat else way_T3[:, 1]
        return np.sqrt(way_T3[:, 0] ** 2 + depth_T**2 + np.square(up_T))

    def faces_T(self, body: _Body) -> BoolArray:
        """Return the frames at which a person is turned to the other, (T,)."""
        way_T3 = self.other(body).joint_T3("pelvis") - body.joint_T3("pelvis")
        bearing_T = np.arctan2(way_T3[:, 0], way_T3[:, 2])
        off_T = np.degrees(heading_rad(body.joints_TJ3) - bearing_T)
        return np.abs((off_T + 180.0) % 360.0 - 180.0) < FACING_DEG

    def event(self, body: _Body, span: Span, kind: EventKind, **values: object) -> MotionEvent:
        """Return an event of one person with the other as the partner."""
        joints = [JOINT[n] for n in ("left_shoulder", "right_shoulder")]
        sure = float(min(p.sure_TJ[span[0] : span[1], joints].mean() for p in (self.a, self.b)))
        event = MotionEvent(
            kind=kind,
            part=Part.BODY,
            side=None,
            direction=None,
            level=None,
            start_s=float(self.time_T[span[0]]),
            end_s=float(self.time_T[span[1] - 1]),
            magnitude=0.0,
            unit=Unit.METERS,
            relative=0.0,
            peak_speed=0.0,
            confidence=sure,
            partner=self.other(body).track_id,
        )
        return replace(event, **values)


def describe_people(
    tracks: Sequence[PoseTrack],
    frame_size_px: tuple[int, int],
    things: Sequence[ObjectSpan] = (),
) -> list[MotionDescription]:
    """Describe all people of a clip, with what they do together.

    Args:
        tracks: pose tracks of one clip, in one space.
        frame_size_px: (width, height) of the video.
        things: objects of the scene.

    Returns:
        One description for each track, in the same order.
    """
    told = [describe_track(track, frame_size_px, things) for track in tracks]
    events = pair_events(tracks, told)
    return [d.with_events(more) for d, more in zip(told, events, strict=True)]


def pair_events(
    tracks: Sequence[PoseTrack], descriptions: Sequence[MotionDescription]
) -> list[tuple[MotionEvent, ...]]:
    """Find what pairs of people do together.

    Args:
        tracks: pose tracks of one clip, in one space.
        descriptions: the description of each track.

    Returns:
        For each track its events with others, in order of time; ``partner`` names the other.
    """
    found: list[list[MotionEvent]] = [[] for _ in tracks]
    for i, j in itertools.combinations(range(len(tracks)), 2):
        pair = _pair(tracks[i], tracks[j], descriptions[i], descriptions[j])
        if pair is None:
            continue
        hugs = _hugs(pair)
        touches = _hands_meet(pair, _mask(pair, hugs))
        walks = _walks_together(pair)
        for event in (*hugs, *touches, *_pushes(pair), *walks, *_distances(pair), *_faces(pair)):
            found[j if event.partner == pair.a.track_id else i].append(event)
    return [tuple(sorted(events, key=lambda e: (e.start_s, e.end_s))) for events in found]


def _pair(
    first: PoseTrack, second: PoseTrack, told_a: MotionDescription, told_b: MotionDescription
) -> _Pair | None:
    """Return two people over the frames that they share; None if these are too few."""
    start_s = max(first.pts_s[0], second.pts_s[0])
    end_s = min(first.pts_s[-1], second.pts_s[-1])
    num_frames = round((end_s - start_s) * FPS) + 1
    if num_frames < MIN_SHARED_S * FPS:
        return None
    bodies: list[_Body] = []
    for track, told in ((first, told_a), (second, told_b)):
        begin = int(np.argmin(np.abs(track.pts_s - start_s)))
        inside = slice(begin, begin + num_frames)
        num_frames = min(num_frames, len(track.pts_s[inside]))
        time_T = track.pts_s[inside]
        walks_T = np.zeros(len(time_T), dtype=np.bool_)
        for event in told.events:
            if event.kind in _WALKS:
                walks_T |= (time_T >= event.start_s) & (time_T <= event.end_s)
        joints_TJ3 = gaussian_filter1d(track.motion_TJ3[inside].astype(np.float64), 1.0, axis=0)
        sure_TJ = (track.confidence[inside] >= MIN_CONFIDENCE) & track.valid[inside, None]
        bodies.append(_Body(track.track_id, joints_TJ3, sure_TJ, walks_T))
    a, b = (
        replace(
            body,
            joints_TJ3=body.joints_TJ3[:num_frames],
            sure_TJ=body.sure_TJ[:num_frames],
            walks_T=body.walks_T[:num_frames],
        )
        for body in bodies
    )
    depth_T = np.abs(a.joint_T3("pelvis")[:, 2] + b.joint_T3("pelvis")[:, 2]) / 2
    begin = int(np.argmin(np.abs(first.pts_s - start_s)))
    return _Pair(
        a=a,
        b=b,
        time_T=first.pts_s[begin : begin + num_frames],
        leg_m=(told_a.size.leg_m + told_b.size.leg_m) / 2,
        arm_m=(told_a.size.arm_m + told_b.size.arm_m) / 2,
        error_T=np.maximum(DEPTH_ERROR * depth_T, MIN_DEPTH_ERROR_M),
    )


def _mask(pair: _Pair, events: Sequence[MotionEvent]) -> BoolArray:
    mask_T = np.zeros(len(pair.time_T), dtype=np.bool_)
    for event in events:
        mask_T |= (pair.time_T >= event.start_s - 0.3) & (pair.time_T <= event.end_s + 0.3)
    return mask_T


def _both(
    pair: _Pair, span: Span, kind: EventKind, **values: object
) -> tuple[MotionEvent, MotionEvent]:
    return pair.event(pair.a, span, kind, **values), pair.event(pair.b, span, kind, **values)


# ------------------------------------------------------------------------------------- distances


def _bodies_apart(pair: _Pair) -> FloatArray:
    """Return the horizontal distance of the two, (T,), leg lengths."""
    apart_T = pair.apart_T(pair.a.joint_T3("pelvis"), pair.b.joint_T3("pelvis"), flat=True)
    return gaussian_filter1d(apart_T, 3.0, mode="nearest") / pair.leg_m


def _distances(pair: _Pair) -> list[MotionEvent]:
    """Find people who walk up to each other or away from each other."""
    apart_T = _bodies_apart(pair)
    result: list[MotionEvent] = []
    for start, end in itertools.pairwise(turning_points(apart_T, MIN_CLOSING)):
        change = float(apart_T[end] - apart_T[start])
        if abs(change) < MIN_CLOSING or min(apart_T[start], apart_T[end]) > NEAR:
            continue
        span = trim_ramp(apart_T, start, end)
        kind = EventKind.APPROACH if change < 0 else EventKind.PART
        for body in (pair.a, pair.b):
            own = _own_way(pair, body, span) * np.sign(change)
            if own >= MOVER_SHARE * abs(change) and _comes_or_goes(pair, body, span, kind):
                result.append(
                    pair.event(
                        body,
                        span,
                        kind,
                        magnitude=abs(change) * pair.leg_m,
                        relative=abs(change),
                        gap_m=float(apart_T[end]) * pair.leg_m,
                    )
                )
    return result


def _comes_or_goes(pair: _Pair, body: _Body, span: Span, kind: EventKind) -> bool:
    """Return whether a walker stops at the other, or has stood there, on the same level."""
    frames = int(STOPS_S * FPS)
    # The distance changes little in the last step.
    if kind is EventKind.APPROACH:
        near, first = span[1] - 1, span[1] - 1 + frames
    else:
        near, first = span[0], span[0] - 2 * frames
    up_T = pair.a.joint_T3("pelvis")[:, 1] - pair.b.joint_T3("pelvis")[:, 1]
    level = abs(float(up_T[near])) < MAX_STEP_UP * pair.leg_m
    # At the start or the end of what both share, nobody knows whether the walker stops.
    known = first >= 0 and first + frames <= len(up_T)
    if not (level and known and body.walks_T[slice(*span)].any()):
        return False
    return float(body.walks_T[first : first + frames].mean()) < 0.6


def _own_way(pair: _Pair, body: _Body, span: Span) -> float:
    """Return how far one person's own movement takes them from the other, leg lengths."""
    first, last = span[0], span[1] - 1
    pelvis_T3, there_T3 = body.joint_T3("pelvis"), pair.other(body).joint_T3("pelvis")
    middle_3 = (there_T3[first] + there_T3[last]) / 2
    before, after = (np.linalg.norm((pelvis_T3[f] - middle_3)[[0, 2]]) for f in (first, last))
    return float(after - before) / pair.leg_m


def _on_one_level_T(pair: _Pair) -> BoolArray:
    up_T = pair.a.joint_T3("pelvis")[:, 1] - pair.b.joint_T3("pelvis")[:, 1]
    return np.abs(up_T) < MAX_STEP_UP * pair.leg_m


def _faces(pair: _Pair) -> list[MotionEvent]:
    """Find people who stand face to face."""
    near_T = (_bodies_apart(pair) < NEAR) & _on_one_level_T(pair)
    still_T = ~(pair.a.walks_T | pair.b.walks_T)
    mask_T = near_T & still_T & pair.faces_T(pair.a) & pair.faces_T(pair.b)
    result: list[MotionEvent] = []
    for span in join_spans(spans(mask_T, 4), FPS // 4):
        if span[1] - span[0] >= FACE_S * FPS:
            gap_m = float(np.median(_bodies_apart(pair)[slice(*span)])) * pair.leg_m
            result += _both(pair, span, EventKind.FACE, gap_m=gap_m)
    return result


def _walks_together(pair: _Pair) -> list[MotionEvent]:
    """Find people who walk side by side in the same direction."""
    apart_T = _bodies_apart(pair)
    mask_T = pair.a.walks_T & pair.b.walks_T & (apart_T < NEAR) & _same_course_T(pair)
    result: list[MotionEvent] = []
    for span in join_spans(spans(mask_T, 4), FPS // 4):
        apart_N = apart_T[slice(*span)]
        if span[1] - span[0] < TOGETHER_S * FPS or np.ptp(apart_N) > TOGETHER_SPREAD:
            continue
        ways = [
            float(np.linalg.norm((p[span[1] - 1] - p[span[0]])[[0, 2]]))
            for p in (pair.a.joint_T3("pelvis"), pair.b.joint_T3("pelvis"))
        ]
        gap_m = float(np.median(apart_N)) * pair.leg_m
        result += _both(
            pair,
            span,
            EventKind.WALK_TOGETHER,
            magnitude=min(ways),
            relative=min(ways) / pair.leg_m,
            gap_m=gap_m,
        )
    return result


def _same_course_T(pair: _Pair) -> BoolArray:
    courses: list[FloatArray] = []
    for body in (pair.a, pair.b):
        path_T3 = gaussian_filter1d(body.joint_T3("pelvis"), 4.0, axis=0, mode="nearest")
        velocity_T3 = np.gradient(path_T3, axis=0)
        courses.append(np.degrees(np.arctan2(velocity_T3[:, 0], velocity_T3[:, 2])))
    return np.abs((courses[0] - courses[1] + 180.0) % 360.0 - 180.0) < TOGETHER_DEG


# -------------------------------------------------------------------------------------- contacts


def _to_trunk(pair: _Pair, body: _Body, side: str) -> FloatArray:
    """Return the distance of a hand to the other's trunk, (T,), arm lengths."""
    other = pair.other(body)
    hips_T3 = (other.joint_T3("left_hip") + other.joint_T3("right_hip")) / 2
    trunk_T3 = other.chest_T3 - hips_T3
    wrist_T3 = body.joint_T3(f"{side}_wrist")
    along_T = ((wrist_T3 - hips_T3) * trunk_T3).sum(axis=1) / np.maximum(
        (trunk_T3**2).sum(axis=1), 1e-6
    )
    nearest_T3 = hips_T3 + np.clip(along_T, 0.0, 1.0)[:, None] * trunk_T3
    return pair.apart_T(wrist_T3, nearest_T3, flat=False) / pair.arm_m


def _hugs(pair: _Pair) -> list[MotionEvent]:
    """Find people whose chests are close together with a hand of each, or two of one, around."""
    chests_T = pair.apart_T(pair.a.chest_T3, pair.b.chest_T3, flat=True) / pair.leg_m
    around_T = np.zeros(len(pair.time_T), dtype=np.intp)
    for body in (pair.a, pair.b):
        for side in SIDES:
            around_T += (_to_trunk(pair, body, side) < HUG_HAND) & body.sees(f"{side}_wrist")
    height_T = np.abs(pair.a.chest_T3[:, 1] - pair.b.chest_T3[:, 1]) / pair.leg_m
    mask_T = (chests_T < HUG_APART) & (around_T >= 2) & (height_T < 0.8)
    mask_T &= pair.faces_T(pair.a) | pair.faces_T(pair.b)
    mask_T &= ~(pair.a.walks_T & pair.b.walks_T)
    result: list[MotionEvent] = []
    for span in join_spans(spans(mask_T, 3), FPS // 4):
        if span[1] - span[0] >= HUG_S * FPS:
            gap_m = float(np.median(chests_T[slice(*span)])) * pair.leg_m
            result += _both(pair, span, EventKind.HUG, gap_m=gap_m)
    return result


def _held_out_T(pair: _Pair, body: _Body, side: str) -> BoolArray:
    """Return the frames at which a measured hand is held out from its shoulder, (T,)."""
    way_T3 = body.joint_T3(f"{side}_wrist") - body.joint_T3(f"{side}_shoulder")
    out_T = np.hypot(way_T3[:, 0], way_T3[:, 2]) / pair.arm_m > REACH_OUT
    return out_T & body.sees(f"{side}_wrist", f"{side}_elbow")


def _hands_meet(pair: _Pair, hugs_T: BoolArray) -> list[MotionEvent]:
    """Find hands that meet between two people: handshakes, and things that are handed over."""
    near_T = (_bodies_apart(pair) < NEAR) & ~hugs_T & _on_one_level_T(pair)
    result: list[MotionEvent] = []
    for side_a, side_b in itertools.product(SIDES, SIDES):
        wrists = pair.a.joint_T3(f"{side_a}_wrist"), pair.b.joint_T3(f"{side_b}_wrist")
        gap_T = pair.apart_T(*wrists, flat=False) / pair.arm_m
        out_T = _held_out_T(pair, pair.a, side_a) & _held_out_T(pair, pair.b, side_b)
        meets_T = hysteresis(-gap_T, -TOUCH, -1.5 * TOUCH) & near_T
        for span in join_spans(spans(meets_T, 2), 3):
            seconds = (span[1] - span[0]) / FPS
            if seconds < MIN_TOUCH_S or out_T[slice(*span)].mean() < 0.6:
                continue
            values = {"part": Part.ARM, "gap_m": float(gap_T[slice(*span)].min()) * pair.arm_m}
            kind = EventKind.HAND_OVER
            if side_a == side_b == Side.RIGHT and seconds >= SHAKE_S and _shakes(pair, span):
                kind = EventKind.SHAKE_HANDS
            elif seconds > MAX_HAND_OVER_S:
                continue
            result.append(pair.event(pair.a, span, kind, side=Side(side_a), **values))
            result.append(pair.event(pair.b, span, kind, side=Side(side_b), **values))
    return _strongest(result)


def _shakes(pair: _Pair, span: Span) -> bool:
    """Return whether two right hands are at the height of a handshake between facing people."""
    for body in (pair.a, pair.b):
        up_T = body.joint_T3("right_wrist")[:, 1] - body.joint_T3("right_shoulder")[:, 1]
        height = float(np.median(up_T[slice(*span)])) / pair.arm_m
        if not SHAKE_HEIGHT[0] < height < SHAKE_HEIGHT[1]:
            return False
        if pair.faces_T(body)[slice(*span)].mean() < 0.5:
            return False
    return True


def _strongest(events: list[MotionEvent]) -> list[MotionEvent]:
    """Of contacts of several hands at the same time, keep the longest of each person."""
    kept: list[MotionEvent] = []
    for event in sorted(events, key=lambda e: (e.kind is EventKind.SHAKE_HANDS, e.duration_s))[
        ::-1
    ]:
        if not any(
            k.partner == event.partner
            and min(k.end_s, event.end_s) >= max(k.start_s, event.start_s)
            for k in kept
        ):
            kept.append(event)
    return kept


def _pushes(pair: _Pair) -> list[MotionEvent]:
    """Find a hand that hits the other's trunk fast, and a body that gives way at once."""
    result: list[MotionEvent] = []
    last = len(pair.time_T)
    for body in (pair.a, pair.b):
        other = pair.other(body)
        away_T3 = other.joint_T3("pelvis") - body.joint_T3("pelvis")
        away_T3 = away_T3 * np.array([1.0, 0.0, 1.0])
        away_T3 /= np.maximum(np.linalg.norm(away_T3, axis=1, keepdims=True), 1e-6)
        for side in SIDES:
            hand_T3 = body.joint_T3(f"{side}_wrist") - body.joint_T3(f"{side}_shoulder")
            out_T = (np.gradient(hand_T3, axis=0) * away_T3).sum(axis=1) * FPS / pair.arm_m
            touch_T = (_to_trunk(pair, body, side) < PUSH_TOUCH) & body.sees(f"{side}_wrist")
            # The hand is slower where it meets the body than on the way.
            fast_T = maximum_filter1d(out_T, PUSH_LEAD_FRAMES, origin=PUSH_LEAD_FRAMES // 2)
            for start, end in spans(touch_T & (fast_T > PUSH_SPEED), 2):
                until = min(start + int(PUSH_S * FPS), last - 1)
                moved = other.joint_T3("pelvis")[until] - other.joint_T3("pelvis")[start]
                way = float((moved * away_T3[start]).sum()) / pair.leg_m
                if way >= PUSHED_WAY and not other.walks_T[max(start - FPS // 2, 0) : start].any():
                    result.append(
                        pair.event(
                            body,
                            (start, max(end, start + 2)),
                            EventKind.PUSH,
                            part=Part.ARM,
                            side=Side(side),
                            direction=Direction.FORWARD,
                            magnitude=way * pair.leg_m,
                            relative=way,
                            peak_speed=float(fast_T[start:end].max()) * pair.arm_m,
                        )
                    )
    return _strongest(result)
