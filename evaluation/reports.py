"""Evaluation of a trained model on the test split: reconstruction, losses, motions, texts, plans.

The judge that recognizes the activity of a motion is passed in by the caller.

Shapes: T frames, J = 22 joints.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.config import Config
from data.motion.features import features_to_joints
from data.store.manifest import MANIFEST
from evaluation.metrics.texts import score_texts
from training.checkpoints import read_checkpoint
from training.inference.motion_model import MotionModel, load_motion_model
from training.instructions.tasks import Codes, Instruction, Task
from training.language_model.batches import InstructionEncoder
from training.language_model.generation import DRAWN, Request, Sampling
from training.language_model.model import KIND
from training.language_model.train import TrainMotionLmConfig, read_mixture, task_losses
from training.tokenizer.reconstruction import reconstruction
from training.tokenizer.windows import MotionDataConfig, prepare_data

Judge = Callable[[NDArray[np.floating]], str]
"""Returns the activity of a motion given as joints, (T, J, 3)."""

PLANNING = (Task.CT2T, Task.CS2S, Task.CT2S, Task.CS2T, Task.T2S, Task.S2T, Task.T2C, Task.S2C)


class EvaluationConfig(Config):
    """Size and decoding of an evaluation."""

    items: int = Field(default=64, ge=1, description="Maximum number of items per task.")
    text: Sampling = Field(default_factory=Sampling, description="Sampling of texts.")
    motion: Sampling = Field(default=DRAWN, description="Sampling of motions.")


class EvaluationReport(BaseModel):
    """Metrics of a model on a test split.

    Attributes:
        metrics: value by name: ``reconstruction_*``, ``{task}_loss``, ``{task}_accuracy``,
            ``residual_*`` of the residual codes, ``t2m_class_accuracy`` with ``t2m_class_chance``,
            ``m2t_*`` and ``{task}_bleu4``.
        items: number of items by task.
        examples: some answers by task, each with ``given``, ``expected`` and ``found``.
    """

    model_config = ConfigDict(frozen=True)

    metrics: dict[str, float]
    items: dict[str, int]
    examples: dict[str, list[dict[str, str]]]


def evaluate_model(
    model: MotionModel,
    training: TrainMotionLmConfig,
    config: EvaluationConfig,
    judge: Judge,
    cache: Path,
) -> EvaluationReport:
    """Evaluate a model on the test split of its training data.

    Args:
        model: trained model.
        training: configuration of the language model's training, which names the data.
        config: size and decoding of the evaluation.
        judge: recognizes the activity of a motion.
        cache: folder of cached features; that of the tokenizer's run already has them.

    Raises:
        ValueError: the test split is empty, or motions have no tokens.
    """
    metrics: dict[str, float] = {}
    examples: dict[str, list[dict[str, str]]] = defaultdict(list)
    chosen = MotionDataConfig(dataset=training.dataset, min_quality=training.min_quality)
    data = prepare_data(chosen, cache)
    rebuilt = reconstruction(
        model.tokenizer.model, data.splits["test"], model.tokenizer.stats, model.tokenizer.device
    )
    metrics |= {f"reconstruction_{name}": value for name, value in rebuilt.items()}
    mixture = read_mixture(training, model.tokenizer, "test", Counter())
    asked = {task: mixture.all_of(task, config.items) for task in Task}
    encoder = InstructionEncoder(
        model.lm.text, model.lm.model.vocabulary, training.max_prompt, training.max_answer
    )
    fitting = {task: encoder.fitting(instructions) for task, instructions in asked.items()}
    metrics |= task_losses(model.lm.model, encoder, fitting, model.lm.device)

    if asked[Task.T2M]:
        metrics |= _motion_classes(model, asked[Task.T2M], judge, config, examples)
    for task in (Task.M2T, *PLANNING):
        if not asked[task]:
            continue
        found = [str(answer) for answer in _answers(model, asked[task], config.text)]
        # All answers to the same prompt count as references.
        references = _references(asked[task])
        scores = score_texts(found, references)
        metrics |= {
            f"{task}_bleu1": scores.bleu1,
            f"{task}_bleu4": scores.bleu4,
            f"{task}_rouge_l": scores.rouge_l,
        }
        for one, answer in list(zip(asked[task], found, strict=True))[:4]:
            given = " ".join(part for part in one.prompt if isinstance(part, str))
            examples[task.value].append(
                {"given": given, "expected": str(one.answer), "found": answer}
            )
    items = {task.value: len(instructions) for task, instructions in asked.items()}
    return EvaluationReport(metrics=metrics, items=items, examples=dict(examples))


def evaluate_folder(
    folder: Path,
    config: EvaluationConfig,
    judge: Judge,
    cache: Path,
    dataset: Path | None = None,
) -> EvaluationReport:
    """Evaluate a model folder on the test split of its training data.

    Args:
        folder: model folder written by ``train-all``.
        config: size and decoding of the evaluation.
        judge: recognizes the activity of a motion.
        cache: folder of cached features.
        dataset: current path of the training dataset; None if it was not moved.

    Raises:
        CheckpointError: the folder is not a model folder.
        ValueError: a dataset is missing, the test split is empty, or motions have no tokens.
    """
    model = load_motion_model(folder)
    training = TrainMotionLmConfig.model_validate(read_checkpoint(folder / "lm", KIND).config)
    if dataset is not None:
        training = training.model_copy(update={"dataset": dataset.expanduser()})
    require_datasets(folder, training)
    return evaluate_model(model, training, config, judge, cache)


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


def _motion_classes(
    model: MotionModel,
    asked: Sequence[Instruction],
    judge: Judge,
    config: EvaluationConfig,
    examples: Mapping[str, list[dict[str, str]]],
) -> dict[str, float]:
    """Return the share of generated motions with the same activity as the real motion."""
    wanted: list[str] = []
    found: list[str] = []
    for one, answer in zip(asked, _answers(model, asked, config.motion), strict=True):
        assert not isinstance(one.answer, str)  # noqa: S101 - t2m answers with motion
        wanted.append(_judged(model, one.answer, judge))
        # An empty answer shows no activity.
        found.append(_judged(model, answer, judge) if answer else "nothing")
        if len(examples["t2m"]) < 8:
            given = " ".join(part for part in one.prompt if isinstance(part, str))
            examples["t2m"].append({"given": given, "expected": wanted[-1], "found": found[-1]})
    shares = Counter(wanted)
    return {
        "t2m_class_accuracy": float(np.mean([a == b for a, b in zip(wanted, found, strict=True)])),
        # Accuracy of always answering with the most common activity.
        "t2m_class_chance": shares.most_common(1)[0][1] / len(wanted),
    }


def _judged(model: MotionModel, codes: object, judge: Judge) -> str:
    assert isinstance(codes, tuple)  # noqa: S101
    return judge(features_to_joints(model.decode(codes)))


def _answers(
    model: MotionModel, asked: Sequence[Instruction], sampling: Sampling
) -> list[str | Codes]:
    requests = [
        Request(
            one.prompt,
            one.task.answers_motion,
            1 if one.task.answers_motion else 0,
            caption=one.caption,
        )
        for one in asked
    ]
    with torch.inference_mode():
        return model.lm.answer(requests, sampling)


def _references(asked: Sequence[Instruction]) -> list[list[str]]:
    right: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for one in asked:
        right[one.prompt].append(str(one.answer))
    return [right[one.prompt] for one in asked]
