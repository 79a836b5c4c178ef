"""Clips with captions: what evaluators are trained on, and what they judge.

Shapes: B batch, T frames, D = 263 features, N clips.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data.motion.skeleton import FPS
from data.motion.splits import Split
from data.store.dataset import Dataset
from evaluation.metrics.matching import MAX_RANK
from training.instructions.material import captions_of
from training.tokenizer.windows import MotionArray, MotionDataConfig, PreparedData, prepare_data

MIN_VALIDATION: Final = MAX_RANK + 1
"""Clips of the smallest validation: R-precision@3 needs more than three candidates."""
_MIN_CLIPS: Final[Mapping[Split, int]] = {"train": 2, "val": MIN_VALIDATION}
"""Clips that a training needs."""


class PairDataConfig(MotionDataConfig):
    """Selects the clips of a dataset; the default lengths are those of HumanML3D's protocol."""

    min_frames: int = Field(default=40, ge=4, description="Shorter clips are left out.")
    max_frames: int = Field(default=199, ge=4, description="Longer clips are left out.")

    @model_validator(mode="after")
    def _check_lengths(self) -> "PairDataConfig":
        if self.max_frames < self.min_frames:
            raise ValueError(
                f"max_frames: expected at least min_frames ({self.min_frames}), found "
                f"{self.max_frames}. Remedy: change one of them."
            )
        return self


@dataclass(frozen=True, slots=True)
class CaptionedClip:
    """A motion, or a part of one that has captions of its own.

    Attributes:
        motion_id: id of the whole motion.
        source: source of the motion, such as ``humanml3d``.
        source_id: name of the motion within the source.
        features_TD: features, (T, D), not normalized.
        captions: at least one caption.
    """

    motion_id: str
    source: str
    source_id: str
    features_TD: NDArray[np.float32]
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The clips of a split, in the order of their ids.

    Attributes:
        clips: the clips.
        left_out: number of clips that were left out, by reason.
        names: names within their sources of all motions of the split, also of those that were left
            out. The parts of a motion, ``000123#0-2.5``, have one name.
    """

    clips: tuple[CaptionedClip, ...]
    left_out: Counter[str] = field(default_factory=Counter[str])
    names: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.clips)

    def captions(self) -> list[str]:
        """Return the different captions of all clips."""
        return list(dict.fromkeys(text for clip in self.clips for text in clip.captions))

    def draw(self, seed: int, step: int, count: int) -> list[tuple[CaptionedClip, str]]:
        """Return a batch of different clips, each with one of its captions at random.

        The batch is a function of the seed and the step alone, so that a resumed training sees the
        same batches as an uninterrupted one.
        """
        rng = np.random.default_rng((seed, step))
        chosen_B = rng.choice(len(self.clips), size=count, replace=count > len(self.clips))
        return [_captioned(self.clips[index], rng) for index in chosen_B.tolist()]

    def all_once(self, seed: int = 0) -> list[tuple[CaptionedClip, str]]:
        """Return every clip in random order, each with one of its captions at random."""
        rng = np.random.default_rng(seed)
        return [_captioned(self.clips[index], rng) for index in rng.permutation(len(self)).tolist()]


def _captioned(clip: CaptionedClip, rng: np.random.Generator) -> tuple[CaptionedClip, str]:
    return clip, clip.captions[rng.integers(len(clip.captions))]


def prepare_pairs(config: PairDataConfig, cache: Path) -> tuple[PreparedData, dict[Split, Pairs]]:
    """Read the clips of all splits to train on.

    Args:
        config: selection of clips.
        cache: folder of flat files, see :func:`training.tokenizer.windows.prepare_data`.

    Raises:
        ValueError: as :func:`~training.tokenizer.windows.prepare_data`, or the training or
            validation split has too few clips with captions.
        data.store.manifest.DatasetError: ``config.dataset`` is not a dataset.
    """
    chosen = MotionDataConfig.model_validate(
        config.model_dump(include=set(MotionDataConfig.model_fields))
    )
    data = prepare_data(chosen, cache)
    pairs: dict[Split, Pairs] = {split: read_pairs(config, data, split) for split in data.splits}
    for split, least in _MIN_CLIPS.items():
        found = pairs[split]
        if len(found) < least:
            reasons = ", ".join(f"{why}: {count}" for why, count in found.left_out.most_common())
            raise ValueError(
                f"{config.dataset}: expected at least {least} clips with captions in the {split} "
                f"split, found {len(found)} (left out: {reasons or 'none'}). Remedy: import "
                "more motions with texts or labels, or change min_frames and max_frames."
            )
    return data, pairs


def read_pairs(config: PairDataConfig, data: PreparedData, split: Split) -> Pairs:
    """Read the clips of a split.

    Args:
        config: dataset, and lengths of the clips.
        data: its motions.
        split: the split.

    Raises:
        data.store.manifest.DatasetError: ``config.dataset`` is not a dataset.
    """
    columns = ["motion_id", "source", "source_id", "texts", "labels", "num_frames"]
    rows = {
        row["motion_id"]: row
        for row in Dataset(config.dataset).rows("motions", columns, {"split": [split]})
    }
    motions = data.splits[split]
    left_out = Counter[str]()
    clips = tuple(
        clip
        for index, motion_id in enumerate(motions.ids)
        for clip in _clips(rows[motion_id], motions, index, config, left_out)
    )
    names = (str(rows[motion_id]["source_id"]).split("#")[0] for motion_id in motions.ids)
    return Pairs(clips, left_out, frozenset(names))


def _clips(
    row: dict[str, object],
    motions: MotionArray,
    index: int,
    config: PairDataConfig,
    left_out: Counter[str],
) -> Iterator[CaptionedClip]:
    whole_TD = motions.motion(index)
    for span_s, captions in captions_of(row).items():
        part = slice(None) if span_s is None else slice(*(round(at_s * FPS) for at_s in span_s))
        features_TD = whole_TD[part]
        if not captions:
            left_out["no caption"] += 1
        elif len(features_TD) < config.min_frames:
            left_out["too short"] += 1
        elif len(features_TD) > config.max_frames:
            left_out["too long"] += 1
        else:
            yield CaptionedClip(
                motions.ids[index], str(row["source"]), str(row["source_id"]), features_TD, captions
            )
