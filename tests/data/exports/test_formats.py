"""Exports are read back with the library of the format, and compared with the dataset."""

import importlib
import importlib.util
import json
import resource
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset.compat import WebDataset

from data.exports import formats
from data.exports.formats import export_dataset
from data.motion.features import features_to_joints
from data.motion.skeleton import FPS
from data.motion.splits import SplitConfig, split_of
from data.records import Annotation, Clip, FineStep, Grounding, Outcome, PoseTrack, Verdict
from data.schemas import Row, annotation_row, load_features, load_motion, pose_row
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.reviews import hash_text, new_review, save_review
from data.store.writer import open_writer, rows_table


def read_shards(folder: Path) -> dict[str, dict[str, Any]]:
    """Read all samples through the library, decoded by it."""
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    read: Any = WebDataset(shards, shardshuffle=False, empty_check=False).decode()
    return {sample["__key__"]: sample for sample in read}


def test_motions_are_read_back_by_webdataset(
    motions_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "SHARD_SAMPLES", 7)
    out = tmp_path / "out 100%"
    reports: list[tuple[int, int]] = []
    made = export_dataset(motions_root, out, "webdataset", lambda *told: reports.append(told))
    stored = {row["motion_id"]: row for row in Dataset(motions_root).rows("motions")}
    assert reports[-1] == (len(stored), len(stored))
    found = read_shards(out)
    assert found.keys() == {f"motion-{one}" for one in stored}
    assert sum(made.samples.values()) == len(stored)
    assert len(list(out.glob("train-*.tar"))) == -(-made.samples["train"] // 7)
    for key, sample in found.items():
        row = stored[key.removeprefix("motion-")]
        features = load_features(row)
        np.testing.assert_array_equal(sample["features.npy"], features)
        np.testing.assert_array_equal(sample["joints.npy"], features_to_joints(features))
        assert sample["json"]["split"] == row["split"]
        assert Path(sample["__url__"]).name.startswith(row["split"])
        assert [text["text"] for text in sample["json"]["texts"]] == [
            text["text"] for text in row["texts"]
        ]
        assert set(sample["txt"].splitlines()) <= {text["text"] for text in row["texts"]}
        assert sample["txt"]
    for path in out.iterdir():
        with tarfile.open(path) as shard:
            assert {name.rpartition(".")[2] for name in shard.getnames()} == {"json", "txt", "npy"}


def test_equal_datasets_have_equal_shards(motions_root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_dataset(motions_root, tmp_path / name, "webdataset")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.fixture
def people_root(tmp_path: Path) -> Path:
    """Three people: one described, one of whom only a part is seen, one whose model failed."""
    clip = Clip("c0", "v0", 0, 0, 45, 0.0, 1.5, 0.5, "", 0.0)
    draw = np.random.default_rng(0)

    def track(number: int) -> PoseTrack:
        return PoseTrack(
            track_id=number,
            pts_s=np.arange(30) / FPS,
            joints_3d=draw.normal(size=(30, 22, 3)).astype(np.float32),
            root_trajectory=draw.normal(size=(30, 3)).astype(np.float32),
            joints_2d=np.zeros((30, 22, 2), np.float32),
            confidence=np.ones((30, 22), np.float32),
            valid=np.ones(30, np.bool_),
            quality=0.5,
            boxes=np.ones((30, 4), np.float32) if number == 1 else None,
        )

    def annotation(number: int) -> Row:
        grounding = Grounding(Verdict.SUPPORTED, "pelvis travels 1 m", 0.0, 1.0)
        made = Annotation(
            clip_id="c0",
            video_id="v0",
            track_id=number,
            coarse="A scene.",
            medium=("A person walks.", "Somebody walks ahead."),
            medium_grounding=(grounding, grounding),
            fine=(FineStep("walk", 0.0, 1.0, grounding),),
            activity="walk",
            annotator="rules",
            model="",
            prompt_id="",
            outcome=Outcome.INVALID if number == 2 else Outcome.SUCCESS,
        )
        return annotation_row(made, clip)

    rows = {
        "poses": [pose_row(clip, track(number), "full") for number in range(3)],
        "annotations": [annotation(number) for number in range(3)],
    }
    with open_writer(tmp_path / "people", {"clips": 1}) as writer:
        writer.publish({name: rows_table(name, of_table) for name, of_table in rows.items()})
    return tmp_path / "people"


def test_people_have_their_texts_steps_and_joints(people_root: Path, tmp_path: Path) -> None:
    row = next(Dataset(people_root).rows("annotations"))
    made = export_dataset(people_root, tmp_path / "out", "webdataset")
    (sample,) = read_shards(tmp_path / "out").values()
    assert made.left_out == 2
    assert sample["__key__"] == "person-c0-0-0"
    pose = next(Dataset(people_root).rows("poses"))
    np.testing.assert_array_equal(sample["joints.npy"], load_motion(pose))
    assert "features.npy" not in sample
    assert sample["txt"] == "A person walks.\nSomebody walks ahead."
    about = sample["json"]
    assert about["coarse"] == "A scene."
    assert about["medium"][1] == {"text": "Somebody walks ahead.", "verdict": "supported"}
    assert about["fine"] == [
        {
            "text": "walk",
            "start_s": 0.0,
            "end_s": 1.0,
            "verdict": "supported",
            "measurement": "pelvis travels 1 m",
        }
    ]
    assert (about["clip_id"], about["track_id"], about["video_id"]) == ("c0", 0, "v0")
    assert about["split"] == split_of("video/v0", SplitConfig())
    review = new_review(
        video_id="v0",
        clip_id="c0",
        track_id=0,
        sample=0,
        level="medium",
        judgment="edited",
        value=json.dumps(["A person limps."]),
        text_hash=hash_text("medium", row),
        reviewer="Ada",
    )
    save_review(people_root, review)
    export_dataset(people_root, tmp_path / "reviewed", "webdataset")
    (sample,) = read_shards(tmp_path / "reviewed").values()
    assert sample["txt"] == "A person limps."


@pytest.mark.skipif(
    importlib.util.find_spec("lance") is None,
    reason="pylance (85 MB) is not among the packages of the tests: pip install pylance",
)
def test_motions_are_read_back_by_lance(motions_root: Path, tmp_path: Path) -> None:
    lance: Any = importlib.import_module("lance")
    made = export_dataset(motions_root, tmp_path / "out", "lance")
    table = lance.dataset(str(tmp_path / "out")).to_table()
    stored = {row["motion_id"]: row for row in Dataset(motions_root).rows("motions")}
    assert table.num_rows == len(stored) == sum(made.samples.values())
    for row in table.to_pylist():
        expected = stored[row["key"].removeprefix("motion-")]
        features = np.asarray(row["features"], np.float32).reshape(-1, 263)
        np.testing.assert_array_equal(features, load_features(expected))
        assert np.shape(row["joints"]) == (row["num_frames"] * 66,)
        assert json.loads(row["about"])["split"] == row["split"] == expected["split"]


def test_an_existing_folder_is_kept(motions_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a new folder, found one that exists.*Remedy"):
        export_dataset(motions_root, tmp_path, "webdataset")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named(
    motions_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.LIBRARIES, "lance", ("no_such_module", "pylance"))
    with pytest.raises(ValueError, match=r"expected the package pylance.*avatargpt\[exports\]"):
        export_dataset(motions_root, tmp_path / "out", "lance")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(motions_root: Path, tmp_path: Path) -> None:
    # The limit of a file's size stops a write in the same way.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            export_dataset(motions_root, tmp_path / "out", "webdataset")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_without_samples_is_refused(tmp_path: Path) -> None:
    from benchmarks.browser import make_dataset

    make_dataset(tmp_path / "videos", 3)
    with pytest.raises(DatasetError, match="expected described people with joints"):
        export_dataset(tmp_path / "videos", tmp_path / "out", "webdataset")
    assert not (tmp_path / "out").exists()
