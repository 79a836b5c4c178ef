"""The contrastive evaluator: its loss leaves out near-duplicates."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from evaluation.evaluators.contrastive import (
    ContrastiveConfig,
    ContrastiveNetwork,
    contrastive_loss,
    too_similar,
)
from evaluation.evaluators.sentences import FILES, SentenceEncoder
from tests.support.tiny_bert import save_tiny_bert

_TEXTS = ["a person walks", "a person walks forward quickly", "someone jumps", "a person sits"]


def test_the_loss_leaves_out_pairs_with_similar_texts() -> None:
    torch.manual_seed(0)
    motions, texts = (functional.normalize(torch.randn(4, 8), dim=-1) for _ in range(2))
    similar = torch.eye(4, dtype=torch.bool)
    similar[0, 1] = similar[1, 0] = True
    scores = (texts @ motions.T / 0.1).exp()
    kept = scores * (~similar | torch.eye(4, dtype=torch.bool))
    expected = -sum(
        (kept[i, i] / kept[i].sum()).log() + (kept[i, i] / kept[:, i].sum()).log() for i in range(4)
    )
    loss = contrastive_loss(motions, texts, similar, 0.1)
    assert float(loss) == pytest.approx(float(expected) / 8, rel=1e-5)
    # With all negatives the loss of texts 0 and 1 is greater.
    assert contrastive_loss(motions, texts, torch.eye(4, dtype=torch.bool), 0.1) > loss
    # Nothing is left to tell apart where all texts are alike.
    alike = contrastive_loss(motions, texts, torch.ones(4, 4, dtype=torch.bool), 0.1)
    assert float(alike) == pytest.approx(0.0, abs=1e-6)


def test_captions_of_different_sides_are_never_too_similar() -> None:
    captions = ["waves the left hand", "waves the right hand", "waves the hand", "Left hand waves"]
    alike = functional.normalize(torch.ones(4, 3), dim=-1)
    found = too_similar(captions, alike, 0.8)
    apart = {(0, 1), (1, 0), (1, 3), (3, 1)}
    assert {(i, j) for i in range(4) for j in range(4) if not found[i, j]} == apart
    # Other captions are told apart by their embeddings.
    assert torch.equal(too_similar(["a", "b", "c"], torch.eye(3), 0.8), torch.eye(3).bool())


@torch.no_grad()
def test_padding_does_not_change_an_embedding() -> None:
    torch.manual_seed(0)
    network = ContrastiveNetwork(ContrastiveConfig(width=32, layers=2, heads=2)).eval()
    short, long = torch.randn(1, 48, 67), torch.randn(1, 120, 67)
    alone = network.embed_motions(short, torch.tensor([48]))
    padded = torch.zeros(2, 120, 67)
    padded[0, :48], padded[1] = short, long
    together = network.embed_motions(padded, torch.tensor([48, 120]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(2))
    # The order of the frames matters.
    turned = network.embed_motions(short.flip(1), torch.tensor([48]))
    assert float((turned - alone).norm()) > 0.01


def test_sentence_embeddings_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "bert", _TEXTS)
    encoder = SentenceEncoder(folder)
    together = encoder.embed(_TEXTS)
    assert together.shape == (4, 64)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for text, row in zip(_TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.embed([text])[0], row, atol=1e-5)
    # The same model as an archive has the same id and embeddings.
    with zipfile.ZipFile(tmp_path / "bert.zip", "w") as archive:
        for name in FILES:
            archive.write(folder / name, name)
    packed = SentenceEncoder(tmp_path / "bert.zip")
    assert packed.model_id == encoder.model_id
    np.testing.assert_array_equal(packed.embed(_TEXTS), together)


def test_an_incomplete_sentence_encoder_is_named(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "bert", _TEXTS)
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match=r"other: expected a BERT .* Remedy: run `avatargpt assets"
    ):
        SentenceEncoder(tmp_path / "other")
