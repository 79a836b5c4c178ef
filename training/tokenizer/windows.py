"""Training data of the motion tokenizer: a memory-mapped array and windows of it.

The ``motions`` table is copied once, part by part, into a flat ``.npy`` file that holds the frames
of all motions. Every training process on a machine maps this file, so that the operating system
keeps it in memory once and datasets larger than memory work too. A batch is read with one
fancy-indexing call, without a Python loop over its items.

Shapes: B is the batch size, T the frames of a window, N the number of motions, D = 263 the number
of features, R the total number of frames of all motions.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from pydantic import Field

from data.arrays import BoolArray
from data.config import Config, ExpandedPath
from data.motion.features import NUM_FEATURES
from data.motion.normalization import FeatureStats, compute_stats
from data.motion.skeleton import NUM_JOINTS
from data.motion.splits import Split, source_of_group
from data.schemas import load_credible
from data.store.dataset import Dataset
from data.store.writer import write_json

_SHOWN: Final = 5
"""Maximum number of motion ids listed in an error message."""


class MotionDataConfig(Config):
    """Selects the motions of a dataset to train on."""

    dataset: ExpandedPath = Field(
        description="Folder of the dataset. It must have a motions table."
    )
    min_quality: float = Field(
        default=0.0, ge=0, le=1, description="Motions with a lower pose confidence are skipped."
    )
    mirrored: bool = Field(
        default=True, description="Whether to train on the mirror images of the motions too."
    )
    mirrored_test: bool = Field(
        default=False,
        description="Whether to test on mirror images too, as the protocol of HumanML3D does.",
    )


@dataclass(frozen=True, slots=True)
class MotionArray:
    """The motions of one split.

    Attributes:
        features_RD: (R, D) float32 features of all motions, concatenated and not normalized.
        offsets_N: (N + 1,) int64 row at which each motion begins, followed by R.
        ids: ``motion_id`` of each motion.
        credible_RJ: (R, 22) joints that were seen in each row; None if all were.
        sources: database or kind of source of each motion; empty if unknown.
    """

    features_RD: NDArray[np.float32]
    offsets_N: NDArray[np.int64]
    ids: tuple[str, ...]
    credible_RJ: BoolArray | None = None
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def motion(self, index: int) -> NDArray[np.float32]:
        """Return the features of one motion, (T, D)."""
        return self.features_RD[self.offsets_N[index] : self.offsets_N[index + 1]]

    def motions(self) -> Iterator[NDArray[np.float32]]:
        """Iterate over the features of all motions, (T, D) each."""
        return (self.motion(index) for index in range(len(self)))

    def credible(self, index: int) -> BoolArray:
        """Return the joints of one motion that were seen, (T, 22)."""
        begin, end = self.offsets_N[index : index + 2]
        if self.credible_RJ is None:
            return np.ones((end - begin, NUM_JOINTS), np.bool_)
        return self.credible_RJ[begin:end]

    def seen_motions(self) -> Iterator[NDArray[np.float32]]:
        """Iterate over the rows of all motions in which all joints were seen, (T', D) each.

        If they are fewer than half of all rows, all rows are returned, because too few rows would
        tell the statistics of a few motions only.
        """
        if self.credible_RJ is None:
            return self.motions()
        whole_R = self.credible_RJ.all(axis=1)
        if whole_R.mean() < 0.5:
            return self.motions()
        return (self.motion(index)[self.credible(index).all(axis=1)] for index in range(len(self)))


class Windows:
    """Samples windows of a fixed length, uniformly over the positions of the motions of a source.

    A motion has a position wherever a window lies inside it, or it lies inside a window. A long
    motion is therefore sampled more often, as published. A motion that is shorter than a window is
    continued by its neighbors in the array, so that all frames and codes are those of real motion;
    features are relative to the frame before, so that the path goes on where two motions meet.

    The windows of a step are a function of the seed and the step alone, so that a resumed training
    sees the same windows as an uninterrupted one.

    Args:
        motions: motions of the split.
        length: number of frames of a window.
        balance: how equally the sources are sampled. A source of n positions is sampled in
            proportion to n ** (1 - balance): 0 means uniformly over all positions, and 1 all
            sources equally.

    Raises:
        ValueError: all motions are shorter than ``length``.
    """

    def __init__(self, motions: MotionArray, length: int, balance: float = 0.0) -> None:
        lengths_N = np.diff(motions.offsets_N)
        if not (lengths_N >= length).any():
            longest = int(lengths_N.max(initial=0))
            raise ValueError(
                f"window: expected motions of {length} frames or more, found none (the longest has "
                f"{longest}). Remedy: set window to {longest} or less, or add longer motions."
            )
        self.motions = motions
        self.length = length
        begins_N = np.minimum(motions.offsets_N[:-1], motions.offsets_N[1:] - length)
        # No window begins before the first motion or ends after the last one.
        last = motions.offsets_N[-1] - length
        begins_N, ends_N = (
            np.clip(rows_N, 0, last) for rows_N in (begins_N, begins_N + np.abs(lengths_N - length))
        )
        self.num_shorter = int((lengths_N < length).sum())
        places_N = ends_N - begins_N + 1
        self.num_windows = int(places_N.sum())
        self._ends_N = np.cumsum(places_N)
        self._shift_N = begins_N - (self._ends_N - places_N)
        self._begins_N, self._places_N = begins_N, places_N
        self._weights_N = places_N * _source_factors(motions, places_N, balance)
        self._upto_N = np.cumsum(self._weights_N)
        self._balanced = balance > 0

    def draw(self, seed: int, step: int, count: int) -> NDArray[np.int64]:
        """Return the rows at which the windows of a step begin, (B,)."""
        rng = np.random.default_rng((seed, step))
        if not self._balanced:
            places_B = rng.integers(self.num_windows, size=count)
            return places_B + self._shift_N[np.searchsorted(self._ends_N, places_B, side="right")]
        drawn_B = rng.random(count) * self._upto_N[-1]
        motion_B = np.searchsorted(self._upto_N, drawn_B, side="right")
        share_B = 1 - (self._upto_N[motion_B] - drawn_B) / self._weights_N[motion_B]
        places_B = (share_B * self._places_N[motion_B]).astype(np.int64)
        return self._begins_N[motion_B] + np.clip(places_B, 0, self._places_N[motion_B] - 1)

    def take(self, rows_B: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the windows that begin at the given rows, (B, T, D), not normalized."""
        return self.motions.features_RD[rows_B[:, None] + np.arange(self.length)]

    def take_credible(self, rows_B: NDArray[np.int64]) -> BoolArray | None:
        """Return the joints that were seen in these windows, (B, T, 22); None if all were."""
        if self.motions.credible_RJ is None:
            return None
        return self.motions.credible_RJ[rows_B[:, None] + np.arange(self.length)]

    def ids_at(self, rows_B: NDArray[np.int64]) -> list[str]:
        """Return the ids of the motions that windows are taken from, each once."""
        offsets_N = self.motions.offsets_N
        firsts_B = np.searchsorted(offsets_N, rows_B, side="right") - 1
        lasts_B = np.searchsorted(offsets_N, rows_B + self.length - 1, side="right") - 1
        found = (
            index
            for first, last in zip(firsts_B.tolist(), lasts_B.tolist(), strict=True)
            for index in range(first, last + 1)
        )
        return [self.motions.ids[index] for index in dict.fromkeys(found)]


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The motions of all splits and the feature statistics of the training split.

    Attributes:
        splits: motions of each split, by its name.
        stats: mean and standard deviation that features are normalized with.
        data_id: hash of the dataset's recipe and of the ids and splits of the selected motions.
    """

    splits: dict[Split, MotionArray]
    stats: FeatureStats
    data_id: str


def prepare_data(config: MotionDataConfig, cache: Path) -> PreparedData:
    """Select, check and flatten the motions of a dataset.

    A second call with the same selection maps the files that the first call wrote.

    Args:
        config: selection of motions.
        cache: folder of the flat files. A file is used only when it was written completely.

    Raises:
        ValueError: the training or validation split is empty, a feature is not finite, or motions
            have another number of features.
        data.store.manifest.DatasetError: ``config.dataset`` is not a dataset.
    """
    selected = _select(config)
    for split in ("train", "val"):
        if not selected[split]:
            counts = {name: len(rows) for name, rows in selected.items()}
            raise ValueError(
                f"{config.dataset}: expected motions in the {split} split, found {counts}. "
                "Remedy: import more motions, or change the shares in config.splits of the import."
            )
    recipe = Dataset(config.dataset).manifest["recipe"]
    listed = json.dumps(
        [recipe, [[row["motion_id"] for row in rows] for rows in selected.values()]]
    )
    data_id = hashlib.sha256(listed.encode()).hexdigest()[:16]
    folder = cache / f"motions-{data_id}"
    splits: dict[Split, MotionArray] = {}
    for split, rows in selected.items():
        if not (folder / f"{split}.json").exists():
            _flatten(Dataset(config.dataset), rows, folder / split)
        index = json.loads((folder / f"{split}.json").read_text())
        sources = (source_of_group(row["group"] or "", row["source"]) for row in rows)
        features_RD = (
            np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
            if index["ids"]
            else np.zeros((0, NUM_FEATURES), np.float32)
        )
        mask = folder / f"{split}.credible.npy"
        splits[split] = MotionArray(
            features_RD,
            np.asarray(index["offsets"], np.int64),
            tuple(index["ids"]),
            np.load(mask, mmap_mode="r", allow_pickle=False) if mask.exists() else None,
            tuple(sources),
        )
    stats_file = folder / "stats.safetensors"
    if not stats_file.exists():
        compute_stats(splits["train"].seen_motions()).save(stats_file)
    return PreparedData(splits, FeatureStats.load(stats_file), data_id)


def _select(config: MotionDataConfig) -> dict[Split, list[dict[str, Any]]]:
    """Return the selected rows by split, without features, sorted by id.

    They are sorted because the order of the samples must not depend on how the table is divided
    into parts.
    """
    columns = [
        *("motion_id", "split", "num_frames", "num_features", "quality", "mirrored_of"),
        *("group", "source"),
    ]
    kept: list[dict[str, Any]] = []
    wrong: list[dict[str, Any]] = []
    for row in Dataset(config.dataset).rows("motions", columns):
        if row["num_features"] != NUM_FEATURES:
            wrong.append(row)
        # Mirror images would count the motions of the validation and test splits twice.
        elif row["quality"] >= config.min_quality and (
            not row["mirrored_of"]
            or (config.mirrored and row["split"] == "train")
            or (config.mirrored_test and row["split"] == "test")
        ):
            kept.append(row)
    if wrong:
        raise ValueError(
            f"{config.dataset}: expected {NUM_FEATURES} features, found "
            f"{wrong[0]['num_features']} in {len(wrong)} motions ({_named(wrong)}). "
            "Remedy: import them again."
        )
    kept.sort(key=lambda row: row["motion_id"])
    names: tuple[Split, ...] = ("train", "val", "test")
    return {name: [row for row in kept if row["split"] == name] for name in names}


def _flatten(dataset: Dataset, rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Write ``target.npy`` and, once that file is complete, ``target.json``.

    If joints of any motion were not seen, ``target.credible.npy`` has the mask of all motions.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    ids = [row["motion_id"] for row in rows]
    offsets_N = np.concatenate([[0], np.cumsum([row["num_frames"] for row in rows], dtype=int)])
    if ids:
        place = {motion_id: index for index, motion_id in enumerate(ids)}
        file = target.with_suffix(".npy")
        features_RD = open_memmap(file, "w+", np.float32, (int(offsets_N[-1]), NUM_FEATURES))
        broken: list[dict[str, Any]] = []
        credible_RJ: BoolArray | None = None
        for row in dataset.rows("motions", ["motion_id", "features", "credible"]):
            index = place.get(row["motion_id"])
            if index is None:
                continue
            if not np.isfinite(row["features"]).all():
                broken.append(row)
            begin, end = offsets_N[index : index + 2]
            features_RD[begin:end] = row["features"].reshape(-1, NUM_FEATURES)
            seen_TJ = load_credible(row)
            if seen_TJ is not None:
                if credible_RJ is None:
                    mask = target.with_suffix(".credible.npy")
                    credible_RJ = open_memmap(mask, "w+", np.bool_, (len(features_RD), NUM_JOINTS))
                    credible_RJ[:] = True
                credible_RJ[begin:end] = seen_TJ
        if broken:
            raise ValueError(
                f"{dataset.root}: expected finite features, found NaN or infinity in {len(broken)} "
                f"motions ({_named(broken)}). Remedy: import them again, which rejects such "
                "motions."
            )
        features_RD.flush()
        if credible_RJ is not None:
            credible_RJ.flush()
    write_json(target.with_suffix(".json"), {"ids": ids, "offsets": offsets_N.tolist()})


def _source_factors(
    motions: MotionArray, places_N: NDArray[np.int64], balance: float
) -> NDArray[np.float64]:
    """Return the factor by which each motion is sampled more often than in proportion, (N,)."""
    _, source_N = np.unique(motions.sources or ["all"] * len(motions), return_inverse=True)
    sizes_S = np.bincount(source_N, places_N)
    return (sizes_S.sum() / sizes_S)[source_N] ** balance


def _named(rows: Sequence[dict[str, Any]]) -> str:
    names = ", ".join(row["motion_id"] for row in rows[:_SHOWN])
    return names + (", …" if len(rows) > _SHOWN else "")
