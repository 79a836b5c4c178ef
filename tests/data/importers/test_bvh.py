"""BVH import: two real skeletons, comparison with the shared joints, and broken files."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.corpus import MOCAP, mocap
from data.errors import ItemError, Reason
from data.exporters import write_bvh
from data.importers.bvh import exact_rate, find_bvh, read_bvh
from data.importers.search import find_in
from data.importers.sources import find_motions
from data.motion.quality import resample
from data.motion.skeleton import JOINT
from data.motion_records import ImportedMotion, Pending
from data.records import Rejection
from data.synthetic.activities import generate_motion

SAMPLES = MOCAP / "bvh_samples"
CMU = "cmu_joints22_20fps.npz"
JOINTS = generate_motion("walk_forward", 1, 3.0)[0]


@pytest.fixture(scope="module")
def walk_bvh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of our exporter: meters, y up, names of Mixamo without its prefix."""
    path = tmp_path_factory.mktemp("bvh") / "walk.bvh"
    write_bvh(path, JOINTS)
    return path


def _read(data: bytes, name: str = "x") -> ImportedMotion:
    return read_bvh(data, "id", "item", name)


def _aligned_error_m(ours: NDArray[np.float32], theirs: NDArray[np.float64]) -> float:
    """Mean distance of joints after the optimal rotation and translation of the whole motion."""
    length = min(len(ours), len(theirs))
    a = ours[:length].astype(np.float64).reshape(-1, 3)
    b = theirs[:length].reshape(-1, 3)
    a, b = a - a.mean(0), b - b.mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return float(np.linalg.norm(a @ turn - b, axis=1).mean())


@pytest.mark.corpus
def test_the_shared_joints_are_those_of_the_bvh_files() -> None:
    """Check names, unit, axes, leading T-pose and frame rate on every sixth of the 90 files."""
    by_key = {key.removeprefix("cmu_"): motion for key, _, motion in mocap(CMU, "label")}
    found = list(find_motions(MOCAP / "cmu_bvh.zip"))
    assert len(found) == 90
    for pending in found[::6]:
        assert isinstance(pending, Pending)
        motion = pending.read()
        assert motion.joints_TJ3 is not None
        theirs = by_key[motion.source_id]
        assert motion.fps == 120
        assert motion.group == f"cmu/{motion.source_id[:2]}"
        assert "mocap.cs.cmu.edu" in motion.license
        # Frame by frame, and as we resample it (without aliasing, so fast feet differ a little).
        assert _aligned_error_m(motion.joints_TJ3[::6], theirs) < 1e-4
        assert _aligned_error_m(resample(motion.joints_TJ3, motion.fps), theirs) < 0.005


@pytest.mark.corpus
@pytest.mark.parametrize("count", [1, 2, 4])
def test_leading_tposes_are_left_out(count: int) -> None:
    """This file starts with one T-pose; others of its database start with two."""
    text = (SAMPLES / "cmu_02_01.bvh").read_text()
    head, rate, motion = text.partition("Frame Time: .0083333\n")
    first = motion.splitlines(keepends=True)[0]
    head = head.replace("Frames: 344", f"Frames: {343 + count}")
    joints = _read(f"{head}{rate}{first * (count - 1)}{motion}".encode()).joints_TJ3
    assert joints is not None
    assert len(joints) == 343
    assert np.linalg.norm(np.diff(joints[:5], axis=0), axis=-1).max() < 0.05


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["dataset-1_walk_normal_001", "dataset-1_kick_normal_001"])
def test_bandai_namco(name: str) -> None:
    (pending,) = find_bvh(SAMPLES / f"{name}.bvh")
    assert isinstance(pending, Pending)
    motion = pending.read()
    joints = motion.joints_TJ3
    assert joints is not None
    assert motion.fps == 30
    assert "BC" not in motion.license
    assert "CC BY-NC" in motion.license
    assert 1.2 < joints[0, JOINT["head"], 1] - joints[..., 1].min() < 1.8
    # The person's left is to the left of where the toes point.
    across = joints[:, JOINT["left_hip"]] - joints[:, JOINT["right_hip"]]
    toes = joints[:, JOINT["left_foot"]] - joints[:, JOINT["left_ankle"]]
    assert np.median(np.cross(toes, across)[:, 1]) > 0
    bandai = mocap("bandai_joints22_20fps.npz", "content")
    same = next(motion for key, _, motion in bandai if key.endswith(name.split("-1_")[1]))
    assert _aligned_error_m(resample(joints, motion.fps), same) < 0.03


def _changed(text: str, change: str) -> bytes:
    """A file with other units, axes or names."""
    head, _, motion = text.partition("MOTION")
    if change == "centimeters":
        scale = 100

        def scaled(found: re.Match[str]) -> str:
            values = [f"{float(v) * scale:.6f}" for v in found.group(1).split()]
            return f"OFFSET {' '.join(values)}"

        head = re.sub(r"OFFSET ([^\n]+)", scaled, head)
        lines = motion.splitlines()
        for number in range(3, len(lines)):
            values = lines[number].split()
            if values:
                moved = [f"{float(v) * scale:.6f}" for v in values[:3]]
                lines[number] = " ".join([*moved, *values[3:]])
        motion = "\n".join(lines)
    elif change == "mixamo names":
        head = re.sub(r"(ROOT|JOINT) (\w+)", r"\1 mixamorig:\2", head)
    elif change == "short names":
        head = re.sub(r"JOINT Left(\w+)", r"JOINT L_\1", head)
        head = re.sub(r"JOINT Right(\w+)", r"JOINT R_\1", head)
        head = head.replace("L_UpLeg", "l_thigh").replace("R_UpLeg", "r_thigh")
        head = head.replace("L_Leg", "l_calf").replace("R_Leg", "r_calf")
        head = head.replace("L_Arm", "l_upperarm").replace("R_Arm", "r_upperarm")
    elif change == "windows":
        return f"{head}MOTION{motion}".replace("\n", "\r\n").encode()
    elif change == "blank lines":
        motion = motion.replace("\n", "\n\n")
    return f"{head}MOTION{motion}".encode()


@pytest.mark.parametrize("change", ["centimeters", "mixamo names", "short names", "windows"])
def test_other_units_and_names_give_the_same_motion(walk_bvh: Path, change: str) -> None:
    plain = _read(walk_bvh.read_bytes()).joints_TJ3
    changed = _read(_changed(walk_bvh.read_text(), change)).joints_TJ3
    assert plain is not None
    assert changed is not None
    np.testing.assert_allclose(changed, plain, atol=2e-4)


def test_z_up(walk_bvh: Path) -> None:
    """A body with z up, as many tools export it."""
    text = walk_bvh.read_text()
    head, _, motion = text.partition("MOTION")
    # A quarter turn about x in front of the root's own rotations: another root above it.
    head = (
        head.replace(
            "ROOT Hips",
            "ROOT World\n{\n\tOFFSET 0 0 0\n\tCHANNELS 3 Zrotation Yrotation Xrotation\n"
            "\tJOINT Hips",
        ).rstrip()
        + "\n}\n"
    )
    lines = motion.strip().split("\n")
    body = ["0 0 90 " + line for line in lines[2:]]
    plain = _read(walk_bvh.read_bytes()).joints_TJ3
    turned = _read(("\n".join([head + "MOTION", *lines[:2], *body])).encode()).joints_TJ3
    assert plain is not None
    assert turned is not None
    np.testing.assert_allclose(turned[..., 1], plain[..., 1], atol=2e-4)
    assert _aligned_error_m(turned, plain.astype(np.float64)) < 1e-4


@pytest.mark.parametrize(
    ("old", "new", "reason", "told"),
    [
        ("HIERARCHY", "", Reason.WRONG_FORM, "HIERARCHY and MOTION"),
        ("MOTION", "", Reason.WRONG_FORM, "HIERARCHY and MOTION"),
        ("Frames: 60", "Frames: 70", Reason.WRONG_FORM, "70 frames, found 60 lines"),
        ("Frame Time: 0.05000000", "Frame Time: 0", Reason.WRONG_FORM, "frame time"),
        ("CHANNELS 3", "CHANNELS 4", Reason.WRONG_FORM, "3 or 6 channels"),
        ("JOINT LeftLeg", "JOINT Tail", Reason.WRONG_SKELETON, "left_knee"),
        ("OFFSET 0.", "OFFSET x", Reason.WRONG_FORM, "a readable hierarchy"),
    ],
)
def test_broken_files_say_what_is_wrong(
    walk_bvh: Path, old: str, new: str, reason: Reason, told: str
) -> None:
    text = walk_bvh.read_text()
    assert old in text
    with pytest.raises(ItemError, match=told) as caught:
        _read(text.replace(old, new).encode())
    assert caught.value.reason is reason
    assert caught.value.remedy


def test_a_truncated_file_and_values_that_are_no_numbers(walk_bvh: Path) -> None:
    data = walk_bvh.read_bytes()
    with pytest.raises(ItemError, match=r"60 frames|69 values per frame"):
        _read(data[: len(data) * 2 // 3])
    lines = data.decode().splitlines()
    lines[-20] = "nan " + lines[-20].split(maxsplit=1)[1]
    with pytest.raises(ItemError, match="finite numbers"):
        _read("\n".join(lines).encode())


def test_folders_and_archives(walk_bvh: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.BVH").write_bytes(walk_bvh.read_bytes())
    (tmp_path / "notes.txt").write_text("no motion")
    (pending,) = find_motions(tmp_path)
    assert isinstance(pending, Pending)
    # The same content has the same id, wherever it lies.
    (same,) = find_bvh(walk_bvh)
    assert isinstance(same, Pending)
    assert pending.motion_id == same.motion_id
    (tmp_path / "bad.zip").write_bytes(b"PK no archive")
    (missing,) = find_in(tmp_path / "missing.bvh", find_bvh)
    (bad,) = find_motions(tmp_path / "bad.zip")
    assert isinstance(missing, Rejection)
    assert isinstance(bad, Rejection)
    assert (missing.reason, bad.reason) == (Reason.NOT_FOUND, Reason.WRONG_FORM)


@pytest.mark.parametrize(
    ("frame_time_s", "fps"),
    [
        (0.0083333, Fraction(120)),
        (0.0333333, Fraction(30)),
        (0.033366700, Fraction(30000, 1001)),
        (0.04, Fraction(25)),
        (1 / 240, Fraction(240)),
        (0.05, Fraction(20)),
    ],
)
def test_rates_that_rounded_frame_times_mean(frame_time_s: float, fps: Fraction) -> None:
    assert exact_rate(frame_time_s) == fps


LIMBS = {
    "hip": (10.0, -5.0, 0.0),
    "knee": (0.0, -42.0, 0.0),
    "ankle": (0.0, -42.0, 0.0),
    "toe": (0.0, -7.0, 14.0),
    "collar": (4.0, 20.0, 0.0),
    "shoulder": (14.0, 0.0, 0.0),
    "elbow": (0.0, -28.0, 0.0),
    "wrist": (0.0, -25.0, 0.0),
}
LAFAN1 = ("UpLeg", "Leg", "Foot", "Toe", "Shoulder", "Arm", "ForeArm", "Hand")
MIXAMO = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")


def _skeleton(prefix: str, limbs: tuple[str, ...]) -> bytes:
    """A standing body that slides forward for two seconds, in centimeters."""

    def joint(name: str, offset: tuple[float, float, float], *children: str) -> str:
        channels = "CHANNELS 3 Zrotation Xrotation Yrotation"
        inside = "\n".join(children) or "End Site\n{\nOFFSET 0 1 0\n}"
        place = " ".join(map(str, offset))
        return f"JOINT {prefix}{name}\n{{\nOFFSET {place}\n{channels}\n{inside}\n}}"

    def limb(side: str, parts: list[str]) -> str:
        sign = 1 if side == "Left" else -1
        told = ""
        for part in reversed(parts):
            x, y, z = LIMBS[part]
            name = side + limbs[list(LIMBS).index(part)]
            told = joint(name, (sign * x, y, z), *([told] if told else []))
        return told

    arms = [limb(side, ["collar", "shoulder", "elbow", "wrist"]) for side in ("Left", "Right")]
    legs = [limb(side, ["hip", "knee", "ankle", "toe"]) for side in ("Left", "Right")]
    head = joint("Neck", (0.0, 25.0, 0.0), joint("Head", (0.0, 12.0, 0.0)))
    spine = joint("Spine2", (0.0, 12.0, 0.0), *arms, head)
    spine = joint("Spine", (0.0, 10.0, 0.0), joint("Spine1", (0.0, 12.0, 0.0), spine))
    root = "\n".join([*legs, spine])
    channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    frames = [
        " ".join(["0", "96", str(frame), *["0"] * (3 * (root.count("JOINT") + 1))])
        for frame in range(60)
    ]
    head_text = f"HIERARCHY\nROOT {prefix}Hips\n{{\nOFFSET 0 0 0\n{channels}\n{root}\n}}\n"
    motion = "\n".join(["MOTION", "Frames: 60", "Frame Time: 0.0333333", *frames])
    return (head_text + motion).encode()


@pytest.mark.parametrize(
    ("prefix", "limbs", "terms"),
    [("", LAFAN1, "LAFAN1"), ("mixamorig:", MIXAMO, "Mixamo")],
)
def test_lafan1_and_mixamo(prefix: str, limbs: tuple[str, ...], terms: str) -> None:
    motion = _read(_skeleton(prefix, limbs), "dance1_subject2")
    joints = motion.joints_TJ3
    assert joints is not None
    assert terms in motion.license
    assert motion.group == ("lafan1/subject2" if terms == "LAFAN1" else "")
    expected = {
        "pelvis": (0.0, 0.96, 0.0),
        "left_knee": (0.10, 0.49, 0.0),
        "right_foot": (-0.10, 0.0, 0.14),
        "spine1": (0.0, 1.06, 0.0),
        "spine3": (0.0, 1.30, 0.0),
        "head": (0.0, 1.67, 0.0),
        "left_collar": (0.04, 1.50, 0.0),
        "right_wrist": (-0.18, 0.97, 0.0),
    }
    for name, place in expected.items():
        np.testing.assert_allclose(joints[0, JOINT[name]], place, atol=1e-5, err_msg=name)
    assert joints[-1, 0, 2] == pytest.approx(0.59)
