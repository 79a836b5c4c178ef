"""Adapts the language model to ``generate`` of transformers: one decoder with two heads.

The ids and logits of a row are those of its own kind: text pieces for a text answer; pad, end,
start and motion codes for a motion answer. A text answer therefore cannot contain a motion token
and a motion answer cannot contain text, and a batch of motion answers alone does not compute text
logits.

A decoding loop of our own, with fused projections and its own cache, was only 1.02 to 1.22 times as
fast in batches of 32 at the size of the preset ``small`` and above (``docs/benchmarks.md``). It was
removed, because it depended on internals of transformers.

Shapes: B is the number of rows, S the length of the prompts, L the number of ids of this step, D
the width of T5, V the number of text pieces, K the ``num_codes``, M = 3 + K the number of motion
ids, W the number of logits: M or V, the larger one if the rows are of both kinds.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Cache, GenerationMixin, T5PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from training.instructions.vocabulary import NUM_SPECIAL_CODES
from training.language_model.model import MotionLm, TwoHeads

START_ID: Final = 2
"""Id of the start of a motion. Pad and end have the same ids as in text."""
FIRST_CODE_ID: Final = NUM_SPECIAL_CODES
"""Id of the first motion code."""


class AnswerKinds:
    """The kind of answer, text or motion, of each row of a batch.

    Args:
        model: the language model.
        motion_B: (B,) bool, which prompts are answered with a motion.
    """

    def __init__(self, model: MotionLm, motion_B: Tensor) -> None:
        self.motion_B = motion_B
        self.all_motion = bool(motion_B.all())
        self.all_text = not bool(motion_B.any())
        self.motion_MD = _by_id(model.t5.shared.motion_table(), 0)
        """(M, D) embeddings of the motion ids."""

    def motion_rows(self, count: int) -> Tensor:
        """Return which of ``count`` rows are motions; the beams of a prompt are adjacent rows."""
        return self.motion_B.repeat_interleave(count // len(self.motion_B))


class AnsweringT5(T5PreTrainedModel, GenerationMixin):
    """The T5 of a language model with its embeddings and heads. It shares the model's weights.

    ``generate`` must be called with ``decoder_kinds``, an :class:`AnswerKinds`.

    Args:
        model: language model in evaluation mode, on its device.
    """

    def __init__(self, model: MotionLm) -> None:
        super().__init__(model.t5.config)
        self.encoder: nn.Module = model.t5.encoder
        self.decoder: nn.Module = model.t5.decoder
        self.text: nn.Embedding = model.t5.shared.text
        self.heads: TwoHeads = model.heads

    def forward(
        self,
        decoder_input_ids: Tensor,
        decoder_kinds: AnswerKinds,
        encoder_outputs: BaseModelOutput,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Return the logits of the next ids, (B, 1, W).

        Args:
            decoder_input_ids: (B, L) last ids of the answers.
            decoder_kinds: kind of answer of each row.
            encoder_outputs: encoder states of the prompts, (B, S, D).
            attention_mask: (B, S) mask of the prompts; None if no prompt is padded.
            past_key_values: cache of the earlier ids.
            use_cache: whether to return an updated cache.
        """
        motion_B = decoder_kinds.motion_rows(len(decoder_input_ids))
        decoded = self.decoder(
            inputs_embeds=self._embedded(decoder_input_ids, decoder_kinds, motion_B),
            past_key_values=past_key_values,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_attention_mask=attention_mask,
            use_cache=use_cache,
        )
        logits_BW = self._logits(decoded.last_hidden_state[:, -1], decoder_kinds, motion_B)
        return Seq2SeqLMOutput(
            logits=logits_BW[:, None],  # pyright: ignore[reportArgumentType] - a plain tensor
            past_key_values=decoded.past_key_values,
        )

    def _embedded(self, ids_BL: Tensor, kinds: AnswerKinds, motion_B: Tensor) -> Tensor:
        if kinds.all_motion:
            return functional.embedding(ids_BL, kinds.motion_MD)
        if kinds.all_text:
            return self.text(ids_BL)
        motion_BLD = functional.embedding(
            ids_BL.clamp(max=len(kinds.motion_MD) - 1), kinds.motion_MD
        )
        text_BLD = self.text(ids_BL.clamp(max=self.text.num_embeddings - 1))
        return torch.where(motion_B[:, None, None], motion_BLD.to(text_BLD.dtype), text_BLD)

    def _logits(self, hidden_BD: Tensor, kinds: AnswerKinds, motion_B: Tensor) -> Tensor:
        heads = self.heads
        if kinds.all_motion:
            return _by_id(heads.motion(hidden_BD), -1)
        if kinds.all_text:
            return heads.text(hidden_BD * heads.text_scale)
        motion = _by_id(heads.motion(hidden_BD[motion_B]), -1)
        text = heads.text(hidden_BD[~motion_B] * heads.text_scale)
        widest = max(motion.shape[1], text.shape[1])
        logits_BW = hidden_BD.new_full((len(hidden_BD), widest), -torch.inf)
        logits_BW[motion_B, : motion.shape[1]] = motion
        logits_BW[~motion_B, : text.shape[1]] = text
        return logits_BW


def _by_id(values: Tensor, dim: int) -> Tensor:
    """Reorder values of codes, start, end and pad by the ids of this module."""
    num_codes = values.shape[dim] - NUM_SPECIAL_CODES
    codes, start, end, pad = values.split([num_codes, 1, 1, 1], dim)
    return torch.cat([pad, end, start, codes], dim)
