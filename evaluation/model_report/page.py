"""The page of an evaluation: main figures first, then tables beside baselines and galleries."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from data.store.writer import write_json, write_text
from evaluation.duplicates import NEAR_COSINE, NEAR_MM
from evaluation.model_report.card import main_figures, row_of, title_of, with_interval
from evaluation.model_report.evaluate import LOSS, Evaluated
from evaluation.model_report.names import (
    GROUPS,
    METRICS,
    ROWS,
    SHORT,
    TASKS,
    TITLES,
    Metric,
    row_label,
    shown,
)
from evaluation.model_report.pictures import generated, rebuilt
from evaluation.model_report.say import CYCLE, PLANNING
from evaluation.model_report.tables import EVALUATION_FILE, EvaluationReport, Figure, Row, Table
from evaluation.pages import content
from evaluation.pages.content import Cell, Column, Line, Page, Part, Section, Text, Tile
from evaluation.pages.plots import bar_plot
from evaluation.pages.writing import HTML_FILE, render_page

_FIRST: Final = Column("")
_REFERENCES: Final = ("real", "round_trip", "another", "uncut", "references")
"""Rows that tell what can be reached."""


def write_evaluation(folder: Path, evaluated: Evaluated) -> None:
    """Write ``evaluation.json`` and ``report.html`` into a folder, each atomically.

    Args:
        folder: the folder; created if missing.
        evaluated: the evaluation.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / EVALUATION_FILE, evaluated.report.model_dump(mode="json"))
    write_text(folder / HTML_FILE, render_page(page_of(evaluated)))


def page_of(evaluated: Evaluated) -> Page:
    """Return the page of an evaluation."""
    report = evaluated.report
    measured = report.measured
    assert measured is not None  # noqa: S101 - only an older release's lacks it
    evaluator = measured.evaluator or "none; R-precision and FID are not measured"
    return Page(
        title=f"Evaluation of {measured.model or 'a motion language model'}",
        intro=f"Figures on the test split of {measured.dataset}, beside baselines of the same run "
        f"and the same items. Evaluator network: {evaluator}.",
        tiles=list(_tiles(report)),
        sections=list(_sections(evaluated)),
        footer=f"avatargpt {measured.code_version} on {measured.device}, in "
        f"{sum(measured.seconds.values()):.0f} s. `avatargpt reproduce` measures these figures "
        "again.",
    )


def _tiles(report: EvaluationReport) -> Iterator[Tile]:
    for table, metric, row in main_figures(report):
        notes = [
            f"{label} {shown(metric, other.values[metric].value)}"
            for name, label in SHORT.items()
            if (other := row_of(table, name)) is not None
            and metric in other.values
            # The error of the real motion is 0.
            and not (name == "real" and metric == "ade_mm")
        ]
        yield Tile(
            title_of(table, metric),
            shown(metric, row.values[metric].value),
            "; ".join(notes),
        )


def _sections(evaluated: Evaluated) -> Iterator[Section]:
    report = evaluated.report
    first = [Text(finding, "warning") for finding in report.findings]
    yield Section(
        "What to know first",
        first or [Text("No baseline is better than the model in a main figure.")],
    )
    if report.before is not None:
        yield _before(report)
    t2m = report.table("t2m")
    if t2m is not None:
        parts: list[Part] = [*_grouped(t2m), *_by_source(t2m)]
        if evaluated.shown:
            parts.append(generated(evaluated.shown))
        yield Section("Text to motion", parts, _note(t2m))
    reconstruction = report.table("reconstruction")
    if reconstruction is not None:
        parts = [*_grouped(reconstruction), *_by_source(reconstruction)]
        pictures = _pictures(report)
        if pictures:
            parts.append(rebuilt(evaluated.rebuilt, pictures))
        yield Section("Motion tokenizer", parts, _note(reconstruction))
    for title, names in (
        ("In-between and prediction", ("m2m", "predict")),
        ("Junctions of long motions", ("joins",)),
        ("Motion to text", ("m2t",)),
        ("Plans", (*PLANNING, CYCLE, "coherence")),
    ):
        tables = [table for name in names if (table := report.table(name)) is not None]
        if tables:
            told: set[str] = set()
            parts = []
            for table in tables:
                # What was said of a table above is not repeated.
                note = " ".join(one for one in table.notes if one not in told)
                told |= {*table.notes}
                parts += [_table(table, note), *_by_source(table)]
            yield Section(title, parts)
    yield from _losses(report)
    yield Section("Answers", list(_examples(report)))
    yield _data(report)
    yield _how(report)


# ------------------------------------------------------------------------------------------ tables


def _table(table: Table, note: str = "") -> content.Table:
    """Return the rows over all sources."""
    rows = [row for row in table.rows if not row.source]
    title = TITLES.get(table.name, TASKS[table.name])
    return replace(_columns(title, table, rows, _metrics(rows)), note=note)


def _grouped(table: Table) -> Iterator[content.Table]:
    """Yield a table for each group of metrics."""
    rows = [row for row in table.rows if not row.source]
    there = _metrics(rows)
    for title, metrics in GROUPS.items():
        own = [metric for metric in there if metric in metrics]
        if own:
            yield _columns(title, table, rows, own)


def _by_source(table: Table) -> Iterator[content.Table]:
    """Yield the rows of single sources, if there are several."""
    rows = [row for row in table.rows if row.source]
    if rows:
        title = "By length of the gap" if table.name == "m2m" else "By source"
        yield _columns(title, table, rows, _metrics(rows), folded=True)


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of rows in the order of their columns."""
    there = {metric for row in rows for metric in row.values}
    return [metric for metric in METRICS if metric in there]


def _columns(
    title: str, table: Table, rows: Sequence[Row], metrics: Sequence[str], *, folded: bool = False
) -> content.Table:
    order = list(ROWS)
    lines = [
        Line(
            [
                f"{row.source}: {row_label(table.name, row.name)}"
                if row.source
                else row_label(table.name, row.name),
                *(_cell(row.values.get(metric), METRICS[metric]) for metric in metrics),
                row.items,
            ],
            _kind(row),
        )
        for row in sorted(rows, key=lambda row: (row.source, order.index(row.name)))
        if any(metric in row.values for metric in metrics)
    ]
    lines += _published_lines(table, metrics) if not folded else []
    columns = [
        _FIRST,
        *(_metric_column(METRICS[metric]) for metric in metrics),
        Column("Items", numeric=True),
    ]
    return content.Table(title, columns, lines, folded=folded)


def _published_lines(table: Table, metrics: Sequence[str]) -> list[Line]:
    """Return the published results, which are set apart from what this run measured."""
    return [
        Line(
            [
                f"{one.row}, published ({one.source})",
                *(one.values.get(metric) for metric in metrics),
                None,
            ],
            "reference",
        )
        for one in table.published
        if any(metric in one.values for metric in metrics)
    ]


def _metric_column(how: Metric) -> Column:
    return Column(how.title, numeric=True, digits=how.digits, best=how.best)


def _number(title: str, digits: int = 0) -> Column:
    return Column(title, numeric=True, digits=digits)


def _kind(row: Row) -> Literal["plain", "own", "reference"]:
    if row.name == "model":
        return "own"
    return "reference" if row.name in _REFERENCES else "plain"


def _cell(figure: Figure | None, how: Metric) -> Cell:
    if figure is None:
        return None
    ends = [None if end is None else end * how.factor for end in (figure.low, figure.high)]
    return content.Measured(figure.value * how.factor, low=ends[0], high=ends[1])


def _note(table: Table) -> str:
    return " ".join(table.notes)


def _before(report: EvaluationReport) -> Section:
    before = report.before
    assert before is not None  # noqa: S101 - the caller checks
    lines: list[Line] = []
    for table, metric, row in main_figures(report):
        was = before.metrics.get(f"{table.name}_{metric}")
        value = row.values[metric].value
        change = "" if was is None else f"{_signed(metric, value - was)}"
        lines.append(
            Line(
                [
                    title_of(table, metric),
                    with_interval(metric, row.values[metric]),
                    None if was is None else shown(metric, was),
                    change,
                ]
            )
        )
    parts: list[Part] = [
        content.Table(
            f"Compared with {before.model}",
            [_FIRST, _number("this version"), _number("before"), _number("change")],
            lines,
        )
    ]
    if not before.same:
        parts.insert(0, Text(f"Compare with care: {before.why}.", "warning"))
    return Section("Compared with the version before", parts)


def _signed(metric: str, change: float) -> str:
    text = shown(metric, change)
    return text if text.startswith("-") else f"+{text}"


# ------------------------------------------------------------------------------- other sections


def _losses(report: EvaluationReport) -> Iterator[Section]:
    table = report.table(LOSS)
    if table is None or not table.rows:
        return
    names = [TASKS.get(row.source, row.source) for row in table.rows]
    losses = [row.values["loss"].value for row in table.rows]
    lines = [
        Line(
            [name, row.values["loss"].value, 100 * row.values["accuracy"].value, row.items],
            "plain",
        )
        for name, row in zip(names, table.rows, strict=True)
    ]
    columns = [
        Column("Task"),
        _number("Loss", 3),
        _number("Tokens right, %", 1),
        _number("Items"),
    ]
    plot = bar_plot(names, {"loss": losses}, "loss of each task on the test split", digits=2)
    yield Section(
        "Losses by task",
        [content.Figure("Loss", plot), content.Table("Losses", columns, lines, _note(table))],
    )


def _examples(report: EvaluationReport) -> Iterator[content.Table]:
    columns = [Column("Asked"), Column("Expected"), Column("Answered")]
    for task, examples in report.examples.items():
        lines = [Line([one["given"], one["expected"], one["found"]]) for one in examples]
        yield content.Table(TASKS.get(task, task), columns, lines, folded=True)


def _data(report: EvaluationReport) -> Section:
    number = [_number(name, 1) for name in ("Near, %", "Median distance, mm")]
    near = content.Table(
        "Near-duplicates of test motions and texts in training",
        [
            Column("Source"),
            _number("Test motions"),
            *number,
            _number("Same group, %", 1),
            _number("Texts"),
            _number("Same text, %", 1),
            _number("Near text, %", 1),
        ],
        [
            Line(
                [
                    source,
                    found.test,
                    100 * found.near,
                    found.median_mm,
                    100 * found.same_group,
                    found.texts,
                    100 * found.same_texts,
                    100 * found.near_texts,
                ]
            )
            for source, found in report.duplicates.items()
        ],
        f"Motions nearer than {NEAR_MM:g} mm, and texts with a cosine of at least {NEAR_COSINE:g}, "
        "are near-duplicates. Same group: the same content and style, subject or video is in "
        f"training too. {report.compared}{'.' if report.compared else ''}",
    )
    left = content.Table(
        "Left out",
        [Column("What"), Column("Reason"), _number("Number"), Column("For example")],
        [
            Line([one.what, one.reason, one.count, ", ".join(one.examples)])
            for one in report.left_out
        ],
    )
    bad = content.Table(
        "Known defective clips of HumanML3D",
        [Column("Clip"), Column("Defect")],
        [Line([name, why]) for name, why in report.known_bad.items()],
    )
    return Section("Data", [near, left, *([bad] if report.known_bad else [])])


def _how(report: EvaluationReport) -> Section:
    measured = report.measured
    assert measured is not None  # noqa: S101 - the caller checks
    facts = {
        "dataset": measured.dataset,
        "plans": ", ".join(measured.plans),
        "evaluator": measured.evaluator,
        "judge of plans": measured.coherence,
        "device": measured.device,
        **{f"hash of {name}": value for name, value in measured.hashes.items()},
        **{f"seed of {name}": str(value) for name, value in measured.seeds.items()},
        **measured.versions,
    }
    lines = [Line([name, value]) for name, value in facts.items() if value]
    config = [Line([name, json.dumps(value)]) for name, value in measured.config.items()]
    seconds = [Line([name, value]) for name, value in measured.seconds.items()]
    two = [Column("What"), Column("Value")]
    return Section(
        "How it was measured",
        [
            content.Table("Data, seeds and versions", two, lines, folded=True),
            content.Table("Configuration", two, config, folded=True),
            content.Table("Duration, s", [Column("Part"), _number("s", 1)], seconds, folded=True),
        ],
    )


def _pictures(report: EvaluationReport) -> int:
    measured = report.measured
    return 0 if measured is None else int(measured.config.get("pictures", 0))
