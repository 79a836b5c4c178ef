"""Import of the AvatarGPT release without its defects, and export in its format."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from benchmarks.support.corpus import REFERENCE
from data.importers.avatargpt_json import export_avatargpt_json, import_avatargpt_json, split_steps
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table

SAMPLES = REFERENCE / "avatargpt_sample"
FINAL = SAMPLES / "avatargpt_sample_final.json"
DESCRIPTIONS = SAMPLES / "avatargpt_sample_desc.json"


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    return Dataset(root).read(table).to_pylist()


@pytest.fixture(scope="module")
def imported(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imported") / "dataset"
    import_avatargpt_json([reference / "avatargpt_sample" / FINAL.name], root)
    return root


def _made(folder: Path) -> Path:
    """A file in the format of the release with its defects: repeated captions, and chatter."""

    def caption(detail: str, executable: str) -> dict[str, Any]:
        return {"detail": detail, "executable": executable, "simplified": [detail, detail]}

    segments = [
        {
            **{"start_time": 10 * n, "end_time": 10 * n + 10},
            **{"start_frame": 250 * n, "end_frame": 250 * n + 250},
            "captions": 3 * [caption(f"Walk {n}.", "1. stand up\n2. walk"), caption("x", apology)],
        }
        for n, apology in enumerate(("1. sit\n2. rest", "I am sorry, as an AI I cannot help."))
    ]
    path = folder / "made.json"
    video = {"video_name": "v.mp4", "video_fps": 25, "description": 3 * ["A person in a park."]}
    path.write_text(json.dumps({**video, "caption_list": segments}))
    return path


def test_a_release_comes_in_without_its_faults_and_out_again(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    report = import_avatargpt_json([_made(tmp_path)], root)
    assert report.added["clips"] == 2
    annotations = _rows(root, "annotations")
    steps = [[step["text"] for step in row["fine"]] for row in annotations]
    assert sorted(steps) == [["sit", "rest"], ["stand up", "walk"], ["stand up", "walk"]]
    assert [row["reason"] for row in _rows(root, "rejections")] == ["chatter"]
    assert dict(import_avatargpt_json([_made(tmp_path)], root).added) == {}
    export_avatargpt_json(root, tmp_path / "json")
    again = import_avatargpt_json([tmp_path / "json"], tmp_path / "again")
    assert again.num_repeated == 0
    assert [row["medium"] for row in _rows(tmp_path / "again", "annotations")] == [
        row["medium"] for row in annotations
    ]


def test_the_released_file_is_imported(imported: Path) -> None:
    released = json.loads(FINAL.read_text())
    clips = _rows(imported, "clips")
    captions = _rows(imported, "captions")
    annotations = _rows(imported, "annotations")
    rejections = _rows(imported, "rejections")
    assert len(clips) == len(released["caption_list"]) == 68
    assert [(c["start_s"], c["end_s"], c["end_frame"]) for c in clips[:2]] == [
        (0.0, 10.0, 250),
        (10.0, 20.0, 500),
    ]
    # 18 captions a segment, each of them three times.
    of_clips = [row for row in captions if row["clip_id"]]
    assert len(of_clips) == 68 * 6
    assert len({(row["clip_id"], row["text"]) for row in of_clips}) == 68 * 6
    # Nothing is lost: what is no annotation is a rejection with its reason.
    assert len(annotations) + len(rejections) == 68 * 6
    assert {row["reason"] for row in rejections} == {"chatter"}
    assert len(rejections) == 4
    keys = [(row["clip_id"], row["sample"]) for row in annotations]
    assert len(set(keys)) == len(keys)
    for row in annotations:
        assert row["medium"]
        assert row["fine"]
        assert not any(step["text"][0].isdigit() for step in row["fine"])
        assert row["grounding_score"] is None


def test_plain_pandas_reads_it(imported: Path) -> None:
    frame: Any = pd.read_parquet(imported / "annotations")
    assert frame["fine"].iloc[0][0]["text"] == (
        "Woman in workout clothes with a towel wrapped around her hair."
    )
    assert set(frame["annotator"]) == {"avatargpt-release"}


def test_out_again_gives_what_came_in(imported: Path, tmp_path: Path) -> None:
    (path,) = export_avatargpt_json(imported, tmp_path)
    released = json.loads(FINAL.read_text())
    exported = json.loads(path.read_text())
    assert exported["video_name"] == released["video_name"]
    assert exported["video_fps"] == released["video_fps"]
    assert exported["description"] == list(dict.fromkeys(released["description"]))
    rejected = {row["item"].split("segment ")[1] for row in _rows(imported, "rejections")}
    checked = 0
    for index, (old, new) in enumerate(
        zip(released["caption_list"], exported["caption_list"], strict=True)
    ):
        for name in ("start_time", "end_time", "start_frame", "end_frame"):
            assert (new[name], type(new[name])) == (old[name], type(old[name]))
        distinct = list({json.dumps(c): c for c in old["captions"]}.values())
        kept = [c for s, c in enumerate(distinct) if f"{index} caption {s}" not in rejected]
        assert len(kept) == len(new["captions"])
        for one, other in zip(kept, new["captions"], strict=True):
            assert other["detail"] == one["detail"].strip()
            assert split_steps(other["executable"]) == split_steps(one["executable"])
            assert other["simplified"] == list(
                dict.fromkeys(text.strip() for text in one["simplified"])
            )
            checked += 1
    assert checked == 404


def test_every_person_is_exported_with_their_own_caption(imported: Path, tmp_path: Path) -> None:
    """Two people of one clip, one of whom has a caption of their own."""
    dataset = Dataset(imported)
    (first, *_) = _rows(imported, "annotations")
    clip_id = first["clip_id"]
    other = {**first, "track_id": 1, "medium": ["Another person waits."]}
    caption = {**dict.fromkeys(SCHEMAS["captions"].names), "clip_id": clip_id, "track_id": 1}
    caption |= {"video_id": first["video_id"], "text": "Person 2 waits.", "sample": 0}
    root = tmp_path / "dataset"
    with open_writer(root, {}) as writer:
        tables = {name: dataset.read(name) for name in ("videos", "clips", "captions")}
        added = rows_table("captions", [caption | {"outcome": "success"}])
        tables["captions"] = pa.concat_tables([tables["captions"], added])
        writer.publish({**tables, "annotations": rows_table("annotations", [first, other])})
    (file,) = export_avatargpt_json(root, tmp_path / "json")
    (segment,) = json.loads(file.read_text())["caption_list"]
    of_clip = next(row["text"] for row in _rows(imported, "captions") if row["clip_id"] == clip_id)
    assert [c["detail"] for c in segment["captions"]] == [of_clip, "Person 2 waits."]
    assert segment["captions"][1]["simplified"] == ["Another person waits."]


def test_its_form_is_one_that_comes_in(imported: Path, tmp_path: Path) -> None:
    """Exported files are imported as the same rows, except for the ids."""
    export_avatargpt_json(imported, tmp_path / "json")
    report = import_avatargpt_json([tmp_path / "json"], tmp_path / "again")
    assert (report.num_videos, report.num_repeated) == (1, 0)
    first, again = (
        [
            (row["medium"], row["coarse"], [step["text"] for step in row["fine"]])
            for row in _rows(root, "annotations")
        ]
        for root in (imported, tmp_path / "again")
    )
    assert first == again


@pytest.mark.corpus
def test_descriptions_without_annotations_are_imported(tmp_path: Path) -> None:
    report = import_avatargpt_json([DESCRIPTIONS], tmp_path / "dataset")
    assert report.added["captions"] > 68 * 5
    assert report.added["annotations"] == report.added["rejections"] == 0


def test_a_second_time_nothing_is_added(imported: Path) -> None:
    before = (imported / "dataset.json").read_bytes()
    report = import_avatargpt_json([FINAL], imported)
    assert (report.num_videos, report.num_known, dict(report.added)) == (0, 1, {})
    assert (imported / "dataset.json").read_bytes() == before


def test_bad_files_and_segments_are_rejections(tmp_path: Path) -> None:
    good = {
        "start_time": 0,
        "end_time": 4,
        "start_frame": 0,
        "end_frame": 100,
        "captions": [{"detail": "A walk.", "executable": "1. walk", "simplified": ["A walk."]}],
    }
    files = {
        "not_json.json": "hello",
        "other.json": '{"a": 1}',
        "list.json": "[]",
        "mixed.json": json.dumps(
            {
                "video_name": "v.mp4",
                "video_fps": 25,
                "caption_list": [
                    good,
                    {**good, "start_frame": 100, "end_frame": 90},
                    {"start_time": 3},
                    {
                        **good,
                        "start_frame": 50,
                        "captions": [{"detail": "x", "executable": " ", "simplified": []}],
                    },
                ],
            }
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    root = tmp_path / "dataset"
    paths = [tmp_path, tmp_path / "missing.json"]
    report = import_avatargpt_json(paths, root)
    assert report.num_videos == 1
    found = {
        (Path(row["item"].split(" segment")[0]).name, row["reason"])
        for row in _rows(root, "rejections")
    }
    assert found == {
        ("not_json.json", "wrong_form"),
        ("other.json", "wrong_form"),
        ("list.json", "wrong_form"),
        ("missing.json", "not_found"),
        ("mixed.json", "wrong_form"),
        ("mixed.json", "no_steps"),
    }
    assert len(_rows(root, "rejections")) == 7
    assert len(_rows(root, "annotations")) == 1
    assert all(row["remedy"] for row in _rows(root, "rejections"))
    # Again: the same rejections are not written twice.
    assert dict(import_avatargpt_json(paths, root).added) == {}


def test_a_folder_without_json_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected JSON files of the AvatarGPT release"):
        import_avatargpt_json([tmp_path], tmp_path / "dataset")


def test_a_dataset_of_videos_is_not_mixed_with_it(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    with open_writer(root, {"clips": {}}) as writer:
        writer.publish({})
    with pytest.raises(DatasetError, match="made with another configuration"):
        import_avatargpt_json([_made(tmp_path)], root)


def test_steps_are_split_and_lose_their_numbers() -> None:
    text = "1. walk\n 2) turn left\n- jump\n\n* sit\nStep 3: stand 2 times\nrest"
    assert split_steps(text) == ["walk", "turn left", "jump", "sit", "stand 2 times", "rest"]
