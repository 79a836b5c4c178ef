"""Arms or legs that are exchanged for some frames are corrected, and turning bodies are not."""

import numpy as np
import pytest

from annotators.poses.side_swaps import GROUPS, find_side_swaps, swap_sides
from benchmarks.support.corpus import Motion, mocap
from data.motion.skeleton import FPS, MIRROR
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


def test_a_swap_that_stays_is_left() -> None:
    motion = _body(raising_left_arm())
    joints = list(GROUPS[0])
    motion[50:, joints] = motion[50:][:, [MIRROR[j] for j in joints]]
    assert not find_side_swaps(motion, _times(motion)).any()
