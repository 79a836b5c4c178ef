"""Resample motions, measure their quality, and reject defective ones with a reason.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), N bones, F = 2 feet, K resampled
frames, W filter taps. Positions are meters, y up.
"""

import itertools
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from data.arrays import BoolArray, FloatArray
from data.config import Config
from data.motion.features import MIN_BONE_M, bones_without_direction
from data.motion.skeleton import BONES, FPS, JOINT, JOINT_NAMES, NUM_JOINTS

_PASSBAND: Final = 0.9
"""Cut-off of the resampling filter, as a fraction of the lower rate's Nyquist frequency."""
_ZERO_CROSSINGS: Final = 20
_KAISER_BETA: Final = 8.0
# With these values the filter halves 0.9 × Nyquist and attenuates frequencies above 1.01 × Nyquist
# by 80 dB.

SKATE_HEIGHT_M: Final = 0.025
"""Height above the floor from which a toe does not count as on the floor."""
MIN_FLOOR_FRAMES: Final = 0.6
"""Smallest sum of the weights of both toes. A touch that is shorter is an error of the height. The
walks among the CMU motions have at least 0.98."""
_LEAP_FRAMES: Final = 2
"""A leap from one pose to another is spread over five frame intervals, 0.25 s."""
_TOES: Final = (JOINT["left_foot"], JOINT["right_foot"])


def resample(
    values_T: FloatArray, source_fps: Fraction, target_fps: Fraction | int = FPS
) -> FloatArray:
    """Resample a motion to another frame rate, without aliasing and without a time shift.

    Output frame k is the signal at ``k / target_fps`` seconds after the first frame, for any pair
    of rates. Each is a sum of source frames weighted by a Kaiser-windowed sinc, which cuts off
    just below the lower rate's Nyquist frequency (9 Hz for 20 fps; human motion ends
    near 6 Hz). The ends are extended by point reflection, which continues a steady walk.

    Args:
        values_T: positions or another signal, (T, ...), but not angles or rotations.
        source_fps: exact frame rate of ``values_T``.
        target_fps: exact frame rate of the result.

    Returns:
        (T', ...) with ``T' = floor((T - 1) * target_fps / source_fps) + 1``, same dtype.

    Raises:
        ValueError: for rates that are not above 0, and no frames.
    """
    if source_fps <= 0 or target_fps <= 0:
        raise ValueError(
            f"fps: expected rates above 0, found {source_fps} and {target_fps}. "
            "Read the rate from the file's header."
        )
    num_frames = len(values_T)
    if not num_frames:
        raise ValueError("values: expected at least 1 frame, found 0. Drop the motion.")
    step = Fraction(source_fps) / target_fps  # source frames per output frame
    num_out = int((num_frames - 1) / step) + 1
    if step == 1:
        return values_T.copy()
    cutoff = _PASSBAND * float(min(Fraction(1), 1 / step))  # of the source's Nyquist
    reach = _ZERO_CROSSINGS / cutoff  # source frames
    pad = int(reach) + 1

    flat = values_T.reshape(num_frames, -1).astype(np.float64)
    padded = np.pad(flat, ((pad, pad), (0, 0)), "reflect", reflect_type="odd")
    position_K = np.arange(num_out) * float(step)
    whole_K = position_K.astype(np.int64)
    part_K = position_K - whole_K
    tap_W = np.arange(-pad + 1, pad + 1)
    offset_KW = tap_W - part_K[:, None]
    window_KW = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (offset_KW / reach) ** 2, 0, None)))
    weights_KW = np.where(abs(offset_KW) < reach, np.sinc(cutoff * offset_KW) * window_KW, 0.0)
    weights_KW /= weights_KW.sum(axis=1, keepdims=True)
    columns_KW = whole_K[:, None] + tap_W + pad
    starts = np.arange(num_out + 1) * len(tap_W)
    matrix = csr_array(
        (weights_KW.ravel(), columns_KW.ravel(), starts), shape=(num_out, len(padded))
    )
    return (matrix @ padded).reshape(num_out, *values_T.shape[1:]).astype(values_T.dtype)


def foot_skate(
    joints_TJ3: FloatArray, fps: float = FPS, credible_TJ: BoolArray | None = None
) -> float | None:
    """Compute the mean horizontal speed of toes on the floor in m/s; 0 is perfect.

    Each toe and frame has the weight ``2 - 2 ** (h / 0.025 m)``, where ``h`` is its height above
    the lowest joint of the motion: 1 on the floor, 0 at 2.5 cm. This is the foot skating measure of
    Zhang et al., "Mode-Adaptive Neural Networks for Quadruped Motion Control", SIGGRAPH 2018,
    divided by the sum of the weights, so that the result is a speed and standing on one leg does
    not halve it. Contacts that are detected by low speed (the contact features) would hide the
    skating. Real motion is not at 0, because feet roll and swing low: the median of 124 CMU motions
    is 0.09 m/s. Compare only sets of similar motions.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        fps: frames per second.
        credible_TJ: (T, 22) joints that were seen; by default all.

    Returns:
        The speed, or None if toes are seen on the floor for less than :data:`MIN_FLOOR_FRAMES`
        in all, as of somebody on hands and knees.
    """
    toes = joints_TJ3[:, _TOES].astype(np.float64)
    height_TF = toes[..., 1] - joints_TJ3[..., 1].min()
    weight_TF = np.clip(2 - 2 ** (height_TF / SKATE_HEIGHT_M), 0, 1)
    if credible_TJ is not None:
        weight_TF = weight_TF * credible_TJ[:, _TOES]
    weight_TF = np.minimum(weight_TF[1:], weight_TF[:-1])
    if weight_TF.sum() < MIN_FLOOR_FRAMES:
        return None
    speed_TF = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * fps
    return float((speed_TF * weight_TF).sum() / weight_TF.sum())


def jitter(joints_TJ3: FloatArray, fps: float = FPS) -> float | None:
    """Compute the mean jerk of all joints in m/s³ from the third difference of positions.

    Source: the "jitter" of Yi et al. (TransPose, SIGGRAPH 2021), there in 100 m/s³.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters.
        fps: frames per second; jitter at different rates is not comparable.

    Returns:
        The jerk, or None for fewer than 4 frames.
    """
    if len(joints_TJ3) < 4:
        return None
    jerk = np.diff(joints_TJ3.astype(np.float64), n=3, axis=0) * fps**3
    return float(np.linalg.norm(jerk, axis=-1).mean())


def bone_length_drift(
    joints_TJ3: FloatArray, credible_TJ: BoolArray | None = None
) -> tuple[float, str]:
    """Measure how much the bones of a motion change their length; 0 for a rigid skeleton.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters.
        credible_TJ: (T, 22) joints that were seen; by default all.

    Returns:
        The spread of the worst bone (95th minus 5th percentile over frames, as a share of the
        median), and the joint in which that bone ends. Bones of zero length are ignored, because
        some skeletons place two joints at one position, and so are bones of unseen joints.
    """
    lengths_TN = _bone_lengths(joints_TJ3)
    if credible_TJ is not None:
        starts, ends = (list(joints) for joints in zip(*BONES, strict=True))
        seen_TN = credible_TJ[:, starts] & credible_TJ[:, ends]
        # The usual length does not change the spread of a bone.
        usual_N = [
            float(np.median(lengths_T[seen_T])) if seen_T.any() else 0.0
            for lengths_T, seen_T in zip(lengths_TN.T, seen_TN.T, strict=True)
        ]
        lengths_TN = np.where(seen_TN, lengths_TN, usual_N)
    low_N, median_N, high_N = np.quantile(lengths_TN, [0.05, 0.5, 0.95], axis=0)
    real_N = lengths_TN.max(axis=0) >= MIN_BONE_M
    spread_N = np.where(real_N, (high_N - low_N) / np.maximum(median_N, MIN_BONE_M), 0.0)
    worst = int(spread_N.argmax())
    return float(spread_N[worst]), JOINT_NAMES[BONES[worst][1]]


def _bone_lengths(joints_TJ3: FloatArray) -> NDArray[np.float64]:
    starts, ends = zip(*BONES, strict=True)
    bones = joints_TJ3[:, ends].astype(np.float64) - joints_TJ3[:, starts]
    return np.linalg.norm(bones, axis=-1)


def mend_leaps(
    joints_TJ3: FloatArray, max_speed_m_s: float, max_frames: int = 4, fps: float = FPS
) -> tuple[FloatArray, BoolArray]:
    """Interpolate leaps, in which a pose estimate loses a joint or flips to another pose.

    If a joint moves faster than ``max_speed_m_s`` twice within ``max_frames``, its positions in
    between are interpolated. After a single leap, where it is unknown which side of it is right,
    the two frames before and after it are interpolated.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters.
        max_speed_m_s: maximum speed of a joint relative to the pelvis.
        max_frames: maximum length of a spike.
        fps: frames per second.

    Returns:
        The motion, and which positions were interpolated, (T, 22).
    """
    relative_TJ3 = joints_TJ3 - joints_TJ3[:, :1]
    speed_TJ = np.linalg.norm(np.diff(relative_TJ3, axis=0), axis=-1) * fps
    lost_TJ = np.zeros(joints_TJ3.shape[:2], dtype=np.bool_)
    for joint in range(joints_TJ3.shape[1]):
        frame = 0
        leaps = np.flatnonzero(speed_TJ[:, joint] > max_speed_m_s) + 1
        for here, following in itertools.zip_longest(leaps, leaps[1:]):
            if here < frame:
                continue
            if following is not None and following - here <= max_frames:
                lost_TJ[here:following, joint] = True
                frame = following + 1
            else:
                lost_TJ[max(here - _LEAP_FRAMES, 0) : here + _LEAP_FRAMES, joint] = True
    if not lost_TJ.any():
        return joints_TJ3, lost_TJ
    mended_TJ3 = relative_TJ3.copy()
    time_T = np.arange(len(joints_TJ3))
    for joint in np.flatnonzero(lost_TJ.any(axis=0)):
        seen_T = ~lost_TJ[:, joint]
        for axis in range(3):
            mended_TJ3[:, joint, axis] = np.interp(
                time_T, time_T[seen_T], relative_TJ3[seen_T, joint, axis]
            )
    return (mended_TJ3 + joints_TJ3[:, :1]).astype(joints_TJ3.dtype), lost_TJ


class FlawKind(StrEnum):
    """Why a motion is unsuitable for training; stable codes."""

    NON_FINITE = "non_finite"
    TOO_SHORT = "too_short"
    TELEPORT = "teleport"
    LIMB_DRIFT = "limb_drift"
    COLLAPSED = "collapsed"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One reason to reject a motion.

    Attributes:
        kind: the stable code.
        detail: what was expected and what was found, and where.
        remedy: what the user can do about it.
    """

    kind: FlawKind
    detail: str
    remedy: str


class MotionGates(Config):
    """Limits that a motion must satisfy to be used for training.

    Attributes:
        min_frames: minimum length. 17 frames (0.85 s) have the four tokens that the language model
            needs. The shortest motions of HumanML3D have 40 (2 s), but a raised hand takes less.
        max_root_speed_m_s: maximum speed of the pelvis. Sprinters reach 12 m/s.
        max_joint_speed_m_s: maximum speed of a joint relative to the pelvis. In 124 CMU motions,
            real kicks reach 11.2 m/s, and tracking errors 16.7 to 33.9 m/s.
        max_limb_drift: maximum of :func:`bone_length_drift`. Marker-based CMU motions reach 0.13,
            rigid skeletons stay near 0.
    """

    min_frames: int = Field(default=17, ge=2)
    max_root_speed_m_s: float = Field(default=12.0, gt=0)
    max_joint_speed_m_s: float = Field(default=15.0, gt=0)
    max_limb_drift: float = Field(default=0.25, gt=0)


def find_flaws(
    joints_TJ3: FloatArray,
    gates: MotionGates,
    fps: float = FPS,
    credible_TJ: BoolArray | None = None,
) -> tuple[Flaw, ...]:
    """Find all reasons to reject a motion.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        gates: the limits.
        fps: frames per second.
        credible_TJ: (T, 22) joints that were seen; by default all. Speeds and bones of others are
            not judged.

    Returns:
        The worst flaw of each kind, in the order of :class:`FlawKind`; empty if the motion passes.
        If positions are not finite, this is the only flaw, because nothing else can be measured.
        :func:`data.motion.features.joints_to_features` accepts every motion without flaws.

    Raises:
        ValueError: if the shape is not (T, 22, 3).
    """
    if joints_TJ3.ndim != 3 or joints_TJ3.shape[1:] != (NUM_JOINTS, 3):
        raise ValueError(
            f"joints: expected (T, {NUM_JOINTS}, 3), found {joints_TJ3.shape}. "
            "Convert the motion to the 22-joint skeleton first."
        )
    broken = np.flatnonzero(~np.isfinite(joints_TJ3).all(axis=(1, 2)))
    if broken.size:
        return (
            Flaw(
                FlawKind.NON_FINITE,
                f"Expected finite positions, found others in {broken.size} of {len(joints_TJ3)} "
                f"frames, the first in frame {broken[0]}.",
                "Remove these frames, or interpolate them.",
            ),
        )
    flaws: list[Flaw] = []
    if len(joints_TJ3) < gates.min_frames:
        flaws.append(
            Flaw(
                FlawKind.TOO_SHORT,
                f"Expected at least {gates.min_frames} frames, found {len(joints_TJ3)}.",
                "Lower min_frames, or leave the motion out.",
            )
        )
    if len(joints_TJ3) < 2:
        return tuple(flaws)

    joints = joints_TJ3.astype(np.float64)
    step_TJ3 = np.diff(joints, axis=0)
    step_TJ3[:, 1:] -= step_TJ3[:, :1]
    speed_TJ = np.linalg.norm(step_TJ3, axis=-1) * fps
    if credible_TJ is not None:
        speed_TJ = speed_TJ * (credible_TJ[1:] & credible_TJ[:-1])
    limit_J = np.array([gates.max_root_speed_m_s] + [gates.max_joint_speed_m_s] * (NUM_JOINTS - 1))
    frame, joint = divmod(int((speed_TJ / limit_J).argmax()), NUM_JOINTS)
    if speed_TJ[frame, joint] > limit_J[joint]:
        flaws.append(
            Flaw(
                FlawKind.TELEPORT,
                f"Expected {JOINT_NAMES[joint]} to move at most {limit_J[joint]:g} m/s, found "
                f"{speed_TJ[frame, joint]:.1f} between frames {frame} and {frame + 1}.",
                "Split the motion there, or track it again.",
            )
        )
    drift, bone = bone_length_drift(joints, credible_TJ)
    if drift > gates.max_limb_drift:
        flaws.append(
            Flaw(
                FlawKind.LIMB_DRIFT,
                f"Expected bone lengths within {gates.max_limb_drift:.0%}, found {drift:.0%} at "
                f"{bone}.",
                "Check the tracking; if only the lengths are wrong, raise max_limb_drift: "
                "features have fixed bone lengths.",
            )
        )
    collapsed_TN = bones_without_direction(joints)
    if collapsed_TN.any():
        frame, bone = divmod(int(collapsed_TN.argmax()), len(BONES))
        flaws.append(
            Flaw(
                FlawKind.COLLAPSED,
                f"Expected joints in different places, found {JOINT_NAMES[BONES[bone][1]]} on its "
                f"parent in frame {frame}, so that the direction of the bone is undefined.",
                "Interpolate these joints, or leave the motion out.",
            )
        )
    return tuple(flaws)
