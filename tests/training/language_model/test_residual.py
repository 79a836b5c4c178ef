"""Residual codes: prompts show them, answers get them, and tokens with one code are as before."""

import pytest
import torch
from torch import Tensor

from training.language_model.residual import ResidualConfig, ResidualDecoder, summed_vectors

K, C, Q = 32, 16, 4


def test_codes_of_one_codebook_are_predicted_from_those_before_it() -> None:
    torch.manual_seed(0)
    config = ResidualConfig(layers=1, heads=2)
    decoder = ResidualDecoder(config, torch.randn(Q, K, C), 32).eval()
    codes_BLQ = torch.randint(K, (1, 10, Q))
    states_BSD, seen_BS = torch.randn(1, 6, 32), torch.ones(1, 6, dtype=torch.bool)

    def logits(codes: Tensor, layer: int, states: Tensor = states_BSD) -> Tensor:
        return decoder(codes, torch.tensor([layer]), states, seen_BS)

    for layer in range(1, Q):
        expected = logits(codes_BLQ, layer)
        later, before = codes_BLQ.clone(), codes_BLQ.clone()
        later[..., layer:] = (later[..., layer:] + 1) % K
        before[0, -1, layer - 1] = (before[0, -1, layer - 1] + 1) % K
        torch.testing.assert_close(logits(later, layer), expected)
        # The first token sees the last one, and the prompt.
        assert not torch.allclose(logits(before, layer)[0, 0], expected[0, 0])
        assert not torch.allclose(logits(codes_BLQ, layer, -states_BSD), expected)
    assert not torch.allclose(logits(codes_BLQ, 1), logits(codes_BLQ, 2))
    with pytest.raises(ValueError, match=r"residual.heads: expected a divisor of the width 32"):
        ResidualDecoder(ResidualConfig(heads=5), torch.randn(Q, K, C), 32)
    sums = summed_vectors(torch.tensor([[1, -1, 2, -1], [-1, -1, -1, -1]]), decoder.codebooks_QKC)
    torch.testing.assert_close(sums[0], decoder.codebooks_QKC[0, 1] + decoder.codebooks_QKC[2, 2])
    assert not sums[1].any()
