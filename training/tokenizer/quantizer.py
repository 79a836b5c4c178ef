"""Quantizers, which map latent vectors to codes and back. Three kinds share one interface.

- ``ema``: one codebook, updated by exponential moving averages, with dead codes reset from the
  batch (van den Oord et al. 2017, appendix A.1; Zhang et al. 2023, T2M-GPT).
- ``residual``: several such codebooks; each quantizes the residual of the previous codebooks
  (Zeghidour et al. 2021, SoundStream; Guo et al. 2024, MoMask).
- ``fsq``: finite scalar quantization, which learns no codebook (Mentzer et al. 2024).

Codebooks are equal on all ranks: batch statistics are summed over the ranks, and random vectors are
broadcast from rank 0. Random numbers are a function of the number of updates, so that a resumed
training draws the same ones.

Shapes: B is the batch size, L the number of tokens, C the ``code_dim``, K the ``num_codes``, Q the
``num_quantizers``, N = B·L, D the number of FSQ dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional

from data.config import Config

_RESET_SEED: Final = 5_000_011
"""Offset of the seed of codebook resets. It separates their random numbers from those of quantizer
dropout, which is also seeded by the number of updates."""
_MIXING_SEED: Final = 7_000_003
"""Offset of the seed of mixtures, for the same reason."""
_UNMIXED: Final = 2
"""Number of codebooks that learn from latents alone: those that a language model predicts best."""


class QuantizerConfig(Config):
    """Kind and size of the quantizer; the defaults are those of AvatarGPT and T2M-GPT."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {"kind": ("num_quantizers",)}

    kind: Literal["ema", "residual", "fsq"] = Field(
        default="ema",
        description="ema: one codebook; residual: several codebooks per token; fsq: finite scalar "
        "quantization.",
    )
    num_codes: int = Field(
        default=512, ge=2, description="Size of each codebook. It is ignored for fsq."
    )
    code_dim: int = Field(default=512, ge=1, description="Dimension of the code vectors.")
    decay: float = Field(
        default=0.99, gt=0, lt=1, description="Decay of the moving averages of the codebook."
    )
    reset_below: float = Field(
        default=1.0,
        ge=0,
        description="Average number of vectors per batch below which a code is dead and is reset.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        description="Temperature at which training draws codes by their distance (MoMask); 0: the "
        "nearest code.",
    )
    num_quantizers: int = Field(
        default=1, ge=1, le=16, description="Number of codebooks. It must be 1 unless residual."
    )
    quantizer_dropout: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Probability that a training batch uses only some of the residual codebooks.",
    )
    mixing: float = Field(
        default=0.0,
        ge=0,
        description="Residual codebooks after the second one also learn from mixtures: a latent "
        "plus up to this many times the difference of two others. Motions unlike those of the "
        "training then lose less. 0: from latents alone.",
    )
    fsq_levels: tuple[int, ...] = Field(
        default=(8, 8, 8), min_length=1, description="Number of levels of each FSQ dimension."
    )

    @model_validator(mode="after")
    def _check_kind(self) -> "QuantizerConfig":
        if self.kind != "residual" and self.num_quantizers != 1:
            raise ValueError(
                f"quantizer: expected num_quantizers 1 for kind {self.kind}, found "
                f"{self.num_quantizers}. Remedy: set kind to residual, or omit num_quantizers."
            )
        if min(self.fsq_levels) < 2:
            raise ValueError(
                f"quantizer: expected fsq_levels of 2 or more, found {self.fsq_levels}. "
                "Remedy: raise the levels below 2."
            )
        return self


@dataclass(frozen=True, slots=True)
class Quantized:
    """Output of a quantizer.

    Attributes:
        latents_BLC: (B, L, C) quantized latents. Their gradient is passed straight through to the
            input.
        codes_BLQ: (B, L, Q) int64 codes; -1 for a residual codebook that was not used.
        commitment: scalar commitment loss, the mean squared distance of the input to its codes.
    """

    latents_BLC: Tensor
    codes_BLQ: Tensor
    commitment: Tensor


class Quantizer(nn.Module, ABC):
    """Interface of the quantizers.

    Attributes:
        num_codes: K, the size of each codebook.
        code_dim: C, the dimension of the latents.
        num_quantizers: Q, the number of codes per token.
    """

    num_codes: int
    code_dim: int
    num_quantizers: int

    @abstractmethod
    def forward(self, latents_BLC: Tensor) -> Quantized:
        """Quantize a batch; in training mode, also update the codebook."""

    @abstractmethod
    def encode(self, latents_BLC: Tensor) -> Tensor:
        """Return the codes of latents, (B, L, Q) int64."""

    @abstractmethod
    def decode(self, codes_BLQ: Tensor) -> Tensor:
        """Return the latents of codes, (B, L, C)."""

    @abstractmethod
    def codebook(self) -> Tensor:
        """Return the vectors of the first codebook, (K, C), for the adapter of a language model."""

    def residual_codebooks(self) -> Tensor | None:
        """Return the vectors of the other codebooks, (Q - 1, K, C); None if there are none."""
        return None


class EmaQuantizer(Quantizer):
    """One codebook that is updated by exponential moving averages, with dead-code reset.

    A code that is assigned fewer than ``reset_below`` vectors per batch on average is dead, and is
    reset to a latent of the batch. The codebook is initialized with latents of the first batch.
    """

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        decay: float,
        index: int = 0,
        *,
        reset_below: float = 1.0,
        temperature: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_codes, self.code_dim, self.num_quantizers = num_codes, code_dim, 1
        self._decay, self._reset_below, self._temperature = decay, reset_below, temperature
        self._index = index  # gives each codebook of a model its own random numbers
        self.codebook_KC: Tensor
        self.sums_KC: Tensor
        self.counts_K: Tensor
        self.updates: Tensor
        self.register_buffer("codebook_KC", torch.zeros(num_codes, code_dim))
        self.register_buffer("sums_KC", torch.zeros(num_codes, code_dim))
        self.register_buffer("counts_K", torch.ones(num_codes))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._num_updates: int | None = None

    @property
    def num_updates(self) -> int:
        """Number of updates of the codebook.

        A copy is kept on the host, so that reading it does not synchronize with the GPU.
        """
        if self._num_updates is None:
            self._num_updates = int(self.updates)
        return self._num_updates

    def forward(self, latents_BLC: Tensor) -> Quantized:
        """Quantize a batch; in training mode, also update the codebook."""
        # Half precision is too coarse for the distances and the averages.
        with torch.autocast(latents_BLC.device.type, enabled=False):
            flat_NC = latents_BLC.float().flatten(0, 1)
            if self.training and not self.num_updates:
                self._start(flat_NC.detach())
            codes_N = (
                self._sampled(flat_NC.detach())
                if self.training and self._temperature
                else self._nearest(flat_NC.detach())
            )
            quantized_NC = functional.embedding(codes_N, self.codebook_KC)
            if self.training:
                # The output uses the codebook before the update, as published.
                self._update(flat_NC.detach(), codes_N)
            commitment = functional.mse_loss(flat_NC, quantized_NC)
            passed_NC = flat_NC + (quantized_NC - flat_NC).detach()
        codes_BLQ = codes_N.view(*latents_BLC.shape[:2], 1)
        return Quantized(passed_NC.view_as(latents_BLC), codes_BLQ, commitment)

    def encode(self, latents_BLC: Tensor) -> Tensor:
        """Return the nearest codes, (B, L, 1)."""
        return self._nearest(latents_BLC.float().flatten(0, 1)).view(*latents_BLC.shape[:2], 1)

    def decode(self, codes_BLQ: Tensor) -> Tensor:
        """Look up the vectors of codes, (B, L, C)."""
        return functional.embedding(codes_BLQ[..., 0], self.codebook_KC)

    def codebook(self) -> Tensor:
        """Return the codebook, (K, C)."""
        return self.codebook_KC

    def _nearest(self, flat_NC: Tensor) -> Tensor:
        return self._distances(flat_NC).argmin(1)

    def _sampled(self, flat_NC: Tensor) -> Tensor:
        # The maximum with Gumbel noise is a sample of the softmax.
        distances_NK = self._distances(flat_NC)
        noise_NK = -torch.empty_like(distances_NK).exponential_().log()
        return (noise_NK - distances_NK / self._temperature).argmax(1)

    def _distances(self, flat_NC: Tensor) -> Tensor:
        # This is |x - c|² without the term |x|², which is the same for all codes.
        squares_K = self.codebook_KC.square().sum(1)
        return torch.addmm(squares_K, flat_NC, self.codebook_KC.T, alpha=-2)

    @torch.no_grad()
    def _start(self, flat_NC: Tensor) -> None:
        self.codebook_KC.copy_(self._drawn(flat_NC))
        self.sums_KC.copy_(self.codebook_KC)
        self.counts_K.fill_(1.0)

    @torch.no_grad()
    def _update(self, flat_NC: Tensor, codes_N: Tensor) -> None:
        counts_K = torch.bincount(codes_N, minlength=self.num_codes).to(flat_NC.dtype)
        sums_KC = torch.zeros_like(self.sums_KC).index_add_(0, codes_N, flat_NC)
        if _is_distributed():
            dist.all_reduce(counts_K)
            dist.all_reduce(sums_KC)
        self.counts_K.lerp_(counts_K, 1 - self._decay)
        self.sums_KC.lerp_(sums_KC, 1 - self._decay)
        means_KC = self.sums_KC / self.counts_K.clamp(min=1e-8)[:, None]
        alive_K1 = (self.counts_K >= self._reset_below)[:, None]
        self._num_updates = self.num_updates + 1
        self.updates += 1
        self.codebook_KC.copy_(torch.where(alive_K1, means_KC, self._drawn(flat_NC)))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._num_updates = None

    def _drawn(self, flat_NC: Tensor) -> Tensor:
        """Draw K latents from the batch of rank 0, (K, C).

        A batch of fewer than K latents is repeated, with a little noise added.
        """
        seed = _RESET_SEED * (self._index + 1) + self.num_updates
        generator = torch.Generator().manual_seed(seed)
        rows_N = torch.randperm(len(flat_NC), generator=generator).to(flat_NC.device)
        drawn_KC = flat_NC[rows_N[torch.arange(self.num_codes, device=rows_N.device) % len(rows_N)]]
        if len(flat_NC) < self.num_codes:
            noise_KC = torch.randn(self.num_codes, self.code_dim, generator=generator)
            drawn_KC = drawn_KC + noise_KC.to(flat_NC.device) * (0.01 / self.code_dim**0.5)
        if _is_distributed():
            dist.broadcast(drawn_KC, src=0)
        return drawn_KC


class ResidualQuantizer(Quantizer):
    """A sequence of codebooks; each quantizes the residual of the previous ones."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.num_codes, self.code_dim = config.num_codes, config.code_dim
        self.num_quantizers = config.num_quantizers
        self._dropout = config.quantizer_dropout
        self._mixing = config.mixing
        self.layers = nn.ModuleList(
            _ema_quantizer(config, index) for index in range(config.num_quantizers)
        )

    def forward(self, latents_BLC: Tensor) -> Quantized:
        """Quantize a batch; in training mode, quantizer dropout skips the last codebooks."""
        layers = self._layers()
        used = self._num_used() if self.training else len(layers)
        size = len(latents_BLC)
        left_BLC = latents_BLC.float()
        total_BLC = torch.zeros_like(left_BLC)
        mixed_BLC = self._mixed(left_BLC.detach()) if self.training and self._mixing else None
        codes: list[Tensor] = []
        commitments: list[Tensor] = []
        for number, layer in enumerate(layers[:used]):
            asked_BLC = left_BLC
            if mixed_BLC is not None and number >= _UNMIXED:
                asked_BLC = torch.cat([left_BLC, mixed_BLC])
            elif mixed_BLC is not None:
                mixed_BLC = mixed_BLC - layer.decode(layer.encode(mixed_BLC))
            quantized: Quantized = layer(asked_BLC)
            found_BLC, found_mixed_BLC = quantized.latents_BLC.tensor_split([size])
            codes.append(quantized.codes_BLQ[:size])
            commitments.append(functional.mse_loss(left_BLC, found_BLC.detach()))
            total_BLC = total_BLC + found_BLC
            left_BLC = left_BLC - found_BLC.detach()
            if mixed_BLC is not None and len(found_mixed_BLC):
                mixed_BLC = mixed_BLC - found_mixed_BLC
        codes_BLQ = functional.pad(torch.cat(codes, -1), (0, len(layers) - used), value=-1)
        # The sum of the layers' straight-through gradients would count the encoder several times.
        passed_BLC = latents_BLC + (total_BLC - latents_BLC).detach()
        return Quantized(passed_BLC, codes_BLQ, torch.stack(commitments).mean())

    def _mixed(self, latents_BLC: Tensor) -> Tensor:
        """Return as many mixtures as latents, (B, L, C).

        The latents of motions unlike those of the training are other combinations of the same
        parts, and lie farther from the mean.
        """
        flat_NC = latents_BLC.flatten(0, 1)
        generator = torch.Generator().manual_seed(_MIXING_SEED + self._layers()[0].num_updates)
        one_N, other_N = (torch.randperm(len(flat_NC), generator=generator) for _ in range(2))
        share_N1 = self._mixing * torch.rand(len(flat_NC), 1, generator=generator)
        one_N, other_N, share_N1 = (each.to(flat_NC.device) for each in (one_N, other_N, share_N1))
        mixed_NC = flat_NC + share_N1 * (flat_NC[one_N] - flat_NC[other_N])
        return mixed_NC.view_as(latents_BLC)

    def encode(self, latents_BLC: Tensor) -> Tensor:
        """Return the codes of all codebooks, (B, L, Q)."""
        left_BLC = latents_BLC.float()
        codes: list[Tensor] = []
        for layer in self._layers():
            codes.append(layer.encode(left_BLC))
            left_BLC = left_BLC - layer.decode(codes[-1])
        return torch.cat(codes, -1)

    def decode(self, codes_BLQ: Tensor) -> Tensor:
        """Return the sum of the vectors of the codes, (B, L, C); a code of -1 adds nothing."""
        parts = [
            layer.decode(code_BL1.clamp(min=0)) * (code_BL1 >= 0)
            for layer, code_BL1 in zip(self._layers(), codes_BLQ.split(1, -1), strict=True)
        ]
        return torch.stack(parts).sum(0)

    def codebook(self) -> Tensor:
        """Return the first codebook, (K, C)."""
        return self._layers()[0].codebook()

    def residual_codebooks(self) -> Tensor | None:
        """Return the codebooks after the first one, (Q - 1, K, C); None if there are none."""
        later = [layer.codebook() for layer in self._layers()[1:]]
        return torch.stack(later) if later else None

    def _layers(self) -> list[EmaQuantizer]:
        return [layer for layer in self.layers if isinstance(layer, EmaQuantizer)]

    def _num_used(self) -> int:
        # The first codebook is updated by every batch, so that its number of updates identifies the
        # batch, equally on all ranks.
        generator = torch.Generator().manual_seed(self._layers()[0].num_updates)
        if torch.rand((), generator=generator) >= self._dropout:
            return self.num_quantizers
        return int(torch.randint(1, self.num_quantizers + 1, (), generator=generator))


class FiniteScalarQuantizer(Quantizer):
    """Projects latents to a few dimensions, and bounds and rounds each of them.

    A code is the combination of the levels of all dimensions.
    """

    def __init__(self, code_dim: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.code_dim, self.num_quantizers = code_dim, 1
        self.project_in = nn.Linear(code_dim, len(levels))
        self.project_out = nn.Linear(len(levels), code_dim)
        levels_D = torch.tensor(levels)
        self.num_codes = int(levels_D.prod())
        self.levels_D: Tensor
        self.strides_D: Tensor
        self.register_buffer("levels_D", levels_D, persistent=False)
        strides_D = functional.pad(levels_D.cumprod(0)[:-1], (1, 0), value=1)
        self.register_buffer("strides_D", strides_D, persistent=False)

    def forward(self, latents_BLC: Tensor) -> Quantized:
        """Quantize a batch; the commitment loss is always 0."""
        bounded_BLD = self._bounded(latents_BLC)
        rounded_BLD = bounded_BLD + (bounded_BLD.round() - bounded_BLD).detach()
        decoded_BLC = self._out(rounded_BLD)
        codes_BLQ = self._codes(bounded_BLD)
        return Quantized(decoded_BLC, codes_BLQ, latents_BLC.new_zeros(()))

    def encode(self, latents_BLC: Tensor) -> Tensor:
        """Return the codes of latents, (B, L, 1)."""
        return self._codes(self._bounded(latents_BLC))

    def decode(self, codes_BLQ: Tensor) -> Tensor:
        """Return the latents of codes, (B, L, C)."""
        digits_BLD = codes_BLQ.div(self.strides_D, rounding_mode="floor") % self.levels_D
        return self._out((digits_BLD - self.levels_D.div(2, rounding_mode="floor")).float())

    def codebook(self) -> Tensor:
        """Return the vectors of all codes, (K, C)."""
        codes_K = torch.arange(self.num_codes, device=self.levels_D.device)
        return self.decode(codes_K[None, :, None])[0]

    def _bounded(self, latents_BLC: Tensor) -> Tensor:
        """Return values that round to exactly the levels of each dimension, (B, L, D)."""
        half_D = (self.levels_D - 1) / 2 * (1 - 1e-3)
        # An even number of levels has no level at 0, so the values are shifted by half a level
        # (Mentzer et al. 2024).
        offset_D = torch.where(self.levels_D % 2 == 0, 0.5, 0.0)
        shift_D = torch.atanh(offset_D / half_D)
        return torch.tanh(self.project_in(latents_BLC.float()) + shift_D) * half_D - offset_D

    def _codes(self, bounded_BLD: Tensor) -> Tensor:
        digits_BLD = bounded_BLD.round().long() + self.levels_D.div(2, rounding_mode="floor")
        return (digits_BLD * self.strides_D).sum(-1, keepdim=True)

    def _out(self, rounded_BLD: Tensor) -> Tensor:
        return self.project_out(rounded_BLD / self.levels_D.div(2, rounding_mode="floor"))


def build_quantizer(config: QuantizerConfig) -> Quantizer:
    """Build the quantizer that a configuration describes."""
    if config.kind == "ema":
        return _ema_quantizer(config)
    if config.kind == "residual":
        return ResidualQuantizer(config)
    return FiniteScalarQuantizer(config.code_dim, config.fsq_levels)


def _ema_quantizer(config: QuantizerConfig, index: int = 0) -> EmaQuantizer:
    return EmaQuantizer(
        config.num_codes,
        config.code_dim,
        config.decay,
        index,
        reset_below=config.reset_below,
        temperature=config.temperature,
    )


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
