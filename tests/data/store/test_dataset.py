"""Reading a dataset of any size in batches, filtered in Parquet."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.motion.skeleton import FPS
from data.records import Clip, PoseTrack
from data.schemas import SCHEMAS, Row, load_track, pose_row
from data.store import dataset as dataset_module
from data.store import parquet
from data.store import writer as store
from data.store.check import check_dataset
from data.store.dataset import Dataset, RowIndex
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table

NUM_CLIPS, PART_CLIPS, FRAMES = 2000, 500, 100


def _track(track_id: int) -> PoseTrack:
    return PoseTrack(
        track_id=track_id,
        pts_s=np.arange(FRAMES) / FPS,
        joints_3d=np.full((FRAMES, 22, 3), track_id, np.float32),
        root_trajectory=np.zeros((FRAMES, 3), np.float32),
        joints_2d=np.zeros((FRAMES, 22, 2), np.float32),
        confidence=np.ones((FRAMES, 22), np.float32),
        valid=np.ones(FRAMES, np.bool_),
        quality=0.5,
    )


def _rows(begin: int) -> list[Row]:
    track = _track(7)
    return [
        pose_row(Clip(f"c{i}", f"v{i // 10}", 0, 0, 9, 0.0, 9.0, 0.5, "static", 0.0), track, "full")
        for i in range(begin, begin + PART_CLIPS)
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("large") / "dataset"
    with open_writer(root, {}) as writer:
        for begin in range(0, NUM_CLIPS, PART_CLIPS):
            writer.publish({"poses": rows_table("poses", _rows(begin))})
    return Dataset(root)


def test_rows_are_filtered_and_keep_their_arrays(dataset: Dataset) -> None:
    rows = list(dataset.rows("poses", where={"clip_id": ["c3", "c1999", "missing"]}))
    assert [row["clip_id"] for row in rows] == ["c3", "c1999"]
    track = load_track(rows[1])
    np.testing.assert_array_equal(track.joints_3d, _track(7).joints_3d)
    np.testing.assert_array_equal(rows[0]["joints_3d"], np.full(FRAMES * 66, 7, np.float32))
    both = {"clip_id": ["c3", "c4"], "video_id": ["v0"], "track_id": [7]}
    assert len(list(dataset.rows("poses", ["clip_id"], both))) == 2
    assert list(dataset.rows("poses", ["clip_id"], {**both, "track_id": [8]})) == []
    assert dataset.counts("poses", "video_id") == {f"v{i}": 10 for i in range(200)}
    together = dataset.counts_together("poses", ["video_id", "track_id"])
    assert together.total() == 2000
    assert {video_id for video_id, _ in together} == {f"v{i}" for i in range(200)}
    assert dataset.read("clips").num_rows == 0


def test_an_arrow_backed_frame_has_the_same_values_and_no_objects(dataset: Dataset) -> None:
    where = {"clip_id": ["c3", "c1999"]}
    frame = dataset.frame("poses", where=where, arrow=True)
    plain = dataset.frame("poses", where=where)
    assert all(isinstance(kind, pd.ArrowDtype) for kind in frame.dtypes)
    assert frame["clip_id"].tolist() == plain["clip_id"].tolist() == ["c3", "c1999"]
    np.testing.assert_array_equal(frame["joints_3d"].iloc[1], plain["joints_3d"].iloc[1])
    assert frame["joints_3d"].list[0].tolist() == [7.0, 7.0]


def test_an_index_finds_rows_of_ids_wherever_they_lie(dataset: Dataset) -> None:
    index = RowIndex(dataset, "poses", "video_id", ["clip_id"])
    found = index.get(["v0", "v49", "v199", "missing"])
    assert list(found) == ["v0", "v49", "v199"]
    assert [row["clip_id"] for row in found["v199"]] == [f"c{i}" for i in range(1990, 2000)]


def test_memory_does_not_grow_with_the_table(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataset.read("poses").nbytes
    assert whole > 100e6
    held: list[int] = []
    read_batches = parquet.read_batches

    def measured(*args: Any, **kwargs: Any) -> Iterator[pa.Table]:
        for batch in read_batches(*args, **kwargs):
            held.append(pa.total_allocated_bytes())
            yield batch

    monkeypatch.setattr(dataset_module, "read_batches", measured)
    monkeypatch.setattr(store, "read_batches", measured)

    def most_bytes(read: Callable[[], int], result: int) -> int:
        held.clear()
        before = pa.total_allocated_bytes()
        assert read() == result
        return max(held) - before

    def replace() -> int:
        with open_writer(dataset.root, {}) as writer:
            return writer.publish({}, replace_videos=["v1"]).removed["poses"]

    one = {"clip_id": ["c3"]}
    assert most_bytes(lambda: len(list(dataset.rows("poses", where=one))), 1) < whole / 5
    assert most_bytes(lambda: sum(1 for _ in dataset.rows("poses")), NUM_CLIPS) < whole / 5
    assert most_bytes(replace, 10) < whole / 2


def _make_former(root: Path) -> None:
    """Turn a dataset into one of schema version 3, which spells the column ``licence``."""
    manifest = json.loads((root / "dataset.json").read_text())
    (part,) = manifest["tables"]["motions"]["parts"]
    path = root / part["file"]
    table = pq.read_table(path).rename_columns({"license": "licence"})
    pq.write_table(table, path)
    part |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest |= {"schema_version": 3, "licences": manifest.pop("licenses")}
    (root / "dataset.json").write_text(json.dumps(manifest))


def test_a_dataset_that_spells_licence_is_read_but_not_mixed(tmp_path: Path) -> None:
    row = dict.fromkeys(SCHEMAS["motions"].names) | {
        **{"motion_id": "m0", "license": "MIT", "num_frames": 1, "num_features": 1},
        "features": [0.0],
    }
    rows = rows_table("motions", [row])
    with open_writer(tmp_path, {}) as writer:
        writer.publish({"motions": rows})
    _make_former(tmp_path)
    dataset = Dataset(tmp_path)
    assert dataset.manifest["licenses"] == ["MIT"]
    assert dataset.read("motions")["license"].to_pylist() == ["MIT"]
    assert list(dataset.rows("motions", ["license"], {"license": ["MIT"]})) == [{"license": "MIT"}]
    (found,) = RowIndex(dataset, "motions", "motion_id", ["license"]).get(["m0"])["m0"]
    assert found["license"] == "MIT"
    assert check_dataset(tmp_path) == []
    with open_writer(tmp_path, {}) as writer:
        with pytest.raises(DatasetError, match=r"expected schema version 6 .*import everything"):
            writer.publish({"motions": rows})
        writer.set_license("mit")
    assert Dataset(tmp_path).manifest["schema_version"] == 3
