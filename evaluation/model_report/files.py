"""Evaluations that were written: reading them, and comparing them with another one."""

from pathlib import Path

from evaluation.model_report.tables import (
    EVALUATION_FILE,
    Before,
    EvaluationReport,
    Provenance,
)
from training.checkpoints import CheckpointError, reading


def read_report(folder: Path) -> EvaluationReport:
    """Read the evaluation of a folder; that of an older release has fewer attributes.

    Args:
        folder: model folder, or the folder of an evaluation.

    Raises:
        CheckpointError: there is no evaluation, or it is damaged.
    """
    file = folder / EVALUATION_FILE
    if not file.is_file():
        raise CheckpointError(
            f"{folder}: expected an evaluation, found no {EVALUATION_FILE}. "
            "Remedy: run `avatargpt evaluate` on the model."
        )
    with reading(folder):
        return EvaluationReport.model_validate_json(file.read_text())


def compared(report: EvaluationReport, other: EvaluationReport, name: str) -> EvaluationReport:
    """Return a report with the figures of another version beside its own.

    Args:
        report: the report.
        other: report of the other version.
        name: name of the other version, where its report does not tell it.
    """
    assert report.measured is not None  # noqa: S101 - it was just measured
    version = name if other.measured is None else other.measured.model or name
    why = differences(report.measured, other.measured)
    before = Before(model=version, metrics=other.metrics, same=not why, why="; ".join(why))
    return report.model_copy(update={"before": before})


def differences(one: Provenance, other: Provenance | None) -> list[str]:
    """Return why two evaluations cannot be compared figure by figure; empty if they can."""
    if other is None:
        return ["it was measured by an older release"]
    found: list[str] = []
    if one.hashes.get("test") != other.hashes.get("test"):
        found.append("the test items differ")
    if one.evaluator != other.evaluator:
        found.append(
            f"the evaluators differ ({one.evaluator or 'none'}, {other.evaluator or 'none'})"
        )
    own, theirs = (
        {key: value for key, value in each.config.items() if key not in ("evaluator", "pictures")}
        for each in (one, other)
    )
    fields = [key for key in own if own[key] != theirs.get(key)]
    if fields:
        found.append(f"the configurations differ in {', '.join(fields)}")
    return found
