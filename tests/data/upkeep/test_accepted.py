"""Export of what reviewers accepted: rows that join, texts as they left them, nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import avatargpt
from data.motion.skeleton import FPS
from data.records import Annotation, Clip, FineStep, Grounding, Outcome, PoseTrack, Verdict
from data.schemas import SCHEMAS, Row, annotation_row, clip_row, pose_row
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.reviews import hash_text, new_review, read_reviews, save_review
from data.store.writer import open_writer, rows_table
from data.upkeep.accepted import write_accepted
from data.upkeep.merging import merge_datasets
from flows.commands.main import app

FRAMES = 30
PEOPLE = (("v0", "c0", 0), ("v0", "c0", 1), ("v0", "c1", 0), ("v1", "c2", 0))


def _track(track: int) -> PoseTrack:
    return PoseTrack(
        track_id=track,
        pts_s=np.arange(FRAMES) / FPS,
        joints_3d=np.ones((FRAMES, 22, 3), np.float32),
        root_trajectory=np.zeros((FRAMES, 3), np.float32),
        joints_2d=np.zeros((FRAMES, 22, 2), np.float32),
        confidence=np.ones((FRAMES, 22), np.float32),
        valid=np.ones(FRAMES, np.bool_),
        quality=0.5,
    )


def _annotation(video: str, clip: str, track: int) -> Annotation:
    unchecked = Grounding(Verdict.NOT_MEASURABLE, "", 0.0, 1.0)
    return Annotation(
        clip_id=clip,
        video_id=video,
        track_id=track,
        coarse="A scene.",
        medium=(f"{clip}/{track} walks.",),
        fine=(FineStep("walk", 0.0, 1.0, unchecked),),
        activity="walk",
        annotator="rules",
        model="",
        prompt_id="",
        outcome=Outcome.SUCCESS,
    )


def _row(table: str, **values: Any) -> Row:
    return dict.fromkeys(SCHEMAS[table].names) | values


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three clips of two videos; in the first clip are two people."""
    clips = {clip: Clip(clip, video, 0, 0, 45, 0.0, 1.5, 0.5, "", 0.0) for video, clip, _ in PEOPLE}
    motion = {"num_frames": 1, "num_features": 263, "features": [0.0] * 263, "credible": []}
    rows: dict[str, list[Row]] = {
        "videos": [_row("videos", video_id=one, coarse="A scene.") for one in ("v0", "v1")],
        "clips": [
            clip_row(one, num_people=1, num_tracks=1, decoder="pyav", quality=0.5, issues=())
            for one in clips.values()
        ],
        "poses": [pose_row(clips[clip], _track(track), "full") for _, clip, track in PEOPLE],
        "captions": [
            _row("captions", video_id=video, clip_id=clip, track_id=track, sample=0)
            for video, clip, track in (*PEOPLE, ("v0", "c0", None))
        ],
        "annotations": [annotation_row(_annotation(*one), clips[one[1]]) for one in PEOPLE],
        "motions": [
            _row("motions", motion_id=f"m-{clip}-{track}", clip_id=clip, track_id=track, **motion)
            for _, clip, track in PEOPLE
        ],
        "rejections": [_row("rejections", item_id="x", stage="poses", reason="no_person")],
    }
    with open_writer(tmp_path / "dataset", {"clips": 1}) as writer:
        writer.publish({name: rows_table(name, of_table) for name, of_table in rows.items()})
        writer.set_license("cc-by-4.0")
    return tmp_path / "dataset"


def _save(root: Path, person: int, level: Any, judgment: Any = "accepted", **more: Any) -> None:
    row = list(Dataset(root).rows("annotations"))[person]
    given = {name: row[name] for name in ("video_id", "clip_id", "track_id", "sample")}
    given |= {"level": level, "judgment": judgment, "value": None, "reviewer": "Ada"}
    save_review(root, new_review(**given | {"text_hash": hash_text(level, row)} | more))


def test_only_accepted_rows_are_exported_with_what_they_join(root: Path, tmp_path: Path) -> None:
    assert check_dataset(root) == []
    out = tmp_path / "out"
    _save(root, 0, "medium")
    with pytest.raises(DatasetError, match=r"none in 1 reviews\. Remedy: review"):
        write_accepted(root, out)
    assert not out.exists()
    steps = '[{"text": "stroll", "start_s": 0, "end_s": 1, "judgment": "edited", "of": 0}]'
    _save(root, 0, "fine", "edited", value=steps)
    _save(root, 0, "person", value='{"name": "Bob"}')
    _save(root, 1, "medium")
    _save(root, 1, "fine", "rejected")
    # Accepted texts that were replaced since, and those of somebody who is none, are left out.
    _save(root, 2, "medium", text_hash="former")
    _save(root, 2, "fine")
    for level in ("medium", "fine"):
        _save(root, 3, level)
    _save(root, 3, "person", "rejected")
    assert avatargpt.open_dataset(root).accepted()["clip_id"].tolist() == ["c0"]

    result = CliRunner().invoke(app, ["export-accepted", str(root), str(out), "--json"])
    assert result.exit_code == 0, result.exception
    one_of_each = ("videos", "clips", "poses", "annotations", "motions")
    assert json.loads(result.output)["rows"] == dict.fromkeys(one_of_each, 1) | {"captions": 2}
    assert check_dataset(out) == []
    (row,) = Dataset(out).rows("annotations")
    assert [step["text"] for step in row["fine"]] == ["stroll"]
    assert (row["clip_id"], row["track_id"]) == ("c0", 0)
    assert avatargpt.open_dataset(out).frame("motions")["motion_id"].tolist() == ["m-c0-0"]
    assert Dataset(out).manifest["license"] == "cc-by-4.0"
    kept = [(one.level, one.judgment) for one in read_reviews(out)]
    assert kept == [("medium", "accepted"), ("fine", "edited"), ("person", "accepted")]
    # Published texts of the original are not mixed in afterwards.
    with pytest.raises(DatasetError, match="another configuration: export"):
        merge_datasets([root], out)
    with pytest.raises(DatasetError, match="expected a new or empty folder"):
        write_accepted(root, out)
