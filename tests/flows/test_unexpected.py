"""An error that nobody foresaw, on one item of a run: the others are published, the end tells."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from annotators.config import AnnotateConfig
from annotators.motion.from_tracks import find_video_motions
from annotators.stages.ingest import inspect_file
from annotators.stages.publish import recipe_of
from annotators.stages.staged import tracks_path
from data.importers.run import MotionImportConfig, import_motions
from data.records import Clip
from data.schemas import SCHEMAS, Row, pose_row
from data.store.dataset import Dataset
from data.store.writer import open_writer, rows_table, write_table
from tests.flows.runtime.test_failures import run
from tests.support.motions import as_track, raising_left_arm
from tests.support.text_run import stage_video

# A track whose times are missing: what no version of ours writes, so that nothing looks for it.
LACKING = {"pts_s": None}


def _row(table: str, **values: Any) -> Row:
    return dict.fromkeys(SCHEMAS[table].names) | values


def _rejected(root: Path) -> list[dict[str, Any]]:
    return Dataset(root).read("rejections").to_pylist()


def test_on_a_video_that_is_annotated(
    brief_clip: Path,
    walk_clip: Path,
    pose_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "dataset"
    config = AnnotateConfig(videos=("unused",), dataset=root)
    with open_writer(root, recipe_of(config, pose_model_path)) as writer:
        bad, good = (
            stage_video(writer.work, inspect_file(path), number, 2, first_frame=20)
            for number, path in enumerate((brief_clip, walk_clip))
        )
        tracks = tracks_path(writer.work, bad.clips[1])
        (row,) = pq.read_table(tracks).to_pylist()
        write_table(tracks, "poses", rows_table("poses", [row | LACKING]))
    videos = (str(brief_clip), str(walk_clip))
    with caplog.at_level(logging.ERROR):
        code, told = run(monkeypatch, capsys, "annotate", *videos, "--dataset", str(root))
    assert code == 1
    last = told.splitlines()[-1]
    assert last.startswith("error: ")
    assert f"the first: {brief_clip} 0.10-0.90 s: TypeError: " in last
    assert "Remedy: report the traceback from the log" in last
    assert f"{brief_clip} 0.10-0.90 s: unexpected error in captions\nTraceback" in caplog.text
    # A caption is of a clip; the scene of an annotation is of the whole video.
    assert {(r["item_id"], r["stage"], r["reason"]) for r in _rejected(root)} == {
        (bad.clips[1].clip_id, "captions", "unexpected"),
        *((clip.clip_id, "annotations", "unexpected") for clip in bad.clips),
    }
    dataset = Dataset(root)
    captioned, annotated = (
        {row["clip_id"] for row in dataset.read(table).to_pylist()}
        for table in ("captions", "annotations")
    )
    assert annotated == {clip.clip_id for clip in good.clips}
    assert captioned == annotated | {bad.clips[0].clip_id}


def test_on_a_motion_and_a_source_that_are_imported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Two datasets of a stranger: a track of the first lacks its times, which ends its worker's
    # call; a track of the second belongs to no clip, which ends the search in this process.
    bad_track, bad_table, root = (tmp_path / name for name in ("track", "table", "motions"))
    clips = [Clip(name, "v", 0, 0, 80, 0.0, 4.0, 0.5, "static", 0.0) for name in "ab"]
    poses = [pose_row(clip, as_track(raising_left_arm()), "test") for clip in clips]
    tables = {
        "videos": [_row("videos", video_id="v", path="/v.mp4")],
        "clips": [
            _row("clips", clip_id=c.clip_id, video_id="v", start_s=0.0, end_s=4.0, camera="static")
            for c in clips
        ],
        "poses": [poses[0], poses[1] | LACKING],
    }

    def publish(folder: Path, names: Iterable[str]) -> None:
        with open_writer(folder, {}) as writer:
            writer.publish({name: rows_table(name, tables[name]) for name in names})

    publish(bad_track, tables)
    publish(bad_table, ("videos", "poses"))
    sources = (str(bad_track), str(bad_table), "procedural:2")
    with caplog.at_level(logging.ERROR):
        code, told = run(monkeypatch, capsys, "import-motions", *sources, "--dataset", str(root))
    assert code == 1
    last = told.splitlines()[-1]
    assert "2 of " in last
    assert "ended with an unexpected error, the first: " in last
    assert "Remedy: report the traceback from the log" in last
    assert caplog.text.count("unexpected error in import\nTraceback") == 2
    rejected = {r["item"]: (r["reason"], r["detail"].split(":")[0]) for r in _rejected(root)}
    assert rejected == {
        "/v.mp4 0.00-4.00 s person 0": ("unexpected", "IndexError"),
        str(bad_table): ("unexpected", "KeyError"),
    }
    motions = Dataset(root).read("motions").to_pylist()
    assert {m["source"] for m in motions} == {"video", "procedural"}
    assert {m["clip_id"] for m in motions if m["source"] == "video"} == {"a"}

    # Mended, they are tried again where that is asked for.
    tables["poses"] = poses
    for folder in (bad_track, bad_table):
        shutil.rmtree(folder)
        publish(folder, tables)
    config = MotionImportConfig(sources=sources, dataset=root)
    assert import_motions(config, find_video_motions).added == {}
    config = config.model_copy(update={"retry_rejected": True})
    assert import_motions(config, find_video_motions).added["motions"] == 2
    assert _rejected(root) == []
