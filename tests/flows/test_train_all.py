"""train-all from sources to a model that answers on the command line."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType
from typer.testing import CliRunner, Result

import avatargpt
from annotators.grounding.chosen import motion_support
from annotators.motion.from_tracks import find_video_motions
from data.importers.run import MotionImportConfig, import_motions
from data.store.dataset import Dataset
from evaluation.chooser import Chooser, judge_of_model
from evaluation.evaluators.contrastive import KIND as CHOOSER_KIND
from evaluation.model_report.config import EvaluationConfig
from flows.commands.main import app
from flows.evaluate import judge_of
from flows.runtime.failures import StageError
from flows.runtime.start_deployment import start_training
from flows.train import train_motion_lm, train_motion_vqvae
from flows.train_all import TrainAllSummary, motions_and_plans, train_all
from flows.train_all_config import TrainAllConfig
from tests.support.plans import save_plans
from training.checkpoints import CheckpointError, read_checkpoint
from training.inference.motion_model import chooser_of
from training.language_model.config import KIND, TrainMotionLmConfig

PREFECT = str(Path(sys.executable).with_name("prefect"))


def _config(root: Path, **changes: Any) -> TrainAllConfig:
    loop = {"batch_size": 13, "learning_rate": 2e-3, "log_every": 5, "threads": 1}
    lm_loop = {**loop, "tensorboard": False}
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
            "pretraining": {**lm_loop, "steps": 4, "validate_every": 4},
            "loop": {**lm_loop, "steps": 10, "validate_every": 10},
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
    assert "| Motion tokenizer: Joint error, mm |" in card
    report = json.loads((summary.model / "evaluation.json").read_text())
    known = {"t2m_activity", "t2m_activity_retrieval", "m2t_bleu4", "t2s_rouge_l", "ct2t_loss"}
    assert known <= report["metrics"].keys()
    assert report["before"] is None
    assert (summary.model / "report.html").is_file()
    assert "t2m_activity relative to real is" in summary.why
    # Nothing changed: nothing is trained again, and the version is the same.
    again = train_all(config=_config(root))
    assert again.skipped == ("train-motion-vqvae", "train-motion-lm", "train-motion-lm")
    assert again.model == summary.model
    assert again.why == "it was the latest before"


def test_pretraining_comes_before_training_on_instructions(
    trained: tuple[Path, TrainAllSummary],
) -> None:
    root, summary = trained
    (pretrained,) = root.glob("runs/lm-pretraining-*")
    first, last = read_checkpoint(pretrained, KIND), read_checkpoint(summary.model / "lm", KIND)
    assert (first.config["stage"], first.step) == ("pretrain", 4)
    assert (last.config["stage"], last.step) == ("instruct", 10)
    assert last.config["initial"] == str(first.folder)
    with get_client(sync_client=True) as client:
        bars = {str(a.key)[:-13]: a.data for a in client.read_artifacts() if a.type == "progress"}
    assert bars["pretrain-motion-lm"] == bars["train-motion-lm"] == 100.0


@pytest.fixture
def pool() -> Iterator[str]:
    """A work pool with both trainings as deployments and a worker of this machine."""
    name = "train-all-tests"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    for training in (train_motion_vqvae, train_motion_lm):
        deployment: Any = training.to_deployment(
            name=name, work_pool_name=name, entrypoint_type=EntrypointType.MODULE_PATH
        )
        deployment.apply()
    worker = subprocess.Popen(
        [PREFECT, "worker", "start", "--pool", name],
        env={
            **os.environ,
            "PREFECT_API_URL": PREFECT_API_URL.value() or "",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        },
    )
    yield name
    worker.terminate()
    try:
        worker.wait(timeout=30)
    except subprocess.TimeoutExpired:
        # On a busy machine, Prefect's worker was seen to hang in its own channel to the server.
        worker.kill()
        worker.wait()


def test_trainings_run_as_deployments(
    trained: tuple[Path, TrainAllSummary], pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = trained
    done = _config(root)
    # Another language model on the same tokenizer: a single training is left to do.
    lm = done.lm.model_copy(
        update={
            "pretraining": None,
            "loop": done.lm.loop.model_copy(update={"steps": 3, "validate_every": 3}),
        }
    )
    config = done.model_copy(update={"lm": lm, "as_deployments": pool, "processes": 1})
    summary = train_all(config=config)
    assert summary.skipped == ("train-motion-vqvae",)
    checkpoint = read_checkpoint(summary.model / "lm", KIND)
    assert checkpoint.step == 3
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"train-motion-lm/{pool}")
        (run,) = [r for r in client.read_flow_runs() if r.deployment_id == deployment.id]
    assert run.state is not None
    assert run.state.is_completed()
    assert run.parameters["preset"] == ""
    assert run.parameters["processes"] == 1
    assert run.parameters["config"] == TrainMotionLmConfig.model_validate(
        checkpoint.config
    ).model_dump(mode="json")

    # A failed one tells its own error: a worker can use no relative path, this process can.
    monkeypatch.chdir(root.parent)
    config = config.model_copy(update={"root": Path(root.name), "min_grounding_score": 0.5})
    told = rf"of train-motion-lm/{pool} failed: .*expected absolute paths, found {root.name}/"
    with pytest.raises(StageError, match=told):
        train_all(config=config)


def test_a_deployment_that_does_not_exist_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a deployment train-motion-vqvae/none"):
        train_all(config=_config(tmp_path, as_deployments="none"))
    assert not list(tmp_path.iterdir())


def test_an_evaluator_that_cannot_be_loaded_is_refused_before_any_work(tmp_path: Path) -> None:
    root = tmp_path / "root"
    evaluation = {"items": 2, "evaluator": {"run": tmp_path / "none"}}
    with pytest.raises(CheckpointError, match=f"{tmp_path / 'none'}: expected a checkpoint"):
        train_all(config=_config(root, evaluation=evaluation))
    assert not root.exists()


@pytest.mark.usefixtures("tests_server")
def test_a_model_is_evaluated_on_the_command_line(
    trained: tuple[Path, TrainAllSummary], tmp_path: Path
) -> None:
    root, summary = trained
    written = json.loads((summary.model / "evaluation.json").read_text())
    out = tmp_path / "report"

    def run(*options: str) -> Result:
        asked = ["evaluate", str(summary.model), "--items", "2", "--out", str(out), *options]
        return CliRunner().invoke(app, [*asked, "--set", "evaluation.pictures=0", "--quiet"])

    moved = tmp_path / "motions"
    (root / "motions").rename(moved)
    try:
        assert "expected a dataset that it was trained on" in str(run().exception)
        assert not out.exists()
        told = json.loads(run("--dataset", str(moved), "--json").stdout)
    finally:
        moved.rename(root / "motions")
    # What train-all wrote down of the same split; the model folder is left as it was.
    assert told["metrics"] == pytest.approx(written["metrics"])
    assert told["items"] == written["items"]
    assert json.loads((summary.model / "evaluation.json").read_text()) == written
    assert (out / "report.html").is_file()
    text = run("--compare-with", str(summary.model)).stdout
    assert "Motion tokenizer: Joint error, mm" in text
    assert f"{out}/report.html" in text
    before = json.loads((out / "evaluation.json").read_text())["before"]
    assert (before["model"], before["same"]) == (summary.model.name, True)


def test_a_dataset_of_motions_is_used_as_it_is_with_plans_beside_it(
    trained: tuple[Path, TrainAllSummary], tmp_path: Path
) -> None:
    root, _ = trained
    motions, plans = root / "motions", str(root / "plans.json")
    config = _config(tmp_path, sources=[str(motions), plans])
    assert flow(motions_and_plans)(config) == (motions, (tmp_path / "plans",))
    assert Dataset(tmp_path / "plans").manifest["tables"]["annotations"]["rows"] > 200
    more = config.model_copy(update={"sources": (str(motions), plans, "procedural:24")})
    with pytest.raises(ValueError, match=r"only plans beside .*, found procedural:24\. Remedy"):
        train_all(config=more)
    again = MotionImportConfig(sources=(str(motions),), dataset=tmp_path / "again")
    (rejected,) = import_motions(again, find_video_motions).unpublished
    assert rejected.detail.startswith("expected an annotated video dataset, found a dataset of")


def test_the_judge_of_plans_is_the_configured_service() -> None:
    service = {"model": "judge", "base_url": "http://127.0.0.1:9/v1"}
    with judge_of(EvaluationConfig.model_validate({"coherence": {"service": service}})) as chat:
        assert chat is not None
        assert chat.name == "judge"
    with judge_of(EvaluationConfig()) as chat:
        assert chat is None


def test_a_model_card_that_drifted_exits_with_1(
    trained: tuple[Path, TrainAllSummary], tmp_path: Path
) -> None:
    _, summary = trained
    model = tmp_path / "model"
    shutil.copytree(summary.model, model)
    report = json.loads((model / "evaluation.json").read_text())
    report["metrics"]["m2t_loss"] += 0.5
    (model / "evaluation.json").write_text(json.dumps(report))
    done = CliRunner().invoke(app, ["reproduce", str(model), "--quiet"])
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1].split()[0] == "m2t_loss"
    assert "1 of " in done.stdout.splitlines()[2]


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
    with pytest.raises(ValueError, match=r"expected at least 4 frames, found 2"):
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


def test_a_network_that_chooses_is_trained_and_kept_with_the_model(
    trained: tuple[Path, TrainAllSummary], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, before = trained
    loop = {"steps": 2, "batch_size": 8, "learning_rate": 1e-3, "validate_every": 2, "threads": 1}
    config = _config(root, sources=["procedural:60", str(root / "plans.json")], chooser=loop)
    lm = config.lm.model_copy(update={"pretraining": None})
    config = config.model_copy(update={"root": tmp_path, "lm": lm})
    summary = train_all(config=config)
    assert summary.model.name != before.model.name
    own = chooser_of(summary.model)
    assert own is not None
    assert read_checkpoint(own, CHOOSER_KIND).step == 2
    written = json.loads((summary.model / "evaluation.json").read_text())
    assert written["measured"]["model"] == summary.model.name

    # It chooses wherever the model answers, unless its sentence encoder is gone.
    judge = judge_of_model(own)
    assert isinstance(judge, Chooser)
    moved = shutil.copytree(summary.model, tmp_path / "moved")
    file = moved / "chooser" / "checkpoint.json"
    file.write_text(file.read_text().replace("sentence_encoder.zip", "none.zip"))
    assert judge_of_model(chooser_of(moved)) is motion_support
    assert "run `avatargpt assets --evaluation`" in caplog.text
    answers = CliRunner().invoke(
        app, ["t2m", "a person waves", "--model", str(moved), "--out", str(tmp_path / "a.npy")]
    )
    assert answers.exit_code == 0, answers.exception
    # Other weights are another version.
    shutil.rmtree(moved / "chooser")
    with pytest.raises(CheckpointError, match=f"expected the weights of {summary.model.name}"):
        avatargpt.load_model(moved)
