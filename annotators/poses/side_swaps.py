"""Detection of frames in which the pose model confuses left and right.

When a person is seen from behind, jumps, or crosses the limbs, both arms or both legs may exchange
places from one frame to the next and return some frames later. A real body does not move like that,
and exchanging the sides again removes the jumps.

Shapes: M measured frames, J = 22 joints.
"""

from typing import Final

import numpy as np

from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import JOINT, MIRROR

GROUPS: Final = tuple(
    tuple(JOINT[f"{side}_{name}"] for side in ("left", "right") for name in names)
    for names in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
)
"""Arms and legs are swapped independently of each other."""
MIN_LEAP_M: Final = 0.12
"""Smallest mean jump of the joints of a group between two frames (2.4 m/s at 20 fps)."""
MAX_SWAPPED_LEAP: Final = 0.5
"""Largest ratio of the jump after exchanging the sides to the jump before."""
MAX_SWAP_S: Final = 0.5
"""Longer swaps are not corrected, because it is unknown which of the two assignments is right."""


def find_side_swaps(body_MJ3: FloatArray, times_M: FloatArray) -> BoolArray:
    """Return where the left and the right joint are exchanged, (M, J).

    Args:
        body_MJ3: (M, 22, 3) joints relative to the pelvis, meters.
        times_M: (M,) times of the frames, seconds.
    """
    swapped_MJ = np.zeros(body_MJ3.shape[:2], dtype=np.bool_)
    for group in GROUPS:
        joints = list(group)
        mirrored = [MIRROR[joint] for joint in joints]
        before = body_MJ3[:-1, joints]
        kept_M = np.linalg.norm(body_MJ3[1:, joints] - before, axis=-1).mean(axis=1)
        changed_M = np.linalg.norm(body_MJ3[1:, mirrored] - before, axis=-1).mean(axis=1)
        leaps = np.flatnonzero((kept_M > MIN_LEAP_M) & (changed_M < MAX_SWAPPED_LEAP * kept_M)) + 1
        start = 0
        while start + 1 < len(leaps):
            away, back = leaps[start], leaps[start + 1]
            if times_M[back] - times_M[away] <= MAX_SWAP_S:
                swapped_MJ[away:back, joints] = True
                start += 2
            else:
                start += 1
    return swapped_MJ


def swap_sides(values_MJX: FloatArray, swapped_MJ: BoolArray) -> FloatArray:
    """Exchange the values of left and right joints where they are swapped, (M, J, ...)."""
    mask = swapped_MJ.reshape(*swapped_MJ.shape, *[1] * (values_MJX.ndim - 2))
    return np.where(mask, values_MJX[:, list(MIRROR)], values_MJX)
