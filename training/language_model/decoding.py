"""The language model as ``transformers.generate`` calls it: one decoder, a head for each kind.

A row's ids are those of its own kind (text pieces; or, of motion, pad, end, start and codes), and
so are its logits: a text answer cannot hold a motion token, nor the reverse, and rows of motion
alone never pay for the text vocabulary.

A decoder stepped by hand, with fused projections and a cache of its own, was 1.02 to 1.24 times as
fast in batches of 32 (``docs/benchmarks.md``) and is not worth its ties to transformers' insides.

Shapes: B rows, S prompt ids, L ids of this step, D T5's width, V text pieces, K ``num_codes``,
W columns of logits: the greatest of the kinds that the rows have.
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
"""Begins a motion. Pad and end are those of text."""
FIRST_CODE_ID: Final = NUM_SPECIAL_CODES
"""Ids of codes follow."""


class AnswerKinds:
    """What the rows of one batch answer with.

    Args:
        model: whose motion tokens they are.
        motion_B: (B,) bool of prompts, rows that answer with motion.
    """

    def __init__(self, model: MotionLm, motion_B: Tensor) -> None:
        self.motion_B = motion_B
        self.all_motion = bool(motion_B.all())
        self.all_text = not bool(motion_B.any())
        self.motion_MD = _by_id(model.t5.shared.motion_table(), 0)
        """(3 + K, D) embeddings of motion ids."""

    def motion_rows(self, count: int) -> Tensor:
        """(B,) bool; beams of a prompt stand together."""
        return self.motion_B.repeat_interleave(count // len(self.motion_B))


class AnsweringT5(T5PreTrainedModel, GenerationMixin):
    """T5 of a language model with its embeddings and heads; the weights are the model's own.

    ``generate`` is to be given ``decoder_kinds``, an :class:`AnswerKinds`.

    Args:
        model: in evaluation mode, on its device.
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
        """Logits of the ids that come next, (B, 1, W).

        Args:
            decoder_input_ids: (B, L) that came last.
            decoder_kinds: of the rows.
            encoder_outputs: of the prompts, (B, S, D).
            attention_mask: (B, S) of the prompts; None where none is padded.
            past_key_values: of the ids before these.
            use_cache: whether to keep keys and values.
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
    """What is there for codes, start, end and pad, in the order of ids."""
    num_codes = values.shape[dim] - NUM_SPECIAL_CODES
    codes, start, end, pad = values.split([num_codes, 1, 1, 1], dim)
    return torch.cat([pad, end, start, codes], dim)
