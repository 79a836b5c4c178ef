"""Two stages may reject the same item: their rejections are kept and withdrawn separately."""

from pathlib import Path

from annotators.config import AnnotateConfig
from annotators.run import Run
from annotators.stages.ingest import ingest_files
from annotators.stages.restaging import restage
from annotators.stages.staged import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    poses_path,
    read_staged,
    video_path,
)
from data.errors import ItemError, Reason, Stage
from data.records import Clip, Rejection, RejectionKey, Shot, VideoScan
from data.schemas import Row, clip_row, rejection_row, video_row
from data.store.dataset import Dataset
from data.store.writer import open_writer, rows_table
from data.video.probe import probe_video
from data.video.sources import path_item_id
from data.workers.workers import WorkerConfig, Workers

_ERROR = ItemError(Reason.WORKER_CRASHED, "expected a result, found a crash.", "Try again.")


def _publish(root: Path, **rows: list[Row]) -> Dataset:
    with open_writer(root, {}) as writer:
        writer.publish({name: rows_table(name, listed) for name, listed in rows.items()})
    return Dataset(root)


def _reject(item_id: str, *stages: Stage) -> list[Rejection]:
    return [Rejection.of(item_id, "item", stage, _ERROR) for stage in stages]


def test_a_readable_file_loses_its_rejection_of_ingest_alone(
    brief_clip: Path, tmp_path: Path
) -> None:
    item_id = path_item_id(brief_clip)
    rejections = _reject(item_id, Stage.INGEST, Stage.CLIPS)
    published = _publish(
        tmp_path / "dataset", rejections=[rejection_row(r, None) for r in rejections]
    )
    config = AnnotateConfig(
        videos=(str(brief_clip),),
        dataset=published.root,
        workers=WorkerConfig(num_workers=1),
    )
    with Workers(config.workers) as workers:
        (shard,) = ingest_files(Run(config, tmp_path / "work", workers), published)
    assert shard.found.superseded == (RejectionKey(item_id, Stage.INGEST),)


def test_restaging_keeps_the_rejections_of_both_stages(brief_clip: Path, tmp_path: Path) -> None:
    probe = probe_video(brief_clip)
    video = SourceVideo("v0", 0, probe)
    scan = VideoScan(60, 2.0, (Shot(0, 60, 0.0, 2.0, 0.5, "static", 0.0),), ())
    clip = Clip("c0", "v0", 0, 0, 60, 0.0, 2.0, 0.5, "static", 0.0)
    for_poses, for_clips = _reject("c0", Stage.POSES, Stage.CLIPS)
    published = _publish(
        tmp_path / "dataset",
        videos=[video_row("v0", 0, probe, scan, 1, "")],
        clips=[clip_row(clip, num_people=0, num_tracks=0, decoder="pyav", quality=0.0, issues=())],
        rejections=[rejection_row(r, "v0") for r in (for_poses, for_clips)],
    )
    work = tmp_path / "work"
    restage(published, [video], work)
    assert read_staged(StagedPoses, poses_path(work, clip)).rejection == for_poses
    assert read_staged(StagedScan, video_path(work, "scans", "v0")).rejections == (for_clips,)
