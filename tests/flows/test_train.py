"""Training flows on a real server: torchrun, progress, resume, tokens, clear failures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from data.store import Dataset
from flows.presets import PRESETS, preset_config
from flows.train import tokenize_motions, train_motion_vqvae
from tests.training.runs import vqvae_config
from training.loop import read_metrics
from training.tokenize_motions import TokenizeConfig
from training.train_motion_vqvae import TrainMotionVqvaeConfig

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))


def test_train_then_tokenize(motions_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(motions_root, root)
    config = vqvae_config(root, tmp_path / "run")
    summary = train_motion_vqvae(config)
    assert summary.stopped == "steps"
    assert summary.metrics["mpjpe_mm"] > 0
    assert summary.checkpoint.is_dir()
    # Progress came back to Prefect while it trained.
    with get_client(sync_client=True) as client:
        artifacts = {a.key: a for a in client.read_artifacts()}
    assert artifacts["train-motion-vqvae"].data == 100.0
    assert "mpjpe_mm" in str(artifacts["train-motion-vqvae-validations"].data)
    result = tokenize_motions(TokenizeConfig(dataset=root, tokenizer=tmp_path / "run"))
    assert result["written"] == Dataset(root).manifest["tables"]["motions"]["rows"]
    # Finished: nothing is trained again.
    rows = read_metrics(tmp_path / "run")
    again = train_motion_vqvae(config)
    assert (again.step, again.metrics) == (summary.step, summary.metrics)
    assert [row for row in read_metrics(tmp_path / "run") if row["event"] == "train"] == [
        row for row in rows if row["event"] == "train"
    ]


def test_a_failed_training_says_why(motions_root: Path, tmp_path: Path) -> None:
    config = vqvae_config(motions_root, tmp_path / "run", learning_rate=1e4)
    with pytest.raises(RuntimeError, match=r"training diverges\. Its batch came from"):
        train_motion_vqvae(config)


def test_the_commands_train_and_tokenize(motions_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(motions_root, root)
    file = tmp_path / "config.json"
    values = vqvae_config(root, tmp_path / "unused", steps=20).model_dump(mode="json")
    del values["run"], values["data"]
    file.write_text(json.dumps(values))
    run = tmp_path / "run"
    env = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    for command in (
        ["train-vqvae", str(root), "--run", str(run), "--config", str(file)],
        ["tokenize-motions", str(root), "--tokenizer", str(run)],
    ):
        done = subprocess.run(
            [AVATARGPT, *command], capture_output=True, text=True, check=False, env=env
        )
        assert done.returncode == 0, done.stderr
    assert "motions tokenised with" in done.stdout
    done = subprocess.run(
        [AVATARGPT, "train-vqvae", str(root), "--run", str(run), "--preset", "huge"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "expected one of ['paper', 'small', 'small-residual', 'tiny'" in done.stderr


def test_presets_are_valid_and_train_in_the_gpu_pool() -> None:
    deployments = yaml.safe_load(PRESETS.read_text())["deployments"]
    training = [d for d in deployments if d["entrypoint"].startswith("flows.train.")]
    assert {d["work_pool"]["name"] for d in training} == {"gpu"}
    paper = TrainMotionVqvaeConfig.model_validate(preset_config("train-motion-vqvae", "paper"))
    assert (paper.model.width, paper.window, paper.loop.batch_size) == (512, 64, 256)
    assert (paper.loop.steps, paper.loop.warmup_steps) == (300_000, 1000)
    assert paper.loop.rate_at(250_000) == pytest.approx(1e-5)
    for name in ("small", "small-residual", "tiny"):
        TrainMotionVqvaeConfig.model_validate(preset_config("train-motion-vqvae", name))
