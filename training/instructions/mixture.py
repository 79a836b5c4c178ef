"""The mixture of instructions that the language model is trained on.

A batch is a function of seed and step alone, so a run that continues sees what it would have seen.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from pydantic import Field, field_validator, model_validator

from data.config import Config
from training.instructions.material import MotionItem, PlanItem
from training.instructions.tasks import (
    CODES_PER_S,
    Codes,
    Given,
    Instruction,
    Task,
    format_steps,
    prompt_of,
    wordings_of,
)

Item = MotionItem | PlanItem

_GOLDEN: Final = (5**0.5 - 1) / 2


class InstructionConfig(Config):
    """Which instructions are made, and of what."""

    weights: dict[Task, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        validate_default=True,
        description="Of the tasks in a batch; 1 for each that is not named, 0 leaves it out.",
    )
    paraphrase_share: float = Field(
        default=0.8, ge=0, le=1, description="Of prompts that use a paraphrase as their wording."
    )
    context_head: float = Field(
        default=0.4, gt=0, lt=1, description="Share of a motion given as m2m's beginning."
    )
    context_tail: float = Field(
        default=0.4, gt=0, lt=1, description="Share of a motion given as m2m's ending."
    )
    predict_share: float = Field(
        default=0.4, gt=0, lt=1, description="Share of a motion given to predict its rest."
    )
    min_motion_codes: int = Field(default=4, ge=1, description="Shorter motions are left out.")
    max_prompt_codes: int = Field(
        default=100, ge=1, description="Prompts with more motion codes are left out."
    )
    max_answer_codes: int = Field(
        default=100, ge=1, description="Answers with more motion codes are left out."
    )
    max_text_words: int = Field(
        default=200, ge=1, description="Longer texts, given or answered, are left out."
    )

    @field_validator("weights", mode="after")
    @classmethod
    def _complete_weights(cls, weights: dict[Task, float]) -> dict[Task, float]:
        complete = {task: weights.get(task, 1.0) for task in Task}
        if not any(complete.values()):
            raise ValueError(
                "weights: expected at least one above 0, found only 0. "
                "Remedy: give a task a weight."
            )
        return complete

    @model_validator(mode="after")
    def _check_context(self) -> "InstructionConfig":
        total = self.context_head + self.context_tail
        if total >= 1:
            raise ValueError(
                f"context_head + context_tail: expected less than 1, found {total:g}. "
                "Remedy: lower one, so that m2m has a middle to fill."
            )
        return self


class Drop(StrEnum):
    """Why a motion or plan, or a wording of it, gives no instruction of a task."""

    NO_CAPTION = "no_caption"
    NO_SCENE = "no_scene"
    NO_TASK = "no_task"
    NO_STEPS = "no_steps"
    NO_NEXT = "no_next"
    """Nothing is known to follow."""
    MOTION_TOO_SHORT = "motion_too_short"
    PROMPT_TOO_LONG = "prompt_too_long"
    """More motion codes than ``max_prompt_codes``."""
    ANSWER_TOO_LONG = "answer_too_long"
    """More motion codes than ``max_answer_codes``."""
    TEXT_TOO_LONG = "text_too_long"
    """A text of more than ``max_text_words``."""


_MOTION_TASKS: Final = (Task.T2M, Task.M2T, Task.M2M, Task.PREDICT, Task.L2M)
_OWN_STEPS: Final = frozenset((Task.T2C, Task.S2C, Task.T2S, Task.S2T))
"""Tasks on what one clip or plan holds; they need steps that are those of the task."""
_LEVELS: Final = {
    "c": ("scene", Drop.NO_SCENE),
    "t": ("tasks", Drop.NO_TASK),
    "s": ("steps", Drop.NO_STEPS),
}
"""The letters of the planning tasks: attribute of a plan, and what it is to lack it."""


class Mixture:
    """Instructions of every task that has a weight and material.

    Args:
        config: the configuration.
        material: of each task, what each of its instructions is made from: a motion or plan, and
            the number of its wording.
        dropped: counts what gives no instruction, by task and reason.
    """

    def __init__(
        self,
        config: InstructionConfig,
        material: Mapping[Task, Sequence[tuple[Item, int]]],
        dropped: Counter[tuple[Task, Drop]],
    ) -> None:
        self.config = config
        self.dropped = dropped
        self.counts = {task: len(entries) for task, entries in material.items()}
        self.empty = tuple(task for task, count in self.counts.items() if not count)
        self._material = material
        self._tasks = [task for task, count in self.counts.items() if count]
        weights = np.array([config.weights[task] for task in self._tasks])
        self._ends = np.cumsum(weights) / weights.sum()

    def content_id(self) -> str:
        """Hash of what the instructions are made of."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for task, entries in self._material.items():
            names = ((_source_id(item), variant) for item, variant in entries)
            digest.update(repr((task.value, tuple(names))).encode())
        return digest.hexdigest()[:16]

    def sample(self, seed: int, step: int, batch_size: int) -> list[Instruction]:
        """The batch of a step; a function of its arguments alone.

        The number of instructions of each task is its share of the batch, rounded up in some steps
        and down in others, so that the shares hold over a few steps also where a batch is small.

        Args:
            seed: of the run.
            step: 0-based.
            batch_size: instructions.
        """
        rng = np.random.default_rng((seed, step))
        # Evenly spaced points over the shares; their phase is spread evenly over the steps.
        phase = (step + 1) * _GOLDEN % 1
        points = rng.permutation((np.arange(batch_size) + phase) / batch_size)
        chosen = np.searchsorted(self._ends[:-1], points, side="right").tolist()
        paraphrase_share = self.config.paraphrase_share
        batch: list[Instruction] = []
        for index, (place, paraphrase, wording) in zip(
            chosen, rng.random((batch_size, 3)).tolist(), strict=True
        ):
            task = self._tasks[index]
            entries = self._material[task]
            item, variant = entries[int(place * len(entries))]
            wordings = wordings_of(task)
            number = 0
            if paraphrase < paraphrase_share:
                number = 1 + int(wording * (len(wordings) - 1))
            batch.append(self._instruct(task, item, variant, wordings[number]))
        return batch

    def all_of(self, task: Task, limit: int | None = None) -> list[Instruction]:
        """All instructions of a task with its main wording, for evaluation.

        Args:
            task: the task; one without material gives none.
            limit: at most so many, evenly spread over all.
        """
        entries = self._material.get(task, ())
        count = len(entries) if limit is None else min(limit, len(entries))
        return [
            self._instruct(task, *entries[number * len(entries) // count], wordings_of(task)[0])
            for number in range(count)
        ]

    def _instruct(self, task: Task, item: Item, variant: int, wording: str) -> Instruction:
        given, answer = _example(task, item, variant, self.config)
        prompt = prompt_of(task, wording, **given)
        return Instruction(task, prompt, answer, _source_id(item), given.get("caption", ""))


def _source_id(item: Item) -> str:
    return item.source_id if isinstance(item, MotionItem) else item.plan_id


def build_instructions(
    motions: Sequence[MotionItem], plans: Sequence[PlanItem], config: InstructionConfig
) -> Mixture:
    """Find what each task can be taught with.

    Where a text has several wordings, there is an instruction for each. Where both the given task
    and the answered one have, they are paired in order, which uses each at least once.

    Args:
        motions: with codes and captions.
        plans: tasks, steps and what follows them.
        config: weights and limits.

    Raises:
        ValueError: no task has both a weight and material.
    """
    material: dict[Task, list[tuple[Item, int]]] = {}
    dropped = Counter[tuple[Task, Drop]]()
    for task in Task:
        if not config.weights[task]:
            continue
        entries = material[task] = []
        for item in motions if task in _MOTION_TASKS else plans:
            if isinstance(item, PlanItem) and item.is_progress and task in _OWN_STEPS:
                continue
            variants = _variants(task, item, config)
            if isinstance(variants, Drop):
                dropped[task, variants] += 1
                continue
            for variant in range(variants):
                excess = _excess(*_example(task, item, variant, config), config)
                if excess is None:
                    entries.append((item, variant))
                else:
                    dropped[task, excess] += 1
    if not any(material.values()):
        reasons = Counter[str]()
        for (_, reason), count in dropped.items():
            reasons[reason] += count
        found = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
        raise ValueError(
            f"instructions of {', '.join(material)}: expected material, found {len(motions)} "
            f"motions and {len(plans)} plans that give none ({found or 'nothing dropped'}). "
            "Remedy: add annotated motions or plans, raise the limits, or give other tasks a "
            "weight."
        )
    return Mixture(config, material, dropped)


def _variants(task: Task, item: Item, config: InstructionConfig) -> int | Drop:
    """How many instructions the item can give, or what it lacks for the task."""
    if isinstance(item, PlanItem):
        return _plan_variants(task, item)
    if len(item.codes) < config.min_motion_codes:
        return Drop.MOTION_TOO_SHORT
    if task in (Task.M2M, Task.PREDICT):
        return 1
    return len(item.captions) or Drop.NO_CAPTION


def _plan_variants(task: Task, item: PlanItem) -> int | Drop:
    levels, asked, target = _planning(task, item)
    if target is None:
        return Drop.NO_NEXT
    for level, owner in (*((level, item) for level in levels), (asked, target)):
        attribute, lack = _LEVELS[level]
        if not getattr(owner, attribute):
            return lack
    return max(
        len(item.tasks) if "t" in levels else 1,
        len(target.tasks) if asked == "t" else 1,
    )


def _planning(task: Task, item: PlanItem) -> tuple[str, str, PlanItem | None]:
    """The levels that a planning task is given, the level that it answers, and whose."""
    levels, asked = task.split("2")
    # A task that is given the scene asks for what follows.
    return levels, asked, item.next if "c" in levels else item


def _example(
    task: Task, item: Item, variant: int, config: InstructionConfig
) -> tuple[Given, str | Codes]:
    """What the prompt is given, and the answer."""
    if isinstance(item, MotionItem):
        return _motion_example(task, item, variant, config)
    levels, asked, target = _planning(task, item)
    assert target is not None, (task, item.plan_id)  # noqa: S101 - see _variants
    given: Given = {}
    if "c" in levels:
        given["scene"] = item.scene
    if "t" in levels:
        given["task_text"] = item.tasks[variant % len(item.tasks)]
    if "s" in levels:
        given["steps"] = item.steps
    if asked == "c":
        return given, target.scene
    if asked == "t":
        return given, target.tasks[variant % len(target.tasks)]
    return given, format_steps(target.steps)


def _motion_example(
    task: Task, item: MotionItem, variant: int, config: InstructionConfig
) -> tuple[Given, str | Codes]:
    codes = item.codes
    count = len(codes)
    if task is Task.M2M:
        head = max(1, int(config.context_head * count))
        middle = count - max(1, int(config.context_tail * count))
        return {"head": codes[:head], "tail": codes[middle:]}, codes[head:middle]
    if task is Task.PREDICT:
        head = max(1, int(config.predict_share * count))
        return {"head": codes[:head]}, codes[head:]
    caption = item.captions[variant]
    if task is Task.M2T:
        return {"codes": codes}, caption
    if task is Task.L2M:
        return {"caption": caption, "length_s": count / CODES_PER_S}, codes
    return {"caption": caption}, codes


def _excess(given: Given, answer: str | Codes, config: InstructionConfig) -> Drop | None:
    """The limit that an example does not keep."""
    texts = [given.get("caption", ""), given.get("scene", ""), given.get("task_text", "")]
    texts.append(format_steps(given.get("steps", ())))
    num_codes = sum(len(given.get(name, ())) for name in ("codes", "head", "tail"))
    if isinstance(answer, str):
        texts.append(answer)
    elif not answer:
        return Drop.MOTION_TOO_SHORT
    elif len(answer) > config.max_answer_codes:
        return Drop.ANSWER_TOO_LONG
    if num_codes > config.max_prompt_codes:
        return Drop.PROMPT_TOO_LONG
    if any(len(text.split()) > config.max_text_words for text in texts):
        return Drop.TEXT_TOO_LONG
    return None
