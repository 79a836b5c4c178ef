"""Ingest is a stream: the first videos are worked on while others are still read."""

import shutil
import time
from pathlib import Path

import pytest

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.run import Run
from annotators.stages import ingest
from annotators.stages.ingest import Shard, ingest_files, inspect_file
from annotators.stages.shards import annotate_dataset
from annotators.stages.staged import SourceVideo
from data.errors import ItemError, Reason
from data.store.dataset import Dataset
from data.store.manifest import MANIFEST
from data.workers.workers import WorkerConfig, Workers
from tests.support import corruption

PATIENCE_S = 300.0


def inspect_after_first_publication(path: Path) -> SourceVideo:
    """Inspect a file; all but the first of a folder only once a dataset beside it is published."""
    ends_s = time.monotonic() + PATIENCE_S
    while path.name != "0.mp4" and not (path.parents[1] / "dataset" / MANIFEST).exists():
        if time.monotonic() > ends_s:
            raise ItemError(Reason.DECODE_TIMEOUT, "expected a publication.", "Publish sooner.")
        time.sleep(0.1)
    return inspect_file(path)


def film(sample_clip: Path, folder: Path, count: int) -> Path:
    """Write short videos with different contents."""
    folder.mkdir()
    for number in range(count):
        frames = range(20 * number, 20 * number + 30, 6)
        corruption.filmed_again(sample_clip, folder / f"{number}.mp4", frames=frames, rate=5)
    return folder


def test_a_video_is_published_while_the_next_is_read(
    sample_clip: Path,
    pose_model_path: Path,
    detectors_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "inspect_file", inspect_after_first_publication)
    config = AnnotateConfig(
        videos=(str(film(sample_clip, tmp_path / "videos", 2)),),
        dataset=tmp_path / "dataset",
        shard_clips=1,
        publish_clips=1,
        workers=WorkerConfig(num_workers=2, min_timeout_s=2 * PATIENCE_S),
    )
    with Workers(config.workers) as workers:
        worked = annotate_dataset(
            config, pose_model_path, workers, NO_MODELS, object_detectors=detectors_path
        )
    assert worked.num_shards == worked.added["videos"] == 2
    assert Dataset(config.dataset).num_rows("rejections") == 0


@pytest.fixture(scope="module")
def folder(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos, a copy of the second, and a file that is no video."""
    videos = film(sample_clip, tmp_path_factory.mktemp("sources") / "videos", 4)
    shutil.copy(videos / "1.mp4", videos / "2 is 1.mp4")
    corruption.text_named_video(videos / "2 is text.mp4")
    return videos


def _shards(folder: Path, work: Path, num_workers: int, shard_clips: int) -> list[Shard]:
    workers = WorkerConfig(num_workers=num_workers)
    config = AnnotateConfig(
        videos=(str(folder),), dataset=work, workers=workers, shard_clips=shard_clips
    )
    with Workers(config.workers) as pool:
        return list(ingest_files(Run(config, work, pool), None))


def test_shards_do_not_depend_on_the_order_of_reading(folder: Path, tmp_path: Path) -> None:
    shards = _shards(folder, tmp_path / "one", 1, 2)
    assert shards == _shards(folder, tmp_path / "two", 2, 2)
    names = [[video.probe.path.name for video in shard.found.videos] for shard in shards]
    assert names == [["0.mp4", "1.mp4"], ["2.mp4", "3.mp4"]]
    assert [shard.name for shard in shards] == ["1/~3", "2/2"]
    rejected = [(Path(r.item).name, r.reason) for r, _ in shards[1].found.rejections]
    assert rejected == [
        ("2 is 1.mp4", Reason.DUPLICATE),
        ("2 is text.mp4", Reason.NOT_A_VIDEO),
    ]
    assert len(list((tmp_path / "one" / "probes").iterdir())) == 4


def test_a_shard_holds_as_many_clips_as_asked(folder: Path, tmp_path: Path) -> None:
    assert [len(shard.found.videos) for shard in _shards(folder, tmp_path, 1, 1)] == [1, 1, 1, 1]
    assert [len(shard.found.videos) for shard in _shards(folder, tmp_path, 1, 3)] == [3, 1]
    (whole,) = _shards(folder, tmp_path, 1, 64)
    assert whole.name == "1/1"
    assert len(whole.found.videos) == 4
