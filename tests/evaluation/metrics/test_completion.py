"""Completions of which the errors are known."""

import numpy as np
import pytest

from evaluation.metrics.completion import (
    displacement,
    mean_displacement,
    mean_speed_kept,
    speed_kept,
)
from tests.support.motions import standing


def test_displacement_by_hand() -> None:
    real = standing(0.5)
    frames = len(real)
    samples = np.repeat(real[None], 3, axis=0)
    samples[0, ..., 0] += 0.3  # off by 0.3 m everywhere
    samples[1, ..., 2] += np.linspace(0, 0.8, frames)[:, None]  # drifts to 0.8 m
    samples[2, :-1, :, 2] += 0.5  # off by 0.5 m, right at the end
    found = displacement(real, samples)
    errors = [0.3, 0.4, 0.5 * (frames - 1) / frames]
    assert found.ade_m == pytest.approx(np.mean(errors))
    assert found.fde_m == pytest.approx((0.3 + 0.8 + 0) / 3)
    assert found.best_ade_m == pytest.approx(0.3)
    assert found.best_fde_m == pytest.approx(0)
    assert found.samples == 3


def test_means_over_completions_of_as_many_samples() -> None:
    real = standing(0.5)
    exact = displacement(real, real[None])
    off = displacement(real, real[None] + np.array([0.0, 0, 0.4]))
    found = mean_displacement([exact, off])
    assert (found.ade_m, found.best_fde_m) == pytest.approx((0.2, 0.2))
    two = displacement(real, np.repeat(real[None], 2, axis=0))
    with pytest.raises(ValueError, match=r"same number of samples of each, found \[1, 2\]"):
        mean_displacement([exact, two])


def test_speed_kept() -> None:
    still = np.repeat(standing(1.0)[:1], 20, axis=0)
    fast, slow = still.copy(), still.copy()
    fast[..., 2] += 0.1 * np.arange(20)[:, None]
    slow[..., 2] += 0.025 * np.arange(20)[:, None]
    assert speed_kept(fast, slow) == pytest.approx(0.25)
    assert speed_kept(fast, fast[:7]) == pytest.approx(1)
    assert speed_kept(still, fast) is None
    assert speed_kept(fast, fast[:1]) is None


def test_gaps_without_movement_do_not_decide_the_speed_kept() -> None:
    start = np.repeat(standing(1.0)[:1], 20, axis=0)

    def gliding(speed: float) -> np.ndarray:
        moved = start.copy()
        moved[..., 2] += speed * np.arange(20)[:, None]
        return moved

    # 1 of 2 and 0.1 of 0.01, which alone is 10 times the real speed.
    found = mean_speed_kept(
        [gliding(2), gliding(0.01), start], [[gliding(1)], [gliding(0.1)], [gliding(1)]]
    )
    assert found is not None
    assert found.value == pytest.approx(1.1 / 2.01)
    assert found.low < found.value < found.high
    assert mean_speed_kept([start], [[gliding(1)]]) is None


def test_samples_must_have_the_missing_frames() -> None:
    real = standing(0.5)
    with pytest.raises(ValueError, match="complete exactly the missing frames"):
        displacement(real, real[None, :-1])
    with pytest.raises(ValueError, match="complete exactly the missing frames"):
        displacement(real, np.zeros((0, *real.shape)))
