"""Local Prefect servers: one that ``avatargpt up`` leaves running, and one that ends with its run.

Both listen on loopback only and ask for a token, so that no page in a browser and no other user of
the machine can start work through them. What talks to them from here (commands, workers, plain
``prefect`` in the project's folder) finds the token by itself.

This module does not import Prefect: its address must be in the environment before that.
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
"""A first start migrates the database, which takes half a minute on a slow machine."""
OPEN_PATH: Final = "/open"
"""The page that hands the UI its token (flows.server.app)."""
SERVER_MODULE: Final = "flows.server.app"
_ASK_LIMIT_S: Final = 5.0

Answer = Literal["silent", "ready", "refuses", "foreign"]
"""Nobody listens; a Prefect server that takes the token; one that does not; something else."""


@dataclass(frozen=True)
class LocalServer:
    """A Prefect server of this user on this machine."""

    port: int
    token: str

    @property
    def api_url(self) -> str:
        """Its API address."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def link(self) -> str:
        """What opens its UI, with the token; browsers do not send what follows the ``#``."""
        return f"http://127.0.0.1:{self.port}{OPEN_PATH}#{self.token}"

    @property
    def client_environment(self) -> dict[str, str]:
        """What a Prefect client needs to talk to it."""
        return {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.token}

    @property
    def server_environment(self) -> dict[str, str]:
        """What the server itself needs."""
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
    """Whether an address is one of this machine's own."""
    return urlsplit(api_url).hostname in {"127.0.0.1", "localhost", "::1"}


def answers(api_url: str) -> bool:
    """Whether something listens at a loopback address; other addresses are not asked."""
    if not is_loopback(api_url):
        return True
    url = urlsplit(api_url)
    try:
        socket.create_connection((url.hostname or "", url.port or 80), timeout=2.0).close()
    except OSError:
        return False
    return True


def ask(api_url: str, token: str = "") -> Answer:
    """What is at a loopback address, and whether it takes a token; nothing else is asked.

    Args:
        api_url: of a Prefect server.
        token: to show it; empty: none.
    """
    if not is_loopback(api_url):
        return "ready"
    if not answers(api_url):
        return "silent"
    if _get(f"{api_url}/health") != (HTTPStatus.OK, b"true"):
        return "foreign"
    status, _ = _get(f"{api_url}/admin/version", token)
    # No answer in time is no refusal: a server is slow while it is busy.
    return "ready" if status in {HTTPStatus.OK, 0} else "refuses"


def _get(url: str, token: str = "") -> tuple[int, bytes]:
    """Status and first bytes of a reply, (0, b"") where there is none, past any proxy."""
    headers = {}
    if token:
        headers["Authorization"] = f"Basic {base64.b64encode(token.encode()).decode()}"
    request = Request(url, headers=headers)  # noqa: S310 - loopback
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_ASK_LIMIT_S) as reply:
            return reply.status, reply.read(100)
    except HTTPError as error:
        return error.code, b""
    except (URLError, OSError, ValueError):  # a service of another protocol
        return 0, b""


# ------------------------------------------------------------------ the server of `avatargpt up`


def own_token(run_dir: Path) -> str:
    """The token of this user's server; made where there is none, readable by its owner only."""
    file = run_dir / "token"
    run_dir.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as output:
            output.write(f"avatargpt:{secrets.token_urlsafe(32)}")
    file.chmod(0o600)
    return file.read_text(encoding="utf-8").strip()


def write_server(server: LocalServer, run_dir: Path) -> None:
    """Let other commands find the server that `up` started."""
    (run_dir / "server.json").write_text(json.dumps({"port": server.port}))


def recorded_server() -> LocalServer | None:
    """The server that `up` started last; None when it never did, or `down` stopped it."""
    run_dir = Settings().run_dir
    try:
        port = json.loads((run_dir / "server.json").read_text(encoding="utf-8"))["port"]
        return LocalServer(int(port), (run_dir / "token").read_text(encoding="utf-8").strip())
    except (OSError, ValueError, TypeError, KeyError):
        return None


# ------------------------------------------------------------------------------------ processes


def start_in_background(module: str, arguments: list[str], log: Path, env: dict[str, str]) -> int:
    """Start `python -m MODULE ARGUMENTS` in the background, in a session of its own.

    Args:
        module: to run; looked for among what is installed only.
        arguments: of it; other users of the machine can see them.
        log: file that its output is appended to.
        env: environment variables beside those of this process.

    Returns:
        Its process id, which is also that of its process group.
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
    """Whether a process runs and is `python -m MODULE`: after a reboot, its id may be another's."""
    with suppress(ChildProcessError):  # started by an earlier command: not ours to wait for
        os.waitpid(pid, os.WNOHANG)
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        # For a moment of its start a process has no command line yet; a zombie has none for good.
        deadline_s = time.monotonic() + _COMMAND_LINE_S
        while not command and time.monotonic() < deadline_s:
            time.sleep(0.01)
            command = process.cmdline()
    except psutil.Error:
        return False
    return f"-m {module}" in " ".join(command)


def wait_until_ready(server: LocalServer, pid: int, log: Path) -> None:
    """Wait for a server that was just started.

    Raises:
        RuntimeError: it ended, or did not become ready in time.
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
    """A loopback port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def start_temporary_server(log: Path) -> LocalServer:
    """Start a Prefect server on a free loopback port that ends with this process, however it ends.

    It outlives everything that Prefect still sends while this process exits.

    Args:
        log: file for its output.
    """
    server = LocalServer(free_port(), f"avatargpt:{secrets.token_urlsafe(32)}")
    arguments = [str(server.port), "--parent", str(os.getpid())]
    pid = start_in_background(SERVER_MODULE, arguments, log, server.server_environment)
    wait_until_ready(server, pid, log)
    return server


def use_some_server(*, quiet: bool = False) -> None:
    """Let Prefect, once imported, use the configured server, that of `up`, or one for this run.

    Args:
        quiet: do not tell that one is started.

    Raises:
        ValueError: the configured one asks for a token that is not known here.
        RuntimeError: none could be started.
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
            f"PREFECT_API_URL: expected a server at {api_url} that takes our token, found one that "
            "refuses it. Remedy: set PREFECT_API_AUTH_STRING to its token, or unset "
            "PREFECT_API_URL."
        )
    if not quiet:
        sys.stderr.write(
            "Starting a Prefect server for this run (the first time: half a minute) …\n"
        )
    server = start_temporary_server(Settings().run_dir / "temporary-server.log")
    os.environ.update(server.client_environment)
