"""Reviews on the page and in the notebook: the queue, saving, agreement, the truth of a dataset."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nbformat
import pytest
from nbclient import NotebookClient
from starlette.testclient import TestClient

from browser import reviews as book
from browser.reviews import kappa
from data.store.dataset import Dataset
from data.store.reviews import new_review, read_reviews
from tests.browser.conftest import ADDRESS, Browse

NOTEBOOK: Final = Path(__file__).parents[2] / "docs" / "browse.ipynb"


@pytest.fixture
def copied(annotated: Path, browse: Browse, tmp_path: Path) -> Iterator[tuple[Path, TestClient]]:
    """A dataset of its own, and the application on it."""
    root = tmp_path / "dataset"
    shutil.copytree(annotated, root)
    yield root, browse(root)


def _post(client: TestClient, **given: Any) -> Any:
    token = client.get("/api/dataset").json()["write_token"]
    values: dict[str, Any] = {"sample": 0, "judgment": "accepted", "reviewer": "Ada"}
    headers = {"Origin": ADDRESS, "X-Avatargpt": token}
    return client.post("/api/reviews", json=values | given, headers=headers)


def test_contradictions_come_first_and_saved_people_no_more(
    copied: tuple[Path, TestClient],
) -> None:
    root, client = copied
    rows = list(Dataset(root).rows("annotations"))
    seen: list[tuple[str, int]] = []
    for _ in rows:
        found = client.get("/api/review/next", params={"reviewer": "Ada"}).json()
        entry = found["entry"]
        if not seen:
            assert entry["verdict"] == "contradicted"
        seen.append((entry["id"], entry["track_id"]))
        item = {"clip_id": entry["id"], "track_id": entry["track_id"]}
        for level in ("medium", "fine"):
            assert _post(client, **item, level=level).status_code == 200
    assert sorted(seen) == sorted((row["clip_id"], row["track_id"]) for row in rows)
    assert client.get("/api/review/next", params={"reviewer": "Ada"}).json()["entry"] is None
    # Another reviewer begins anew, and may pass over.
    first = client.get("/api/review/next", params={"reviewer": "Bea"}).json()["entry"]
    assert (first["id"], first["track_id"]) == seen[0]
    asked = {"reviewer": "Bea", "skip": first["entry"]}
    second = client.get("/api/review/next", params=asked).json()["entry"]
    assert second is None or second["entry"] != first["entry"]


def test_the_list_is_filtered_by_what_is_reviewed(copied: tuple[Path, TestClient]) -> None:
    root, client = copied
    rows = list(Dataset(root).rows("annotations"))
    people = [(row["clip_id"], row["track_id"]) for row in rows]

    def listed(**asked: Any) -> list[tuple[str, int]]:
        entries = client.get("/api/entries", params=asked).json()["entries"]
        return [(entry["id"], entry["track_id"]) for entry in entries]

    def counts() -> dict[str, int]:
        facet = client.get("/api/dataset").json()["facets"]["reviewed"]
        return {row["value"]: row["count"] for row in facet}

    assert listed(reviewed="yes") == []
    assert sorted(listed(reviewed="no")) == sorted(people)
    assert counts() == {"no": len(people)}
    item = {"clip_id": people[0][0], "track_id": people[0][1]}
    # One level of two is not all of a person.
    _post(client, **item, level="medium")
    assert listed(reviewed="yes") == []
    _post(client, **item, level="fine")
    assert listed(reviewed="yes") == people[:1]
    assert sorted(listed(reviewed="no")) == sorted(people[1:])
    assert sorted(listed(reviewed=["yes", "no"])) == sorted(people)
    assert counts() == {"yes": 1, "no": len(people) - 1}
    _post(client, **item, level="fine", judgment="withdrawn")
    assert listed(reviewed="yes") == []
    assert client.get("/api/entries", params={"reviewed": "x"}).status_code == 422


def test_edits_reach_readers(copied: tuple[Path, TestClient]) -> None:
    root, client = copied
    row = next(Dataset(root).rows("annotations"))
    item = {"clip_id": row["clip_id"], "track_id": row["track_id"]}
    steps = [
        {"text": "stroll", "start_s": 0.5, "end_s": 1.5, "judgment": "edited", "of": 0},
        {"text": "wave", "start_s": 0.1, "end_s": 0.4, "judgment": "added", "of": None},
    ]
    saved = _post(client, **item, level="fine", judgment="edited", steps=steps)
    assert saved.status_code == 200, saved.text
    texts = ["  A person strolls.\x1b[2J  ", ""]
    assert _post(client, **item, level="medium", judgment="edited", texts=texts).status_code == 200
    shown = next(Dataset(root, reviews=True).rows("annotations"))
    assert [step["text"] for step in shown["fine"]] == ["wave", "stroll"]
    assert shown["medium"] == ["A person strolls."]
    # The page keeps what was published beside the review.
    told = client.get(f"/api/clips/{row['clip_id']}").json()["annotations"][0]
    assert told["medium"] == list(row["medium"])
    reviews = client.get(f"/api/reviews/{row['clip_id']}").json()
    assert {(one["level"], one["judgment"]) for one in reviews} == {
        *(("fine", "edited"), ("medium", "edited"))
    }
    # An undo is a review, too.
    _post(client, **item, level="fine", judgment="withdrawn")
    shown = next(Dataset(root, reviews=True).rows("annotations"))
    assert len(shown["fine"]) == len(row["fine"])
    assert len(read_reviews(root)) == 3


def test_unfit_reviews_are_refused(copied: tuple[Path, TestClient]) -> None:
    root, client = copied
    row = next(Dataset(root).rows("annotations"))
    item = {"clip_id": row["clip_id"], "track_id": row["track_id"]}
    step = {"text": "walk", "start_s": 2.0, "end_s": 1.0, "judgment": "edited", "of": 0}
    far = {"text": "walk", "start_s": 1.0, "end_s": 2.0, "judgment": "edited", "of": 99}
    for given in (
        {"level": "fine", "judgment": "edited", "steps": [step]},
        {"level": "fine", "judgment": "edited", "steps": [far]},
        {"level": "medium", "judgment": "edited", "texts": [" "]},
        {"level": "medium", "reviewer": "\x1b"},
        {"level": "nonsense"},
        {"level": "medium", "judgment": "edited", "texts": ["x" * 10**5] * 11},
    ):
        assert _post(client, **item, **given).status_code == 422, given
    unknown = {"clip_id": "../../x", "track_id": 0, "level": "medium"}
    assert _post(client, **unknown).status_code == 404
    assert read_reviews(root) == []


def test_the_truth_is_told_of_the_random_sample_only(
    copied: tuple[Path, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "ENOUGH", 2)
    root, client = copied
    drawn: list[dict[str, Any]] = []
    while True:
        asked = {"reviewer": "Ada", "mode": "random", "skip": [one["entry"] for one in drawn]}
        entry = client.get("/api/review/next", params=asked).json()["entry"]
        if entry is None:
            break
        drawn.append(entry)
    assert len(drawn) == 2
    items = [{"clip_id": one["id"], "track_id": one["track_id"]} for one in drawn]
    # The second of the random order alone is no beginning of it.
    for level in ("medium", "fine"):
        _post(client, **items[1], level=level, judgment="rejected")
    summary = client.get("/api/review/summary").json()
    assert (summary["people"], summary["sampled"], summary["truth"]) == (1, 0, [])
    for level in ("medium", "fine"):
        _post(client, **items[0], level=level)
    summary = client.get("/api/review/summary").json()
    assert summary["sampled"] == 2
    truth = {one["level"]: one for one in summary["truth"]}
    assert (truth["medium"]["right"], truth["medium"]["judged"]) == (1, 2)
    assert 0 < truth["medium"]["low"] < 0.5 < truth["medium"]["high"] < 1
    assert root.name == "dataset"


def test_agreement_of_two_reviewers() -> None:
    assert kappa([(True, True), (False, False)]) == 1.0
    assert kappa([(True, False), (False, True)]) == -1.0
    assert kappa([(True, True)] * 3) is None
    both = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(both) == pytest.approx(0.4)
    made = [
        new_review(
            video_id="v",
            clip_id=f"c{number}",
            track_id=0,
            sample=0,
            level="medium",
            judgment=judgment,
            value=None,
            text_hash="",
            reviewer=who,
        )
        for number, pair in enumerate([("accepted", "accepted"), ("rejected", "edited")])
        for who, judgment in zip(("Ada", "Bea"), pair, strict=True)
    ]
    (found,) = book.agreement(made)
    assert found == {"reviewers": ["Ada", "Bea"], "level": "medium", "both": 2, "kappa": 1.0}


def test_the_notebook_runs_and_its_review_reaches_readers(
    copied: tuple[Path, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = copied
    monkeypatch.setenv("AVATARGPT_DATASET", str(root))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    resources = {"metadata": {"path": str(NOTEBOOK.parents[1])}}
    client = NotebookClient(notebook, kernel_name="python3", resources=resources, timeout=300)
    client.execute()
    cells = {cell["id"]: json.dumps(cell.get("outputs")) for cell in notebook.cells}
    # What a reader sees: a plot, a motion, a correction among the reviews, and in the texts.
    assert "image/png" in cells["histogram"]
    assert "data:image/gif;base64," in cells["joints"]
    assert ", 22, 3) the pelvis is " in cells["joints"]
    assert "edited" in cells["merged"]
    text = "A person was looked at by hand."
    assert text in cells["seen"]
    assert text not in cells["withdraw"]
    # The reviews are there, and the undo, which leaves the dataset as it was.
    found = [(review.reviewer, review.judgment) for review in read_reviews(root)]
    assert found == [("notebook", "edited"), ("notebook", "withdrawn")]
