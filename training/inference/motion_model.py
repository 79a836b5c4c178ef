"""The trained model as users call it: every task, on text, features and plans.

::

    model = load_motion_model(Path("models/latest"))
    features = model.text_to_motion(["a person kicks"])[0]
    print(model.motion_to_text([features])[0])

Shapes: T frames at 20 fps, D = 263 features (not normalised), L motion tokens.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.checkpoints import WEIGHTS, CheckpointError, content_hash, reading
from training.instructions.tasks import CODES_PER_S, Codes, Prompt, Task, parse_steps, prompt_of
from training.language_model.generation import (
    CHOSEN,
    DRAWN,
    MotionLanguageModel,
    Request,
    Sampling,
    load_motion_lm,
)
from training.tokenizer.motion_tokenizer import MotionTokenizer, load_tokenizer

Features = NDArray[np.float32]

MODEL_FILE: Final = "model.json"
"""Of a model folder: names the checkpoints of ``vqvae`` and ``lm`` inside it."""
FORMAT: Final = "avatargpt-model/1"
MIN_MOTION: Final = 4
"""Tokens of a generated motion at least."""
MAX_BETWEEN: Final = 50
"""Tokens of an in-between at most, as published."""


class MotionModel:
    """Language model and motion tokenizer, one after the other.

    Args:
        lm: the language model.
        tokenizer: the motion tokenizer that it was trained with.

    Raises:
        ValueError: the two do not belong together.
    """

    def __init__(self, lm: MotionLanguageModel, tokenizer: MotionTokenizer) -> None:
        if lm.tokenizer_id != tokenizer.tokenizer_id:
            raise ValueError(
                f"motion tokenizer: expected {lm.tokenizer_id}, which the language model was "
                f"trained with, found {tokenizer.tokenizer_id}. Remedy: use that one."
            )
        self.lm = lm
        self.tokenizer = tokenizer

    # ------------------------------------------------------------------------ motion as answer

    def text_to_motion(
        self,
        captions: Sequence[str],
        seconds: float | None = None,
        sampling: Sampling = CHOSEN,
    ) -> list[Features]:
        """A motion of each caption, (T, D); of so many seconds where they are given."""
        return [self.decode(codes) for codes in self.text_to_codes(captions, seconds, sampling)]

    def text_to_codes(
        self,
        captions: Sequence[str],
        seconds: float | None = None,
        sampling: Sampling = CHOSEN,
    ) -> list[Codes]:
        """The motion tokens of each caption."""
        requests: list[Request] = []
        for caption in captions:
            if seconds is None:
                low, high = MIN_MOTION, 0
                prompt = prompt_of(Task.T2M, caption=caption)
            else:
                low = high = max(1, round(seconds * CODES_PER_S))
                prompt = prompt_of(Task.L2M, caption=caption, length_s=seconds)
            requests.append(_motion_request(prompt, low, high, caption))
        return self._motions(requests, sampling)

    def in_between(
        self,
        head: Features,
        tail: Features,
        seconds: float | None = None,
        sampling: Sampling | None = None,
    ) -> Features:
        """A motion that leads from one to the other: head, middle and tail decoded as one.

        Args:
            head: (T, D), how it begins.
            tail: (T, D), how it ends.
            seconds: of the middle; None: as long as the model likes.
            sampling: how to choose.
        """
        begin, end = self.encode(head), self.encode(tail)
        (middle,) = self.codes_between([(begin, end)], seconds, sampling)
        return self.decode((*begin, *middle, *end))

    def codes_between(
        self,
        ends: Sequence[tuple[Codes, Codes]],
        seconds: float | None = None,
        sampling: Sampling | None = None,
    ) -> list[Codes]:
        """The middle of each pair of beginning and ending."""
        low, high = _lengths(seconds, MAX_BETWEEN)
        requests = [
            _motion_request(prompt_of(Task.M2M, head=head, tail=tail), low, high)
            for head, tail in ends
        ]
        return self._motions(requests, sampling)

    def predict(
        self, features: Features, seconds: float | None = None, sampling: Sampling = DRAWN
    ) -> Features:
        """A motion with what comes after it, (T, D)."""
        begin = self.encode(features)
        low, high = _lengths(seconds, 0)
        request = _motion_request(prompt_of(Task.PREDICT, head=begin), low, high)
        return self.decode((*begin, *self._motions([request], sampling)[0]))

    # -------------------------------------------------------------------------- text as answer

    def motion_to_text(
        self, motions: Sequence[Features], sampling: Sampling | None = None
    ) -> list[str]:
        """A caption of each motion."""
        return self.codes_to_text([self.encode(motion) for motion in motions], sampling)

    def codes_to_text(
        self, motions: Sequence[Codes], sampling: Sampling | None = None
    ) -> list[str]:
        """A caption of each motion's tokens."""
        requests = [Request(prompt_of(Task.M2T, codes=codes), motion=False) for codes in motions]
        return self._texts(requests, sampling)

    def next_task(self, scene: str, task: str, sampling: Sampling | None = None) -> str:
        """What comes after a task in a scene."""
        prompt = prompt_of(Task.CT2T, scene=scene, task_text=task)
        return self._texts([Request(prompt, motion=False)], sampling)[0]

    def steps_of(self, task: str, sampling: Sampling | None = None) -> tuple[str, ...]:
        """The steps of a task; empty when the answer holds none."""
        prompt = prompt_of(Task.T2S, task_text=task)
        return parse_steps(self._texts([Request(prompt, motion=False)], sampling)[0])

    def task_of(self, steps: Sequence[str], sampling: Sampling | None = None) -> str:
        """The task that steps carry out."""
        prompt = prompt_of(Task.S2T, steps=steps)
        return self._texts([Request(prompt, motion=False)], sampling)[0]

    def scene_of(self, task: str, sampling: Sampling | None = None) -> str:
        """A scene in which a task is done."""
        prompt = prompt_of(Task.T2C, task_text=task)
        return self._texts([Request(prompt, motion=False)], sampling)[0]

    # ----------------------------------------------------------------------------------- tokens

    def encode(self, features: Features) -> Codes:
        """Tokens of a motion.

        Raises:
            ValueError: it is shorter than one token.
        """
        if len(features) < self.tokenizer.frames_per_token:
            raise ValueError(
                f"motion: expected {self.tokenizer.frames_per_token} frames at least, found "
                f"{len(features)}. Remedy: give a longer one."
            )
        (codes_LQ,) = self.tokenizer.encode([features])
        return tuple(codes_LQ[:, 0].tolist())

    def decode(self, codes: Codes) -> Features:
        """Features of tokens, (4 L, D)."""
        return self.tokenizer.decode(np.asarray(codes, np.int64))

    def _motions(self, requests: Sequence[Request], sampling: Sampling | None) -> list[Codes]:
        answers = self.lm.answer(requests, sampling)
        return [answer for answer in answers if not isinstance(answer, str)]

    def _texts(self, requests: Sequence[Request], sampling: Sampling | None) -> list[str]:
        return [answer for answer in self.lm.answer(requests, sampling) if isinstance(answer, str)]


def _motion_request(prompt: Prompt, low: int, high: int = 0, caption: str = "") -> Request:
    return Request(prompt, motion=True, min_length=low, max_length=high, caption=caption)


def _lengths(seconds: float | None, most: int) -> tuple[int, int]:
    if seconds is None:
        return 1, most
    length = max(1, round(seconds * CODES_PER_S))
    return length, length


def load_motion_model(path: Path, device: str = "cpu") -> MotionModel:
    """A model folder, as ``train-all`` writes it.

    Raises:
        CheckpointError: it is no model folder, or its checkpoints are damaged.
    """
    folder = path.expanduser()
    file = folder / MODEL_FILE
    if not file.exists():
        raise CheckpointError(
            f"{folder}: expected the folder of a model, found no {MODEL_FILE}. "
            "Remedy: make one with avatargpt train-all, or name models/latest."
        )
    with reading(folder):
        info = json.loads(file.read_text())
        if info.get("format") != FORMAT:
            raise CheckpointError(
                f"{folder}: expected {FORMAT}, found {info.get('format')}. "
                "Remedy: use another model."
            )
        # One flipped bit in the weights changes every answer, and nothing else would tell.
        version = version_of(folder / "vqvae", folder / "lm")
        if info["version"] != version:
            raise CheckpointError(
                f"{folder}: expected the weights of {info['version']}, found those of {version}. "
                "Remedy: copy the folder again, or use another model."
            )
    lm = load_motion_lm(folder / "lm", device)
    return MotionModel(lm, load_tokenizer(folder / "vqvae", torch.device(device)))


def version_of(vqvae: Path, lm: Path) -> str:
    """The name of a version: of the weights of its two checkpoints."""
    return f"v-{content_hash(*(folder / WEIGHTS for folder in (vqvae, lm)))[:12]}"
