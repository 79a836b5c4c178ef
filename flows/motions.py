"""The ``import-motions`` flow: motions from any source into one dataset of 263-d features.

The work is done by :func:`data.importers.run.import_motions`, which publishes in steps and resumes.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from annotators.motion.from_tracks import find_video_motions
from data.importers.run import PRESETS, ImportProgress, MotionImportConfig
from data.importers.run import import_motions as run_import
from data.presets import NOTHING, PartOf, one_of
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import MANIFEST
from data.synthetic.activities import parse_procedural
from data.video.sources import shortened
from data.workers.unexpected import UnexpectedErrors
from flows.configuration import start_config
from flows.first_run import describe_empty_run
from flows.paths import require_absolute
from flows.runtime.failures import StageError, stage
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.reporting import outlives_server, show_table


class ImportSummary(BaseModel):
    """Result of a run of ``import-motions``.

    Attributes:
        dataset: folder of the dataset.
        rows: number of rows of the dataset by table.
        added: number of new rows by table.
        rejected: number of new rejections by reason.
        num_known: number of items that were already imported.
    """

    model_config = ConfigDict(frozen=True)

    dataset: Path
    rows: dict[str, int]
    added: dict[str, int]
    rejected: dict[str, int]
    num_known: int


@task(task_run_name="import {num_sources} sources", cache_policy=NO_CACHE)
def import_sources(
    config: MotionImportConfig, num_sources: int, unexpected: UnexpectedErrors
) -> ImportProgress:
    """Read, check, encode and publish the motions of all sources."""
    logger = get_run_logger()

    def report(progress: ImportProgress) -> None:
        note = f"{progress.known} already imported, {progress.rejected.total()} rejected"
        report_progress(StageProgress("motions", progress.done, None, note=note))
        logger.info(
            "%d items of %d sources: %d already imported, %d new motions, %d rejected",
            progress.done,
            num_sources,
            progress.known,
            progress.added["motions"],
            progress.rejected.total(),
        )

    with stage("import", shortened(config.sources)):
        find = partial(find_video_motions, reviews=config.reviews)
        return run_import(config, find, report, unexpected)


@flow(name="import-motions")
@outlives_server
def import_motions(
    preset: Annotated[str, one_of(PRESETS)] = "",
    config: Annotated[MotionImportConfig | dict[str, Any], PartOf(MotionImportConfig)] = NOTHING,
) -> ImportSummary:
    """Import motions from BVH, HumanML3D, NumPy and annotated videos, and plans. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: sources, dataset folder, quality gates, splits; values that differ from the preset.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: the dataset has neither a motion nor a plan, or items ended in an unexpected
            error (all other items are published).
    """
    config = start_config(MotionImportConfig, PRESETS, preset, config)
    paths = [source for source in config.sources if parse_procedural(source) is None]
    require_absolute((*paths, config.dataset), "config.sources and config.dataset")
    # Unexpected errors are logged with their tracebacks in the log of the run.
    unexpected = UnexpectedErrors(get_run_logger().error)
    progress = import_sources(config, len(config.sources), unexpected)
    rows = dict.fromkeys(SCHEMAS, 0)
    if (config.dataset / MANIFEST).is_file():
        tables = Dataset(config.dataset).manifest["tables"]
        rows = {name: table["rows"] for name, table in tables.items()}
    summary = ImportSummary(
        dataset=config.dataset,
        rows=rows,
        added=dict(progress.added),
        rejected=dict(progress.rejected.most_common()),
        num_known=progress.known,
    )
    show_table(
        [
            *(
                {"what": name, "rows": n, "new": summary.added.get(name, 0)}
                for name, n in rows.items()
            ),
            *({"what": f"rejected: {r}", "rows": n, "new": n} for r, n in summary.rejected.items()),
        ],
        "import-motions-counts",
        f"Rows of {config.dataset}",
    )
    unexpected.require_none()
    if not rows["motions"] and not rows["annotations"]:
        raise StageError(
            describe_empty_run(config.dataset, "nothing could be imported", progress.unpublished)
        )
    return summary
