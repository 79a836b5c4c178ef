"""What every motion rule reads: smoothed joints, body sizes, the body's own axes, who is seen.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`), N events or spans, K
turning points. Positions are metres, y up. In the body's axes the components are (left, up,
forward).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from data.motion.skeleton import FPS, JOINT, heading_rad

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
Span = tuple[int, int]
"""Half-open range of frames."""

SIDES: Final = ("left", "right")

SMOOTH_FRAMES: Final = 1.0
"""Gaussian sigma; 50 ms keeps a punch (about 150 ms) and removes frame-to-frame jitter."""
HEADING_SMOOTH_FRAMES: Final = 5.0
"""0.25 s: hips and shoulders counter-rotate at every step, which is no turn."""
PATH_SMOOTH_FRAMES: Final = 4.0
"""0.2 s: the pelvis sways within a step, which is no change of direction."""
MIN_CONFIDENCE: Final = 0.5
"""Below it a joint is not measured (a landmark model's visibility is a probability)."""
MAX_FILL_FRAMES: Final = 6
"""Unseen for at most 0.3 s: bridged by interpolation. Longer: not measured."""
SETTLE_FRAMES: Final = 3
"""A joint that has just come into sight is still searched for: 0.15 s, on both sides."""
MIN_SEEN_SHARE: Final = 0.6
"""A body part is told of when it is seen in this share of the frames."""
MIN_ACROSS_SHARE: Final = 0.35
"""Horizontal hip and shoulder width, relative to its usual, under which the heading is unclear
(a person lying on the side)."""

# Sizes used when the legs are unseen, by the segment lengths of the CMU and Bandai skeletons.
LEG_PER_TORSO: Final = 2.0
LEG_PER_ARM: Final = 1.75
HEIGHT_PER_LEG: Final = 2.05

MAX_MOVE_S: Final = 3.0
"""A limb that takes longer has drifted, or was moved so slowly that it is no action."""

PART_JOINTS: Final = {
    "left_arm": ("left_shoulder", "left_elbow", "left_wrist"),
    "right_arm": ("right_shoulder", "right_elbow", "right_wrist"),
    "left_leg": ("left_hip", "left_knee", "left_ankle"),
    "right_leg": ("right_hip", "right_knee", "right_ankle"),
    "torso": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "head": ("head", "left_shoulder", "right_shoulder"),
}
"""Joints that must be seen before anything is said of a part."""


@dataclass(frozen=True, slots=True)
class BodySize:
    """Lengths of the person as measured in the motion, metres.

    Attributes:
        leg_m: hip to knee to ankle.
        arm_m: shoulder to elbow to wrist.
        torso_m: middle of the hips to middle of the shoulders.
        height_m: estimated from the leg.
    """

    leg_m: float
    arm_m: float
    torso_m: float
    height_m: float


@dataclass(frozen=True, slots=True)
class Signals:
    """One motion, prepared.

    Attributes:
        time_T: (T,) seconds, as given.
        joints_TJ3: (T, 22, 3) smoothed world positions, metres.
        usable_TJ: (T, 22) whether the joint is measured at the frame.
        confidence_TJ: (T, 22) how sure the joint is, 0..1; 0 where the frame was filled in.
        part_T: per body part of :data:`PART_JOINTS`, (T,) whether all its joints are measured.
        parts: the parts that are measured for most of the motion.
        heading_T: (T,) unwrapped yaw, radians; positive turns to the person's left.
        size: body lengths.
        exact: the joints are motion capture, not estimated: millimetres can be told.
        sharp: the body is large enough in the picture for small movements to be told.
        floor_T: (T,) height of the floor near each frame, metres.
    """

    time_T: Floats
    joints_TJ3: Floats
    usable_TJ: Bools
    confidence_TJ: Floats
    part_T: dict[str, Bools]
    parts: frozenset[str]
    heading_T: Floats
    size: BodySize
    exact: bool
    sharp: bool
    floor_T: Floats

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.time_T)

    @property
    def legs_seen(self) -> bool:
        """Whether both legs are measured for most of the motion."""
        return {"left_leg", "right_leg"} <= self.parts

    @property
    def leg_sides(self) -> tuple[str, ...]:
        """Sides of the measured legs; seen from the side, one leg may hide the other."""
        return tuple(side for side in SIDES if f"{side}_leg" in self.parts)

    @property
    def posture_seen(self) -> bool:
        """Whether the torso and a leg are measured, so that the posture can be told."""
        return bool(self.leg_sides) and "torso" in self.parts

    @property
    def body_seen(self) -> bool:
        """Whether the torso and both legs are measured, so that steps and jumps can be told."""
        return self.legs_seen and "torso" in self.parts

    def joint_T3(self, name: str) -> Floats:
        """World positions of one joint, (T, 3)."""
        return self.joints_TJ3[:, JOINT[name]]

    def height_T(self, *names: str) -> Floats:
        """Height of the lowest of the joints above the floor, (T,), metres."""
        indices = [JOINT[name] for name in names]
        return self.joints_TJ3[:, indices, 1].min(axis=1) - self.floor_T

    def in_body_axes(self, vectors_T3: Floats) -> Floats:
        """World vectors as (left, up, forward) of the body, (T, 3)."""
        sin_T, cos_T = np.sin(self.heading_T), np.cos(self.heading_T)
        x_T, z_T = vectors_T3[:, 0], vectors_T3[:, 2]
        return np.stack(
            (cos_T * x_T - sin_T * z_T, vectors_T3[:, 1], sin_T * x_T + cos_T * z_T), axis=1
        )

    def trunk_T3(self) -> Floats:
        """Hips to shoulders in the body's axes, (T, 3), metres.

        Skeletons put spine and neck at different places; hips and shoulders agree.
        """
        return self.in_body_axes(_trunk(self.joints_TJ3))

    def hips_T3(self) -> Floats:
        """World position of the middle of the hips, (T, 3)."""
        return (self.joint_T3("left_hip") + self.joint_T3("right_hip")) / 2

    def relative_T3(self, joint: str, origin: str) -> Floats:
        """Position of ``joint`` seen from ``origin`` in the body's axes, (T, 3), metres."""
        return self.in_body_axes(self.joint_T3(joint) - self.joint_T3(origin))

    def seen(self, part: str, span: Span, share: float = 0.8) -> bool:
        """Whether ``part`` is measured in at least ``share`` of the span."""
        part_N = self.part_T[part][span[0] : span[1]]
        return bool(len(part_N)) and float(part_N.mean()) >= share

    def mean_confidence(self, joints: Sequence[str], span: Span) -> float:
        """How sure some joints are over the span, on average, 0..1."""
        indices = [JOINT[name] for name in joints]
        return float(self.confidence_TJ[span[0] : span[1], indices].mean())

    def start_s(self, span: Span) -> float:
        """Time at which the span starts."""
        return float(self.time_T[span[0]])

    def end_s(self, span: Span) -> float:
        """Time of the span's last frame."""
        return float(self.time_T[span[1] - 1])


def prepare(
    joints_TJ3: NDArray[np.floating],
    *,
    pts_s: NDArray[np.floating] | None = None,
    valid: NDArray[np.bool_] | None = None,
    confidence: NDArray[np.floating] | None = None,
    sharp: bool = True,
) -> Signals:
    """Smooth a motion and measure the body.

    Args:
        joints_TJ3: world positions, (T, 22, 3), metres, y up, 20 fps.
        pts_s: (T,) times, seconds; from 0 at 20 fps when not given.
        valid: (T,) frames that were measured and not filled in.
        confidence: (T, 22) how sure each joint is, 0..1.
        sharp: whether small movements can be told.

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
    filled_TJ3, usable_TJ = _bridge_gaps(raw_TJ3, sure_TJ)
    smooth_TJ3 = gaussian_filter1d(filled_TJ3, SMOOTH_FRAMES, axis=0, mode="nearest")

    part_T: dict[str, Bools] = {
        part: np.logical_and.reduce(usable_TJ[:, [JOINT[name] for name in names]], axis=1)
        for part, names in PART_JOINTS.items()
    }
    parts = frozenset(part for part, seen_T in part_T.items() if seen_T.mean() >= MIN_SEEN_SHARE)
    size = _measure(smooth_TJ3, part_T, parts)
    return Signals(
        time_T=time_T,
        joints_TJ3=smooth_TJ3,
        usable_TJ=usable_TJ,
        confidence_TJ=confidence_TJ,
        part_T=part_T,
        parts=parts,
        heading_T=_heading(smooth_TJ3),
        size=size,
        exact=confidence is None,
        sharp=sharp,
        floor_T=_floor(smooth_TJ3),
    )


def _bridge_gaps(raw_TJ3: Floats, sure_TJ: Bools) -> tuple[Floats, Bools]:
    """Interpolate joints over short gaps; positions, and whether each is usable."""
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
        for axis in range(3):
            filled_TJ3[:, joint, axis] = np.interp(frames_T, known, raw_TJ3[known, joint, axis])
    return filled_TJ3, usable_TJ


def _chain_m(joints_TJ3: Floats, seen_T: Bools, names: tuple[str, ...]) -> float:
    """Median length of a chain of joints over the frames where it is seen, metres."""
    chain_TJ3 = joints_TJ3[:, [JOINT[name] for name in names]]
    if seen_T.any():
        chain_TJ3 = chain_TJ3[seen_T]
    return float(np.median(np.linalg.norm(np.diff(chain_TJ3, axis=1), axis=2).sum(axis=1)))


def _measure(joints_TJ3: Floats, part_T: dict[str, Bools], parts: frozenset[str]) -> BodySize:
    def longest(part: str) -> float:
        # The longer side: projection and occlusion shorten limbs, nothing lengthens them.
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
    # A floor for degenerate input, so that no rule divides by zero.
    leg_m = max(leg_m, 0.05)
    arm_m = arm_m if arm_m > 0.0 else leg_m / LEG_PER_ARM
    return BodySize(leg_m, max(arm_m, 0.03), max(torso_m, 0.03), HEIGHT_PER_LEG * leg_m)


def _trunk(joints_TJ3: Floats) -> Floats:
    """From the middle of the hips to the middle of the shoulders, (T, 3), metres."""
    hips = [JOINT["left_hip"], JOINT["right_hip"]]
    shoulders = [JOINT["left_shoulder"], JOINT["right_shoulder"]]
    return joints_TJ3[:, shoulders].mean(axis=1) - joints_TJ3[:, hips].mean(axis=1)


def _heading(joints_TJ3: Floats) -> Floats:
    """Smoothed, unwrapped yaw (T,); held where the body's left-right axis points up or down."""
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


def _floor(joints_TJ3: Floats) -> Floats:
    """Height of the floor (T,): the lowest foot of the two seconds around each frame.

    Local, so that a slope, stairs or the drift of an estimated root do not float the feet.
    """
    lowest_T = joints_TJ3[:, [JOINT[f"{side}_{j}"] for side in SIDES for j in ("foot", "ankle")], 1]
    floor_T = minimum_filter1d(lowest_T.min(axis=1), size=2 * FPS + 1, mode="nearest")
    return gaussian_filter1d(floor_T, FPS / 4, mode="nearest")


def foot_odometry(joints_TJ3: NDArray[np.floating]) -> Floats:
    """Path of the pelvis by the foot that stands, (T, 3), metres.

    For a moving camera, whose own motion is in the path that the picture shows: the lower foot is
    taken to stand still on the floor. Jumps are lost, steps are kept.

    Args:
        joints_TJ3: positions relative to the pelvis, (T, 22, 3), metres, y up.
    """
    smooth_TJ3 = gaussian_filter1d(
        joints_TJ3.astype(np.float64), SMOOTH_FRAMES, axis=0, mode="nearest"
    )
    feet_T23 = np.stack(
        [
            (smooth_TJ3[:, JOINT[f"{side}_ankle"]] + smooth_TJ3[:, JOINT[f"{side}_foot"]]) / 2
            for side in SIDES
        ],
        axis=1,
    )
    lower_T = feet_T23[:, :, 1].argmin(axis=1)
    frames_T = np.arange(len(feet_T23))
    root_T3 = np.zeros((len(feet_T23), 3))
    if len(feet_T23) > 1:
        standing_T = lower_T[1:]
        steps_T3 = feet_T23[frames_T[1:], standing_T] - feet_T23[frames_T[:-1], standing_T]
        root_T3[1:] = -np.cumsum(steps_T3, axis=0)
    root_T3[:, 1] = -feet_T23[frames_T, lower_T, 1]
    return root_T3


# ----------------------------------------------------------------------------- spans and turns


def spans(mask_T: Bools, min_frames: int = 1) -> list[Span]:
    """Runs of true values, as half-open spans of at least ``min_frames``."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask_T.astype(np.int8), [0]))))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(start, end) for start, end in pairs if end - start >= min_frames]


def hysteresis(signal_T: Floats, on: float, off: float) -> Bools:
    """True from where the signal reaches ``on``, both ways to where it falls under ``off``."""
    mask_T = np.zeros(len(signal_T), dtype=np.bool_)
    for start, end in spans(signal_T >= off):
        mask_T[start:end] = bool((signal_T[start:end] >= on).any())
    return mask_T


def join_spans(items: list[Span], max_gap: int) -> list[Span]:
    """Spans with neighbours that are at most ``max_gap`` frames apart made one."""
    joined: list[Span] = []
    for start, end in sorted(items):
        if joined and start - joined[-1][1] <= max_gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def turning_points(signal_T: Floats, min_change: float) -> list[int]:
    """Frames at which the signal turns, with both ends; neighbours differ by ``min_change``.

    Smaller wiggles are not turns (the rainflow reduction of a load history). Returns one frame
    when the signal never changes by that much.
    """
    slope_T = np.sign(np.diff(signal_T))
    inner = np.flatnonzero(slope_T[1:] * slope_T[:-1] <= 0) + 1
    candidates = [0, *inner.tolist(), len(signal_T) - 1]
    points = [candidates[0]]
    rising = 0
    for frame in candidates[1:]:
        change = signal_T[frame] - signal_T[points[-1]]
        if rising == 0:
            # Until the first real change the start may move to the extreme seen so far.
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


def trim_ramp(signal_T: Floats, start: int, end: int, share: float = 0.08) -> Span:
    """The part of ``start..end`` in which the signal really goes from one value to the other."""
    low, high = float(signal_T[start]), float(signal_T[end])
    progress_N = (signal_T[start : end + 1] - low) / (high - low)
    first = int(np.flatnonzero(progress_N <= share)[-1])
    last = int(np.flatnonzero(progress_N[first:] >= 1 - share)[0]) + first
    return start + first, min(start + last + 1, end + 1)


def speed_T(positions_T3: Floats) -> Floats:
    """Speed, units of the positions per second: (T, ..., 3) gives (T, ...)."""
    if len(positions_T3) < 2:
        return np.zeros(positions_T3.shape[:-1])
    return np.linalg.norm(np.gradient(positions_T3, axis=0), axis=-1) * FPS


def flexion_deg(signals: Signals, upper: str, joint: str, lower: str) -> Floats:
    """Bend of a joint (T,), degrees: 0 is straight."""
    first_T3 = signals.joint_T3(joint) - signals.joint_T3(upper)
    second_T3 = signals.joint_T3(lower) - signals.joint_T3(joint)
    cosine_T = (first_T3 * second_T3).sum(axis=1) / np.maximum(
        np.linalg.norm(first_T3, axis=1) * np.linalg.norm(second_T3, axis=1), 1e-9
    )
    return np.degrees(np.arccos(np.clip(cosine_T, -1.0, 1.0)))
