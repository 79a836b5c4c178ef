"""Export motions as BVH and glTF files, NumPy arrays and HumanML3D folders.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), D = 263 features, N bones that
start in one joint. Positions are meters, y up.
"""

import json
import re
import struct
from collections.abc import Iterator, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from data.arrays import FloatArray
from data.motion.features import NUM_FEATURES
from data.motion.skeleton import FPS, JOINT, JOINT_NAMES, NUM_JOINTS, PARENTS
from data.motion.splits import Split
from data.store.writer import write_bytes, write_text

_LEFT, _UP, _AHEAD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_DOWN: Final = (0.0, -1.0, 0.0)
_JOINTS: Final = {
    "pelvis": ("Hips", _UP, "ZXY"),
    "spine1": ("Spine", _UP, "ZYX"),
    "spine2": ("Spine1", _UP, "ZYX"),
    "spine3": ("Spine2", _UP, "ZYX"),
    "neck": ("Neck", _UP, "ZYX"),
    "head": ("Head", _UP, "ZYX"),
    "hip": ("UpLeg", _LEFT, "ZYX"),
    "knee": ("Leg", _DOWN, "ZYX"),
    "ankle": ("Foot", _DOWN, "ZYX"),
    "foot": ("ToeBase", _AHEAD, "ZYX"),
    "collar": ("Shoulder", _LEFT, "ZXY"),
    "shoulder": ("Arm", _LEFT, "ZXY"),
    "elbow": ("ForeArm", _LEFT, "ZXY"),
    "wrist": ("Hand", _LEFT, "ZXY"),
}
"""Name in the file, direction of the bone that ends in the joint in the rest pose (a T-pose facing
+z, left side), and order of rotations.

The names are those of Mixamo without its prefix, which retargeting tools recognize. The middle
angle of each order must stay away from 90 degrees. It is the pitch for the pelvis, whose yaw takes
all values, and the twist for limbs, which is small for the shortest rotations.
"""
_END_M: Final = {"head": 0.12, "foot": 0.05, "wrist": 0.08}
"""Lengths of the end sites, which the joints do not determine."""

_FLOAT: Final = 5126
"""glTF's number of 32-bit floats."""
_THICKNESS: Final = 0.11
"""Radius of the bones that a glTF file shows, relative to their lengths."""

_BASE_NAMES: Final = tuple(
    name.removeprefix("left_").removeprefix("right_") for name in JOINT_NAMES
)
_ORDERS: Final = tuple(_JOINTS[base][2] for base in _BASE_NAMES)
_REST_J3: Final = np.array([_JOINTS[base][1] for base in _BASE_NAMES])
_REST_J3[[name.startswith("right_") for name in JOINT_NAMES]] *= (-1.0, 1.0, 1.0)
_CHILDREN: Final = tuple(
    [child for child, parent in enumerate(PARENTS) if parent == joint]
    for joint in range(NUM_JOINTS)
)
_AXES: Final = {
    JOINT["pelvis"]: ("left_hip", "right_hip", "spine2"),
    JOINT["spine3"]: ("left_shoulder", "right_shoulder", "head"),
}
"""Joints in which several bones start, with the joints that define their left and up directions.
These exist even if the bones have no length (as in the chest of CMU)."""

_AXES_WEIGHT_M2: Final = 1e-6
"""Weight of the axes, small compared with squared bone lengths, so that they decide only what the
bones leave undetermined."""
_FIT_ROUNDS: Final = 3
_FLIP_AXIS: Final = (0.0, 0.0, 1.0)
"""Axis of a half turn, perpendicular to all bones that can point against their rest direction."""


def bvh_name(joint: str) -> str:
    """Return the name of a joint in BVH and glTF files: ``left_knee`` is ``LeftLeg``."""
    side, _, base = joint.rpartition("_")
    return side.capitalize() + _JOINTS[base][0]


def write_bvh(path: Path, joints_TJ3: FloatArray, fps: float = FPS) -> None:
    """Write a motion as a BVH file in meters, y up, readable by Blender and our importer.

    A BVH skeleton is rigid, positions may not be. Bones get the median lengths of the motion, and
    bones that start together in the pelvis or the chest keep their median angles. All other bones
    keep their directions in each frame, and the pelvis its position. Since positions do not
    determine the twist of a limb, rotations are the shortest ones. Angles are continuous.

    Args:
        path: the file, which is replaced atomically; its folder is created.
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        fps: frames per second.

    Raises:
        ValueError: the shape is wrong, there are no frames, a position is not finite, or the rate
            is not positive.
    """
    _check_joints(joints_TJ3)
    _check_rate(fps)
    joints = joints_TJ3.astype(np.float64)
    offset_J3, local_J = _pose(joints)
    angles = [
        _continuous_deg(rotation.as_euler(order, degrees=True))
        for rotation, order in zip(local_J, _ORDERS, strict=True)
    ]
    # The file is ordered depth-first, our joints are ordered by level.
    columns = [angles[joint] for joint in _branches(0)]
    text = StringIO()
    text.write("HIERARCHY\n" + "\n".join(_hierarchy(0, offset_J3)))
    text.write(f"\nMOTION\nFrames: {len(joints)}\nFrame Time: {1 / fps:.8f}\n")
    np.savetxt(text, np.concatenate([joints[:, 0], *columns], axis=1), fmt="%.6f")
    write_text(path, text.getvalue())


def write_glb(path: Path, joints_TJ3: FloatArray, title: str = "", fps: float = FPS) -> None:
    """Write a motion as a binary glTF 2.0 file: an animated skeleton, in meters, y up.

    It has the rotations of :func:`write_bvh`, the path of the pelvis, and a simple shape for every
    bone, so that viewers show something. There is no skin.

    Args:
        path: the file, which is replaced atomically; its folder is created.
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        title: name of the animation.
        fps: frames per second.

    Raises:
        ValueError: as :func:`write_bvh`.
    """
    _check_joints(joints_TJ3)
    _check_rate(fps)
    joints = joints_TJ3.astype(np.float64)
    offset_J3, local_J = _pose(joints)
    offset_J3[0] = joints[0, 0]
    file = _Glb()
    nodes: list[dict[str, Any]] = [
        {"name": bvh_name(name), "translation": offset.tolist()}
        for name, offset in zip(JOINT_NAMES, offset_J3, strict=True)
    ]
    bone = file.bone()
    for joint, children in enumerate(_CHILDREN):
        for child in children:
            nodes[joint].setdefault("children", []).extend((child, len(nodes)))
            nodes.append(_shape(JOINT_NAMES[child], offset_J3[child]))
    times = file.add(np.arange(len(joints))[:, None] / fps, bounds=True)
    moving = [(0, "translation", joints[:, 0])]
    moving += [
        (joint, "rotation", _continuous_xyzw(local_J[joint]))
        for joint, children in enumerate(_CHILDREN)
        if children
    ]
    content = file.content | {
        "asset": {"version": "2.0", "generator": "avatargpt"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": [{"name": "bone", "primitives": [{"attributes": bone}]}],
        "animations": [
            {
                "name": title or "motion",
                "channels": [
                    {"sampler": index, "target": {"node": node, "path": what}}
                    for index, (node, what, _) in enumerate(moving)
                ],
                "samplers": [{"input": times, "output": file.add(rows)} for *_, rows in moving],
            }
        ],
    }
    write_bytes(path, file.packed(content))


def write_joints(path: Path, joints_TJ3: FloatArray) -> None:
    """Write a motion as a ``.npy`` file of float32.

    Args:
        path: the file, which is replaced atomically; its folder is created.
        joints_TJ3: positions, (T, 22, 3), meters, y up, 20 fps.

    Raises:
        ValueError: the shape is wrong, there are no frames, or a position is not finite.
    """
    _check_joints(joints_TJ3)
    _write_array(path, joints_TJ3)


def write_features(path: Path, features_TD: FloatArray) -> None:
    """Write features as a ``.npy`` file of float32.

    Args:
        path: the file, which is replaced atomically; its folder is created.
        features_TD: features, (T, 263), not normalized.

    Raises:
        ValueError: the shape is wrong, there are no rows, or a feature is not finite.
    """
    if features_TD.ndim != 2 or features_TD.shape[1] != NUM_FEATURES or not len(features_TD):
        raise ValueError(
            f"features: expected (T, {NUM_FEATURES}), found {features_TD.shape}. "
            "Pass whole feature vectors of one motion."
        )
    _check_finite("features", features_TD)
    _write_array(path, features_TD)


def write_humanml3d(
    root: Path, name: str, features_TD: FloatArray, captions: Sequence[str], split: Split
) -> None:
    """Add a motion to a folder in the layout of HumanML3D, for loaders of that dataset.

    Words are tagged ``OTHER``, a tag that those loaders accept, because we have no tagger.

    Args:
        root: folder of the dataset; created if missing.
        name: name of the motion, e.g. ``000001``; a motion of that name is replaced.
        features_TD: features, (T, 263), not normalized.
        captions: captions of the whole motion, at least one.
        split: split whose list the motion is added to.

    Raises:
        ValueError: as :func:`write_features`; or there is no caption, or a caption contains ``#``
            or a line break, which end a caption in this layout.
    """
    lines: list[str] = []
    for caption in captions:
        if not caption.strip() or set("#\n\r") & set(caption):
            raise ValueError(
                f"captions: expected words without '#' and line breaks, found {caption!r}. "
                "Remove them."
            )
        words = re.findall(r"[\w'-]+", caption.lower())
        lines.append(f"{caption}#{' '.join(f'{word}/OTHER' for word in words)}#0.0#0.0\n")
    if not lines:
        raise ValueError(f"captions: expected at least one for {name}, found none. Pass one.")
    write_features(root / "new_joint_vecs" / f"{name}.npy", features_TD)
    write_text(root / "texts" / f"{name}.txt", "".join(lines))
    listed = root / f"{split}.txt"
    names = listed.read_text(encoding="utf-8").split() if listed.exists() else []
    write_text(listed, "".join(f"{each}\n" for each in dict.fromkeys((*names, name))))


def _write_array(path: Path, array: FloatArray) -> None:
    content = BytesIO()
    np.save(content, array.astype(np.float32), allow_pickle=False)
    write_bytes(path, content.getvalue())


def _check_joints(joints_TJ3: FloatArray) -> None:
    if joints_TJ3.ndim != 3 or joints_TJ3.shape[1:] != (NUM_JOINTS, 3) or not len(joints_TJ3):
        raise ValueError(
            f"joints: expected (T, {NUM_JOINTS}, 3), found {joints_TJ3.shape}. "
            "Pass one motion of the 22-joint skeleton."
        )
    _check_finite("joints", joints_TJ3)


def _check_rate(fps: float) -> None:
    if not 0 < fps < np.inf:
        raise ValueError(f"fps: expected a rate above 0, found {fps}. Pass that of the motion.")


def _check_finite(name: str, values: FloatArray) -> None:
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name}: expected finite numbers, found others in {bad.size} of {len(values)} frames, "
            f"the first in frame {bad[0]}. Remove these frames, or interpolate them."
        )


# ------------------------------------------------------------------------------------------ layout


def _branches(joint: int) -> Iterator[int]:
    """Yield a joint and its descendants, depth-first."""
    yield joint
    for child in _CHILDREN[joint]:
        yield from _branches(child)


def _hierarchy(joint: int, offset_J3: FloatArray, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a joint and its descendants."""
    indent = "\t" * depth
    rotations = " ".join(f"{axis}rotation" for axis in _ORDERS[joint])
    channels = f"3 {rotations}" if depth else f"6 Xposition Yposition Zposition {rotations}"
    yield f"{indent}{'JOINT' if depth else 'ROOT'} {bvh_name(JOINT_NAMES[joint])}"
    yield f"{indent}{{"
    yield f"{indent}\tOFFSET {_numbers(offset_J3[joint])}"
    yield f"{indent}\tCHANNELS {channels}"
    for child in _CHILDREN[joint]:
        yield from _hierarchy(child, offset_J3, depth + 1)
    if not _CHILDREN[joint]:
        yield f"{indent}\tEnd Site"
        yield f"{indent}\t{{"
        yield f"{indent}\t\tOFFSET {_numbers(_END_M[_BASE_NAMES[joint]] * _REST_J3[joint])}"
        yield f"{indent}\t}}"
    yield f"{indent}}}"


def _numbers(values_3: FloatArray) -> str:
    return " ".join(f"{value:.6f}" for value in values_3)


# -------------------------------------------------------------------------------------------- glTF


class _Glb:
    """The content of a binary glTF file, put together array by array."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {"accessors": [], "bufferViews": []}
        self._bytes = bytearray()

    def add(self, rows_NC: FloatArray, *, bounds: bool = False) -> int:
        """Add an array of numbers or of vectors, (N, C); returns the number of its accessor."""
        rows = rows_NC.astype("<f4")
        view = {"buffer": 0, "byteOffset": len(self._bytes), "byteLength": rows.nbytes}
        accessor: dict[str, Any] = {
            "bufferView": len(self.content["bufferViews"]),
            "componentType": _FLOAT,
            "count": len(rows),
            "type": {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[rows.shape[1]],
        }
        if bounds:
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self._bytes += rows.tobytes()
        self.content["bufferViews"].append(view)
        self.content["accessors"].append(accessor)
        return len(self.content["accessors"]) - 1

    def bone(self) -> dict[str, int]:
        """Add the shape of a bone, from the origin to (0, 1, 0): two pyramids with flat faces."""
        angles = np.radians([45.0, 135.0, 225.0, 315.0])
        ring = np.stack([np.sin(angles), np.full(4, 0.15), np.cos(angles)], axis=1)
        ring[:, [0, 2]] *= _THICKNESS
        other = np.roll(ring, -1, axis=0)
        low, high = np.zeros((4, 3)), np.tile(_UP, (4, 1))
        corners_N33 = np.concatenate(
            [np.stack([low, other, ring], axis=1), np.stack([high, ring, other], axis=1)]
        )
        edges = corners_N33[:, 1:] - corners_N33[:, :1]
        normals_N3 = _unit(np.cross(edges[:, 0], edges[:, 1]))
        return {
            "POSITION": self.add(corners_N33.reshape(-1, 3), bounds=True),
            "NORMAL": self.add(np.repeat(normals_N3, 3, axis=0)),
        }

    def packed(self, content: dict[str, Any]) -> bytes:
        """Return the bytes of a file with this content and the arrays."""
        document = content | {"buffers": [{"byteLength": len(self._bytes)}]}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._bytes)
        head = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(self._bytes), b"BIN\0") + bytes(self._bytes)


def _shape(joint: str, offset_3: FloatArray) -> dict[str, Any]:
    """Return the node that shows the bone from a joint's parent to the joint."""
    turn = _shortest(np.array(_UP), offset_3[None])[0]
    length_m = float(np.linalg.norm(offset_3))
    return {
        "name": f"{bvh_name(joint)}.bone",
        "mesh": 0,
        "rotation": turn.as_quat().tolist(),
        "scale": [length_m] * 3,
    }


def _continuous_xyzw(turn_T: Rotation) -> FloatArray:
    """Return quaternions, (T, 4), each of the sign that is closer to the one before."""
    turn_T4 = turn_T.as_quat()
    flips_T = np.where((turn_T4[1:] * turn_T4[:-1]).sum(axis=1) < 0, -1.0, 1.0)
    return turn_T4 * np.cumprod(np.concatenate([[1.0], flips_T]))[:, None]


# ---------------------------------------------------------------------------------------- rotations


def _pose(joints_TJ3: FloatArray) -> tuple[FloatArray, list[Rotation]]:
    """Compute rest offsets from the parents, (J, 3), and local rotations of all joints, (T,)."""
    num_frames = len(joints_TJ3)
    bone_TJ3 = joints_TJ3 - joints_TJ3[:, np.maximum(PARENTS, 0)]
    length_J = np.median(np.linalg.norm(bone_TJ3, axis=-1), axis=0)
    offset_J3 = length_J[:, None] * _REST_J3
    world: list[Rotation] = []
    local: list[Rotation] = []
    for joint, children in enumerate(_CHILDREN):
        above = world[PARENTS[joint]] if joint else Rotation.identity(num_frames)
        if joint in _AXES:
            bones_TN3 = bone_TJ3[:, children]
            axes_T33 = _axes(joints_TJ3, joint)
            turned, shape_N3 = _fit(bones_TN3, axes_T33)
            offset_J3[children] = _with_lengths(shape_N3, length_J[children])
            own = above.inv() * turned
        elif children:
            own = _shortest(_REST_J3[children[0]], above.inv().apply(bone_TJ3[:, children[0]]))
        else:
            own = Rotation.identity(num_frames)
        local.append(own)
        world.append(above * own)
    return offset_J3, local


def _axes(joints_TJ3: FloatArray, joint: int) -> FloatArray:
    """Left, up and forward directions of the pelvis or chest as columns, (T, 3, 3)."""
    left, right, up = (joints_TJ3[:, JOINT[name]] for name in _AXES[joint])
    across_T3 = _unit(left - right)
    ahead_T3 = _unit(np.cross(across_T3, up - joints_TJ3[:, joint]))
    return np.stack([across_T3, np.cross(ahead_T3, across_T3), ahead_T3], axis=-1)


def _fit(bones_TN3: FloatArray, axes_T33: FloatArray) -> tuple[Rotation, FloatArray]:
    """Fit rotations of a rigid set of bones, (T,), and the bones at rest, (N, 3).

    Rest bones and rotations are estimated alternately. The first round is exact for rigid bones.
    """
    turn_T33 = axes_T33
    shape_N3 = np.zeros_like(bones_TN3[0])
    for _ in range(_FIT_ROUNDS):
        shape_N3 = np.median(
            bones_TN3 @ turn_T33, axis=0
        )  # row vectors times R: the inverse rotation
        covariance_T33 = np.swapaxes(bones_TN3, 1, 2) @ shape_N3 + _AXES_WEIGHT_M2 * axes_T33
        u_T33, _, vt_T33 = np.linalg.svd(covariance_T33)
        u_T33[:, :, 2] *= np.linalg.det(u_T33 @ vt_T33)[:, None]  # proper rotations only
        turn_T33 = u_T33 @ vt_T33
    return Rotation.from_matrix(turn_T33), shape_N3


def _shortest(rest_3: FloatArray, bone_T3: FloatArray) -> Rotation:
    """Shortest rotations from the rest direction to bones, (T,); the identity for zero length."""
    cross_T3 = np.cross(rest_3, bone_T3)
    size_T = np.linalg.norm(cross_T3, axis=1)
    along_T = bone_T3 @ rest_3
    axis_T3 = cross_T3 / np.where(size_T > 0, size_T, 1.0)[:, None]
    axis_T3[size_T == 0] = _FLIP_AXIS
    return Rotation.from_rotvec(np.arctan2(size_T, along_T)[:, None] * axis_T3)


def _continuous_deg(angles_T3: FloatArray) -> FloatArray:
    """Express the same rotations by continuous angles.

    Each rotation has two triples of angles: (a, b, c) and (a + 180, 180 - b, c + 180). Whether the
    triple closest to that of the previous frame is of the other kind does not depend on the kind of
    the previous one, so all changes are found at once.
    """
    other_T3 = angles_T3 * (1.0, -1.0, 1.0) + 180.0
    stay_T = _turn_deg(angles_T3[1:] - angles_T3[:-1])
    change_T = _turn_deg(other_T3[1:] - angles_T3[:-1])
    changed_T = np.concatenate([[False], np.cumsum(change_T < stay_T) % 2 == 1])
    return np.unwrap(np.where(changed_T[:, None], other_T3, angles_T3), period=360.0, axis=0)


def _turn_deg(difference_T3: FloatArray) -> FloatArray:
    return np.abs((difference_T3 + 180.0) % 360.0 - 180.0).sum(axis=1)


def _unit(vectors_T3: FloatArray) -> FloatArray:
    length_T1 = np.linalg.norm(vectors_T3, axis=-1, keepdims=True)
    return vectors_T3 / np.where(length_T1 > 0, length_T1, 1.0)


def _with_lengths(vectors_N3: FloatArray, length_N: FloatArray) -> FloatArray:
    return _unit(vectors_N3) * length_N[:, None]
