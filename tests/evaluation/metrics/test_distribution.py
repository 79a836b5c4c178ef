"""FID, Diversity and MultiModality where they are known, FID against ``scipy.linalg.sqrtm`` too."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from data.arrays import FloatArray
from evaluation.metrics.distribution import diversity, fid, fit_gaussian, multimodality


def _mixed(items: int, seed: int, size: int = 24) -> FloatArray:
    """Embeddings with correlated dimensions of different spreads."""
    rng = np.random.default_rng(seed)
    mix_DD = rng.normal(size=(size, size)) * np.geomspace(1, 1e-3, size)
    return rng.normal(size=(items, size)) @ mix_DD + rng.normal(size=size)


def test_covariance_is_that_of_numpy() -> None:
    motions_ND = _mixed(200, 0)
    found = fit_gaussian(motions_ND)
    assert found.root_RD.T @ found.root_RD == pytest.approx(np.cov(motions_ND, rowvar=False))
    assert found.mean_D == pytest.approx(motions_ND.mean(0))


def test_fid_as_by_a_square_root_of_the_product() -> None:
    motions_ND, real_ND = _mixed(300, 0), _mixed(400, 1)
    ours, theirs = (np.cov(side, rowvar=False) for side in (motions_ND, real_ND))
    between_D = motions_ND.mean(0) - real_ND.mean(0)
    root = np.trace(np.real(np.asarray(sqrtm(ours @ theirs))))
    expected = between_D @ between_D + np.trace(ours) + np.trace(theirs) - 2 * root
    assert fid(motions_ND, real_ND) == pytest.approx(expected, rel=1e-6)
    assert fid(real_ND, motions_ND) == pytest.approx(expected, rel=1e-6)


def test_fid_of_a_shift_and_of_a_scale() -> None:
    real_ND = _mixed(300, 2)
    shift_D = np.arange(24.0)
    assert fid(real_ND, real_ND) == pytest.approx(0, abs=1e-9)
    assert fid(real_ND + shift_D, real_ND) == pytest.approx(shift_D @ shift_D)
    # Standard deviations s and 3 s: (3 s - s)² for each dimension, 4 times the variance.
    centered_ND = real_ND - real_ND.mean(0)
    expected = 4 * centered_ND.var(0, ddof=1).sum()
    assert fid(3 * centered_ND, centered_ND) == pytest.approx(expected)


def test_fid_of_fewer_items_than_dimensions() -> None:
    # Two points on each of two axes: variances 2 and 8, covariance of the sets 0 in common.
    first_ND = np.zeros((2, 512))
    first_ND[:, 0] = 1, -1
    second_ND = np.zeros((2, 512))
    second_ND[:, 1] = 2, -2
    assert fid(first_ND, second_ND) == pytest.approx(2 + 8)
    assert fid(first_ND, 2 * first_ND) == pytest.approx((np.sqrt(8) - np.sqrt(2)) ** 2)


def test_fid_leaves_failed_samples_out_and_counts_them() -> None:
    motions_ND, real_ND = _mixed(100, 3), _mixed(100, 4)
    with_failed_ND = np.concatenate([np.full((5, 24), np.nan), motions_ND])
    assert fid(with_failed_ND, real_ND) == pytest.approx(fid(motions_ND, real_ND))
    found = fit_gaussian(with_failed_ND)
    assert (found.items, found.failed) == (100, 5)


def test_diversity_of_a_normal_distribution() -> None:
    # The distance of two standard normal points in D dimensions is about √(2 D).
    motions_ND = np.random.default_rng(0).normal(size=(4000, 512))
    assert diversity(motions_ND, np.random.default_rng(1)) == pytest.approx(32, rel=0.01)
    assert diversity(5 * motions_ND, np.random.default_rng(1)) == pytest.approx(160, rel=0.01)


def test_diversity_of_two_places() -> None:
    # Half of the motions lie 6 m from the others: half of the pairs differ, by 6.
    motions_ND = np.zeros((2000, 3))
    motions_ND[::2, 1] = 6
    found = diversity(motions_ND, np.random.default_rng(0), pairs=2000)
    assert found == pytest.approx(3, rel=0.05)
    assert diversity(np.ones((300, 3)), np.random.default_rng(0)) == 0
    motions_ND[::2] = np.nan
    assert diversity(motions_ND, np.random.default_rng(0)) == 0


def test_multimodality_is_within_texts() -> None:
    rng = np.random.default_rng(0)
    centers_M1D = 100 * rng.normal(size=(100, 1, 512))
    samples_MSD = centers_M1D + rng.normal(size=(100, 30, 512))
    # 32 for two samples, and one of thirty pairs is of a sample with itself.
    found = np.mean([multimodality(samples_MSD, np.random.default_rng(i)) for i in range(20)])
    assert found == pytest.approx(32 * 29 / 30, rel=0.03)
    same_MSD = np.repeat(centers_M1D, 30, axis=1)
    assert multimodality(same_MSD, np.random.default_rng(0)) == 0


def test_multimodality_leaves_pairs_with_a_failed_sample_out() -> None:
    samples_MSD = np.zeros((2, 4, 3))
    samples_MSD[0, :, 0] = 0, 2, 2, 2
    samples_MSD[0, 0] = samples_MSD[1, 2] = np.nan
    assert multimodality(samples_MSD, np.random.default_rng(0), pairs=4) == 0
    with pytest.raises(ValueError, match="a pair without a failed sample"):
        multimodality(samples_MSD * np.nan, np.random.default_rng(0), pairs=4)


def test_too_few_items_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 300 for as many pairs, found 299"):
        diversity(np.zeros((299, 3)), rng)
    with pytest.raises(ValueError, match=r"at least 10 samples.*found \(5, 9, 3\)"):
        multimodality(np.zeros((5, 9, 3)), rng)
    with pytest.raises(ValueError, match="at least 2 embeddings, found 1, and 1 failed"):
        fid(np.array([[1.0], [np.nan]]), np.zeros((9, 1)))
    with pytest.raises(ValueError, match="same size, found 2 and 3"):
        fid(np.zeros((9, 2)), np.zeros((9, 3)))
