"""Datasets of earlier schema versions are read, and rows of other columns are not mixed in."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import pytest

from annotators.motion.from_tracks import find_video_motions
from data.motion.skeleton import FPS
from data.records import Annotation, BodyEvent, Clip, ClipScene, ObjectSpan, Outcome, PoseTrack
from data.schemas import (
    SCHEMA_VERSION,
    SCHEMAS,
    Row,
    annotation_row,
    clip_row,
    load_credible,
    load_objects,
    load_track,
    pose_row,
)
from data.store.check import check_dataset
from data.store.dataset import Dataset, RowIndex
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table

FRAMES: Final = 30
CLIP: Final = Clip("c0", "v0", 0, 0, 45, 0.0, 1.5, 0.5, "static", 0.0)
BALL: Final = ObjectSpan("ball", 0.5, 1.0, 0.75, "right_wrist")

VERSION_4: Final = {
    "clips": "clip_id video_id shot_index start_s end_s start_frame end_frame num_people "
    "num_tracks decoder brightness camera camera_speed quality issues schema_version code_version",
    "poses": "clip_id video_id track_id num_frames num_joints joints_3d root_trajectory joints_2d "
    "confidence valid pts_s pose_model quality schema_version code_version",
    "captions": "video_id clip_id captioner model prompt_id text sample frame_times_s uses_motion "
    "outcome reason tokens_in tokens_out cost_usd latency_s request_id schema_version code_version",
    "annotations": "clip_id video_id sample track_id start_s end_s coarse medium fine "
    "medium_grounding activity grounding_score annotator model prompt_id reply outcome reason "
    "tokens_in tokens_out cost_usd latency_s request_id schema_version code_version",
    "motions": "motion_id source source_path source_id source_fps video_id clip_id track_id group "
    "split mirrored_of labels texts num_frames num_features features quality foot_skate_m_s "
    "jitter_m_s3 license schema_version code_version",
}
"""The columns of version 4, in their order."""


def _track() -> PoseTrack:
    return PoseTrack(
        track_id=3,
        pts_s=np.arange(FRAMES) / FPS,
        joints_3d=np.ones((FRAMES, 22, 3), np.float32),
        root_trajectory=np.zeros((FRAMES, 3), np.float32),
        joints_2d=np.zeros((FRAMES, 22, 2), np.float32),
        confidence=np.ones((FRAMES, 22), np.float32),
        valid=np.ones(FRAMES, np.bool_),
        quality=0.5,
        objects=(BALL,),
    )


EVENT: Final = BodyEvent(
    "raise", "arm", "left", "up", "head", None, "ball", 2, 0.5, "m", 0.25, 1.0, 0.75, 4
)


def _annotation() -> Annotation:
    return Annotation(
        clip_id="c0",
        video_id="v0",
        track_id=3,
        coarse="One.",
        medium=("A.",),
        fine=(),
        activity="walk",
        annotator="rules",
        model="m",
        prompt_id="p",
        outcome=Outcome.SUCCESS,
        events=(EVENT,),
        objects=(BALL,),
        others=(4,),
    )


def _rows() -> dict[str, list[Row]]:
    scene = ClipScene("c0", 2, (ObjectSpan("bicycle", 0.0, 1.5, 0.5),))
    clip = clip_row(
        CLIP, num_people=1, num_tracks=1, decoder="pyav", quality=0.5, issues=(), scene=scene
    )
    caption = dict.fromkeys(SCHEMAS["captions"].names) | {"video_id": "v0", "clip_id": "c0"}
    motion = dict.fromkeys(SCHEMAS["motions"].names) | {
        "motion_id": "m0",
        "features": [0.0] * 263,
        "credible": [True] * 22,
    }
    return {
        "videos": [dict.fromkeys(SCHEMAS["videos"].names) | {"video_id": "v0"}],
        "clips": [clip],
        "poses": [pose_row(CLIP, _track(), "full")],
        "captions": [caption],
        "annotations": [annotation_row(_annotation(), CLIP)],
        "motions": [motion | {"num_frames": 1, "num_features": 263, "features": [0.0] * 263}],
    }


def _written(root: Path) -> dict[str, Any]:
    tables = {name: rows_table(name, rows) for name, rows in _rows().items()}
    with open_writer(root, {"recipe": 4}) as writer:
        writer.publish(tables)
    return tables


def _make_version_4(root: Path) -> None:
    _make_former(root, 4, {name: columns.split() for name, columns in VERSION_4.items()})


def _make_former(root: Path, version: int, tables: dict[str, list[str]]) -> None:
    """Leave a version's columns in the tables that had others."""
    manifest = json.loads((root / "dataset.json").read_text())
    for name, columns in tables.items():
        (part,) = manifest["tables"][name]["parts"]
        path = root / part["file"]
        pq.write_table(pq.read_table(path).select(columns), path)
        content = path.read_bytes()
        part |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (root / "dataset.json").write_text(json.dumps(manifest | {"schema_version": version}))


def test_events_and_objects_survive_a_round_trip(tmp_path: Path) -> None:
    _written(tmp_path)
    dataset = Dataset(tmp_path)
    (row,) = dataset.rows("annotations")
    assert [BodyEvent(**event) for event in row["events"]] == [EVENT]
    assert (load_objects(row), list(row["others"])) == ((BALL,), [4])
    (pose,) = dataset.rows("poses")
    assert load_track(pose).objects == (BALL,)
    assert load_track(pose).boxes is None
    (clip,) = dataset.rows("clips")
    assert (clip["people_count"], [found.name for found in load_objects(clip)]) == (2, ["bicycle"])


def test_a_dataset_of_version_4_is_read_with_empty_columns(tmp_path: Path) -> None:
    _written(tmp_path)
    _make_version_4(tmp_path)
    dataset = Dataset(tmp_path)
    (row,) = dataset.rows("annotations", where={"clip_id": ["c0"]})
    assert (row["medium"], row["track_id"]) == (["A."], 3)
    assert [list(row[name]) for name in ("events", "objects", "others")] == [[], [], []]
    assert list(dataset.rows("annotations", ["events"])) == [{"events": []}]
    assert list(dataset.rows("captions", ["track_id"])) == [{"track_id": None}]
    assert list(dataset.rows("captions", ["clip_id"], {"track_id": [1]})) == []
    (pose,) = RowIndex(dataset, "poses", "clip_id").get(["c0"])["c0"]
    assert (load_track(pose).objects, load_track(pose).num_frames) == ((), FRAMES)
    assert load_track(pose).boxes is None
    (clip,) = dataset.rows("clips")
    assert (clip["people_count"], load_objects(clip)) == (None, ())
    (motion,) = dataset.rows("motions", ["motion_id", "credible"])
    assert load_credible(motion) is None
    assert dataset.frame("annotations").columns.tolist() == SCHEMAS["annotations"].names
    assert check_dataset(tmp_path) == []


def test_a_dataset_of_version_5_is_read_without_boxes(tmp_path: Path) -> None:
    _written(tmp_path)
    _make_former(tmp_path, 5, {"poses": [n for n in SCHEMAS["poses"].names if n != "boxes"]})
    (pose,) = Dataset(tmp_path).rows("poses")
    assert load_track(pose).boxes is None
    assert load_track(pose).objects == (BALL,)


def test_rows_of_changed_tables_are_not_added_to_version_4(tmp_path: Path) -> None:
    tables = _written(tmp_path)
    _make_version_4(tmp_path)
    with open_writer(tmp_path, {"recipe": 4}) as writer:
        for name in VERSION_4:
            told = rf"expected schema version {SCHEMA_VERSION} to add {name}, found 4.*new folder"
            with pytest.raises(DatasetError, match=told):
                writer.publish({name: tables[name]})
        # The columns of videos are those of version 4.
        assert writer.publish({"videos": tables["videos"]}).added["videos"] == 1
    with (
        pytest.raises(DatasetError, match=r"another configuration, found 4\. Remedy: annotate or"),
        open_writer(tmp_path, {"recipe": 5}),
    ):
        pass
    assert Dataset(tmp_path).num_rows("annotations") == 1


def test_a_missing_column_of_version_4_is_an_error(tmp_path: Path) -> None:
    _written(tmp_path)
    path = tmp_path / "poses/part-000001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["objects", "track_id"]), path)
    found = [finding.found for finding in check_dataset(tmp_path)]
    assert any("found a difference in ['track_id (int16)']" in text for text in found)


def test_boxes_survive_a_round_trip(tmp_path: Path) -> None:
    boxes_T4 = np.arange(FRAMES * 4, dtype=np.float32).reshape(FRAMES, 4)
    in_part = replace(_track(), boxes=boxes_T4, objects=())
    rows = _rows() | {"poses": [pose_row(CLIP, in_part, "full")]}
    with open_writer(tmp_path, {}) as writer:
        writer.publish({name: rows_table(name, of_table) for name, of_table in rows.items()})
    (pose,) = Dataset(tmp_path).rows("poses")
    loaded = load_track(pose).boxes
    assert loaded is not None
    np.testing.assert_array_equal(loaded, boxes_T4)
    assert check_dataset(tmp_path) == []
    assert list(find_video_motions(tmp_path)) == []
