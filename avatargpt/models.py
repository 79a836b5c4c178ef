"""A trained model and its tasks.

Shapes: T frames at 20 fps, D = 263 motion features (not normalized).
"""

from collections.abc import Sequence
from pathlib import Path

from training.inference import long_motion
from training.inference.long_motion import (
    DescribeConfig,
    ImagineConfig,
    LongMotion,
    MotionStory,
    PlannedTask,
)
from training.inference.motion_model import Features, MotionModel, load_motion_model
from training.language_model.generation import Sampling


class Model:
    """A motion model as ``train-all`` leaves it.

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
        """Text to motion: one of (T, D) for each text.

        Args:
            texts: what is done, such as "a person waves with the right hand".
            seconds: length of each; None: as the model likes.
            sampling: how answers are drawn; None: as the command line does.
        """
        asked = [texts] if isinstance(texts, str) else texts
        if sampling is None:
            return self.parts.text_to_motion(asked, seconds)
        return self.parts.text_to_motion(asked, seconds, sampling)

    def m2t(
        self, motions: Features | Sequence[Features], sampling: Sampling | None = None
    ) -> list[str]:
        """Motion to text: one for each motion (T, D).

        Raises:
            ValueError: one is shorter than a motion token.
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
        """Head, a middle of so many seconds that leads on, and tail: (T, D)."""
        return self.parts.in_between(head, tail, seconds, sampling)

    def predict(
        self, motion: Features, seconds: float | None = None, sampling: Sampling | None = None
    ) -> Features:
        """A motion and so many seconds of what comes after it: (T, D)."""
        if sampling is None:
            return self.parts.predict(motion, seconds)
        return self.parts.predict(motion, seconds, sampling)

    def plan(
        self, scene: str, task: str | None = None, count: int = 3, sampling: Sampling | None = None
    ) -> list[PlannedTask]:
        """The next tasks in a scene, and the steps of each.

        Args:
            scene: where it happens.
            task: what is done first; None: what the model does in that scene.
            count: how many tasks.
            sampling: how texts are drawn; its seed grows from task to task.
        """
        return list(long_motion.plan(self.parts, scene, task, count, sampling))

    def imagine(
        self, scene: str, task: str | None = None, config: ImagineConfig | None = None
    ) -> LongMotion:
        """Plan and move in a scene, for as long as is asked: a motion to be read in pieces."""
        return long_motion.imagine(self.parts, scene, task, config)

    def describe(self, motion: Features, config: DescribeConfig | None = None) -> MotionStory:
        """Tell a motion (T, D) of any length: steps, tasks, scene.

        Raises:
            ValueError: it is shorter than a motion token.
        """
        return long_motion.describe(self.parts, motion, config)


def load_model(folder: str | Path, device: str = "cpu") -> Model:
    """Load a model's folder, such as ``~/avatargpt/train/models/latest``.

    Args:
        folder: of the model.
        device: cpu, cuda, or one such as cuda:1.

    Raises:
        CheckpointError: it is no model, or is damaged.
    """
    return Model(load_motion_model(Path(folder).expanduser(), device))
