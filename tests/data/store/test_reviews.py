"""Reviews are never lost, and change what readers get, but not what was published."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import avatargpt
from data.schemas import SCHEMAS
from data.store.dataset import Dataset, RowIndex
from data.store.manifest import DatasetError
from data.store.reviews import (
    FOLD_AT,
    Review,
    fold_reviews,
    hash_text,
    new_review,
    newest,
    read_reviews,
    save_review,
)
from data.store.writer import open_writer, rows_table


def _grounding(verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "measurement": "1 m", "start_s": 0.0, "end_s": 1.0}


def _step(text: str, start_s: float, verdict: str = "supported") -> dict[str, Any]:
    end_s = start_s + 1.0
    return {"text": text, "start_s": start_s, "end_s": end_s, "grounding": _grounding(verdict)}


def _row(table: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(SCHEMAS[table].names) | {"video_id": "v0"} | values


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of one clip with two people."""
    people = [
        _row(
            "annotations",
            clip_id="c0",
            track_id=track,
            sample=0,
            coarse="A scene.",
            medium=["A person walks.", "Someone walks."],
            medium_grounding=[_grounding("supported"), _grounding("supported")],
            fine=[_step("walk", 0.0), _step("jump", 1.0, "contradicted"), _step("sit", 2.0)],
            grounding_score=0.8,
        )
        for track in (0, 1)
    ]
    tables = {
        "videos": [_row("videos", path="v.mp4", coarse="A scene.")],
        "clips": [_row("clips", clip_id="c0")],
        "poses": [_row("poses", clip_id="c0", track_id=track) for track in (0, 1)],
        "annotations": people,
    }
    with open_writer(tmp_path / "dataset", {}) as writer:
        writer.publish({name: rows_table(name, rows) for name, rows in tables.items()})
    return tmp_path / "dataset"


def _save(root: Path, **values: Any) -> Review:
    row = next(Dataset(root).rows("annotations"))
    given: dict[str, Any] = {"video_id": "v0", "clip_id": "c0", "track_id": 0, "sample": 0}
    given |= {"judgment": "accepted", "value": None, "reviewer": "Ada"} | values
    given.setdefault("text_hash", hash_text(given["level"], row))
    review = new_review(**given)
    save_review(root, review)
    return review


def test_overrides_change_what_readers_get(root: Path) -> None:
    _save(root, level="coarse", judgment="edited", value='"A kitchen."')
    _save(root, level="medium", judgment="edited", value='["A person runs."]')
    steps = (
        '[{"text": "walk", "start_s": 0.0, "end_s": 1.0, "judgment": "accepted", "of": 0},'
        '{"text": "jump", "start_s": 1.0, "end_s": 2.0, "judgment": "rejected", "of": 1},'
        '{"text": "sit down", "start_s": 2.1, "end_s": 3.0, "judgment": "edited", "of": 2},'
        '{"text": "wave", "start_s": 0.5, "end_s": 0.9, "judgment": "added", "of": null}]'
    )
    _save(root, level="fine", judgment="edited", value=steps)
    first, second = Dataset(root, reviews=True).rows("annotations")
    assert first["coarse"] == second["coarse"] == "A kitchen."
    assert next(Dataset(root, reviews=True).rows("videos"))["coarse"] == "A kitchen."
    assert first["medium"] == ["A person runs."]
    assert [step["text"] for step in first["fine"]] == ["walk", "wave", "sit down"]
    assert [step["grounding"]["verdict"] for step in first["fine"]] == [
        *("supported", "not_measurable", "not_measurable")
    ]
    assert first["grounding_score"] == 1.0
    # The other person keeps their texts, and so does what was published.
    assert len(second["medium"]) == 2
    assert second["grounding_score"] == 0.8
    assert next(Dataset(root).rows("annotations"))["medium"][0] == "A person walks."
    # A single column, and an index of rows, show the same.
    frame = Dataset(root, reviews=True).frame("annotations", ["medium"])
    assert frame.columns.tolist() == ["medium"]
    assert frame["medium"][0].tolist() == ["A person runs."]
    index = RowIndex(Dataset(root, reviews=True), "annotations", "clip_id", ["coarse"])
    assert [row["coarse"] for row in index.get(["c0"])["c0"]] == ["A kitchen."] * 2


def test_rejected_levels_are_left_empty(root: Path) -> None:
    for level in ("coarse", "medium", "fine"):
        _save(root, level=level, judgment="rejected")
    row = next(Dataset(root, reviews=True).rows("annotations"))
    assert (row["coarse"], list(row["medium"]), list(row["fine"])) == ("", [], [])
    assert row["grounding_score"] is None


def test_false_people_are_left_out(root: Path) -> None:
    _save(root, level="person", judgment="rejected", track_id=1)
    for table in ("annotations", "poses"):
        frame = Dataset(root, reviews=True).frame(table)
        assert frame["track_id"].tolist() == [0]
        assert len(Dataset(root).frame(table)) == 2
    _save(root, level="person", judgment="withdrawn", track_id=1)
    assert len(Dataset(root, reviews=True).frame("annotations")) == 2


def test_the_last_review_holds_and_can_be_taken_back(root: Path) -> None:
    _save(root, level="medium", judgment="edited", value='["First."]')
    _save(root, level="medium", judgment="edited", value='["Second."]', reviewer="Bea")
    shown = next(Dataset(root, reviews=True).rows("annotations"))
    assert shown["medium"] == ["Second."]
    _save(root, level="medium", judgment="withdrawn", reviewer="Bea")
    shown = next(Dataset(root, reviews=True).rows("annotations"))
    assert shown["medium"] == ["First."]
    (by,) = newest(read_reviews(root)).values()
    assert by.keys() == {"Ada"}


def test_a_review_of_a_former_text_does_not_apply(root: Path) -> None:
    _save(root, level="medium", judgment="rejected", text_hash="of another text")
    row = next(Dataset(root, reviews=True).rows("annotations"))
    assert len(row["medium"]) == 2


def test_pandas_reads_the_reviews(root: Path) -> None:
    saved = _save(root, level="medium")
    frame = pd.read_parquet(root / "reviews")
    assert frame["review_id"].tolist() == [saved.review_id]
    assert frame["reviewer"].tolist() == ["Ada"]


def test_many_reviewers_at_once_lose_nothing(root: Path) -> None:
    def judge(number: int) -> str:
        return _save(root, level="medium", reviewer=f"R{number % 3}").review_id

    with ThreadPoolExecutor(8) as pool:
        saved = set(pool.map(judge, range(FOLD_AT + 40)))
    assert {review.review_id for review in read_reviews(root)} == saved
    # They were folded meanwhile.
    assert len(list((root / "reviews").glob("*.parquet"))) < FOLD_AT
    fold_reviews(root)
    assert {review.review_id for review in read_reviews(root)} == saved
    times = [review.reviewed_at for review in read_reviews(root)]
    assert times == sorted(times)


def test_reviews_are_saved_while_another_process_writes(root: Path) -> None:
    with open_writer(root, {}):
        save = (
            "import sys; from pathlib import Path; from data.store.reviews import *;"
            "save_review(Path(sys.argv[1]), new_review(video_id='v0', clip_id='c0', track_id=0,"
            "sample=0, level='person', judgment='rejected', value=None, text_hash='',"
            "reviewer='Bea'))"
        )
        subprocess.run([sys.executable, "-P", "-c", save, str(root)], check=True)
    assert len(Dataset(root, reviews=True).frame("annotations")) == 1
    # The next publication keeps them.
    with open_writer(root, {}) as writer:
        row = _row("rejections", item_id="x", stage="ingest")
        writer.publish({"rejections": rows_table("rejections", [row])})
    assert len(read_reviews(root)) == 1


def test_unfinished_and_damaged_files(root: Path) -> None:
    _save(root, level="medium")
    folder = root / "reviews"
    # What a killed process leaves is not read.
    (folder / ".review-00-killed.parquet").write_bytes(b"half")
    assert len(read_reviews(root)) == 1
    (folder / "review-99-damaged.parquet").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"review-99-damaged.*Remedy"):
        read_reviews(root)
    (folder / "review-99-damaged.parquet").unlink()
    (folder / "review-99-link.parquet").symlink_to("/etc/passwd")
    with pytest.raises(DatasetError, match="found a link"):
        read_reviews(root)


def test_values_of_another_form_are_named(root: Path) -> None:
    saved = _save(root, level="fine", judgment="edited", value='[{"text": 1}]')
    with pytest.raises(DatasetError, match=saved.review_id):
        Dataset(root, reviews=True).frame("annotations")


def test_accepted_rows_are_told_apart(root: Path) -> None:
    dataset = avatargpt.open_dataset(root)
    assert len(dataset.accepted()) == 0
    _save(root, level="medium")
    assert len(dataset.accepted()) == 0
    steps = '[{"text": "walk", "start_s": 0, "end_s": 1, "judgment": "accepted", "of": 0}]'
    _save(root, level="fine", judgment="edited", value=steps)
    kept = avatargpt.open_dataset(root).accepted(["track_id", "fine"])
    assert kept["track_id"].tolist() == [0]
    assert [step["text"] for step in kept["fine"][0]] == ["walk"]
    assert len(avatargpt.open_dataset(root, reviews=False).frame("annotations")["fine"][0]) == 3
    _save(root, level="medium", judgment="rejected", reviewer="Bea")
    assert len(dataset.accepted()) == 0
