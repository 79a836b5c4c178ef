"""The motion VQ-VAE (AvatarGPT §3; T2M-GPT, Zhang et al. 2023).

The encoder is a 1-D convolutional ResNet that halves the frame rate ``down_stages`` times. The
quantizer maps each remaining vector to a code, and the decoder mirrors the encoder. The default
sizes, loss and order of layers are the published ones, so that released weights can be converted
(:mod:`training.tokenizer.published`).

Activations are stored channels-last, (B, T, W), because the convolution libraries of CPUs and GPUs
are fastest with this memory layout.

Shapes: B is the batch size, T the number of frames, D the number of features, W the ``width``,
L the number of tokens (T / ``frames_per_token``), C the ``code_dim``, K the ``num_codes``, Q the
codes per token.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from data.config import Config
from data.motion.features import NUM_FEATURES
from training.tokenizer.quantizer import Quantized, Quantizer, QuantizerConfig, build_quantizer


class MotionVqvaeConfig(Config):
    """Architecture and loss weights of the VQ-VAE; the defaults are the published values."""

    num_features: int = Field(
        default=NUM_FEATURES, ge=1, description="Number of motion features of a frame."
    )
    width: int = Field(default=512, ge=1, description="Number of channels of the ResNet.")
    depth: int = Field(default=3, ge=0, description="Number of residual blocks per stage.")
    dilation_growth: int = Field(
        default=3, ge=1, description="Factor by which the dilation grows from block to block."
    )
    down_stages: int = Field(
        default=2, ge=0, le=6, description="Number of stages; each halves the frame rate."
    )
    quantizer: QuantizerConfig = Field(
        default_factory=QuantizerConfig, description="Kind and size of the codebook."
    )
    linear_path: bool = Field(
        default=False,
        description="Whether linear maps lie beside the ResNets: of the frames about a token to "
        "its latent, and back. They learn faster, and fail less on motions unlike those of the "
        "training.",
    )
    position_weight: float = Field(
        default=0.5, ge=0, description="Weight of the loss on local joint positions (dims 4:67)."
    )
    step_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the loss on the steps of all joints in the world, from frame to "
        "frame.",
    )
    contact_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the loss on the steps of toes that are on the floor.",
    )
    drift_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the loss on heading and place, whose errors add up over a window.",
    )
    commitment_weight: float = Field(
        default=0.02, ge=0, description="Weight of the commitment loss."
    )

    @model_validator(mode="after")
    def _check_linear_path(self) -> Self:
        if self.linear_path and not self.down_stages:
            raise ValueError(
                "linear_path: expected down_stages of 1 or more, found 0. Remedy: raise "
                "down_stages, or omit linear_path."
            )
        return self

    @property
    def frames_per_token(self) -> int:
        """Number of frames that one token covers."""
        return 2**self.down_stages


class _Conv(nn.Conv1d):
    """A zero-padded convolution over channels-last activations, (B, T, channels)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, padding, dilation)
        # The weight is stored channels-last, as it is computed with. Otherwise every step would
        # copy the weight and its gradient.
        self.weight = nn.Parameter(self.weight.detach().transpose(1, 2).contiguous().mT)

    def forward(self, x_BTW: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.kernel_size == (1,):
            return functional.linear(x_BTW, self.weight[..., 0], self.bias)
        # conv2d on a channels-last image of height 1 is about 1.5 times as fast as conv1d on CPUs.
        image = x_BTW.transpose(1, 2).unsqueeze(2)
        padding = int(self.padding[0])
        out = functional.conv2d(
            image,
            self.weight.unsqueeze(2),
            self.bias,
            stride=(1, self.stride[0]),
            padding=(0, padding),
            dilation=(1, self.dilation[0]),
        )
        return out.squeeze(2).transpose(1, 2)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _Conv(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = _Conv(width, width, 1)

    def forward(self, x_BTW: Tensor, mask_BT1: Tensor | None) -> Tensor:
        hidden_BTW = functional.relu(self.conv1(functional.relu(x_BTW)))
        return _masked(x_BTW + self.conv2(hidden_BTW), mask_BT1)


class _Stage(nn.Module):
    """Residual blocks, in order of decreasing dilation."""

    def __init__(self, config: MotionVqvaeConfig) -> None:
        super().__init__()
        dilations = [config.dilation_growth**block for block in range(config.depth)]
        self.blocks = nn.ModuleList(
            _ResidualBlock(config.width, dilation) for dilation in reversed(dilations)
        )

    def forward(self, x_BTW: Tensor, mask_BT1: Tensor | None) -> Tensor:
        for block in self.blocks:
            x_BTW = block(x_BTW, mask_BT1)
        return x_BTW


class Encoder(nn.Module):
    """Maps features (B, T, D) to latents (B, T / frames_per_token, C)."""

    def __init__(self, config: MotionVqvaeConfig) -> None:
        super().__init__()
        width = config.width
        self.first = _Conv(config.num_features, width, 3, padding=1)
        self.downs = nn.ModuleList(
            _Conv(width, width, 4, stride=2, padding=1) for _ in range(config.down_stages)
        )
        self.stages = nn.ModuleList(_Stage(config) for _ in range(config.down_stages))
        self.last = _Conv(width, config.quantizer.code_dim, 3, padding=1)
        self.linear: _Conv | None = None
        if config.linear_path:
            step = config.frames_per_token
            sizes = config.num_features, config.quantizer.code_dim, 2 * step
            self.linear = _Conv(*sizes, stride=step, padding=step // 2)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Return the latents of features; ``lengths_B`` is in frames."""
        mask_BT1 = _mask(features_BTD, lengths_B)
        given_BTD = _masked(features_BTD, mask_BT1)
        x_BTW = _masked(functional.relu(self.first(given_BTD)), mask_BT1)
        for down, stage in zip(self.downs, self.stages, strict=True):
            x_BTW = down(x_BTW)
            lengths_B = None if lengths_B is None else lengths_B // 2
            mask_BT1 = _mask(x_BTW, lengths_B)
            x_BTW = stage(_masked(x_BTW, mask_BT1), mask_BT1)
        latents_BLC = self.last(x_BTW)
        if self.linear is not None:
            latents_BLC = latents_BLC + self.linear(given_BTD)
        return _masked(latents_BLC, mask_BT1)


class Decoder(nn.Module):
    """Maps latents (B, L, C) to features (B, L · frames_per_token, D)."""

    def __init__(self, config: MotionVqvaeConfig) -> None:
        super().__init__()
        width = config.width
        self.first = _Conv(config.quantizer.code_dim, width, 3, padding=1)
        self.stages = nn.ModuleList(_Stage(config) for _ in range(config.down_stages))
        self.ups = nn.ModuleList(
            _Conv(width, width, 3, padding=1) for _ in range(config.down_stages)
        )
        self.middle = _Conv(width, width, 3, padding=1)
        self.last = _Conv(width, config.num_features, 3, padding=1)
        self.linear: nn.ConvTranspose1d | None = None
        if config.linear_path:
            # The frames of a token overlap with those of its neighbors, as in a lapped transform.
            step = config.frames_per_token
            sizes = config.quantizer.code_dim, config.num_features, 2 * step
            self.linear = nn.ConvTranspose1d(*sizes, step, step // 2, bias=False)
            # Random weights would leave noise in directions that latents hardly have.
            nn.init.zeros_(self.linear.weight)

    def forward(self, latents_BLC: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Return the features of latents; ``lengths_B`` is in tokens."""
        mask_BT1 = _mask(latents_BLC, lengths_B)
        given_BLC = _masked(latents_BLC, mask_BT1)
        x_BTW = _masked(functional.relu(self.first(given_BLC)), mask_BT1)
        for stage, up in zip(self.stages, self.ups, strict=True):
            # Nearest-neighbor upsampling repeats each frame.
            x_BTW = stage(x_BTW, mask_BT1)[:, :, None].expand(-1, -1, 2, -1).flatten(1, 2)
            lengths_B = None if lengths_B is None else lengths_B * 2
            mask_BT1 = _mask(x_BTW, lengths_B)
            x_BTW = _masked(up(x_BTW), mask_BT1)
        features_BTD = self.last(_masked(functional.relu(self.middle(x_BTW)), mask_BT1))
        if self.linear is not None:
            features_BTD = features_BTD + self.linear(given_BLC.mT).mT
        return _masked(features_BTD, mask_BT1)


@dataclass(frozen=True, slots=True)
class VqvaeOutput:
    """Output of a forward pass.

    Attributes:
        features_BTD: (B, T, D) reconstructed features, normalized.
        codes_BLQ: (B, L, Q) int64 codes.
        commitment: scalar commitment loss.
    """

    features_BTD: Tensor
    codes_BLQ: Tensor
    commitment: Tensor


class MotionVqvae(nn.Module):
    """Encoder, quantizer and decoder. All input and output features are normalized.

    Args:
        config: architecture of the model.
    """

    def __init__(self, config: MotionVqvaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer: Quantizer = build_quantizer(config.quantizer)
        self.decoder = Decoder(config)

    def forward(self, features_BTD: Tensor) -> VqvaeOutput:
        """Reconstruct windows without padding; T must be a multiple of ``frames_per_token``."""
        quantized: Quantized = self.quantizer(self.encoder(features_BTD))
        features_BTD = self.decoder(quantized.latents_BLC)
        return VqvaeOutput(features_BTD, quantized.codes_BLQ, quantized.commitment)

    @torch.no_grad()
    def encode(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Encode a batch of motions; the codes of a motion do not depend on the other motions.

        Args:
            features_BTD: (B, T, D) features; the values of the padding do not matter.
            lengths_B: (B,) frames of each motion; None: all motions have T frames.

        Returns:
            (B, T // frames_per_token, Q) int64 codes. A motion of n frames has
            ``n // frames_per_token`` tokens, so that remaining frames are dropped; later positions
            are -1.
        """
        step = self.config.frames_per_token
        if lengths_B is not None:
            lengths_B = lengths_B // step * step
        usable = features_BTD.shape[1] // step * step
        codes_BLQ = self.quantizer.encode(self.encoder(features_BTD[:, :usable], lengths_B))
        if lengths_B is None:
            return codes_BLQ
        place_L = torch.arange(codes_BLQ.shape[1], device=codes_BLQ.device)
        outside_BL = place_L >= lengths_B[:, None] // step
        return codes_BLQ.masked_fill(outside_BL[..., None], -1)

    @torch.no_grad()
    def decode(self, codes_BLQ: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Decode a batch of motions; a motion does not depend on the other motions.

        Args:
            codes_BLQ: (B, L, Q) codes; the values after the length of a motion do not matter.
            lengths_B: (B,) tokens of each motion; None: all motions have L tokens.

        Returns:
            (B, L · frames_per_token, D) features, which are 0 after the length of a motion.
        """
        if lengths_B is not None:
            place_L = torch.arange(codes_BLQ.shape[1], device=codes_BLQ.device)
            codes_BLQ = codes_BLQ.masked_fill((place_L >= lengths_B[:, None])[..., None], 0)
        return self.decoder(self.quantizer.decode(codes_BLQ), lengths_B)

    def decode_stream(self, codes_LQ: Iterable[Tensor], chunk_tokens: int = 64) -> Iterator[Tensor]:
        """Decode a stream of tokens of any length in constant memory.

        The result equals that of :meth:`decode` on all tokens at once, because each chunk is
        decoded together with the tokens that lie in the receptive field of the decoder.

        Args:
            codes_LQ: chunks of the stream, each (number of tokens, Q) of any length.
            chunk_tokens: number of tokens that are decoded at a time.

        Yields:
            Chunks of the features, (number of frames, D).
        """
        margin = self.margin_tokens
        step = self.config.frames_per_token
        held: Tensor | None = None
        before = 0  # number of tokens at the start of `held` whose features were yielded
        for piece in codes_LQ:
            held = piece if held is None else torch.cat([held, piece])
            while len(held) >= before + chunk_tokens + margin:
                window = held[: before + chunk_tokens + margin]
                out_TD = self.decode(window[None])[0]
                yield out_TD[before * step : (before + chunk_tokens) * step]
                drop = max(0, before + chunk_tokens - margin)
                held, before = held[drop:], before + chunk_tokens - drop
        if held is not None and len(held) > before:
            yield self.decode(held[None])[0][before * step :]

    @property
    def margin_tokens(self) -> int:
        """Number of tokens on either side of a token that its features depend on."""
        config = self.config
        reach = sum(config.dilation_growth**block for block in range(config.depth))
        reach_tokens = 1.0
        for stage in range(config.down_stages):
            # The blocks of a stage run at 2^stage frames per token, and the convolution after its
            # upsampling at twice that rate.
            reach_tokens += reach / 2**stage + 1 / 2 ** (stage + 1)
        return int(reach_tokens + 2 / config.frames_per_token) + 1


def _mask(x_BTW: Tensor, lengths_B: Tensor | None) -> Tensor | None:
    if lengths_B is None:
        return None
    place_T = torch.arange(x_BTW.shape[1], device=x_BTW.device)
    return (place_T < lengths_B[:, None]).to(x_BTW.dtype)[..., None]


def _masked(x_BTW: Tensor, mask_BT1: Tensor | None) -> Tensor:
    return x_BTW if mask_BT1 is None else torch.where(mask_BT1 > 0, x_BTW, 0.0)
