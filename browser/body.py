"""The body that the 3-D view can show around a skeleton: MakeHuman's mesh, which is CC0.

Shapes: N vertices, M triangles, J = 22 joints (see :mod:`data.motion.skeleton`). Positions are
meters, y up, arms lowered, facing +z.
"""

import itertools
import json
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from data.arrays import FloatArray
from data.exporters import bvh_name
from data.motion.skeleton import JOINT, JOINT_NAMES, NUM_JOINTS

_SHOWN: Final = frozenset({"body", "helper-l-eye", "helper-r-eye"})
"""Groups of the mesh; the others carry clothes and joints."""
_BONES: Final = {bvh_name(name): JOINT[name] for name in JOINT_NAMES}
_DECIMETER: Final = 0.1
_INFLUENCES: Final = 4


def pack_body(archive: Path) -> bytes:
    """Return the body as the page reads it.

    Args:
        archive: asset ``body`` of flows/assets.py: mesh, bones and weights.

    Returns:
        Little-endian: N and M (uint32), positions (N, 3), weights (N, 4) and joints at rest (J, 3)
        (float32), triangles (M, 3) (uint32), and the joints that move each vertex (N, 4) (uint8).
    """
    with zipfile.ZipFile(archive) as files:
        vertices_N3, triangles_M3, groups = _mesh(files.read("base.obj").decode())
        weights = json.loads(files.read("weights.json"))["weights"]
        bones = json.loads(files.read("rig.json"))["bones"]
    used, triangles = np.unique(triangles_M3, return_inverse=True)
    weights_NJ = _weights(weights, len(vertices_N3))[used]
    chosen_N4 = np.argsort(-weights_NJ, axis=1)[:, :_INFLUENCES]
    strongest_N4 = np.take_along_axis(weights_NJ, chosen_N4, axis=1)
    rest_J3 = np.zeros((NUM_JOINTS, 3))
    for name, bone in bones.items():
        if (joint := _BONES.get(name.rpartition(":")[2])) is not None:
            head = bone["head"]
            of_joint = (
                head["vertex_indices"] if "vertex_indices" in head else groups[head["cube_name"]]
            )
            rest_J3[joint] = vertices_N3[of_joint].mean(axis=0)
    parts = (
        np.array([len(used), len(triangles_M3)], "<u4"),
        vertices_N3[used].astype("<f4"),
        (strongest_N4 / strongest_N4.sum(axis=1, keepdims=True)).astype("<f4"),
        rest_J3.astype("<f4"),
        triangles.astype("<u4"),
        chosen_N4.astype("u1"),
    )
    return b"".join(part.tobytes() for part in parts)


def _mesh(text: str) -> tuple[FloatArray, Any, dict[str, list[int]]]:
    """Return all vertices, (V, 3), triangles of body and eyes, (M, 3), and vertices by group."""
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    groups: dict[str, list[int]] = {}
    group = ""
    for line in text.splitlines():
        kind, *values = line.split() or [""]
        if kind == "g":
            group = values[0]
        elif kind == "v":
            vertices.append([float(value) for value in values])
        elif kind == "f":
            first, *others = (int(value.partition("/")[0]) - 1 for value in values)
            groups.setdefault(group, []).extend((first, *others))
            if group in _SHOWN:
                triangles.extend((first, *pair) for pair in itertools.pairwise(others))
    corners = {name: sorted(set(numbers)) for name, numbers in groups.items()}
    return np.array(vertices) * _DECIMETER, np.array(triangles), corners


def _weights(weights: dict[str, list[tuple[int, float]]], count: int) -> FloatArray:
    """Return how strongly each joint moves each vertex, (V, J); hands have no fingers."""
    found = np.zeros((count, NUM_JOINTS))
    for name, of_bone in weights.items():
        bone = name.rpartition(":")[2]
        hand = next((one for one in ("LeftHand", "RightHand") if bone.startswith(one)), bone)
        numbers, values = np.array(of_bone).T
        np.add.at(found[:, _BONES[hand]], numbers.astype(int), values)
    found[found.sum(axis=1) == 0, JOINT["pelvis"]] = 1.0
    return found
