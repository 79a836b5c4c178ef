"""Motion tokens: one row per motion and tokenizer; stale ones are noticed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data.schemas import load_features
from data.store.dataset import Dataset
from training.loop import TrainingResult
from training.tokenizer.losses import stray_m
from training.tokenizer.motion_tokenizer import load_tokenizer
from training.tokenizer.tokenize import TokenizeConfig, read_motion_tokens, tokenize_motions


def test_tokens_lie_beside_motions(
    vqvae_run: TrainingResult, motions_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(motions_root, root)
    rows = {row["motion_id"]: row for row in Dataset(root).read("motions").to_pylist()}
    config = TokenizeConfig(dataset=root, tokenizer=vqvae_run.run, publish_every=10)
    told: list[tuple[int, int]] = []
    result = tokenize_motions(config, lambda done, total: told.append((done, total)))
    assert (result.written, result.known, result.too_short) == (len(rows), 0, 0)
    assert told[-1] == (len(rows), len(rows))
    tokenizer = load_tokenizer(vqvae_run.run)
    tokens = read_motion_tokens(root, tokenizer.tokenizer_id)
    assert tokens.keys() == rows.keys()
    for motion_id, codes in tokens.items():
        (alone,) = tokenizer.encode([load_features(rows[motion_id])])
        assert np.array_equal(codes, alone)
    again = tokenize_motions(config)
    assert (again.written, again.known) == (0, len(rows))
    # Another tokenizer: the tokens of the first are stale to it, and stay for the first.
    older = sorted((vqvae_run.run / "checkpoints").glob("step-*"))[-2]
    other = load_tokenizer(older)
    assert other.tokenizer_id != tokenizer.tokenizer_id
    with pytest.raises(ValueError, match=f"stale tokens of {tokenizer.tokenizer_id}"):
        read_motion_tokens(root, other.tokenizer_id)
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=older))
    assert len(read_motion_tokens(root, other.tokenizer_id)) == len(rows)
    assert len(read_motion_tokens(root, tokenizer.tokenizer_id)) == len(rows)


def test_tokens_follow_the_heading_and_path(vqvae_run: TrainingResult, motions_root: Path) -> None:
    tokenizer = load_tokenizer(vqvae_run.run)
    rows = Dataset(motions_root).read("motions").to_pylist()
    plain: list[float] = []
    fed_back: list[float] = []
    for row in rows[:20]:
        motion = torch.from_numpy(load_features(row))
        real = motion[: len(motion) // tokenizer.frames_per_token * tokenizer.frames_per_token]
        codes = tokenizer.model.encode(tokenizer.stats.normalize(real)[None])[0].numpy()
        for found, of_codes in ((plain, codes), (fed_back, tokenizer.encode([motion.numpy()])[0])):
            made = torch.from_numpy(tokenizer.decode(of_codes))
            found.append(float(stray_m(real[None], made[None]).mean()))
    # The plain codes are the first that are tried, so no motion strays more than by them.
    assert all(own <= other + 1e-6 for own, other in zip(fed_back, plain, strict=True))
    # One small codebook follows hardly any path; benchmarks/reconstruction.py measures others.
    assert np.mean(fed_back) < np.mean(plain)


def test_missing_tokens_name_the_remedy(motions_root: Path) -> None:
    with pytest.raises(ValueError, match="avatargpt tokenize-motions"):
        read_motion_tokens(motions_root, "0" * 16)
