"""The ``avatargpt`` command. Prefect is imported only by the commands that need it: it is slow."""

import json
import os
import signal
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.request import urlopen

import typer
from data.assets import AssetError, fetch_assets
from pydantic import ValidationError

from flows.settings import LOOPBACK_API_URL, Settings, answers, embedded_prefect

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


def main() -> None:
    """Run the command; what the user can mend ends in one line, not in a traceback."""
    try:
        app()
    except (AssetError, ValidationError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error


@app.command()
def annotate(
    videos: Annotated[
        list[str], typer.Argument(help="Videos, folders, globs, or .txt/.csv/.parquet lists.")
    ],
    dataset: Annotated[Path, typer.Option(help="Folder of the dataset; made, or added to.")],
    config: Annotated[
        Path | None, typer.Option(help="JSON file with more of the configuration.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes; 0: one per CPU.")] = 0,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try again what timed out or crashed.")
    ] = False,
) -> None:
    """Annotate videos into a dataset. Needs no server: one is started for the run if none is up."""
    embedded_prefect()
    if not answers(os.environ.get("PREFECT_API_URL", LOOPBACK_API_URL)):
        # An address where nobody answers would only fail: an empty one starts a server in here.
        os.environ["PREFECT_API_URL"] = ""
        typer.echo("Starting a Prefect server for this run (the first time takes half a minute) …")
    values: dict[str, Any] = json.loads(config.read_text()) if config else {}
    values |= {
        "videos": [str(Path(video).expanduser().absolute()) for video in videos],
        "dataset": dataset.expanduser().absolute(),
        "retry_rejected": retry_rejected,
    }
    if workers:
        values["workers"] = {**values.get("workers", {}), "num_workers": workers}

    from annotators.pipeline import AnnotateConfig  # noqa: PLC0415 - see the module's docstring
    from flows.annotate import annotate_videos  # noqa: PLC0415

    summary = annotate_videos(AnnotateConfig.model_validate(values))
    rows = ", ".join(f"{count} {name}" for name, count in summary.rows.items())
    typer.echo(f"\n{summary.dataset}: {rows}")
    for reason, count in summary.rejections.items():
        typer.echo(f"  rejected: {count} x {reason}")
    typer.echo(
        f'Browse it: python -c "import pandas as pd; '
        f"print(pd.read_parquet('{summary.dataset}/annotations'))\""
    )


@app.command()
def assets() -> None:
    """Fetch and verify the pose weights and the sample clip; prints where they are."""
    paths = fetch_assets(Settings().cache_dir.expanduser(), progress=typer.echo)
    for name, path in paths.items():
        typer.echo(f"{name}\t{path}")


@app.command()
def up(
    project: Annotated[Path, typer.Option(help="Folder that holds prefect.yaml.")] = Path(),
) -> None:
    """Start a Prefect server on loopback and a CPU worker, and register the deployments."""
    if not (project / "prefect.yaml").is_file():
        raise ValueError(
            f"expected prefect.yaml in {project.resolve()}, found none. "
            "Remedy: run this in the project's folder, or name it with --project."
        )
    embedded_prefect()
    os.environ["PREFECT_API_URL"] = LOOPBACK_API_URL
    run_dir = Settings().run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    if _healthy():
        typer.echo(f"A Prefect server answers at {LOOPBACK_API_URL} already.")
    else:
        _start(run_dir, "server", ["server", "start", "--host", "127.0.0.1", "--port", "4200"])
        _wait_until_healthy(run_dir)
    for command in (
        ["work-pool", "create", "cpu", "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all"],
    ):
        subprocess.run([_prefect(), *command], cwd=project, check=True)
    if not _alive(run_dir, "worker"):
        _start(run_dir, "worker", ["worker", "start", "--pool", "cpu", "--name", "local-cpu"])
    typer.echo(
        f"\nPrefect UI: http://127.0.0.1:4200   logs: {run_dir}\n"
        "Run:  prefect deployment run annotate-videos/local "
        """-p 'config={"videos": ["DIR"], "dataset": "DIR"}'\n"""
        "Stop: make down"
    )


@app.command()
def down() -> None:
    """Stop the server and the worker that `up` started."""
    run_dir = Settings().run_dir
    for name in ("worker", "server"):
        if _alive(run_dir, name):
            pid = int((run_dir / f"{name}.pid").read_text())
            os.killpg(pid, signal.SIGTERM)
            typer.echo(f"stopped the {name}")
        (run_dir / f"{name}.pid").unlink(missing_ok=True)


def _prefect() -> str:
    return str(Path(sys.executable).with_name("prefect"))


def _start(run_dir: Path, name: str, arguments: list[str]) -> None:
    with (run_dir / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [_prefect(), *arguments], stdout=log, stderr=log, start_new_session=True
        )
    (run_dir / f"{name}.pid").write_text(str(process.pid))


def _alive(run_dir: Path, name: str) -> bool:
    path = run_dir / f"{name}.pid"
    if not path.exists():
        return False
    try:
        os.kill(int(path.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def _healthy() -> bool:
    try:
        with urlopen(f"{LOOPBACK_API_URL}/health", timeout=2.0) as reply:  # noqa: S310 - loopback
            return reply.status == HTTPStatus.OK
    except OSError:
        return False


def _wait_until_healthy(run_dir: Path, limit_s: float = 180.0) -> None:
    typer.echo("Starting the Prefect server (the first time takes half a minute) …")
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s and _alive(run_dir, "server"):
        if _healthy():
            return
        time.sleep(0.5)
    raise ValueError(
        f"the Prefect server did not start within {limit_s:.0f} s. "
        f"Remedy: see {run_dir / 'server.log'}; is port 4200 taken?"
    )
