"""Instructions per second of language-model training, against padding in transformers' own T5.

The instructions come from real plans and synthetic motions; all variants run the same steps with
the same weights. The published way pads each prompt and answer to 256 ids and computes its heads at
every position. The fair way splits a step into the same groups of similar lengths as ours, pads
each group to its longest row, and computes its heads only at positions that have a label. Processor
seconds of one thread are compared, because other work on the machine affects them less.

    .venv/bin/python benchmarks/train_lm.py [--steps 10] [--size tiny|small|flan-small]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mocap_dataset import CACHE  # noqa: E402
from benchmarks.support.corpus import TEXT, need_corpus, run_with_corpus  # noqa: E402
from benchmarks.support.published import (  # noqa: E402
    as_it_comes,
    padded,
    padded_losses,
    said_losses,
)
from data.importers.run import MotionImportConfig, import_motions  # noqa: E402
from data.presets import resolve  # noqa: E402
from training.language_model.batches import cheapest_groups  # noqa: E402
from training.language_model.config import PRESETS as LM_PRESETS  # noqa: E402
from training.language_model.config import TrainMotionLmConfig  # noqa: E402
from training.language_model.model import MotionLm  # noqa: E402
from training.language_model.train import LmLearner  # noqa: E402
from training.loop import Ranks  # noqa: E402
from training.tokenizer.motion_tokenizer import load_tokenizer  # noqa: E402
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions  # noqa: E402
from training.tokenizer.train import PRESETS as VQVAE_PRESETS  # noqa: E402
from training.tokenizer.train import TrainMotionVqvaeConfig, train_motion_vqvae  # noqa: E402

PADDED: Final = 256
TARGETS: Final = {"speed_ratio": 4.0, "grouped_ratio": 1.3}
FLAN_SMALL: Final = {"width": 512, "ff_width": 1024, "layers": 8, "heads": 8, "dropout": 0.0}


def learner(size: str) -> LmLearner:
    """Make a model of a size, on synthetic motions and plans tokenized by a tiny tokenizer."""
    need_corpus()
    root = CACHE / "train-lm"
    plans = TEXT / "virtualhome_task_steps.json"
    import_motions(MotionImportConfig(sources=("procedural:60", str(plans)), dataset=root))
    tokenizer = CACHE / "train-lm-vqvae"
    changes: dict[str, Any] = {"run": tokenizer, "data": {"dataset": root}}
    changes["loop"] = {"steps": 40, "validate_every": 40}
    train_motion_vqvae(resolve(TrainMotionVqvaeConfig, VQVAE_PRESETS, "tiny", changes, CACHE))
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=tokenizer))
    changes = {"run": CACHE / f"train-lm-run-{size}", "dataset": root, "tokenizer": tokenizer}
    if size == "flan-small":
        changes["model"] = {"scratch": FLAN_SMALL}
    preset = "tiny" if size == "tiny" else "small"
    config = resolve(TrainMotionLmConfig, LM_PRESETS, preset, changes, CACHE)
    return LmLearner(config, load_tokenizer(config.tokenizer))


def main() -> None:
    """Measure in turns, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", choices=("tiny", "small", "flan-small"), default="small")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    taught = learner(arguments.size)
    model = taught.module.train()
    ranks = Ranks(0, 1, torch.device("cpu"))
    loop = taught.loop
    assert isinstance(model, MotionLm)  # noqa: S101 - the learner's
    plain, fair = as_it_comes(model), as_it_comes(model, "eager")  # eager is faster than SDPA here
    optimizers = {
        name: torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
        for name, module in (("published", plain), ("grouped", fair), ("ours", model))
    }

    def ours(step: int) -> None:
        for part in range(loop.accumulate):
            (taught.losses(model, step, part, ranks)[0] / loop.accumulate).backward()

    def published(step: int) -> None:
        batch = padded(plain, taught.rows_of(step), PADDED)
        padded_losses(plain, batch).mean().backward()

    def grouped(step: int) -> None:
        rows = taught.rows_of(step)
        for group in cheapest_groups(rows, model.config.attention_groups):
            (said_losses(fair, padded(fair, group)).sum() / len(rows)).backward()

    ways: dict[str, Callable[[int], None]] = {
        "published": published,
        "grouped": grouped,
        "ours": ours,
    }
    seconds = dict.fromkeys(ways, 0.0)
    for step in range(arguments.steps + 1):
        for name, way in ways.items():
            begin = time.process_time()
            way(step)
            optimizers[name].step()
            optimizers[name].zero_grad(set_to_none=True)
            if step:  # the first of each warms up
                seconds[name] += time.process_time() - begin
    # Steps differ in what they hold: all of them together are compared.
    for name, taken in seconds.items():
        print(f"{name:10} {arguments.steps * loop.batch_size / taken:7.1f} instructions/s")
    figures = {
        "speed_ratio": round(seconds["published"] / seconds["ours"], 2),
        "grouped_ratio": round(seconds["grouped"] / seconds["ours"], 2),
    }
    ok = all(figures[name] >= target for name, target in TARGETS.items())
    print(json.dumps({"name": "train_lm", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
