"""Worker processes have no network, and read and write files as before."""

import os
import socket
import subprocess
import sys
import tempfile

import pytest

from data.workers.sandbox import leave_network
from data.workers.workers import WorkerConfig, Workers

WRITES = """
import os, sys
from pathlib import Path
from data.workers.sandbox import leave_network
os.setgid(65534); os.setuid(65534)
assert leave_network()
assert os.getuid() == 65534
target = Path(sys.argv[1]) / "written"
target.write_text("text")
assert target.stat().st_uid == 65534
"""


def _forbidden() -> bool:
    """Whether this machine forbids namespaces; asked in a process that ends."""
    told = "from data.workers.sandbox import leave_network; raise SystemExit(not leave_network())"
    return subprocess.run([sys.executable, "-c", told], check=False).returncode != 0


needs_namespaces = pytest.mark.skipif(_forbidden(), reason="namespaces are forbidden here")


def connect(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except OSError as error:
        return str(error)
    return "connected"


@needs_namespaces
def test_a_worker_reaches_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Workers(WorkerConfig(num_workers=1)) as workers,
    ):
        port = server.getsockname()[1]
        ((_, told),) = workers.run(connect, [port], stage="test")
        assert told == "[Errno 101] Network is unreachable"
        assert connect(port) == "connected"


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_without_privileges_the_process_keeps_its_user() -> None:
    # Other users may not enter the temporary folders of pytest.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        subprocess.run([sys.executable, "-c", WRITES, folder], check=True)


def test_it_is_asked_for_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not leave_network()
