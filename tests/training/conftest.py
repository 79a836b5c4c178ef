"""A VQ-VAE trained on the small dataset of motions."""

from pathlib import Path

import pytest

from data.importers.run import MotionImportConfig, import_motions
from data.motion.splits import SplitConfig
from data.workers.workers import WorkerConfig
from tests.support.plans import save_plans
from tests.support.runs import lm_config, vqvae_config
from training.inference.motion_model import MotionModel
from training.language_model.generation import load_motion_lm
from training.language_model.train import train_motion_lm
from training.loop import TrainingResult
from training.tokenizer.motion_tokenizer import load_tokenizer
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions
from training.tokenizer.train import train_motion_vqvae


@pytest.fixture(scope="session")
def vqvae_run(motions_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A tiny VQ-VAE, trained without interruption."""
    run = tmp_path_factory.mktemp("runs") / "vqvae"
    return train_motion_vqvae(vqvae_config(motions_root, run))


@pytest.fixture(scope="session")
def lm_root(vqvae_run: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic motions with captions, and plans; tokenized."""
    folder = tmp_path_factory.mktemp("lm")
    root, plans = folder / "dataset", folder / "plans.json"
    save_plans(plans)
    import_motions(
        MotionImportConfig(
            sources=("procedural:24", str(plans)),
            dataset=root,
            mirror=False,
            splits=SplitConfig(train=0.5, val=0.25, test=0.25),
            workers=WorkerConfig(num_workers=1),
        )
    )
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=vqvae_run.run))
    return root


@pytest.fixture(scope="session")
def lm_run(
    lm_root: Path, vqvae_run: TrainingResult, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    """A tiny language model, trained without interruption."""
    run = tmp_path_factory.mktemp("runs") / "lm"
    return train_motion_lm(lm_config(lm_root, vqvae_run.run, run))


@pytest.fixture(scope="session")
def motion_model(lm_run: TrainingResult, vqvae_run: TrainingResult) -> MotionModel:
    """Both, as users call them."""
    return MotionModel(load_motion_lm(lm_run.run), load_tokenizer(vqvae_run.run))
