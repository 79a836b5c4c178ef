"""95 % intervals of shares and of means over items.

They cover the choice of the items: how much a figure would vary with other items of the same kind.
Intervals over the repeats of a protocol are those of :mod:`evaluation.metrics.protocol`.

Sources: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927;
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile interval).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

_DEVIATIONS: Final = 1.96
_RESAMPLES: Final = 1000
_ENDS: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the ends of its 95 % interval.

    Attributes:
        value: the figure.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Return a share with its Wilson score interval, which is valid near 0 and 1 too.

    Args:
        successes: number of items that count.
        trials: number of items.

    Raises:
        ValueError: there are no items, or more successes than items.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(
            f"share: expected at least one item and at most as many successes, found {successes} "
            f"of {trials}. Remedy: leave the figure out where nothing was counted."
        )
    share, square = successes / trials, _DEVIATIONS**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    spread = sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half = _DEVIATIONS * spread / (1 + square / trials)
    # Rounding must not leave the share outside of its interval.
    return Interval(share, min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share))


def bootstrap_mean(
    values: Sequence[float], seed: int = 0, weights: Sequence[float] | None = None
) -> Interval:
    """Return a mean with its percentile bootstrap interval of 1,000 resamples of the items.

    Args:
        values: value of each item.
        seed: seed of the resamples.
        weights: weight of each item in the mean, above 0; equal by default.

    Raises:
        ValueError: there are no values, one is not finite, or a weight is not above 0.
    """
    found_N = np.asarray(values, np.float64)
    weight_N = np.ones(len(found_N)) if weights is None else np.asarray(weights, np.float64)
    if not found_N.size or not np.isfinite(found_N).all() or not (weight_N > 0).all():
        raise ValueError(
            f"values: expected at least one finite value, with a weight above 0, found "
            f"{len(values)} values. Remedy: leave the figure out where it is not defined."
        )
    chosen = np.random.default_rng(seed).integers(len(found_N), size=(_RESAMPLES, len(found_N)))
    means = (found_N * weight_N)[chosen].sum(axis=1) / weight_N[chosen].sum(axis=1)
    low, high = np.percentile(means, _ENDS).tolist()
    mean = float(np.average(found_N, weights=weight_N))
    return Interval(mean, min(low, mean), max(high, mean))
