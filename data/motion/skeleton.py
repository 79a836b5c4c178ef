"""The 22-joint body skeleton of SMPL / HumanML3D, in its published order.

Shapes: T frames, J = 22 joints. Positions are meters, y up.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FPS: Final = 20
"""Frame rate of every stored pose track and motion (HumanML3D)."""

JOINT_NAMES: Final = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
NUM_JOINTS: Final = len(JOINT_NAMES)
JOINT: Final = {name: index for index, name in enumerate(JOINT_NAMES)}

PARENTS: Final = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""Parent of every joint; -1 for the pelvis."""

BONES: Final = tuple((parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0)

NUM_FEATURES: Final = 263
"""D, the number of HumanML3D features per frame, see :mod:`data.motion.features`. All published
models expect it."""

MIRROR: Final = tuple(
    JOINT[name.replace("left_", "\0").replace("right_", "left_").replace("\0", "right_")]
    for name in JOINT_NAMES
)
"""Index of the joint on the other side of the body. Midline joints map to themselves."""


def heading_rad(joints_TJ3: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the yaw of the body's facing direction in radians.

    As in HumanML3D, the facing direction is the cross product of the right-to-left axis (hips plus
    shoulders) and up. 0 faces +z; positive angles turn to the person's left (toward +x).

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.

    Returns:
        Angles in (-pi, pi], (T,).
    """
    across_T3 = (
        joints_TJ3[:, JOINT["left_hip"]]
        - joints_TJ3[:, JOINT["right_hip"]]
        + joints_TJ3[:, JOINT["left_shoulder"]]
        - joints_TJ3[:, JOINT["right_shoulder"]]
    )
    # `across` points to the person's left; forward = across x up with up = (0, 1, 0).
    forward_x_T, forward_z_T = -across_T3[:, 2], across_T3[:, 0]
    return np.arctan2(forward_x_T, forward_z_T)
