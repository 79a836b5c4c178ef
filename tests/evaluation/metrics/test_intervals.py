"""Intervals against those of scipy."""

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics.intervals import bootstrap_mean, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 24), (3, 24), (24, 24), (1, 1), (850, 1000)])
def test_a_share_has_the_wilson_interval(successes: int, trials: int) -> None:
    found = wilson(successes, trials)
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=2e-5)
    assert found.low <= found.value <= found.high


def test_a_mean_has_the_percentile_interval_of_its_resamples() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=80)
    found = bootstrap_mean(values.tolist(), seed=1)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=0
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.03)
    assert bootstrap_mean(values.tolist(), seed=1) == found
    assert bootstrap_mean([2.0]) == bootstrap_mean([2.0, 2.0])
    # Weights of whole numbers are repetitions of an item.
    weights = np.arange(1, 81)
    assert bootstrap_mean(values.tolist(), 1, weights.tolist()).value == pytest.approx(
        np.repeat(values, weights).mean()
    )


def test_nothing_to_count_is_an_error() -> None:
    for successes, trials in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="expected at least one item"):
            wilson(successes, trials)
    for values in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="expected at least one finite value"):
            bootstrap_mean(values)
