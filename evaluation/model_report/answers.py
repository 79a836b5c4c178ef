"""What a model answers to instructions, and what became of its answers.

An answer is counted as it is: one without a motion, or one that never ended, is not drawn again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from evaluation.metrics.intervals import wilson
from evaluation.model_report.tables import Figure, ranged
from training.inference.motion_model import Features, MotionModel
from training.instructions.tasks import CODES_PER_S, Codes, Instruction, Task, prompt_of
from training.language_model.config import Sampling
from training.language_model.generation import Request


@dataclass(frozen=True, slots=True)
class MotionAnswers:
    """Motions that a model answered.

    Attributes:
        motions: features of each answer, (T, D); None for an answer without a motion.
        ended: whether each answer ended by itself, or has exactly the length that was asked for.
    """

    motions: tuple[Features | None, ...]
    ended: tuple[bool, ...]

    def figures(self) -> dict[str, Figure]:
        """Return the share of answers without a motion, and of those that never ended."""
        count = len(self.motions)
        empty = sum(motion is None for motion in self.motions)
        return {
            "empty": ranged(wilson(empty, count)),
            "unended": ranged(wilson(count - sum(self.ended), count)),
        }


def answer_captions(
    model: MotionModel,
    asked: Sequence[Instruction],
    sampling: Sampling,
    *,
    ground_truth_length: bool = False,
) -> MotionAnswers:
    """Let a model answer the captions of text-to-motion instructions.

    Args:
        model: the model.
        asked: the instructions.
        sampling: decoding parameters.
        ground_truth_length: whether each motion gets the length of the real one.
    """
    return answer_motions(
        model, [_request(one, exact=ground_truth_length) for one in asked], sampling
    )


def answer_motions(
    model: MotionModel, requests: Sequence[Request], sampling: Sampling
) -> MotionAnswers:
    """Let a model answer requests for motions."""
    answers = answer(model, requests, sampling)
    motions: list[Features | None] = []
    ended: list[bool] = []
    for request, codes in zip(requests, answers, strict=True):
        assert not isinstance(codes, str)  # noqa: S101 - a motion was asked for
        motions.append(model.decode(codes) if codes else None)
        ended.append(len(codes) < request.longest or request.min_length == request.longest)
    return MotionAnswers(tuple(motions), tuple(ended))


def answer_texts(model: MotionModel, asked: Sequence[Instruction], sampling: Sampling) -> list[str]:
    """Let a model answer instructions whose answer is a text."""
    return [str(one) for one in answer(model, [_request(one) for one in asked], sampling)]


def answer(
    model: MotionModel, requests: Sequence[Request], sampling: Sampling
) -> list[str | Codes]:
    """Let a model answer requests; the same requests and seed have the same answers."""
    with torch.inference_mode():
        return model.answer(requests, sampling)


def _request(one: Instruction, *, exact: bool = False) -> Request:
    if exact:
        length = len(one.answer)
        prompt = prompt_of(Task.L2M, caption=one.caption, length_s=length / CODES_PER_S)
        return Request(prompt, True, length, length, one.caption)  # noqa: FBT003
    motion = one.task.answers_motion
    return Request(one.prompt, motion, int(motion), caption=one.caption)
