"""Commands that create datasets and render what they hold."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.presets import preset_values
from data.remote.addresses import is_address
from data.remote.links import find_link
from flows.assets import ASSETS, fetch_assets
from flows.commands.options import (
    Json,
    Quiet,
    absolute_source,
    folder_for,
    in_folder,
    print_json,
    refuse_idle,
    show,
)
from flows.commands.running import FLOWS, Assignments, ConfigFile, Preset
from flows.settings import Settings

if TYPE_CHECKING:
    from annotators.config import AnnotateConfig
    from flows.annotate import AnnotateSummary
    from flows.motions import ImportSummary

datasets_app = typer.Typer()


@datasets_app.command()
@datasets_app.command(name="annotate-videos", hidden=True)
def annotate(
    dataset: Annotated[
        Path,
        typer.Option(
            help="Folder of the dataset; created if missing, else extended.", callback=in_folder
        ),
    ],
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders, globs, https:// and s3:// addresses, or .txt/.csv/.parquet "
            "lists."
        ),
    ] = None,
    poses_from: Annotated[
        Path | None,
        typer.Option(
            help="Dataset whose clips and poses are reused; only texts are written. All of its "
            "videos are used unless VIDEOS are given.",
            callback=in_folder,
        ),
    ] = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar="N/COUNT",
            help="Share of the videos to take, such as 3/16, for runs on several machines with a "
            "dataset each; then `avatargpt merge`.",
        ),
    ] = "",
    preset: Preset = "",
    config: ConfigFile = None,
    assignments: Assignments = None,
    workers: Annotated[
        int, typer.Option(help="Number of worker processes; 0 means one per CPU.")
    ] = 0,
    executor: Annotated[
        str, typer.Option(help="Where the work is done: local, or ray for a Ray cluster.")
    ] = "",
    ray_address: Annotated[
        str,
        typer.Option(
            help="HOST:PORT of the head of a Ray cluster that this machine has joined, or auto; by "
            "default Ray is started on this machine."
        ),
    ] = "",
    retry_rejected: Annotated[
        bool,
        typer.Option(
            "--retry-rejected",
            help="Retry items that timed out, crashed, or got no answer from a service.",
        ),
    ] = False,
    captioner: Annotated[
        str, typer.Option(help="Captioner: kinematic, openai or transformers.")
    ] = "",
    annotator: Annotated[str, typer.Option(help="Annotator: rules or openai.")] = "",
    model: Annotated[
        str, typer.Option(help="Model name for the openai captioner and annotator.")
    ] = "",
    base_url: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint of that model; defaults to OpenAI.")
    ] = "",
    local_model: Annotated[
        str,
        typer.Option(help="Model of the transformers captioner: a folder or a Hugging Face name."),
    ] = "",
    budget_usd: Annotated[
        float, typer.Option(help="Maximum cost of the model calls of this run; 0 means no limit.")
    ] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate the model calls, tokens and cost.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Annotate videos into a dataset. Starts a Prefect server for the run if none is running."""
    options: dict[str, Any] = {
        "videos": [
            video if is_address(video) else str(Path(video).expanduser().absolute())
            for video in videos or ()
        ],
        "dataset": str(dataset.expanduser().absolute()),
    }
    if poses_from is not None:
        options["poses_from"] = str(poses_from.expanduser().absolute())
    flags: dict[str, Any] = {
        **{"retry_rejected": retry_rejected, "dry_run": dry_run, "budget_usd": budget_usd},
        "shard": shard,
    }
    options |= {name: value for name, value in flags.items() if value}
    of_workers = {
        "num_workers": workers,
        "executor": executor,
        "cluster": {"address": ray_address} if ray_address else None,
    }
    if given := {name: value for name, value in of_workers.items() if value}:
        options["workers"] = given

    command = FLOWS["annotate"]
    changes = command.changes(config, assignments, options)
    service = {"model": model} if model else {}
    service |= {"base_url": base_url} if base_url else {}
    below = preset_values(command.presets, preset) if preset else {}
    _set_model(changes, below, ("captions", "captioner"), captioner, service)
    _set_model(changes, below, ("annotations", "annotator"), annotator, service)
    if local_model:
        changes["captions"]["local_model"] = {"model": local_model}
    checked: AnnotateConfig = command.check(preset, changes)
    if ray_address and checked.workers.executor != "ray":
        found = f"the executor {checked.workers.executor}"
        refuse_idle("--ray-address", "the executor ray", found, "give --executor ray")
    _refuse_idle_models(
        checked,
        {
            "--model": model,
            "--base-url": base_url,
            "--local-model": local_model,
            "--budget-usd": budget_usd,
            "--dry-run": dry_run,
        },
    )
    summary: AnnotateSummary = command.run_with(preset, changes, quiet=quiet)
    if as_json:
        print_json(summary)
        return
    for line in summary_lines(summary):
        show(line)


def summary_lines(summary: "AnnotateSummary") -> Iterator[str]:
    """Return the lines that ``annotate`` prints when it is done."""
    yield ""
    rows = ", ".join(f"{count} {name}" for name, count in summary.rows.items() if count)
    yield f"{summary.dataset}: {rows or 'nothing published'}"
    for reason, count in summary.rejections.items():
        yield f"  rejected: {count} x {reason}"
    for table, outcomes in summary.outcomes.items():
        for outcome, count in outcomes.items():
            if outcome != "success":
                yield f"  {table}: {count} x {outcome}"
    if summary.spend.calls or summary.spend.cache_hits:
        yield f"  models: {summary.spend}"
    if summary.ask_again:
        yield f"  missing: {summary.ask_again}."
    if summary.remaining is not None:
        yield f"  remaining: {summary.remaining}"
        return
    link = find_link(summary.dataset)
    place = summary.dataset if link is None else link.address
    yield f"Next: avatargpt status {shlex.quote(str(place))}"
    if link is None:
        show_it = f"import pandas as pd; print(pd.read_parquet('{place}/annotations'))"
    else:
        show_it = f"import avatargpt; print(avatargpt.open_dataset('{place}').frame('annotations'))"
    yield f'Browse it: {sys.executable} -c "{show_it}"'


def _refuse_idle_models(config: "AnnotateConfig", given: Mapping[str, object]) -> None:
    """Reject options of models that write no text in this run.

    Args:
        config: configuration of the run.
        given: value of each option; a false value means that it was not given.

    Raises:
        ValueError: an option would have no effect.
    """
    captioner, annotator = config.captions.captioner, config.annotations.annotator
    writers = f"captioner {captioner} and annotator {annotator}"
    remedy = "give --captioner openai or --annotator openai"
    for option in ("--model", "--base-url", "--budget-usd"):
        if given[option] and "openai" not in (captioner, annotator):
            refuse_idle(option, "a captioner or annotator openai", writers, remedy)
    if given["--local-model"] and captioner != "transformers":
        needed = "captioner transformers"
        refuse_idle("--local-model", needed, writers, "give --captioner transformers")
    if given["--dry-run"] and (captioner, annotator) == ("kinematic", "rules"):
        refuse_idle("--dry-run", "a model that writes texts", writers, remedy)


def _set_model(
    changes: dict[str, Any],
    below: Mapping[str, Any],
    stage_and_role: tuple[str, str],
    who: str,
    service: Mapping[str, str],
) -> None:
    """Apply the command's model options to one text stage.

    Args:
        changes: configuration values over the preset; modified in place.
        below: values of the preset.
        stage_and_role: section of the configuration and its field that selects the writer.
        who: writer to select; empty keeps the configured one.
        service: endpoint and model, used if the selected writer is ``openai``.
    """
    stage, role = stage_and_role
    section = changes.setdefault(stage, {})
    if who:
        section[role] = who
    writer = section.get(role, below.get(stage, {}).get(role))
    if service and writer == "openai":
        section["service"] = {**(section.get("service") or {}), **service}


@datasets_app.command(name="import-motions")
def import_motions(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="BVH files, folders or ZIPs; HumanML3D folders; .npy/.npz files; annotated video "
            "datasets; plans (.txt, .json); procedural:COUNT for synthetic motions."
        ),
    ],
    dataset: Annotated[
        Path,
        typer.Option(
            help="Folder of the dataset; created if missing, else extended.", callback=in_folder
        ),
    ],
    preset: Preset = "",
    config: ConfigFile = None,
    assignments: Assignments = None,
    texts: Annotated[
        Path | None, typer.Option(help="File of KIT-ML texts, joined to motions by motion ID.")
    ] = None,
    license_: Annotated[
        str, typer.Option("--license", help="License of sources that do not state one.")
    ] = "",
    licence: Annotated[str, typer.Option("--licence", hidden=True)] = "",
    retry_rejected: Annotated[
        bool,
        typer.Option(
            "--retry-rejected", help="Retry items that hit a time or memory limit, or crashed."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Import motions from any source as 263-d features with texts and splits. Resumable."""
    options: dict[str, Any] = {
        "sources": [absolute_source(source) for source in sources],
        "dataset": str(dataset.expanduser().absolute()),
    }
    if texts is not None:
        options["texts"] = str(texts.expanduser().absolute())
    if license_ or licence:
        options["license"] = license_ or licence
    if retry_rejected:
        options["retry_rejected"] = True
    flow = FLOWS["import-motions"]
    summary: ImportSummary = flow.run(preset, config, assignments, options, quiet=quiet)
    if as_json:
        print_json(summary)
        return
    rows = ", ".join(f"{count} {name}" for name, count in summary.rows.items() if count)
    show("")
    show(f"{summary.dataset}: {rows}; {summary.num_known} already imported")
    for reason, count in summary.rejected.items():
        show(f"  rejected: {count} x {reason}")


@datasets_app.command(name="import-avatargpt")
def import_avatargpt(
    files: Annotated[
        list[Path], typer.Argument(help="JSON files of the AvatarGPT release, or folders of them.")
    ],
    dataset: Annotated[
        Path,
        typer.Option(
            help="Folder of the dataset; created if missing, else extended.", callback=in_folder
        ),
    ],
    as_json: Json = False,
) -> None:
    """Import texts from the JSON files of the AvatarGPT release. They hold no motions."""
    from data.importers.avatargpt_json import import_avatargpt_json  # noqa: PLC0415

    root = dataset.expanduser()
    report = import_avatargpt_json([file.expanduser() for file in files], root)
    if as_json:
        print_json({"dataset": root, **asdict(report)})
        return
    rows = ", ".join(f"{count} {name}" for name, count in report.added.items() if count)
    show(
        f"{root}: {report.num_videos} videos added ({rows or 'nothing new'}), {report.num_known} "
        f"already imported, {report.num_repeated} repeated captions skipped"
    )


@datasets_app.command(name="export-avatargpt")
def export_avatargpt(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset.", callback=in_folder)],
    folder: Annotated[Path, typer.Argument(help="Output folder; gets one JSON file per video.")],
    as_json: Json = False,
) -> None:
    """Export the texts of a dataset in the JSON format of the AvatarGPT release."""
    from data.importers.avatargpt_json import export_avatargpt_json  # noqa: PLC0415

    files = export_avatargpt_json(dataset.expanduser(), folder.expanduser())
    if as_json:
        print_json({"files": files})
        return
    show(f"{len(files)} files written to {folder}")


@datasets_app.command()
def picture(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset.", callback=in_folder)],
    file: Annotated[Path, typer.Argument(help="PNG or JPEG file to write.", callback=folder_for)],
    clip_id: Annotated[
        str, typer.Option(help="Clip to draw; by default one with much motion.")
    ] = "",
) -> None:
    """Draw frames of a clip with skeletons and the texts of its three levels."""
    import PIL.Image  # noqa: PLC0415 - slow, and not always needed

    from annotators.pictures.preview import best_clip, clip_figure  # noqa: PLC0415
    from data.store.dataset import Dataset  # noqa: PLC0415

    clip = best_clip(Dataset(dataset.expanduser()), clip_id or None)
    if clip is None:
        raise ValueError(
            f"{dataset}: expected an annotated clip {clip_id} whose video is still at its path, "
            "found none. Remedy: choose a clip_id from the annotations table."
        )
    PIL.Image.fromarray(clip_figure(clip)).save(file)
    show(f"{clip.annotation['clip_id']} of {clip.video['path']} drawn to {file}")


@datasets_app.command()
def render(
    dataset: Annotated[
        Path, typer.Argument(help="Folder of a dataset with motions.", callback=in_folder)
    ],
    file: Annotated[Path, typer.Argument(help="GIF or MP4 file to write.", callback=folder_for)],
    motion_id: Annotated[
        str, typer.Option(help="Motion to render; by default one with texts.")
    ] = "",
) -> None:
    """Render a motion as an animated stick figure with its texts."""
    from annotators.pictures.preview import best_motion  # noqa: PLC0415
    from annotators.pictures.stick_figure import draw_motion, save_moving, stored_steps  # noqa: PLC0415
    from data.motion.features import features_to_joints  # noqa: PLC0415
    from data.schemas import load_credible, load_features  # noqa: PLC0415
    from data.store.dataset import Dataset  # noqa: PLC0415

    row = best_motion(Dataset(dataset.expanduser()), motion_id or None)
    if row is None:
        raise ValueError(
            f"{dataset}: expected a motion {motion_id}, found none. "
            "Remedy: choose a motion_id from the motions table."
        )
    joints_TJ3 = features_to_joints(load_features(row))
    medium = [text["text"] for text in row["texts"] if text["level"] == "medium"]
    title = medium[0] if medium else ", ".join(row["labels"])
    pictures = draw_motion(joints_TJ3, title, stored_steps(row), load_credible(row))
    save_moving(pictures, file)
    show(f"{row['motion_id']} of {row['source_path']} rendered to {file}")


@datasets_app.command()
def assets(
    tests: Annotated[
        bool, typer.Option("--tests", help="Also fetch the clips that only the tests use.")
    ] = False,
    evaluation: Annotated[
        bool,
        typer.Option(
            "--evaluation", help="Also fetch the sentence encoder of the contrastive evaluator."
        ),
    ] = False,
    body: Annotated[
        bool, typer.Option("--body", help="Also fetch the body that pages can show.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch and verify the weights, the sample clip and three.js, and print their paths."""
    wanted = {"setup": True, "evaluation": evaluation, "body": body or tests, "tests": tests}
    names = [name for name, asset in ASSETS.items() if wanted[asset.needed]]
    paths = fetch_assets(Settings().cache_dir.expanduser(), only=names, progress=_log)
    if as_json:
        print_json(paths)
        return
    for name, path in paths.items():
        show(f"{name}\t{path}")


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
