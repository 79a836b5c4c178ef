"""A training that is asked to end stores a checkpoint first, and goes on from it exactly."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.runs import losses, vqvae_config
from training.checkpoints import CheckpointStore, read_checkpoint
from training.loop import TrainingError, has_ended, read_metrics
from training.tokenizer import train as vqvae_module
from training.tokenizer.motion_tokenizer import KIND
from training.tokenizer.train import train_motion_vqvae


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
    told = r"interrupted, and a checkpoint was saved\. Remedy"
    with pytest.raises(TrainingError, match=told) as caught:
        train_motion_vqvae(config)
    thread.join()
    assert signal.getsignal(number) is before
    # The checkpoint is of the step at which the run ended, and of no later one.
    stored = read_checkpoint(config.run, KIND)
    assert str(caught.value).startswith(f"step {stored.step}: ")
    assert len(losses(read_metrics(config.run))) == stored.step
    assert 9 <= stored.step < 60
    assert not has_ended(config.run)
    assert train_motion_vqvae(config).step == 60
    assert losses(read_metrics(config.run)) == losses(read_metrics(whole.run))


@pytest.mark.parametrize("validation", [20, 40])
def test_a_signal_in_a_validation_ends_it_and_the_next_start_makes_up_for_it(
    validation: int, motions_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"steps": 40, "validate_every": 20, "checkpoint_every": 40, "log_every": 10}
    whole = vqvae_config(motions_root, tmp_path / "whole", **limits)
    train_motion_vqvae(whole)
    config = vqvae_config(motions_root, tmp_path / "run", **limits)
    real = vqvae_module.reconstruction
    calls: list[int] = []

    def interrupted(*arguments: Any) -> dict[str, float]:
        calls.append(20 * len(calls))
        if calls[-1] == validation:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the signal is answered before the validation is over")
        return real(*arguments)

    monkeypatch.setattr(vqvae_module, "reconstruction", interrupted)
    with pytest.raises(TrainingError, match=r"interrupted.* Remedy: start"):
        train_motion_vqvae(config)
    assert calls[-1] == validation
    assert not has_ended(config.run)
    last = CheckpointStore(config.run, KIND).last()
    assert last is not None
    assert last.step == validation
    assert train_motion_vqvae(config).step == 40
    assert losses(read_metrics(config.run)) == losses(read_metrics(whole.run))
    judged, expected = (
        [row for row in read_metrics(run) if row["event"] == "validation"]
        for run in (config.run, whole.run)
    )
    assert judged == expected
    assert read_checkpoint(config.run, KIND).step == read_checkpoint(whole.run, KIND).step


def test_all_processes_end_at_the_step_at_which_any_one_is_asked_to(
    motions_root: Path, tmp_path: Path
) -> None:
    config = vqvae_config(motions_root, tmp_path / "run", steps=100_000, log_every=1)
    request = tmp_path / "request.json"
    request.write_text(config.model_dump_json())
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [sys.executable, *launch, "-m", "training.tokenizer.train", str(request)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while len(read_metrics(config.run)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    ranks = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RANK" in child.environ()
    ]
    # Not rank 0: the machine that is taken away may be any one of several.
    (last,) = [rank for rank in ranks if rank.environ()["RANK"] == "1"]
    last.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    stored = read_checkpoint(config.run, KIND).step
    assert len(losses(read_metrics(config.run))) == stored
    assert told.count(f"error: step {stored}: training was interrupted, and a checkpoint") == 2
    psutil.wait_procs(ranks, timeout=10)
    assert not [rank for rank in ranks if rank.is_running()]
