"""Clips stage: decode each video once at low resolution, and cut it into clips."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotators.clips.cutting import ClipConfig, cut_clips, scan_video
from annotators.run import Progress, Run
from annotators.stages.staged import (
    SourceVideo,
    StagedScan,
    load_staged,
    video_path,
    write_staged,
)
from data.errors import ItemError, Stage
from data.records import Rejection


@dataclass(frozen=True, slots=True)
class _ScanJob:
    video: SourceVideo
    config: ClipConfig


def _scan(job: _ScanJob) -> StagedScan:
    scan = scan_video(job.video.probe.path, job.video.probe, job.config)
    clips, rejections = cut_clips(job.video.video_id, scan, job.config)
    return StagedScan(job.video, scan, tuple(clips), tuple(rejections))


def scan_videos(run: Run, videos: Sequence[SourceVideo]) -> list[StagedScan]:
    """Decode each video once at low resolution, find its shots, cut clips and stage the result."""
    staged = {
        v.video_id: load_staged(StagedScan, video_path(run.work, "scans", v.video_id))
        for v in videos
    }
    todo = [_ScanJob(v, run.config.clips) for v in videos if staged[v.video_id] is None]
    # The longest videos go first, so that none of them starts when the other workers are done.
    todo.sort(key=_scan_s, reverse=True)
    progress = Progress("clips", len(todo), run.report)
    for job, result in run.workers.run(
        _scan, todo, video_s=_scan_s, name=_video_name, stage="clips"
    ):
        video = job.video
        if isinstance(result, ItemError):
            item = video.name
            rejection = Rejection.of(video.video_id, item, Stage.CLIPS, result)
            scan = StagedScan(video, None, (), (rejection,))
        else:
            scan = result
        write_staged(video_path(run.work, "scans", video.video_id), scan)
        staged[video.video_id] = scan
        progress.advance(video_s=video.probe.duration_s, rejected=scan.scan is None)
    return [scan for scan in staged.values() if scan is not None]


def _video_name(job: _ScanJob) -> str:
    return job.video.name


def _scan_s(job: _ScanJob) -> float:
    return job.video.probe.duration_s
