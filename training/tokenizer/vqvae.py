"""The motion VQ-VAE: motion features to tokens and back (AvatarGPT §3; T2M-GPT, Zhang et al. 2023).

A 1-D convolutional ResNet halves the frame rate ``down_stages`` times, a quantiser turns each
remaining vector into a code, and the mirrored network gives the features back. Sizes, loss and
order of layers are the published ones by default; :func:`from_published` reads published weights.

Activations are (B, T, W) with the channels last: a view of them is what the convolution libraries
of CPUs and GPUs are fastest with.

Shapes: B batch, T frames, D features, W ``width``, L tokens (T / ``frames_per_token``),
C ``code_dim``, K ``num_codes``, Q codes per token.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from data.config import Config
from data.motion.features import LOCAL_POSITIONS, NUM_FEATURES
from training.tokenizer.quantizer import Quantized, Quantizer, QuantizerConfig, build_quantizer


class MotionVqvaeConfig(Config):
    """Architecture and loss weights; the defaults are the published ones."""

    num_features: int = Field(default=NUM_FEATURES, ge=1)
    width: int = Field(default=512, ge=1, description="Channels of the ResNet.")
    depth: int = Field(default=3, ge=0, description="Residual blocks per stage.")
    dilation_growth: int = Field(default=3, ge=1, description="Dilation of a block to the next.")
    down_stages: int = Field(default=2, ge=0, le=6, description="Each halves the frame rate.")
    quantizer: QuantizerConfig = Field(default_factory=QuantizerConfig)
    position_weight: float = Field(
        default=0.5, ge=0, description="Of the loss on local joint positions (dims 4:67)."
    )
    commitment_weight: float = Field(default=0.02, ge=0)

    @property
    def frames_per_token(self) -> int:
        """Frames that one token stands for."""
        return 2**self.down_stages


class _Conv(nn.Conv1d):
    """A convolution over (B, T, channels), zero-padded."""

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
        # Stored as it is computed with (the channels last), else every step copies it and its
        # gradient.
        self.weight = nn.Parameter(self.weight.detach().transpose(1, 2).contiguous().mT)

    def forward(self, x_BTW: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.kernel_size == (1,):
            return functional.linear(x_BTW, self.weight[..., 0], self.bias)
        # As an image of height 1 with the channels last: about 1.5 x faster than conv1d on CPUs.
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
    """Residual blocks, the widest dilation first."""

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
    """Features (B, T, D) to latents (B, T / frames_per_token, C)."""

    def __init__(self, config: MotionVqvaeConfig) -> None:
        super().__init__()
        width = config.width
        self.first = _Conv(config.num_features, width, 3, padding=1)
        self.downs = nn.ModuleList(
            _Conv(width, width, 4, stride=2, padding=1) for _ in range(config.down_stages)
        )
        self.stages = nn.ModuleList(_Stage(config) for _ in range(config.down_stages))
        self.last = _Conv(width, config.quantizer.code_dim, 3, padding=1)

    def forward(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Latents of features; see :meth:`MotionVqvae.encode` for ``lengths_B``."""
        mask_BT1 = _mask(features_BTD, lengths_B)
        x_BTW = functional.relu(self.first(_masked(features_BTD, mask_BT1)))
        x_BTW = _masked(x_BTW, mask_BT1)
        for down, stage in zip(self.downs, self.stages, strict=True):
            x_BTW = down(x_BTW)
            lengths_B = None if lengths_B is None else lengths_B // 2
            mask_BT1 = _mask(x_BTW, lengths_B)
            x_BTW = stage(_masked(x_BTW, mask_BT1), mask_BT1)
        return _masked(self.last(x_BTW), mask_BT1)


class Decoder(nn.Module):
    """Latents (B, L, C) to features (B, L · frames_per_token, D)."""

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

    def forward(self, latents_BLC: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Features of latents; ``lengths_B`` in tokens."""
        mask_BT1 = _mask(latents_BLC, lengths_B)
        x_BTW = functional.relu(self.first(_masked(latents_BLC, mask_BT1)))
        x_BTW = _masked(x_BTW, mask_BT1)
        for stage, up in zip(self.stages, self.ups, strict=True):
            # Each frame twice.
            x_BTW = stage(x_BTW, mask_BT1)[:, :, None].expand(-1, -1, 2, -1).flatten(1, 2)
            lengths_B = None if lengths_B is None else lengths_B * 2
            mask_BT1 = _mask(x_BTW, lengths_B)
            x_BTW = _masked(up(x_BTW), mask_BT1)
        x_BTW = _masked(functional.relu(self.middle(x_BTW)), mask_BT1)
        return _masked(self.last(x_BTW), mask_BT1)


@dataclass(frozen=True, slots=True)
class VqvaeOutput:
    """A reconstruction.

    Attributes:
        features_BTD: (B, T, D), normalised.
        codes_BLQ: (B, L, Q) int64.
        commitment: scalar.
    """

    features_BTD: Tensor
    codes_BLQ: Tensor
    commitment: Tensor


class MotionVqvae(nn.Module):
    """Encoder, quantiser, decoder. All features in and out are normalised.

    Args:
        config: sizes.
    """

    def __init__(self, config: MotionVqvaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer: Quantizer = build_quantizer(config.quantizer)
        self.decoder = Decoder(config)

    def forward(self, features_BTD: Tensor) -> VqvaeOutput:
        """Reconstruct windows without padding; T is a multiple of ``frames_per_token``."""
        quantized: Quantized = self.quantizer(self.encoder(features_BTD))
        features_BTD = self.decoder(quantized.latents_BLC)
        return VqvaeOutput(features_BTD, quantized.codes_BLQ, quantized.commitment)

    @torch.no_grad()
    def encode(self, features_BTD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The codes of motions; each is coded as if it were alone.

        Args:
            features_BTD: (B, T, D), padded with anything.
            lengths_B: frames of each motion; None: all T.

        Returns:
            (B, T // frames_per_token, Q) int64; of a motion of n frames, the first
            ``n // frames_per_token`` tokens are its own, the others are -1. The last frames that
            fill no token have none.
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
        """The features of tokens; each motion is decoded as if it were alone.

        Args:
            codes_BLQ: (B, L, Q); anything after a motion's length.
            lengths_B: tokens of each motion; None: all L.

        Returns:
            (B, L · frames_per_token, D), 0 after a motion's length.
        """
        if lengths_B is not None:
            place_L = torch.arange(codes_BLQ.shape[1], device=codes_BLQ.device)
            codes_BLQ = codes_BLQ.masked_fill((place_L >= lengths_B[:, None])[..., None], 0)
        return self.decoder(self.quantizer.decode(codes_BLQ), lengths_B)

    def decode_stream(self, codes_LQ: Iterable[Tensor], chunk_tokens: int = 64) -> Iterator[Tensor]:
        """Decode a stream of tokens of any length in constant memory.

        The result is that of :meth:`decode` on all tokens at once: each chunk is decoded with as
        many neighbours as the network sees.

        Args:
            codes_LQ: pieces of the stream, each (any number of tokens, Q).
            chunk_tokens: tokens decoded at a time.

        Yields:
            Pieces of the features, (frames, D).
        """
        margin = self.margin_tokens
        step = self.config.frames_per_token
        held: Tensor | None = None
        before = 0  # tokens at the start of `held` whose features have been given out
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
        """Tokens to either side that can change the features of a token."""
        config = self.config
        reach = sum(config.dilation_growth**block for block in range(config.depth))
        reach_tokens = 1.0
        for stage in range(config.down_stages):
            # A stage's blocks run at 2^stage frames per token, the convolution after at twice it.
            reach_tokens += reach / 2**stage + 1 / 2 ** (stage + 1)
        return int(reach_tokens + 2 / config.frames_per_token) + 1


def vqvae_loss(config: MotionVqvaeConfig, features_BTD: Tensor, output: VqvaeOutput) -> Tensor:
    """Smooth-L1 on features and again on local joint positions, and commitment (AvatarGPT §3.1).

    Args:
        config: weights.
        features_BTD: (B, T, D) normalised.
        output: of the model.
    """
    errors_BTD = functional.smooth_l1_loss(
        output.features_BTD.float(), features_BTD, reduction="none"
    )
    # Both means at once, as the mean over frames of a weighted sum: the slice's own gradient would
    # be as large as the features.
    num_features = errors_BTD.shape[-1]
    weights_D = errors_BTD.new_full((num_features,), 1 / num_features)
    positions = weights_D[LOCAL_POSITIONS]
    positions += config.position_weight / len(positions)
    return (errors_BTD @ weights_D).mean() + config.commitment_weight * output.commitment


def _mask(x_BTW: Tensor, lengths_B: Tensor | None) -> Tensor | None:
    if lengths_B is None:
        return None
    place_T = torch.arange(x_BTW.shape[1], device=x_BTW.device)
    return (place_T < lengths_B[:, None]).to(x_BTW.dtype)[..., None]


def _masked(x_BTW: Tensor, mask_BT1: Tensor | None) -> Tensor:
    return x_BTW if mask_BT1 is None else torch.where(mask_BT1 > 0, x_BTW, 0.0)


# ---------------------------------------------------------------------------- published weights

_PUBLISHED_PREFIX: Final = "vqvae."


def read_published(path: Path) -> dict[str, Tensor]:
    """The tensors of a released file; nothing but tensors is read from it.

    Args:
        path: ``.pth`` with the state under ``net``, or safetensors.

    Raises:
        ValueError: it holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, UnpicklingError, SafetensorError) as error:
        raise ValueError(
            f"{path}: expected a file of tensors, found: {str(error).splitlines()[0]} "
            "Remedy: use the released file, or convert it to safetensors."
        ) from error
    return dict(loaded.get("net", loaded))


def from_published(config: MotionVqvaeConfig, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in the layout of T2M-GPT's releases, as this model's.

    There, encoder and decoder are nested sequences: ``encoder.model.0`` is the first convolution,
    ``encoder.model.{2 + i}.0`` the strided one of stage i and ``….1.model.{b}.conv1`` its blocks,
    ``decoder.model.{2 + i}.0.model.{b}.conv1`` the decoder's, followed by an upsampling and
    ``….2``; the codebook is ``quantizer.codebook``.

    Args:
        config: of this model; its sizes must be those of the weights.
        published: tensors by name, with or without the prefix ``vqvae.``.

    Returns:
        A state dict for :class:`MotionVqvae`.

    Raises:
        ValueError: tensors are missing, left over, or of another shape.
    """
    given = {name.removeprefix(_PUBLISHED_PREFIX): tensor for name, tensor in published.items()}
    names = _published_names(config)
    # Running averages of the codebook: of use to go on training only, and not in every release.
    optional = {"quantizer.code_sum": "sums_KC", "quantizer.code_count": "counts_K"}
    model = MotionVqvae(config)
    own = model.state_dict()
    missing = sorted(set(names.values()) - set(given))
    unknown = sorted(set(given) - set(names.values()) - set(optional))
    if missing or unknown:
        raise ValueError(
            f"published weights: expected the {len(names)} tensors of this configuration, found "
            f"{len(missing)} missing {missing[:3]} and {len(unknown)} unknown {unknown[:3]}. "
            "Remedy: set down_stages and depth as the weights were trained with."
        )
    for name, published_name in names.items():
        if own[name].shape != given[published_name].shape:
            raise ValueError(
                f"published weights: expected {tuple(own[name].shape)} for {published_name}, found "
                f"{tuple(given[published_name].shape)}. Remedy: correct width, code_dim or "
                "num_codes."
            )
        own[name] = given[published_name].clone()
    # Without them, each code counts as seen once.
    own["quantizer.sums_KC"] = own["quantizer.codebook_KC"].clone()
    for published_name, name in optional.items():
        if published_name in given:
            own[f"quantizer.{name}"] = given[published_name].clone()
    own["quantizer.updates"] = torch.ones((), dtype=torch.int64)
    return own


def _published_names(config: MotionVqvaeConfig) -> dict[str, str]:
    """Name of each own tensor in the published layout."""
    pairs = {"encoder.first": "encoder.model.0", "decoder.first": "decoder.model.0"}
    for stage in range(config.down_stages):
        outer = 2 + stage
        pairs[f"encoder.downs.{stage}"] = f"encoder.model.{outer}.0"
        pairs[f"decoder.ups.{stage}"] = f"decoder.model.{outer}.2"
        for block in range(config.depth):
            for conv in ("conv1", "conv2"):
                own = f"stages.{stage}.blocks.{block}.{conv}"
                pairs[f"encoder.{own}"] = f"encoder.model.{outer}.1.model.{block}.{conv}"
                pairs[f"decoder.{own}"] = f"decoder.model.{outer}.0.model.{block}.{conv}"
    after = 2 + config.down_stages
    pairs["encoder.last"] = f"encoder.model.{after}"
    pairs["decoder.middle"] = f"decoder.model.{after}"
    pairs["decoder.last"] = f"decoder.model.{after + 2}"
    names = {
        f"{own}.{kind}": f"{published}.{kind}"
        for own, published in pairs.items()
        for kind in ("weight", "bias")
    }
    return names | {"quantizer.codebook_KC": "quantizer.codebook"}
