"""Instructions as padded id tensors.

Shapes: B batch, S prompt ids, L answer ids.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.instructions import Instruction, Prompt, Task
from training.motion_lm import IGNORED, Batch
from training.vocabulary import TEXT_END, TEXT_PAD, TextTokenizer, Vocabulary

TASKS: Final = tuple(Task)
"""Order of tasks in :attr:`Batch.tasks_B`."""


class InstructionEncoder:
    """Turns prompts and answers into ids.

    Args:
        text: tokeniser of text.
        vocabulary: the model's.
        max_prompt: ids of a prompt at most.
        max_answer: ids of an answer at most.
    """

    def __init__(
        self, text: TextTokenizer, vocabulary: Vocabulary, max_prompt: int, max_answer: int
    ) -> None:
        self.text = text
        self.vocabulary = vocabulary
        self.max_prompt, self.max_answer = max_prompt, max_answer

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt: text pieces, and motions between start and end, then the end of text."""
        ids: list[int] = []
        for part in prompt:
            if isinstance(part, str):
                ids += self.text.encode(part)
            else:
                ids.append(self.vocabulary.motion_start)
                ids += self.vocabulary.motion_ids(part)
                ids.append(self.vocabulary.motion_end)
        ids.append(TEXT_END)
        return ids

    def answer_ids(self, instruction: Instruction) -> list[int]:
        """Ids of an answer with its end."""
        if isinstance(instruction.answer, str):
            return [*self.text.encode(instruction.answer), TEXT_END]
        return [*self.vocabulary.motion_ids(instruction.answer), self.vocabulary.motion_end]

    def fitting(self, instructions: Iterable[Instruction]) -> list[Instruction]:
        """Those that can be learnt whole, the shortest first; others are left out, never cut."""
        measured = [
            (len(self.prompt_ids(one.prompt)), len(self.answer_ids(one)), one)
            for one in instructions
        ]
        kept = [
            (prompt, answer, one)
            for prompt, answer, one in measured
            if prompt <= self.max_prompt and answer <= self.max_answer
        ]
        # A decoder's token costs about as much as two of the encoder.
        kept.sort(key=lambda found: (found[0] + 2 * found[1], found[0]))
        return [one for _, _, one in kept]

    def batch(self, instructions: Sequence[Instruction]) -> Batch:
        """A batch, padded to its longest prompt and answer.

        Args:
            instructions: at least one.
        """
        prompts = [self.prompt_ids(instruction.prompt) for instruction in instructions]
        answers = [self.answer_ids(instruction) for instruction in instructions]
        starts = [
            self.vocabulary.motion_start if instruction.task.answers_motion else TEXT_PAD
            for instruction in instructions
        ]
        inputs = [[start, *answer[:-1]] for start, answer in zip(starts, answers, strict=True)]
        return Batch(
            *pad_prompts(prompts),
            _padded(inputs, TEXT_PAD),
            _padded(answers, IGNORED),
            torch.tensor([instruction.task.answers_motion for instruction in instructions]),
            torch.tensor([TASKS.index(instruction.task) for instruction in instructions]),
        )


def pad_prompts(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Prompts as (B, S) ids and (B, S) mask."""
    lengths_B = torch.tensor([len(prompt) for prompt in prompts])
    ids_BS = _padded(prompts, TEXT_PAD)
    mask_BS = torch.arange(ids_BS.shape[1]) < lengths_B[:, None]
    return ids_BS, mask_BS.long()


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
