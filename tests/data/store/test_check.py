"""The findings of a dataset check, and their remedies."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.schemas import SCHEMAS
from data.store import writer as store
from data.store.check import Finding, Severity, check_dataset
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.parquet import write_tables
from data.store.reviews import new_review, save_review
from data.store.writer import open_writer, rows_table

RECIPE = {"clips": {"max_clip_s": 10.0}}


def _table(name: str, ids: list[dict[str, Any]]) -> pa.Table:
    empty = dict.fromkeys(SCHEMAS[name].names)
    return rows_table(name, [{**empty, **row} for row in ids])


def _pose(**changed: Any) -> dict[str, Any]:
    row = {
        **{"clip_id": "c0", "video_id": "v0", "track_id": 0, "num_frames": 2, "num_joints": 1},
        **{"joints_3d": [0.0] * 6, "joints_2d": [0.0] * 4, "confidence": [1.0] * 2},
        **{"root_trajectory": [0.0] * 6, "valid": [True] * 2, "pts_s": [0.0, 0.05]},
        "boxes": [],
    }
    return {**row, **changed}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    with open_writer(root, RECIPE) as writer:
        writer.publish(
            {
                "videos": _table("videos", [{"video_id": "v0"}]),
                "clips": _table("clips", [{"clip_id": "c0", "video_id": "v0"}]),
                "poses": _table("poses", [_pose()]),
                "captions": _table("captions", [{"video_id": "v0"}]),
            }
        )
    return root


def _part(root: Path, table: str) -> Path:
    (part,) = Dataset(root).parts(table)
    return part


def _entry(root: Path, table: str, **changed: Any) -> None:
    manifest = json.loads((root / "dataset.json").read_text())
    manifest["tables"][table]["parts"][0].update(changed)
    store.write_json(root / "dataset.json", manifest)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def _rewritten(root: Path, table: str, rows: list[dict[str, Any]]) -> None:
    """Rewrite a part by hand, with a matching manifest."""
    path = _part(root, table)
    written = write_tables(path, table, [_table(table, rows)])
    _entry(root, table, rows=written.rows, bytes=written.bytes, sha256=written.sha256)
    manifest = json.loads((root / "dataset.json").read_text())
    manifest["tables"][table]["rows"] = written.rows
    store.write_json(root / "dataset.json", manifest)


def _other_schema(root: Path) -> None:
    path = _part(root, "clips")
    pq.write_table(pq.read_table(path).drop_columns(["decoder"]), path)
    _entry(root, "clips", bytes=path.stat().st_size, sha256=None)


BROKEN: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "flipped bit": (lambda root: _flip(_part(root, "poses")), "poses/part-000001", "SHA-256"),
    "cut": (
        lambda root: _part(root, "clips").write_bytes(_part(root, "clips").read_bytes()[:-9]),
        "clips/part-000001",
        "bytes, found",
    ),
    "missing": (lambda root: _part(root, "clips").unlink(), "clips/part-000001", "found none"),
    "stray": (
        lambda root: (root / "clips" / "part-000009.parquet").write_bytes(b"x"),
        "clips/part-000009",
        "the manifest lists",
    ),
    "rows": (lambda root: _entry(root, "clips", rows=7), "clips/part-000001", "7 rows, found 1"),
    "sum of rows": (lambda root: _entry(root, "clips", rows=7), "dataset.json", "1 rows, found"),
    "schema": (
        _other_schema,
        "clips/part-000001",
        r"columns of clips, found a difference in \['decoder",
    ),
    "no video": (
        lambda root: _rewritten(root, "clips", [{"clip_id": "c0", "video_id": "v9"}]),
        "clips",
        r"every video_id in videos, found 1 that are missing \(v9\)",
    ),
    "no clip": (
        lambda root: _rewritten(root, "poses", [_pose(clip_id="c7")]),
        "poses",
        r"every clip_id in clips, found 1 that are missing \(c7\)",
    ),
    "twice": (
        lambda root: _rewritten(root, "poses", [_pose(), _pose()]),
        "poses",
        r"each row once, found 1 duplicates \(c0/0\)",
    ),
    "short list": (
        lambda root: _rewritten(root, "poses", [_pose(joints_3d=[0.0])]),
        "poses/part-000001",
        "lists that match their frames",
    ),
    "short boxes": (
        lambda root: _rewritten(root, "poses", [_pose(boxes=[0.0] * 4)]),
        "poses/part-000001",
        "lists that match their frames",
    ),
    "manifest": (
        lambda root: (root / "dataset.json").write_bytes((root / "dataset.json").read_bytes()[:99]),
        "dataset.json",
        "expected a file that avatargpt wrote",
    ),
    "link": (
        lambda root: _part(root, "clips").symlink_to(_part(root, "clips").rename(root / "x")),
        "clips/part-000001",
        "found a link",
    ),
}


def _told(findings: list[Finding], file: str) -> str:
    return " ".join(finding.found for finding in findings if finding.file.startswith(file))


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_and_has_a_remedy(root: Path, name: str) -> None:
    assert check_dataset(root) == []
    break_it, file, found = BROKEN[name]
    break_it(root)
    findings = check_dataset(root)
    assert re.search(found, _told(findings, file)), findings
    assert all(finding.remedy for finding in findings)
    assert findings[0].severity is Severity.ERROR


def test_a_check_tells_how_far_it_is_and_changes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    told: list[tuple[int, int]] = []
    assert check_dataset(root, lambda done, total: told.append((done, total))) == []
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_unfinished_work_and_a_writer_are_notes(root: Path) -> None:
    with open_writer(root, RECIPE) as writer:
        store.write_json(writer.work / "scans" / "v1.json", {})
        findings = check_dataset(root)
    assert {finding.file for finding in findings} == {".lock", ".staging"}
    assert {finding.severity for finding in findings} == {Severity.NOTE}


def test_a_dataset_without_hashes_is_checked_as_far_as_it_goes(root: Path) -> None:
    _entry(root, "clips", sha256=None)
    (finding,) = check_dataset(root)
    assert finding.severity is Severity.NOTE
    assert finding.file == "clips/part-000001.parquet"


def test_a_folder_that_is_no_dataset_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found no dataset\.json"):
        check_dataset(tmp_path)


def test_reviews_are_verified(root: Path) -> None:
    values = {"video_id": "v", "clip_id": "c", "track_id": 0, "sample": 0, "text_hash": ""}
    values |= {"level": "fine", "judgment": "accepted", "value": None, "reviewer": "Ada"}
    before = check_dataset(root)
    save_review(root, new_review(**values))
    assert check_dataset(root) == before
    save_review(root, new_review(**values | {"judgment": "edited", "value": "[{"}))
    save_review(root, new_review(**values | {"judgment": "praised"}))
    (root / "reviews" / "review-damaged.parquet").write_bytes(b"not a table")
    found = [one for one in check_dataset(root) if one not in before]
    assert {one.severity for one in found} == {Severity.ERROR}
    assert {one.file.partition("/")[0] for one in found} == {"reviews"}
    told = " ".join(one.found for one in found)
    assert all(one in told for one in ("found '[{'", "praised", "review-damaged.parquet"))
    assert len(found) == 3
