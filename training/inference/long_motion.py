"""The closed loop: plans and motions without end, and descriptions of them (AvatarGPT §3.4).

Forwards, scene and task give the next task, the task its steps, each step a motion, and each
junction of two motions an in-between; the tokens of all are decoded as one stream. Backwards, the
pieces of a motion are told, what is told gives tasks, and these the scene.

Nothing here grows with the length of the motion but the plan: tokens, features and joints pass
through as pieces.

Shapes: T frames at 20 fps, J = 22 joints, D = 263 features, L motion tokens.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from data.config import Config
from data.motion.features import stream_joints
from data.motion.skeleton import FPS
from training.inference.motion_model import Features, MotionModel
from training.instructions.tasks import CODES_PER_S, FRAMES_PER_CODE, Codes
from training.language_model.generation import CHOSEN, DRAWN, Sampling


class ImagineConfig(Config):
    """How the closed loop plans and moves."""

    seconds: float = Field(default=60.0, gt=0, description="Of motion, at least.")
    step_seconds: float | None = Field(
        default=None, gt=0.8, description="Of each step's motion; None: as long as the model likes."
    )
    in_between: bool = Field(default=True, description="Fill junctions; else only join them.")
    context: float = Field(
        default=0.4, gt=0, lt=0.5, description="Share of a motion that a junction is told of."
    )
    between_seconds: float | None = Field(default=None, gt=0, description="Of an in-between.")
    tries: int = Field(default=3, ge=1, description="Samples before a task or step is skipped.")
    max_skipped: int = Field(default=8, ge=1, description="Tasks in a row without any motion.")
    max_steps: int = Field(default=12, ge=1, description="Of one task; more are left out.")
    plan: Sampling = Field(
        default_factory=lambda: Sampling(temperature=1.0, top_k=10), description="Of texts."
    )
    motion: Sampling = Field(default=CHOSEN, description="Of the motions of steps.")
    between: Sampling = Field(default=DRAWN, description="Of in-betweens.")


@dataclass(frozen=True, slots=True)
class PlannedSpan:
    """A part of a long motion.

    Attributes:
        kind: ``step`` or ``between``.
        task: that it belongs to; of an in-between, the task that it leads to.
        step: text of the step; empty for an in-between.
        start_s: where it begins.
        end_s: where it ends.
    """

    kind: str
    task: str
    step: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task of a plan.

    Attributes:
        task: what is done.
        steps: how; empty when the model gave none.
    """

    task: str
    steps: tuple[str, ...]


class LongMotion:
    """A motion as it is imagined: iterate over one of its streams, once.

    Args:
        decode: pieces of tokens (L, 1) to pieces of features (T, D).

    Attributes:
        codes: pieces of its tokens.
        plan: parts so far, in order; whole when the stream has ended.
        notes: what was skipped, and why.
        junctions: frames at which a part meets the next.
    """

    def __init__(self, decode: Callable[[Iterator[Tensor]], Iterator[Tensor]]) -> None:
        self.codes: Iterator[Codes] = iter(())
        self.plan: list[PlannedSpan] = []
        self.notes: list[str] = []
        self.junctions: list[int] = []
        self._decode = decode

    def features(self) -> Iterator[Features]:
        """Pieces of the motion, (T, D) each, not normalised."""
        return (piece.numpy() for piece in self._features())

    def joints(self) -> Iterator[NDArray[np.float32]]:
        """Pieces of the motion as joints, (T, J, 3) each, metres."""
        return (piece.numpy() for piece in stream_joints(self._features()))

    def _features(self) -> Iterator[Tensor]:
        return self._decode(torch.tensor(codes)[:, None] for codes in self.codes)


class ImaginationError(RuntimeError):
    """The model plans nothing that can be moved; the message has the remedy."""


def plan(
    model: MotionModel,
    scene: str,
    task: str | None = None,
    count: int = 3,
    sampling: Sampling | None = None,
) -> Iterator[PlannedTask]:
    """The next tasks in a scene, and the steps of each.

    Args:
        model: trained.
        scene: where it happens.
        task: what is done first; None: what the model does in that scene.
        count: how many tasks.
        sampling: how texts are drawn; its seed grows from task to task. None: as the closed loop
            draws them.
    """
    usual = sampling or ImagineConfig().plan
    current = task or scene
    for number in range(count):
        drawn = usual.model_copy(update={"seed": usual.seed + number})
        if number or not task:
            current = model.next_task(scene, current, drawn)
        yield PlannedTask(current, model.steps_of(current, drawn))


def imagine(
    model: MotionModel, scene: str, task: str | None = None, config: ImagineConfig | None = None
) -> LongMotion:
    """Plan and move in a scene, for as long as is asked.

    Args:
        model: trained.
        scene: where it happens.
        task: what is done first; None: what the model does in that scene.
        config: how.

    Returns:
        The motion; it is computed while one of its streams is read. A stream raises
        :class:`ImaginationError` when nothing at all can be planned.
    """
    config = config or ImagineConfig()
    long = LongMotion(partial(_decoded, model))
    long.codes = _codes_of(model, scene, task, config, long)
    return long


def _decoded(model: MotionModel, codes: Iterator[Tensor]) -> Iterator[Tensor]:
    tokenizer = model.tokenizer
    on_device = (piece.to(tokenizer.device) for piece in codes)
    for piece in tokenizer.model.decode_stream(on_device):
        yield tokenizer.stats.denormalize(piece).cpu()


def _codes_of(
    model: MotionModel, scene: str, first: str | None, config: ImagineConfig, long: LongMotion
) -> Iterator[Codes]:
    """The tokens of all parts, in order; writes the plan as it goes."""
    wanted = config.seconds * CODES_PER_S
    given = 0  # tokens
    before: Codes = ()
    current, steps_before = first, tuple[str, ...]()
    skipped = round_number = 0
    while given < wanted:
        round_number += 1
        task = current
        if task is None or round_number > 1:
            task = _next_task(model, scene, current, config, round_number, long)
        current = task
        steps = _steps(model, task, steps_before, config, round_number, long)
        motions = _motions(model, task, steps, config, round_number, long)
        if not motions:
            skipped += 1
            if skipped >= config.max_skipped:
                if not long.plan:
                    raise ImaginationError(
                        f"scene {scene!r}: expected steps that can be moved, found none in "
                        f"{skipped} tasks ({'; '.join(long.notes[-2:])}). "
                        "Remedy: train the model longer, or name a task that it was trained on."
                    )
                long.notes.append(f"ended early: {skipped} tasks in a row gave no motion")
                return
            continue
        skipped, steps_before = 0, steps
        between = _between(model, before, [codes for _, codes in motions], config, round_number)
        for (step, codes), middle in zip(motions, between, strict=True):
            for kind, part in (("between", middle), ("step", codes)):
                if not part:
                    continue
                start, end = given / CODES_PER_S, (given + len(part)) / CODES_PER_S
                if given:
                    long.junctions.append(given * FRAMES_PER_CODE)
                long.plan.append(
                    PlannedSpan(kind, task, step if kind == "step" else "", start, end)
                )
                given += len(part)
                yield part
            before = codes
            if given >= wanted:
                return


def _next_task(
    model: MotionModel,
    scene: str,
    current: str | None,
    config: ImagineConfig,
    round_number: int,
    long: LongMotion,
) -> str:
    # Without a task, the scene itself is what is going on.
    asked = current or scene
    for attempt in range(config.tries):
        found = model.next_task(scene, asked, _seeded(config.plan, round_number, attempt))
        if found and found != current:
            return found
    long.notes.append(f"after {asked!r}: no other task in {config.tries} samples; it is repeated")
    return asked


def _steps(
    model: MotionModel,
    task: str,
    before: tuple[str, ...],
    config: ImagineConfig,
    round_number: int,
    long: LongMotion,
) -> tuple[str, ...]:
    for attempt in range(config.tries):
        steps = model.steps_of(task, _seeded(config.plan, round_number, attempt))
        # A step that keeps coming back is a loop, not a plan.
        common = Counter(steps).most_common(1)
        looping = bool(common) and common[0][1] > max(2, len(steps) // 2)
        if steps and steps != before and not looping:
            return steps[: config.max_steps]
    long.notes.append(f"task {task!r} skipped: no new steps in {config.tries} samples")
    return ()


def _motions(
    model: MotionModel,
    task: str,
    steps: Sequence[str],
    config: ImagineConfig,
    round_number: int,
    long: LongMotion,
) -> list[tuple[str, Codes]]:
    """The steps that could be moved, with their tokens; all steps in one batch."""
    waiting = list(enumerate(steps))
    found: dict[int, Codes] = {}
    for attempt in range(config.tries):
        sampling = _seeded(config.motion, round_number, attempt)
        texts = [step for _, step in waiting]
        motions = model.text_to_codes(texts, config.step_seconds, sampling) if texts else []
        found |= {index: codes for (index, _), codes in zip(waiting, motions, strict=True) if codes}
        waiting = [(index, step) for index, step in waiting if index not in found]
    long.notes += [f"step {step!r} of {task!r} skipped: no motion" for _, step in waiting]
    return [(steps[index], found[index]) for index in sorted(found)]


def _between(
    model: MotionModel,
    before: Codes,
    motions: Sequence[Codes],
    config: ImagineConfig,
    round_number: int,
) -> list[Codes]:
    """What leads to each motion from the one before it; nothing to the very first."""
    chain = [before, *motions]
    if not config.in_between:
        return [()] * len(motions)
    ends = [
        (_tail(one, config.context), _head(other, config.context))
        for one, other in pairwise(chain)
        if one
    ]
    sampling = _seeded(config.between, round_number, config.tries)
    found = model.codes_between(ends, config.between_seconds, sampling) if ends else []
    return found if before else [(), *found]


def _head(codes: Codes, share: float) -> Codes:
    return codes[: max(1, round(share * len(codes)))]


def _tail(codes: Codes, share: float) -> Codes:
    return codes[-max(1, round(share * len(codes))) :]


def _seeded(sampling: Sampling, round_number: int, attempt: int) -> Sampling:
    # Each round and each new try draws anew; the same seed imagines the same.
    seed = sampling.seed * 1_000_003 + round_number * 101 + attempt
    return sampling.model_copy(update={"seed": seed})


# ---------------------------------------------------------------------------------------- backwards


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A text on a part of a motion."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class MotionStory:
    """A long motion in words.

    Attributes:
        steps: one caption per piece.
        tasks: one per group of pieces.
        scene: of the whole.
    """

    steps: tuple[TextSpan, ...]
    tasks: tuple[TextSpan, ...]
    scene: str


class DescribeConfig(Config):
    """How a long motion is cut for its description."""

    piece_seconds: float = Field(default=5.0, ge=0.8, description="Of motion that one step tells.")
    steps_per_task: int = Field(default=4, ge=1)
    sampling: Sampling = Field(default_factory=Sampling)


def describe(
    model: MotionModel, features: Features, config: DescribeConfig | None = None
) -> MotionStory:
    """Tell a motion of any length: pieces to steps, steps to tasks, tasks to the scene.

    Args:
        model: trained.
        features: (T, D), not normalised.
        config: how.

    Raises:
        ValueError: it is shorter than one token.
    """
    config = config or DescribeConfig()
    size = round(config.piece_seconds * CODES_PER_S) * FRAMES_PER_CODE
    if len(features) < FRAMES_PER_CODE:
        raise ValueError(
            f"motion: expected {FRAMES_PER_CODE} frames or more, found {len(features)}. "
            "Remedy: give a longer motion."
        )
    starts = list(range(0, len(features), size))
    # A rest that is too short to be told belongs to the piece before.
    if len(starts) > 1 and len(features) - starts[-1] < size // 2:
        starts.pop()
    ends = [*starts[1:], len(features)]
    pieces = [features[start:end] for start, end in zip(starts, ends, strict=True)]
    texts = model.motion_to_text(pieces, config.sampling)
    steps = tuple(
        TextSpan(text, start / FPS, end / FPS)
        for text, start, end in zip(texts, starts, ends, strict=True)
    )
    tasks: list[TextSpan] = []
    for first in range(0, len(steps), config.steps_per_task):
        group = steps[first : first + config.steps_per_task]
        told = [step.text for step in group if step.text]
        task = model.task_of(told, config.sampling) if told else ""
        tasks.append(TextSpan(task, group[0].start_s, group[-1].end_s))
    scenes = [model.scene_of(task.text, config.sampling) for task in tasks if task.text]
    # The scene that most tasks point to.
    scene = Counter(scenes).most_common(1)[0][0] if scenes else ""
    return MotionStory(steps, tuple(tasks), scene)
