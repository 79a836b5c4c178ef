"""The stages without Prefect: damaged files, and every real clip as its source list says."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.run import Progress
from annotators.stages.shards import annotate_dataset
from data.store.dataset import Dataset
from data.workers.workers import WorkerConfig, Workers
from tests.support import corruption


@pytest.fixture(scope="module")
def workers() -> Generator[Workers]:
    with Workers(WorkerConfig()) as pool:
        yield pool


def test_ten_damaged_files_each_have_an_answer(
    walk_clip: Path, pose_model_path: Path, detectors_path: Path, workers: Workers, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    corruption.bytes_changed_midfile(walk_clip, folder / "bytes_changed.mp4")
    corruption.truncated_index_first(walk_clip, folder / "truncated.mp4")
    corruption.over_reported_length(walk_clip, folder / "over_reported.mp4")
    corruption.start_offset(walk_clip, folder / "start_offset.mp4")
    corruption.variable_rate(walk_clip, folder / "variable_rate.mp4")
    corruption.zero_bytes(folder / "zero_bytes.mp4")
    corruption.audio_only(folder / "audio_only.mp4")
    corruption.text_named_video(folder / "wrong_extension.mp4")
    corruption.directory_named_video(folder / "directory.mp4")
    corruption.pipe(folder / "unreadable.mp4")
    shutil.copy(walk_clip, folder / "good.mp4")
    told: list[Progress] = []
    config = AnnotateConfig(videos=(str(folder),), dataset=tmp_path / "dataset")
    annotate_dataset(
        config, pose_model_path, workers, NO_MODELS, told.append, object_detectors=detectors_path
    )

    dataset = Dataset(config.dataset)
    rejected = {
        Path(row["item"]).name: (row["reason"], row["remedy"])
        for row in dataset.read("rejections").to_pylist()
    }
    assert {name: reason for name, (reason, _) in rejected.items()} == {
        "truncated.mp4": "truncated",
        "zero_bytes.mp4": "empty_file",
        "audio_only.mp4": "no_video_stream",
        "wrong_extension.mp4": "not_a_video",
        "directory.mp4": "not_a_file",
        "unreadable.mp4": "not_a_file",
    }
    assert all(remedy for _, remedy in rejected.values())
    videos = {Path(row["path"]).name: row for row in dataset.read("videos").to_pylist()}
    assert set(videos) == {
        "bytes_changed.mp4",
        "over_reported.mp4",
        "start_offset.mp4",
        "variable_rate.mp4",
        "good.mp4",
    }
    good = videos["good.mp4"]
    assert good["num_frames"] == 71
    # What the header claims changes nothing.
    assert videos["over_reported.mp4"]["num_frames"] == 71
    assert videos["over_reported.mp4"]["duration_s"] == pytest.approx(good["duration_s"], abs=0.1)
    assert videos["start_offset.mp4"]["start_offset_s"] == pytest.approx(5.0, abs=0.01)
    assert videos["start_offset.mp4"]["num_frames"] == 71
    assert not videos["variable_rate.mp4"]["constant_rate"]
    assert videos["variable_rate.mp4"]["duration_s"] > 1.5 * good["duration_s"]
    assert videos["bytes_changed.mp4"]["issues"]
    clips = {row["video_id"]: row for row in dataset.read("clips").to_pylist()}
    assert clips[videos["start_offset.mp4"]["video_id"]]["start_s"] == 0.0
    annotated = {row["video_id"] for row in dataset.read("annotations").to_pylist()}
    for name in ("good.mp4", "over_reported.mp4", "start_offset.mp4", "bytes_changed.mp4"):
        assert videos[name]["video_id"] in annotated
    assert {progress.stage for progress in told} == {
        "ingest",
        "clips",
        "poses",
        "captions",
        "annotations",
    }
