"""Damage a dataset in HumanML3D's layout in known ways, for the audit to find.

Shapes: T frames at 20 fps, J = 22 joints, D = 263 features.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from data.arrays import FloatArray
from data.exporters import write_humanml3d, write_joints
from data.motion.features import (
    features_to_joints,
    joints_to_features,
    mirror_joints,
    mirror_text,
)
from data.motion.skeleton import BONES, FPS, JOINT, JOINT_NAMES, heading_rad
from data.motion.splits import Split

KINDS: Final = {
    "side_swap": ("side_swap", "mirrored_text"),
    "mismatched_files": ("joints_disagree", "same_motion_other_text"),
    "shuffled_captions": ("other_motion", "contradicted"),
    "static": ("static", "t_pose"),
    "leak": ("split_leak",),
    "skating": ("skating",),
    "times": ("span_outside",),
}
"""Ways of damage, with the kinds of findings that are to tell of them."""
COPIED: Final = "copied"
_SKATE_M_S: Final = 0.8
_KEPT: Final = (0.1, 0.9)
"""Part of a motion that a leak keeps."""


@dataclass(frozen=True, slots=True)
class Told:
    """A motion of the dataset before the damage.

    Attributes:
        name: its name.
        split: its split.
        label: what is done; motions of other labels are other motions.
        captions: its captions.
        features_TD: (T, 263).
    """

    name: str
    split: Split
    label: str
    captions: tuple[str, ...]
    features_TD: FloatArray


def write_plain(root: Path, motions: Sequence[Told]) -> None:
    """Write motions in HumanML3D's layout, with files of joints."""
    for motion in motions:
        _write(root, motion.name, motion.features_TD, motion.captions, motion.split)


def _write(
    root: Path, name: str, features_TD: FloatArray, captions: Sequence[str], split: Split
) -> None:
    write_humanml3d(root, name, features_TD, captions, split)
    joints_TJ3 = features_to_joints(features_TD).astype(np.float32)
    write_joints(root / "new_joints" / f"{name}.npy", joints_TJ3)


def seed(
    root: Path, motions: Sequence[Told], share: float, rng: np.random.Generator
) -> dict[str, list[str]]:
    """Damage a folder of :func:`write_plain`; each motion is damaged in one way at most.

    Args:
        root: the folder, changed in place.
        motions: what it holds.
        share: share of the motions that each way damages.
        rng: source of chance.

    Returns:
        Names of the damaged motions by way; under ``copied`` those whose files replaced others', so
        that they are there twice.
    """
    count = max(4, round(share * len(motions)))
    left = [motions[n] for n in rng.permutation(len(motions)).tolist()]

    def take(fits: Callable[[Told], bool] = lambda _: True) -> list[Told]:
        taken = [motion for motion in left if fits(motion)][:count]
        names = {motion.name for motion in taken}
        left[:] = [motion for motion in left if motion.name not in names]
        return taken

    ways = (
        ("side_swap", _names_a_side, _swap_sides),
        ("leak", lambda motion: motion.split == "train" and len(motion.features_TD) >= 40, _leak),
        ("mismatched_files", lambda _: True, _mismatch),
        ("shuffled_captions", lambda _: True, _shuffle),
        ("static", lambda _: True, _freeze),
        ("skating", _steps, _skate),
        ("times", lambda _: True, _outside),
    )
    taken = {way: take(fits) for way, fits, _ in ways}
    # Files and captions of other motions are those of motions without damage.
    seeded = {way: damage(root, taken[way], left) for way, _, damage in ways}
    of_others = [_other(motion, left, n) for n, motion in enumerate(taken["mismatched_files"])]
    return {**seeded, COPIED: [motion.name for motion in of_others]}


def shows_a_side(motion: Told) -> bool:
    """Whether a motion shows the side that its captions name, by measures of its own.

    A text on turning needs a turn of 30 degrees, one on hands or feet a limb that moves 1.5 times
    as far as the other one, any other text one of them or half a meter to a side.
    """
    joints_TJ3 = features_to_joints(motion.features_TD)
    words = " ".join(motion.captions)
    yaw_T = np.unwrap(heading_rad(joints_TJ3))
    turns = np.ptp(yaw_T) > np.radians(30)
    ways = [
        float(np.linalg.norm(np.diff(local, axis=0), axis=-1).sum())
        for name in ("left_wrist", "right_wrist", "left_ankle", "right_ankle")
        for local in [joints_TJ3[:, JOINT[name]] - joints_TJ3[:, 0]]
    ]
    limbs = max(_ratio(ways[0], ways[1]), _ratio(ways[2], ways[3])) >= 1.5
    if "turn" in words or "spin" in words:
        return bool(turns)
    if any(word in words for word in ("hand", "arm", "leg", "foot")):
        return limbs
    path_T3 = joints_TJ3[:, 0] - joints_TJ3[0, 0]
    aside_T = path_T3[:, 0] * np.cos(yaw_T[0]) - path_T3[:, 2] * np.sin(yaw_T[0])
    return bool(turns or limbs or np.abs(aside_T).max() > 0.5)


def _ratio(one: float, other: float) -> float:
    return max(one, other) / max(min(one, other), 1e-6)


# ---------------------------------------------------------------------------------------- damages


def _names_a_side(motion: Told) -> bool:
    return all(mirror_text(text) != text for text in motion.captions)


def _steps(motion: Told) -> bool:
    # Who hardly touches the floor cannot skate on it.
    joints_TJ3 = features_to_joints(motion.features_TD)
    return len(joints_TJ3) >= 40 and float(np.median(joints_TJ3[..., 1].min(axis=1))) < 0.02


def _captions_of(root: Path, name: str) -> Path:
    return root / "texts" / f"{name}.txt"


def _swap_sides(root: Path, taken: Sequence[Told], _: Sequence[Told]) -> list[str]:
    for motion in taken:
        file = _captions_of(root, motion.name)
        file.write_text(mirror_text(file.read_text()))
    return [motion.name for motion in taken]


def _leak(root: Path, taken: Sequence[Told], _: Sequence[Told]) -> list[str]:
    names: list[str] = []
    for number, motion in enumerate(taken):
        joints_TJ3 = features_to_joints(motion.features_TD)
        first, end = (round(part * len(joints_TJ3)) for part in _KEPT)
        copy = joints_TJ3[first:end]
        captions = motion.captions
        if number % 2:
            copy, captions = mirror_joints(copy), tuple(map(mirror_text, captions))
        name = f"L{motion.name}"
        features_TD = np.asarray(joints_to_features(copy), np.float32)
        _write(root, name, features_TD, captions, "test")
        names.append(name)
    return names


def _mismatch(root: Path, taken: Sequence[Told], every: Sequence[Told]) -> list[str]:
    for number, motion in enumerate(taken):
        other = _other(motion, every, number)
        folders = ("new_joint_vecs", "new_joints") if number % 2 else ("new_joint_vecs",)
        for folder in folders:
            shutil.copyfile(
                root / folder / f"{other.name}.npy", root / folder / f"{motion.name}.npy"
            )
    return [motion.name for motion in taken]


def _other(motion: Told, every: Sequence[Told], number: int) -> Told:
    """Return a motion of another label; the same one every time."""
    others = [one for one in every if one.label != motion.label]
    return others[(7919 * (number + 1)) % len(others)]


def _shuffle(root: Path, taken: Sequence[Told], every: Sequence[Told]) -> list[str]:
    for number, motion in enumerate(taken):
        other = _other(motion, every, number)
        lines = [f"{text}#{text.split()[0]}/OTHER#0.0#0.0\n" for text in other.captions]
        _captions_of(root, motion.name).write_text("".join(lines))
    return [motion.name for motion in taken]


def _freeze(root: Path, taken: Sequence[Told], _: Sequence[Told]) -> list[str]:
    for number, motion in enumerate(taken):
        joints_TJ3 = features_to_joints(motion.features_TD)
        pose = joints_TJ3[len(joints_TJ3) // 2] if number % 2 else _t_pose(joints_TJ3[0])
        _replace(root, motion.name, np.repeat(pose[None], len(joints_TJ3) + 1, axis=0))
    return [motion.name for motion in taken]


def _t_pose(joints_J3: FloatArray) -> FloatArray:
    """Return a T-pose with the bone lengths of a pose, facing +z."""
    pose = np.zeros_like(joints_J3)
    left, up, ahead = np.eye(3)
    directions: Mapping[str, FloatArray] = {
        **dict.fromkeys(("knee", "ankle"), -up),
        **dict.fromkeys(("collar", "shoulder", "elbow", "wrist"), left),
        "hip": left,
        "foot": ahead,
    }
    for parent, joint in BONES:
        name = JOINT_NAMES[joint]
        side, _, base = name.rpartition("_")
        way = directions.get(base, up) * (-1 if side == "right" and base not in _NO_SIDE else 1)
        if side == "right" and base in _NO_SIDE:
            way = directions[base]
        length = np.linalg.norm(joints_J3[joint] - joints_J3[parent])
        pose[joint] = pose[parent] + length * way
    pose[:, 1] -= pose[:, 1].min()
    return pose


_NO_SIDE: Final = frozenset({"knee", "ankle", "foot"})


def _skate(root: Path, taken: Sequence[Told], _: Sequence[Told]) -> list[str]:
    for motion in taken:
        joints_TJ3 = features_to_joints(motion.features_TD).astype(np.float64)
        drift_T = np.arange(len(joints_TJ3)) * _SKATE_M_S / FPS
        joints_TJ3[..., 0] += drift_T[:, None]
        _replace(root, motion.name, joints_TJ3)
    return [motion.name for motion in taken]


def _outside(root: Path, taken: Sequence[Told], _: Sequence[Told]) -> list[str]:
    for motion in taken:
        length_s = len(motion.features_TD) / FPS
        file = _captions_of(root, motion.name)
        lines = [line.rsplit("#", 2)[0] for line in file.read_text().splitlines()]
        timed = f"#{length_s / 2:.1f}#{length_s + 2:.1f}"
        file.write_text("".join(f"{line}{timed}\n" for line in lines))
    return [motion.name for motion in taken]


def _replace(root: Path, name: str, joints_TJ3: FloatArray) -> None:
    """Replace a motion in both of its files."""
    features_TD = np.asarray(joints_to_features(joints_TJ3), np.float32)
    np.save(root / "new_joint_vecs" / f"{name}.npy", features_TD)
    placed = features_to_joints(features_TD).astype(np.float32)
    np.save(root / "new_joints" / f"{name}.npy", placed)
