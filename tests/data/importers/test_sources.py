"""Search of sources by workers: results, their order, and errors."""

import io
import os
import pickle
import struct
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import ItemError, Reason
from data.exporters import write_bvh
from data.importers import search
from data.importers.archives import MAX_ARRAY_BYTES, StoredArray
from data.importers.arrays import find_npz
from data.importers.bvh import find_bvh_in_zip
from data.importers.humanml3d import list_humanml3d
from data.importers.listing import list_files
from data.importers.run import MotionImportConfig, import_motions
from data.importers.search import Search
from data.importers.sources import find_motions, search_sources
from data.motion_records import Pending, content_id
from data.records import Rejection
from data.store.dataset import Dataset
from data.synthetic.activities import generate_motion
from data.video.sources import path_item_id
from data.workers.workers import WorkerConfig, Workers

WALK = generate_motion("walk_forward", 0, 3.0)[0].astype(np.float32)
ONE = WorkerConfig(num_workers=1)
LITTLE = WorkerConfig(num_workers=1, memory_gb=0.3)


def _header(shape: tuple[int, ...], *, column_major: bool = False) -> bytes:
    file = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": column_major, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


def _zeros(path: Path, num_frames: int, *, column_major: bool = False) -> None:
    """Write a motion of zeros, which compresses to a thousandth of its size."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("walk.npy", "w", force_zip64=True) as file,
    ):
        file.write(_header((num_frames, 22, 3), column_major=column_major))
        left = num_frames * 264
        while left:
            left -= file.write(bytes(min(left, 2**24)))


def _import(root: Path, *sources: Path, **more: Any) -> list[dict[str, Any]]:
    config = MotionImportConfig.model_validate(
        {"sources": list(map(str, sources)), "dataset": root, "mirror": False, "workers": ONE}
        | more
    )
    import_motions(config)
    return Dataset(root).read("rejections").to_pylist() if (root / "dataset.json").exists() else []


def test_an_array_that_unpacks_to_a_gigabyte_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "zeros.npz"
    _zeros(path, 3_600_000)
    assert path.stat().st_size < 0.01 * 950e6
    with Workers(LITTLE) as workers:
        (found,) = search_sources([str(path)], workers)
    assert isinstance(found, Rejection)
    assert found.reason is Reason.TOO_LARGE
    assert found.item == f"{path}:walk"
    assert "(3600000, 22, 3) float32, 950400000 bytes when unpacked" in found.detail


def test_a_search_that_cannot_end_is_a_rejection_until_it_is_asked_for_again(
    tmp_path: Path,
) -> None:
    # Its columns lie one after the other: it must be unpacked as a whole.
    path, root = tmp_path / "columns.npz", tmp_path / "dataset"
    _zeros(path, MAX_ARRAY_BYTES // 264, column_major=True)
    plan = tmp_path / "plan.txt"
    plan.write_text("Task: tidy up\nStep 1: stand up\n")
    (row,) = _import(root, plan, path, workers=LITTLE)
    assert (row["item_id"], row["item"]) == (path_item_id(path), str(path))
    assert row["reason"] == "out_of_memory"
    assert "raise workers.memory_gb, and run again with retry_rejected" in row["remedy"]
    # Even a file that became good is not looked into.
    np.savez(path, walk=WALK)
    assert _import(root, plan, path) == [row]
    assert Dataset(root).num_rows("motions") == 0
    assert _import(root, plan, path, retry_rejected=True) == []
    assert Dataset(root).num_rows("motions") == 1


def test_motions_come_in_the_order_of_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        # Of three that are searched at the same time, the first takes longest.
        length = 20_000 if number % 100 == 0 else 60
        np.save(folder / f"{number:03}.npy", np.full((length, 22, 3), number, np.float32))
    with Workers(WorkerConfig(num_workers=3)) as workers:
        found = list(search_sources([str(folder), "procedural:1"], workers))
    assert [item.item for item in found if isinstance(item, Pending)] == [
        *(str(folder / f"{number:03}.npy") for number in range(300)),
        found[-1].item if isinstance(found[-1], Pending) else "",
    ]


def test_too_many_files_and_too_many_motions_of_a_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_FOUND", 3)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"{number}.npy", WALK)
    archive = tmp_path / "walks.npz"
    np.savez(archive, a=WALK, b=WALK[1:], c=WALK[2:], d=WALK[3:])
    assert len(Search(folder, list_files).run()) == 3
    np.save(folder / "one_more.npy", WALK)
    for path, find in ((folder, list_files), (archive, find_npz)):
        (rejection,) = Search(path, find).run()
        assert isinstance(rejection, Rejection)
        assert (rejection.item_id, rejection.reason) == (path_item_id(path), Reason.TOO_LARGE)
        assert rejection.detail == f"expected at most 3 files or motions in {path}, found more."
        assert "Split it" in rejection.remedy


def test_an_archive_without_a_motion_says_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "arrays.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("walks/a.npy", b"")
        archive.writestr("readme.txt", b"")
    with pytest.raises(
        ItemError, match=r"expected \.bvh files in arrays\.zip, found 2 members"
    ) as e:
        list(find_bvh_in_zip(path))
    assert "walks/a.npy" in e.value.detail
    assert e.value.reason is Reason.WRONG_FORM
    assert "Unpack" in e.value.remedy
    write_bvh(tmp_path / "walk.bvh", WALK)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "walk.bvh")
    assert len(list(find_bvh_in_zip(path))) == 1


def test_a_file_carries_its_own_split_and_not_the_lists(tmp_path: Path) -> None:
    (tmp_path / "new_joint_vecs").mkdir()
    for name in ("000001", "M000001", "000002"):
        (tmp_path / "new_joint_vecs" / f"{name}.npy").touch()
    names = "\n".join(f"{number:06}" for number in range(1, 20_000, 2))
    (tmp_path / "test.txt").write_text(names)
    searches = list(list_humanml3d(tmp_path))
    assert len(searches) == 3
    assert all(len(pickle.dumps(search)) < 1000 for search in searches)


def test_of_arrays_that_are_no_motions_only_the_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, walk=WALK, fps=30)
    with zipfile.ZipFile(path, "a") as archive:
        # Said to be larger than any limit, and cut off.
        archive.writestr("weights.npy", _header((10**9, 7)))
    (found,) = find_motions(path)
    assert isinstance(found, Pending)
    assert found.read().fps == Fraction(30)


def test_a_header_is_as_short_as_headers_are() -> None:
    data = io.BytesIO(b"\x93NUMPY\x02\x00" + struct.pack("<I", 4 * 10**9))
    with pytest.raises(ItemError, match="found a header of 4000000000 bytes") as caught:
        StoredArray(data, "long.npy")
    assert caught.value.reason is Reason.WRONG_FORM


def _id(array: NDArray[Any], fps: int = 20) -> str:
    return content_id("array", np.ascontiguousarray(array).tobytes(), f"{fps}")


def test_ids_are_those_of_the_values_in_row_major_order(tmp_path: Path) -> None:
    """Ids decide which motions a dataset already has, so importers must not change them."""
    long = np.tile(WALK, (120, 1, 1))
    assert long.nbytes > 1024**2
    scattered = np.asfortranarray(long)
    np.save(tmp_path / "a.npy", long)
    np.save(tmp_path / "b.npy", scattered)
    np.savez_compressed(tmp_path / "c.npz", a=long, b=scattered, fps=30)
    several: dict[str, Any] = {"offsets": [5, 4000, 4000, 7000], "keys": ["x", "y", "z"]}
    np.savez_compressed(tmp_path / "d.npz", positions=long, **several)
    np.savez(tmp_path / "e.npz", positions=scattered, **several)
    found = [item for item in find_motions(tmp_path) if isinstance(item, Pending)]
    parts = [long[5:4000], long[4000:4000], long[4000:7000]]
    assert [item.motion_id for item in found] == [
        *[_id(long)] * 2,
        *[_id(long, 30)] * 2,
        *map(_id, parts * 2),
    ]
    # What is read has the id that it was found by.
    for item, array in zip(found, [*[long] * 4, *parts * 2], strict=True):
        joints = item.read().joints_TJ3
        assert joints is not None
        np.testing.assert_array_equal(joints, array)
        assert item.size_bytes == array.nbytes


def test_texts_that_cannot_be_read_stop_the_import(tmp_path: Path) -> None:
    pipe = tmp_path / "texts.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"texts\.jsonl.*found a pipe.*Remedy"):
        _import(tmp_path / "dataset", Path("procedural:1"), texts=pipe)
    assert not (tmp_path / "dataset").exists()
