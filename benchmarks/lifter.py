"""Whether a small temporal network improves the depth of estimated poses.

The landmark model sees one frame at a time and flattens bodies along the viewing direction. A
convolutional network over time is trained on the CMU sequences, projected through random cameras
with the noise of the landmark model, and compared with the landmark model's own joints, as they are
and as the pipeline smooths them, on the projections of subjects that it has not seen. It is an
experiment: docs/benchmarks.md says why the pipeline does not use the network.

    .venv/bin/python benchmarks/lifter.py [--steps 2500] [--save FILE | --load FILE]

Shapes: B windows, T frames at 20 fps, J = 22 joints. Positions are in meters relative to the
pelvis, in camera axes (x right, y up, z toward the camera).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from annotators.poses.estimate import smooth
from benchmarks.support.corpus import mocap, need_corpus, run_with_corpus
from data.motion.skeleton import JOINT, NUM_JOINTS

CMU: Final = "cmu_joints22_20fps.npz"
WINDOW: Final = 48
BATCH: Final = 32
LIMBS: Final = tuple(
    tuple(JOINT[f"{side}_{name}"] for name in names)
    for side in ("left", "right")
    for names in (("elbow", "wrist"), ("knee", "ankle", "foot"))
)
Array = NDArray[np.float64]


class Lifter(nn.Module):
    """Corrects landmarks over time by dilated convolutions.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.start = nn.Conv1d(NUM_JOINTS * 4, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(8, width),
                nn.GELU(),
                nn.Conv1d(width, width, 1),
            )
            for dilation in (1, 2, 4, 8)
        )
        self.end = nn.Conv1d(width, NUM_JOINTS * 3, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(torch.as_tensor(self.end.bias))

    def forward(self, seen_BTJ3: Tensor, confidence_BTJ: Tensor) -> Tensor:
        """Return corrected joints, (B, T, 22, 3).

        Args:
            seen_BTJ3: joints of the landmark model.
            confidence_BTJ: their confidence, 0..1.
        """
        given = torch.cat([seen_BTJ3, confidence_BTJ[..., None]], dim=-1)
        x = self.start(given.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = x + block(x)
        change = self.end(x).transpose(1, 2).unflatten(-1, (NUM_JOINTS, 3))
        return seen_BTJ3 + change


def _slow_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Array:
    """Return noise along axis 0 whose correlation falls to a half in 0.15 s."""
    noise = rng.normal(0, sigma, shape)
    for frame in range(1, len(noise)):
        noise[frame] = 0.8 * noise[frame - 1] + 0.6 * noise[frame]
    return noise


def project(rng: np.random.Generator, motion_TJ3: Array) -> tuple[Array, Array, Array]:
    """Look at a motion through a random camera, as the landmark model does.

    The model places joints well in the picture (error about 2 cm of the body), and flattens and
    disturbs their depth. Limbs that something hides are placed near where they were.

    Returns:
        True joints and seen joints, (T, 22, 3), and the confidence of each, (T, 22).
    """
    turn = Rotation.from_euler(
        "yxz", [rng.uniform(-180, 180), rng.normal(8, 10), rng.normal(0, 3)], degrees=True
    )
    true_TJ3 = turn.apply((motion_TJ3 - motion_TJ3[:, :1]).reshape(-1, 3)).reshape(-1, 22, 3)
    if rng.random() < 0.5:
        true_TJ3[..., 0] *= -1
        swap = [JOINT[_other(name)] for name in JOINT]
        true_TJ3 = true_TJ3[:, swap]
    distance_m = rng.uniform(2.5, 10)
    # The perspective of a body part that is nearer to the camera than the pelvis.
    seen_TJ3 = true_TJ3.copy()
    seen_TJ3[..., :2] *= distance_m / (distance_m - true_TJ3[..., 2:])
    seen_TJ3[..., 2] *= rng.uniform(0.35, 1.0)
    seen_TJ3 *= rng.uniform(0.93, 1.07)
    confidence_TJ = np.ones(true_TJ3.shape[:2])
    for limb in LIMBS:
        if rng.random() < 0.2:
            start = int(rng.integers(len(true_TJ3)))
            hidden = slice(start, start + int(rng.integers(4, 20)))
            confidence_TJ[hidden, limb] = 0.2
            seen_TJ3[hidden, limb] += _slow_noise(rng, seen_TJ3[hidden, limb].shape, 0.1)
    seen_TJ3 += _slow_noise(rng, seen_TJ3.shape, 1.0) * np.array([0.015, 0.015, 0.05])
    return true_TJ3, seen_TJ3 - seen_TJ3[:, :1], confidence_TJ


def _other(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")


def _windows(
    rng: np.random.Generator, motions: list[Array], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    chances = np.array([len(motion) - WINDOW + 1 for motion in motions], dtype=float)
    drawn: list[tuple[Array, Array, Array]] = []
    for index in rng.choice(len(motions), count, p=chances / chances.sum()):
        start = int(rng.integers(len(motions[index]) - WINDOW + 1))
        drawn.append(project(rng, motions[index][start : start + WINDOW]))
    true, seen, confidence = (
        torch.tensor(np.stack(each)).float() for each in zip(*drawn, strict=True)
    )
    return true, seen, confidence


def train(motions: list[Array], steps: int, seed: int = 0) -> Lifter:
    """Train on random projections of the motions."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lifter = Lifter()
    optimizer = torch.optim.AdamW(lifter.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        true, seen, confidence = _windows(rng, motions, BATCH)
        error = lifter(seen, confidence) - true
        loss = error.abs().mean() + 2 * error.diff(dim=1).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            print(f"step {step}: loss {loss.item():.4f}", file=sys.stderr, flush=True)
    return lifter.eval()


def main() -> None:
    """Train, measure and print; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--save", type=Path, help="file to keep the weights in (safetensors)")
    parser.add_argument("--load", type=Path, help="such a file, instead of training")
    arguments = parser.parse_args()

    need_corpus()
    takes = [(key, m.astype(np.float64)) for key, _, m in mocap(CMU, "label") if len(m) >= WINDOW]
    subjects = sorted({_subject(key) for key, _ in takes})
    unseen = set(subjects[::5])
    if arguments.load is not None:
        lifter = Lifter()
        lifter.load_state_dict(load_file(arguments.load))
    else:
        lifter = train([m for key, m in takes if _subject(key) not in unseen], arguments.steps)
    rng = np.random.default_rng(1)
    true, seen, confidence = _windows(rng, [m for key, m in takes if _subject(key) in unseen], 512)
    with torch.no_grad():
        lifted = lifter(seen, confidence)
    figures: dict[str, float] = {}
    smoothed = torch.tensor(np.stack([smooth(one.numpy(), "one_euro") for one in seen]))
    for name, joints in (("landmarks", seen), ("smoothed", smoothed), ("lifted", lifted)):
        error = joints - true
        figures[f"{name}_mpjpe_mm"] = round(1000 * error.norm(dim=-1).mean().item(), 1)
        figures[f"{name}_depth_mm"] = round(1000 * error[..., 2].abs().mean().item(), 1)
        speed_error = 20 * error.diff(dim=1).norm(dim=-1).mean().item()
        figures[f"{name}_speed_m_s"] = round(speed_error, 3)
    if arguments.save is not None:
        save_file(lifter.state_dict(), arguments.save)
    print(json.dumps({"name": "lifter", "figures": figures, "targets": {}, "ok": True}))


def _subject(key: str) -> str:
    """Return the subject of a sequence; sequences of other recordings stand for themselves."""
    parts = key.split("_")
    return parts[1] if parts[0] == "cmu" and len(parts) == 3 else key


if __name__ == "__main__":
    run_with_corpus(main)
