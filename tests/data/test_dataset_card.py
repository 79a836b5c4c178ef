"""The dataset card: its metadata and example suit what the dataset holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from data.schemas import SCHEMAS
from data.store import Dataset, open_published, open_writer, rows_table

KINDS = {
    "videos": ("videos", "clips", "poses", "captions", "annotations", "rejections"),
    "nobody": ("videos", "clips", "rejections"),
    "motions": ("motions", "rejections"),
    "tokens": ("motions", "motion_tokens", "annotations"),
    "plans": ("annotations",),
    "rejected": ("rejections",),
}


def _write(root: Path, kind: str, *, licence: str = "") -> dict[str, Any]:
    """Publish two rows of each table; the metadata of the card."""
    values = {
        "licence": licence,
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
    assert _write(tmp_path / "motions", "motions", licence="CC-BY-4.0")["license"] == "cc-by-4.0"
    own = tmp_path / "own"
    assert _write(own, "motions", licence="CMU mocap: free for all uses")["license"] == "other"
    _write(own, "motions", licence="MIT")
    assert _front(own)["license"] == "other"
    for licence in ("CMU mocap: free for all uses", "MIT"):
        assert f"- {licence}\n" in (own / "README.md").read_text()
    with open_published(own) as writer:
        writer.set_license("cc-by-nc-4.0")
        with pytest.raises(ValueError, match=r"expected one of .*cc-by-4.0.*found 'free'"):
            writer.set_license("free")
    assert _front(own)["license"] == "cc-by-nc-4.0"
    # It stays when more is published.
    assert _write(own, "motions", licence="MIT")["license"] == "cc-by-nc-4.0"
    assert Dataset(own).manifest["licences"] == ["CMU mocap: free for all uses", "MIT"]


def test_joints_are_reshaped_without_this_package(tmp_path: Path) -> None:
    _write(tmp_path, "videos")
    row = pd.read_parquet(tmp_path / "poses").iloc[0]
    joints = np.asarray(row["joints_3d"]).reshape(-1, 22, 3)
    assert joints.shape == (3, 22, 3)
    assert joints[1, 0, 0] == 66.0
