"""What ``retry_rejected`` removes from the staged work of videos that are not published."""

from dataclasses import replace
from pathlib import Path

from annotators.stages.restaging import forget_failures
from annotators.stages.staged import (
    StagedAnnotations,
    StagedCaptions,
    StagedPoses,
    poses_path,
    video_path,
    write_staged,
)
from data.errors import ItemError, Reason, Stage
from data.records import Rejection
from tests.support.pose_run import make_scans


def _rejection(item_id: str, stage: Stage, reason: Reason) -> Rejection:
    return Rejection.of(item_id, item_id, stage, ItemError(reason, "expected more.", "Do more."))


def test_only_what_may_succeed_now_is_removed_with_the_texts_that_lacked_it(
    sample_clip: Path, tmp_path: Path
) -> None:
    names = ("scan", "crashed", "empty", "captions", "annotations", "good")
    scans = make_scans(sample_clip, len(names), 2)
    of = dict(zip(names, scans, strict=True))
    timeout = _rejection("v", Stage.CLIPS, Reason.DECODE_TIMEOUT)
    of["scan"] = replace(of["scan"], scan=None, clips=(), rejections=(timeout,))
    reasons = {"crashed": Reason.WORKER_CRASHED, "empty": Reason.NO_PERSON}
    unexpected = (_rejection("c", Stage.CAPTIONS, Reason.UNEXPECTED),)
    for name, scan in of.items():
        video_id = scan.video.video_id
        write_staged(video_path(tmp_path, "scans", video_id), scan)
        for number, clip in enumerate(scan.clips):
            fault = reasons.get(name) if number else None
            rejection = _rejection(clip.clip_id, Stage.POSES, fault) if fault else None
            staged = StagedPoses(clip, 0, 0, "none", 0.0, (), rejection)
            write_staged(poses_path(tmp_path, clip), staged)
        captions = StagedCaptions((), unexpected if name == "captions" else ())
        write_staged(video_path(tmp_path, "captions", video_id), captions)
        annotations = StagedAnnotations("", (), unexpected if name == "annotations" else ())
        write_staged(video_path(tmp_path, "annotations", video_id), annotations)

    forget_failures([scan.video for scan in of.values()], tmp_path)
    kept = {
        name: [
            video_path(tmp_path, "scans", scan.video.video_id).exists(),
            *(poses_path(tmp_path, clip).exists() for clip in scan.clips),
            video_path(tmp_path, "captions", scan.video.video_id).exists(),
            video_path(tmp_path, "annotations", scan.video.video_id).exists(),
        ]
        for name, scan in of.items()
    }
    assert kept == {
        "scan": [False, True, True],
        "crashed": [True, True, False, False, False],
        "empty": [True] * 5,
        "captions": [True, True, True, False, False],
        "annotations": [True, True, True, True, False],
        "good": [True] * 5,
    }
