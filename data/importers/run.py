"""Import motions of any source into the ``motions`` table: check, encode, split and mirror them.

Shapes: T frames at 20 fps, J = 22 joints, D = 263 features (T - 1 rows).
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field, field_validator

from data.arrays import BoolArray, FloatArray
from data.config import Config, ExpandedPath, ExpandedSource
from data.errors import RETRYABLE, ItemError, Reason, Stage
from data.importers.humanml3d import read_human_texts, text_key
from data.importers.label_texts import LABEL_TEXTS, label_captions
from data.importers.sources import FindMotions, FoundItem, search_sources
from data.motion.credibility import credible_rows, mirror_credible
from data.motion.features import (
    features_to_joints,
    joints_to_features,
    mirror_features,
    mirror_text,
)
from data.motion.quality import MotionGates, find_flaws, foot_skate, jitter, resample
from data.motion.skeleton import FPS
from data.motion.splits import Split, SplitConfig, SplitGroup, Splitter, source_of_group
from data.motion_records import HUMAN_TEXTS, ImportedMotion, MotionText, Pending, content_id
from data.presets import HOME, Presets
from data.records import Annotation, Clip, Rejection, RejectionKey
from data.schemas import Row, annotation_row, load_rejection, motion_row, rejection_row
from data.store.writer import DatasetWriter, open_writer, rows_table
from data.synthetic.activities import parse_procedural
from data.video.files import size_of
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers

MOTIONS_VERSION: Final = 4
"""Raised whenever a change affects the rows."""
BATCH: Final = 256
"""Number of motions per publication; a killed run loses at most one batch."""


class MotionImportConfig(Config):
    """Import of motions of several sources into one dataset."""

    sources: tuple[ExpandedSource, ...] = Field(
        min_length=1,
        description="BVH files, folders or ZIP archives; HumanML3D folders; .npy/.npz of joints or "
        "features; annotated video datasets; plans (.txt, .json); procedural:COUNT or "
        "procedural:COUNT:SEED for synthetic motions (smoke tests, demo).",
    )
    dataset: ExpandedPath = Field(description="Folder of the dataset; created, or extended.")
    texts: ExpandedPath | None = Field(
        default=None,
        description="Texts of KIT-ML and HumanML3D, joined to motions by the motions' ids.",
    )
    license: str = Field(default="", description="License of sources that do not state one.")
    reviews: bool = Field(
        default=True,
        description="Import texts of annotated video datasets as reviewers left them, without "
        "people who are none; false: what was published.",
    )
    mirror: bool = Field(default=True, description="Add the mirror image of each motion.")
    gates: MotionGates = Field(default_factory=MotionGates)
    max_foot_skate_m_s: float = Field(
        default=1.0,
        gt=0,
        description="Maximum mean speed of sliding feet.",
    )
    min_quality: float = Field(
        default=0.4, ge=0, le=1, description="Minimum confidence of a pose estimate."
    )
    splits: SplitConfig = Field(default_factory=SplitConfig)
    workers: WorkerConfig = Field(default_factory=WorkerConfig)
    retry_rejected: bool = Field(
        default=False,
        description="Retry items that were rejected because of time, memory, a crash or an "
        "unexpected error.",
    )

    @field_validator("sources", mode="after")
    @classmethod
    def _check_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            parse_procedural(source)  # raises for a misspelled one before any work
        return sources

    def recipe(self) -> dict[str, Any]:
        """The fields that affect the rows; a dataset has one recipe."""
        fields = {"mirror", "gates", "max_foot_skate_m_s", "min_quality", "splits"}
        if not self.reviews:
            # Only then, so that datasets from before there were reviews can be extended.
            fields.add("reviews")
        motions = self.model_dump(mode="json", include=fields)
        return {"import": "motions", "version": MOTIONS_VERSION, "motions": motions}


PRESETS: Final[Presets] = {
    "local": {"sources": [f"{HOME}/dataset"], "dataset": f"{HOME}/motions"},
}
"""Named sets of values, see :mod:`data.presets`."""


@dataclass(slots=True)
class ImportProgress:
    """Progress of an import.

    Attributes:
        done: number of processed motions and plans.
        known: number of them that the dataset already had.
        added: number of new rows by table.
        rejected: number of new rejections by reason.
        unpublished: rejections that wait for the first motion or plan of a new dataset.
    """

    done: int
    known: int
    added: Counter[str]
    rejected: Counter[str]
    unpublished: list[Rejection] = field(default_factory=list[Rejection])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A motion that is ready to become a row.

    Attributes:
        motion: source and texts of the motion.
        features_TD: features, (T - 1, 263), not normalized.
        foot_skate_m_s: mean speed of toes on the floor; None if they never touch it.
        jitter_m_s3: mean jerk; None for fewer than 4 frames.
        credible_TJ: (T - 1, 22) joints of each row of features that were seen; None if all were.
    """

    motion: ImportedMotion
    features_TD: FloatArray
    foot_skate_m_s: float | None
    jitter_m_s3: float | None
    credible_TJ: BoolArray | None


def prepare_motion(motion: ImportedMotion, config: MotionImportConfig) -> Prepared:
    """Resample, check and encode one motion.

    Raises:
        ItemError: the motion does not pass a gate.
    """
    if motion.quality < config.min_quality:
        raise ItemError(
            Reason.LOW_QUALITY,
            f"expected a confidence of {config.min_quality:g} or more, found {motion.quality:.2f}.",
            "Lower min_quality to keep it.",
        )
    values = motion.joints_TJ3 if motion.joints_TJ3 is not None else motion.features_TD
    if values is not None and len(values) < 2:
        raise ItemError(
            Reason.TOO_SHORT,
            f"expected a motion of 2 or more frames, found {len(values)}.",
            "Export it again, or leave it out.",
        )
    if motion.joints_TJ3 is not None:
        joints_TJ3 = resample(motion.joints_TJ3, motion.fps)
        credible_TJ = _resampled(motion.credible_TJ, motion.fps, len(joints_TJ3))
        _check(joints_TJ3, config.gates, credible_TJ)
        features_TD = joints_to_features(joints_TJ3)
    elif motion.features_TD is not None:
        features_TD, credible_TJ = motion.features_TD, None
        if not np.isfinite(features_TD).all():
            bad = int((~np.isfinite(features_TD)).any(axis=1).sum())
            raise ItemError(
                Reason.NON_FINITE,
                f"expected finite features, found others in {bad} of {len(features_TD)} rows.",
                "Compute the features again from joints.",
            )
        _check(features_to_joints(features_TD), config.gates, None)
    else:
        raise AssertionError(f"{motion.source_id}: neither joints nor features")
    placed_TJ3 = features_to_joints(features_TD)
    rows_TJ = None if credible_TJ is None else credible_rows(credible_TJ)
    skate_m_s = foot_skate(placed_TJ3, credible_TJ=rows_TJ)
    if skate_m_s is not None and skate_m_s > config.max_foot_skate_m_s:
        raise ItemError(
            Reason.FOOT_SKATE,
            f"expected feet that slide at most {config.max_foot_skate_m_s:g} m/s, found "
            f"{skate_m_s:.2f}.",
            "Raise max_foot_skate_m_s to keep it.",
        )
    return Prepared(motion, features_TD.astype(np.float32), skate_m_s, jitter(placed_TJ3), rows_TJ)


def _resampled(credible_TJ: BoolArray | None, fps: Fraction, count: int) -> BoolArray | None:
    """Return the mask of the nearest frame of the source for each frame at 20 fps."""
    if credible_TJ is None:
        return None
    nearest = np.rint(np.arange(count) * float(fps / FPS)).astype(int)
    return credible_TJ[np.minimum(nearest, len(credible_TJ) - 1)]


def _check(joints_TJ3: FloatArray, gates: MotionGates, credible_TJ: BoolArray | None) -> None:
    flaws = find_flaws(joints_TJ3, gates, credible_TJ=credible_TJ)
    if flaws:
        raise ItemError(Reason(flaws[0].kind.value), flaws[0].detail, flaws[0].remedy)


def mirror_motion(prepared: Prepared) -> Prepared:
    """Create the mirror image: left and right are swapped in features, texts and labels."""
    motion = prepared.motion
    twin = replace(
        motion,
        motion_id=content_id("mirror", motion.motion_id),
        joints_TJ3=None,
        features_TD=None,
        credible_TJ=None,
        texts=tuple(replace(text, text=mirror_text(text.text)) for text in motion.texts),
        labels=tuple(_mirror_label(label) for label in motion.labels),
        style=_mirror_label(motion.style),
        mirrored_of=motion.motion_id,
    )
    credible_TJ = prepared.credible_TJ
    return replace(
        prepared,
        motion=twin,
        features_TD=mirror_features(prepared.features_TD),
        credible_TJ=None if credible_TJ is None else mirror_credible(credible_TJ),
    )


def _mirror_label(label: str) -> str:
    # Labels join words with underscores or hyphens, which are not word boundaries in texts.
    for mark in ("_", "-"):
        if mark in label:
            return mark.join(mirror_text(word) for word in label.split(mark))
    return mirror_text(label)


# ------------------------------------------------------------------------------------------ import


def import_motions(
    config: MotionImportConfig,
    find_in_dataset: FindMotions | None = None,
    report: Callable[[ImportProgress], None] | None = None,
    unexpected: UnexpectedErrors | None = None,
) -> ImportProgress:
    """Import motions and plans into a dataset, and publish them in batches. A rerun resumes.

    A first run that finds only rejections creates no dataset, because a dataset is bound to the
    recipe of the run that created it.

    Args:
        config: the configuration.
        find_in_dataset: finds the motions of annotated video datasets among the sources, with or
            without reviews as the configuration says.
        report: called after every batch.
        unexpected: counter of unexpected errors, which the caller evaluates at the end.

    Raises:
        ValueError: ``texts`` cannot be read.
        data.workers.unexpected.UnexpectedErrorsError: too many unexpected errors.
        data.store.manifest.DatasetError: the dataset has another recipe, or another process writes
            to it.
    """
    progress = ImportProgress(0, 0, Counter(), Counter())
    with (
        open_writer(config.dataset, config.recipe()) as writer,
        Workers(config.workers, unexpected) as workers,
    ):
        texts = _read_texts(config.texts, workers) if config.texts else {}
        known = _known(writer)
        splitter = _splitter(writer, config.splits)
        ended = _retryable(writer)
        retried: dict[str, Rejection] = {}
        if config.retry_rejected:
            retried, ended = ended, {}
            known.difference_update(retried)
        for batch in _batches(search_sources(config.sources, workers, find_in_dataset, ended)):
            rows = _batch_rows(batch, known, texts, config, workers, progress, splitter)
            rejections = progress.unpublished
            if rejections and (rows or writer.published() is not None):
                rows["rejections"] = [rejection_row(rejection, None) for rejection in rejections]
                rejections.clear()
            if rows:
                tables = {name: rows_table(name, new) for name, new in rows.items()}
                again = _met(retried, batch, config.sources)
                progress.added.update(writer.publish(tables, replace_rejections=again).added)
            if report is not None:
                report(progress)
    return progress


def _known(writer: DatasetWriter) -> set[str]:
    published = writer.published()
    if published is None:
        return set()
    columns = (("motions", "motion_id"), ("annotations", "clip_id"), ("rejections", "item_id"))
    return {row[name] for table, name in columns for row in published.rows(table, [name])}


def _retryable(writer: DatasetWriter) -> dict[str, Rejection]:
    """Return published rejections that may be retried, by ``item_id``."""
    published = writer.published()
    if published is None:
        return {}
    columns = [field.name for field in fields(Rejection)]
    rows = published.rows("rejections", columns, {"reason": RETRYABLE})
    return {row["item_id"]: load_rejection(row) for row in rows}


def _read_texts(path: Path, workers: Workers) -> dict[str, tuple[MotionText, ...]]:
    """Read the texts that people wrote in a worker.

    Raises:
        ValueError: they cannot be read.
    """
    ((_, found),) = workers.run(_human_texts, [path], size_bytes=size_of, stage="texts")
    if isinstance(found, ItemError):
        raise ValueError(f"texts {path}: {found.detail} Remedy: {found.remedy}") from found
    if isinstance(found, ValueError):
        raise found
    return found


def _human_texts(path: Path) -> dict[str, tuple[MotionText, ...]] | ValueError:
    try:
        return read_human_texts(path)
    except ValueError as error:
        return error


def _met(
    retried: dict[str, Rejection], batch: Sequence[FoundItem], sources: Sequence[str]
) -> list[RejectionKey]:
    """Remove retried rejections that no longer apply, and return their keys.

    These are the rejections of items in the batch, and of files that could not be searched before:
    such a file yields other items now, or is rejected again.
    """
    ids = {_item_id(item) for item in batch}
    folders = tuple(f"{source}/" for source in sources)
    met = [
        rejection
        for rejection in retried.values()
        if rejection.item_id in ids
        or rejection.item in sources
        or rejection.item.startswith(folders)
    ]
    for rejection in met:
        del retried[rejection.item_id]
    return [rejection.key for rejection in met]


def _batches(items: Iterator[FoundItem]) -> Iterator[list[FoundItem]]:
    while batch := list(itertools.islice(items, BATCH)):
        yield batch


@dataclass(frozen=True, slots=True)
class _Job:
    pending: Pending
    config: MotionImportConfig
    texts: tuple[MotionText, ...]


def _prepare(job: _Job) -> list[Prepared]:
    motion = job.pending.read()
    if motion.joints_TJ3 is not None:
        length_s = float(len(motion.joints_TJ3) / motion.fps)
    else:
        length_s = 0.0 if motion.features_TD is None else len(motion.features_TD) / FPS
    texts = (
        *motion.texts,
        *(
            replace(text, end_s=min(text.end_s, length_s))
            for text in job.texts
            if text.start_s < length_s
        ),
    )
    motion = replace(
        motion,
        license=motion.license or job.config.license,
        texts=texts or tuple(_label_texts(motion, length_s)),
    )
    prepared = prepare_motion(motion, job.config)
    # HumanML3D has its own mirror images.
    mirrors = job.config.mirror and motion.source != "humanml3d"
    return [prepared, mirror_motion(prepared)] if mirrors else [prepared]


def _label_texts(motion: ImportedMotion, length_s: float) -> Iterator[MotionText]:
    for label in motion.labels:
        for caption in label_captions(label, motion.style):
            yield MotionText(caption, 0.0, length_s, "medium", LABEL_TEXTS)


def _batch_rows(
    batch: Sequence[FoundItem],
    known: set[str],
    texts: dict[str, tuple[MotionText, ...]],
    config: MotionImportConfig,
    workers: Workers,
    progress: ImportProgress,
    splitter: Splitter,
) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    jobs: list[_Job] = []

    def reject(rejection: Rejection) -> None:
        progress.unpublished.append(rejection)
        progress.rejected[rejection.reason.value] += 1

    for item in batch:
        item_id = _item_id(item)
        progress.done += 1
        if item_id in known:
            progress.known += 1
            continue
        known.add(item_id)
        if isinstance(item, Pending):
            # Every job is pickled, so it must not hold the texts of all motions.
            jobs.append(_Job(item, config, texts.get(text_key(item.source_id), ())))
        elif isinstance(item, Annotation):
            rows["annotations"].append(annotation_row(item, _no_clip(item)))
        elif isinstance(item, Rejection):
            reject(item)
        else:
            reject(workers.unexpected.reject(item.item_id, item.item, Stage.IMPORT, item.error))
    prepared_jobs = workers.run(
        _prepare, jobs, size_bytes=_size_bytes, name=_job_name, stage="import"
    )
    whole: list[Prepared] = []
    for job, result in prepared_jobs:
        if isinstance(result, ItemError):
            pending = job.pending
            reject(Rejection.of(pending.motion_id, pending.item, Stage.IMPORT, result))
        else:
            whole += result
    groups = {one.motion.motion_id: _group_of(one.motion) for one in whole}
    splits = splitter.assign(groups.values())
    for one in whole:
        split = one.motion.split or splits[groups[one.motion.motion_id].name]
        rows["motions"].append(_row(one, split))
    # Workers finish in any order; the order of the rows is that of their ids.
    rows["motions"].sort(key=lambda row: row["motion_id"])
    return {name: new for name, new in rows.items() if new}


def _splitter(writer: DatasetWriter, config: SplitConfig) -> Splitter:
    """Return the splitter of a dataset, which knows the splits of the published groups."""
    splitter = Splitter(config)
    published = writer.published()
    if published is not None:
        ids = ("motion_id", "group", "source", "mirrored_of")
        splitter.assign(
            _group(
                *(row[name] for name in ids),
                authors={text["source"] for text in row["texts"] or ()},
                split=row["split"],
            )
            for row in published.rows("motions", [*ids, "texts", "split"])
        )
    return splitter


def _group_of(motion: ImportedMotion) -> SplitGroup:
    ids = motion.motion_id, motion.group, motion.source, motion.mirrored_of
    return _group(*ids, authors={text.source for text in motion.texts}, split=motion.split)


def _group(
    motion_id: str,
    group: str,
    source: str,
    mirrored_of: str,
    *,
    authors: set[str],
    split: Split | None,
) -> SplitGroup:
    """Return one motion as a piece of its group; mirror images do not count."""
    return SplitGroup(
        name=group or mirrored_of or motion_id,
        source=source_of_group(group, source),
        motions=0 if mirrored_of else 1,
        described=bool(authors & HUMAN_TEXTS),
        split=split,
    )


def _item_id(item: FoundItem) -> str:
    if isinstance(item, Pending):
        return item.motion_id
    return item.clip_id if isinstance(item, Annotation) else item.item_id


def _no_clip(annotation: Annotation) -> Clip:
    """An empty span, for a text without a video."""
    ids = annotation.clip_id, annotation.video_id
    return Clip(*ids, 0, 0, 0, 0.0, 0.0, 0.0, "", 0.0)


def _row(prepared: Prepared, split: str) -> Row:
    return motion_row(
        prepared.motion,
        prepared.features_TD,
        split=split,
        foot_skate_m_s=prepared.foot_skate_m_s,
        jitter_m_s3=prepared.jitter_m_s3,
        credible_TJ=prepared.credible_TJ,
    )


def _size_bytes(job: _Job) -> int:
    return job.pending.size_bytes


def _job_name(job: _Job) -> str:
    return job.pending.item
