"""Compute, load, store and apply the mean and standard deviation of motion features.

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
"""Format identifier in the metadata of a stored file."""

EVALUATOR_SCALE: Final = 25.0
"""Factor by which the published evaluator increases the weight of the root and the contacts."""
_ROOT_AND_CONTACTS: Final = (ROOT_YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT, FOOT_CONTACTS)


@dataclass(frozen=True, slots=True)
class FeatureStats:
    """Mean and standard deviation for the normalization of motion features.

    Attributes:
        mean_D: mean, (D,), float64.
        std_D: standard deviation, (D,), float64, all values above 0.

    Raises:
        ValueError: a shape is wrong, a value is not finite, or a deviation is not above 0.
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
        """Return (features - mean) / std, (..., D), as the array type of ``features``."""
        mean, std = self._for(features)
        return (features - mean) / std

    def denormalize(self, features: ArrayT) -> ArrayT:
        """Invert :meth:`normalize`, (..., D)."""
        mean, std = self._for(features)
        return features * std + mean

    def for_evaluator(self) -> "FeatureStats":
        """Return the published evaluator's statistics: std / 25 for the root and the contacts.

        Scores are comparable only if the unnormalized features are normalized by
        ``stats.for_evaluator().normalize(features)``.
        """
        return self.emphasized(EVALUATOR_SCALE)

    def emphasized(self, factor: float) -> "FeatureStats":
        """Return these statistics with std / factor for the root and the contacts.

        These few features then count more among the normalized features.
        """
        std_D = self.std_D.copy()
        for group in _ROOT_AND_CONTACTS:
            std_D[group] /= factor
        return FeatureStats(self.mean_D, std_D)

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically."""
        temporary = path.with_name(f"{path.name}.tmp")
        save_file(
            {"mean": self.mean_D, "std": self.std_D},
            temporary,
            # One entry, because safetensors writes several in arbitrary order. Equal statistics
            # must give equal files, whose hash is a part of the tokenizer's id.
            metadata={"about": json.dumps({"format": STATS_FORMAT, "layout": _layout()})},
        )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "FeatureStats":
        """Load a file written by :meth:`save`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file has another format or feature layout.
        """
        remedy = "Write the file with FeatureStats.save, or read .npy files with load_published."
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if "about" in metadata:  # older files store the entries directly
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
    """Compute statistics over all rows of many motions, in one pass and constant memory.

    Pass only the training split. The float64 sums of squared deviations of the motions are merged
    (Chan et al. 1983), which is accurate even if deviations are small compared with the mean.

    Args:
        motions: features of each motion, (T, D), not normalized, without padding.

    Returns:
        The mean, and the population standard deviation, averaged within each feature group as
        published, so that a group keeps its proportions.

    Raises:
        ValueError: there are no rows, a shape is wrong, a value is not finite, or a feature group
            never changes.
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
    """Replace each deviation by the mean of its feature group as published, (D,)."""
    grouped_D = np.empty(NUM_FEATURES)
    for group in FEATURE_GROUPS.values():
        grouped_D[group] = std_D[group].mean()
    return grouped_D


def load_published(mean_path: Path, std_path: Path) -> FeatureStats:
    """Load the published ``Mean.npy`` and ``Std.npy`` of a dataset unchanged.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file does not hold D usable numbers. Nothing is unpickled.
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
    """Describe wrong values: their number, and the group of the first one."""
    first = int(np.flatnonzero(wrong)[0])
    name = next(name for name, group in FEATURE_GROUPS.items() if first < group.stop)
    return f"{int(wrong.sum())} wrong ones, the first {values[first]} in {name} (feature {first})"
