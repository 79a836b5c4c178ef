"""Processor seconds of a step of VQ-VAE training, against the same network written in other ways.

All ways train the size of the preset `small` with one codebook on the same motions, with 64 windows
a batch and the published loss, in turns in one run. *Published* crops and normalizes one item at a
time in loader workers, quantizes with one-hot matrices, and reads losses and perplexity back in
every step. *Fair* is the same network as one would write it today: normalized frames in memory,
from which a batch is one gather; codes looked up and summed by index; a fused optimizer; nothing
read back. With `--compile`, *compiled* is fair with its encoder and decoder compiled by torch; ours
is then compared with the better of the two.

    .venv/bin/python benchmarks/train_vqvae.py [--repeats 12] [--compile] [--device cuda]

On a CPU one thread computes, and processor seconds are compared, because other work on the machine
affects them less; those of loader workers count. On a GPU the wall clock is compared.
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
import psutil
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

TARGETS: Final = {"fair_ratio": 1.2}
BATCH: Final = 64
DECAY: Final = 0.99
DDP_STEPS: Final = 12


def published_loss(rebuilt: Tensor, features: Tensor, commitment: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, and its part on all features."""
    loss = functional.smooth_l1_loss(rebuilt, features)
    positions = functional.smooth_l1_loss(
        rebuilt[..., LOCAL_POSITIONS], features[..., LOCAL_POSITIONS]
    )
    return loss + 0.5 * positions + 0.02 * commitment, loss


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
            total, loss = published_loss(rebuilt, features, commitment)
            self.optimizer.zero_grad()
            total.backward()
            self.optimizer.step()
            told += [loss.item(), commitment.item(), perplexity.item()]
        return told


# ------------------------------------------------------------------------------------ the fair way


class FairVqvae(PublishedNetwork):
    """The same network and codebook, with codes that are looked up and summed by index."""

    def __init__(self, width: int, depth: int, code_dim: int, num_codes: int) -> None:
        super().__init__(width, depth, code_dim)
        self.codebook: Tensor
        self.sums: Tensor
        self.counts: Tensor
        self.register_buffer("codebook", torch.randn(num_codes, code_dim))
        self.register_buffer("sums", self.codebook.clone())
        self.register_buffer("counts", torch.ones(num_codes))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return reconstruction and commitment loss of (B, T, D)."""
        latents = self.encoded(features)
        flat = latents.float().flatten(0, 1)
        with torch.no_grad():
            squares = self.codebook.square().sum(1)
            codes = torch.addmm(squares, flat, self.codebook.T, alpha=-2).argmin(1)
            quantized = functional.embedding(codes, self.codebook)
            counts = torch.bincount(codes, minlength=len(self.codebook)).float()
            self.counts.lerp_(counts, 1 - DECAY)
            self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, flat), 1 - DECAY)
            drawn = flat[torch.randperm(len(flat), device=flat.device)[: len(self.codebook)]]
            alive = (self.counts >= 1)[:, None]
            self.codebook.copy_(torch.where(alive, self.sums / self.counts[:, None], drawn))
        commitment = functional.mse_loss(flat, quantized)
        passed = flat + (quantized - flat).detach()
        return self.decoded(passed.view_as(latents)), commitment


class Fair:
    """Training loop of the fair way."""

    def __init__(
        self, config: TrainMotionVqvaeConfig, data: PreparedData, device: str, *, compiled: bool
    ) -> None:
        model = config.model
        sizes = model.width, model.depth, model.quantizer.code_dim, model.quantizer.num_codes
        self.model = FairVqvae(*sizes).to(device)
        if compiled:
            for part in (self.model.encoder, self.model.decoder):
                part.get_submodule("model").compile()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=2e-4, betas=(0.9, 0.99), fused=True
        )
        motions = data.splits["train"]
        frames = torch.from_numpy(np.array(motions.features_RD))
        self.frames = data.stats.normalize(frames).to(device)
        first, last = motions.offsets_N[:-1], motions.offsets_N[1:] - config.window
        begins = [np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
        self.begins = torch.from_numpy(np.concatenate(begins)).to(device)
        self.places = torch.arange(config.window, device=device)
        self.half = device == "cuda"

    def steps(self, count: int) -> list[float]:
        """Train for a number of steps, and return the losses."""
        told: list[Tensor] = []
        device = self.frames.device
        for _ in range(count):
            chosen = torch.randint(len(self.begins), (BATCH,), device=device)
            features = self.frames[self.begins[chosen][:, None] + self.places]
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
                rebuilt, commitment = self.model(features)
                total, _ = published_loss(rebuilt.float(), features, commitment)
            total.backward()
            self.optimizer.step()
            told.append(total.detach())
        return torch.stack(told).tolist()


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


def processor_s() -> float:
    """Processor seconds of this process and of its loader workers."""
    workers = psutil.Process().children(recursive=True)
    times = [worker.cpu_times() for worker in workers]
    return time.process_time() + sum(one.user + one.system for one in times)


def main() -> None:
    """Measure in turns, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = mocap_dataset()
    changes = {
        "run": CACHE / "train-vqvae-speed",
        "data": {"dataset": root},
        "root_emphasis": 1.0,
        "balance": 0.0,
        # The published network has one codebook, and its loss knows no steps.
        "model": {
            "position_weight": 0.5,
            "step_weight": 0.0,
            "contact_weight": 0.0,
            "quantizer": {"kind": "ema", "num_codes": 256, "code_dim": 128, "reset_below": 1.0},
        },
        "loop": {"batch_size": BATCH},
    }
    config = resolve(TrainMotionVqvaeConfig, PRESETS, "small", changes, CACHE)
    data = prepare_data(config.data, config.run / "cache")
    device = arguments.device
    fair = ("fair", "compiled") if arguments.compile else ("fair",)
    ways: dict[str, Published | Fair | Ours] = {
        "published": Published(config, data, device),
        **{name: Fair(config, data, device, compiled=name == "compiled") for name in fair},
        "ours": Ours(config, data, device),
    }
    wall_s: dict[str, list[float]] = {name: [] for name in ways}
    used_s: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        begin = time.perf_counter()
        way.steps(5)
        print(f"{name:10} {time.perf_counter() - begin:7.1f} s of the first five steps", flush=True)
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            begin, used = time.perf_counter(), processor_s()
            way.steps(arguments.steps)
            wall_s[name].append((time.perf_counter() - begin) / arguments.steps)
            used_s[name].append((processor_s() - used) / arguments.steps)
    compared = used_s if device == "cpu" else wall_s
    median_s = {name: float(np.median(found)) for name, found in compared.items()}
    for name in ways:
        print(
            f"{name:10} {1000 * np.median(used_s[name]):7.1f} ms of processor time a step, "
            f"{1 / np.median(wall_s[name]):6.2f} steps/s"
        )
    best = min(fair, key=median_s.__getitem__)
    ratios = {name: np.array(compared[name]) / np.array(compared["ours"]) for name in ways}
    figures = {
        "published_ratio": round(float(np.median(ratios["published"])), 2),
        "fair_ratio": round(float(np.median(ratios[best])), 2),
        "fair_is": best,
        **{f"{name}_ms": round(1000 * value, 1) for name, value in median_s.items()},
        **{f"{name}_steps_per_s": round(1 / float(np.median(s)), 2) for name, s in wall_s.items()},
        "two_processes_largest_difference": round(two_processes(config), 9),
    }
    ok = all(float(figures[name]) >= target for name, target in TARGETS.items())
    print(json.dumps({"name": "train_vqvae", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
