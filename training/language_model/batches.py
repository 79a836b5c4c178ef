"""Instructions as tensors of ids.

Shapes: B rows, S prompt ids, L answer ids, G groups.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.instructions.tasks import Instruction, Prompt, Task
from training.instructions.vocabulary import TEXT_END, TEXT_PAD, TextTokenizer, Vocabulary
from training.language_model.model import Batch
from training.language_model.packed import pack

TASKS: Final = tuple(Task)
"""Order of tasks in :attr:`Batch.tasks_B`."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An instruction as ids.

    Attributes:
        instruction: itself.
        prompt: S ids.
        answer: L ids.
    """

    instruction: Instruction
    prompt: list[int]
    answer: list[int]


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

    def encode(self, instruction: Instruction) -> Encoded:
        """Prompt and answer."""
        return Encoded(
            instruction, self.prompt_ids(instruction.prompt), self.answer_ids(instruction)
        )

    def fitting(self, instructions: Iterable[Instruction]) -> list[Encoded]:
        """Those that can be learnt whole, by length; others are left out, never cut."""
        kept = [
            one
            for one in map(self.encode, instructions)
            if len(one.prompt) <= self.max_prompt and len(one.answer) <= self.max_answer
        ]
        return sorted(kept, key=lambda one: (len(one.answer), len(one.prompt)))

    def batch(self, groups: Sequence[Sequence[Encoded]]) -> Batch:
        """A batch.

        Args:
            groups: rows that are padded together for attention; none is empty.
        """
        rows = [one for group in groups for one in group]
        tasks = [one.instruction.task for one in rows]
        starts = [
            self.vocabulary.motion_start if task.answers_motion else TEXT_PAD for task in tasks
        ]
        inputs = [(start, *one.answer[:-1]) for start, one in zip(starts, rows, strict=True)]
        return Batch(
            _joined(one.prompt for one in rows),
            pack([[len(one.prompt) for one in group] for group in groups]),
            _joined(inputs),
            _joined(one.answer for one in rows),
            pack([[len(one.answer) for one in group] for group in groups]),
            torch.tensor([task.answers_motion for task in tasks]),
            torch.tensor([TASKS.index(task) for task in tasks]),
        )


def cheapest_groups(rows: Sequence[Encoded], count: int) -> list[list[Encoded]]:
    """Rows of like lengths together, cut into the groups whose attention costs least when padded.

    A few long rows come to stand alone, and many short ones together.

    Args:
        rows: B of them, in any order.
        count: G, up to B; no group is empty.
    """
    rows = _neighbours(rows, count)
    prompts_B = np.array([len(one.prompt) for one in rows])
    answers_B = np.array([len(one.answer) for one in rows])
    sizes = len(rows)
    # costs_BB[i, j]: rows i to j as one group; longest of i..j by running maxima from each i on.
    costs_BB = np.full((sizes, sizes), np.inf)
    for first in range(sizes):
        prompts, answers = (np.maximum.accumulate(n[first:]) for n in (prompts_B, answers_B))
        # Prompts see themselves; answers see themselves and prompts.
        scores = prompts**2 + answers * (answers + prompts)
        costs_BB[first, first:] = scores * np.arange(1, sizes - first + 1)
    # best_B[j]: the cheapest way to have rows 0 to j in so many groups.
    best_B = costs_BB[0]
    begins: list[NDArray[np.int64]] = []
    for _ in range(count - 1):
        before_BB = np.concatenate([[np.inf], best_B[:-1]])[:, None] + costs_BB
        begins.append(before_BB.argmin(0))
        best_B = before_BB.min(0)
    cuts = [sizes]
    for begin_B in reversed(begins):
        cuts.append(int(begin_B[cuts[-1] - 1]))
    cuts.append(0)
    return [list(rows[begin:end]) for end, begin in pairwise(cuts)][::-1]


def _neighbours(rows: Sequence[Encoded], runs: int) -> list[Encoded]:
    # In an order whose runs have prompts and answers alike.
    by_answer = sorted(rows, key=lambda one: len(one.answer))
    bands = max(1, round(runs**0.5))
    ordered: list[Encoded] = []
    for band in range(bands):
        part = by_answer[band * len(rows) // bands : (band + 1) * len(rows) // bands]
        # There and back: the end of a band is the neighbour of the next one's beginning.
        ordered += sorted(part, key=lambda one: len(one.prompt), reverse=bool(band % 2))
    return ordered


def pad_prompts(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Prompts as (B, S) ids and (B, S) mask."""
    lengths_B = torch.tensor([len(prompt) for prompt in prompts])
    ids_BS = pad_sequence(
        [torch.tensor(prompt) for prompt in prompts], batch_first=True, padding_value=TEXT_PAD
    )
    mask_BS = torch.arange(ids_BS.shape[1]) < lengths_B[:, None]
    return ids_BS, mask_BS.long()


def _joined(rows: Iterable[Iterable[int]]) -> Tensor:
    return torch.tensor(list(chain.from_iterable(rows)))
