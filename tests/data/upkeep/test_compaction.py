"""Compaction: parts of a good size, the same rows in the same order, one version at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from data.schemas import SCHEMAS
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table
from data.upkeep import compaction
from data.upkeep.compaction import compact_dataset
from flows.commands.main import app

TARGET_MB, ROW_GROUP_MB = 0.2, 0.05


def _videos(begin: int, count: int) -> dict[str, pa.Table]:
    rng = np.random.default_rng(begin)
    empty = dict.fromkeys(SCHEMAS["videos"].names)
    rows = [
        {**empty, "video_id": f"v{i:05d}", "coarse": rng.bytes(140).hex()}
        for i in range(begin, begin + count)
    ]
    return {"videos": rows_table("videos", rows)}


def _publish(root: Path, *counts: int) -> list[str]:
    """Publish parts of these numbers of rows; return the ids."""
    begin = 0
    with open_writer(root, {}) as writer:
        for count in counts:
            writer.publish(_videos(begin, count))
            begin += count
    return [f"v{i:05d}" for i in range(begin)]


def _ids(dataset: Dataset) -> list[str]:
    return dataset.read("videos", ["video_id"])["video_id"].to_pylist()


def _sizes(root: Path) -> list[int]:
    return [part.stat().st_size for part in Dataset(root).parts("videos")]


def _require(root: Path, ids: list[str]) -> None:
    assert _ids(Dataset(root)) == ids
    # Who reads the folder as one table gets the same rows in the same order.
    assert pd.read_parquet(root / "videos")["video_id"].tolist() == ids
    assert check_dataset(root) == []


@pytest.mark.parametrize(
    "counts",
    [
        (30,) * 40,
        (5000,),
        (10, 5000, 10, 10, 900, 10),
        (900, 10, 900, 900, 10),
        (10,) * 3,
    ],
)
def test_parts_come_to_size_and_rows_keep_their_order(
    tmp_path: Path, counts: tuple[int, ...]
) -> None:
    ids = _publish(tmp_path, *counts)
    before = Dataset(tmp_path)
    told: list[tuple[int, int]] = []
    done = compact_dataset(tmp_path, TARGET_MB, lambda *progress: told.append(progress))
    assert done.version == len(counts) + 1
    assert told[-1] == (done.bytes_before, done.bytes_before)
    sizes = _sizes(tmp_path)
    assert (done.parts_before, done.parts_after) == (
        {"videos": len(counts)},
        {"videos": len(sizes)},
    )
    assert max(sizes) <= TARGET_MB * 1e6
    assert min(sizes) >= (TARGET_MB / 2 - ROW_GROUP_MB) * 1e6 or len(sizes) == 1
    _require(tmp_path, ids)
    assert _ids(before) == _ids(Dataset(tmp_path, version=len(counts))) == ids
    assert not (tmp_path / ".staging").exists()
    # What is compacted is left alone, and makes no version.
    assert compact_dataset(tmp_path, TARGET_MB).version is None
    assert Dataset(tmp_path).manifest["publications"] == len(counts) + 1


def test_a_dataset_without_parts_or_with_one_is_left_alone(tmp_path: Path) -> None:
    _publish(tmp_path, 10)
    assert compact_dataset(tmp_path).version is None
    assert not (tmp_path / ".versions").exists()


def test_parts_are_divided_and_joined_and_replaced_again_and_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ids: list[str] = []
    for step in range(8):
        with open_writer(tmp_path, {}) as writer:
            gone = [ids[i] for i in rng.permutation(len(ids))[: len(ids) // 10]]
            ids = [one for one in ids if one not in set(gone)]
            writer.publish(_videos(step * 3000, 900), replace_videos=gone)
        ids += [f"v{i:05d}" for i in range(step * 3000, step * 3000 + 900)]
        compact_dataset(tmp_path, float(rng.choice([0.06, 0.1, 0.2])))
        _require(tmp_path, ids)
    names = [part.name for part in Dataset(tmp_path).parts("videos")]
    assert names == sorted(names)


class Crash(BaseException):
    """Simulates SIGKILL within one process: nothing catches it."""


def test_a_compaction_that_is_killed_goes_on_and_readers_see_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _publish(tmp_path, *(300,) * 5, 2500)
    replace, opened = Path.replace, compaction.open_table_file
    moves, written = 0, 0

    def counted(*arguments: Any) -> Any:
        nonlocal written
        written += 1
        return opened(*arguments)

    monkeypatch.setattr(compaction, "open_table_file", counted)
    for attempt in range(100):
        moves = 0

        def crashing(self: Path, target: Path, last: int = 2 + attempt % 5) -> Path:
            nonlocal moves
            moves += 1
            if moves > last:
                raise Crash
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", crashing)
            try:
                done = compact_dataset(tmp_path, TARGET_MB)
            except Crash:
                assert _ids(Dataset(tmp_path)) == ids
                continue
        break
    else:
        pytest.fail("the compaction never ended")
    _require(tmp_path, ids)
    assert attempt > 3
    # The last run may only have finished a journal.
    assert done.version is None
    parts = len(Dataset(tmp_path).parts("videos"))
    assert parts >= 3
    # Finished parts were not written again, except those that a kill found on their last step.
    assert written < 3 * parts


def test_a_compaction_is_refused_while_another_process_writes(tmp_path: Path) -> None:
    _publish(tmp_path, 10, 10)
    with (
        open_writer(tmp_path, {}),
        pytest.raises(DatasetError, match="another run is writing to this dataset"),
    ):
        compact_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"above 0 MB, found 0\. Remedy"):
        compact_dataset(tmp_path, 0)


def test_a_damaged_part_is_named_and_nothing_changes(tmp_path: Path) -> None:
    _publish(tmp_path, 300, 300)
    (part, _) = Dataset(tmp_path).parts("videos")
    content = part.read_bytes()
    place = len(content) // 2
    part.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(DatasetError, match=rf"{part}.*avatargpt check"):
        compact_dataset(tmp_path)
    assert Dataset(tmp_path).manifest["publications"] == 2


def test_the_command_tells_what_was_rewritten(tmp_path: Path) -> None:
    _publish(tmp_path, 10, 10)
    result = CliRunner().invoke(app, ["compact", str(tmp_path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "videos: 2 parts, now 1" in result.stdout
    assert f"{tmp_path}: version 3, " in result.stdout
    told = json.loads(CliRunner().invoke(app, ["compact", str(tmp_path), "--json"]).stdout)
    assert (told["version"], told["bytes_before"]) == (None, 0)
