"""Frames per second of the 263-d motion features, against whole motions in NumPy with quaternions.

The baseline computes as the published script does: arrays over the frames of a motion, a loop over
the joints of the kinematic chains, and rotations as quaternions. It scales bones directly, without
the published detour by inverse and forward kinematics, and so is rather faster. Both must give the
same numbers, so it is also an independent check. One thread, in turns, processor seconds.

    .venv/bin/python benchmarks/motion_features.py [--repeats N]
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.support.corpus import MOCAP, need_corpus, run_with_corpus
from data.motion.features import (
    FEATURE_GROUPS,
    REFERENCE_BONE_LENGTHS_M,
    features_to_joints,
    joints_to_features,
)
from data.motion.skeleton import JOINT, JOINT_NAMES, NUM_JOINTS, PARENTS

TARGETS = {"fair_ratio": 1.3}
MAX_ERROR = 1e-6
CHAINS = (
    (0, 2, 5, 8, 11),
    (0, 1, 4, 7, 10),
    (0, 3, 6, 9, 12, 15),
    (9, 14, 17, 19, 21),
    (9, 13, 16, 18, 20),
)
Floats = NDArray[np.float64]


def rest_direction(joint: int) -> Floats:
    """Direction of the bone that ends in ``joint`` when nothing is rotated, (3,)."""
    name = JOINT_NAMES[joint]
    if name.endswith(("hip", "collar")):
        return np.array([1.0 if name.startswith("left") else -1.0, 0, 0])
    if name == "head" or name.endswith("foot"):
        return np.array([0, 0, 1.0])
    return np.array([0, 1.0 if name.startswith(("spine", "neck")) else -1.0, 0])


def multiply(a: Floats, b: Floats) -> Floats:
    """Products of quaternions (w, x, y, z), (..., 4)."""
    w = a[..., :1] * b[..., :1] - (a[..., 1:] * b[..., 1:]).sum(-1, keepdims=True)
    turned = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([w, turned], axis=-1)


def conjugate(q: Floats) -> Floats:
    """Inverses of unit quaternions, (..., 4)."""
    return q * np.array([1, -1, -1, -1])


def rotate(q: Floats, v: Floats) -> Floats:
    """Vectors (..., 3) turned by unit quaternions (..., 4)."""
    t = 2 * np.cross(q[..., 1:], v)
    return v + q[..., :1] * t + np.cross(q[..., 1:], t)


def between(a: Floats, b: Floats) -> Floats:
    """Shortest rotations from directions ``a`` to directions ``b``, (..., 4)."""
    w = np.sqrt((a * a).sum(-1) * (b * b).sum(-1)) + (a * b).sum(-1)
    q = np.concatenate([w[..., None], np.cross(a, b)], axis=-1)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def forward_of(frames: Floats, sign_of_hips: float) -> Floats:
    """Facing directions of frames (..., 22, 3), not of unit length, (..., 3)."""
    hips = frames[..., 2, :] - frames[..., 1, :]
    across = sign_of_hips * hips + frames[..., 17, :] - frames[..., 16, :]
    return np.cross([0.0, 1.0, 0.0], across / np.linalg.norm(across, axis=-1, keepdims=True))


def bone(frames: Floats, joint: int) -> Floats:
    """Vectors of the bone that ends in ``joint``, (T, 3); a point points to its first child."""
    parent = frames[:, PARENTS[joint]]
    vector = frames[:, joint] - parent
    is_point = np.linalg.norm(vector, axis=-1, keepdims=True) < 1e-5
    if is_point.any():
        vector = np.where(is_point, frames[:, PARENTS.index(joint)] - parent, vector)
    return vector


def whole_features(joints: Floats) -> Floats:
    """Features of one motion, (T, 22, 3) to (T - 1, D), one joint of all frames at a time."""
    target = np.array([0.0] + [REFERENCE_BONE_LENGTHS_M[name] for name in JOINT_NAMES[1:]])
    leg = JOINT["right_knee"], JOINT["right_ankle"]
    length = sum(np.linalg.norm(joints[0, j] - joints[0, PARENTS[j]]) for j in leg)
    placed = np.zeros_like(joints)
    placed[:, 0] = joints[:, 0] * (target[leg[0]] + target[leg[1]]) / length
    for joint in range(1, NUM_JOINTS):
        vector = bone(joints, joint)
        step = vector / np.linalg.norm(vector, axis=-1, keepdims=True) * target[joint]
        placed[:, joint] = placed[:, PARENTS[joint]] + step

    plus_z = np.array([0.0, 0.0, 1.0])
    origin = np.array([placed[0, 0, 0], placed[..., 1].min(), placed[0, 0, 2]])
    placed = rotate(between(forward_of(placed[0], 1.0), plus_z), placed - origin)
    roots = between(gaussian_filter1d(forward_of(placed, -1.0), 20, axis=0, mode="nearest"), plus_z)
    roots[0] = [1, 0, 0, 0]

    before, after, root = placed[:-1], placed[1:], roots[:-1]
    turn = multiply(roots[1:], conjugate(root))
    turn *= np.where(turn[:, :1] >= 0, 1, -1)
    velocity = rotate(roots[1:], after[:, 0] - before[:, 0])
    local = rotate(root[:, None], before[:, 1:] - before[:, :1] * [1, 0, 1])
    rotations = np.zeros((len(root), NUM_JOINTS, 6))
    for chain in CHAINS:
        so_far = root
        for joint in chain[1:]:
            whole = between(rest_direction(joint), bone(before, joint))
            turned = multiply(conjugate(so_far), whole)
            rotations[:, joint, :3] = rotate(turned, np.array([1.0, 0, 0]))
            rotations[:, joint, 3:] = rotate(turned, np.array([0, 1.0, 0]))
            so_far = whole
    steps = after - before
    contacts = (steps[:, [7, 10, 8, 11]] ** 2).sum(-1) < 0.002
    parts = (
        np.arcsin(turn[:, 2:3]),
        velocity[:, [0, 2]],
        before[:, 0, 1:2],
        local.reshape(len(root), -1),
        rotations[:, 1:].reshape(len(root), -1),
        rotate(root[:, None], steps).reshape(len(root), -1),
        contacts,
    )
    return np.concatenate(parts, axis=1)


def main() -> None:
    """Measure and print; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)

    need_corpus()
    with np.load(MOCAP / "cmu_joints22_20fps.npz", allow_pickle=False) as file:
        positions, offsets = file["positions"].astype(np.float64), file["offsets"]
    motions = [positions[a:b] for a, b in itertools.pairwise(offsets)]
    num_frames = len(positions)
    lengths = np.array([len(motion) for motion in motions])
    order = np.argsort(lengths)
    batches: list[tuple[Floats, NDArray[np.int64]]] = []
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        padded = np.zeros((len(chosen), lengths[chosen].max(), NUM_JOINTS, 3))
        for row, index in enumerate(chosen):
            padded[row, : lengths[index]] = motions[index]
        batches.append((padded, lengths[chosen]))

    features = [joints_to_features(motion) for motion in motions]
    others = [whole_features(motion) for motion in motions]
    error = max(float(abs(a - b).max()) for a, b in zip(others, features, strict=True))
    ways: dict[str, Callable[[], object]] = {
        "fair": lambda: [whole_features(motion) for motion in motions],
        "ours": lambda: [joints_to_features(motion) for motion in motions],
        "batched": lambda: [joints_to_features(joints, lens) for joints, lens in batches],
        "recovery": lambda: [features_to_joints(one) for one in features],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)

    print(f"{len(motions)} motions, {num_frames} frames")
    per_s = {name: round(num_frames / statistics.median(found)) for name, found in seconds.items()}
    for name, speed in per_s.items():
        print(f"  {name:10} {speed:12,} frames/s")
    print(f"  largest difference {error:.1e} over {', '.join(FEATURE_GROUPS)}")
    ratios = {
        name: statistics.median(a / b for a, b in zip(seconds["fair"], seconds[name], strict=True))
        for name in ("ours", "batched")
    }
    figures = {
        "frames": num_frames,
        **{f"{name}_frames_per_s": speed for name, speed in per_s.items()},
        "max_difference": error,
        "fair_ratio": round(ratios["ours"], 1),
        "batched_ratio": round(ratios["batched"], 1),
    }
    ok = figures["fair_ratio"] >= TARGETS["fair_ratio"] and error <= MAX_ERROR
    print(json.dumps({"name": "motion_features", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
