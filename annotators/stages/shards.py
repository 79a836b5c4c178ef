"""Order of the stages: shards of videos pass all stages and are published when complete.

Every stage is idempotent. It skips items that are staged or published, so that a killed run
continues where it stopped. Items of one stage run in parallel worker processes.

    sources -> ingest_files -> scan_videos -> estimate_clip_poses -> caption_videos
            -> annotate_videos -> publish_videos

The caller decides how a stage is run on a shard: the flow submits Prefect tasks, and
:func:`annotate_dataset` runs one stage after the other in this thread.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from annotators.chat.model import Models
from annotators.config import AnnotateConfig
from annotators.poses.external import open_programs, require_estimator
from annotators.run import Progress, Run, silent
from annotators.stages.clips import scan_videos
from annotators.stages.downloads import hold_downloads
from annotators.stages.estimates import TextEstimate, estimate_texts
from annotators.stages.ingest import Ingested, ingest_files
from annotators.stages.poses import estimate_clip_poses
from annotators.stages.publish import hold_work, publish_videos, recipe_of
from annotators.stages.staged import SourceVideo, StagedScan
from annotators.stages.texts import annotate_videos, caption_videos
from data.store.writer import open_writer
from data.workers.workers import Workers

Stage = Callable[[Run, Any], list[StagedScan]]


def _with_downloads(
    stage: Stage, reads: Callable[[AnnotateConfig], bool] = lambda _: True
) -> Stage:
    """Return a stage that has the downloaded videos of its shard on the disk while it runs."""

    def work(run: Run, given: Any) -> list[StagedScan]:
        videos = [item.video if isinstance(item, StagedScan) else item for item in given]
        with hold_downloads(run, videos if reads(run.config) else ()):
            return stage(run, given)

    return work


STAGES: Final[Mapping[str, Stage]] = {
    "clips": _with_downloads(scan_videos),
    "poses": _with_downloads(estimate_clip_poses),
    "captions": _with_downloads(
        caption_videos, lambda config: config.captions.captioner != "kinematic"
    ),
    "annotations": annotate_videos,
}
"""Stages in order. The first one takes videos, the others take the result of the one before."""


class Result(Protocol):
    """Result of a stage, which may still be running."""

    def result(self) -> list[StagedScan]:
        """Wait for the scans for the next stage; raises the exception that stopped the stage."""
        ...


class Submit(Protocol):
    """Function that starts a stage on a shard.

    Args:
        stage: key of ``STAGES``.
        shard: name of the shard, such as ``2/7``.
        given: videos, or the result of the stage before.
    """

    def __call__(self, stage: str, shard: str, given: Any) -> Result:
        """Start the stage."""
        ...


@dataclass
class Worked:
    """Result of all shards of a run.

    Attributes:
        added: number of published rows by table.
        num_shards: number of shards.
        failures: first exception of each shard that failed.
        unpublished: videos that passed all stages and were not published.
        remaining: estimate of the calls that remain; None if there are none.
    """

    added: Counter[str] = field(default_factory=Counter[str])
    num_shards: int = 0
    failures: list[Exception] = field(default_factory=list[Exception])
    unpublished: list[StagedScan] = field(default_factory=list[StagedScan])
    remaining: TextEstimate | None = None


def make_shards(
    videos: Sequence[SourceVideo], config: AnnotateConfig, num_workers: int = 1
) -> tuple[tuple[SourceVideo, ...], ...]:
    """Group videos into shards of about ``shard_clips`` clips and at least one video.

    On a cluster, a shard has at least two clips per worker, because all of its workers work on few
    shards.
    """
    enough = config.shard_clips
    if config.workers.executor == "ray":
        enough = max(enough, 2 * num_workers)
    shards: list[tuple[SourceVideo, ...]] = []
    shard: list[SourceVideo] = []
    num_clips = 0.0
    for video in videos:
        shard.append(video)
        num_clips += max(1.0, video.probe.duration_s / config.clips.max_clip_s)
        if num_clips >= enough:
            shards.append(tuple(shard))
            shard, num_clips = [], 0.0
    if shard:
        shards.append(tuple(shard))
    return tuple(shards)


def work_through(
    run: Run,
    ingested: Ingested,
    submit: Submit,
    publish_complete: Callable[[Ingested, Sequence[StagedScan]], Mapping[str, int]],
) -> Worked:
    """Run all stages on all shards, and publish whenever ``publish_clips`` clips are complete.

    Args:
        run: run that the stages share.
        ingested: result of the ingest stage.
        submit: function that starts a stage on a shard.
        publish_complete: function that publishes complete videos and the rejections of ingest, and
            returns the number of added rows by table; empty if nothing was published.
    """
    shards = make_shards(ingested.videos, run.config, run.workers.capacity)
    worked = Worked(num_shards=len(shards))
    running: list[list[Result]] = []
    for name, shard in zip(_names(shards), shards, strict=True):
        given: object = shard
        results: list[Result] = []
        for stage in STAGES:
            result = submit(stage, name, given)
            results.append(result)
            given = result
        running.append(results)
    complete: list[StagedScan] = []
    unfinished: list[StagedScan] = []
    remaining = ingested
    for index, results in enumerate(running):
        try:
            # In the order of the stages: the errors of later stages only say that they did not run.
            _, all_posed, _, finished = [result.result() for result in results]
        except Exception as error:  # noqa: BLE001 - the other shards go on; raised at the end
            worked.failures.append(error)
        else:
            ids = {scan.video.video_id for scan in finished}
            complete += finished
            unfinished += [scan for scan in all_posed if scan.video.video_id not in ids]
        enough = sum(len(scan.clips) for scan in complete) >= run.config.publish_clips
        if enough or index == len(running) - 1:
            added = publish_complete(remaining, complete)
            if added:
                worked.added.update(added)
                # The rejections of ingest are part of the first publication.
                remaining, complete = replace(remaining, rejections=(), superseded=()), []
    if not running:
        worked.added.update(publish_complete(ingested, []))
    worked.unpublished = complete
    if unfinished:
        worked.remaining = estimate_texts(run, unfinished, people_only=True)
    return worked


def estimate_all(run: Run, ingested: Ingested, submit: Submit) -> Worked:
    """Find the clips of all videos, and estimate the cost of their texts."""
    shards = make_shards(ingested.videos, run.config, run.workers.capacity)
    scanned = [
        submit("clips", name, shard) for name, shard in zip(_names(shards), shards, strict=True)
    ]
    scans = [scan for result in scanned for scan in result.result()]
    return Worked(remaining=estimate_texts(run, scans, people_only=False))


def _names(shards: Sequence[object]) -> list[str]:
    return [f"{index + 1}/{len(shards)}" for index in range(len(shards))]


@dataclass(frozen=True, slots=True)
class _Finished:
    """Result of a stage that has finished."""

    scans: list[StagedScan]

    def result(self) -> list[StagedScan]:
        return self.scans


def annotate_dataset(
    config: AnnotateConfig,
    pose_model: Path | None,
    workers: Workers,
    models: Models,
    report: Callable[[Progress], None] = silent,
    *,
    object_detectors: Path | None = None,
    downloads: Path | None = None,
) -> Worked:
    """Annotate videos without Prefect, one stage of one shard at a time.

    Args:
        config: configuration of the run.
        pose_model: file of the pose model; None if poses come from another dataset or estimator.
        workers: worker processes.
        models: models that write the texts.
        report: callback for progress.
        object_detectors: file of the object detectors; None where there is no pose model.
        downloads: folder of the cache of videos that are not on this machine.

    Raises:
        data.workers.unexpected.UnexpectedErrorsError: items failed with an unexpected error. The
            results of the other items are published.
    """
    require_estimator(config.poses)
    with (
        hold_work(config),
        open_writer(config.dataset, recipe_of(config, pose_model)) as writer,
        open_programs(config.poses, writer.work) as programs,
    ):
        run = Run(
            config,
            writer.work,
            workers,
            models=models,
            pose_model=pose_model,
            object_detectors=object_detectors,
            programs=programs,
            downloads=downloads,
            report=report,
        )

        def in_this_thread(stage: str, shard: str, given: Any) -> _Finished:
            del shard
            items: Any = given.result() if isinstance(given, _Finished) else given
            return _Finished(STAGES[stage](run, items))

        def publish_complete(ingested: Ingested, scans: Sequence[StagedScan]) -> Mapping[str, int]:
            done = publish_videos(writer, ingested, [scan.video.video_id for scan in scans])
            return {} if done is None else done.added

        ingested = ingest_files(run, writer.published())
        worked = work_through(run, ingested, in_this_thread, publish_complete)
    workers.unexpected.require_none()
    return worked
