"""Audit a dataset: its motions shard by shard in worker processes, then against each other.

The result of each shard lies in a work folder beside the report until the audit is complete, so
that one that was interrupted continues where it stopped.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from annotators.motion.describe import KINEMATICS_VERSION, describe_motion
from data.config import Config, ExpandedPath
from data.errors import ItemError
from data.plain_text import plain_text
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers
from evaluation.audit.between import (
    DIGEST,
    BetweenLimits,
    between_findings,
    digest_row,
    read_digests,
)
from evaluation.audit.findings import (
    FINDINGS,
    Finding,
    Fix,
    Kind,
    Severity,
    findings_table,
    in_page_order,
)
from evaluation.audit.motions import MotionLimits, motion_findings
from evaluation.audit.sources import Item, Layout, Shard, Source, open_source, read_shard
from evaluation.audit.texts import TextLimits, ground_texts, text_findings

AUDIT_VERSION: Final = 1
"""Raised whenever a change affects the findings of a shard."""
FINDINGS_FILE: Final = "findings.parquet"
_WORK: Final = "work"


class AuditConfig(Config):
    """Audit of a text and motion dataset."""

    dataset: ExpandedPath = Field(
        description="Dataset of ours, folder in HumanML3D's layout, or folder of BVH with texts."
    )
    out: ExpandedPath = Field(
        default=Path("audit"), description="Folder of report.html and findings.parquet."
    )
    limit: int = Field(default=0, ge=0, description="Motions to audit, the first; 0: all.")
    motions: MotionLimits = Field(default_factory=MotionLimits)
    texts: TextLimits = Field(default_factory=TextLimits)
    between: BetweenLimits = Field(default_factory=BetweenLimits)
    workers: WorkerConfig = Field(default_factory=WorkerConfig)

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides the findings of a shard."""
        limits = self.model_dump(mode="json", include={"motions", "texts"})
        return {
            **limits,
            "audit": AUDIT_VERSION,
            "rules": KINEMATICS_VERSION,
            "code": version("avatargpt"),
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit.

    Attributes:
        source: the dataset.
        findings: all findings, in the order of the page; columns of
            :data:`evaluation.audit.findings.FINDINGS`.
        motions: number of motions that were read.
        texts: number of texts.
        verdicts: number of texts by verdict.
        splits: number of motions by split.
    """

    source: Source
    findings: pa.Table
    motions: int
    texts: int
    verdicts: Counter[str]
    splits: Counter[str]

    @property
    def kinds(self) -> dict[Kind, int]:
        """Number of findings of each kind that has any, in the order of the page."""
        counts = Counter(self.findings["kind"].to_pylist())
        return {kind: counts[kind.value] for kind in map(Kind, dict.fromkeys(counts))}

    @property
    def errors(self) -> int:
        """Number of findings that are errors."""
        return self.findings["severity"].to_pylist().count(Severity.ERROR.value)


Report = Callable[[str, int, int], None]
"""Called with a stage, the number of done parts, and of all."""


def run_audit(
    config: AuditConfig,
    report: Report | None = None,
    unexpected: UnexpectedErrors | None = None,
) -> Audit:
    """Audit a dataset and write ``findings.parquet``. The dataset is not changed.

    Args:
        config: the configuration.
        report: progress.
        unexpected: counter of unexpected errors, which the caller evaluates at the end.

    Raises:
        ValueError: the folder is no dataset, or the output lies in it.
        data.workers.unexpected.UnexpectedErrorsError: too many unexpected errors.
        OSError: the output cannot be written.
    """
    require_outside(config.out, config.dataset, "out")
    source = open_source(config.dataset, config.limit)
    work = config.out / _WORK / f"{source.fingerprint}-{_mark(config)}"
    work.mkdir(parents=True, exist_ok=True)
    findings = [
        findings_table(source.findings),
        *_shard_findings(config, source, work, report, unexpected),
    ]
    files = [work / f"{shard.number}.digests" for shard in source.shards]
    digests = read_digests([file for file in files if file.is_file()], work)

    def step(done: int, total: int) -> None:
        if report is not None:
            report("comparisons", done, total)

    findings.append(findings_table(between_findings(digests, config.between, step)))
    table = in_page_order(_without_doubles(pa.concat_tables(findings)))
    config.out.mkdir(parents=True, exist_ok=True)
    write_findings(config.out / FINDINGS_FILE, table)
    verdicts = Counter(verdict for of_motion in digests.verdicts for verdict in of_motion)
    audit = Audit(
        source,
        table,
        source.count,
        sum(map(len, digests.texts)),
        verdicts,
        Counter(split or "none" for split in digests.splits),
    )
    del digests
    shutil.rmtree(config.out / _WORK, ignore_errors=True)
    return audit


def write_findings(path: Path, table: pa.Table) -> None:
    """Write findings as Parquet, atomically."""
    aside = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, aside, compression="zstd")
    aside.replace(path)


def require_outside(folder: Path, dataset: Path, name: str) -> None:
    """Check that an output is not inside a dataset, which is never changed.

    Raises:
        ValueError: it is.
    """
    inside, outside = folder.absolute().resolve(), dataset.absolute().resolve()
    if inside == outside or outside in inside.parents:
        raise ValueError(
            f"{name} {folder}: expected a folder outside of the dataset {dataset}, found one in "
            "it. Remedy: choose another folder; the dataset is not changed."
        )


def _mark(config: AuditConfig) -> str:
    from hashlib import sha256  # noqa: PLC0415

    return sha256(repr(sorted(config.fingerprint().items())).encode()).hexdigest()[:8]


def _without_doubles(table: pa.Table) -> pa.Table:
    """Leave out what follows from another finding of the same text or motion."""
    swapped = {
        (row["item_id"], row["text_index"])
        for row in table.select(["kind", "item_id", "text_index"]).to_pylist()
        if row["kind"] == Kind.SIDE_SWAP
    }
    kept = [
        row["kind"] != Kind.MIRRORED_TEXT or (row["item_id"], row["text_index"]) not in swapped
        for row in table.select(["kind", "item_id", "text_index"]).to_pylist()
    ]
    return table.filter(pa.array(kept, pa.bool_()))


# ------------------------------------------------------------------------------------------ shards


@dataclass(frozen=True, slots=True)
class _Job:
    shard: Shard
    config: AuditConfig
    work: Path


def _shard_findings(
    config: AuditConfig,
    source: Source,
    work: Path,
    report: Report | None,
    unexpected: UnexpectedErrors | None,
) -> Iterator[pa.Table]:
    """Check all shards that are not done, and yield the findings of all in order."""
    left = [shard for shard in source.shards if not (work / f"{shard.number}.findings").is_file()]
    failed: dict[int, pa.Table] = {}
    done = len(source.shards) - len(left)
    if left:
        with Workers(config.workers, unexpected) as workers:
            jobs = [_Job(shard, config, work) for shard in left]
            results = workers.run(
                _check_shard, jobs, video_s=_allowance, name=_job_name, stage="audit"
            )
            for job, result in results:
                done += 1
                if isinstance(result, ItemError):
                    failed[job.shard.number] = findings_table([_unread(job.shard, result)])
                if report is not None:
                    report("motions", done, len(source.shards))
    for shard in source.shards:
        if shard.number in failed:
            yield failed[shard.number]
        else:
            yield pq.read_table(work / f"{shard.number}.findings", schema=FINDINGS)


def _allowance(job: _Job) -> float:
    """Return the seconds of video that allow a shard as much time as its motions may need."""
    return 0.05 * (len(job.shard.splits) or job.shard.most)


def _job_name(job: _Job) -> str:
    return f"shard {job.shard.number} of {job.shard.root}"


def _unread(shard: Shard, error: ItemError) -> Finding:
    names = sorted(shard.splits)
    where = f"{names[0]} to {names[-1]}" if names else f"{shard.part}, row group {shard.row_group}"
    return Finding(Kind.UNREADABLE, "", f"{where} were not checked: {error.detail}")


def _check_shard(job: _Job) -> int:
    """Check the motions of a shard; the results are files, of which the findings come last."""
    findings: list[Finding] = []
    digests: list[dict[str, Any]] = []
    for item in read_shard(job.shard):
        findings += _check_item(item, job.config, digests)
    number = job.shard.number
    pq.write_table(pa.Table.from_pylist(digests, DIGEST), job.work / f"{number}.digests")
    write_findings(job.work / f"{number}.findings", findings_table(findings))
    return len(findings)


def _check_item(
    item: Item, config: AuditConfig, digests: list[dict[str, Any]]
) -> Iterator[Finding]:
    yield from item.problems
    yield from text_findings(item, config.texts)
    found, joints_TJ3 = motion_findings(item, config.motions)
    yield from found
    if joints_TJ3 is None or item.features_TD is None or len(joints_TJ3) < 2:
        return
    if {finding.kind for finding in found} & {Kind.STATIC, Kind.SCALE, Kind.UP_AXIS}:
        return  # Its texts would be contradicted for another reason than their own.
    seen = item.credible_TJ
    confidence = None if seen is None else seen.astype(np.float32)
    description = describe_motion(joints_TJ3, confidence=confidence)
    grounded = ground_texts(item, description, config.texts)
    exchanged = any(finding.kind is Kind.SIDES_EXCHANGED for finding in found)
    for finding in grounded.findings:
        # Exchanged joints explain it; the text is right.
        yield replace(finding, fix=Fix.NONE) if exchanged else finding
    digests.append(digest_row(item, item.features_TD, joints_TJ3, description, grounded.verdicts))


def read_items(source: Source, ids: set[str]) -> Iterator[Item]:
    """Read some motions of a dataset again.

    Args:
        source: the dataset.
        ids: their ids.
    """
    for shard in source.shards:
        if source.layout is Layout.DATASET:
            yield from (item for item in read_shard(shard) if item.item_id in ids)
        elif wanted := {name: split for name, split in shard.splits.items() if name in ids}:
            yield from read_shard(replace(shard, splits=wanted))


def told(audit: Audit) -> str:
    """Return the result in a line."""
    counts = Counter(audit.findings["severity"].to_pylist())
    parts = ", ".join(
        f"{counts[one.value]:,} {one.value}s" for one in Severity if counts[one.value]
    )
    what = f"{audit.motions:,} motions, {audit.texts:,} texts"
    return plain_text(f"{audit.source.root}: {what}: {parts or 'no findings'}")
