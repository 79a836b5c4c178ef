"""Evaluate a model on the test split of its training data: every table, in one run."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers

from annotators.chat.model import ChatModel
from annotators.grounding.plain import plain_text
from data.schemas import CODE_VERSION
from data.store.manifest import MANIFEST
from evaluation.chooser import judge_of_model, motion_judge
from evaluation.duplicates import split_duplicates
from evaluation.evaluators.evaluator import Evaluator
from evaluation.evaluators.loading import load_evaluator
from evaluation.model_report import complete, joins, reconstruct, say, text_to_motion
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.findings import findings
from evaluation.model_report.material import Material
from evaluation.model_report.reconstruct import RebuiltMotion
from evaluation.model_report.tables import (
    FORMAT,
    EvaluationReport,
    Provenance,
    Row,
    Table,
    flat,
    plain,
)
from evaluation.model_report.text_to_motion import ShownMotion
from training.checkpoints import read_checkpoint
from training.inference.motion_model import (
    MotionJudge,
    MotionModel,
    chooser_of,
    load_motion_model,
    version_of,
)
from training.instructions.tasks import Task
from training.language_model.batches import InstructionEncoder
from training.language_model.config import KIND, TrainMotionLmConfig
from training.language_model.train import task_losses

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A report with the motions that its page shows.

    Attributes:
        report: the report.
        shown: captions with real and generated motions.
        rebuilt: motions that the tokenizer encoded and decoded.
    """

    report: EvaluationReport
    shown: tuple[ShownMotion, ...]
    rebuilt: tuple[RebuiltMotion, ...]


def evaluate_model(
    model: MotionModel,
    training: TrainMotionLmConfig,
    config: EvaluationConfig,
    cache: Path,
    *,
    version: str = "",
    chooser: Path | None = None,
    chat: ChatModel | None = None,
    report: Callable[[str], None] = lambda _: None,
    check: Callable[[Provenance], None] = lambda _: None,
) -> Evaluated:
    """Evaluate a model on the test split of its training data.

    Args:
        model: trained model; of several motions of a caption, that is chosen which ``config`` says.
        training: configuration of the language model's training, which names the data.
        config: size, sampling and judges.
        cache: folder of cached features; that of the tokenizer's run already has them.
        version: version of the model, for the report.
        chooser: checkpoint of the model's own network that helps to choose, unless ``config`` names
            another one.
        chat: language model that judges plans, if ``config.coherence`` is set.
        report: called with the name of each part when it begins.
        check: called before anything is measured, with what will be measured.

    Raises:
        ValueError: the test split is empty, motions have no tokens, or the evaluator or chooser
            cannot be loaded.
        training.checkpoints.CheckpointError: the folder of one of them is none.
    """
    clock = _Clock(report)
    evaluator, judge_of_motions = load_judges(config, model.lm.device.type, chooser)
    model = model.judged_by(judge_of_motions, plain_text)
    with clock("data"):
        material = Material(
            model,
            training,
            cache,
            humanml3d_protocol=config.evaluator is not None and config.evaluator.humanml3d_protocol,
        )
        duplicates = split_duplicates(training.dataset)
        of_tasks = {task: material.asked(task, config.items) for task in Task}
        asked = [*material.captioned(config.items, config.seed)]
        asked += [one for each in of_tasks.values() for one in each]
        asked += [
            replace(one, answer=str(answers))
            for task in (Task.M2T, *say.PLANNING)
            for one, answers in material.questions(task, config.items)
        ]
    measured = Provenance(
        model=version,
        code_version=CODE_VERSION,
        config=config.model_dump(mode="json"),
        dataset=str(training.dataset),
        plans=tuple(map(str, training.plans)),
        hashes=material.hashes(asked),
        seeds=_seeds(config),
        evaluator="" if evaluator is None else evaluator.name,
        device=str(model.lm.device),
        versions={"torch": torch.__version__, "transformers": transformers.__version__},
    )
    check(measured)
    tables: list[Table] = []
    examples: dict[str, list[dict[str, str]]] = {}
    with clock("reconstruction"):
        table, rebuilt = reconstruct.reconstruct(model, material, config)
        tables.append(table)
    with clock("t2m"):
        shown = text_to_motion.text_to_motion(model, material, config, evaluator)
    if shown is not None:
        tables.append(shown.table)
        examples["t2m"] = list(shown.examples)
        with clock("joins"):
            tables.append(joins.join(model, material, shown.asked, config))
    for task in complete.TASKS:
        with clock(task.value):
            completed = complete.complete(task, model, material, config, evaluator)
        if completed is not None:
            tables.append(completed)
    judge = ""
    for task in (Task.M2T, *say.PLANNING):
        with clock(task.value):
            said = say.say(task, model, material, config)
            if said is None:
                continue
            tables.append(said.table)
            examples[task.value] = list(said.examples)
            if task is Task.T2S:
                found = say.cycle(model, material, config, said)
                tables += [found] if found is not None else []
                if chat is not None:
                    judged, judge = say.coherence(chat, config, said)
                    tables.append(judged)
    with clock("losses"):
        losses, of_losses = _losses(model, material, training, config)
    metrics, intervals = flat(tables)
    return Evaluated(
        EvaluationReport(
            metrics={**of_losses, **metrics},
            items={task.value: len(each) for task, each in of_tasks.items()},
            examples=examples,
            format=FORMAT,
            intervals=intervals,
            tables=(*tables, losses),
            findings=findings(tables, duplicates.sources),
            left_out=material.unused(),
            known_bad=material.known_bad(),
            duplicates=duplicates.sources,
            compared="" if duplicates.missing else duplicates.told(),
            measured=measured.model_copy(update={"coherence": judge, "seconds": clock.seconds}),
        ),
        () if shown is None else shown.shown,
        rebuilt,
    )


def evaluate_folder(
    folder: Path,
    config: EvaluationConfig,
    cache: Path,
    dataset: Path | None = None,
    *,
    device: str = "cpu",
    chat: ChatModel | None = None,
    report: Callable[[str], None] = lambda _: None,
    check: Callable[[Provenance], None] = lambda _: None,
) -> Evaluated:
    """Evaluate a model folder on the test split of its training data.

    Args:
        folder: model folder written by ``train-all``.
        config: size, sampling and judges.
        cache: folder of cached features.
        dataset: current path of the training dataset; None if it was not moved.
        device: torch device to compute on.
        chat: language model that judges plans, if ``config.coherence`` is set.
        report: called with the name of each part when it begins.
        check: called before anything is measured, with what will be measured.

    Raises:
        CheckpointError: the folder is not a model folder.
        ValueError: a dataset is missing, the test split is empty, or motions have no tokens.
    """
    model = load_motion_model(folder, device)
    training = training_of(folder, dataset)
    version = version_of(folder / "vqvae", folder / "lm", chooser_of(folder))
    return evaluate_model(
        model,
        training,
        config,
        cache,
        version=version,
        chooser=chooser_of(folder),
        chat=chat,
        report=report,
        check=check,
    )


def training_of(folder: Path, dataset: Path | None = None) -> TrainMotionLmConfig:
    """Return the configuration of a model's training, with the current path of its motions.

    Args:
        folder: model folder written by ``train-all``.
        dataset: current path of the training dataset; None if it was not moved.

    Raises:
        training.checkpoints.CheckpointError: the folder is not a model folder.
        ValueError: a dataset is missing.
    """
    training = TrainMotionLmConfig.model_validate(read_checkpoint(folder / "lm", KIND).config)
    if dataset is not None:
        training = training.model_copy(update={"dataset": dataset.expanduser()})
    require_datasets(folder, training)
    return training


def require_datasets(folder: Path, training: TrainMotionLmConfig) -> None:
    """Check that the training datasets of a model exist.

    Args:
        folder: model folder, for the error message.
        training: configuration of the training with the current paths of its datasets.

    Raises:
        ValueError: a dataset is missing.
    """
    # Only the dataset of motions can be replaced; plans are identified by their paths.
    remedies = dict.fromkeys(training.plans, "put it back")
    remedies[training.dataset] = "put it back, or give its new path with --dataset"
    for found, remedy in remedies.items():
        if not (found / MANIFEST).is_file():
            raise ValueError(
                f"{folder}: expected a dataset that it was trained on at {found}, found none. "
                f"Remedy: {remedy}."
            )


def load_judges(
    config: EvaluationConfig, device: str = "cpu", own: Path | None = None
) -> tuple[Evaluator | None, MotionJudge]:
    """Load the evaluator, if there is one, and what chooses among several motions of a caption.

    Args:
        config: names both.
        device: torch device to compute on.
        own: checkpoint of the model's own network that helps to choose, if there is one.

    Raises:
        training.checkpoints.CheckpointError: the folder of one of them is none, or is damaged.
        ValueError: one of them cannot be loaded, or both are the same network.
    """
    judge, network = config.evaluator, config.chooser
    evaluator = (
        None
        if judge is None
        else load_evaluator(judge.run, torch.device(device), judge.sentence_encoder)
    )
    if network is None:
        # The choice is the same as for users of the model.
        return evaluator, judge_of_model(own, device=device, judged_by=evaluator)
    return evaluator, motion_judge(
        network.run, device, network.sentence_encoder, judged_by=evaluator
    )


def chosen_device(device: str) -> str:
    """Return the device of a configuration; ``auto`` is the GPU if there is one.

    Raises:
        ValueError: there is no GPU that torch can use.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ValueError(
            "device: expected a GPU for cuda, found none that torch can use. Remedy: set device to "
            "auto or cpu."
        )
    return ("cuda" if has_gpu else "cpu") if device == "auto" else device


def _losses(
    model: MotionModel,
    material: Material,
    training: TrainMotionLmConfig,
    config: EvaluationConfig,
) -> tuple[Table, dict[str, float]]:
    """Return the losses of each task with teacher forcing, as a table and by name."""
    encoder = InstructionEncoder(
        model.lm.text, model.lm.model.vocabulary, training.max_prompt, training.max_answer
    )
    rows = {task: encoder.fitting(material.asked(task, config.items)) for task in Task}
    found = task_losses(model.lm.model, encoder, rows, model.lm.device)
    names = [name.removesuffix("_loss") for name in found if name.endswith("_loss")]
    counts = {task.value: len(each) for task, each in rows.items()}
    table = Table(
        name=LOSS,
        rows=tuple(
            Row(
                name="model",
                items=counts.get(name, sum(counts.values())),
                values=plain({what: found[f"{name}_{what}"] for what in ("loss", "accuracy")}),
                source=name,
            )
            for name in names
        ),
        notes=("Mean loss and share of right tokens on test items, with the tokens before given.",),
    )
    return table, found


def _seeds(config: EvaluationConfig) -> dict[str, int]:
    seeds = {
        "choice": config.seed,
        "text": config.text.seed,
        "motion": config.motion.seed,
        "completion": config.completion.sampling.seed,
    }
    if config.evaluator is not None:
        seeds["protocol"] = config.evaluator.protocol.seed
    return seeds


class _Clock:
    """Times the parts of an evaluation, and reports each when it begins."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report

    @contextmanager
    def __call__(self, part: str) -> Generator[None]:
        self._report(part)
        begin = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - begin, 2)
