"""A judge of what motions show that shares nothing with the model, its chooser or the describer.

Recognition accuracy was introduced by Action2Motion (Guo et al., "Action2Motion: Conditioned
Generation of 3D Human Motions", 2020): a classifier, trained on labeled real motions, names the
labels of generated ones. A classifier of the training split alone is a poor judge where test
motions have styles that it never saw (it names 66 % of them right). Here two networks are trained,
each on one half of the real motions of all splits, and a real motion is judged by that which did
not see it. The model never sees the test split, so this favors no model.

Shapes: B motions, T frames, D = 263 features (see :mod:`data.motion.features`), C labels.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from data.motion.features import NUM_FEATURES
from training.inference.motion_model import Features

FOLDS: Final = 2
STEPS: Final = 1000
BATCH: Final = 48
WIDTH: Final = 128
EVERY: Final = 2
"""Every second frame is seen: 10 fps."""
MAX_FRAMES: Final = 160
"""Motions are cut to 8 s in training."""
LEARNING_RATE: Final = 1e-3
WARMUP: Final = 50


@dataclass(frozen=True, slots=True)
class Labeled:
    """A real motion with its label.

    Attributes:
        name: id of the recording; mirror images have the id of their original.
        label: what it shows.
        group: motions of one group are alike in style, and are drawn as often as another group.
        features: (T, D).
    """

    name: str
    label: str
    group: str
    features: Features


class _Network(nn.Module):
    """Three dilated convolutions over time, pooled by maximum and mean."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, width in enumerate((NUM_FEATURES, WIDTH, WIDTH)):
            dilation = 2**number
            layers += [
                nn.Conv1d(width, WIDTH, 5, padding=2 * dilation, dilation=dilation),
                nn.GELU(),
                nn.Dropout(0.2),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * WIDTH, num_labels))

    def forward(self, features_BTD: Tensor, there_BT: Tensor) -> Tensor:
        """Return the logits of the labels, (B, C)."""
        there_B1T = there_BT[:, None]
        found_BWT = self.body(features_BTD.transpose(1, 2))
        largest_BW = found_BWT.masked_fill(~there_B1T, -torch.inf).amax(-1)
        mean_BW = (found_BWT * there_B1T).sum(-1) / there_B1T.sum(-1)
        return self.head(torch.cat([largest_BW, mean_BW], -1))


class Recognizer:
    """Two networks that name the label of a motion.

    Args:
        motions: real motions of all splits.
        seed: seed of the training.
    """

    def __init__(self, motions: Sequence[Labeled], seed: int = 0) -> None:
        self.labels = tuple(sorted({one.label for one in motions}))
        frames_ND = np.concatenate([one.features for one in motions])
        self._mean_D, self._std_D = frames_ND.mean(0), frames_ND.std(0) + 1e-3
        self._networks = [
            self._trained([one for one in motions if fold_of(one.name) != fold], seed + fold)
            for fold in range(FOLDS)
        ]

    def names(self, motions: Sequence[Features | None], seen: Sequence[str | None]) -> list[str]:
        """Return the label of each motion; empty for a missing one.

        Args:
            motions: features, (T, D) each.
            seen: id of the recording of each real motion, which the network that saw it does not
                judge; None for generated motions, which both judge.
        """
        return [self._name(*pair) for pair in zip(motions, seen, strict=True)]

    @torch.no_grad()
    def _name(self, motion_TD: Features | None, seen: str | None) -> str:
        if motion_TD is None or not len(motion_TD):
            return ""
        networks = self._networks if seen is None else [self._networks[fold_of(seen)]]
        batch = self._batch([motion_TD])
        shares = torch.stack([network(*batch)[0].softmax(-1) for network in networks]).mean(0)
        return self.labels[int(shares.argmax())]

    def _batch(self, motions: Sequence[NDArray[np.floating]]) -> tuple[Tensor, Tensor]:
        scaled = [
            torch.from_numpy(((one[::EVERY] - self._mean_D) / self._std_D).astype(np.float32))
            for one in motions
        ]
        there = [torch.ones(len(one), dtype=torch.bool) for one in scaled]
        return pad_sequence(scaled, batch_first=True), pad_sequence(there, batch_first=True)

    def _trained(self, motions: Sequence[Labeled], seed: int) -> _Network:
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = _Network(len(self.labels))
            optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
            grouped = _grouped(motions)
            network.train()
            for step in range(STEPS):
                rate = min(1.0, step / WARMUP) * 0.5 * (1 + np.cos(np.pi * step / STEPS))
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
                chosen = [_drawn(grouped, rng) for _ in range(BATCH)]
                features_BTD, there_BT = self._batch([one.features[:MAX_FRAMES] for one in chosen])
                # Networks that know a person's constant offsets know the recording, not the label.
                features_BTD += 0.15 * torch.randn(BATCH, 1, NUM_FEATURES)
                wanted_B = torch.tensor([self.labels.index(one.label) for one in chosen])
                loss = functional.cross_entropy(
                    network(features_BTD * there_BT[..., None], there_BT),
                    wanted_B,
                    label_smoothing=0.1,
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return network.eval()


def fold_of(name: str) -> int:
    """Return the half of a recording, which the network of this number does not see."""
    return hashlib.sha256(name.encode()).digest()[0] % FOLDS


_Grouped = Mapping[str, Mapping[str, list[Labeled]]]


def _grouped(motions: Sequence[Labeled]) -> _Grouped:
    grouped: dict[str, dict[str, list[Labeled]]] = defaultdict(lambda: defaultdict(list))
    for one in motions:
        grouped[one.label][one.group].append(one)
    return grouped


def _drawn(grouped: _Grouped, rng: np.random.Generator) -> Labeled:
    """Draw a label, one of its groups, and one of its motions."""
    groups = grouped[list(grouped)[rng.integers(len(grouped))]]
    motions = groups[list(groups)[rng.integers(len(groups))]]
    return motions[rng.integers(len(motions))]
