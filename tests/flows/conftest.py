"""One real Prefect server and one tiny trained model for all tests of flows and commands."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from data.importers.run import MotionImportConfig, import_motions
from data.motion.splits import SplitConfig
from data.workers.workers import WorkerConfig
from evaluation.versions import write_model
from flows.settings import quiet_prefect
from tests.support.evaluations import evaluated_with
from tests.support.runs import lm_config, vqvae_config
from training.checkpoints import read_checkpoint
from training.language_model.config import KIND as LM_KIND
from training.language_model.config import TrainMotionLmConfig
from training.language_model.train import train_motion_lm
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions
from training.tokenizer.train import train_motion_vqvae

TASK = "make coffee"
STEPS = ("walk to the kitchen", "fill the kettle", "pour the coffee")
"""The one plan that the model of the tests has learned by heart."""


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Generator[None]:
    quiet_prefect()
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def users_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with our names, and Python's, that end whatever imports them."""
    folder = tmp_path_factory.mktemp("users_folder")
    for name in (
        "data/__init__.py",
        "annotators/__init__.py",
        "flows.py",
        "training.py",
        "pickle.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"raise SystemExit('imported {name} of the user')")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, trained in seconds, that answers every task with the steps of one plan.

    Its motions and captions are noise, but the same noise for the same seed.
    """
    folder = tmp_path_factory.mktemp("model")
    steps = [f"Step {number}: {step}" for number, step in enumerate(STEPS, 1)]
    (folder / "plans.json").write_text(json.dumps(["\n".join((f"Task: {TASK}", *steps))]))
    root = folder / "dataset"
    import_motions(
        MotionImportConfig(
            sources=("procedural:16", str(folder / "plans.json")),
            dataset=root,
            mirror=False,
            splits=SplitConfig(train=0.7, val=0.15, test=0.15),
            workers=WorkerConfig(num_workers=1),
        )
    )
    few = {"steps": 30, "validate_every": 30, "checkpoint_every": 30}
    vqvae = train_motion_vqvae(vqvae_config(root, folder / "vqvae", **few)).run
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=vqvae))
    loop = {"steps": 150, "validate_every": 150, "checkpoint_every": 150, "log_every": 50}
    config = lm_config(root, vqvae, folder / "lm", **loop, accumulate=1, batch_size=16)
    values = config.model_dump(mode="json")
    values["model"]["scratch"] |= {"dropout": 0.0, "num_pieces": 200}
    values["splits"] = {"train": 1.0, "val": 0.0, "test": 0.0}
    values["instructions"] |= {"weights": {"t2s": 3}, "paraphrase_share": 0.0}
    lm = train_motion_lm(TrainMotionLmConfig.model_validate(values)).run
    return write_model(
        folder / "models",
        read_checkpoint(vqvae, VQVAE_KIND),
        read_checkpoint(lm, LM_KIND),
        evaluated_with({}),
    )


@pytest.fixture
def tests_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run on the Prefect server of the tests instead of starting one."""
    monkeypatch.setattr("flows.commands.running.use_some_server", lambda **_: None)
    for name in ("CLASS", "LEVEL"):  # what the command sets is undone
        monkeypatch.setenv(f"PREFECT_LOGGING_HANDLERS_CONSOLE_{name}", "")
