"""Tiny trainings."""

from pathlib import Path
from typing import Any

from training.train_motion_vqvae import TrainMotionVqvaeConfig

STEPS = 240


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


def losses(rows: list[dict[str, Any]]) -> list[float]:
    """The loss of every step, from metrics."""
    return [loss for row in rows if row["event"] == "train" for loss in row["losses"]]
