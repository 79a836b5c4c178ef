"""The VQ-VAE: published layout, loss, no padding artefacts, streams."""

import pytest
import torch

from benchmarks.support.published import PublishedTokenizer
from data.motion.features import NUM_FEATURES
from training.tokenizer.quantizer import QuantizerConfig
from training.tokenizer.vqvae import (
    MotionVqvae,
    MotionVqvaeConfig,
)


def _model(*, linear_path: bool = False, **quantizer: object) -> MotionVqvae:
    torch.manual_seed(0)
    values = {"num_codes": 32, "code_dim": 16} | quantizer
    config = MotionVqvaeConfig(
        width=24, linear_path=linear_path, quantizer=QuantizerConfig.model_validate(values)
    )
    model = MotionVqvae(config)
    if model.decoder.linear is not None:  # it begins with zeros, which would hide its errors
        torch.nn.init.normal_(model.decoder.linear.weight)
    for _ in range(3):
        model(torch.randn(8, 32, NUM_FEATURES))
    return model.eval()


def test_default_sizes_are_the_published_ones() -> None:
    config = MotionVqvaeConfig()
    assert (config.width, config.depth, config.frames_per_token) == (512, 3, 4)
    assert (config.quantizer.num_codes, config.quantizer.code_dim) == (512, 512)
    with torch.device("meta"):
        count = sum(weight.numel() for weight in MotionVqvae(config).parameters())
    published = PublishedTokenizer(512, 512, 512)
    assert count == sum(weight.numel() for weight in published.parameters())


# ---------------------------------------------------------------------- lengths, padding, streams


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("kind", ["ema", "residual", "fsq"])
def test_padding_changes_nothing(kind: str, linear_path: bool) -> None:
    layers = 3 if kind == "residual" else 1
    model = _model(kind=kind, num_quantizers=layers, linear_path=linear_path)
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
    model = _model(linear_path=pieces > 1)
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


def test_a_linear_path_needs_frames_to_map() -> None:
    with pytest.raises(ValueError, match="down_stages of 1 or more"):
        MotionVqvaeConfig(down_stages=0, linear_path=True)
