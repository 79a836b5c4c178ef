"""The list: entries of all kinds, filters, search, order and pages."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from starlette.testclient import TestClient

from browser.index.build import index_path
from browser.index.catalog import ListQuery
from data.store.dataset import Dataset
from tests.browser.conftest import NAME, Browse


def asked(client: TestClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/entries", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_people_and_rejections_are_entries(client: TestClient, annotated: Path) -> None:
    dataset = Dataset(annotated)
    entries = asked(client)["entries"]
    people = [entry for entry in entries if entry["kind"] == "person"]
    assert [(e["id"], e["track_id"]) for e in people] == [
        (row["clip_id"], row["track_id"]) for row in dataset.rows("annotations")
    ]
    assert {Path(entry["path"]).name for entry in people} == {NAME}
    rejected = {entry["id"]: entry for entry in entries if entry["kind"] == "rejection"}
    assert rejected.keys() == {row["item_id"] for row in dataset.rows("rejections")}
    # What was rejected in a video has its place there; a file that is none has not.
    placed = {entry["reason"]: entry["end_s"] is not None for entry in rejected.values()}
    assert placed["no_person"]
    assert not placed["not_a_video"]


def test_filters_agree_with_their_counts(client: TestClient) -> None:
    facets = client.get("/api/dataset").json()["facets"]
    assert [row["value"] for row in facets["verdict"]].count("contradicted") == 1
    checked = 0
    for name, values in facets.items():
        for row in values:
            assert asked(client, **{name: row["value"]})["total"] == row["count"], (name, row)
            checked += 1
    assert checked > 8
    both = asked(client, verdict=["contradicted", "supported"])
    assert both["total"] == asked(client, kind="person")["total"]


def test_words_are_found_from_their_start(client: TestClient) -> None:
    total = asked(client, kind="person")["total"]
    assert asked(client, q="WALK")["total"] >= 1
    assert asked(client, q="wal script")["total"] == 1
    assert asked(client, q="alk")["total"] == 0
    assert asked(client, q="onerror", kind="person")["total"] == total
    assert asked(client, q="nosuchword walk")["total"] == 0


def test_pages_show_every_motion_once(browse: Browse, motions_root: Path) -> None:
    client = browse(motions_root)
    stored = {row["motion_id"]: row["num_frames"] for row in Dataset(motions_root).rows("motions")}
    for sort in ("file", "longest", "quality"):
        seen: list[dict[str, Any]] = []
        after: int | None = None
        while True:
            page = asked(client, sort=sort, limit=7, **({"after": after} if after else {}))
            assert page["total"] == len(stored)
            seen += page["entries"]
            after = page["next"]
            if after is None:
                break
        assert sorted(entry["id"] for entry in seen) == sorted(stored)
    longest = asked(client, sort="longest", limit=7)["entries"]
    lengths = [stored[entry["id"]] for entry in longest]
    assert lengths == sorted(stored.values(), reverse=True)[:7]
    split = asked(client, split="val")
    assert 0 < split["total"] < len(stored)
    assert {entry["split"] for entry in split["entries"]} == {"val"}


def test_wrong_questions_are_refused(client: TestClient) -> None:
    assert client.get("/api/entries", params={"sort": "'; DROP TABLE entries"}).status_code == 422
    assert client.get("/api/entries", params={"limit": 10**6}).status_code == 422
    assert client.get("/api/entries", params={"unknown": "x"}).status_code == 422
    assert asked(client, activity="' OR true --")["total"] == 0
    assert ListQuery().limit < 200


def test_a_new_version_is_shown(browse: Browse, annotated: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(annotated, root)
    client = browse(root)
    before = client.get("/api/dataset").json()
    manifest = (root / "dataset.json").read_text()
    (part,) = Dataset(root).parts("rejections")
    pq.write_table(pq.read_table(part).slice(0, 1), part)
    changed = manifest.replace(before["updated_at"], "2031-01-01T00:00:00+00:00")
    (root / "dataset.json").write_text(changed)
    while (now := client.get("/api/dataset").json())["updated_at"] == before["updated_at"]:
        pass
    assert now["updated_at"].startswith("2031")
    assert asked(client, kind="rejection")["total"] == 1


def test_the_index_depends_on_the_version_only(annotated: Path, tmp_path: Path) -> None:
    manifest = Dataset(annotated).manifest
    path = index_path(annotated, manifest, tmp_path)
    assert path == index_path(annotated, dict(manifest), tmp_path)
    assert path != index_path(annotated, {**manifest, "updated_at": "later"}, tmp_path)
    assert path.parent != index_path(tmp_path, manifest, tmp_path).parent
    assert path.parent.parent == tmp_path / "browser"


def test_a_damaged_part_is_named(browse: Browse, annotated: Path, tmp_path: Path) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(annotated, root)
    (part,) = Dataset(root).parts("clips")
    part.write_bytes(part.read_bytes()[:100])
    answer = browse(root).get("/api/dataset")
    assert answer.status_code == 409
    assert "avatargpt check" in answer.json()["detail"]
