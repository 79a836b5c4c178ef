"""What is wrong between the motions of a dataset: copies, leaks, texts of other motions.

Each motion is reduced to a *digest* of about 15 kB; the digests of all motions are held at once.

Shapes: N motions, M motions of a block, K numbers of a descriptor, k neighbors, W words.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from annotators.motion.describe import MotionDescription
from annotators.motion.events import EventKind
from data.arrays import FloatArray
from data.config import Config
from data.motion.features import mirror_features, mirror_text
from data.motion.skeleton import FPS
from data.records import Verdict
from evaluation.audit.findings import Finding, Fix, Kind, Severity
from evaluation.audit.recordings import (
    TRACK_SIZE,
    RecordingLimits,
    SameRecording,
    body_track,
    same_recordings,
)
from evaluation.audit.sources import SPLITS, Item
from evaluation.duplicates import (
    NEAR_COSINE,
    NEAR_MM,
    descriptor_distances,
    motion_descriptor,
    normalized_text,
    text_weights,
)

_HELD_OUT: Final = ("test", "val")
_BLOCK: Final = 256
_MAX_COMPARED: Final = 20_000
"""Motions that each one is compared with for its neighbors; of more, a fair sample is taken."""
_SHOWN: Final = 3

DIGEST: Final = pa.schema(
    [
        ("item_id", pa.string()),
        ("split", pa.string()),
        ("mirrored_of", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("verdicts", pa.list_(pa.string())),
        ("cadence", pa.float32()),
        ("descriptor", pa.list_(pa.float32())),
        ("mirrored", pa.list_(pa.float32())),
        ("track", pa.list_(pa.float32())),
    ]
)
"""Columns of the digests of a shard."""


class BetweenLimits(Config):
    """Limits of what is compared between motions."""

    recordings: RecordingLimits = Field(default_factory=RecordingLimits)
    mirror_mm: float = Field(
        default=NEAR_MM, gt=0, description="Distance of a mirrored copy from the mirror image."
    )
    neighbors: int = Field(
        default=8, ge=3, description="Most similar motions whose texts are compared."
    )
    near_mm: float = Field(
        default=2 * NEAR_MM, gt=0, description="Distance up to which a motion is a neighbor."
    )
    agreement: float = Field(
        default=0.5, ge=0, le=1, description="Cosine from which the neighbors' texts agree."
    )
    strangeness: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Share of the neighbors' agreement below which a text is a stranger to them.",
    )
    unlike_texts: float = Field(
        default=0.3, ge=0, le=1, description="Cosine below which texts have little in common."
    )
    min_walks: int = Field(default=10, ge=1, description="Walks from which a frame rate is told.")


def digest_row(
    item: Item,
    features_TD: FloatArray,
    joints_TJ3: FloatArray,
    description: MotionDescription,
    verdicts: Sequence[Verdict],
) -> dict[str, Any]:
    """Return the digest of a motion, a row of :data:`DIGEST`."""
    walks = [e for e in description.events if e.kind is EventKind.WALK and e.count > 3]
    walked_s = sum(walk.duration_s for walk in walks)
    return {
        "item_id": item.item_id,
        "split": item.split,
        "mirrored_of": item.mirrored_of,
        "texts": [text.text for text in item.texts],
        "verdicts": [verdict.value for verdict in verdicts],
        "cadence": sum(walk.count for walk in walks) / walked_s if walked_s else None,
        "descriptor": motion_descriptor(features_TD),
        "mirrored": motion_descriptor(mirror_features(features_TD)),
        "track": body_track(joints_TJ3).astype(np.float32).ravel(),
    }


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests of all motions.

    Attributes:
        ids, splits, mirrored_of: of each motion.
        texts, verdicts: of each motion.
        cadence_N: steps per second; NaN without a walk.
        descriptor_NK, mirrored_NK: descriptors of the motions and of their mirror images.
        tracks: their tracks, in a file that is mapped.
        place: place of each motion by its id.
    """

    ids: Sequence[str]
    splits: Sequence[str]
    mirrored_of: Sequence[str]
    texts: Sequence[Sequence[str]]
    verdicts: Sequence[Sequence[str]]
    cadence_N: NDArray[np.float32]
    descriptor_NK: NDArray[np.float32]
    mirrored_NK: NDArray[np.float32]
    tracks: Sequence[FloatArray]
    place: Mapping[str, int]


def read_digests(files: Sequence[Path], folder: Path) -> Digests:
    """Read the digests of all shards.

    Args:
        files: their files.
        folder: folder for the file of the tracks.
    """
    columns: dict[str, list[Any]] = defaultdict(list)
    descriptors: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    lengths: list[int] = []
    tracks_file = folder / "tracks.f16"
    with tracks_file.open("wb") as out:
        for file in files:
            table = pq.read_table(file, schema=DIGEST)
            if not table.num_rows:
                continue
            for name in ("item_id", "split", "mirrored_of", "texts", "verdicts", "cadence"):
                columns[name] += table[name].to_pylist()
            for name in ("descriptor", "mirrored"):
                flat = table[name].combine_chunks().flatten().to_numpy()
                descriptors[name].append(flat.reshape(table.num_rows, -1))
            sizes = [len(track) for track in table["track"]]
            lengths += [size // TRACK_SIZE for size in sizes]
            flat = table["track"].combine_chunks().flatten().to_numpy()
            out.write(flat.astype(np.float16).tobytes())
    ends = np.cumsum([0, *lengths])
    tracks: list[FloatArray] = []
    if ends[-1]:
        mapped = np.memmap(tracks_file, np.float16, "r", shape=(int(ends[-1]), TRACK_SIZE))
        tracks = [mapped[begin:end] for begin, end in itertools.pairwise(ends)]
    cadences = [np.nan if one is None else one for one in columns["cadence"]]
    none = np.zeros((0, 1), np.float32)
    return Digests(
        columns["item_id"],
        columns["split"],
        columns["mirrored_of"],
        columns["texts"],
        columns["verdicts"],
        np.array(cadences, np.float32),
        np.concatenate(descriptors["descriptor"]) if ends[-1] else none,
        np.concatenate(descriptors["mirrored"]) if ends[-1] else none,
        tracks,
        {name: number for number, name in enumerate(columns["item_id"])},
    )


def between_findings(
    digests: Digests,
    limits: BetweenLimits,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[Finding]:
    """Compare the motions of a dataset with each other.

    Args:
        digests: the motions.
        limits: limits.
        report: called with the number of steps that are done, and of all.
    """
    if not digests.ids:
        return
    # A mirror image is where its original is; it is compared with that one only.
    own = np.array([of not in digests.place for of in digests.mirrored_of])
    originals_N = np.flatnonzero(own)
    swaps = list(_of_mirrored(digests, limits))
    yield from swaps
    strangers = _Strangers.of(digests, originals_N, limits)
    yield from strangers.findings
    pairs = list(
        same_recordings(
            [digests.tracks[n] for n in originals_N.tolist()], limits.recordings, report
        )
    )
    leaked: set[str] = set()
    for pair in pairs:
        for finding in _of_pair(digests, originals_N, pair, strangers, limits):
            if finding.kind is Kind.SPLIT_LEAK:
                leaked.add(finding.item_id)
            yield finding
    yield from _near_training(digests, originals_N, leaked)
    yield from _of_all(digests, limits)


# ------------------------------------------------------------------------------------ mirror images


def _of_mirrored(digests: Digests, limits: BetweenLimits) -> Iterator[Finding]:
    for number, original in enumerate(digests.mirrored_of):
        at = digests.place.get(original)
        if at is None:
            continue
        name, split = digests.ids[number], digests.splits[number]
        note = partial(Finding, item_id=name, split=split, other_id=original)
        if split and digests.splits[at] and split != digests.splits[at]:
            yield note(
                Kind.SPLIT_LEAK,
                measurement=f"the mirror image of a motion of {digests.splits[at]} is in {split}",
                fix=Fix.TO_TRAIN,
            )
        off_mm = float(np.linalg.norm(digests.descriptor_NK[number] - digests.mirrored_NK[at]))
        if off_mm > limits.mirror_mm:
            yield note(
                Kind.MIRRORED_MOTION,
                measurement=f"{off_mm:.0f} mm from the mirror image of its original",
                value=off_mm,
                threshold=limits.mirror_mm,
            )
        yield from _unturned_texts(digests, number, at)


def _unturned_texts(digests: Digests, number: int, at: int) -> Iterator[Finding]:
    """Find sides that a mirrored copy names as its original does; one of the two is wrong."""
    of_original = [normalized_text(text) for text in digests.texts[at]]
    for index, text in enumerate(digests.texts[number]):
        turned = normalized_text(mirror_text(text))
        same = normalized_text(text)
        if turned == same or same not in of_original or turned in of_original:
            continue
        other = of_original.index(same)
        copy_is, original_is = digests.verdicts[number][index], digests.verdicts[at][other]
        if copy_is == Verdict.SUPPORTED:
            if original_is == Verdict.CONTRADICTED:
                continue  # It is a finding of the original already.
            wrong, place, right = at, other, digests.ids[number]
        else:
            wrong, place, right = number, index, digests.ids[at]
        yield Finding(
            Kind.MIRRORED_TEXT,
            digests.ids[wrong],
            f"{right} is the mirror image, and has the same sides in its text",
            digests.splits[wrong],
            place,
            digests.texts[wrong][place],
            other_id=right,
            fix=Fix.SWAP_SIDES if wrong == at else Fix.MIRROR_TEXT,
            confidence=0.9,
        )


# ----------------------------------------------------------------------------- texts of neighbors


@dataclass(frozen=True, slots=True)
class _Strangers:
    """How well the texts of each motion agree with those of the most similar motions.

    Attributes:
        findings: motions whose texts are strangers.
        agreement: of each original, by place; NaN without texts or neighbors.
        weights_NW: words of the motions.
    """

    findings: Sequence[Finding]
    agreement: Mapping[int, float]
    weights_NW: csr_array

    @classmethod
    def of(
        cls, digests: Digests, originals_N: NDArray[np.int64], limits: BetweenLimits
    ) -> "_Strangers":
        weights_NW = _words_of(digests)
        told = [any(map(str.strip, digests.texts[n])) for n in map(int, originals_N)]
        told_N = originals_N[told]
        findings: list[Finding] = []
        agreements: dict[int, float] = {}
        if len(told_N) <= limits.neighbors:
            return cls(findings, agreements, weights_NW)
        step = -(-len(told_N) // _MAX_COMPARED)
        compared_M = told_N[::step]
        compared_MK = digests.descriptor_NK[compared_M]
        for first in range(0, len(told_N), _BLOCK):
            block = told_N[first : first + _BLOCK]
            distances = descriptor_distances(digests.descriptor_NK[block], compared_MK)
            distances[block[:, None] == compared_M] = np.inf
            nearest = np.argsort(distances, axis=1)[:, : limits.neighbors]
            for row, number in enumerate(map(int, block)):
                near = nearest[row][distances[row, nearest[row]] <= limits.near_mm]
                if len(near) < limits.neighbors // 2:
                    continue
                neighbors = compared_M[near]
                cosines = (weights_NW[neighbors] @ weights_NW[neighbors].T).toarray()
                among = (cosines.sum() - len(near)) / (len(near) * (len(near) - 1))
                own = _alike(weights_NW[[number]], weights_NW[neighbors])
                agreements[number] = float(own.mean())
                if among < limits.agreement or own.mean() > limits.strangeness * among:
                    continue
                middle = int(neighbors[cosines.sum(axis=1).argmax()].item())
                findings.append(
                    Finding(
                        Kind.OTHER_MOTION,
                        digests.ids[number],
                        f"texts of the {len(near)} most similar motions agree by {among:.2f} with "
                        f"each other, by {own.mean():.2f} with these; for example "
                        f"{digests.texts[middle][0]!r}",
                        digests.splits[number],
                        0,
                        digests.texts[number][0],
                        value=float(own.mean()),
                        threshold=limits.strangeness * among,
                        other_id=digests.ids[middle],
                        confidence=float(min(1.0, among * (1 - own.mean() / among))),
                    )
                )
        return cls(findings, agreements, weights_NW)


def _alike(own_1W: csr_array, others_MW: csr_array) -> NDArray[np.float64]:
    """Return how far texts agree with others, (M,): the cosine, or the share of the other's words.

    A long text that says all that the short one says agrees with it.
    """
    cosine_M = (own_1W @ others_MW.T).toarray()[0]
    has_1W = csr_array((np.ones(len(own_1W.data)), own_1W.indices, own_1W.indptr), own_1W.shape)
    share_M = (has_1W @ others_MW.multiply(others_MW).T).toarray()[0]
    return np.maximum(cosine_M, share_M)


def _words_of(digests: Digests) -> csr_array:
    """Return the weighted words of all texts of each motion, rows of length 1."""
    flat = [text for texts in digests.texts for text in texts]
    owners = np.repeat(np.arange(len(digests.ids)), [len(texts) for texts in digests.texts])
    if not flat:
        return csr_array((len(digests.ids), 1))
    rows = text_weights(flat)
    belongs = csr_array(
        (np.ones(len(flat)), (owners, np.arange(len(flat)))), shape=(len(digests.ids), len(flat))
    )
    summed = csr_array(belongs @ rows)
    lengths = np.sqrt(summed.multiply(summed).sum(axis=1))
    scale = csr_array(
        (1 / np.maximum(lengths, 1e-12), (range(len(lengths)), range(len(lengths)))),
        shape=(len(lengths), len(lengths)),
    )
    return csr_array(scale @ summed)


# ------------------------------------------------------------------------------------- recordings


def _of_pair(
    digests: Digests,
    originals_N: NDArray[np.int64],
    pair: SameRecording,
    strangers: _Strangers,
    limits: BetweenLimits,
) -> Iterator[Finding]:
    one, other = int(originals_N[pair.one]), int(originals_N[pair.other])
    splits = digests.splits[one], digests.splits[other]
    what = "mirrored " if pair.mirrored else ""
    part = "whole" if pair.share >= limits.recordings.whole_share else f"{pair.share:.0%} of it"
    measured = f"{pair.frames / FPS:.1f} s ({part}) agree to {pair.distance_mm:.1f} mm with {what}"
    start_s = pair.start / FPS
    end_s = start_s + pair.frames / FPS
    note = partial(Finding, value=pair.distance_mm, threshold=limits.recordings.same_mm)
    if splits[0] != splits[1] and all(splits):
        # The held-out one is the one to move; of test and val, that of val.
        leaks, stays = sorted((one, other), key=lambda n: _leak_order(digests.splits[n]))
        yield note(
            Kind.SPLIT_LEAK,
            digests.ids[leaks],
            f"{measured}{digests.ids[stays]} of {digests.splits[stays]}",
            digests.splits[leaks],
            text_index=-1,
            text=_first_text(digests, leaks),
            start_s=start_s if leaks == one else None,
            end_s=end_s if leaks == one else None,
            other_id=digests.ids[stays],
            fix=Fix.TO_TRAIN,
        )
    else:
        yield note(
            Kind.DUPLICATE_MOTION,
            digests.ids[other],
            f"{measured}{digests.ids[one]}",
            splits[1],
            text=_first_text(digests, other),
            other_id=digests.ids[one],
        )
    if pair.share < limits.recordings.whole_share or pair.mirrored:
        return
    weights = strangers.weights_NW
    cosine = float((weights[[one]] @ weights[[other]].T).toarray()[0, 0])
    if cosine >= NEAR_COSINE or not (digests.texts[one] and digests.texts[other]):
        return
    doubts = [_doubt(digests, strangers, number) for number in (one, other)]
    is_clear = abs(doubts[0] - doubts[1]) >= _CLEAR_DOUBT
    if cosine >= limits.unlike_texts and not is_clear:
        return  # Two people may say the same in other words.
    wrong, right = (one, other) if doubts[0] >= doubts[1] else (other, one)
    yield Finding(
        Kind.SAME_MOTION_OTHER_TEXT,
        digests.ids[wrong],
        f"{measured}{digests.ids[right]}, and its texts by {cosine:.2f}: "
        f"{_first_text(digests, right)!r}",
        digests.splits[wrong],
        0,
        _first_text(digests, wrong),
        value=cosine,
        threshold=limits.unlike_texts,
        other_id=digests.ids[right],
        confidence=0.9 if is_clear else 0.5,
        severity=Severity.ERROR if is_clear else Severity.WARNING,
    )


_CLEAR_DOUBT: Final = 0.3
"""Difference in doubt from which it is clear which of two motions has the wrong texts."""


def _leak_order(split: str) -> int:
    return ("val", "test", "train").index(split) if split in SPLITS else 3


def _first_text(digests: Digests, number: int) -> str:
    return digests.texts[number][0] if digests.texts[number] else ""


def _doubt(digests: Digests, strangers: _Strangers, number: int) -> float:
    """Return how doubtful it is that the texts of a motion are its own."""
    verdicts = digests.verdicts[number]
    wrong = sum(verdict == Verdict.CONTRADICTED for verdict in verdicts) / max(len(verdicts), 1)
    strange = any(one.item_id == digests.ids[number] for one in strangers.findings)
    return wrong + strange + 1 - strangers.agreement.get(number, 0.5)


def _near_training(
    digests: Digests, originals_N: NDArray[np.int64], leaked: set[str]
) -> Iterator[Finding]:
    """Find test motions that are near one of training on average (docs/dataset.md)."""
    train_M = originals_N[[digests.splits[n] == "train" for n in originals_N]]
    test = originals_N[[digests.splits[n] in _HELD_OUT for n in originals_N]]
    if not len(train_M):
        return
    step = -(-len(train_M) // _MAX_COMPARED)
    train_M = train_M[::step]
    for first in range(0, len(test), _BLOCK):
        block = test[first : first + _BLOCK]
        distances = np.minimum(
            *(
                descriptor_distances(of_NK[block], digests.descriptor_NK[train_M])
                for of_NK in (digests.descriptor_NK, digests.mirrored_NK)
            )
        )
        for row, number in enumerate(map(int, block)):
            place = int(distances[row].argmin())
            off_mm = float(distances[row, place])
            if off_mm < NEAR_MM and digests.ids[number] not in leaked:
                yield Finding(
                    Kind.NEAR_MOTION,
                    digests.ids[number],
                    f"{off_mm:.0f} mm from {digests.ids[int(train_M[place])]} of train on average",
                    digests.splits[number],
                    text=_first_text(digests, number),
                    value=off_mm,
                    threshold=NEAR_MM,
                    other_id=digests.ids[int(train_M[place])],
                    confidence=float(1 - off_mm / NEAR_MM),
                )


# ------------------------------------------------------------------------------------ the dataset

_CADENCE: Final = (1.2, 2.8)
"""Steps per second of people who walk."""
_USUAL_CADENCE: Final = 1.8


def _of_all(digests: Digests, limits: BetweenLimits) -> Iterator[Finding]:
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for split, of_motion in zip(digests.splits, digests.texts, strict=True):
        texts[split].update(dict.fromkeys(map(normalized_text, of_motion), 1))
    for split in _HELD_OUT:
        shared = [text for text in texts[split] if text and text in texts["train"]]
        if shared:
            share = len(shared) / len(texts[split])
            most = sorted(shared, key=lambda text: -texts[split][text])[:_SHOWN]
            yield Finding(
                Kind.TEXT_IN_SPLITS,
                "",
                f"{share:.0%} of {len(texts[split]):,} different texts of {split} are texts of "
                f"train: {'; '.join(map(repr, most))}",
                split,
                value=share,
            )
    known = digests.cadence_N[np.isfinite(digests.cadence_N)]
    if len(known) < limits.min_walks:
        return
    cadence = float(np.median(known))
    if not _CADENCE[0] <= cadence <= _CADENCE[1]:
        guess = FPS * _USUAL_CADENCE / cadence
        yield Finding(
            Kind.FRAME_RATE,
            "",
            f"{len(known):,} walks at 20 frames per second take {cadence:.1f} steps per second; "
            f"people take 1.2 to 2.8. The motions may have about {guess:.0f} frames per second",
            value=cadence,
            threshold=_CADENCE[0] if cadence < _CADENCE[0] else _CADENCE[1],
            severity=Severity.ERROR,
        )
