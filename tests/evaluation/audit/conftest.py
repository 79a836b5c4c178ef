"""One damaged dataset in HumanML3D's layout, and its audit, for all tests of the audit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.support.seeding import Told, seed, write_plain
from data.importers.humanml3d import load_array
from data.motion.features import (
    features_to_joints,
    joints_to_features,
    mirror_features,
    mirror_text,
)
from data.motion.skeleton import MIRROR
from data.motion.splits import Split
from data.synthetic.activities import ACTIVITIES, generate_motion
from evaluation.audit.run import Audit, AuditConfig, run_audit

SPLITS: tuple[Split, ...] = ("train", "train", "test", "train")


def made_motions(count: int) -> list[Told]:
    """Synthetic motions with their captions."""
    motions: list[Told] = []
    for number in range(count):
        activity = ACTIVITIES[number % len(ACTIVITIES)]
        joints_TJ3, captions = generate_motion(activity, number, 4.0)
        features_TD = np.asarray(joints_to_features(joints_TJ3), np.float32)
        split = SPLITS[number % len(SPLITS)]
        motions.append(Told(f"{number:04d}", split, activity, captions, features_TD))
    return motions


@dataclass(frozen=True)
class Damaged:
    """A damaged dataset.

    Attributes:
        root: its folder.
        seeded: names of the motions that chance damaged, by way.
        audit: its audit.
        out: folder of the report.
    """

    root: Path
    seeded: dict[str, list[str]]
    audit: Audit
    out: Path

    def found(self, kind: str) -> dict[str, dict[str, object]]:
        """Return the findings of a kind by motion."""
        rows = self.audit.findings.to_pylist()
        return {row["item_id"]: row for row in rows if row["kind"] == kind}


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    """A dataset with everything wrong that files can have, and its audit."""
    folder = tmp_path_factory.mktemp("audit")
    root = folder / "data"
    motions = made_motions(60)
    write_plain(root, motions)
    seeded = seed(root, motions, 0.05, np.random.default_rng(3))
    used = {name.removeprefix("L") for names in seeded.values() for name in names}
    free = [motion for motion in motions if motion.name not in used]
    _break_files(root, free)
    config = AuditConfig.model_validate(
        {"dataset": root, "out": folder / "report", "workers": {"num_workers": 1}}
    )
    return Damaged(root, seeded, run_audit(config), folder / "report")


def _break_files(root: Path, free: list[Told]) -> None:
    """Damage one motion in each way; the name of the motion becomes that of the damage."""
    vectors, joints, texts = (root / name for name in ("new_joint_vecs", "new_joints", "texts"))
    (texts / "lonely.txt").write_text("a person walks#a/DET#0.0#0.0\n")
    (root / "val.txt").write_text("nobody\n0000\n")
    for name, motion in zip(
        ("nan", "narrow", "text", "lines", "exchanged", "pickled", "joints"), free, strict=False
    ):
        for folder in (vectors, joints):
            (folder / f"{motion.name}.npy").rename(folder / f"{name}.npy")
        (texts / f"{motion.name}.txt").rename(texts / f"{name}.txt")
        for split in ("train", "test"):
            listed = (root / f"{split}.txt").read_text()
            (root / f"{split}.txt").write_text(listed.replace(f"{motion.name}\n", f"{name}\n"))
    array = load_array(vectors / "nan.npy").copy()
    array[5, 70] = np.nan
    np.save(vectors / "nan.npy", array)
    np.save(vectors / "narrow.npy", load_array(vectors / "narrow.npy")[:, :251])
    (texts / "text.txt").unlink()
    line = (texts / "lines.txt").read_text().splitlines()[0]
    caption = line.split("#")[0]
    lines = [line, line, "no times#", f"{caption}#x#3#1", "", "#x#0.0#0.0", "xqz wvv kjh#x#0#0"]
    (texts / "lines.txt").write_text("".join(f"{one}\n" for one in lines))
    exchanged = features_to_joints(load_array(vectors / "exchanged.npy"))[:, list(MIRROR)]
    exchanged_TD = np.asarray(joints_to_features(exchanged), np.float32)
    np.save(vectors / "exchanged.npy", exchanged_TD)
    np.save(joints / "exchanged.npy", features_to_joints(exchanged_TD))
    np.save(vectors / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (joints / "joints.npy").unlink()
    # Two mirrored copies: one whose text was forgotten, one that is no mirror image.
    sided = next(m for m in free[7:] if mirror_text(m.captions[0]) != m.captions[0])
    other = next(m for m in free[7:] if m.label in ("kick", "raise_arm") and m is not sided)
    for motion, turned in ((sided, True), (other, False)):
        features_TD = load_array(vectors / f"{motion.name}.npy")
        copy_TD = np.asarray(mirror_features(features_TD), np.float32) if turned else features_TD
        np.save(vectors / f"M{motion.name}.npy", copy_TD)
        np.save(joints / f"M{motion.name}.npy", features_to_joints(copy_TD))
        content = (texts / f"{motion.name}.txt").read_text()
        (texts / f"M{motion.name}.txt").write_text(content if turned else mirror_text(content))
