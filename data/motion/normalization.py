"""Mean and standard deviation of motion features: computed, loaded, stored, applied.

Shapes: D = ``NUM_FEATURES`` (see :mod:`data.motion.features`); features are (..., D).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from data.motion.features import (
    FEATURE_GROUPS,
    FOOT_CONTACTS,
    NUM_FEATURES,
    ROOT_HEIGHT,
    ROOT_VELOCITY,
    ROOT_YAW_VELOCITY,
    ArrayT,
)

STATS_FORMAT: Final = "motion_feature_stats/1"
"""Stands in the metadata of a stored file."""

EVALUATOR_SCALE: Final = 25.0
"""The published evaluator gives the root and the contacts this much more weight."""
_EVALUATOR_GROUPS: Final = (ROOT_YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT, FOOT_CONTACTS)


@dataclass(frozen=True, slots=True)
class FeatureStats:
    """Statistics to normalize motion features with.

    Attributes:
        mean_D: (D,) float64.
        std_D: (D,) float64, every value above 0.

    Raises:
        ValueError: for other shapes, values that are not finite, and deviations that are not
            above 0.
    """

    mean_D: NDArray[np.float64]
    std_D: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean_D), ("std", self.std_D)):
            if values.shape != (NUM_FEATURES,):
                raise ValueError(
                    f"{name}: expected shape ({NUM_FEATURES},), found {values.shape}. "
                    "Use statistics of 22-joint motion features."
                )
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{name}: expected finite values, found {_found(values, ~np.isfinite(values))}."
                    " Compute the statistics again without the broken motions."
                )
        if (self.std_D <= 0).any():
            raise ValueError(
                f"std: expected values above 0, found {_found(self.std_D, self.std_D <= 0)}. "
                "A feature that never changes cannot be normalized: use more motions, or group_std."
            )

    def normalize(self, features: ArrayT) -> ArrayT:
        """(features - mean) / std, in the dtype and kind of ``features``, (..., D)."""
        mean, std = self._for(features)
        return (features - mean) / std

    def denormalize(self, features: ArrayT) -> ArrayT:
        """Undo :meth:`normalize`, (..., D)."""
        mean, std = self._for(features)
        return features * std + mean

    def for_evaluator(self) -> "FeatureStats":
        """What the published evaluator normalizes with: std / 25 for the root and the contacts.

        Scores are only comparable after ``stats.for_evaluator().normalize(features)`` on features
        that are not normalized.
        """
        std_D = self.std_D.copy()
        for group in _EVALUATOR_GROUPS:
            std_D[group] /= EVALUATOR_SCALE
        return FeatureStats(self.mean_D, std_D)

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        temporary = path.with_name(f"{path.name}.tmp")
        save_file(
            {"mean": self.mean_D, "std": self.std_D},
            temporary,
            # One entry: safetensors writes several in any order, and the same statistics should be
            # the same file (tokenizers are told apart by it).
            metadata={"about": json.dumps({"format": STATS_FORMAT, "layout": _layout()})},
        )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "FeatureStats":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no file of feature statistics, or of another feature layout.
        """
        remedy = "Write the file with FeatureStats.save, or read .npy files with load_published."
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if "about" in metadata:  # older files have the entries themselves
                    metadata = json.loads(metadata["about"])
                if metadata.get("format") != STATS_FORMAT:
                    raise ValueError(
                        f"{path}: expected the format {STATS_FORMAT}, found "
                        f"{metadata.get('format', 'none')}. {remedy}"
                    )
                if metadata.get("layout") != _layout():
                    raise ValueError(
                        f"{path}: expected the feature layout {_layout()}, found "
                        f"{metadata.get('layout', 'none')}. {remedy}"
                    )
                return cls(file.get_tensor("mean"), file.get_tensor("std"))
        except SafetensorError as error:
            raise ValueError(
                f"{path}: expected a safetensors file with mean and std, found: {error}. {remedy}"
            ) from error

    def _for(self, features: ArrayT) -> tuple[ArrayT, ArrayT]:
        if features.shape[-1] != NUM_FEATURES:
            raise ValueError(
                f"features: expected a last dimension of {NUM_FEATURES}, found "
                f"{tuple(features.shape)}. Pass whole feature vectors."
            )
        if isinstance(features, Tensor):
            return (
                torch.as_tensor(self.mean_D, dtype=features.dtype, device=features.device),
                torch.as_tensor(self.std_D, dtype=features.dtype, device=features.device),
            )
        return self.mean_D.astype(features.dtype), self.std_D.astype(features.dtype)


def compute_stats(motions: Iterable[NDArray[np.floating[Any]]]) -> FeatureStats:
    """Statistics over all rows of many motions, in one pass and constant memory.

    Pass the training split only. Merges each motion's float64 sums of squared deviations (Chan et
    al. 1983), which does not lose digits where deviations are small beside the mean.

    Args:
        motions: features of each motion, (T, D), not normalized, without padding.

    Returns:
        The mean, and the standard deviation (divided by the number of rows) averaged within
        each feature group as published, so that a group keeps its proportions.

    Raises:
        ValueError: for no rows, wrong shapes, values that are not finite, and groups that never
            change.
    """
    num_rows = 0
    mean_D = np.zeros(NUM_FEATURES)
    squares_D = np.zeros(NUM_FEATURES)
    for index, motion in enumerate(motions):
        if motion.ndim != 2 or motion.shape[1] != NUM_FEATURES:
            raise ValueError(
                f"motion {index}: expected features of shape (T, {NUM_FEATURES}), found "
                f"{motion.shape}. Pass motion features, one array per motion."
            )
        rows = motion.astype(np.float64)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"motion {index}: expected finite features, found "
                f"{int((~np.isfinite(rows)).sum())} others. Leave the motion out."
            )
        if not len(rows):
            continue
        total = num_rows + len(rows)
        own_mean_D = rows.mean(axis=0)
        offset_D = own_mean_D - mean_D
        squares_D += np.square(rows - own_mean_D).sum(axis=0)
        squares_D += np.square(offset_D) * (num_rows * len(rows) / total)
        mean_D += offset_D * (len(rows) / total)
        num_rows = total
    if not num_rows:
        raise ValueError(
            "motions: expected at least one row of features, found none. Check the train split."
        )
    return FeatureStats(mean_D, group_std(np.sqrt(squares_D / num_rows)))


def group_std(std_D: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each deviation replaced by the mean of its feature group, (D,), as published."""
    grouped_D = np.empty(NUM_FEATURES)
    for group in FEATURE_GROUPS.values():
        grouped_D[group] = std_D[group].mean()
    return grouped_D


def load_published(mean_path: Path, std_path: Path) -> FeatureStats:
    """The ``Mean.npy`` and ``Std.npy`` that came with a dataset, used as they are.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file holds anything but D usable numbers (pickles are refused).
    """
    return FeatureStats(_load_array(mean_path), _load_array(std_path))


def _load_array(path: Path) -> NDArray[np.float64]:
    try:
        return np.load(path, allow_pickle=False).astype(np.float64)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a .npy file of {NUM_FEATURES} numbers, found: {error}. "
            "Download the file of the dataset again."
        ) from error


def _layout() -> str:
    return json.dumps({name: [group.start, group.stop] for name, group in FEATURE_GROUPS.items()})


def _found(values: NDArray[np.float64], wrong: NDArray[np.bool_]) -> str:
    """Where the wrong values are: group, count, first."""
    first = int(np.flatnonzero(wrong)[0])
    name = next(name for name, group in FEATURE_GROUPS.items() if first < group.stop)
    return f"{int(wrong.sum())} wrong ones, the first {values[first]} in {name} (feature {first})"
