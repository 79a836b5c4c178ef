"""The published protocol of text-to-motion: all its metrics over 20 repeats, with intervals.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, and its
published code, whose interval is 1.96 standard deviations of the mean over the repeats.

Each repeat groups the items in another order and draws other pairs. What does not depend on either
is computed once: embeddings by the caller, FID here. Distances are computed by group
(:mod:`evaluation.metrics.matching`), never item by item.

Shapes: N items, R repeats, D embedding size, M texts with
S samples each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field

from data.arrays import FloatArray
from data.config import Config
from evaluation.metrics.distribution import (
    DIVERSITY_PAIRS,
    MULTIMODALITY_PAIRS,
    Gaussian,
    diversity,
    fit_gaussian,
    frechet_distance,
    multimodality,
)
from evaluation.metrics.matching import GROUP_SIZE, MAX_RANK, match

_DEVIATIONS: Final = 1.96
"""Half width of the 95 % interval of a normal distribution, in standard deviations."""


class ProtocolConfig(Config):
    """Sizes of the protocol. Values of other sizes are not comparable with published ones."""

    repeats: int = Field(default=20, ge=1, description="Number of repeats.")
    group_size: int = Field(
        default=GROUP_SIZE, gt=MAX_RANK, description="Candidates of R-precision."
    )
    diversity_pairs: int = Field(default=DIVERSITY_PAIRS, ge=1, description="Pairs of Diversity.")
    multimodality_pairs: int = Field(
        default=MULTIMODALITY_PAIRS, ge=1, description="Pairs of each text of MultiModality."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the first repeat; the next adds 1.")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seed of each repeat."""
        return tuple(range(self.seed, self.seed + self.repeats))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric over the repeats of a protocol.

    Attributes:
        mean: mean over the repeats.
        interval: half width of the 95 % interval of the mean: 1.96 times the standard deviation of
            the repeats (that of a population, as in the published code) over the square root of
            their number. It covers what the repeats vary, and not the choice of the test set.
        values: value of each repeat.
    """

    mean: float
    interval: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.interval:.3f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of the repeats of a metric, with its interval.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    found = np.asarray(values, np.float64)
    if not found.size or not np.isfinite(found).all():
        raise ValueError(
            f"values: expected at least one finite value, found {list(values)}. Remedy: leave the "
            "metric out where it is not defined."
        )
    interval = _DEVIATIONS * float(found.std()) / np.sqrt(len(found))
    return Estimate(float(found.mean()), float(interval), tuple(found.tolist()))


@dataclass(frozen=True, slots=True)
class MotionScores:
    """Metrics of a set of generated motions by the protocol.

    Attributes:
        r_precision: share of texts whose motion is among the nearest 1, 2 and 3 of 32.
        mm_dist: mean distance of text and motion; None if a repeat has no motion that succeeded.
        fid: FID against the real motions.
        diversity: mean distance of random pairs; compare with that of the real motions.
        multimodality: mean distance of motions for the same text; None if none were given.
        items: number of items.
        failed: number of items of a repeat whose motion failed, as a mean.
        seeds: seed of each repeat.
    """

    r_precision: tuple[Estimate, Estimate, Estimate]
    mm_dist: Estimate | None
    fid: Estimate
    diversity: Estimate
    multimodality: Estimate | None
    items: int
    failed: float
    seeds: tuple[int, ...]


def score_motions(
    texts: FloatArray,
    motions: FloatArray,
    real_ND: FloatArray | Gaussian,
    config: ProtocolConfig,
    samples_MSD: FloatArray | None = None,
) -> MotionScores:
    """Compute all metrics of a set of motions by the published protocol.

    All embeddings are of one evaluator network. FID and Diversity use all items; the published
    loader drops the last incomplete group from these too, at most 31 items.

    Args:
        texts: embeddings of texts, (N, D); or (R, N, D) with other captions of the motions in each
            repeat.
        motions: embeddings of the motion of each text, (N, D); or (R, N, D) with motions that were
            generated anew for each repeat, as in published values. A row of NaN is a sample that
            failed.
        real_ND: embeddings of real motions, (N', D), or the distribution that fits them.
        config: sizes and seeds.
        samples_MSD: embeddings of S samples for each of M texts, for MultiModality; published
            values use 100 texts with 30 samples.

    Raises:
        ValueError: shapes do not fit each other or the configuration, embeddings are not finite, or
            there are too few items.
    """
    texts_of = _by_repeat("texts", texts, config.repeats)
    motions_of = _by_repeat("motions", motions, config.repeats)
    real = real_ND if isinstance(real_ND, Gaussian) else fit_gaussian(real_ND)
    fids: list[float] = []
    failed: list[int] = []
    for set_ND in motions if motions.ndim == 3 else [motions]:
        made = fit_gaussian(set_ND)
        fids.append(frechet_distance(made, real))
        failed.append(made.failed)
    ranks: list[tuple[float, float, float]] = []
    distances: list[float | None] = []
    spreads: list[float] = []
    within: list[float] = []
    for repeat, seed in enumerate(config.seeds):
        rng = np.random.default_rng(seed)
        set_ND = motions_of(repeat)
        order_N = rng.permutation(len(set_ND))
        matching = match(texts_of(repeat), set_ND, order_N, config.group_size)
        ranks.append(matching.r_precision)
        distances.append(matching.mm_dist)
        spreads.append(diversity(set_ND, rng, config.diversity_pairs))
        if samples_MSD is not None:
            within.append(multimodality(samples_MSD, rng, config.multimodality_pairs))
    known = [distance for distance in distances if distance is not None]
    first, second, third = (estimate(values) for values in zip(*ranks, strict=True))
    return MotionScores(
        r_precision=(first, second, third),
        mm_dist=estimate(known) if len(known) == len(distances) else None,
        fid=estimate(fids if len(fids) > 1 else fids * config.repeats),
        diversity=estimate(spreads),
        multimodality=estimate(within) if within else None,
        items=motions.shape[-2],
        failed=float(np.mean(failed)),
        seeds=config.seeds,
    )


def _by_repeat(name: str, embeddings: FloatArray, repeats: int) -> Callable[[int], FloatArray]:
    """Return what gives the embeddings of a repeat, (N, D)."""
    if embeddings.ndim == 2:
        return lambda _: embeddings
    if embeddings.ndim != 3 or len(embeddings) != repeats:
        raise ValueError(
            f"{name}: expected embeddings (N, D), or ({repeats}, N, D) for as many repeats, found "
            f"{embeddings.shape}. Remedy: embed the items once, or once for each repeat."
        )
    return lambda repeat: embeddings[repeat]
