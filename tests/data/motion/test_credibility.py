"""Joints that were not seen are left out of gates and losses."""

import numpy as np

from data.motion.credibility import FEATURE_JOINTS_D, credible_rows, mirror_credible
from data.motion.features import joints_to_features
from data.motion.quality import FlawKind, MotionGates, find_flaws, foot_skate
from data.motion.skeleton import JOINT, NUM_JOINTS
from data.synthetic.activities import generate_motion

WRIST = JOINT["left_wrist"]


def test_every_feature_belongs_to_the_joint_that_it_is_about() -> None:
    """Moving a wrist changes only features of the wrist."""
    motion = generate_motion("squat", 0, 3.0)[0].astype(np.float64)
    moved = motion.copy()
    # The bone keeps its length, because features have fixed bone lengths.
    elbow_T3 = motion[:, JOINT["left_elbow"]]
    moved[:, WRIST] = elbow_T3 + (motion[:, WRIST] - elbow_T3) * np.array([-1.0, 1.0, -1.0])
    change_D = np.abs(joints_to_features(moved) - joints_to_features(motion)).max(axis=0)
    assert set(FEATURE_JOINTS_D[change_D > 1e-6]) == {WRIST}


def test_a_row_of_features_needs_both_frames() -> None:
    credible = np.ones((5, NUM_JOINTS), np.bool_)
    credible[2, WRIST] = False
    assert credible_rows(credible)[:, WRIST].tolist() == [True, False, False, True]
    mirrored = mirror_credible(credible)
    assert not mirrored[2, JOINT["right_wrist"]]
    assert mirrored[2, WRIST]


def test_guessed_joints_are_not_judged() -> None:
    motion = generate_motion("walk_forward", 1, 4.0)[0].astype(np.float64)
    feet = [JOINT[f"{side}_foot"] for side in ("left", "right")]
    motion[30:, feet, 0] += 1.5
    motion[10:60, WRIST] += np.linspace(0, 0.3, 50)[:, None]
    gates = MotionGates()
    assert {flaw.kind for flaw in find_flaws(motion, gates)} == {
        FlawKind.TELEPORT,
        FlawKind.LIMB_DRIFT,
    }
    credible = np.ones(motion.shape[:2], np.bool_)
    credible[:, [*feet, WRIST]] = False
    assert not find_flaws(motion, gates, credible_TJ=credible)
    assert foot_skate(motion, credible_TJ=credible) is None
    assert foot_skate(motion) is not None
