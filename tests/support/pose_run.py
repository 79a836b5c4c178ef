"""A poses stage over made-up clips of a real video, as functions and as a program to be killed.

python -m tests.support.pose_run WORK VIDEO CONFIG_JSON NUM_VIDEOS CLIPS_EACH
"""

import sys
from pathlib import Path

from annotators.config import AnnotateConfig
from annotators.poses.external import open_programs
from annotators.run import Run
from annotators.stages.poses import estimate_clip_poses
from annotators.stages.staged import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    poses_path,
    read_staged,
)
from data.records import Clip, Shot, VideoScan
from data.video.probe import probe_video
from data.workers.workers import Workers

CLIP_S = 1.5


def make_scans(path: Path, num_videos: int, clips_each: int) -> list[StagedScan]:
    """Make scans of so many videos, all of one file, with overlapping clips."""
    probe = probe_video(path)
    shot = Shot(0, probe.num_packets, 0.0, probe.duration_s, 0.5, "static", 0.0)
    scans: list[StagedScan] = []
    for number in range(num_videos):
        video = SourceVideo(f"video{number}", 0, probe)
        clips = tuple(
            Clip(
                f"{video.video_id}-{index:02d}",
                video.video_id,
                0,
                round(0.1 * index * probe.fps),
                round((0.1 * index + CLIP_S) * probe.fps),
                0.1 * index,
                0.1 * index + CLIP_S,
                0.5,
                "static",
                0.0,
            )
            for index in range(clips_each)
        )
        scan = VideoScan(probe.num_packets, probe.duration_s, (shot,), ())
        scans.append(StagedScan(video, scan, clips, ()))
    return scans


def run_stage(
    config: AnnotateConfig, work: Path, workers: Workers, scans: list[StagedScan]
) -> dict[str, StagedPoses]:
    """Run the poses stage, and return its results by clip."""
    with open_programs(config.poses, work) as programs:
        estimate_clip_poses(Run(config, work, workers, programs=programs), scans)
    clips = [clip for scan in scans for clip in scan.clips]
    return {clip.clip_id: read_staged(StagedPoses, poses_path(work, clip)) for clip in clips}


def main() -> None:
    """Run the stage."""
    work, video, values, num_videos, clips_each = sys.argv[1:]
    config = AnnotateConfig.model_validate_json(values)
    scans = make_scans(Path(video), int(num_videos), int(clips_each))
    with Workers(config.workers) as workers:
        run_stage(config, Path(work), workers, scans)


if __name__ == "__main__":
    main()
