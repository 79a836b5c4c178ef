"""The stages in a Ray cluster, which is started on this machine, and in local processes."""

import hashlib
import shutil
from pathlib import Path

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.stages.shards import annotate_dataset
from benchmarks.support.ray_cluster import patient_start
from data.store.dataset import Dataset
from data.workers.cluster import ClusterConfig, StageName, StageResources
from data.workers.workers import WorkerConfig, Workers


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
        with patient_start(), Workers(config.workers) as workers:
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
