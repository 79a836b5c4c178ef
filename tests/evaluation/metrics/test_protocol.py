"""The protocol against the published one item by item, its interval, and what fails."""

import numpy as np
import pytest

from benchmarks.support.published_protocol import group_by_group, item_by_item
from data.arrays import FloatArray
from evaluation.metrics.distribution import fit_gaussian
from evaluation.metrics.protocol import ProtocolConfig, estimate, score_motions

SMALL = ProtocolConfig(repeats=3, diversity_pairs=50, multimodality_pairs=4, seed=7)


def _set(items: int = 110, size: int = 12) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    texts_ND, real_ND = rng.normal(size=(2, items, size))
    return texts_ND, texts_ND + rng.normal(size=texts_ND.shape), real_ND


def test_same_values_as_the_published_ways() -> None:
    texts_ND, motions_ND, real_ND = _set()
    samples_MSD = np.random.default_rng(1).normal(size=(5, 6, 12))
    found = score_motions(texts_ND, motions_ND, real_ND, SMALL, samples_MSD)
    assert found.mm_dist is not None
    assert found.multimodality is not None
    for published in (item_by_item, group_by_group):
        values = published(texts_ND, motions_ND, real_ND, samples_MSD, SMALL)
        for name, ours in zip(("r1", "r2", "r3"), found.r_precision, strict=True):
            assert ours.values == pytest.approx(values[name])
        assert found.mm_dist.values == pytest.approx(values["mm_dist"])
        assert found.fid.values == pytest.approx(values["fid"])
        assert found.diversity.values == pytest.approx(values["diversity"])
        assert found.multimodality.values == pytest.approx(values["multimodality"])
    assert found.seeds == (7, 8, 9)
    assert (found.items, found.failed) == (110, 0)


def test_interval_by_hand() -> None:
    # Mean 2, population variance (1 + 0 + 1 + 0) / 4.
    found = estimate([1, 2, 3, 2])
    assert found.mean == 2
    assert found.interval == pytest.approx(1.96 * np.sqrt(0.5) / 2)
    assert str(found) == "2.000 ± 0.693"
    assert estimate([5.0] * 20).interval == 0
    with pytest.raises(ValueError, match="at least one finite value"):
        estimate([1, np.nan])


def test_each_repeat_may_have_motions_of_its_own() -> None:
    texts_ND, motions_ND, real_ND = _set()
    shifted_RND = np.stack([motions_ND, motions_ND + 1, motions_ND + 2])
    found = score_motions(texts_ND, shifted_RND, fit_gaussian(real_ND), SMALL)
    alone = [
        score_motions(texts_ND, set_ND, real_ND, SMALL).fid.values[0] for set_ND in shifted_RND
    ]
    assert found.fid.values == pytest.approx(alone)
    assert found.fid.interval > 0
    assert found.multimodality is None
    texts_RND = np.stack([texts_ND, texts_ND + 1, texts_ND + 2])
    matched = score_motions(texts_RND, shifted_RND, real_ND, SMALL).mm_dist
    assert matched is not None
    assert matched.interval < 0.1  # up to the items that a repeat drops


def test_failed_samples_are_counted() -> None:
    texts_ND, motions_ND, real_ND = _set(128)
    whole = score_motions(texts_ND, motions_ND, real_ND, SMALL)
    motions_ND[::4] = np.nan
    found = score_motions(texts_ND, motions_ND, real_ND, SMALL)
    assert found.failed == 32
    assert found.r_precision[2].mean < 0.85 * whole.r_precision[2].mean
    motions_ND[:] = np.nan
    with pytest.raises(ValueError, match="at least 2 embeddings, found 0, and 128 failed"):
        score_motions(texts_ND, motions_ND, real_ND, SMALL)


def test_sets_must_be_as_many_as_repeats() -> None:
    texts_ND, motions_ND, real_ND = _set()
    with pytest.raises(ValueError, match=r"motions: expected.*\(3, N, D\).*found \(2, 110, 12\)"):
        score_motions(texts_ND, np.stack([motions_ND] * 2), real_ND, SMALL)
