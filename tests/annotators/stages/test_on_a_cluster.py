"""The stages in a Ray cluster, which is started on this machine, and in local processes.

All tests share one cluster of two CPUs: it lasts as long as the pool that started it.
"""

import hashlib
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from annotators.chat.config import LocalVlmConfig
from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.models import ClusterChat, open_models
from annotators.run import Run
from annotators.stages.shards import annotate_dataset
from annotators.stages.staged import StagedCaptions, read_staged, video_path
from annotators.stages.texts import caption_videos
from benchmarks.support.ray_cluster import patient_start
from data.records import Caption
from data.store.dataset import Dataset
from data.workers.cluster import ClusterConfig, StageName, StageResources
from data.workers.workers import WorkerConfig, Workers
from tests.support.text_run import make_config, put_in_place
from tests.support.tiny_vlm import save_tiny_smolvlm


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Generator[None]:
    with patient_start(), Workers(WorkerConfig(executor="ray", num_workers=2)):
        yield


def test_a_cluster_writes_the_same_bytes(
    brief_clip: Path,
    walk_clip: Path,
    pose_model_path: Path,
    detectors_path: Path,
    tmp_path: Path,
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for clip in (brief_clip, walk_clip):
        shutil.copy(clip, videos)
    (videos / "text.mp4").write_text("no video")
    stages: dict[StageName, StageResources] = {"poses": StageResources(num_cpus=2)}
    parts: list[dict[str, list[str]]] = []
    for executor in ("local", "ray"):
        config = AnnotateConfig(
            videos=(str(videos),),
            dataset=tmp_path / executor,
            workers=WorkerConfig(
                executor=executor, num_workers=2, cluster=ClusterConfig(stages=stages)
            ),
        )
        with Workers(config.workers) as workers:
            annotate_dataset(
                config, pose_model_path, workers, NO_MODELS, object_detectors=detectors_path
            )
        tables = Dataset(config.dataset).manifest["tables"]
        assert tables["annotations"]["rows"] >= 2
        assert tables["rejections"]["rows"] == 1
        parts.append(
            {
                name: sorted(
                    hashlib.sha256(part.read_bytes()).hexdigest()
                    for part in (config.dataset / name).glob("*.parquet")
                )
                for name in tables
            }
        )
    assert parts[0] == parts[1]


def test_a_local_model_is_loaded_by_workers(sample_clip: Path, tmp_path: Path) -> None:
    """The real code on a tiny model with random weights says the same as in this process."""
    folder = save_tiny_smolvlm(tmp_path / "tiny-vlm")
    values = make_config(tmp_path / "dataset", "http://127.0.0.1:1/v1").model_dump()
    local = {"model": str(folder), "max_new_tokens": 4, "device": "cpu", "batch_size": 1}
    values["captions"] |= {"captioner": "transformers", "local_model": local, "service": None}
    values["annotations"] = {"annotator": "rules"}
    stages: dict[StageName, StageResources] = {"captions": StageResources(memory_gb=4)}
    said: list[list[Caption]] = []
    for executor in ("local", "ray"):
        config = AnnotateConfig.model_validate(
            values
            | {
                "workers": WorkerConfig(
                    executor=executor, num_workers=1, cluster=ClusterConfig(stages=stages)
                )
            }
        )
        work = tmp_path / executor
        scans = put_in_place(work, sample_clip, 1, 3)
        with (
            Workers(config.workers) as workers,
            open_models(config, lambda _: None, tmp_path / "replies", workers=workers) as models,
        ):
            assert isinstance(models.captioner, ClusterChat) == (executor == "ray")
            (scan,) = caption_videos(Run(config, work, workers, models=models), scans)
        staged = read_staged(StagedCaptions, video_path(work, "captions", scan.video.video_id))
        said.append([replace(caption, latency_s=0.0) for caption in staged.captions])
    assert said[0] == said[1]
    assert [caption.clip_id for caption in said[0][1:]] == [clip.clip_id for clip in scan.clips]
    assert {caption.model for caption in said[0]} == {"tiny-vlm"}


def test_a_model_that_workers_cannot_load_is_named_before_any_work(tmp_path: Path) -> None:
    config = LocalVlmConfig(model=str(tmp_path))
    on_ray = WorkerConfig(executor="ray", num_workers=1)
    with (
        Workers(on_ray) as workers,
        pytest.raises(ValueError, match=r"local_model.model: expected an image-text-to-text model"),
    ):
        ClusterChat(config, workers)
