"""What a reader should know first: where a baseline is better than the model, and other faults."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from evaluation.duplicates import SourceDuplicates
from evaluation.model_report.names import METRICS, TASKS, shown
from evaluation.model_report.tables import Row, RowName, Table

_COMPARED: Final = (
    *("activity", "caption_shown", "r_precision_3", "fid"),
    *("ade_mm", "rouge_l", "step_f1", "coherence"),
)
"""Figures in which a baseline is compared with the model."""
_BASELINES: Final[Mapping[RowName, str]] = {
    "retrieval": "Copying the nearest training example is",
    "chance": "Always giving the most common answer is",
    "lines": "Straight lines, or the last pose held, are",
}
_UNENDED: Final = 0.01
_SKATE: Final = 2.0
_NEAR: Final = 0.5


def findings(
    tables: Sequence[Table], duplicates: Mapping[str, SourceDuplicates]
) -> tuple[str, ...]:
    """Return sentences about the figures.

    Args:
        tables: tables of the evaluation.
        duplicates: near-duplicates between the splits, by source.
    """
    better: defaultdict[RowName, list[str]] = defaultdict(list)
    found: list[str] = []
    for table in tables:
        rows = {row.name: row for row in table.rows if not row.source}
        model = rows.get("model")
        if model is None:
            continue
        for name in _BASELINES:
            told = _better(rows[name], model) if name in rows else []
            if told:
                task = TASKS[table.name]
                better[name].append(f"{task[0].lower()}{task[1:]} ({', '.join(told)})")
        if table.name == "t2m":
            found += _motions(model, rows.get("real"))
    found += [
        f"{_BASELINES[name]} better than the model on {'; '.join(told)}."
        for name, told in better.items()
    ]
    for source, near in duplicates.items():
        if near.near > _NEAR:
            found.append(
                f"{100 * near.near:.0f} % of the test motions of {source} have a near-duplicate in "
                "training: their figures measure memory."
            )
    return tuple(found)


def _better(baseline: Row, model: Row) -> list[str]:
    """Return the figures in which a baseline is better than the model, in words."""
    told: list[str] = []
    for metric in _COMPARED:
        if metric not in baseline.values or metric not in model.values:
            continue
        theirs, ours = baseline.values[metric].value, model.values[metric].value
        how = METRICS[metric]
        if (theirs > ours) if how.best == "highest" else (theirs < ours):
            title = how.title.removesuffix(", %").removesuffix(", mm")
            title = title if title.isupper() or "-" in title else title.lower()
            told.append(f"{title} {shown(metric, theirs)} against {shown(metric, ours)}")
    return told


def _motions(model: Row, real: Row | None) -> list[str]:
    told: list[str] = []
    values = model.values
    if values["empty"].value:
        told.append(
            f"{shown('empty', values['empty'].value)} of the answers to captions have no motion."
        )
    if values["unended"].value > _UNENDED:
        told.append(
            f"{shown('unended', values['unended'].value)} of the answers to captions never end."
        )
    skate = values.get("foot_skate_m_s")
    of_real = None if real is None else real.values.get("foot_skate_m_s")
    if skate is not None and of_real is not None and skate.value > _SKATE * of_real.value:
        told.append(
            f"Feet slide: foot skate is {skate.value:.3f} m/s, that of real motions "
            f"{of_real.value:.3f} m/s."
        )
    return told
