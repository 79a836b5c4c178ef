"""Evaluation of a trained model on the test split: reconstruction, losses, motions, texts, plans.

The judge that recognizes the activity of a motion is passed in by the caller.

Shapes: T frames, J = 22 joints.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.config import Config
from data.motion.features import features_to_joints
from data.store.manifest import MANIFEST
from evaluation.metrics.naturalness import Naturalness, mean_naturalness, naturalness
from evaluation.metrics.plans import score_plans
from evaluation.metrics.reconstruction import compare_motions
from evaluation.metrics.texts import score_texts
from training.checkpoints import read_checkpoint
from training.inference.motion_model import MotionModel, load_motion_model
from training.instructions.tasks import Codes, Instruction, Task, split_steps
from training.language_model.batches import InstructionEncoder
from training.language_model.generation import DRAWN, Request, Sampling
from training.language_model.model import KIND
from training.language_model.train import TrainMotionLmConfig, read_mixture, task_losses
from training.tokenizer.reconstruction import reconstruction
from training.tokenizer.windows import MotionArray, MotionDataConfig, prepare_data

Judge = Callable[[NDArray[np.floating]], str]
"""Returns the activity of a motion given as joints, (T, J, 3)."""

PLANNING = (Task.CT2T, Task.CS2S, Task.CT2S, Task.CS2T, Task.T2S, Task.S2T, Task.T2C, Task.S2C)
STEPS = (Task.CS2S, Task.CT2S, Task.T2S)
"""Tasks that answer with steps."""


class EvaluationConfig(Config):
    """Size and decoding of an evaluation."""

    items: int = Field(default=64, ge=1, description="Maximum number of items per task.")
    text: Sampling = Field(default_factory=Sampling, description="Sampling of texts.")
    motion: Sampling = Field(default=DRAWN, description="Sampling of motions.")
    embedding_model: str | None = Field(
        default=None,
        description="Embedding model of BERTScore: its folder, or its name on the Hugging Face "
        "Hub. None leaves BERTScore out.",
    )


class EvaluationReport(BaseModel):
    """Metrics of a model on a test split.

    Attributes:
        metrics: value by name: ``reconstruction_*``, ``{task}_loss``, ``{task}_accuracy``,
            ``residual_*`` of the residual codes, ``t2m_class_accuracy`` with ``t2m_class_chance``,
            and ``t2m_empty``, the share of answers without a motion; ``{task}_bleu4`` and the other
            scores of texts; scores of plans for tasks that answer with steps; and the measures of
            :class:`~evaluation.metrics.naturalness.Naturalness` of real motions (``real_*``), of
            the same motions encoded and decoded (``round_trip_*``), and of generated ones
            (``t2m_*``).
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
    metrics |= _round_trip(model, data.splits["test"], config.items)
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
        metrics |= _text_scores(task, found, references, config)
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
    """Return the share of generated motions with the activity of the real ones, and measures."""
    wanted: list[str] = []
    found: list[str] = []
    measures: list[Naturalness] = []
    for one, answer in zip(asked, _answers(model, asked, config.motion), strict=True):
        wanted.append(judge(_joints(model, one.answer)))
        if answer:
            joints_TJ3 = _joints(model, answer)
            found.append(judge(joints_TJ3))
            measures.append(naturalness(joints_TJ3))
        else:  # An empty answer shows no activity.
            found.append("nothing")
        if len(examples["t2m"]) < 8:
            given = " ".join(part for part in one.prompt if isinstance(part, str))
            examples["t2m"].append({"given": given, "expected": wanted[-1], "found": found[-1]})
    shares = Counter(wanted)
    return {
        "t2m_class_accuracy": float(np.mean([a == b for a, b in zip(wanted, found, strict=True)])),
        # Accuracy of always answering with the most common activity.
        "t2m_class_chance": shares.most_common(1)[0][1] / len(wanted),
        "t2m_empty": 1 - len(measures) / len(asked),
        **_named("t2m", mean_naturalness(measures)),
    }


def _joints(model: MotionModel, codes: object) -> NDArray[np.floating]:
    assert isinstance(codes, tuple)  # noqa: S101 - t2m answers with motion
    return features_to_joints(model.decode(codes))


def _round_trip(model: MotionModel, motions: MotionArray, items: int) -> dict[str, float]:
    """Compare some motions with what the tokenizer makes of them, and measure both."""
    step = model.tokenizer.frames_per_token
    usable = [index for index, frames in enumerate(np.diff(motions.offsets_N)) if frames >= step]
    chosen = np.linspace(0, len(usable) - 1, min(items, len(usable))).astype(int)
    pairs: list[tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]] = []
    for index in (usable[place] for place in chosen.tolist()):
        features_TD = motions.motion(index)
        made_TD = model.tokenizer.decode(model.tokenizer.encode([features_TD])[0])
        frames = len(made_TD)
        pairs.append(
            (
                features_to_joints(features_TD[:frames]),
                features_to_joints(made_TD),
                motions.credible(index)[:frames],
            )
        )
    errors = compare_motions(pairs)
    found = {"reconstruction_pa_mpjpe_mm": errors.pa_mpjpe_mm}
    if errors.acceleration_mm is not None:
        found["reconstruction_acceleration_mm"] = errors.acceleration_mm
    found |= _named("real", mean_naturalness(naturalness(real) for real, _, _ in pairs))
    return found | _named("round_trip", mean_naturalness(naturalness(made) for _, made, _ in pairs))


def _named(row: str, measures: Naturalness) -> dict[str, float]:
    """Return the measures that were possible, by name."""
    found: dict[str, float | None] = asdict(measures)
    return {f"{row}_{name}": value for name, value in found.items() if value is not None}


def _text_scores(
    task: Task, found: Sequence[str], references: Sequence[Sequence[str]], config: EvaluationConfig
) -> dict[str, float]:
    scores = score_texts(found, references, config.embedding_model)
    metrics = {
        f"{task}_bleu1": scores.bleu1,
        f"{task}_bleu4": scores.bleu4,
        f"{task}_rouge_l": scores.rouge_l,
        f"{task}_cider": scores.cider,
    }
    if scores.bert_f1 is not None:
        metrics[f"{task}_bert_f1"] = scores.bert_f1
    if task in STEPS:
        plans = score_plans(
            list(map(split_steps, found)),
            [list(map(split_steps, known)) for known in references],
        )
        metrics |= {
            f"{task}_step_f1": plans.step_f1,
            f"{task}_looping": plans.looping,
            f"{task}_repeated_steps": plans.repeated_steps,
            f"{task}_distinct": plans.distinct,
        }
    return metrics


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
