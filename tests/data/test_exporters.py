"""Exported files are read back unchanged."""

import json
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.support.corpus import Motion, mocap
from data.exporters import bvh_name, write_bvh, write_features, write_glb, write_joints
from data.importers.bvh import find_bvh
from data.motion.features import features_to_joints, joints_to_features
from data.motion.skeleton import JOINT_NAMES
from data.motion_records import Pending
from data.synthetic.activities import ACTIVITIES, generate_motion
from tests.support.motions import standing

CMU = ("cmu_07_04", "cmu_49_02", "cmu_49_07", "cmu_05_20", "cmu_02_10")
"""Walk, jump, cartwheel, pirouette, washing oneself."""


def _motion(name: str) -> Motion:
    """A real motion of the corpus by its key, or a synthetic one by its activity."""
    if name in CMU:
        return next(m for key, _, m in mocap("cmu_joints22_20fps.npz", "label") if key == name)
    return generate_motion(name, 1, 4.0)[0].astype(np.float64)


def _read(path: Path) -> tuple[NDArray[np.floating], Fraction]:
    (found,) = find_bvh(path)
    assert isinstance(found, Pending), found
    motion = found.read()
    assert motion.joints_TJ3 is not None
    return motion.joints_TJ3, motion.fps


def _rows(path: Path) -> NDArray[np.float64]:
    return np.array([line.split() for line in path.read_text().splitlines()[_start(path) :]], float)


def _start(path: Path) -> int:
    lines = path.read_text().splitlines()
    return next(i for i, line in enumerate(lines) if line.startswith("Frame Time")) + 1


@pytest.mark.parametrize(
    "name", [*ACTIVITIES, *(pytest.param(key, marks=pytest.mark.corpus) for key in CMU)]
)
def test_bvh_reads_back(tmp_path: Path, name: str) -> None:
    motion, path = _motion(name), tmp_path / "motion.bvh"
    write_bvh(path, motion)
    read, fps = _read(path)
    assert fps == 20
    assert read.shape == motion.shape
    error_TJ = np.linalg.norm(read - motion, axis=-1)
    assert error_TJ.mean() < 0.005
    assert error_TJ[:, 0].max() < 1e-5


def _read_glb(path: Path) -> tuple[dict[str, Any], list[NDArray[np.float32]]]:
    """Return the content of a glTF file, and its arrays."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    content = json.loads(data[20 : 20 + size])
    binary = data[28 + size :]
    assert content["buffers"] == [{"byteLength": len(binary)}]
    return content, [
        np.frombuffer(
            binary, np.float32, view["byteLength"] // 4, offset=view["byteOffset"]
        ).reshape(accessor["count"], -1)
        for view, accessor in zip(content["bufferViews"], content["accessors"], strict=True)
    ]


def _positions(content: dict[str, Any], arrays: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Play the animation of a glTF file: positions of its joints, (T, J, 3)."""
    nodes, (animation,) = content["nodes"], content["animations"]
    moved = {
        (channel["target"]["node"], channel["target"]["path"]): arrays[
            animation["samplers"][channel["sampler"]]["output"]
        ]
        for channel in animation["channels"]
    }
    found: dict[int, NDArray[np.float64]] = {}

    def place(node: int, at_T3: NDArray[np.float64], turn_T: Rotation) -> None:
        given = moved.get(
            (node, "translation"), np.array([nodes[node].get("translation", [0.0] * 3)])
        )
        found[node] = at_T3 + turn_T.apply(np.broadcast_to(given, at_T3.shape).astype(float))
        own = moved.get((node, "rotation"))
        turned = turn_T if own is None else turn_T * Rotation.from_quat(own)
        for child in nodes[node].get("children", ()):
            place(child, found[node], turned)

    frames = len(moved[0, "translation"])
    place(0, np.zeros((frames, 3)), Rotation.identity(frames))
    return np.stack([found[joint] for joint in range(len(JOINT_NAMES))], axis=1)


@pytest.mark.parametrize("name", ["walk_circle", "sit_down"])
def test_gltf_moves_as_bvh_does(tmp_path: Path, name: str) -> None:
    motion = _motion(name)
    write_bvh(tmp_path / "motion.bvh", motion)
    write_glb(tmp_path / "new" / "motion.glb", motion, "a <title>", fps=20)
    content, arrays = _read_glb(tmp_path / "new" / "motion.glb")
    assert [node["name"] for node in content["nodes"][:22]] == [bvh_name(j) for j in JOINT_NAMES]
    assert content["animations"][0]["name"] == "a <title>"
    read, _ = _read(tmp_path / "motion.bvh")
    np.testing.assert_allclose(_positions(content, arrays), read, atol=1e-4)
    times = arrays[content["animations"][0]["samplers"][0]["input"]]
    np.testing.assert_allclose(times.ravel(), np.arange(len(motion)) / 20, atol=1e-6)


def test_bvh_of_recovered_features_reads_back(tmp_path: Path) -> None:
    motion = features_to_joints(joints_to_features(_motion("walk_forward")))
    write_bvh(tmp_path / "motion.bvh", motion)
    read, _ = _read(tmp_path / "motion.bvh")
    assert np.linalg.norm(read - motion, axis=-1).mean() < 0.015


def test_bvh_keeps_its_frame_rate(tmp_path: Path) -> None:
    write_bvh(tmp_path / "motion.bvh", standing(1.0), fps=30)
    assert _read(tmp_path / "motion.bvh")[1] == 30


def test_bvh_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "motion.bvh"
    write_bvh(path, standing(1.0))
    head, _, motion = path.read_text().partition("MOTION\n")
    assert head.startswith("HIERARCHY\nROOT Hips\n{\n")
    assert head.count("{") == head.count("}") == 22 + 5
    names = re.findall(r"(?:ROOT|JOINT) (\S+)", head)
    assert sorted(names) == sorted(map(bvh_name, JOINT_NAMES))
    assert {"LeftUpLeg", "RightForeArm", "Spine2", "LeftToeBase"} < set(names)
    assert head.count("End Site") == 5
    channels = re.findall(r"CHANNELS (\d) (.*)", head)
    assert all(len(named.split()) == int(count) for count, named in channels)
    assert motion.startswith("Frames: 20\nFrame Time: 0.05000000\n")
    assert _rows(path).shape == (20, sum(int(count) for count, _ in channels))
    assert list(path.parent.iterdir()) == [path]


def test_rest_pose_is_a_t_pose_of_the_motions_size(tmp_path: Path) -> None:
    path = tmp_path / "motion.bvh"
    write_bvh(path, standing(1.0))
    text = path.read_text()
    forearm = re.search(r"JOINT RightForeArm\s*\{\s*OFFSET (\S+) (\S+) (\S+)", text)
    assert forearm is not None
    bone = np.array([0.03, -0.27, -0.02])
    np.testing.assert_allclose(
        [float(value) for value in forearm.groups()],
        [-float(np.linalg.norm(bone)), 0, 0],
        atol=1e-6,
    )


def test_angles_do_not_leap_while_a_person_spins(tmp_path: Path) -> None:
    motion = standing(6.0)
    yaw_T = np.linspace(0, 6 * np.pi, len(motion))
    cos_T1, sin_T1 = np.cos(yaw_T)[:, None], np.sin(yaw_T)[:, None]
    x_TJ, z_TJ = motion[..., 0].copy(), motion[..., 2].copy()
    motion[..., 0], motion[..., 2] = cos_T1 * x_TJ + sin_T1 * z_TJ, cos_T1 * z_TJ - sin_T1 * x_TJ
    write_bvh(tmp_path / "motion.bvh", motion)
    angles = _rows(tmp_path / "motion.bvh")[:, 3:]
    assert np.abs(np.diff(angles, axis=0)).max() < 15
    assert np.abs(angles[-1] - angles[0]).max() == pytest.approx(1080, abs=1)
    read, _ = _read(tmp_path / "motion.bvh")
    assert np.abs(read - motion).max() < 0.002


@pytest.mark.corpus
def test_bvh_of_real_motion_has_no_leaps(tmp_path: Path) -> None:
    write_bvh(tmp_path / "motion.bvh", _motion("cmu_07_04"))
    assert np.abs(np.diff(_rows(tmp_path / "motion.bvh")[:, 3:], axis=0)).max() < 40


@pytest.mark.parametrize("write", [write_bvh, write_joints])
def test_bad_joints_are_refused(tmp_path: Path, write: type) -> None:
    broken: Motion = standing(1.0)
    broken[3, 4, 1] = np.nan
    with pytest.raises(ValueError, match="the first in frame 3"):
        write(tmp_path / "file", broken)
    for shape in ((20, 21, 3), (22, 3), (0, 22, 3)):
        with pytest.raises(ValueError, match=r"expected \(T, 22, 3\), found"):
            write(tmp_path / "file", np.zeros(shape))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -20, np.inf, np.nan])
def test_bad_rates_are_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="expected a rate above 0"):
        write_bvh(tmp_path / "file", standing(1.0), fps)


def test_arrays_are_written(tmp_path: Path) -> None:
    motion = standing(1.0)
    features = joints_to_features(motion)
    write_joints(tmp_path / "a" / "joints.npy", motion)
    write_features(tmp_path / "features.npy", features)
    joints = np.load(tmp_path / "a" / "joints.npy", allow_pickle=False)
    assert joints.dtype == np.float32
    np.testing.assert_array_equal(joints, motion.astype(np.float32))
    np.testing.assert_array_equal(
        np.load(tmp_path / "features.npy", allow_pickle=False), features.astype(np.float32)
    )
    with pytest.raises(ValueError, match=r"features: expected \(T, 263\)"):
        write_features(tmp_path / "bad.npy", features[:, :-1])
    with pytest.raises(ValueError, match="the first in frame 0"):
        write_features(tmp_path / "bad.npy", features * np.nan)
    assert not (tmp_path / "bad.npy").exists()
