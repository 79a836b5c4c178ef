"""Residual codes by the residual decoder of the language model, and by a delay pattern.

Both ways have the T5 and the loop of the preset `small`, but a third of its batch and of its
warm-up. They learn text-to-motion alone, from the same batches, for the same processor minutes of
one thread each, both at a time. The delay pattern is benchmarks/support/delay.py. They answer the
same captions of the validation split, by which a way is chosen, and of the test split: several
motions for each caption, base codes drawn at temperature 0.7 and top-p 0.95, residual codes the
most likely ones, or drawn at 0.7 as well.

    .venv/bin/python benchmarks/residual_codes.py [--minutes 4] [--full] [--each 2]

With --full, each way trains for 10 minutes. The tokenizer (of benchmarks/reconstruction.py) and the
evaluator (of benchmarks/evaluators.py) are trained first, once, which takes six and nine minutes at
most.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.evaluators import trained as trained_evaluator  # noqa: E402
from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.mocap_dataset import ROOT as MOCAP  # noqa: E402
from benchmarks.reconstruction import QUICK_MINUTES  # noqa: E402
from benchmarks.reconstruction import trained as trained_tokenizer  # noqa: E402
from benchmarks.support.corpus import run_with_corpus  # noqa: E402
from benchmarks.support.delay import DelayLanguageModel, DelayLm  # noqa: E402
from benchmarks.tokenizer import Training  # noqa: E402
from data.motion.splits import Split  # noqa: E402
from data.presets import resolve  # noqa: E402
from evaluation.evaluators.loading import load_evaluator  # noqa: E402
from evaluation.metrics.protocol import ProtocolConfig  # noqa: E402
from evaluation.model_report.answers import answer_captions  # noqa: E402
from evaluation.model_report.judged_motions import Judge  # noqa: E402
from evaluation.model_report.material import Material, motion_codes  # noqa: E402
from evaluation.model_report.measures import activity_figures, measure, natural_figures  # noqa: E402
from training.inference.motion_model import Features, MotionModel  # noqa: E402
from training.instructions.mixture import Mixture, evenly  # noqa: E402
from training.instructions.tasks import Instruction, Task  # noqa: E402
from training.instructions.vocabulary import TextTokenizer  # noqa: E402
from training.language_model.batches import InstructionEncoder  # noqa: E402
from training.language_model.config import PRESETS, Sampling, TrainMotionLmConfig  # noqa: E402
from training.language_model.generation import MotionLanguageModel  # noqa: E402
from training.language_model.model import TOKENIZER_FILE, MotionLm, build_t5  # noqa: E402
from training.language_model.train import LmLearner, read_mixture, task_losses  # noqa: E402
from training.loop import LoopConfig, Ranks  # noqa: E402
from training.tokenizer.motion_tokenizer import load_tokenizer  # noqa: E402
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions  # noqa: E402

FOLDER: Final = CACHE / "residual-codes"
WAYS: Final = ("residual decoder", "delay pattern")
MINUTES: Final = 4.0
FULL_MINUTES: Final = 10.0
EVALUATOR_MINUTES: Final = 9.0
BATCH: Final = 20
WARM_UP: Final = 33
"""Both are a third of those of the preset, so that a short training has more steps."""
ITEMS: Final = 256
DRAWN: Final = Sampling(temperature=0.7, top_p=0.95)
RESIDUAL: Final = {"most likely": 0.0, "drawn": 0.7}
"""Temperatures of the residual codes."""
SPLITS: Final[tuple[Split, ...]] = ("val", "test")
JUDGED: Final = ("fid", "r_precision_3")
MEASURED: Final = ("activity", "foot_skate_m_s")
CPU: Final = torch.device("cpu")


def configured(tokenizer: Path) -> TrainMotionLmConfig:
    """Return the configuration: the preset `small` for text-to-motion alone, in short steps."""
    changes = {
        "run": FOLDER,
        "dataset": MOCAP,
        "tokenizer": tokenizer,
        "instructions": {"weights": {task: float(task is Task.T2M) for task in Task}},
        "model": {"attention_groups": 3},
        "loop": {"batch_size": BATCH, "warmup_steps": WARM_UP},
    }
    return resolve(TrainMotionLmConfig, PRESETS, "small", changes, CACHE)


def captioned(mixture: Mixture) -> list[Instruction]:
    """Return instructions of different motions, each with one of its captions, at even intervals.

    If there are fewer motions than items, motions have several captions.
    """
    rng = np.random.default_rng(0)
    found = mixture.all_of(Task.T2M)
    chosen = {found[index].source_id: index for index in rng.permutation(len(found)).tolist()}
    rest = rng.permutation([n for n in range(len(found)) if chosen[found[n].source_id] != n])
    more = rest[: max(0, ITEMS - len(chosen))].tolist()
    return [found[index] for index in evenly(sorted([*chosen.values(), *more]), ITEMS)]


class Captions:
    """Captions of a split with their real motions, and what measures motions of them."""

    def __init__(self, material: Material, asked: Sequence[Instruction], split: Split) -> None:
        self.asked = asked
        self.real = [material.real(one, split) for one in asked]
        self._wanted = [measure(motion).activity for motion in self.real]
        self._judge = Judge(
            load_evaluator(CACHE / "evaluator-contrastive"),
            ProtocolConfig(),
            [one.caption for one in asked],
            self.real,
        )

    def figures(self, samples: Sequence[Sequence[Features | None]]) -> dict[str, float]:
        """Return the figures of motions: one motion for each caption, or several."""
        flat = [measure(motion) for motions in samples for motion in motions]
        judged = [self._judge.figures([motions]) for motions in samples]
        found = {
            **activity_figures(flat, self._wanted * len(samples)),
            **natural_figures([one.natural for one in flat], 0),
        }
        return {
            **{name: float(np.mean([one[name].value for one in judged])) for name in JUDGED},
            **{name: found[name].value for name in MEASURED},
            "length_s": float(np.mean([one.length_s for one in flat])),
        }


def train(way: str, tokenizer_run: Path, minutes: float, each: int) -> dict[str, Any]:
    """Train a way for a number of processor minutes in this process, and measure it."""
    torch.set_num_threads(1)
    config = configured(tokenizer_run)
    tokenizer = load_tokenizer(config.tokenizer)
    learner = LmLearner(config, tokenizer)
    text = TextTokenizer(learner.files[TOKENIZER_FILE])
    model = learner.module
    assert isinstance(model, MotionLm)  # noqa: S101 - of every learner of this kind
    kind = MotionLanguageModel
    if way == WAYS[1]:
        torch.manual_seed(config.loop.seed)
        books = model.t5.shared
        t5 = build_t5(config.model, text.num_pieces)
        model = DelayLm(config.model, t5, books.codebook_KC, books.residual_RKC)
        kind = DelayLanguageModel
    ranks = Ranks(0, 1, CPU)

    def loop(steps: int) -> LoopConfig:
        return config.loop.model_copy(update={"steps": steps, "max_minutes": None})

    steps = Training(model, lambda step: learner.losses(model, step, 0, ranks)[0], loop).run(
        60 * minutes
    )
    weights = sum(part.numel() for part in model.parameters())
    answering = MotionModel(kind(model, text, tokenizer.tokenizer_id, CPU), tokenizer)
    encoder = InstructionEncoder(text, model.vocabulary, config.max_prompt, config.max_answer)
    material = Material(answering, config, tokenizer_run / "cache")
    splits: dict[str, Any] = {}
    for split in SPLITS:
        asked = captioned(read_mixture(config, tokenizer, split, Counter(), mirrored=False))
        captions = Captions(material, asked, split)
        accuracy = task_losses(model, encoder, {Task.T2M: encoder.fitting(asked)}, CPU)
        rows: dict[str, dict[str, float]] = {
            "accuracy": {name: round(value, 4) for name, value in accuracy.items()}
        }
        if way == WAYS[0]:
            rows["real"] = captions.figures([captions.real])
            decoded = [answering.decode(motion_codes(one)) for one in asked]
            rows["round trip"] = captions.figures([decoded])
        for name, temperature in RESIDUAL.items():
            samples = [
                answer_captions(
                    answering,
                    asked,
                    DRAWN.model_copy(update={"residual_temperature": temperature, "seed": seed}),
                ).motions
                for seed in range(each)
            ]
            rows[name] = captions.figures(samples)
        splits[split] = {"motions": len({one.source_id for one in asked}), **rows}
    return {"steps": steps, "weights": weights, **splits}


def both(tokenizer_run: Path, minutes: float, each: int) -> dict[str, dict[str, Any]]:
    """Train and measure both ways at the same time, each in a process with one thread."""
    running: dict[str, subprocess.Popen[str]] = {}
    for way in WAYS:
        command = [sys.executable, str(Path(__file__)), "--way", way, "--minutes", f"{minutes}"]
        command += ["--tokenizer", str(tokenizer_run), "--each", str(each)]
        running[way] = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    found: dict[str, dict[str, Any]] = {}
    for way, process in running.items():
        told, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{way}: the training ended with {process.returncode}")
        found[way] = json.loads(told.splitlines()[-1])
    return found


def table(found: dict[str, dict[str, Any]], split: Split) -> None:
    """Print the figures of a split."""
    print(f"\n| {split} | FID | R-precision@3 | right activity | foot skate, m/s | length, s |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, one in found.items():
        for name, row in one[split].items():
            if name not in ("accuracy", "motions"):
                cells = " | ".join(
                    f"{row[shown]:.3f}" for shown in (*JUDGED, *MEASURED, "length_s")
                )
                print(f"| {way}, {name} | {cells} |")


def main() -> None:
    """Train both ways, measure them, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, help="processor minutes of each way")
    parser.add_argument("--full", action="store_true", help="train for 10 minutes")
    parser.add_argument("--each", type=int, default=2, help="motions for each caption")
    parser.add_argument("--way", help="train this way only, in this process")
    parser.add_argument("--tokenizer", type=Path, help="run of the tokenizer of --way")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (FULL_MINUTES if arguments.full else MINUTES)
    if arguments.way is not None:
        print(json.dumps(train(arguments.way, arguments.tokenizer, minutes, arguments.each)))
        return
    mocap = mocap_dataset()
    tokenizer_run = trained_tokenizer("small", mocap, QUICK_MINUTES).run
    tokenize_motions(TokenizeConfig(dataset=mocap, tokenizer=tokenizer_run))
    trained_evaluator("contrastive", mocap, EVALUATOR_MINUTES)
    # This trains the text tokenizer, which both ways read.
    LmLearner(configured(tokenizer_run), load_tokenizer(tokenizer_run))
    found = both(tokenizer_run, minutes, arguments.each)
    for split in SPLITS:
        table(found, split)
    decoder, delay = ([found[way]["val"][name] for name in RESIDUAL] for way in WAYS)
    # The decoder stays unless the delay pattern is better in both.
    targets = {
        "val_fid": min(row["fid"] for row in delay),
        "val_activity": max(row["activity"] for row in delay),
    }
    figures = {
        "val_fid": min(row["fid"] for row in decoder),
        "val_activity": max(row["activity"] for row in decoder),
        **found,
    }
    ok = figures["val_fid"] <= targets["val_fid"] or (
        figures["val_activity"] >= targets["val_activity"]
    )
    print(json.dumps({"name": "residual_codes", "figures": figures, "targets": targets, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
