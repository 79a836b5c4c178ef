"""Import BVH files of any humanoid skeleton as 22 joints in meters, y up.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), S joints of the file's own
skeleton.

pymotion (MIT), which is maintained and needs only NumPy, parses the file. It fills missing frames
with zeros, so the number of frames is checked first. Joints are found by name: a list of aliases
covers the skeletons of CMU, Bandai-Namco, Mixamo and LAFAN1 and most others. Missing joints are
interpolated: collars between neck and shoulders, vertebrae along the spine.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from data.errors import ItemError, Reason
from data.importers.archives import (
    file_chunks,
    member_chunks,
    open_archive,
    read_member,
    read_small_file,
)
from data.importers.search import rejected
from data.motion.bodies import stature, tposes
from data.motion.skeleton import JOINT, JOINT_NAMES, NUM_JOINTS
from data.motion.splits import group_of_take
from data.motion_records import Found, ImportedMotion, Pending, content_id
from data.plain_text import MAX_MESSAGE_CHARS, plain_text

MAX_FRAME_RATE: Final = 1000

RATE_TOLERANCE: Final = 0.002
"""Relative tolerance of the frame rate. Frame times have few digits: 0.0333 means 30 fps."""

UNITS_M: Final[Mapping[str, float]] = {
    "meter": 1.0,
    "centimeter": 0.01,
    "millimeter": 0.001,
    "inch": 0.0254,
    # The CMU database uses inches divided by 0.45 (length 0.45 in the header of its asf files).
    "cmu": 0.0254 / 0.45,
}
"""Possible units of a file, in meters. A file does not state its unit."""
STATURE_M: Final = (1.0, 2.35)
"""Heights of a skeleton for which a unit is plausible. The ranges of two units barely overlap; then
the height closer to 1.7 m wins."""

TPOSE_STEP_M: Final = 0.15
MAX_LEADING_TPOSE: Final = 5

_ALIASES: Final[Mapping[str, str]] = {
    "pelvis": "hips hip pelvis",
    "neck": "neck neck01",
    "head": "head",
    "{side}_hip": "{S}upleg {S}upperleg upperleg{s} {S}thigh thigh{s} {s}thigh {S}hip {s}hip "
    "hip{s} {s}femur upleg{s}",
    "{side}_knee": "{S}leg {S}lowerleg lowerleg{s} {S}shin shin{s} {s}shin {S}knee {s}knee knee{s} "
    "{S}calf calf{s} {s}calf {s}tibia leg{s}",
    "{side}_ankle": "{S}foot foot{s} {s}foot {S}ankle {s}ankle ankle{s}",
    "{side}_foot": "{S}toebase {S}toe {S}toes toes{s} toe{s} {s}toe {s}toes {s}toebase "
    "toebase{s} ball{s} {S}ball",
    "{side}_collar": "{S}shoulder shoulder{s} {s}shoulder {S}collar {s}collar collar{s} "
    "{S}clavicle clavicle{s} {s}clavicle",
    # In a skeleton without collars, "shoulder" is the joint of the upper arm.
    "{side}_shoulder": "{S}arm {S}upperarm upperarm{s} {s}upperarm {s}humerus arm{s} {s}shldr "
    "{S}shoulder {s}shoulder shoulder{s}",
    "{side}_elbow": "{S}forearm {S}lowerarm lowerarm{s} {s}forearm {s}lowerarm forearm{s} {S}elbow "
    "{s}elbow {s}radius",
    "{side}_wrist": "{S}hand hand{s} {s}hand {S}wrist {s}wrist wrist{s}",
}
"""Normalized joint names, see :func:`_plain`; {S} is left or right, {s} is l or r."""


def _alias_table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for joint, names in _ALIASES.items():
        if "{side}" not in joint:
            table[joint] = names.split()
            continue
        for side in ("left", "right"):
            filled = names.replace("{S}", side).replace("{s}", side[0])
            table[joint.format(side=side)] = filled.split()
    return table


ALIASES: Final = _alias_table()
_NEEDED: Final = tuple(name for name in ALIASES if not name.endswith("collar"))

LICENSES: Final = {
    "cmu": "CMU mocap: free for research and products, no resale, acknowledge mocap.cs.cmu.edu",
    "bandai-namco": "CC BY-NC 4.0 (Bandai-Namco Research Motiondataset)",
    "lafan1": "CC BY-NC-ND 4.0 (Ubisoft LAFAN1)",
    "mixamo": "Adobe Mixamo terms",
}


def find_bvh(path: Path) -> Found:
    """Find the motion of a BVH file.

    Args:
        path: the file.

    Raises:
        ItemError: the file cannot be read.
    """
    motion_id = content_id("bvh", file_chunks(path))
    read = partial(_read_file, path, motion_id)
    yield Pending(motion_id, path.stem, str(path), read, path.stat().st_size)


def _read_file(path: Path, motion_id: str) -> ImportedMotion:
    return read_bvh(read_small_file(path), motion_id, str(path), path.stem)


def find_bvh_in_zip(path: Path) -> Found:
    """Find the motions of a ZIP archive of BVH files. Other members are ignored.

    Args:
        path: the archive.

    Raises:
        ItemError: the file is not a ZIP archive, or contains no BVH file.
    """
    with open_archive(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.filename)
        motions = [info for info in infos if info.filename.lower().endswith(".bvh")]
        if not motions:
            names = ", ".join(info.filename[:60] for info in infos[:3])
            raise ItemError(
                Reason.WRONG_FORM,
                f"expected .bvh files in {path.name}, found {len(infos)} members, none of them one"
                f"{f' ({names}, …)' if names else ''}.",
                "Unpack an archive of .npy or .npz files and name the folder, or leave it out.",
            )
        for info in motions:
            item = plain_text(f"{path}:{info.filename}", MAX_MESSAGE_CHARS)
            try:
                motion_id = content_id("bvh", member_chunks(archive, info))
            except ItemError as error:
                yield rejected(content_id(item), item, error)
                continue
            name = plain_text(Path(info.filename).stem, MAX_MESSAGE_CHARS)
            read = partial(_read_in_zip, path, info.filename, motion_id, name, item)
            yield Pending(motion_id, name, item, read, info.file_size)


def _read_in_zip(path: Path, member: str, motion_id: str, name: str, item: str) -> ImportedMotion:
    with open_archive(path) as archive:
        data = read_member(archive, archive.getinfo(member))
    return read_bvh(data, motion_id, item, name)


def read_bvh(data: bytes, motion_id: str, item: str, name: str) -> ImportedMotion:
    """Read one BVH file.

    Args:
        data: content of the file.
        motion_id: id of the motion.
        item: path for the row.
        name: name of the file without suffix; for known databases it contains the subject.

    Raises:
        ItemError: the content is not BVH, or its skeleton is not a known humanoid.
    """
    text = data.decode("utf-8", errors="replace")
    _check_motion_lines(text)
    parsed = _parse(text)
    names = [str(joint) for joint in parsed["names"]]
    frame_time_s = float(parsed["frame_time"])
    if not 1 / MAX_FRAME_RATE <= frame_time_s <= 1.0:
        raise _wrong_form("a frame time of 0.001 to 1 s", f"{frame_time_s:g}")
    positions_TS3 = _forward_kinematics(parsed)
    joints_TJ3 = _to_22(positions_TS3, names, [int(p) for p in parsed["parents"]])
    joints_TJ3 = _upright(joints_TJ3)
    joints_TJ3 = joints_TJ3 * _unit_m(joints_TJ3)
    joints_TJ3 = joints_TJ3[_num_leading_tposes(joints_TJ3) :]
    preset = _preset(names)
    return ImportedMotion(
        motion_id=motion_id,
        source="bvh",
        source_path=item,
        source_id=name,
        fps=exact_rate(frame_time_s),
        joints_TJ3=joints_TJ3.astype(np.float32),
        group=group_of_take(preset, name),
        license=LICENSES.get(preset, ""),
    )


def exact_rate(frame_time_s: float) -> Fraction:
    """Return the exact frame rate of a rounded frame time: 0.0083333 is 120 fps."""
    rate = Fraction(1 / frame_time_s)
    whole = max(round(rate), 1)
    ntsc = Fraction(max(round(rate * Fraction(1001, 1000)), 1) * 1000, 1001)
    nearest = min((Fraction(whole), ntsc), key=lambda usual: abs(usual - rate))
    if abs(nearest - rate) < RATE_TOLERANCE * rate:
        return nearest
    return rate.limit_denominator(1000)


# --------------------------------------------------------------------------------------- reading


def _wrong_form(expected: str, found: str) -> ItemError:
    return ItemError(
        Reason.WRONG_FORM,
        f"expected a BVH file with {expected}, found {found}.",
        "Export the file again, or leave it out.",
    )


def _check_motion_lines(text: str) -> None:
    """Raise unless the file has all frames that its header declares."""
    head, mark, motion = text.partition("MOTION")
    if not mark or "HIERARCHY" not in head:
        raise _wrong_form("HIERARCHY and MOTION", "neither" if not mark else "no HIERARCHY")
    counts = re.findall(r"CHANNELS\s+(\d+)", head)
    if not counts or set(counts) - {"3", "6"}:
        raise _wrong_form("3 or 6 channels per joint", f"{sorted(set(counts)) or 'none'}")
    found = re.match(r"\s*Frames:\s*(\d+)\s*\n\s*Frame Time:\s*(\S+)[^\n]*\n?", motion)
    if found is None:
        raise _wrong_form("'Frames:' and 'Frame Time:'", repr(motion.strip()[:40]))
    lines = motion[found.end() :].split("\n")
    rows = [line for line in lines if line.strip()]
    # Compared as text, because Python refuses to parse a number of thousands of digits.
    if f"{len(rows)}" != (found.group(1).lstrip("0") or "0") or not rows:
        raise _wrong_form(f"{found.group(1)[:20]} frames", f"{len(rows)} lines of motion")
    channels = sum(map(int, counts))
    for number, row in enumerate(rows):
        if len(row.split()) != channels:
            raise _wrong_form(
                f"{channels} values per frame", f"{len(row.split())} in frame {number}"
            )


def _parse(text: str) -> dict[str, Any]:
    from pymotion.io.bvh import BVH  # noqa: PLC0415 - slow, it loads torch

    # The parser mistakes empty lines for frames.
    whole = "\n".join(line for line in text.replace("\r", "").split("\n") if line.strip())
    with tempfile.NamedTemporaryFile("w", suffix=".bvh", encoding="utf-8") as file:
        file.write(whole)
        file.flush()
        reader = BVH()
        try:
            reader.load(file.name)
        except Exception as error:
            raise _wrong_form("a readable hierarchy", f"{error}") from error
    data: dict[str, Any] = reader.data
    finite = all(np.isfinite(data[key]).all() for key in ("positions", "rotations", "offsets"))
    if not finite:
        raise _wrong_form("finite numbers", "others")
    return data


def _forward_kinematics(data: Mapping[str, Any]) -> NDArray[np.float64]:
    """World positions, (T, S, 3), in the file's unit."""
    local_TS3 = data["positions"]
    rotations: list[Rotation] = []
    places: list[NDArray[np.float64]] = []
    for joint, parent in enumerate(data["parents"]):
        order = "".join(data["rot_order"][joint]).upper()
        if set(order) != set("XYZ") or len(order) != 3:
            raise _wrong_form("rotations about X, Y and Z, each once", f"{order or 'none'}")
        turned = Rotation.from_euler(order, data["rotations"][:, joint], degrees=True)
        if joint == 0:
            rotations.append(turned)
            places.append(local_TS3[:, 0])
        else:
            rotations.append(rotations[parent] * turned)
            places.append(places[parent] + rotations[parent].apply(local_TS3[:, joint]))
    return np.stack(places, axis=1)


# --------------------------------------------------------------------------------------- skeleton


def _plain(name: str) -> str:
    """Normalize a joint name: ``mixamorig:LeftUpLeg`` is ``leftupleg``."""
    name = name.rsplit(":", 1)[-1].lower().removeprefix("mixamorig").removeprefix("bip01")
    return re.sub(r"[^a-z0-9]", "", name)


def _find_joints(names: Sequence[str]) -> dict[str, int]:
    """Map our joint names to indices of the file's joints.

    Raises:
        ItemError: a required joint is missing.
    """
    plain = [_plain(name) for name in names]
    found: dict[str, int] = {}
    for joint, aliases in ALIASES.items():
        index = next((plain.index(alias) for alias in aliases if alias in plain), None)
        if index is not None:
            found[joint] = index
    for side in ("left", "right"):
        if found.get(f"{side}_collar") == found.get(f"{side}_shoulder"):
            found.pop(f"{side}_collar", None)
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise ItemError(
            Reason.WRONG_SKELETON,
            f"expected joints of a whole body, found none for {', '.join(missing)} among "
            f"{', '.join(names[:40])}.",
            "Rename the joints, e.g. as Mixamo does (LeftUpLeg, LeftLeg, LeftFoot, …).",
        )
    return found


def _to_22(
    places_TS3: NDArray[np.float64], names: Sequence[str], parents: Sequence[int]
) -> NDArray[np.float64]:
    """Compute our 22 joints in the file's unit and axes, (T, 22, 3)."""
    found = _find_joints(names)
    joints = np.empty((len(places_TS3), NUM_JOINTS, 3))
    for name, index in found.items():
        joints[:, JOINT[name]] = places_TS3[:, index]
    spine = _spine(found, parents)
    for name, source in zip(("spine1", "spine2", "spine3"), spine, strict=True):
        joints[:, JOINT[name]] = (1 - source[2]) * places_TS3[:, source[0]] + source[
            2
        ] * places_TS3[:, source[1]]
    for side in ("left", "right"):
        collar = f"{side}_collar"
        if collar not in found:
            neck, shoulder = joints[:, JOINT["neck"]], joints[:, JOINT[f"{side}_shoulder"]]
            joints[:, JOINT[collar]] = neck + 0.4 * (shoulder - neck)
    return joints


def _spine(found: Mapping[str, int], parents: Sequence[int]) -> list[tuple[int, int, float]]:
    """Define three vertebrae as points between two joints of the file: (from, to, fraction)."""
    chain: list[int] = []
    joint = parents[found["neck"]]
    while joint not in (found["pelvis"], parents[joint]):
        chain.insert(0, joint)
        joint = parents[joint]
    if joint != found["pelvis"] or not chain:
        # The neck is a child of the pelvis: place the vertebrae evenly between them.
        ends = found["pelvis"], found["neck"]
        return [(*ends, share) for share in (0.25, 0.5, 0.75)]
    if len(chain) == 1:
        pelvis, only, neck = found["pelvis"], chain[0], found["neck"]
        return [(pelvis, only, 0.5), (only, only, 0.0), (only, neck, 0.5)]
    if len(chain) == 2:
        return [(chain[0], chain[0], 0.0), (chain[0], chain[1], 0.5), (chain[1], chain[1], 0.0)]
    # A longer spine: use its first, middle and last vertebra.
    picked = (chain[0], chain[(len(chain) - 1) // 2], chain[-1])
    return [(joint, joint, 0.0) for joint in picked]


# ------------------------------------------------------------------------- axes, unit, first frames


def _upright(joints_TJ3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate the motion so that y is up. Up is the axis along which the head is above the feet."""
    feet = [JOINT["left_ankle"], JOINT["right_ankle"]]
    up_3 = np.median(joints_TJ3[:, JOINT["head"]] - joints_TJ3[:, feet].mean(axis=1), axis=0)
    axis = int(np.abs(up_3).argmax())
    turned = joints_TJ3
    if axis == 2:  # z up: x stays, z becomes y
        turned = joints_TJ3[..., [0, 2, 1]] * np.array([1.0, 1.0, -1.0])
    elif axis == 0:  # x up: z stays, x becomes y
        turned = joints_TJ3[..., [1, 0, 2]] * np.array([-1.0, 1.0, 1.0])
    if up_3[axis] < 0:  # upside down: half a turn about z
        turned = turned * np.array([-1.0, -1.0, 1.0])
    return turned


def _unit_m(joints_TJ3: NDArray[np.float64]) -> float:
    """Meters per unit of the file: the unit for which the body has a plausible height.

    Raises:
        ItemError: there is no such unit.
    """
    units = stature(joints_TJ3)
    plausible = [
        unit_m for unit_m in UNITS_M.values() if STATURE_M[0] <= units * unit_m <= STATURE_M[1]
    ]
    if not plausible:
        raise ItemError(
            Reason.WRONG_SKELETON,
            f"expected a person's height in {', '.join(UNITS_M)}, found {units:.4g} units.",
            "Scale the skeleton to meters or centimeters.",
        )
    return min(plausible, key=lambda unit_m: abs(units * unit_m - 1.7))


def _num_leading_tposes(joints_TJ3: NDArray[np.float64]) -> int:
    """Number of calibration frames at the start: T-poses that are followed by a jump."""
    steps_T = np.linalg.norm(np.diff(joints_TJ3[: MAX_LEADING_TPOSE + 1], axis=0), axis=-1).max(-1)
    leaps = np.flatnonzero(steps_T > TPOSE_STEP_M)
    if not leaps.size:
        return 0
    count = int(leaps[-1]) + 1
    return count if tposes(joints_TJ3[:count]).all() else 0


# -------------------------------------------------------------------------------------- provenance


def _preset(names: Iterable[str]) -> str:
    """Name of a known skeleton, which decides license and group; empty for others."""
    present = set(names)
    if {"LHipJoint", "RHipJoint", "LowerBack"} <= present:
        return "cmu"
    if {"joint_Root", "UpperLeg_L", "Toes_L"} <= present:
        return "bandai-namco"
    if any(name.startswith("mixamorig") for name in present):
        return "mixamo"
    if {"LeftUpLeg", "LeftToe", "Spine2"} <= present:
        return "lafan1"
    return ""


assert set(_NEEDED) < set(JOINT_NAMES)  # noqa: S101 - a table of this module against another
