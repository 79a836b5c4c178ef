"""Generate synthetic motions with captions by rules, for smoke tests and the demo.

A stick figure with reference proportions performs one simple activity, such as walking, waving or
kicking. Feet and hands are placed, and knees and elbows follow by inverse kinematics, so that bones
keep their lengths and standing feet do not slide. Amplitude, speed, phase, size and side are random
and determined by the seed. The motions are too simple to train useful models.

Shapes: T frames at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`), K moments of an action,
L points along a path. Positions are meters, y up. While an activity is planned, the person starts
facing +z, with +x to the left. Angles are radians.
"""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.spatial.transform import Rotation

from data.arrays import FloatArray
from data.motion.features import REFERENCE_BONE_LENGTHS_M
from data.motion.skeleton import FPS, JOINT, NUM_JOINTS
from data.motion_records import Found, ImportedMotion, MotionText, Pending, content_id

PROCEDURAL_VERSION: Final = "2"
"""Raised whenever a change affects the motion of a seed."""
PREFIX: Final = "procedural:"
MIN_SECONDS: Final = 2.5
MAX_SECONDS: Final = 120.0
FOUND_SECONDS: Final = (3.0, 6.0)
"""Range of the lengths of motions from :func:`find_procedural`."""

_GRAVITY_MPS2: Final = 9.81
_SIDES: Final = ("left", "right")
_SIGN: Final = {"left": 1.0, "right": -1.0}


def _bone(name: str, x: float, y: float, z: float) -> FloatArray:
    """Rest vector of the bone that ends in a joint, (3,)."""
    way_3 = np.array([x, y, z])
    return way_3 / np.linalg.norm(way_3) * REFERENCE_BONE_LENGTHS_M[name]


_TRUNK: Final = (
    ("spine1", "pelvis", 0.35, (0.0, 1.0, 0.0)),
    ("spine2", "spine1", 0.6, (0.0, 1.0, 0.0)),
    ("spine3", "spine2", 0.8, (0.0, 1.0, 0.0)),
    ("neck", "spine3", 1.0, (0.0, 1.0, -0.1)),
    ("head", "neck", 1.0, (0.0, 0.9, 0.4)),
    ("hip", "pelvis", 0.35, (0.6, -0.8, 0.0)),
    ("collar", "spine3", 1.0, (0.55, 0.8, -0.1)),
    ("shoulder", "collar", 1.0, (0.95, 0.25, -0.1)),
)
"""Joint, parent, share of the trunk's bend, and rest direction of the bone (left side)."""

_FOOT: Final = (0.1, -0.45, 0.9)
"""Direction of the left foot while standing."""
_ANKLE_M: Final = {side: -float(_bone(f"{side}_foot", *_FOOT)[1]) for side in _SIDES}
_LEG_M: Final = REFERENCE_BONE_LENGTHS_M["right_knee"] + REFERENCE_BONE_LENGTHS_M["right_ankle"]
_ARM_M: Final = {
    side: REFERENCE_BONE_LENGTHS_M[f"{side}_elbow"] + REFERENCE_BONE_LENGTHS_M[f"{side}_wrist"]
    for side in _SIDES
}
_REACH: Final = 0.995
"""Maximum extension of a leg, as a fraction of its length."""
_PELVIS_M: Final = (
    min(_ANKLE_M.values()) + 0.985 * _LEG_M - float(_bone("right_hip", -0.6, -0.8, 0.0)[1])
)
"""Height of the pelvis while standing."""
_HALF_WIDTH_M: Final = 0.09
"""Lateral distance of a standing foot from the midline."""


@dataclass(frozen=True, slots=True)
class _Arm:
    """Position of a hand relative to its shoulder.

    Attributes:
        lift_T: elevation; 0 points down, pi / 2 forward, pi up.
        out_T: rotation from there to the outside.
        reach_T: distance, as a fraction of the arm's length.
    """

    lift_T: FloatArray
    out_T: FloatArray
    reach_T: FloatArray


@dataclass(frozen=True, slots=True)
class _Foot:
    """Position of a foot.

    Attributes:
        toe_T3: position of the toes, meters.
        yaw_T: direction of the foot.
        pitch_T: rotation that lifts the heel about the toes.
    """

    toe_T3: FloatArray
    yaw_T: FloatArray
    pitch_T: FloatArray


@dataclass(frozen=True, slots=True)
class _Plan:
    """A planned motion.

    Attributes:
        time_T: time of the frames, seconds.
        root_T2: x and z of the pelvis, meters.
        height_T: height of the pelvis, which is reduced where the legs are too short, meters.
        yaw_T: heading of the pelvis.
        pitch_T: forward bend of the trunk.
        arms: hand positions by side.
        feet: foot positions by side.
        captions: descriptions of the motion.
        settle_frames: number of frames over which a reduction of the height is smoothed.
    """

    time_T: FloatArray
    root_T2: FloatArray
    height_T: FloatArray
    yaw_T: FloatArray
    pitch_T: FloatArray
    arms: Mapping[str, _Arm]
    feet: Mapping[str, _Foot]
    captions: tuple[str, ...] = ()
    settle_frames: int = 1


def generate_motion(
    activity: str, seed: int, seconds: float
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Generate one synthetic motion.

    Args:
        activity: one of :data:`ACTIVITIES`.
        seed: seed of all random choices.
        seconds: length of the motion, 2.5 to 120.

    Returns:
        Positions, (T, 22, 3), meters, y up, 20 fps, with the floor at 0, a start near the origin
        and a random heading; and two to four descriptions.

    Raises:
        ValueError: the activity is unknown, or the length is out of range.
    """
    if activity not in _LAYOUTS:
        raise ValueError(
            f"activity: expected one of {', '.join(ACTIVITIES)}, found {activity!r}. Correct it."
        )
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError(
            f"seconds: expected {MIN_SECONDS:g} to {MAX_SECONDS:g}, found {seconds}. "
            "Shorter motions cannot hold a whole action."
        )
    rng = np.random.default_rng([seed, zlib.crc32(activity.encode())])
    plan = _LAYOUTS[activity](rng, _standing(rng, np.arange(round(seconds * FPS)) / FPS))
    joints_TJ3 = _joints(plan) * rng.uniform(0.9, 1.1)
    turned = Rotation.from_euler("Y", rng.uniform(-np.pi, np.pi)).as_matrix()
    return (joints_TJ3 @ turned.T).astype(np.float32), plan.captions


def find_procedural(count: int, seed: int = 0) -> Found:
    """Generate synthetic motions for an import, cycling through the activities.

    Args:
        count: number of motions. A larger number with the same seed starts with the same motions.
        seed: seed of the motions.
    """
    for number in range(count):
        activity = ACTIVITIES[number % len(ACTIVITIES)]
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        name = f"{activity}_{own_seed}"
        motion_id = content_id("procedural", PROCEDURAL_VERSION, name)
        read = partial(_read, activity, own_seed, motion_id, name)
        yield Pending(motion_id, name, f"{PREFIX}{name}", read)


def parse_procedural(source: str) -> tuple[int, int] | None:
    """Parse a source of the form ``procedural:COUNT`` or ``procedural:COUNT:SEED``.

    Returns:
        (count, seed), where the seed defaults to 0; None for another kind of source.

    Raises:
        ValueError: the source has the prefix but another form.
    """
    if not source.startswith(PREFIX):
        return None
    found = re.fullmatch(r"procedural:(\d{1,7})(?::(\d{1,9}))?", source)
    if found is None or int(found[1]) < 1:
        raise ValueError(
            f"source: expected procedural:COUNT or procedural:COUNT:SEED with integers and at "
            f"least 1 motion, found {source}. Write procedural:100, for example."
        )
    return int(found[1]), int(found[2] or 0)


def _read(activity: str, seed: int, motion_id: str, name: str) -> ImportedMotion:
    seconds = float(np.random.default_rng(seed).uniform(*FOUND_SECONDS))
    joints_TJ3, captions = generate_motion(activity, seed, seconds)
    length_s = len(joints_TJ3) / FPS
    return ImportedMotion(
        motion_id=motion_id,
        source="procedural",
        source_path=PREFIX.rstrip(":"),
        source_id=name,
        fps=Fraction(FPS),
        joints_TJ3=joints_TJ3,
        labels=(activity,),
        texts=tuple(MotionText(text, 0.0, length_s, "medium", "procedural") for text in captions),
        license="synthetic",
    )


# ------------------------------------------------------------------------------------------- figure


def _joints(plan: _Plan) -> FloatArray:
    """Compute the joint positions of a plan, (T, 22, 3)."""
    joints_TJ3 = np.zeros((len(plan.time_T), NUM_JOINTS, 3))
    facing = Rotation.from_euler("Y", plan.yaw_T[:, None])
    left_T3 = facing.apply([1.0, 0.0, 0.0])
    ankles = {side: _ankle(plan.feet[side], side) for side in _SIDES}

    # Place the trunk on a pelvis at height 0, then raise it as planned and as the legs allow.
    for name, parent, share, (x, y, z) in _TRUNK:
        bent = facing * Rotation.from_euler("X", share * plan.pitch_T[:, None])
        for side in _SIDES if name in ("hip", "collar", "shoulder") else ("",):
            joint = f"{side}_{name}".strip("_")
            start = f"{side}_{parent}" if parent == "collar" else parent
            bone_T3 = bent.apply(_bone(joint, _SIGN.get(side, 1.0) * x, y, z))
            joints_TJ3[:, JOINT[joint]] = joints_TJ3[:, JOINT[start]] + bone_T3
    joints_TJ3[..., [0, 2]] += plan.root_T2[:, None]
    limit_T = np.min([_limit(joints_TJ3, ankles[side], side) for side in _SIDES], axis=0)
    # The minimum filter is as wide as both mean filters, so that the result stays below the limit.
    width = 2 * plan.settle_frames - 1
    limit_T = minimum_filter1d(limit_T, 2 * width - 1, mode="nearest")
    for _ in range(2):
        limit_T = uniform_filter1d(limit_T, width, mode="nearest")
    joints_TJ3[..., 1] += np.minimum(plan.height_T, limit_T)[:, None]

    for side in _SIDES:
        hip_T3 = joints_TJ3[:, JOINT[f"{side}_hip"]]
        _bend(joints_TJ3, f"{side}_knee", f"{side}_ankle", hip_T3, ankles[side], left_T3)
        foot_T3 = _foot_rotation(plan.feet[side]).apply(_foot_bone(side))
        joints_TJ3[:, JOINT[f"{side}_foot"]] = joints_TJ3[:, JOINT[f"{side}_ankle"]] + foot_T3
        arm = plan.arms[side]
        way_T3 = np.stack(
            [
                _SIGN[side] * np.sin(arm.out_T),
                -np.cos(arm.lift_T) * np.cos(arm.out_T),
                np.sin(arm.lift_T) * np.cos(arm.out_T),
            ],
            axis=1,
        )
        shoulder_T3 = joints_TJ3[:, JOINT[f"{side}_shoulder"]]
        hand_T3 = shoulder_T3 + facing.apply(way_T3) * (arm.reach_T * _ARM_M[side])[:, None]
        # Elbows point backward and slightly outward for hanging arms, and down for lateral arms.
        tilt_T = _SIGN[side] * (0.8 * np.sin(arm.out_T) - 0.3)
        hinge_T3 = facing.apply(np.insert(tilt_T[:, None], 0, [[-1.0], [0.0]], axis=1))
        _bend(joints_TJ3, f"{side}_elbow", f"{side}_wrist", shoulder_T3, hand_T3, hinge_T3)
    return joints_TJ3


def _foot_bone(side: str) -> FloatArray:
    x, y, z = _FOOT
    return _bone(f"{side}_foot", _SIGN[side] * x, y, z)


def _foot_rotation(foot: _Foot) -> Rotation:
    return Rotation.from_euler("YX", np.stack([foot.yaw_T, foot.pitch_T], axis=1))


def _ankle(foot: _Foot, side: str) -> FloatArray:
    """Position of the ankle of a foot, (T, 3)."""
    return foot.toe_T3 - _foot_rotation(foot).apply(_foot_bone(side))


def _limit(joints_TJ3: FloatArray, ankle_T3: FloatArray, side: str) -> FloatArray:
    """Pelvis height at which a leg is fully extended, (T,), for joints with the pelvis at 0."""
    way_T3 = ankle_T3 - joints_TJ3[:, JOINT[f"{side}_hip"]]
    leg_m = REFERENCE_BONE_LENGTHS_M[f"{side}_knee"] + REFERENCE_BONE_LENGTHS_M[f"{side}_ankle"]
    beside_T = np.sum(way_T3[:, [0, 2]] ** 2, axis=1)
    return way_T3[:, 1] + np.sqrt(np.maximum((_REACH * leg_m) ** 2 - beside_T, 0.0))


def _bend(
    joints_TJ3: FloatArray,
    middle: str,
    end: str,
    start_T3: FloatArray,
    target_T3: FloatArray,
    hinge_T3: FloatArray,
) -> None:
    """Place the two bones of a limb so that it ends at the target or as close as possible.

    Args:
        joints_TJ3: joint positions; those of ``middle`` and ``end`` are changed in place.
        middle: name of the knee or elbow.
        end: name of the ankle or wrist.
        start_T3: position of the hip or shoulder.
        target_T3: target position of ``end``.
        hinge_T3: axis about which the limb bends.
    """
    upper_m, lower_m = REFERENCE_BONE_LENGTHS_M[middle], REFERENCE_BONE_LENGTHS_M[end]
    way_T3 = target_T3 - start_T3
    far_T1 = np.linalg.norm(way_T3, axis=1, keepdims=True)
    way_T3 = way_T3 / far_T1
    far_T1 = np.clip(far_T1, abs(upper_m - lower_m) + 0.05, upper_m + lower_m - 1e-4)
    along_T1 = (upper_m**2 - lower_m**2 + far_T1**2) / (2 * far_T1)
    beside_T3 = np.cross(way_T3, hinge_T3)
    beside_T3 /= np.linalg.norm(beside_T3, axis=1, keepdims=True)
    beside_T3 *= np.sqrt(np.maximum(upper_m**2 - along_T1**2, 0.0))
    joints_TJ3[:, JOINT[middle]] = start_T3 + along_T1 * way_T3 + beside_T3
    joints_TJ3[:, JOINT[end]] = start_T3 + far_T1 * way_T3


# ------------------------------------------------------------------------------------------ signals


def _ease(share_T: FloatArray) -> FloatArray:
    """Minimum-jerk transition from 0 to 1 while the share goes from 0 to 1."""
    share_T = np.asarray(np.clip(share_T, 0.0, 1.0), dtype=np.float64)
    return share_T**3 * (10 - 15 * share_T + 6 * share_T**2)


def _keyed(time_T: FloatArray, times: Sequence[float], values: Sequence[float]) -> FloatArray:
    """Interpolate values at given times, at rest at each of them, (T,)."""
    total_T = np.full_like(time_T, values[0])
    for index in range(1, len(times)):
        share_T = (time_T - times[index - 1]) / (times[index] - times[index - 1])
        total_T += (values[index] - values[index - 1]) * _ease(share_T)
    return total_T


def _bumps(
    time_T: FloatArray, start_K: FloatArray, rise_s: float, hold_s: float, fall_s: float
) -> FloatArray:
    """Rise from 0 to 1 and fall back after each start, (T,)."""
    up_T = _ease((time_T[:, None] - start_K) / rise_s)
    down_T = _ease((time_T[:, None] - start_K - rise_s - hold_s) / fall_s)
    return (up_T - down_T).sum(axis=1)


def _starts(rng: np.random.Generator, time_T: FloatArray, period_s: float, most: int) -> FloatArray:
    """Start times of up to ``most`` consecutive actions that fit into the motion, (K,)."""
    free_s = float(time_T[-1]) - 0.4
    count = int(rng.integers(1, max(min(int(free_s / period_s), most), 1) + 1))
    first_s = 0.2 + rng.uniform(0.0, 1.0) * max(free_s - count * period_s, 0.0)
    return first_s + period_s * np.arange(count, dtype=np.float64)


def _sway(rng: np.random.Generator, time_T: FloatArray, size: float) -> FloatArray:
    """Slow movement of a person at rest, (T,)."""
    slow_hz, fast_hz = rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.6)
    phase, other = rng.uniform(0, 2 * np.pi, 2)
    waves_T = np.sin(2 * np.pi * slow_hz * time_T + phase)
    return size * (waves_T + 0.5 * np.sin(2 * np.pi * fast_hz * time_T + other))


def _side(rng: np.random.Generator) -> tuple[str, str]:
    """Choose a side. Return it and the opposite side."""
    side = _SIDES[int(rng.integers(2))]
    return side, "right" if side == "left" else "left"


# --------------------------------------------------------------------------------------- activities


def _standing(rng: np.random.Generator, time_T: FloatArray) -> _Plan:
    """Plan of a standing person, on which all activities are based."""
    zero_T = np.zeros_like(time_T)
    half_width_m = rng.uniform(0.9, 1.5) * _HALF_WIDTH_M
    splay = rng.uniform(0.0, 0.2)
    feet: dict[str, _Foot] = {}
    arms: dict[str, _Arm] = {}
    for side in _SIDES:
        place_3 = np.array([_SIGN[side] * half_width_m, 0.0, 0.11 + rng.uniform(-0.02, 0.02)])
        feet[side] = _Foot(np.tile(place_3, (len(time_T), 1)), zero_T + _SIGN[side] * splay, zero_T)
        arms[side] = _Arm(
            0.1 + _sway(rng, time_T, 0.02),
            rng.uniform(0.08, 0.2) + _sway(rng, time_T, 0.01),
            rng.uniform(0.97, 0.99) + zero_T,
        )
    root_T2 = np.stack([_sway(rng, time_T, 0.006), _sway(rng, time_T, 0.006)], axis=1)
    return _Plan(
        time_T=time_T,
        root_T2=root_T2,
        height_T=_PELVIS_M - rng.uniform(0.0, 0.02) + zero_T,
        yaw_T=_sway(rng, time_T, 0.015),
        pitch_T=rng.uniform(0.0, 0.06) + _sway(rng, time_T, 0.01),
        arms=arms,
        feet=feet,
    )


def _walk(
    rng: np.random.Generator, plan: _Plan, speed_m_s: float, turn_per_m: float = 0.0
) -> _Plan:
    """Walk along a curve that turns left by ``turn_per_m`` radians per meter.

    A negative speed walks backward.
    """
    time_T = plan.time_T
    stride_s = float(np.clip(1.25 - 0.25 * abs(speed_m_s), 0.9, 1.2) * rng.uniform(0.95, 1.05))
    duty = rng.uniform(0.58, 0.64)
    lift_m = rng.uniform(0.07, 0.12)
    phase = rng.uniform(0.0, 1.0)
    reach_m = abs(speed_m_s) * (time_T[-1] + 2 * stride_s)
    way_L = np.linspace(-reach_m, reach_m, 4000)
    yaw_L = turn_per_m * way_L
    step_L2 = np.stack([np.sin(yaw_L), np.cos(yaw_L)], axis=1) * (way_L[1] - way_L[0])
    path_L2 = np.cumsum(step_L2, axis=0)
    path_L2 -= path_L2[len(way_L) // 2]

    def at(way_T: FloatArray) -> tuple[FloatArray, FloatArray]:
        place_T2 = np.stack([np.interp(way_T, way_L, path_L2[:, axis]) for axis in (0, 1)], axis=1)
        return place_T2, turn_per_m * way_T

    feet: dict[str, _Foot] = {}
    for side in _SIDES:
        cycle_T = time_T / stride_s + phase + (0.5 if side == "left" else 0.0)
        within_T = cycle_T % 1.0
        # The body is above a foot in the middle of its stance phase.
        stance_s = (np.floor(cycle_T) + duty / 2 - cycle_T) * stride_s + time_T
        swing_T = np.clip((within_T - duty) / (1 - duty), 0.0, 1.0)
        place_T2, yaw_T = at(speed_m_s * (stance_s + stride_s * swing_T**2 * (3 - 2 * swing_T)))
        across_T2 = np.stack([np.cos(yaw_T), -np.sin(yaw_T)], axis=1)
        ahead_T2 = np.stack([np.sin(yaw_T), np.cos(yaw_T)], axis=1)
        toe_T2 = place_T2 + 0.8 * _HALF_WIDTH_M * _SIGN[side] * across_T2 + 0.1 * ahead_T2
        roll_T = _ease((within_T - duty + 0.25) / 0.25) * (1 - _ease(swing_T / 0.8))
        feet[side] = _Foot(
            np.insert(toe_T2, 1, lift_m * np.sin(np.pi * swing_T) ** 2, axis=1),
            yaw_T + _SIGN[side] * 0.08,
            0.6 * roll_T,
        )
    root_T2, yaw_T = at(speed_m_s * time_T)
    swing = float(rng.uniform(0.25, 0.5))
    beat_T = np.cos(2 * np.pi * (time_T / stride_s + phase - duty / 2))
    arms = {
        # A hand swings forward with the opposite foot.
        side: replace(arm, lift_T=0.1 - _SIGN[side] * swing * beat_T, reach_T=0.9 + 0 * time_T)
        for side, arm in plan.arms.items()
    }
    return replace(
        plan,
        root_T2=root_T2,
        yaw_T=yaw_T + plan.yaw_T,
        height_T=_PELVIS_M + 0 * time_T,
        arms=arms,
        feet=feet,
        settle_frames=3,
    )


def _pace(speed_m_s: float) -> str:
    return "slowly" if speed_m_s < 0.85 else "quickly" if speed_m_s > 1.15 else "at a steady pace"


def _walk_forward(rng: np.random.Generator, plan: _Plan) -> _Plan:
    speed_m_s = float(rng.uniform(0.6, 1.4))
    pace = _pace(speed_m_s)
    return replace(
        _walk(rng, plan, speed_m_s),
        captions=(
            "a person walks forward",
            f"a person walks straight ahead {pace}",
            f"someone is walking forward {pace}",
            "the figure takes several steps forward",
        ),
    )


def _walk_backward(rng: np.random.Generator, plan: _Plan) -> _Plan:
    return replace(
        _walk(rng, plan, -float(rng.uniform(0.5, 0.9))),
        captions=(
            "a person walks backward",
            "someone takes several steps backward",
            "the figure is walking backward in a straight line",
        ),
    )


def _walk_circle(rng: np.random.Generator, plan: _Plan) -> _Plan:
    side, _ = _side(rng)
    clock = "counterclockwise" if side == "left" else "clockwise"
    speed_m_s = float(rng.uniform(0.7, 1.0))
    radius_m = rng.uniform(0.7, 0.9)
    turns = speed_m_s * plan.time_T[-1] / (2 * np.pi * radius_m)
    shape = "a circle" if turns > 0.8 else "a curve"
    return replace(
        _walk(rng, plan, speed_m_s, _SIGN[side] / radius_m),
        captions=(
            f"a person walks in {shape} to the {side}",
            f"someone walks {clock} in {shape}",
            f"the figure walks forward while turning {side}",
        ),
    )


def _with_arm(
    plan: _Plan, side: str, lift_T: FloatArray, out_T: FloatArray, reach_T: FloatArray
) -> _Plan:
    return replace(plan, arms={**plan.arms, side: _Arm(lift_T, out_T, reach_T)})


def _wave_hand(rng: np.random.Generator, plan: _Plan) -> _Plan:
    side, _ = _side(rng)
    time_T, arm = plan.time_T, plan.arms[side]
    end_s = float(time_T[-1])
    rise_s = rng.uniform(0.5, 0.7)
    start_s = rng.uniform(0.1, 0.3)
    up_T = _bumps(time_T, np.array([start_s]), rise_s, end_s - start_s - 2 * rise_s - 0.1, rise_s)
    hertz, size = rng.uniform(1.3, 2.0), rng.uniform(0.25, 0.45)
    swing_T = size * np.sin(2 * np.pi * hertz * (time_T - start_s - rise_s))
    lift, reach = rng.uniform(2.1, 2.6), rng.uniform(0.75, 0.9)
    plan = _with_arm(
        plan,
        side,
        arm.lift_T + up_T * (lift - arm.lift_T),
        arm.out_T + up_T * (0.25 + up_T**2 * swing_T),
        arm.reach_T + up_T * (reach - arm.reach_T),
    )
    return replace(
        plan,
        captions=(
            f"someone waves with the {side} hand",
            f"a person raises the {side} arm and waves",
            f"a person is waving hello with their {side} hand",
            f"the figure lifts its {side} hand and waves it from side to side",
        ),
    )


def _raise_arms(rng: np.random.Generator, plan: _Plan) -> _Plan:
    time_T = plan.time_T
    rise_s, hold_s = rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.8)
    up_T = _bumps(time_T, np.array([rng.uniform(0.1, 0.3)]), rise_s, hold_s, rise_s)
    sideways = bool(rng.integers(2))
    top = rng.uniform(2.6, 2.95)
    for side in _SIDES:
        arm = plan.arms[side]
        lift_T, out_T = arm.lift_T, arm.out_T
        if sideways:
            out_T = out_T + up_T * (top - out_T)
        else:
            lift_T = lift_T + up_T * (top - lift_T)
        plan = _with_arm(plan, side, lift_T, out_T, arm.reach_T)
    way = "out to the sides and up" if sideways else "forward and up"
    return replace(
        plan,
        captions=(
            "a person raises both arms above the head",
            f"someone lifts both arms {way}, then lowers them",
            "the figure raises its arms overhead and brings them back down",
        ),
    )


def _clap(rng: np.random.Generator, plan: _Plan) -> _Plan:
    time_T = plan.time_T
    rise_s = rng.uniform(0.4, 0.6)
    up_T = _bumps(time_T, np.array([0.1]), rise_s, float(time_T[-1]) - 2 * rise_s - 0.2, rise_s)
    beat_T = 0.5 + 0.5 * np.cos(2 * np.pi * rng.uniform(1.5, 2.0) * (time_T - rise_s))
    lift, open_ = rng.uniform(1.0, 1.3), rng.uniform(0.1, 0.3)
    for side in _SIDES:
        arm = plan.arms[side]
        out_T = -0.42 + beat_T * (open_ + 0.42)
        plan = _with_arm(
            plan,
            side,
            arm.lift_T + up_T * (lift - arm.lift_T),
            arm.out_T + up_T * (out_T - arm.out_T),
            arm.reach_T + up_T * (0.75 - arm.reach_T),
        )
    return replace(
        plan,
        captions=(
            "a person claps their hands",
            "someone is clapping in front of the chest",
            "the figure brings its hands together several times to clap",
        ),
    )


def _punch(rng: np.random.Generator, plan: _Plan) -> _Plan:
    side, _ = _side(rng)
    time_T = plan.time_T
    up_T = _ease((time_T - 0.1) / 0.5)
    period_s, out_s = rng.uniform(0.8, 1.0), rng.uniform(0.15, 0.2)
    start_K = np.arange(0.7, max(time_T[-1] - period_s, 1.6), period_s)
    out_T = _bumps(time_T, start_K, out_s, 0.05, 0.3)
    lift, reach = rng.uniform(1.35, 1.6), rng.uniform(0.94, 0.98)
    for each in _SIDES:
        arm = plan.arms[each]
        far_T = out_T if each == side else 0 * out_T
        plan = _with_arm(
            plan,
            each,
            arm.lift_T + up_T * (1.2 + far_T * (lift - 1.2) - arm.lift_T),
            arm.out_T * (1 - up_T),
            arm.reach_T + up_T * (0.48 + far_T * (reach - 0.48) - arm.reach_T),
        )
    return replace(
        plan,
        pitch_T=plan.pitch_T + 0.08 * out_T,
        captions=(
            f"a person punches forward with the {side} fist",
            f"someone throws {side} punches straight ahead",
            f"the figure raises its fists and punches with the {side} hand",
        ),
    )


def _squat(rng: np.random.Generator, plan: _Plan) -> _Plan:
    time_T = plan.time_T
    move_s, hold_s = rng.uniform(0.6, 0.8), rng.uniform(0.4, 0.7)
    start_K = _starts(rng, time_T, 2 * move_s + hold_s + 0.1, 3)
    down_T = _bumps(time_T, start_K, move_s, hold_s, move_s)
    depth_m = rng.uniform(0.4, 0.5)
    for side in _SIDES:
        arm = plan.arms[side]
        lift_T = arm.lift_T + down_T * (1.4 - arm.lift_T)
        plan = _with_arm(plan, side, lift_T, arm.out_T, arm.reach_T)
    times = {1: "once", 2: "twice"}.get(len(start_K), "three times")
    return replace(
        plan,
        height_T=plan.height_T - depth_m * down_T,
        root_T2=plan.root_T2 - down_T[:, None] * [0.0, 0.12],
        pitch_T=plan.pitch_T + 0.5 * down_T,
        captions=(
            f"a person squats {times}",
            f"someone does a squat {times} with the arms held forward",
            "the figure bends its knees deeply and stands back up",
        ),
    )


def _jump(rng: np.random.Generator, plan: _Plan) -> _Plan:
    time_T = plan.time_T
    rise_m = rng.uniform(0.2, 0.35)
    flight_s = 2 * np.sqrt(2 * rise_m / _GRAVITY_MPS2)
    crouch_s, crouch_m = rng.uniform(0.4, 0.5), rng.uniform(0.18, 0.25)
    push_s = 0.2
    start_K = _starts(rng, time_T, crouch_s + 2 * push_s + flight_s + 0.5, 3)
    off_K = start_K + crouch_s + push_s
    air_T = ((time_T[:, None] - off_K) / flight_s).clip(0.0, 1.0)
    lift_T = (4 * rise_m * air_T * (1 - air_T)).sum(axis=1)
    down_T = _bumps(time_T, start_K, crouch_s, 0.0, push_s)
    down_T += 0.7 * _bumps(time_T, off_K + flight_s, push_s, 0.0, 0.4)
    forward = bool(rng.integers(2))
    ahead_T = (rng.uniform(0.3, 0.6) if forward else 0.0) * air_T.sum(axis=1)
    tips_T = np.minimum(lift_T / 0.1, 1.0)
    feet = {
        side: replace(
            foot,
            toe_T3=foot.toe_T3 + np.stack([0 * time_T, lift_T, ahead_T], axis=1),
            pitch_T=0.4 * tips_T,
        )
        for side, foot in plan.feet.items()
    }
    for side in _SIDES:
        arm = plan.arms[side]
        lift_arm_T = arm.lift_T - 0.5 * down_T + 0.8 * tips_T
        plan = _with_arm(plan, side, lift_arm_T, arm.out_T, arm.reach_T)
    where = "forward" if forward else "in place"
    times = {1: "once", 2: "twice"}.get(len(start_K), "three times")
    return replace(
        plan,
        height_T=plan.height_T + lift_T - crouch_m * down_T,
        root_T2=plan.root_T2 + ahead_T[:, None] * [0.0, 1.0],
        pitch_T=plan.pitch_T + 0.3 * down_T,
        feet=feet,
        captions=(
            f"a person jumps {where}",
            f"someone crouches and jumps {where} {times}",
            f"the figure leaps up with both feet {times}",
        ),
    )


def _kick(rng: np.random.Generator, plan: _Plan) -> _Plan:
    side, other = _side(rng)
    time_T, foot = plan.time_T, plan.feet[side]
    fast = rng.uniform(0.95, 1.2)
    moments = np.array([0.0, 0.4, 0.6, 0.68, 0.9, 1.4]) / fast
    start_K = _starts(rng, time_T, float(moments[-1]) + 0.2, 3)
    high = rng.uniform(0.5, 0.8) * _LEG_M
    # The foot is lifted below the knee, kicked forward, pulled back and put down.
    up_T, ahead_T, pitch_T = np.zeros((3, len(time_T)))
    for start_s in start_K.tolist():
        times = (start_s + moments).tolist()
        up_T += _keyed(time_T, times, [0.0, 0.3, high, high, 0.3, 0.0])
        ahead_T += _keyed(time_T, times, [0.0, -0.1, 0.75, 0.75, 0.0, 0.0])
        pitch_T += _keyed(time_T, times, [0.0, 0.6, -0.3, -0.3, 0.4, 0.0])
    lifted_T = np.minimum(up_T / 0.2, 1.0)
    kicking = replace(
        foot,
        toe_T3=foot.toe_T3 + np.stack([0 * time_T, up_T, ahead_T], axis=1),
        pitch_T=pitch_T,
    )
    for each, far in ((side, -0.3), (other, 0.5)):
        arm = plan.arms[each]
        plan = _with_arm(plan, each, arm.lift_T + far * lifted_T, arm.out_T, arm.reach_T)
    shift_m = -_SIGN[side] * 0.05
    return replace(
        plan,
        root_T2=plan.root_T2 + lifted_T[:, None] * [shift_m, 0.0],
        pitch_T=plan.pitch_T - 0.12 * lifted_T,
        feet={**plan.feet, side: kicking},
        captions=(
            f"a person kicks with the {side} leg",
            f"someone kicks forward with their {side} foot",
            f"the figure lifts its {side} knee and kicks straight ahead",
        ),
    )


def _bow(rng: np.random.Generator, plan: _Plan) -> _Plan:
    time_T = plan.time_T
    move_s, hold_s = rng.uniform(0.7, 0.9), rng.uniform(0.2, 0.5)
    down_T = _bumps(time_T, _starts(rng, time_T, 2 * move_s + hold_s, 1), move_s, hold_s, move_s)
    return replace(
        plan,
        pitch_T=plan.pitch_T + rng.uniform(0.8, 1.3) * down_T,
        root_T2=plan.root_T2 - down_T[:, None] * [0.0, 0.1],
        captions=(
            "a person bows",
            "someone bends forward at the waist and straightens up",
            "the figure takes a bow and returns to standing",
        ),
    )


def _sit_down(rng: np.random.Generator, plan: _Plan) -> _Plan:
    time_T = plan.time_T
    start_s, move_s = rng.uniform(0.3, 0.6), rng.uniform(1.0, 1.3)
    down_T = _ease((time_T - start_s) / move_s)
    lean_T = _bumps(time_T, np.array([start_s - 0.1]), move_s * 0.6, 0.0, move_s * 0.6)
    seat_m, back_m = rng.uniform(0.48, 0.54), rng.uniform(0.36, 0.42)
    for side in _SIDES:
        arm = plan.arms[side]
        lift_T = arm.lift_T + down_T * (0.75 - arm.lift_T)
        reach_T = arm.reach_T + down_T * (0.85 - arm.reach_T)
        plan = _with_arm(plan, side, lift_T, arm.out_T, reach_T)
    return replace(
        plan,
        height_T=plan.height_T + down_T * (seat_m - plan.height_T),
        root_T2=plan.root_T2 - down_T[:, None] * [0.0, back_m],
        pitch_T=plan.pitch_T + 0.45 * lean_T,
        captions=(
            "a person sits down",
            "someone lowers themselves onto a chair",
            "the figure sits down and stays seated",
        ),
    )


_LAYOUTS: Final[Mapping[str, Callable[[np.random.Generator, _Plan], _Plan]]] = {
    "walk_forward": _walk_forward,
    "wave_hand": _wave_hand,
    "jump": _jump,
    "kick": _kick,
    "squat": _squat,
    "raise_arms": _raise_arms,
    "walk_circle": _walk_circle,
    "punch": _punch,
    "sit_down": _sit_down,
    "bow": _bow,
    "clap": _clap,
    "walk_backward": _walk_backward,
}
ACTIVITIES: Final = tuple(_LAYOUTS)
"""Activities of :func:`generate_motion`."""
