"""The tokenizer's recipe against MoMask's, at equal parameters and equal processor minutes.

All have the network and the codebooks of the preset `small`, its batches of windows of the
same motions, and one thread; two train at a time. MoMask's recipe is written anew
(benchmarks/support/momask.py). It runs with its own schedule, scaled to the steps that fit into the
time, and with ours. Errors are those of whole motions of the test split of CMU and Bandai-Namco.

    .venv/bin/python benchmarks/tokenizer.py [--minutes 6] [--full]

With --full, our recipe without one of its parts at a time is trained too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.mocap_dataset import ROOT as MOCAP  # noqa: E402
from benchmarks.support.corpus import run_with_corpus  # noqa: E402
from benchmarks.support.momask import EMPHASIS, MoMaskTokenizer, published_schedule  # noqa: E402
from benchmarks.support.rebuilt import Rebuild, measured  # noqa: E402
from data.motion.normalization import FeatureStats  # noqa: E402
from data.presets import resolve  # noqa: E402
from training.loop import LoopConfig, Ranks  # noqa: E402
from training.tokenizer.train import PRESETS, TrainMotionVqvaeConfig, VqvaeLearner  # noqa: E402
from training.tokenizer.windows import MotionDataConfig, PreparedData, Windows, prepare_data  # noqa: E402

PREPARED: Final = CACHE / "tokenizer" / "data"
MINUTES: Final = 6.0
PRESET: Final = "small"
TARGETS: Final = {"gain_percent": 5.0}
WARM_STEPS: Final = 10
GUESSED_STEPS: Final = 1000
PUBLISHED: Final = ("momask", "momask, our schedule")
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ours": {},
    "without the linear path": {"model.linear_path": False},
    "without the loss on drift": {"model.drift_weight": 0.0},
    "without losses on steps": {"model.step_weight": 0.0, "model.contact_weight": 0.0},
    "losses on steps weighted by 1": {"model.step_weight": 1.0},
    "published weight of positions": {"model.position_weight": 0.5},
    "without emphasis on the root": {"root_emphasis": 1.0},
    "without balance": {"balance": 0.0},
    "resets below 1 use a batch": {"model.quantizer.reset_below": 1.0},
    "codes drawn at temperature 0.5": {"model.quantizer.temperature": 0.5},
    "all codebooks in each step": {"model.quantizer.quantizer_dropout": 0.0},
    "six codebooks": {"model.quantizer.num_quantizers": 6},
    "codebooks of latents alone": {"model.quantizer.mixing": 0.0},
    "code vectors of 128 dimensions": {"model.quantizer.code_dim": 128},
}


class Training:
    """A training with one thread, for a number of processor seconds.

    Args:
        module: network.
        loss: returns the loss of a step.
        loop: returns optimizer and schedule of a training of a number of steps.
    """

    def __init__(
        self, module: nn.Module, loss: Callable[[int], Tensor], loop: Callable[[int], LoopConfig]
    ) -> None:
        self._module, self._loss, self._loop = module, loss, loop

    def run(self, seconds: float) -> int:
        """Train, and return the number of steps that fitted into the processor seconds."""
        optimizer = torch.optim.AdamW(
            self._module.parameters(), betas=self._loop(1).betas, fused=True
        )
        self._module.train()
        begin = time.process_time()
        step, of = 0, GUESSED_STEPS
        while (used := time.process_time() - begin) < seconds:
            if step >= WARM_STEPS:
                # The schedule ends when the time does, whatever a step takes by then.
                of = max(step + 1, round(step * seconds / used))
            loop = self._loop(of)
            for group in optimizer.param_groups:
                group["lr"] = loop.rate_at(step)
            torch.manual_seed(step)
            optimizer.zero_grad(set_to_none=True)
            self._loss(step).backward()
            if loop.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._module.parameters(), loop.clip_norm)
            optimizer.step()
            step += 1
        return step


def build(way: str, data: PreparedData, config: TrainMotionVqvaeConfig) -> tuple[Training, Rebuild]:
    """Return a new training of a way, and what rebuilds a motion by its network."""

    def ours(steps: int) -> LoopConfig:
        return config.loop.model_copy(update={"steps": steps})

    if way in VARIANTS:
        learner = VqvaeLearner(config, data)
        model = learner.module
        ranks = Ranks(0, 1, torch.device("cpu"))
        training = Training(model, lambda step: learner.losses(model, step, 0, ranks)[0], ours)
        stats = data.stats.emphasized(config.root_emphasis)
        return training, rebuilder(model, stats, lambda x: model(x).features_BTD)
    torch.manual_seed(config.loop.seed)
    sizes = config.model.quantizer
    network = MoMaskTokenizer(
        config.model.width,
        config.model.depth,
        sizes.code_dim,
        sizes.num_codes,
        sizes.num_quantizers,
    )
    stats = data.stats.emphasized(EMPHASIS)
    windows = Windows(data.splits["train"], config.window)

    def loss(step: int) -> Tensor:
        rows = windows.draw(config.loop.seed, step, config.loop.batch_size)
        return network.loss(stats.normalize(torch.from_numpy(windows.take(rows))))

    schedule = published_schedule if way == PUBLISHED[0] else ours
    return Training(network, loss, schedule), rebuilder(network, stats, lambda x: network(x)[0])


def rebuilder(
    module: nn.Module, stats: FeatureStats, network: Callable[[Tensor], Tensor]
) -> Rebuild:
    """Return what encodes and decodes the features of one motion, (T, D)."""

    def rebuild(features: NDArray[np.float32]) -> NDArray[np.float32]:
        module.eval()
        with torch.no_grad():
            made = network(stats.normalize(torch.from_numpy(features))[None])[0]
        return stats.denormalize(made).numpy()

    return rebuild


def train(way: str, minutes: float) -> dict[str, Any]:
    """Train a way for a number of processor minutes in this process, and measure it.

    The dataset must be prepared: of two processes that open it for an import, one is refused.
    """
    torch.set_num_threads(1)
    changes = {"run": CACHE / "tokenizer", "data": {"dataset": MOCAP}}
    config = resolve(TrainMotionVqvaeConfig, PRESETS, PRESET, changes, CACHE)
    config = resolve_variant(config, VARIANTS.get(way, {}))
    data = prepare_data(config.data, PREPARED)
    training, rebuild = build(way, data, config)
    steps = training.run(60 * minutes)
    return {
        "steps": steps,
        **measured(rebuild, data.splits["test"]),
    }


def resolve_variant(
    config: TrainMotionVqvaeConfig, changes: Mapping[str, Any]
) -> TrainMotionVqvaeConfig:
    """Return the configuration with fields changed, by dotted name."""
    values = config.model_dump(mode="json")
    for name, value in changes.items():
        *parts, last = name.split(".")
        inner = values
        for part in parts:
            inner = inner[part]
        inner[last] = value
    return TrainMotionVqvaeConfig.model_validate(values)


def together(ways: list[str], minutes: float) -> dict[str, dict[str, Any]]:
    """Train ways in processes of one thread each, at most two at a time, in the given order."""
    found: dict[str, dict[str, Any]] = {}
    waiting, running = list(ways), dict[str, subprocess.Popen[str]]()
    while waiting or running:
        while waiting and len(running) < min(2, os.cpu_count() or 1):
            way = waiting.pop(0)
            command = [sys.executable, str(Path(__file__)), "--way", way, "--minutes", f"{minutes}"]
            running[way] = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        for way, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[way]
            if process.returncode or process.stdout is None:
                raise RuntimeError(f"{way}: the training ended with {process.returncode}")
            found[way] = json.loads(process.stdout.read().splitlines()[-1])
        time.sleep(0.5)
    return {way: found[way] for way in ways}


def main() -> None:
    """Train all ways, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="processor minutes of each")
    parser.add_argument("--full", action="store_true", help="our recipe without one part, too")
    parser.add_argument("--way", help="train this way only, in this process")
    arguments = parser.parse_args()
    if arguments.way is not None:
        print(json.dumps(train(arguments.way, arguments.minutes)))
        return
    prepare_data(MotionDataConfig(dataset=mocap_dataset()), PREPARED)
    ways = ["ours", "momask"]
    if arguments.full:
        ways += [*PUBLISHED[1:], *list(VARIANTS)[1:]]
    found = together(ways, arguments.minutes)
    print("| | steps | Bandai, mm | CMU, mm | path, mm | foot skate, m/s | jitter, m/s³ |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for way, one in found.items():
        bandai, cmu = one["bandai-namco"], one["cmu"]
        print(
            f"| {way} | {one['steps']} | {bandai['mpjpe_mm']:.1f} | {cmu['mpjpe_mm']:.1f} | "
            f"{bandai['path_mm']:.0f} / {cmu['path_mm']:.0f} | "
            f"{bandai['foot_skate_m_s']:.3f} / {cmu['foot_skate_m_s']:.3f} | "
            f"{bandai['jitter_m_s3']:.0f} / {cmu['jitter_m_s3']:.0f} |"
        )
    theirs = min(found[way]["bandai-namco"]["mpjpe_mm"] for way in PUBLISHED if way in found)
    gain = 100 * (1 - found["ours"]["bandai-namco"]["mpjpe_mm"] / theirs)
    figures = {"gain_percent": round(gain, 1), **found}
    ok = gain >= TARGETS["gain_percent"]
    print(json.dumps({"name": "tokenizer", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
