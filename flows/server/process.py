"""Local Prefect servers: a permanent one of ``avatargpt up``, and temporary ones of single runs.

Both listen on loopback only and require a token, so that neither a page in a browser nor another
user of the machine can start work through them. Local clients (commands, workers, ``prefect`` in
the project's folder) find the token by themselves.

This module does not import Prefect, which reads its address from the environment at import.
"""

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import psutil

from flows.settings import LOOPBACK_API_URL, Settings, off_current_folder

_COMMAND_LINE_S: Final = 1.0
START_LIMIT_S: Final = 180.0
"""The first start migrates the database, which takes half a minute on a slow machine."""
OPEN_PATH: Final = "/open"
"""Path of the login page (:mod:`flows.server.app`)."""
SERVER_MODULE: Final = "flows.server.app"
_ASK_LIMIT_S: Final = 5.0

Answer = Literal["silent", "ready", "refuses", "foreign"]
"""Nothing listens; a Prefect server accepts the token; it rejects it; another service answers."""


@dataclass(frozen=True)
class LocalServer:
    """A Prefect server of this user on this machine."""

    port: int
    token: str

    @property
    def api_url(self) -> str:
        """API URL of the server."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def link(self) -> str:
        """Link that opens the UI, with the token in the fragment, which browsers do not send."""
        return f"http://127.0.0.1:{self.port}{OPEN_PATH}#{self.token}"

    @property
    def client_environment(self) -> dict[str, str]:
        """Environment variables for clients of the server."""
        return {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.token}

    @property
    def server_environment(self) -> dict[str, str]:
        """Environment variables for the server itself."""
        own = f"http://127.0.0.1:{self.port}"
        return {
            **self.client_environment,
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_API_AUTH_STRING": self.token,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": own,
            "PREFECT_UI_API_URL": self.api_url,
        }


def is_loopback(api_url: str) -> bool:
    """Return whether a URL is that of a loopback address."""
    return urlsplit(api_url).hostname in {"127.0.0.1", "localhost", "::1"}


def answers(api_url: str) -> bool:
    """Return whether something listens at a loopback address; True for other addresses."""
    if not is_loopback(api_url):
        return True
    url = urlsplit(api_url)
    try:
        socket.create_connection((url.hostname or "", url.port or 80), timeout=2.0).close()
    except OSError:
        return False
    return True


def ask(api_url: str, token: str = "") -> Answer:
    """Determine what listens at a loopback address; "ready" for other addresses.

    Args:
        api_url: API URL of a Prefect server.
        token: token to send; empty means none.
    """
    if not is_loopback(api_url):
        return "ready"
    if not answers(api_url):
        return "silent"
    if _get(f"{api_url}/health") != (HTTPStatus.OK, b"true"):
        return "foreign"
    status, _ = _get(f"{api_url}/admin/version", token)
    # A timeout is not a rejection: a busy server is slow.
    return "ready" if status in {HTTPStatus.OK, 0} else "refuses"


def _get(url: str, token: str = "") -> tuple[int, bytes]:
    """Return status and first bytes of a reply, bypassing proxies; (0, b"") without a reply."""
    headers = {}
    if token:
        headers["Authorization"] = f"Basic {base64.b64encode(token.encode()).decode()}"
    request = Request(url, headers=headers)  # noqa: S310 - loopback
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_ASK_LIMIT_S) as reply:
            return reply.status, reply.read(100)
    except HTTPError as error:
        return error.code, b""
    except (URLError, OSError, ValueError):  # a service with another protocol
        return 0, b""


# ------------------------------------------------------------------ the server of `avatargpt up`


def own_token(run_dir: Path) -> str:
    """Return the token of this user's server; create it if missing, readable by its owner only."""
    file = run_dir / "token"
    run_dir.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as output:
            output.write(f"avatargpt:{secrets.token_urlsafe(32)}")
    file.chmod(0o600)
    return file.read_text(encoding="utf-8").strip()


def write_server(server: LocalServer, run_dir: Path) -> None:
    """Record the server of `up` for other commands."""
    (run_dir / "server.json").write_text(json.dumps({"port": server.port}))


def recorded_server() -> LocalServer | None:
    """Return the server that `up` recorded; None if there is none or `down` stopped it."""
    run_dir = Settings().run_dir
    try:
        port = json.loads((run_dir / "server.json").read_text(encoding="utf-8"))["port"]
        return LocalServer(int(port), (run_dir / "token").read_text(encoding="utf-8").strip())
    except (OSError, ValueError, TypeError, KeyError):
        return None


# ------------------------------------------------------------------------------------ processes


def start_in_background(module: str, arguments: list[str], log: Path, env: dict[str, str]) -> int:
    """Start `python -m MODULE ARGUMENTS` in the background, in its own session.

    Args:
        module: installed module; the current folder is not searched.
        arguments: arguments, which other users of the machine can see.
        log: file to which the output is appended.
        env: environment variables in addition to those of this process.

    Returns:
        The process ID, which is also the ID of the process group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**off_current_folder(), **env},
        ).pid


def runs(pid: int, module: str) -> bool:
    """Return whether a process is `python -m MODULE`. Process IDs may be reused after a reboot."""
    with suppress(ChildProcessError):  # not a child of this process
        os.waitpid(pid, os.WNOHANG)
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        # A process has no command line for a moment after its start; a zombie never has one.
        deadline_s = time.monotonic() + _COMMAND_LINE_S
        while not command and time.monotonic() < deadline_s:
            time.sleep(0.01)
            command = process.cmdline()
    except psutil.Error:
        return False
    return f"-m {module}" in " ".join(command)


def wait_until_ready(server: LocalServer, pid: int, log: Path) -> None:
    """Wait until a server that was just started is ready.

    Raises:
        RuntimeError: the server ended or was not ready in time.
    """
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s and runs(pid, SERVER_MODULE):
        if ask(server.api_url, server.token) == "ready":
            return
        time.sleep(0.25)
    raise RuntimeError(
        f"expected a Prefect server at {server.api_url} within {START_LIMIT_S:.0f} s, found that "
        f"it {'did not answer' if runs(pid, SERVER_MODULE) else 'ended'}. Remedy: see the end of "
        f"{log}: usual causes are a PREFECT_HOME that cannot be written to, a full disk, and a "
        "port that was taken meanwhile."
    )


def free_port() -> int:
    """Return a free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def start_temporary_server(log: Path) -> LocalServer:
    """Start a Prefect server on a free loopback port that ends when this process ends or is killed.

    The server still answers while this process exits, so that Prefect can send its last data.

    Args:
        log: file for the output of the server.
    """
    server = LocalServer(free_port(), f"avatargpt:{secrets.token_urlsafe(32)}")
    arguments = [str(server.port), "--parent", str(os.getpid())]
    pid = start_in_background(SERVER_MODULE, arguments, log, server.server_environment)
    wait_until_ready(server, pid, log)
    return server


def use_some_server(*, quiet: bool = False) -> None:
    """Set the environment so that Prefect uses the configured server, that of `up`, or a new one.

    Args:
        quiet: do not print that a server is started.

    Raises:
        ValueError: the configured server rejects the token.
        RuntimeError: no server could be started.
    """
    recorded = recorded_server()
    configured = os.environ.get("PREFECT_API_URL")
    api_url = configured or (recorded.api_url if recorded else LOOPBACK_API_URL)
    token = os.environ.get("PREFECT_API_AUTH_STRING", "")
    if not token and recorded is not None and recorded.api_url == api_url:
        token = recorded.token
    answer = ask(api_url, token)
    if answer == "ready":
        os.environ["PREFECT_API_URL"] = api_url
        if token:
            os.environ["PREFECT_API_AUTH_STRING"] = token
        return
    if answer == "refuses" and configured:
        raise ValueError(
            f"PREFECT_API_URL: expected a server at {api_url} that accepts our token, found one "
            "that rejects it. Remedy: set PREFECT_API_AUTH_STRING to its token, or unset "
            "PREFECT_API_URL."
        )
    if not quiet:
        sys.stderr.write(
            "Starting a Prefect server for this run (the first time takes half a minute) …\n"
        )
    server = start_temporary_server(Settings().run_dir / "temporary-server.log")
    os.environ.update(server.client_environment)
