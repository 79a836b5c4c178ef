"""Ctrl-C and SIGTERM on the real command: one line, exit code 130, nobody left, and it goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL

from annotators.config import AnnotateConfig
from flows.annotate import annotate_videos
from flows.commands.running import CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S
from tests.support.runs import losses, vqvae_config
from training.checkpoints import read_checkpoint
from training.loop import read_metrics
from training.tokenizer.motion_tokenizer import KIND
from training.tokenizer.train import train_motion_vqvae

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))
KEPT = "stopping; finished clips are kept; run the same command to resume"
LIMIT_S = 12.0
"""The command leaves within three seconds; machines of tests are busy."""


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_says_one_line_and_leaves_nobody(
    times: int, sample_clip: Path, brief_clip: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    process = subprocess.Popen(
        [AVATARGPT, "annotate", str(brief_clip), str(sample_clip), "--dataset", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    while not list(root.glob(".staging/work-*/poses/*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    for _ in range(times):
        # As a terminal does it: every process of the group gets it.
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    # A thread may have been in the middle of a log line.
    assert KEPT in told.splitlines()
    assert told.count("stopping") == 1
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    assert alive == []
    if times == 1:
        # What was finished is taken up, and the lock is free.
        assert list(root.glob(".staging/work-*/poses/*.json"))
        summary = annotate_videos(config=AnnotateConfig(videos=(str(brief_clip),), dataset=root))
        assert summary.rows["annotations"] == 1


def test_an_interrupted_training_stores_a_checkpoint_and_goes_on_exactly(
    motions_root: Path, tmp_path: Path
) -> None:
    # No checkpoint of its own before the end: what is found is what the signal stored.
    limits = {"validate_every": 1_000_000, "checkpoint_every": 1_000_000, "log_every": 1}
    config = vqvae_config(motions_root, tmp_path / "run", steps=1_000_000, **limits, decay="none")
    values = config.model_dump(mode="json")
    del values["run"], values["data"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    process = subprocess.Popen(
        [
            *(AVATARGPT, "train-motion-vqvae", str(motions_root), "--run", str(config.run)),
            *("--config", str(file), "--preset", ""),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    while len(read_metrics(config.run)) < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    # torchrun and the process that trains.
    assert len(children) >= 2
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=CHECKPOINT_LIMIT_S + LIMIT_S)
    assert process.returncode == 130
    assert told.splitlines()[-1] == f"stopping; {CHECKPOINT_KEPT}"
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    assert alive == []
    stored = read_checkpoint(config.run, KIND).step
    assert stored >= 4
    # The same training goes on, here in this process and for a few steps only.
    limits |= {"steps": stored + 3, "decay": "none"}
    train_motion_vqvae(vqvae_config(motions_root, config.run, **limits))
    train_motion_vqvae(vqvae_config(motions_root, tmp_path / "whole", **limits))
    assert losses(read_metrics(config.run)) == losses(read_metrics(tmp_path / "whole"))
