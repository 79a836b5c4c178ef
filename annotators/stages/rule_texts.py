"""Texts that worker processes write from measured motion, and what all text stages share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from annotators.config import AnnotateConfig
from annotators.run import Progress, Run
from annotators.stages.staged import (
    SourceVideo,
    StagedAnnotations,
    StagedCaptions,
    StagedScan,
    lacks,
    load_tracks,
    read_scene,
    read_things,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.texts.config import AnnotationConfig, CaptionConfig, PeopleConfig
from annotators.texts.kinematic_captions import caption_from_motion
from annotators.texts.people import People, people_of, poorly_seen
from annotators.texts.rule_annotations import annotate_clip, only_told
from annotators.texts.scene import summarize_video
from data.errors import ItemError, Stage, UnexpectedItemError
from data.records import Annotation, Caption, Clip, PoseTrack, Rejection
from data.workers.workers import Workers

Text = TypeVar("Text")


@dataclass(frozen=True, slots=True)
class TextJob:
    """Job that writes the texts of one video."""

    scan: StagedScan
    captions: CaptionConfig
    annotations: AnnotationConfig
    people: PeopleConfig
    work: Path

    def tracks(self) -> dict[Clip, list[PoseTrack]]:
        """Return the tracks of the clips with tracked people."""
        found = {clip: load_tracks(self.work, clip) for clip in self.scan.clips}
        return {clip: tracks for clip, tracks in found.items() if tracks}

    def people_of(self, clip: Clip, tracks: Sequence[PoseTrack]) -> People:
        """Choose and describe the people of a clip."""
        things = read_things(self.work, clip, self.scan.clips)
        return people_of(tracks, frame_size_px(self.scan.video), self.people, things)


def text_jobs(run: Run, stage: str, scans: Sequence[StagedScan]) -> list[TextJob]:
    """Return the jobs of the videos without a result of this stage."""
    config: AnnotateConfig = run.config
    return [
        TextJob(scan, config.captions, config.annotations, config.people, run.work)
        for scan in scans
        if lacks(scan, stage, run.work)
    ]


def frame_size_px(video: SourceVideo) -> tuple[int, int]:
    """Return the width and height of a video in pixels."""
    return video.probe.width_px, video.probe.height_px


def job_name(job: TextJob) -> str:
    """Return the name of a job for people."""
    return job.scan.video.name


def text_s(job: TextJob) -> float:
    """Return the duration of the video of a job, seconds."""
    return job.scan.video.probe.duration_s


def clip_name(job: TextJob, clip: Clip) -> str:
    """Return the name of a clip for people."""
    return f"{job_name(job)} {clip.start_s:.2f}-{clip.end_s:.2f} s"


# ----------------------------------------------------------------------------------- rejections


def unseen_rejections(job: TextJob, clip: Clip, people: People) -> list[Rejection]:
    """Return the rejections of people who are not seen well enough.

    If nobody is, the clip has one rejection, whose id is that of the clip; otherwise each of these
    people has one, whose id ends with the track.
    """
    name, config = clip_name(job, clip), job.people
    if not people.seen:
        error = poorly_seen([one.problem for one in people.unseen], config)
        return [Rejection.of(clip.clip_id, name, Stage.ANNOTATIONS, error)]
    return [
        Rejection.of(
            f"{clip.clip_id}/{one.track_id}",
            f"{name} person {one.track_id}",
            Stage.ANNOTATIONS,
            poorly_seen([one.problem], config),
        )
        for one in people.unseen
    ]


def failed_rejections(
    job: TextJob,
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
            item = clip_name(job, clip)
            rejections.append(workers.unexpected.reject(clip.clip_id, item, stage, problems[clip]))
        else:
            workers.unexpected.note(stage, "", None)
    return tuple(rejections)


def without_texts(
    job: TextJob, stage: Stage, error: ItemError
) -> StagedCaptions | StagedAnnotations:
    """Return the result of a video whose texts failed: a rejection of every clip with people."""
    rejections = tuple(
        Rejection.of(clip.clip_id, clip_name(job, clip), stage, error)
        for clip in job.scan.clips
        if tracks_path(job.work, clip).exists()
    )
    if stage is Stage.CAPTIONS:
        return StagedCaptions((), rejections)
    return StagedAnnotations("", (), rejections)


# ------------------------------------------------------------------------- from measured motion


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of a video, and the clips that failed, each with its error."""

    staged: StagedCaptions | StagedAnnotations
    failed: tuple[tuple[Clip, ItemError], ...]


def write_texts(
    run: Run, function: Callable[[TextJob], Texts], stage: Stage, scans: Sequence[StagedScan]
) -> None:
    """Write the texts of videos in worker processes, and stage them.

    Args:
        run: run that the stages share.
        function: :func:`caption_video` or :func:`annotate_video`.
        stage: stage of the texts.
        scans: scanned videos; those whose texts are staged are skipped.
    """
    todo = text_jobs(run, stage, scans)
    progress = Progress(stage, len(todo), run.report)
    written = run.workers.run(function, todo, video_s=text_s, name=job_name, stage=stage)
    for job, result in written:
        if isinstance(result, ItemError):
            staged = without_texts(job, stage, result)
        else:
            failed = failed_rejections(job, job.scan.clips, result.failed, stage, run.workers)
            staged = replace(result.staged, rejections=(*result.staged.rejections, *failed))
        write_staged(video_path(run.work, stage, job.scan.video.video_id), staged)
        progress.advance(video_s=text_s(job), rejected=bool(staged.rejections))


def caption_video(job: TextJob) -> Texts:
    """Write the ``kinematic`` captions of a video."""
    tracks = job.tracks()

    def write(clip: Clip) -> list[Caption]:
        people = job.people_of(clip, tracks[clip])
        return caption_from_motion(clip, people.seen, read_scene(job.work, clip))

    captions, failed = _each_clip(tracks, write)
    return Texts(StagedCaptions(captions), failed)


def annotate_video(job: TextJob) -> Texts:
    """Write the annotations of a video by rules."""
    if job.scan.scan is None:
        raise AssertionError(f"{job.scan.video.video_id}: a rejected video has no texts")
    people = {clip: job.people_of(clip, tracks) for clip, tracks in job.tracks().items()}
    scenes = [read_scene(job.work, clip) for clip in job.scan.clips]
    facts = summarize_video(
        job.scan.clips,
        {clip.clip_id: found.seen for clip, found in people.items()},
        [scene for scene in scenes if scene is not None],
        job.scan.scan.duration_s,
        len(job.scan.scan.shots),
    )

    told = {clip: only_told(found) for clip, found in people.items()}

    def write(clip: Clip) -> list[Annotation]:
        return annotate_clip(clip, told[clip].seen, facts, job.annotations)

    annotations, failed = _each_clip(told, write)
    unseen = [r for clip, found in told.items() for r in unseen_rejections(job, clip, found)]
    return Texts(StagedAnnotations(facts.coarse, annotations, tuple(unseen)), failed)


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
