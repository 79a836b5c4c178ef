"""The results of other pose estimators: what is read, and what is refused with which words."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from numpy.lib import format as npy

from data.errors import ItemError, Reason
from data.importers.external_poses import read_external_poses
from data.importers.run import MotionImportConfig, import_motions
from data.motion.skeleton import FPS, JOINT, JOINT_NAMES
from data.schemas import load_credible
from data.store.dataset import Dataset
from tests.support.motions import raising_left_arm, waving_right_hand

Arrays = dict[str, Any]


def _arrays() -> Arrays:
    """Return the arrays of one person who raises an arm, in front of the camera, y up."""
    motion = raising_left_arm()
    pixels = np.stack([320 + 100 * motion[..., 0], 300 - 100 * motion[..., 1]], axis=-1)
    return {
        "joints_3d": motion.astype(np.float32),
        "joints_2d": pixels,
        "pts_s": np.arange(len(motion)) / FPS,
    }


def _saved(folder: Path, arrays: Arrays) -> Path:
    path = folder / "poses.npz"
    np.savez(path, **arrays)
    return path


def test_rows_of_several_people_come_sorted_with_defaults(tmp_path: Path) -> None:
    one = _arrays()
    count = len(one["pts_s"])
    shuffled = np.random.default_rng(0).permutation(2 * count)
    arrays = {name: np.concatenate([values, values])[shuffled] for name, values in one.items()}
    arrays["track"] = np.repeat([4, 2], count)[shuffled]
    poses = read_external_poses(_saved(tmp_path, arrays))
    assert poses.track_N.tolist() == [2] * count + [4] * count
    assert poses.pts_N[count:].tolist() == one["pts_s"].tolist()
    assert poses.joints_NJ3[:count].tolist() == one["joints_3d"].tolist()
    assert poses.confidence_NJ.shape == (2 * count, 22)
    assert (poses.confidence_NJ == 1).all()
    assert not poses.in_camera


def test_named_joints_frames_and_camera_axes_are_understood(tmp_path: Path) -> None:
    arrays = _arrays()
    wanted = arrays["joints_3d"]
    names = ["nose", *reversed(JOINT_NAMES)]
    joints_NJ3 = np.concatenate([wanted[:, :1], wanted[:, ::-1]], axis=1)
    pixels_NJ2 = np.concatenate([arrays["joints_2d"][:, :1], arrays["joints_2d"][:, ::-1]], axis=1)
    count = len(wanted)
    given = {
        # OpenCV's axes: y down, z forward.
        "joints_3d": joints_NJ3 * [1, -1, -1],
        "joints_2d": pixels_NJ2,
        "joint_names": np.array(names),
        "frame": np.arange(count) * 3,
        "confidence": np.linspace(0, 1, count),
        "space": np.array("camera"),
        "focal_px": np.array(800.0),
    }
    poses = read_external_poses(_saved(tmp_path, given), Fraction(60))
    assert poses.joints_NJ3 == pytest.approx(wanted, abs=1e-6)
    assert poses.pixels_NJ2 == pytest.approx(arrays["joints_2d"])
    assert poses.pts_N == pytest.approx(arrays["pts_s"])
    assert poses.confidence_NJ[:, 5] == pytest.approx(given["confidence"])
    assert (poses.in_camera, poses.focal_px) == (True, 800.0)


def _set(name: str, make: Callable[[Arrays], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: make(arrays)}


def _with_nan(arrays: Arrays) -> Any:
    joints_NJ3 = arrays["joints_3d"].copy()
    joints_NJ3[[3, 9], 4] = np.nan
    return joints_NJ3


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda a: {"pts_s": a["pts_s"]}, "wrong_form", "array joints_3d of"),
        (lambda a: {"joints_3d": a["joints_3d"]}, "wrong_form", "array pts_s or frame"),
        (_set("joints_3d", lambda a: a["joints_3d"][:, :17]), "wrong_form", "found 17 joints"),
        (_set("joints_3d", lambda a: a["joints_3d"][:, 0]), "wrong_form", r"of \(80, 3\)"),
        (_set("joints_3d", lambda a: a["joints_3d"].astype(int)), "wrong_form", "int64"),
        (_set("joints_3d", lambda a: a["joints_3d"].astype(object)), "wrong_form", "objects"),
        (_set("joints_3d", _with_nan), "non_finite", "others in 2 rows"),
        (_set("joints_3d", lambda a: 1000 * a["joints_3d"]), "wrong_form", "unit is meters"),
        (_set("joints_3d", lambda a: a["joints_3d"] * [1, -1, 1]), "wrong_form", "upside down"),
        (_set("pts_s", lambda a: a["pts_s"][1:]), "wrong_form", r"pts_s of \(80,\)"),
        (_set("pts_s", lambda a: 0 * a["pts_s"]), "wrong_form", "two of one track at 0.000 s"),
        (_set("track", lambda a: a["pts_s"]), "wrong_form", "track of"),
        (_set("confidence", lambda a: 2 + a["pts_s"]), "wrong_form", r"confidence in 0\.\.1"),
        (_set("space", lambda _: np.array("earth")), "wrong_form", "found earth"),
        (_set("focal_px", lambda _: np.array(-1.0)), "wrong_form", "focal_px above 0"),
        (_set("focal_px", lambda _: np.array(np.nan)), "non_finite", "focal_px"),
        (
            _set("joint_names", lambda _: np.array(["hips", *JOINT_NAMES[1:]])),
            "wrong_form",
            "22 names for 22 joints, without pelvis",
        ),
    ],
)
def test_what_is_wrong_is_refused(
    change: Callable[[Arrays], Arrays], reason: str, words: str, tmp_path: Path
) -> None:
    path = _saved(tmp_path, change(_arrays()))
    with pytest.raises(ItemError, match=words) as refused:
        read_external_poses(path)
    assert refused.value.reason == Reason(reason)
    assert refused.value.remedy


def test_frames_need_a_rate_and_a_huge_array_is_not_read(tmp_path: Path) -> None:
    arrays = _arrays()
    frames = {"joints_3d": arrays["joints_3d"], "frame": np.arange(len(arrays["pts_s"]))}
    with pytest.raises(ItemError, match="a number fps of 1 to 1000"):
        read_external_poses(_saved(tmp_path, frames))
    # The header alone announces 1.3 GB.
    path = tmp_path / "huge.npz"
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (5_000_000, 22, 3)}
    npy.write_array_header_1_0(header, facts)
    with ZipFile(path, "w") as archive:
        archive.writestr("joints_3d.npy", header.getvalue())
    with pytest.raises(ItemError, match="1320000000 bytes when unpacked") as refused:
        read_external_poses(path)
    assert refused.value.reason is Reason.TOO_LARGE
    half = tmp_path / "half.npz"
    half.write_bytes(_saved(tmp_path, arrays).read_bytes()[:5000])
    with pytest.raises(ItemError, match="a ZIP archive that can be read"):
        read_external_poses(half)


def test_a_folder_of_results_is_imported_as_motions(tmp_path: Path) -> None:
    """Each person is a motion, at any frame rate, also where frames are missing."""
    source = tmp_path / "results"
    source.mkdir()
    wave, still = waving_right_hand(), _arrays()
    # A wave at 60 fps, and an arm that is raised at 20 fps with rows missing.
    times_N = np.arange(0, (len(wave) - 1) / FPS, 1 / 60)
    flat = wave.reshape(len(wave), -1)
    dense = [np.interp(times_N, np.arange(len(wave)) / FPS, column) for column in flat.T]
    kept_M = np.flatnonzero(np.arange(len(still["pts_s"])) % 7 != 3)
    half_seen_MJ = np.full((len(kept_M), 22), 0.7)
    half_seen_MJ[:, [JOINT["left_knee"], JOINT["left_ankle"]]] = 0.2
    np.savez(
        source / "hall.npz",
        joints_3d=np.concatenate(
            [np.stack(dense, axis=1).reshape(-1, 22, 3), still["joints_3d"][kept_M]]
        ),
        pts_s=np.concatenate([times_N, still["pts_s"][kept_M]]),
        track=np.repeat([1, 2], [len(times_N), len(kept_M)]),
        confidence=np.concatenate([np.full((len(times_N), 22), 0.9), half_seen_MJ]),
    )
    np.savez(source / "gap.npz", joints_3d=wave[[0, 1, 40]], pts_s=np.array([0.0, 0.05, 2.0]))
    config = MotionImportConfig.model_validate(
        {"sources": [str(source)], "dataset": tmp_path / "d", "mirror": False}
    )
    import_motions(config)
    rows = {row["source_id"]: row for row in Dataset(config.dataset).read("motions").to_pylist()}
    assert set(rows) == {"hall/1", "hall/2"}
    assert [rows[name]["quality"] for name in ("hall/1", "hall/2")] == pytest.approx(
        [0.9, (20 * 0.7 + 2 * 0.2) / 22]
    )
    # Joints that the estimator did not see are kept apart.
    assert load_credible(rows["hall/1"]) is None
    credible = load_credible(rows["hall/2"])
    assert credible is not None
    assert np.flatnonzero(~credible.all(axis=0)).tolist() == [4, 7]
    assert rows["hall/1"]["num_frames"] == pytest.approx(len(wave) - 1, abs=1)
    assert rows["hall/2"]["num_frames"] == pytest.approx(len(still["pts_s"]) - 1, abs=1)
    (rejection,) = Dataset(config.dataset).read("rejections").to_pylist()
    assert (rejection["reason"], rejection["item"].split("/")[-1]) == ("wrong_form", "gap.npz:0")
