"""Import motions from NumPy files: joints (T, 22, 3) or features (T, 263).

- ``.npy``: one motion.
- ``.npz`` with one array per motion, whose name is the motion's name.
- ``.npz`` of concatenated motions: ``positions`` (ΣT, 22, 3) with ``offsets`` (N + 1), ``keys`` (N)
  and optionally ``label`` or ``content``, ``style`` and ``cmu_id`` (N each), which tell the label,
  the style and the group of a motion (:mod:`data.importers.label_texts`,
  :mod:`data.motion.splits`); the format of this project's shared motion capture.
- ``.npz`` of another pose estimator (:mod:`data.importers.external_poses`).

The frame rate is the value of ``fps`` (or of AMASS's ``mocap_framerate``) in the file, else 20.

**SMPL parameters** (AMASS ``poses``, ``betas``, ``trans``) cannot be imported directly, because the
body model that turns them into joints has its own license. Run the body model (``smplx``:
``body.forward(...)`` returns ``joints``), save the first 22 joints in meters with y up, and import
those.

Shapes: T frames, J = 22 joints, D = 263 features.
"""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Final
from zipfile import ZipFile, ZipInfo

import numpy as np

from data.arrays import FloatArray
from data.errors import ItemError, Reason
from data.importers.archives import StoredArray, open_archive, open_npy, open_npz_member
from data.importers.external_poses import find_external_poses, is_external
from data.importers.humanml3d import load_array, require_numbers
from data.importers.search import rejected
from data.motion.skeleton import FPS, NUM_FEATURES, NUM_JOINTS
from data.motion.splits import group_of_array
from data.motion_records import Found, ImportedMotion, Pending, content_id
from data.plain_text import MAX_MESSAGE_CHARS, plain_text

_RATE_NAMES: Final = ("fps", "mocap_framerate", "mocap_frame_rate", "frame_rate")
_TOLD: Final = ("label", "content", "style", "cmu_id")
"""Arrays with a text for each motion."""
_FACTS: Final = frozenset({*_RATE_NAMES, *_TOLD, "offsets", "keys"})
_MAX_FACT_BYTES: Final = 64_000_000
"""Maximum size of an array of metadata: 250,000 keys of 64 characters."""
_SMPL_NAMES: Final = frozenset({"poses", "betas", "trans", "root_orient", "pose_body"})


def find_npy(path: Path) -> Found:
    """Find the motion of a ``.npy`` file.

    Args:
        path: the file.

    Raises:
        ItemError: the file holds no array of numbers, or one that is too large.
    """
    with open_npy(path) as array:
        require_numbers(array, path)
        load = partial(load_array, path)
        yield _pending(array.chunks(), array.num_bytes, load, str(path), path.stem, Fraction(FPS))


def find_npz(path: Path) -> Found:
    """Find the motions of a ``.npz`` file. Of other arrays only the header is read.

    Args:
        path: the file.

    Raises:
        ItemError: the file cannot be read, or holds no motion.
    """
    with open_archive(path) as archive:
        # Other members, such as text files, are ignored.
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        if is_external(members):
            yield from find_external_poses(path)
            return
        facts: dict[str, FloatArray] = {}
        for name in sorted(_FACTS & members.keys()):
            with open_npz_member(archive, members[name]) as array:
                facts[name] = array.read(_MAX_FACT_BYTES)
        fps = _rate(facts)
        if {"positions", "offsets", "keys"} <= members.keys():
            yield from _concatenated(path, archive, members["positions"], facts)
            return
        shapes: dict[str, str] = {}
        found = False
        for name, info in members.items():
            item = plain_text(f"{path}:{name}", MAX_MESSAGE_CHARS)
            try:
                with open_npz_member(archive, info) as array:
                    if not _kind(array):
                        if len(shapes) < 6:
                            shapes[name] = f"{array.dtype} of {array.shape}"
                        continue
                    load = partial(_load_member, path, info.filename)
                    plain_name = plain_text(name, MAX_MESSAGE_CHARS)
                    yield _pending(array.chunks(), array.num_bytes, load, item, plain_name, fps)
            except ItemError as error:
                yield rejected(content_id(item), item, error)
            found = True
    if found:
        return
    if members.keys() & _SMPL_NAMES:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected joints or features, found SMPL parameters "
            f"({', '.join(sorted(members)[:6])}).",
            "Run the body model first and save its first 22 joints: see data/importers/arrays.py.",
        )
    raise ItemError(
        Reason.WRONG_FORM,
        f"expected arrays of (T, {NUM_JOINTS}, 3) or (T, {NUM_FEATURES}), found "
        f"{shapes or 'no array'}.",
        "Save the motions in one of these forms.",
    )


def _concatenated(
    path: Path, archive: ZipFile, positions: ZipInfo, facts: Mapping[str, FloatArray]
) -> Found:
    with open_npz_member(archive, positions) as joints:
        yield from _slices(path, joints, positions.filename, facts)


def _slices(path: Path, joints: StoredArray, member: str, facts: Mapping[str, FloatArray]) -> Found:
    if _kind(joints) != "joints":
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected floats of (T, {NUM_JOINTS}, 3) as positions, found {joints.dtype} of "
            f"{joints.shape}.",
            "Save positions, offsets and keys again.",
        )
    keys, offsets, num_frames = facts["keys"], facts["offsets"], joints.shape[0]
    ordered = (
        offsets.dtype.kind in "iu"
        and keys.ndim == 1
        and offsets.shape == (len(keys) + 1,)
        and int(offsets.min()) >= 0
        and int(offsets.max()) <= num_frames
        and bool((offsets[1:] >= offsets[:-1]).all())
    )
    if not ordered:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected {len(keys) if keys.ndim else 0} keys and one more offset, ascending "
            f"integers up to {num_frames}, found offsets of {offsets.dtype} and {offsets.shape}.",
            "Save positions, offsets and keys again.",
        )
    told = {name: facts[name] for name in _TOLD if name in facts}
    for fact, values in told.items():
        if values.shape != keys.shape:
            raise ItemError(
                Reason.WRONG_FORM,
                f"expected a {fact} for each of {len(keys)} keys, found {values.shape}.",
                "Save it again.",
            )
    fps = _rate(facts)
    frame_bytes = NUM_JOINTS * 3 * joints.dtype.itemsize
    content = _Bytes(joints.chunks())
    content.skip(int(offsets[0]) * frame_bytes)
    for number, key in enumerate(keys.tolist()):
        first, end = int(offsets[number]), int(offsets[number + 1])
        name = plain_text(str(key), MAX_MESSAGE_CHARS)
        of_motion = {
            fact: plain_text(str(values[number]), MAX_MESSAGE_CHARS)
            for fact, values in told.items()
        }
        label = of_motion.pop("label", of_motion.get("content"))
        labels = () if label is None else (label,)
        group = group_of_array(name, **of_motion)
        num_bytes = (end - first) * frame_bytes
        load = partial(_load_slice, path, member, first, end)
        chunks, item = content.take(num_bytes), f"{path}:{name}"
        style = of_motion.get("style", "")
        yield _pending(chunks, num_bytes, load, item, name, fps, labels, style, group)


class _Bytes:
    """Regroups chunks into portions of other sizes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def skip(self, num_bytes: int) -> None:
        for _ in self.take(num_bytes):
            pass

    def take(self, num_bytes: int) -> Iterator[memoryview]:
        """Yield the next bytes. The iterator must be exhausted before the next call."""
        while num_bytes:
            self._rest = self._rest or memoryview(next(self._chunks))
            portion, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
            num_bytes -= len(portion)
            yield portion


def _load_slice(path: Path, name: str, first: int, end: int) -> FloatArray:
    facts = path.stat()
    return _load_whole(path, name, facts.st_mtime_ns, facts.st_size)[first:end]


# A compressed member can only be read from its beginning, which would take hours for thousands of
# motions. The cache of one file suffices, because its motions reach a worker consecutively.
@lru_cache(maxsize=1)
def _load_whole(path: Path, name: str, *_: int) -> FloatArray:
    return _load_member(path, name)


def _load_member(path: Path, name: str) -> FloatArray:
    with (
        open_archive(path) as archive,
        open_npz_member(archive, archive.getinfo(name)) as array,
    ):
        return array.read()


def _kind(array: FloatArray | StoredArray) -> str:
    if array.dtype.kind != "f":
        return ""
    if len(array.shape) == 3 and array.shape[1:] == (NUM_JOINTS, 3):
        return "joints"
    return "features" if len(array.shape) == 2 and array.shape[1] == NUM_FEATURES else ""


def _rate(arrays: Mapping[str, FloatArray]) -> Fraction:
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
    content: Iterator[bytes | memoryview],
    num_bytes: int,
    load: Callable[[], FloatArray],
    item: str,
    name: str,
    fps: Fraction,
    labels: tuple[str, ...] = (),
    style: str = "",
    group: str | None = None,
) -> Pending:
    motion_id = content_id("array", content, f"{fps}")
    group = group_of_array(name) if group is None else group
    read = partial(_read, load, motion_id, item, name, fps, labels, style, group)
    return Pending(motion_id, name, item, read, num_bytes)


def _read(
    load: Callable[[], FloatArray],
    motion_id: str,
    item: str,
    name: str,
    fps: Fraction,
    labels: tuple[str, ...],
    style: str,
    group: str,
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
        group=group,
        labels=labels,
        style=style,
    )
