"""A text stage that fails on a video in a way nobody foresaw: its clips say so, others go on."""

from pathlib import Path

from annotators.run import Run
from annotators.stages.publish import list_rejections
from annotators.stages.staged import StagedCaptions, read_staged, tracks_path, video_path
from annotators.stages.texts import caption_videos
from annotators.texts.config import AnnotationConfig, CaptionConfig
from data.errors import Reason, Stage
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import Workers
from tests.support.text_run import make_config, put_in_place


def test_tracks_that_cannot_be_read_cost_one_video_its_texts(
    sample_clip: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    bad, good = put_in_place(work, sample_clip, 2, 3)
    tracks_path(work, bad.clips[1]).write_bytes(b"no Parquet")
    config = make_config(tmp_path / "dataset", "http://127.0.0.1:9/v1").model_copy(
        update={"captions": CaptionConfig(), "annotations": AnnotationConfig()}
    )
    told: list[str] = []
    with Workers(config.workers, UnexpectedErrors(told.append)) as workers:
        captioned = caption_videos(Run(config, work, workers), [bad, good])
        assert workers.unexpected.count == 1
    assert captioned == [bad, good]
    (log,) = told
    assert "Traceback" in log
    assert "ArrowInvalid" in log
    staged = {
        scan.video.video_id: read_staged(
            StagedCaptions, video_path(work, "captions", scan.video.video_id)
        )
        for scan in (bad, good)
    }
    lost = staged[bad.video.video_id]
    assert lost.captions == ()
    assert [(r.item_id, r.stage, r.reason) for r in lost.rejections] == [
        (clip.clip_id, Stage.CAPTIONS, Reason.UNEXPECTED) for clip in bad.clips
    ]
    # A run without any annotation tells them as its reason.
    told_rejections = list_rejections([], [bad, good], work)
    assert told_rejections == list(lost.rejections)
    kept = staged[good.video.video_id]
    assert (len(kept.captions), kept.rejections) == (3, ())
