"""The residual tokenizer of MoMask, written anew from its description, as a baseline.

Guo et al., "MoMask: Generative Masked Modeling of 3D Human Motions", CVPR 2024, and the options of
its release: the network of T2M-GPT; residual codebooks with moving averages and resets of dead
codes; a batch uses only the first codebooks with a probability of 0.2; codes are drawn by their
distance at temperature 0.5; features of the root and the contacts are scaled by 5; smooth-L1 on all
features, on local positions (0.5) and commitment (0.02); AdamW at 2e-4 with drops.

Shapes: B windows, T frames, D features, N latents, C the ``code_dim``, K the ``num_codes``, Q the
number of codebooks.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.support.published import PublishedNetwork
from data.motion.features import LOCAL_POSITIONS
from training.loop import LoopConfig

EMPHASIS: Final = 5.0
TEMPERATURE: Final = 0.5
DROPOUT: Final = 0.2
DECAY: Final = 0.99


class MoMaskTokenizer(PublishedNetwork):
    """Encoder, residual codebooks and decoder.

    Args:
        width: channels of the network.
        depth: residual blocks of a stage.
        code_dim: C.
        num_codes: K.
        num_quantizers: Q.
    """

    def __init__(
        self, width: int, depth: int, code_dim: int, num_codes: int, num_quantizers: int
    ) -> None:
        super().__init__(width, depth, code_dim)
        self.started_Q = [False] * num_quantizers
        self.codebooks_QKC = torch.zeros(num_quantizers, num_codes, code_dim)
        self.sums_QKC = torch.zeros_like(self.codebooks_QKC)
        self.counts_QK = torch.ones(num_quantizers, num_codes)

    def forward(self, features_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction, (B, T, D), and the commitment loss."""
        latents_BLC = self.encoded(features_BTD)
        left_NC = latents_BLC.flatten(0, 1)
        passed_NC = torch.zeros_like(left_NC)
        commitments: list[Tensor] = []
        for layer in range(self._num_used()):
            codes_N = self._codes(layer, left_NC.detach())
            code_NC = self.codebooks_QKC[layer][codes_N]
            if self.training:
                self._update(layer, left_NC.detach(), codes_N)
            commitments.append(functional.mse_loss(left_NC, code_NC))
            passed_NC = passed_NC + left_NC + (code_NC - left_NC).detach()
            left_NC = left_NC - code_NC
        return self.decoded(passed_NC.view_as(latents_BLC)), torch.stack(commitments).mean()

    def loss(self, features_BTD: Tensor) -> Tensor:
        """Return the training loss of normalized features, (B, T, D)."""
        made_BTD, commitment = self(features_BTD)
        positions = functional.smooth_l1_loss(
            made_BTD[..., LOCAL_POSITIONS], features_BTD[..., LOCAL_POSITIONS]
        )
        return functional.smooth_l1_loss(made_BTD, features_BTD) + (
            0.5 * positions + 0.02 * commitment
        )

    def _num_used(self) -> int:
        count = len(self.codebooks_QKC)
        if self.training and torch.rand(()) < DROPOUT:
            return int(torch.randint(1, count + 1, ()))
        return count

    def _codes(self, layer: int, left_NC: Tensor) -> Tensor:
        if self.training and not self.started_Q[layer]:
            self.started_Q[layer] = True
            self.codebooks_QKC[layer] = self._drawn(left_NC)
            self.sums_QKC[layer] = self.codebooks_QKC[layer]
        codebook_KC = self.codebooks_QKC[layer]
        distances_NK = (
            left_NC.square().sum(-1, keepdim=True)
            - 2 * left_NC @ codebook_KC.T
            + codebook_KC.square().sum(-1)
        )
        if not self.training:
            return distances_NK.argmin(-1)
        gumbel_NK = -torch.empty_like(distances_NK).exponential_().log()
        return (gumbel_NK - distances_NK / TEMPERATURE).argmax(-1)

    @torch.no_grad()
    def _update(self, layer: int, left_NC: Tensor, codes_N: Tensor) -> None:
        one_hot_NK = functional.one_hot(codes_N, self.codebooks_QKC.shape[1]).to(left_NC.dtype)
        self.sums_QKC[layer].lerp_(one_hot_NK.T @ left_NC, 1 - DECAY)
        self.counts_QK[layer].lerp_(one_hot_NK.sum(0), 1 - DECAY)
        counts_K1 = self.counts_QK[layer][:, None]
        means_KC = self.sums_QKC[layer] / counts_K1
        self.codebooks_QKC[layer] = torch.where(counts_K1 >= 1, means_KC, self._drawn(left_NC))

    def _drawn(self, left_NC: Tensor) -> Tensor:
        count = self.codebooks_QKC.shape[1]
        repeats = -(-count // len(left_NC))
        return left_NC.repeat(repeats, 1)[torch.randperm(repeats * len(left_NC))[:count]]


def published_schedule(steps: int) -> LoopConfig:
    """Return the published schedule of 470,000 steps, scaled to fewer."""
    return LoopConfig(
        steps=steps,
        batch_size=256,
        learning_rate=2e-4,
        warmup_steps=max(1, round(steps * 2000 / 470_000)),
        drop_at=(round(steps * 150_000 / 470_000), round(steps * 250_000 / 470_000)),
        drop_factor=0.05,
    )
