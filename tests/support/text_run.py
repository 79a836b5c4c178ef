"""The text stages over many clips, as a program that can be killed: see test_text_stages.py.

    python -m tests.support.text_run DATASET VIDEO BASE_URL CACHE NUM_VIDEOS CLIPS_EACH

Clips and poses are put in place as the stages before leave them: spans of a real video, and tracks
of a simple motion, so that hundreds of clips take seconds.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from annotators.config import AnnotateConfig
from annotators.models import open_models
from annotators.run import Run
from annotators.stages.ingest import Ingested
from annotators.stages.publish import publish_videos
from annotators.stages.staged import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    poses_path,
    scene_path,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.stages.texts import annotate_videos, caption_videos
from data.records import Clip, ClipScene, Shot, VideoScan
from data.schemas import pose_row
from data.store.writer import open_writer, rows_table, write_table
from data.video.probe import probe_video
from data.workers.workers import Workers
from tests.support.motions import as_track, raising_left_arm

CLIP_S = 0.8


def put_in_place(work: Path, path: Path, num_videos: int, clips_each: int) -> list[StagedScan]:
    """Stage scans and poses of so many clips."""
    probe = probe_video(path)
    return [
        stage_video(work, SourceVideo(f"video{number:03d}", 0, probe), number, clips_each)
        for number in range(num_videos)
    ]


def stage_video(
    work: Path, video: SourceVideo, number: int, num_clips: int, first_frame: int = 0
) -> StagedScan:
    """Stage the scan of a video, and the poses of so many clips of it.

    Args:
        work: folder of staged work.
        video: the video.
        number: of the video; those of the clips differ by it.
        num_clips: clips of it.
        first_frame: of the motion in each clip; from 20 on the left arm is raised.
    """
    probe, fps = video.probe, float(video.probe.fps)
    motion = raising_left_arm()[first_frame:][: round(20 * CLIP_S)]
    (work / "poses").mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    for index in range(num_clips):
        # Overlapping spans, no two alike: equal requests would be asked for once.
        start_s = 0.1 * (index % 26) + 0.05 * (number // 6)
        clip_s = CLIP_S + 0.1 * (number % 6)
        clip_id = f"{video.video_id}-{index:02d}"
        frames = round(start_s * fps), round((start_s + clip_s) * fps)
        span = start_s, start_s + clip_s
        clip = Clip(clip_id, video.video_id, 0, *frames, *span, 0.5, "static", 0.0)
        clips.append(clip)
        if not poses_path(work, clip).exists():
            track = as_track(motion, start_s=start_s)
            # As large in this picture as it is in one of 1280 x 720.
            scale = probe.width_px / 1280, probe.height_px / 720
            track = replace(track, joints_2d=track.joints_2d * np.array(scale, dtype=np.float32))
            write_table(
                tracks_path(work, clip),
                "poses",
                rows_table("poses", [pose_row(clip, track, "test")]),
            )
            staged = StagedPoses(clip, 1, 1, "pyav", 0.9, (), None)
            write_staged(scene_path(work, clip), ClipScene(clip_id, 1))
            write_staged(poses_path(work, clip), staged)
    shot = Shot(0, probe.num_packets, 0.0, probe.duration_s, 0.5, "static", 0.0)
    scan = StagedScan(
        video, VideoScan(probe.num_packets, probe.duration_s, (shot,), ()), tuple(clips), ()
    )
    if not video_path(work, "scans", video.video_id).exists():
        write_staged(video_path(work, "scans", video.video_id), scan)
    return scan


def make_config(dataset: Path, base_url: str) -> AnnotateConfig:
    """Return a configuration that keeps the test short."""
    service = {
        "model": "small",
        "base_url": base_url,
        "min_backoff_s": 0.01,
        "max_backoff_s": 0.05,
        "max_attempts": 4,
        "timeout_s": 1.0,
        "max_concurrency": 16,
    }
    return AnnotateConfig.model_validate(
        {
            "videos": ["unused"],
            "dataset": dataset,
            "captions": {
                "captioner": "openai",
                "service": service,
                "frames_per_clip": 2,
                "frames_per_video": 2,
                "max_side_px": 64,
            },
            "annotations": {"annotator": "openai", "service": service},
            "workers": {"num_workers": 1},
        }
    )


def main() -> None:
    """Run the text stages and publish."""
    dataset, video, base_url, cache, num_videos, clips_each = sys.argv[1:]
    config = make_config(Path(dataset), base_url)
    with (
        open_writer(config.dataset, config.recipe("test")) as writer,
        Workers(config.workers) as workers,
        open_models(config, lambda _: None, Path(cache)) as models,
    ):
        if writer.published() is not None:
            return
        scans = put_in_place(writer.work, Path(video), int(num_videos), int(clips_each))
        captioned = caption_videos(Run(config, writer.work, workers, models=models), scans)
        done = annotate_videos(Run(config, writer.work, workers, models=models), captioned)
        publish_videos(writer, Ingested(), [scan.video.video_id for scan in done])


if __name__ == "__main__":
    main()
