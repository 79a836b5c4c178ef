"""Damaged, unusual and hostile files: each is rejected with a reason and stops no other."""

import io
import json
import os
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import ItemError, Reason
from data.exporters import write_bvh
from data.importers.archives import MAX_ARRAY_BYTES, MAX_LISTING_BYTES
from data.importers.avatargpt_json import import_avatargpt_json
from data.importers.humanml3d import read_human_texts
from data.importers.run import MotionImportConfig, import_motions, prepare_motion
from data.importers.search import find_in
from data.importers.sources import find_motions
from data.motion.features import joints_to_features
from data.motion_records import Pending, Unforeseen
from data.records import Rejection
from data.store.dataset import Dataset
from data.synthetic.activities import generate_motion
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig

WALK, _ = generate_motion("walk_forward", 0, 3.0)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of an array without its data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _bvh(folder: Path) -> bytes:
    write_bvh(folder / "good.bvh", WALK)
    return (folder / "good.bvh").read_bytes()


def _encrypted(path: Path) -> None:
    """Mark every member as encrypted, as archives with a password are."""
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            (flags,) = struct.unpack_from("<H", data, place + offset)
            struct.pack_into("<H", data, place + offset, flags | 1)
            place = data.find(mark, place + 4)
    path.write_bytes(data)


def _flip(path: Path, mark: bytes, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(mark) + offset] ^= 0xFF
    path.write_bytes(data)


def _make_sources(folder: Path) -> dict[str, Reason]:
    """Write files that once aborted an import. Return their expected rejection reasons."""
    folder.mkdir()
    bvh = _bvh(folder)
    (folder / "zzz.bvh").write_bytes(
        bvh.replace(b"Zrotation Yrotation Xrotation", b"Zrotation " * 3)
    )
    head, _, rest = bvh.partition(b"Frames:")
    (folder / "count.bvh").write_bytes(head + b"Frames: " + b"9" * 5000 + rest[rest.index(b"\n") :])
    (folder / "nan.bvh").write_bytes(bvh.replace(b"Frame Time: 0.05", b"Frame Time: nan"))
    _zip(folder / "flipped.zip", {"a.bvh": bvh, "b.bvh": bvh + b"\n"})
    _flip(folder / "flipped.zip", b"a.bvh", 100)
    _zip(folder / "encrypted.zip", {"c.bvh": bvh + b"\n\n"})
    _encrypted(folder / "encrypted.zip")
    _zip(folder / "method.zip", {"d.bvh": bvh + b"\n\n\n"})
    data = (folder / "method.zip").read_bytes()
    (folder / "method.zip").write_bytes(
        data.replace(b"\x08\x00", b"\x63\x00")  # a method that nobody knows
    )
    np.save(folder / "empty.npy", WALK[:0])
    np.save(folder / "one.npy", WALK[:1])
    np.save(folder / "text.npy", np.array(["a", "b"]))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "header.npy").write_bytes(_npy_header((10**6, 22, 3)))
    (folder / "huge.npy").write_bytes(_npy_header((10**9, 22, 3)))
    (folder / "nested.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 40_000) + b"(" * 40_000
    )
    _zip(folder / "prose.npz", {"readme.txt": b"no motion here"})
    _zip(folder / "words.npz", {"keys.npy": _npy(np.array(["a"])), "note.txt": b"x"})
    np.savez(folder / "rate.npz", walk=WALK, fps=np.array("twenty"))
    np.savez(
        folder / "offsets.npz", positions=WALK, offsets=np.array([0, 10**9]), keys=np.array(["a"])
    )
    np.savez(folder / "labels.npz", positions=WALK, offsets=[0, 60], keys=["a"], label=["b", "c"])
    # 4 GB of zeros in a few kilobytes: a member that says so, which is enough to refuse it.
    _zip(folder / "bomb.npz", {"walk.npy": _npy_header((10**8, 22, 3)) + b"\0" * 1000})
    return {
        "zzz.bvh": Reason.WRONG_FORM,
        "count.bvh": Reason.WRONG_FORM,
        "nan.bvh": Reason.WRONG_FORM,
        "empty.npy": Reason.TOO_SHORT,
        "one.npy": Reason.TOO_SHORT,
        "text.npy": Reason.WRONG_FORM,
        "objects.npy": Reason.WRONG_FORM,
        "header.npy": Reason.WRONG_FORM,
        "huge.npy": Reason.TOO_LARGE,
        "nested.npy": Reason.WRONG_FORM,
        "prose.npz": Reason.WRONG_FORM,
        "words.npz": Reason.WRONG_FORM,
        "rate.npz": Reason.WRONG_FORM,
        "offsets.npz": Reason.WRONG_FORM,
        "labels.npz": Reason.WRONG_FORM,
        "bomb.npz:walk": Reason.TOO_LARGE,
    }


def _import(root: Path, *sources: Path) -> tuple[dict[str, Reason], list[dict[str, Any]]]:
    config = MotionImportConfig(
        sources=tuple(map(str, sources)),
        dataset=root,
        mirror=False,
        workers=WorkerConfig(num_workers=1),
    )
    unexpected = UnexpectedErrors()
    import_motions(config, unexpected=unexpected)
    unexpected.require_none()
    dataset = Dataset(root)
    rejections = dataset.read("rejections").to_pylist()
    assert all(row["detail"] and row["remedy"] for row in rejections)
    reasons = {Path(row["item"]).name: Reason(row["reason"]) for row in rejections}
    return reasons, dataset.read("motions").to_pylist()


def test_each_bad_motion_file_costs_itself(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    expected = _make_sources(folder)
    archives = {
        "flipped.zip:a.bvh": Reason.WRONG_FORM,
        "encrypted.zip:c.bvh": Reason.WRONG_FORM,
        "method.zip:d.bvh": Reason.WRONG_FORM,
    }
    zips = [folder / name.split(":")[0] for name in archives]
    reasons, motions = _import(tmp_path / "dataset", folder, *zips)
    assert reasons == expected | archives
    # The good files beside them, the good member of the damaged archive among them.
    names = Counter(Path(row["source_path"]).name for row in motions)
    assert names == {"good.bvh": 1, "flipped.zip:b.bvh": 1}


def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    humanml3d = tmp_path / "humanml3d"
    vectors, texts = humanml3d / "new_joint_vecs", humanml3d / "texts"
    for folder in (sources, vectors, texts):
        folder.mkdir(parents=True)
    names = ("pipe.bvh", "pipe.npy", "pipe.npz", "pipe.zip", "plans.txt", "plans.json")
    pipes = [sources / name for name in names] + [vectors / "000001.npy", texts / "000002.txt"]
    for pipe in pipes:
        # Nobody writes to them: whoever opens one to read it waits for ever.
        os.mkfifo(pipe)
    (vectors / "000002.npy").write_bytes(_npy(joints_to_features(WALK)))
    zeros = sources / "zeros.bvh"
    zeros.symlink_to("/dev/zero")
    named = (*(sources / name for name in names[3:]), sources, humanml3d)
    config = MotionImportConfig(sources=tuple(map(str, named)), dataset=tmp_path / "dataset")
    progress = import_motions(config)
    # The features whose captions are a pipe are good, and stay.
    assert progress.added["motions"] == 1
    rows = Dataset(tmp_path / "dataset").read("rejections").to_pylist()
    assert {row["reason"] for row in rows} == {"not_a_file"}
    details = " ".join(row["detail"] for row in rows)
    assert all(str(path) in details for path in (*pipes, zeros))
    assert details.count("found a pipe") == len(pipes)
    assert details.count("found a device") == 1
    with pytest.raises(ValueError, match=r"found a pipe.*Remedy"):
        read_human_texts(pipes[0])


def test_an_archive_with_a_list_of_members_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    _zip(path, {"a.bvh": b"HIERARCHY"})
    data = path.read_bytes()
    # The list is said to be long: at the end of the file stand its length and place.
    end = bytearray(data[data.rindex(b"PK\x05\x06") :])
    struct.pack_into("<II", end, 12, MAX_LISTING_BYTES + 1, 0)
    with path.open("wb") as file:
        file.truncate(MAX_LISTING_BYTES + 1)
        file.seek(0, os.SEEK_END)
        file.write(end)
    (found,) = find_motions(path)
    assert isinstance(found, Rejection)
    assert found.reason is Reason.TOO_LARGE


def test_a_member_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    size = 3 * MAX_ARRAY_BYTES
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("walk.npy", _npy_header((size // 264, 22, 3)))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(mark) + offset, size)
    path.write_bytes(data)
    (found,) = find_in(path, find_motions)
    assert not isinstance(found, Pending | Unforeseen)
    assert (found.reason, f"{size // 264 * 264} bytes when unpacked" in found.detail) == (
        Reason.TOO_LARGE,
        True,
    )


def test_captions_in_latin_1_and_crops_without_end(tmp_path: Path) -> None:
    folder = tmp_path / "humanml3d"
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir(parents=True)
    features = joints_to_features(WALK).astype(np.float32)
    for number, name in enumerate(("latin", "crops", "good")):
        np.save(folder / "new_joint_vecs" / f"{name}.npy", features[number:])
    texts = {
        "latin": "a man in a café walks.#x#0.0#0.0".encode("latin-1"),
        "crops": b"\n".join(
            b"a person walks.#x#" + span
            for span in (b"0.0#inf", b"inf#inf", b"1e300#1e301", b"-inf#1.0", b"0.0#0.0")
        ),
        "good": b"a person\x1b[31m walks\x07.#x#0.0#0.0",
    }
    for name, content in texts.items():
        (folder / "texts" / f"{name}.txt").write_bytes(content)
    root = tmp_path / "dataset"
    reasons, motions = _import(root, folder)
    assert reasons == {"latin.npy": Reason.WRONG_FORM, "crops.npy": Reason.WRONG_FORM}
    details = sorted(row["detail"] for row in Dataset(root).read("rejections").to_pylist())
    assert len(details) == 5
    assert "expected UTF-8 in latin.txt, found the byte 0xe9 at 14" in details[-1]
    told = {row["source_id"]: [text["text"] for text in row["texts"]] for row in motions}
    assert told == {"latin": [], "crops": ["a person walks."], "good": ["a person walks."]}


PLAN = "Task: tidy up\nStep 1: stand up\nStep 2: walk"


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        '{"a":' * 100_000,
        f"[{'9' * 10_000}]",
        "[1e999]",
        "\xff\xfe",
        '["Task: a"',
    ],
    ids=["nested lists", "nested objects", "huge number", "infinite", "latin-1", "cut off"],
)
def test_json_that_is_no_list_of_plans(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_bytes(content.encode("latin-1"))
    (tmp_path / "good.json").write_text(json.dumps([PLAN]))
    reasons, _ = _import(tmp_path / "dataset", tmp_path / "bad.json", tmp_path / "good.json")
    assert reasons == {"bad.json": Reason.WRONG_FORM}
    assert Dataset(tmp_path / "dataset").read("annotations").num_rows == 1


def test_plans_with_lone_surrogates_and_escape_sequences(tmp_path: Path) -> None:
    plans = [PLAN.replace("tidy", "tidy \ud83d\x1b[2J\x1b]0;title\x07"), "no plan \udc80"]
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    reasons, _ = _import(tmp_path / "dataset", tmp_path / "plans.json")
    assert reasons == {"plans.json plan 1": Reason.NO_STEPS}
    (row,) = Dataset(tmp_path / "dataset").read("annotations").to_pylist()
    assert row["medium"] == ["tidy \N{REPLACEMENT CHARACTER} up"]


def test_files_whose_names_are_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    bvh = _bvh(folder)
    (folder / "caf\udce9.bvh").write_bytes(bvh)
    (folder / "red\x1b[31m.bvh").write_bytes(bvh[:100])
    reasons, motions = _import(tmp_path / "dataset", folder)
    assert reasons == {"caf\\xe9.bvh": Reason.UNREADABLE, "red.bvh": Reason.WRONG_FORM}
    assert len(motions) == 1


RELEASE = {
    "video_name": "v.mp4",
    "video_fps": 30,
    "caption_list": [
        {
            "start_time": 0,
            "end_time": 2,
            "start_frame": 0,
            "end_frame": 60,
            "captions": [
                {
                    "detail": "a man walks",
                    "executable": "1. stand up\n2. walk",
                    "simplified": ["a man walks"],
                }
            ],
        }
    ],
    "description": ["a man in a room"],
}


def _nested(release: dict[str, Any]) -> str:
    release["caption_list"][0]["start_frame"] = "DEEP"
    return json.dumps(release).replace('"DEEP"', "[" * 5000 + "]" * 5000)


def _with(**values: Any) -> Callable[[dict[str, Any]], str]:
    def change(release: dict[str, Any]) -> str:
        release["caption_list"][0] |= values
        return json.dumps(release)

    return change


@pytest.mark.parametrize(
    ("change", "num_videos"),
    [
        (_nested, 0),
        (_with(end_frame=10**400), 1),
        (_with(end_frame=10**20), 1),
        (_with(end_time=float("inf")), 1),
        (_with(end_time=1e300), 1),
        (_with(captions=["a man \ud83d walks"]), 0),
        (_with(captions=["a man\x1b[31m walks"]), 1),
    ],
)
def test_json_of_the_release_that_is_odd(
    tmp_path: Path, change: Callable[[dict[str, Any]], str], num_videos: int
) -> None:
    (tmp_path / "odd.json").write_text(change(json.loads(json.dumps(RELEASE))))
    good = RELEASE | {"video_name": "good.mp4"}
    (tmp_path / "good.json").write_text(json.dumps(good))
    report = import_avatargpt_json([tmp_path], tmp_path / "dataset")
    assert report.num_videos == 1 + num_videos
    dataset = Dataset(tmp_path / "dataset")
    texts = dataset.read("captions", ["text"])["text"].to_pylist()
    assert not any("\x1b" in text for text in texts)
    assert dataset.read("rejections").num_rows + dataset.read("clips").num_rows >= 2


def test_json_of_the_release_that_needs_more_memory_than_there_is(tmp_path: Path) -> None:
    empty = json.dumps(RELEASE | {"caption_list": ["MANY"]})
    (tmp_path / "many.json").write_text(empty.replace('"MANY"', "{}" + ",{}" * 5_000_000))
    (tmp_path / "good.json").write_text(json.dumps(RELEASE))
    root = tmp_path / "dataset"
    little = WorkerConfig(num_workers=1, memory_gb=0.5)
    assert import_avatargpt_json([tmp_path], root, little).num_videos == 1
    (row,) = Dataset(root).read("rejections").to_pylist()
    assert (row["item"], row["reason"]) == (str(tmp_path / "many.json"), "out_of_memory")


@pytest.mark.parametrize("seed", range(3))
def test_flipped_cut_and_renamed_files_raise_nothing_unforeseen(tmp_path: Path, seed: int) -> None:
    """A short fuzz test. Longer ones found the errors that the other tests cover."""
    draw = np.random.default_rng(seed)
    _bvh(tmp_path)
    np.save(tmp_path / "walk.npy", WALK)
    np.savez_compressed(tmp_path / "walk.npz", walk=WALK)
    _zip(tmp_path / "walk.zip", {"walk.bvh": (tmp_path / "good.bvh").read_bytes()})
    config = MotionImportConfig(sources=("unused",), dataset=tmp_path)
    originals = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    suffixes = sorted({path.suffix for path in originals})
    num_refused = 0
    for number in range(60):
        path = list(originals)[number % len(originals)]
        data = bytearray(originals[path])
        if number % 3:
            # Headers decide more than values do.
            place = draw.integers(0, 600 if number % 2 else len(data), 3)
            data[int(place[0])] = int(draw.integers(256))
            data[int(place[1])] ^= 0xFF
        else:
            data = data[: int(draw.integers(len(data)))]
        suffix = suffixes[int(draw.integers(len(suffixes)))] if number % 5 == 0 else path.suffix
        mutant = tmp_path / f"mutant{suffix}"
        mutant.write_bytes(data)
        for item in find_in(mutant, find_motions):
            assert not isinstance(item, Unforeseen), item.error.trace
            try:
                if isinstance(item, Pending):
                    prepare_motion(item.read(), config)
            except ItemError:
                num_refused += 1
            else:
                num_refused += not isinstance(item, Pending)
    assert num_refused > 20
