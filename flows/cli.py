"""Annotate videos into a text + 3-D motion dataset, and run the local Prefect server for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from data.assets import AssetError, fetch_assets
from flows.model_cli import absolute_source, model_app
from flows.server import (
    is_alive,
    is_healthy,
    some_server,
    start_prefect,
    wait_until_healthy,
)
from flows.settings import LOOPBACK_API_URL, Settings, quiet_prefect

POOLS: Final = ("cpu", "gpu")
"""Work pools of prefect.yaml; without a GPU, the worker of ``gpu`` trains on the CPU."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(model_app)


def main() -> None:
    """Run the command; what the user can mend ends in a message, not in a traceback."""
    try:
        app()
    except (AssetError, ValidationError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error
    except RuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error


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
        bool,
        typer.Option(
            "--retry-rejected", help="Try again what timed out, crashed or found no service."
        ),
    ] = False,
    captioner: Annotated[
        str, typer.Option(help="Who writes captions: kinematic, openai, transformers.")
    ] = "",
    annotator: Annotated[str, typer.Option(help="Who writes annotations: rules, openai.")] = "",
    model: Annotated[str, typer.Option(help="Model of the openai captioner and annotator.")] = "",
    base_url: Annotated[
        str, typer.Option(help="Their OpenAI-compatible endpoint; by default OpenAI's own.")
    ] = "",
    local_model: Annotated[
        str, typer.Option(help="Folder or hub name of the transformers captioner's model.")
    ] = "",
    budget_usd: Annotated[
        float, typer.Option(help="Most that this run's calls may cost; 0: no limit.")
    ] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate calls, tokens and cost.")
    ] = False,
) -> None:
    """Annotate videos into a dataset. Needs no server: one is started for the run if none is up."""
    values: dict[str, Any] = json.loads(config.read_text()) if config else {}
    values |= {
        "videos": [str(Path(video).expanduser().absolute()) for video in videos],
        "dataset": dataset.expanduser().absolute(),
        "retry_rejected": retry_rejected,
        "dry_run": dry_run,
    }
    if budget_usd:
        values["budget_usd"] = budget_usd
    service = {"model": model} if model else {}
    service |= {"base_url": base_url} if base_url else {}
    _set_model(values, "captions", "captioner", captioner, service)
    _set_model(values, "annotations", "annotator", annotator, service)
    if local_model:
        values["captions"] = {**values.get("captions", {}), "local_model": {"model": local_model}}
    if workers:
        values["workers"] = {**values.get("workers", {}), "num_workers": workers}

    from annotators.config import AnnotateConfig  # noqa: PLC0415 - slow, and not always needed

    checked = AnnotateConfig.model_validate(values)
    quiet_prefect()
    # Prefect reads its address when it is imported.
    os.environ["PREFECT_API_URL"] = some_server()
    from flows.annotate import annotate_videos  # noqa: PLC0415

    summary = annotate_videos(checked)
    rows = ", ".join(f"{count} {name}" for name, count in summary.rows.items())
    typer.echo(f"\n{summary.dataset}: {rows}")
    for reason, count in summary.rejections.items():
        typer.echo(f"  rejected: {count} x {reason}")
    for table, outcomes in summary.outcomes.items():
        for outcome, count in outcomes.items():
            if outcome != "success":
                typer.echo(f"  {table}: {count} x {outcome}")
    if summary.spend.calls or summary.spend.cache_hits:
        typer.echo(f"  models: {summary.spend}")
    if summary.remaining is not None:
        typer.echo(f"  remaining: {summary.remaining}")
        return
    typer.echo(
        f'Browse it: {sys.executable} -c "import pandas as pd; '
        f"print(pd.read_parquet('{summary.dataset}/annotations'))\""
    )


def _set_model(
    values: dict[str, Any], stage: str, role: str, who: str, service: dict[str, str]
) -> None:
    """Put the command's options for one text stage into the configuration."""
    section = dict(values.get(stage, {}))
    if who:
        section[role] = who
    if service and section.get(role) == "openai":
        section["service"] = {**(section.get("service") or {}), **service}
    if section:
        values[stage] = section


@app.command(name="import-motions")
def import_motions(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="BVH files, folders or ZIPs; HumanML3D folders; .npy/.npz; annotated video "
            "datasets; plans (.txt, .json); procedural:COUNT for synthetic motions."
        ),
    ],
    dataset: Annotated[Path, typer.Option(help="Folder of the dataset; made, or added to.")],
    config: Annotated[
        Path | None, typer.Option(help="JSON file with more of the configuration.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="KIT-ML texts, joined by the motions' own ids.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of sources that do not tell theirs.")] = "",
) -> None:
    """Import motions of any source, as 263-d features with texts and splits. Resumes."""
    from data.motions import MotionImportConfig  # noqa: PLC0415 - slow, and not always needed

    values: dict[str, Any] = json.loads(config.read_text()) if config else {}
    values |= {
        "sources": [absolute_source(source) for source in sources],
        "dataset": dataset.expanduser().absolute(),
    }
    if texts is not None:
        values["texts"] = texts.expanduser().absolute()
    if licence:
        values["licence"] = licence

    checked = MotionImportConfig.model_validate(values)
    quiet_prefect()
    os.environ["PREFECT_API_URL"] = some_server()
    from flows.motions import import_motions as run_flow  # noqa: PLC0415

    summary = run_flow(checked)
    rows = ", ".join(f"{count} {name}" for name, count in summary.rows.items() if count)
    typer.echo(f"\n{summary.dataset}: {rows}; {summary.num_known} known before")
    for reason, count in summary.rejected.items():
        typer.echo(f"  rejected: {count} x {reason}")


@app.command(name="import-avatargpt")
def import_avatargpt(
    files: Annotated[list[Path], typer.Argument(help="JSON files of the release, or folders.")],
    dataset: Annotated[Path, typer.Option(help="Folder of the dataset; made, or added to.")],
) -> None:
    """Import the JSON of the AvatarGPT release: texts of videos, without motion."""
    from data.importers.avatargpt_json import import_avatargpt_json  # noqa: PLC0415

    root = dataset.expanduser()
    report = import_avatargpt_json([file.expanduser() for file in files], root)
    rows = ", ".join(f"{count} {name}" for name, count in report.added.items() if count)
    typer.echo(
        f"{root}: {report.num_videos} videos added ({rows or 'nothing new'}), {report.num_known} "
        f"known before, {report.num_repeated} repeated captions left out"
    )


@app.command(name="export-avatargpt")
def export_avatargpt(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset.")],
    folder: Annotated[Path, typer.Argument(help="Folder for one JSON file per video.")],
) -> None:
    """Write a dataset's texts in the JSON of the AvatarGPT release."""
    from data.importers.avatargpt_json import export_avatargpt_json  # noqa: PLC0415

    files = export_avatargpt_json(dataset.expanduser(), folder.expanduser())
    typer.echo(f"{len(files)} files written to {folder}")


@app.command()
def picture(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset.")],
    file: Annotated[Path, typer.Argument(help="PNG or JPEG file to write.")],
    clip_id: Annotated[str, typer.Option(help="The clip; by default one that shows much.")] = "",
) -> None:
    """Draw a clip with its skeletons and its three levels."""
    import PIL.Image  # noqa: PLC0415 - slow, and not always needed

    from annotators.preview import best_clip, clip_figure  # noqa: PLC0415
    from data.store import Dataset  # noqa: PLC0415

    clip = best_clip(Dataset(dataset.expanduser()), clip_id or None)
    if clip is None:
        raise ValueError(
            f"{dataset}: expected an annotated clip {clip_id} whose video is still at its path, "
            "found none. Remedy: look for clip_id in the annotations table."
        )
    PIL.Image.fromarray(clip_figure(clip)).save(file)
    typer.echo(f"{clip.annotation['clip_id']} of {clip.video['path']} drawn to {file}")


@app.command()
def render(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset with motions.")],
    file: Annotated[Path, typer.Argument(help="GIF or MP4 file to write.")],
    motion_id: Annotated[str, typer.Option(help="The motion; by default one with texts.")] = "",
) -> None:
    """Render a motion as a stick figure, with what is told of it."""
    from annotators.stick_figure import draw_motion, save_moving, told_steps  # noqa: PLC0415
    from data.motion_features import features_to_joints  # noqa: PLC0415
    from data.schemas import load_features  # noqa: PLC0415
    from data.store import Dataset  # noqa: PLC0415

    rows = Dataset(dataset.expanduser()).read("motions").to_pylist()
    chosen = [row for row in rows if row["motion_id"] == motion_id or not motion_id]
    if not chosen:
        raise ValueError(
            f"{dataset}: expected a motion {motion_id}, found none. "
            "Remedy: look for motion_id in the motions table."
        )
    row = max(chosen, key=lambda row: (bool(row["texts"]), -abs(row["num_frames"] - 120)))
    joints_TJ3 = features_to_joints(load_features(row))
    medium = [text["text"] for text in row["texts"] if text["level"] == "medium"]
    title = medium[0] if medium else ", ".join(row["labels"])
    save_moving(draw_motion(joints_TJ3, title, told_steps(joints_TJ3)), file)
    typer.echo(f"{row['motion_id']} of {row['source_path']} rendered to {file}")


@app.command()
def assets() -> None:
    """Fetch and verify the pose weights and the sample clip; prints where they are."""
    paths = fetch_assets(Settings().cache_dir.expanduser(), progress=_tell)
    for name, path in paths.items():
        typer.echo(f"{name}\t{path}")


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@app.command()
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
        subprocess.run([sys.executable, "-m", "prefect", *command], cwd=project, check=True)
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


@app.command()
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
