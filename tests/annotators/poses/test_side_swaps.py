"""Arms or legs that are exchanged for a time are corrected, and turning bodies are not."""

import numpy as np
import pytest

from annotators.poses.side_swaps import ARMS, GROUPS, LEGS, find_side_swaps, swap_sides
from benchmarks.support.corpus import Motion, mocap
from data.motion.skeleton import FPS, JOINT, MIRROR
from tests.support.motions import raising_left_arm

CMU = "cmu_joints22_20fps.npz"


def _body(motion: Motion) -> Motion:
    return motion - motion[:, :1]


def _times(motion: Motion) -> Motion:
    return np.arange(len(motion)) / FPS


@pytest.mark.corpus
@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize(("start", "length"), [(20, 1), (40, 5), (60, 9)])
def test_a_short_swap_is_found_and_undone(group: int, start: int, length: int) -> None:
    walk = _body(next(m for key, _, m in mocap(CMU, "label") if key == "cmu_07_05"))
    joints = list(GROUPS[group])
    seen = walk.copy()
    for frame in range(start, start + length):
        seen[frame, joints] = walk[frame, [MIRROR[j] for j in joints]]
    swapped = find_side_swaps(seen, _times(seen))
    mended = swap_sides(seen, swapped)
    # At the ends of the swap, legs that pass each other look the same swapped or not.
    assert np.abs(mended - walk).max() < (1e-9 if group == 0 else 0.2)
    assert swapped[:, list(GROUPS[1 - group])].sum() == 0
    confidence = np.arange(seen.shape[0] * 22.0).reshape(-1, 22)
    again = swap_sides(swap_sides(confidence, swapped), swapped)
    np.testing.assert_array_equal(again, confidence)


@pytest.mark.corpus
def test_real_motions_have_none() -> None:
    """Spins, cartwheels, kicks and runs: 124 sequences of motion capture."""
    for key, _, motion in mocap(CMU, "label"):
        assert not find_side_swaps(_body(motion), _times(motion)).any(), key


def _exchanged(motion: Motion, joints: list[int], start: int, end: int | None) -> Motion:
    """Return a motion whose joints are exchanged with those of the other side in a span."""
    seen = motion.copy()
    seen[start:end, joints] = motion[start:end][:, [MIRROR[j] for j in joints]]
    return seen


@pytest.mark.corpus
@pytest.mark.parametrize("with_hips", [True, False])
def test_legs_that_are_swapped_in_a_swing_are_put_back(with_hips: bool) -> None:
    """A swing lasts about a second, and the pose is noisy."""
    mended_share: list[float] = []
    rng = np.random.default_rng(0)
    joints = [j for j in LEGS if with_hips or j not in (JOINT["left_hip"], JOINT["right_hip"])]
    for _, _, motion in mocap(CMU, "label"):
        if len(motion) < 60:
            continue
        noisy = _body(motion[:120]) + rng.normal(0, 0.015, (len(motion[:120]), 22, 3))
        length = 20 if with_hips else 10
        start = int(rng.integers(10, len(noisy) - length - 10))
        seen = _exchanged(noisy, joints, start, start + length)
        mended = swap_sides(seen, find_side_swaps(seen, _times(seen)))
        off_T = np.linalg.norm(mended - noisy, axis=-1).max(axis=1)
        mended_share.append(float((off_T[start : start + length] < 0.1).mean()))
    assert np.mean(mended_share) > (0.97 if with_hips else 0.8)


def test_arms_that_stay_swapped_are_told_by_the_hips() -> None:
    motion = _body(raising_left_arm())
    seen = _exchanged(motion, list(ARMS), 50, None)
    swapped = find_side_swaps(seen, _times(seen))
    assert np.abs(swap_sides(seen, swapped) - motion).max() < 1e-9


def test_a_body_that_stays_swapped_is_left() -> None:
    motion = _body(raising_left_arm())
    seen = _exchanged(motion, [*ARMS, *LEGS], 30, None)
    assert not find_side_swaps(seen, _times(seen))[40:].any()
