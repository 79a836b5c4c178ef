"""Evaluations with chosen figures, for what only handles them."""

from typing import Any

from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.evaluate import Evaluated
from evaluation.model_report.tables import FORMAT, EvaluationReport, Provenance


def evaluated_with(metrics: dict[str, float], **measured: Any) -> Evaluated:
    """An evaluation that measured these figures, and nothing else."""
    values: dict[str, Any] = {
        "model": "v-test",
        "code_version": "0",
        "config": EvaluationConfig().model_dump(mode="json"),
        "dataset": "/nowhere",
        "plans": (),
        "hashes": {"test": "1"},
        "seeds": {},
        **measured,
    }
    report = EvaluationReport(
        metrics=metrics, items={}, examples={}, format=FORMAT, measured=Provenance(**values)
    )
    return Evaluated(report, (), ())
