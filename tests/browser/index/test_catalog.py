"""The index of a larger dataset, compared with what a plain loop over its rows finds."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import make_dataset
from browser.index.build import build_index, index_path
from browser.index.catalog import Catalog, ListQuery, Sort
from data.store.dataset import Dataset

PEOPLE = 700


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("index") / "dataset"
    make_dataset(root, PEOPLE)
    return root


@pytest.fixture(scope="module")
def catalog(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    dataset = Dataset(root)
    path = index_path(root, dataset.manifest, tmp_path_factory.mktemp("cache"))
    return Catalog(build_index(dataset, path, print))


@pytest.fixture(scope="module")
def stored(root: Path) -> dict[str, dict[str, Any]]:
    """Annotations by clip, with what the list knows of the clip and its video."""
    dataset = Dataset(root)
    paths = {row["video_id"]: row["path"] for row in dataset.rows("videos")}
    clips = {row["clip_id"]: row for row in dataset.rows("clips")}
    found: dict[str, dict[str, Any]] = {}
    for row in dataset.rows("annotations"):
        clip = clips[row["clip_id"]]
        verdicts = [step["grounding"]["verdict"] for step in row["fine"]]
        verdicts += [one["verdict"] for one in row["medium_grounding"]]
        steps = [step["text"] for step in row["fine"]]
        path = paths[row["video_id"]]
        texts = [*row["medium"], *steps, row["coarse"], row["activity"]]
        text = " ".join([*texts, Path(path).name, row["clip_id"]])
        found[row["clip_id"]] = {
            "path": path,
            "start_s": row["start_s"],
            "activity": row["activity"],
            "camera": clip["camera"],
            "people": clip["num_people"],
            "quality": clip["quality"],
            "score": row["grounding_score"],
            "contradicted": verdicts.count("contradicted"),
            "supported": verdicts.count("supported"),
            "title": row["medium"][0],
            "words": set(re.findall(r"[^\W_]+", text.lower())),
        }
    return found


def ids(catalog: Catalog, query: ListQuery) -> list[str]:
    """Return the ids of all pages."""
    found: list[str] = []
    while True:
        page = catalog.page(query)
        found += [entry["id"] for entry in page.entries]
        if page.next is None:
            assert page.total == len(found)
            return found
        assert len(page.entries) == query.limit
        query = query.model_copy(update={"after": page.next})


def test_entries_tell_what_is_stored(catalog: Catalog, stored: dict[str, dict[str, Any]]) -> None:
    for entry in catalog.page(ListQuery(limit=200)).entries:
        expected = stored[entry["id"]]
        assert {name: entry[name] for name in expected if name != "words"} == {
            name: value for name, value in expected.items() if name != "words"
        }
        assert entry["verdict"] == ("contradicted" if expected["contradicted"] else "supported")
        assert catalog.entry("person", entry["id"]) == entry
    assert catalog.entry("person", "unknown") is None
    assert catalog.entry("motion", next(iter(stored))) is None


def test_facets_count_every_value(catalog: Catalog, stored: dict[str, dict[str, Any]]) -> None:
    facets = catalog.facets()
    for name in ("activity", "camera", "people"):
        counted = Counter(str(row[name]) for row in stored.values())
        assert {row["value"]: row["count"] for row in facets[name]} == counted


@pytest.mark.parametrize(
    "asked",
    [
        {"activity": ("activity_1", "activity_9")},
        {"camera": ("moving",), "people": (2, 3)},
        {"verdict": ("contradicted",), "camera": ("static",), "limit": 7},
        {"activity": ("unknown",)},
    ],
)
def test_filters_are_those_of_the_rows(
    catalog: Catalog, stored: dict[str, dict[str, Any]], asked: dict[str, Any]
) -> None:
    def fits(row: dict[str, Any]) -> bool:
        row = row | {"verdict": "contradicted" if row["contradicted"] else "supported"}
        return all(row[name] in values for name, values in asked.items() if name != "limit")

    expected = [clip for clip, row in stored.items() if fits(row)]
    assert sorted(ids(catalog, ListQuery(**asked))) == sorted(expected)


@pytest.mark.parametrize("length", [1, 2, 20])
def test_words_are_those_of_the_texts(
    catalog: Catalog, stored: dict[str, dict[str, Any]], length: int
) -> None:
    first, *_ = (word for row in stored.values() for word in sorted(row["words"]))
    rare = next(iter(stored))
    for prefixes in ([first[:length]], [first[:length], "activity"], [rare[:length]], ["mp4"]):
        expected = [
            clip
            for clip, row in stored.items()
            if all(any(word.startswith(one) for word in row["words"]) for one in prefixes)
        ]
        assert sorted(ids(catalog, ListQuery(q=" ".join(prefixes)))) == sorted(expected)
    assert len(ids(catalog, ListQuery(q="video_0000003.mp4"))) == 10
    assert ids(catalog, ListQuery(q=f"{rare} {rare[:-1]}")) == [rare]


@pytest.mark.parametrize("sort", ["file", "score", "contradicted", "quality", "longest"])
def test_orders_are_complete_and_sorted(
    catalog: Catalog, stored: dict[str, dict[str, Any]], sort: Sort
) -> None:
    # All clips are equally long.
    keys: dict[str, Callable[[dict[str, Any]], float]] = {
        "score": lambda row: row["score"],
        "contradicted": lambda row: -row["contradicted"],
        "quality": lambda row: row["quality"],
    }

    def key(clip: str) -> tuple[Any, ...]:
        row = stored[clip]
        return keys[sort](row) if sort in keys else 0, row["path"], row["start_s"], clip

    assert ids(catalog, ListQuery(sort=sort, limit=150)) == sorted(stored, key=key)
    some = ListQuery(sort=sort, camera=("moving",), q="activity", limit=31)
    moving = [clip for clip, row in stored.items() if row["camera"] == "moving"]
    assert ids(catalog, some) == sorted(moving, key=key)


def test_a_page_beyond_the_last_is_empty(catalog: Catalog) -> None:
    for query in (ListQuery(after=10**9), ListQuery(after=10**9, camera=("moving",))):
        page = catalog.page(query)
        assert page.entries == []
        assert page.next is None


def test_rows_are_where_the_index_says(catalog: Catalog, root: Path) -> None:
    dataset = Dataset(root)
    for table, key in (("clips", "clip_id"), ("annotations", "clip_id"), ("videos", "video_id")):
        every = [row[key] for row in dataset.rows(table, [key])]
        for number in (0, len(every) // 2, len(every) - 1):
            assert catalog.places(table, every[number]) == [(0, number)]
    assert catalog.places("clips", "unknown") == []
    assert catalog.places("motions", "unknown") == []


def test_people_are_reviewed_in_a_random_order_or_the_worst_first(
    catalog: Catalog, stored: dict[str, dict[str, Any]]
) -> None:
    at_random = [row["id"] for row in catalog.reviewable("random", PEOPLE + 1)]
    assert sorted(at_random) == sorted(stored)
    assert at_random != [entry["id"] for entry in catalog.page(ListQuery(limit=200)).entries]
    worst = [row["contradicted"] > 0 for row in catalog.reviewable("worth", PEOPLE)]
    assert worst == sorted(worst, reverse=True)
    assert sum(worst) == catalog.contradicted
    assert catalog.people == PEOPLE


def test_an_empty_dataset_has_an_index(tmp_path: Path) -> None:
    make_dataset(tmp_path / "empty", 1)
    dataset = Dataset(tmp_path / "empty")
    dataset.manifest["tables"] = {
        name: {**table, "parts": [], "rows": 0}
        for name, table in dataset.manifest["tables"].items()
    }
    path = index_path(dataset.root, dataset.manifest, tmp_path)
    catalog = Catalog(build_index(dataset, path, print))
    assert catalog.page(ListQuery()).total == 0
    assert catalog.page(ListQuery(q="walk", kind=("person",))).entries == []
    assert catalog.facets()["kind"] == []
    assert catalog.reviewable("random", 5) == []
