"""Tiny trainings, and trainings that are killed at a named point."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from training.language_model.config import TrainMotionLmConfig
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
        "instructions": {"weights": {"t2m": 2}, "token_noise": 0.2},
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


# The process kills itself, because a kill from outside strikes at an unknown point.
_KILLED_TRAINING = """
import os, runpy, signal, sys
from training import checkpoints

module, request, kill_step, point = sys.argv[1:]
save, write_json = checkpoints.CheckpointStore.save, checkpoints.write_json

def killed_save(store, **values):
    if values["step"] == int(kill_step) and point == "renamed":
        checkpoints.write_json = killed_write
    path = save(store, **values)
    if values["step"] == int(kill_step):
        os.kill(os.getpid(), signal.SIGKILL)
    return path

def killed_write(path, content):
    if path.name == "last.json":
        os.kill(os.getpid(), signal.SIGKILL)
    write_json(path, content)

checkpoints.CheckpointStore.save = killed_save
sys.argv = [module, request]
runpy.run_module(module, run_name="__main__")
"""


def kill_training(module: str, request: Path, step: int, point: str = "saved") -> None:
    """Train in a process that kills itself while it saves the checkpoint of a step.

    Args:
        module: module that trains, such as ``training.tokenizer.train``.
        request: its configuration file.
        step: step of the checkpoint.
        point: ``renamed``: the checkpoint is complete, but ``last.json`` does not name it yet;
            ``saved``: the checkpoint is saved.
    """
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_TRAINING, module, str(request), str(step), point],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


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
