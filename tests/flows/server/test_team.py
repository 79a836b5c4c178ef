"""The parts of deploy/ without containers: a server on PostgreSQL, registration, and a worker."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from data.store.dataset import Dataset
from flows.server.process import ask, free_port

BIN = Path(sys.executable).parent
TOKEN = "team:of-the-test"  # noqa: S105 - of a server that ends with the test
DEADLINE_S = 180.0


def _postgres_bin() -> Path | None:
    """The newest PostgreSQL of Debian, or that in PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=str)
    path = shutil.which("initdb")
    return found[-1].parent if found else Path(path).parent if path else None


POSTGRES = _postgres_bin()
needs_postgres = pytest.mark.skipif(
    POSTGRES is None, reason="needs PostgreSQL (apt-get install postgresql)"
)


class Postgres:
    """A PostgreSQL on loopback, of a user of its own, because it refuses root."""

    def __init__(self, folder: Path) -> None:
        assert POSTGRES is not None
        self._bin, self._folder, self.port = POSTGRES, folder / "data", free_port()
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, self._user)
        password = folder / "password"
        password.write_text("secret")
        password.chmod(0o644)
        init = ["--auth=scram-sha-256", "--username=prefect", f"--pwfile={password}", "--no-sync"]
        self._call("initdb", "--pgdata", str(self._folder), *init).communicate()
        self._server = self._start()

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect:secret@127.0.0.1:{self.port}/postgres"

    def _call(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [str(self._bin / program), *arguments]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, user=self._user, cwd="/", stdout=quiet, stderr=quiet)

    def _start(self) -> "subprocess.Popen[bytes]":
        where = ["-D", str(self._folder), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        started = self._call("postgres", *where)
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
            except OSError:
                assert started.poll() is None
                time.sleep(0.1)
            else:
                break
        return started

    def crash_and_restart(self) -> None:
        """End all its processes with SIGKILL, and start it again, so that it recovers."""
        pid = self._server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            os.kill(one, signal.SIGKILL)
        self._server.wait()
        (self._folder / "postmaster.pid").unlink()
        self._server = self._start()

    def stop(self) -> None:
        self._server.send_signal(signal.SIGINT)
        self._server.wait()


@pytest.fixture(scope="module")
def postgres() -> Generator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        database = Postgres(Path(folder))
        yield database
        database.stop()


@pytest.fixture(scope="module")
def environment(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Generator[dict[str, str]]:
    """Of a client of a running server on this database."""
    home = tmp_path_factory.mktemp("team")
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    client = {
        **own,
        "AVATARGPT_HOME": str(home / "avatargpt"),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": TOKEN,
        "PYTHONSAFEPATH": "1",
        "DO_NOT_TRACK": "1",
    }
    server = {
        **client,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url,
        "PREFECT_SERVER_API_AUTH_STRING": TOKEN,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    with (home / "server.log").open("wb") as log:
        command = [
            str(BIN / "prefect"),
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, env=server, cwd=home, stdout=log, stderr=log)
        deadline_s = time.monotonic() + DEADLINE_S
        while ask(client["PREFECT_API_URL"], TOKEN) != "ready":
            assert process.poll() is None, (home / "server.log").read_text()[-3000:]
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        yield client
        process.terminate()
        process.wait()


def _run(environment: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    path = str(BIN / command[0])
    return subprocess.run(
        [path, *command[1:]], env=environment, cwd="/", capture_output=True, text=True, check=False
    )


def _read(environment: dict[str, str], path: str) -> dict[str, object]:
    from base64 import b64encode

    token = b64encode(TOKEN.encode()).decode()
    asked = Request(  # noqa: S310 - loopback
        f"{environment['PREFECT_API_URL']}/{path}", headers={"Authorization": f"Basic {token}"}
    )
    with urlopen(asked, timeout=30) as reply:  # noqa: S310
        return json.loads(reply.read())


@needs_postgres
def test_a_worker_annotates_for_a_server_whose_database_crashed(
    postgres: Postgres, environment: dict[str, str], brief_clip: Path, tmp_path: Path
) -> None:
    told = _run(environment, "avatargpt", "register")
    assert told.returncode == 0, told.stderr
    assert "Registered the pools cpu, gpu and all deployments at http://127" in told.stdout
    config = {"videos": [str(brief_clip)], "dataset": str(tmp_path / "dataset")}
    deploy = ["deployment", "run", "annotate-videos/local", "-p", f"config={json.dumps(config)}"]
    asked = _run(environment, "prefect", *deploy)
    assert asked.returncode == 0, asked.stderr
    postgres.crash_and_restart()
    worker = _run(environment, "prefect", "worker", "start", "--pool", "cpu", "--run-once")
    run_id = asked.stdout.split("UUID:")[1].split()[0]
    state = _read(environment, f"flow_runs/{run_id}")["state_name"]
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
