"""Near-duplicates between the test and the training split: motions and texts that leak.

A test motion that has nearly been trained on measures memory. For each one this module finds the
nearest training motion, its mirror image included, and the nearest text.

**Motions** are compared by what they are on average, so that takes of different length and phase
are near (no time warping): the mean pose in each quarter of the motion, and of the whole motion the
mean and the spread of each joint, its mean speed, and the mean velocities of the root. Distances
are in millimeters: the root mean square over the joints, as if all of them were off by this much.
Speeds count a quarter, i.e. by the way of 0.25 s.

**The threshold** of 45 mm was chosen on takes of CMU and Bandai-Namco, where it separates best the
nearest take of the same content and style from the nearest of another content or style
(``benchmarks/splits.py`` measures it again).

**Texts** are compared as sets of words: equal without case and punctuation, or with a cosine of
TF-IDF weights of at least 0.8.

Shapes: T frames, D = 263 features, N test and M training motions or texts, K numbers of a
descriptor, J = 22 joints, P coordinates, W words.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.sparse import csr_array

from data.arrays import FloatArray
from data.motion.features import LOCAL_POSITIONS, LOCAL_VELOCITIES, mirror_features
from data.motion.skeleton import FPS, NUM_JOINTS
from data.motion.splits import Split, source_of_group
from data.schemas import load_features
from data.store.dataset import Dataset
from training.instructions.material import captions_of

NEAR_MM: Final = 45.0
"""Distance below which two motions are near-duplicates."""
NEAR_COSINE: Final = 0.8
"""Cosine from which two texts are near-duplicates."""
MAX_TEST: Final = 1000
"""Test motions of a large dataset that are compared, by default."""
MAX_TRAIN: Final = 20_000
"""Training motions that they are compared with."""
_QUARTERS: Final = 4
_SPEED_S: Final = 0.25
_BLOCK: Final = 256
_SHOWN: Final = 5
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class DescribedMotion:
    """A motion as this module compares it.

    Attributes:
        motion_id: id of the motion.
        source: database or kind of source.
        group: group of the motion; its id if it has none.
        split: split of the motion.
        descriptor_K: numbers of :func:`motion_descriptor`.
        mirrored_K: those of its mirror image.
        texts: texts of the motion.
    """

    motion_id: str
    source: str
    group: str
    split: Split
    descriptor_K: NDArray[np.float32]
    mirrored_K: NDArray[np.float32]
    texts: tuple[str, ...]


class NearMotion(BaseModel):
    """A test motion and the training motion nearest to it.

    Attributes:
        test: id of the test motion.
        train: id of the training motion.
        distance_mm: their distance.
        mirrored: whether the mirror image of the training motion is nearer than itself.
    """

    model_config = ConfigDict(frozen=True)

    test: str
    train: str
    distance_mm: float
    mirrored: bool


class NearText(BaseModel):
    """A test text and the training text nearest to it, with the cosine of their weights."""

    model_config = ConfigDict(frozen=True)

    test: str
    train: str
    cosine: float


class SourceDuplicates(BaseModel):
    """Near-duplicates of one source.

    Attributes:
        test: number of test motions, without mirror images.
        train: number of training motions of this source.
        near: share of the test motions with a near-duplicate in training; of any source.
        median_mm: median distance of the test motions to their nearest training motions.
        same_group: share of the test motions whose group has training motions.
        texts: number of different texts of the test motions.
        same_texts: share of them that are training texts, without case and punctuation.
        near_texts: share of them with a near-duplicate among the training texts.
        examples: the nearest pairs, of different test groups.
        text_examples: the nearest pairs of texts that are not equal.
    """

    model_config = ConfigDict(frozen=True)

    test: int
    train: int
    near: float
    median_mm: float
    same_group: float
    texts: int
    same_texts: float
    near_texts: float
    examples: tuple[NearMotion, ...]
    text_examples: tuple[NearText, ...]


class Duplicates(BaseModel):
    """Near-duplicates between the test and the training split.

    Attributes:
        test, train: number of motions of the splits, without mirror images.
        compared_test, compared_train: number of motions that were compared.
        sources: figures by source.
        missing: why nothing was compared; empty if something was.
    """

    model_config = ConfigDict(frozen=True)

    test: int
    train: int
    compared_test: int
    compared_train: int
    sources: dict[str, SourceDuplicates]
    missing: str

    def told(self) -> str:
        """Return how many motions were compared, in words."""
        if (self.compared_test, self.compared_train) == (self.test, self.train):
            return (
                f"All {self.test:,} test motions were compared with all {self.train:,} training "
                "motions"
            )
        return (
            f"{self.compared_test:,} of {self.test:,} test motions were compared with "
            f"{self.compared_train:,} of {self.train:,} training motions"
        )


# ----------------------------------------------------------------------------------------- motions


def motion_descriptor(features_TD: FloatArray) -> NDArray[np.float32]:
    """Return the (K,) numbers of a motion whose Euclidean distance is in millimeters.

    Args:
        features_TD: (T, 263) features, not normalized, T ≥ 1.
    """
    count = len(features_TD)
    positions_TP = np.concatenate([features_TD[:, 3:4], features_TD[:, LOCAL_POSITIONS]], axis=1)
    ends = np.linspace(0, count, _QUARTERS + 1).astype(int)
    quarters = [
        positions_TP[begin : max(end, begin + 1)].mean(axis=0)
        for begin, end in zip(np.minimum(ends[:-1], count - 1), ends[1:], strict=True)
    ]
    velocities_TJ3 = FPS * features_TD[:, LOCAL_VELOCITIES].reshape(count, NUM_JOINTS, 3)
    speeds_J = np.linalg.norm(velocities_TJ3, axis=-1).mean(axis=0)
    # The feature is half of the angle between two frames.
    root = FPS * features_TD[:, :3].mean(axis=0) * (2, 1, 1)
    parts = (
        np.concatenate(quarters) / np.sqrt(_QUARTERS * NUM_JOINTS),
        positions_TP.mean(axis=0)[1:] / np.sqrt(NUM_JOINTS),
        positions_TP.std(axis=0)[1:] / np.sqrt(NUM_JOINTS),
        _SPEED_S * speeds_J / np.sqrt(NUM_JOINTS),
        _SPEED_S * root,
    )
    return (1000 * np.concatenate(parts)).astype(np.float32)


def nearest_motions(
    test: Sequence[DescribedMotion], train: Sequence[DescribedMotion]
) -> list[NearMotion]:
    """Return the nearest training motion of each test motion, mirror images included.

    Raises:
        ValueError: there are no training motions.
    """
    if not train:
        raise ValueError(
            "near-duplicates: expected training motions, found none. Remedy: import more motions, "
            "or raise the share of the training split."
        )
    train_MK = np.stack([motion.descriptor_K for motion in train])
    found: list[NearMotion] = []
    for first in range(0, len(test), _BLOCK):
        block = test[first : first + _BLOCK]
        straight_NM, turned_NM = (
            _distances(block, train_MK, mirrored=mirrored) for mirrored in (False, True)
        )
        distances_NM = np.minimum(straight_NM, turned_NM)
        for index, place in enumerate(distances_NM.argmin(axis=1).tolist()):
            found.append(
                NearMotion(
                    test=block[index].motion_id,
                    train=train[place].motion_id,
                    distance_mm=float(distances_NM[index, place]),
                    mirrored=bool(turned_NM[index, place] < straight_NM[index, place]),
                )
            )
    return found


def distances_mm(
    one: Sequence[DescribedMotion], other: Sequence[DescribedMotion]
) -> NDArray[np.float64]:
    """Return the distance of each motion to each other one or its mirror image, (N, M)."""
    other_MK = np.stack([motion.descriptor_K for motion in other])
    return np.minimum(*(_distances(one, other_MK, mirrored=way) for way in (False, True)))


def _distances(
    motions: Sequence[DescribedMotion], other_MK: NDArray[np.float32], *, mirrored: bool
) -> NDArray[np.float64]:
    one_NK = np.stack([one.mirrored_K if mirrored else one.descriptor_K for one in motions])
    return descriptor_distances(one_NK, other_MK)


def descriptor_distances(
    one_NK: NDArray[np.float32], other_MK: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the distances between descriptors in millimeters, (N, M)."""
    one, other = one_NK.astype(np.float64), other_MK.astype(np.float64)
    squares_NM = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.sqrt(np.maximum(squares_NM, 0))


# ------------------------------------------------------------------------------------------- texts


def normalized_text(text: str) -> str:
    """Return the words of a text in lower case, without punctuation."""
    return " ".join(_WORD.findall(text.casefold()))


def nearest_texts(test: Sequence[str], train: Sequence[str]) -> list[NearText]:
    """Return the nearest training text of each test text, by the cosine of TF-IDF weights.

    Args:
        test: texts.
        train: texts; without any, the nearest of each text is "" with a cosine of 0.
    """
    if not train:
        return [NearText(test=text, train="", cosine=0.0) for text in test]
    rows = text_weights((*test, *train))
    train_MW = rows[len(test) :].T.tocsr()
    found: list[NearText] = []
    for first in range(0, len(test), _BLOCK):
        end = min(first + _BLOCK, len(test))
        cosines_NM = (rows[first:end] @ train_MW).toarray()
        for index, best in enumerate(cosines_NM.argmax(axis=1).tolist()):
            text = test[first + index]
            cosine = float(cosines_NM[index, best])
            found.append(NearText(test=text, train=train[int(best)], cosine=cosine))
    return found


def text_weights(texts: Sequence[str]) -> csr_array:
    """Return the TF-IDF weights of texts as rows of length 1, (N, W); of a text without words, 0.

    The product of two rows is the cosine that :func:`nearest_texts` returns.
    """
    words = [Counter(normalized_text(text).split()) for text in texts]
    frequency = Counter(word for of_text in words for word in of_text)
    place = {word: index for index, word in enumerate(frequency)}
    return _weights(words, place, np.log((1 + len(words)) / (1 + np.array([*frequency.values()]))))


def _weights(
    words: Sequence[Counter[str]], place: Mapping[str, int], rarity_W: FloatArray
) -> csr_array:
    """Return the TF-IDF weights of texts as rows of length 1."""
    starts = np.cumsum([0, *(len(of_text) for of_text in words)])
    columns = np.array([place[word] for of_text in words for word in of_text], int)
    counts = np.array([count for of_text in words for count in of_text.values()], float)
    # A word of every text still counts a little, so that no text is without length.
    values = counts * (1 + rarity_W[columns])
    lengths = np.sqrt(np.add.reduceat(np.append(values**2, 0.0), starts[:-1]))
    values /= np.repeat(np.maximum(lengths, 1e-12), np.diff(starts))
    return csr_array((values, columns, starts), shape=(len(words), len(place)))


# ------------------------------------------------------------------------------------------ report


def split_duplicates(
    root: Path, *, max_test: int = MAX_TEST, max_train: int = MAX_TRAIN
) -> Duplicates:
    """Compare the test motions of a dataset with its training motions, in bounded time and memory.

    Args:
        root: folder of the dataset.
        max_test: maximum number of test motions that are compared.
        max_train: maximum number of training motions that they are compared with.

    Raises:
        data.store.manifest.DatasetError: ``root`` is not a dataset.
    """
    ids: dict[str, list[str]] = {"test": [], "train": []}
    where = {"split": list(ids)}
    for row in Dataset(root).rows("motions", ["motion_id", "split", "mirrored_of"], where):
        if not row["mirrored_of"]:
            ids[row["split"]].append(row["motion_id"])
    counts = {split: len(of_split) for split, of_split in ids.items()}
    if not all(counts.values()):
        found = "{test} and {train}".format(**counts)
        return Duplicates(
            **counts,
            compared_test=0,
            compared_train=0,
            sources={},
            missing=f"expected test and training motions, found {found}",
        )
    # Ids are hashes, so that the first ones are a fair and repeatable sample.
    test, train = sorted(ids["test"])[:max_test], sorted(ids["train"])[:max_train]
    return Duplicates(
        **counts,
        compared_test=len(test),
        compared_train=len(train),
        sources=near_duplicates(read_described(root, {*test, *train})),
        missing="",
    )


def read_described(root: Path, ids: Collection[str] | None = None) -> list[DescribedMotion]:
    """Read the motions of a dataset without mirror images, as this module compares them.

    Args:
        root: folder of the dataset.
        ids: ids of the motions to read; by default all.

    Raises:
        data.store.manifest.DatasetError: ``root`` is not a dataset.
    """
    columns = ("motion_id", "group", "source", "split", "mirrored_of", "labels", "texts")
    shape = ("features", "num_frames", "num_features")
    where = None if ids is None else {"motion_id": ids}
    rows = Dataset(root).rows("motions", [*columns, *shape], where)
    return [_described(row) for row in rows if not row["mirrored_of"]]


def _described(row: Mapping[str, Any]) -> DescribedMotion:
    features_TD = load_features(row)
    return DescribedMotion(
        motion_id=row["motion_id"],
        source=source_of_group(row["group"], row["source"]),
        group=row["group"] or row["motion_id"],
        split=row["split"],
        descriptor_K=motion_descriptor(features_TD),
        mirrored_K=motion_descriptor(mirror_features(features_TD)),
        texts=tuple(dict.fromkeys(text for texts in captions_of(row).values() for text in texts)),
    )


def near_duplicates(
    motions: Sequence[DescribedMotion], threshold_mm: float = NEAR_MM
) -> dict[str, SourceDuplicates]:
    """Compare the test motions of each source with all training motions.

    Args:
        motions: motions of all splits.
        threshold_mm: distance below which motions are near-duplicates.

    Returns:
        The figures of each source with test motions, by name.

    Raises:
        ValueError: there are no training motions.
    """
    test = [motion for motion in motions if motion.split == "test"]
    train = [motion for motion in motions if motion.split == "train"]
    groups = {motion.group for motion in train}
    texts = list(dict.fromkeys(text for motion in train for text in motion.texts))
    known = {normalized_text(text) for text in texts}
    by_source: defaultdict[str, list[tuple[DescribedMotion, NearMotion]]] = defaultdict(list)
    for motion, near in zip(test, nearest_motions(test, train), strict=True):
        by_source[motion.source].append((motion, near))
    found: dict[str, SourceDuplicates] = {}
    for source, pairs in sorted(by_source.items()):
        own = list(dict.fromkeys(text for motion, _ in pairs for text in motion.texts))
        same = [normalized_text(text) in known for text in own]
        near_texts = nearest_texts(own, texts)
        unlike = [near for near, equal in zip(near_texts, same, strict=True) if not equal]
        nearest: dict[str, NearMotion] = {}
        for motion, near in sorted(pairs, key=lambda pair: pair[1].distance_mm):
            nearest.setdefault(motion.group, near)
        found[source] = SourceDuplicates(
            test=len(pairs),
            train=sum(motion.source == source for motion in train),
            near=_share([near.distance_mm < threshold_mm for _, near in pairs]),
            median_mm=float(np.median([near.distance_mm for _, near in pairs])),
            same_group=_share([motion.group in groups for motion, _ in pairs]),
            texts=len(own),
            same_texts=_share(same),
            near_texts=_share([near.cosine >= NEAR_COSINE for near in near_texts]),
            examples=tuple(nearest.values())[:_SHOWN],
            text_examples=tuple(sorted(unlike, key=lambda near: -near.cosine)[:_SHOWN]),
        )
    return found


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
