"""Frames per second of the 263-d motion features, against a loop over frames and joints.

The baseline is the same computation in NumPy with quaternions, written as a loop over frames and
kinematic chains. Both must give the same numbers, so it is also an independent check. Both use one
thread. The published script is faster than the baseline, because it also works on whole motions;
the ratio shows the gain of array operations over plain loops.

    .venv/bin/python benchmarks/motion_features.py [--repeats N]
"""

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.support.corpus import MOCAP, need_corpus, run_with_corpus
from data.motion.features import (
    FEATURE_GROUPS,
    NUM_FEATURES,
    REFERENCE_BONE_LENGTHS_M,
    features_to_joints,
    joints_to_features,
)
from data.motion.skeleton import JOINT, JOINT_NAMES, NUM_JOINTS, PARENTS

MIN_SPEEDUP = 20
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
    """Product of two quaternions (w, x, y, z)."""
    w = a[0] * b[0] - a[1:] @ b[1:]
    return np.concatenate([[w], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])])


def conjugate(q: Floats) -> Floats:
    """Inverse of a unit quaternion."""
    return q * np.array([1, -1, -1, -1])


def rotate(q: Floats, v: Floats) -> Floats:
    """Vector turned by a unit quaternion."""
    t = 2 * np.cross(q[1:], v)
    return v + q[0] * t + np.cross(q[1:], t)


def between(a: Floats, b: Floats) -> Floats:
    """Shortest rotation from direction ``a`` to direction ``b``."""
    w = math.sqrt((a @ a) * (b @ b)) + a @ b
    q = np.concatenate([[w], np.cross(a, b)])
    return q / np.linalg.norm(q)


def forward_of(frame: Floats, sign_of_hips: float) -> Floats:
    """Facing direction of a frame (22, 3), not of unit length."""
    across = sign_of_hips * (frame[2] - frame[1]) + frame[17] - frame[16]
    return np.cross([0.0, 1.0, 0.0], across / np.linalg.norm(across))


def bone(frame: Floats, joint: int) -> Floats:
    """Vector of the bone that ends in ``joint``; a point points to its first child."""
    vector = frame[joint] - frame[PARENTS[joint]]
    if np.linalg.norm(vector) < 1e-5:
        vector = frame[PARENTS.index(joint)] - frame[PARENTS[joint]]
    return vector


def loop_features(joints: Floats) -> Floats:
    """Features of one motion, (T, 22, 3) to (T - 1, D), one frame and one joint at a time."""
    num_frames = len(joints)
    target = np.array([0.0] + [REFERENCE_BONE_LENGTHS_M[name] for name in JOINT_NAMES[1:]])
    leg = JOINT["right_knee"], JOINT["right_ankle"]
    length = sum(np.linalg.norm(joints[0, j] - joints[0, PARENTS[j]]) for j in leg)
    scale = (target[leg[0]] + target[leg[1]]) / length
    placed = np.zeros((num_frames, NUM_JOINTS, 3))
    for t in range(num_frames):
        placed[t, 0] = joints[t, 0] * scale
        for joint in range(1, NUM_JOINTS):
            vector = bone(joints[t], joint)
            step = vector / np.linalg.norm(vector) * target[joint]
            placed[t, joint] = placed[t, PARENTS[joint]] + step

    plus_z = np.array([0.0, 0.0, 1.0])
    origin = np.array([placed[0, 0, 0], placed[..., 1].min(), placed[0, 0, 2]])
    facing = between(forward_of(placed[0], 1.0), plus_z)
    for t in range(num_frames):
        for joint in range(NUM_JOINTS):
            placed[t, joint] = rotate(facing, placed[t, joint] - origin)

    forwards = [forward_of(frame, -1.0) for frame in placed]
    weights = [math.exp(-0.5 * (k / 20) ** 2) for k in range(-80, 81)]
    roots: list[Floats] = []
    for t in range(num_frames):
        smooth = np.zeros(3)
        for k, weight in zip(range(-80, 81), weights, strict=True):
            smooth += weight * forwards[min(max(t + k, 0), num_frames - 1)]
        roots.append(between(smooth, plus_z) if t else np.array([1.0, 0, 0, 0]))

    features = np.zeros((num_frames - 1, NUM_FEATURES))
    for t in range(num_frames - 1):
        turn = multiply(roots[t + 1], conjugate(roots[t]))
        turn *= 1 if turn[0] >= 0 else -1
        velocity = rotate(roots[t + 1], placed[t + 1, 0] - placed[t, 0])
        row = [math.asin(turn[2]), velocity[0], velocity[2], placed[t, 0, 1]]
        for joint in range(1, NUM_JOINTS):
            row.extend(rotate(roots[t], placed[t, joint] - placed[t, 0] * [1, 0, 1]))
        rotations = np.zeros((NUM_JOINTS, 6))
        for chain in CHAINS:
            so_far = roots[t]
            for joint in chain[1:]:
                whole = between(rest_direction(joint), bone(placed[t], joint))
                local = multiply(conjugate(so_far), whole)
                rotations[joint, :3] = rotate(local, np.array([1.0, 0, 0]))
                rotations[joint, 3:] = rotate(local, np.array([0, 1.0, 0]))
                so_far = whole
        row.extend(rotations[1:].ravel())
        for joint in range(NUM_JOINTS):
            row.extend(rotate(roots[t], placed[t + 1, joint] - placed[t, joint]))
        for joint in (7, 10, 8, 11):
            step = placed[t + 1, joint] - placed[t, joint]
            row.append(float(step @ step < 0.002))
        features[t] = row
    return features


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times: list[float] = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        function()
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


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
    sample = motions[::12]
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
    slow = [loop_features(motion) for motion in sample]
    error = max(float(abs(a - b).max()) for a, b in zip(slow, features[::12], strict=True))
    sample_frames = sum(map(len, sample))
    loop_fps = sample_frames / seconds(lambda: [loop_features(m) for m in sample], 1)
    single_fps = num_frames / seconds(lambda: [joints_to_features(m) for m in motions], repeats)
    batch_fps = num_frames / seconds(
        lambda: [joints_to_features(joints, lens) for joints, lens in batches], repeats
    )
    recover_fps = num_frames / seconds(lambda: [features_to_joints(f) for f in features], repeats)

    print(f"{len(motions)} motions, {num_frames} frames; loop on {sample_frames} of them")
    print(f"  frame by frame      {loop_fps:12,.0f} frames/s")
    print(f"  motion by motion    {single_fps:12,.0f} frames/s")
    print(f"  batches of 32       {batch_fps:12,.0f} frames/s")
    print(f"  recovery            {recover_fps:12,.0f} frames/s")
    print(f"  largest difference  {error:.1e} over {', '.join(FEATURE_GROUPS)}")
    speedup = single_fps / loop_fps
    result = {
        "name": "motion_features",
        "figures": {
            "frames": num_frames,
            "loop_frames_per_s": round(loop_fps),
            "frames_per_s": round(single_fps),
            "batched_frames_per_s": round(batch_fps),
            "recovery_frames_per_s": round(recover_fps),
            "max_difference": error,
            "speedup": round(speedup, 1),
        },
        "targets": {"speedup": MIN_SPEEDUP},
        "ok": speedup >= MIN_SPEEDUP and error <= MAX_ERROR,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_with_corpus(main)
