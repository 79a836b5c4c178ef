"""The ``annotate-videos`` flow: videos in, a three-level, pose-grounded Parquet dataset out.

Thin: every task wraps one function of :mod:`annotators.stages.pipeline`, once per shard of work.
What is done is staged on disk, so a run that died is simply run again.
"""

import atexit
import base64
import functools
import operator
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict

from annotators.chat.model import Models
from annotators.chat.service import Spend
from annotators.config import PRESETS, AnnotateConfig
from annotators.models import open_models
from annotators.pictures.preview import best_clip, pose_strip_jpeg
from annotators.stages import pipeline
from annotators.stages.estimates import TextEstimate, estimate_texts
from annotators.stages.pipeline import Ingested
from annotators.stages.staged import Progress, SourceVideo, StagedScan
from data.presets import NOTHING, PartOf, one_of
from data.records import Outcome
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import MANIFEST
from data.store.writer import DatasetWriter, open_writer
from data.video.sources import shortened
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers
from flows.configuration import resolve_config
from flows.first_run import nothing_came
from flows.paths import require_absolute
from flows.runtime.failures import StageError, describe, is_usage, stage
from flows.runtime.interruption import stopping
from flows.runtime.limits import concurrency_limiter
from flows.runtime.progress import StageProgress, tell
from flows.runtime.reporting import ProgressBar, outlives_server, show_markdown, show_table
from flows.runtime.then_train import start_training
from flows.settings import api_key, pose_model_path, replies_dir

REPORT_EVERY_S = 2.0
TASK_THREADS = 8
"""Two shards of four stages: while one shard's last clips are worked on, the next one keeps the
other workers busy. A thread only waits; the work is done in worker processes."""


class AnnotateSummary(BaseModel):
    """What a run of ``annotate-videos`` came to.

    Attributes:
        dataset: its folder.
        rows: table to number of published rows, of the whole dataset.
        added: table to number of rows that this run added.
        rejections: reason to number of rejected items, of the whole dataset.
        num_known: files that needed no work.
        video_s: seconds of video that this run worked through.
        elapsed_s: how long it took.
        outcomes: table to outcome to number of its rows, of the whole dataset, for the tables whose
            rows a model may have failed to write.
        spend: what the calls of this run came to.
        remaining: what is left to ask for, and its cost: of a dry run, or of a run whose budget is
            used up; else None.
    """

    model_config = ConfigDict(frozen=True)

    dataset: Path
    rows: dict[str, int]
    added: dict[str, int]
    rejections: dict[str, int]
    num_known: int
    video_s: float
    elapsed_s: float
    outcomes: dict[str, dict[str, int]] = {}
    spend: Spend = Spend()
    remaining: TextEstimate | None = None

    @property
    def ask_again(self) -> str:
        """How to get the texts that no service answered for; empty where none is missing."""
        count = sum(
            outcomes.get(outcome, 0)
            for outcomes in self.outcomes.values()
            for outcome in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED)
        )
        if not count:
            return ""
        return (
            f"{count} texts are missing, because a service did not answer for them. Remedy: run "
            "the same command with --retry-rejected (in a deployment: retry_rejected: true)"
        )


def shared_workers(config: WorkerConfig) -> Workers:
    """One pool per process: all tasks that run in it share the machine's CPUs."""
    return _pool(config.model_dump_json())


@cache
def _pool(config_json: str) -> Workers:
    workers = Workers(WorkerConfig.model_validate_json(config_json))
    atexit.register(workers.close)
    return workers


def _stop_workers(config: WorkerConfig) -> None:
    """Kill the pool's processes, whatever they do; the next run gets a new pool."""
    workers = shared_workers(config)
    _pool.cache_clear()
    workers.close()


def _reporter(shard: str) -> Callable[[Progress], None]:
    """Report progress: a bar, and to Prefect an artifact that moves and a line in the log."""
    logger = get_run_logger()
    parts = int(shard.partition("/")[2] or 1)
    bar = ProgressBar()
    last_s = started_s = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        speed = progress.video_s / max(1e-9, now_s - started_s)
        notes = [
            *([f"{progress.rejected} rejected"] if progress.rejected else []),
            *([f"{speed:.1f} x real time"] if progress.video_s else []),
            *([f"{progress.cost_usd:.4f} USD"] if progress.cost_usd else []),
        ]
        note = ", ".join(notes)
        tell(StageProgress(progress.stage, progress.done, progress.total, shard, parts, note))
        if now_s - last_s < REPORT_EVERY_S and progress.done < progress.total:
            return
        last_s = now_s
        percent = 100.0 * progress.done / max(1, progress.total)
        done = f"{progress.stage} {shard}: {progress.done}/{progress.total}"
        text = ", ".join([done, *notes])
        logger.info(text)
        bar.show(percent, f"annotate-videos-{progress.stage}", text)

    return report


@task(task_run_name="ingest", cache_policy=NO_CACHE)
def ingest(config: AnnotateConfig, run: "_Run") -> Ingested:
    """Find, probe and hash the sources."""
    published = Dataset(config.dataset) if (config.dataset / "dataset.json").exists() else None
    with stage("ingest"):
        return pipeline.ingest_files(config, published, run.work, run.workers, _reporter("files"))


@task(task_run_name="clips {shard}", cache_policy=NO_CACHE)
def clips(
    shard: str, videos: Sequence[SourceVideo], config: AnnotateConfig, run: "_Run"
) -> list[StagedScan]:
    """Find the shots of a shard of videos and cut them into clips."""
    with stage("clips", _shard(shard, videos)):
        return pipeline.scan_videos(videos, config, run.work, run.workers, _reporter(shard))


@task(task_run_name="poses {shard}", cache_policy=NO_CACHE)
def poses(
    shard: str,
    scans: list[StagedScan],
    config: AnnotateConfig,
    model_path: Path | None,
    run: "_Run",
) -> list[StagedScan]:
    """Track the people in a shard of clips."""
    with stage("poses", _shard(shard, [scan.video for scan in scans])):
        pipeline.estimate_clip_poses(
            scans, config, model_path, run.work, run.workers, _reporter(shard)
        )
    return scans


TextStage = Callable[..., list[StagedScan]]


def _write_texts(
    write: TextStage,
    name: str,
    shard: str,
    scans: list[StagedScan],
    config: AnnotateConfig,
    run: "_Run",
) -> list[StagedScan]:
    with stage(name, _shard(shard, [scan.video for scan in scans])):
        return write(scans, config, run.work, run.workers, run.models, _reporter(shard))


def _shard(shard: str, videos: Sequence[SourceVideo]) -> str:
    """A shard with its videos, for messages."""
    return f"shard {shard} ({shortened([str(video.probe.path) for video in videos])})"


@task(task_run_name="captions {shard}", cache_policy=NO_CACHE)
def captions(
    shard: str, scans: list[StagedScan], config: AnnotateConfig, run: "_Run"
) -> list[StagedScan]:
    """Caption a shard of clips; returns the videos whose captions are complete."""
    return _write_texts(pipeline.caption_videos, "captions", shard, scans, config, run)


@task(task_run_name="annotations {shard}", cache_policy=NO_CACHE)
def annotations(
    shard: str, scans: list[StagedScan], config: AnnotateConfig, run: "_Run"
) -> list[StagedScan]:
    """Write the three levels for a shard of clips; returns the videos that are complete."""
    return _write_texts(pipeline.annotate_videos, "annotations", shard, scans, config, run)


@task(task_run_name="publish {num_videos} videos", cache_policy=NO_CACHE)
def publish(
    writer: DatasetWriter, ingested: Ingested, scans: list[StagedScan], num_videos: int
) -> dict[str, int]:
    """Publish complete videos; returns the rows that were added, by table."""
    with stage("publication", str(writer.root)):
        publication = pipeline.publish(writer, ingested, [scan.video.video_id for scan in scans])
    if publication is None:
        return {}
    get_run_logger().info(
        "published %d videos: %s",
        num_videos,
        ", ".join(f"{count} {name}" for name, count in publication.added.items() if count),
    )
    return dict(publication.added)


# Prefect's own types do not accept its own runner here.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=TASK_THREADS)


class _Run:
    """What the tasks of one run share. No dataclass, which Prefect would take apart.

    Attributes:
        models: that write the texts.
        work: folder of staged work.
        workers: the machine's, counting this run's unexpected errors.
    """

    def __init__(self, models: Models, work: Path, workers: Workers) -> None:
        self.models = models
        self.work = work
        self.workers = workers


@flow(name="annotate-videos", task_runner=_RUNNER)
@outlives_server
def annotate_videos(
    preset: Annotated[str, one_of(PRESETS)] = "",
    config: Annotated[AnnotateConfig | dict[str, Any], PartOf(AnnotateConfig)] = NOTHING,
    train_with: str = "",
) -> AnnotateSummary:
    """Turn videos into a three-level, pose-grounded text + 3-D motion dataset in Parquet.

    Resumes: what an earlier run finished is not done again. One bad video never stops the others.

    Args:
        preset: named set of values that holds where config says nothing; empty: none.
        config: sources, dataset folder and a section per stage: what differs from the preset.
        train_with: deployment of train-all to start on the dataset when something was added;
            empty: none.

    Returns:
        Counts of what the dataset holds and of what this run added.

    Raises:
        ValueError: the configuration cannot be used.
        RuntimeError: some shards failed on an error that is not the fault of a video, items ended
            in an unexpected error, or a model did not answer (what the others came to is
            published), or the dataset has no annotation at all.
    """
    started_s = time.monotonic()
    config = resolve_config(AnnotateConfig, PRESETS, preset, config)
    folders = (config.dataset, *([config.poses_from] if config.poses_from else []))
    require_absolute((*config.videos, *folders), "config.videos, dataset and poses_from")
    # Poses that are taken over need no model.
    computes_poses = config.poses_from is None or config.pose_model is not None
    model_path = pose_model_path(config.pose_model) if computes_poses else None
    recipe = pipeline.recipe_of(config, model_path)
    limiter = concurrency_limiter(config.concurrency_limit)
    with (
        open_models(config, api_key, replies_dir(), limiter) as models,
        open_writer(config.dataset, recipe) as writer,
        stopping(functools.partial(_stop_workers, config.workers), models.abandon),
    ):
        # Errors that nobody foresaw go to the run's own log, with their tracebacks.
        unexpected = UnexpectedErrors(get_run_logger().error)
        workers = shared_workers(config.workers).for_run(unexpected)
        run = _Run(models, writer.work, workers)
        ingested = ingest(config, run)
        if config.dry_run:
            done = _estimate_all(config, run, ingested)
        else:
            done = _work_through(config, run, writer, ingested, model_path)
        spend = functools.reduce(operator.add, (s.spend for s in models.services), Spend())
        if done.failures:
            raise _first_failure(done)
        summary = _summarise(config.dataset, done, ingested, spend, time.monotonic() - started_s)
        if not summary.rows["annotations"] and summary.remaining is None:
            rejections = pipeline.list_rejections(ingested, done.unpublished, writer.work)
            found = "no clip could be annotated"
            raise StageError(nothing_came(config.dataset, found, rejections))
    _show(summary)
    unexpected.require_none()
    if spend.unanswered:
        raise StageError(_unanswered(models))
    if train_with and summary.added.get("annotations"):
        start_training(config.dataset, train_with)
    return summary


@dataclass
class _Done:
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


def _work_through(
    config: AnnotateConfig,
    run: _Run,
    writer: DatasetWriter,
    ingested: Ingested,
    model_path: Path | None,
) -> _Done:
    """Take all shards through all stages, publishing whenever enough clips are complete."""
    shards = pipeline.make_shards(ingested.videos, config)
    done = _Done(num_shards=len(shards))
    running: list[list[PrefectFuture[list[StagedScan]]]] = []
    for index, shard in enumerate(shards):
        name = f"{index + 1}/{len(shards)}"
        scanned = clips.submit(name, shard, config, run)
        posed = poses.submit(name, scanned, config, model_path, run)  # pyright: ignore[reportArgumentType]
        captioned = captions.submit(name, posed, config, run)  # pyright: ignore[reportArgumentType]
        annotated = annotations.submit(name, captioned, config, run)  # pyright: ignore[reportArgumentType]
        running.append([scanned, posed, captioned, annotated])
    complete: list[StagedScan] = []
    unfinished: list[StagedScan] = []
    remaining = ingested
    for index, futures in enumerate(running):
        try:
            # In the order of the stages: those after one that failed only say that they never ran.
            _, all_posed, _, finished = [future.result() for future in futures]
        except Exception as error:  # noqa: BLE001 - the other shards go on; raised at the end
            done.failures.append(error)
        else:
            ids = {scan.video.video_id for scan in finished}
            complete += finished
            unfinished += [scan for scan in all_posed if scan.video.video_id not in ids]
        enough = sum(len(scan.clips) for scan in complete) >= config.publish_clips
        if enough or index == len(running) - 1:
            added = publish(writer, remaining, complete, len(complete))
            if added:
                done.added.update(added)
                # The rejections of ingest go out with the first publication.
                remaining, complete = replace(remaining, rejections=(), superseded=()), []
    if not running:
        done.added.update(publish(writer, ingested, [], 0))
    done.unpublished = complete
    if unfinished:
        done.remaining = _estimate(unfinished, config, run, people_only=True)
    return done


def _first_failure(done: _Done) -> Exception:
    """The error to end a run with: the cause of what failed first."""
    stages = [failure for failure in done.failures if isinstance(failure, StageError)]
    first = min(stages, key=lambda failure: failure.at_s) if stages else done.failures[0]
    if is_usage(first):
        return first
    others = (
        f" {len(done.failures)} of {done.num_shards} shards failed; what the others finished is "
        "published."
        if done.num_shards > 1
        else ""
    )
    failure = StageError(f"{describe(first)}{others}")
    failure.__cause__ = first
    return failure


def _unanswered(models: Models) -> str:
    """What a run lacks because models did not answer, and how to ask again."""
    told = "; ".join(
        f"{service.endpoint} did not answer {service.spend.unanswered} requests to {service.name}, "
        f"the last one with: {service.last_failure}"
        for service in models.services
        if service.spend.unanswered
    )
    return (
        f"captions and annotations are missing: {told}. Their rows have the outcome unavailable or "
        "rate_limited; all others are published. Remedy: see to the service, then run the same "
        "command with --retry-rejected (in a deployment: retry_rejected: true)."
    )


def _estimate_all(config: AnnotateConfig, run: _Run, ingested: Ingested) -> _Done:
    """Find the clips of all videos, and what their texts will cost at most."""
    shards = pipeline.make_shards(ingested.videos, config)
    names = [f"{index + 1}/{len(shards)}" for index in range(len(shards))]
    scanned = [
        clips.submit(name, shard, config, run) for name, shard in zip(names, shards, strict=True)
    ]
    scans = [scan for future in scanned for scan in future.result()]
    return _Done(remaining=_estimate(scans, config, run, people_only=False))


def _estimate(
    scans: list[StagedScan], config: AnnotateConfig, run: _Run, *, people_only: bool
) -> TextEstimate:
    return estimate_texts(scans, config, run.work, run.workers, run.models, people_only=people_only)


def _summarise(
    root: Path, done: _Done, ingested: Ingested, spend: Spend, elapsed_s: float
) -> AnnotateSummary:
    rows: dict[str, int] = {}
    reasons = Counter[str]()
    outcomes: dict[str, dict[str, int]] = {}
    if (root / MANIFEST).is_file():
        dataset = Dataset(root)
        rows = {name: table["rows"] for name, table in dataset.manifest["tables"].items()}
        reasons = dataset.counts("rejections", "reason")
        for name in ("captions", "annotations"):
            outcomes[name] = dict(dataset.counts(name, "outcome").most_common())
    return AnnotateSummary(
        dataset=root,
        rows={name: rows.get(name, 0) for name in SCHEMAS},
        added=dict(done.added),
        rejections=dict(reasons.most_common()),
        num_known=ingested.num_known,
        video_s=sum(video.probe.duration_s for video in ingested.videos),
        elapsed_s=elapsed_s,
        outcomes=outcomes,
        spend=spend,
        remaining=done.remaining,
    )


def _show(summary: AnnotateSummary) -> None:
    """Put counts, rejections and a picture of one clip where the Prefect UI shows them."""
    counts = [
        {"what": name, "rows": rows, "added by this run": summary.added.get(name, 0)}
        for name, rows in summary.rows.items()
    ]
    counts += [
        {"what": f"rejected: {reason}", "rows": count, "added by this run": ""}
        for reason, count in summary.rejections.items()
    ]
    counts += [
        {"what": f"{table}: {outcome}", "rows": count, "added by this run": ""}
        for table, outcomes in summary.outcomes.items()
        for outcome, count in outcomes.items()
        if outcome != Outcome.SUCCESS
    ]
    show_table(counts, "annotate-videos-counts", f"Rows of {summary.dataset}")
    show_markdown(
        _summary_markdown(summary), "annotate-videos-summary", "What the run made, with one clip"
    )


def _summary_markdown(summary: AnnotateSummary) -> str:
    speed = summary.video_s / max(summary.elapsed_s, 1e-9)
    lines = [
        "# annotate-videos",
        f"**{summary.rows['annotations']:,}** annotated clips of "
        f"**{summary.rows['videos']:,}** videos in `{summary.dataset}`.",
        f"This run: {summary.video_s:.1f} s of video in {summary.elapsed_s:.1f} s "
        f"({speed:.1f} x real time), {summary.num_known} files known before.",
    ]
    if summary.spend.calls or summary.spend.cache_hits:
        lines.append(f"Models: {summary.spend}.")
    if summary.remaining is not None:
        lines.append(f"**Remaining**: {summary.remaining}.")
    if summary.ask_again:
        lines.append(f"**Missing**: {summary.ask_again}.")
    published = (summary.dataset / MANIFEST).is_file()
    clip = best_clip(Dataset(summary.dataset)) if published else None
    if clip is not None:
        picture = base64.b64encode(pose_strip_jpeg(clip)).decode()
        lines += [
            f"## {clip.annotation['activity']}",
            f"![a clip with its skeleton](data:image/jpeg;base64,{picture})",
            f"**Coarse**: {clip.annotation['coarse']}",
            f"**Medium**: {clip.annotation['medium'][0]}",
            "**Fine**:",
            "\n".join(
                f"1. {step['start_s']:.1f}-{step['end_s']:.1f} s: {step['text']}"
                for step in clip.annotation["fine"]
            ),
        ]
    return "\n\n".join(lines)
