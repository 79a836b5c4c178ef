"""The dataset card: metadata and example match the content of the dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from data.errors import Stage
from data.importers.run import MotionImportConfig, import_motions
from data.records import RejectionKey
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.writer import open_published, open_writer, rows_table
from data.workers.workers import WorkerConfig

KINDS = {
    "videos": ("videos", "clips", "poses", "captions", "annotations", "rejections"),
    "nobody": ("videos", "clips", "rejections"),
    "motions": ("motions", "rejections"),
    "tokens": ("motions", "motion_tokens", "annotations"),
    "plans": ("annotations",),
    "rejected": ("rejections",),
}


def _write(root: Path, kind: str, *, terms: str = "") -> dict[str, Any]:
    """Publish two rows of each table, and return the metadata of the card."""
    values = {
        "license": terms,
        "joints_3d": np.arange(3 * 22 * 3, dtype=np.float32),
        "features": np.zeros(5 * 263, np.float32),
        "codes": [1, 2],
        "num_quantizers": 1,
    }
    rows = {
        table: [{name: values.get(name) for name in SCHEMAS[table].names} for _ in range(2)]
        for table in KINDS[kind]
    }
    with open_writer(root, {}) as writer:
        writer.publish({table: rows_table(table, listed) for table, listed in rows.items()})
    return _front(root)


def _front(root: Path) -> dict[str, Any]:
    text = (root / "README.md").read_text()
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    ("kind", "default", "example"),
    [
        ("videos", "annotations", "joints_3d"),
        ("nobody", "clips", "annotations"),
        ("motions", "motions", "reshape(-1, 263)"),
        ("tokens", "motions", "codes"),
        ("plans", "annotations", "fine"),
        ("rejected", "rejections", "annotations"),
    ],
)
def test_the_default_and_the_example_suit_the_dataset(
    tmp_path: Path, kind: str, default: str, example: str
) -> None:
    configs = _write(tmp_path, kind)["configs"]
    # Tables without rows have no files, and no configuration.
    assert {config["config_name"] for config in configs} == set(KINDS[kind])
    assert [c["config_name"] for c in configs if c.get("default")] == [default]
    for config in configs:
        assert list(tmp_path.glob(config["data_files"]))
    assert example in (tmp_path / "README.md").read_text()


def test_a_dataset_without_rows_has_no_configuration(tmp_path: Path) -> None:
    with open_writer(tmp_path, {}) as writer:
        writer.publish({})
    front = _front(tmp_path)
    assert "configs" not in front
    assert front["license"] == "unknown"


def test_the_license_is_that_of_the_motions_or_what_is_chosen(tmp_path: Path) -> None:
    assert _write(tmp_path / "videos", "videos")["license"] == "unknown"
    assert _write(tmp_path / "motions", "motions", terms="CC-BY-4.0")["license"] == "cc-by-4.0"
    own = tmp_path / "own"
    assert _write(own, "motions", terms="CMU mocap: free for all uses")["license"] == "other"
    _write(own, "motions", terms="MIT")
    assert _front(own)["license"] == "other"
    for terms in ("CMU mocap: free for all uses", "MIT"):
        assert f"- {terms}\n" in (own / "README.md").read_text()
    with open_published(own) as writer:
        writer.set_license("cc-by-nc-4.0")
        with pytest.raises(ValueError, match=r"expected one of .*cc-by-4.0.*found 'free'"):
            writer.set_license("free")
    assert _front(own)["license"] == "cc-by-nc-4.0"
    # It stays when more is published.
    assert _write(own, "motions", terms="MIT")["license"] == "cc-by-nc-4.0"
    assert Dataset(own).manifest["licenses"] == ["CMU mocap: free for all uses", "MIT"]


def test_joints_are_reshaped_without_this_package(tmp_path: Path) -> None:
    _write(tmp_path, "videos")
    row = pd.read_parquet(tmp_path / "poses").iloc[0]
    joints = np.asarray(row["joints_3d"]).reshape(-1, 22, 3)
    assert joints.shape == (3, 22, 3)
    assert joints[1, 0, 0] == 66.0


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., datasets.Dataset]:
    """Opens a folder with Hugging Face's package alone."""
    # The environment's HF_HUB_OFFLINE was read when these were imported.
    for package in ("datasets.config", "huggingface_hub.constants"):
        monkeypatch.setattr(f"{package}.HF_HUB_OFFLINE", True)

    def load(root: Path, config: str | None = None) -> datasets.Dataset:
        found = datasets.load_dataset(str(root), config, cache_dir=str(tmp_path / "hf-cache"))
        assert isinstance(found, datasets.DatasetDict)
        assert list(found) == ["train"]
        return found["train"]

    return load


@pytest.mark.parametrize("kind", KINDS)
def test_hugging_face_opens_each_kind_by_default(
    tmp_path: Path, opened: Callable[..., datasets.Dataset], kind: str
) -> None:
    root = tmp_path / kind
    front = _write(root, kind)
    (default,) = (c["config_name"] for c in front["configs"] if c.get("default"))
    rows = opened(root)
    assert rows.num_rows == 2
    assert rows.column_names == SCHEMAS[default].names
    for config in front["configs"]:
        assert opened(root, config["config_name"]).num_rows == 2
    # A second run adds a part to each table: the reader's cache does not give the older rows.
    _write(root, kind)
    assert opened(root).num_rows == 4


def test_hugging_face_tells_folders_of_one_name_apart(
    tmp_path: Path, opened: Callable[..., datasets.Dataset]
) -> None:
    ids: list[list[str]] = []
    for content in ("a", "b"):
        root = tmp_path / content / "motions"
        row = dict.fromkeys(SCHEMAS["motions"].names) | {"motion_id": content}
        with open_writer(root, {}) as writer:
            writer.publish({"motions": rows_table("motions", [row])})
        ids.append(opened(root)["motion_id"][:])
    assert ids == [["a"], ["b"]]


def test_hugging_face_opens_what_a_re_run_left(
    tmp_path: Path, opened: Callable[..., datasets.Dataset]
) -> None:
    root = tmp_path / "dataset"
    ids = ["a", "b", "c"]

    def rows(table: str, values: list[dict[str, str]]) -> pa.Table:
        return rows_table(table, [dict.fromkeys(SCHEMAS[table].names) | row for row in values])

    with open_writer(root, {}) as writer:
        writer.publish(
            {
                "clips": rows("clips", [{"clip_id": i, "video_id": i} for i in ids]),
                "rejections": rows("rejections", [{"item_id": i, "stage": "poses"} for i in ids]),
            }
        )
    with open_published(root) as writer:
        # A part is left without two of its rows, a table without any, and another one begins.
        writer.publish(
            {"annotations": rows("annotations", [{"clip_id": "a", "video_id": "a"}])},
            replace_rejections=[RejectionKey(i, Stage.POSES) for i in ids],
            replace_videos=["b", "c"],
        )
    # What was replaced is kept beside the tables, where no reader of theirs looks.
    kept = sorted(path.name for path in root.iterdir() if path.is_dir() and any(path.iterdir()))
    assert kept == [".versions", "annotations", "clips"]
    assert opened(root)["clip_id"][:] == ["a"]
    assert opened(root).column_names == SCHEMAS["annotations"].names
    assert opened(root, "clips")["clip_id"][:] == ["a"]
    with pytest.raises(ValueError, match="rejections"):
        opened(root, "rejections")


def test_hugging_face_opens_an_import(
    tmp_path: Path, opened: Callable[..., datasets.Dataset]
) -> None:
    plan = tmp_path / "plan.txt"
    plan.write_text("Task: tidy up\nStep 1: walk to the table\nStep 2: lift a cup\n")
    root = tmp_path / "dataset"
    for sources in (("procedural:2",), ("procedural:2", str(plan), str(tmp_path / "missing.bvh"))):
        import_motions(
            MotionImportConfig(sources=sources, dataset=root, workers=WorkerConfig(num_workers=1))
        )
    motions = opened(root).with_format("numpy")
    assert motions.num_rows == 4  # with their mirror images
    features = np.asarray(motions[0]["features"]).reshape(-1, 263)
    assert np.isfinite(features).all()
    assert [text["text"] for text in motions[0]["texts"]]
    assert opened(root, "annotations")["medium"][:] == [["tidy up"]]
    assert opened(root, "rejections")["reason"][:] == ["not_found"]
