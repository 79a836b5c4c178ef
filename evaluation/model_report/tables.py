"""The result of an evaluation: tables of figures with intervals, and how they were measured.

A figure has one name throughout: ``{table}_{metric}`` of the model itself, as ``t2m_fid``,
``{table}_{metric}_{row}`` of a baseline, as ``t2m_fid_real``, and with ``_{source}`` at the end of
one source, as ``t2m_activity_cmu``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluation.duplicates import SourceDuplicates
from evaluation.evaluators.results import PublishedResult
from evaluation.metrics.intervals import Interval
from evaluation.metrics.protocol import Estimate

FORMAT: Final = "avatargpt-evaluation/2"
EVALUATION_FILE: Final = "evaluation.json"

RowName = Literal[
    "model",
    "real",
    "round_trip",
    "another",
    "model_same",
    "retrieval",
    "chance",
    "lines",
    "references",
    "uncut",
    "joined",
    "joined_tokens",
    "filled",
    "generated",
]
"""What was measured:

- ``model``: answers of the model; in the table of the tokenizer, motions that it encoded and
  decoded.
- ``real``: the real motions of the same items.
- ``round_trip``: the same, encoded and decoded by the motion tokenizer.
- ``another``: another real motion with the same caption, which is what a perfect model would give.
- ``model_same``: answers of the model to the captions of ``another``, which are fewer.
- ``retrieval``: the answer to the nearest training example, without any model.
- ``chance``: always the most common answer.
- ``lines``: straight lines over a gap, or the last pose held.
- ``references``: the reference answers themselves.
- others: ways to join motions (:mod:`evaluation.model_report.joins`).
"""


class Figure(BaseModel):
    """A figure, with the ends of its 95 % interval if it has one."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float | None = None
    high: float | None = None


class Row(BaseModel):
    """The figures of one row.

    Attributes:
        name: what was measured.
        items: number of items.
        values: figure of each metric. A metric that cannot be measured is missing.
        source: database that the items are of; empty for all.
    """

    model_config = ConfigDict(frozen=True)

    name: RowName
    items: int
    values: dict[str, Figure]
    source: str = ""


class Table(BaseModel):
    """Rows that were measured on the same items.

    Attributes:
        name: short name: a task, ``reconstruction``, ``joins``, ``loss``.
        rows: the rows.
        notes: how it was measured, and what is missing and why.
        evaluator: name of the evaluator network; empty without one.
        published: published results that can be compared with the rows over all sources.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    evaluator: str = ""
    published: tuple[PublishedResult, ...] = ()

    def figures(self) -> dict[str, Figure]:
        """Return the figures by name."""
        return {
            figure_name(self.name, metric, row.name, row.source): figure
            for row in self.rows
            for metric, figure in row.values.items()
        }


class LeftOut(BaseModel):
    """Items that are not part of the evaluation or of the training data.

    Attributes:
        what: what was left out: motions, instructions of a task, annotations.
        reason: why.
        count: how many.
        examples: ids of some.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    reason: str
    count: int
    examples: tuple[str, ...] = ()


class Provenance(BaseModel):
    """How an evaluation was measured, so that it can be measured again.

    Attributes:
        model: version of the model.
        code_version: version of this package.
        config: the :class:`~evaluation.model_report.config.EvaluationConfig`.
        dataset: path of the dataset of motions.
        plans: paths of the datasets of plans.
        hashes: hashes of what was read: ``motions`` of all splits, ``test`` items with prompts and
            answers, ``train`` examples that answers are copied from.
        seeds: seed by what it is for.
        evaluator: name of the evaluator network; empty without one.
        coherence: name of the model that judged plans, and of its prompt; empty without one.
        device: device that was computed on.
        versions: versions of the libraries that results depend on.
        seconds: duration of each part.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    code_version: str
    config: dict[str, Any]
    dataset: str
    plans: tuple[str, ...]
    hashes: dict[str, str]
    seeds: dict[str, int]
    evaluator: str = ""
    coherence: str = ""
    device: str = "cpu"
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    seconds: dict[str, float] = Field(default_factory=dict[str, float])


class Before(BaseModel):
    """The version that a model is compared with.

    Attributes:
        model: its version.
        metrics: its figures.
        same: whether they were measured on the same items in the same way.
        why: what differs otherwise.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    metrics: dict[str, float]
    same: bool
    why: str = ""


class EvaluationReport(BaseModel):
    """The evaluation of a model on its test split; the content of ``evaluation.json``.

    Attributes:
        metrics: every figure by name.
        items: number of items by task.
        examples: some answers by task, each with ``given``, ``expected`` and ``found``.
        format: format of the file. That of older releases has the attributes above only.
        intervals: ends of the 95 % interval of figures that have one, by name.
        tables: the figures in tables.
        findings: where a baseline is better than the model, and other things to know first.
        left_out: what was left out, and why.
        known_bad: defective clips of published datasets, which no import takes.
        duplicates: near-duplicates between the test and the training split, by source.
        compared: how many motions were compared for them, in words.
        measured: how it was measured; None in the format of older releases.
        before: the version before, if there is one.
    """

    model_config = ConfigDict(frozen=True)

    metrics: dict[str, float]
    items: dict[str, int]
    examples: dict[str, list[dict[str, str]]]
    format: str = ""
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict[str, tuple[float, float]]
    )
    tables: tuple[Table, ...] = ()
    findings: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    known_bad: dict[str, str] = Field(default_factory=dict[str, str])
    duplicates: dict[str, SourceDuplicates] = Field(default_factory=dict[str, SourceDuplicates])
    compared: str = ""
    measured: Provenance | None = None
    before: Before | None = None

    def table(self, name: str) -> Table | None:
        """Return a table by name, or None."""
        return next((table for table in self.tables if table.name == name), None)


def figure_name(table: str, metric: str, row: str = "model", source: str = "") -> str:
    """Return the name of a figure; see the module's text."""
    name = f"{table}_{metric}" + ("" if row == "model" else f"_{row}")
    return f"{name}_{re.sub(r'[^a-z0-9]+', '_', source.casefold())}" if source else name


def flat(tables: Sequence[Table]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return the figures of tables by name, and the intervals of those that have one."""
    figures: dict[str, Figure] = {}
    for table in tables:
        figures |= table.figures()
    intervals = {
        name: (figure.low, figure.high)
        for name, figure in figures.items()
        if figure.low is not None and figure.high is not None
    }
    return {name: figure.value for name, figure in figures.items()}, intervals


def by_source(sources: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of the items of each source; nothing if all are of one source."""
    places: dict[str, list[int]] = {name: [] for name in sorted(set(sources))}
    for place, source in enumerate(sources):
        places[source].append(place)
    return places if len(places) > 1 else {}


def plain(values: Mapping[str, float | None]) -> dict[str, Figure]:
    """Return figures without intervals; those that are None are left out."""
    return {name: Figure(value=value) for name, value in values.items() if value is not None}


def ranged(found: Interval) -> Figure:
    """Return a figure with an interval over its items, if they differ at all."""
    if found.low == found.high:
        return Figure(value=found.value)
    return Figure(value=found.value, low=found.low, high=found.high)


def repeated(found: Estimate) -> Figure:
    """Return a figure with the interval over the repeats of a protocol, if it varies at all."""
    if not found.interval:
        return Figure(value=found.mean)
    return Figure(
        value=found.mean, low=found.mean - found.interval, high=found.mean + found.interval
    )
