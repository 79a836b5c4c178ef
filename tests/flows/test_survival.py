"""Killed processes: a run outlives its server, and a training does not outlive its run."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from prefect.settings import PREFECT_API_URL

from flows.runtime import reporting
from flows.server.process import SERVER_MODULE
from tests.flows.server.test_process import environment
from tests.support import corruption
from training.checkpoints import CheckpointStore
from training.loop import read_metrics
from training.tokenizer.motion_tokenizer import KIND

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))
LIMIT_S = 240.0
NOBODY = "http://127.0.0.1:9/api"
EXIT_LIMIT_S = 60.0
"""Prefect would ask for its server for minutes; a loaded machine takes its time."""


def _wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def command(tmp_path: Path) -> Generator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `avatargpt ARGUMENTS`, by default with its own server, and leaves nothing behind."""
    started: list[psutil.Process] = []
    env = environment(tmp_path)

    def start(*arguments: str, api_url: str = NOBODY) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [AVATARGPT, *arguments],
            env=env | {"PREFECT_API_URL": api_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(psutil.Process(process.pid))
        return process

    yield start
    for process in started:
        if process.is_running():
            for child in process.children(recursive=True):
                child.kill()
            process.kill()


def _children(process: "subprocess.Popen[str]", word: str) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if word in " ".join(child.cmdline())
    ]


def test_work_goes_on_without_its_server(
    command: Callable[..., "subprocess.Popen[str]"],
    sample_clip: Path,
    brief_clip: Path,
    tmp_path: Path,
) -> None:
    root = tmp_path / "dataset"
    # Tasks that wait for others start when the server is gone.
    later = corruption.filmed_again(
        sample_clip, tmp_path / "later.mp4", frames=range(60, 90, 6), rate=5
    )
    clips = str(brief_clip), str(later)
    run = command("annotate", *clips, "--dataset", str(root), "--set", "shard_clips=1")
    _wait_for(lambda: any(root.glob(".staging/work-*/scans/*.json")), run)
    (server,) = _children(run, SERVER_MODULE)
    server.send_signal(signal.SIGKILL)
    _wait_for((root / "dataset.json").exists, run)
    published_s = time.monotonic()
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, output
    # Ten seconds are allowed: what follows the publication takes one, and then the run's own limit.
    assert 0 < reporting.EXIT_LIMIT_S <= 5
    assert time.monotonic() - published_s < EXIT_LIMIT_S
    assert output.count("does not answer. The work goes on") == 1, output
    assert "Traceback" not in output
    assert len(pd.read_parquet(root / "annotations")) == 3


def test_a_killed_train_all_leaves_no_training_behind_and_goes_on(
    command: Callable[..., "subprocess.Popen[str]"], motions_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "train"
    loop = {"steps": 100_000, "validate_every": 100_000, "checkpoint_every": 10, "log_every": 4}
    changes = [f"vqvae.loop.{name}={value}" for name, value in (*loop.items(), ("threads", 1))]
    arguments = ["train-all", str(motions_root), "--root", str(root), "--preset", "tiny"]
    for change in changes:
        arguments += ["--set", change]

    def run_folder() -> Path:
        return next(root.glob("runs/vqvae-*"), root / "none")

    def last_step() -> int:
        last = CheckpointStore(run_folder(), KIND).last()
        return 0 if last is None else last.step

    def rows() -> list[dict[str, Any]]:
        return [row for row in read_metrics(run_folder()) if row["event"] == "train"]

    of_tests = str(PREFECT_API_URL.value())
    run = command(*arguments, api_url=of_tests)
    _wait_for(lambda: last_step() >= 20, run)
    training = _children(run, "training.")
    assert any("training.launch" in child.cmdline() for child in training)
    assert len(training) >= 2, "torchrun and its worker"
    run.kill()
    run.wait()
    gone, left = psutil.wait_procs(training, timeout=LIMIT_S)
    assert not left, gone
    # The next start goes on: no lock keeps it out, and what was reached is not trained again.
    reached, before = last_step(), rows()
    kept = [row for row in before if row["step"] <= reached]
    assert kept
    again = command(*arguments, api_url=of_tests)
    _wait_for(lambda: rows()[-1]["step"] > before[-1]["step"], again)
    after = rows()
    # With their times: these are the rows of the first start.
    assert after[: len(kept)] == kept
    first = after[len(kept)]
    assert first["step"] - len(first["losses"]) == reached
