"""The skeleton: joint order, mirroring and heading, compared with the reference clip."""

import numpy as np
import pytest

from benchmarks.support.corpus import REFERENCE
from data.motion.skeleton import BONES, JOINT, JOINT_NAMES, MIRROR, PARENTS, heading_rad

SAMPLE = REFERENCE / "humanml3d_sample/012314_joints.npy"


def test_mirror_swaps_sides_and_is_its_own_inverse() -> None:
    for index, name in enumerate(JOINT_NAMES):
        other = JOINT_NAMES[MIRROR[index]]
        assert other.split("_")[-1] == name.split("_")[-1]
        assert ("left" in name) == ("right" in other)
        assert MIRROR[MIRROR[index]] == index


def test_bones_make_one_tree() -> None:
    assert len(BONES) == len(JOINT_NAMES) - 1
    assert all(parent < joint for parent, joint in BONES)
    assert PARENTS[JOINT["left_wrist"]] == JOINT["left_elbow"]


@pytest.mark.corpus
def test_heading_of_the_reference_clip_starts_at_zero_and_turns_with_the_body() -> None:
    joints_TJ3 = np.load(SAMPLE, allow_pickle=False)
    heading_T = heading_rad(joints_TJ3)
    # HumanML3D clips face z+ at frame 0.
    assert heading_T[0] == pytest.approx(0.0, abs=0.05)
    turn_rad = 0.7
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    turn_33 = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    turned_T = heading_rad(joints_TJ3 @ turn_33.T)
    difference_T = np.angle(np.exp(1j * (turned_T - heading_T)))
    np.testing.assert_allclose(difference_T, turn_rad, atol=1e-5)
