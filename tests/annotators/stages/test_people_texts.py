"""Texts of several people in a clip: marked for a visual model, one row each, nobody lost."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from annotators.config import AnnotateConfig
from annotators.models import open_models
from annotators.run import Run
from annotators.stages.estimates import estimate_texts
from annotators.stages.ingest import Ingested
from annotators.stages.publish import publish_videos
from annotators.stages.staged import (
    SourceVideo,
    StagedAnnotations,
    StagedCaptions,
    StagedPoses,
    StagedScan,
    poses_path,
    read_staged,
    scene_path,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.stages.texts import annotate_videos, caption_videos
from annotators.status import read_status
from annotators.texts.config import AnnotationConfig, CaptionConfig
from benchmarks.support.chat_server import Asked, ChatServer
from data.errors import Reason
from data.records import Clip, ClipScene, ObjectSpan, PoseTrack, Shot, VideoScan
from data.schemas import pose_row
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table, write_table
from data.video.probe import probe_video
from data.workers.workers import Workers
from tests.support.motions import as_track, raising_left_arm, standing
from tests.support.text_run import make_config

CLIP_S = 3.0
BENCH = ObjectSpan("bench", 0.5, 1.5, 0.75, "left_ankle")
LEFT, RIGHT, TINY = 2, 0, 1
"""Tracks of the three people."""


def _track(
    motion: np.ndarray[Any, Any], track_id: int, left_px: float, height_px: float
) -> PoseTrack:
    """Return a track whose body has this left edge and height in the image."""
    track = as_track(motion[: round(20 * CLIP_S)], track_id=track_id)
    scale = height_px / np.ptp(track.joints_2d[..., 1])
    joints_2d = (track.joints_2d - track.joints_2d.min(axis=(0, 1))) * scale
    corner = np.array([left_px, 40.0])
    # Nobody has to do with anybody else, five meters apart.
    root_T3 = track.root_trajectory + np.array([5.0 * track_id, 0.0, 0.0], np.float32)
    joints_2d = (joints_2d + corner).astype(np.float32)
    return replace(track, joints_2d=joints_2d, root_trajectory=root_T3)


def _stage(work: Path, path: Path, tracks: list[PoseTrack]) -> StagedScan:
    probe = probe_video(path)
    frames = round(CLIP_S * float(probe.fps))
    clip = Clip("clip", "video", 0, 0, frames, 0.0, CLIP_S, 0.5, "static", 0.0)
    (work / "poses").mkdir(parents=True, exist_ok=True)
    rows = rows_table("poses", [pose_row(clip, track, "test") for track in tracks])
    write_table(tracks_path(work, clip), "poses", rows)
    write_staged(poses_path(work, clip), StagedPoses(clip, 2, len(tracks), "pyav", 0.9, (), None))
    write_staged(scene_path(work, clip), ClipScene("clip", 2, (replace(BENCH, near=""),)))
    shot = Shot(0, frames, 0.0, CLIP_S, 0.5, "static", 0.0)
    scan = VideoScan(frames, CLIP_S, (shot,), ())
    staged = StagedScan(SourceVideo("video", 0, probe), scan, (clip,), ())
    write_staged(video_path(work, "scans", "video"), staged)
    return staged


def _people(width_px: int) -> list[PoseTrack]:
    raising = _track(raising_left_arm(), LEFT, 0.1 * width_px, 600.0)
    return [
        replace(raising, objects=(BENCH,)),
        _track(standing(CLIP_S + 1), RIGHT, 0.6 * width_px, 450.0),
        _track(standing(CLIP_S + 1), TINY, 0.9 * width_px, 20.0),
    ]


@pytest.fixture
def annotated(
    sample_clip: Path, tmp_path: Path
) -> Callable[[AnnotateConfig, list[PoseTrack] | None], Dataset]:
    """Return a function that writes and publishes the texts of staged people."""

    def run(config: AnnotateConfig, tracks: list[PoseTrack] | None = None) -> Dataset:
        with (
            open_writer(config.dataset, config.recipe("test")) as writer,
            Workers(config.workers) as workers,
            open_models(config, lambda _: None, tmp_path / "replies") as models,
        ):
            width_px = probe_video(sample_clip).width_px
            scan = _stage(writer.work, sample_clip, tracks or _people(width_px))
            shared = Run(config, writer.work, workers, models=models)
            (done,) = annotate_videos(shared, caption_videos(shared, [scan]))
            publish_videos(writer, Ingested(), [done.video.video_id])
        dataset = Dataset(config.dataset)
        assert check_dataset(config.dataset) == []
        return dataset

    return run


def _config(dataset: Path, base_url: str = "http://127.0.0.1:1/v1", **more: Any) -> AnnotateConfig:
    config = make_config(dataset, base_url)
    values = json.loads(config.model_dump_json())
    for section, changes in more.items():
        values[section] |= changes
    return AnnotateConfig.model_validate(values)


def test_each_person_who_is_seen_well_has_a_row(
    annotated: Callable[..., Dataset], tmp_path: Path
) -> None:
    config = _config(tmp_path / "dataset").model_copy(
        update={"captions": CaptionConfig(), "annotations": AnnotationConfig()}
    )
    dataset = annotated(config)
    rows = {row["track_id"]: row for row in dataset.rows("annotations")}
    assert rows.keys() == {LEFT, RIGHT}
    assert rows[LEFT]["activity"] == "raise_left_arm"
    assert rows[RIGHT]["medium"][0] == "A person stands still."
    assert "raise" in {event["kind"] for event in rows[LEFT]["events"]}
    assert [found["name"] for found in rows[LEFT]["objects"]] == ["bench"]
    assert {row["coarse"] for row in rows.values()} == {
        "Two people are seen in a full-body view with a bench, filmed by a static camera in a "
        "single shot of about three seconds."
    }
    captions = {row["track_id"]: row["text"] for row in dataset.rows("captions")}
    assert captions[LEFT].startswith("Two people are in the picture. The person on the left is")
    assert "the person on the right stands still" in captions[RIGHT]
    assert sorted(row["track_id"] for row in dataset.rows("poses")) == [RIGHT, TINY, LEFT]
    (rejection,) = dataset.rows("rejections")
    assert (rejection["item_id"], rejection["reason"]) == (f"clip/{TINY}", "poorly_seen")
    assert rejection["item"].endswith(f"0.00-3.00 s person {TINY}")
    (clip,) = dataset.rows("clips")
    assert (clip["people_count"], clip["num_tracks"]) == (2, 3)


def test_a_clip_of_people_who_are_seen_poorly_is_rejected_once(
    annotated: Callable[..., Dataset], tmp_path: Path
) -> None:
    config = _config(tmp_path / "dataset", people={"min_confidence": 0.99})
    config = config.model_copy(
        update={"captions": CaptionConfig(), "annotations": AnnotationConfig()}
    )
    with pytest.raises(DatasetError, match="expected a dataset"):
        # Without an annotation nothing is published.
        annotated(config)
    (work,) = (config.dataset / ".staging").glob("work-*")
    captions = read_staged(StagedCaptions, video_path(work, "captions", "video"))
    texts = read_staged(StagedAnnotations, video_path(work, "annotations", "video"))
    assert (captions.captions, captions.rejections, texts.annotations) == ((), (), ())
    (rejection,) = texts.rejections
    assert (rejection.item_id, rejection.reason) == ("clip", Reason.POORLY_SEEN)
    assert rejection.detail.count("confidence 0.95") == 2
    assert read_status(config.dataset).staged.annotations == 1


def _pictures(asked: Asked) -> list[np.ndarray[Any, Any]]:
    """Return the pictures of a request, (H, W, 3) RGB."""
    pictures: list[np.ndarray[Any, Any]] = []
    for message in asked.body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if "image_url" in part:
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                assert picture is not None
                pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return pictures


def _share(picture: np.ndarray[Any, Any], color: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - color).max(axis=2) < 60).mean())


FIRST_RGB, SECOND_RGB = (230, 25, 75), (0, 130, 200)


def _person(number: int, medium: str, step: str) -> dict[str, Any]:
    fine = [{"text": step, "start_s": 0.0, "end_s": CLIP_S}]
    return {"person": number, "medium": [medium], "fine": fine}


ARM = _person(1, "A person raises the left arm.", "raise the left arm")
STAND = _person(2, "The person stands still.", "stand still")


def _annotator(*people: dict[str, Any]) -> Callable[[Asked], str]:
    """Return the answers of a model that describes these people."""

    def answer(asked: Asked) -> str:
        if "<descriptions>" not in asked.text:
            return "Person 1 raises an arm. Person 2 stands."
        return json.dumps({"coarse": "Two people are in a hall.", "people": list(people)})

    return answer


def test_people_are_marked_with_numbered_boxes(
    annotated: Callable[..., Dataset], tmp_path: Path
) -> None:
    with ChatServer(answer=_annotator(ARM, STAND)) as server:
        dataset = annotated(_config(tmp_path / "dataset", server.base_url))
    whole, clip, asked = server.calls
    assert "Describe person 1 (on the left), person 2 (on the right)." in clip.text
    marks = [(_share(p, FIRST_RGB), _share(p, SECOND_RGB)) for p in _pictures(clip)]
    assert len(marks) == 2
    assert all(min(shares) > 0.005 for shares in marks)
    assert all(_share(picture, FIRST_RGB) < 0.001 for picture in _pictures(whole))
    assert "Person 1 is on the left.\nPerson 2 is on the right." in asked.text
    rows = {row["track_id"]: row for row in dataset.rows("annotations")}
    assert {track: row["medium"] for track, row in rows.items()} == {
        LEFT: ARM["medium"],
        RIGHT: STAND["medium"],
    }
    assert {row["outcome"] for row in rows.values()} == {"success"}
    captions = [row["track_id"] for row in dataset.rows("captions")]
    assert captions == [None, None]


def test_a_person_whom_the_model_leaves_out_keeps_a_row(
    annotated: Callable[..., Dataset], tmp_path: Path
) -> None:
    motion = {"use_motion": True}
    with ChatServer(answer=_annotator(ARM)) as server:
        config = _config(tmp_path / "dataset", server.base_url, annotations=motion)
        dataset = annotated(config)
    assert len(server.calls) == 4  # the video, the clip, the annotation and its repair
    rows = {row["track_id"]: row for row in dataset.rows("annotations")}
    assert rows[LEFT]["outcome"] == "success"
    assert rows[RIGHT]["outcome"] == "invalid"
    assert rows[RIGHT]["reason"] == "after one repair: people: expected person 2, found [1]"
    assert len(rows[RIGHT]["medium"]) == 0
    # The measured motion of each person is part of the prompt.
    facts = [
        json.loads(line.removeprefix("Measured, with times from the clip's start: "))
        for line in server.calls[2].text.splitlines()
        if '"main_activity"' in line
    ]
    assert [(f["person"], f["main_activity"]) for f in facts] == [
        (1, "raise_left_arm"),
        (2, "stand"),
    ]
    raised = next(event for event in facts[0]["events"] if event["kind"] == "raise")
    assert (raised["side"], raised["level"]) == ("left", "above_head")
    assert facts[0]["objects"][0]["name"] == "bench"


def test_crops_show_one_person_each(annotated: Callable[..., Dataset], tmp_path: Path) -> None:
    crops = {"mark": "crops"}
    with ChatServer(answer=_annotator(ARM, STAND)) as server:
        dataset = annotated(_config(tmp_path / "dataset", server.base_url, captions=crops))
    shown = [call for call in server.calls if "cropped to" in call.text]
    assert len(shown) == 2
    for call in shown:
        first = "cropped to person 1 (on the left)" in call.text
        own, other = (FIRST_RGB, SECOND_RGB) if first else (SECOND_RGB, FIRST_RGB)
        for picture in _pictures(call):
            assert max(picture.shape[:2]) <= 64
            assert _share(picture, own) > 0.02
            assert _share(picture, other) < 0.01
    captions = {row["track_id"] for row in dataset.rows("captions")}
    assert captions == {None, LEFT, RIGHT}
    (asked,) = [call for call in server.calls if "<descriptions>" in call.text]
    block = asked.text.split("<descriptions>\n")[1].split("\n</descriptions>")[0]
    assert [json.loads(line)["person"] for line in block.splitlines()] == [2, 1]
    assert len(list(dataset.rows("annotations"))) == 2


@pytest.mark.parametrize(("mark", "calls"), [("boxes", 2), ("crops", 4)])
def test_the_cost_of_people_is_estimated_before_and_after_tracking(
    mark: str, calls: int, sample_clip: Path, tmp_path: Path
) -> None:
    config = _config(tmp_path / "dataset", captions={"mark": mark}, poses={"max_people": 3})
    work = tmp_path / "work"
    with (
        Workers(config.workers) as workers,
        open_models(config, lambda _: None, tmp_path / "replies") as models,
    ):
        run = Run(config, work, workers, models=models)
        scan = _stage(work, sample_clip, _people(probe_video(sample_clip).width_px))
        after = estimate_texts(run, [scan], people_only=True)
        for path in (poses_path(work, scan.clips[0]), tracks_path(work, scan.clips[0])):
            path.unlink()
        before = estimate_texts(run, [scan], people_only=False)
    assert before.captions is not None
    assert after.captions is not None
    # The video, and the clip or its people: two of three are described.
    assert (before.captions.calls, after.captions.calls) == (calls, 3 if mark == "crops" else 2)
    assert before.annotations is not None
    assert before.annotations.calls == 1
