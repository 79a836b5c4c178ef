"""Recognize T-poses and measure the height of a body.

Apart from :mod:`data.motion.quality`, so that worker processes which search untrusted files for
motions need not load torch, which takes more memory than many of them are allowed.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`).
"""

import itertools
from typing import Final

import numpy as np

from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import JOINT

TPOSE_DEG: Final = 12.0
"""Angle that the arms and legs of a T-pose may be off."""


def tposes(joints_TJ3: FloatArray) -> BoolArray:
    """Return in which frames the arms point sideways and the legs down, (T,).

    Args:
        joints_TJ3: positions, (T, 22, 3), in any unit, y up.
    """
    is_one_T = np.ones(len(joints_TJ3), np.bool_)
    for start, end, wanted_deg in (("shoulder", "wrist", 0.0), ("hip", "ankle", -90.0)):
        for side in ("left", "right"):
            way_T3 = joints_TJ3[:, JOINT[f"{side}_{end}"]] - joints_TJ3[:, JOINT[f"{side}_{start}"]]
            flat_T = np.hypot(way_T3[:, 0], way_T3[:, 2])
            angle_T = np.degrees(np.arctan2(way_T3[:, 1], flat_T))
            is_one_T &= abs(angle_T - wanted_deg) <= TPOSE_DEG
    # Arms that point forward are level, too, but then the wrists are near each other.
    wrists_T, shoulders_T = (
        np.linalg.norm(
            joints_TJ3[:, JOINT[f"left_{j}"]] - joints_TJ3[:, JOINT[f"right_{j}"]], axis=-1
        )
        for j in ("wrist", "shoulder")
    )
    arms_T = sum(
        np.linalg.norm(
            joints_TJ3[:, JOINT[f"{s}_wrist"]] - joints_TJ3[:, JOINT[f"{s}_shoulder"]], axis=-1
        )
        for s in ("left", "right")
    )
    return is_one_T & (wrists_T > shoulders_T + 0.85 * arms_T)


def stature(joints_TJ3: FloatArray) -> float:
    """Return the height of the upright body, computed from its bones, in the unit of the motion.

    Args:
        joints_TJ3: positions, (T, 22, 3), in any unit and posture.
    """
    chain = ("left_ankle", "left_knee", "left_hip", "pelvis", "spine1", "spine2", "spine3")
    bones = [
        np.linalg.norm(joints_TJ3[:, JOINT[a]] - joints_TJ3[:, JOINT[b]], axis=-1)
        for a, b in itertools.pairwise((*chain, "neck", "head"))
    ]
    # The head joint is below the crown and the ankle above the sole, by about 10 % of the height.
    return 1.1 * float(np.median(np.sum(bones, axis=0)))
