"""A VQ-VAE trained on the small dataset of motions."""

from pathlib import Path

import pytest

from tests.training.runs import vqvae_config
from training.loop import TrainingResult
from training.train_motion_vqvae import train_motion_vqvae


@pytest.fixture(scope="session")
def vqvae_run(motions_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A tiny VQ-VAE, trained without interruption."""
    run = tmp_path_factory.mktemp("runs") / "vqvae"
    return train_motion_vqvae(vqvae_config(motions_root, run))
