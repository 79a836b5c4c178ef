"""Local Prefect servers: one that `make up` leaves running, and one that ends with its run.

This module does not import Prefect: its address must be in the environment before that.
"""

import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import urlopen

from flows.settings import LOOPBACK_API_URL, Settings, off_current_folder

START_LIMIT_S: Final = 180.0
"""A first start migrates the database, which takes half a minute on a slow machine."""


def answers(api_url: str) -> bool:
    """Whether something listens at a loopback address; other addresses are not asked."""
    url = urlsplit(api_url)
    if url.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return True
    try:
        socket.create_connection((url.hostname, url.port or 80), timeout=2.0).close()
    except OSError:
        return False
    return True


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server at a loopback address is ready."""
    try:
        with urlopen(f"{api_url}/health", timeout=2.0) as reply:  # noqa: S310 - loopback
            return reply.status == HTTPStatus.OK
    except OSError:
        return False


def start_prefect(arguments: list[str], log: Path) -> int:
    """Start `prefect ARGUMENTS` in the background, in a session of its own.

    Args:
        arguments: of the command.
        log: file that its output is appended to.

    Returns:
        Its process id, which is also that of its process group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=off_current_folder(),
        ).pid


def is_alive(pid: int) -> bool:
    """Whether a process of this user runs, and is not a zombie that awaits its parent."""
    with suppress(ChildProcessError):  # started by an earlier command: not ours to wait for
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_healthy(api_url: str, pid: int, log: Path) -> None:
    """Wait for a server that was just started.

    Raises:
        ValueError: it ended, or did not become healthy in time.
    """
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s and is_alive(pid):
        if is_healthy(api_url):
            return
        time.sleep(0.25)
    raise ValueError(
        f"expected a Prefect server at {api_url} within {START_LIMIT_S:.0f} s, it did not start. "
        f"Remedy: see {log}; is the port taken?"
    )


def start_temporary_server(log: Path) -> str:
    """Start a Prefect server on a free loopback port that ends with this process, however it ends.

    It outlives everything that Prefect still sends while this process exits.

    Args:
        log: file for its output.

    Returns:
        Its API address.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api_url = f"http://127.0.0.1:{port}/api"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**off_current_folder(), "PREFECT_API_URL": api_url},
        )
    _temporary_servers.append(server)
    wait_until_healthy(api_url, server.pid, log)
    return api_url


_temporary_servers: list[subprocess.Popen[bytes]] = []
"""Keeps the pipes open: a server ends when its pipe closes."""


def _serve_until_parent_ends(port: str) -> None:
    """Run `prefect server start`; end when the pipe from the parent closes."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    sys.argv = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    _serve_until_parent_ends(sys.argv[1])


def some_server() -> str:
    """The address of the configured server if it answers, else of one started for this run."""
    configured = os.environ.get("PREFECT_API_URL", LOOPBACK_API_URL)
    if answers(configured):
        return configured
    sys.stderr.write("Starting a Prefect server for this run (the first time: half a minute) …\n")
    return start_temporary_server(Settings().run_dir / "temporary-server.log")
