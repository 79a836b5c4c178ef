"""Errors of motions whose errors are known, PA-MPJPE against ``scipy.spatial.procrustes`` too."""

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from benchmarks.support.corpus import Motion
from data.motion.skeleton import JOINT
from evaluation.metrics.reconstruction import (
    acceleration_errors_mm,
    aligned_errors_mm,
    compare_motions,
    joint_errors_mm,
    path_errors_mm,
)
from tests.support.motions import some_motions, standing


def _noisy(seed: int = 0, scale_m: float = 0.03) -> tuple[Motion, Motion]:
    real = some_motions()[seed]
    return real, real + np.random.default_rng(seed).normal(size=real.shape, scale=scale_m)


def test_one_joint_that_is_off() -> None:
    real = standing(1.0)
    made = real.copy()
    made[:, JOINT["left_wrist"], 2] += 0.22
    made[..., 0] += 3  # the place is no error of the pose
    assert joint_errors_mm(real, made) == pytest.approx(220 / 22)
    assert path_errors_mm(real, made) == pytest.approx(3000)


def test_joints_that_were_not_seen_do_not_count() -> None:
    real = standing(1.0)
    made = real.copy()
    made[:, JOINT["left_wrist"], 2] += 0.22
    seen = np.ones(real.shape[:2], dtype=np.bool_)
    seen[:, JOINT["left_wrist"]] = False
    assert joint_errors_mm(real, made, seen) == pytest.approx(0, abs=1e-9)
    assert aligned_errors_mm(real, made, seen) == pytest.approx(0, abs=1e-9)
    seen[3] = False
    assert np.isnan(joint_errors_mm(real, made, seen)).tolist() == [i == 3 for i in range(20)]
    found = compare_motions([(real, made, seen), (real, made, None)])
    assert found.mpjpe_mm == pytest.approx((19 * 0 + 20 * 10) / 39)
    assert (found.motions, found.frames) == (2, 40)


def test_aligned_error_ignores_a_similarity() -> None:
    real, _ = _noisy()
    turn = Rotation.from_euler("xyz", [0.3, -1.2, 0.5]).as_matrix()
    made = 1.3 * real @ turn + np.array([1.0, -2, 3])
    assert aligned_errors_mm(real, made) == pytest.approx(0, abs=1e-9)
    assert joint_errors_mm(real, made).min() > 100


def test_aligned_error_does_not_mirror() -> None:
    real, _ = _noisy()
    mirrored = real * np.array([-1.0, 1, 1])
    assert aligned_errors_mm(real, mirrored).mean() > 10


def test_aligned_error_as_by_scipy() -> None:
    real, made = _noisy()
    for frame in (0, 17, 40):
        one, other, _ = procrustes(real[frame], made[frame])
        # scipy scales the real pose to unit size.
        size = np.linalg.norm(real[frame] - real[frame].mean(0))
        expected = 1000 * size * np.linalg.norm(one - other, axis=1).mean()
        assert aligned_errors_mm(real, made)[frame] == pytest.approx(expected)


def test_acceleration_error_of_known_motions() -> None:
    real = np.zeros((30, 22, 3))
    made = real.copy()
    time = np.arange(30.0)[:, None]
    made[..., 0] = 0.005 * time**2  # 10 mm per squared frame
    made[..., 2] = 0.3 * time + 1  # a steady speed is no acceleration
    assert acceleration_errors_mm(real, made) == pytest.approx(10)
    assert len(acceleration_errors_mm(real[:2], made[:2])) == 0
    assert compare_motions([(real[:2], made[:2], None)]).acceleration_mm is None


def test_means_are_over_frames() -> None:
    pairs = [(*_noisy(seed), None) for seed in range(3)]
    found = compare_motions(pairs)
    expected = np.concatenate([joint_errors_mm(real, made) for real, made, _ in pairs]).mean()
    assert found.mpjpe_mm == pytest.approx(expected)
    assert found.pa_mpjpe_mm < found.mpjpe_mm
    # The length of a normal deviation in three directions is √(8/π) of its spread, and the pelvis,
    # which is aligned, is off as much as each joint.
    assert found.mpjpe_mm == pytest.approx(30 * np.sqrt(2) * np.sqrt(8 / np.pi) * 21 / 22, rel=0.02)


def test_motions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found \(20, 22, 3\) and \(19, 22, 3\)"):
        joint_errors_mm(standing(1.0), standing(1.0)[:-1])
    with pytest.raises(ValueError, match="at least one frame"):
        compare_motions([])
