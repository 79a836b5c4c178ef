"""Measure a model again as its ``evaluation.json`` says, and compare every figure.

Judgments of plans by a language model, and how long things took, are not measured again.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.evaluate import evaluate_folder
from evaluation.model_report.files import read_report
from evaluation.model_report.tables import Provenance, RowName, figure_name

TOLERANCE: Final = 1e-3
"""Relative difference up to which a figure counts as equal."""
_ABSOLUTE: Final = 1e-6
_NOT_AGAIN: Final = "coherence_"
_ADDED: Final[tuple[RowName, ...]] = ("another", "model_same")
"""Rows that evaluations of older releases do not have."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure that is not what it was.

    Attributes:
        name: name of the figure.
        was: value in ``evaluation.json``; None if it has none.
        found: value that was measured now; None if there is none.
    """

    name: str
    was: float | None
    found: float | None


@dataclass(frozen=True, slots=True)
class Reproduced:
    """The comparison of two evaluations of a model.

    Attributes:
        figures: number of figures that were compared.
        drifts: those that differ beyond the tolerance.
        tolerance: the tolerance.
        notes: what may explain differences, such as another device.
    """

    figures: int
    drifts: tuple[Drift, ...]
    tolerance: float
    notes: tuple[str, ...]


def reproduce(
    folder: Path,
    cache: Path,
    *,
    dataset: Path | None = None,
    evaluator: Path | None = None,
    sentence_encoder: Path | None = None,
    tolerance: float = TOLERANCE,
    device: str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> Reproduced:
    """Measure the figures of a model again: the same items, seeds and configuration.

    Args:
        folder: model folder with its ``evaluation.json``.
        cache: folder of cached features.
        dataset: current path of the training dataset; None if it was not moved.
        evaluator: current path of the evaluator network; None if it was not moved.
        sentence_encoder: current path of its sentence encoder; None if it was not moved.
        tolerance: relative difference up to which a figure counts as equal.
        device: torch device to compute on.
        report: called with the name of each part when it begins.

    Raises:
        CheckpointError: the folder has no model or no evaluation, or the evaluator cannot be read.
        ValueError: the evaluation is of an older release or of another model, or the data or the
            evaluator are missing or are not those of the evaluation.
    """
    known = read_report(folder)
    measured = known.measured
    if measured is None:
        raise ValueError(
            f"{folder}: expected an evaluation that tells how it was measured, found that of an "
            f"older release. Remedy: run `avatargpt evaluate {folder}`, and reproduce that one."
        )
    config = _config(folder, measured, evaluator, sentence_encoder)
    found = evaluate_folder(
        folder,
        config,
        cache,
        dataset or Path(measured.dataset),
        device=device,
        report=report,
        check=partial(_require_same, folder, measured),
    ).report
    assert found.measured is not None  # noqa: S101 - it was just measured
    rows = {row.name for table in known.tables for row in table.rows}
    added = {
        figure_name(table.name, metric, row.name)
        for table in found.tables
        for row in table.rows
        if row.name in _ADDED and row.name not in rows
        for metric in row.values
    }
    names = sorted(
        name for name in {*known.metrics, *found.metrics} - added if not name.startswith(_NOT_AGAIN)
    )
    drifts = [
        Drift(name, known.metrics.get(name), found.metrics.get(name))
        for name in names
        if not _equal(known.metrics, found.metrics, name, tolerance)
    ]
    return Reproduced(len(names), tuple(drifts), tolerance, _notes(measured, found.measured))


def _config(
    folder: Path, measured: Provenance, evaluator: Path | None, sentence_encoder: Path | None
) -> EvaluationConfig:
    try:
        config = EvaluationConfig.model_validate(measured.config)
    except ValidationError as error:
        raise ValueError(
            f"{folder}: expected a configuration that this release knows, found another one: "
            f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}. Remedy: use release "
            f"{measured.code_version}, or run `avatargpt evaluate {folder}` again."
        ) from error
    changes: dict[str, object] = {"pictures": 0, "coherence": None}
    if config.evaluator is not None:
        moved = {"run": evaluator, "sentence_encoder": sentence_encoder}
        paths = {name: path for name, path in moved.items() if path is not None}
        changes["evaluator"] = config.evaluator.model_copy(update=paths)
        run = config.evaluator.run if evaluator is None else evaluator
        if not run.exists():
            raise ValueError(
                f"{folder}: expected the evaluator {measured.evaluator} at {run}, found nothing. "
                "Remedy: put it back, or give its new path with --evaluator."
            )
    elif evaluator is not None:
        raise ValueError(
            f"evaluator: expected none, because {folder} was measured without one, found "
            f"{evaluator}. Remedy: leave --evaluator out."
        )
    return config.model_copy(update=changes)


def _require_same(folder: Path, was: Provenance, now: Provenance) -> None:
    """Check that the model, the data and the evaluator are those of the evaluation.

    Raises:
        ValueError: one of them is another.
    """
    if was.model and was.model != now.model:
        raise ValueError(
            f"{folder}: expected the evaluation of {now.model}, found that of {was.model}. "
            f"Remedy: run `avatargpt evaluate {folder}`."
        )
    changed = [name for name, value in was.hashes.items() if now.hashes.get(name) != value]
    if changed:
        raise ValueError(
            f"{now.dataset}: expected the data that {folder} was measured on, found others "
            f"(changed: {', '.join(changed)}). Remedy: give the dataset of that time with "
            f"--dataset, or run `avatargpt evaluate {folder}` on what is there now."
        )
    if was.evaluator != now.evaluator:
        raise ValueError(
            f"{folder}: expected the evaluator {was.evaluator}, found {now.evaluator}. Remedy: "
            "give the path of the former with --evaluator."
        )


def _equal(
    was: Mapping[str, float], found: Mapping[str, float], name: str, tolerance: float
) -> bool:
    if name not in was or name not in found:
        return False
    return math.isclose(was[name], found[name], rel_tol=tolerance, abs_tol=_ABSOLUTE)


def _notes(was: Provenance, now: Provenance) -> tuple[str, ...]:
    notes: list[str] = []
    if was.device != now.device:
        notes.append(f"it was measured on {was.device}, and now on {now.device}")
    if was.code_version != now.code_version:
        notes.append(f"it was measured with release {was.code_version}, now {now.code_version}")
    notes += [
        f"{name} was {version}, and is {now.versions.get(name)}"
        for name, version in was.versions.items()
        if now.versions.get(name) != version
    ]
    if was.coherence:
        notes.append("judgments of plans by a language model were not measured again")
    return tuple(notes)
