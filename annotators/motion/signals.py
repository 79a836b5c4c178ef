"""Input of all motion rules: smoothed joints, body sizes, body axes, and which parts are visible.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`), N events or spans, K
turning points. Positions are in meters, y up. Vectors in body axes are (left, up, forward).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS, JOINT, heading_rad

Span = tuple[int, int]
"""Half-open range of frames (start, end)."""

SIDES: Final = ("left", "right")

SMOOTH_FRAMES: Final = 1.0
"""Sigma of the Gaussian filter. 50 ms keep a punch (about 150 ms) and remove jitter."""
HEADING_SMOOTH_FRAMES: Final = 5.0
"""0.25 s, which removes the counter-rotation of hips and shoulders at every step."""
PATH_SMOOTH_FRAMES: Final = 4.0
"""0.2 s, which removes the sway of the pelvis within a step."""
MIN_CONFIDENCE: Final = 0.5
"""A joint of lower confidence is not measured. Confidences are visibility probabilities."""
MAX_FILL_FRAMES: Final = 6
"""Gaps of at most 0.3 s are interpolated. In longer gaps a joint is not measured."""
SETTLE_FRAMES: Final = 3
"""The pose model is inaccurate for 0.15 s after a joint appears and before it disappears."""
HAND_LEAP_FRAMES: Final = 4
HAND_LEAP: Final = 1.2
"""A hand that crosses so much of the image in 0.2 s, arm lengths, to where the other one is, is
taken for the other one by the pose model, which has lost it."""
HAND_LEAP_RATIO: Final = 3.0
"""Smallest way of that hand relative to that of the other one. Hands that clap both move."""
ONE_HAND: Final = 0.5
TWO_HANDS: Final = 0.75
"""Distance in the image, arm lengths, at which the two are one hand, and two hands again."""
MIN_SEEN_FRAMES: Final = 10
"""A part has events only if it is measured for 0.5 s without a break. In shorter glimpses the pose
model has not settled (see :data:`SETTLE_FRAMES`), and no movement is complete."""
MOSTLY_SEEN_SHARE: Final = 0.6
"""Smallest share of the frames in which a part is measured that is measured mostly."""
MIN_IN_IMAGE: Final = 0.5
"""Smallest share of a direction in the image plane at which an estimated movement has that
direction: 30 degrees away from the viewing direction. Along it the pose model only guesses."""
TIPTOE: Final = 0.20
"""Largest height of an ankle above its toes, leg lengths."""
FALL_SPEED: Final = 2.0
"""A foot that goes down faster falls, leg lengths per second; in a step down it reaches 1.2."""
FLOOR_SMOOTH_FRAMES: Final = 2.0
MIN_ACROSS_SHARE: Final = 0.35
"""Smallest horizontal width of hips and shoulders, relative to its usual value, at which the
heading is defined. It is undefined for a person who lies on the side."""

# Body proportions of the CMU and Bandai skeletons, used if the legs are not visible.
LEG_PER_TORSO: Final = 2.0
LEG_PER_ARM: Final = 1.75
HEIGHT_PER_LEG: Final = 2.05

MAX_MOVE_S: Final = 3.0
"""A slower movement of a limb is drift of the estimate, or too slow to be an action."""

PART_JOINTS: Final = {
    "left_arm": ("left_shoulder", "left_elbow", "left_wrist"),
    "right_arm": ("right_shoulder", "right_elbow", "right_wrist"),
    "left_leg": ("left_hip", "left_knee", "left_ankle"),
    "right_leg": ("right_hip", "right_knee", "right_ankle"),
    "torso": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "head": ("head", "left_shoulder", "right_shoulder"),
}
"""Joints that have to be measured for a part to be measured."""


@dataclass(frozen=True, slots=True)
class BodySize:
    """Body lengths measured in the motion, meters.

    Attributes:
        leg_m: length from hip over knee to ankle.
        arm_m: length from shoulder over elbow to wrist.
        torso_m: distance from the middle of the hips to the middle of the shoulders.
        height_m: body height estimated from the leg length.
    """

    leg_m: float
    arm_m: float
    torso_m: float
    height_m: float


@dataclass(frozen=True, slots=True)
class Signals:
    """A motion that is prepared for the rules.

    Attributes:
        time_T: (T,) times of the frames, seconds.
        joints_TJ3: (T, 22, 3) smoothed world positions, meters.
        usable_TJ: (T, 22) whether the joint is measured at the frame.
        confidence_TJ: (T, 22) confidence of the joint, 0..1; 0 where the frame was filled in.
        part_T: for each body part of :data:`PART_JOINTS`, (T,) whether all its joints are measured.
            An event counts if its parts are measured in its own span, see :meth:`seen`.
        parts: parts that are measured for at least :data:`MIN_SEEN_FRAMES` in a row.
        mostly: parts that are measured for most of the motion.
        heading_T: (T,) unwrapped yaw, radians; positive turns to the person's left.
        size: body lengths.
        exact: whether the joints are motion capture, in which millimeters are significant.
        sharp: whether the body is large enough in the image to measure small movements.
        floor_T: (T,) height of the floor near each frame, meters.
    """

    time_T: FloatArray
    joints_TJ3: FloatArray
    usable_TJ: BoolArray
    confidence_TJ: FloatArray
    part_T: dict[str, BoolArray]
    parts: frozenset[str]
    mostly: frozenset[str]
    heading_T: FloatArray
    size: BodySize
    exact: bool
    sharp: bool
    floor_T: FloatArray

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.time_T)

    @property
    def legs_seen(self) -> bool:
        """Whether both legs are measured at some time."""
        return {"left_leg", "right_leg"} <= self.parts

    @property
    def leg_sides(self) -> tuple[str, ...]:
        """Sides of the measured legs. In a side view, one leg may hide the other.

        A leg that is measured only at times counts only if no leg is measured mostly.
        """
        mostly = tuple(side for side in SIDES if f"{side}_leg" in self.mostly)
        return mostly or tuple(side for side in SIDES if f"{side}_leg" in self.parts)

    @property
    def posture_seen(self) -> bool:
        """Whether the torso and a leg are measured at some time, which the posture needs."""
        return bool(self.leg_sides) and "torso" in self.parts

    @property
    def body_seen(self) -> bool:
        """Whether torso and both legs are measured at some time, which steps and jumps need."""
        return self.legs_seen and "torso" in self.parts

    @property
    def body_T(self) -> BoolArray:
        """(T,) whether the torso and both legs are measured."""
        return self.part_T["torso"] & self.part_T["left_leg"] & self.part_T["right_leg"]

    def joint_T3(self, name: str) -> FloatArray:
        """Return the world positions of one joint, (T, 3), meters."""
        return self.joints_TJ3[:, JOINT[name]]

    def height_T(self, *names: str) -> FloatArray:
        """Return the height of the lowest of the joints above the floor, (T,), meters."""
        indices = [JOINT[name] for name in names]
        return self.joints_TJ3[:, indices, 1].min(axis=1) - self.floor_T

    def in_body_axes(self, vectors_T3: FloatArray) -> FloatArray:
        """Rotate world vectors to body axes (left, up, forward), (T, 3)."""
        sin_T, cos_T = np.sin(self.heading_T), np.cos(self.heading_T)
        x_T, z_T = vectors_T3[:, 0], vectors_T3[:, 2]
        return np.stack(
            (cos_T * x_T - sin_T * z_T, vectors_T3[:, 1], sin_T * x_T + cos_T * z_T), axis=1
        )

    def trunk_T3(self) -> FloatArray:
        """Return the vector from hips to shoulders in body axes, (T, 3), meters.

        Hips and shoulders are used because skeletons differ in the positions of spine and neck.
        """
        return self.in_body_axes(_trunk(self.joints_TJ3))

    def hips_T3(self) -> FloatArray:
        """Return the world position of the middle of the hips, (T, 3), meters."""
        return (self.joint_T3("left_hip") + self.joint_T3("right_hip")) / 2

    def relative_T3(self, joint: str, origin: str) -> FloatArray:
        """Return the position of ``joint`` relative to ``origin`` in body axes, (T, 3), meters."""
        return self.in_body_axes(self.joint_T3(joint) - self.joint_T3(origin))

    def seen(self, part: str, span: Span, share: float = 0.8) -> bool:
        """Return whether ``part`` is measured in at least ``share`` of the span."""
        part_N = self.part_T[part][span[0] : span[1]]
        return bool(len(part_N)) and float(part_N.mean()) >= share

    def sees_direction(self, span: Span, *, across: bool, share: float = MIN_IN_IMAGE) -> bool:
        """Return whether a horizontal direction of the body lies in the image, not in its depth.

        One camera measures a movement to the left or right of the person who faces it, and a
        movement forward or backward of the person who is seen from the side. The other direction
        is a guess of the pose model. Of motion capture every direction is measured.

        Args:
            span: frames of the movement.
            across: the direction left-right if true, else the direction forward-backward.
            share: smallest share of the direction's unit vector in the image plane, 0..1.
        """
        if self.exact:
            return True
        heading_N = self.heading_T[slice(*span)]
        in_image_N = np.abs(np.cos(heading_N) if across else np.sin(heading_N))
        return bool(len(in_image_N)) and float(in_image_N.mean()) >= share

    def share_in_image(self, joint: str, origin: str, span: Span) -> float:
        """Return how much of a movement lies in the image plane, 0..1; 1 for motion capture.

        Args:
            joint: joint that moves.
            origin: joint relative to which it moves.
            span: frames of the movement.

        Returns:
            The path of the joint in the image plane, relative to its path in space. It is 1 if the
            joint does not move.
        """
        if self.exact:
            return 1.0
        way_T3 = (self.joint_T3(joint) - self.joint_T3(origin))[slice(*span)]
        steps_T3 = np.diff(way_T3, axis=0)
        path_m = float(np.linalg.norm(steps_T3, axis=1).sum())
        if path_m < 1e-6:
            return 1.0
        return float(np.linalg.norm(steps_T3[:, :2], axis=1).sum()) / path_m

    def mean_confidence(self, joints: Sequence[str], span: Span) -> float:
        """Return the mean confidence of joints over the span, 0..1."""
        indices = [JOINT[name] for name in joints]
        return float(self.confidence_TJ[span[0] : span[1], indices].mean())

    def frames_of(self, start_s: float, end_s: float) -> Span:
        """Return the frames from a time to another, seconds; both ends belong to it."""
        first, last = np.searchsorted(self.time_T, (start_s - 1e-9, end_s + 1e-9))
        return int(first), int(last)

    def start_s(self, span: Span) -> float:
        """Return the time of the span's first frame, seconds."""
        return float(self.time_T[span[0]])

    def end_s(self, span: Span) -> float:
        """Return the time of the span's last frame, seconds."""
        return float(self.time_T[span[1] - 1])


def prepare(
    joints_TJ3: FloatArray,
    *,
    pts_s: FloatArray | None = None,
    valid: BoolArray | None = None,
    confidence: FloatArray | None = None,
    sharp: bool = True,
) -> Signals:
    """Smooth a motion and measure the body.

    Args:
        joints_TJ3: world positions, (T, 22, 3), meters, y up, 20 fps.
        pts_s: (T,) times, seconds; by default from 0 at 20 fps.
        valid: (T,) whether a frame was measured and not filled in.
        confidence: (T, 22) confidence of each joint, 0..1; None for motion capture.
        sharp: whether small movements can be measured.

    Returns:
        The signals.

    Raises:
        ValueError: the motion is empty, not (T, 22, 3), or has values that are not finite.
    """
    raw_TJ3 = np.asarray(joints_TJ3, dtype=np.float64)
    if raw_TJ3.ndim != 3 or raw_TJ3.shape[1:] != (len(JOINT), 3) or len(raw_TJ3) == 0:
        raise ValueError(f"expected joints of shape (T >= 1, 22, 3), found {raw_TJ3.shape}.")
    if not np.isfinite(raw_TJ3).all():
        raise ValueError("expected finite joint positions, found NaN or infinity.")
    num_frames = len(raw_TJ3)
    time_T = np.arange(num_frames) / FPS if pts_s is None else np.asarray(pts_s, dtype=np.float64)

    confidence_TJ = np.ones(raw_TJ3.shape[:2])
    if confidence is not None:
        confidence_TJ = np.asarray(confidence, dtype=np.float64)
    if valid is not None:
        confidence_TJ = confidence_TJ * np.asarray(valid, dtype=np.bool_)[:, None]
    sure_TJ = confidence_TJ >= MIN_CONFIDENCE
    filled_TJ3, usable_TJ = bridge_gaps(raw_TJ3, sure_TJ)
    smooth_TJ3 = gaussian_filter1d(filled_TJ3, SMOOTH_FRAMES, axis=0, mode="nearest")

    if confidence is not None:
        usable_TJ = usable_TJ & ~_taken_for_other_TJ(smooth_TJ3)

    part_T: dict[str, BoolArray] = {
        part: np.logical_and.reduce(usable_TJ[:, [JOINT[name] for name in names]], axis=1)
        for part, names in PART_JOINTS.items()
    }
    least = min(MIN_SEEN_FRAMES, num_frames)
    parts = frozenset(part for part, seen_T in part_T.items() if spans(seen_T, least))
    mostly = frozenset(p for p, seen_T in part_T.items() if seen_T.mean() >= MOSTLY_SEEN_SHARE)
    size = _measure(smooth_TJ3, part_T, parts)
    return Signals(
        time_T=time_T,
        joints_TJ3=smooth_TJ3,
        usable_TJ=usable_TJ,
        confidence_TJ=confidence_TJ,
        part_T=part_T,
        parts=parts,
        mostly=mostly,
        heading_T=_heading(smooth_TJ3),
        size=size,
        exact=confidence is None,
        sharp=sharp,
        floor_T=_floor(smooth_TJ3, sure_TJ, size.leg_m),
    )


def bridge_gaps(raw_TJ3: FloatArray, sure_TJ: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Interpolate joints over gaps, relative to the pelvis.

    In a long gap a joint moves with the pelvis, so that unseen legs do not stay behind.

    Args:
        raw_TJ3: positions, (T, 22, 3), meters.
        sure_TJ: (T, 22) whether each joint is measured.

    Returns:
        Positions, (T, 22, 3), and whether each joint is usable, (T, 22).
    """
    filled_TJ3, usable_TJ = raw_TJ3.copy(), sure_TJ.copy()
    frames_T = np.arange(len(raw_TJ3))
    for joint in np.flatnonzero(~sure_TJ.all(axis=0)):
        known = np.flatnonzero(sure_TJ[:, joint])
        if len(known) == 0:
            continue
        for start, end in spans(~sure_TJ[:, joint]):
            if start > 0 and end < len(raw_TJ3) and end - start <= MAX_FILL_FRAMES:
                usable_TJ[start:end, joint] = True
            elif end - start > MAX_FILL_FRAMES:
                around = slice(max(start - SETTLE_FRAMES, 0), end + SETTLE_FRAMES)
                usable_TJ[around, joint] = False
        known_N3 = raw_TJ3[known, joint] - raw_TJ3[known, 0]
        for axis in range(3):
            between_T = np.interp(frames_T, known, known_N3[:, axis])
            filled_TJ3[:, joint, axis] = raw_TJ3[:, 0, axis] + between_T
    return filled_TJ3, usable_TJ


def _taken_for_other_TJ(joints_TJ3: FloatArray) -> BoolArray:
    """Return the joints of the hands while the pose model takes one for the other, (T, 22).

    Then neither is measured: the one that is seen may be either of them.

    Args:
        joints_TJ3: estimated positions, (T, 22, 3), meters.
    """
    taken_TJ = np.zeros(joints_TJ3.shape[:2], dtype=np.bool_)
    arms = [JOINT[f"{side}_{name}"] for side in SIDES for name in ("elbow", "wrist")]
    shoulders = [JOINT[f"{side}_shoulder"] for side in SIDES]
    wrists = [JOINT[f"{side}_wrist"] for side in SIDES]
    every_T = np.ones(len(joints_TJ3), dtype=np.bool_)
    arm_m = np.mean([_chain_m(joints_TJ3, every_T, PART_JOINTS[f"{side}_arm"]) for side in SIDES])
    # In the image, relative to the shoulders, (T, 2 hands, 2).
    hands_TN2 = joints_TJ3[:, wrists, :2] - joints_TJ3[:, shoulders, :2].mean(axis=1, keepdims=True)
    apart_T = np.linalg.norm(hands_TN2[:, 0] - hands_TN2[:, 1], axis=1) / arm_m
    leap_KN = np.linalg.norm(hands_TN2[HAND_LEAP_FRAMES:] - hands_TN2[:-HAND_LEAP_FRAMES], axis=2)
    leap_KN /= arm_m
    far_K, near_K = leap_KN.max(axis=1), leap_KN.min(axis=1)
    leaps_K = (far_K >= HAND_LEAP) & (far_K >= HAND_LEAP_RATIO * near_K)
    for frame in np.flatnonzero(leaps_K & (apart_T[HAND_LEAP_FRAMES:] < ONE_HAND)).tolist():
        lands = frame + HAND_LEAP_FRAMES
        parts_N = np.flatnonzero(apart_T[lands:] > TWO_HANDS)
        end = lands + int(parts_N[0]) + SETTLE_FRAMES if len(parts_N) else len(joints_TJ3)
        taken_TJ[frame:end, arms] = True
    return taken_TJ


def _chain_m(joints_TJ3: FloatArray, seen_T: BoolArray, names: tuple[str, ...]) -> float:
    """Return the median length of a chain of joints over the frames with it, meters."""
    chain_TJ3 = joints_TJ3[:, [JOINT[name] for name in names]]
    if seen_T.any():
        chain_TJ3 = chain_TJ3[seen_T]
    return float(np.median(np.linalg.norm(np.diff(chain_TJ3, axis=1), axis=2).sum(axis=1)))


def _measure(
    joints_TJ3: FloatArray, part_T: dict[str, BoolArray], parts: frozenset[str]
) -> BodySize:
    def longest(part: str) -> float:
        # The longer side is taken, because projection and occlusion only shorten limbs.
        lengths = [
            _chain_m(joints_TJ3, part_T[f"{side}_{part}"], PART_JOINTS[f"{side}_{part}"])
            for side in SIDES
            if f"{side}_{part}" in parts
        ]
        return max(lengths, default=0.0)

    arm_m, leg_m = longest("arm"), longest("leg")
    torso_TJ3 = joints_TJ3[part_T["torso"]] if part_T["torso"].any() else joints_TJ3
    torso_m = float(np.median(np.linalg.norm(_trunk(torso_TJ3), axis=1)))
    if leg_m == 0.0:
        leg_m = LEG_PER_ARM * arm_m if arm_m > 0.0 else LEG_PER_TORSO * torso_m
    # Lower bounds for degenerate input, so that no rule divides by zero.
    leg_m = max(leg_m, 0.05)
    arm_m = arm_m if arm_m > 0.0 else leg_m / LEG_PER_ARM
    return BodySize(leg_m, max(arm_m, 0.03), max(torso_m, 0.03), HEIGHT_PER_LEG * leg_m)


def _trunk(joints_TJ3: FloatArray) -> FloatArray:
    """Return the vector from the middle of the hips to that of the shoulders, (T, 3), meters."""
    hips = [JOINT["left_hip"], JOINT["right_hip"]]
    shoulders = [JOINT["left_shoulder"], JOINT["right_shoulder"]]
    return joints_TJ3[:, shoulders].mean(axis=1) - joints_TJ3[:, hips].mean(axis=1)


def _heading(joints_TJ3: FloatArray) -> FloatArray:
    """Return the smoothed, unwrapped yaw, (T,), radians.

    The yaw is held constant where the left-right axis of the body points up or down.
    """
    left_TJ3 = joints_TJ3[:, [JOINT["left_hip"], JOINT["left_shoulder"]]]
    right_TJ3 = joints_TJ3[:, [JOINT["right_hip"], JOINT["right_shoulder"]]]
    across_T3 = (left_TJ3 - right_TJ3).sum(axis=1)
    width_T = np.linalg.norm(across_T3[:, [0, 2]], axis=1)
    usual = np.median(np.linalg.norm(across_T3, axis=1))
    clear = np.flatnonzero(width_T >= MIN_ACROSS_SHARE * usual)
    heading_T = heading_rad(joints_TJ3)
    if 0 < len(clear) < len(heading_T):
        heading_T = np.interp(np.arange(len(heading_T)), clear, np.unwrap(heading_T[clear]))
    return gaussian_filter1d(np.unwrap(heading_T), HEADING_SMOOTH_FRAMES, mode="nearest")


def lowest_foot(joints_TJ3: FloatArray, sure_TJ: BoolArray, leg_m: float) -> FloatArray:
    """Return the height of the lower foot, (T,), meters.

    A foot that is not measured counts only if neither is. The toes count as at most so far below
    the ankles as on tiptoe, because their estimate is the worst of all joints.

    Args:
        joints_TJ3: world positions, (T, 22, 3), meters, y up.
        sure_TJ: (T, 22) whether the joint is measured and not filled in.
        leg_m: leg length, meters.
    """
    feet_TN: list[FloatArray] = []
    seen_T = {side: sure_TJ[:, JOINT[f"{side}_ankle"]] for side in SIDES}
    neither_T = ~(seen_T["left"] | seen_T["right"])
    for side in SIDES:
        ankle_T = joints_TJ3[:, JOINT[f"{side}_ankle"], 1]
        toes_T = np.maximum(joints_TJ3[:, JOINT[f"{side}_foot"], 1], ankle_T - TIPTOE * leg_m)
        counts_T = seen_T[side] | neither_T
        feet_TN.append(np.where(counts_T, np.minimum(ankle_T, toes_T), np.inf))
    return np.min(feet_TN, axis=0)


def _floor(joints_TJ3: FloatArray, sure_TJ: BoolArray, leg_m: float) -> FloatArray:
    """Return the height of the floor, (T,), meters: the lowest foot within a second of each frame.

    The floor is local, because slopes, stairs and the drift of an estimated root would otherwise
    lift the feet off it. A fall of the feet divides it: before a jump from a wall the floor is the
    wall.
    """
    lowest_T = lowest_foot(joints_TJ3, sure_TJ, leg_m)
    falls_T = np.zeros(len(lowest_T), dtype=np.bool_)
    if len(lowest_T) > 1:
        falls_T = np.gradient(lowest_T) * FPS < -FALL_SPEED * leg_m
    floor_T = lowest_T.copy()
    for start, end in spans(~falls_T):
        floor_T[start:end] = minimum_filter1d(lowest_T[start:end], size=2 * FPS + 1, mode="nearest")
    for start, end in spans(falls_T):
        floor_T[start:end] = floor_T[min(end, len(floor_T) - 1)]
    return gaussian_filter1d(floor_T, FLOOR_SMOOTH_FRAMES, mode="nearest")


# ----------------------------------------------------------------------------- spans and turns


def spans(mask_T: BoolArray, min_frames: int = 1) -> list[Span]:
    """Return runs of true values of at least ``min_frames`` as half-open spans."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask_T.astype(np.int8), [0]))))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(start, end) for start, end in pairs if end - start >= min_frames]


def hysteresis(signal_T: FloatArray, on: float, off: float) -> BoolArray:
    """Return a mask of the signal with hysteresis, (T,).

    It is true where the signal reaches ``on``, and around that while the signal exceeds ``off``.
    """
    mask_T = np.zeros(len(signal_T), dtype=np.bool_)
    for start, end in spans(signal_T >= off):
        mask_T[start:end] = bool((signal_T[start:end] >= on).any())
    return mask_T


def join_spans(items: list[Span], max_gap: int) -> list[Span]:
    """Join spans that are at most ``max_gap`` frames apart."""
    joined: list[Span] = []
    for start, end in sorted(items):
        if joined and start - joined[-1][1] <= max_gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def turning_points(signal_T: FloatArray, min_change: float) -> list[int]:
    """Return the frames of the turning points of a signal, including both ends.

    Consecutive turning points differ by at least ``min_change``; smaller fluctuations are ignored
    (the rainflow reduction of a load history). The result has one frame if the signal never changes
    by that much.
    """
    slope_T = np.sign(np.diff(signal_T))
    inner = np.flatnonzero(slope_T[1:] * slope_T[:-1] <= 0) + 1
    candidates = [0, *inner.tolist(), len(signal_T) - 1]
    points = [candidates[0]]
    rising = 0
    for frame in candidates[1:]:
        change = signal_T[frame] - signal_T[points[-1]]
        if rising == 0:
            # Before the first change of that size, the start moves to the extreme value so far.
            window = signal_T[: frame + 1]
            low, high = int(np.argmin(window)), int(np.argmax(window))
            if window[high] - window[low] >= min_change:
                points = [min(low, high), max(low, high)]
                rising = 1 if high > low else -1
        elif change * rising >= 0:
            points[-1] = frame
        elif abs(change) >= min_change:
            points.append(frame)
            rising = -rising
    return points


def trim_ramp(signal_T: FloatArray, start: int, end: int, share: float = 0.08) -> Span:
    """Trim ``start..end`` to the part in which the signal changes from one value to the other."""
    low, high = float(signal_T[start]), float(signal_T[end])
    progress_N = (signal_T[start : end + 1] - low) / (high - low)
    first = int(np.flatnonzero(progress_N <= share)[-1])
    last = int(np.flatnonzero(progress_N[first:] >= 1 - share)[0]) + first
    return start + first, min(start + last + 1, end + 1)


def speed_T(positions_T3: FloatArray) -> FloatArray:
    """Return the speed in units of the positions per second; (T, ..., 3) gives (T, ...)."""
    if len(positions_T3) < 2:
        return np.zeros(positions_T3.shape[:-1])
    return np.linalg.norm(np.gradient(positions_T3, axis=0), axis=-1) * FPS


def flexion_deg(signals: Signals, upper: str, joint: str, lower: str) -> FloatArray:
    """Return the flexion of a joint, (T,), degrees; 0 is straight."""
    first_T3 = signals.joint_T3(joint) - signals.joint_T3(upper)
    second_T3 = signals.joint_T3(lower) - signals.joint_T3(joint)
    cosine_T = (first_T3 * second_T3).sum(axis=1) / np.maximum(
        np.linalg.norm(first_T3, axis=1) * np.linalg.norm(second_T3, axis=1), 1e-9
    )
    return np.degrees(np.arccos(np.clip(cosine_T, -1.0, 1.0)))
