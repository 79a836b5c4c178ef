"""Released weights of other code: three layouts, and answers to files that have none of them."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.support.published import PublishedTokenizer
from data.motion.features import NUM_FEATURES
from training.tokenizer.motion_tokenizer import import_published, load_tokenizer
from training.tokenizer.published import from_published, read_published
from training.tokenizer.quantizer import QuantizerConfig
from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig

CONFIG: Final = MotionVqvaeConfig(width=24, quantizer=QuantizerConfig(num_codes=32, code_dim=16))


def test_published_weights_give_the_published_function(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = PublishedTokenizer(24, 16, 32)
    file = tmp_path / "net_last.pth"
    torch.save({"net": {f"vqvae.{k}": v for k, v in published.state_dict().items()}}, file)
    model = MotionVqvae(CONFIG)
    model.load_state_dict(from_published(CONFIG, read_published(file)))
    model.eval()
    features = torch.randn(3, 48, NUM_FEATURES)
    codes = model.encode(features)
    assert torch.equal(codes[..., 0], published.codes(features))
    torch.testing.assert_close(model.decode(codes), published.decode(codes[..., 0]))

    # As a run's folder, with the statistics that came with them.
    mean, std = np.linspace(-1, 1, NUM_FEATURES), np.full(NUM_FEATURES, 0.5)
    np.save(tmp_path / "Mean.npy", mean)
    np.save(tmp_path / "Std.npy", std)
    import_published(file, tmp_path / "Mean.npy", tmp_path / "Std.npy", tmp_path / "run", CONFIG)
    tokenizer = load_tokenizer(tmp_path / "run")
    raw = (features[0].double().numpy() * std + mean).astype(np.float32)
    (own,) = tokenizer.encode([raw])
    assert np.array_equal(own[:, 0], codes[0, :, 0].numpy())


def test_other_published_weights_are_refused(tmp_path: Path) -> None:
    weights = PublishedTokenizer(24, 16, 32).state_dict()
    with pytest.raises(ValueError, match=r"2 missing .* and 0 unknown"):
        from_published(CONFIG, {k: v for k, v in weights.items() if "decoder.model.6" not in k})
    with pytest.raises(ValueError, match=r"expected \(24, 263, 3\) .* found \(8, 263, 3\)"):
        from_published(CONFIG, PublishedTokenizer(8, 16, 32).state_dict())
    evil = tmp_path / "evil.pth"
    torch.save({"net": Path("/")}, evil)
    with pytest.raises(ValueError, match="expected a file of tensors"):
        read_published(evil)


def _layouts(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    def part(name: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)}

    return {
        "t2m_gpt": {"net": weights},
        "motion_gpt": {
            "epoch": 3,
            "state_dict": {f"vae.{k}": v for k, v in weights.items()}
            | {"lm.head.weight": torch.zeros(2, 2)},
        },
        "avatar_gpt": {
            "body_vqencoder": part("encoder."),
            "body_vqdecoder": part("decoder."),
            "body_quantizer": part("quantizer."),
            "epoch": 3,
        },
        "several_gpus": {
            "body_vqencoder": {f"module.{k}": v for k, v in part("encoder.").items()},
            "body_vqdecoder": {f"module.{k}": v for k, v in part("decoder.").items()},
            "body_quantizer": {f"module.{k}": v for k, v in part("quantizer.").items()},
        },
        "flat": weights,
    }


@pytest.mark.parametrize("layout", ["t2m_gpt", "motion_gpt", "avatar_gpt", "several_gpus", "flat"])
def test_layouts_of_releases_hold_the_same_tokenizer(tmp_path: Path, layout: str) -> None:
    torch.manual_seed(0)
    weights = PublishedTokenizer(24, 16, 32).state_dict()
    torch.save(_layouts(weights)[layout], tmp_path / "weights.pth")
    found = from_published(CONFIG, read_published(tmp_path / "weights.pth"))
    expected = from_published(CONFIG, weights)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_lightning_checkpoint_converted_to_safetensors_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = PublishedTokenizer(24, 16, 32).state_dict()
    save_file({f"vae.{k}": v.clone() for k, v in weights.items()}, tmp_path / "vae.safetensors")
    found = read_published(tmp_path / "vae.safetensors")
    assert found.keys() == weights.keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {"lm.head.weight": torch.zeros(2)}}, r"found \['lm.head'\]"),
        ({"net": torch.zeros(2)}, r"found \['no tensors'\]"),
        (torch.zeros(2), "expected a state dict, found Tensor"),
    ],
)
def test_a_file_without_a_tokenizer_says_what_it_holds(
    tmp_path: Path, content: object, said: str
) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=said):
        from_published(CONFIG, read_published(tmp_path / "other.pth"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="expected a file of tensors"):
        read_published(tmp_path / "cut.pth")
