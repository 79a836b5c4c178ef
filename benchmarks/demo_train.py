"""Quality of the model of `make demo-train`: ten seeds for each of a few texts.

None of the texts occurs word for word in the training texts. The describer judges the motions,
which are also drawn for inspection. One model answers in three ways:

- chosen: the default of `avatargpt t2m`: temperature 0.7, and the model chooses the best of four.
- drawn: one sample at temperature 1.
- greedy: the most likely answer. It does not depend on the seed, so there is one answer.

    .venv/bin/python benchmarks/demo_train.py [--model DIR] [--sheets DIR]

Without --model, the script runs `make demo-train` in a new home folder and reports its minutes.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from annotators.grounding.chosen import motion_support  # noqa: E402
from annotators.grounding.plain import plain_text  # noqa: E402
from annotators.motion.describe import describe_motion  # noqa: E402
from annotators.pictures.stick_figure import draw_strip, save_sheet  # noqa: E402
from data.motion.features import features_to_joints  # noqa: E402
from data.store.dataset import Dataset  # noqa: E402
from training.checkpoints import read_checkpoint  # noqa: E402
from training.inference.motion_model import MotionModel, load_motion_model  # noqa: E402
from training.language_model.config import (  # noqa: E402
    CHOSEN,
    DRAWN,
    KIND,
    Sampling,
)
from training.language_model.generation import MAX_MOTION  # noqa: E402

SEEDS: Final = 10
RIGHT: Final = 9
"""Minimum number of right answers of ten seeds for each text."""
MINUTES: Final = 6.0
ASKED: Final[Mapping[str, tuple[str, str]]] = {
    "a person waves with the right hand": ("wave", "right"),
    "a person jumps": ("jump", ""),
    "a person waves with the left hand": ("wave", "left"),
    "a person claps": ("clap", ""),
}
"""Each text with the kind and side of the event that must be found; an empty side means any."""
WAYS: Final[Mapping[str, Sampling]] = {"chosen": CHOSEN, "drawn": DRAWN, "greedy": Sampling()}


def shows(joints_TJ3: NDArray[np.floating], kind: str, side: str) -> bool:
    """Return whether an event of the kind is found, and if a side is given, only on that side."""
    events = describe_motion(joints_TJ3).events
    sides = {event.side for event in events if event.kind == kind}
    return bool(sides) if not side else sides == {side}


def measure(model: MotionModel, text: str, sheets: Path | None) -> dict[str, dict[str, int]]:
    """Count for each way the answers, the right ones, and those that end with the end token."""
    figures: dict[str, dict[str, int]] = {}
    for way, sampling in WAYS.items():
        seeds = range(SEEDS if sampling.temperature else 1)
        made = [
            model.text_to_codes([text], None, sampling.model_copy(update={"seed": seed}))[0]
            for seed in seeds
        ]
        joints = [features_to_joints(model.decode(codes)) for codes in made]
        right = [shows(joints_TJ3, *ASKED[text]) for joints_TJ3 in joints]
        figures[way] = {
            "of": len(made),
            "right": sum(right),
            "ended": sum(len(codes) < MAX_MOTION for codes in made),
        }
        if sheets is not None and way == "chosen":
            strips = [
                draw_strip(joints_TJ3, f"seed {seed}: {text}")
                for seed, joints_TJ3 in zip(seeds, joints, strict=True)
            ]
            save_sheet(strips, sheets / f"{text.replace(' ', '_')}.png")
    return figures


def verbatim(model_folder: Path) -> list[str]:
    """Return the texts that are in the training texts of the language model word for word."""
    dataset = read_checkpoint(model_folder / "lm", KIND).data["dataset"]
    rows = Dataset(Path(dataset)).read("motions", ("texts",)).to_pylist()
    known = {text["text"].casefold() for row in rows for text in row["texts"] or ()}
    return [text for text in ASKED if text in known]


def trained(home: Path) -> tuple[Path, dict[str, float]]:
    """Run `make demo` and `make demo-train`; return the model and the time of the latter."""
    environment = {**os.environ, "AVATARGPT_HOME": str(home)}

    def make(target: str) -> None:
        command = [str(shutil.which("make")), target]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)

    make("demo")
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    make("demo-train")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = {
        "minutes": round((time.monotonic() - begin) / 60, 2),
        "cpu_minutes": round(used_s / 60, 2),
    }
    return home / "train-demo/models/latest", took


def main() -> None:
    """Train the model, generate, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model folder, instead of training")
    parser.add_argument("--sheets", type=Path, help="folder for pictures of the chosen motions")
    arguments = parser.parse_args()
    if arguments.sheets is not None:
        arguments.sheets.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        took: dict[str, float] = {}
        folder: Path | None = arguments.model
        if folder is None:
            folder, took = trained(Path(home))
        model = load_motion_model(folder, judge=motion_support, plain=plain_text)
        known = verbatim(folder)
        found = {text: measure(model, text, arguments.sheets) for text in ASKED}
    print(f"| {SEEDS} seeds: right (ended) | {' | '.join(WAYS)} |")
    print("|---|---:|---:|---:|")
    for text, ways in found.items():
        cells = (f"{way['right']} of {way['of']} ({way['ended']})" for way in ways.values())
        print(f"| {text} | {' | '.join(cells)} |")
    targets: dict[str, float] = dict.fromkeys(ASKED, RIGHT)
    ok = not known and all(ways["chosen"]["right"] >= RIGHT for ways in found.values())
    if took:
        targets["minutes"] = MINUTES
        ok = ok and took["minutes"] <= MINUTES
    figures = {**found, **took, "verbatim_in_training": known}
    print(json.dumps({"name": "demo_train", "figures": figures, "targets": targets, "ok": ok}))


if __name__ == "__main__":
    main()
