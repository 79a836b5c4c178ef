"""Steps per second of VQ-VAE training, against the same network written the published way.

Both train the size of the preset `small` on the same motions, with 64 windows a batch and the
published loss, in turns in one run. The published way crops and normalizes one item at a time in
loader workers, applies `conv1d` to (B, D, T), quantizes with one-hot matrices, and reads losses and
perplexity back in every step.

    .venv/bin/python benchmarks/train_vqvae.py [--steps 60] [--repeats 3] [--device cuda]

The script also checks that two gloo processes give the same losses as one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.support.corpus import run_with_corpus  # noqa: E402
from benchmarks.support.published import PublishedNetwork  # noqa: E402
from data.motion.features import LOCAL_POSITIONS  # noqa: E402
from data.presets import resolve  # noqa: E402
from training.loop import Ranks, read_metrics  # noqa: E402
from training.tokenizer.train import PRESETS, TrainMotionVqvaeConfig, VqvaeLearner  # noqa: E402
from training.tokenizer.windows import PreparedData, prepare_data  # noqa: E402

TARGETS: Final = {"speed_ratio": 1.5}
DDP_STEPS: Final = 12


# -------------------------------------------------------------------------------- the published way


class CroppedMotions(Dataset[Any]):
    """Dataset of one random, normalized window per item."""

    def __init__(self, data: PreparedData, window: int) -> None:
        motions = data.splits["train"]
        self._motions = [np.array(m) for m in motions.motions() if len(m) >= window]
        self._mean = data.stats.mean_D.astype(np.float32)
        self._std = data.stats.std_D.astype(np.float32)
        self._window = window

    def __len__(self) -> int:
        return len(self._motions)

    def __getitem__(self, item: int) -> Any:
        motion = self._motions[item]
        begin = np.random.randint(len(motion) - self._window + 1)
        return (motion[begin : begin + self._window] - self._mean) / self._std


class PublishedVqvae(PublishedNetwork):
    """The published network with the same sizes and loss, and a one-hot quantizer."""

    def __init__(self, width: int, depth: int, code_dim: int, num_codes: int) -> None:
        super().__init__(width, depth, code_dim)
        self.num_codes = num_codes
        self.codebook = torch.randn(num_codes, code_dim)
        self.sums, self.counts = self.codebook.clone(), torch.ones(num_codes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, commitment loss and perplexity of (B, T, D)."""
        flat = self.encoded(features).reshape(-1, self.codebook.shape[1])
        distances = (
            (flat**2).sum(-1, keepdim=True)
            - 2 * flat @ self.codebook.T
            + (self.codebook.T**2).sum(0, keepdim=True)
        )
        codes = distances.argmin(-1)
        with torch.no_grad():
            one_hot = torch.zeros(self.num_codes, len(flat), device=flat.device)
            one_hot.scatter_(0, codes.view(1, -1), 1)
            self.sums = 0.99 * self.sums + 0.01 * one_hot @ flat
            self.counts = 0.99 * self.counts + 0.01 * one_hot.sum(-1)
            drawn = flat[torch.randperm(len(flat), device=flat.device)[: self.num_codes]]
            usage = (self.counts.view(-1, 1) >= 1).float()
            self.codebook = usage * (self.sums / self.counts.view(-1, 1)) + (1 - usage) * drawn
            share = one_hot.sum(-1) / one_hot.sum()
            perplexity = torch.exp(-(share * torch.log(share + 1e-7)).sum())
        quantized = self.codebook[codes]
        commitment = functional.mse_loss(flat, quantized)
        passed = (flat + (quantized - flat).detach()).view(len(features), -1, flat.shape[1])
        return self.decoded(passed), commitment, perplexity

    def to_device(self, device: torch.device) -> None:
        """Move the parameters and the codebook to a device."""
        self.to(device)
        self.codebook, self.sums, self.counts = (
            value.to(device) for value in (self.codebook, self.sums, self.counts)
        )


def endless(loader: DataLoader[Any]) -> Iterator[Tensor]:
    """Yield batches of one epoch after another."""
    while True:
        yield from loader


class Published:
    """Training loop of the published way."""

    def __init__(self, config: TrainMotionVqvaeConfig, data: PreparedData, device: str) -> None:
        model, self.device = config.model, torch.device(device)
        sizes = model.width, model.depth, model.quantizer.code_dim, model.quantizer.num_codes
        self.model = PublishedVqvae(*sizes)
        self.model.to_device(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-4, betas=(0.9, 0.99))
        self.batches = endless(
            DataLoader(
                CroppedMotions(data, config.window),
                batch_size=config.loop.batch_size,
                shuffle=True,
                num_workers=2,
                drop_last=True,
                persistent_workers=True,
            )
        )

    def steps(self, count: int) -> list[float]:
        """Train for a number of steps, and return the losses."""
        told: list[float] = []
        for _ in range(count):
            features = next(self.batches).to(self.device).float()
            rebuilt, commitment, perplexity = self.model(features)
            loss = functional.smooth_l1_loss(rebuilt, features)
            positions = functional.smooth_l1_loss(
                rebuilt[..., LOCAL_POSITIONS], features[..., LOCAL_POSITIONS]
            )
            total = loss + 0.5 * positions + 0.02 * commitment
            self.optimizer.zero_grad()
            total.backward()
            self.optimizer.step()
            told += [loss.item(), commitment.item(), perplexity.item()]
        return told


# --------------------------------------------------------------------------------------------- ours


class Ours:
    """The learner's step as the loop calls it."""

    def __init__(self, config: TrainMotionVqvaeConfig, data: PreparedData, device: str) -> None:
        self.learner = VqvaeLearner(config, data)
        self.ranks = Ranks(0, 1, torch.device(device))
        self.model = self.learner.module.to(self.ranks.device).train()
        if device == "cuda":
            self.learner.compile()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=2e-4, betas=(0.9, 0.99), fused=True
        )
        self.half = device == "cuda"
        self.step = 0

    def steps(self, count: int) -> list[float]:
        """Train for a number of steps, and return the losses."""
        told: list[Tensor] = []
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.half):
                loss, _ = self.learner.losses(self.model, self.step, 0, self.ranks)
            loss.backward()
            self.optimizer.step()
            told.append(loss.detach())
            self.step += 1
        return torch.stack(told).tolist()


def two_processes(config: TrainMotionVqvaeConfig) -> float:
    """Largest relative difference of losses between one process and two gloo processes."""
    curves: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 2):
            values = config.model_dump(mode="json")
            values["run"] = f"{folder}/{count}"
            values["loop"] |= {"steps": DDP_STEPS, "max_minutes": None, "tensorboard": False}
            # Codebooks draw from a rank's latents; scalars draw nothing.
            values["model"]["quantizer"] = {"kind": "fsq", "code_dim": 128}
            request = Path(folder) / f"{count}.json"
            request.write_text(json.dumps(values))
            launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
            command = [*launch, "-m", "training.tokenizer.train", str(request)]
            subprocess.run(
                [sys.executable, *command], check=True, cwd=ROOT, capture_output=True, timeout=300
            )
            rows = read_metrics(Path(values["run"]))
            curves.append([x for row in rows if row["event"] == "train" for x in row["losses"]])
    one, two = np.array(curves)
    return float(np.abs(one / two - 1).max())


def main() -> None:
    """Measure in turns, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    root = mocap_dataset()
    changes = {
        "run": CACHE / "train-vqvae-speed",
        "data": {"dataset": root},
        # The published loss knows no steps.
        "model": {"step_weight": 0.0, "contact_weight": 0.0},
        "loop": {"batch_size": 64},
    }
    config = resolve(TrainMotionVqvaeConfig, PRESETS, "small", changes, CACHE)
    data = prepare_data(config.data, config.run / "cache")
    ways = {
        "published": Published(config, data, arguments.device),
        "ours": Ours(config, data, arguments.device),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way.steps(5)
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            begin = time.perf_counter()
            way.steps(arguments.steps)
            speeds[name].append(arguments.steps / (time.perf_counter() - begin))
    ratios = [
        ours / theirs for ours, theirs in zip(speeds["ours"], speeds["published"], strict=True)
    ]
    for name, found in speeds.items():
        print(f"{name:10} {np.median(found):.2f} steps/s")
    figures = {
        "speed_ratio": round(float(np.median(ratios)), 2),
        "ours_steps_per_s": round(float(np.median(speeds["ours"])), 2),
        "published_steps_per_s": round(float(np.median(speeds["published"])), 2),
        "two_processes_largest_difference": round(two_processes(config), 9),
    }
    ok = figures["speed_ratio"] >= TARGETS["speed_ratio"]
    print(json.dumps({"name": "train_vqvae", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
