"""T5 on rows that lie one behind the other, without padding between them.

Of a T5 layer only attention needs to know where a row begins: everything else is done for each id
alone. So ids of all rows are one sequence, and for attention alone they are laid out as groups of
rows of like length, padded to the longest of their group. The function is that of transformers'
modules, whose weights these are.

This reaches into transformers: attention and norms take the place of its own. It is worth 1.3 times
the speed of padding groups of like lengths (``docs/benchmarks.md``), so it is kept behind
:func:`take_packed` alone, for the releases of transformers that its tests were passed with.

Shapes: N ids of all rows, B rows, P places of all groups, G rows of a group, S its padded length
(Q of queries, K of keys), H heads, E width of a head.
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
"""Release whose T5 this stands in for; pyproject.toml asks for the same."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the ids of rows stand: one behind the other, and padded in groups.

    Attributes:
        rows_N: row of each id.
        places_N: place of each id among those of all groups.
        ids_P: id that stands at a place, an index into N; at a place of padding, any.
        held_P: bool, places that are no padding.
        groups: rows and padded length of each.
    """

    rows_N: Tensor
    places_N: Tensor
    ids_P: Tensor
    held_P: Tensor
    groups: tuple[tuple[int, int], ...]

    def to(self, device: torch.device) -> "Packing":
        """On a device."""
        return Packing(
            self.rows_N.to(device, non_blocking=True),
            self.places_N.to(device, non_blocking=True),
            self.ids_P.to(device, non_blocking=True),
            self.held_P.to(device, non_blocking=True),
            self.groups,
        )

    def padding(self, dtype: torch.dtype) -> list[Tensor]:
        """Of each group, what is added to the scores of its keys: (G, 1, 1, S)."""
        added_P = torch.zeros(self.held_P.shape, dtype=dtype, device=self.held_P.device)
        added_P.masked_fill_(~self.held_P, torch.finfo(dtype).min)
        parts = added_P.split([rows * length for rows, length in self.groups])
        return [
            part.view(rows, 1, 1, length)
            for part, (rows, length) in zip(parts, self.groups, strict=True)
        ]


def pack(lengths: Sequence[Sequence[int]]) -> Packing:
    """Lay out rows.

    Args:
        lengths: of the rows of each group, in their order; at least one id each.
    """
    groups = tuple((len(group), max(group)) for group in lengths)
    lengths_B = torch.tensor(list(chain(*lengths)))
    padded_B = torch.tensor([length for rows, length in groups for _ in range(rows)])
    rows_N = torch.repeat_interleave(lengths_B)
    # How far a row is moved by the padding of those before it.
    moved_B = (padded_B - lengths_B).cumsum(0) - (padded_B - lengths_B)
    places_N = torch.arange(len(rows_N)) + moved_B[rows_N]
    ids_P = torch.zeros(int(padded_B.sum()), dtype=torch.long)
    ids_P[places_N] = torch.arange(len(rows_N))
    held_P = torch.zeros(len(ids_P), dtype=torch.bool)
    held_P[places_N] = True
    return Packing(rows_N, places_N, ids_P, held_P, groups)


class _HeadLayout:
    """A packing for queries, keys and values: each head is laid out for itself.

    Attributes:
        groups: (G, H, S) of each.
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
        # Of each place of a head, the (id, head) that stands there; and the other way round.
        self.sources = torch.cat(sources)
        self.places = torch.cat(places)[packing.places_N].flatten()
        self.held = torch.cat(held)[:, None]

    def spread(self, x_1ND: Tensor) -> list[Tensor]:
        """What each id has of each head, in groups (G, H, S, E)."""
        width = x_1ND.shape[-1] // self.groups[0][1]
        x = _Moved.apply(x_1ND.reshape(-1, width), self.sources, self.places, None)
        parts = x.split(list(map(prod, self.groups)))
        return [part.view(*shape, width) for part, shape in zip(parts, self.groups, strict=True)]

    def gather(self, groups: Sequence[Tensor]) -> Tensor:
        """The way back, (1, N, H·E)."""
        width = groups[0].shape[-1]
        x = torch.cat([group.reshape(-1, width) for group in groups])
        # What padding asks for changes nothing: it gets no gradient.
        x = _Moved.apply(x, self.places, self.sources, self.held)
        return x.view(1, -1, self.groups[0][1] * width)


class _Moved(torch.autograd.Function):
    """Vectors at other places. Each that counts moves once: so does its gradient, unsummed."""

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
    """T5's attention, also of packed rows: when it is told how they lie."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - a keyword more
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
        # Of the rows themselves, then of those that a decoder crosses to.
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
            # Padding comes after a row's ids: none of them sees it.
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
    # CPUs have no kernel for a bias that learns; the fallback scales, and guards against rows that
    # see nothing.
    scores = (query_GHQE @ key_GHKE.transpose(-1, -2)).add_(added)
    return functional.dropout(scores.softmax(-1), dropout) @ value_GHKE


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) · w with its gradient by hand: a third of what autograd makes of it on CPUs."""

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
        # The part of the gradient along x itself changes nothing.
        along = product @ (weight_D / -len(weight_D))
        x_gradient = (gradient * weight_D).addcmul_(unit, along[..., None]).mul_(inverse)
        return x_gradient, weight_gradient_D, None


class _FusedNorm(T5LayerNorm):
    """T5's norm as one operation instead of five."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.device.type == "cpu" and torch.is_grad_enabled():
            return _RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)  # pyright: ignore[reportReturnType]
        return functional.rms_norm(
            hidden_states, self.weight.shape, self.weight, self.variance_epsilon
        )


def take_packed(t5: T5ForConditionalGeneration) -> None:
    """Let a T5 take packed rows, and spare it what transformers computes step by step.

    Raises:
        RuntimeError: the installed transformers is of another release, or its T5 has other parts.
    """
    found = transformers.__version__
    if not found.startswith(f"{TRANSFORMERS}."):
        raise RuntimeError(
            f"transformers: expected release {TRANSFORMERS}, found {found}, whose T5 may compute "
            f"something else. Remedy: install transformers {TRANSFORMERS}; or pass "
            "tests/training/language_model with the new one, then raise TRANSFORMERS in packed.py "
            "and the range in pyproject.toml."
        )
    taken = 0
    for module in t5.modules():
        if type(module) is T5Attention:
            module.__class__ = _PackedAttention
            taken += 1
        elif type(module) is T5LayerNorm:
            module.__class__ = _FusedNorm
        elif isinstance(module, T5DenseGatedActDense) and isinstance(module.act, NewGELUActivation):
            module.act = nn.GELU("tanh")
    # An encoder's layer has one, a decoder's has two.
    expected = len(t5.encoder.block) + 2 * len(t5.decoder.block)
    if taken != expected:
        raise RuntimeError(
            f"T5: expected {expected} attentions to pack, found {taken}. "
            "Remedy: build the T5 with transformers' own modules."
        )


def answer_states(
    t5: Any, prompts_ND: Tensor, prompts: Packing, answers_MD: Tensor, answers: Packing
) -> Tensor:
    """The decoder's last states of rows of prompts and answers, (M, D).

    Args:
        t5: that was given to :func:`take_packed`.
        prompts_ND: embeddings of all prompts.
        prompts: their rows.
        answers_MD: embeddings of what the decoder sees.
        answers: their rows, in the groups of the prompts.
    """
    heads = t5.config.num_heads
    own, seen = _HeadLayout(answers, heads), _HeadLayout(prompts, heads)
    encoded_1ND = t5.encoder(inputs_embeds=prompts_ND[None], layouts=[seen]).last_hidden_state
    return t5.decoder(
        inputs_embeds=answers_MD[None],
        encoder_hidden_states=encoded_1ND,
        use_cache=False,
        layouts=[own, seen],
    ).last_hidden_state[0]
