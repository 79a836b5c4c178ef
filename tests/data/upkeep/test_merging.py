"""Merging of datasets: every row once, parts copied byte by byte, conflicts named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from data.errors import Reason, Stage
from data.schemas import SCHEMAS
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.reviews import Review, new_review, read_reviews, save_review
from data.store.writer import open_writer, rows_table
from data.upkeep.collection import collect_versions
from data.upkeep.compaction import compact_dataset
from data.upkeep.comparison import compare_datasets
from data.upkeep.merging import merge_datasets
from flows.commands.main import app

RECIPE = {"clips": {"max_clip_s": 10.0}}


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    empty = dict.fromkeys(SCHEMAS[name].names)
    return rows_table(name, [{**empty, **row} for row in rows])


def _video(video_id: str, path: str = "/a", **clip: Any) -> dict[str, list[dict[str, Any]]]:
    """Rows of a video with one clip."""
    return {
        "videos": [{"video_id": video_id, "path": f"{path}/{video_id}.mp4", "issues": []}],
        "clips": [{"video_id": video_id, "clip_id": f"c-{video_id}", "issues": [], **clip}],
    }


def _rejection(item_id: str, video_id: str | None, stage: Stage) -> dict[str, Any]:
    reason = Reason.DECODE_TIMEOUT.value
    return {"item_id": item_id, "video_id": video_id, "stage": stage.value, "reason": reason}


def _write(root: Path, *publications: dict[str, list[dict[str, Any]]], recipe: Any = None) -> Path:
    with open_writer(root, recipe or RECIPE) as writer:
        for rows in publications:
            writer.publish({name: _table(name, listed) for name, listed in rows.items()})
    return root


def _ids(root: Path, table: str = "clips", column: str = "clip_id") -> list[str]:
    return Dataset(root).read(table, [column])[column].to_pylist()


def test_parts_are_copied_and_every_row_is_there_once(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0"), _video("v1"))
    b = _write(tmp_path / "b", _video("v2"), {"rejections": [_rejection("x", None, Stage.INGEST)]})
    out = tmp_path / "out"
    done = merge_datasets([a, b], out)
    assert done.rows == {"videos": 3, "clips": 3, "rejections": 1}
    assert (done.copied_parts, done.written_parts, done.known) == (7, 0, 0)
    assert _ids(out) == ["c-v0", "c-v1", "c-v2"]
    assert pd.read_parquet(out / "clips")["clip_id"].tolist() == _ids(out)
    originals = [part.read_bytes() for root in (a, b) for part in Dataset(root).parts("clips")]
    assert [part.read_bytes() for part in Dataset(out).parts("clips")] == originals
    assert check_dataset(out) == []
    manifest = Dataset(out).manifest
    assert (manifest["publications"], manifest["recipe"]) == (1, RECIPE)
    # Once more: nothing is new, and nothing is published.
    again = merge_datasets([a, b], out)
    assert (again.rows, again.known) == ({}, 3)
    assert Dataset(out).manifest["publications"] == 1
    # The result is extended.
    c = _write(tmp_path / "c", _video("v3"))
    assert merge_datasets([c], out).rows == {"videos": 1, "clips": 1}
    assert _ids(out) == ["c-v0", "c-v1", "c-v2", "c-v3"]
    assert check_dataset(out) == []


def test_a_video_of_two_datasets_is_taken_once_if_it_is_equal(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0", "/a"), _video("v1", "/a"))
    b = _write(tmp_path / "b", {n: r + _video("v1")[n] for n, r in _video("v2", "/b").items()})
    done = merge_datasets([a, b], tmp_path / "out")
    assert (done.known, done.preferred, done.written_parts) == (1, [], 2)
    assert _ids(tmp_path / "out") == ["c-v0", "c-v1", "c-v2"]
    assert _ids(tmp_path / "out", "videos", "path") == ["/a/v0.mp4", "/a/v1.mp4", "/b/v2.mp4"]
    assert check_dataset(tmp_path / "out") == []


def test_a_video_that_differs_is_named_or_taken_from_the_first(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0", quality=1.0), _video("v1"))
    b = _write(tmp_path / "b", _video("v0", quality=0.5), _video("v2"))
    out = tmp_path / "out"
    with pytest.raises(
        DatasetError, match=rf"video v0: .*{a}, found others in {b}\. Remedy.*first"
    ):
        merge_datasets([a, b], out)
    assert not out.exists()
    done = merge_datasets([b, a], out, prefer="first")
    assert done.preferred == ["v0"]
    frame = Dataset(out).frame("clips").set_index("clip_id")
    assert frame["quality"].to_dict()["c-v0"] == 0.5
    assert sorted(frame.index) == ["c-v0", "c-v1", "c-v2"]
    # More rows of a video are a difference, too.
    c = _write(tmp_path / "c", _video("v1"), {"captions": [{"video_id": "v1"}]})
    with pytest.raises(DatasetError, match="video v1: expected the same rows"):
        merge_datasets([c], out)


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0"))
    b = _write(tmp_path / "b", _video("v1"), recipe={"clips": {"max_clip_s": 5.0}})
    with pytest.raises(
        DatasetError, match=rf"{b}: .*{a}.*clips\.max_clip_s \(expected 10\.0, found 5\.0\)"
    ):
        merge_datasets([a, b], tmp_path / "out")
    with pytest.raises(DatasetError, match=r"another configuration.*max_clip_s"):
        merge_datasets([a], b)
    with pytest.raises(ValueError, match="found the same folder"):
        merge_datasets([a], a)
    with pytest.raises(ValueError, match="found none"):
        merge_datasets([], a)


def test_rejections_are_taken_once_and_not_of_what_another_annotated(tmp_path: Path) -> None:
    listed = [_rejection("path-1", None, Stage.INGEST), _rejection("v1", "v1", Stage.CLIPS)]
    a = _write(tmp_path / "a", _video("v0"), {"rejections": listed})
    own = _rejection("c-v1/3", "v1", Stage.POSES)
    b = _write(tmp_path / "b", _video("v1"), {"rejections": [listed[0], own]})
    for sources in ([a, b], [b, a]):
        out = tmp_path / f"out {sources[0].name}"
        merge_datasets(sources, out)
        assert sorted(_ids(out, "rejections", "item_id")) == ["c-v1/3", "path-1"]
        assert check_dataset(out) == []
    # The same if the result rejected it first.
    merge_datasets([b], a)
    assert sorted(_ids(a, "rejections", "item_id")) == ["c-v1/3", "path-1"]
    assert sorted(_ids(Dataset(a, version=2).root, "videos", "video_id")) == ["v0", "v1"]
    assert Dataset(a, version=2).num_rows("rejections") == 2
    assert check_dataset(a) == []


def _motion(motion_id: str, group: str, split: str, license_id: str) -> dict[str, Any]:
    lists = {"features": [0.0], "labels": [], "texts": [], "credible": []}
    row = {"motion_id": motion_id, "group": group, "split": split, "license": license_id}
    return {**row, **lists, "num_frames": 1, "num_features": 1}


def test_motions_keep_their_splits_and_licenses(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", {"motions": [_motion("m0", "g", "train", "MIT")]})
    b = _write(tmp_path / "b", {"motions": [_motion("m1", "h", "test", "CC0")]})
    for root in (a, b):
        with open_writer(root, RECIPE) as writer:
            writer.set_license("cc-by-4.0")
    done = merge_datasets([a, b], tmp_path / "out")
    assert done.licenses == ["cc-by-4.0"]
    assert Dataset(tmp_path / "out").manifest["license"] == "cc-by-4.0"
    assert Dataset(tmp_path / "out").manifest["licenses"] == ["CC0", "MIT"]
    assert "Published under cc-by-4.0" in (tmp_path / "out/README.md").read_text()
    c = _write(tmp_path / "c", {"motions": [_motion("m2", "g", "test", "MIT")]})
    with pytest.raises(
        DatasetError, match=r"group 'g' in the split train, as in .*found test.*one"
    ):
        merge_datasets([a, c], tmp_path / "leak")
    # What only one of them may be published under is stated for none.
    d = _write(tmp_path / "d", {"motions": [_motion("m3", "i", "val", "MIT")]})
    assert merge_datasets([d], tmp_path / "out").licenses == ["", "cc-by-4.0"]
    assert Dataset(tmp_path / "out").manifest["license"] == ""


def test_a_damaged_part_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0"))
    (part,) = Dataset(a).parts("clips")
    content = part.read_bytes()
    part.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    out = _write(tmp_path / "out", _video("v1"))
    with pytest.raises(DatasetError, match=rf"{part}: expected .*check {a}"):
        merge_datasets([a], out)
    assert _ids(out) == ["c-v1"]


class Crash(BaseException):
    """Simulates SIGKILL within one process: nothing catches it."""


@pytest.mark.parametrize("step", range(8))
def test_a_merge_that_is_killed_is_not_there_or_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    out = _write(tmp_path / "out", _video("v0"))
    b = _write(tmp_path / "b", _video("v1"), _video("v2"))
    replace, left = Path.replace, step

    def crashing(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash
        return replace(self, target)

    crashed = False
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crashing)
        try:
            merge_datasets([b], out)
        except Crash:
            crashed = True
    # The journal, 4 parts, the card, the manifest.
    assert crashed == (step < 7)
    assert _ids(out) == (["c-v0"] if crashed else ["c-v0", "c-v1", "c-v2"])
    merge_datasets([b], out)
    assert _ids(out) == ["c-v0", "c-v1", "c-v2"]
    assert Dataset(out).manifest["publications"] == 2
    assert check_dataset(out) == []


def test_the_command_tells_what_was_merged(tmp_path: Path) -> None:
    a, b = _write(tmp_path / "a", _video("v0")), _write(tmp_path / "b", _video("v0"), _video("v1"))
    with open_writer(b, RECIPE) as writer:
        (writer.work / "unfinished").write_text("x")
    out = tmp_path / "out"
    arguments = ["merge", str(a), str(b), "--dataset", str(out), "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"{out}: 2 videos, 2 clips" in result.stdout
    assert "1 videos or motions of several datasets were equal and taken once" in result.stdout
    assert f"{b} has unfinished work, which is not merged" in result.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["rows"], told["known"]) == ({}, 2)


def _review(root: Path, video_id: str, level: str = "medium", **values: Any) -> Review:
    given: dict[str, Any] = {"track_id": 0, "sample": 0, "text_hash": "", "reviewer": "Ada"}
    given |= {"judgment": "accepted", "value": None, "level": level, "video_id": video_id}
    review = new_review(**given | {"clip_id": f"c-{video_id}"} | values)
    save_review(root, review)
    return review


def _review_ids(root: Path) -> list[str]:
    return sorted(review.review_id for review in read_reviews(root))


def test_reviews_come_along_once_and_upkeep_leaves_them(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0"), _video("v1"))
    first = _review(a, "v0")
    # A copy of a dataset, reviewed on, has the same review.
    b = shutil.copytree(a, tmp_path / "b")
    second, third = _review(a, "v1"), _review(b, "v1", reviewer="Bob")
    every = sorted(review.review_id for review in (first, second, third))
    out = tmp_path / "out"
    done = merge_datasets([a, b], out)
    assert (done.reviews, done.reviews_left_out) == (3, 0)
    assert _review_ids(out) == every
    assert len(pd.read_parquet(out / "reviews")) == 3
    # Again: nothing is new; a review that was saved since is.
    assert merge_datasets([a, b], out).reviews == 0
    fourth = _review(b, "v0", judgment="rejected")
    assert merge_datasets([a, b], out).reviews == 1
    every = sorted([*every, fourth.review_id])
    assert (_review_ids(out), _review_ids(a)) == (
        every,
        sorted([first.review_id, second.review_id]),
    )
    merge_datasets([_write(tmp_path / "c", _video("v2"))], out)
    files = {path.name: path.read_bytes() for path in (out / "reviews").iterdir()}
    assert compact_dataset(out).version is not None
    assert collect_versions(out).versions
    assert {path.name: path.read_bytes() for path in (out / "reviews").iterdir()} == files
    assert check_dataset(out) == []
    told = compare_datasets(Dataset(a), Dataset(b))
    assert (told.is_equal, told.reviews) == (False, (1, 2))
    result = CliRunner().invoke(app, ["diff", str(a), str(b)])
    assert (result.exit_code, result.output) == (1, "reviews: 2 added, 1 removed\n")


def test_reviews_of_people_stay_with_their_rows(tmp_path: Path) -> None:
    a = _write(tmp_path / "a", _video("v0", start_s=0.0))
    b = _write(tmp_path / "b", _video("v0", start_s=1.0))
    kept, text = _review(a, "v0", "person"), _review(b, "v0")
    _review(b, "v0", "person", judgment="rejected")
    out = tmp_path / "out"
    command = ["merge", str(a), str(b), "--dataset", str(out), "--prefer", "first"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.exception
    assert "2 reviews added" in result.output and "1 reviews of people left out" in result.output
    assert _review_ids(out) == sorted([kept.review_id, text.review_id])
