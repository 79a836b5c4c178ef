"""Commands that measure a trained model: its report, and whether its figures hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Json, Quiet, in_folder, print_json, show
from flows.commands.running import FLOWS, Assignments, ConfigFile, Preset
from flows.runtime.failures import FAILED
from flows.runtime.progress_bars import progress_bars
from flows.settings import Settings

if TYPE_CHECKING:
    from evaluation.model_report.tables import EvaluationReport
    from evaluation.reproduce import Reproduced
    from flows.evaluate import EvaluationSummary

evaluate_app = typer.Typer()

Model = Annotated[
    Path, typer.Argument(help="Model folder written by train-all.", callback=in_folder)
]
MovedDataset = Annotated[
    Path | None,
    typer.Option(help="New path of the training dataset, if it was moved.", callback=in_folder),
]


@evaluate_app.command()
def evaluate(
    model: Model,
    dataset: MovedDataset = None,
    evaluator: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of an evaluator, for R-precision and FID.", callback=in_folder
        ),
    ] = None,
    chooser: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of another evaluator, which helps to choose among the motions of a "
            "caption.",
            callback=in_folder,
        ),
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of items per task.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of report.html and evaluation.json, instead of the model folder."
        ),
    ] = None,
    compare_with: Annotated[
        Path | None,
        typer.Option(help="Another evaluated model; by default the latest beside this one."),
    ] = None,
    preset: Preset = "standard",
    config: ConfigFile = None,
    assignments: Assignments = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure a model on its test split beside baselines, and write report.html.

    Without --out, report.html, evaluation.json and the model card are written into the model
    folder.
    """
    paths = {"model": model, "dataset": dataset, "out": out, "compare_with": compare_with}
    options: dict[str, Any] = {name: _absolute(path) for name, path in paths.items() if path}
    chosen: dict[str, Any] = {} if items is None else {"items": items}
    if evaluator is not None:
        chosen["evaluator"] = {"run": _absolute(evaluator)}
    if chooser is not None:
        chosen["chooser"] = {"run": _absolute(chooser)}
    if chosen:
        options["evaluation"] = chosen
    flow = FLOWS["evaluate"]
    summary: EvaluationSummary = flow.run(preset, config, assignments, options, quiet=quiet)
    from evaluation.model_report.files import read_report  # noqa: PLC0415 - slow
    from evaluation.pages.writing import HTML_FILE  # noqa: PLC0415

    report = read_report(summary.folder)
    if as_json:
        print_json(report)
        return
    show("")
    for line in _report_lines(report):
        show(line)
    show("")
    show(f"{summary.folder}/{HTML_FILE}")


@evaluate_app.command()
def reproduce(
    model: Model,
    dataset: MovedDataset = None,
    evaluator: Annotated[
        Path | None,
        typer.Option(help="New path of the evaluator, if it was moved.", callback=in_folder),
    ] = None,
    sentence_encoder: Annotated[
        Path | None, typer.Option(help="New path of the evaluator's sentence encoder.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Relative difference up to which figures count as equal.")
    ] = 1e-3,
    device: Annotated[str, typer.Option(help="Torch device: auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure the figures of a model card again; exit with 1 if one drifted.

    The items, seeds and configuration are those of the model's evaluation.json.
    """
    from evaluation.model_report.evaluate import chosen_device  # noqa: PLC0415 - slow
    from evaluation.reproduce import reproduce as measure_again  # noqa: PLC0415
    from flows.evaluate import parts_reporter  # noqa: PLC0415

    with progress_bars(quiet=quiet):
        found = measure_again(
            model.expanduser(),
            Settings().cache_dir.expanduser() / "motions",
            dataset=dataset,
            evaluator=evaluator,
            sentence_encoder=sentence_encoder,
            tolerance=tolerance,
            device=chosen_device(device),
            report=parts_reporter(),
        )
    if as_json:
        print_json(found)
    else:
        for line in _drift_lines(found):
            show(line)
    if found.drifts:
        raise typer.Exit(FAILED)


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())


def _report_lines(report: "EvaluationReport") -> Iterator[str]:
    from evaluation.model_report.card import (  # noqa: PLC0415
        main_figures,
        row_of,
        title_of,
        with_interval,
    )
    from evaluation.model_report.names import SHORT, shown  # noqa: PLC0415

    for table, metric, row in main_figures(report):
        others = [
            f"{label} {shown(metric, other.values[metric].value)}"
            for name, label in SHORT.items()
            if (other := row_of(table, name)) is not None and metric in other.values
        ]
        told = with_interval(metric, row.values[metric])
        yield f"{title_of(table, metric):<42} {told:<26} {', '.join(others)}".rstrip()
    yield ""
    yield "Items: " + ", ".join(f"{count} {task}" for task, count in sorted(report.items.items()))
    yield from report.findings


def _drift_lines(found: "Reproduced") -> Iterator[str]:
    if not found.drifts:
        yield f"{found.figures} figures, all within {found.tolerance:g} of what they were"
    else:
        yield f"{'figure':<44} {'was':>12} {'is':>12}"
        for drift in found.drifts:
            yield f"{drift.name:<44} {_told(drift.was):>12} {_told(drift.found):>12}"
        yield (
            f"{len(found.drifts)} of {found.figures} figures drifted by more than "
            f"{found.tolerance:g} of their value"
        )
    yield from found.notes


def _told(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
