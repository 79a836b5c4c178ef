"""T5 on packed rows, which are concatenated without padding.

In a T5 layer only attention depends on where a row begins; all other operations work on each id
alone. The ids of all rows are therefore one sequence, and only for attention the rows are padded,
in groups of similar lengths. The results are those of the modules of transformers, whose weights
are used.

This module replaces the attention and the norms of transformers' T5, so it depends on internals of
that library. Packing is at least 1.3 times as fast as padding all operations in groups of similar
lengths (``docs/benchmarks.md``), which is why it is kept. :func:`use_packed_attention` is the only
entry point, and it refuses releases of transformers other than the one that the tests pass with.

Shapes: N is the number of ids of all rows, B the number of rows, P the number of padded positions
of all groups, G the number of rows of a group, S its padded length (Q of queries, K of keys), H the
number of heads, E the width of a head, D the width of the model, M the number of answer ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Final

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5ForConditionalGeneration
from transformers.activations import NewGELUActivation
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseGatedActDense, T5LayerNorm

TRANSFORMERS: Final = "5.23"
"""Release of transformers whose T5 is replaced; pyproject.toml requires the same release."""


@dataclass(frozen=True, slots=True)
class Packing:
    """The positions of rows in the packed sequence, and in padded groups.

    Attributes:
        rows_N: (N,) row of each id.
        places_N: (N,) padded position of each id.
        ids_P: (P,) packed position of the id at each padded position; 0 at padding.
        held_P: (P,) bool, false at padding.
        groups: number of rows and padded length of each group.
    """

    rows_N: Tensor
    places_N: Tensor
    ids_P: Tensor
    held_P: Tensor
    groups: tuple[tuple[int, int], ...]

    def to(self, device: torch.device) -> "Packing":
        """Move the packing to a device."""
        return Packing(
            self.rows_N.to(device, non_blocking=True),
            self.places_N.to(device, non_blocking=True),
            self.ids_P.to(device, non_blocking=True),
            self.held_P.to(device, non_blocking=True),
            self.groups,
        )

    def padding(self, dtype: torch.dtype) -> list[Tensor]:
        """Return the attention mask of each group, (G, 1, 1, S), to be added to the scores."""
        added_P = torch.zeros(self.held_P.shape, dtype=dtype, device=self.held_P.device)
        added_P.masked_fill_(~self.held_P, torch.finfo(dtype).min)
        parts = added_P.split([rows * length for rows, length in self.groups])
        return [
            part.view(rows, 1, 1, length)
            for part, (rows, length) in zip(parts, self.groups, strict=True)
        ]


def pack(lengths: Sequence[Sequence[int]]) -> Packing:
    """Pack rows.

    Args:
        lengths: lengths of the rows of each group, in order. Each row has at least one id.
    """
    groups = tuple((len(group), max(group)) for group in lengths)
    lengths_B = torch.tensor(list(chain(*lengths)))
    padded_B = torch.tensor([length for rows, length in groups for _ in range(rows)])
    rows_N = torch.repeat_interleave(lengths_B)
    # The number of padding positions before each row.
    moved_B = (padded_B - lengths_B).cumsum(0) - (padded_B - lengths_B)
    places_N = torch.arange(len(rows_N)) + moved_B[rows_N]
    ids_P = torch.zeros(int(padded_B.sum()), dtype=torch.long)
    ids_P[places_N] = torch.arange(len(rows_N))
    held_P = torch.zeros(len(ids_P), dtype=torch.bool)
    held_P[places_N] = True
    return Packing(rows_N, places_N, ids_P, held_P, groups)


class _HeadLayout:
    """A packing of queries, keys or values, in which each head has its own rows.

    Attributes:
        groups: (G, H, S) of each group.
    """

    def __init__(self, packing: Packing, heads: int) -> None:
        self.packing = packing
        device = packing.ids_P.device
        heads_H1 = torch.arange(heads, device=device)[:, None]
        sources: list[Tensor] = []
        places: list[Tensor] = []
        held: list[Tensor] = []
        begin = 0
        for rows, length in packing.groups:
            own = slice(begin, begin + rows * length)
            ids_G1S = packing.ids_P[own].view(rows, 1, length)
            sources.append((ids_G1S * heads + heads_H1).flatten())
            held_G1S = packing.held_P[own].view(rows, 1, length)
            held.append(held_G1S.expand(-1, heads, -1).flatten())
            place = torch.arange(begin * heads, own.stop * heads, device=device)
            places.append(place.view(rows, heads, length).transpose(1, 2).flatten(0, 1))
            begin = own.stop
        self.groups = [(rows, heads, length) for rows, length in packing.groups]
        # The packed index (id, head) of each padded position of a head, and the inverse.
        self.sources = torch.cat(sources)
        self.places = torch.cat(places)[packing.places_N].flatten()
        self.held = torch.cat(held)[:, None]

    def spread(self, x_1ND: Tensor) -> list[Tensor]:
        """Pad a packed sequence (1, N, H·E) into groups, (G, H, S, E) each."""
        width = x_1ND.shape[-1] // self.groups[0][1]
        x = _Permutation.apply(x_1ND.reshape(-1, width), self.sources, self.places, None)
        parts = x.split(list(map(prod, self.groups)))
        return [part.view(*shape, width) for part, shape in zip(parts, self.groups, strict=True)]

    def gather(self, groups: Sequence[Tensor]) -> Tensor:
        """Pack groups (G, H, S, E) into a sequence (1, N, H·E), the inverse of :meth:`spread`."""
        width = groups[0].shape[-1]
        x = torch.cat([group.reshape(-1, width) for group in groups])
        # Padding does not affect the result, so its gradient is 0.
        x = _Permutation.apply(x, self.places, self.sources, self.held)
        return x.view(1, -1, self.groups[0][1] * width)


class _Permutation(torch.autograd.Function):
    """Permutes vectors, except padding.

    Each vector that is not padding is used exactly once, so that its gradient is another
    permutation. Autograd would accumulate it with ``index_add``.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, sources: Tensor, back: Tensor, counting: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(back, counting)
        return x.index_select(0, sources)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        back, counting = ctx.saved_tensors
        gradient = gradients[0].index_select(0, back)
        return gradient if counting is None else gradient.mul_(counting), None, None, None


class _PackedAttention(T5Attention):
    """The attention of T5, which also takes packed rows if their layouts are passed."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - one more keyword
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        key_value_states: Tensor | None = None,
        position_bias: Any = None,
        past_key_values: Any = None,
        *,
        layouts: Sequence[_HeadLayout] = (),
        **kwargs: Any,
    ) -> tuple[Tensor, Any, Tensor | None]:
        if not layouts:
            return super().forward(
                hidden_states, mask, key_value_states, position_bias, past_key_values, **kwargs
            )
        crossed = key_value_states is not None
        source = key_value_states if crossed else hidden_states
        # The layouts are those of the rows themselves and, for cross-attention, of the prompts.
        own, keys = layouts[0], layouts[int(crossed)]
        if position_bias is None:
            position_bias = self._added(keys, crossed, hidden_states.dtype)
        dropout = self.dropout if self.training else 0.0
        attended = [
            _attend(*parts, dropout)
            for parts in zip(
                own.spread(self.q(hidden_states)),
                keys.spread(self.k(source)),
                keys.spread(self.v(source)),
                position_bias,
                strict=True,
            )
        ]
        return self.o(own.gather(attended)), position_bias, None

    def _added(self, keys: _HeadLayout, crossed: bool, dtype: torch.dtype) -> list[Tensor]:
        if crossed:
            return keys.packing.padding(dtype)
        longest = max(length for _, length in keys.packing.groups)
        bias_1HSS = self.compute_bias(longest, longest)
        if self.is_causal:
            later_SS = torch.ones(longest, longest, dtype=torch.bool, device=bias_1HSS.device)
            bias_1HSS = bias_1HSS.masked_fill(later_SS.triu(1), torch.finfo(dtype).min)
            # Padding comes after the ids of a row, so the causal mask hides it from them.
            return [bias_1HSS[..., :length, :length] for _, length in keys.packing.groups]
        return [
            bias_1HSS[..., :length, :length] + padding
            for padding, (_, length) in zip(
                keys.packing.padding(dtype), keys.packing.groups, strict=True
            )
        ]


def _attend(
    query_GHQE: Tensor, key_GHKE: Tensor, value_GHKE: Tensor, added: Tensor, dropout: float
) -> Tensor:
    learns = torch.is_grad_enabled() and added.requires_grad
    if query_GHQE.device.type != "cpu" or not learns:
        return functional.scaled_dot_product_attention(
            query_GHQE,
            key_GHKE,
            value_GHKE,
            attn_mask=added.to(query_GHQE.dtype),
            dropout_p=dropout,
            scale=1.0,
        )
    # CPUs have no fused kernel for a bias with a gradient. The fallback of torch also computes a
    # scaling and a check for fully masked rows, neither of which is needed here.
    scores = (query_GHQE @ key_GHKE.transpose(-1, -2)).add_(added)
    return functional.dropout(scores.softmax(-1), dropout) @ value_GHKE


class _RmsNorm(torch.autograd.Function):
    """RMS norm, x / rms(x) · w, with a hand-written gradient.

    On CPUs this takes a third of the time that autograd takes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = (norm.square_() / x.shape[-1]).add_(epsilon).rsqrt_()
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight_D)
        return unit * weight_D

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse, weight_D = ctx.saved_tensors
        (gradient,) = gradients
        product = gradient * unit
        weight_gradient_D = product.flatten(0, -2).sum(0)
        # The norm does not depend on the length of x, so the gradient along x is removed.
        along = product @ (weight_D / -len(weight_D))
        x_gradient = (gradient * weight_D).addcmul_(unit, along[..., None]).mul_(inverse)
        return x_gradient, weight_gradient_D, None


class _FusedNorm(T5LayerNorm):
    """The norm of T5 as one operation instead of five."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.device.type == "cpu" and torch.is_grad_enabled():
            return _RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)  # pyright: ignore[reportReturnType]
        return functional.rms_norm(
            hidden_states, self.weight.shape, self.weight, self.variance_epsilon
        )


def use_packed_attention(t5: T5ForConditionalGeneration) -> None:
    """Replace the attention, the norms and GELU of a T5 in place, so that it takes packed rows.

    Raises:
        RuntimeError: another release of transformers is installed, or the T5 has other modules.
    """
    found = transformers.__version__
    if not found.startswith(f"{TRANSFORMERS}."):
        raise RuntimeError(
            f"transformers: expected release {TRANSFORMERS}, found {found}, whose T5 may differ. "
            f"Remedy: install transformers {TRANSFORMERS}; or run tests/training/language_model "
            "with the new release, and if they pass, change TRANSFORMERS in packed.py and the "
            "range in pyproject.toml."
        )
    replaced = 0
    for module in t5.modules():
        if type(module) is T5Attention:
            module.__class__ = _PackedAttention
            replaced += 1
        elif type(module) is T5LayerNorm:
            module.__class__ = _FusedNorm
        elif isinstance(module, T5DenseGatedActDense) and isinstance(module.act, NewGELUActivation):
            module.act = nn.GELU("tanh")
    # A layer of the encoder has one attention, a layer of the decoder has two.
    expected = len(t5.encoder.block) + 2 * len(t5.decoder.block)
    if replaced != expected:
        raise RuntimeError(
            f"T5: expected {expected} attention modules of transformers, found {replaced}. "
            "Remedy: build the T5 without custom attention modules."
        )


def answer_states(
    t5: Any, prompts_ND: Tensor, prompts: Packing, answers_MD: Tensor, answers: Packing
) -> tuple[Tensor, Tensor]:
    """Return the last states of the decoder for all answers, and of the encoder for all prompts.

    Args:
        t5: T5 that was modified by :func:`use_packed_attention`.
        prompts_ND: (N, D) embeddings of all prompts.
        prompts: packing of the prompts.
        answers_MD: (M, D) embeddings of the decoder inputs of all answers.
        answers: packing of the answers, in the same groups of rows as the prompts.

    Returns:
        Decoder states (M, D) and encoder states (N, D).
    """
    heads = t5.config.num_heads
    own, seen = _HeadLayout(answers, heads), _HeadLayout(prompts, heads)
    encoded_1ND = t5.encoder(inputs_embeds=prompts_ND[None], layouts=[seen]).last_hidden_state
    decoded_1MD = t5.decoder(
        inputs_embeds=answers_MD[None],
        encoder_hidden_states=encoded_1ND,
        use_cache=False,
        layouts=[own, seen],
    ).last_hidden_state
    return decoded_1MD[0], encoded_1ND[0]
