"""Windows of motions: right rows, right shares, right errors."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.motion.features import NUM_FEATURES
from data.motion.normalization import compute_stats
from data.motion.skeleton import NUM_JOINTS
from data.motion_records import ImportedMotion
from data.schemas import Row, load_features, motion_row
from data.store.dataset import Dataset
from data.store.writer import open_writer, rows_table
from training.tokenizer.windows import MotionArray, MotionDataConfig, Windows, prepare_data


def test_splits_hold_the_table_s_motions(motions_root: Path, tmp_path: Path) -> None:
    prepared = prepare_data(MotionDataConfig(dataset=motions_root), tmp_path)
    rows = {row["motion_id"]: row for row in Dataset(motions_root).read("motions").to_pylist()}
    assert sum(len(motions) for motions in prepared.splits.values()) == len(rows)
    for split, motions in prepared.splits.items():
        assert list(motions.ids) == sorted(motions.ids)
        for index, motion_id in enumerate(motions.ids):
            assert rows[motion_id]["split"] == split
            assert np.array_equal(motions.motion(index), load_features(rows[motion_id]))
        assert set(motions.sources) == {"procedural"}
    own = compute_stats(prepared.splits["train"].motions())
    np.testing.assert_allclose(prepared.stats.mean_D, own.mean_D)
    again = prepare_data(MotionDataConfig(dataset=motions_root), tmp_path)
    assert again.data_id == prepared.data_id


def _numbered(*lengths: int) -> MotionArray:
    """Motions whose first feature is the number of the motion, and whose second is the frame."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    features = np.zeros((sum(lengths), NUM_FEATURES), np.float32)
    features[:, 0] = np.repeat(np.arange(len(lengths)), lengths)
    features[:, 1] = np.concatenate([np.arange(length) for length in lengths])
    return MotionArray(features, offsets, tuple("abcdef"[: len(lengths)]))


def test_windows_lie_inside_one_motion_and_are_uniform() -> None:
    windows = Windows(_numbered(5, 9, 4), 4)
    assert (windows.num_windows, windows.num_shorter) == (2 + 6 + 1, 0)
    begins = np.concatenate([windows.draw(0, step, 64) for step in range(200)])
    taken = windows.take(begins)
    assert taken.shape == (12_800, 4, 263)
    assert (taken[..., 0] == taken[:, :1, 0]).all()
    assert (np.diff(taken[..., 1], axis=1) == 1).all()
    places, counts = np.unique(begins, return_counts=True)
    assert places.tolist() == [0, 1, 5, 6, 7, 8, 9, 10, 14]
    assert counts.min() > 0.85 * 12_800 / 9
    assert windows.ids_at(np.array([14, 0, 1, 6])) == ["c", "a", "b"]


def test_sources_are_balanced() -> None:
    motions = _numbered(40, 9, 103)
    motions = replace(motions, sources=("common", "rare", "common"))
    for balance, rare in ((0.0, 6 / 143), (0.5, 1 / (1 + (137 / 6) ** 0.5)), (1.0, 0.5)):
        windows = Windows(motions, 4, balance)
        rows = np.concatenate([windows.draw(0, step, 64) for step in range(300)])
        numbers = windows.take(rows)[..., 0]
        assert (numbers == numbers[:, :1]).all()
        share_3 = np.bincount(numbers[:, 0].astype(int)) / len(rows)
        assert share_3[1] == pytest.approx(rare, rel=0.08)
        # Within a source, each position is as likely.
        assert share_3[0] / share_3[2] == pytest.approx(37 / 100, rel=0.08)
        assert set(rows[numbers[:, 0] == 1]) == set(range(40, 46))
        assert np.array_equal(windows.draw(1, 2, 8), Windows(motions, 4, balance).draw(1, 2, 8))


def test_short_motions_lie_inside_windows_with_their_neighbors() -> None:
    motions = _numbered(2, 6, 3, 5)
    windows = Windows(motions, 4)
    # Of the first motion one window of three begins inside the array.
    assert (windows.num_windows, windows.num_shorter) == (1 + 3 + 2 + 2, 2)
    begins = np.unique(np.concatenate([windows.draw(0, step, 64) for step in range(20)]))
    assert begins.tolist() == [0, 2, 3, 4, 7, 8, 11, 12]
    for begin, numbers in ((0, [0, 0, 1, 1]), (7, [1, 2, 2, 2]), (8, [2, 2, 2, 3])):
        assert windows.take(np.array([begin]))[0, :, 0].tolist() == numbers
    assert windows.ids_at(np.array([8, 0])) == ["c", "d", "a", "b"]
    # A short motion at the end.
    assert Windows(_numbered(6, 3), 4).num_windows == 3 + 1


def test_what_a_step_draws_depends_on_seed_and_step_only(
    motions_root: Path, tmp_path: Path
) -> None:
    motions = prepare_data(MotionDataConfig(dataset=motions_root), tmp_path).splits["train"]
    one, other = Windows(motions, 32), Windows(motions, 32)
    other.draw(0, 1, 8)
    assert np.array_equal(one.draw(3, 5, 8), other.draw(3, 5, 8))
    assert not np.array_equal(one.draw(3, 5, 8), one.draw(3, 6, 8))
    assert not np.array_equal(one.draw(3, 5, 8), one.draw(4, 5, 8))


def test_a_window_longer_than_all_motions_says_so(motions_root: Path, tmp_path: Path) -> None:
    motions = prepare_data(MotionDataConfig(dataset=motions_root), tmp_path).splits["train"]
    longest = int(np.diff(motions.offsets_N).max())
    Windows(motions, longest)
    with pytest.raises(ValueError, match=f"the longest has {longest}.*Remedy: set window"):
        Windows(motions, longest + 1)


def _rewrite(root: Path, target: Path, column: str, change: object) -> Path:
    """A copy of a dataset whose motions have a column changed, behind the store's back."""
    import shutil

    shutil.copytree(root, target)
    for part in (target / "motions").glob("*.parquet"):
        table = pq.read_table(part)
        rows = table.to_pylist()
        for row in rows:
            row[column] = change(row) if callable(change) else change
        pq.write_table(pa.Table.from_pylist(rows, table.schema), part)
    return target


def test_broken_tables_are_refused_with_the_motions_named(
    motions_root: Path, tmp_path: Path
) -> None:
    victim = Dataset(motions_root).read("motions", ["motion_id"])["motion_id"][3].as_py()

    def spoil(row: dict[str, object]) -> object:
        values = np.array(row["features"])
        if row["motion_id"] == victim:
            values[100] = np.nan
        return values

    broken = _rewrite(motions_root, tmp_path / "nan", "features", spoil)
    with pytest.raises(ValueError, match=f"finite features.* 1 motions .{victim}"):
        prepare_data(MotionDataConfig(dataset=broken), tmp_path / "cache")
    other = _rewrite(motions_root, tmp_path / "kit", "num_features", 251)
    with pytest.raises(ValueError, match="expected 263 features, found 251"):
        prepare_data(MotionDataConfig(dataset=other), tmp_path / "cache")
    empty = _rewrite(motions_root, tmp_path / "test", "split", "test")
    with pytest.raises(ValueError, match=r"motions in the train split, found \{'train': 0"):
        prepare_data(MotionDataConfig(dataset=empty), tmp_path / "cache")
    with pytest.raises(ValueError, match="expected a dataset"):
        prepare_data(MotionDataConfig(dataset=tmp_path / "none"), tmp_path / "cache")


def _row(motion_id: str, split: str, unseen_rows: int) -> Row:
    """Return the row of a motion of 60 frames whose last joint was not seen at first."""
    motion = ImportedMotion(motion_id, "joints", "", "", Fraction(20))
    features = np.random.default_rng(0).normal(size=(60, NUM_FEATURES)).astype(np.float32)
    credible = None
    if unseen_rows:
        credible = np.ones((60, NUM_JOINTS), np.bool_)
        credible[:unseen_rows, -1] = False
    return motion_row(
        motion,
        features,
        split=split,
        foot_skate_m_s=None,
        jitter_m_s3=None,
        credible_TJ=credible,
    )


def test_windows_know_which_joints_were_seen(tmp_path: Path) -> None:
    rows = [_row("a", "train", 0), _row("b", "train", 20), _row("c", "val", 0)]
    with open_writer(tmp_path / "dataset", {}) as writer:
        writer.publish({"motions": rows_table("motions", rows)})
    prepared = prepare_data(MotionDataConfig(dataset=tmp_path / "dataset"), tmp_path / "cache")
    train = prepared.splits["train"]
    taken = Windows(train, 32).take_credible(np.array([0, 60]))
    assert taken is not None
    assert taken[0].all()
    assert not taken[1, :20, -1].any()
    assert taken[1, 20:].all()
    assert taken[1, :, :-1].all()
    assert sum(len(rows) for rows in train.seen_motions()) == 60 + 40
    assert Windows(prepared.splits["val"], 32).take_credible(np.array([0])) is None
