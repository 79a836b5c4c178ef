"""Compute the figures of a dataset from its tables.

Only the needed columns are read, in batches; poses and, but for a sample of the motions, features
are not. What is kept in memory grows with the number of rows by a few numbers per row only.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data.config import Config
from data.motion.skeleton import FPS
from data.motion.splits import source_of_group
from data.motion_records import HUMAN_TEXTS
from data.records import Outcome, Verdict
from data.schemas import SCHEMAS, Row
from data.store.dataset import Dataset
from evaluation.dataset_report.counting import (
    BATCH,
    count_values,
    counts,
    light_rows,
    nested_values,
    numbers,
    spread,
)
from evaluation.dataset_report.figures import (
    Contradiction,
    Count,
    DatasetFigures,
    License,
    ModelUse,
    RejectionGroup,
    SourceSplit,
    TableSize,
    TokenFigures,
    Verdicts,
    Version,
)
from evaluation.dataset_report.texts import TextCounter
from evaluation.duplicates import MAX_TEST, MAX_TRAIN, split_duplicates

_SHOWN: Final = 40
"""Number of different names of a kind, such as labels, that are kept in the figures."""


class DatasetReportConfig(Config):
    """Limits of the figures that take long on a large dataset."""

    max_test: int = Field(
        default=MAX_TEST, ge=1, description="Test motions that are compared with training motions."
    )
    max_train: int = Field(
        default=MAX_TRAIN, ge=1, description="Training motions that they are compared with."
    )
    contradictions: int = Field(
        default=12, ge=0, description="Contradicted texts that are shown as examples."
    )


def read_figures(root: Path, config: DatasetReportConfig | None = None) -> DatasetFigures:
    """Compute the figures of a dataset.

    Args:
        root: folder of the dataset.
        config: limits; by default those of :class:`DatasetReportConfig`.

    Raises:
        data.store.manifest.DatasetError: ``root`` is not a dataset, or is damaged.
    """
    limits = config or DatasetReportConfig()
    dataset = Dataset(root, reviews=True)
    manifest = dataset.manifest
    values: dict[str, Any] = {
        "dataset": str(root),
        "created_at": manifest["created_at"],
        "updated_at": manifest["updated_at"],
        "publications": manifest["publications"],
        "recipe": manifest["recipe"],
        "license": manifest.get("license", ""),
        "tables": _tables(manifest),
    }
    texts: dict[str, TextCounter] = defaultdict(TextCounter)
    values |= _videos_and_clips(dataset)
    values["pose_quality"] = spread(
        (numbers(batch, "quality") for batch in dataset.batches("poses", ["quality"])), 1.0
    )
    values |= _annotations(dataset, texts, limits)
    values |= _motions(dataset, texts, limits)
    for batch in dataset.batches("captions", ["text"], batch_rows=BATCH):
        texts["captions"].add(batch["text"].to_pylist())
    values["texts"] = tuple(counter.figures(kind) for kind, counter in texts.items())
    values["tokens"] = _tokens(dataset)
    values["rejections"] = _rejections(dataset)
    values["models"] = _models(dataset)
    values["versions"] = _versions(dataset)
    return DatasetFigures.model_validate(values)


def _tables(manifest: Mapping[str, Any]) -> tuple[TableSize, ...]:
    tables = manifest["tables"]
    return tuple(
        TableSize(
            table=name,
            rows=tables.get(name, {"rows": 0})["rows"],
            size_bytes=sum(part["bytes"] for part in tables.get(name, {"parts": ()})["parts"]),
        )
        for name in SCHEMAS
    )


def _videos_and_clips(dataset: Dataset) -> dict[str, Any]:
    lengths_s: list[NDArray[np.float64]] = []
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    columns = ["duration_s", "width_px", "height_px", "issues"]
    for batch in dataset.batches("videos", columns, batch_rows=BATCH):
        lengths_s.append(numbers(batch, "duration_s"))
        for width, height in zip(*(batch[name].to_pylist() for name in columns[1:3]), strict=True):
            if width:
                counted["resolutions"][f"{width} \N{MULTIPLICATION SIGN} {height}"] += 1
        count_values(counted["issues"], nested_values(batch, "issues"))
    clips_s: list[NDArray[np.float64]] = []
    quality: list[NDArray[np.float64]] = []
    columns = ["start_s", "end_s", "num_tracks", "camera", "quality", "issues", "objects"]
    for batch in dataset.batches("clips", columns, batch_rows=BATCH):
        clips_s.append(numbers(batch, "end_s", minus="start_s"))
        quality.append(numbers(batch, "quality"))
        count_values(counted["people"], batch["num_tracks"])
        count_values(counted["cameras"], batch["camera"])
        count_values(counted["issues"], nested_values(batch, "issues"))
        for found in batch["objects"].to_pylist():
            # A clip counts once, however many balls it shows.
            counted["objects"].update({one["name"] for one in found or ()})
    kinds = ("resolutions", "people", "cameras", "issues", "objects")
    return {
        "video_s": spread(lengths_s),
        "clip_s": spread(clips_s),
        "clip_quality": spread(quality, 1.0),
        **{kind: counts(counted[kind], _SHOWN) for kind in kinds},
    }


# ------------------------------------------------------------------------------------- annotations


@dataclass(slots=True)
class _Grounding:
    """Verdicts by level and annotator, and the worst contradictions."""

    most: int
    verdicts: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter[str])
    )
    # The worst are kept: a heap whose first is the least bad one.
    _worst: list[tuple[float, int, Contradiction]] = field(default_factory=list)
    _number: int = 0

    def add(self, row: Row) -> None:
        """Add the verdicts of one annotation."""
        fine = [(step["text"], step["grounding"]) for step in row["fine"] or ()]
        medium = list(zip(row["medium"] or (), row["medium_grounding"] or (), strict=False))
        contradicted: list[Contradiction] = []
        for level, checked in (("medium", medium), ("fine", fine)):
            counter = self.verdicts[level, row["annotator"] or ""]
            for text, grounding in checked:
                verdict = (grounding or {}).get("verdict") or "not_checked"
                counter[verdict] += 1
                if verdict == Verdict.CONTRADICTED:
                    contradicted.append(
                        Contradiction(
                            clip_id=row["clip_id"],
                            track_id=row["track_id"] or 0,
                            level=level,
                            text=text or "",
                            measurement=grounding["measurement"] or "",
                            score=row["grounding_score"] or 0.0,
                        )
                    )
        # One example per annotation, so that one bad clip does not fill the list.
        for one in contradicted[:1]:
            self._number += 1
            heapq.heappush(self._worst, (-one.score, -self._number, one))
            if len(self._worst) > self.most:
                heapq.heappop(self._worst)

    def worst(self) -> tuple[Contradiction, ...]:
        """Return the kept contradictions, lowest score first."""
        return tuple(one for *_, one in sorted(self._worst, reverse=True))

    def counted(self) -> tuple[Verdicts, ...]:
        """Return the verdicts by level and annotator."""
        return tuple(
            Verdicts(
                level=level,
                annotator=annotator,
                **{name: counter[name] for name in (*Verdict, "not_checked")},
            )
            for (level, annotator), counter in sorted(self.verdicts.items())
            if counter.total()
        )


def _annotations(
    dataset: Dataset, texts: dict[str, TextCounter], limits: DatasetReportConfig
) -> dict[str, Any]:
    grounding = _Grounding(limits.contradictions)
    steps: list[NDArray[np.float64]] = []
    scores: list[NDArray[np.float64]] = []
    activities, events = Counter[str](), Counter[str]()
    columns = ["clip_id", "track_id", "coarse", "medium", "fine", "medium_grounding", "annotator"]
    more = ["grounding_score", "activity", "events"]
    for batch in dataset.batches("annotations", [*columns, *more], batch_rows=BATCH):
        texts["coarse texts"].add(batch["coarse"].to_pylist())
        texts["medium texts"].add(nested_values(batch, "medium").to_pylist())
        texts["fine steps"].add(nested_values(batch, "fine", "text").to_pylist())
        count_values(activities, batch["activity"])
        count_values(events, nested_values(batch, "events", "kind"))
        scores.append(numbers(batch, "grounding_score"))
        steps.append(np.array([len(found or ()) for found in batch["fine"].to_pylist()], float))
        for row in batch.select([*columns, "grounding_score"]).to_pylist():
            grounding.add(row)
    return {
        "steps": spread(steps, whole=True),
        "activities": counts(activities, _SHOWN),
        "events": counts(events),
        "verdicts": grounding.counted(),
        "scores": spread(scores, 1.0),
        "contradictions": grounding.worst(),
    }


# ----------------------------------------------------------------------------------------- motions


@dataclass(slots=True)
class _Tally:
    """Motions of one source in one split."""

    motions: int = 0
    mirrored: int = 0
    frames: int = 0
    described: int = 0
    groups: set[int] = field(default_factory=set)


def _motions(
    dataset: Dataset, texts: dict[str, TextCounter], limits: DatasetReportConfig
) -> dict[str, Any]:
    tallies: dict[tuple[str, str], _Tally] = defaultdict(_Tally)
    labels = Counter[str]()
    licenses = Counter[tuple[str, str]]()
    measured: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    told = ["motion_id", "source", "group", "split", "mirrored_of", "labels", "texts", "license"]
    measures = ["num_frames", "quality", "foot_skate_m_s", "jitter_m_s3"]
    for batch in dataset.batches("motions", [*told, *measures], batch_rows=BATCH):
        originals = batch.filter([not one for one in batch["mirrored_of"].to_pylist()])
        for name in measures:
            measured[name].append(numbers(originals, name))
        for row in batch.select([*told, "num_frames"]).to_pylist():
            source = source_of_group(row["group"] or "", row["source"])
            tally = tallies[source or "", row["split"] or ""]
            if row["mirrored_of"]:
                tally.mirrored += 1
                continue
            tally.motions += 1
            tally.frames += row["num_frames"] or 0
            authors = {text["source"] for text in row["texts"] or ()}
            tally.described += bool(authors & HUMAN_TEXTS)
            tally.groups.add(hash(row["group"] or row["motion_id"]))
            labels.update(row["labels"] or ())
            licenses[source or "", row["license"] or ""] += 1
            for text in row["texts"] or ():
                texts[f"motion texts by {text['source']}"].add([text["text"]])
    lengths_s = [frames / FPS for frames in measured["num_frames"]]
    return {
        "motion_s": spread(lengths_s),
        "motion_quality": spread(measured["quality"], 1.0),
        "foot_skate_m_s": spread(measured["foot_skate_m_s"]),
        "jitter_m_s3": spread(measured["jitter_m_s3"]),
        "labels": counts(labels, _SHOWN),
        "splits": _splits(tallies),
        "licenses": tuple(
            License(source=source, license=text, motions=count)
            for (source, text), count in sorted(licenses.items())
        ),
        "duplicates": split_duplicates(
            dataset.root, max_test=limits.max_test, max_train=limits.max_train
        ),
    }


def _splits(tallies: Mapping[tuple[str, str], _Tally]) -> tuple[SourceSplit, ...]:
    order = ("train", "val", "test")
    keys = sorted(tallies, key=lambda key: (key[0], (*order, key[1]).index(key[1])))
    return tuple(
        SourceSplit(
            source=source,
            split=split,
            motions=tally.motions,
            mirrored=tally.mirrored,
            groups=len(tally.groups),
            hours=tally.frames / FPS / 3600,
            described=tally.described,
        )
        for source, split in keys
        for tally in (tallies[source, split],)
    )


# ------------------------------------------------------------------------------------------- others


def _tokens(dataset: Dataset) -> tuple[TokenFigures, ...]:
    motions, tokens = Counter[tuple[str, int, int]](), Counter[tuple[str, int, int]]()
    columns = ["tokenizer_id", "num_quantizers", "num_codes", "num_tokens"]
    for row in light_rows(dataset, "motion_tokens", columns):
        key = row["tokenizer_id"], row["num_quantizers"], row["num_codes"]
        motions[key] += 1
        tokens[key] += row["num_tokens"]
    return tuple(
        TokenFigures(
            tokenizer_id=key[0],
            num_quantizers=key[1],
            num_codes=key[2],
            motions=count,
            tokens=tokens[key],
        )
        for key, count in sorted(motions.items())
    )


def _rejections(dataset: Dataset) -> tuple[RejectionGroup, ...]:
    groups: dict[tuple[str, str], Row] = {}
    count = Counter[tuple[str, str]]()
    shown = ["item", "detail", "remedy"]
    for row in light_rows(dataset, "rejections", ["stage", "reason", *shown]):
        key = row["stage"], row["reason"]
        groups.setdefault(key, {name: row[name] or "" for name in shown})
        count[key] += 1
    return tuple(
        RejectionGroup(stage=key[0], reason=key[1], count=count[key], **groups[key])
        for key, _ in count.most_common()
    )


def _models(dataset: Dataset) -> tuple[ModelUse, ...]:
    return tuple(
        use
        for table, writer in (("captions", "captioner"), ("annotations", "annotator"))
        for use in _models_of(dataset, table, writer)
    )


def _models_of(dataset: Dataset, table: str, writer: str) -> Iterator[ModelUse]:
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    cost: dict[tuple[str, str], float] = defaultdict(float)
    failed: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    columns = [writer, "model", "outcome", "tokens_in", "tokens_out", "cost_usd"]
    for row in light_rows(dataset, table, columns):
        key = row[writer] or "", row["model"] or ""
        sums[key].update(rows=1, tokens_in=row["tokens_in"] or 0, tokens_out=row["tokens_out"] or 0)
        cost[key] += row["cost_usd"] or 0.0
        if row["outcome"] not in (Outcome.SUCCESS, None):
            failed[key][row["outcome"]] += 1
    for key, counter in sorted(sums.items()):
        yield ModelUse(
            table=table,
            writer=key[0],
            model=key[1],
            rows=counter["rows"],
            failed=tuple(Count(name=name, count=n) for name, n in failed[key].most_common()),
            tokens_in=counter["tokens_in"],
            tokens_out=counter["tokens_out"],
            cost_usd=cost[key],
        )


def _versions(dataset: Dataset) -> tuple[Version, ...]:
    return tuple(
        Version(table=table, schema_version=schema or 0, code_version=code or "", rows=rows)
        for table in SCHEMAS
        for (schema, code), rows in sorted(
            dataset.counts_together(table, ["schema_version", "code_version"]).items(), key=str
        )
    )
