"""The mixture of instructions that the language model is trained on.

A batch is a function of the seed and the step alone, so that a resumed run has the same batches as
an uninterrupted one.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from data.config import Config, without_removed
from training.instructions.material import MotionItem, PlanItem
from training.instructions.tasks import (
    CODES_PER_S,
    Codes,
    Given,
    Instruction,
    Prompt,
    Task,
    format_steps,
    prompt_of,
    wordings_of,
)

Item = MotionItem | PlanItem
_T = TypeVar("_T")

_GOLDEN: Final = (5**0.5 - 1) / 2


class InstructionConfig(Config):
    """Weights of the tasks, and limits of their instructions."""

    weights: dict[Task, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        validate_default=True,
        description="Relative frequency of each task in a batch. It is 1 for tasks that are not "
        "listed; 0 disables a task.",
    )
    paraphrase_share: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Share of prompts that use a paraphrase instead of the main wording.",
    )
    context_head: float = Field(
        default=0.4,
        gt=0,
        lt=1,
        description="Share of a motion that m2m is given as the beginning.",
    )
    context_tail: float = Field(
        default=0.4,
        gt=0,
        lt=1,
        description="Share of a motion that m2m is given as the ending.",
    )
    predict_share: float = Field(
        default=0.4, gt=0, lt=1, description="Share of a motion that predict is given."
    )
    min_motion_codes: int = Field(
        default=4, ge=1, description="Motions with fewer codes are skipped."
    )
    max_prompt_codes: int = Field(
        default=100, ge=1, description="Prompts with more motion codes are skipped."
    )
    max_answer_codes: int = Field(
        default=100, ge=1, description="Answers with more motion codes are skipped."
    )
    max_text_words: int = Field(
        default=200, ge=1, description="Prompts and answers with longer texts are skipped."
    )
    token_noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Largest share of the earlier tokens of a motion answer that are replaced by "
        "random ones in training; each motion's is drawn from 0 to this. A model that cannot trust "
        "them reads the prompt.",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_removed(cls, values: Any) -> Any:
        return without_removed(values, "gap_codes")

    @field_validator("weights", mode="after")
    @classmethod
    def _complete_weights(cls, weights: dict[Task, float]) -> dict[Task, float]:
        complete = {task: weights.get(task, 1.0) for task in Task}
        if not any(complete.values()):
            raise ValueError(
                "weights: expected at least one weight above 0, found none. "
                "Remedy: give a task a weight."
            )
        return complete

    @model_validator(mode="after")
    def _check_context(self) -> "InstructionConfig":
        total = self.context_head + self.context_tail
        if total >= 1:
            raise ValueError(
                f"context_head + context_tail: expected less than 1, found {total:g}. "
                "Remedy: lower one of them, so that m2m has a middle to fill."
            )
        return self


class Drop(StrEnum):
    """Reason why a motion or plan, or one of its descriptions, is not used for a task."""

    NO_CAPTION = "no_caption"
    NO_SCENE = "no_scene"
    NO_TASK = "no_task"
    NO_STEPS = "no_steps"
    NO_NEXT = "no_next"
    """The activity that follows is unknown."""
    MOTION_TOO_SHORT = "motion_too_short"
    PROMPT_TOO_LONG = "prompt_too_long"
    """The prompt has more motion codes than ``max_prompt_codes``."""
    ANSWER_TOO_LONG = "answer_too_long"
    """The answer has more motion codes than ``max_answer_codes``."""
    TEXT_TOO_LONG = "text_too_long"
    """A text has more words than ``max_text_words``."""


_MOTION_TASKS: Final = (Task.T2M, Task.M2T, Task.M2M, Task.PREDICT, Task.L2M)
_OWN_STEPS: Final = frozenset((Task.T2C, Task.S2C, Task.T2S, Task.S2T))
"""Tasks within one clip or plan. Their items must have the steps of their own task."""
_LEVELS: Final = {
    "c": ("scene", Drop.NO_SCENE),
    "t": ("tasks", Drop.NO_TASK),
    "s": ("steps", Drop.NO_STEPS),
}
"""The plan attribute of each letter of a planning task, and the reason to drop plans without it."""


def evenly(items: Sequence[_T], limit: int | None) -> list[_T]:
    """Return at most ``limit`` items, at even intervals; None: all."""
    count = len(items) if limit is None else min(limit, len(items))
    return [items[number * len(items) // count] for number in range(count)]


class Mixture:
    """Samples instructions of all tasks that have a weight and material.

    Args:
        config: weights and limits.
        material: the sources of the instructions of each task. A source is a motion or plan, and
            the index of one of its captions or task descriptions.
        dropped: number of motions, plans and descriptions that are not used, by task and reason.
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
        self._material = material
        self._tasks = [task for task, count in self.counts.items() if count]
        weights = np.array([config.weights[task] for task in self._tasks])
        self._ends = np.cumsum(weights) / weights.sum()

    def content_id(self) -> str:
        """Return a hash of the configuration and of the sources of all instructions."""
        # Without defaults, so that an option that a release adds or removes changes no id.
        config = self.config.model_dump_json(exclude_defaults=True)
        digest = hashlib.sha256(config.encode())
        for task, entries in self._material.items():
            names = ((_source_id(item), variant) for item, variant in entries)
            digest.update(repr((task.value, tuple(names))).encode())
        return digest.hexdigest()[:16]

    def sample(self, seed: int, step: int, batch_size: int) -> list[Instruction]:
        """Sample the batch of a step; the result is a function of the arguments alone.

        The number of instructions of a task is its share of the batch, rounded up in some steps and
        down in others. The shares are therefore exact over a few steps, even if batches are small.

        Args:
            seed: seed of the run.
            step: step of the run, counted from 0.
            batch_size: number of instructions.
        """
        rng = np.random.default_rng((seed, step))
        # Systematic sampling: evenly spaced points over the cumulative shares. The golden ratio
        # spreads their phases evenly over the steps.
        phase = (step + 1) * _GOLDEN % 1
        points = rng.permutation((np.arange(batch_size) + phase) / batch_size)
        chosen = np.searchsorted(self._ends[:-1], points, side="right").tolist()
        paraphrase_share = self.config.paraphrase_share
        batch: list[Instruction] = []
        drawn = rng.random((batch_size, 3)).tolist()
        for index, (place, paraphrase, wording) in zip(chosen, drawn, strict=True):
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
        """Return the instructions of a task in its main wording, for evaluation.

        Args:
            task: the task. A task without material has no instructions.
            limit: maximum number of instructions, taken at even intervals; None: all.
        """
        wording = wordings_of(task)[0]
        entries = evenly(self._material.get(task, ()), limit)
        return [self._instruct(task, *entry, wording) for entry in entries]

    def questions_of(
        self, task: Task, limit: int | None = None
    ) -> list[tuple[Instruction, tuple[str, ...]]]:
        """Return each prompt of a task with text answers once, with all its answers.

        A goal has several plans: they are the references of one question.

        Args:
            task: the task.
            limit: maximum number of questions, taken at even intervals; None: all.

        Returns:
            The first instruction of each prompt, in its main wording, and its different answers.
        """
        found: defaultdict[Prompt, list[Instruction]] = defaultdict(list)
        for one in self.all_of(task):
            found[one.prompt].append(one)
        return [
            (group[0], tuple(dict.fromkeys(str(one.answer) for one in group)))
            for group in evenly(list(found.values()), limit)
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
    """Find the instructions of each task.

    A motion with several captions, or a plan with several task descriptions, has one instruction
    for each. If both the input and the answer have several descriptions, they are paired in order,
    so that each is used at least once.

    Args:
        motions: motions with codes and captions.
        plans: plans with tasks, steps and next activities.
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
            f"motions and {len(plans)} plans without any ({found or 'nothing dropped'}). "
            "Remedy: add annotated motions or plans, raise the limits, or give other tasks a "
            "weight."
        )
    return Mixture(config, material, dropped)


def _variants(task: Task, item: Item, config: InstructionConfig) -> int | Drop:
    """Return the number of instructions of an item for a task, or the reason why it has none."""
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
    """Return the input levels of a planning task, its answer level, and the plan of the answer."""
    levels, asked = task.split("2")
    # Tasks whose inputs include the scene ask for the next activity.
    return levels, asked, item.next if "c" in levels else item


def _example(
    task: Task, item: Item, variant: int, config: InstructionConfig
) -> tuple[Given, str | Codes]:
    """Return the inputs of the prompt, and the answer."""
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
    """Return the limit that an example exceeds, or None."""
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
