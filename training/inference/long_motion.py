"""The closed loop: generates and describes motions of any length (AvatarGPT §3.4).

To generate, the model predicts the next task from the scene and the task, the steps of each task, a
motion for each step, and an in-between for each junction of two motions. All tokens are decoded as
one stream. To describe, the model captions the segments of a motion as steps, and predicts tasks
from the steps and a scene from the tasks.

Memory does not grow with the length of the motion, except for the plan, because tokens, features
and joints are streamed in chunks.

Shapes: T is the number of frames at 20 fps, J = 22 the number of joints, D = 263 the number of
features, L the number of motion tokens, Q the number of codes of a token.
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
from training.language_model.config import BETWEEN, CHOSEN, Sampling


class ImagineConfig(Config):
    """Settings of the closed loop."""

    seconds: float = Field(default=60.0, gt=0, description="Minimum length of the motion.")
    step_seconds: float | None = Field(
        default=None,
        gt=0.8,
        description="Length of the motion of each step; empty: the model decides.",
    )
    in_between: bool = Field(
        default=True,
        description="Whether to generate a motion between steps. Otherwise they are only joined.",
    )
    context: float = Field(
        default=0.4,
        gt=0,
        lt=0.5,
        description="Share of each of the two motions that an in-between is given.",
    )
    between_seconds: float | None = Field(
        default=None, gt=0, description="Length of an in-between; empty: the model decides."
    )
    tries: int = Field(
        default=3, ge=1, description="Number of samples before a task or step is skipped."
    )
    max_skipped: int = Field(
        default=8, ge=1, description="Stop after this many tasks in a row without a motion."
    )
    max_steps: int = Field(
        default=12, ge=1, description="Maximum number of steps of a task; further ones are dropped."
    )
    plan: Sampling = Field(
        default_factory=lambda: Sampling(temperature=1.0, top_k=10),
        description="Decoding parameters of tasks and steps.",
    )
    motion: Sampling = Field(
        default=CHOSEN, description="Decoding parameters of the motions of steps."
    )
    between: Sampling = Field(default=BETWEEN, description="Decoding parameters of in-betweens.")


@dataclass(frozen=True, slots=True)
class PlannedSpan:
    """A part of a long motion: the motion of a step, or an in-between.

    Attributes:
        kind: ``step`` or ``between``.
        task: task of the step; for an in-between, the task that it leads to.
        step: text of the step; empty for an in-between.
        start_s: start time, seconds.
        end_s: end time, seconds.
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
        task: text of the task.
        steps: texts of its steps; empty if the model predicted none.
    """

    task: str
    steps: tuple[str, ...]


class LongMotion:
    """A motion that is generated while it is read. Only one of its streams can be read, once.

    Args:
        decode: function that decodes chunks of tokens into chunks of features (T, D).

    Attributes:
        codes: stream of chunks of tokens.
        plan: parts so far, in order. It is complete when the stream has ended.
        notes: messages about skipped tasks and steps.
        junctions: frames at which two parts meet.
    """

    def __init__(self, decode: Callable[[Iterator[Codes]], Iterator[Tensor]]) -> None:
        self.codes: Iterator[Codes] = iter(())
        self.plan: list[PlannedSpan] = []
        self.notes: list[str] = []
        self.junctions: list[int] = []
        self._decode = decode

    def features(self) -> Iterator[Features]:
        """Stream the motion as chunks of features, (T, D) each, not normalized."""
        return (piece.numpy() for piece in self._features())

    def joints(self) -> Iterator[NDArray[np.float32]]:
        """Stream the motion as chunks of joints, (T, J, 3) each, in meters."""
        return (piece.numpy() for piece in stream_joints(self._features()))

    def _features(self) -> Iterator[Tensor]:
        return self._decode(self.codes)


class ImaginationError(RuntimeError):
    """The model predicts no step with a motion; the message states the remedy."""


def plan(
    model: MotionModel,
    scene: str,
    task: str | None = None,
    count: int = 3,
    sampling: Sampling | None = None,
) -> Iterator[PlannedTask]:
    """Predict the next tasks in a scene, and the steps of each.

    Args:
        model: trained model.
        scene: description of the scene.
        task: the first task; None: the model predicts it from the scene.
        count: number of tasks.
        sampling: decoding parameters, whose seed is increased from task to task. None: the default
            of the closed loop.
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
    """Generate a plan and a motion of any length in a scene.

    Args:
        model: trained model.
        scene: description of the scene.
        task: the first task; None: the model predicts it from the scene.
        config: settings of the closed loop; None: the defaults.

    Returns:
        The motion, which is generated while one of its streams is read. Reading raises
        :class:`ImaginationError` if the first tasks have no step with a motion.
    """
    config = config or ImagineConfig()
    long = LongMotion(partial(_decoded, model))
    long.codes = _codes_of(model, scene, task, config, long)
    return long


def _decoded(model: MotionModel, codes: Iterator[Codes]) -> Iterator[Tensor]:
    tokenizer = model.tokenizer
    codes_LQ = (torch.from_numpy(model.code_array(part)).to(tokenizer.device) for part in codes)
    for piece in tokenizer.model.decode_stream(codes_LQ):
        yield tokenizer.stats.denormalize(piece).cpu()


def _codes_of(
    model: MotionModel, scene: str, first: str | None, config: ImagineConfig, long: LongMotion
) -> Iterator[Codes]:
    """Stream the tokens of all parts, in order, and append to the plan."""
    wanted = config.seconds * CODES_PER_S
    given = 0  # number of tokens so far
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
                        f"scene {scene!r}: expected steps with a motion, found none in "
                        f"{skipped} tasks ({'; '.join(long.notes[-2:])}). "
                        "Remedy: train the model longer, or give a task that it was trained on."
                    )
                long.notes.append(f"ended early: {skipped} tasks in a row have no motion")
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
    # Without a task, the scene takes its place in the prompt.
    asked = current or scene
    for attempt in range(config.tries):
        found = model.next_task(scene, asked, _seeded(config.plan, round_number, attempt))
        if found and found != current:
            return found
    long.notes.append(f"repeated {asked!r}: no other task in {config.tries} samples")
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
        # An answer that repeats one step is a degenerate loop, not a plan.
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
    """Return the steps that have a motion, with its tokens; all steps are one batch."""
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
    """Return the in-between before each motion; it is empty before the very first motion."""
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
    # Each round and each attempt has its own seed, which depends on the user's seed alone.
    seed = sampling.seed * 1_000_003 + round_number * 101 + attempt
    return sampling.model_copy(update={"seed": seed})


# -------------------------------------------------------------------------------------- description


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A text with the part of a motion that it describes."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class MotionStory:
    """The description of a long motion.

    Attributes:
        steps: a caption of each segment.
        tasks: a task for each group of segments.
        scene: scene of the whole motion; empty if unknown.
    """

    steps: tuple[TextSpan, ...]
    tasks: tuple[TextSpan, ...]
    scene: str


class DescribeConfig(Config):
    """Settings of the description of a long motion."""

    piece_seconds: float = Field(
        default=5.0, ge=0.8, description="Length of the segment that one step describes."
    )
    steps_per_task: int = Field(default=4, ge=1, description="Number of steps per task.")
    sampling: Sampling = Field(
        default_factory=Sampling, description="Decoding parameters of the texts."
    )


def describe(
    model: MotionModel, features: Features, config: DescribeConfig | None = None
) -> MotionStory:
    """Describe a motion of any length: segments as steps, steps as tasks, and tasks as a scene.

    Args:
        model: trained model.
        features: (T, D) features, not normalized.
        config: settings; None: the defaults.

    Raises:
        ValueError: the motion is shorter than one token.
    """
    config = config or DescribeConfig()
    size = round(config.piece_seconds * CODES_PER_S) * FRAMES_PER_CODE
    if len(features) < FRAMES_PER_CODE:
        raise ValueError(
            f"motion: expected {FRAMES_PER_CODE} frames or more, found {len(features)}. "
            "Remedy: pass a longer motion."
        )
    starts = list(range(0, len(features), size))
    # A remainder of less than half a segment is added to the last segment.
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
        captions = [step.text for step in group if step.text]
        task = model.task_of(captions, config.sampling) if captions else ""
        tasks.append(TextSpan(task, group[0].start_s, group[-1].end_s))
    scenes = [model.scene_of(task.text, config.sampling) for task in tasks if task.text]
    # The most frequent scene wins.
    scene = Counter(scenes).most_common(1)[0][0] if scenes else ""
    return MotionStory(steps, tuple(tasks), scene)
