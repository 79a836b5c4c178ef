"""The order of the work: shards of videos through all stages, published as they are complete.

Every stage is idempotent: what is staged or published is not computed again, so that a killed run
goes on where it stopped. Items of one stage run in parallel worker processes.

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
from annotators.run import Progress, Run, silent
from annotators.stages.clips import scan_videos
from annotators.stages.estimates import TextEstimate, estimate_texts
from annotators.stages.ingest import Ingested, ingest_files
from annotators.stages.poses import estimate_clip_poses
from annotators.stages.publish import publish_videos, recipe_of
from annotators.stages.staged import SourceVideo, StagedScan
from annotators.stages.texts import annotate_videos, caption_videos
from data.store.writer import open_writer
from data.workers.workers import Workers

Stage = Callable[[Run, Any], list[StagedScan]]

STAGES: Final[Mapping[str, Stage]] = {
    "clips": scan_videos,
    "poses": estimate_clip_poses,
    "captions": caption_videos,
    "annotations": annotate_videos,
}
"""The stages in order. The first takes videos, the others what the one before returned."""


class Result(Protocol):
    """What a stage came to, perhaps later."""

    def result(self) -> list[StagedScan]:
        """The scans that the next stage works on; raises what stopped the stage."""
        ...


class Submit(Protocol):
    """Starts a stage on a shard.

    Args:
        stage: key of ``STAGES``.
        shard: its name, such as ``2/7``.
        given: videos, or what ``submit`` returned for the stage before.
    """

    def __call__(self, stage: str, shard: str, given: Any) -> Result:
        """Start it."""
        ...


@dataclass
class Worked:
    """What the shards of a run came to.

    Attributes:
        added: published rows by table.
        num_shards: that there were.
        failures: the first error of each shard that was stopped by one.
        unpublished: videos that went through all stages and gave no row.
        remaining: what is left to ask models for; None when nothing is.
    """

    added: Counter[str] = field(default_factory=Counter[str])
    num_shards: int = 0
    failures: list[Exception] = field(default_factory=list[Exception])
    unpublished: list[StagedScan] = field(default_factory=list[StagedScan])
    remaining: TextEstimate | None = None


def make_shards(
    videos: Sequence[SourceVideo], config: AnnotateConfig
) -> tuple[tuple[SourceVideo, ...], ...]:
    """Group videos into shards of about ``shard_clips`` clips, at least one video each."""
    shards: list[tuple[SourceVideo, ...]] = []
    shard: list[SourceVideo] = []
    num_clips = 0.0
    for video in videos:
        shard.append(video)
        num_clips += max(1.0, video.probe.duration_s / config.clips.max_clip_s)
        if num_clips >= config.shard_clips:
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
    """Take all shards through all stages, publishing whenever enough clips are complete.

    Args:
        run: the run.
        ingested: its sources.
        submit: starts a stage on a shard.
        publish_complete: publishes complete videos and the rejections of ingest; returns the rows
            that were added by table, or none when nothing was published.
    """
    shards = make_shards(ingested.videos, run.config)
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
            # In the order of the stages: those after one that failed only say that they never ran.
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
                # The rejections of ingest go out with the first publication.
                remaining, complete = replace(remaining, rejections=(), superseded=()), []
    if not running:
        worked.added.update(publish_complete(ingested, []))
    worked.unpublished = complete
    if unfinished:
        worked.remaining = estimate_texts(run, unfinished, people_only=True)
    return worked


def estimate_all(run: Run, ingested: Ingested, submit: Submit) -> Worked:
    """Find the clips of all videos, and what their texts will cost at most."""
    shards = make_shards(ingested.videos, run.config)
    scanned = [
        submit("clips", name, shard) for name, shard in zip(_names(shards), shards, strict=True)
    ]
    scans = [scan for result in scanned for scan in result.result()]
    return Worked(remaining=estimate_texts(run, scans, people_only=False))


def _names(shards: Sequence[object]) -> list[str]:
    return [f"{index + 1}/{len(shards)}" for index in range(len(shards))]


@dataclass(frozen=True, slots=True)
class _Finished:
    """A result that is there."""

    scans: list[StagedScan]

    def result(self) -> list[StagedScan]:
        return self.scans


def annotate_dataset(
    config: AnnotateConfig,
    pose_model: Path | None,
    workers: Workers,
    models: Models,
    report: Callable[[Progress], None] = silent,
) -> Worked:
    """Annotate without an orchestrator: the same stages on the same shards, one after the other.

    Args:
        config: the run's configuration.
        pose_model: the model file; None where poses are taken over.
        workers: where the work is done.
        models: that write the texts.
        report: told of every finished item.

    Raises:
        data.workers.unexpected.UnexpectedErrorsError: items ended in an unexpected error; what the
            others came to is published.
    """
    with open_writer(config.dataset, recipe_of(config, pose_model)) as writer:
        run = Run(config, writer.work, workers, models=models, pose_model=pose_model, report=report)

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
