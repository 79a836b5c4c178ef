"""train-all from sources to a model that answers on the command line."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from typer.testing import CliRunner, Result

import avatargpt
from flows.commands.main import app, main
from flows.runtime.then_train import start_training
from flows.train_all import TrainAllSummary, train_all
from flows.train_all_config import TrainAllConfig
from tests.support.plans import save_plans
from training.checkpoints import CheckpointError

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))


def _config(root: Path, **changes: Any) -> TrainAllConfig:
    loop = {"batch_size": 13, "learning_rate": 2e-3, "log_every": 5, "threads": 1}
    values: dict[str, Any] = {
        "sources": ["procedural:24", str(root / "plans.json")],
        "root": root,
        "vqvae": {
            "model": {"width": 24, "depth": 1, "quantizer": {"num_codes": 32, "code_dim": 16}},
            "window": 32,
            "loop": {**loop, "steps": 30, "validate_every": 30},
        },
        "lm": {
            "model": {
                "scratch": {
                    **{"width": 32, "ff_width": 64, "layers": 1, "heads": 2},
                    **{"dropout": 0.0, "num_pieces": 300},
                }
            },
            "loop": {**loop, "steps": 10, "validate_every": 10, "tensorboard": False},
        },
        "evaluation": {"items": 2},
        **changes,
    }
    return TrainAllConfig.model_validate(values)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, users_folder: Path
) -> tuple[Path, TrainAllSummary]:
    root = tmp_path_factory.mktemp("train")
    save_plans(root / "plans.json")
    # torchrun and its children import nothing from the folder that they are started in; worker
    # processes need what the command line and the deployments set for them.
    with contextlib.chdir(users_folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONSAFEPATH", "1")
        return root, train_all(config=_config(root))


def test_sources_become_a_version_with_its_card(trained: tuple[Path, TrainAllSummary]) -> None:
    root, summary = trained
    assert summary.is_latest
    assert summary.skipped == ()
    assert (root / "models" / "latest").resolve() == summary.model.resolve()
    card = (summary.model / "README.md").read_text()
    assert "reconstruction_mpjpe_mm" in card
    report = json.loads((summary.model / "evaluation.json").read_text())
    assert {"t2m_class_accuracy", "m2t_bleu4", "t2s_rouge_l", "ct2t_loss"} <= report[
        "metrics"
    ].keys()
    # Nothing changed: nothing is trained again, and the version is the same.
    again = train_all(config=_config(root))
    assert again.skipped == ("train-motion-vqvae", "train-motion-lm")
    assert again.model == summary.model
    assert again.why == "it was the latest before"


def test_the_model_answers_on_the_command_line(
    trained: tuple[Path, TrainAllSummary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, summary = trained
    monkeypatch.chdir(tmp_path)
    with_model = ("--model", str(summary.model))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, *with_model])
        assert done.exit_code == 0, done.exception
        return done.stdout

    # The first as a user starts it; the others in this process, which has PyTorch loaded.
    wave = ("t2m", "a person waves", "--seconds", "2", "--out", "wave.npy")
    started = subprocess.run(
        [AVATARGPT, *wave, *with_model], capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr
    assert np.load(tmp_path / "wave.npy").shape == (40, 263)
    run("t2m", "a person waves", "--seconds", "3", "--out", "wave.bvh")
    assert isinstance(run("m2t", "wave.bvh"), str)
    assert len(json.loads(run("m2t", "wave.npy", "--json"))["texts"]) == 1
    assert {"scene", "tasks", "steps"} <= json.loads(run("describe", "wave.npy", "--json")).keys()
    assert len(json.loads(run("plan", "a kitchen", "--tasks", "1", "--json"))["plan"]) == 1
    run("inbetween", "wave.npy", "wave.npy", "--seconds", "1", "--out", "between.joints.npy")
    assert np.load(tmp_path / "between.joints.npy").shape == (100, 22, 3)
    broken = np.load(tmp_path / "wave.npy")
    np.save(tmp_path / "short.npy", broken[:3])
    broken[7] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    said = {"none": "none.npy", "short": "4 frames at least, found 3", "broken": "1 of 40 rows"}
    for name, complaint in said.items():
        file = str(tmp_path / f"{name}.npy")
        monkeypatch.setattr(sys, "argv", ["avatargpt", "m2t", file, *with_model])
        with pytest.raises(SystemExit) as refused:
            main()
        assert refused.value.code == 2
        told = capsys.readouterr().err
        assert "error: " in told
        assert complaint in told
        assert "Remedy" in told


def test_a_model_is_evaluated_on_the_command_line(
    trained: tuple[Path, TrainAllSummary], tmp_path: Path
) -> None:
    root, summary = trained

    def run(*options: str) -> Result:
        return CliRunner().invoke(app, ["evaluate", str(summary.model), "--items", "2", *options])

    told = json.loads(run("--json").stdout)
    # What train-all wrote down of the same split.
    written = json.loads((summary.model / "evaluation.json").read_text())
    assert told["metrics"] == pytest.approx(written["metrics"])
    assert told["items"] == written["items"]
    moved = tmp_path / "motions"
    (root / "motions").rename(moved)
    try:
        assert "expected a dataset that it was trained on" in str(run().exception)
        text = run("--dataset", str(moved)).stdout
    finally:
        moved.rename(root / "motions")
    (line,) = [line for line in text.splitlines() if line.startswith("reconstruction_mpjpe_mm ")]
    assert float(line.split()[1]) == pytest.approx(
        written["metrics"]["reconstruction_mpjpe_mm"], rel=1e-3
    )
    assert "Items: " in text


def test_the_model_answers_in_a_notebook(trained: tuple[Path, TrainAllSummary]) -> None:
    root, summary = trained
    model = avatargpt.load_model(str(root / "models" / "latest"))
    (wave,) = model.t2m("a person waves", seconds=2)
    assert wave.shape == (40, 263)
    likeliest = avatargpt.Sampling()
    two = model.t2m(["a", "b"], seconds=1, sampling=likeliest)
    assert [motion.shape for motion in two] == [(20, 263)] * 2
    texts = model.m2t([wave, wave])
    assert texts == model.m2t(wave) * 2
    between = model.in_between(wave, wave, seconds=1)
    assert between.shape == (100, 263)
    assert len(model.predict(wave, seconds=1)) == 60
    (planned,) = model.plan("a kitchen", "make coffee", count=1, sampling=likeliest)
    assert planned.task == "make coffee"
    story = model.describe(np.concatenate([between, between]))
    assert [step.start_s for step in story.steps] == [0, 5]
    assert model.imagine("a kitchen").plan == []  # nothing is computed before it is read
    with pytest.raises(ValueError, match=r"expected 4 frames at least, found 2"):
        model.m2t(wave[:2])
    with pytest.raises(CheckpointError, match="expected the folder of a model"):
        avatargpt.load_model(summary.model / "lm")


def test_annotating_can_start_training(tmp_path: Path) -> None:
    # As prefect deploy registers it, without a worker to run it.
    registered: Any = train_all.to_deployment(
        name="quiet", parameters={"preset": "tiny", "config": {"root": str(tmp_path)}}
    )
    registered.apply()

    @flow
    def annotated() -> str:
        with pytest.raises(ValueError, match="expected a deployment train-all/none"):
            start_training(tmp_path, "none")
        return start_training(tmp_path / "dataset", "quiet")

    name = annotated()
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.name == name]
    # The deployment's preset holds, and so does what it has beside it.
    assert run.parameters == {
        "preset": "tiny",
        "config": {"sources": [str(tmp_path / "dataset")], "root": str(tmp_path)},
    }
    assert run.state is not None
    assert run.state.is_scheduled()
