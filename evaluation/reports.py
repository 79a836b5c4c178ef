"""What a trained model can do on the test split: reconstruction, tasks, motions, texts, plans.

Who says which activity a motion shows is passed in: the describer is not of this package.

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
from evaluation.text_metrics import score_texts
from training.checkpoints import read_checkpoint
from training.inference.motion_model import MotionModel, load_motion_model
from training.instructions.tasks import Instruction, Task
from training.language_model.batches import InstructionEncoder
from training.language_model.generation import DRAWN, Request, Sampling
from training.language_model.model import KIND
from training.language_model.train import TrainMotionLmConfig, read_mixture, task_losses
from training.tokenizer.reconstruction import reconstruction
from training.tokenizer.windows import MotionDataConfig, prepare_data

Judge = Callable[[NDArray[np.floating]], str]
"""Names the activity of joints (T, J, 3)."""

PLANNING = (Task.CT2T, Task.CS2S, Task.CT2S, Task.CS2T, Task.T2S, Task.S2T, Task.T2C, Task.S2C)


class EvaluationConfig(Config):
    """How much is evaluated."""

    items: int = Field(default=64, ge=1, description="Of each task, at most.")
    text: Sampling = Field(default_factory=Sampling, description="Of texts.")
    motion: Sampling = Field(default=DRAWN, description="Of motions.")


class EvaluationReport(BaseModel):
    """Figures of a model on a test split.

    Attributes:
        metrics: by name: ``reconstruction_*``, ``{task}_loss``, ``{task}_accuracy``,
            ``t2m_class_accuracy`` with ``t2m_class_chance``, ``m2t_*`` and ``{task}_bleu4``.
        items: of each task.
        examples: a few answers of each task: given, expected, found.
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
    """Evaluate on the test split of what the language model was trained on.

    Args:
        model: trained.
        training: of the language model; tells the data.
        config: how much.
        judge: names the activity of a motion.
        cache: folder of flat motions; that of the tokenizer's run has them already.

    Raises:
        ValueError: the test split is empty, or motions lack tokens.
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
        # Every text that a source has for what was asked is right.
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
    """Evaluate a model folder on the test split of what it was trained on.

    Args:
        folder: as ``train-all`` writes it.
        config: how much.
        judge: names the activity of a motion.
        cache: folder of flat motions.
        dataset: that it was trained on, where it lies now; None: where it lay then.

    Raises:
        CheckpointError: it is no model folder.
        ValueError: a dataset is not there, the test split is empty, or motions lack tokens.
    """
    model = load_motion_model(folder)
    training = TrainMotionLmConfig.model_validate(read_checkpoint(folder / "lm", KIND).config)
    if dataset is not None:
        training = training.model_copy(update={"dataset": dataset.expanduser()})
    require_datasets(folder, training)
    return evaluate_model(model, training, config, judge, cache)


def require_datasets(folder: Path, training: TrainMotionLmConfig) -> None:
    """Refuse to evaluate a model without what it was trained on.

    Args:
        folder: of the model.
        training: with its datasets where they lie now.

    Raises:
        ValueError: a dataset is not there.
    """
    # Only the dataset of motions can be named anew; plans are known by their paths.
    remedies = dict.fromkeys(training.plans, "put it back")
    remedies[training.dataset] = "put it back, or name where it lies now with --dataset"
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
    """Share of generated motions that show what the real motion of their text shows."""
    wanted: list[str] = []
    found: list[str] = []
    for one, answer in zip(asked, _answers(model, asked, config.motion), strict=True):
        assert not isinstance(one.answer, str)  # noqa: S101 - t2m answers with motion
        wanted.append(_judged(model, one.answer, judge))
        # The generator may answer with nothing; that shows no activity.
        found.append(_judged(model, answer, judge) if answer else "nothing")
        if len(examples["t2m"]) < 8:
            given = " ".join(part for part in one.prompt if isinstance(part, str))
            examples["t2m"].append({"given": given, "expected": wanted[-1], "found": found[-1]})
    shares = Counter(wanted)
    return {
        "t2m_class_accuracy": float(np.mean([a == b for a, b in zip(wanted, found, strict=True)])),
        # Of always naming the commonest activity.
        "t2m_class_chance": shares.most_common(1)[0][1] / len(wanted),
    }


def _judged(model: MotionModel, codes: object, judge: Judge) -> str:
    assert isinstance(codes, tuple)  # noqa: S101
    return judge(features_to_joints(model.decode(codes)))


def _answers(
    model: MotionModel, asked: Sequence[Instruction], sampling: Sampling
) -> list[str | tuple[int, ...]]:
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
