"""The text–motion matching network: released weights load, and padding changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from data.motion.features import NUM_FEATURES, joints_to_features
from data.motion.normalization import FeatureStats, compute_stats
from data.synthetic.activities import generate_motion
from evaluation.evaluators.loading import load_evaluator
from evaluation.evaluators.published import import_published, matching_loss
from evaluation.evaluators.words import WORD_CLASSES, Vocabulary, tag_captions

_WORDS = ["unk", "sos", "eos", "a", "person", "walk", "jump", "kick", "forward", "high"]


def _gru(inputs: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released BiGRU encoder."""
    shapes: dict[str, tuple[int, ...]] = {
        "hidden": (2, 1, width),
        "input_emb.weight": (width, inputs),
        "input_emb.bias": (width,),
    }
    for end in ("l0", "l0_reverse"):
        shapes |= {
            f"gru.weight_ih_{end}": (3 * width, width),
            f"gru.weight_hh_{end}": (3 * width, width),
            f"gru.bias_ih_{end}": (3 * width,),
            f"gru.bias_hh_{end}": (3 * width,),
        }
    return shapes | {
        "output_net.0.weight": (width, 2 * width),
        "output_net.0.bias": (width,),
        "output_net.1.weight": (width,),
        "output_net.1.bias": (width,),
        "output_net.3.weight": (512, width),
        "output_net.3.bias": (512,),
    }


_RELEASED = {
    "movement_encoder": {
        "main.0.weight": (512, 259, 4),
        "main.0.bias": (512,),
        "main.3.weight": (512, 512, 4),
        "main.3.bias": (512,),
        "out_net.weight": (512, 512),
        "out_net.bias": (512,),
    },
    "motion_encoder": _gru(512, 1024),
    "text_encoder": _gru(300, 512) | {"pos_emb.weight": (300, 15), "pos_emb.bias": (300,)},
}
"""Names and shapes of the tensors in HumanML3D's ``finest.tar``."""


def _motion(activity: str, seconds: float = 4.0) -> Any:
    return joints_to_features(generate_motion(activity, 1, seconds)[0]).astype(np.float32)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``finest.tar`` with random weights, ``vectors.npz``, ``mean.npy`` and ``std.npy``."""
    folder = tmp_path_factory.mktemp("release")
    torch.manual_seed(0)
    state: dict[str, Any] = {
        name: {key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}
        for name, shapes in _RELEASED.items()
    }
    state |= {"opt_text_encoder": {"state": {}, "param_groups": []}, "epoch": 55, "iter": 100_000}
    torch.save(state, folder / "finest.tar")
    vectors = np.random.default_rng(0).normal(size=(len(_WORDS), 300)).astype(np.float32)
    np.savez(folder / "vectors.npz", allow_pickle=False, words=np.array(_WORDS), vectors=vectors)
    stats = compute_stats([_motion("walk_circle"), _motion("jump")])
    for name, one in (("dataset", stats), ("evaluator", stats.for_evaluator())):
        np.save(folder / f"{name}_mean.npy", one.mean_D)
        np.save(folder / f"{name}_std.npy", one.std_D)
    return folder


def _imported(release: Path, run: Path, stats: str = "evaluator") -> Path:
    return import_published(
        release / "finest.tar",
        release / "vectors.npz",
        release / f"{stats}_mean.npy",
        release / f"{stats}_std.npy",
        run,
    )


def _released_embedding(
    state: dict[str, torch.Tensor], inputs_LW: torch.Tensor, width: int
) -> torch.Tensor:
    """Embed one sequence with PyTorch's own layers, step by step, (512,)."""
    gru = nn.GRU(width, width, bidirectional=True)
    gru.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("gru.")})
    inner = functional.linear(inputs_LW, state["input_emb.weight"], state["input_emb.bias"])
    _, last = gru(inner[:, None], state["hidden"])
    both = torch.cat([last[0, 0], last[1, 0]])
    hidden = functional.linear(both, state["output_net.0.weight"], state["output_net.0.bias"])
    hidden = functional.layer_norm(
        hidden, (width,), state["output_net.1.weight"], state["output_net.1.bias"]
    )
    hidden = functional.leaky_relu(hidden, 0.2)
    return functional.linear(hidden, state["output_net.3.weight"], state["output_net.3.bias"])


@torch.no_grad()
def test_released_weights_give_the_released_embeddings(release: Path, tmp_path: Path) -> None:
    _imported(release, tmp_path / "run")
    evaluator = load_evaluator(tmp_path / "run")
    assert evaluator.kind == "published"
    assert evaluator.name.startswith("published-")
    state = torch.load(release / "finest.tar", weights_only=True)
    motion_TD = _motion("kick")[:61]

    # As the published loader has it: normalized, cut to a multiple of 4, padded to 196 with zeros.
    mean, std = (np.load(release / f"evaluator_{one}.npy") for one in ("mean", "std"))
    padded = torch.zeros(1, 196, NUM_FEATURES - 4)
    padded[0, :60] = torch.from_numpy(((motion_TD[:60] - mean) / std)[:, :-4].astype(np.float32))
    move = state["movement_encoder"]
    inner = padded.transpose(1, 2)
    for layer in ("main.0", "main.3"):
        inner = functional.conv1d(
            inner, move[f"{layer}.weight"], move[f"{layer}.bias"], stride=2, padding=1
        )
        inner = functional.leaky_relu(inner, 0.2)
    movements = functional.linear(
        inner.transpose(1, 2), move["out_net.weight"], move["out_net.bias"]
    )
    expected = _released_embedding(state["motion_encoder"], movements[0, :15], 1024)
    found = evaluator.embed_motions([_motion("walk_forward", 8.0), motion_TD])
    assert found.shape == (2, 512)
    np.testing.assert_allclose(found[1], expected.numpy(), atol=2e-5)

    caption = "a person kicks forward"
    vectors = torch.from_numpy(np.load(release / "vectors.npz")["vectors"])
    indices, classes = Vocabulary(_WORDS).encode(tag_captions([caption])[0])
    one_hot = functional.one_hot(torch.tensor(classes), len(WORD_CLASSES)).float()
    text = state["text_encoder"]
    words = vectors[indices] + functional.linear(
        one_hot, text["pos_emb.weight"], text["pos_emb.bias"]
    )
    expected = _released_embedding(text, words, 512)
    found = evaluator.embed_texts(["a person walks", caption, "a person walks"])
    np.testing.assert_allclose(found[1], expected.numpy(), atol=2e-5)
    np.testing.assert_array_equal(found[0], found[2])


def test_statistics_of_the_dataset_are_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the evaluator's own standard deviations"):
        _imported(release, tmp_path / "run", stats="dataset")


def test_other_files_are_refused(release: Path, tmp_path: Path) -> None:
    for name, content in (
        ("no_text", {"movement_encoder": {}, "motion_encoder": {}}),
        ("objects", {"movement_encoder": Path("x")}),
        ("shapes", {one: {"main.0.weight": torch.zeros(512, 247, 4)} for one in _RELEASED}),
    ):
        path = tmp_path / f"{name}.tar"
        torch.save(content, path)
        with pytest.raises(
            ValueError, match=rf"{name}\.tar: expected .* Remedy: use text_mot_match"
        ):
            import_published(
                path,
                release / "vectors.npz",
                release / "evaluator_mean.npy",
                release / "evaluator_std.npy",
                tmp_path / "run",
            )


def test_bad_motions_are_named(release: Path, tmp_path: Path) -> None:
    evaluator = load_evaluator(_imported(release, tmp_path / "run"))
    good = _motion("jump")
    broken = good.copy()
    broken[3, 7] = np.nan
    for wrong, told in (
        (good[:3], r"motion 1: expected .* at least 4"),
        (good[:, :251], r"motion 1: expected features of shape"),
        (broken, "motion 1: expected finite features"),
    ):
        with pytest.raises(ValueError, match=told):
            evaluator.embed_motions([good, wrong])


def test_the_loss_is_the_published_one() -> None:
    motions = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 20.0]], requires_grad=True)
    texts = torch.tensor([[0.0, 1.0], [3.0, 4.0], [0.0, 20.0]])
    same = torch.eye(3, dtype=torch.bool)
    # Own pairs: (1 + 0 + 0) / 3. Others: distances of text i from motion j below the margin of 10.
    apart = [(0, 1, (9 + 9) ** 0.5), (0, 2, 19.0), (1, 0, 5.0), (1, 2, 265**0.5), (2, 0, 20.0)]
    apart.append((2, 1, 265**0.5))
    expected = 1 / 3 + sum(max(0.0, 10 - d) ** 2 for _, _, d in apart) / 6
    loss = matching_loss(motions, texts, same, 10.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert bool(torch.isfinite(motions.grad).all())  # type: ignore[union-attr]
    # Motions with the same caption do not repel.
    all_same = matching_loss(motions.detach(), texts, torch.ones(3, 3, dtype=torch.bool), 10.0)
    assert all_same.item() == pytest.approx(1 / 3)


def test_the_name_depends_on_the_statistics(release: Path, tmp_path: Path) -> None:
    first = load_evaluator(_imported(release, tmp_path / "a"))
    again = load_evaluator(_imported(release, tmp_path / "b"))
    assert first.name == again.name
    mean = np.load(release / "evaluator_mean.npy")
    stats = FeatureStats(mean + 0.01, np.load(release / "evaluator_std.npy"))
    np.save(tmp_path / "mean.npy", stats.mean_D)
    import_published(
        release / "finest.tar",
        release / "vectors.npz",
        tmp_path / "mean.npy",
        release / "evaluator_std.npy",
        tmp_path / "c",
    )
    assert load_evaluator(tmp_path / "c").name != first.name
