"""Encodes instructions into batches of ids, and groups them by length.

Shapes: B is the number of rows, S the length of a prompt, L the length of an answer, R the number
of residual codes of a motion token, N the number of ids of all rows, G the number of groups.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
"""The tasks that :attr:`Batch.tasks_B` indexes."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded instruction.

    Attributes:
        instruction: the instruction.
        prompt: S ids of the prompt.
        answer: L ids of the answer, including its end.
    """

    instruction: Instruction
    prompt: list[int]
    answer: list[int]


class InstructionEncoder:
    """Encodes prompts and answers into ids.

    Args:
        text: text tokenizer.
        vocabulary: id space of the model.
        max_prompt: maximum number of ids of a prompt.
        max_answer: maximum number of ids of an answer.
    """

    def __init__(
        self, text: TextTokenizer, vocabulary: Vocabulary, max_prompt: int, max_answer: int
    ) -> None:
        self.text = text
        self.vocabulary = vocabulary
        self.max_prompt, self.max_answer = max_prompt, max_answer

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Encode a prompt: text pieces, motions between start and end tokens, and the end of text.

        Raises:
            ValueError: a motion code is from another motion tokenizer.
        """
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

    def prompt_residual(self, prompt: Prompt) -> list[list[int]]:
        """Return the R residual codes of each id of a prompt, -1 where an id has none.

        Raises:
            ValueError: a motion code is from another motion tokenizer.
        """
        none = self._no_residual
        rows: list[list[int]] = []
        for part in prompt:
            if isinstance(part, str):
                rows += [none] * len(self.text.encode(part))
            else:
                rows += [none, *self.vocabulary.residual_codes(part), none]
        return [*rows, none]

    def answer_ids(self, instruction: Instruction) -> list[int]:
        """Encode the answer of an instruction, including its end."""
        if isinstance(instruction.answer, str):
            return [*self.text.encode(instruction.answer), TEXT_END]
        return [*self.vocabulary.motion_ids(instruction.answer), self.vocabulary.motion_end]

    def answer_residual(self, instruction: Instruction) -> list[list[int]]:
        """Return the R residual codes of each id of an answer, -1 where an id has none."""
        if isinstance(instruction.answer, str):
            return [self._no_residual] * len(self.answer_ids(instruction))
        return [*self.vocabulary.residual_codes(instruction.answer), self._no_residual]

    @property
    def _no_residual(self) -> list[int]:
        return [-1] * (self.vocabulary.num_quantizers - 1)

    def encode(self, instruction: Instruction) -> Encoded:
        """Encode the prompt and the answer of an instruction."""
        return Encoded(
            instruction, self.prompt_ids(instruction.prompt), self.answer_ids(instruction)
        )

    def fitting(self, instructions: Iterable[Instruction]) -> list[Encoded]:
        """Encode instructions and sort them by length; too long ones are dropped, not truncated."""
        kept = [
            one
            for one in map(self.encode, instructions)
            if len(one.prompt) <= self.max_prompt and len(one.answer) <= self.max_answer
        ]
        return sorted(kept, key=lambda one: (len(one.answer), len(one.prompt)))

    def batch(self, groups: Sequence[Sequence[Encoded]]) -> Batch:
        """Build a batch.

        Args:
            groups: groups of rows. The rows of a group are padded to the same length for attention.
                No group may be empty.
        """
        rows = [one for group in groups for one in group]
        tasks = [one.instruction.task for one in rows]
        starts = [
            self.vocabulary.motion_start if task.answers_motion else TEXT_PAD for task in tasks
        ]
        inputs = [(start, *one.answer[:-1]) for start, one in zip(starts, rows, strict=True)]
        return Batch(
            _concatenated(one.prompt for one in rows),
            _concatenated(self.prompt_residual(one.instruction.prompt) for one in rows),
            pack([[len(one.prompt) for one in group] for group in groups]),
            _concatenated(inputs),
            _concatenated(one.answer for one in rows),
            _concatenated(self.answer_residual(one.instruction) for one in rows),
            pack([[len(one.answer) for one in group] for group in groups]),
            torch.tensor([task.answers_motion for task in tasks]),
            torch.tensor([TASKS.index(task) for task in tasks]),
        )


def with_noise(
    batch: Batch, vocabulary: Vocabulary, most: float, rng: np.random.Generator
) -> Batch:
    """Replace tokens of the decoder's inputs by random ones; the labels stay.

    A model that sees only right tokens recognizes a training motion by them and ignores the prompt
    (T2M-GPT, Zhang et al. 2023, corrupts them in the same way).

    Args:
        batch: the batch.
        vocabulary: id space of the model.
        most: largest share of the tokens of a motion that is replaced; each motion's is drawn from
            0 to this.
        rng: random numbers.
    """
    inputs_M = batch.inputs_M.numpy()
    first, end = vocabulary.num_text, vocabulary.motion_start
    rates_B = most * rng.random(len(batch.motion_B))
    replaced_M = rng.random(len(inputs_M)) < rates_B[batch.answers.rows_N.numpy()]
    replaced_M &= (first <= inputs_M) & (inputs_M < end)
    random_M = rng.integers(first, end, len(inputs_M))
    return replace(batch, inputs_M=torch.from_numpy(np.where(replaced_M, random_M, inputs_M)))


def cheapest_groups(rows: Sequence[Encoded], count: int) -> list[list[Encoded]]:
    """Divide rows into groups of similar lengths, minimizing the cost of padded attention.

    The rows are sorted by length, and dynamic programming finds the best places to cut the sorted
    rows into groups. Long rows end up in small groups and short rows in large ones.

    Args:
        rows: B rows, in any order.
        count: G, the number of groups, at most B.

    Returns:
        The groups; none is empty.
    """
    rows = _sorted_by_lengths(rows, count)
    prompts_B = np.array([len(one.prompt) for one in rows])
    answers_B = np.array([len(one.answer) for one in rows])
    sizes = len(rows)
    # costs_BB[i, j] is the cost of rows i to j as one group. The longest of these rows is the
    # running maximum from row i on.
    costs_BB = np.full((sizes, sizes), np.inf)
    for first in range(sizes):
        prompts, answers = (np.maximum.accumulate(n[first:]) for n in (prompts_B, answers_B))
        # Prompts attend to themselves; answers attend to themselves and to the prompts.
        scores = prompts**2 + answers * (answers + prompts)
        costs_BB[first, first:] = scores * np.arange(1, sizes - first + 1)
    # best_B[j] is the lowest cost of rows 0 to j, in as many groups as were added so far.
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


def _sorted_by_lengths(rows: Sequence[Encoded], runs: int) -> list[Encoded]:
    """Sort rows so that neighbors are similar in both the prompt and the answer length."""
    by_answer = sorted(rows, key=lambda one: len(one.answer))
    bands = max(1, round(runs**0.5))
    ordered: list[Encoded] = []
    for band in range(bands):
        part = by_answer[band * len(rows) // bands : (band + 1) * len(rows) // bands]
        # Every other band is reversed, so that the end of a band is similar to the next beginning.
        ordered += sorted(part, key=lambda one: len(one.prompt), reverse=bool(band % 2))
    return ordered


def pad_residual(rows: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Pad the residual codes of prompts to the longest one with -1, (B, S, R)."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=-1)


def pad_prompts(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad prompts to the longest one, and return (B, S) ids and a (B, S) mask (0 at padding)."""
    lengths_B = torch.tensor([len(prompt) for prompt in prompts])
    ids_BS = pad_sequence(
        [torch.tensor(prompt) for prompt in prompts], batch_first=True, padding_value=TEXT_PAD
    )
    mask_BS = torch.arange(ids_BS.shape[1]) < lengths_B[:, None]
    return ids_BS, mask_BS.long()


def _concatenated(rows: Iterable[Iterable[int | Sequence[int]]]) -> Tensor:
    return torch.tensor(list(chain.from_iterable(rows)), dtype=torch.long)
