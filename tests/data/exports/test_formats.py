"""Exports are read back with the library of the format, and compared with the dataset."""

import errno
import importlib
import importlib.util
import json
import re
import resource
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from webdataset.compat import WebDataset

from data.exports import formats
from data.exports.formats import Format, export_dataset
from data.motion.features import features_to_joints
from data.motion.splits import SplitConfig, split_of
from data.schemas import load_features, load_motion
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.reviews import hash_text, new_review, save_review
from flows.commands.main import app

NEEDS_LANCE = pytest.mark.skipif(
    importlib.util.find_spec("lance") is None,
    reason="pylance (85 MB) is not among the packages of the tests: pip install pylance",
)


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


@NEEDS_LANCE
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


def test_the_command_says_what_it_wrote(people_root: Path, tmp_path: Path) -> None:
    command = ["export", str(people_root), str(tmp_path / "out"), "--format", "webdataset", "-q"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert re.search(r"out: 1 (train|val|test), \d+", done.output)
    assert "2 annotations are left out" in done.output
    assert CliRunner().invoke(app, [*command[:-2], "lerobot"]).exit_code == 2
    on_s3 = CliRunner().invoke(app, ["export", str(people_root), "s3://bucket/out", *command[3:]])
    assert re.search("expected a local folder.*Remedy", str(on_s3.exception))


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


@pytest.mark.parametrize("form", ["webdataset", pytest.param("lance", marks=NEEDS_LANCE)])
def test_a_full_disk_leaves_nothing(motions_root: Path, tmp_path: Path, form: Format) -> None:
    # The limit of a file's size stops a write in the same way.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            export_dataset(motions_root, tmp_path / "out", form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_without_samples_is_refused(tmp_path: Path) -> None:
    from benchmarks.browser import make_dataset

    make_dataset(tmp_path / "videos", 3)
    with pytest.raises(DatasetError, match="expected described people with joints"):
        export_dataset(tmp_path / "videos", tmp_path / "out", "webdataset")
    assert not (tmp_path / "out").exists()
