"""Commands that run a trained model."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from data.motion.skeleton import FPS
from flows.commands.options import Json, folder_for, in_folder, print_json, refuse_idle, show
from flows.commands.pages import LOOPBACK, Body, Host, OpenPage, Port, serve_page
from flows.settings import Settings, asset_path

model_app = typer.Typer()

Model = Annotated[
    Path | None,
    typer.Option(
        help="Model folder; defaults to AVATARGPT_HOME/train/models/latest.", callback=in_folder
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        help="Output file: .npy (features), .joints.npy, .bvh or .glb (for Blender), .gif or .mp4.",
        callback=folder_for,
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of the sampling.")]
Temperature = Annotated[float, typer.Option(help="Sampling temperature; 0 means greedy decoding.")]
BestOf = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of motions sampled, of which one is kept: for a text, the one that shows most "
        "of what it claims, and that the model would most likely describe so; between two motions, "
        "the one after which the second is most likely. Defaults to 8 for a text and 4 between two "
        "motions, or to 1 at temperature 0.",
    ),
]
Chooser = Annotated[
    Path | None,
    typer.Option(
        help="Run folder of train-evaluator, whose network helps to choose among the motions of a "
        "text.",
        callback=in_folder,
    ),
]
_OUT: Final = Path("motion.gif")


@model_app.command()
def t2m(
    text: Annotated[
        str, typer.Argument(help="Description of the motion, such as 'a person kicks'.")
    ],
    out: Out = _OUT,
    seconds: Annotated[
        float, typer.Option(help="Length of the motion; 0 lets the model decide.")
    ] = 0.0,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    best_of: BestOf = None,
    chooser: Chooser = None,
) -> None:
    """Generate a motion from a text."""
    sampling = _best_of_sampling(seed, temperature, best_of)
    (features,) = _loaded(model, chooser).text_to_motion([text], seconds or None, sampling)
    _write(features, out, text)


@model_app.command()
def m2t(
    file: Annotated[Path, typer.Argument(help="Motion file: .npy (features or joints) or .bvh.")],
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Describe a motion in one sentence."""
    motions = _motions(file)
    texts = _loaded(model).motion_to_text(motions)
    if as_json:
        print_json({"file": file, "texts": texts})
        return
    for text in texts:
        show(text)


@model_app.command()
def inbetween(
    head: Annotated[Path, typer.Argument(help="Motion file of the beginning.")],
    tail: Annotated[Path, typer.Argument(help="Motion file of the ending.")],
    out: Out = _OUT,
    seconds: Annotated[
        float, typer.Option(help="Length of the middle; 0 lets the model decide.")
    ] = 0.0,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    best_of: BestOf = None,
) -> None:
    """Generate the motion between two motions."""
    sampling = _best_of_sampling(seed, temperature, best_of, between=True)
    ends = _motions(head)[0], _motions(tail)[0]
    features = _loaded(model).in_between(*ends, seconds or None, sampling)
    _write(features, out, f"{head.name} to {tail.name}")


@model_app.command()
def predict(
    file: Annotated[Path, typer.Argument(help="Motion file of the beginning.")],
    out: Out = _OUT,
    seconds: Annotated[
        float, typer.Option(help="Length of the continuation; 0 lets the model decide.")
    ] = 0.0,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
) -> None:
    """Continue a motion."""
    features = _loaded(model).predict(
        _motions(file)[0], seconds or None, _sampling(seed, temperature)
    )
    _write(features, out, f"after {file.name}")


@model_app.command()
def plan(
    scene: Annotated[str, typer.Argument(help="Description of the scene, such as 'a kitchen'.")],
    task: Annotated[str, typer.Option(help="First task; by default the model chooses one.")] = "",
    tasks: Annotated[int, typer.Option(help="Number of tasks.")] = 3,
    model: Model = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    as_json: Json = False,
) -> None:
    """Plan the next tasks in a scene, with the steps of each."""
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
    scene: Annotated[str, typer.Argument(help="Description of the scene, such as 'a kitchen'.")],
    out: Out = _OUT,
    task: Annotated[str, typer.Option(help="First task; by default the model chooses one.")] = "",
    seconds: Annotated[float, typer.Option(help="Minimum length of the motion.")] = 60.0,
    model: Model = None,
    seed: Seed = 0,
    best_of: BestOf = None,
    chooser: Chooser = None,
    as_json: Json = False,
) -> None:
    """Plan tasks in a scene and generate their motion; the plan is written next to the motion."""
    from training.inference.long_motion import ImagineConfig  # noqa: PLC0415 - slow
    from training.inference.long_motion import imagine as run_imagine  # noqa: PLC0415

    seeded = {"seed": seed}
    usual = ImagineConfig()
    config = ImagineConfig(
        seconds=seconds,
        plan=usual.plan.model_copy(update=seeded),
        motion=_best_of_sampling(seed, usual.motion.temperature, best_of),
        between=usual.between.model_copy(update=seeded),
    )
    long = run_imagine(_loaded(model, chooser), scene, task or None, config)
    features = np.concatenate(list(long.features()))
    steps = [(span.start_s, span.end_s, span.step or "(in between)") for span in long.plan]
    _write(features, out, scene, steps, print_file=not as_json)
    story = {
        "scene": scene,
        "plan": [asdict(span) for span in long.plan],
        "notes": long.notes,
    }
    plan_file = out.with_suffix(".plan.json")
    plan_file.write_text(json.dumps(story, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print_json({"motion": out, "plan_file": plan_file, "seconds": len(features) / FPS, **story})
        return
    for span in long.plan:
        show(f"{span.start_s:7.1f} s  {span.task}: {span.step or '(in between)'}")
    for note in long.notes:
        show(f"note: {note}")
    show(f"plan: {plan_file}")


@model_app.command()
def describe(
    file: Annotated[Path, typer.Argument(help="Motion file: .npy (features or joints) or .bvh.")],
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Describe a motion of any length as steps, tasks and a scene."""
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


@model_app.command()
def play(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="Model folder; defaults to AVATARGPT_HOME/train/models/latest.", callback=in_folder
        ),
    ] = None,
    port: Port = 8766,
    host: Host = LOOPBACK,
    body: Body = False,
    open_page: OpenPage = True,
) -> None:
    """Open a page to play with a model: sentences and scenes become motion; Ctrl-C ends it."""
    from browser.playground.app import PlayConfig, create_play_app  # noqa: PLC0415 - slow
    from browser.playground.studio import check_model_folder  # noqa: PLC0415
    from evaluation.chooser import load_judged_model  # noqa: PLC0415

    folder = _folder(model)
    check_model_folder(folder)
    three = asset_path("three")
    shape = asset_path("body") if body else None
    load = partial(load_judged_model, sentence_encoder=_encoder(folder))
    serve_page(
        lambda access: create_play_app(PlayConfig(folder, three, access, shape), load),
        *(host, port, str(folder)),
        open_page=open_page,
    )


def _folder(model: Path | None) -> Path:
    return (model or Settings().home / "train" / "models" / "latest").expanduser()


def _loaded(model: Path | None, chooser: Path | None = None) -> Any:
    from evaluation.chooser import load_judged_model  # noqa: PLC0415 - slow

    folder = _folder(model)
    encoder = _encoder(folder) if chooser is None else None
    return load_judged_model(folder, chooser, sentence_encoder=encoder)


def _encoder(folder: Path) -> Path | None:
    """Return the sentence encoder of a model's own chooser, fetched at the first use."""
    from training.inference.motion_model import chooser_of  # noqa: PLC0415 - slow

    return None if chooser_of(folder) is None else asset_path("sentence_encoder")


def _refuse_idle_seed(seed: int, temperature: float) -> None:
    if seed and not temperature:
        needed = "a temperature above 0"
        refuse_idle("--seed", needed, "temperature 0", "give --temperature 1")


def _sampling(seed: int, temperature: float) -> Any:
    from training.language_model.config import DRAWN  # noqa: PLC0415 - slow

    _refuse_idle_seed(seed, temperature)
    return DRAWN.model_copy(update={"temperature": temperature, "seed": seed})


def _best_of_sampling(
    seed: int, temperature: float, best_of: int | None, *, between: bool = False
) -> Any:
    """Return the sampling of motions from texts, and of those between two motions.

    Raises:
        ValueError: ``best_of`` is above 1 at temperature 0.
    """
    from training.language_model.config import BETWEEN, CHOSEN, Sampling  # noqa: PLC0415 - slow

    _refuse_idle_seed(seed, temperature)
    usual = BETWEEN if between else CHOSEN
    each = best_of or (usual.best_of if temperature else 1)
    values = {"temperature": temperature, "seed": seed, "best_of": each}
    return Sampling.model_validate(usual.model_dump() | values)


def _motions(file: Path) -> list[NDArray[np.float32]]:
    """Read the features, (T, 263) each, of the motions in a file.

    Raises:
        ValueError: the file holds no usable motion.
    """
    from data.errors import ItemError  # noqa: PLC0415 - slow
    from data.importers.run import MotionImportConfig, prepare_motion  # noqa: PLC0415
    from data.importers.search import find_in  # noqa: PLC0415
    from data.importers.sources import find_motions  # noqa: PLC0415
    from data.motion.quality import MotionGates  # noqa: PLC0415
    from data.motion_records import Unforeseen  # noqa: PLC0415
    from data.records import Rejection  # noqa: PLC0415

    path = file.expanduser()
    # Inference accepts motions that training would reject, such as generated ones.
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
    print_file: bool = True,
) -> None:
    from annotators.pictures.motion_files import write_motion  # noqa: PLC0415 - slow

    write_motion(out, features, title, steps)
    if print_file:
        show(f"{out}: {len(features) / FPS:.1f} s")
