"""A training that is asked to end stores a checkpoint first, and goes on from it exactly."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.training.runs import losses, vqvae_config
from training.checkpoints import read_checkpoint
from training.loop import TrainingError, has_ended, read_metrics
from training.motion_tokenizer import KIND
from training.train_motion_vqvae import train_motion_vqvae


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stores_a_checkpoint_and_the_run_goes_on_exactly(
    number: signal.Signals, motions_root: Path, tmp_path: Path
) -> None:
    # No checkpoint of its own before the end: what is found is what the signal stored.
    limits = {"steps": 60, "validate_every": 60, "checkpoint_every": 60, "log_every": 1}
    whole = vqvae_config(motions_root, tmp_path / "whole", **limits)
    train_motion_vqvae(whole)
    config = vqvae_config(motions_root, tmp_path / "run", **limits)

    def interrupt() -> None:
        while len(read_metrics(config.run)) < 10:
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(TrainingError, match=r"interrupted, and a checkpoint is stored\. Remedy"):
        train_motion_vqvae(config)
    thread.join()
    assert signal.getsignal(number) is before
    stored = read_checkpoint(config.run, KIND)
    assert 1 <= stored.step < 60
    assert not has_ended(config.run)
    assert train_motion_vqvae(config).step == 60
    assert losses(read_metrics(config.run)) == losses(read_metrics(whole.run))
