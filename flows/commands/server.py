"""Commands of the local Prefect server and its workers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.server import is_alive, is_healthy, start_prefect, wait_until_healthy
from flows.settings import LOOPBACK_API_URL, Settings, off_current_folder, quiet_prefect

POOLS: Final = ("cpu", "gpu")
"""Work pools of prefect.yaml; without a GPU, the worker of ``gpu`` trains on the CPU."""

server_app = typer.Typer()


@server_app.command()
def up(
    project: Annotated[Path, typer.Option(help="Folder that holds prefect.yaml.")] = Path(),
) -> None:
    """Start a Prefect server on loopback and a worker per pool, and register the deployments."""
    if not (project / "prefect.yaml").is_file():
        raise ValueError(
            f"expected prefect.yaml in {project.resolve()}, found none. "
            "Remedy: run this in the project's folder, or name it with --project."
        )
    quiet_prefect()
    os.environ["PREFECT_API_URL"] = LOOPBACK_API_URL
    run_dir = Settings().run_dir
    if is_healthy(LOOPBACK_API_URL):
        typer.echo(f"A Prefect server answers at {LOOPBACK_API_URL} already.")
    else:
        typer.echo("Starting the Prefect server (the first time takes half a minute) …")
        log = run_dir / "server.log"
        pid = start_prefect(["server", "start", "--host", "127.0.0.1", "--port", "4200"], log)
        (run_dir / "server.pid").write_text(str(pid))
        wait_until_healthy(LOOPBACK_API_URL, pid, log)
    for command in (
        *(["work-pool", "create", pool, "--type", "process", "--overwrite"] for pool in POOLS),
        ["--no-prompt", "deploy", "--all"],
    ):
        subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            cwd=project,
            check=True,
            env=off_current_folder(),
        )
    for pool in POOLS:
        if not _is_up(run_dir / f"worker-{pool}.pid"):
            arguments = ["worker", "start", "--pool", pool, "--name", f"local-{pool}"]
            # Trainings share this machine's GPUs and cores: one at a time.
            arguments += ["--limit", "1"] if pool == "gpu" else []
            pid = start_prefect(arguments, run_dir / f"worker-{pool}.log")
            (run_dir / f"worker-{pool}.pid").write_text(str(pid))
    typer.echo(
        f"\nPrefect UI: http://127.0.0.1:4200   logs: {run_dir}\n"
        "Run:  prefect deployment run annotate-videos/local "
        """-p 'config={"videos": ["/DIR"], "dataset": "/DIR"}'\n"""
        "Stop: make down"
    )


@server_app.command()
def down() -> None:
    """Stop the server and the worker that `up` started."""
    for name in (*(f"worker-{pool}" for pool in POOLS), "server"):
        pid_file = Settings().run_dir / f"{name}.pid"
        if _is_up(pid_file):
            os.killpg(int(pid_file.read_text()), signal.SIGTERM)
            typer.echo(f"stopped the {name}")
        pid_file.unlink(missing_ok=True)


def _is_up(pid_file: Path) -> bool:
    return pid_file.exists() and is_alive(int(pid_file.read_text()))
