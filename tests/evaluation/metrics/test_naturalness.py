"""Motions of which the measures are known."""

import numpy as np
import pytest

from data.motion.quality import foot_skate, jitter
from data.motion.skeleton import JOINT
from evaluation.metrics.naturalness import (
    floor_errors_mm,
    joint_speed,
    mean_naturalness,
    naturalness,
)
from tests.support.motions import standing


def test_floor_errors_by_hand() -> None:
    motion = np.repeat(standing(1.0)[:1], 20, axis=0)
    motion[..., 1] -= motion[..., 1].min()
    assert floor_errors_mm(motion) == (0, 0)
    motion[:5, :, 1] -= 0.04  # sinks 40 mm in a quarter of the frames
    motion[5:15, :, 1] += 0.1  # floats 100 mm in half of them
    motion[15:, :, 1] += 0.004  # within 5 mm of the floor
    assert floor_errors_mm(motion) == pytest.approx((10, 50))
    assert floor_errors_mm(motion, floor_m=0.1) == pytest.approx(
        (1000 * (5 * 0.14 + 5 * 0.096) / 20, 0)
    )


def test_the_lowest_joint_decides() -> None:
    motion = np.repeat(standing(1.0)[:1], 20, axis=0)
    motion[..., 1] -= motion[..., 1].min()
    motion[:, JOINT["right_foot"], 1] = -0.06
    assert floor_errors_mm(motion) == pytest.approx((60, 0))


def test_speed_of_a_glide() -> None:
    motion = np.repeat(standing(1.0)[:1], 20, axis=0)
    motion[..., 2] += 1.5 / 20 * np.arange(20)[:, None]
    assert joint_speed(motion) == pytest.approx(1.5)
    assert joint_speed(motion[:1]) is None
    found = naturalness(motion)
    assert found.speed_m_s == pytest.approx(1.5)
    assert found.foot_skate_m_s == pytest.approx(1.5)
    assert found.jitter_m_s3 == pytest.approx(0, abs=1e-6)
    assert found.foot_skate_m_s == foot_skate(motion)
    assert found.jitter_m_s3 == jitter(motion)


def test_means_leave_out_what_was_not_measured() -> None:
    still = np.repeat(standing(1.0)[:1], 20, axis=0)
    glide = still.copy()
    glide[..., 2] += 1.5 / 20 * np.arange(20)[:, None]
    moved = mean_naturalness([naturalness(still), naturalness(glide), naturalness(still[:1])])
    assert moved.speed_m_s == pytest.approx(0.75)
    assert moved.foot_skate_m_s == pytest.approx(0.75)
    nothing = mean_naturalness([])
    assert nothing.speed_m_s is nothing.float_mm is nothing.jitter_m_s3 is None
    with pytest.raises(ValueError, match="at least one frame"):
        floor_errors_mm(still[:0])
