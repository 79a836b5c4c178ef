"""Commands of the trained model."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from data.motion.skeleton import FPS
from flows.commands.options import Json, folder_for, print_json, refuse_idle, show
from flows.settings import Settings

model_app = typer.Typer()

Model = Annotated[
    Path | None,
    typer.Option(help="Folder of a model; by default models/latest of AVATARGPT_HOME/train."),
]
Out = Annotated[
    Path,
    typer.Option(
        help="File to write: .npy (features), .joints.npy, .bvh (Blender reads it), .gif or .mp4.",
        callback=folder_for,
    ),
]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.")]
Temperature = Annotated[float, typer.Option(help="0: the likeliest answer; 1: drawn.")]
BestOf = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Motions drawn for a text; the model takes the one that it would most likely describe "
        "so. By default 4, and 1 at temperature 0.",
    ),
]
_OUT: Final = Path("motion.gif")


@model_app.command()
def t2m(
    text: Annotated[str, typer.Argument(help="What is done, e.g. 'a person kicks'.")],
    out: Out = _OUT,
    seconds: Annotated[float, typer.Option(help="Length; 0: as the model likes.")] = 0.0,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    best_of: BestOf = None,
) -> None:
    """Text to motion."""
    sampling = _choosing(seed, temperature, best_of)
    (features,) = _loaded(model).text_to_motion([text], seconds or None, sampling)
    _write(features, out, text)


@model_app.command()
def m2t(
    file: Annotated[Path, typer.Argument(help="Motion: .npy of features or joints, or .bvh.")],
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Motion to text."""
    motions = _motions(file)
    texts = _loaded(model).motion_to_text(motions)
    if as_json:
        print_json({"file": file, "texts": texts})
        return
    for text in texts:
        show(text)


@model_app.command()
def inbetween(
    head: Annotated[Path, typer.Argument(help="Motion that it begins with.")],
    tail: Annotated[Path, typer.Argument(help="Motion that it ends with.")],
    out: Out = _OUT,
    seconds: Annotated[float, typer.Option(help="Of the middle; 0: as the model likes.")] = 0.0,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 0.0,
) -> None:
    """Fill the motion between two motions."""
    sampling = _sampling(seed, temperature)
    ends = _motions(head)[0], _motions(tail)[0]
    features = _loaded(model).in_between(*ends, seconds or None, sampling)
    _write(features, out, f"{head.name} to {tail.name}")


@model_app.command()
def predict(
    file: Annotated[Path, typer.Argument(help="Motion that it begins with.")],
    out: Out = _OUT,
    seconds: Annotated[float, typer.Option(help="Of what follows; 0: as the model likes.")] = 0.0,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
) -> None:
    """Go on with a motion."""
    features = _loaded(model).predict(
        _motions(file)[0], seconds or None, _sampling(seed, temperature)
    )
    _write(features, out, f"after {file.name}")


@model_app.command()
def plan(
    scene: Annotated[str, typer.Argument(help="Where it happens.")],
    task: Annotated[str, typer.Option(help="What is done first.")] = "",
    tasks: Annotated[int, typer.Option(help="How many follow.")] = 3,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    as_json: Json = False,
) -> None:
    """Plan: the next tasks in a scene, and the steps of each."""
    from training.inference.long_motion import ImagineConfig  # noqa: PLC0415 - slow
    from training.inference.long_motion import plan as run_plan  # noqa: PLC0415

    _refuse_idle_seed(seed, temperature)
    drawn = {"temperature": temperature, "seed": seed}
    sampling = ImagineConfig().plan.model_copy(update=drawn)
    tasks_and_steps = run_plan(_loaded(model), scene, task or None, tasks, sampling)
    if as_json:
        listed = [{"task": one.task, "steps": one.steps} for one in tasks_and_steps]
        print_json({"scene": scene, "plan": listed})
        return
    for planned in tasks_and_steps:
        show(planned.task)
        for index, step in enumerate(planned.steps, 1):
            show(f"  {index}. {step}")


@model_app.command()
def imagine(
    scene: Annotated[str, typer.Argument(help="Where it happens.")],
    out: Out = _OUT,
    task: Annotated[str, typer.Option(help="What is done first.")] = "",
    seconds: Annotated[float, typer.Option(help="Of motion, at least.")] = 60.0,
    model: Model = None,
    seed: Seed = 0,
    best_of: BestOf = None,
    as_json: Json = False,
) -> None:
    """Plan and move in a scene, for as long as is asked; the plan is written beside the motion."""
    from training.inference.long_motion import ImagineConfig  # noqa: PLC0415 - slow
    from training.inference.long_motion import imagine as run_imagine  # noqa: PLC0415

    seeded = {"seed": seed}
    usual = ImagineConfig()
    config = ImagineConfig(
        seconds=seconds,
        plan=usual.plan.model_copy(update=seeded),
        motion=_choosing(seed, usual.motion.temperature, best_of),
        between=usual.between.model_copy(update=seeded),
    )
    long = run_imagine(_loaded(model), scene, task or None, config)
    features = np.concatenate(list(long.features()))
    steps = [(span.start_s, span.end_s, span.step or "(in between)") for span in long.plan]
    _write(features, out, scene, steps, tell_file=not as_json)
    told = {
        "scene": scene,
        "plan": [asdict(span) for span in long.plan],
        "notes": long.notes,
    }
    beside = out.with_suffix(".plan.json")
    beside.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print_json({"motion": out, "plan_file": beside, "seconds": len(features) / FPS, **told})
        return
    for span in long.plan:
        show(f"{span.start_s:7.1f} s  {span.task}: {span.step or '(in between)'}")
    for note in long.notes:
        show(f"note: {note}")
    show(f"plan: {beside}")


@model_app.command()
def describe(
    file: Annotated[Path, typer.Argument(help="Motion: .npy of features or joints, or .bvh.")],
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Tell a motion of any length: steps, tasks, scene."""
    from training.inference.long_motion import describe as run_describe  # noqa: PLC0415

    story = run_describe(_loaded(model), _motions(file)[0])
    if as_json:
        print_json(story)
        return
    show(f"scene: {story.scene}")
    for task in story.tasks:
        show(f"{task.start_s:7.1f} s  {task.text}")
        for step in story.steps:
            if task.start_s <= step.start_s < task.end_s:
                show(f"{step.start_s:11.1f} s  {step.text}")


def _loaded(model: Path | None) -> Any:
    from training.inference.motion_model import load_motion_model  # noqa: PLC0415 - slow

    return load_motion_model(model or Settings().home / "train" / "models" / "latest")


def _refuse_idle_seed(seed: int, temperature: float) -> None:
    if seed and not temperature:
        needed = "a temperature above 0, at which something is drawn"
        refuse_idle("--seed", needed, "temperature 0", "give --temperature 1")


def _sampling(seed: int, temperature: float) -> Any:
    from training.language_model.generation import DRAWN  # noqa: PLC0415 - slow

    _refuse_idle_seed(seed, temperature)
    return DRAWN.model_copy(update={"temperature": temperature, "seed": seed})


def _choosing(seed: int, temperature: float, best_of: int | None) -> Any:
    """How motions of texts are drawn and chosen.

    Raises:
        ValueError: several are to be drawn at temperature 0.
    """
    from training.language_model.generation import CHOSEN, Sampling  # noqa: PLC0415 - slow

    _refuse_idle_seed(seed, temperature)
    usual = CHOSEN.best_of if temperature else 1
    values = {"temperature": temperature, "seed": seed, "best_of": best_of or usual}
    return Sampling.model_validate(CHOSEN.model_dump() | values)


def _motions(file: Path) -> list[NDArray[np.float32]]:
    """Features of the motions of a file.

    Raises:
        ValueError: it holds none that can be used.
    """
    from data.errors import ItemError  # noqa: PLC0415 - slow
    from data.importers.run import MotionImportConfig, prepare_motion  # noqa: PLC0415
    from data.importers.search import find_in  # noqa: PLC0415
    from data.importers.sources import find_motions  # noqa: PLC0415
    from data.motion.quality import MotionGates  # noqa: PLC0415
    from data.motion_records import Unforeseen  # noqa: PLC0415
    from data.records import Rejection  # noqa: PLC0415

    path = file.expanduser()
    # What is to be answered need not be fit to be learnt from: models' own motions often are not.
    any_motion = MotionGates(
        min_frames=2,
        max_root_speed_m_s=math.inf,
        max_joint_speed_m_s=math.inf,
        max_limb_drift=math.inf,
    )
    config = MotionImportConfig(
        sources=(str(path),), dataset=Path(), gates=any_motion, max_foot_skate_m_s=math.inf
    )
    found: list[NDArray[np.float32]] = []
    for item in find_in(path, find_motions):
        if isinstance(item, Unforeseen):
            raise item.error
        if isinstance(item, Rejection):
            raise ValueError(f"{path}: {item.detail} Remedy: {item.remedy}")
        try:
            found.append(np.asarray(prepare_motion(item.read(), config).features_TD, np.float32))
        except ItemError as error:
            raise ValueError(f"{path}: {error}") from error
    return found


def _write(
    features: NDArray[np.float32],
    out: Path,
    title: str,
    steps: Sequence[tuple[float, float, str]] = (),
    *,
    tell_file: bool = True,
) -> None:
    from annotators.pictures.stick_figure import draw_motion, save_moving, told_steps  # noqa: PLC0415
    from data.exporters import write_bvh, write_features, write_joints  # noqa: PLC0415
    from data.motion.features import features_to_joints  # noqa: PLC0415

    joints_TJ3 = features_to_joints(features)
    name = out.name.lower()
    if name.endswith(".joints.npy"):
        write_joints(out, joints_TJ3)
    elif name.endswith(".npy"):
        write_features(out, features)
    elif name.endswith(".bvh"):
        write_bvh(out, joints_TJ3)
    else:
        save_moving(draw_motion(joints_TJ3, title, steps or told_steps(joints_TJ3)), out)
    if tell_file:
        show(f"{out}: {len(features) / FPS:.1f} s")
