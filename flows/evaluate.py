"""The ``evaluate`` flow: measures a trained model on its test split, and writes its report.

``train-all`` measures the models that it trains with the same functions.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from annotators.chat.budget import Budget
from annotators.chat.model import ChatModel
from annotators.chat.service import ChatService
from data.presets import NOTHING, PartOf, one_of
from evaluation.evaluators.contrastive import KIND as CHOOSER_KIND
from evaluation.model_report.config import PRESETS, EvaluateConfig, EvaluationConfig
from evaluation.model_report.evaluate import (
    Evaluated,
    chosen_device,
    evaluate_folder,
    evaluate_model,
)
from evaluation.model_report.files import compared, read_report
from evaluation.model_report.page import write_evaluation
from evaluation.model_report.tables import EVALUATION_FILE
from evaluation.pages.writing import HTML_FILE
from evaluation.promotion import LATEST
from evaluation.versions import CARD_FILE, write_evaluated, write_model
from flows.configuration import start_config
from flows.paths import require_absolute
from flows.runtime.failures import stage
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.reporting import outlives_server, show_markdown
from flows.settings import Settings, api_key, replies_dir
from training.checkpoints import read_checkpoint
from training.inference.motion_model import MotionModel, version_of
from training.language_model.config import KIND as LM_KIND
from training.language_model.config import TrainMotionLmConfig
from training.language_model.generation import load_motion_lm
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND
from training.tokenizer.motion_tokenizer import load_tokenizer


class EvaluationSummary(BaseModel):
    """Result of a run of ``evaluate``.

    Attributes:
        model: folder of the model.
        folder: folder of ``report.html`` and ``evaluation.json``.
        metrics: every figure by name.
        findings: what to know first.
    """

    model_config = ConfigDict(frozen=True)

    model: Path
    folder: Path
    metrics: dict[str, float]
    findings: tuple[str, ...]


@task(task_run_name="evaluate", cache_policy=NO_CACHE)
def evaluate_version(config: EvaluateConfig) -> Path:
    """Measure a model folder, and write the report; return the folder of the report."""
    folder = config.model.resolve()
    with stage("evaluation", str(config.model)), judge_of(config.evaluation) as chat:
        evaluated = evaluate_folder(
            folder,
            config.evaluation,
            Settings().cache_dir.expanduser() / "motions",
            config.dataset,
            device=chosen_device(config.device),
            chat=chat,
            report=parts_reporter(),
        )
        other = config.compare_with or _latest_beside(folder)
        if other is not None:
            evaluated = with_comparison(evaluated, other)
        if config.out is not None:
            write_evaluation(config.out, evaluated)
        else:
            write_evaluated(folder, evaluated)
    return config.out or folder


@task(task_run_name="evaluate", cache_policy=NO_CACHE)
def evaluate_checkpoints(
    vqvae: Path,
    lm: Path,
    training: TrainMotionLmConfig,
    config: EvaluationConfig,
    models: Path,
    chooser: Path | None = None,
) -> Path:
    """Measure checkpoints, and write the model version; return its folder.

    Args:
        vqvae: checkpoint of the motion tokenizer.
        lm: checkpoint of the language model.
        training: configuration of the language model's training.
        config: size, sampling and judges.
        models: folder of all versions.
        chooser: checkpoint of the network that helps to choose among motions, if there is one. It
            chooses unless ``config`` names another one.
    """
    with stage("evaluation", str(lm)), judge_of(config) as chat:
        of_vqvae, of_lm = read_checkpoint(vqvae, VQVAE_KIND), read_checkpoint(lm, LM_KIND)
        language = load_motion_lm(lm, chosen_device("auto"))
        model = MotionModel(language, load_tokenizer(vqvae, language.device))
        of_chooser = None if chooser is None else read_checkpoint(chooser, CHOOSER_KIND)
        version = version_of(of_vqvae.folder, of_lm.folder, chooser)
        evaluated = evaluate_model(
            model,
            training,
            config,
            of_vqvae.folder.parents[1] / "cache",
            version=version,
            chooser=chooser,
            chat=chat,
            report=parts_reporter(),
        )
        latest = _latest_beside(models / version)
        if latest is not None:
            evaluated = with_comparison(evaluated, latest)
        return write_model(models, of_vqvae, of_lm, evaluated, of_chooser)


@flow(name="evaluate")
@outlives_server
def evaluate(
    preset: Annotated[str, one_of(PRESETS)] = "",
    config: Annotated[EvaluateConfig | dict[str, Any], PartOf(EvaluateConfig)] = NOTHING,
) -> EvaluationSummary:
    """Measure a trained model on its test split, and write its report.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: model, size, sampling and judges; values that differ from the preset.

    Raises:
        ValueError: the configuration is invalid, or the data or the evaluator are missing.
        RuntimeError: the evaluation failed.
    """
    config = start_config(EvaluateConfig, PRESETS, preset, config)
    paths = [config.model, config.dataset, config.out, config.compare_with]
    require_absolute([path for path in paths if path is not None], "paths of config")
    folder = evaluate_version(config)
    report = read_report(folder)
    for finding in report.findings:
        get_run_logger().info(finding)
    card = folder / CARD_FILE
    if card.is_file():
        show_markdown(card.read_text(), "evaluate-model-card")
    get_run_logger().info("%s and %s are in %s", HTML_FILE, EVALUATION_FILE, folder)
    return EvaluationSummary(
        model=config.model, folder=folder, metrics=report.metrics, findings=report.findings
    )


@contextmanager
def judge_of(config: EvaluationConfig) -> Generator[ChatModel | None]:
    """Open the language model that judges plans, if the configuration names one.

    Raises:
        ValueError: it cannot be used as configured.
    """
    asked = config.coherence
    if asked is None:
        yield None
        return
    key = api_key(asked.service.api_key_name)
    budget = Budget(asked.budget_usd)
    with ChatService(
        asked.service, key, replies_dir(), budget=budget, prices=asked.prices
    ) as service:
        yield service


def parts_reporter() -> Callable[[str], None]:
    """Return a function that reports each part of an evaluation when it begins."""
    begun = 0

    def report(part: str) -> None:
        nonlocal begun
        report_progress(StageProgress("evaluation", begun, None, note=part))
        begun += 1

    return report


def with_comparison(evaluated: Evaluated, other: Path) -> Evaluated:
    """Return an evaluation beside that of another model folder.

    Raises:
        training.checkpoints.CheckpointError: the folder has no evaluation that can be read.
    """
    folder = other.resolve()
    return replace(evaluated, report=compared(evaluated.report, read_report(folder), folder.name))


def _latest_beside(folder: Path) -> Path | None:
    """Return the latest version beside a model version, if it is another one."""
    latest = folder.parent / LATEST
    if not latest.exists() or latest.resolve() == folder.resolve():
        return None
    return latest if (latest / EVALUATION_FILE).is_file() else None
