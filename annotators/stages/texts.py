"""Text stages: write captions and annotations, and stage them by video.

Worker processes write texts from measured motion. Texts of a model are requested in this process,
many at a time, while workers decode the frames. The service caches each reply, so that a killed run
does not request it again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from annotators.chat.cache import ChatReply
from annotators.chat.model import ChatModel
from annotators.chat.protocol import ChatRequest
from annotators.motion.describe import describe_track
from annotators.run import Progress, Run
from annotators.stages.staged import (
    SourceVideo,
    StagedAnnotations,
    StagedCaptions,
    StagedScan,
    lacks,
    read_staged,
    read_tracks,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.texts.kinematic_captions import CaptionConfig, by_prominence, caption_from_motion
from annotators.texts.language_annotations import ClipTexts, VideoTexts, annotate_videos_with
from annotators.texts.rule_annotations import AnnotationConfig, annotate_clip, summarize_video
from annotators.texts.visual_captions import (
    ClipView,
    VideoView,
    caption_clips,
    caption_whole_videos,
    read_clip_frames,
    read_video_frames,
)
from data.errors import ItemError, Stage, UnexpectedItemError
from data.records import Annotation, Caption, Clip, Outcome, PoseTrack, Rejection
from data.schemas import load_track
from data.store.parquet import table_rows
from data.video.reader import ReaderConfig
from data.workers.workers import Workers

Tag = TypeVar("Tag")
Text = TypeVar("Text")


def caption_videos(run: Run, scans: Sequence[StagedScan]) -> list[StagedScan]:
    """Caption every clip with people, and stage the captions of each video.

    Returns:
        The videos whose captions are complete; these are all videos, unless the budget is spent.
    """
    if run.models.captioner is None:
        _write_texts(run, _caption, Stage.CAPTIONS, scans)
    else:
        _caption_with_model(run, run.models.captioner, scans)
    return _with_stage("captions", scans, run.work)


def annotate_videos(run: Run, scans: Sequence[StagedScan]) -> list[StagedScan]:
    """Annotate every clip with people at three levels, and stage the annotations of each video.

    Returns:
        The videos whose annotations are complete; these are all, unless the budget is spent.
    """
    if run.models.annotator is None:
        _write_texts(run, _annotate, Stage.ANNOTATIONS, scans)
    else:
        _annotate_with_model(run, run.models.annotator, scans)
    return _with_stage("annotations", scans, run.work)


def _with_stage(stage: str, scans: Sequence[StagedScan], work: Path) -> list[StagedScan]:
    """Return rejected videos, which have no texts, and videos whose texts are staged."""
    return [scan for scan in scans if not lacks(scan, stage, work)]


# ------------------------------------------------------------------------- from measured motion


@dataclass(frozen=True, slots=True)
class _TextJob:
    scan: StagedScan
    captions: CaptionConfig
    annotations: AnnotationConfig
    work: Path

    def tracks(self) -> dict[str, list[PoseTrack]]:
        """Return the tracks of clips with people, by ``clip_id``."""
        found = {clip.clip_id: _tracks(self.work, clip) for clip in self.scan.clips}
        return {clip_id: tracks for clip_id, tracks in found.items() if tracks}

    @property
    def frame_size_px(self) -> tuple[int, int]:
        return _frame_size_px(self.scan.video)


def _tracks(work: Path, clip: Clip) -> list[PoseTrack]:
    if not tracks_path(work, clip).exists():
        return []
    return [load_track(row) for row in table_rows(read_tracks(work, clip))]


def _frame_size_px(video: SourceVideo) -> tuple[int, int]:
    return video.probe.width_px, video.probe.height_px


@dataclass(frozen=True, slots=True)
class _Texts:
    """Texts of a video, and the clips that failed, each with its error."""

    staged: StagedCaptions | StagedAnnotations
    failed: tuple[tuple[Clip, ItemError], ...]


def _each_clip(
    clips: Iterable[Clip], write: Callable[[Clip], Iterable[Text]]
) -> tuple[tuple[Text, ...], tuple[tuple[Clip, ItemError], ...]]:
    """Write the texts of clips. An error affects only its own clip."""
    texts: list[Text] = []
    failed: list[tuple[Clip, ItemError]] = []
    for clip in clips:
        try:
            texts += write(clip)
        except ItemError as error:
            failed.append((clip, error))
        except Exception as error:  # noqa: BLE001 - becomes the clip's rejection, and is logged
            failed.append((clip, UnexpectedItemError.of(error)))
    return tuple(texts), tuple(failed)


def _caption(job: _TextJob) -> _Texts:
    tracks = job.tracks()

    def write(clip: Clip) -> list[Caption]:
        return caption_from_motion(clip, tracks.get(clip.clip_id, ()), job.frame_size_px)

    captions, failed = _each_clip(job.scan.clips, write)
    return _Texts(StagedCaptions(captions), failed)


def _annotate(job: _TextJob) -> _Texts:
    if job.scan.scan is None:
        raise AssertionError(f"{job.scan.video.video_id}: a rejected video has no texts")
    tracks = job.tracks()
    facts = summarize_video(
        list(job.scan.clips),
        tracks,
        job.scan.scan.duration_s,
        job.frame_size_px,
        len(job.scan.scan.shots),
    )

    def write(clip: Clip) -> list[Annotation]:
        return [annotate_clip(clip, tracks[clip.clip_id], facts, job.annotations)]

    told = [clip for clip in job.scan.clips if clip.clip_id in tracks]
    annotations, failed = _each_clip(told, write)
    return _Texts(StagedAnnotations(facts.coarse, annotations), failed)


def _write_texts(
    run: Run, function: Callable[[_TextJob], _Texts], stage: Stage, scans: Sequence[StagedScan]
) -> None:
    todo = _jobs(run, stage, scans)
    progress = Progress(stage, len(todo), run.report)
    written = run.workers.run(function, todo, video_s=_text_s, name=_job_name, stage=stage)
    for job, result in written:
        if isinstance(result, ItemError):
            staged = _without_texts(job, stage, result)
        else:
            rejections = _rejections(job, job.scan.clips, result.failed, stage, run.workers)
            staged = replace(result.staged, rejections=rejections)
        write_staged(video_path(run.work, stage, job.scan.video.video_id), staged)
        progress.advance(video_s=_text_s(job), rejected=bool(staged.rejections))


def _rejections(
    job: _TextJob,
    clips: Iterable[Clip],
    failed: Iterable[tuple[Clip, ItemError]],
    stage: Stage,
    workers: Workers,
) -> tuple[Rejection, ...]:
    """Return the rejections of clips that failed, and count every clip as an item of the stage."""
    problems = dict(failed)
    rejections: list[Rejection] = []
    for clip in clips:
        if clip in problems:
            item = _clip_name(job, clip)
            rejections.append(workers.unexpected.reject(clip.clip_id, item, stage, problems[clip]))
        else:
            workers.unexpected.note(stage, "", None)
    return tuple(rejections)


def _without_texts(
    job: _TextJob, stage: Stage, error: ItemError
) -> StagedCaptions | StagedAnnotations:
    """Return the result of a video whose texts failed: a rejection of every clip with people."""
    rejections = tuple(
        Rejection.of(clip.clip_id, _clip_name(job, clip), stage, error)
        for clip in job.scan.clips
        if tracks_path(job.work, clip).exists()
    )
    if stage is Stage.CAPTIONS:
        return StagedCaptions((), rejections)
    return StagedAnnotations("", (), rejections)


def _job_name(job: _TextJob) -> str:
    return str(job.scan.video.probe.path)


def _clip_name(job: _TextJob, clip: Clip) -> str:
    return f"{_job_name(job)} {clip.start_s:.2f}-{clip.end_s:.2f} s"


def _jobs(run: Run, stage: str, scans: Sequence[StagedScan]) -> list[_TextJob]:
    """Return the jobs of the videos without a result of this stage."""
    return [
        _TextJob(scan, run.config.captions, run.config.annotations, run.work)
        for scan in scans
        if lacks(scan, stage, run.work)
    ]


# ---------------------------------------------------------------------- captions from a model


@dataclass(frozen=True, slots=True)
class _ShowJob:
    """Job that decodes the frames of a clip, or of the whole video if ``clip`` is None."""

    video: SourceVideo
    duration_s: float
    clip: Clip | None
    config: CaptionConfig
    reader: ReaderConfig
    work: Path


def _show_video(job: _ShowJob) -> VideoView:
    probe = job.video.probe
    frames = read_video_frames(probe.path, probe, job.duration_s, job.config, job.reader)
    return VideoView(job.video.video_id, job.duration_s, frames)


def _show_clip(job: _ShowJob) -> ClipView:
    if job.clip is None:
        raise AssertionError(f"{job.video.video_id}: expected a clip")
    probe, motion = job.video.probe, ""
    if job.config.use_motion:
        tracks = _tracks(job.work, job.clip)
        told = caption_from_motion(job.clip, tracks, _frame_size_px(job.video))
        motion = " ".join(caption.text for caption in told)
    frames = read_clip_frames(probe.path, probe, job.clip, job.config, job.reader)
    return ClipView(job.clip, frames, motion=motion)


def video_views(jobs: Sequence[_ShowJob], workers: Workers) -> Iterator[VideoView]:
    """Yield the frames of whole videos; unreadable ones are skipped, and their clips say why."""
    for _, result in workers.run(
        _show_video, jobs, video_s=_show_s, name=_show_name, stage="frames"
    ):
        if not isinstance(result, ItemError) and result.frames:
            yield result


def clip_views(jobs: Sequence[_ShowJob], workers: Workers) -> Iterator[ClipView]:
    """Yield the frames of clips. An unreadable clip has the reason in ``problem``."""
    for job, result in workers.run(
        _show_clip, jobs, video_s=_show_s, name=_show_name, stage="frames"
    ):
        if isinstance(result, ItemError) and job.clip is not None:
            yield ClipView(job.clip, (), problem=str(result))
        elif isinstance(result, ClipView):
            yield result if result.frames else replace(result, problem="no frame could be read")


def show_jobs(
    run: Run, scans: Sequence[StagedScan], *, people_only: bool = True
) -> tuple[list[_ShowJob], list[_ShowJob]]:
    """Return the jobs that decode the input of a captioner: whole videos, and clips.

    Args:
        run: run that the stages share.
        scans: scanned videos.
        people_only: include only clips with people, as a run does.
    """
    config = run.config
    videos: list[_ShowJob] = []
    clips: list[_ShowJob] = []
    for scan in scans:
        if scan.scan is None:
            continue
        whole = _ShowJob(
            scan.video, scan.scan.duration_s, None, config.captions, config.reader, run.work
        )
        shown = [
            replace(whole, clip=clip)
            for clip in scan.clips
            if not people_only or tracks_path(run.work, clip).exists()
        ]
        clips += shown
        if shown and config.captions.frames_per_video:
            videos.append(whole)
    return videos, clips


def _scene_of(captions: Iterable[Caption]) -> str:
    """Return the caption of the whole video; empty if there is no successful one."""
    whole = (c.text for c in captions if c.clip_id is None and c.outcome is Outcome.SUCCESS)
    return next(whole, "")


def _caption_with_model(run: Run, model: ChatModel, scans: Sequence[StagedScan]) -> None:
    config = run.config.captions
    todo = [job.scan for job in _jobs(run, "captions", scans)]
    whole, parts = show_jobs(run, todo)
    progress = Progress("captions", len(whole) + len(parts) * config.samples, run.report)
    captions: dict[str, list[Caption]] = {scan.video.video_id: [] for scan in todo}

    def take(found: Iterable[Caption]) -> None:
        for caption in found:
            captions[caption.video_id].append(caption)
            progress.advance(
                rejected=caption.outcome is not Outcome.SUCCESS, cost_usd=caption.cost_usd
            )

    views = video_views(whole, run.workers)
    take(caption_whole_videos(views, model, config))
    scenes = (
        {video_id: _scene_of(found) for video_id, found in captions.items()}
        if config.share_context
        else {}
    )
    shown = (
        replace(view, scene=scenes.get(view.clip.video_id, ""))
        for view in clip_views(parts, run.workers)
    )
    take(caption_clips(shown, model, config))
    for scan in todo:
        found = captions[scan.video.video_id]
        if any(caption.outcome is Outcome.BUDGET for caption in found):
            continue
        order = {clip.clip_id: index for index, clip in enumerate(scan.clips)}
        found.sort(key=lambda c: (order.get(c.clip_id or "", -1), c.sample))
        write_staged(
            video_path(run.work, "captions", scan.video.video_id), StagedCaptions(tuple(found))
        )


# ------------------------------------------------------------------- annotations from a model


def _measure(job: _TextJob) -> VideoTexts:
    """Collect the input of the annotator and the measurements to check its reply against."""
    video_id = job.scan.video.video_id
    staged = read_staged(StagedCaptions, video_path(job.work, "captions", video_id))
    by_clip: dict[str | None, list[Caption]] = defaultdict(list)
    for caption in staged.captions:
        by_clip[caption.clip_id].append(caption)
    tracks = job.tracks()
    clips: list[ClipTexts] = []
    for clip in job.scan.clips:
        if clip.clip_id not in tracks:
            continue
        main = by_prominence(tracks[clip.clip_id], job.frame_size_px)[0]
        captions = by_clip[clip.clip_id]
        motion = ""
        if job.annotations.use_motion:
            told = caption_from_motion(clip, tracks[clip.clip_id], job.frame_size_px)
            motion = " ".join(caption.text for caption in told)
        clips.append(
            ClipTexts(
                clip=clip,
                captions=tuple(c.text for c in captions if c.outcome is Outcome.SUCCESS),
                problem="; ".join(f"{c.outcome.value}: {c.reason}" for c in captions if c.reason),
                description=describe_track(main, job.frame_size_px),
                track_id=main.track_id,
                motion=motion,
            )
        )
    return VideoTexts(video_id, _scene_of(by_clip[None]), tuple(clips))


def _annotate_with_model(run: Run, model: ChatModel, scans: Sequence[StagedScan]) -> None:
    videos: list[VideoTexts] = []
    todo = _jobs(run, "annotations", scans)
    measured = run.workers.run(
        _measure, todo, video_s=_text_s, name=_job_name, stage=Stage.ANNOTATIONS
    )
    for job, result in measured:
        if isinstance(result, ItemError):
            staged = _without_texts(job, Stage.ANNOTATIONS, result)
            write_staged(video_path(run.work, "annotations", job.scan.video.video_id), staged)
        else:
            videos.append(result)
    progress = Progress("annotations", sum(len(video.clips) for video in videos), run.report)
    reported = _Reported(model, progress)
    finished = annotate_videos_with(videos, reported, run.config.annotations)
    jobs = {job.scan.video.video_id: job for job in todo}
    for video_id, done in finished.items():
        job = jobs[video_id]
        shown = {annotation.clip_id for annotation in done.annotations}
        clips = [clip for clip in job.scan.clips if clip.clip_id in shown]
        rejections = _rejections(job, clips, done.failed, Stage.ANNOTATIONS, run.workers)
        if not any(a.outcome is Outcome.BUDGET for a in done.annotations):
            staged = StagedAnnotations(done.coarse, done.annotations, rejections)
            write_staged(video_path(run.work, "annotations", video_id), staged)


@dataclass(frozen=True, slots=True)
class _Reported:
    """Model that reports progress. A repair adds to the cost but is not another item."""

    model: ChatModel
    progress: Progress

    @property
    def name(self) -> str:
        return self.model.name

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        tagged = (((tag, bool(request.history)), request) for tag, request in requests)
        for (tag, again), reply in self.model.ask_many(tagged):
            self.progress.advance(
                items=0 if again else 1,
                rejected=not again and reply.outcome is not Outcome.SUCCESS,
                cost_usd=reply.cost_usd,
            )
            yield tag, reply


def _text_s(job: _TextJob) -> float:
    return job.scan.video.probe.duration_s


def _show_name(job: _ShowJob) -> str:
    return str(job.video.probe.path)


def _show_s(job: _ShowJob) -> float:
    return job.duration_s if job.clip is None else job.clip.end_s - job.clip.start_s
