"""Commands that start and stop the local Prefect server and its workers."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.deployments import register_deployments
from flows.server.process import (
    SERVER_MODULE,
    LocalServer,
    ask,
    own_token,
    recorded_server,
    runs,
    start_in_background,
    wait_until_ready,
    write_server,
)
from flows.settings import LOOPBACK_PORT, Settings, quiet_prefect

POOLS: Final = ("cpu", "gpu")
"""Work pools of the deployments. Without a GPU, the ``gpu`` worker trains on the CPU."""
STOP_LIMIT_S: Final = 20.0
_MODULES: Final = {"server": SERVER_MODULE} | {f"worker-{pool}": "prefect" for pool in POOLS}
# Workers have the address and the token in their environment and do not need our plugin. With
# plugins, Prefect 3.8 logs a traceback when a run is cancelled: its process for cancellation hooks
# imports prefect inside an event loop, where plugins cannot be initialized.
_FOUND: Final = {
    "silent": "nothing that listens",
    "refuses": "one that rejects it",
    "foreign": "another service",
}
_WITHOUT_PLUGINS: Final = {"PREFECT_PLUGINS_ENABLED": "false"}

server_app = typer.Typer()


@server_app.command()
def up(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Loopback port of the server.")
    ] = LOOPBACK_PORT,
) -> None:
    """Start a Prefect server on loopback with a worker per pool, and register the deployments."""
    quiet_prefect()
    run_dir = Settings().run_dir
    server = LocalServer(port, own_token(run_dir))
    os.environ |= server.client_environment
    _start_server(server, run_dir)
    _register(run_dir / "up.log")
    _start_workers(server, run_dir)
    typer.echo(
        f"Prefect UI: {server.link}\n"
        f"Logs: {run_dir}\n"
        "Run:  prefect deployment run annotate-videos/local "
        """-p 'config={"videos": ["/DIR"], "dataset": "/DIR"}'\n"""
        "Stop: avatargpt down"
    )


@server_app.command()
def register() -> None:
    """Create pools, deployments and automations on the server of PREFECT_API_URL; repeatable.

    `up` does this on the server that it starts. On a server for several machines, run it once, and
    after each update.
    """
    quiet_prefect()
    api_url = os.environ.get("PREFECT_API_URL", "")
    token = os.environ.get("PREFECT_API_AUTH_STRING", "")
    if not api_url:
        raise ValueError(
            "PREFECT_API_URL: expected the API URL of a Prefect server, found nothing. Remedy: set "
            "it, or use avatargpt up, which starts a server on this machine."
        )
    found = ask(api_url, token)
    if found != "ready":
        raise ValueError(
            f"PREFECT_API_URL: expected a Prefect server at {api_url} that accepts the token in "
            f"PREFECT_API_AUTH_STRING, found {_FOUND[found]}. Remedy: correct them."
        )
    import httpx  # noqa: PLC0415 - as late as Prefect, which uses it

    log = Settings().run_dir / "register.log"
    try:
        _register(log)
    except httpx.HTTPError as error:
        raise RuntimeError(
            f"expected the Prefect server at {api_url} to accept pools and deployments, found: "
            f"{' '.join(str(error).split())[:200]} Remedy: check that it runs, and that "
            "PREFECT_API_AUTH_STRING is its token."
        ) from error
    typer.echo(f"Registered the pools {', '.join(POOLS)} and all deployments at {api_url}.")


@server_app.command()
def down() -> None:
    """Stop the server and the workers that `up` started, and the runs of these workers."""
    run_dir = Settings().run_dir
    for name in (*(f"worker-{pool}" for pool in POOLS), "server"):
        pid_file = run_dir / f"{name}.pid"
        pid = _running(pid_file)
        if pid is not None:
            _stop(pid)
            typer.echo(f"stopped the {name}")
        pid_file.unlink(missing_ok=True)
    (run_dir / "server.json").unlink(missing_ok=True)


def _start_server(server: LocalServer, run_dir: Path) -> None:
    before = recorded_server()
    pid_file = run_dir / "server.pid"
    if _running(pid_file) is not None and before is not None and before.port != server.port:
        raise ValueError(
            f"--port: expected {before.port}, where our server is already running, found "
            f"{server.port}. Remedy: avatargpt down, or leave --port out."
        )
    match ask(server.api_url, server.token):
        case "ready":
            typer.echo(f"The Prefect server at {server.api_url} is already running.")
        case "refuses":
            raise ValueError(
                f"port {server.port}: expected a free port or our own server, found another "
                "Prefect server that rejects our token. Remedy: stop it, or choose another --port."
            )
        case "foreign":
            raise ValueError(
                f"port {server.port}: expected a free port or our own server, found something "
                "that is not Prefect. Remedy: choose another --port."
            )
        case "silent":
            typer.echo("Starting the Prefect server (the first time takes half a minute) …")
            log = run_dir / "server.log"
            arguments = [str(server.port)]
            pid = start_in_background(SERVER_MODULE, arguments, log, server.server_environment)
            pid_file.write_text(str(pid))
            wait_until_ready(server, pid, log)
    write_server(server, run_dir)


def _register(log: Path) -> None:
    """Create work pools, automations and deployments; write the output of Prefect to the log."""
    from flows.server.setup import add_automation, make_pools, silent_runs  # noqa: PLC0415 - Prefect

    make_pools(POOLS)
    add_automation(silent_runs())
    register_deployments(log)


def _start_workers(server: LocalServer, run_dir: Path) -> None:
    for pool in POOLS:
        pid_file = run_dir / f"worker-{pool}.pid"
        if _running(pid_file) is None:
            arguments = ["worker", "start", "--pool", pool, "--name", f"local-{pool}"]
            # Trainings share the GPUs and cores of this machine, so only one runs at a time.
            arguments += ["--limit", "1"] if pool == "gpu" else []
            log = run_dir / f"worker-{pool}.log"
            env = server.client_environment | _WITHOUT_PLUGINS
            pid = start_in_background("prefect", arguments, log, env)
            pid_file.write_text(str(pid))


def _running(pid_file: Path) -> int | None:
    """Return the process ID in a file; None if that process ended or is another program."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    return pid if runs(pid, _MODULES[pid_file.stem]) else None


def _stop(pid: int) -> None:
    """Send SIGTERM to a process group, and SIGKILL if it does not end in time."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_LIMIT_S
        while time.monotonic() < deadline_s:
            time.sleep(0.1)
            os.killpg(pid, 0)
        os.killpg(pid, signal.SIGKILL)
