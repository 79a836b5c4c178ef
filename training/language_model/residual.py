"""The residual decoder: predicts the residual codes of a motion from its base codes and its prompt.

T5 answers with the base codes of a motion, one per token. A small bidirectional transformer then
predicts the codes of one residual codebook after the other, for all tokens of the motion at once
(as the residual transformer of MoMask, Guo et al. 2024). Its input is the sum of the vectors of the
codes that are known, of a token and its two neighbors, and an embedding of the codebook that is
asked for. The neighbors are given because a base code is often repeated from token to token, while
the residual codes change. The decoder attends to the states
of T5's encoder, so that the prompt conditions it, whatever the task is. In training, each motion is
asked for one codebook that is drawn at random.

Shapes: B is the number of motions, L the number of their tokens, S the length of the prompts, Q the
number of codebooks, R = Q - 1 the number of residual ones, K the ``num_codes``, C the ``code_dim``,
D the width of T5.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.language_model.config import ResidualConfig

_FEED_FORWARD: Final = 2
"""Width of the feed-forward layers, as a multiple of D."""
_NEIGHBORHOOD: Final = 3
"""Number of tokens whose code vectors the input of one token is made of."""
_LONGEST_WAVE: Final = 100.0
"""Longest wave of the position embeddings, in tokens per radian; motions have about 100 tokens."""


@dataclass(frozen=True, slots=True)
class ResidualOutput:
    """Losses of the residual decoder.

    Attributes:
        losses_B: (B,) mean cross-entropy over the residual codes of each motion; 0 if it has none.
        correct_B: (B,) number of codes that are predicted correctly.
        tokens_B: (B,) number of codes.
    """

    losses_B: Tensor
    correct_B: Tensor
    tokens_B: Tensor


class ResidualDecoder(nn.Module):
    """Predicts residual codes.

    Args:
        config: size of the decoder.
        codebooks_QKC: (Q, K, C) frozen codebooks of the motion tokenizer, the base codebook first.
        width: D.

    Raises:
        ValueError: the number of heads does not divide the width.
    """

    def __init__(self, config: ResidualConfig, codebooks_QKC: Tensor, width: int) -> None:
        super().__init__()
        if width % config.heads:
            raise ValueError(
                f"residual.heads: expected a divisor of the width {width} of T5, found "
                f"{config.heads}. Remedy: change residual.heads."
            )
        num_quantizers, num_codes, code_dim = codebooks_QKC.shape
        self.num_quantizers = num_quantizers
        # The checkpoint has them as part of the embedding.
        self.codebooks_QKC: Tensor
        self.register_buffer("codebooks_QKC", codebooks_QKC.clone(), persistent=False)
        scale = codebooks_QKC[0].square().sum(1).mean().sqrt().clamp(min=1e-6)
        # Without a bias, padding stays zero, like the tokens before the first and after the last.
        self.project = nn.Conv1d(
            code_dim, width, _NEIGHBORHOOD, padding=_NEIGHBORHOOD // 2, bias=False
        )
        nn.init.normal_(self.project.weight, std=1 / (float(scale) * _NEIGHBORHOOD**0.5))
        self.asked = nn.Embedding(num_quantizers - 1, width)
        self.blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width,
                config.heads,
                _FEED_FORWARD * width,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.heads_RKD = nn.Parameter(
            torch.randn(num_quantizers - 1, num_codes, width) * width**-0.5
        )

    def forward(
        self, codes_BLQ: Tensor, layers_B: Tensor, states_BSD: Tensor, seen_BS: Tensor
    ) -> Tensor:
        """Return the logits of the codes of one codebook for each motion, (B, L, K).

        Args:
            codes_BLQ: codes of the motions, -1 after their ends. Those of the codebook that is
                asked for, and of the later ones, are not used.
            layers_B: index of the codebook that is asked for, 1 to R.
            states_BSD: states of T5's encoder for the prompts.
            seen_BS: bool, false at the padding of the prompts.
        """
        later_BQ = torch.arange(self.num_quantizers, device=layers_B.device) >= layers_B[:, None]
        known_BLQ = codes_BLQ.masked_fill(later_BQ[:, None], -1)
        x_BLD = self.project(summed_vectors(known_BLQ, self.codebooks_QKC).mT).mT
        x_BLD = x_BLD + self.asked(layers_B - 1)[:, None] + _waves(x_BLD)
        padding_BL, unseen_BS = codes_BLQ[..., 0] < 0, ~seen_BS
        for block in self.blocks:
            x_BLD = block(
                x_BLD,
                states_BSD,
                tgt_key_padding_mask=padding_BL,
                memory_key_padding_mask=unseen_BS,
            )
        return self.norm(x_BLD) @ self.heads_RKD[layers_B - 1].mT

    def losses(self, codes_BLQ: Tensor, states_BSD: Tensor, seen_BS: Tensor) -> ResidualOutput:
        """Return the losses on the residual codes of motions.

        In training, the codes of one codebook are asked for, which is drawn for each motion;
        otherwise those of all codebooks.

        Args:
            codes_BLQ: codes of the motions, -1 after their ends and for unknown residual codes.
            states_BSD: states of T5's encoder for the prompts.
            seen_BS: bool, false at the padding of the prompts.
        """
        count, last = len(codes_BLQ), self.num_quantizers
        device = codes_BLQ.device
        asked = (
            [torch.randint(1, last, (count,)).to(device)]
            if self.training
            else [torch.full((count,), layer, device=device) for layer in range(1, last)]
        )
        sums_B, correct_B, tokens_B = (torch.zeros(count, device=device) for _ in range(3))
        for layers_B in asked:
            logits_BLK = self(codes_BLQ, layers_B, states_BSD, seen_BS).float()
            places_BL1 = layers_B[:, None, None].expand(-1, codes_BLQ.shape[1], 1)
            codes_BL = codes_BLQ.gather(-1, places_BL1)[..., 0]
            errors_BL = functional.cross_entropy(
                logits_BLK.mT, codes_BL, ignore_index=-1, reduction="none"
            )
            sums_B = sums_B + errors_BL.sum(1)
            correct_B = correct_B + (logits_BLK.detach().argmax(-1) == codes_BL).sum(1)
            tokens_B = tokens_B + (codes_BL >= 0).sum(1)
        return ResidualOutput(sums_B / tokens_B.clamp(min=1), correct_B, tokens_B)

    @torch.no_grad()
    def complete(
        self, codes_BL: Tensor, states_BSD: Tensor, seen_BS: Tensor, temperature: float = 0.0
    ) -> Tensor:
        """Return all codes of motions whose base codes are known, (B, L, Q).

        Args:
            codes_BL: base codes, -1 after the ends of the motions. No motion may be empty.
            states_BSD: states of T5's encoder for the prompts.
            seen_BS: bool, false at the padding of the prompts.
            temperature: sampling temperature; 0: the most likely codes.
        """
        padding_BL = codes_BL < 0
        codes_BLQ = torch.full_like(codes_BL, -1)[..., None].repeat(1, 1, self.num_quantizers)
        codes_BLQ[..., 0] = codes_BL
        for layer in range(1, self.num_quantizers):
            layers_B = torch.full((len(codes_BL),), layer, device=codes_BL.device)
            logits_BLK = self(codes_BLQ, layers_B, states_BSD, seen_BS)
            if temperature:
                chances = (logits_BLK.float() / temperature).softmax(-1)
                drawn_BL = torch.multinomial(chances.flatten(0, 1), 1).view_as(codes_BL)
            else:
                drawn_BL = logits_BLK.argmax(-1)
            codes_BLQ[..., layer] = drawn_BL.masked_fill(padding_BL, -1)
        return codes_BLQ


def summed_vectors(codes: Tensor, codebooks: Tensor) -> Tensor:
    """Return the sum of the vectors of each token's codes.

    Args:
        codes: (…, n) codes, each of its own codebook; -1 adds nothing.
        codebooks: (n, K, C) codebooks.

    Returns:
        (…, C) sums.
    """
    count, num_codes, _ = codebooks.shape
    rows = codes.clamp(min=0) + torch.arange(count, device=codes.device) * num_codes
    vectors = functional.embedding(rows, codebooks.flatten(0, 1))
    return (vectors * (codes >= 0)[..., None]).sum(-2)


def _waves(x_BLD: Tensor) -> Tensor:
    """Return sinusoidal embeddings of the positions (Vaswani et al. 2017), (L, D)."""
    length, width = x_BLD.shape[1:]
    half = (width + 1) // 2
    places_L = torch.arange(length, device=x_BLD.device, dtype=torch.float32)
    rates_H = _LONGEST_WAVE ** (-torch.arange(half, device=x_BLD.device) / half)
    angles_LH = places_L[:, None] * rates_H
    return torch.cat([angles_LH.sin(), angles_LH.cos()], -1)[:, :width].to(x_BLD.dtype)
