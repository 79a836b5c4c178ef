"""A PostgreSQL of Debian on loopback, which can be killed and started again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from flows.server.process import free_port

START_LIMIT_S: Final = 180.0
REMEDY: Final = "needs PostgreSQL (apt-get install postgresql)"


def postgres_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL of Debian, or of that in PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=str)
    path = shutil.which("initdb")
    return found[-1].parent if found else Path(path).parent if path else None


class Postgres:
    """A PostgreSQL on loopback, of a user of its own, because it refuses root.

    Args:
        folder: an empty folder that every user may enter.
    """

    def __init__(self, folder: Path) -> None:
        programs = postgres_programs()
        if programs is None:
            raise RuntimeError(REMEDY)
        self._bin, self._folder, self.port = programs, folder / "data", free_port()
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
        """URL for Prefect's server."""
        return f"postgresql+asyncpg://prefect:secret@127.0.0.1:{self.port}/postgres"

    def _call(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [str(self._bin / program), *arguments]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, user=self._user, cwd="/", stdout=quiet, stderr=quiet)

    def _start(self) -> "subprocess.Popen[bytes]":
        where = ["-D", str(self._folder), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        started = self._call("postgres", *where)
        deadline_s = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline_s:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
            except OSError:
                if started.poll() is not None:
                    raise RuntimeError("PostgreSQL ended before it was ready") from None
                time.sleep(0.1)
            else:
                break
        return started

    def crash(self) -> None:
        """End all its processes with SIGKILL."""
        pid = self._server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            os.kill(one, signal.SIGKILL)
        self._server.wait()
        (self._folder / "postmaster.pid").unlink()

    def restart(self) -> None:
        """Start it after a crash, so that it recovers."""
        self._server = self._start()

    def stop(self) -> None:
        """End it."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait()


@contextmanager
def postgres() -> Generator[Postgres]:
    """Start a PostgreSQL in a folder of its own, and end it."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        database = Postgres(Path(folder))
        try:
            yield database
        finally:
            database.stop()
