"""One token of every row at a time: what ``transformers.generate`` calls of the language model.

T5's decoder as transformers has it spends half of a token's time between its modules. Here a layer
is a dozen operations: projections of the same input in one product, residuals added by the product
itself, keys and values kept in place. The function is the same.

A row's ids are those of its own kind (text pieces; or, of motion, pad, end, start and codes), and
so are its logits: a text answer cannot hold a motion token, nor the reverse, and rows of motion
alone never pay for the text vocabulary.

Shapes: B rows, S prompt ids, L answer ids so far, D T5's width, H heads, E width of a head, V text
pieces, K ``num_codes``, W columns of logits: the greatest of the kinds that the rows have.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Cache, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseGatedActDense

from training.instructions.vocabulary import NUM_SPECIAL_CODES
from training.language_model.model import MotionLm

START_ID: Final = 2
"""Begins a motion. Pad and end are those of text."""
FIRST_CODE_ID: Final = NUM_SPECIAL_CODES
"""Ids of codes follow."""


@dataclass(frozen=True, slots=True)
class _Layer:
    norms: tuple[nn.Module, nn.Module, nn.Module]
    self_qkv: Tensor
    self_out: Tensor
    cross_q: Tensor
    cross_kv: Tensor
    cross_out: Tensor
    gate: Tensor | None
    rise: Tensor
    fall: Tensor
    act: nn.Module


class StepDecoder:
    """The decoder of a model, ready to be stepped.

    Weights that are used together are laid side by side in memory; the modules keep views of them.

    Args:
        model: in evaluation mode, on its device.
    """

    def __init__(self, model: MotionLm) -> None:
        self.model = model
        stack = model.t5.decoder
        self.layers = [_layer(block) for block in stack.block]
        self.last_norm: nn.Module = stack.final_layer_norm
        self.first_attention: T5Attention = stack.block[0].layer[0].SelfAttention
        model.t5.__class__ = _SteppedT5

    def begin(self, motion_B: Tensor, longest: int) -> "Answers":
        """What a call of ``generate`` is to be given as ``past_key_values``.

        Args:
            motion_B: (B,) bool, rows that answer with motion.
            longest: ids of an answer at most, start and end included.
        """
        return Answers(self, motion_B, longest)


class Answers(Cache):
    """The answers of a batch as they grow: keys and values of all layers, and what each row is.

    Args:
        decoder: of the model.
        motion_B: (B,) bool of prompts; beams of a prompt stand together.
        longest: ids at most.
    """

    def __init__(self, decoder: StepDecoder, motion_B: Tensor, longest: int) -> None:
        super().__init__(layers=[])
        self._decoder = decoder
        self._motion_B = motion_B
        self._longest = longest
        self._length = 0
        self._kept: list[Tensor] = []  # of each layer, (2, B, H, longest, E): keys, values
        self._seen: list[Tensor] = []  # of each layer, (2, B, H, S, E): keys, values of the prompt
        self._unseen_B11S: Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 - transformers' signature
        """L."""
        return self._length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beams go on from others; those of one prompt saw the same."""
        for kept in self._kept:
            now = kept[:, :, :, : self._length]
            now.copy_(now.index_select(1, beam_idx))

    @torch.no_grad()
    def logits(self, ids_B: Tensor, encoded_BSD: Tensor, mask_BS: Tensor | None) -> Tensor:
        """Logits of the next ids, (B, W), after one more id of each row."""
        decoder = self._decoder
        if not self._length:
            self._see(encoded_BSD, mask_BS)
        place = self._length
        self._length += 1
        hidden_BD = self._embedded(ids_B)
        bias = self._bias[..., self._longest - 1 - place :]
        rows, heads = len(ids_B), self._heads
        for layer, kept, seen in zip(decoder.layers, self._kept, self._seen, strict=True):
            normed_BD = layer.norms[0](hidden_BD)
            qkv = functional.linear(normed_BD, layer.self_qkv).view(rows, 3, heads, -1)
            kept[:, :, :, place] = qkv[:, 1:].transpose(0, 1)
            attended = functional.scaled_dot_product_attention(
                qkv[:, 0, :, None],
                kept[0, :, :, : place + 1],
                kept[1, :, :, : place + 1],
                attn_mask=bias,
                scale=1.0,
            )
            hidden_BD = torch.addmm(hidden_BD, attended.view(rows, -1), layer.self_out.T)
            normed_BD = layer.norms[1](hidden_BD)
            attended = functional.scaled_dot_product_attention(
                functional.linear(normed_BD, layer.cross_q).view(rows, heads, 1, -1),
                seen[0],
                seen[1],
                attn_mask=self._unseen_B11S,
                scale=1.0,
            )
            hidden_BD = torch.addmm(hidden_BD, attended.view(rows, -1), layer.cross_out.T)
            normed_BD = layer.norms[2](hidden_BD)
            if layer.gate is None:
                risen = layer.act(functional.linear(normed_BD, layer.rise))
            else:
                risen = layer.act(functional.linear(normed_BD, layer.gate))
                risen = risen.mul_(functional.linear(normed_BD, layer.rise))
            hidden_BD = torch.addmm(hidden_BD, risen, layer.fall.T)
        return self._said(decoder.last_norm(hidden_BD))

    def _see(self, encoded_BSD: Tensor, mask_BS: Tensor | None) -> None:
        """The first step: what does not change from then on."""
        decoder = self._decoder
        rows = len(encoded_BSD)
        self._motion_B = self._motion_B.repeat_interleave(rows // len(self._motion_B))
        self._all_motion = bool(self._motion_B.all())
        self._all_text = not bool(self._motion_B.any())
        first = decoder.first_attention
        self._heads, width = first.n_heads, first.key_value_proj_dim
        # A bias depends on how far back an id is: that of the last place holds all of them.
        self._bias = first.compute_bias(
            1, self._longest, device=encoded_BSD.device, past_seen_tokens=self._longest - 1
        )
        for layer in decoder.layers:
            shape = 2, rows, self._heads, self._longest, width
            self._kept.append(encoded_BSD.new_empty(shape))
            seen = functional.linear(encoded_BSD, layer.cross_kv)
            seen = seen.view(rows, -1, 2, self._heads, width)
            self._seen.append(seen.permute(2, 0, 3, 1, 4).contiguous())
        if mask_BS is not None and not bool(mask_BS.all()):
            unseen_BS = torch.zeros_like(mask_BS, dtype=encoded_BSD.dtype)
            unseen_BS.masked_fill_(mask_BS == 0, torch.finfo(encoded_BSD.dtype).min)
            self._unseen_B11S = unseen_BS[:, None, None]
        self._motion_MD = _by_id(decoder.model.t5.shared.motion_table(), 0)

    def _embedded(self, ids_B: Tensor) -> Tensor:
        text: nn.Embedding = self._decoder.model.t5.shared.text
        if self._all_motion:
            return functional.embedding(ids_B, self._motion_MD)
        if self._all_text:
            return text(ids_B)
        motion_BD = functional.embedding(ids_B.clamp(max=len(self._motion_MD) - 1), self._motion_MD)
        text_BD = text(ids_B.clamp(max=text.num_embeddings - 1))
        return torch.where(self._motion_B[:, None], motion_BD.to(text_BD.dtype), text_BD)

    def _said(self, hidden_BD: Tensor) -> Tensor:
        heads = self._decoder.model.heads
        if self._all_motion:
            return _by_id(heads.motion(hidden_BD), -1)
        if self._all_text:
            return heads.text(hidden_BD * heads.text_scale)
        motion_B = self._motion_B
        motion = _by_id(heads.motion(hidden_BD[motion_B]), -1)
        text = heads.text(hidden_BD[~motion_B] * heads.text_scale)
        widest = max(motion.shape[1], text.shape[1])
        logits_BW = hidden_BD.new_full((len(hidden_BD), widest), -torch.inf)
        logits_BW[motion_B, : motion.shape[1]] = motion
        logits_BW[~motion_B, : text.shape[1]] = text
        return logits_BW


class _SteppedT5(T5ForConditionalGeneration):
    """What ``generate`` sees: each call is a step of :class:`Answers`."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        decoder_input_ids: Tensor,
        past_key_values: Answers,
        encoder_outputs: BaseModelOutput,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        encoded_BSD = encoder_outputs.last_hidden_state
        assert encoded_BSD is not None  # noqa: S101 - an encoder's
        logits_BW = past_key_values.logits(decoder_input_ids[:, -1], encoded_BSD, attention_mask)
        said: Any = Seq2SeqLMOutput(logits=logits_BW[:, None])
        said["past_key_values"] = past_key_values
        return said


def _by_id(values: Tensor, dim: int) -> Tensor:
    """What is there for codes, start, end and pad, in the order of ids."""
    num_codes = values.shape[dim] - NUM_SPECIAL_CODES
    codes, start, end, pad = values.split([num_codes, 1, 1, 1], dim)
    return torch.cat([pad, end, start, codes], dim)


def _layer(block: Any) -> _Layer:
    own, cross, last = block.layer
    mine, prompt, feed = own.SelfAttention, cross.EncDecAttention, last.DenseReluDense
    gated = isinstance(feed, T5DenseGatedActDense)
    return _Layer(
        norms=(own.layer_norm, cross.layer_norm, last.layer_norm),
        self_qkv=_side_by_side(mine.q, mine.k, mine.v),
        self_out=_weight(mine.o),
        cross_q=_weight(prompt.q),
        cross_kv=_side_by_side(prompt.k, prompt.v),
        cross_out=_weight(prompt.o),
        gate=_weight(feed.wi_0) if gated else None,
        rise=_weight(feed.wi_1 if gated else feed.wi),
        fall=_weight(feed.wo),
        act=feed.act,
    )


def _side_by_side(*linears: nn.Module) -> Tensor:
    """Weights of linear maps of one input, as one; plain ones become views of it."""
    weights = [_weight(linear) for linear in linears]
    together = torch.cat(weights)
    for linear, part in zip(linears, together.split([len(w) for w in weights]), strict=True):
        if type(linear) is nn.Linear:
            linear.weight.data = part
    return together


@torch.no_grad()
def _weight(linear: nn.Module) -> Tensor:
    if type(linear) is nn.Linear:
        return linear.weight.data
    # A low-rank adapter around one: what the whole of it does to unit vectors.
    base: Any = linear
    units = torch.eye(base.in_features, device=base.weight.device, dtype=base.weight.dtype)
    return base(units).T.contiguous()
