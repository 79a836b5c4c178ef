"""Poses stage: track the people of every clip."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from annotators.motion.framing import people_at_a_time
from annotators.objects.detector import ObjectDetectors
from annotators.objects.scene import SceneWatch, people_count, scene_objects
from annotators.poses.estimate import PoseConfig, estimate_poses
from annotators.poses.networks.landmarks import PoseModel
from annotators.run import Progress, Run
from annotators.stages.external_poses import ExternalJob, take_poses
from annotators.stages.staged import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    poses_path,
    scene_path,
    tracks_path,
    write_staged,
    write_tracks,
)
from data.errors import ItemError, Stage
from data.records import Clip, ClipScene, PoseTrack, Rejection
from data.video.reader import ReaderConfig, open_frames


@dataclass(frozen=True, slots=True)
class _PoseJob:
    video: SourceVideo
    clip: Clip
    poses: PoseConfig
    reader: ReaderConfig
    model_path: Path
    detectors_path: Path
    work: Path


_models: dict[Path, PoseModel] = {}
_detectors: dict[Path, ObjectDetectors] = {}


def _model(path: Path) -> PoseModel:
    """Return the pose model, which each worker process loads once."""
    if path not in _models:
        _models[path] = PoseModel.load(path)
    return _models[path]


def _object_detectors(path: Path) -> ObjectDetectors:
    """Return the object detectors, which each worker process loads once."""
    if path not in _detectors:
        # Workers share the cores, as with one thread of the pose model.
        cv2.setNumThreads(1)
        _detectors[path] = ObjectDetectors.load(path)
    return _detectors[path]


def _estimate(job: _PoseJob) -> StagedPoses:
    clip, probe = job.clip, job.video.probe
    watch = SceneWatch(_object_detectors(job.detectors_path), job.poses.object_interval_s)
    tracks_path(job.work, clip).unlink(missing_ok=True)
    tracks: list[PoseTrack] = []
    rejection = None
    with open_frames(
        probe.path,
        probe,
        start_s=clip.start_s,
        end_s=clip.end_s,
        sample_fps=job.poses.sample_fps,
        max_side_px=job.poses.max_side_px,
        config=job.reader,
    ) as reader:
        try:
            model = _model(job.model_path)
            tracks = estimate_poses(reader, clip, probe, job.poses, model, watch)
        except ItemError as error:
            rejection = Rejection.of(clip.clip_id, _clip_name(job), Stage.POSES, error)
    if tracks:
        write_tracks(job.work, clip, tracks, job.model_path.stem)
    num_people = people_at_a_time(tracks) if tracks else 0
    count = people_count(watch.sightings)
    scene = ClipScene(
        clip.clip_id,
        None if count is None else max(count, num_people),
        scene_objects(watch.sightings),
    )
    write_staged(scene_path(job.work, clip), scene)
    qualities = [track.quality for track in tracks if track.boxes is None]
    quality = sum(qualities) / len(qualities) if qualities else 0.0
    return StagedPoses(
        clip,
        num_people,
        len(tracks),
        reader.decoder,
        quality,
        reader.issues,
        rejection,
    )


def estimate_clip_poses(run: Run, scans: Sequence[StagedScan]) -> list[StagedScan]:
    """Track the people of every clip and stage their poses.

    Returns:
        The same scans, which are the input of the next stage.
    """
    work = run.work
    (work / "poses").mkdir(parents=True, exist_ok=True)
    todo = [
        (scan.video, clip) for scan in scans for clip in scan.clips if not _is_staged(work, clip)
    ]
    progress = Progress("poses", len(todo), run.report)
    for job, result in _estimated(run, todo):
        if isinstance(result, ItemError):
            rejection = Rejection.of(job.clip.clip_id, _clip_name(job), Stage.POSES, result)
            poses = StagedPoses(job.clip, 0, 0, "none", 0.0, (), rejection)
            # The worker may have been killed after it wrote the tracks.
            tracks_path(work, job.clip).unlink(missing_ok=True)
        else:
            poses = result
        # A shared file system may still hide a scene that a worker of another machine has written.
        looked = isinstance(job, _PoseJob) and not isinstance(result, ItemError)
        if not looked and not scene_path(work, job.clip).exists():
            # Nobody looked: the worker was killed, or the poses come from another estimator.
            write_staged(scene_path(work, job.clip), ClipScene(job.clip.clip_id, None))
        write_staged(poses_path(work, job.clip), poses)
        progress.advance(video_s=_pose_s(job), rejected=poses.rejection is not None)
    return list(scans)


def _is_staged(work: Path, clip: Clip) -> bool:
    """Return whether the poses of a clip are staged; those of a version without scenes are not."""
    return poses_path(work, clip).exists() and scene_path(work, clip).exists()


def _estimated(
    run: Run, todo: Sequence[tuple[SourceVideo, Clip]]
) -> Iterable[tuple[_PoseJob | ExternalJob, StagedPoses | ItemError]]:
    """Estimate the poses of clips with the configured estimator, in order of completion."""
    config, work = run.config, run.work
    if config.poses.estimator != "mediapipe":
        return take_poses(run, [ExternalJob(*item, config.poses, work) for item in todo])
    if not todo:
        return []
    model, detectors = run.pose_model, run.object_detectors
    if model is None or detectors is None:
        raise AssertionError(f"{todo[0][1].clip_id}: expected staged poses, found none")
    jobs = [_PoseJob(*item, config.poses, config.reader, model, detectors, work) for item in todo]
    return run.workers.run(_estimate, jobs, video_s=_pose_s, name=_clip_name, stage="poses")


def _clip_name(job: _PoseJob | ExternalJob) -> str:
    return f"{job.video.name} {job.clip.start_s:.2f}-{job.clip.end_s:.2f} s"


def _pose_s(job: _PoseJob | ExternalJob) -> float:
    return job.clip.end_s - job.clip.start_s
