"""The dataset writer: atomic publication, recovery after a crash, replacement, refusal."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import Stage
from data.motion.skeleton import FPS, JOINT_NAMES
from data.records import Clip, PoseTrack, RejectionKey
from data.schemas import SCHEMAS, Row, load_motion, load_pose, load_pose_2d, load_track, pose_row
from data.store import writer as store
from data.store.check import check_dataset
from data.store.dataset import Dataset, RowIndex
from data.store.manifest import DatasetError
from data.store.writer import DatasetWriter, open_writer, rows_table

RECIPE = {"clips": {"max_clip_s": 10.0}, "poses": {"max_people": 4}}


def _damaged_files(root: Path) -> list[str]:
    """Findings of a check in files. Findings in ids are ignored, as these rows share ids."""
    return [finding.file for finding in check_dataset(root) if finding.file not in SCHEMAS]


class Crash(BaseException):
    """Simulates SIGKILL within one process: nothing catches it."""


def _rows(name: str, count: int, video_id: str = "v0") -> list[Row]:
    schema = SCHEMAS[name]
    return [
        {
            field.name: video_id
            if field.name == "video_id"
            else f"{name}-{video_id}-{index}"
            if field.name in {"clip_id", "item_id"}
            else Stage.POSES.value
            if field.name == "stage"
            else None
            for field in schema
        }
        for index in range(count)
    ]


def _tables(count: int, video_id: str) -> dict[str, pa.Table]:
    names = ("videos", "clips", "rejections")
    return {name: rows_table(name, _rows(name, count, video_id)) for name in names}


def _track(num_frames: int = 7) -> PoseTrack:
    rng = np.random.default_rng(0)
    return PoseTrack(
        track_id=1,
        pts_s=3.0 + np.arange(num_frames) / FPS,
        joints_3d=rng.normal(size=(num_frames, 22, 3)).astype(np.float32),
        root_trajectory=rng.normal(size=(num_frames, 3)).astype(np.float32),
        joints_2d=rng.uniform(0, 500, size=(num_frames, 22, 2)).astype(np.float32),
        confidence=rng.uniform(size=(num_frames, 22)).astype(np.float32),
        valid=np.arange(num_frames) % 3 != 0,
        quality=0.5,
    )


_CLIP = Clip("c0", "v0", 0, 0, 60, 0.0, 2.0, 0.5, "static", 0.0)


def test_published_rows_are_read_by_plain_pandas(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        publication = writer.publish(_tables(3, "v0"))
    assert publication.added == {
        **dict.fromkeys(SCHEMAS, 0),
        "videos": 3,
        "clips": 3,
        "rejections": 3,
    }
    frame = pd.read_parquet(tmp_path / "clips")
    assert frame["clip_id"].tolist() == ["clips-v0-0", "clips-v0-1", "clips-v0-2"]
    assert Dataset(tmp_path).frame("clips").equals(frame)
    assert "| clips | 3 |" in (tmp_path / "README.md").read_text()


def test_adding_rewrites_nothing_old(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(3, "v0"))
    before = {p: (p.stat().st_ino, p.read_bytes()) for p in tmp_path.glob("*/*.parquet")}
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(2, "v1"))
    assert {p: (p.stat().st_ino, p.read_bytes()) for p in before} == before
    assert Dataset(tmp_path).read("clips").num_rows == 5


def test_poses_come_back_as_they_were(tmp_path: Path) -> None:
    track = _track()
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish({"poses": rows_table("poses", [pose_row(_CLIP, track, "full")])})
    (row,) = pd.read_parquet(tmp_path / "poses").to_dict("records")
    np.testing.assert_array_equal(load_pose(row), track.joints_3d)
    np.testing.assert_array_equal(load_motion(row), track.motion_TJ3)
    np.testing.assert_array_equal(load_pose_2d(row), track.joints_2d)
    again = load_track(row)
    for name in ("pts_s", "joints_3d", "root_trajectory", "joints_2d", "confidence", "valid"):
        np.testing.assert_array_equal(getattr(again, name), getattr(track, name))
    assert (again.track_id, again.quality) == (1, 0.5)


def test_joint_leaves_are_byte_stream_split_and_schema_tells_the_skeleton(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish({"poses": rows_table("poses", [pose_row(_CLIP, _track(), "full")])})
    (part,) = Dataset(tmp_path).parts("poses")
    group = pq.ParquetFile(part).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    joints = columns["joints_3d.list.element"]
    assert "BYTE_STREAM_SPLIT" in joints.encodings
    assert joints.compression == "ZSTD"
    facts = json.loads(pq.read_schema(part).metadata[b"avatargpt"])
    assert tuple(facts["joint_names"]) == JOINT_NAMES
    assert (facts["fps"], facts["up_axis"]) == (20, "y")


def _fail_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Crash at the ``step``-th replacement of a file."""
    replace = Path.replace
    left = step

    def crashing(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crashing)


def _crash_at(
    monkeypatch: pytest.MonkeyPatch, step: int, root: Path, change: Callable[[DatasetWriter], Any]
) -> bool:
    """Change a dataset and crash at a step. Return whether the step was reached."""
    with monkeypatch.context() as patch:
        _fail_at(patch, step)
        try:
            with open_writer(root, RECIPE) as writer:
                change(writer)
        except Crash:
            return True
    return False


@pytest.mark.parametrize("step", range(12))
def test_a_crash_at_any_step_of_a_publication_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(3, "v0"))
    second = _tables(2, "v1")
    crashed = _crash_at(monkeypatch, step, tmp_path, lambda writer: writer.publish(second))
    # Whatever happened, every table is readable, by the manifest and by plain pandas.
    for name in second:
        assert Dataset(tmp_path).read(name).num_rows in {3, 5}
        assert len(pd.read_parquet(tmp_path / name)) in {3, 5}
    with open_writer(tmp_path, RECIPE) as writer:
        published = writer.published()
        assert published is not None
        done = published.read("clips").num_rows == 5
        if not done:
            writer.publish(second)
    for name in second:
        assert len(pd.read_parquet(tmp_path / name)) == 5
        assert Dataset(tmp_path).read(name).num_rows == 5
    # 3 parts aside, the journal, 3 moves, the card, the manifest: 9 steps may crash.
    assert crashed == (step < 9)


@pytest.mark.parametrize("step", range(24))
def test_a_dataset_that_is_moved_after_a_crash_in_mid_publication_opens_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    root = tmp_path / "before"
    with open_writer(root, RECIPE) as writer:
        # A part with rows that stay, and one of which nothing is left.
        writer.publish(
            {n: pa.concat_tables([_tables(3, "v0")[n], t]) for n, t in _tables(2, "v1").items()}
        )
        writer.publish(_tables(1, "v0"))
    tables = _tables(4, "v0")
    older = Dataset(root)
    crashed = _crash_at(monkeypatch, step, root, lambda w: w.publish(tables, replace_videos=["v0"]))
    # 3 parts with what is left, 3 new ones, the journal, 6 moves, the manifest that is kept, the
    # card, the manifest, 6 replaced parts.
    assert crashed == (step < 22)
    # Readers of either manifest find their parts, on either side of the crash.
    assert Dataset(root).read("clips").num_rows == 6
    clips = [f"clips-{v}-{i}" for v, i in (("v0", 0), ("v0", 1), ("v0", 2), ("v1", 0), ("v1", 1))]
    assert older.read("clips")["clip_id"].to_pylist() == [*clips, "clips-v0-0"]
    journalled = (root / ".staging" / "journal.json").exists()
    moved = root.rename(tmp_path / "after")
    with open_writer(moved, RECIPE) as writer:
        if crashed and not journalled:
            writer.publish(tables, replace_videos=["v0"])
    for name in tables:
        ids = sorted(pd.read_parquet(moved / name)["video_id"])
        assert ids == ["v0"] * 4 + ["v1"] * 2
        assert sorted(Dataset(moved).frame(name)["video_id"]) == ids
    assert Dataset(moved, version=2).read("clips")["clip_id"].to_pylist() == [*clips, "clips-v0-0"]
    assert Dataset(moved, version=1).read("clips")["clip_id"].to_pylist() == clips
    assert _damaged_files(moved) == []
    assert not (tmp_path / "before").exists()


def test_a_journal_of_an_earlier_version_is_carried_out_where_the_dataset_lies_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "before"
    with open_writer(root, RECIPE) as writer:
        writer.publish(_tables(3, "v0"))
    assert _crash_at(monkeypatch, 5, root, lambda writer: writer.publish(_tables(2, "v1")))
    path = root / ".staging" / "journal.json"
    journal = json.loads(path.read_text())
    # Earlier versions wrote where a part lies, as an absolute path.
    journal["moves"] = [[f"{root}/.staging/parts/{file}", file] for file in journal["moves"]]
    path.write_text(json.dumps(journal))
    moved = root.rename(tmp_path / "after")
    with open_writer(moved, RECIPE):
        assert Dataset(moved).read("clips").num_rows == 5


def test_a_part_is_never_written_in_place(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        tables = {
            n: pa.concat_tables([_tables(300, "v0")[n], t]) for n, t in _tables(400, "v1").items()
        }
        writer.publish(tables)
        (old,) = Dataset(tmp_path).parts("clips")
        with old.open("rb") as reader:
            writer.publish({}, replace_videos=["v0"])
            (new,) = Dataset(tmp_path).parts("clips")
            assert new != old
            assert not old.exists()
            # A reader that had it open reads on.
            assert pq.read_table(reader).num_rows == 700
        assert new.name == "part-000001-000002.parquet"
        assert set(Dataset(tmp_path).frame("clips")["video_id"]) == {"v1"}
        groups = pq.ParquetFile(new).metadata
        assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [256, 144]
        # Once more: the name still tells which part it was.
        writer.publish({}, replace_videos=["v1"])
        assert Dataset(tmp_path).parts("clips") == []
    assert _damaged_files(tmp_path) == []


def test_a_finished_run_leaves_neither_lock_nor_staging(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    with open_writer(root, RECIPE) as writer:
        (writer.work / "scans").mkdir()
        assert (root / ".lock").exists()
        writer.publish(_tables(1, "v0"))
    assert {path.name for path in root.iterdir()} == {
        "dataset.json",
        "README.md",
        "videos",
        "clips",
        "rejections",
    }
    # What is not published yet stays.
    with open_writer(root, RECIPE) as writer:
        (writer.work / "scans").mkdir()
        (writer.work / "scans" / "v1.json").write_text("{}")
    assert (writer.work / "scans" / "v1.json").exists()


def test_a_run_that_publishes_nothing_leaves_no_folder(tmp_path: Path) -> None:
    root = tmp_path / "new" / "dataset"
    with pytest.raises(RuntimeError, match="first run"), open_writer(root, RECIPE):
        raise RuntimeError("first run fails")
    assert not root.exists()
    # A folder that was there before stays.
    root.mkdir()
    with open_writer(root, RECIPE):
        pass
    assert list(root.iterdir()) == []


def test_parts_carry_size_and_hash_and_pages_carry_checksums(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish({"poses": rows_table("poses", [pose_row(_CLIP, _track(), "full")])})
    dataset = Dataset(tmp_path)
    (part,) = dataset.parts("poses")
    (entry,) = dataset.manifest["tables"]["poses"]["parts"]
    content = part.read_bytes()
    assert entry["bytes"] == len(content)
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    # One bit of the joints flips on the disk: nobody reads a wrong number.
    column = pq.ParquetFile(part).metadata.row_group(0).column(5)
    assert column.path_in_schema == "joints_3d.list.element"
    place = column.data_page_offset + column.total_compressed_size // 2
    part.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for read in (
        lambda: dataset.read("poses"),
        lambda: list(dataset.rows("poses", where={"clip_id": ["c0"]})),
        lambda: RowIndex(dataset, "poses", "clip_id").get(["c0"]),
    ):
        with pytest.raises(DatasetError, match=r"CRC.*avatargpt check"):
            read()


def test_a_manifest_without_hashes_is_read_and_added_to(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(3, "v0"))
    manifest = json.loads((tmp_path / "dataset.json").read_text())
    for table in manifest["tables"].values():
        for part in table["parts"]:
            del part["sha256"]
    store.write_json(tmp_path / "dataset.json", manifest)
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(2, "v1"))
    assert Dataset(tmp_path).read("clips").num_rows == 5


def test_replaced_videos_and_rejections_give_way(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(2, "v0"))
        writer.publish(_tables(2, "v1"))
        publication = writer.publish(
            _tables(1, "v0"),
            replace_videos=["v0"],
            replace_rejections=[RejectionKey("rejections-v1-1", Stage.POSES)],
        )
    assert publication.removed == {"videos": 2, "clips": 2, "rejections": 3}
    dataset = Dataset(tmp_path)
    assert sorted(dataset.read("videos")["video_id"].to_pylist()) == ["v0", "v1", "v1"]
    items = sorted(dataset.read("rejections")["item_id"].to_pylist())
    assert items == ["rejections-v0-0", "rejections-v1-0"]
    assert len(pd.read_parquet(tmp_path / "rejections")) == 2


def test_a_rejection_of_another_stage_stays(tmp_path: Path) -> None:
    row = _rows("rejections", 1)[0]
    stages = (Stage.INGEST, Stage.CLIPS, None)
    rows = [{**row, "stage": stage} for stage in stages]
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish({"rejections": rows_table("rejections", rows)})
        publication = writer.publish(
            {}, replace_rejections=[RejectionKey(row["item_id"], Stage.INGEST)]
        )
    assert publication.removed == {"rejections": 1}
    assert Dataset(tmp_path).read("rejections")["stage"].to_pylist() == ["clips", None]


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(1, "v0"))
    changed = {**RECIPE, "poses": {"max_people": 2}}
    with (
        pytest.raises(
            DatasetError, match=r"poses\.max_people \(expected 4, found 2\).*another --dataset"
        ),
        open_writer(tmp_path, changed),
    ):
        pass


def test_how_a_model_is_reached_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    service = {"model": "m", "temperature": None}
    before = {"captions": {"service": {**service, "base_url": "http://10.0.0.1:8000/v1"}}}
    with open_writer(tmp_path, before) as writer:
        writer.publish(_tables(1, "v0"))
    # A dataset of an earlier version has the address in its manifest.
    manifest = json.loads((tmp_path / "dataset.json").read_text())
    store.write_json(tmp_path / "dataset.json", {**manifest, "recipe": before})
    for recipe in (
        before,
        {"captions": {"service": service}},
        {"captions": {"service": {**service, "base_url": None, "max_concurrency": 4}}},
    ):
        with open_writer(tmp_path, recipe):
            pass
    changed = {"captions": {"service": {**service, "model": "n"}}, "new": 1}
    with (
        pytest.raises(DatasetError) as refused,
        open_writer(tmp_path, changed),
    ):
        pass
    assert "captions.service.model (expected 'm', found 'n'), new (expected" in str(refused.value)


def test_a_second_writer_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from data.store.writer import open_writer\n"
        "with open_writer(pathlib.Path(sys.argv[1]), {}):\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(DatasetError, match=f"process {other.pid}"), open_writer(tmp_path, {}):
            pass
        other.kill()
        other.wait()
    with open_writer(tmp_path, {}) as writer:
        assert isinstance(writer, DatasetWriter)


def test_a_file_that_a_killed_run_was_writing_does_not_survive(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    with open_writer(root, {"stage": 1}) as writer:
        half = writer.work / "annotations" / "abc.json.tmp-123"
        half.parent.mkdir()
        half.write_text("{")
        whole = half.with_name("abc.json")
        whole.write_text("{}")
    with open_writer(root, {"stage": 1}):
        assert not half.exists()
        assert whole.exists()


def test_partial_files_of_a_killed_publication_do_not_survive(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    staging = root / ".staging"
    staging.mkdir(parents=True)
    for path in (staging / "journal.json", root / "dataset.json", root / "README.md"):
        path.with_name(f"{path.name}.tmp-123").write_text("{")
    with open_writer(root, {}) as writer:
        writer.publish({"rejections": rows_table("rejections", [])})
    assert sorted(path.name for path in root.iterdir()) == ["README.md", "dataset.json"]


def test_staged_work_of_another_recipe_does_not_survive(tmp_path: Path) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        (writer.work / "old").write_text("x")
        old = writer.work
    with open_writer(tmp_path, RECIPE) as writer:
        assert (writer.work / "old").exists()
    with open_writer(tmp_path, {"clips": 1}) as writer:
        assert writer.work != old
        assert not old.exists()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "dataset.json").unlink(), "found no dataset.json"),
        (
            lambda root: store.write_json(
                root / "dataset.json", {"schema_version": 99, "code_version": "9.9"}
            ),
            "expected schema version [0-9]+, found 99",
        ),
    ],
)
def test_what_is_no_dataset_says_so(tmp_path: Path, break_it: Any, message: str) -> None:
    with open_writer(tmp_path, RECIPE) as writer:
        writer.publish(_tables(1, "v0"))
    break_it(tmp_path)
    with pytest.raises(DatasetError, match=message):
        Dataset(tmp_path)


def test_a_row_that_lacks_a_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected columns"):
        rows_table("clips", [{"clip_id": "c"}])


def test_a_file_where_the_dataset_should_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(DatasetError, match="expected a folder"), open_writer(file, RECIPE):
        pass
