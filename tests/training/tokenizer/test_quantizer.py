"""Quantisers against what their papers define, and alike on all ranks."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.runs import torchrun
from training.tokenizer.quantizer import (
    EmaQuantizer,
    FiniteScalarQuantizer,
    QuantizerConfig,
    ResidualQuantizer,
    build_quantizer,
)

KINDS = [
    QuantizerConfig(num_codes=16, code_dim=8),
    QuantizerConfig(kind="residual", num_codes=16, code_dim=8, num_quantizers=3),
    QuantizerConfig(kind="fsq", code_dim=8, fsq_levels=(5, 4, 3)),
]


def _latents(seed: int, batch: int = 4) -> Tensor:
    return torch.randn(batch, 10, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_codes_decode_to_what_training_decodes(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    quantizer = build_quantizer(config)
    for seed in range(3):
        quantizer(_latents(seed))
    quantizer.eval()
    latents = _latents(9)
    quantized = quantizer(latents)
    codes = quantizer.encode(latents)
    assert codes.shape == (4, 10, quantizer.num_quantizers)
    assert torch.equal(codes, quantized.codes_BLQ)
    torch.testing.assert_close(quantizer.decode(codes), quantized.latents_BLC)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < quantizer.num_codes
    assert quantizer.codebook().shape == (quantizer.num_codes, 8)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_gradients_pass_through(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    latents = _latents(0).requires_grad_()
    weights = _latents(1)
    quantizer = build_quantizer(config)
    (quantizer(latents).latents_BLC * weights).sum().backward()
    # Straight through: exactly the gradient of the output.
    expected = weights
    if isinstance(quantizer, FiniteScalarQuantizer):
        # As if nothing were rounded; 4 levels are shifted by half of one (Mentzer et al. 2024).
        half = (torch.tensor([5, 4, 3]) - 1) / 2 * (1 - 1e-3)
        offset = torch.tensor([0.0, 0.5, 0.0])
        smooth = _latents(0).requires_grad_()
        bounded = torch.tanh(quantizer.project_in(smooth) + torch.atanh(offset / half)) * half
        unrounded = quantizer.project_out((bounded - offset) / torch.tensor([2, 2, 1]))
        (expected,) = torch.autograd.grad((unrounded * weights).sum(), smooth)
    torch.testing.assert_close(latents.grad, expected)


def test_each_latent_gets_its_nearest_code() -> None:
    quantizer = EmaQuantizer(16, 8, 0.99)
    quantizer(_latents(0))
    latents = _latents(3)
    distances = torch.cdist(latents.flatten(0, 1), quantizer.codebook())
    assert torch.equal(quantizer.encode(latents).flatten(), distances.argmin(1))


def test_codebook_follows_the_published_update() -> None:
    quantizer = EmaQuantizer(4, 8, 0.9)
    first = _latents(0, batch=20)
    quantizer(first)
    for seed in range(1, 4):
        before, sums, counts = (
            quantizer.codebook_KC.clone(),
            quantizer.sums_KC.clone(),
            quantizer.counts_K.clone(),
        )
        flat = _latents(seed, batch=20).flatten(0, 1)
        one_hot = torch.nn.functional.one_hot(torch.cdist(flat, before).argmin(1), 4).float()
        quantizer(flat.view(20, 10, 8))
        counts = 0.9 * counts + 0.1 * one_hot.sum(0)
        sums = 0.9 * sums + 0.1 * one_hot.T @ flat
        torch.testing.assert_close(quantizer.counts_K, counts)
        assert (counts >= 1).all()  # no code is dead
        torch.testing.assert_close(quantizer.codebook_KC, sums / counts[:, None])


def test_dead_codes_are_put_where_latents_are() -> None:
    quantizer = EmaQuantizer(16, 8, 0.5)
    quantizer(_latents(0, batch=8))
    # Far from every latent: nothing is nearest to them, so their counts fall under 1.
    quantizer.codebook_KC[8:] = 100.0
    latents = _latents(0, batch=8)
    for seed in range(1, 6):
        latents = _latents(seed, batch=8)
        quantizer(latents)
    nearest = torch.cdist(quantizer.codebook_KC[8:], latents.flatten(0, 1)).min(1).values
    assert quantizer.codebook_KC.abs().max() < 10
    assert (nearest < 2.5).all()


def test_codes_are_reset_below_a_chosen_use() -> None:
    latents = _latents(0, batch=8).flatten(0, 1)
    for reset_below, kept in ((1.0, False), (0.1, True)):
        quantizer = EmaQuantizer(2, 8, 0.5, reset_below=reset_below)
        quantizer.train()(latents[None])
        quantizer.codebook_KC.copy_(torch.stack([latents.mean(0), torch.full((8,), 50.0)]))
        quantizer.sums_KC.copy_(quantizer.codebook_KC)
        quantizer.counts_K.fill_(1.0)
        quantizer(latents[None])  # the count of the far code becomes 0.5
        assert (float(quantizer.codebook_KC[1].max()) == 50.0) is kept


def test_training_draws_codes_by_their_distance() -> None:
    quantizer = EmaQuantizer(3, 2, 0.99, temperature=0.5)
    quantizer(torch.zeros(1, 4, 2))
    codebook = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    for values in (quantizer.codebook_KC, quantizer.sums_KC):
        values.copy_(codebook)
    quantizer.counts_K.fill_(1.0)
    torch.manual_seed(0)
    codes = quantizer(torch.zeros(1, 20_000, 2)).codes_BLQ.flatten()
    shares = torch.bincount(codes) / len(codes)
    expected = torch.softmax(-torch.tensor([0.0, 0.25, 1.0]) / 0.5, 0)
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)
    assert (quantizer.eval()(torch.zeros(1, 100, 2)).codes_BLQ == 0).all()


def test_residual_codebooks_each_lessen_what_is_left() -> None:
    torch.manual_seed(0)
    config = QuantizerConfig(
        kind="residual", num_codes=16, code_dim=8, num_quantizers=4, quantizer_dropout=0.5
    )
    quantizer = ResidualQuantizer(config)
    used: set[int] = set()
    for seed in range(60):
        codes = quantizer(_latents(seed, batch=16)).codes_BLQ
        used.add(int((codes[0, 0] >= 0).sum()))
    # Batches with fewer codebooks happen, and their missing codes are told.
    assert used == {1, 2, 3, 4}
    quantizer.eval()
    latents = _latents(99, batch=16)
    codes = quantizer.encode(latents)
    errors: list[float] = []
    for kept in range(1, 5):
        part = codes.clone()
        part[..., kept:] = -1
        errors.append(float((quantizer.decode(part) - latents).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_mixing_keeps_more_of_latents_unlike_those_of_the_training() -> None:
    basis = torch.randn(4, 8, generator=torch.Generator().manual_seed(5))

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(16, 16, 4, generator=generator) @ basis

    trained: list[ResidualQuantizer] = []
    for mixing in (0.0, 2.0):
        quantizer = ResidualQuantizer(
            QuantizerConfig(
                kind="residual", num_codes=16, code_dim=8, num_quantizers=6, mixing=mixing
            )
        )
        for seed in range(60):
            quantized = quantizer(drawn(seed))
            assert quantized.latents_BLC.shape == (16, 16, 8)
            assert quantized.codes_BLQ.shape == (16, 16, 6)
        trained.append(quantizer.eval())
    plain, mixed = trained
    # The first two learn from latents alone.
    one, other = plain.residual_codebooks(), mixed.residual_codebooks()
    assert one is not None and other is not None
    assert torch.equal(plain.codebook(), mixed.codebook())
    assert torch.equal(one[0], other[0])
    unlike = 3 * drawn(1000)

    def lost(quantizer: ResidualQuantizer, latents: Tensor) -> float:
        return float((quantizer.decode(quantizer.encode(latents)) - latents).square().mean())

    assert lost(mixed, unlike) < 0.5 * lost(plain, unlike)
    # A repeated training gives the same codebooks.
    again = ResidualQuantizer(
        QuantizerConfig(kind="residual", num_codes=16, code_dim=8, num_quantizers=6, mixing=2.0)
    )
    for seed in range(60):
        again(drawn(seed))
    repeated = again.residual_codebooks()
    assert repeated is not None
    assert torch.equal(repeated, other)


def test_fsq_codes_are_all_products_of_levels() -> None:
    torch.manual_seed(0)
    quantizer = FiniteScalarQuantizer(8, (5, 4, 3))
    assert quantizer.num_codes == 60
    codes = torch.arange(60)[None, :, None]
    digits = quantizer.decode(codes)
    assert len(torch.unique(digits[0], dim=0)) == 60
    # Extreme inputs reach the outermost levels and no further.
    reached = quantizer.encode(torch.randn(64, 100, 8) * 50)
    assert int(reached.min()) == 0
    assert int(reached.max()) == 59


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="num_quantizers 1 for kind ema"):
        QuantizerConfig(num_quantizers=2)
    with pytest.raises(ValueError, match="fsq_levels of 2 or more"):
        QuantizerConfig(kind="fsq", fsq_levels=(8, 1))


_RANK = """
import sys
import torch
from safetensors.torch import save_file
from torch import distributed as dist
from training.tokenizer.quantizer import QuantizerConfig, build_quantizer

dist.init_process_group("gloo")
config = QuantizerConfig.model_validate_json(sys.argv[2])
torch.manual_seed(dist.get_rank())
quantizer = build_quantizer(config)
for step in range(8):
    latents = torch.randn(4, 10, 8, generator=torch.Generator().manual_seed(step))
    quantizer(latents.chunk(2)[dist.get_rank()])
save_file(quantizer.state_dict(), f"{sys.argv[1]}/rank{dist.get_rank()}.safetensors")
# None leaves while another still reads its last message.
dist.barrier()
dist.destroy_process_group()
"""


def test_ranks_keep_one_codebook(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    for config in KINDS[:2]:
        torchrun(2, str(script), str(tmp_path), config.model_dump_json())
        one, other = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name
        assert all(value.isfinite().all() for value in one.values())
        counts = one.get("counts_K", one.get("layers.0.counts_K"))
        assert counts is not None
        # Eight updates by the latents of both ranks: the counts' mean moves from 1 to 40/16.
        expected = 40 / 16 + (1 - 40 / 16) * 0.99**8
        assert float(counts.mean()) == pytest.approx(expected, rel=1e-4)
