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

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class BothPrompts:
    """The prompt of each row and another one, which has a say in its answer.

    The next id is drawn from the normalized product of both distributions, each to the power of its
    weight: what one of the prompts rules out does not occur.

    Attributes:
        states_BSD: (2B, S, D) encoder states: those of the rows' own prompts, then of the others.
        mask_BS: (2B, S), 1 where a state is part of a prompt.
        weight: weight of the other prompts, above 0 and below 1; that of the rows' own is the rest.
    """

    states_BSD: Tensor
    mask_BS: Tensor
    weight: float

    def pooled(self, logits_BW: Tensor) -> Tensor:
        """Return the logits of the product, (B, W), of those of both, (2B, W)."""
        own_BW, other_BW = logits_BW.log_softmax(-1).chunk(2)
        return (1 - self.weight) * own_BW + self.weight * other_BW


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
        decoder_both: BothPrompts | None = None,
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
            decoder_both: prompts that replace these, if there are two of each row; not with beams.
            past_key_values: cache of the earlier ids.
            use_cache: whether to return an updated cache.
        """
        states_BSD, ids_BL = encoder_outputs.last_hidden_state, decoder_input_ids
        motion_B = decoder_kinds.motion_rows(len(ids_BL))
        if decoder_both is not None:
            states_BSD, attention_mask = decoder_both.states_BSD, decoder_both.mask_BS
            motion_B, ids_BL = motion_B.repeat(2), ids_BL.repeat(2, 1)
        decoded = self.decoder(
            inputs_embeds=self._embedded(ids_BL, decoder_kinds, motion_B),
            past_key_values=past_key_values,
            encoder_hidden_states=states_BSD,
            encoder_attention_mask=attention_mask,
            use_cache=use_cache,
        )
        logits_BW = self._logits(decoded.last_hidden_state[:, -1], decoder_kinds, motion_B)
        if decoder_both is not None:
            logits_BW = decoder_both.pooled(logits_BW)
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
