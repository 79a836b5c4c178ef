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
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.importers.humanml3d import load_array
from data.importers.records import Found, ImportedMotion, Pending, content_id, rejected
from data.motion_features import NUM_FEATURES
from data.skeleton import FPS, NUM_JOINTS
from data.sources import path_item_id

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
                yield from find_arrays(file)
        return
    item = str(path)
    try:
        if path.suffix.lower() == ".npy":
            yield _pending(load_array(path), item, path.stem, Fraction(FPS))
        else:
            yield from _in_archive(path)
    except ItemError as error:
        yield rejected(path_item_id(path), item, error)


def _in_archive(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            arrays = {name: archive[name] for name in names}
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected a NumPy archive without objects, found {type(error).__name__}.",
            "Save it with numpy.savez.",
        ) from error
    fps = _rate(arrays)
    if {"positions", "offsets", "keys"} <= arrays.keys():
        labels = arrays.get("label", arrays.get("content"))
        offsets = arrays["offsets"].astype(int)
        for number, key in enumerate(arrays["keys"].tolist()):
            joints = arrays["positions"][offsets[number] : offsets[number + 1]]
            label = (str(labels[number]),) if labels is not None else ()
            yield _pending(joints, f"{path}:{key}", str(key), fps, label)
        return
    motions = {name: array for name, array in arrays.items() if _kind(array)}
    if motions:
        for name, array in motions.items():
            yield _pending(array, f"{path}:{name}", name, fps)
        return
    if arrays.keys() & _SMPL_NAMES:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected joints or features, found SMPL parameters ({', '.join(sorted(names)[:6])}).",
            "Run your body model first and save its 22 joints: see data/importers/arrays.py.",
        )
    shapes = {name: array.shape for name, array in list(arrays.items())[:6]}
    raise ItemError(
        Reason.WRONG_FORM,
        f"expected arrays of (T, {NUM_JOINTS}, 3) or (T, {NUM_FEATURES}), found {shapes}.",
        "Save the motions in one of these forms.",
    )


def _kind(array: Array) -> str:
    if array.dtype.kind != "f":
        return ""
    if array.ndim == 3 and array.shape[1:] == (NUM_JOINTS, 3):
        return "joints"
    return "features" if array.ndim == 2 and array.shape[1] == NUM_FEATURES else ""


def _rate(arrays: Mapping[str, Array]) -> Fraction:
    for name in _RATE_NAMES:
        if name in arrays and arrays[name].size == 1:
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
    array: Array, item: str, name: str, fps: Fraction, labels: tuple[str, ...] = ()
) -> Pending:
    motion_id = content_id("array", np.ascontiguousarray(array).tobytes(), f"{fps}")
    read = partial(_read, array, motion_id, item, name, fps, labels)
    return Pending(motion_id, item, read)


def _read(
    array: Array, motion_id: str, item: str, name: str, fps: Fraction, labels: tuple[str, ...]
) -> ImportedMotion:
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
