"""What a clip shows beside its tracks, staged by the poses stage."""

from pathlib import Path

from annotators.config import AnnotateConfig
from annotators.run import Run
from annotators.stages.ingest import inspect_file
from annotators.stages.poses import estimate_clip_poses
from annotators.stages.staged import (
    StagedPoses,
    poses_path,
    read_scene,
    read_staged,
    scene_path,
)
from data.workers.workers import WorkerConfig, Workers
from tests.support.text_run import stage_video


def test_poses_that_a_version_without_scenes_staged_are_made_again(
    brief_clip: Path, pose_model_path: Path, detectors_path: Path, tmp_path: Path
) -> None:
    scan = stage_video(tmp_path, inspect_file(brief_clip), 0, 2)
    old, new = scan.clips
    scene_path(tmp_path, old).unlink()
    config = AnnotateConfig(videos=("unused",), dataset=tmp_path / "dataset")
    with Workers(WorkerConfig(num_workers=1)) as workers:
        run = Run(
            config,
            tmp_path,
            workers,
            pose_model=pose_model_path,
            object_detectors=detectors_path,
        )
        estimate_clip_poses(run, [scan])
    scene = read_scene(tmp_path, old)
    assert scene is not None
    # A man stands on a roof.
    assert (scene.clip_id, scene.people_count, scene.objects) == (old.clip_id, 1, ())
    qualities = [
        read_staged(StagedPoses, poses_path(tmp_path, clip)).quality for clip in (old, new)
    ]
    assert qualities[0] != 0.9
    assert qualities[1] == 0.9
