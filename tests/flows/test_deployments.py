"""Deployments, registered from an installed wheel in a folder full of a user's own packages.

They remember no folder and no setting of the machine that registered them, name a preset, and run
in the home folder of their worker.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL
from pydantic import BaseModel

import flows
from annotators.config import PRESETS as ANNOTATE
from data.importers.run import PRESETS as MOTIONS
from evaluation.evaluators.train_contrastive import PRESETS as CONTRASTIVE
from evaluation.evaluators.train_matching import PRESETS as MATCHING
from evaluation.model_report.config import PRESETS as EVALUATE
from flows.configuration import loggable
from flows.train_all_config import PRESETS as ALL
from training.language_model.config import PRESETS as LM
from training.tokenizer.tokenize import PRESETS as TOKENIZE
from training.tokenizer.train import PRESETS as VQVAE

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))
PROJECT = Path(flows.__file__).parents[1]
PRESETS = {
    "flows.annotate.annotate_videos": ANNOTATE,
    "flows.motions.import_motions": MOTIONS,
    "flows.train.train_motion_vqvae": VQVAE,
    "flows.train.tokenize_motions": TOKENIZE,
    "flows.train.train_motion_lm": LM,
    "flows.train_evaluator.train_contrastive_evaluator": CONTRASTIVE,
    "flows.train_evaluator.train_matching_evaluator": MATCHING,
    "flows.train_all.train_all": ALL,
    "flows.evaluate.evaluate": EVALUATE,
}
REGISTER = """
import sys
from contextlib import suppress
from pathlib import Path
from flows import deployments
print(deployments.__file__)
deployments.register_deployments(Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package lies, built as a wheel and installed; it knows no source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(PROJECT)]
    # The build backend is a program of the environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([*pip, *build], check=True, env={**os.environ, "PATH": path})
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    install = ["install", "--no-deps", "--no-compile", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return target


def _environment(installed: Path, home: Path) -> dict[str, str]:
    """Of a machine with a home folder of its own."""
    return {
        **os.environ,
        "HOME": str(home),
        "AVATARGPT_HOME": str(home / "avatargpt"),
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="module")
def registered(
    installed: Path, users_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[DeploymentResponse]:
    home = tmp_path_factory.mktemp("registering_home")
    with get_client(sync_client=True) as client:
        for pool in ("cpu", "gpu"):
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    log = home / "register.log"
    done = subprocess.run(
        [sys.executable, "-P", "-c", REGISTER, str(log)],
        cwd=users_folder,
        env=_environment(installed, home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stderr, log.read_text() if log.exists() else "")
    assert done.stdout == f"{installed / 'flows' / 'deployments.py'}\n"
    with get_client(sync_client=True) as client:
        found = client.read_deployments()
    # The session's server may know deployments of other tests.
    return [
        one for one in found if one.entrypoint in PRESETS and one.work_pool_name in ("cpu", "gpu")
    ]


def test_they_remember_nothing_of_the_machine_that_registered_them(
    registered: list[DeploymentResponse], installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert len(registered) >= 20
    for deployment in registered:
        assert deployment.path is None
        assert not deployment.pull_steps
        assert deployment.job_variables == {"env": {"PYTHONSAFEPATH": "1"}}
        stored = json.dumps(deployment.model_dump(mode="json"))
        for folder in (tmp_path_factory.getbasetemp(), PROJECT, installed, Path.home()):
            assert str(folder) + "/" not in stored, (deployment.name, folder)
        assert '"~' not in stored


def test_each_names_a_preset_and_repeats_none(registered: list[DeploymentResponse]) -> None:
    seen: dict[str, set[str]] = {}
    for deployment in registered:
        assert deployment.parameters.keys() == {"preset"}
        preset = deployment.parameters["preset"]
        entrypoint = str(deployment.entrypoint)
        assert preset in PRESETS[entrypoint]
        seen.setdefault(entrypoint, set()).add(preset)
        if not entrypoint.startswith(("flows.annotate.", "flows.motions.")):
            assert deployment.work_pool_name == "gpu"
        schema: Any = deployment.parameter_openapi_schema
        assert schema["properties"]["preset"]["enum"] == ["", *sorted(PRESETS[entrypoint])]
        assert "required" not in schema["properties"]["config"]
        # Forms show it first: it says what the other fields hold where nothing is filled in.
        assert schema["properties"]["preset"]["position"] == 0
    assert seen == {entrypoint: set(presets) for entrypoint, presets in PRESETS.items()}
    # Training after every annotation costs: its trigger is there, and off.
    assert "enabled: false" in (PROJECT / "prefect.yaml").read_text()


def test_a_worker_runs_a_preset_in_its_own_home(
    registered: list[DeploymentResponse], installed: Path, users_folder: Path, tmp_path: Path
) -> None:
    (chosen,) = [one for one in registered if one.name == "import-motions"]
    parameters = {"config": {"sources": ["procedural:2"], "workers": {"num_workers": 1}}}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(chosen.id, parameters=parameters)
    worker = ["worker", "start", "--pool", "cpu", "--run-once", "--name", "of-the-test"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("prefect")), *worker],
        cwd=users_folder,
        env=_environment(installed, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    with get_client(sync_client=True) as client:
        ended = client.read_flow_run(run.id)
    assert ended.state is not None
    assert ended.state.is_completed(), (ended.state, done.stdout[-3000:], done.stderr[-3000:])
    assert (tmp_path / "avatargpt" / "motions" / "dataset.json").is_file()
    # What was asked for is shown beside the preset, and the log has what came of it.
    assert ended.parameters == {"preset": "local", **parameters}
    told = done.stdout + done.stderr
    assert "preset: local; configuration: {" in told
    assert f'"dataset":"{tmp_path}/avatargpt/motions"' in told


def test_the_command_line_imports_nothing_from_the_current_folder(
    users_folder: Path, tmp_path: Path
) -> None:
    command = ["import-motions", "procedural:2", "--dataset", str(tmp_path / "motions")]
    done = subprocess.run(
        [AVATARGPT, *command, "--set", "workers.num_workers=1"],
        cwd=users_folder,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 motions" in done.stdout


def test_the_command_line_names_a_package_that_hides_ours(tmp_path: Path) -> None:
    theirs = tmp_path / "data"
    theirs.mkdir()
    (theirs / "__init__.py").touch()
    hidden = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [AVATARGPT, "-h"], env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"error: package data: expected avatargpt's own in {PROJECT / 'data'}")
    assert f"found {theirs}, which comes first" in said


def test_the_log_of_a_configuration_has_no_secret() -> None:
    class Asked(BaseModel):
        base_url: str
        api_key_name: str = "OPENAI_API_KEY"

    told = loggable(Asked(base_url="https://me:s3cret@host:80/v1"))
    assert told == '{"base_url":"https://…@host:80/v1","api_key_name":"OPENAI_API_KEY"}'
    assert loggable(Asked(base_url="https://host/v1?to=a@b")).count("a@b") == 1
