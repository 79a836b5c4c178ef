"""Trained motion models.

Shapes: T frames at 20 fps, D = 263 motion features (not normalized).
"""

from collections.abc import Sequence
from pathlib import Path

from evaluation.chooser import load_judged_model
from training.inference import long_motion
from training.inference.long_motion import (
    DescribeConfig,
    ImagineConfig,
    LongMotion,
    MotionStory,
    PlannedTask,
)
from training.inference.motion_model import Features, MotionModel
from training.language_model.config import Sampling


class Model:
    """A trained motion model.

    Args:
        parts: language model and motion tokenizer.
    """

    def __init__(self, parts: MotionModel) -> None:
        self.parts = parts

    def t2m(
        self,
        texts: str | Sequence[str],
        seconds: float | None = None,
        sampling: Sampling | None = None,
    ) -> list[Features]:
        """Generate a motion, (T, D), for each text.

        Args:
            texts: one or more descriptions, such as "a person waves with the right hand".
            seconds: length of each motion; None lets the model decide.
            sampling: sampling of the motions; None means the default of the command line.
        """
        asked = [texts] if isinstance(texts, str) else texts
        if sampling is None:
            return self.parts.text_to_motion(asked, seconds)
        return self.parts.text_to_motion(asked, seconds, sampling)

    def m2t(
        self, motions: Features | Sequence[Features], sampling: Sampling | None = None
    ) -> list[str]:
        """Describe each motion, (T, D), in one sentence.

        Raises:
            ValueError: a motion is shorter than one motion token (4 frames).
        """
        asked = motions if isinstance(motions, list | tuple) else [motions]
        return self.parts.motion_to_text([*asked], sampling)  # pyright: ignore[reportArgumentType]

    def in_between(
        self,
        head: Features,
        tail: Features,
        seconds: float | None = None,
        sampling: Sampling | None = None,
    ) -> Features:
        """Generate the middle between two motions; return head, middle and tail as one, (T, D)."""
        if sampling is None:
            return self.parts.in_between(head, tail, seconds)
        return self.parts.in_between(head, tail, seconds, sampling)

    def predict(
        self, motion: Features, seconds: float | None = None, sampling: Sampling | None = None
    ) -> Features:
        """Continue a motion; return it with its continuation, (T, D)."""
        if sampling is None:
            return self.parts.predict(motion, seconds)
        return self.parts.predict(motion, seconds, sampling)

    def plan(
        self, scene: str, task: str | None = None, count: int = 3, sampling: Sampling | None = None
    ) -> list[PlannedTask]:
        """Plan the next tasks in a scene, with the steps of each.

        Args:
            scene: description of the scene.
            task: first task; None lets the model choose it.
            count: number of tasks.
            sampling: sampling of the texts; its seed is incremented for each task.
        """
        return list(long_motion.plan(self.parts, scene, task, count, sampling))

    def imagine(
        self, scene: str, task: str | None = None, config: ImagineConfig | None = None
    ) -> LongMotion:
        """Plan tasks in a scene and generate their motion, which is streamed in pieces."""
        return long_motion.imagine(self.parts, scene, task, config)

    def describe(self, motion: Features, config: DescribeConfig | None = None) -> MotionStory:
        """Describe a motion, (T, D), of any length as steps, tasks and a scene.

        Raises:
            ValueError: the motion is shorter than one motion token (4 frames).
        """
        return long_motion.describe(self.parts, motion, config)


def load_model(folder: str | Path, device: str = "cpu", chooser: str | Path | None = None) -> Model:
    """Load a model folder, such as ``~/avatargpt/train/models/latest``.

    Args:
        folder: model folder written by ``train-all``.
        device: device of torch, such as cpu, cuda or cuda:1.
        chooser: run folder of ``avatargpt train-evaluator``, whose network helps to choose among
            several motions of a text; None: the model's own network, if its training made one.

    Raises:
        CheckpointError: one of the folders is not what it should be, or is damaged.
        ValueError: the chooser is of another kind, or its sentence encoder is missing.
    """
    network = Path(chooser).expanduser() if chooser else None
    return Model(load_judged_model(Path(folder).expanduser(), network, device))
