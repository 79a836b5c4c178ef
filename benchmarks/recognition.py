"""Recognition accuracy of text to motion: a classifier names what real and generated motions show.

The classifier is independent of the model, of what chooses among its samples and of the describer
(benchmarks/support/recognizer.py). It names the first label of a motion, such as
`raise-up-left-hand`, among those that at least ten motions of a source have. Captions are of the
test split, whose contents and styles occur together in no training motion. Rows:

- real, round trip: the motions of the captions, and what the tokenizer makes of them.
- copied: the training motion with the nearest caption.
- one sample: of the caption alone, at the default temperature.
- best, caption alone: the best of the default number of samples, as it is chosen.
- default: what `avatargpt t2m` gives; the plain form of the caption has a say as well.

    .venv/bin/python benchmarks/recognition.py MODEL [--dataset DIR] [--source NAME] [--items 128]

MODEL is a folder that `train-all` wrote; --dataset is the place of its training dataset, if it was
moved. It took eleven minutes on one of two cores, with other work on both.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.support.recognizer import Labeled, Recognizer  # noqa: E402
from data.store.dataset import Dataset  # noqa: E402
from evaluation.chooser import load_judged_model  # noqa: E402
from evaluation.metrics.intervals import wilson  # noqa: E402
from evaluation.model_report.answers import answer_captions  # noqa: E402
from evaluation.model_report.evaluate import training_of  # noqa: E402
from evaluation.model_report.material import Material, motion_codes  # noqa: E402
from training.checkpoints import CheckpointError  # noqa: E402
from training.inference.motion_model import Features, MotionModel  # noqa: E402
from training.instructions.mixture import evenly  # noqa: E402
from training.instructions.tasks import Instruction, Task  # noqa: E402
from training.language_model.config import CHOSEN, Sampling  # noqa: E402

TARGET: Final = 0.95
"""Of the accuracy of real motions."""
MIN_MOTIONS: Final = 10
"""Minimum number of motions of a label."""
SAMPLINGS: Final[dict[str, Sampling]] = {
    "one sample": CHOSEN.model_copy(update={"plain": 0.0, "best_of": 1}),
    "best, caption alone": CHOSEN.model_copy(update={"plain": 0.0}),
    "default": CHOSEN,
}
"""How the model answers, by the name of the row."""


def labeled(material: Material, source: str) -> dict[str, Labeled]:
    """Return the motions of a source, and their mirror images, with a common label, by id."""
    columns = ["motion_id", "labels", "group", "mirrored_of"]
    dataset = Dataset(material.training.dataset)
    rows = {row["motion_id"]: row for row in dataset.rows("motions", columns)}
    found = {
        motion_id: Labeled(
            name=rows[motion_id]["mirrored_of"] or motion_id,
            label=rows[motion_id]["labels"][0],
            group=rows[motion_id]["group"],
            features=np.asarray(motions.motion(place)),
        )
        for motions in material.data.splits.values()
        for place, motion_id in enumerate(motions.ids)
        if motions.sources[place] == source and len(rows[motion_id]["labels"])
    }
    counts = Counter(one.label for one in found.values())
    return {name: one for name, one in found.items() if counts[one.label] >= MIN_MOTIONS}


def rows_of(
    model: MotionModel, material: Material, asked: Sequence[Instruction]
) -> dict[str, Sequence[Features | None]]:
    """Return the motions of each row, in the order of the instructions."""
    near = material.nearest_by_text(Task.T2M, asked, seed=0)
    rows: dict[str, Sequence[Features | None]] = {
        "real": [material.real(one) for one in asked],
        "round trip": [model.decode(motion_codes(one)) for one in asked],
        "copied": [material.real(one, "train") for one in near],
    }
    for row, sampling in SAMPLINGS.items():
        rows[row] = answer_captions(model, asked, sampling).motions
    return rows


def measured(
    rows: Mapping[str, Sequence[Features | None]],
    recordings: Sequence[str],
    wanted: Sequence[str],
    judge: Recognizer,
) -> dict[str, float]:
    """Return the share of motions of each row that are named right, and print it.

    Real motions and their round trips are judged by the network that did not see the recording.
    """
    figures: dict[str, float] = {}
    for row, motions in rows.items():
        seen = recordings if row in ("real", "round trip") else [None] * len(motions)
        found = judge.names(motions, seen)
        right = sum(one == label for one, label in zip(found, wanted, strict=True))
        share = wilson(right, len(wanted))
        print(f"| {row} | {share.value:.3f} ({share.low:.3f} to {share.high:.3f}) |", flush=True)
        figures[row] = round(share.value, 3)
    return figures


def main() -> None:
    """Train the classifier, let the model answer, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a model")
    parser.add_argument("--dataset", type=Path, help="place of its training dataset, if it moved")
    parser.add_argument("--source", default="bandai-namco", help="source of the motions")
    parser.add_argument("--items", type=int, default=128, help="number of captions")
    arguments = parser.parse_args()
    try:
        model = load_judged_model(arguments.model)
        training = training_of(arguments.model, arguments.dataset)
    except (CheckpointError, ValueError) as error:
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as cache:
        material = Material(model, training, Path(cache))
        motions = labeled(material, arguments.source)
        captioned = material.captioned(10**9, seed=0)
        asked = evenly([o for o in captioned if o.source_id in motions], arguments.items)
        if not asked:
            sys.exit(
                f"--source: expected a source with labels that {MIN_MOTIONS} motions have, found "
                f"no such test motion of {arguments.source}. Remedy: name another source."
            )
        names = [one.source_id for one in asked]
        figures = measured(
            rows_of(model, material, asked),
            names,
            [motions[name].label for name in names],
            Recognizer(list(motions.values())),
        )
    targets = {"default_of_real": TARGET}
    figures["default_of_real"] = round(figures["default"] / figures["real"], 3)
    ok = figures["default_of_real"] >= TARGET
    print(json.dumps({"name": "recognition", "figures": figures, "targets": targets, "ok": ok}))


if __name__ == "__main__":
    main()
