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
        words = self.model.vocabulary
        prompts_BS, mask_BS = (part.to(self.device) for part in pad_prompts(prompts))
        motion_B = torch.tensor([request.motion for request in requests], device=self.device)
        starts = [words.motion_start if request.motion else TEXT_PAD for request in requests]
        lengths = _Lengths(requests, self.text.num_pieces, words.num_text, words.motion_end)
        heads = self.model.heads
        heads.motion_B = motion_B
        try:
            out_BL: Tensor = self.model.t5.generate(
                inputs=prompts_BS,
                attention_mask=mask_BS,
                generation_config=self._settings(sampling, lengths.longest, starts),
                logits_processor=LogitsProcessorList([lengths]),
            )
        finally:
            heads.motion_B = None
        return [
            self._answer_of(ids, request.motion)
            for ids, request in zip(out_BL[:, 1:].tolist(), requests, strict=True)
        ]

    def _settings(self, sampling: Sampling, longest: int, starts: list[int]) -> GenerationConfig:
        words = self.model.vocabulary
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
            eos_token_id=[TEXT_END, words.motion_end],
            decoder_start_token_id=starts,
            use_cache=True,
            **how,
        )

    def _answer_of(self, ids: list[int], motion: bool) -> str | Codes:
        words = self.model.vocabulary
        end = words.motion_end if motion else TEXT_END
        own = ids[: ids.index(end)] if end in ids else ids
        if not motion:
            return self.text.decode(own)
        # Start and pad may be said by an untrained model; they stand for no frames.
        return tuple(i - words.num_text for i in own if words.num_text <= i < words.motion_start)


class _Lengths(LogitsProcessor):
    """Keeps each row's answer within its lengths, and out of pieces that no text has."""

    def __init__(
        self, requests: Sequence[Request], num_pieces: int, num_text: int, motion_end: int
    ) -> None:
        defaults = [MAX_MOTION if request.motion else MAX_TEXT for request in requests]
        longest = [
            request.max_length or default
            for request, default in zip(requests, defaults, strict=True)
        ]
        self.longest = max(longest)
        self._min_B = torch.tensor([request.min_length for request in requests])
        self._max_B = torch.tensor(longest)
        self._end_B = torch.tensor([motion_end if r.motion else TEXT_END for r in requests])
        self._unused = slice(num_pieces, num_text)
        # A motion has no start and no pad inside.
        self._inner = [motion_end - 1, motion_end + 1]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        said = input_ids.shape[1] - 1
        repeats = len(scores) // len(self._end_B)
        end_B, min_B, max_B = (
            values.to(scores.device).repeat_interleave(repeats)
            for values in (self._end_B, self._min_B, self._max_B)
        )
        scores = scores.clone()
        scores[:, self._unused] = -torch.inf
        scores[:, self._inner] = -torch.inf
        rows = torch.arange(len(scores), device=scores.device)
        end_scores = scores[rows, end_B].masked_fill(said < min_B, -torch.inf)
        over = said >= max_B
        scores[over] = -torch.inf
        scores[rows, end_B] = torch.where(over, 0.0, end_scores)
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
