"""Untrusted datasets: opening one neither reads nor changes anything outside its folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table

RECIPE = {"clips": {"max_clip_s": 10.0}}


def _row(table: str) -> dict[str, Any]:
    return {field.name: "v0" if field.name == "video_id" else None for field in SCHEMAS[table]}


def _publish(root: Path) -> None:
    with open_writer(root, RECIPE) as writer:
        writer.publish({"videos": rows_table("videos", [_row("videos")])})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    _publish(root)
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside the dataset, with a file that looks like a part."""
    folder = tmp_path / "outside"
    (folder / "videos").mkdir(parents=True)
    pq.write_table(rows_table("videos", [_row("videos")]), folder / "videos/part-000001.parquet")
    (folder / "precious.tmp-1").write_text("precious")
    return folder


def _manifest(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "dataset.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _file(root: Path, file: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["tables"]["videos"]["parts"][0]["file"] = file

    _manifest(root, change)


def _journal(root: Path, **fields: Any) -> None:
    manifest = json.loads((root / "dataset.json").read_text())
    staging = root / ".staging"
    staging.mkdir()
    journal = {"moves": [], "deletes": [], "manifest": manifest, **fields}
    (staging / "journal.json").write_text(json.dumps(journal))


def _link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _manifest_link(root: Path, outside: Path) -> None:
    shutil.copy(root / "dataset.json", outside)
    _link(root / "dataset.json", outside / "dataset.json")


def _huge_serial(root: Path, _: Path) -> None:
    _manifest(root, lambda manifest: manifest.update(publications=10**30))


def _rows_below_zero(root: Path, _: Path) -> None:
    _manifest(root, lambda manifest: manifest["tables"]["videos"].update(rows=-1))


def _twice(root: Path, _: Path) -> None:
    _manifest(
        root,
        lambda manifest: manifest["tables"]["videos"].update(
            parts=manifest["tables"]["videos"]["parts"] * 2
        ),
    )


Hostile = Callable[[Path, Path], None]

READ: dict[str, Hostile] = {
    "absolute part": lambda root, out: _file(root, f"{out}/videos/part-000001.parquet"),
    "part above": lambda root, _: _file(root, "../outside/videos/part-000001.parquet"),
    "part above its table": lambda root, _: _file(root, "videos/../../outside/videos/x.parquet"),
    "part of another table": lambda root, _: _file(root, "clips/part-000001.parquet"),
    "part in the staging": lambda root, _: _file(root, ".staging/part-000001.parquet"),
    "part twice": _twice,
    "part a link": lambda root, out: _link(
        root / "videos/part-000001.parquet", out / "videos/part-000001.parquet"
    ),
    "table a link": lambda root, out: _link(root / "videos", out / "videos"),
    "manifest a link": _manifest_link,
    "unknown table": lambda root, _: _manifest(
        root, lambda manifest: manifest["tables"].update({"../x": {"rows": 0, "parts": []}})
    ),
    "huge serial": _huge_serial,
    "rows below zero": _rows_below_zero,
    "deep nesting": lambda root, _: _text(root, "[" * 100_000),
    "no JSON": lambda root, _: _text(root, "\x00"),
    "no object": lambda root, _: _text(root, "[]"),
}

WRITE: dict[str, Hostile] = {
    "staging a link": lambda root, out: _link(root / ".staging", out),
    "work a link": lambda root, out: _link(root / ".staging/work-000000000000", out),
    "link deep in the work": lambda root, out: _link(root / ".staging/work-1/poses", out),
    "parts a link": lambda root, out: _link(root / ".staging/parts", out),
    "new table a link": lambda root, out: _link(root / "clips", out),
    "lock a link": lambda root, out: _link(root / ".lock", out / "precious.tmp-1"),
    "journal a link": lambda root, out: _link(root / ".staging/journal.json", out / "journal.json"),
    "pipe in the work": lambda root, _: _pipe(root / ".staging/work-1/scans/x.json"),
    "journal deletes outside": lambda root, out: _journal(
        root, deletes=[f"{out}/videos/part-000001.parquet"]
    ),
    "journal deletes above": lambda root, _: _journal(root, deletes=["../outside/precious.tmp-1"]),
    "journal deletes what is published": lambda root, _: _journal(
        root, deletes=["videos/part-000001.parquet"]
    ),
    "journal moves to the outside": lambda root, out: _journal(
        root, moves=[f"{out}/videos/part-000009.parquet"]
    ),
    "journal moves what is not listed": lambda root, _: _journal(
        root, moves=["videos/part-000009.parquet"]
    ),
    "versions a link": lambda root, out: _link(root / ".versions", out),
    "versions of a table a link": lambda root, out: _link(
        root / ".versions/videos", out / "videos"
    ),
    "journal retires what is published": lambda root, _: _journal(
        root, retires=["videos/part-000001.parquet"]
    ),
    "journal retires what never was": lambda root, _: _journal(
        root, retires=["videos/part-000009.parquet"]
    ),
    "journal keeps a hostile manifest": lambda root, _: _journal(root, previous={"tables": {}}),
    "journal with a hostile manifest": lambda root, _: _journal(root, manifest={"tables": {}}),
}


def _text(root: Path, text: str) -> None:
    (root / "dataset.json").write_text(text)


def _pipe(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path)


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", READ)
def test_a_hostile_manifest_is_refused_for_reading_and_for_writing(
    root: Path, outside: Path, name: str
) -> None:
    READ[name](root, outside)
    before = _tree(outside)
    with pytest.raises(DatasetError, match="Remedy: "):
        Dataset(root).read("videos")
    with pytest.raises(DatasetError, match="Remedy: "), open_writer(root, RECIPE) as writer:
        writer.publish({}, replace_videos=["v0"])
    assert _tree(outside) == before


@pytest.mark.parametrize("name", WRITE)
def test_a_hostile_staging_folder_is_refused_for_writing(
    root: Path, outside: Path, name: str
) -> None:
    WRITE[name](root, outside)
    before = _tree(outside)
    refused = r"expected (a plain|a file of|a file that avatargpt wrote).*Remedy: "
    with pytest.raises(DatasetError, match=refused), open_writer(root, RECIPE) as writer:
        writer.publish({"clips": rows_table("clips", [_row("clips")])}, replace_videos=["v0"])
    assert _tree(outside) == before
    # What is published is not touched by the refusal.
    assert len(pd.read_parquet(root / "videos")) == 1


def test_links_where_files_are_written_are_replaced_not_followed(root: Path, outside: Path) -> None:
    victim = outside / "precious.tmp-1"
    for name in ("README.md", f"README.md.tmp-{os.getpid()}", f"dataset.json.tmp-{os.getpid()}"):
        _link(root / name, victim)
    with open_writer(root, RECIPE) as writer:
        writer.publish({"clips": rows_table("clips", [_row("clips")])})
    assert victim.read_text() == "precious"
    assert not (root / "README.md").is_symlink()
