"""Junctions of which the right measures are known."""

import numpy as np
import pytest

from benchmarks.support.corpus import Motion, mocap
from data.motion.skeleton import JOINT, JOINT_NAMES
from evaluation.metrics.junctions import junction_measures, mean_jerk, transition_jerk
from tests.support.motions import standing


def _still() -> Motion:
    return np.repeat(standing(1.0)[:1], 60, axis=0)


def _gliding(speed_m_s: float) -> Motion:
    motion = _still()
    motion[..., 2] += np.arange(len(motion))[:, None] * speed_m_s / 20
    return motion


def test_steady_motion_has_no_junction() -> None:
    (junction,) = junction_measures(_gliding(1.0), [30]).junctions
    assert junction.frame == 30
    assert junction.root_jump_m == pytest.approx(0, abs=1e-9)
    assert junction.joint_jump_m == pytest.approx(0, abs=1e-9)
    assert junction.velocity_jump_m_s == pytest.approx(0, abs=1e-9)
    assert junction.foot_skate_m_s == pytest.approx(1.0)


def test_root_jump_is_what_the_velocity_does_not_explain() -> None:
    motion = _gliding(1.0)
    motion[30:, :, 0] += 0.3
    motion[30:, :, 2] += 0.4
    motion[30:, :, 1] += 1.0  # upwards: no horizontal jump
    (junction,) = junction_measures(motion, [30]).junctions
    assert junction.root_jump_m == pytest.approx(0.5)
    assert junction.joint_jump_m == pytest.approx(0, abs=1e-9)
    assert junction.velocity_jump_m_s == pytest.approx(0, abs=1e-9)


def test_joint_jump_is_relative_to_the_root() -> None:
    motion = _still()
    motion[30:, JOINT["left_wrist"], 1] += 0.42
    motion[30:, :, 0] += 7.0
    (junction,) = junction_measures(motion, [30]).junctions
    assert junction.joint_jump_m == pytest.approx(0.42 / (len(JOINT_NAMES) - 1))
    assert junction.velocity_jump_m_s == pytest.approx(0, abs=1e-9)


def test_velocity_jump_is_the_change_of_velocity() -> None:
    motion = _still()
    # 1 m/s ahead up to the junction, 2 m/s to the left after it.
    motion[:31, :, 2] += np.arange(31)[:, None] / 20
    motion[31:, :, 2] += 30 / 20
    motion[30:, :, 0] += np.arange(30)[:, None] * 2 / 20
    motion[30, :, 2] -= 1 / 20  # the step over the junction belongs to neither side
    motion[31:, :, 2] -= 1 / 20
    (junction,) = junction_measures(motion, [30]).junctions
    assert junction.velocity_jump_m_s == pytest.approx(np.sqrt(5))


def test_foot_skate_is_that_of_half_a_second_on_either_side() -> None:
    motion = _still()
    motion[45:, :, 2] += np.arange(15)[:, None] * 3 / 20
    measures = junction_measures(motion, [20, 50])
    assert measures.junctions[0].foot_skate_m_s == 0
    assert measures.junctions[1].foot_skate_m_s == pytest.approx(3.0 * 14 / 19)
    assert measures.foot_skate_m_s == pytest.approx(3.0 * 14 / 19 / 2)


def test_means_are_those_of_the_junctions() -> None:
    motion = _still()
    motion[20:, :, 0] += 0.2
    motion[40:, :, 0] += 0.4
    measures = junction_measures(motion, [40, 20, 30])
    assert [j.frame for j in measures.junctions] == [40, 20, 30]
    assert [j.root_jump_m for j in measures.junctions] == pytest.approx([0.4, 0.2, 0.0])
    assert measures.root_jump_m == pytest.approx(0.2)
    assert measures.joint_jump_m == pytest.approx(0, abs=1e-9)
    assert measures.velocity_jump_m_s == pytest.approx(0, abs=1e-9)


def test_no_junctions_have_no_means() -> None:
    measures = junction_measures(_still(), [])
    assert measures.junctions == ()
    assert measures.root_jump_m is measures.joint_jump_m is None
    assert measures.velocity_jump_m_s is measures.foot_skate_m_s is None


def test_near_the_ends_there_are_fewer_steps_to_average() -> None:
    measures = junction_measures(_gliding(1.0), [2, 58])
    assert measures.velocity_jump_m_s == pytest.approx(0, abs=1e-9)


@pytest.mark.corpus
def test_real_motion_is_smoother_than_where_it_is_cut() -> None:
    walk = next(m for key, _, m in mocap("cmu_joints22_20fps.npz", "label") if key == "cmu_07_04")
    cut = np.concatenate([walk[:30], walk[47:]])
    smooth, broken = junction_measures(walk, [30]), junction_measures(cut, [30])
    for name in ("root_jump_m", "joint_jump_m", "velocity_jump_m_s"):
        assert 0 <= getattr(smooth, name) < getattr(broken, name)


@pytest.mark.parametrize("frame", [-1, 0, 1, 59, 60])
def test_junctions_need_motion_on_either_side(frame: int) -> None:
    with pytest.raises(ValueError, match=rf"from 2 to 58 of 60, found \[{frame}\]"):
        junction_measures(_still(), [30, frame])


def test_bad_motions_are_refused() -> None:
    with pytest.raises(ValueError, match="expected \\(T, 22, 3\\)"):
        junction_measures(np.zeros((60, 21, 3)), [30])
    with pytest.raises(ValueError, match="finite"):
        junction_measures(_still() * np.nan, [30])


def test_transition_jerk_of_a_leap() -> None:
    # A step of position by s has the third differences s, -2 s and s. The wrist moves by 0.1 in x
    # and 0.2 in z (L1 norm 0.3), the pelvis by less.
    motion = _still()
    motion[30:, JOINT["left_wrist"]] += np.array([0.1, 0, -0.2])
    motion[30:, JOINT["pelvis"], 0] += 0.05
    found = transition_jerk([(motion, [30]), (_still(), [25, 30])], 0.01, frames=20)
    assert found.junctions == 3
    assert len(found.curve) == 17
    expected = np.zeros(17)
    expected[7:10] = 0.1, 0.2, 0.1  # a third of 0.3, 0.6 and 0.3
    assert found.curve == pytest.approx(expected, abs=1e-9)
    assert found.peak == pytest.approx(0.2)
    assert found.area == pytest.approx(0.09 + 0.19 + 0.09 + 14 * 0.01)


def test_steady_motion_has_no_jerk() -> None:
    falling = _gliding(2.0)
    falling[..., 1] -= 0.01 * np.arange(60)[:, None] ** 2
    assert mean_jerk([falling, _still()]) == pytest.approx(0, abs=1e-9)
    cubic = _still()
    cubic[..., 0] += 0.001 * np.arange(60)[:, None] ** 3  # third difference 6 · 0.001
    assert mean_jerk([cubic]) == pytest.approx(0.006)
    assert transition_jerk([(cubic, [30])], 0.006).area == pytest.approx(0, abs=1e-9)


def test_transitions_need_whole_windows() -> None:
    with pytest.raises(ValueError, match=r"30 frames on either side, found \[29\] of 60"):
        transition_jerk([(_still(), [30, 29])], 0.03)
    with pytest.raises(ValueError, match="at least one junction"):
        transition_jerk([(_still(), [])], 0.03)
    with pytest.raises(ValueError, match="even number from 4, found 7"):
        transition_jerk([(_still(), [30])], 0.03, frames=7)
    with pytest.raises(ValueError, match="at least one of four frames"):
        mean_jerk([_still()[:3]])
