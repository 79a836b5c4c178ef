"""Training flows on a real server: torchrun, progress, resume, tokens, clear failures."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from typer.testing import CliRunner, Result

from data.store.dataset import Dataset
from evaluation.evaluators.loading import load_evaluator
from flows.commands.main import app, main
from flows.runtime.reporting import describe_state
from flows.train import lm_key, tokenize_motions, train_motion_vqvae
from tests.support.runs import lm_config, vqvae_config
from tests.support.tiny_bert import save_tiny_bert
from training.checkpoints import read_checkpoint
from training.loop import read_metrics
from training.tokenizer.motion_tokenizer import KIND
from training.tokenizer.tokenize import TokenizeConfig

BAR = re.compile("train-motion-vqvae-[0-9a-f]{12}")
AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))


def test_pretraining_and_training_have_names_of_their_own(tmp_path: Path) -> None:
    training = lm_config(tmp_path, tmp_path, tmp_path)
    pretraining = training.model_copy(update={"stage": "pretrain"})
    assert (lm_key(pretraining), lm_key(training)) == ("pretrain-motion-lm", "train-motion-lm")


def _artifacts() -> dict[str, Any]:
    """What all runs of the tests' server have shown, by key."""
    with get_client(sync_client=True) as client:
        return {str(artifact.key): artifact for artifact in client.read_artifacts()}


def test_train_then_tokenize(motions_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(motions_root, root)
    config = vqvae_config(root, tmp_path / "run")
    before = set(_artifacts())
    summary = train_motion_vqvae(config=config)
    assert summary.stopped == "steps"
    # Of the validations, the best is what the summary and its checkpoint are of.
    validations = [r for r in read_metrics(tmp_path / "run") if r["event"] == "validation"]
    assert [row["step"] for row in validations] == [0, 120, 240]
    best = min(validations, key=lambda row: row["mpjpe_mm"])
    assert summary.step == best["step"]
    assert summary.metrics == {name: best[name] for name in summary.metrics}
    assert read_checkpoint(tmp_path / "run", KIND).folder == summary.checkpoint
    # Progress came back to Prefect while it trained.
    artifacts = {key: a for key, a in _artifacts().items() if key not in before}
    assert [a.data for key, a in artifacts.items() if BAR.fullmatch(key)] == [100.0]
    (table,) = [a for key, a in artifacts.items() if "train-motion-vqvae-validations-" in key]
    assert [row["step"] for row in json.loads(str(table.data))] == [0, 120, 240]
    result = tokenize_motions(config=TokenizeConfig(dataset=root, tokenizer=tmp_path / "run"))
    assert result["written"] == Dataset(root).manifest["tables"]["motions"]["rows"]
    # Finished: nothing is trained again.
    rows = read_metrics(tmp_path / "run")
    again = train_motion_vqvae(config=config)
    assert (again.step, again.metrics) == (summary.step, summary.metrics)
    assert [row for row in read_metrics(tmp_path / "run") if row["event"] == "train"] == [
        row for row in rows if row["event"] == "train"
    ]


def test_a_failed_training_says_why(motions_root: Path, tmp_path: Path) -> None:
    config = vqvae_config(motions_root, tmp_path / "run", learning_rate=1e4)
    state = train_motion_vqvae(config=config, return_state=True)
    told = describe_state("run fast-fox of train-motion-vqvae/gpu", state)
    where = f"train-motion-vqvae of run {config.run} failed: step "
    assert told.startswith(f"run fast-fox of train-motion-vqvae/gpu failed: {where}")
    assert "training diverged. The batch contained" in told
    assert told.count("Remedy: ") == 1


def test_the_commands_train_and_tokenize(
    motions_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(motions_root, root)
    file = tmp_path / "config.json"
    values = vqvae_config(root, tmp_path / "unused", steps=20).model_dump(mode="json")
    del values["run"], values["data"]
    file.write_text(json.dumps(values))
    run = tmp_path / "run"
    train = ["train-motion-vqvae", str(root), "--run", str(run)]
    # One as a user starts it; the others in this process, which has PyTorch loaded.
    trained = subprocess.run(
        [AVATARGPT, *train, "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    assert trained.returncode == 0, trained.stderr
    tokenized = CliRunner().invoke(app, ["tokenize-motions", str(root), "--tokenizer", str(run)])
    assert tokenized.exit_code == 0, tokenized.exception
    assert "motions tokenized with" in tokenized.stdout
    monkeypatch.setattr(sys, "argv", ["avatargpt", *train, "--preset", "huge"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert "expected one of paper, small, tiny, found 'huge'" in told


@pytest.mark.usefixtures("tests_server")
def test_the_command_trains_an_evaluator(motions_root: Path, tmp_path: Path) -> None:
    texts = ("a person walks forward and waves with the left arm", "someone kicks and jumps")
    values = {
        "model": {"width": 16, "layers": 1, "heads": 2, "sentence_width": 64},
        "sentence_encoder": str(save_tiny_bert(tmp_path / "bert", texts)),
        "loop": {"steps": 2, "batch_size": 8, "validate_every": 2, "threads": 1},
    }
    file, run = tmp_path / "config.json", tmp_path / "run"
    file.write_text(json.dumps(values))

    def train(*options: str) -> Result:
        asked = ["train-evaluator", str(motions_root), "--run", str(run), "--quiet", *options]
        return CliRunner().invoke(app, asked)

    trained = train("--config", str(file))
    assert trained.exit_code == 0, trained.exception
    assert f"{run}/checkpoints/step-00000002: step 2, loss " in trained.stdout
    assert load_evaluator(run).kind == "contrastive"
    # The other kind has another configuration.
    wrong = train("--kind", "matching", "--set", "model.width=8")
    assert "model.width: expected a field of MatchingConfig" in str(wrong.exception)
