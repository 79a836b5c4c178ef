"""Datasets on S3: written and read by machines that share nothing else."""

import json
import re
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import avatargpt
from data.errors import Stage
from data.records import RejectionKey
from data.remote.addresses import S3Address
from data.remote.errors import RemoteError
from data.remote.links import find_link, find_link_above, link_folder
from data.remote.objects import delete_object, download_object, list_objects, write_object
from data.schemas import SCHEMAS, Row
from data.store import pushing
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.store.manifest import MANIFEST, DatasetError
from data.store.reviews import hash_text, new_review, read_reviews, save_review
from data.store.versions import read_versions
from data.store.writer import open_published, open_writer, rows_table
from data.upkeep.collection import collect_versions
from data.upkeep.compaction import compact_dataset
from tests.support.s3_server import Fault, Faulty, new_bucket, s3_server

RECIPE = {"clips": {"max_clip_s": 10.0}}
ADDRESS = "s3://team/sets/walks"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[Faulty]:
    monkeypatch.setattr(pushing, "_FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("data.remote.transfers.FIRST_WAIT_S", 0.0)
    with s3_server(monkeypatch) as server:
        new_bucket("team")
        yield server


@pytest.fixture
def machine(s3: Faulty, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives the folder of the dataset on a machine of a name."""
    del s3
    return lambda name, **options: link_folder(ADDRESS, tmp_path / name, **options)


def _row(table: str, **values: Any) -> Row:
    return {field.name: values.get(field.name) for field in SCHEMAS[table]}


def _tables(*video_ids: str, path: str = "/a") -> dict[str, pa.Table]:
    rows = {
        "videos": [_row("videos", video_id=one, path=path) for one in video_ids],
        "clips": [_row("clips", video_id=one, clip_id=f"c-{one}") for one in video_ids],
        "rejections": [
            _row("rejections", video_id=one, item_id=one, stage=Stage.POSES, reason="no_person")
            for one in video_ids
        ],
    }
    return {name: rows_table(name, listed) for name, listed in rows.items()}


def _publish(root: Path, *video_ids: str, **options: Any) -> dict[str, int]:
    with open_writer(root, RECIPE) as writer:
        return dict(writer.publish(_tables(*video_ids), **options).added)


def _ids(root: Path, version: int | None = None) -> list[str]:
    return [row["video_id"] for row in Dataset(root, version).rows("videos", ["video_id"])]


def _keys() -> list[str]:
    return [one.key.removeprefix("sets/walks/") for one in list_objects(S3Address("team", ""))]


def test_another_machine_reads_what_one_published(
    machine: Callable[..., Path], tmp_path: Path
) -> None:
    _publish(machine("one"), "v1", "v2")
    _publish(machine("two"), "v3")
    assert _ids(machine("one")) == _ids(machine("three")) == ["v1", "v2", "v3"]
    # Only the table that was read is here.
    assert not list(machine("three").glob("clips/*")) and list(machine("three").glob("videos/*"))
    assert check_dataset(machine("three")) == []

    copy = tmp_path / "copy"
    for key in _keys():
        (copy / key).parent.mkdir(parents=True, exist_ok=True)
        download_object(S3Address("team", f"sets/walks/{key}"), copy / key)
    assert check_dataset(copy) == []
    assert pd.read_parquet(copy / "videos")["video_id"].tolist() == ["v1", "v2", "v3"]


def test_older_versions_are_read_from_any_machine_until_they_are_collected(
    machine: Callable[..., Path],
) -> None:
    one = machine("one")
    _publish(one, "v1", "v2")
    reader = Dataset(machine("two"))
    _publish(one, "v1", replace_videos=["v1"])
    assert [row["video_id"] for row in reader.rows("videos", ["video_id"])] == ["v1", "v2"]
    for root in (one, machine("three")):
        assert _ids(root) == ["v2", "v1"] and _ids(root, 1) == ["v1", "v2"]
        assert [version.number for version in read_versions(root)] == [1, 2]
        assert check_dataset(root) == []
    assert any(key.startswith(".versions/videos/part-000001") for key in _keys())

    assert collect_versions(machine("four")).freed_bytes > 0
    assert not [key for key in _keys() if key.startswith(".versions")]
    for root in (one, machine("five")):
        assert _ids(root) == ["v2", "v1"]
        with pytest.raises(DatasetError, match="expected a version from 2 to 2, found 1"):
            Dataset(root, 1)


def test_runs_that_publish_at_the_same_time_both_land(machine: Callable[..., Path]) -> None:
    one, two = machine("one"), machine("two")
    with open_writer(one, RECIPE) as first, open_writer(two, RECIPE) as second:
        first.publish(_tables("v1"))
        second.publish(_tables("v2"))  # the first publication, too, as it believed
        first.publish(_tables("v3"), replace_videos=["v1"])
        # A video that the other run finished first is taken once; its own are all added.
        again = second.publish(
            _tables("v3", "v4", path="/b"), replace_rejections=[RejectionKey("v2", Stage.POSES)]
        )
        assert again.added["videos"] == again.added["clips"] == again.added["rejections"] == 1
    rows = list(Dataset(machine("three")).rows("videos", ["video_id", "path"]))
    assert [(row["video_id"], row["path"]) for row in rows] == [
        ("v2", "/a"),
        ("v3", "/a"),
        ("v4", "/b"),
    ]
    rejected = [row["item_id"] for row in Dataset(one).rows("rejections", ["item_id"])]
    assert rejected == ["v3", "v4"]
    assert check_dataset(machine("three")) == []


def test_a_change_that_cannot_be_continued_is_refused(
    machine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machine("one"), machine("two")
    for video_id in ("v1", "v2", "v3"):
        _publish(one, video_id)
    swap = pushing._swap  # pyright: ignore[reportPrivateUsage]

    def late(*arguments: Any) -> str:
        monkeypatch.setattr(pushing, "_swap", swap)
        _publish(two, "v4")
        return swap(*arguments)

    monkeypatch.setattr(pushing, "_swap", late)
    with pytest.raises(DatasetError, match=r"version 3, found that another run .*run the same"):
        compact_dataset(one, 1.0)
    assert _ids(two) == ["v1", "v2", "v3", "v4"]
    assert compact_dataset(one, 1.0).version == 5
    assert _ids(two) == ["v1", "v2", "v3", "v4"] and check_dataset(two) == []


@pytest.mark.parametrize("kind", [500, 503, 409, 412, "lost"])
def test_a_commit_lands_once_under_faults(
    s3: Faulty, machine: Callable[..., Path], kind: Any
) -> None:
    root = machine("one")
    s3.faults += [Fault(kind, "PUT", MANIFEST), Fault(503, "PUT", "part-")]
    _publish(root, "v1")
    s3.faults += [Fault(kind, "PUT", MANIFEST), Fault("cut", "GET", MANIFEST)]
    _publish(root, "v2")
    dataset = Dataset(machine("two"))
    assert dataset.manifest["publications"] == 2
    s3.faults += [Fault("cut", "GET", "part-"), Fault(500, "GET", "part-")]
    assert _ids(machine("two")) == ["v1", "v2"]
    assert check_dataset(machine("two")) == []


def test_a_manifest_that_is_always_refused_is_named(
    s3: Faulty, machine: Callable[..., Path]
) -> None:
    root = machine("one")
    _publish(root, "v1")
    s3.faults.append(Fault(412, "PUT", MANIFEST, 100))
    with pytest.raises(RemoteError, match=r"dataset\.json: expected to replace the manifest"):
        _publish(root, "v2")
    s3.faults.clear()
    assert _ids(root) == ["v1"]
    _publish(root, "v2")
    assert _ids(machine("two")) == ["v1", "v2"]


class Crash(BaseException):
    """Simulates SIGKILL within one process: nothing catches it."""


@pytest.mark.parametrize("place", ["_swap", "_retire"])
def test_what_a_killed_writer_leaves_is_not_read_and_collected(
    machine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    one = machine("one")
    _publish(one, "v1", "v2")

    def die(*_: Any) -> Any:
        raise Crash

    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(pushing, place, die)
        _publish(one, "v1", replace_videos=["v1"])
    done = place == "_retire"
    two = machine("two")
    assert _ids(two) == _ids(one) == (["v2", "v1"] if done else ["v1", "v2"])
    assert _ids(two, 1) == ["v1", "v2"]
    assert check_dataset(two) == []
    _publish(two, "v3")

    collect_versions(two)  # young objects may be those of a run that is about to commit
    orphans = [key for key in _keys() if key.startswith("videos/part-000002")]
    assert bool(orphans) and check_dataset(machine("three")) == []
    monkeypatch.setattr(pushing, "GRACE", type(pushing.GRACE)(0))
    collect_versions(two)
    listed = {part["file"] for t in Dataset(two).manifest["tables"].values() for part in t["parts"]}
    assert {key for key in _keys() if key.endswith(".parquet")} == listed
    assert sorted(_ids(machine("four"))) == ["v1", "v2", "v3"]


def test_a_folder_holds_only_the_parts_that_fit(machine: Callable[..., Path]) -> None:
    one = machine("one")
    for number in range(6):
        _publish(one, f"v{number}")
    size = max(path.stat().st_size for path in one.glob("*/*.parquet"))
    small = machine("small", cache_gb=2.5 * size / 1e9)
    for _ in range(2):
        assert _ids(small) == [f"v{number}" for number in range(6)]
        assert sum(path.stat().st_size for path in small.glob("*/*.parquet")) <= 2.5 * size
    assert check_dataset(small) == []


def test_an_object_with_other_content_is_named(machine: Callable[..., Path]) -> None:
    _publish(machine("one"), "v1")
    (key,) = [key for key in _keys() if key.startswith("videos/")]
    write_object(S3Address("team", f"sets/walks/{key}"), b"something else")
    with pytest.raises(RemoteError, match=rf"{key}: expected \d+ bytes as in the manifest"):
        _ids(machine("two"))


def test_a_dataset_that_is_not_there_is_named(machine: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match="expected a dataset"):
        Dataset(machine("one"))
    with pytest.raises(DatasetError, match="expected a dataset"), open_published(machine("one")):
        pass
    with pytest.raises(ValueError, match="expected a prefix after the bucket"):
        link_folder("s3://team", Path("/nowhere"))


def test_a_dataset_cannot_bring_a_link_along(machine: Callable[..., Path], tmp_path: Path) -> None:
    one = machine("one")
    _publish(one, "v1")
    planted = tmp_path / "s3" / "downloads"
    shutil.copytree(one, planted)
    shutil.copytree(one.parent / ".links", planted / ".links")
    assert find_link(planted) is None and find_link_above(planted / "videos") is None
    links = tmp_path / "s3" / ".links"
    links.mkdir()
    shutil.copy(one.parent / ".links" / f"{one.name}.json", links / "downloads.json")
    with pytest.raises(RemoteError, match="expected the link of downloads"):
        find_link(planted)
    assert find_link_above(one / "videos" / "x") == (find_link(one), "videos/x")


def _reviewed(root: Path, text: str, reviewer: str) -> str:
    row = next(Dataset(root).rows("annotations"))
    key = {name: row[name] for name in ("video_id", "clip_id", "track_id", "sample")}
    of_text = {"level": "medium", "judgment": "edited", "value": json.dumps([text])}
    review = new_review(**key, **of_text, text_hash=hash_text("medium", row), reviewer=reviewer)
    save_review(root, review)
    return review.review_id


def test_reviews_are_objects_that_every_machine_reads(
    machine: Callable[..., Path], s3: Faulty, tmp_path: Path
) -> None:
    key = {"video_id": "v0", "clip_id": "c-v0", "track_id": 0, "sample": 0}
    texts = {"medium": ["A person walks."], "medium_grounding": [], "fine": []}
    row = _row("annotations", **key, **texts)
    one, two = machine("one"), machine("two")
    with open_writer(one, RECIPE) as writer:
        writer.publish(_tables("v0") | {"annotations": rows_table("annotations", [row])})
    first = _reviewed(one, "A person runs.", "Ada")
    assert [review.review_id for review in read_reviews(two)] == [first]
    second = _reviewed(two, "A person strolls.", "Bob")
    assert [review.review_id for review in read_reviews(one)] == [first, second]
    opened = avatargpt.open_dataset(ADDRESS, cache=tmp_path / "three")
    assert opened.frame("annotations")["medium"][0].tolist() == ["A person strolls."]
    assert len(opened.accepted()) == 0  # the steps were not judged
    opened = avatargpt.open_dataset(ADDRESS, cache=tmp_path / "three", reviews=False)
    assert opened.frame("annotations")["medium"][0].tolist() == ["A person walks."]

    # Publications and upkeep leave them, as objects and as copies.
    copies = sorted((one / "reviews").iterdir())
    _publish(two, "v1")
    assert compact_dataset(two).version is not None
    collect_versions(two)
    Dataset(one)
    assert sorted((one / "reviews").iterdir()) == copies and len(copies) == 2
    assert [review.review_id for review in read_reviews(machine("four"))] == [first, second]
    assert check_dataset(two) == []

    # What S3 refuses is not saved anywhere: the reviewer is told, and saves it again.
    s3.faults.append(Fault(403, "PUT", "reviews/"))
    with pytest.raises(RemoteError):
        _reviewed(one, "A person crawls.", "Ada")
    assert sorted((one / "reviews").iterdir()) == copies
    assert [review.review_id for review in read_reviews(one)] == [first, second]

    # Only what is on S3 holds; a damaged object is named by its address.
    damaged = S3Address("team", "sets/walks/reviews/review-damaged.parquet")
    write_object(damaged, b"not a table")
    with pytest.raises(DatasetError, match=re.escape(str(damaged))):
        read_reviews(one)
    assert any("review-damaged" in finding.file for finding in check_dataset(one))
    delete_object(damaged)
    assert [review.review_id for review in read_reviews(one)] == [first, second]
