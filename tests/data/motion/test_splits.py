"""Splits by content: stability, shares, and groups that stay together."""

import pytest

from data.motion.splits import SplitConfig, split_of


def test_splits_have_the_configured_shares() -> None:
    splits = [split_of(f"subject/{n}", SplitConfig()) for n in range(20_000)]
    for split, share in (("train", 0.80), ("val", 0.05), ("test", 0.15)):
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.01)


def test_a_split_never_changes() -> None:
    # Written down: a change of these moves motions between the splits of published datasets.
    config = SplitConfig()
    assert [split_of(f"cmu/{n:02d}", config) for n in range(1, 13)] == [
        "train",
        "train",
        "train",
        "test",
        "val",
        "train",
        "train",
        "train",
        "test",
        "train",
        "train",
        "train",
    ]


def test_more_training_data_takes_nothing_out_of_it() -> None:
    small = SplitConfig(train=0.7, val=0.1, test=0.2)
    large = SplitConfig(train=0.8, val=0.0, test=0.2)
    for n in range(2000):
        before, after = split_of(str(n), small), split_of(str(n), large)
        assert before == after or (before, after) == ("val", "train")


def test_shares_sum_to_one() -> None:
    with pytest.raises(ValueError, match=r"sum to 1, found 0\.9"):
        SplitConfig(train=0.7)
