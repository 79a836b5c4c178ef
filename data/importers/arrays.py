"""Motions in NumPy files: joints (T, 22, 3) or features (T, 263), one per file or many per archive.

- ``.npy``: one array.
- ``.npz`` with an array per motion: each is told by its name.
- ``.npz`` of concatenated motions: ``positions`` (ΣT, 22, 3) with ``offsets`` (N + 1) and ``keys``
  (N), and ``label`` where there is one; the form of this project's shared mocap.

The frame rate is that of the file's ``fps`` (or AMASS's ``mocap_framerate``), else 20.

**SMPL parameters** (AMASS ``poses``, ``betas``, ``trans``) cannot be imported as they are: the body
model that turns them into joints is licensed to its user. Run it (``smplx``: ``body.forward(...)``
gives ``joints``), save the first 22 joints in metres with y up, and import those.

Shapes: T frames, J = 22 joints, D = 263 features.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.importers.archives import open_archive, read_npz_member
from data.importers.humanml3d import load_array
from data.importers.records import Found, ImportedMotion, Pending, content_id, find_in, rejected
from data.motion.features import NUM_FEATURES
from data.motion.skeleton import FPS, NUM_JOINTS
from data.plain_text import MAX_MESSAGE_CHARS, plain_text

Array = NDArray[np.floating[Any]]

_RATE_NAMES: Final = ("fps", "mocap_framerate", "mocap_frame_rate", "frame_rate")
_SMPL_NAMES: Final = frozenset({"poses", "betas", "trans", "root_orient", "pose_body"})


def find_arrays(path: Path) -> Found:
    """The motions of a ``.npy`` or ``.npz`` file, or of a folder of them.

    Args:
        path: the file or folder.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in (".npy", ".npz"):
                yield from find_in(file, find_arrays)
    elif path.suffix.lower() == ".npy":
        yield from find_in(path, _in_file)
    else:
        yield from find_in(path, _in_archive)


def _in_file(path: Path) -> Found:
    array = load_array(path)
    load = partial(load_array, path)
    yield _pending(array, load, str(path), path.stem, Fraction(FPS))


def _in_archive(path: Path) -> Found:
    with open_archive(path) as archive:
        # What is no array (a text file beside them) is left alone.
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        small = {*_RATE_NAMES, "offsets", "keys", "label", "content"} & members.keys()
        facts = {name: read_npz_member(archive, members[name]) for name in sorted(small)}
        fps = _rate(facts)
        if {"positions", "offsets", "keys"} <= members.keys():
            yield from _concatenated(path, read_npz_member(archive, members["positions"]), facts)
            return
        shapes: dict[str, str] = {}
        found = False
        for name, info in members.items():
            item = plain_text(f"{path}:{name}", MAX_MESSAGE_CHARS)
            try:
                array = read_npz_member(archive, info)
            except ItemError as error:
                found = True
                yield rejected(content_id(item), item, error)
                continue
            if _kind(array):
                found = True
                load = partial(_load_member, path, info.filename)
                yield _pending(array, load, item, plain_text(name, MAX_MESSAGE_CHARS), fps)
            elif len(shapes) < 6:
                shapes[name] = f"{array.dtype} of {array.shape}"
    if found:
        return
    if members.keys() & _SMPL_NAMES:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected joints or features, found SMPL parameters "
            f"({', '.join(sorted(members)[:6])}).",
            "Run your body model first and save its 22 joints: see data/importers/arrays.py.",
        )
    raise ItemError(
        Reason.WRONG_FORM,
        f"expected arrays of (T, {NUM_JOINTS}, 3) or (T, {NUM_FEATURES}), found "
        f"{shapes or 'no array'}.",
        "Save the motions in one of these forms.",
    )


def _concatenated(path: Path, joints: Array, facts: Mapping[str, Array]) -> Found:
    keys, offsets = facts["keys"], facts["offsets"]
    ordered = (
        offsets.dtype.kind in "iu"
        and keys.ndim == 1
        and offsets.shape == (len(keys) + 1,)
        and int(offsets.min()) >= 0
        and int(offsets.max()) <= len(joints)
        and bool((offsets[1:] >= offsets[:-1]).all())
    )
    if not ordered:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected {len(keys) if keys.ndim else 0} keys and one more offset, ascending whole "
            f"numbers up to {len(joints)}, found offsets of {offsets.dtype} and {offsets.shape}.",
            "Save positions, offsets and keys anew.",
        )
    labels = facts.get("label", facts.get("content"))
    if labels is not None and labels.shape != keys.shape:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected a label for each of {len(keys)} keys, found {labels.shape}.",
            "Save the labels anew.",
        )
    fps = _rate(facts)
    starts = offsets.tolist()
    for number, key in enumerate(keys.tolist()):
        motion = joints[starts[number] : starts[number + 1]]
        name = plain_text(str(key), MAX_MESSAGE_CHARS)
        label = (plain_text(str(labels[number]), MAX_MESSAGE_CHARS),) if labels is not None else ()
        yield _pending(motion, partial(_same, motion), f"{path}:{name}", name, fps, label)


def _same(array: Array) -> Array:
    return array


def _load_member(path: Path, name: str) -> Array:
    with open_archive(path) as archive:
        return read_npz_member(archive, archive.getinfo(name))


def _kind(array: Array) -> str:
    if array.dtype.kind != "f":
        return ""
    if array.ndim == 3 and array.shape[1:] == (NUM_JOINTS, 3):
        return "joints"
    return "features" if array.ndim == 2 and array.shape[1] == NUM_FEATURES else ""


def _rate(arrays: Mapping[str, Array]) -> Fraction:
    for name in _RATE_NAMES:
        if name in arrays and arrays[name].size == 1:
            if arrays[name].dtype.kind not in "fiu":
                raise ItemError(
                    Reason.WRONG_FORM,
                    f"expected a number as {name}, found {arrays[name].dtype}.",
                    "Correct it.",
                )
            rate = float(arrays[name].reshape(()))
            if not 1 <= rate <= 1000:
                raise ItemError(
                    Reason.WRONG_FORM,
                    f"expected a frame rate of 1 to 1000, found {name} = {rate:g}.",
                    "Correct it.",
                )
            return Fraction(rate).limit_denominator(1001)
    return Fraction(FPS)


def _pending(
    array: Array,
    load: Callable[[], Array],
    item: str,
    name: str,
    fps: Fraction,
    labels: tuple[str, ...] = (),
) -> Pending:
    motion_id = content_id("array", np.ascontiguousarray(array).tobytes(), f"{fps}")
    return Pending(
        motion_id, item, partial(_read, load, motion_id, item, name, fps, labels), array.nbytes
    )


def _read(
    load: Callable[[], Array],
    motion_id: str,
    item: str,
    name: str,
    fps: Fraction,
    labels: tuple[str, ...],
) -> ImportedMotion:
    array = load()
    kind = _kind(array)
    if not kind:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected floats of (T, {NUM_JOINTS}, 3) or (T, {NUM_FEATURES}), found "
            f"{array.dtype} of {array.shape}.",
            "Save the motion in one of these forms.",
        )
    if kind == "features" and fps != FPS:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected features at {FPS} fps, found {float(fps):g}.",
            "Import the joints instead: they are resampled.",
        )
    values = array.astype(np.float32)
    return ImportedMotion(
        motion_id=motion_id,
        source="joints" if kind == "joints" else "features",
        source_path=item,
        source_id=name,
        fps=fps,
        joints_TJ3=values if kind == "joints" else None,
        features_TD=values if kind == "features" else None,
        group=_subject(name),
        labels=labels,
    )


def _subject(name: str) -> str:
    """Who moves, of names such as ``cmu_07_04``: as in BVH files of the same database."""
    found = re.fullmatch(r"cmu_(\d+)_\d+", name, re.IGNORECASE)
    return f"cmu/{found.group(1)}" if found else ""
