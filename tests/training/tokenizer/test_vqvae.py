"""The VQ-VAE: published layout, loss, no padding artefacts, streams."""

import pytest
import torch

from benchmarks.support.published import PublishedTokenizer
from data.motion.credibility import FEATURE_JOINTS_D
from data.motion.features import NUM_FEATURES
from data.motion.skeleton import JOINT, NUM_JOINTS
from training.tokenizer.quantizer import QuantizerConfig
from training.tokenizer.vqvae import (
    MotionVqvae,
    MotionVqvaeConfig,
    VqvaeOutput,
    vqvae_loss,
)


def _model(**quantizer: object) -> MotionVqvae:
    torch.manual_seed(0)
    values = {"num_codes": 32, "code_dim": 16} | quantizer
    config = MotionVqvaeConfig(width=24, quantizer=QuantizerConfig.model_validate(values))
    model = MotionVqvae(config)
    for _ in range(3):
        model(torch.randn(8, 32, NUM_FEATURES))
    return model.eval()


CONFIG = MotionVqvaeConfig(width=24, quantizer=QuantizerConfig(num_codes=32, code_dim=16))


def test_default_sizes_are_the_published_ones() -> None:
    config = MotionVqvaeConfig()
    assert (config.width, config.depth, config.frames_per_token) == (512, 3, 4)
    assert (config.quantizer.num_codes, config.quantizer.code_dim) == (512, 512)
    with torch.device("meta"):
        count = sum(weight.numel() for weight in MotionVqvae(config).parameters())
    published = PublishedTokenizer(512, 512, 512)
    assert count == sum(weight.numel() for weight in published.parameters())


def test_loss_weighs_positions_again() -> None:
    features = torch.zeros(2, 8, NUM_FEATURES)
    rebuilt = torch.zeros_like(features)
    rebuilt[..., 10] = 2.0  # one local position: smooth-L1 of 2 is 1.5
    output = VqvaeOutput(rebuilt, torch.zeros(2, 2, 1), torch.tensor(5.0))
    expected = 1.5 / 263 + 0.5 * 1.5 / 63 + 0.02 * 5.0
    assert float(vqvae_loss(CONFIG, features, output)) == pytest.approx(expected, rel=1e-5)


def test_nothing_is_learned_from_joints_that_were_not_seen() -> None:
    torch.manual_seed(0)
    features, rebuilt = torch.randn(2, 8, NUM_FEATURES), torch.randn(2, 8, NUM_FEATURES)
    output = VqvaeOutput(rebuilt, torch.zeros(2, 2, 1), torch.tensor(5.0))
    seen = torch.ones(2, 8, NUM_JOINTS, dtype=torch.bool)
    whole = float(vqvae_loss(CONFIG, features, output))
    assert float(vqvae_loss(CONFIG, features, output, seen)) == pytest.approx(whole, rel=1e-5)
    seen[:, 3:, JOINT["left_foot"]] = False
    masked = float(vqvae_loss(CONFIG, features, output, seen))
    assert masked == pytest.approx(whole, rel=0.05)
    about_foot = torch.as_tensor(JOINT["left_foot"] == FEATURE_JOINTS_D)
    rebuilt[:, 3:, about_foot] += 100.0
    assert float(vqvae_loss(CONFIG, features, output, seen)) == pytest.approx(masked, rel=1e-5)


# ---------------------------------------------------------------------- lengths, padding, streams


@pytest.mark.parametrize("kind", ["ema", "residual", "fsq"])
def test_padding_changes_nothing(kind: str) -> None:
    model = _model(kind=kind, num_quantizers=3 if kind == "residual" else 1)
    lengths = [43, 90, 4, 64]
    motions = [torch.randn(length, NUM_FEATURES) for length in lengths]
    padded = torch.full((4, 90, NUM_FEATURES), torch.nan)
    for row, motion in enumerate(motions):
        padded[row, : len(motion)] = motion
    codes = model.encode(padded, torch.tensor(lengths))
    rebuilt = model.decode(codes, torch.tensor(lengths) // 4)
    for row, motion in enumerate(motions):
        alone = model.encode(motion[None])
        tokens = len(motion) // 4
        assert alone.shape[1] == tokens
        assert torch.equal(codes[row, :tokens], alone[0])
        assert (codes[row, tokens:] == -1).all()
        torch.testing.assert_close(rebuilt[row, : 4 * tokens], model.decode(alone)[0])
        assert (rebuilt[row, 4 * tokens :] == 0).all()


@pytest.mark.parametrize("pieces", [1, 7, 100, 1000])
def test_a_stream_decodes_to_the_whole(pieces: int) -> None:
    model = _model()
    codes = torch.randint(32, (333, 1), generator=torch.Generator().manual_seed(1))
    whole = model.decode(codes[None])[0]
    out = list(model.decode_stream(codes.split(pieces), chunk_tokens=16))
    assert max(len(piece) for piece in out) <= 4 * (16 + 2 * model.margin_tokens)
    torch.testing.assert_close(torch.cat(out), whole, atol=1e-5, rtol=1e-5)


def test_the_margin_is_no_smaller_than_what_a_token_reaches() -> None:
    model = _model()
    codes = torch.zeros(1, 101, 1, dtype=torch.int64)
    other = codes.clone()
    other[0, 50] = 7
    changed = (model.decode(codes) != model.decode(other)).any(-1)[0].nonzero().flatten()
    reach = max(50 - int(changed[0]) // 4, int(changed[-1]) // 4 - 50)
    assert 0 < reach <= model.margin_tokens
