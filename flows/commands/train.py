"""Commands of training."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import (
    CHECKPOINT_KEPT,
    CHECKPOINT_LIMIT_S,
    Assignments,
    ConfigFile,
    Preset,
    absolute_source,
    changes_of,
    check_config,
    read_config,
    ready_for_flow,
)

train_app = typer.Typer()


@train_app.command(name="train-vqvae")
def train_vqvae(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset with motions.")],
    run: Annotated[Path, typer.Option(help="Folder of the run; gone on with when it exists.")],
    preset: Preset = "small",
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train the motion VQ-VAE, or go on training it."""
    from training.train_motion_vqvae import PRESETS, TrainMotionVqvaeConfig  # noqa: PLC0415 - slow

    options = {
        "run": str(run.expanduser().absolute()),
        "data": {"dataset": str(dataset.expanduser().absolute())},
    }
    changes = changes_of(TrainMotionVqvaeConfig, config, assignments, options)
    check_config(TrainMotionVqvaeConfig, PRESETS, preset, changes)
    ready_for_flow(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S)
    from flows.train import train_motion_vqvae as run_flow  # noqa: PLC0415

    summary = run_flow(changes, preset=preset)
    typer.echo(f"\n{summary.checkpoint}: step {summary.step}, {_numbers(summary.metrics)}")


@train_app.command(name="import-vqvae")
def import_vqvae(
    weights: Annotated[Path, typer.Argument(help="Released .pth or .safetensors, T2M-GPT layout.")],
    mean: Annotated[Path, typer.Option(help="Mean.npy that they were trained with.")],
    std: Annotated[Path, typer.Option(help="Std.npy likewise.")],
    run: Annotated[Path, typer.Option(help="Folder to write; used like that of a training.")],
    config: Annotated[
        Path | None, typer.Option(help="JSON file with other sizes than the released ones.")
    ] = None,
) -> None:
    """Use released VQ-VAE weights as the motion tokenizer."""
    from training.motion_tokenizer import import_published  # noqa: PLC0415 - slow
    from training.motion_vqvae import MotionVqvaeConfig  # noqa: PLC0415

    sizes = read_config(config)
    checkpoint = import_published(
        weights, mean, std, run.expanduser(), MotionVqvaeConfig.model_validate(sizes)
    )
    typer.echo(f"{checkpoint}: use it with --tokenizer {run}")


@train_app.command(name="tokenize-motions")
def tokenize_motions(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset with motions.")],
    tokenizer: Annotated[Path, typer.Option(help="Run or checkpoint of a motion VQ-VAE.")],
) -> None:
    """Write the motion tokens of a dataset, beside its motions. Resumes."""
    from training.tokenize_motions import TokenizeConfig, tokenize_motions  # noqa: PLC0415

    result = tokenize_motions(TokenizeConfig(dataset=dataset, tokenizer=tokenizer))
    typer.echo(
        f"{dataset}: {result.written} motions tokenised with {result.tokenizer_id}, "
        f"{result.known} known before, {result.too_short} too short"
    )


@train_app.command(name="train-all")
def train_all(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Datasets of annotate or import-motions, motion files, plans, procedural:COUNT."
        ),
    ],
    root: Annotated[Path, typer.Option(help="Folder of the motions, runs and models.")],
    preset: Preset = "small",
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train tokenizer and language model, evaluate, and keep the version. Resumes."""
    from training.train_all_config import PRESETS, TrainAllConfig  # noqa: PLC0415 - slow

    options = {
        "sources": [absolute_source(source) for source in sources],
        "root": str(root.expanduser().absolute()),
    }
    changes = changes_of(TrainAllConfig, config, assignments, options)
    check_config(TrainAllConfig, PRESETS, preset, changes)
    ready_for_flow(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S)
    from flows.train_all import train_all as run_flow  # noqa: PLC0415

    summary = run_flow(changes, preset)
    latest = "is the latest" if summary.is_latest else "is not the latest"
    typer.echo(f"\n{summary.model} {latest}: {summary.why}")
    for name, value in sorted(summary.metrics.items()):
        typer.echo(f"  {name} {value:.4g}")


def _numbers(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
