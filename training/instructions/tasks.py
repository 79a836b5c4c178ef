"""The tasks of the language model, and their prompts for training and inference.

A prompt is text with motion codes inside. It begins with a wording of the instruction, lists each
input under a label, and ends where the answer begins::

    [Instruction] Fill in the motion between the beginning and the ending.
    [Starting] 17 4 4 230 …
    [Ending] 9 81 …
    [Response]

Motion codes are integers from 0 to K - 1, where K is ``num_codes``. A motion token covers
``FRAMES_PER_CODE`` frames. It has one code, or Q codes if the tokenizer has Q residual codebooks.

Shapes: L is the number of tokens of a motion, Q the number of codes of a token.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from data.motion.skeleton import FPS

FRAMES_PER_CODE: Final = 4
CODES_PER_S: Final = FPS / FRAMES_PER_CODE

Token = int | tuple[int, ...]
"""A motion token: its base code, or the codes of all Q codebooks, the base code first."""
Codes = tuple[Token, ...]
"""The tokens of a motion: integers if the tokenizer has one codebook, otherwise tuples."""
Prompt = tuple[str | Codes, ...]


def codes_of(codes_LQ: Sequence[Token] | NDArray[np.integer]) -> Codes:
    """Return the codes of a motion from an array, (L,) or (L, Q), as Python integers."""
    codes = np.asarray(codes_LQ)
    if codes.ndim == 2 and codes.shape[1] == 1:
        codes = codes[:, 0]
    found = codes.tolist()
    return tuple(map(tuple, found)) if codes.ndim == 2 else tuple(found)


def code_array(codes: Sequence[Token], num_quantizers: int) -> NDArray[np.int64]:
    """Return the codes of a motion as an array.

    Args:
        codes: L tokens. Those that are integers have a base code alone.
        num_quantizers: Q, the number of codes of a token.

    Returns:
        (L, Q) codes; -1 where a token has no residual code.

    Raises:
        ValueError: a token has another number of codes.
    """
    unknown = (-1,) * (num_quantizers - 1)
    rows = [(token, *unknown) if isinstance(token, int) else token for token in codes]
    odd = {len(row) for row in rows} - {num_quantizers}
    if odd:
        raise ValueError(
            f"motion codes: expected {num_quantizers} in each token, found {min(odd)}. "
            "Remedy: use the motion tokenizer that the model was trained with."
        )
    return np.array(rows, np.int64).reshape(-1, num_quantizers)


class Task(StrEnum):
    """A task of the model. In the names of planning tasks, c is scene, t is task and s is steps."""

    T2M = "t2m"
    """Caption to motion."""
    M2T = "m2t"
    """Motion to caption."""
    M2M = "m2m"
    """Beginning and ending of a motion to its middle."""
    PREDICT = "predict"
    """Beginning of a motion to its rest."""
    L2M = "l2m"
    """Caption and length to motion."""
    CT2T = "ct2t"
    """Scene and task to the next task."""
    CS2S = "cs2s"
    """Scene and steps to the next steps."""
    CT2S = "ct2s"
    """Scene and task to the next steps."""
    CS2T = "cs2t"
    """Scene and steps to the next task."""
    T2C = "t2c"
    """Task to scene."""
    S2C = "s2c"
    """Steps to scene."""
    T2S = "t2s"
    """Task to its steps."""
    S2T = "s2t"
    """Steps to their task."""

    @property
    def answers_motion(self) -> bool:
        """Whether the answer is a motion. Otherwise it is a text."""
        return self in _MOTION_ANSWERS


_MOTION_ANSWERS: Final = frozenset((Task.T2M, Task.M2M, Task.PREDICT, Task.L2M))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One training example of a task.

    Attributes:
        task: the task.
        prompt: texts and motion codes, in order.
        answer: motion codes if the task answers with a motion, otherwise a text.
        source_id: id of the motion or plan that the example was made from.
        caption: caption of the requested motion (t2m, l2m); empty for other tasks.
    """

    task: Task
    prompt: Prompt
    answer: str | Codes
    source_id: str
    caption: str = ""


class Given(TypedDict, total=False):
    """Inputs of a prompt, as keyword arguments of :func:`prompt_of`."""

    caption: str
    scene: str
    task_text: str
    steps: Sequence[str]
    codes: Sequence[Token]
    head: Sequence[Token]
    tail: Sequence[Token]
    length_s: float


_GIVEN: Final[Mapping[Task, tuple[str, ...]]] = {
    Task.T2M: ("caption",),
    Task.M2T: ("codes",),
    Task.M2M: ("head", "tail"),
    Task.PREDICT: ("head",),
    Task.L2M: ("caption", "length_s"),
    Task.CT2T: ("scene", "task_text"),
    Task.CS2S: ("scene", "steps"),
    Task.CT2S: ("scene", "task_text"),
    Task.CS2T: ("scene", "steps"),
    Task.T2C: ("task_text",),
    Task.S2C: ("steps",),
    Task.T2S: ("task_text",),
    Task.S2T: ("steps",),
}
_LABELS: Final[Mapping[str, str]] = {
    "caption": "Input",
    "scene": "Scene",
    "task_text": "Task",
    "steps": "Steps",
    "codes": "Input",
    "head": "Starting",
    "tail": "Ending",
    "length_s": "Length",
}


def prompt_of(
    task: Task,
    wording: str | None = None,
    *,
    caption: str | None = None,
    scene: str | None = None,
    task_text: str | None = None,
    steps: Sequence[str] | None = None,
    codes: Sequence[Token] | None = None,
    head: Sequence[Token] | None = None,
    tail: Sequence[Token] | None = None,
    length_s: float | None = None,
) -> Prompt:
    """Build the prompt of a task.

    Args:
        task: the task.
        wording: wording of the instruction; None: the main wording of the task.
        caption: caption of a motion (t2m, l2m).
        scene: scene of a planning task (ct2t, cs2s, ct2s, cs2t).
        task_text: description of a task (ct2t, ct2s, t2c, t2s).
        steps: steps of a task, in order (cs2s, cs2t, s2c, s2t).
        codes: codes of a whole motion (m2t).
        head: codes of the beginning of a motion (m2m, predict).
        tail: codes of the ending of a motion (m2m).
        length_s: length of the requested motion in seconds (l2m).

    Raises:
        ValueError: an input of the task is missing or empty, or another input is given.
    """
    given: dict[str, str | Sequence[Token]] = {
        "caption": _one_line(caption or ""),
        "scene": _one_line(scene or ""),
        "task_text": _one_line(task_text or ""),
        "steps": format_steps(steps or ()),
        "codes": codes or (),
        "head": head or (),
        "tail": tail or (),
        "length_s": f"{length_s:.1f} seconds" if length_s else "",
    }
    names = _GIVEN[task]
    found = tuple(name for name, value in given.items() if value)
    if set(found) != set(names):
        raise ValueError(
            f"prompt of {task}: expected {' and '.join(names)}, found "
            f"{' and '.join(found) or 'nothing'}. Remedy: pass exactly the inputs of the task, "
            "none of them empty."
        )
    prompt: list[str | Codes] = []
    text = f"[Instruction] {wordings_of(task)[0] if wording is None else wording}"
    for name in names:
        value = given[name]
        text += f"\n[{_LABELS[name]}] "
        if isinstance(value, str):
            text += value
        else:
            prompt += (text, tuple(value))
            text = ""
    return (*prompt, f"{text}\n[Response] ")


def with_caption(prompt: Prompt, caption: str, other: str) -> Prompt:
    """Return the prompt with another caption in the place of its own (t2m, l2m)."""
    old, new = (f"\n[{_LABELS['caption']}] {_one_line(text)}" for text in (caption, other))
    return tuple(part.replace(old, new) if isinstance(part, str) else part for part in prompt)


@cache
def wordings_of(task: Task) -> tuple[str, ...]:
    """Return the wordings of the instruction of a task: the main wording, then its paraphrases."""
    text = (files("training.instructions") / "wordings" / f"{task}.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


# ------------------------------------------------------------------------------------------- steps

_NUMBER: Final = r"\(?(?:step\s*)?([0-9]{1,3})\s*[.):](?![0-9])\s*"
_AT_LINE_START: Final = re.compile(rf"\s*{_NUMBER}", re.IGNORECASE)
_AT_WORD_START: Final = re.compile(rf"(?<!\S){_NUMBER}", re.IGNORECASE)
_MAX_SKIPPED: Final = 1
"""How many numbers may be missing between two steps on one line of a reply."""


def clean_steps(steps: Sequence[str]) -> tuple[str, ...]:
    """Put each step on one line, and drop empty steps and repetitions of the previous step."""
    cleaned: list[str] = []
    for step in map(_one_line, steps):
        if step and (not cleaned or step.casefold() != cleaned[-1].casefold()):
            cleaned.append(step)
    return tuple(cleaned)


def format_steps(steps: Sequence[str]) -> str:
    """Clean steps with :func:`clean_steps` and format them as numbered lines."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(clean_steps(steps), 1))


def parse_steps(text: str) -> tuple[str, ...]:
    """Parse the steps of a text with :func:`split_steps`, and clean them with :func:`clean_steps`.

    Args:
        text: text to parse, such as the reply of a model.

    Returns:
        The steps; empty if no step is numbered.
    """
    return clean_steps(split_steps(text))


def cut_loop(text: str) -> str:
    """End a plan where it begins to repeat the steps that it has just given.

    Args:
        text: text with numbered steps, such as the answer of a model. A text without a step, or a
            run of steps, that is followed by itself is returned as it stands.
    """
    steps = split_steps(text)
    names = [_one_line(step).casefold() for step in steps]
    for end in range(2, len(names) + 1):
        for length in range(1, end // 2 + 1):
            begin = end - length
            if names[begin:end] == names[begin - length : begin]:
                kept = map(_one_line, steps[:begin])
                return "\n".join(f"{number}. {step}" for number, step in enumerate(kept, 1))
    return text


def split_steps(text: str) -> list[str]:
    """Split a text that numbers its steps ``1.``, ``1)``, ``1:`` or ``Step 1:``.

    If several lines begin with a number, each of them begins a step, and numbers inside a line are
    part of its step. Otherwise the steps may be on one line, because tokenizers such as T5's drop
    line breaks. In this case a number begins a step only if it continues the numbering.

    Args:
        text: text to split, such as the reply of a model.

    Returns:
        The steps as they stand, with their repetitions; empty if no step is numbered.
    """
    lines = text.splitlines()
    if sum(_AT_LINE_START.match(line) is not None for line in lines) > 1:
        return _steps_by_line(lines)
    starts: list[re.Match[str]] = []
    last = 0
    for mark in _AT_WORD_START.finditer(text):
        number = int(mark[1])
        goes_on = last <= number <= last + 1 + _MAX_SKIPPED if starts else number == 1
        if goes_on or not (starts or text[: mark.start()].strip()):
            starts.append(mark)
            last = number
    ends = [*(mark.start() for mark in starts[1:]), len(text)]
    return [text[mark.end() : end] for mark, end in zip(starts, ends, strict=False)]


def _steps_by_line(lines: Sequence[str]) -> list[str]:
    steps: list[str] = []
    for line in lines:
        mark = _AT_LINE_START.match(line)
        if mark is not None:
            steps.append(line[mark.end() :])
        elif steps:
            # The line continues a wrapped step. Lines before the first step are ignored.
            steps[-1] += f" {line}"
    return steps


def _one_line(text: str) -> str:
    return " ".join(text.split())
