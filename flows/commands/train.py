"""Commands that train and tokenize."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Json, Quiet, absolute_source, in_folder, print_json, show
from flows.commands.running import (
    FLOWS,
    TRAIN_EVALUATOR,
    Assignments,
    ConfigFile,
    EvaluatorKind,
    Preset,
    evaluator_flow,
    read_config,
)
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.progress_bars import progress_bars

if TYPE_CHECKING:
    from flows.train import TrainingSummary
    from flows.train_all import TrainAllSummary

train_app = typer.Typer()


@train_app.command(name="train-motion-vqvae")
@train_app.command(name="train-vqvae", hidden=True)
def train_motion_vqvae(
    dataset: Annotated[
        Path, typer.Argument(help="Folder of a dataset with motions.", callback=in_folder)
    ],
    run: Annotated[
        Path, typer.Option(help="Run folder; an existing run is resumed.", callback=in_folder)
    ],
    preset: Preset = "small",
    config: ConfigFile = None,
    assignments: Assignments = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the motion VQ-VAE. Resumable."""
    options = {
        "run": str(run.expanduser().absolute()),
        "data": {"dataset": str(dataset.expanduser().absolute())},
    }
    flow = FLOWS["train-motion-vqvae"]
    summary: TrainingSummary = flow.run(preset, config, assignments, options, quiet=quiet)
    _print_summary(summary, as_json=as_json)


@train_app.command(name="train-motion-lm")
@train_app.command(name="train-lm", hidden=True)
def train_motion_lm(
    dataset: Annotated[
        Path,
        typer.Argument(help="Folder of a dataset with motions and tokens.", callback=in_folder),
    ],
    run: Annotated[
        Path, typer.Option(help="Run folder; an existing run is resumed.", callback=in_folder)
    ],
    tokenizer: Annotated[
        Path, typer.Option(help="Run folder or checkpoint of a motion VQ-VAE.", callback=in_folder)
    ],
    plans: Annotated[
        list[Path] | None,
        typer.Option(
            help="Additional dataset whose annotations provide scenes and steps; repeatable."
        ),
    ] = None,
    preset: Preset = "small",
    config: ConfigFile = None,
    assignments: Assignments = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the motion language model on a tokenized dataset. Resumable."""
    paths = {"run": run, "dataset": dataset, "tokenizer": tokenizer}
    options: dict[str, Any] = {
        name: str(path.expanduser().absolute()) for name, path in paths.items()
    }
    if plans:
        options["plans"] = [str(plan.expanduser().absolute()) for plan in plans]
    flow = FLOWS["train-motion-lm"]
    summary: TrainingSummary = flow.run(preset, config, assignments, options, quiet=quiet)
    _print_summary(summary, as_json=as_json)


@train_app.command(name=TRAIN_EVALUATOR)
def train_evaluator(
    dataset: Annotated[
        Path, typer.Argument(help="Folder of a dataset of motions with texts.", callback=in_folder)
    ],
    run: Annotated[
        Path, typer.Option(help="Run folder; an existing run is resumed.", callback=in_folder)
    ],
    kind: Annotated[
        EvaluatorKind,
        typer.Option(help="Network: contrastive, as in TMR, or matching, as in Guo et al."),
    ] = "contrastive",
    preset: Preset = "small",
    config: ConfigFile = None,
    assignments: Assignments = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train an evaluator network, which judges motions by their texts. Resumable.

    `avatargpt evaluate` and `train-all` measure R-precision and FID with it (--evaluator RUN).
    """
    options = {
        "run": str(run.expanduser().absolute()),
        "data": {"dataset": str(dataset.expanduser().absolute())},
    }
    flow = evaluator_flow(kind)
    summary: TrainingSummary = flow.run(preset, config, assignments, options, quiet=quiet)
    _print_summary(summary, as_json=as_json)


def _print_summary(summary: "TrainingSummary", *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in summary.metrics.items())
    show("")
    show(f"{summary.checkpoint}: step {summary.step}, {numbers}")


@train_app.command(name="import-vqvae")
def import_vqvae(
    weights: Annotated[
        Path,
        typer.Argument(
            help="Weights in the layout of T2M-GPT, MotionGPT (Lightning) or AvatarGPT: a file of "
            "torch or .safetensors."
        ),
    ],
    mean: Annotated[
        Path, typer.Option(help="Mean.npy of the features that the weights were trained on.")
    ],
    std: Annotated[Path, typer.Option(help="Std.npy of the same features.")],
    run: Annotated[Path, typer.Option(help="Run folder to write.")],
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with model sizes that differ from the released ones."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import released VQ-VAE weights as a motion tokenizer."""
    from training.tokenizer.motion_tokenizer import import_published  # noqa: PLC0415 - slow
    from training.tokenizer.vqvae import MotionVqvaeConfig  # noqa: PLC0415

    sizes = read_config(config)
    checkpoint = import_published(
        weights, mean, std, run.expanduser(), MotionVqvaeConfig.model_validate(sizes)
    )
    if as_json:
        print_json({"run": run, "checkpoint": checkpoint})
        return
    show(f"{checkpoint}: use it with --tokenizer {run}")


@train_app.command(name="tokenize-motions")
def tokenize_motions(
    dataset: Annotated[
        Path, typer.Argument(help="Folder of a dataset with motions.", callback=in_folder)
    ],
    tokenizer: Annotated[
        Path, typer.Option(help="Run folder or checkpoint of a motion VQ-VAE.", callback=in_folder)
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Tokenize the motions of a dataset and store the tokens in it. Resumable."""
    from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions  # noqa: PLC0415

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("tokens", done, total))

    with progress_bars(quiet=quiet):
        result = tokenize_motions(TokenizeConfig(dataset=dataset, tokenizer=tokenizer), report)
    if as_json:
        print_json(result)
        return
    show(
        f"{dataset}: {result.written} motions tokenized with {result.tokenizer_id}, "
        f"{result.known} already tokenized, {result.too_short} too short"
    )


@train_app.command(name="train-all")
def train_all(
    sources: Annotated[
        list[str],
        typer.Argument(help="Datasets, motion files, plans, or procedural:COUNT."),
    ],
    root: Annotated[
        Path, typer.Option(help="Output folder for motions, runs and models.", callback=in_folder)
    ],
    evaluator: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of an evaluator, for R-precision and FID in the report.",
            callback=in_folder,
        ),
    ] = None,
    preset: Preset = "small",
    config: ConfigFile = None,
    assignments: Assignments = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train tokenizer and language model, evaluate, and store a model version. Resumable."""
    options: dict[str, Any] = {
        "sources": [absolute_source(source) for source in sources],
        "root": str(root.expanduser().absolute()),
    }
    if evaluator is not None:
        options["evaluation"] = {"evaluator": {"run": str(evaluator.expanduser().absolute())}}
    flow = FLOWS["train-all"]
    summary: TrainAllSummary = flow.run(preset, config, assignments, options, quiet=quiet)
    if as_json:
        print_json(summary)
        return
    latest = "is the latest" if summary.is_latest else "is not the latest"
    show("")
    show(f"{summary.model} {latest}: {summary.why}")
    for name, value in sorted(summary.metrics.items()):
        show(f"  {name} {value:.4g}")
