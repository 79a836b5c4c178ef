"""Simple motions for the tests, made here.

Shapes: T frames at 20 fps, J = 22 joints, meters, y up.
"""

from functools import cache

import numpy as np

from benchmarks.support.corpus import Motion, missing_parts, mocap
from data.motion.skeleton import FPS, JOINT, MIRROR, NUM_JOINTS
from data.records import Clip, PoseTrack
from data.synthetic.activities import ACTIVITIES, generate_motion

FRAME_SIZE_PX = (1280, 720)


@cache
def some_motions() -> tuple[Motion, ...]:
    """100 synthetic motions of every kind, and where the larger corpus is, 41 real ones."""
    made = [
        generate_motion(ACTIVITIES[seed % len(ACTIVITIES)], seed, 3.0 + seed % 7)[0]
        for seed in range(100)
    ]
    found: list[Motion] = []
    if not missing_parts():
        found += [m for _, _, m in mocap("cmu_joints22_20fps.npz", "label")][::6]
        found += [m for _, _, m in mocap("bandai_joints22_20fps.npz", "content")][::108]
    return tuple(motion.astype(np.float64) for motion in (*made, *found))


def standing(seconds: float = 5.0) -> Motion:
    """A person who stands, facing +z, arms hanging, with a little sway."""
    pose = np.zeros((NUM_JOINTS, 3))
    places = {
        "pelvis": (0.0, 0.95, 0.0),
        "spine1": (0.0, 1.05, 0.0),
        "spine2": (0.0, 1.18, 0.0),
        "spine3": (0.0, 1.25, 0.0),
        "neck": (0.0, 1.45, 0.0),
        "head": (0.0, 1.58, 0.0),
    }
    sides = {
        "hip": (0.09, 0.90, 0.0),
        "knee": (0.10, 0.50, 0.01),
        "ankle": (0.10, 0.08, 0.0),
        "foot": (0.12, 0.02, 0.12),
        "collar": (0.07, 1.40, 0.0),
        "shoulder": (0.18, 1.40, 0.0),
        "elbow": (0.21, 1.13, -0.02),
        "wrist": (0.22, 0.88, 0.03),
    }
    for name, place in places.items():
        pose[JOINT[name]] = place
    for name, (x, y, z) in sides.items():
        pose[JOINT[f"left_{name}"]] = (x, y, z)
        pose[JOINT[f"right_{name}"]] = (-x, y, z)
    num_frames = round(seconds * FPS)
    motion = np.repeat(pose[None], num_frames, axis=0)
    motion[:, :, 0] += 0.004 * np.sin(np.arange(num_frames) / 15)[:, None]
    return motion


def set_arm(motion: Motion, side: str, angle_T: Motion, swing_T: Motion | None = None) -> Motion:
    """Turn a straight arm about the shoulder.

    Args:
        motion: changed in place.
        side: of the arm.
        angle_T: (T,) from hanging (0) to straight up (pi), radians, in front of the body.
        swing_T: (T,) sideways part, radians.
    """
    outward = 1.0 if side == "left" else -1.0
    swing = np.zeros_like(angle_T) if swing_T is None else swing_T
    way_T3 = np.stack(
        (
            outward * np.sin(swing),
            -np.cos(angle_T) * np.cos(swing),
            np.sin(angle_T) * np.cos(swing),
        ),
        axis=1,
    )
    shoulder_T3 = motion[:, JOINT[f"{side}_shoulder"]]
    motion[:, JOINT[f"{side}_elbow"]] = shoulder_T3 + 0.28 * way_T3
    motion[:, JOINT[f"{side}_wrist"]] = shoulder_T3 + 0.53 * way_T3
    return motion


def ramp(num_frames: int, start: int, end: int, low: float, high: float) -> Motion:
    """From low to high between two frames, smoothly (T,)."""
    share_T = np.clip((np.arange(num_frames) - start) / (end - start), 0, 1)
    return low + (high - low) * (1 - np.cos(np.pi * share_T)) / 2


def raising_left_arm() -> Motion:
    """Stands, then raises the left arm straight up."""
    motion = standing(4.0)
    return set_arm(motion, "left", ramp(len(motion), 20, 42, 0.0, 3.0))


def waving_right_hand(waves: int = 4) -> Motion:
    """Raises the right arm, waves it from side to side, lowers it."""
    motion = standing(7.0)
    frames_T = np.arange(len(motion))
    up_T = ramp(len(motion), 10, 22, 0.0, 2.6) - ramp(len(motion), 110, 124, 0.0, 2.6)
    phase_T = np.clip((frames_T - 28) / 18, 0, waves)
    return set_arm(motion, "right", up_T, 0.45 * np.sin(2 * np.pi * phase_T))


def jumping(height_m: float = 0.3) -> Motion:
    """Crouches and jumps once on the spot."""
    motion = standing(4.0)
    frames_T = np.arange(len(motion))
    crouch_T = 0.18 * np.exp(-(((frames_T - 30) / 4.0) ** 2))
    upper = [i for i in range(NUM_JOINTS) if "ankle" not in NAMES[i] and "foot" not in NAMES[i]]
    motion[:, upper, 1] -= crouch_T[:, None]
    for side in ("left", "right"):
        motion[:, JOINT[f"{side}_knee"], 1] += crouch_T / 2
        motion[:, JOINT[f"{side}_knee"], 2] += 1.2 * crouch_T
    flight_T = np.clip(1 - ((frames_T - 40) / 5.0) ** 2, 0, None)
    motion[:, :, 1] += height_m * flight_T[:, None]
    return motion


NAMES = tuple(JOINT)


def mirrored(motion: Motion) -> Motion:
    """The other way round: x negated, left and right swapped."""
    return motion[:, list(MIRROR)] * np.array([-1.0, 1.0, 1.0])


def moved(motion: Motion, yaw_rad: float, offset: tuple[float, float, float]) -> Motion:
    """Turned about the vertical and set down elsewhere."""
    sin, cos = np.sin(yaw_rad), np.cos(yaw_rad)
    turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    return motion @ turn.T + np.array(offset)


def as_track(motion: Motion, *, start_s: float = 0.0, track_id: int = 0) -> PoseTrack:
    """A track as the pose stage makes it, seen in full by a camera in front."""
    joints_TJ3 = motion.astype(np.float32)
    pelvis_T3 = joints_TJ3[:, 0]
    x_px = 640 + 100 * np.clip(motion[..., 0] - motion[:1, :1, 0], -5, 5)
    y_px = 650 - 250 * np.clip(motion[..., 1], 0, 2.5)
    num_frames = len(motion)
    return PoseTrack(
        track_id=track_id,
        pts_s=start_s + np.arange(num_frames) / FPS,
        joints_3d=joints_TJ3 - pelvis_T3[:, None],
        root_trajectory=pelvis_T3,
        joints_2d=np.stack((x_px, y_px), axis=-1).astype(np.float32),
        confidence=np.full((num_frames, NUM_JOINTS), 0.95, dtype=np.float32),
        valid=np.ones(num_frames, dtype=np.bool_),
        quality=0.95,
    )


def as_clip(track: PoseTrack, *, camera: str = "static") -> Clip:
    """The clip of a track."""
    start_s, end_s = float(track.pts_s[0]), float(track.pts_s[-1]) + 1 / FPS
    return Clip(
        clip_id="clip",
        video_id="video",
        shot_index=0,
        start_frame=0,
        end_frame=track.num_frames,
        start_s=start_s,
        end_s=end_s,
        brightness=0.5,
        camera=camera,
        camera_speed=0.0,
    )
