"""Span corruption for pre-training on text and motion (Raffel et al. 2020).

Instructions that translate between motion and caption (t2m, m2t, l2m) are not changed. In all
others, spans of the text or of the motion codes are replaced by sentinels in the prompt. A text
answer is the spans with their sentinels; a motion answer is the codes of the spans, because motion
answers have no sentinels.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from training.instructions.tasks import Codes, Instruction, Task, Token
from training.instructions.vocabulary import NUM_SENTINELS, TextTokenizer

SHARE: Final = 0.15
"""Share of the words or codes that is masked, as in T5."""
MEAN_SPAN: Final = 3
"""Mean length of a masked span, as in T5."""
_TRANSLATION: Final = frozenset({Task.T2M, Task.M2T, Task.L2M})
_MIN_LENGTH: Final = 6


def corrupt(
    instructions: Sequence[Instruction], seed: int, step: int, text: TextTokenizer
) -> list[Instruction]:
    """Turn the instructions of a step into pre-training examples.

    The result is a function of the arguments alone.

    Args:
        instructions: instructions of the step.
        seed: seed of the run.
        step: step of the run.
        text: text tokenizer, which must have sentinels.

    Raises:
        ValueError: the text tokenizer has no sentinels.
    """
    text.sentinel(0)  # raises if there are none
    rng = np.random.default_rng((seed, step, 1))
    return [one if one.task in _TRANSLATION else _corrupted(one, rng) for one in instructions]


def _corrupted(instruction: Instruction, rng: np.random.Generator) -> Instruction:
    if isinstance(instruction.answer, str):
        return _text_spans(instruction, rng)
    return _motion_spans(instruction, rng)


def _text_spans(instruction: Instruction, rng: np.random.Generator) -> Instruction:
    assert isinstance(instruction.answer, str)  # noqa: S101 - the caller checks it
    words = instruction.answer.split()
    if len(words) < 2:
        return instruction
    prompt: list[str] = []
    answer: list[str] = []
    for number, (kept, taken) in enumerate(_spans(len(words), rng)):
        sentinel = f"<extra_id_{min(number, NUM_SENTINELS - 1)}>"
        prompt += [*words[kept], sentinel]
        answer += [sentinel, *words[taken]]
    return replace(instruction, prompt=(" ".join(prompt),), answer=" ".join(answer))


def _motion_spans(instruction: Instruction, rng: np.random.Generator) -> Instruction:
    given = [part for part in instruction.prompt if not isinstance(part, str)]
    answered = instruction.answer
    assert not isinstance(answered, str)  # noqa: S101 - the caller checks it
    codes: Codes = tuple(token for part in (*given, answered) for token in part)
    if len(codes) < _MIN_LENGTH:
        return instruction
    prompt: list[str | Codes] = []
    answer: list[Token] = []
    for number, (kept, taken) in enumerate(_spans(len(codes), rng)):
        if kept.start < kept.stop:
            prompt.append(codes[kept])
        prompt.append(f"<extra_id_{min(number, NUM_SENTINELS - 1)}>")
        answer += codes[taken]
    return replace(instruction, prompt=tuple(prompt), answer=tuple(answer))


def _spans(length: int, rng: np.random.Generator) -> list[tuple[slice, slice]]:
    """Choose spans to mask; return the slice kept before each span, and the slice of the span."""
    taken = max(1, round(length * SHARE))
    count = max(1, min(round(taken / MEAN_SPAN), length - taken))
    spans = _partition(taken, count, rng)
    kept = _partition(length - taken, count, rng) if length > taken else [0]
    found: list[tuple[slice, slice]] = []
    place = 0
    for before, span in zip(kept, spans, strict=True):
        found.append((slice(place, place + before), slice(place + before, place + before + span)))
        place += before + span
    return found


def _partition(total: int, count: int, rng: np.random.Generator) -> list[int]:
    """Return ``count`` random positive integers whose sum is ``total``."""
    borders = np.sort(rng.choice(np.arange(1, total), size=count - 1, replace=False))
    return np.diff(np.concatenate([[0], borders, [total]])).astype(int).tolist()
