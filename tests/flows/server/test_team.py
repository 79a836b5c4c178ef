"""The parts of deploy/ without containers: a server on PostgreSQL, registration, and a worker."""

import json
import os
import subprocess
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from benchmarks.support.postgres import REMEDY, Postgres, postgres, postgres_programs
from benchmarks.support.prefect_server import BIN, PrefectServer, prefect_server
from data.store.dataset import Dataset
from flows.server.process import free_port

DOWN_S = 8.0
needs_postgres = pytest.mark.skipif(postgres_programs() is None, reason=REMEDY)


@pytest.fixture(scope="module")
def database() -> Generator[Postgres]:
    with postgres() as started:
        yield started


@pytest.fixture(scope="module")
def server(
    database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Generator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("team"), database.url) as started:
        yield started


def _run(environment: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    path = str(BIN / command[0])
    return subprocess.run(
        [path, *command[1:]], env=environment, cwd="/", capture_output=True, text=True, check=False
    )


@needs_postgres
def test_a_worker_annotates_for_a_server_whose_database_crashed(
    database: Postgres, server: PrefectServer, brief_clip: Path, tmp_path: Path
) -> None:
    environment = server.client
    # The database comes back while the client asks for the second time, or the third.
    database.crash()
    restart = threading.Timer(DOWN_S, database.restart)
    restart.start()
    told = _run(environment, "avatargpt", "register")
    restart.join()
    assert told.returncode == 0, told.stderr
    assert "Registered the pools cpu, gpu and all deployments at http://127" in told.stdout
    config = {"videos": [str(brief_clip)], "dataset": str(tmp_path / "dataset")}
    deploy = ["deployment", "run", "annotate-videos/local", "-p", f"config={json.dumps(config)}"]
    asked = _run(environment, "prefect", *deploy)
    assert asked.returncode == 0, asked.stderr
    database.crash()
    database.restart()
    worker = _run(environment, "prefect", "worker", "start", "--pool", "cpu", "--run-once")
    run_id = asked.stdout.split("UUID:")[1].split()[0]
    state = server.api(f"flow_runs/{run_id}")["state_name"]
    assert state == "Completed", worker.stdout[-3000:] + worker.stderr[-3000:]
    assert Dataset(tmp_path / "dataset").num_rows("annotations") >= 1


def test_registration_names_what_is_wrong(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own["AVATARGPT_HOME"] = str(tmp_path)
    told = _run(own, "avatargpt", "register")
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "PREFECT_API_URL: expected the API URL of a Prefect server, found nothing" in told.stderr
    nobody = f"http://127.0.0.1:{free_port()}/api"
    told = _run({**own, "PREFECT_API_URL": nobody}, "avatargpt", "register")
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert f"at {nobody} that accepts the token" in told.stderr
    assert "found nothing that listens. Remedy" in told.stderr
