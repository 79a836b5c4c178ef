"""Motion features compared with the published vectors, and properties on real motions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.support.corpus import REFERENCE
from data.arrays import FloatArray
from data.motion import features as motion_features
from data.motion.features import (
    CONTACT_JOINTS,
    FEATURE_GROUPS,
    FOOT_CONTACTS,
    HEADING_TRAP,
    LOCAL_POSITIONS,
    LOCAL_ROTATIONS,
    NUM_FEATURES,
    REFERENCE_BONE_LENGTHS_M,
    ROOT_YAW_VELOCITY,
    canonical_joints,
    features_to_joints,
    joint_steps,
    joints_to_features,
    mirror_features,
    mirror_joints,
    mirror_text,
)
from data.motion.skeleton import BONES, JOINT, JOINT_NAMES, heading_rad
from tests.support.motions import some_motions

SAMPLE = REFERENCE / "humanml3d_sample"
FILTER_REACH = 80
"""Radius of the heading filter in frames."""


MOTIONS = some_motions()
motions = st.sampled_from(range(len(MOTIONS))).map(lambda index: MOTIONS[index])
on_real_motions = settings(max_examples=25, derandomize=True)


@pytest.fixture(scope="module")
def shipped(reference: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joints (170, 22, 3) and features (170, D) of clip 012314.

    The joints were recovered from the features: the frame after the last is gone.
    """
    return (
        np.load(reference / "humanml3d_sample/012314_joints.npy", allow_pickle=False),
        np.load(reference / "humanml3d_sample/012314_features.npy", allow_pickle=False),
    )


def _turned(joints: FloatArray, yaw_rad: float) -> FloatArray:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return joints @ np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])


def _bone_lengths(joints: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    starts, ends = zip(*BONES, strict=True)
    return np.linalg.norm(joints[..., ends, :] - joints[..., starts, :], axis=-1)


def test_groups_fill_the_published_layout_without_gaps() -> None:
    stops = [(group.start, group.stop) for group in FEATURE_GROUPS.values()]
    assert stops == [(0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263)]
    assert NUM_FEATURES == 263


@pytest.mark.parametrize("group", FEATURE_GROUPS)
def test_extraction_gives_the_shipped_vectors(
    shipped: tuple[NDArray[np.float32], NDArray[np.float32]], group: str
) -> None:
    joints, expected = shipped
    found = joints_to_features(joints)
    assert found.shape == (len(joints) - 1, NUM_FEATURES)
    columns = FEATURE_GROUPS[group]
    # The heading of the last rows misses the frame that was lost.
    interior = slice(0, -FILTER_REACH)
    error = abs(found[:, columns] - expected[:-1, columns])
    assert error[interior].max() < 2e-5  # found: 8e-6 (rotations)
    assert error.max() < 0.02


def test_the_heading_trap_is_what_agrees_with_the_shipped_vectors(
    shipped: tuple[NDArray[np.float32], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    joints, expected = shipped
    corrected = HEADING_TRAP | {"left_hip": -1.0, "right_hip": 1.0}
    monkeypatch.setattr(motion_features, "HEADING_TRAP", corrected)
    error = abs(joints_to_features(joints) - expected[:-1])
    assert error[:-FILTER_REACH, LOCAL_POSITIONS].max() > 0.3


def test_recovery_gives_the_shipped_joints(
    shipped: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    joints, features = shipped
    np.testing.assert_allclose(features_to_joints(features), joints, atol=1e-6)


@pytest.mark.corpus
def test_reference_lengths_are_those_of_the_reference_clip() -> None:
    frame = np.load(SAMPLE / "000021.npy", allow_pickle=False)[0]
    expected = dict(zip(JOINT_NAMES[1:], _bone_lengths(frame), strict=True))
    assert pytest.approx(expected, abs=2e-6) == REFERENCE_BONE_LENGTHS_M


@on_real_motions
@given(motion=motions)
def test_features_round_trip_to_the_canonical_motion(motion: FloatArray) -> None:
    recovered = features_to_joints(joints_to_features(motion))
    np.testing.assert_allclose(recovered, canonical_joints(motion)[:-1], atol=1e-9)


@on_real_motions
@given(motion=motions)
def test_steps_are_those_of_the_recovered_joints(motion: FloatArray) -> None:
    features = torch.from_numpy(joints_to_features(motion))
    joints = features_to_joints(features).numpy()
    steps = joint_steps(features).numpy()
    yaw_T = 2 * features[:-1, 0].cumsum(0).numpy()
    for frame in range(0, len(steps), 7):
        expected = _turned(joints[frame + 1] - joints[frame], yaw_T[frame])
        np.testing.assert_allclose(steps[frame], expected, atol=1e-9)


@on_real_motions
@given(motion=motions)
def test_canonical_motion_stands_on_the_floor_at_the_origin_facing_z(motion: FloatArray) -> None:
    placed = canonical_joints(motion)
    assert placed[..., 1].min() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(placed[0, 0, [0, 2]], 0, atol=1e-12)
    assert heading_rad(placed[:1])[0] == pytest.approx(0, abs=1e-9)
    lengths = np.array([REFERENCE_BONE_LENGTHS_M[name] for name in JOINT_NAMES[1:]])
    np.testing.assert_allclose(_bone_lengths(placed), lengths[None].repeat(len(placed), 0))


@on_real_motions
@given(
    motion=motions,
    yaw_rad=st.floats(-3.1, 3.1),
    shift=st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_features_do_not_depend_on_place_and_facing(
    motion: FloatArray, yaw_rad: float, shift: tuple[float, float, float]
) -> None:
    moved = _turned(motion, yaw_rad) + np.array(shift)
    error = abs(joints_to_features(moved) - joints_to_features(motion))
    assert error[:, : FOOT_CONTACTS.start].max() < 1e-6
    assert error[:, FOOT_CONTACTS].mean() < 1e-3  # a displacement may lie on the threshold


@on_real_motions
@given(motion=motions)
def test_mirrored_joints_have_the_mirrored_features(motion: FloatArray) -> None:
    found = joints_to_features(mirror_joints(motion), retarget=False)
    expected = mirror_features(joints_to_features(motion, retarget=False))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_with_retargeting_mirroring_differs_by_the_asymmetry_of_the_reference_skeleton() -> None:
    medians: list[float] = []
    for motion in MOTIONS[::8]:
        found = joints_to_features(mirror_joints(motion))
        expected = mirror_features(joints_to_features(motion))
        medians.append(float(abs(found - expected)[:, LOCAL_POSITIONS].max()))
    assert 0.005 < np.median(medians) < 0.02  # meters


@on_real_motions
@given(motion=motions)
def test_mirroring_twice_changes_nothing(motion: FloatArray) -> None:
    np.testing.assert_array_equal(mirror_joints(mirror_joints(motion)), motion)
    features = joints_to_features(motion)
    np.testing.assert_array_equal(mirror_features(mirror_features(features)), features)


def test_mirrored_contacts_change_feet() -> None:
    features = np.zeros(NUM_FEATURES)
    features[FOOT_CONTACTS.start + CONTACT_JOINTS.index(JOINT["left_foot"])] = 1
    (index,) = np.flatnonzero(mirror_features(features))
    assert CONTACT_JOINTS[index - FOOT_CONTACTS.start] == JOINT["right_foot"]


@pytest.mark.corpus
def test_a_whole_turn_survives_unless_published_wrapping_is_asked_for() -> None:
    still = np.load(SAMPLE / "000021.npy", allow_pickle=False)[:1].astype(np.float64)
    yaw_T = np.linspace(0, 2 * np.pi, 240)
    motion = np.concatenate([_turned(still, yaw) for yaw in yaw_T])
    expected = canonical_joints(motion)[:-1]
    found = joints_to_features(motion)
    np.testing.assert_allclose(features_to_joints(found), expected, atol=1e-9)

    published = joints_to_features(motion, heading_wrap="published")
    differs = abs(published - found) > 1e-9
    assert np.flatnonzero(differs.any(axis=0)).tolist() == [ROOT_YAW_VELOCITY.start]
    (frame,) = np.flatnonzero(differs.any(axis=1))
    assert published[frame, 0] == pytest.approx(-found[frame, 0])
    # From there on, recovery is off by twice the step.
    error_T = heading_rad(features_to_joints(published)) - heading_rad(expected)
    error_T = np.angle(np.exp(1j * error_T))
    np.testing.assert_allclose(error_T[: frame + 1], 0, atol=1e-9)
    np.testing.assert_allclose(abs(error_T[frame + 1 :]), 4 * abs(found[frame, 0]), atol=1e-9)


def test_a_padded_batch_gives_each_motion_its_own_features() -> None:
    chosen = [MOTIONS[3], MOTIONS[0], MOTIONS[50], MOTIONS[90]]
    lengths = np.array([len(motion) for motion in chosen])
    # Padding of nonsense: nothing of it may reach the features.
    batch = np.full((2, 2, lengths.max() + 7, len(JOINT_NAMES), 3), np.nan)
    for row, motion in enumerate(chosen):
        batch[row // 2, row % 2, : len(motion)] = motion
    found = joints_to_features(batch, lengths.reshape(2, 2))
    assert found.shape == (2, 2, lengths.max() + 6, NUM_FEATURES)
    joints = features_to_joints(found)
    for row, motion in enumerate(chosen):
        own = found[row // 2, row % 2]
        expected = joints_to_features(motion)
        np.testing.assert_allclose(own[: len(motion) - 1], expected, atol=1e-12)
        assert not own[len(motion) - 1 :].any()
        np.testing.assert_allclose(
            joints[row // 2, row % 2, : len(motion) - 1],
            canonical_joints(motion)[:-1],
            atol=1e-9,
        )


def test_torch_gives_the_same_as_numpy_in_its_own_dtype() -> None:
    motion = MOTIONS[10].astype(np.float32)
    from_numpy = joints_to_features(motion)
    from_torch = joints_to_features(torch.from_numpy(motion))
    assert from_numpy.dtype == np.float32
    assert from_torch.dtype == torch.float32
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())
    joints = features_to_joints(from_torch)
    assert joints.dtype == torch.float32
    np.testing.assert_array_equal(joints.numpy(), features_to_joints(from_numpy))


def test_recovery_and_mirroring_are_differentiable() -> None:
    features = torch.from_numpy(joints_to_features(MOTIONS[20])[:6]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda rows: features_to_joints(mirror_features(rows)), (features,)
    )


def test_the_input_is_not_changed() -> None:
    motion = MOTIONS[5].copy()
    motion.setflags(write=False)
    joints_to_features(motion)
    mirror_joints(motion)
    np.testing.assert_array_equal(motion, MOTIONS[5])


@pytest.mark.corpus
def test_a_bone_against_its_rest_direction_has_a_rotation() -> None:
    frame = np.load(SAMPLE / "000021.npy", allow_pickle=False)[0].astype(np.float64)
    shoulder = frame[JOINT["left_shoulder"]]
    frame[JOINT["left_elbow"]] = shoulder + np.array(
        [0, 0.3, 0]
    )  # straight up; at rest it hangs down
    rotations = joints_to_features(frame[None].repeat(3, 0))[:, LOCAL_ROTATIONS]
    columns = rotations.reshape(2, len(BONES), 2, 3)
    np.testing.assert_allclose(
        columns @ columns.swapaxes(-1, -2), [[np.eye(2)] * 21] * 2, atol=1e-9
    )


@pytest.mark.corpus
def test_joints_that_coincide_take_the_direction_of_the_next_bone() -> None:
    motion = MOTIONS[100]
    np.testing.assert_array_equal(motion[:, JOINT["spine1"]], motion[:, 0])  # CMU's skeleton
    placed = canonical_joints(motion)
    spine = placed[:, JOINT["spine1"]] - placed[:, 0]
    above = placed[:, JOINT["spine2"]] - placed[:, JOINT["spine1"]]
    cosine = (
        (spine * above).sum(-1) / np.linalg.norm(spine, axis=-1) / np.linalg.norm(above, axis=-1)
    )
    np.testing.assert_allclose(cosine, 1)


def _broken(frame: int, joint: str, value: float) -> FloatArray:
    motion = MOTIONS[0][:50].copy()
    motion[frame, JOINT[joint]] = value
    return motion


def _without(joint: str, onto: str) -> FloatArray:
    motion = MOTIONS[0][:50].copy()
    motion[:, JOINT[joint]] = motion[:, JOINT[onto]]
    return motion


@pytest.mark.parametrize(
    ("joints", "lengths", "message"),
    [
        (np.zeros((5, 24, 3)), None, r"expected \(\.\.\., 22, 3\), found \(5, 24, 3\)"),
        (np.zeros((22, 3)), None, "with at least 1 frame"),
        (MOTIONS[0][:1], None, "at least 2 frames, found 1"),
        (_broken(7, "head", np.nan), None, "first in frame 7, joint head"),
        (_without("left_wrist", "left_elbow"), None, "found left_wrist on its parent in frame 0"),
        (MOTIONS[0], [5, 6], r"shape \(\), found \(2,\)"),
        (MOTIONS[0][None, :50], [51], r"2\.\.50 frames, found 51\.\.51"),
        (MOTIONS[0][None, :50], [1], r"2\.\.50 frames, found 1\.\.1"),
    ],
)
def test_bad_input_is_named(joints: FloatArray, lengths: list[int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joints_to_features(joints, lengths)


def test_wrong_feature_width_is_named() -> None:
    with pytest.raises(ValueError, match=r"found \(9, 251\)"):
        features_to_joints(np.zeros((9, 251)))
    with pytest.raises(ValueError, match=r"found \(9, 251\)"):
        mirror_features(np.zeros((9, 251)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He raises his Left arm, then the right.", "He raises his Right arm, then the left."),
        ("turns left, left, right", "turns right, right, left"),
        ("walks in a clockwise circle", "walks in a counterclockwise circle"),
        ("an anti-clockwise arc, counter clockwise", "a clockwise arc, clockwise"),
        ("steps leftward; a right-handed throw", "steps rightward; a left-handed throw"),
        ("kicks up with lefts and rights", "kicks up with rights and lefts"),
        ("moves upleft", "moves up right"),
        ("steps to the right before turning", "steps to the left before turning"),
        ("walks left the right way", "walks right the left way"),
        ("LEFT foot", "RIGHT foot"),
        # No side is meant:
        ("stands upright, gets right back up", "stands upright, gets right back up"),
        ("he left the room right away", "he left the room right away"),
        ("arms at right angles to his left side", "arms at right angles to his right side"),
        ("has left hand raised", "has right hand raised"),
        ("otherwise stands still", "otherwise stands still"),
    ],
)
def test_mirrored_text(text: str, expected: str) -> None:
    assert mirror_text(text) == expected
