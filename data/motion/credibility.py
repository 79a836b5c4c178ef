"""Which joints of a motion were seen, so that nothing is learned or judged from guesses.

A pose model guesses the joints that it does not see, such as legs behind a table. Joints that are
not credible are given a neutral pose, and are left out of gates, losses and metrics.

Shapes: T frames at 20 fps (T - 1 rows of features), J = 22 joints, D = 263 features.
"""

from typing import Final

import numpy as np

from data.arrays import BoolArray, IndexArray
from data.motion.features import (
    CONTACT_JOINTS,
    FOOT_CONTACTS,
    LOCAL_POSITIONS,
    LOCAL_ROTATIONS,
    LOCAL_VELOCITIES,
)
from data.motion.skeleton import MIRROR, NUM_FEATURES, NUM_JOINTS


def _feature_joints() -> IndexArray:
    joint_D = np.zeros(NUM_FEATURES, dtype=np.intp)
    others = np.arange(1, NUM_JOINTS)
    joint_D[LOCAL_POSITIONS] = np.repeat(others, 3)
    joint_D[LOCAL_ROTATIONS] = np.repeat(others, 6)
    joint_D[LOCAL_VELOCITIES] = np.repeat(np.arange(NUM_JOINTS), 3)
    joint_D[FOOT_CONTACTS] = CONTACT_JOINTS
    return joint_D


FEATURE_JOINTS_D: Final = _feature_joints()
"""(263,) joint that each feature is about; the pelvis for the path and the height."""


def credible_rows(credible_TJ: BoolArray) -> BoolArray:
    """Return the credible joints of each row of features, (T - 1, 22).

    A row holds velocities, so it needs two frames.
    """
    return credible_TJ[:-1] & credible_TJ[1:]


def mirror_credible(credible_TJ: BoolArray) -> BoolArray:
    """Return the credible joints of the mirrored motion, (T, 22)."""
    return credible_TJ[:, list(MIRROR)]
