"""Turn the pose of a track into one that a motion model can learn from.

Leaps of the pose model are interpolated, joints that it did not see are given a neutral pose, and
both are marked as not credible. Nothing is invented: a motion whose legs were never seen has
straight legs that no loss and no gate looks at.

Shapes: T frames at 20 fps, J = 22 joints. Positions are in meters, y up.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter, minimum_filter1d

from annotators.motion.signals import MIN_CONFIDENCE, Span, bridge_gaps
from annotators.poses.trajectory import foot_odometry
from data.arrays import BoolArray, FloatArray
from data.motion.quality import mend_leaps
from data.motion.skeleton import FPS, JOINT, JOINT_NAMES, PARENTS
from data.records import PoseTrack

MAX_LIMB_SPEED_M_S: Final = 12.0
"""Joints that are faster than the kicks of the CMU motions (11.2 m/s) are errors of the pose
model."""
MAX_PATH_SPEED_M_S: Final = 12.0
"""A pelvis that is faster than a sprinter changed to another person or place."""
BLEND_S: Final = 0.6
"""Longer than a step, and shorter than the time over which the drift of the feet becomes
visible."""
_FEET: Final = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("ankle", "foot")]
_CONTACT_M: Final = 0.08
"""A lower foot stands. It is higher in flight, in which the feet tell nothing about the path."""

_STAND_SIGMA_FRAMES: Final = 1.0

_LIMB_REST: Final = {
    **dict.fromkeys(("knee", "ankle", "elbow", "wrist"), (-1.0, 0.0)),
    "foot": (-0.35, 0.94),
}
"""Direction (up along the trunk, forward) of the bone that ends in a joint, for limbs that were not
seen."""


def continuous_spans(root_T3: FloatArray) -> list[Span]:
    """Divide a track where the pelvis leaps, into spans of frames."""
    speed_T = np.linalg.norm(np.diff(root_T3.astype(np.float64), axis=0), axis=1) * FPS
    leaps = (np.flatnonzero(speed_T > MAX_PATH_SPEED_M_S) + 1).tolist()
    return list(zip([0, *leaps], [*leaps, len(root_T3)], strict=True))


def mended_motion(track: PoseTrack) -> tuple[FloatArray, BoolArray]:
    """Return the motion of a track for training.

    Returns:
        Positions, (T, 22, 3), meters, y above the ground, and which joints were seen, (T, 22).
    """
    sure_TJ = (track.confidence >= MIN_CONFIDENCE) & track.valid[:, None]
    body_TJ3, seen_TJ = bridge_gaps(track.joints_3d.astype(np.float64), sure_TJ)
    body_TJ3, lost_TJ = mend_leaps(body_TJ3, MAX_LIMB_SPEED_M_S)
    body_TJ3 = _with_neutral_limbs(body_TJ3, np.logical_or.reduce(sure_TJ, axis=0))
    body_TJ3 = _with_bone_lengths(body_TJ3, track.joints_3d)
    root_T3 = pelvis_path(replace(track, joints_3d=body_TJ3))
    if not sure_TJ[:, _FEET].any():
        # The legs are neutral in all frames, and stand on the ground.
        root_T3[:, 1] -= np.median(_lowest_foot(body_TJ3 + root_T3[:, None]))
    credible_TJ = seen_TJ & sure_TJ & ~lost_TJ
    return body_TJ3 + root_T3[:, None], credible_TJ


def _lowest_foot(joints_TJ3: FloatArray) -> FloatArray:
    return joints_TJ3[:, _FEET, 1].min(axis=1)


def _with_neutral_limbs(body_TJ3: FloatArray, known_J: BoolArray) -> FloatArray:
    """Lay arms and legs that were never seen along the trunk, with their bone lengths."""

    def middle(part: str) -> FloatArray:
        return body_TJ3[:, [JOINT[f"left_{part}"], JOINT[f"right_{part}"]]].mean(axis=1)

    across_T3 = body_TJ3[:, JOINT["left_shoulder"]] - body_TJ3[:, JOINT["right_shoulder"]]
    up_T3 = _unit(middle("shoulder") - middle("hip"))
    ahead_T3 = _unit(np.cross(across_T3, up_T3))
    result_TJ3 = body_TJ3.copy()
    for joint, name in enumerate(JOINT_NAMES):
        rest = _LIMB_REST.get(name.split("_")[-1])
        if rest is None or known_J[joint]:
            continue
        up, ahead = rest
        bone_T3 = body_TJ3[:, joint] - body_TJ3[:, PARENTS[joint]]
        length_m = float(np.median(np.linalg.norm(bone_T3, axis=1)))
        result_TJ3[:, joint] = result_TJ3[:, PARENTS[joint]] + length_m * (
            up * up_T3 + ahead * ahead_T3
        )
    return result_TJ3


def _unit(vectors_T3: FloatArray) -> FloatArray:
    return vectors_T3 / np.maximum(np.linalg.norm(vectors_T3, axis=1, keepdims=True), 1e-9)


def _with_bone_lengths(body_TJ3: FloatArray, track_TJ3: FloatArray) -> FloatArray:
    """Give interpolated bones the constant lengths that they have in the track."""
    result_TJ3 = body_TJ3.copy()
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            continue
        length_m = float(
            np.median(np.linalg.norm(track_TJ3[:, joint] - track_TJ3[:, parent], axis=1))
        )
        bone_T3 = body_TJ3[:, joint] - body_TJ3[:, parent]
        now_T1 = np.linalg.norm(bone_T3, axis=1, keepdims=True)
        result_TJ3[:, joint] = result_TJ3[:, parent] + bone_T3 * length_m / np.maximum(now_T1, 1e-6)
    return result_TJ3


def pelvis_path(track: PoseTrack) -> FloatArray:
    """Return the pelvis path, (T, 3), meters; y is the height above the ground.

    The path is combined from two sources with different errors. The path in the image does not
    drift, but it jitters and lets the feet slide. The path by foot odometry, which assumes that the
    lower foot stands still, does not slide but drifts, and it is wrong in flight and for feet that
    are not seen. The result follows a standing foot above ``1 / BLEND_S`` Hz, and the image below
    and where no foot stands.
    """
    root_T3 = track.root_trajectory.astype(np.float64)
    if len(root_T3) < 2:
        return root_T3
    by_foot_T3 = foot_odometry(track.joints_3d)
    lowest_T = _lowest_foot(track.joints_3d + root_T3[:, None])
    level_T = minimum_filter1d(median_filter(lowest_T, 5, mode="nearest"), 2 * FPS + 1)
    above_T = lowest_T - level_T
    stands_T = (above_T < _CONTACT_M) & (track.confidence[:, _FEET].max(axis=1) >= MIN_CONFIDENCE)
    trust_T1 = gaussian_filter1d(stands_T.astype(np.float64), 1.0, mode="nearest")[1:, None]
    steps_T3 = trust_T1 * np.diff(by_foot_T3, axis=0) + (1 - trust_T1) * np.diff(root_T3, axis=0)
    path_T3 = root_T3[:1] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps_T3, axis=0)])
    path_T3 += gaussian_filter1d(root_T3 - path_T3, BLEND_S * FPS, axis=0, mode="nearest")
    # The height comes from the image, because foot odometry has no jumps. A foot that stands is put
    # on the level on which it stands.
    off_T = np.where(stands_T, above_T, 0.0)
    path_T3[:, 1] = root_T3[:, 1] - gaussian_filter1d(off_T, _STAND_SIGMA_FRAMES, mode="nearest")
    return path_T3
