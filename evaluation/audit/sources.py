"""Read any text and motion dataset in shards: ours, one in HumanML3D's layout, a folder of BVH.

- **Ours**: the table ``motions``. A shard is a row group.
- **HumanML3D's layout**: ``new_joint_vecs/<name>.npy`` (T, 263) or ``new_joints/<name>.npy``
  (T, 22, 3) or both, ``texts/<name>.txt`` with lines ``caption#tagged words#start_s#end_s``, and
  ``{train,val,test}.txt``. A name with an ``M`` in front is the mirror image of the name without.
- **BVH**: ``**/<name>.bvh`` with ``<name>.txt`` beside it or in ``texts/``, in lines of that form
  or with the caption alone, and the same split lists.

Files are foreign: shards are read in worker processes.

Shapes: T frames at 20 fps, J = 22 joints, D = 263 features.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data.arrays import BoolArray, FloatArray
from data.errors import ItemError, Reason
from data.importers.archives import read_small_file
from data.importers.bvh import read_bvh
from data.importers.humanml3d import load_array
from data.motion.features import features_to_joints, joints_to_features
from data.motion.quality import resample
from data.motion.skeleton import FPS, NUM_FEATURES, NUM_JOINTS, heading_rad
from data.plain_text import MAX_TEXT_CHARS, plain_text
from data.schemas import load_credible, load_features
from data.store.dataset import Dataset, open_part
from data.store.manifest import MANIFEST
from data.store.parquet import read_batches, table_rows
from evaluation.audit.findings import Finding, Fix, Kind, Severity

SPLITS: Final = ("train", "val", "test")
SHARD_FILES: Final = 64
"""Motions of a shard of files."""
_COLUMNS: Final = (
    *("motion_id", "group", "split", "mirrored_of", "texts", "num_frames", "num_features"),
    *("features", "credible"),
)
VECTORS, JOINTS, TEXTS = "new_joint_vecs", "new_joints", "texts"


class Layout(StrEnum):
    """Layout of a dataset."""

    DATASET = "dataset"
    HUMANML3D = "humanml3d"
    BVH = "bvh"


@dataclass(frozen=True, slots=True)
class ItemText:
    """A text of a motion.

    Attributes:
        text: the text.
        start_s, end_s: described part, seconds; ``end_s`` is infinite for all of the motion.
        line: number of its line, from 1, or its index in the row.
    """

    text: str
    start_s: float
    end_s: float
    line: int


@dataclass(frozen=True, slots=True)
class Item:
    """A motion with its texts.

    Attributes:
        item_id: id of the motion, or its name.
        split: its split; empty without one.
        mirrored_of: the motion that it is the mirror image of; else empty.
        group: what is known to belong together, such as a subject; empty if nothing is.
        texts: its texts.
        features_TD: (T, 263), not normalized; None if there are none that can be read.
        joints_TJ3: (T, 22, 3) of the file of joints, as it is; None without one.
        credible_TJ: (T, 22) joints that were seen; None if all were.
        problems: findings of reading it.
    """

    item_id: str
    split: str = ""
    mirrored_of: str = ""
    group: str = ""
    texts: tuple[ItemText, ...] = ()
    features_TD: FloatArray | None = None
    joints_TJ3: FloatArray | None = None
    credible_TJ: BoolArray | None = None
    problems: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a dataset that one call of a worker reads.

    Attributes:
        number: number of the shard.
        root: folder of the dataset.
        layout: its layout.
        splits: names of the motions with their splits.
        part, row_group: file and row group of a dataset of ours.
        most: number of motions that are read.
    """

    number: int
    root: Path
    layout: Layout
    splits: Mapping[str, str] = field(default_factory=dict[str, str])
    part: Path | None = None
    row_group: int = 0
    most: int = 2**62


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that can be audited.

    Attributes:
        root: its folder.
        layout: its layout.
        shards: its motions.
        count: number of motions.
        findings: what the names alone show.
        fingerprint: changes with the content.
    """

    root: Path
    layout: Layout
    shards: Sequence[Shard]
    count: int
    findings: Sequence[Finding]
    fingerprint: str


def open_source(root: Path, limit: int = 0) -> Source:
    """Find out what a folder holds.

    Args:
        root: the folder.
        limit: number of motions to read, the first ones by name; 0 reads all.

    Raises:
        ValueError: it is no dataset of a known layout, or has no motions.
        data.store.manifest.DatasetError: it is a damaged dataset of ours.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise ValueError(
            f"{root}: expected the folder of a dataset, found {found}. Remedy: give a dataset of "
            "ours, a folder with new_joint_vecs or new_joints and texts, or one of .bvh files."
        )
    if (root / MANIFEST).is_file():
        return _open_dataset(root, limit)
    if (root / VECTORS).is_dir() or (root / JOINTS).is_dir():
        return _open_humanml3d(root, limit)
    files = _bvh_files(root)
    if not files:
        raise ValueError(
            f"{root}: expected a dataset of ours ({MANIFEST}), a folder {VECTORS} or {JOINTS}, or "
            ".bvh files, found none of them. Remedy: give the folder that holds them."
        )
    return _open_bvh(root, files, limit)


def read_shard(shard: Shard) -> Iterator[Item]:
    """Yield the motions of a shard."""
    if shard.layout is Layout.DATASET:
        yield from _read_rows(shard)
        return
    read = _read_humanml3d if shard.layout is Layout.HUMANML3D else _read_bvh
    names = set(shard.splits)
    for name in sorted(names):
        yield read(shard.root, name, shard.splits[name])


# ------------------------------------------------------------------------------------------- ours


def _open_dataset(root: Path, limit: int) -> Source:
    dataset = Dataset(root)
    count = dataset.num_rows("motions")
    if not count:
        raise ValueError(
            f"{root}: expected rows in the table motions, found none. Remedy: make motions of its "
            f"videos with `avatargpt import-motions {root} --dataset OTHER`, and audit OTHER."
        )
    shards: list[Shard] = []
    left = limit or count
    for part in dataset.parts("motions"):
        with open_part(part) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        for group, size in enumerate(sizes):
            if left > 0:
                shard = Shard(len(shards), root, Layout.DATASET, {}, part, group, min(size, left))
                shards.append(shard)
                left -= size
    manifest = str(dataset.manifest["tables"]["motions"])
    return Source(
        root, Layout.DATASET, shards, min(count, limit or count), (), _digest(manifest, str(limit))
    )


def _read_rows(shard: Shard) -> Iterator[Item]:
    left = shard.most
    with open_part(shard.part or Path()) as file:
        for batch in read_batches(file, "motions", _COLUMNS, groups=[shard.row_group]):
            for row in table_rows(batch):
                if left:
                    left -= 1
                    yield _of_row(row)


def _of_row(row: Mapping[str, Any]) -> Item:
    texts = tuple(
        ItemText(text["text"] or "", text["start_s"], text["end_s"], number)
        for number, text in enumerate(row["texts"] if row["texts"] is not None else ())
        if text["level"] != "coarse"
    )
    split = row["split"] or ""
    features_TD = load_features(row)
    problems = _length_problems(row["motion_id"], split, texts, len(features_TD) / FPS, "texts")
    if not texts:
        problems.append(_no_text(row["motion_id"], split, "texts"))
    return Item(
        row["motion_id"],
        split,
        row["mirrored_of"] or "",
        row["group"] or "",
        texts,
        features_TD,
        None,
        load_credible(row),
        tuple(problems),
    )


# -------------------------------------------------------------------------------------- humanml3d


def _open_humanml3d(root: Path, limit: int) -> Source:
    vectors, joints, texts = (
        {path.stem for path in (root / folder).glob(f"*{suffix}")}
        for folder, suffix in ((VECTORS, ".npy"), (JOINTS, ".npy"), (TEXTS, ".txt"))
    )
    names = sorted(vectors | joints)
    if not names:
        raise ValueError(
            f"{root}: expected .npy files in {VECTORS} or {JOINTS}, found none. Remedy: check that "
            "the folder was copied completely."
        )
    splits, findings = _read_splits(root)
    has_both = bool(vectors and joints)
    findings += [
        _text_alone(name, f"motion in {VECTORS} or {JOINTS}", splits)
        for name in sorted(texts - vectors - joints)
    ]
    for name in sorted(vectors ^ joints) if has_both else ():
        there, missing = (VECTORS, JOINTS) if name in vectors else (JOINTS, VECTORS)
        findings.append(
            Finding(
                Kind.MOTION_MISSING,
                name,
                f"{there}/{name}.npy is there, {missing}/{name}.npy is not",
                splits.get(name, ""),
                field=f"{missing}/{name}.npy",
                severity=Severity.WARNING,
            )
        )
    findings += _split_findings(names, splits)
    return _files_source(root, Layout.HUMANML3D, names, splits, findings, limit)


def _text_alone(name: str, missing: str, splits: Mapping[str, str]) -> Finding:
    """Return the finding that texts have no motion."""
    file = f"{TEXTS}/{name}.txt"
    why = f"{file} has no {missing}"
    split = splits.get(name, "")
    return Finding(Kind.MOTION_MISSING, name, why, split, field=file, fix=Fix.DROP_MOTION)


def _files_source(
    root: Path,
    layout: Layout,
    names: Sequence[str],
    splits: Mapping[str, str],
    findings: list[Finding],
    limit: int,
) -> Source:
    read = names[: limit or None]
    shards = [
        Shard(number, root, layout, {name: splits.get(name, "") for name in together})
        for number, together in enumerate(
            read[first : first + SHARD_FILES] for first in range(0, len(read), SHARD_FILES)
        )
    ]
    folders = (VECTORS, JOINTS, TEXTS) if layout is Layout.HUMANML3D else (".", TEXTS)
    mark = _digest(*_stamps(root, folders), *(f"{name}={split}" for name, split in splits.items()))
    return Source(root, layout, shards, len(read), findings, f"{mark}-{len(read)}")


def _stamps(root: Path, folders: Sequence[str]) -> Iterator[str]:
    """Yield name, size and time of all files, in order."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                facts = path.stat()
                yield f"{path.relative_to(root)} {facts.st_size} {facts.st_mtime_ns}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _read_splits(root: Path) -> tuple[dict[str, str], list[Finding]]:
    """Read the split lists. A name of several ones belongs to the first."""
    listed: dict[str, list[str]] = defaultdict(list)
    findings: list[Finding] = []
    for split in SPLITS:
        file = root / f"{split}.txt"
        if not file.is_file():
            continue
        try:
            names = read_small_file(file).decode("utf-8").split()
        except (ItemError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{file}: expected a list of names in UTF-8, found: {error}. Remedy: correct it."
            ) from error
        for name in dict.fromkeys(names):
            listed[name].append(split)
    for name, of_name in listed.items():
        if len(of_name) > 1:
            findings.append(
                Finding(
                    Kind.IN_TWO_SPLITS,
                    name,
                    f"listed in {' and '.join(f'{split}.txt' for split in of_name)}",
                    of_name[0],
                    field=f"{of_name[1]}.txt",
                    fix=Fix.TO_TRAIN if "train" in of_name else Fix.DROP_NAME,
                )
            )
    return {name: of_name[0] for name, of_name in listed.items()}, findings


def _split_findings(names: Sequence[str], splits: Mapping[str, str]) -> Iterator[Finding]:
    there = set(names)
    for name, split in splits.items():
        if name not in there:
            yield Finding(
                Kind.NAME_WITHOUT_FILES,
                name,
                f"{split}.txt lists it, and there is no motion of that name",
                split,
                field=f"{split}.txt",
                fix=Fix.DROP_NAME,
            )
    for name in names if splits else ():
        if name not in splits:
            yield Finding(Kind.NOT_IN_A_SPLIT, name, "listed in none of the splits")


def _read_humanml3d(root: Path, name: str, split: str) -> Item:
    problems: list[Finding] = []
    vectors = root / VECTORS / f"{name}.npy"
    joints = root / JOINTS / f"{name}.npy"
    features_TD = _array(vectors, name, split, (NUM_FEATURES,), problems)
    joints_TJ3 = _array(joints, name, split, (NUM_JOINTS, 3), problems)
    if features_TD is not None and joints_TJ3 is not None:
        problems += _disagreement(name, split, features_TD, joints_TJ3)
    elif features_TD is None and joints_TJ3 is not None and not vectors.is_file():
        features_TD = _features_of(joints_TJ3, name, split, problems)
    length_s = len(features_TD) / FPS if features_TD is not None else math.inf
    texts = _read_texts(root / TEXTS / f"{name}.txt", name, split, length_s, problems)
    original = root / VECTORS / f"{name[1:]}.npy", root / JOINTS / f"{name[1:]}.npy"
    mirrored = name.startswith("M") and any(path.is_file() for path in original)
    return Item(
        name,
        split,
        name[1:] if mirrored else "",
        "",
        texts,
        features_TD,
        joints_TJ3,
        None,
        tuple(problems),
    )


def _array(
    path: Path, name: str, split: str, shape: tuple[int, ...], problems: list[Finding]
) -> FloatArray | None:
    """Read an array of (T, *shape); what is wrong is noted."""
    if not path.is_file():
        return None
    field_name = f"{path.parent.name}/{path.name}"
    note = partial(Finding, item_id=name, split=split, field=field_name, fix=Fix.DROP_MOTION)
    try:
        array = load_array(path)
    except ItemError as error:
        problems.append(note(Kind.UNREADABLE, measurement=error.detail))
        return None
    if array.ndim == 2 and array.shape[1] == math.prod(shape) and len(shape) > 1:
        array = array.reshape(-1, *shape)
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape or not len(array):
        expected = ", ".join(map(str, shape))
        problems.append(
            note(
                Kind.WRONG_SHAPE,
                measurement=f"expected (T, {expected}) with T of 1 or more, found {array.shape}",
            )
        )
        return None
    return array.astype(np.float32)


def _features_of(
    joints_TJ3: FloatArray, name: str, split: str, problems: list[Finding]
) -> FloatArray | None:
    """Compute the features of joints; what is wrong is noted."""
    if not np.isfinite(joints_TJ3).all():
        bad = int((~np.isfinite(joints_TJ3)).any(axis=(1, 2)).sum())
        measured = f"{bad} of {len(joints_TJ3)} frames have values that are not finite"
        problems.append(
            Finding(Kind.NON_FINITE, name, measured, split, value=bad, fix=Fix.DROP_MOTION)
        )
        return None
    try:
        return np.asarray(joints_to_features(joints_TJ3), np.float32)
    except ValueError as error:
        problems.append(Finding(Kind.WRONG_SHAPE, name, str(error), split, fix=Fix.DROP_MOTION))
        return None


DISAGREE_M: Final = 0.05
"""Mean distance of a joint from where the features put it. The published files agree to 2e-7 m."""


def _disagreement(
    name: str, split: str, features_TD: FloatArray, joints_TJ3: FloatArray
) -> Iterator[Finding]:
    rows, frames = len(features_TD), len(joints_TJ3)
    note = partial(
        Finding,
        Kind.JOINTS_DISAGREE,
        name,
        split=split,
        field=f"{JOINTS}/{name}.npy",
        fix=Fix.DROP_MOTION,
    )
    if frames - rows not in (0, 1):
        measured = (
            f"{rows} feature vectors and {frames} frames of joints; expected {rows} or {rows + 1}"
        )
        yield note(measured, value=frames - rows, threshold=1)
        return
    if not (np.isfinite(features_TD).all() and np.isfinite(joints_TJ3).all()):
        return
    placed = features_to_joints(features_TD)
    # The first frame may stand elsewhere and face another way.
    off_m = float(
        np.linalg.norm(_at_origin(placed) - _at_origin(joints_TJ3[:rows]), axis=-1).mean()
    )
    if off_m > DISAGREE_M:
        yield note(
            f"joints are {100 * off_m:.0f} cm from where the feature vectors put them, on average",
            value=off_m,
            threshold=DISAGREE_M,
        )


def _at_origin(joints_TJ3: FloatArray) -> FloatArray:
    """Move and turn a motion so that it begins at the origin, facing +z."""
    moved_TJ3 = joints_TJ3 - joints_TJ3[:1, :1] * np.array([1.0, 0.0, 1.0])
    yaw = float(heading_rad(joints_TJ3[:1])[0])
    x, z = moved_TJ3[..., 0], moved_TJ3[..., 2]
    turned = (
        np.cos(yaw) * x - np.sin(yaw) * z,
        moved_TJ3[..., 1],
        np.sin(yaw) * x + np.cos(yaw) * z,
    )
    return np.stack(turned, axis=-1)


# -------------------------------------------------------------------------------------------- bvh


def _bvh_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix.lower() == ".bvh")


def _open_bvh(root: Path, files: Sequence[Path], limit: int) -> Source:
    names = [str(path.relative_to(root).with_suffix("")) for path in files]
    splits, findings = _read_splits(root)
    texts = {
        str(path.relative_to(root / TEXTS).with_suffix(""))
        for path in (root / TEXTS).rglob("*.txt")
    }
    findings += [_text_alone(name, f"{name}.bvh", splits) for name in sorted(texts - set(names))]
    findings += _split_findings(names, splits)
    return _files_source(root, Layout.BVH, names, splits, findings, limit)


def bvh_file(root: Path, name: str) -> Path:
    """Return the BVH file of a name."""
    files = [root / f"{name}{suffix}" for suffix in (".bvh", ".BVH", ".Bvh")]
    return next((file for file in files if file.is_file()), files[0])


def text_file(root: Path, name: str, layout: Layout) -> Path:
    """Return the file of the texts of a name, which need not exist."""
    beside = root / f"{name}.txt"
    return beside if layout is Layout.BVH and beside.is_file() else root / TEXTS / f"{name}.txt"


def _read_bvh(root: Path, name: str, split: str) -> Item:
    problems: list[Finding] = []
    path = bvh_file(root, name)
    features_TD: FloatArray | None = None
    joints_TJ3: FloatArray | None = None
    group = ""
    try:
        motion = read_bvh(read_small_file(path), name, str(path), path.stem)
        group = motion.group
        if motion.joints_TJ3 is None or len(motion.joints_TJ3) < 2:
            raise ItemError(Reason.TOO_SHORT, "expected 2 frames or more, found fewer.", "")
        joints_TJ3 = resample(motion.joints_TJ3, motion.fps)
        features_TD = _features_of(joints_TJ3, name, split, problems)
    except ItemError as error:
        kind = Kind.SCALE if error.reason is Reason.WRONG_SKELETON else Kind.UNREADABLE
        problems.append(
            Finding(kind, name, error.detail, split, field=path.name, fix=Fix.DROP_MOTION)
        )
    length_s = len(features_TD) / FPS if features_TD is not None else math.inf
    texts = _read_texts(text_file(root, name, Layout.BVH), name, split, length_s, problems)
    return Item(name, split, "", group, texts, features_TD, joints_TJ3, None, tuple(problems))


# ------------------------------------------------------------------------------------------ texts


def _no_text(name: str, split: str, field_name: str) -> Finding:
    return Finding(Kind.TEXT_MISSING, name, "the motion has no text", split, field=field_name)


def _read_texts(
    path: Path, name: str, split: str, length_s: float, problems: list[Finding]
) -> tuple[ItemText, ...]:
    """Read the texts of a motion; what is wrong is noted."""
    note = partial(Finding, item_id=name, split=split, field=f"{TEXTS}/{path.name}")
    try:
        content = read_small_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        problems.append(note(Kind.UNREADABLE, measurement=f"expected UTF-8, found: {error}"))
        return ()
    except ItemError as error:
        missing = error.reason is Reason.NOT_FOUND
        kind = Kind.TEXT_MISSING if missing else Kind.UNREADABLE
        measured = "the motion has no file of texts" if missing else error.detail
        problems.append(note(kind, measurement=measured))
        return ()
    texts: list[ItemText] = []
    for line, raw in enumerate(content.splitlines(), 1):
        if not raw.strip():
            continue
        read = parse_line(raw, line)
        if isinstance(read, str):
            measured = f"line {line}: {read}"
            bad = note(Kind.BAD_LINE, measurement=measured, text=raw[:200], text_index=len(texts))
            problems.append(_with_line(bad, line))
        else:
            texts.append(read)
    if not texts and not problems:
        problems.append(_no_text(name, split, f"{TEXTS}/{path.name}"))
    problems += _length_problems(name, split, texts, length_s, f"{TEXTS}/{path.name}")
    return tuple(texts)


def _with_line(finding: Finding, line: int) -> Finding:
    # A malformed line is no text, so that the cleaned copy finds it by its number.
    return replace(finding, value=float(line), fix=Fix.DROP_TEXT)


def parse_line(raw: str, line: int) -> ItemText | str:
    """Read a line of a file of texts.

    Args:
        raw: ``caption#tagged words#start_s#end_s``, or a caption alone.
        line: its number.

    Returns:
        The text; or what is wrong, in words.
    """
    parts = raw.split("#")
    text = plain_text(parts[0], MAX_TEXT_CHARS).strip()
    if len(parts) == 1:
        return ItemText(text, 0.0, math.inf, line)
    if len(parts) != 4:
        return f"expected caption#tagged words#start#end, found {len(parts)} parts"
    try:
        times = [0.0 if part.strip() == "nan" else float(part) for part in parts[2:]]
    except ValueError:
        return f"expected times in seconds, found {parts[2][:20]!r} and {parts[3][:20]!r}"
    start_s, end_s = times
    if not (math.isfinite(start_s) and math.isfinite(end_s)) or not 0 <= start_s <= end_s:
        return f"expected 0 <= start <= end, found {start_s:g} and {end_s:g}"
    if start_s == end_s == 0:
        return ItemText(text, 0.0, math.inf, line)
    return ItemText(text, start_s, end_s, line)


SPAN_TOLERANCE_S: Final = 0.15
"""Times are given in a tenth of a second, and features lack the last frame."""


def _length_problems(
    name: str, split: str, texts: Sequence[ItemText], length_s: float, field_name: str
) -> list[Finding]:
    """Note the texts whose times are not inside the motion."""
    found: list[Finding] = []
    for index, text in enumerate(texts):
        if math.isinf(text.end_s) or text.end_s <= length_s + SPAN_TOLERANCE_S:
            continue
        # Whatever is left of the span is what the text may describe.
        fix = Fix.RETIME if text.start_s + 0.5 < length_s else Fix.DROP_TEXT
        found.append(
            Finding(
                Kind.SPAN_OUTSIDE,
                name,
                f"the text is on {text.start_s:g} to {text.end_s:g} s, the motion lasts "
                f"{length_s:.2f} s",
                split,
                index,
                text.text,
                field_name,
                text.end_s,
                length_s,
                text.start_s,
                text.end_s,
                fix=fix,
            )
        )
    return found
