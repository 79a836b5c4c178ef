"""Import a HumanML3D folder (or KIT-ML in its layout): features, timed captions and splits.

``<root>/new_joint_vecs/<id>.npy`` (T, 263), ``<root>/texts/<id>.txt`` with lines
``caption#tagged words#start_s#end_s``, ``<root>/{train,val,test}.txt``. Times (0, 0) mean the whole
motion. Other times crop it, as in the published loader, and each crop becomes a separate motion.

:func:`read_human_texts` reads KIT-ML's original texts (``<id>_annotations.json``, with the motion's
id in ``<id>_meta.json``) and lists of texts, which are joined to motions of another source.

Shapes: T rows, D = 263 features.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.importers.archives import StoredArray, file_chunks, open_npy, read_small_file
from data.importers.search import Search, rejected
from data.motion.skeleton import FPS, NUM_FEATURES
from data.motion.splits import Split
from data.motion_records import ContentId, Found, ImportedMotion, MotionText, Pending, content_id
from data.plain_text import MAX_TEXT_CHARS, plain_text

KNOWN_BAD: Final[Mapping[str, str]] = {
    "007975": "values that are not numbers",
    "009707": "one frame only",
    "011059": "one frame only",
}
"""Defective clips of the published dataset. Their mirror images are defective, too."""
MAX_LENGTH_S: Final = 24 * 3600.0
LICENSE: Final = "HumanML3D texts: MIT; motions: AMASS and HumanAct12 terms, research only"
_SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    start_s: float
    end_s: float

    @property
    def is_whole(self) -> bool:
        return self.start_s == self.end_s == 0.0


def is_humanml3d(path: Path) -> bool:
    """Whether a folder has this layout."""
    return (path / "new_joint_vecs").is_dir()


def list_humanml3d(root: Path) -> Iterator[Search]:
    """List the files of a folder. Each holds a motion, and further motions for its crops.

    Args:
        root: folder with ``new_joint_vecs``, and optionally ``texts`` and split lists.

    Raises:
        ItemError: a split list cannot be read.
    """
    splits = _read_splits(root)
    for path in sorted((root / "new_joint_vecs").glob("*.npy")):
        # A mirror image is in the split of its original, whatever the lists state.
        split = splits.get(path.stem.removeprefix("M")) or splits.get(path.stem)
        yield Search.of(path, partial(_find_one, root, split))


def _find_one(root: Path, split: Split | None, path: Path) -> Found:
    name, item = path.stem, str(path)
    why = KNOWN_BAD.get(name.removeprefix("M"))
    if why is not None:
        error = ItemError(
            Reason.KNOWN_BAD, f"expected a usable clip, found {why}.", "Leave it out."
        )
        yield rejected(content_id("humanml3d", name), item, error)
        return
    lines, problems = _read_texts(root / "texts" / f"{name}.txt")
    for problem in problems:
        yield rejected(content_id("humanml3d", name, problem.detail), item, problem)
    # The id is a hash of the vector's bytes, so it is equal for every copy of the dataset.
    content = ContentId("humanml3d", file_chunks(path))
    whole = [line for line in lines if line.is_whole]
    crops: dict[tuple[float, float], list[_Line]] = defaultdict(list)
    for line in lines:
        if not line.is_whole:
            crops[line.start_s, line.end_s].append(line)
    original = root / "new_joint_vecs" / f"{name[1:]}.npy"
    mirrored = name.startswith("M") and original.is_file()
    twin = ContentId("humanml3d", file_chunks(original)) if mirrored else None
    read = partial(_read, path=path, name=name, split=split)
    spans = [(None, whole)] if whole or not crops else []
    for span, captions in (*spans, *sorted(crops.items())):
        motion_id = content.with_parts(f"{span}")
        mirrored_of = twin.with_parts(f"{span}") if twin else ""
        suffix = "" if span is None else f"#{span[0]:g}-{span[1]:g}"
        source_id = f"{name}{suffix}"
        yield Pending(
            motion_id,
            source_id,
            f"{item}{suffix}",
            partial(read, motion_id, source_id, span, captions, mirrored_of),
        )


def _read_splits(root: Path) -> dict[str, Split]:
    found: dict[str, Split] = {}
    for split in _SPLITS:
        path = root / f"{split}.txt"
        if path.is_file():
            found |= dict.fromkeys(_read_utf8(path).split(), split)
    return found


def _read_utf8(path: Path) -> str:
    try:
        return read_small_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected UTF-8 in {path.name}, found the byte 0x{error.object[error.start]:02x} at "
            f"{error.start}.",
            "Convert it (iconv -f latin1 -t utf-8).",
        ) from error


def _read_texts(path: Path) -> tuple[list[_Line], list[ItemError]]:
    """Read the captions of a motion, and the errors in its file. A missing file has no captions."""
    lines: list[_Line] = []
    problems: list[ItemError] = []
    try:
        content = _read_utf8(path)
    except ItemError as error:
        return [], [] if error.reason is Reason.NOT_FOUND else [error]
    for number, raw in enumerate(content.splitlines(), 1):
        if not raw.strip():
            continue
        parts = raw.rsplit("#", 2)
        try:
            start_s, end_s = (0.0 if part.strip() == "nan" else float(part) for part in parts[1:])
            text = plain_text(parts[0].split("#")[0], MAX_TEXT_CHARS).strip()
            if len(parts) != 3 or not text or not 0 <= start_s <= end_s <= MAX_LENGTH_S:
                raise ValueError
        except ValueError:
            problem = ItemError(
                Reason.WRONG_FORM,
                f"expected 'caption#tagged words#start#end' in line {number} of {path.name}, "
                f"found {raw[:60]!r}.",
                "Correct the line.",
            )
            problems.append(problem)
            continue
        lines.append(_Line(text, start_s, end_s))
    return lines, problems


def load_array(path: Path) -> NDArray[np.floating[Any]]:
    """Read a NumPy file with one array of numbers. Nothing is unpickled.

    Raises:
        ItemError: the file holds something else.
    """
    with open_npy(path) as array:
        require_numbers(array, path)
        return array.read()


def require_numbers(array: StoredArray, path: Path) -> None:
    """Check that an array has numbers, before it is read.

    Raises:
        ItemError: it holds something else.
    """
    if array.dtype.kind not in "fiu":
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected an array of numbers in {path.name}, found {array.dtype}.",
            "Save it with numpy.save, without objects.",
        )


def _read(
    motion_id: str,
    source_id: str,
    span: tuple[float, float] | None,
    lines: list[_Line],
    mirrored_of: str,
    *,
    path: Path,
    name: str,
    split: Split | None,
) -> ImportedMotion:
    features = load_array(path)
    if features.ndim != 2 or features.shape[1] != NUM_FEATURES:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected (T, {NUM_FEATURES}) features, found {features.shape}.",
            "KIT-ML's own 21-joint features do not fit: import its motions as joints.",
        )
    if span is not None:
        features = features[int(span[0] * FPS) : int(span[1] * FPS)]
    length_s = len(features) / FPS
    return ImportedMotion(
        motion_id=motion_id,
        source="humanml3d",
        source_path=str(path),
        source_id=source_id,
        fps=Fraction(FPS),
        features_TD=features.astype(np.float32),
        # A motion, its crops and its mirror image stay in one split.
        group=f"humanml3d/{name.removeprefix('M')}",
        split=split,
        texts=tuple(MotionText(line.text, 0.0, length_s, "medium", "humanml3d") for line in lines),
        license=LICENSE,
        mirrored_of=mirrored_of,
    )


# ------------------------------------------------------------------- texts of other motions' files


def read_human_texts(path: Path) -> dict[str, tuple[MotionText, ...]]:
    """Read what people wrote about motions, by motion id; it is joined to another source's motions.

    Args:
        path: a folder of KIT-ML's release, or a JSON Lines file, as ``mocap/cmu_texts.jsonl`` of
            the project's shared data. Its rows have ``key`` (or ``cmu_id``), ``kit``, a list of
            ``{"captions": [...]}``, and ``humanml3d``, a list of clips of the motion:
            ``{"start_20fps": 19, "end_20fps": 219, "captions": [...]}``. The captions of a clip
            describe all of it: times within the clip, which some of them have, contradict them.

    Returns:
        Texts by source id, e.g. ``07_01``. ``end_s`` is infinite for texts of a whole motion.

    Raises:
        ValueError: the path is neither.
    """
    found: defaultdict[str, list[MotionText]] = defaultdict(list)
    try:
        if path.is_dir():
            for file in sorted(path.glob("*_annotations.json")):
                # Without a meta file, the KIT-ML id is the motion's id.
                meta = file.with_name(file.name.replace("_annotations", "_meta"))
                name = file.name.removesuffix("_annotations.json")
                if meta.is_file():
                    name = str(json.loads(read_small_file(meta))["source"]["motion_id"])
                found[text_key(name)] += _of_span(json.loads(read_small_file(file)), "kit-ml")
        else:
            for line in read_small_file(path).decode("utf-8").splitlines():
                row = json.loads(line)
                texts = found[text_key(row.get("cmu_id") or row["key"])]
                for kit in row.get("kit", ()):
                    texts += _of_span(kit["captions"], "kit-ml")
                for clip in row.get("humanml3d", ()):
                    span_s = clip["start_20fps"] / FPS, clip["end_20fps"] / FPS
                    texts += _of_span(clip.get("captions", ()), "humanml3d", *span_s)
        return {name: tuple(dict.fromkeys(texts)) for name, texts in found.items() if texts}
    except (
        ItemError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{path}: expected KIT-ML texts (<id>_annotations.json with <id>_meta.json, or JSON "
            f"Lines with key, kit and humanml3d), found {type(error).__name__}: {error}. "
            "Remedy: correct it."
        ) from error


def _of_span(
    texts: Iterable[str], source: str, start_s: float = 0.0, end_s: float = math.inf
) -> list[MotionText]:
    return [
        MotionText(plain_text(text, MAX_TEXT_CHARS), start_s, end_s, "medium", source)
        for text in texts
    ]


def text_key(name: str) -> str:
    """Key that joins texts to motions: the CMU number in a name (``CMU_07_03`` is ``07_03``)."""
    found = re.search(r"(\d+_\d+)$", name)
    return found.group(1) if found else name
