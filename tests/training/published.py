"""What ours is tested, and timed, against.

The published VQ-VAE as its papers say, written as its releases are laid out: nested sequences over
(B, D, T) with ``conv1d``; names of tensors are those of released files. And the language model in
transformers' own modules.
"""

from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import NewGELUActivation
from transformers.models.t5.modeling_t5 import T5DenseGatedActDense, T5LayerNorm

from data.motion_features import NUM_FEATURES
from training.motion_lm import MotionLm


class Block(nn.Module):
    """Residual block over (B, W, T)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, 1, dilation, dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))


class Resnet(nn.Module):
    """Blocks, the widest dilation first."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(Block(width, 3**index) for index in reversed(range(depth))))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.model(x)


class PublishedNetwork(nn.Module):
    """Encoder and decoder; two stages."""

    def __init__(self, width: int, depth: int, code_dim: int) -> None:
        super().__init__()
        encoder = nn.Sequential(
            nn.Conv1d(NUM_FEATURES, width, 3, 1, 1),
            nn.ReLU(),
            *(nn.Sequential(nn.Conv1d(width, width, 4, 2, 1), Resnet(width, depth)) for _ in "ab"),
            nn.Conv1d(width, code_dim, 3, 1, 1),
        )
        ups = [
            nn.Sequential(
                Resnet(width, depth),
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv1d(width, width, 3, 1, 1),
            )
            for _ in "ab"
        ]
        decoder = nn.Sequential(
            nn.Conv1d(code_dim, width, 3, 1, 1),
            nn.ReLU(),
            *ups,
            nn.Conv1d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv1d(width, NUM_FEATURES, 3, 1, 1),
        )
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.add_module("model", encoder)
        self.decoder.add_module("model", decoder)

    def encoded(self, features: Tensor) -> Tensor:
        """(B, T, D) to (B, T / 4, C)."""
        return self.encoder.get_submodule("model")(features.transpose(1, 2)).transpose(1, 2)

    def decoded(self, latents: Tensor) -> Tensor:
        """(B, T / 4, C) to (B, T, D)."""
        return self.decoder.get_submodule("model")(latents.transpose(1, 2)).transpose(1, 2)


def as_it_comes(model: MotionLm, attention: str = "sdpa") -> MotionLm:
    """The same weights in transformers' own modules; nothing fused."""
    plain = deepcopy(model)
    for stack in (plain.t5.encoder, plain.t5.decoder):
        stack.set_attn_implementation(attention)
    for module in plain.t5.modules():
        if isinstance(module, T5LayerNorm):
            module.__class__ = T5LayerNorm
        elif isinstance(module, T5DenseGatedActDense):
            module.act = NewGELUActivation()
    return plain
