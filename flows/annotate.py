"""The ``annotate-videos`` flow: videos in, a three-level, pose-grounded Parquet dataset out.

Each task runs one stage of :mod:`annotators.stages.shards` on one shard. Finished work is staged on
disk, so that a run that died is resumed by running it again.
"""

import atexit
import base64
import functools
import operator
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict

from annotators.chat.model import Models
from annotators.chat.service import Spend
from annotators.config import PRESETS, AnnotateConfig
from annotators.models import open_models
from annotators.pictures.preview import best_clip, pose_strip_jpeg
from annotators.poses.external import open_programs, require_estimator
from annotators.run import Progress, Run
from annotators.stages.estimates import TextEstimate
from annotators.stages.ingest import Ingested, Shard, ingest_files
from annotators.stages.publish import hold_work, list_rejections, publish_videos, recipe_of
from annotators.stages.shards import (
    STAGES,
    Finished,
    Worked,
    estimate_all,
    items_of,
    work_through,
)
from annotators.stages.staged import SourceVideo, StagedScan
from data.presets import NOTHING, PartOf, one_of
from data.records import Outcome
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import MANIFEST
from data.store.writer import DatasetWriter, open_writer
from data.video.sources import shortened
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers
from flows.configuration import start_config
from flows.first_run import describe_empty_run
from flows.paths import require_absolute
from flows.runtime.failures import StageError, describe, is_usage, stage
from flows.runtime.interruption import stopping
from flows.runtime.limits import concurrency_limiter
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.reporting import ProgressBar, is_lost, outlives_server, show_markdown, show_table
from flows.runtime.start_deployment import start_training
from flows.settings import (
    api_key,
    asset_path,
    downloads_dir,
    pose_model_path,
    program_environment,
    replies_dir,
)

REPORT_EVERY_S = 2.0
TASK_THREADS = 9
"""The ingest stage, and two shards with four stages each: while the last clips of one shard are
processed, the next one keeps the other workers busy. Threads only wait for the worker processes."""


class AnnotateSummary(BaseModel):
    """Result of a run of ``annotate-videos``.

    Attributes:
        dataset: folder of the dataset.
        rows: number of published rows of the dataset by table.
        added: number of rows that this run added by table.
        rejections: number of rejected items of the dataset by reason.
        num_known: number of files that were already annotated.
        video_s: seconds of video that this run processed.
        elapsed_s: duration of the run in seconds.
        outcomes: number of rows by table and outcome, for the tables that models write.
        spend: model calls of this run and their cost.
        remaining: model calls that are left and their cost, after a dry run or if the budget is
            exhausted; else None.
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
        """Explain how to get texts for which no service answered; empty if none is missing."""
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
    """Return the worker pool of this process, which all of its tasks share."""
    return _pool(config.model_dump_json())


@cache
def _pool(config_json: str) -> Workers:
    workers = Workers(WorkerConfig.model_validate_json(config_json))
    atexit.register(workers.close)
    return workers


def _stop_workers(config: WorkerConfig) -> None:
    """Kill the worker processes at once; the next run creates a new pool."""
    workers = shared_workers(config)
    _pool.cache_clear()
    workers.close()


def _reporter(shard: str) -> Callable[[Progress], None]:
    """Return a callback that reports progress to the terminal, a Prefect artifact and the log."""
    logger = get_run_logger()
    # The number of shards is estimated (~7) until all files are read.
    parts = int(shard.partition("/")[2].removeprefix("~") or 1)
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
        report_progress(
            StageProgress(progress.stage, progress.done, progress.total, shard, parts, note)
        )
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
def ingest(run: Run, writer: DatasetWriter, give: Callable[[Shard], bool]) -> None:
    """Find, probe and hash the source videos, and give shards of them to the other stages."""
    with stage("ingest"):
        shards = ingest_files(run.reporting_to(_reporter("files")), writer.published())
        with closing(shards):
            # Giving waits while enough shards are under way, and fails when the run has ended.
            all(map(give, shards))


def _task_of(name: str) -> Task[[str, Any, Run], list[StagedScan]]:
    """Return the Prefect task that runs a stage on a shard."""

    @task(name=name, task_run_name=f"{name} {{shard}}", cache_policy=NO_CACHE)
    def work_on(
        shard: str, given: tuple[Sequence[SourceVideo | StagedScan] | Finished], run: Run
    ) -> list[StagedScan]:
        items = items_of(*given)
        videos = [item.video if isinstance(item, StagedScan) else item for item in items]
        named = f"shard {shard} ({shortened([str(video.probe.path) for video in videos])})"
        with stage(name, named):
            return STAGES[name](run.reporting_to(_reporter(shard)), items)

    return work_on


_TASKS: Final = {name: _task_of(name) for name in STAGES}


@task(task_run_name="publish {num_videos} videos", cache_policy=NO_CACHE)
def publish(
    writer: DatasetWriter, ingested: Ingested, scans: list[StagedScan], num_videos: int
) -> dict[str, int]:
    """Publish complete videos; return the number of added rows by table."""
    with stage("publication", str(writer.root)):
        publication = publish_videos(writer, ingested, [scan.video.video_id for scan in scans])
    if publication is None:
        return {}
    get_run_logger().info(
        "published %d videos: %s",
        num_videos,
        ", ".join(f"{count} {name}" for name, count in publication.added.items() if count),
    )
    return dict(publication.added)


# The type annotations of Prefect do not accept its own task runner here.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=TASK_THREADS)


@flow(name="annotate-videos", task_runner=_RUNNER)
@outlives_server
def annotate_videos(
    preset: Annotated[str, one_of(PRESETS)] = "",
    config: Annotated[AnnotateConfig | dict[str, Any], PartOf(AnnotateConfig)] = NOTHING,
    train_with: str = "",
) -> AnnotateSummary:
    """Annotate videos into a Parquet dataset of 3-D motions and three-level, pose-grounded texts.

    Resumable: work that an earlier run finished is not repeated. A bad video is rejected and does
    not stop the others.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: sources, dataset folder and one section per stage; values that differ from the
            preset.
        train_with: deployment of train-all to start on the dataset if rows were added; empty
            means none.

    Returns:
        Counts of the rows of the dataset and of those that this run added.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: shards failed on an error that no video caused, items ended in an unexpected
            error, or a model did not answer (all other results are published); or the dataset has
            no annotation.
    """
    started_s = time.monotonic()
    config = start_config(AnnotateConfig, PRESETS, preset, config)
    external = config.poses.external
    results = external.results if external is not None else None
    folders = [folder for folder in (config.dataset, config.poses_from, results) if folder]
    require_absolute(
        (*config.videos, *folders), "config.videos, dataset, poses_from and poses.external.results"
    )
    require_estimator(config.poses)
    # Before any work: a cluster may not answer.
    pool = shared_workers(config.workers)
    # No model is needed if all poses are reused.
    uses_mediapipe = config.poses.estimator == "mediapipe"
    computes_poses = uses_mediapipe and (config.poses_from is None or config.pose_model is not None)
    model_path = pose_model_path(config.pose_model) if computes_poses else None
    detectors = asset_path("object_detectors") if computes_poses else None
    recipe = recipe_of(config, model_path)
    limiter = concurrency_limiter(config.concurrency_limit)
    with (
        open_models(config, api_key, replies_dir(), limiter, pool) as models,
        hold_work(config),
        open_writer(config.dataset, recipe) as writer,
        open_programs(config.poses, writer.work, program_environment()) as programs,
        stopping(
            functools.partial(_stop_workers, config.workers),
            models.abandon,
            *([programs.close] if programs is not None else []),
        ),
    ):
        # Unexpected errors are logged with their tracebacks in the log of the run.
        unexpected = UnexpectedErrors(get_run_logger().error)
        shared = tuple(path for path in (writer.work, model_path, detectors) if path is not None)
        workers = pool.for_run(unexpected, shared)
        run = Run(
            config,
            writer.work,
            workers,
            models=models,
            pose_model=model_path,
            object_detectors=detectors,
            programs=programs,
            downloads=downloads_dir(),
        )

        def start_ingest(give: Callable[[Shard], bool]) -> PrefectFuture[None]:
            return ingest.submit(run, writer, give)

        def submit(stage: str, shard: str, given: Any) -> PrefectFuture[list[StagedScan]]:
            # In a tuple: Prefect asks its server for the state of a future that is a parameter
            # itself, and the run would end with the server.
            return _TASKS[stage].submit(shard, (given,), run)

        def publish_complete(ingested: Ingested, scans: Sequence[StagedScan]) -> dict[str, int]:
            return publish(writer, ingested, list(scans), len(scans))

        if config.dry_run:
            done = estimate_all(run, start_ingest, submit)
        else:
            done = work_through(run, start_ingest, submit, publish_complete)
        spend = functools.reduce(operator.add, (s.spend for s in models.services), Spend())
        if done.failures:
            raise _first_failure(done)
        summary = _summarize(config.dataset, done, spend, time.monotonic() - started_s)
        if not summary.rows["annotations"] and summary.remaining is None:
            rejections = list_rejections(done.rejections, done.unpublished, writer.work)
            found = "no clip could be annotated"
            raise StageError(describe_empty_run(config.dataset, found, rejections))
    _show(summary)
    unexpected.require_none()
    if spend.unanswered:
        raise StageError(_unanswered(models))
    if train_with and summary.added.get("annotations"):
        start_training(config.dataset, train_with)
    return summary


def _first_failure(done: Worked) -> Exception:
    """Return the error that ends the run: the earliest failure."""
    stages = [failure for failure in done.failures if isinstance(failure, StageError)]
    first = min(stages, key=lambda failure: failure.at_s) if stages else done.failures[0]
    if is_usage(first):
        return first
    others = (
        f" {len(done.failures)} of {done.num_shards} shards failed; finished videos of the others "
        "are published."
        if done.num_shards > 1
        else ""
    )
    failure = StageError(f"{describe(first)}{others}")
    failure.__cause__ = first
    return failure


def _unanswered(models: Models) -> str:
    """Describe which model calls got no answer and how to repeat them."""
    failures = "; ".join(
        f"{service.endpoint} did not answer {service.spend.unanswered} requests to {service.name}, "
        f"the last one with: {service.last_failure}"
        for service in models.services
        if service.spend.unanswered
    )
    return (
        f"captions and annotations are missing: {failures}. Their rows have the outcome "
        "unavailable or rate_limited; all others are published. Remedy: check the service, "
        "then run the same command with --retry-rejected (in a deployment: retry_rejected: true)."
    )


def _summarize(root: Path, done: Worked, spend: Spend, elapsed_s: float) -> AnnotateSummary:
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
        num_known=done.num_known,
        video_s=done.video_s,
        elapsed_s=elapsed_s,
        outcomes=outcomes,
        spend=spend,
        remaining=done.remaining,
    )


def _show(summary: AnnotateSummary) -> None:
    """Create artifacts with counts, rejections and a picture of one clip."""
    if is_lost():
        # Drawing the picture takes a second, and nobody would receive it.
        return
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
        _summary_markdown(summary), "annotate-videos-summary", "Summary of the run with one clip"
    )


def _summary_markdown(summary: AnnotateSummary) -> str:
    speed = summary.video_s / max(summary.elapsed_s, 1e-9)
    lines = [
        "# annotate-videos",
        f"**{summary.rows['annotations']:,}** annotated people of "
        f"**{summary.rows['videos']:,}** videos in `{summary.dataset}`.",
        f"This run: {summary.video_s:.1f} s of video in {summary.elapsed_s:.1f} s "
        f"({speed:.1f} x real time), {summary.num_known} files already annotated.",
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
