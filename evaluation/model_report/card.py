"""The model card: what a model was trained on, and its main figures beside baselines."""

from collections.abc import Iterator
from typing import Any, Final

from evaluation.model_report.names import METRICS, ROWS, TASKS, shown
from evaluation.model_report.tables import EvaluationReport, Figure, Row, RowName, Table

_MAIN: Final = {
    "t2m": ("activity", "caption_shown", "r_precision_3", "fid", "foot_skate_m_s", "unended"),
    "reconstruction": ("mpjpe_mm",),
    "m2m": ("ade_mm", "speed_kept"),
    "predict": ("ade_mm",),
    "m2t": ("rouge_l",),
    "t2s": ("step_f1",),
    "ct2t": ("rouge_l",),
}
"""Figures of the card by table."""
_BASELINES: Final[tuple[RowName, ...]] = ("real", "round_trip", "retrieval", "lines")


def card(info: dict[str, Any], config: dict[str, Any], report: EvaluationReport) -> str:
    """Return the model card in Markdown.

    Args:
        info: content of ``model.json``.
        config: configuration of the language model's training.
        report: evaluation of the model.
    """
    counts: dict[str, int] = info["lm"]["data"]["instructions"]
    taught = ", ".join(f"{task} {count}" for task, count in counts.items())
    vqvae = info["vqvae"]["data"]
    base = config["model"]["base"] or f"from scratch, {config['model']['scratch']}"
    return f"""---
library_name: avatargpt
tags: [human-motion, text-to-motion, motion-to-text]
---
# Motion language model {info["version"]}

Trained by avatargpt {info["code_version"]}. Use: `avatargpt t2m "a person kicks" --model DIR`.

- Motion tokenizer: step {info["vqvae"]["step"]}, trained on {vqvae["motions"]} motions of
  `{vqvae["dataset"]}`.
- Language model: T5 {base}; step {info["lm"]["step"]}.
- Instructions: {taught}.
- Licenses: those of the motions and texts it was trained on; see the dataset's `license` column.

## Test split
{_figures(report)}
The model reproduces its training data; results for other texts and motions are unreliable.
"""


def main_figures(report: EvaluationReport) -> Iterator[tuple[Table, str, Row]]:
    """Yield the table, the metric and the model's row of each main figure that was measured."""
    for name, metrics in _MAIN.items():
        table = report.table(name)
        row = None if table is None else row_of(table, "model")
        if table is not None and row is not None:
            yield from ((table, metric, row) for metric in metrics if metric in row.values)


def title_of(table: Table, metric: str) -> str:
    """Return the title of a figure; percent stands with its number."""
    return f"{TASKS[table.name]}: {METRICS[metric].title.removesuffix(', %')}"


def row_of(table: Table, name: RowName) -> Row | None:
    """Return a row over all sources, or None."""
    return next((row for row in table.rows if row.name == name and not row.source), None)


def with_interval(metric: str, figure: Figure) -> str:
    """Return a figure with its interval, as ``91.7 % (74.2–97.7)``."""
    text = shown(metric, figure.value)
    if figure.low is None or figure.high is None:
        return text
    low, high = (shown(metric, end).removesuffix(" %") for end in (figure.low, figure.high))
    return f"{text} ({low} to {high})"


def _figures(report: EvaluationReport) -> str:
    if not report.tables:
        return "Not measured.\n"
    columns = [ROWS[name] for name in _BASELINES]
    lines = [
        f"| figure (95 % interval) | model | {' | '.join(columns)} | items |",
        f"|---|---:|{'---:|' * len(columns)}---:|",
    ]
    for table, metric, row in main_figures(report):
        others = [row_of(table, name) for name in _BASELINES]
        cells = [
            shown(metric, other.values[metric].value)
            if other is not None and metric in other.values
            else ""
            for other in others
        ]
        lines.append(
            f"| {title_of(table, metric)} "
            f"| {with_interval(metric, row.values[metric])} | {' | '.join(cells)} | {row.items} |"
        )
    told = [f"- {finding}" for finding in report.findings]
    measured = report.measured
    how = "" if measured is None or not measured.evaluator else f"Evaluator: {measured.evaluator}. "
    return "\n".join(
        [
            *lines,
            "",
            f"{how}Every figure, its intervals and pictures: `report.html`, `evaluation.json`; "
            "`avatargpt reproduce DIR` measures them again.",
            "",
            *told,
            *([""] if told else []),
        ]
    )
