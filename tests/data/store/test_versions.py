"""Older versions of a dataset: readable until they are collected, whatever is killed meanwhile."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from data.schemas import SCHEMAS
from data.store.check import Severity, check_dataset
from data.store.dataset import Dataset, RowIndex
from data.store.manifest import DatasetError
from data.store.versions import read_versions
from data.store.writer import open_published, open_writer, rows_table
from data.upkeep.collection import collect_versions


def _videos(*ids: str) -> dict[str, pa.Table]:
    empty = dict.fromkeys(SCHEMAS["videos"].names)
    return {"videos": rows_table("videos", [{**empty, "video_id": one} for one in ids])}


def _ids(dataset: Dataset) -> list[str]:
    return dataset.read("videos", ["video_id"])["video_id"].to_pylist()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Version 1 adds a, 2 adds b and c, 3 removes b, 4 adds d, 5 removes a: all of part 1."""
    root = tmp_path / "dataset"
    with open_writer(root, {}) as writer:
        writer.publish(_videos("a"))
        writer.publish(_videos("b", "c"))
        writer.publish({}, replace_videos=["b"])
        writer.publish(_videos("d"))
        writer.publish({}, replace_videos=["a"])
    return root


CONTENT = {1: ["a"], 2: ["a", "b", "c"], 3: ["a", "c"], 4: ["a", "c", "d"], 5: ["c", "d"]}


def test_every_version_is_read_as_it_was(root: Path) -> None:
    assert {number: _ids(Dataset(root, version=number)) for number in CONTENT} == CONTENT
    assert {n: Dataset(root, version=n).num_rows("videos") for n in CONTENT} == {
        number: len(ids) for number, ids in CONTENT.items()
    }
    # The folder of a table is the current version, for readers that know nothing of versions.
    assert sorted(pd.read_parquet(root / "videos")["video_id"]) == CONTENT[5]
    assert check_dataset(root) == []
    found = read_versions(root)
    assert [(one.oldest, one.number) for one in found] == [(1, 2), (3, 4), (5, 5)]
    assert [one.rows["videos"] for one in found] == [3, 3, 2]
    kept = sum(path.stat().st_size for path in root.glob(".versions/videos/*"))
    assert sum(one.held_bytes for one in found) == kept > 0
    assert [bool(one.replaced_at) for one in found] == [True, True, False]
    for absent in (0, 6, -1):
        with pytest.raises(DatasetError, match=r"expected a version from 1 to 5, found"):
            Dataset(root, version=absent)


def test_additions_alone_make_no_folder_of_versions(tmp_path: Path) -> None:
    with open_writer(tmp_path, {}) as writer:
        writer.publish(_videos("a"))
        writer.publish(_videos("b"))
    assert not (tmp_path / ".versions").exists()
    assert _ids(Dataset(tmp_path, version=1)) == ["a"]


def test_an_open_dataset_reads_on_while_rows_are_replaced(tmp_path: Path) -> None:
    with open_writer(tmp_path, {}) as writer:
        writer.publish(_videos("a", "b"))
        before = Dataset(tmp_path)
        index = RowIndex(before, "videos", "video_id")
        batches = before.batches("videos")
        writer.publish({}, replace_videos=["a"])
    assert _ids(before) == ["a", "b"]
    assert list(index.get(["a"])) == ["a"]
    assert sum(batch.num_rows for batch in batches) == 2
    assert _ids(Dataset(tmp_path)) == ["b"]
    collect_versions(tmp_path)
    with pytest.raises(DatasetError, match=r"another run replaced rows meanwhile, start again"):
        _ids(before)


def test_readers_always_find_one_whole_version_while_rows_are_replaced(tmp_path: Path) -> None:
    """A reader looks at a part in its table, and it moves away before it is opened."""
    ids = [f"v{number:02d}" for number in range(24)]
    with open_writer(tmp_path, {}) as writer:
        for one in ids:
            writer.publish(_videos(one))
    content = {24: ids}
    for number, _ in enumerate(ids, 24):
        content[number + 1] = content[number][1:]
    done = threading.Event()
    wrong: list[str] = []
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            try:
                dataset = Dataset(tmp_path)
                number = dataset.manifest["publications"]
                if _ids(dataset) != content[number]:
                    wrong.append(f"version {number} is mixed")
                seen.add(number)
            except Exception as error:  # noqa: BLE001 - told by the test
                wrong.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    with open_published(tmp_path) as writer:
        for one in ids:
            writer.publish({}, replace_videos=[one])
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(seen) > 1
    assert {number: _ids(Dataset(tmp_path, number)) for number in content} == content


def test_collection_keeps_what_is_asked_for(root: Path) -> None:
    now = datetime.now(UTC)
    assert collect_versions(root, keep=2).versions == []
    assert collect_versions(root, older_than_days=1).versions == []
    with pytest.raises(ValueError, match="expected numbers from 0"):
        collect_versions(root, keep=-1)
    done = collect_versions(root, keep=1, older_than_days=1, now=now + timedelta(days=2))
    assert [one.number for one in done.versions] == [2]
    assert {number: _ids(Dataset(root, version=number)) for number in (3, 4, 5)} == {
        number: CONTENT[number] for number in (3, 4, 5)
    }
    with pytest.raises(DatasetError, match=r"from 3 to 5, found 2.*collected"):
        Dataset(root, version=2)
    assert check_dataset(root) == []
    done = collect_versions(root)
    assert [one.number for one in done.versions] == [4]
    assert done.freed_bytes > 0
    assert not (root / ".versions").exists()
    assert [one.number for one in read_versions(root)] == [5]
    assert check_dataset(root) == []
    with open_published(root) as writer:
        writer.publish(_videos("e"))
    assert _ids(Dataset(root, version=5)) == CONTENT[5]


def test_a_collection_that_is_killed_frees_the_rest_next_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink
    left = 2

    def crashing(self: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if ".versions" in self.parts:
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", crashing)
        collect_versions(root)
    with pytest.raises(DatasetError, match=r"from 5 to 5, found 4"):
        Dataset(root, version=4)
    (finding,) = check_dataset(root)
    assert (finding.severity, finding.file) == (Severity.NOTE, ".versions")
    assert collect_versions(root).freed_bytes > 0
    assert not (root / ".versions").exists()


def _unkept(root: Path) -> None:
    """Make a dataset look as earlier code left it, which deleted the parts it replaced."""
    manifest = json.loads((root / "dataset.json").read_text())
    del manifest["oldest_version"]
    (root / "dataset.json").write_text(json.dumps(manifest))


def test_a_dataset_of_earlier_code_keeps_versions_from_now_on(root: Path) -> None:
    collect_versions(root)
    _unkept(root)
    with pytest.raises(DatasetError, match=r"expected a version from 5 to 5, found 4"):
        Dataset(root, version=4)
    with open_published(root) as writer:
        writer.publish(_videos("e"))
        writer.publish({}, replace_videos=["c"])
    assert _ids(Dataset(root, version=5)) == ["c", "d"]
    assert _ids(Dataset(root, version=6)) == ["c", "d", "e"]
    assert _ids(Dataset(root, version=7)) == ["d", "e"]
    with pytest.raises(DatasetError, match=r"from 5 to 7, found 4"):
        Dataset(root, version=4)


def _link_to(outside: Path, path: Path) -> None:
    outside.mkdir()
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)


BROKEN: dict[str, Callable[[Path], object]] = {
    "folder a link": lambda root: _link_to(root.parent / "out", root / ".versions"),
    "table a link": lambda root: _link_to(root.parent / "out", root / ".versions/videos"),
    "part a link": lambda root: _link_to(
        root.parent / "out", root / ".versions/videos/part-000002.parquet"
    ),
    "manifest a link": lambda root: _link_to(
        root.parent / "out", root / ".versions/dataset-000002.json"
    ),
    "part missing": lambda root: (root / ".versions/videos/part-000002.parquet").unlink(),
    "manifest of another version": lambda root: (root / ".versions/dataset-000004.json").replace(
        root / ".versions/dataset-000002.json"
    ),
    "manifest names a path": lambda root: _names_a_path(root / ".versions/dataset-000002.json"),
}


def _names_a_path(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace("videos/part-000002", "videos/../../part-000002"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_version_is_found_and_the_current_one_is_not_affected(
    root: Path, name: str
) -> None:
    BROKEN[name](root)
    with pytest.raises(DatasetError, match="Remedy: "):
        _ids(Dataset(root, version=2))
    assert _ids(Dataset(root)) == CONTENT[5]
    findings = check_dataset(root)
    assert {finding.severity for finding in findings} == {Severity.ERROR}
    assert all(finding.file.startswith(".versions") for finding in findings)
    assert all("collect" in finding.remedy for finding in findings)


def test_a_byte_of_a_kept_part_that_changed_is_found(root: Path) -> None:
    part = root / ".versions/videos/part-000002.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    (finding,) = check_dataset(root)
    assert finding.file == ".versions/videos/part-000002.parquet"
    assert "SHA-256" in finding.found
