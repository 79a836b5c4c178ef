"""Answers of the motion language model: text or motion, batched, with a KV cache.

``transformers`` generates; this module gives it rows of both kinds in one batch, their lengths, and
a seed.

Shapes: B rows, S prompt ids, L answer ids.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    T5Config,
    T5ForConditionalGeneration,
)

from training.batches import InstructionEncoder, pad_prompts
from training.checkpoints import Checkpoint, read_checkpoint
from training.decoding import FIRST_CODE_ID, START_ID, StepDecoder
from training.instructions import Codes, Prompt
from training.motion_lm import MotionLm, MotionLmConfig
from training.train_motion_lm import KIND, T5_FILE, TOKENIZER_FILE
from training.vocabulary import TEXT_END, TEXT_PAD, TextTokenizer

MAX_TEXT: Final = 192
"""Pieces of a text answer at most, unless a request says otherwise."""
MAX_MOTION: Final = 98
"""Tokens of a motion answer at most: 19.6 s, twice the longest motion of HumanML3D."""


class Sampling(BaseModel):
    """How answers are chosen; by default greedily."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.0, ge=0, description="0: the likeliest token, always.")
    top_k: int = Field(default=0, ge=0, description="Only among so many likeliest; 0: all.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Only among the likeliest.")
    beams: int = Field(default=1, ge=1)
    seed: int = 0


DRAWN: Final = Sampling(temperature=1.0, top_p=0.9)
"""For motion that is not held by what is around it: the likeliest tokens seldom end."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        prompt: from :func:`training.instructions.prompt_of`.
        motion: whether the answer is a motion.
        min_length: tokens of the answer at least, without its end.
        max_length: at most; 0: the default for its kind. With ``min_length`` the same, exactly.
    """

    prompt: Prompt
    motion: bool
    min_length: int = 0
    max_length: int = 0


class MotionLanguageModel:
    """A trained model that answers.

    Args:
        model: in evaluation mode.
        text: its text tokeniser.
        tokenizer_id: of the motion tokenizer that its motion tokens are of.
        device: to compute on.
    """

    def __init__(
        self, model: MotionLm, text: TextTokenizer, tokenizer_id: str, device: torch.device
    ) -> None:
        self.model = model.eval().to(device)
        self.text = text
        self.tokenizer_id = tokenizer_id
        self.device = device
        self._encoder = InstructionEncoder(text, model.vocabulary, 0, 0)
        self._decoder = StepDecoder(self.model)

    def answer(
        self,
        requests: Sequence[Request],
        sampling: Sampling | None = None,
        *,
        batch_size: int = 32,
    ) -> list[str | Codes]:
        """Answer requests of any kinds, in batches of alike lengths.

        The same requests, sampling and batch size give the same answers.

        Args:
            requests: what is asked.
            sampling: how; None: greedily.
            batch_size: requests at a time.

        Returns:
            A text or motion codes for each, in order.
        """
        sampling = sampling or Sampling()
        prompts = [self._encoder.prompt_ids(request.prompt) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (len(prompts[i]), i))
        answers: dict[int, str | Codes] = {}
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(sampling.seed)
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                found = self._generate(
                    [prompts[i] for i in chosen], [requests[i] for i in chosen], sampling
                )
                answers |= dict(zip(chosen, found, strict=True))
        return [answers[index] for index in range(len(requests))]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt."""
        return self._encoder.prompt_ids(prompt)

    @torch.no_grad()
    def _generate(
        self, prompts: list[list[int]], requests: list[Request], sampling: Sampling
    ) -> list[str | Codes]:
        prompts_BS, mask_BS = (part.to(self.device) for part in pad_prompts(prompts))
        motion_B = torch.tensor([request.motion for request in requests], device=self.device)
        lengths = _Lengths(requests, self.text.num_pieces)
        out_BL: Tensor = self.model.t5.generate(
            inputs=prompts_BS,
            attention_mask=mask_BS,
            past_key_values=self._decoder.begin(motion_B, lengths.longest + 2),
            generation_config=self._settings(sampling, lengths.longest, motion_B),
            logits_processor=LogitsProcessorList([lengths]),
        )
        return [
            self._answer_of(ids, request.motion)
            for ids, request in zip(out_BL[:, 1:].tolist(), requests, strict=True)
        ]

    def _settings(self, sampling: Sampling, longest: int, motion_B: Tensor) -> GenerationConfig:
        how: dict[str, Any] = {"do_sample": False}
        if sampling.temperature:
            how = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
            }
        return GenerationConfig(
            max_new_tokens=longest + 1,
            num_beams=sampling.beams,
            pad_token_id=TEXT_PAD,
            eos_token_id=TEXT_END,
            decoder_start_token_id=torch.where(motion_B, START_ID, TEXT_PAD).tolist(),
            use_cache=True,
            **how,
        )

    def _answer_of(self, ids: list[int], motion: bool) -> str | Codes:
        own = ids[: ids.index(TEXT_END)] if TEXT_END in ids else ids
        if not motion:
            return self.text.decode(own)
        return tuple(i - FIRST_CODE_ID for i in own if i >= FIRST_CODE_ID)


class _Lengths(LogitsProcessor):
    """Keeps each row's answer within its lengths, and out of pieces that no answer has."""

    def __init__(self, requests: Sequence[Request], num_pieces: int) -> None:
        defaults = [MAX_MOTION if request.motion else MAX_TEXT for request in requests]
        longest = [
            request.max_length or default
            for request, default in zip(requests, defaults, strict=True)
        ]
        self.longest = max(longest)
        self._min_B = torch.tensor([request.min_length for request in requests])
        self._max_B = torch.tensor(longest)
        self._motion_B = torch.tensor([request.motion for request in requests])
        self._num_pieces = num_pieces

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        said = input_ids.shape[1] - 1
        repeats = len(scores) // len(self._motion_B)
        motion_B, min_B, max_B = (
            values.to(scores.device).repeat_interleave(repeats)
            for values in (self._motion_B, self._min_B, self._max_B)
        )
        scores[:, self._num_pieces :].masked_fill_(~motion_B[:, None], -torch.inf)
        # A motion has no start and no pad inside.
        scores[:, [TEXT_PAD, START_ID]] = scores[:, [TEXT_PAD, START_ID]].masked_fill(
            motion_B[:, None], -torch.inf
        )
        scores[:, TEXT_END].masked_fill_(said < min_B, -torch.inf)
        over_B = said >= max_B
        scores.masked_fill_(over_B[:, None], -torch.inf)
        scores[:, TEXT_END].masked_fill_(over_B, 0.0)
        return scores


def load_motion_lm(path: Path, device: str = "cpu") -> MotionLanguageModel:
    """The language model of a run (its best checkpoint) or of a checkpoint.

    Raises:
        training.checkpoints.CheckpointError: there is none.
    """
    return open_motion_lm(read_checkpoint(path, KIND), torch.device(device))


def open_motion_lm(checkpoint: Checkpoint, device: torch.device) -> MotionLanguageModel:
    """The language model of a checkpoint."""
    config = MotionLmConfig.model_validate(checkpoint.config["model"])
    values: dict[str, Any] = json.loads((checkpoint.folder / T5_FILE).read_text())
    scaled = values.pop("scaled")
    t5_config = T5Config.from_dict(values)
    t5_config.scale_decoder_outputs = scaled
    state = checkpoint.model()
    codebook_KC = state["t5.shared.codebook_KC"]
    model = MotionLm(config, T5ForConditionalGeneration(t5_config), codebook_KC)
    model.load_state_dict(state)
    text = TextTokenizer((checkpoint.folder / TOKENIZER_FILE).read_text())
    return MotionLanguageModel(model, text, checkpoint.data["tokenizer_id"], device)
