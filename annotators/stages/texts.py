"""Text stages: write captions and annotations, and stage them by video.

Worker processes write texts from measured motion (:mod:`annotators.stages.rule_texts`). Texts of a
model are requested in this process, many at a time, while workers decode the frames. The service
caches each reply, so that a killed run does not request it again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from annotators.chat.cache import ChatReply
from annotators.chat.model import ChatModel
from annotators.chat.protocol import ChatRequest
from annotators.run import Progress, Run
from annotators.stages.rule_texts import (
    TextJob,
    annotate_video,
    caption_video,
    failed_rejections,
    frame_size_px,
    job_name,
    text_jobs,
    text_s,
    unseen_rejections,
    without_texts,
    write_texts,
)
from annotators.stages.staged import (
    SourceVideo,
    StagedAnnotations,
    StagedCaptions,
    StagedScan,
    lacks,
    load_tracks,
    read_scene,
    read_staged,
    read_things,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.texts.config import CaptionConfig, PeopleConfig
from annotators.texts.facts import body_events, motion_facts
from annotators.texts.frames import read_clip_frames, read_crops, read_video_frames
from annotators.texts.kinematic_captions import caption_from_motion
from annotators.texts.language_annotations import (
    ClipTexts,
    ToldCaption,
    ToldPerson,
    VideoTexts,
    annotate_videos_with,
)
from annotators.texts.people import Person, people_of
from annotators.texts.visual_captions import (
    ClipView,
    ShownPerson,
    VideoView,
    caption_clips,
    caption_whole_videos,
)
from data.errors import ItemError, Stage
from data.records import Caption, Clip, Outcome, Rejection
from data.video.reader import ReaderConfig
from data.workers.workers import Workers

Tag = TypeVar("Tag")


def caption_videos(run: Run, scans: Sequence[StagedScan]) -> list[StagedScan]:
    """Caption every clip with people, and stage the captions of each video.

    Returns:
        The videos whose captions are complete; these are all videos, unless the budget is spent.
    """
    if run.models.captioner is None:
        write_texts(run, caption_video, Stage.CAPTIONS, scans)
    else:
        _caption_with_model(run, run.models.captioner, scans)
    return _with_stage("captions", scans, run.work)


def annotate_videos(run: Run, scans: Sequence[StagedScan]) -> list[StagedScan]:
    """Annotate the people of every clip at three levels, and stage the annotations of each video.

    Returns:
        The videos whose annotations are complete; these are all, unless the budget is spent.
    """
    if run.models.annotator is None:
        write_texts(run, annotate_video, Stage.ANNOTATIONS, scans)
    else:
        _annotate_with_model(run, run.models.annotator, scans)
    return _with_stage("annotations", scans, run.work)


def _with_stage(stage: str, scans: Sequence[StagedScan], work: Path) -> list[StagedScan]:
    """Return rejected videos, which have no texts, and videos whose texts are staged."""
    return [scan for scan in scans if not lacks(scan, stage, work)]


# ---------------------------------------------------------------------- captions from a model


@dataclass(frozen=True, slots=True)
class _ShowJob:
    """Job that decodes the frames of a clip, or of the whole video if ``clip`` is None.

    ``clips`` are all clips of the video.
    """

    video: SourceVideo
    duration_s: float
    clip: Clip | None
    clips: tuple[Clip, ...]
    captions: CaptionConfig
    people: PeopleConfig
    reader: ReaderConfig
    work: Path


def _show_video(job: _ShowJob) -> VideoView:
    probe = job.video.probe
    frames = read_video_frames(probe.path, probe, job.duration_s, job.captions, job.reader)
    return VideoView(job.video.video_id, job.duration_s, frames)


def _show_clip(job: _ShowJob) -> list[ClipView]:
    """Read the views of a clip: one of all people, or one per person if frames are cropped."""
    if job.clip is None:
        raise AssertionError(f"{job.video.video_id}: expected a clip")
    clip, probe, config = job.clip, job.video.probe, job.captions
    tracks = load_tracks(job.work, clip)
    things = read_things(job.work, clip, job.clips)
    people = people_of(tracks, frame_size_px(job.video), job.people, things)
    if tracks and not people.seen:
        return [ClipView(clip, (), problem="nobody is seen well enough")]
    scene = read_scene(job.work, clip)

    def motion_of(shown: Sequence[Person]) -> str:
        told = caption_from_motion(clip, shown, scene) if config.use_motion else ()
        return " ".join(caption.text for caption in told)

    in_picture = max(len(tracks), (scene.people_count or 0) if scene else 0)
    shown = tuple(ShownPerson(p.number, p.track.track_id, p.where) for p in people.seen)
    reads = probe.path, probe, clip, config, job.reader
    motion = motion_of(people.seen)
    if not shown or in_picture < 2 or config.mark == "none":
        named = shown if len(shown) > 1 else ()
        return [ClipView(clip, read_clip_frames(*reads), motion=motion, people=named)]
    if config.mark == "boxes":
        frames = read_clip_frames(*reads, boxed=people.seen)
        return [ClipView(clip, frames, motion=motion, people=shown, mark="boxes")]
    return [
        ClipView(clip, frames, motion=motion_of([person]), people=(one,), mark="crops")
        for person, one, frames in zip(
            people.seen, shown, read_crops(*reads, people.seen), strict=True
        )
    ]


def video_views(jobs: Sequence[_ShowJob], workers: Workers) -> Iterator[VideoView]:
    """Yield the frames of whole videos; unreadable ones are skipped, and their clips say why."""
    for _, result in workers.run(
        _show_video, jobs, video_s=_show_s, name=_show_name, stage="frames"
    ):
        if not isinstance(result, ItemError) and result.frames:
            yield result


def clip_views(jobs: Sequence[_ShowJob], workers: Workers) -> Iterator[ClipView]:
    """Yield the views of clips. An unreadable clip has the reason in ``problem``."""
    for job, result in workers.run(
        _show_clip, jobs, video_s=_show_s, name=_show_name, stage="frames"
    ):
        if isinstance(result, ItemError) and job.clip is not None:
            yield ClipView(job.clip, (), problem=str(result))
        elif not isinstance(result, ItemError):
            for view in result:
                problem = view.problem or "no frame could be read"
                yield view if view.frames else replace(view, problem=problem)


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
            video=scan.video,
            duration_s=scan.scan.duration_s,
            clip=None,
            clips=scan.clips,
            captions=config.captions,
            people=config.people,
            reader=config.reader,
            work=run.work,
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
    todo = [job.scan for job in text_jobs(run, "captions", scans)]
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
        found.sort(key=lambda c: (order.get(c.clip_id or "", -1), c.track_id or 0, c.sample))
        write_staged(
            video_path(run.work, "captions", scan.video.video_id), StagedCaptions(tuple(found))
        )


# ------------------------------------------------------------------- annotations from a model


@dataclass(frozen=True, slots=True)
class _Measured:
    """Input of the annotator for a video, and the rejections of people who are not described."""

    texts: VideoTexts
    rejections: tuple[Rejection, ...]


def _measure(job: TextJob) -> _Measured:
    """Collect the input of the annotator and the measurements to check its reply against."""
    video_id = job.scan.video.video_id
    staged = read_staged(StagedCaptions, video_path(job.work, "captions", video_id))
    by_clip: dict[str | None, list[Caption]] = defaultdict(list)
    for caption in staged.captions:
        by_clip[caption.clip_id].append(caption)
    clips: list[ClipTexts] = []
    rejections: list[Rejection] = []
    for clip, tracks in job.tracks().items():
        people = job.people_of(clip, tracks)
        rejections += unseen_rejections(job, clip, people)
        if people.seen:
            clips.append(_clip_texts(clip, people.seen, by_clip[clip.clip_id], job))
    texts = VideoTexts(video_id, _scene_of(by_clip[None]), tuple(clips))
    return _Measured(texts, tuple(rejections))


def _clip_texts(
    clip: Clip, people: Sequence[Person], captions: Sequence[Caption], job: TextJob
) -> ClipTexts:
    numbers: dict[int | None, int] = {p.track.track_id: p.number for p in people}
    return ClipTexts(
        clip=clip,
        captions=tuple(
            ToldCaption(caption.text, numbers.get(caption.track_id))
            for caption in captions
            if caption.outcome is Outcome.SUCCESS
        ),
        problem="; ".join(f"{c.outcome.value}: {c.reason}" for c in captions if c.reason),
        people=tuple(
            ToldPerson(
                number=person.number,
                track_id=person.track.track_id,
                description=person.description,
                where=person.where,
                events=body_events(person.description),
                objects=person.track.objects,
            )
            for person in people
        ),
        motion=motion_facts(people, clip) if job.annotations.use_motion else "",
    )


def _annotate_with_model(run: Run, model: ChatModel, scans: Sequence[StagedScan]) -> None:
    videos: list[VideoTexts] = []
    unseen: dict[str, tuple[Rejection, ...]] = {}
    todo = text_jobs(run, "annotations", scans)
    measured = run.workers.run(
        _measure, todo, video_s=text_s, name=job_name, stage=Stage.ANNOTATIONS
    )
    for job, result in measured:
        video_id = job.scan.video.video_id
        if isinstance(result, ItemError):
            staged = without_texts(job, Stage.ANNOTATIONS, result)
            write_staged(video_path(run.work, "annotations", video_id), staged)
        else:
            videos.append(result.texts)
            unseen[video_id] = result.rejections
    progress = Progress("annotations", sum(len(video.clips) for video in videos), run.report)
    reported = _Reported(model, progress)
    finished = annotate_videos_with(videos, reported, run.config.annotations)
    jobs = {job.scan.video.video_id: job for job in todo}
    for video_id, done in finished.items():
        job = jobs[video_id]
        shown = {annotation.clip_id for annotation in done.annotations}
        clips = [clip for clip in job.scan.clips if clip.clip_id in shown]
        failed = failed_rejections(job, clips, done.failed, Stage.ANNOTATIONS, run.workers)
        if not any(a.outcome is Outcome.BUDGET for a in done.annotations):
            rejections = (*unseen[video_id], *failed)
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


def _show_name(job: _ShowJob) -> str:
    return job.video.name


def _show_s(job: _ShowJob) -> float:
    return job.duration_s if job.clip is None else job.clip.end_s - job.clip.start_s
