"""Mutated motions and their texts: BVH, NumPy, results of pose estimators, HumanML3D, archives."""

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from benchmarks.support.fuzzing.mutations import (
    NAMES,
    NOT_UTF8,
    TEXTS,
    mutated_bytes,
    mutated_json,
    mutated_lines,
    write,
)
from benchmarks.support.fuzzing.running import KNOWN, Batch, chunks
from data.exporters import write_bvh, write_humanml3d
from data.motion.features import joints_to_features
from data.synthetic.activities import generate_motion

_NUMBERS: Final = (
    *("nan", "inf", "-inf", "1e308", "-1e308", "1e400", "abc", "-", "99999999999", "-1", "0"),
    *("0x10", "1,5", "1.2.3", "{", "}", "JOINT", "CHANNELS", "End Site", "ROOT", "9" * 5000),
    *("CHANNELS 100000", "OFFSET", "\x00", "Zrotation", "Frames:"),
)
_MARKS: Final = (
    *("#", "##", "#0.0", "#nan#nan", "#-1#5", "#5#1", "#1e999#0.0", "#abc#def", "#0.0#0.0#0.0"),
    *("a#b/NOUN#1.0", *TEXTS),
)
_DTYPES: Final = ("int8", "float16", "complex64", "bool", "U8", "M8[s]", "S4", "uint64", ">f8")


def motion_batches(folder: Path, rng: Random, counts: dict[str, int]) -> Iterator[Batch]:
    """Make inputs of each kind, so many as ``counts`` says, and batches of them."""
    joints, _ = generate_motion("walk_forward", rng.randrange(1000), 3.0)
    base = folder / "base"
    write_bvh(base / "walk.bvh", joints)
    makers: dict[str, Callable[[Path, int, Random], tuple[Path, str]]] = {
        "bvh": partial(_bvh, (base / "walk.bvh").read_text()),
        "numpy": partial(_numpy, joints),
        "pose results": partial(_results, joints),
        "archive": partial(_archive, (base / "walk.bvh").read_bytes(), joints),
        "motion file names": partial(_named, (base / "walk.bvh").read_bytes()),
    }
    for kind, make in makers.items():
        made = [
            make(folder / kind / str(number), number, rng) for number in range(counts.get(kind, 0))
        ]
        for number, some in enumerate(chunks(made, 20)):
            control = write(
                folder / kind / f"control{number}.bvh", (base / "walk.bvh").read_bytes()
            )
            root = folder / kind / f"dataset{number}"
            paths = tuple(path for path, _ in some)
            names = tuple(f"{path.name!r}: {name}" for path, name in some)
            kept = () if kind == "motion file names" else (*paths, control)
            # Archives are no members of a folder: they are sources themselves.
            given = paths if kind == "archive" else tuple(path.parent for path in paths)
            act = partial(import_all, (control, *given), root)
            yield Batch(kind, names, act, root, kept, control=True)
    yield from _humanml3d(folder / "humanml3d", rng, counts.get("humanml3d", 0))
    yield from _plans(folder / "plans", rng, counts.get("plans", 0))
    yield from _label_texts(folder / "texts", base / "walk.bvh", rng, counts.get("texts", 0))


def import_all(
    sources: tuple[Path | str, ...], root: Path, texts: Path | None = None, **changes: Any
) -> None:
    """Import motions as the flow does, without its server."""
    from annotators.motion.from_tracks import find_video_motions  # noqa: PLC0415 - imports slowly
    from data.importers.run import MotionImportConfig, import_motions  # noqa: PLC0415
    from data.workers.unexpected import UnexpectedErrors  # noqa: PLC0415
    from data.workers.workers import WorkerConfig  # noqa: PLC0415

    config = MotionImportConfig(
        sources=tuple(map(str, sources)),
        dataset=root,
        texts=texts,
        mirror=False,
        workers=WorkerConfig(num_workers=1),
        **changes,
    )
    unexpected = UnexpectedErrors()
    progress = import_motions(config, find_video_motions, unexpected=unexpected)
    # Motions of equal content are one motion.
    if progress.known:
        print(f"{KNOWN}{progress.known}")
    unexpected.require_none()


def _bvh(text: str, folder: Path, number: int, rng: Random) -> tuple[Path, str]:
    del number
    lines = text.splitlines()
    head = lines[: next(i for i, line in enumerate(lines) if line.startswith("Frames")) + 2]
    # Most mutations hit the hierarchy; frames are all alike.
    if rng.random() < 0.6:
        name, data = mutated_lines("\n".join(head), rng, _NUMBERS)
        data += b"\n" + "\n".join(lines[len(head) :]).encode()
    elif rng.random() < 0.2:
        depth = rng.choice((500, 20_000))
        joint = "JOINT a\n{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
        name = f"{depth} joints nested"
        data = ("HIERARCHY\nROOT r\n{\nOFFSET 0 0 0\n" + joint * depth + "}" * depth).encode()
    else:
        name, data = mutated_lines(text, rng, _NUMBERS)
    return write(folder / f"m{folder.name}.bvh", data), name


def _saved(array: Any, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def _header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    file = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _array(motion: Any, rng: Random) -> tuple[str, bytes]:
    values = motion if rng.random() < 0.6 else joints_to_features(motion)
    told = rng.choice(("bytes", "bytes", "value", "shape", "dtype", "pickle", "header", "scale"))
    array: Any = values
    match told:
        case "bytes":
            return mutated_bytes(_saved(values.astype(np.float32)), rng)
        case "header":
            shape = rng.choice(((10**6, 22, 3), (10**12, 22, 3), (2**62, 2**62), (-1, 22, 3)))
            return f"header of {shape}", _header(shape) + b"\0" * 100
        case "pickle":
            return "pickled objects", _saved(np.array([{"a": 1}, os.getcwd]), pickled=True)
        case "value":
            array = values.astype(np.float64)
            value = rng.choice((np.nan, np.inf, -np.inf, 1e300, 1e30))
            array.reshape(-1)[rng.randrange(array.size)] = value
            told = f"one value is {value}"
        case "shape":
            shape = rng.choice(
                ((0, 22, 3), (60, 21, 3), (22, 3), (60,), (), (60, 22, 3, 1), (0,), (3, 22, 60))
            )
            array, told = np.zeros(shape, np.float32), f"shape {shape}"
        case "dtype":
            kind = rng.choice(_DTYPES)
            with np.errstate(all="ignore"):
                array, told = values.astype("i8").astype(kind), f"dtype {kind}"
        case _:
            factor = rng.choice((1e-9, 1000.0, -1.0, 0.0))
            array, told = values * factor, f"scaled by {factor}"
    return told, _saved(array)


def _numpy(motion: Any, folder: Path, number: int, rng: Random) -> tuple[Path, str]:
    name, data = _array(motion, rng)
    if number % 2:
        return write(folder / f"m{number}.npy", data), name
    extra: dict[str, bytes] = {}
    if rng.random() < 0.4:
        key = rng.choice(("fps", "offsets", "keys", "label", "positions", "../up", "a/b"))
        extra[key] = _saved(rng.choice((np.array("x"), np.array([0, 10**9]), np.array(np.nan))))
        name += f", with {key}"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for key, member in {"walk": data, **extra}.items():
            archive.writestr(f"{key}.npy", member)
    packed = file.getvalue()
    if rng.random() < 0.3:
        other, packed = mutated_bytes(packed, rng)
        name += f", archive {other}"
    return write(folder / f"m{number}.npz", packed), name


def _results(motion: Any, folder: Path, number: int, rng: Random) -> tuple[Path, str]:
    """Return results of a pose estimator with one odd array."""
    count = len(motion)
    arrays: dict[str, Any] = {
        "joints_3d": motion.astype(np.float32),
        "joints_2d": np.stack([240 + 110 * motion[..., 0], 260 - 110 * motion[..., 1]], axis=-1),
        "pts_s": np.arange(count) / 20,
        "track": np.full(count, 7),
        "confidence": np.full((count, 22), 0.9, np.float32),
        "space": np.array("world"),
    }
    odd: tuple[tuple[str, Any], ...] = (
        *(("pts_s", np.zeros(count)), ("pts_s", np.full(count, np.nan))),
        ("pts_s", -arrays["pts_s"]),
        *(("pts_s", arrays["pts_s"] * 1e300), ("track", np.full(count, 2**62)), ("track", "a")),
        *(("track", np.arange(count)), ("confidence", np.full(count, 2.0)), ("space", "mars")),
        *(("confidence", np.full((count, 22), np.nan)), ("joints_3d", motion * 1000)),
        *(("joints_3d", motion[:, :5]), ("joints_2d", motion), ("joint_names", ["a"] * 22)),
        *(("joint_names", np.array([f"\u202e{n}" for n in range(22)])), ("focal_px", -1.0)),
        *(("fps", np.nan), ("fps", 1e300), ("frame", np.full(count, -1)), ("joints_3d", None)),
        *(("frame", np.full(count, 2**62)), ("joints_3d", np.zeros((0, 22, 3)))),
    )
    name, value = odd[number % len(odd)]
    told = str(value).replace("\n", " ")[:40]
    if value is None:
        del arrays[name]
    else:
        arrays[name] = np.asarray(value)
    if name == "frame":
        del arrays["pts_s"]
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    data = file.getvalue()
    if rng.random() < 0.2:
        other, data = mutated_bytes(data, rng)
        told += f", {other}"
    return write(folder / f"r{number}.npz", data), f"{name} {told}"


def _archive(bvh: bytes, motion: Any, folder: Path, number: int, rng: Random) -> tuple[Path, str]:
    path = folder / f"z{number}.{rng.choice(('zip', 'npz'))}"
    action = rng.choice(("bytes", "bytes", "names", "bomb", "encrypted", "many", "method", "size"))
    members: dict[str, bytes] = {"a.bvh": bvh, "b.npy": _saved(motion)}
    if action == "names":
        names = ("../../up.bvh", "/etc/x.bvh", "a\\..\\b.bvh", "a" * 5000 + ".bvh")
        members = dict.fromkeys(names, bvh)
    if action == "bomb":
        members |= {"a.bvh": bvh + b"\n" * 50_000_000, "b.npy": _header((10**8, 22, 3))}
    if action == "many":
        members = {f"{index}.bvh": b"HIERARCHY" for index in range(2000)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    data = bytearray(file.getvalue())
    marks = {"encrypted": (6, 8, 1), "method": (8, 10, 99), "size": (22, 24, 0x7FFFFFFF)}
    if action in marks:
        local, central, value = marks[action]
        layout = "<I" if action == "size" else "<H"
        for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
            struct.pack_into(layout, data, data.index(mark) + offset, value)
    if action == "bytes":
        action, changed = mutated_bytes(bytes(data), rng)
        return write(path, changed), action
    return write(path, bytes(data)), action


def _named(bvh: bytes, folder: Path, number: int, rng: Random) -> tuple[Path, str]:
    del rng
    folder.mkdir(parents=True)
    if number % (len(NAMES) + 1) == len(NAMES):
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + NOT_UTF8 + b".bvh"))
    else:
        path = folder / f"{NAMES[number % (len(NAMES) + 1)]}.bvh"
    # Other contents, so that they are other motions.
    return write(path, bvh + b"\n" * (number + 1)), "name"


def _humanml3d(folder: Path, rng: Random, count: int) -> Iterator[Batch]:
    """Whole folders, each with something wrong."""
    joints, captions = generate_motion("bow", 5, 4.0)
    features = joints_to_features(joints)
    lines = "\n".join(
        [f"{text}#{text}/NOUN#0.0#0.0" for text in captions] + ["a person bows.#a/DET#0.5#2.0"]
    )
    made: list[tuple[Path, str]] = []
    for number in range(count):
        root = folder / str(number)
        for name in ("000001", "000002"):
            write_humanml3d(root, name, features + float(name) * 1e-7, captions[:2], "train")
        action = rng.choice(("text", "text", "text", "vectors", "list", "layout"))
        if action == "text":
            told, data = mutated_lines(lines, rng, _MARKS)
            write(root / "texts" / "000001.txt", data)
        elif action == "vectors":
            told, data = _array(joints, rng)
            write(root / "new_joint_vecs" / "000001.npy", data)
        elif action == "list":
            names = "\n".join(("000001", "000002", "M000001"))
            told, data = mutated_lines(names, rng, ("../../up", "/etc/passwd", *TEXTS))
            write(root / rng.choice(("train.txt", "test.txt", "val.txt")), data)
        else:
            told = rng.choice(("no texts", "texts is a file", "link", "text is a folder", "loop"))
            texts = root / "texts"
            if told == "text is a folder":
                (texts / "000001.txt").unlink()
                (texts / "000001.txt").mkdir()
            elif told == "loop":
                (texts / "000001.txt").unlink()
                (texts / "000001.txt").symlink_to("000001.txt")
            else:
                shutil.rmtree(texts)
                if told == "texts is a file":
                    write(texts, b"text")
                elif told == "link":
                    texts.symlink_to("/")
        made.append((root, f"{action}: {told}"))
    for number, some in enumerate(chunks(made, 8)):
        result = folder / f"dataset{number}"
        act = partial(import_all, tuple(root for root, _ in some), result)
        yield Batch("humanml3d", tuple(told for _, told in some), act, result)


def _plans(folder: Path, rng: Random, count: int) -> Iterator[Batch]:
    plan = "Task: make coffee\nStep 1: walk to the kitchen\nStep 2: fill the kettle"
    plans = [plan, plan.replace("coffee", "tea"), plan.replace("kettle", "pot")]
    made: list[tuple[Path, str]] = []
    for number in range(count):
        path = folder / f"plans{number}{('.json', '.txt')[number % 2]}"
        if number % 2:
            told, data = mutated_lines("\n\n".join(plans), rng, ("Task:", "Step 99999:", *TEXTS))
        else:
            told, data = mutated_json(plans, rng)
        made.append((write(path, data), told))
    for number, some in enumerate(chunks(made, 12)):
        root = folder / f"dataset{number}"
        act = partial(import_all, tuple(path for path, _ in some), root)
        yield Batch("plans", tuple(told for _, told in some), act, root)


def _label_texts(folder: Path, bvh: Path, rng: Random, count: int) -> Iterator[Batch]:
    """The texts of ``--texts``: JSON lines."""
    rows = [
        {"key": "walk", "kit": [{"captions": ["a person walks", "someone walks"]}]},
        {
            "cmu_id": "walk",
            "humanml3d": [{"start_20fps": 0, "end_20fps": 40, "captions": ["a person walks"]}],
        },
    ]
    for number in range(count):
        told, data = mutated_json(rng.choice(rows), rng)
        path = write(folder / f"texts{number}.jsonl", json.dumps(rows[0]).encode() + b"\n" + data)
        root = folder / f"dataset{number}"
        act = partial(import_all, (bvh,), root, path)
        yield Batch("texts", (told,), act, root)
