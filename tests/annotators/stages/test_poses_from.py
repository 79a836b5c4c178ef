"""Texts again without poses again: clips and poses of another dataset are taken over."""

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.run import Progress, Run
from annotators.stages.ingest import Ingested, inspect_file
from annotators.stages.publish import publish_videos, recipe_of
from annotators.stages.shards import annotate_dataset
from annotators.stages.staged import (
    StagedPoses,
    StagedScan,
    poses_path,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.stages.texts import annotate_videos, caption_videos
from data.errors import ItemError, Reason, Stage
from data.records import Clip, Rejection, Shot, VideoScan, clip_id_of
from data.schemas import pose_row
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table, write_table
from data.workers.workers import WorkerConfig, Workers
from flows.assets import fetch_assets
from tests.conftest import CACHE_DIR
from tests.support.motions import as_track, jumping, raising_left_arm


@pytest.fixture(scope="module")
def workers() -> Generator[Workers]:
    with Workers(WorkerConfig(num_workers=1)) as pool:
        yield pool


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "two people.mp4"
    shutil.copy(fetch_assets(CACHE_DIR, only=("sample_clip",))["sample_clip"], path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, video: Path, workers: Workers) -> Path:
    """A published dataset of one video: two clips with a person and one without."""
    config = AnnotateConfig(
        videos=(str(video),), dataset=tmp_path_factory.mktemp("source") / "dataset"
    )
    seen = inspect_file(video)
    clips: list[Clip] = []
    with open_writer(config.dataset, config.recipe("pose model")) as writer:
        work = writer.work
        (work / "poses").mkdir(parents=True)
        for index, motion in enumerate((raising_left_arm(), jumping(), None)):
            frames = 60 * index, 60 * index + 60
            clip_id = clip_id_of(seen.video_id, *frames)
            span = 2.0 * index, 2.0 * index + 2
            clip = Clip(clip_id, seen.video_id, 0, *frames, *span, 0.4896, "static", 0.1)
            rejection = None
            if motion is None:
                error = ItemError(Reason.NO_PERSON, "expected a person, found none.", "Film one.")
                rejection = Rejection.of(clip_id, "4-6 s", Stage.POSES, error)
            else:
                tracks = [as_track(motion[:40], start_s=span[0], track_id=t) for t in (0, 1)]
                rows = [pose_row(clip, track, "some_model") for track in tracks]
                write_table(tracks_path(work, clip), "poses", rows_table("poses", rows))
            count = 0 if motion is None else 2
            staged = StagedPoses(clip, count, count, "pyav", 0.37 * count, ("late",), rejection)
            write_staged(poses_path(work, clip), staged)
            clips.append(clip)
        shots = (Shot(0, 180, 0.0, 6.0, 0.4896, "static", 0.1),)
        scan = StagedScan(seen, VideoScan(180, 6.0, shots, ("odd",)), tuple(clips), ())
        write_staged(video_path(work, "scans", seen.video_id), scan)
        caption_videos(Run(config, work, workers), [scan])
        annotate_videos(Run(config, work, workers), [scan])
        publish_videos(writer, Ingested(), [seen.video_id])
    return config.dataset


def _config(source: Path, dataset: Path, **values: Any) -> AnnotateConfig:
    """Another annotator: one that words the activity once."""
    return AnnotateConfig.model_validate(
        {"dataset": dataset, "poses_from": source, "annotations": {"num_medium": 1}} | values
    )


def _rows(root: Path, table: str) -> pa.Table:
    keys = {"clips": ["clip_id"], "poses": ["clip_id", "track_id"], "videos": ["video_id"]}
    order = [(key, "ascending") for key in keys[table]]
    return Dataset(root).read(table).sort_by(order).combine_chunks()


def test_new_texts_on_the_poses_of_another_dataset(
    source: Path, video: Path, workers: Workers, tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []

    def report(progress: Progress) -> None:
        told.append((progress.stage, progress.done))

    config = _config(source, tmp_path / "new")
    # Without a pose model no pose can be computed.
    annotate_dataset(config, None, workers, NO_MODELS, report)

    assert {stage for stage, _ in told} == {"ingest", "captions", "annotations"}
    for table in ("clips", "poses", "videos"):
        assert _rows(config.dataset, table).equals(_rows(source, table)), table
    before = Dataset(source).read("annotations").to_pylist()
    after = Dataset(config.dataset).read("annotations").to_pylist()
    # Two clips of two people.
    people = [(row["clip_id"], row["track_id"]) for row in before]
    assert [(row["clip_id"], row["track_id"]) for row in after] == people
    assert len(set(people)) == 4
    assert all(len(row["medium"]) == 3 for row in before)
    assert all(len(row["medium"]) == 1 for row in after)
    (rejected,) = Dataset(config.dataset).read("rejections").to_pylist()
    assert (rejected["reason"], rejected["stage"]) == ("no_person", "poses")

    # Once more there is nothing to do, also when the video is named and lies elsewhere.
    moved = tmp_path / "moved.mp4"
    shutil.copy(video, moved)
    told.clear()
    annotate_dataset(_config(source, config.dataset), None, workers, NO_MODELS, report)
    annotate_dataset(
        _config(source, tmp_path / "third", videos=(str(moved),)), None, workers, NO_MODELS, report
    )
    assert ("poses", 1) not in told
    assert _rows(tmp_path / "third", "poses").equals(_rows(source, "poses"))


def test_a_video_that_the_other_dataset_lacks_is_rejected(
    source: Path, video: Path, workers: Workers, tmp_path: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(video.read_bytes() + b"\0" * 8)
    config = _config(source, tmp_path / "new", videos=(str(video), str(other)))
    annotate_dataset(config, None, workers, NO_MODELS)
    dataset = Dataset(config.dataset)
    rejections = {row["stage"]: row for row in dataset.read("rejections").to_pylist()}
    assert rejections["ingest"]["item"] == str(other)
    assert rejections["ingest"]["reason"] == "not_found"
    assert str(source) in rejections["ingest"]["detail"]
    assert len(dataset.read("videos")) == 1


def test_other_clips_or_poses_are_refused_by_field(source: Path, tmp_path: Path) -> None:
    config = _config(source, tmp_path, clips={"max_clip_s": 6.0}, poses={"max_people": 2})
    with pytest.raises(DatasetError, match=r"clips.max_clip_s \(expected 10.0, found 6.0\)") as at:
        recipe_of(config, None)
    assert "poses.max_people" in str(at.value)
    model = tmp_path / "other.task"
    model.write_bytes(b"another model")
    with pytest.raises(DatasetError, match=r"pose_model \(expected 'pose model'"):
        recipe_of(_config(source, tmp_path), model)
    motions = tmp_path / "motions"
    with open_writer(motions, {"import": "motions"}) as writer:
        writer.publish({})
    with pytest.raises(DatasetError, match=r"clips .*nothing"):
        recipe_of(_config(motions, tmp_path), None)


def test_the_same_dataset_and_no_video_at_all_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a dataset has one recipe"):
        _config(source, source)
    with pytest.raises(ValidationError, match="expected at least one video"):
        AnnotateConfig(dataset=tmp_path)
