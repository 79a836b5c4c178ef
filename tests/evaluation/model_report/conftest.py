"""A tiny evaluator network, and one evaluation of the tiny model, which several tests read."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from data.exporters import write_humanml3d
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import joints_to_features
from data.motion.splits import Split
from data.synthetic.activities import generate_motion
from data.workers.workers import WorkerConfig
from evaluation.evaluators.train_contrastive import (
    TrainContrastiveConfig,
    train_contrastive_evaluator,
)
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.evaluate import Evaluated, evaluate_model
from evaluation.model_report.material import Material
from evaluation.versions import write_model
from tests.support.runs import lm_config
from tests.support.tiny_bert import save_tiny_bert
from training.checkpoints import read_checkpoint
from training.inference.motion_model import MotionModel
from training.instructions.tasks import Task
from training.language_model.config import KIND as LM_KIND
from training.language_model.config import TrainMotionLmConfig
from training.loop import TrainingResult
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions

ITEMS = 6


@dataclass(frozen=True)
class Measured:
    """An evaluation, what it was made from, and the model folder that it was written to."""

    evaluated: Evaluated
    material: Material
    config: EvaluationConfig
    training: TrainMotionLmConfig
    cache: Path
    folder: Path


@pytest.fixture(scope="session")
def evaluator_run(lm_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contrastive evaluator after two steps: it judges badly, but always the same."""
    folder = tmp_path_factory.mktemp("evaluator")
    texts = ("a person walks forward and waves with the left arm", "someone kicks and jumps")
    config = TrainContrastiveConfig.model_validate(
        {
            "run": folder / "run",
            "data": {"dataset": lm_root, "min_frames": 4},
            "model": {"width": 16, "layers": 1, "heads": 2, "sentence_width": 64},
            "sentence_encoder": save_tiny_bert(folder / "bert", texts),
            "loop": {
                "steps": 2,
                "batch_size": 8,
                "learning_rate": 1e-3,
                "validate_every": 2,
                "threads": 1,
                "tensorboard": False,
            },
        }
    )
    return train_contrastive_evaluator(config).run


@pytest.fixture(scope="session")
def same_captions(
    motion_model: MotionModel,
    lm_run: TrainingResult,
    vqvae_run: TrainingResult,
    tmp_path_factory: pytest.TempPathFactory,
) -> Material:
    """A test split of 14 motions with three captions."""
    folder = tmp_path_factory.mktemp("same_captions")
    counts = {("wave_hand", "wave"): 9, ("jump", "jump"): 4, ("bow", "bow"): 1}
    wanted: list[tuple[str, str, Split]] = [("kick", "kick", "val")]
    # Enough motions that every feature changes.
    wanted.extend((name, name, "train") for name in ("walk_forward", "jump", "kick", "squat") * 2)
    wanted.extend((*names, "test") for names, count in counts.items() for _ in range(count))
    for number, (activity, caption, split) in enumerate(wanted):
        features = joints_to_features(generate_motion(activity, number, 3.0)[0])
        write_humanml3d(folder / "humanml3d", f"{number:06d}", features, [caption], split)
    config = MotionImportConfig(
        sources=(str(folder / "humanml3d"),),
        dataset=folder / "dataset",
        mirror=False,
        workers=WorkerConfig(num_workers=1),
    )
    import_motions(config)
    tokenize_motions(TokenizeConfig(dataset=config.dataset, tokenizer=vqvae_run.run))
    training = lm_config(config.dataset, vqvae_run.run, lm_run.run)
    return Material(motion_model, training, folder / "cache")


@pytest.fixture(scope="session")
def measured(
    motion_model: MotionModel,
    lm_run: TrainingResult,
    lm_root: Path,
    vqvae_run: TrainingResult,
    evaluator_run: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    training = lm_config(lm_root, vqvae_run.run, lm_run.run)
    config = EvaluationConfig.model_validate(
        {
            "items": ITEMS,
            "completion": {"samples": 2, "gaps_s": [0.5, 1.0]},
            "motion": {"temperature": 0.7, "top_p": 0.95, "best_of": 2},
            "evaluator": {
                "run": evaluator_run,
                "protocol": {"group_size": 5, "repeats": 4, "multimodality_pairs": 2},
                "multimodality_texts": 2,
                "multimodality_samples": 3,
            },
            "pictures": 2,
        }
    )
    cache = folder / "cache"
    vqvae, lm = read_checkpoint(vqvae_run.run, VQVAE_KIND), read_checkpoint(lm_run.run, LM_KIND)
    evaluated = evaluate_model(motion_model, training, config, cache)
    assert evaluated.report.items[Task.T2M] == ITEMS
    return Measured(
        evaluated,
        Material(motion_model, training, cache),
        config,
        training,
        cache,
        write_model(folder / "models", vqvae, lm, evaluated),
    )
