"""The learning tasks as instructions: one form of prompt for training and for inference.

A prompt is text with motion codes inside. It states its wording, then what is given, each under a
label, and ends where the answer begins::

    [Instruction] Fill in the motion between the beginning and the ending.
    [Starting] 17 4 4 230 …
    [Ending] 9 81 …
    [Response]

Shapes: motion codes are integers from 0 to K - 1 (K ``num_codes``), one for ``FRAMES_PER_CODE``
frames.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final, TypedDict

from data.motion.skeleton import FPS

FRAMES_PER_CODE: Final = 4
CODES_PER_S: Final = FPS / FRAMES_PER_CODE

Codes = tuple[int, ...]
Prompt = tuple[str | Codes, ...]


class Task(StrEnum):
    """What the model learns. In the names of planning tasks c is scene, t task and s steps."""

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
        """Whether the answer is motion; else it is text."""
        return self in _MOTION_ANSWERS

    @property
    def answers_steps(self) -> bool:
        """Whether the answer is text for :func:`parse_steps`."""
        return self in _STEPS_ANSWERS


_MOTION_ANSWERS: Final = frozenset((Task.T2M, Task.M2M, Task.PREDICT, Task.L2M))
_STEPS_ANSWERS: Final = frozenset((Task.CS2S, Task.CT2S, Task.T2S))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One example of one task.

    Attributes:
        task: the task.
        prompt: texts and motion codes, in order.
        answer: motion codes where the task answers with motion, else text.
        source_id: of the motion or plan that it was made from.
        caption: that the prompt asks a motion of (t2m, l2m); else empty.
    """

    task: Task
    prompt: Prompt
    answer: str | Codes
    source_id: str
    caption: str = ""


class Given(TypedDict, total=False):
    """What a prompt can be given, as keywords of :func:`prompt_of`."""

    caption: str
    scene: str
    task_text: str
    steps: Sequence[str]
    codes: Sequence[int]
    head: Sequence[int]
    tail: Sequence[int]
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
    codes: Sequence[int] | None = None,
    head: Sequence[int] | None = None,
    tail: Sequence[int] | None = None,
    length_s: float | None = None,
) -> Prompt:
    """The prompt of a task.

    Args:
        task: the task.
        wording: of the instruction; the main one by default.
        caption: of a motion (t2m, l2m).
        scene: of planning tasks that begin with c.
        task_text: what is being done (ct2t, ct2s, t2c, t2s).
        steps: of it, in order (cs2s, cs2t, s2c, s2t).
        codes: of a whole motion (m2t).
        head: codes of a motion's beginning (m2m, predict).
        tail: codes of its ending (m2m).
        length_s: of the motion that is asked for (l2m).

    Raises:
        ValueError: what the task needs is missing or empty, or something else is given.
    """
    given: dict[str, str | Sequence[int]] = {
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
            f"{' and '.join(found) or 'nothing'}. Remedy: give what the task needs, not empty, "
            "and nothing else."
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


@cache
def wordings_of(task: Task) -> tuple[str, ...]:
    """The wordings of a task's instruction: the main one, then its paraphrases."""
    text = (files("training.instructions") / "wordings" / f"{task}.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


# ------------------------------------------------------------------------------------------- steps

_NUMBER: Final = r"\(?(?:step\s*)?([0-9]{1,3})\s*[.):](?![0-9])\s*"
_AT_LINE_START: Final = re.compile(rf"\s*{_NUMBER}", re.IGNORECASE)
_AT_WORD_START: Final = re.compile(rf"(?<!\S){_NUMBER}", re.IGNORECASE)
_MAX_SKIPPED: Final = 1
"""Numbers that a model may leave out between two steps on one line."""


def clean_steps(steps: Sequence[str]) -> tuple[str, ...]:
    """Steps on one line each, without blank ones and without those that repeat the one before."""
    cleaned: list[str] = []
    for step in map(_one_line, steps):
        if step and (not cleaned or step.casefold() != cleaned[-1].casefold()):
            cleaned.append(step)
    return tuple(cleaned)


def format_steps(steps: Sequence[str]) -> str:
    """Steps as numbered lines, cleaned as by :func:`clean_steps`."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(clean_steps(steps), 1))


def parse_steps(text: str) -> tuple[str, ...]:
    """The steps of a text that numbers them ``1.``, ``1)``, ``1:`` or ``Step 1:``.

    Where several lines begin with a number, each begins a step, and numbers inside a line are part
    of its step. Else the steps may stand on one line, as a tokenizer without line breaks leaves
    them; there a number counts only where the numbering goes on.

    Args:
        text: such as the reply of a model.

    Returns:
        The steps, cleaned as by :func:`clean_steps`; empty when nothing is numbered.
    """
    lines = text.splitlines()
    if sum(_AT_LINE_START.match(line) is not None for line in lines) > 1:
        return clean_steps(_steps_by_line(lines))
    starts: list[re.Match[str]] = []
    last = 0
    for mark in _AT_WORD_START.finditer(text):
        number = int(mark[1])
        goes_on = last <= number <= last + 1 + _MAX_SKIPPED if starts else number == 1
        if goes_on or not (starts or text[: mark.start()].strip()):
            starts.append(mark)
            last = number
    ends = [*(mark.start() for mark in starts[1:]), len(text)]
    return clean_steps([text[mark.end() : end] for mark, end in zip(starts, ends, strict=False)])


def _steps_by_line(lines: Sequence[str]) -> list[str]:
    steps: list[str] = []
    for line in lines:
        mark = _AT_LINE_START.match(line)
        if mark is not None:
            steps.append(line[mark.end() :])
        elif steps:
            # A step that was wrapped; what stands before the first one is no step.
            steps[-1] += f" {line}"
    return steps


def _one_line(text: str) -> str:
    return " ".join(text.split())
