"""Status of a dataset: published rows, staged work, failures and next commands."""

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from annotators.stages.staged import (
    StagedAnnotations,
    StagedCaptions,
    StagedPoses,
    StagedScan,
    read_staged,
)
from data.errors import RETRYABLE
from data.records import Outcome, Rejection
from data.store.dataset import Dataset
from data.store.locks import lock_holder
from data.store.manifest import MANIFEST, STAGING, DatasetError
from data.store.versions import read_versions

Kind = Literal["annotated videos", "motions", "texts", "nothing published"]


class Failed(BaseModel):
    """Number of items that failed for one reason.

    Attributes:
        stage: stage of the rejection, or table of the outcome.
        reason: code of the rejection, or outcome of the model call.
        count: number of items.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    reason: str
    count: int


class StagedWork(BaseModel):
    """Staged work that is not published.

    Attributes:
        videos: number of videos with a result of the clips stage.
        clips: number of clips of these videos.
        poses: number of clips with a result of the poses stage.
        captions, annotations: number of videos with a result of the stage.
        rejected: number of rejections in this work.
        size_bytes: size on disk.
    """

    model_config = ConfigDict(frozen=True)

    videos: int = 0
    clips: int = 0
    poses: int = 0
    captions: int = 0
    annotations: int = 0
    rejected: tuple[Failed, ...] = ()
    size_bytes: int = 0


class DatasetStatus(BaseModel):
    """Status of the folder of a dataset.

    Attributes:
        dataset: folder.
        kind: kind of the dataset.
        code_version: version that published last; empty before the first publication.
        created_at, updated_at: ISO 8601, UTC.
        publications: number of publications.
        rows: number of published rows by table.
        bytes_by_table: size of the parts by table, from the manifest.
        size_bytes: size of all files in the folder, including staged work.
        older_versions_bytes: size of the parts that only older versions need.
        made_with: captioner and annotator, with their models.
        made_by_import: whether import-motions made the dataset.
        rejected: published rejections, by stage and reason.
        outcomes: failed model calls, by table and outcome.
        staged: staged work.
        interrupted_publication: whether a publication was interrupted; the next run completes it.
        writer: process that holds the lock; empty if there is none.
        next_steps: commands to run next, each with its purpose.
    """

    model_config = ConfigDict(frozen=True)

    dataset: Path
    kind: Kind
    code_version: str = ""
    created_at: str = ""
    updated_at: str = ""
    publications: int = 0
    rows: dict[str, int] = {}
    bytes_by_table: dict[str, int] = {}
    size_bytes: int = 0
    older_versions_bytes: int = 0
    made_with: dict[str, str] = {}
    made_by_import: bool = False
    rejected: tuple[Failed, ...] = ()
    outcomes: tuple[Failed, ...] = ()
    staged: StagedWork = StagedWork()
    interrupted_publication: bool = False
    writer: str = ""
    next_steps: tuple[tuple[str, str], ...] = ()


def read_status(root: Path) -> DatasetStatus:
    """Read the status of a dataset without changes to it.

    Args:
        root: folder of the dataset.

    Raises:
        DatasetError: the folder has neither a dataset nor staged work, or another schema version.
    """
    staging = root / STAGING
    if not (root / MANIFEST).is_file() and not staging.is_dir():
        raise DatasetError(
            f"{root}: expected a dataset, found no {MANIFEST} and no staged work. "
            "Remedy: correct the folder, or make one with `avatargpt annotate PATH… --dataset DIR`."
        )
    values: dict[str, Any] = {"dataset": root, "kind": "nothing published"}
    if (root / MANIFEST).is_file():
        values |= _published(Dataset(root))
    values["staged"] = _staged(staging)
    values["interrupted_publication"] = (staging / "journal.json").is_file()
    values["writer"] = lock_holder(root)
    values["size_bytes"] = _size_bytes(root)
    status = DatasetStatus(**values)
    return status.model_copy(update={"next_steps": tuple(_next_steps(status))})


def _published(dataset: Dataset) -> dict[str, Any]:
    manifest = dataset.manifest
    tables = manifest["tables"]
    rows = {name: table["rows"] for name, table in tables.items()}
    rejected = _count(dataset, "rejections", ["stage", "reason"])
    outcomes = [
        Failed(stage=table, reason=outcome, count=count)
        for table in ("captions", "annotations")
        for (outcome,), count in _count(dataset, table, ["outcome"])
        if outcome not in (Outcome.SUCCESS, None)
    ]
    return {
        "kind": _kind(rows),
        "code_version": manifest["code_version"],
        "created_at": manifest["created_at"],
        "updated_at": manifest["updated_at"],
        "publications": manifest["publications"],
        "rows": rows,
        "bytes_by_table": {
            name: sum(part["bytes"] for part in table["parts"]) for name, table in tables.items()
        },
        "older_versions_bytes": sum(one.held_bytes for one in read_versions(dataset.root)),
        "made_with": _made_with(manifest["recipe"]),
        "made_by_import": manifest["recipe"].get("import") == "motions",
        "rejected": tuple(
            Failed(stage=stage or "", reason=reason or "", count=count)
            for (stage, reason), count in rejected
        ),
        "outcomes": tuple(outcomes),
    }


def _kind(rows: dict[str, int]) -> Kind:
    if rows.get("motions"):
        return "motions"
    if rows.get("clips") or rows.get("poses"):
        return "annotated videos"
    return "texts" if rows.get("annotations") else "nothing published"


def _count(dataset: Dataset, table: str, columns: list[str]) -> list[tuple[tuple[Any, ...], int]]:
    """Return the values of columns with their number of rows, most frequent first."""
    counted = dataset.counts_together(table, columns)
    return sorted(counted.items(), key=lambda item: (-item[1], str(item[0])))


def _made_with(recipe: dict[str, Any]) -> dict[str, str]:
    """Return captioner and annotator, with their models."""
    told: dict[str, str] = {}
    for stage, role in (("captions", "captioner"), ("annotations", "annotator")):
        section = recipe.get(stage) or {}
        if role in section:
            model = (section.get("service") or section.get("local_model") or {}).get("model")
            told[role] = f"{section[role]} ({model})" if model else section[role]
    return told


def _staged(staging: Path) -> StagedWork:
    """Count the staged work of all recipes; normally there is only one recipe."""
    counts: Counter[str] = Counter()
    rejected: Counter[tuple[str, str]] = Counter()
    for rejection in _staged_rejections(staging, counts):
        rejected[rejection.stage.value, rejection.reason.value] += 1
    return StagedWork(
        **counts,
        rejected=tuple(
            Failed(stage=stage, reason=reason, count=count)
            for (stage, reason), count in rejected.most_common()
        ),
        size_bytes=_size_bytes(staging),
    )


def _staged_rejections(staging: Path, counts: Counter[str]) -> Iterator[Rejection]:
    for file in staging.glob("work-*/scans/*.json"):
        scan = read_staged(StagedScan, file)
        counts["videos"] += 1
        counts["clips"] += len(scan.clips)
        yield from scan.rejections
    for file in staging.glob("work-*/poses/*.json"):
        poses = read_staged(StagedPoses, file)
        counts["poses"] += 1
        if poses.rejection is not None:
            yield poses.rejection
    for kind, stage in ((StagedCaptions, "captions"), (StagedAnnotations, "annotations")):
        for file in staging.glob(f"work-*/{stage}/*.json"):
            counts[stage] += 1
            yield from read_staged(kind, file).rejections


def _size_bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _next_steps(status: DatasetStatus) -> Iterator[tuple[str, str]]:
    """Return pairs of a command to run next and its purpose."""
    from annotators.stages.ingest import RETRYABLE_OUTCOMES  # noqa: PLC0415 - slow

    root = shlex.quote(str(status.dataset))
    work = "import-motions SOURCES…" if status.made_by_import else "annotate VIDEOS…"
    again = f"avatargpt {work} --dataset {root}"
    if status.writer:
        yield "", f"A run is writing to it now ({status.writer})."
    elif status.interrupted_publication or status.staged.videos:
        yield again, "go on: run the command that was interrupted once more; staged work is kept"
    retryable = [f for f in status.rejected if f.reason in RETRYABLE]
    retryable += [f for f in status.outcomes if f.reason in RETRYABLE_OUTCOMES]
    if retryable:
        count = sum(failed.count for failed in retryable)
        yield f"{again} --retry-rejected", f"try again {count} that may succeed now"
    if status.rejected:
        yield f"avatargpt rejections {root}", "why items were rejected, and what to do about it"
    if status.older_versions_bytes:
        yield f"avatargpt versions {root}", "what older versions hold; `avatargpt collect` frees it"
    if status.kind == "annotated videos" and status.rows.get("annotations"):
        yield f"avatargpt picture {root} clip.png", "look at a clip with its three levels"
        yield f"avatargpt import-motions {root} --dataset MOTIONS", "make motions to learn from"
    elif status.kind == "motions":
        yield f"avatargpt render {root} motion.gif", "look at a motion"
        yield f"avatargpt train-all {root} --root TRAIN", "train a model on it"
    elif status.kind == "texts":
        yield f"avatargpt train-all MOTIONS {root} --root TRAIN", "train on its plans and motions"
