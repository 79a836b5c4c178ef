"""The trained model as users call it, with a method for each task.

::

    model = load_motion_model(Path("models/latest"))
    features = model.text_to_motion(["a person kicks"])[0]
    print(model.motion_to_text([features])[0])

Shapes: T is the number of frames at 20 fps, D = 263 the number of features (not normalized), L the
number of motion tokens, Q the number of codes of a token.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.checkpoints import WEIGHTS, CheckpointError, content_hash, reading
from training.instructions.tasks import (
    CODES_PER_S,
    Codes,
    Instruction,
    Prompt,
    Task,
    code_array,
    codes_of,
    parse_steps,
    prompt_of,
    with_caption,
)
from training.language_model.config import BETWEEN, CHOSEN, DRAWN, Sampling
from training.language_model.generation import MotionLanguageModel, Request, load_motion_lm
from training.tokenizer.motion_tokenizer import MotionTokenizer, load_tokenizer

Features = NDArray[np.float32]
MotionJudge = Callable[[Sequence[str], Sequence[Features]], Sequence[float]]
"""Returns how well each motion, (T, D), shows its caption, about 0..1."""

MODEL_FILE: Final = "model.json"
"""File of a model folder that describes the model. The checkpoints are in ``vqvae`` and ``lm``."""
CHOOSER: Final = "chooser"
"""Folder in it of the network that helps to choose among motions, if it was trained."""
FORMAT: Final = "avatargpt-model/1"
MIN_MOTION: Final = 4
"""Minimum number of tokens of a motion that is generated from a caption."""
MAX_BETWEEN: Final = 50
"""Maximum number of tokens of an in-between, as published."""
_READ: Final = 10
"""Number of tokens of an ending, 2 s, by which the in-between before it is chosen."""


class MotionModel:
    """A language model with its motion tokenizer.

    Args:
        lm: language model.
        tokenizer: motion tokenizer that the language model was trained with.
        judge: measures how well a motion shows its caption. Of several motions of a caption the
            best is then chosen by it as well (:attr:`Sampling.best_of`), and by the model's own
            reading alone without it.
        plain: returns the plain form of a caption (:attr:`Sampling.plain`); None: no caption has
            one.

    Raises:
        ValueError: the language model was trained with another motion tokenizer.
    """

    def __init__(
        self,
        lm: MotionLanguageModel,
        tokenizer: MotionTokenizer,
        judge: MotionJudge | None = None,
        plain: Callable[[str], str] | None = None,
    ) -> None:
        if lm.tokenizer_id != tokenizer.tokenizer_id:
            raise ValueError(
                f"motion tokenizer: expected {lm.tokenizer_id}, which the language model was "
                f"trained with, found {tokenizer.tokenizer_id}. Remedy: use the expected one."
            )
        self.lm = lm
        self.tokenizer = tokenizer
        self._judge = judge
        self._plain = plain

    def judged_by(
        self, judge: MotionJudge | None, plain: Callable[[str], str] | None = None
    ) -> "MotionModel":
        """Return the same model with another judge, and another way to plain forms."""
        return MotionModel(self.lm, self.tokenizer, judge, plain)

    def answer(
        self, requests: Sequence[Request], sampling: Sampling | None = None
    ) -> list[str | Codes]:
        """Answer requests of both kinds, in order; the best of several motions is chosen.

        See :meth:`training.language_model.generation.MotionLanguageModel.answer`.
        """
        judge = None if self._judge is None else self._judged
        if sampling is not None and sampling.plain:
            requests = [self._with_plain(request) for request in requests]
        return self.lm.answer(requests, sampling, judge=judge)

    # ------------------------------------------------------------------------ motion as answer

    def text_to_motion(
        self,
        captions: Sequence[str],
        seconds: float | None = None,
        sampling: Sampling = CHOSEN,
    ) -> list[Features]:
        """Generate a motion for each caption.

        Args:
            captions: captions of the motions.
            seconds: length of each motion; None: the model decides.
            sampling: decoding parameters.

        Returns:
            Features of each motion, (T, D).
        """
        return [self.decode(codes) for codes in self.text_to_codes(captions, seconds, sampling)]

    def text_to_codes(
        self,
        captions: Sequence[str],
        seconds: float | None = None,
        sampling: Sampling = CHOSEN,
    ) -> list[Codes]:
        """Generate the tokens of a motion for each caption; see :meth:`text_to_motion`."""
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
        sampling: Sampling = BETWEEN,
    ) -> Features:
        """Generate the motion between a beginning and an ending.

        Args:
            head: (T, D) features of the beginning.
            tail: (T, D) features of the ending.
            seconds: length of the middle; None: the model decides.
            sampling: decoding parameters. Of ``best_of`` middles, the one is returned after which
                the model would most likely predict the ending.

        Returns:
            (T, D) features of beginning, middle and ending, decoded together.

        Raises:
            ValueError: the beginning or the ending is shorter than one token.
        """
        begin, end = self.encode(head), self.encode(tail)
        (middle,) = self.codes_between([(begin, end)], seconds, sampling)
        return self.decode((*begin, *middle, *end))

    def codes_between(
        self,
        ends: Sequence[tuple[Codes, Codes]],
        seconds: float | None = None,
        sampling: Sampling = BETWEEN,
    ) -> list[Codes]:
        """Generate the tokens between each pair of beginning and ending; see :meth:`in_between`."""
        low, high = _lengths(seconds, MAX_BETWEEN)
        requests = [
            _motion_request(prompt_of(Task.M2M, head=head, tail=tail), low, high)
            for head, tail in ends
        ]
        each = sampling.best_of
        repeated = [request for request in requests for _ in range(each)]
        drawn = self._motions(repeated, sampling.model_copy(update={"best_of": 1}))
        if each == 1:
            return drawn
        read = [
            Instruction(
                Task.PREDICT,
                prompt_of(Task.PREDICT, head=(*head, *middle)),
                tail[:_READ],
                "",
            )
            for number, (head, tail) in enumerate(ends)
            for middle in drawn[number * each :][:each]
        ]
        scores = self.lm.scores(read)
        starts = range(0, len(drawn), each)
        return [drawn[max(range(i, i + each), key=scores.__getitem__)] for i in starts]

    def predict(
        self, features: Features, seconds: float | None = None, sampling: Sampling = DRAWN
    ) -> Features:
        """Continue a motion.

        Args:
            features: (T, D) features of the beginning.
            seconds: length of the continuation; None: the model decides.
            sampling: decoding parameters.

        Returns:
            (T, D) features of the beginning and its continuation, decoded together.

        Raises:
            ValueError: the beginning is shorter than one token.
        """
        begin = self.encode(features)
        low, high = _lengths(seconds, 0)
        request = _motion_request(prompt_of(Task.PREDICT, head=begin), low, high)
        return self.decode((*begin, *self._motions([request], sampling)[0]))

    # -------------------------------------------------------------------------- text as answer

    def motion_to_text(
        self, motions: Sequence[Features], sampling: Sampling | None = None
    ) -> list[str]:
        """Generate a caption for each motion, given its features, (T, D)."""
        return self.codes_to_text([self.encode(motion) for motion in motions], sampling)

    def codes_to_text(
        self, motions: Sequence[Codes], sampling: Sampling | None = None
    ) -> list[str]:
        """Generate a caption for each motion, given its tokens."""
        requests = [Request(prompt_of(Task.M2T, codes=codes), motion=False) for codes in motions]
        return self._texts(requests, sampling)

    def next_task(self, scene: str, task: str, sampling: Sampling | None = None) -> str:
        """Generate the task that follows a task in a scene."""
        prompt = prompt_of(Task.CT2T, scene=scene, task_text=task)
        return self._texts([Request(prompt, motion=False)], sampling)[0]

    def steps_of(self, task: str, sampling: Sampling | None = None) -> tuple[str, ...]:
        """Generate the steps of a task; empty if the answer has no numbered steps."""
        prompt = prompt_of(Task.T2S, task_text=task)
        return parse_steps(self._texts([Request(prompt, motion=False)], sampling)[0])

    def task_of(self, steps: Sequence[str], sampling: Sampling | None = None) -> str:
        """Generate the task that the given steps carry out."""
        prompt = prompt_of(Task.S2T, steps=steps)
        return self._texts([Request(prompt, motion=False)], sampling)[0]

    def scene_of(self, task: str, sampling: Sampling | None = None) -> str:
        """Generate a scene in which a task takes place."""
        prompt = prompt_of(Task.T2C, task_text=task)
        return self._texts([Request(prompt, motion=False)], sampling)[0]

    # ----------------------------------------------------------------------------------- tokens

    def encode(self, features: Features) -> Codes:
        """Encode the features of a motion, (T, D), into tokens.

        Raises:
            ValueError: the motion is shorter than one token.
        """
        if len(features) < self.tokenizer.frames_per_token:
            raise ValueError(
                f"motion: expected at least {self.tokenizer.frames_per_token} frames, found "
                f"{len(features)}. Remedy: pass a longer motion."
            )
        (codes_LQ,) = self.tokenizer.encode([features])
        return codes_of(codes_LQ)

    def decode(self, codes: Codes) -> Features:
        """Decode tokens into features, (L · frames_per_token, D)."""
        return self.tokenizer.decode(self.code_array(codes))

    def code_array(self, codes: Codes) -> NDArray[np.int64]:
        """Return the codes of tokens as an array, (L, Q), for the motion tokenizer."""
        return code_array(codes, self.tokenizer.model.quantizer.num_quantizers)

    def _motions(self, requests: Sequence[Request], sampling: Sampling | None) -> list[Codes]:
        answers = self.answer(requests, sampling)
        return [answer for answer in answers if not isinstance(answer, str)]

    def _texts(self, requests: Sequence[Request], sampling: Sampling | None) -> list[str]:
        return [answer for answer in self.answer(requests, sampling) if isinstance(answer, str)]

    def _with_plain(self, request: Request) -> Request:
        """Add the plain form of the caption, if there is another one, to a request."""
        caption = request.caption
        if self._plain is None or not caption:
            return request
        plain = self._plain(caption)
        if plain == caption:
            return request
        return replace(request, plain=with_caption(request.prompt, caption, plain))

    def _judged(self, motions: Sequence[Codes], captions: Sequence[str]) -> list[float]:
        """Return how well each motion shows its caption; a motion without tokens shows nothing."""
        judge = self._judge
        assert judge is not None  # noqa: S101 - only given to the language model if there is one
        there = [number for number, codes in enumerate(motions) if codes]
        found = judge(
            [captions[number] for number in there],
            [self.decode(motions[number]) for number in there],
        )
        shown = dict(zip(there, found, strict=True))
        return [shown.get(number, 0.0) for number in range(len(motions))]


def _motion_request(prompt: Prompt, low: int, high: int = 0, caption: str = "") -> Request:
    return Request(prompt, motion=True, min_length=low, max_length=high, caption=caption)


def _lengths(seconds: float | None, most: int) -> tuple[int, int]:
    if seconds is None:
        return 1, most
    length = max(1, round(seconds * CODES_PER_S))
    return length, length


def load_motion_model(
    path: Path,
    device: str = "cpu",
    judge: MotionJudge | None = None,
    plain: Callable[[str], str] | None = None,
) -> MotionModel:
    """Load a model folder that ``train-all`` wrote.

    Args:
        path: model folder.
        device: torch device to compute on.
        judge: measures how well a motion shows its caption, see :class:`MotionModel`.
        plain: returns the plain form of a caption, see there.

    Raises:
        CheckpointError: the folder is not a model folder, or a checkpoint in it is damaged.
    """
    folder = path.expanduser()
    file = folder / MODEL_FILE
    if not file.exists():
        raise CheckpointError(
            f"{folder}: expected the folder of a model, found no {MODEL_FILE}. "
            "Remedy: train a model with avatargpt train-all, or give its folder models/latest."
        )
    with reading(folder):
        info = json.loads(file.read_text())
        if info.get("format") != FORMAT:
            raise CheckpointError(
                f"{folder}: expected {FORMAT}, found {info.get('format')}. "
                "Remedy: use another model."
            )
        # A single flipped bit in the weights can change every answer without any other symptom.
        version = version_of(folder / "vqvae", folder / "lm", chooser_of(folder))
        if info["version"] != version:
            raise CheckpointError(
                f"{folder}: expected the weights of {info['version']}, found those of {version}. "
                "Remedy: copy the folder again, or use another model."
            )
    lm = load_motion_lm(folder / "lm", device)
    return MotionModel(lm, load_tokenizer(folder / "vqvae", torch.device(device)), judge, plain)


def chooser_of(folder: Path) -> Path | None:
    """Return the checkpoint of a model folder's own chooser among motions; None if it has none."""
    chooser = folder / CHOOSER
    return chooser if chooser.is_dir() else None


def version_of(vqvae: Path, lm: Path, chooser: Path | None = None) -> str:
    """Return the name of a model version, a hash of the weights of its checkpoints."""
    parts = (vqvae, lm) if chooser is None else (vqvae, lm, chooser)
    return f"v-{content_hash(*(folder / WEIGHTS for folder in parts))[:12]}"
