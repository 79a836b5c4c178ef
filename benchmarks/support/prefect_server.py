"""A Prefect server on loopback with a database of choice, which can be killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import psutil

from flows.server.process import ask, free_port

BIN: Final = Path(sys.executable).parent
START_LIMIT_S: Final = 240.0
_TOKEN: Final = "benchmark:on-loopback"  # noqa: S105 - of a server that ends with the benchmark


class PrefectServer:
    """A Prefect server.

    Args:
        folder: folder of its log, its home, and its database if that is SQLite.
        database_url: URL of a PostgreSQL; empty for SQLite.
    """

    def __init__(self, folder: Path, database_url: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        self._port = free_port()
        own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.client = {
            **own,
            "AVATARGPT_HOME": str(folder / "avatargpt"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self._port}/api",
            "PREFECT_API_AUTH_STRING": _TOKEN,
            "PYTHONSAFEPATH": "1",
            "DO_NOT_TRACK": "1",
        }
        """Environment of its clients."""
        self._environment = {
            **self.client,
            "PREFECT_SERVER_API_AUTH_STRING": _TOKEN,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url} if database_url else {}),
        }
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["--host", "127.0.0.1", "--port", str(self._port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(BIN / "prefect"), "server", "start", *where],
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_LIMIT_S
        while ask(self.client["PREFECT_API_URL"], _TOKEN) != "ready":
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"no Prefect server: {self.log.read_text()[-2000:]}")
            time.sleep(0.3)

    def api(self, path: str, body: Any = None) -> Any:
        """Post JSON to its API, or get a path without a body; return the JSON of the reply."""
        token = b64encode(_TOKEN.encode()).decode()
        asked = Request(  # noqa: S310 - loopback
            f"{self.client['PREFECT_API_URL']}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
        )
        with urlopen(asked, timeout=START_LIMIT_S) as reply:  # noqa: S310
            return json.loads(reply.read())

    def kill(self) -> None:
        """End it and its children with SIGKILL."""
        if self._process is None:
            return
        process = psutil.Process(self._process.pid)
        for one in (*process.children(recursive=True), process):
            one.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def prefect_server(folder: Path, database_url: str = "") -> Generator[PrefectServer]:
    """Start a server, and end it."""
    server = PrefectServer(folder, database_url)
    try:
        server.start()
        yield server
    finally:
        server.stop()
