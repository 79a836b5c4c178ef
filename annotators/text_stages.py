"""The text stages: captions and annotations of the videos of a shard, staged per video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from annotators.annotations import AnnotationConfig, annotate_clip, summarise_video
from annotators.captions import CaptionConfig, caption_clip
from annotators.config import AnnotateConfig
from annotators.staging import (
    Progress,
    StagedAnnotations,
    StagedCaptions,
    StagedScan,
    silent,
    tracks_path,
    video_path,
    write_staged,
)
from data.errors import ItemError
from data.records import PoseTrack
from data.schemas import load_track
from data.workers import Workers


@dataclass(frozen=True, slots=True)
class _TextJob:
    scan: StagedScan
    captions: CaptionConfig
    annotations: AnnotationConfig
    work: Path

    def tracks(self) -> dict[str, list[PoseTrack]]:
        """Tracks by clip, of the clips that have any."""
        return {
            clip.clip_id: [load_track(row) for row in pq.read_table(path).to_pylist()]
            for clip in self.scan.clips
            if (path := tracks_path(self.work, clip)).exists()
        }

    @property
    def frame_size_px(self) -> tuple[int, int]:
        probe = self.scan.video.probe
        return probe.width_px, probe.height_px


def _caption(job: _TextJob) -> StagedCaptions:
    tracks = job.tracks()
    return StagedCaptions(
        tuple(
            caption
            for clip in job.scan.clips
            if clip.clip_id in tracks
            for caption in caption_clip(clip, tracks[clip.clip_id], job.frame_size_px, job.captions)
        )
    )


def _annotate(job: _TextJob) -> StagedAnnotations:
    if job.scan.scan is None:
        raise AssertionError(f"{job.scan.video.video_id}: a rejected video has no texts")
    tracks = job.tracks()
    facts = summarise_video(
        list(job.scan.clips),
        tracks,
        job.scan.scan.duration_s,
        job.frame_size_px,
        len(job.scan.scan.shots),
    )
    annotations = tuple(
        annotate_clip(clip, tracks[clip.clip_id], facts, job.annotations)
        for clip in job.scan.clips
        if clip.clip_id in tracks
    )
    return StagedAnnotations(facts.coarse, annotations)


def caption_videos(
    scans: Sequence[StagedScan],
    config: AnnotateConfig,
    work: Path,
    workers: Workers,
    report: Callable[[Progress], None] = silent,
) -> None:
    """Caption every clip that has a person, and stage the captions of each video."""
    _write_texts(_caption, "captions", scans, config, work, workers, report)


def annotate_videos(
    scans: Sequence[StagedScan],
    config: AnnotateConfig,
    work: Path,
    workers: Workers,
    report: Callable[[Progress], None] = silent,
) -> None:
    """Write the three levels of every clip that has a person, and stage those of each video."""
    _write_texts(_annotate, "annotations", scans, config, work, workers, report)


def _write_texts(
    function: Callable[[_TextJob], Any],
    stage: str,
    scans: Sequence[StagedScan],
    config: AnnotateConfig,
    work: Path,
    workers: Workers,
    report: Callable[[Progress], None],
) -> None:
    todo = [
        _TextJob(scan, config.captions, config.annotations, work)
        for scan in scans
        if scan.scan is not None and not video_path(work, stage, scan.video.video_id).exists()
    ]
    progress = Progress(stage, len(todo), report)
    for job, result in workers.run(function, todo, video_s=_text_s):
        if isinstance(result, ItemError):
            # Texts are made from our own measurements: a failure here is ours, not the video's.
            raise result
        write_staged(video_path(work, stage, job.scan.video.video_id), result)
        progress.advance(video_s=_text_s(job))


def _text_s(job: _TextJob) -> float:
    return job.scan.video.probe.duration_s
