"""How the embeddings of generated motions are distributed: FID, Diversity, MultiModality.

Sources: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", NeurIPS 2017 (FID); Guo et al., "Generating Diverse and Natural 3D Human Motions from
Text", CVPR 2022 (Diversity, MultiModality, and their sizes). Values of different evaluator networks
are not comparable.

Shapes: N items, D embedding size, M texts, S samples of a text, P pairs, R min(N, D).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.arrays import FloatArray
from evaluation.metrics.matching import failed_rows

DIVERSITY_PAIRS: Final = 300
MULTIMODALITY_TEXTS: Final = 100
MULTIMODALITY_SAMPLES: Final = 30
MULTIMODALITY_PAIRS: Final = 10


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The normal distribution that fits a set of embeddings, as FID sees it.

    Attributes:
        mean_D: mean.
        root_RD: matrix whose product ``root.T @ root`` is the unbiased covariance.
        items: number of embeddings.
        failed: number of rows of NaN, which were left out.
    """

    mean_D: FloatArray
    root_RD: FloatArray
    items: int
    failed: int


def fit_gaussian(motions_ND: FloatArray) -> Gaussian:
    """Fit a normal distribution to embeddings.

    Args:
        motions_ND: embeddings, (N, D); rows of NaN, for failed samples, are left out and counted.

    Raises:
        ValueError: the shape is not (N, D), a row is neither finite nor all NaN, or there are fewer
            than 2 embeddings.
    """
    failed_N = failed_rows(motions_ND)
    there_ND = motions_ND[~failed_N].astype(np.float64)
    if len(there_ND) < 2:
        raise ValueError(
            f"motions: expected at least 2 embeddings, found {len(there_ND)}, and "
            f"{int(failed_N.sum())} failed samples. Remedy: evaluate more items."
        )
    mean_D = there_ND.mean(0)
    # R of a QR decomposition is a square root of the covariance that is never squared, which would
    # halve the number of valid digits.
    root_RD = np.linalg.qr(there_ND - mean_D, mode="r") / np.sqrt(len(there_ND) - 1)
    return Gaussian(mean_D, root_RD, len(there_ND), int(failed_N.sum()))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Compute the FID, the Fréchet distance of two normal distributions.

    ``|m1 - m2|² + tr C1 + tr C2 - 2 tr (C1 C2)^½``. With ``C = root.T @ root``, the last trace is
    the sum of the singular values of ``root1 @ root2.T``. This needs no square root of the product,
    which need not be symmetric: it has no imaginary part, and holds for singular covariances, of
    fewer items than dimensions.

    FID is biased: the fewer the items, the larger it is. Compare equal numbers of items only.

    Args:
        first: distribution of one set of motions.
        second: that of the other set, of the same evaluator network.

    Raises:
        ValueError: the embeddings have different sizes.
    """
    if first.mean_D.shape != second.mean_D.shape:
        raise ValueError(
            f"embeddings: expected the same size, found {len(first.mean_D)} and "
            f"{len(second.mean_D)}. Remedy: embed both sets with the same evaluator network."
        )
    shared = np.linalg.svdvals(first.root_RD @ second.root_RD.T).sum()
    difference_D = first.mean_D - second.mean_D
    spread = (first.root_RD**2).sum() + (second.root_RD**2).sum()
    # Rounding may leave a distance of equal sets a little below 0.
    return float(max(difference_D @ difference_D + spread - 2 * shared, 0.0))


def fid(motions_ND: FloatArray, real_ND: FloatArray) -> float:
    """Compute the FID of generated motions; see :func:`frechet_distance`.

    Args:
        motions_ND: embeddings of generated motions, (N, D); rows of NaN failed and are left out.
        real_ND: embeddings of real motions, (N', D).

    Raises:
        ValueError: as of :func:`fit_gaussian` and :func:`frechet_distance`.
    """
    return frechet_distance(fit_gaussian(motions_ND), fit_gaussian(real_ND))


def diversity(
    motions_ND: FloatArray, rng: np.random.Generator, pairs: int = DIVERSITY_PAIRS
) -> float:
    """Compute the mean Euclidean distance of random pairs of motions.

    As in the published code, both members of the pairs are drawn without replacement, and
    independently, so that a motion may meet itself. The value should be near that of real motions.

    Args:
        motions_ND: embeddings, (N, D); rows of NaN failed and are left out.
        rng: draws the pairs.
        pairs: number of pairs; 300 in published values.

    Raises:
        ValueError: there are fewer motions than pairs.
    """
    there_N = np.flatnonzero(~failed_rows(motions_ND))
    if not 1 <= pairs <= len(there_N):
        raise ValueError(
            f"motions: expected at least {max(pairs, 1)} for as many pairs, found "
            f"{len(there_N)}. Remedy: evaluate more items, or draw fewer pairs."
        )
    first_P = rng.choice(there_N, pairs, replace=False)
    second_P = rng.choice(there_N, pairs, replace=False)
    between_PD = motions_ND[first_P].astype(np.float64) - motions_ND[second_P]
    return float(np.linalg.norm(between_PD, axis=-1).mean())


def multimodality(
    samples_MSD: FloatArray, rng: np.random.Generator, pairs: int = MULTIMODALITY_PAIRS
) -> float:
    """Compute the mean Euclidean distance of pairs of motions that were generated for one text.

    As in the published code, the pairs are the same for all texts, and both members of the pairs
    are drawn without replacement, and independently.

    Args:
        samples_MSD: embeddings of the samples of each text, (M, S, D); 100 texts with 30 samples in
            published values. Pairs with a row of NaN, of a failed sample, are left out.
        rng: draws the pairs.
        pairs: number of pairs of each text; 10 in published values.

    Raises:
        ValueError: the shape is not (M, S, D), a text has fewer samples than pairs, a row is
            neither finite nor all NaN, or no pair is left.
    """
    if samples_MSD.ndim != 3 or not 1 <= pairs <= samples_MSD.shape[1]:
        raise ValueError(
            f"samples: expected (M, S, D) with at least {max(pairs, 1)} samples of each text for "
            f"as many pairs, found {samples_MSD.shape}. Remedy: generate more samples, or draw "
            "fewer pairs."
        )
    num_samples = samples_MSD.shape[1]
    failed_rows(samples_MSD.reshape(-1, samples_MSD.shape[2]))
    first_P = rng.choice(num_samples, pairs, replace=False)
    second_P = rng.choice(num_samples, pairs, replace=False)
    between_MPD = samples_MSD[:, first_P].astype(np.float64) - samples_MSD[:, second_P]
    distances_MP = np.linalg.norm(between_MPD, axis=-1)
    there_MP = np.isfinite(distances_MP)
    if not there_MP.any():
        raise ValueError(
            "samples: expected a pair without a failed sample, found none. Remedy: look why "
            "generation fails."
        )
    return float(distances_MP[there_MP].mean())
