"""The baseline of the tokenizer's recipe: it quantizes as ours does, and learns."""

import torch

from benchmarks.support.momask import MoMaskTokenizer, published_schedule
from data.motion.features import NUM_FEATURES
from training.tokenizer.quantizer import EmaQuantizer, QuantizerConfig, ResidualQuantizer


def test_its_codes_are_the_nearest_ones_and_it_learns() -> None:
    torch.manual_seed(0)
    network = MoMaskTokenizer(width=16, depth=1, code_dim=8, num_codes=16, num_quantizers=3)
    features = torch.linspace(0.5, 1.5, 8)[:, None, None] * torch.randn(1, 32, NUM_FEATURES)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = network.loss(features)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    network.eval()
    config = QuantizerConfig(kind="residual", num_codes=16, code_dim=8, num_quantizers=3)
    quantizer = ResidualQuantizer(config).eval()
    for layer, codebook_KC in zip(quantizer.layers, network.codebooks_QKC, strict=True):
        assert isinstance(layer, EmaQuantizer)
        layer.codebook_KC.copy_(codebook_KC)
    with torch.no_grad():
        made, commitment = network(features)
        quantized = quantizer(network.encoded(features))
    torch.testing.assert_close(made, network.decoded(quantized.latents_BLC))
    torch.testing.assert_close(commitment, quantized.commitment)


def test_its_schedule_drops_where_the_published_one_does() -> None:
    loop = published_schedule(4700)
    assert (loop.warmup_steps, loop.drop_at) == (20, (1500, 2500))
    assert loop.rate_at(1000) == 2e-4
