"""R-precision and MM-Dist where they are known, and against a ranking of each item alone."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from data.arrays import FloatArray
from evaluation.metrics.matching import match


def _pairs(items: int, noise: float) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    texts_ND = rng.normal(size=(items, 16)).astype(np.float32)
    return texts_ND, texts_ND + rng.normal(size=texts_ND.shape, scale=noise).astype(np.float32)


def test_equal_embeddings_match() -> None:
    texts_ND, _ = _pairs(64, 0)
    found = match(texts_ND, texts_ND)
    assert found.r_precision == (1, 1, 1)
    assert found.mm_dist == pytest.approx(0, abs=1e-6)
    assert (found.items, found.failed) == (64, 0)


def test_distance_of_a_known_shift() -> None:
    texts_ND, _ = _pairs(32, 0)
    shift_D = np.zeros(16)
    shift_D[:2] = 3, 4
    assert match(texts_ND, texts_ND + shift_D).mm_dist == pytest.approx(5)


def test_ranks_worked_out_by_hand() -> None:
    # Texts at 0, 10, 20, 30; the motions of the first two are exchanged, that of the last is at 12.
    texts_ND = np.array([[0.0], [10], [20], [30]])
    motions_ND = np.array([[10.0], [0], [21], [12]])
    found = match(texts_ND, motions_ND, group_size=4)
    # Ranks 2 (0, 10, …), 3 (10, 12, 0, …), 1 (21, …) and 2 (21, 12, …).
    assert found.r_precision == (0.25, 0.75, 1.0)
    assert found.mm_dist == pytest.approx((10 + 10 + 1 + 18) / 4)


def test_as_a_ranking_of_each_item() -> None:
    texts_ND, motions_ND = _pairs(100, 1.5)
    order_N = np.random.default_rng(1).permutation(100)
    ranks: list[int] = []
    own: list[float] = []
    for first in (0, 32, 64):  # the last four items are dropped
        group = order_N[first : first + 32]
        between_BB = cdist(texts_ND[group], motions_ND[group])
        ranks += [int(np.argsort(row).tolist().index(i)) for i, row in enumerate(between_BB)]
        own += np.diag(between_BB).tolist()
    found = match(texts_ND, motions_ND, order_N)
    assert found.r_precision == pytest.approx([np.mean(np.array(ranks) < k) for k in (1, 2, 3)])
    assert 0.1 < found.r_precision[0] < found.r_precision[1] < found.r_precision[2] < 1
    assert found.mm_dist == pytest.approx(np.mean(own))
    assert found.items == 96


def test_far_from_the_origin_little_is_lost() -> None:
    texts_ND, motions_ND = (side.astype(np.float64) for side in _pairs(64, 0.5))
    near, far = match(texts_ND, motions_ND), match(texts_ND + 1e5, motions_ND + 1e5)
    assert far.r_precision == near.r_precision
    assert near.mm_dist is not None
    assert far.mm_dist == pytest.approx(near.mm_dist, rel=1e-6)


def test_an_evaluator_that_tells_nothing_apart_is_at_chance() -> None:
    texts_ND, _ = _pairs(64, 0)
    found = match(texts_ND, np.ones_like(texts_ND))
    assert found.r_precision == pytest.approx((1 / 32, 2 / 32, 3 / 32))


def test_copies_of_a_motion_share_the_first_rank() -> None:
    texts_ND, motions_ND = _pairs(32, 0)
    motions_ND[1] = texts_ND[1] = texts_ND[0]
    assert match(texts_ND, motions_ND).r_precision == pytest.approx((31 / 32, 1, 1))


def test_failed_samples_count_as_not_found() -> None:
    texts_ND, motions_ND = _pairs(32, 0.1)
    whole = match(texts_ND, motions_ND)
    motions_ND[:8] = np.nan
    found = match(texts_ND, motions_ND)
    assert whole.r_precision == (1, 1, 1)
    assert found.r_precision == (0.75, 0.75, 0.75)
    assert (found.items, found.failed) == (32, 8)
    assert found.mm_dist == pytest.approx(
        np.linalg.norm((texts_ND - motions_ND)[8:], axis=1).mean(), rel=1e-6
    )
    motions_ND[:] = np.nan
    nothing = match(texts_ND, motions_ND)
    assert (nothing.r_precision, nothing.mm_dist, nothing.failed) == ((0, 0, 0), None, 32)


def test_bad_embeddings_are_refused() -> None:
    texts_ND, motions_ND = _pairs(32, 0)
    with pytest.raises(ValueError, match=r"at least one group of 32.*found 31 items"):
        match(texts_ND[:31], motions_ND[:31])
    with pytest.raises(ValueError, match=r"found \(32, 16\) and \(31, 16\)"):
        match(texts_ND, motions_ND[:31])
    motions_ND[3, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 32 rows, the first in row 3"):
        match(texts_ND, motions_ND)
    with pytest.raises(ValueError, match="texts: expected finite"):
        match(motions_ND, texts_ND)
