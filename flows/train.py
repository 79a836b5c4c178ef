"""The training flows: ``train-motion-vqvae``, ``tokenize-motions`` and ``train-motion-lm``.

Trainings run under torchrun, by default with one process per GPU of the worker.
"""

from pathlib import Path
from typing import Annotated, Any, Protocol

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from data.presets import NOTHING, PartOf, one_of
from data.remote.folders import send
from flows.configuration import start_config
from flows.paths import require_absolute
from flows.runtime.failures import stage
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.reporting import outlives_server, show_table
from flows.runtime.training_process import Machines, num_processes, run_training
from training.checkpoints import read_checkpoint
from training.language_model.config import KIND as LM_KIND
from training.language_model.config import PRESETS as LM_PRESETS
from training.language_model.config import TrainMotionLmConfig
from training.loop import LoopConfig, read_metrics
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND
from training.tokenizer.tokenize import PRESETS as TOKENIZE_PRESETS
from training.tokenizer.tokenize import TokenizeConfig, TokenizeResult
from training.tokenizer.tokenize import tokenize_motions as run_tokenize
from training.tokenizer.train import PRESETS as VQVAE_PRESETS
from training.tokenizer.train import TrainMotionVqvaeConfig


class TrainingConfig(Protocol):
    """What all configurations of trainings have."""

    @property
    def run(self) -> Path:
        """Folder of the run."""
        ...

    @property
    def loop(self) -> LoopConfig:
        """Settings of the training loop."""
        ...

    def model_dump_json(self) -> str:
        """Return the configuration as JSON."""
        ...


class TrainingSummary(BaseModel):
    """Result of a training.

    Attributes:
        run: run folder.
        checkpoint: folder of the best checkpoint.
        step: step of that checkpoint.
        metrics: validation metrics of that checkpoint.
        stopped: reason why the training ended.
    """

    model_config = ConfigDict(frozen=True)

    run: Path
    checkpoint: Path
    step: int
    metrics: dict[str, float] = Field(default_factory=dict[str, float])
    stopped: str


@task(task_run_name="train {key} in {processes} processes", cache_policy=NO_CACHE)
def train_model(
    key: str, module: str, kind: str, config: TrainingConfig, processes: int
) -> TrainingSummary:
    """Run a training and report its metrics; a finished run is not trained again."""
    run, loop = config.run, config.loop
    machines = Machines(processes, loop.nodes, loop.rendezvous)
    with stage(key, f"run {run}"):
        run_training(module, config.model_dump_json(), run, machines, key)
        send(run)
        summary = summary_of(run, kind)
    validations = [row for row in read_metrics(run) if row["event"] == "validation"]
    show_table(
        [_rounded(row) for row in validations],
        f"{key}-validations",
        f"Validations of {run}; best: step {summary.step}",
    )
    get_run_logger().info("%s: best checkpoint %s, %s", key, summary.checkpoint, summary.metrics)
    return summary


def train_configured(
    key: str, module: str, kind: str, config: TrainingConfig, processes: int
) -> TrainingSummary:
    """Start :func:`train_model` for a whole configuration.

    Args:
        key: name of the training, for its progress bar and artifacts.
        module: module that trains in each process.
        kind: kind of its checkpoints.
        config: configuration of the training.
        processes: number of torchrun processes on each machine; 0 means one per GPU, or one.
    """
    count = num_processes(config.loop.device, processes)
    return train_model(key, module, kind, config, count)


def summary_of(run: Path, kind: str) -> TrainingSummary:
    """Summarize a finished run."""
    best = read_checkpoint(run, kind)
    ends = [row for row in read_metrics(run) if row["event"] == "end"]
    return TrainingSummary(
        run=run,
        checkpoint=best.folder,
        step=best.step,
        metrics=best.metrics,
        stopped=ends[-1]["stopped"] if ends else "",
    )


@flow(name="train-motion-vqvae")
@outlives_server
def train_motion_vqvae(
    preset: Annotated[str, one_of(VQVAE_PRESETS)] = "",
    config: Annotated[
        TrainMotionVqvaeConfig | dict[str, Any], PartOf(TrainMotionVqvaeConfig)
    ] = NOTHING,
    processes: int = 0,
) -> TrainingSummary:
    """Train the motion VQ-VAE on the motions of a dataset. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: data, model, training and run folder; values that differ from the preset.
        processes: number of torchrun processes; 0 means one per GPU of the worker, or one.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: the training failed.
    """
    config = start_config(TrainMotionVqvaeConfig, VQVAE_PRESETS, preset, config)
    require_absolute((config.run, config.data.dataset), "config.run and config.data.dataset")
    return train_configured(
        "train-motion-vqvae", "training.tokenizer.train", VQVAE_KIND, config, processes
    )


@flow(name="train-motion-lm")
@outlives_server
def train_motion_lm(
    preset: Annotated[str, one_of(LM_PRESETS)] = "",
    config: Annotated[TrainMotionLmConfig | dict[str, Any], PartOf(TrainMotionLmConfig)] = NOTHING,
    processes: int = 0,
) -> TrainingSummary:
    """Train the motion language model on a tokenized dataset. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: data, model, training and run folder; values that differ from the preset.
        processes: number of torchrun processes; 0 means one per GPU of the worker, or one.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: the training failed.
    """
    config = start_config(TrainMotionLmConfig, LM_PRESETS, preset, config)
    paths = config.run, config.dataset, *config.plans, config.tokenizer
    require_absolute(paths, "config.run, dataset, plans and tokenizer")
    return train_configured(
        lm_key(config), "training.language_model.train", LM_KIND, config, processes
    )


def lm_key(config: TrainMotionLmConfig) -> str:
    """Return the key of a stage of training, so that each stage has its own bar and artifacts."""
    return "pretrain-motion-lm" if config.stage == "pretrain" else "train-motion-lm"


@task(task_run_name="tokenize", cache_policy=NO_CACHE)
def tokenize(config: TokenizeConfig) -> TokenizeResult:
    """Tokenize all motions that this tokenizer has not tokenized yet."""
    logger = get_run_logger()

    def report(done: int, total: int) -> None:
        report_progress(StageProgress("tokens", done, total))
        logger.info("%d of %d motions tokenized", done, total)

    with stage("tokenize-motions", str(config.dataset)):
        return run_tokenize(config, report)


@flow(name="tokenize-motions")
@outlives_server
def tokenize_motions(
    preset: Annotated[str, one_of(TOKENIZE_PRESETS)] = "",
    config: Annotated[TokenizeConfig | dict[str, Any], PartOf(TokenizeConfig)] = NOTHING,
) -> dict[str, Any]:
    """Tokenize the motions of a dataset with a trained VQ-VAE. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: dataset and tokenizer; values that differ from the preset.

    Raises:
        ValueError: the configuration is invalid.
    """
    config = start_config(TokenizeConfig, TOKENIZE_PRESETS, preset, config)
    require_absolute((config.dataset, config.tokenizer), "config.dataset and config.tokenizer")
    result = tokenize(config)
    return {
        "tokenizer_id": result.tokenizer_id,
        "written": result.written,
        "known": result.known,
        "too_short": result.too_short,
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in row.items()
        if name != "event"
    }
