"""Tiny trainings."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from training.language_model.train import TrainMotionLmConfig
from training.tokenizer.train import TrainMotionVqvaeConfig

STEPS = 240
LM_STEPS = 24


def vqvae_config(root: Path, run: Path, **loop: Any) -> TrainMotionVqvaeConfig:
    """A training of seconds."""
    values: dict[str, Any] = {
        "run": run,
        "data": {"dataset": root},
        "model": {"width": 32, "depth": 1, "quantizer": {"num_codes": 64, "code_dim": 32}},
        "window": 32,
        "loop": {
            "steps": STEPS,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "warmup_steps": 10,
            "decay": "cosine",
            "log_every": 20,
            "validate_every": 120,
            "checkpoint_every": 40,
            "threads": 1,
            **loop,
        },
    }
    return TrainMotionVqvaeConfig.model_validate(values)


def lm_config(root: Path, tokenizer: Path, run: Path, **loop: Any) -> TrainMotionLmConfig:
    """A training of seconds."""
    size = {"width": 32, "ff_width": 64, "layers": 1, "heads": 2, "dropout": 0.1, "num_pieces": 400}
    values: dict[str, Any] = {
        "run": run,
        "dataset": root,
        "tokenizer": tokenizer,
        "model": {"scratch": size},
        "validation_items": 4,
        "loop": {
            "steps": LM_STEPS,
            "batch_size": 26,
            "accumulate": 2,
            "learning_rate": 5e-3,
            "warmup_steps": 2,
            "decay": "cosine",
            "clip_norm": 1.0,
            "log_every": 4,
            "validate_every": 12,
            "checkpoint_every": 4,
            "threads": 1,
            **loop,
        },
    }
    return TrainMotionLmConfig.model_validate(values)


def torchrun(processes: int, *arguments: str) -> None:
    """Run something under torchrun on this machine; what it says is told when it fails."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *launch, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def losses(rows: list[dict[str, Any]]) -> list[float]:
    """The loss of every step, from metrics."""
    return [loss for row in rows if row["event"] == "train" for loss in row["losses"]]
