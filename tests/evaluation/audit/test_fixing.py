"""A cleaned copy has what was repaired and logs it; the dataset itself is as before."""

from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.support.seeding import Told
from data.importers.humanml3d import load_array
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import features_to_joints, mirror_text
from data.store.check import Severity, check_dataset
from data.store.dataset import Dataset
from data.store.reviews import new_review, read_reviews, save_review
from evaluation.audit.findings import Finding, Fix, Kind, findings_table
from evaluation.audit.fixing import write_fixed
from evaluation.audit.motions import MotionLimits, motion_findings
from evaluation.audit.run import Audit, AuditConfig, run_audit
from evaluation.audit.sources import Item
from tests.evaluation.audit.conftest import Damaged, made_motions


def _content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def fixed(damaged: Damaged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = _content(damaged.root)
    out = tmp_path_factory.mktemp("fixed") / "copy"
    write_fixed(damaged.audit, out)
    assert _content(damaged.root) == before
    return out


def test_swapped_texts_are_swapped_back(damaged: Damaged, fixed: Path) -> None:
    captions: dict[str, Told] = {motion.name: motion for motion in made_motions(60)}
    repaired = 0
    for name, row in damaged.found("side_swap").items():
        if name in damaged.seeded["side_swap"]:
            lines = (fixed / "texts" / f"{name}.txt").read_text().splitlines()
            written = [line.split("#")[0] for line in lines]
            assert mirror_text(str(row["text"])) in written
            repaired += set(written) <= set(captions[name].captions)
            tagged = lines[0].split("#")[1].split()
            assert [word.split("/")[0] for word in tagged] == written[0].lower().split()
    assert repaired >= 2


def test_what_cannot_be_used_is_left_out_everywhere(damaged: Damaged, fixed: Path) -> None:
    gone = {"nan", "narrow", "pickled", "lonely", *damaged.seeded["static"]}
    names = {path.stem for path in fixed.rglob("*.npy")} | {
        path.stem for path in (fixed / "texts").iterdir()
    }
    listed = {name for split in ("train", "val", "test") for name in _names(fixed, split)}
    assert not gone & (names | listed)
    assert "nobody" not in listed
    assert "text" in names  # A motion without a text may be wanted.


def _names(root: Path, split: str) -> list[str]:
    return (root / f"{split}.txt").read_text().split()


def test_leaks_move_into_training_and_lines_are_repaired(damaged: Damaged, fixed: Path) -> None:
    assert set(damaged.seeded["leak"]) <= set(_names(fixed, "train"))
    assert not set(damaged.seeded["leak"]) & set(_names(fixed, "test"))
    assert len(list(filter(None, _lines(fixed, "lines")))) == 2
    for name in damaged.seeded["times"]:
        length_s = len(load_array(fixed / "new_joint_vecs" / f"{name}.npy")) / 20
        ends = [float(line.split("#")[3]) for line in _lines(fixed, name)]
        assert ends
        assert max(ends) <= length_s


def _lines(root: Path, name: str) -> list[str]:
    return (root / "texts" / f"{name}.txt").read_text().splitlines()


def test_exchanged_joints_are_exchanged_back(fixed: Path) -> None:
    features_TD = load_array(fixed / "new_joint_vecs" / "exchanged.npy")
    found, joints_TJ3 = motion_findings(Item("a", features_TD=features_TD), MotionLimits())
    assert Kind.SIDES_EXCHANGED not in {one.kind for one in found}
    assert joints_TJ3 is not None
    # The toes point to the front, which is +z in the first frame.
    assert features_to_joints(features_TD)[0, 10, 2] > joints_TJ3[0, 7, 2]


def test_every_change_is_logged_and_a_second_audit_finds_less(
    damaged: Damaged, fixed: Path, tmp_path: Path
) -> None:
    log = pq.read_table(fixed / "fixes.parquet").to_pylist()
    assert {row["fix"] for row in log} >= {"swap_sides", "drop_motion", "move_to_train", "retime"}
    assert all(row["before"] for row in log if row["fix"] == "swap_sides")
    config = AuditConfig.model_validate(
        {"dataset": fixed, "out": tmp_path / "again", "workers": {"num_workers": 1}}
    )
    again = run_audit(config)
    assert again.errors < damaged.audit.errors / 4
    assert "split_leak" not in {kind.value for kind in again.kinds}


def test_a_copy_never_overwrites_nor_nests(damaged: Damaged, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match="expected a new or empty folder, found content"):
        write_fixed(damaged.audit, tmp_path)
    with pytest.raises(ValueError, match="outside of the dataset"):
        write_fixed(damaged.audit, damaged.root / "texts" / "copy")


def test_a_copy_of_ours_is_a_sound_dataset(tmp_path: Path) -> None:
    root, out = tmp_path / "motions", tmp_path / "copy"
    workers = {"num_workers": 1}
    import_motions(
        MotionImportConfig.model_validate(
            {"sources": ["procedural:8"], "dataset": root, "workers": workers}
        )
    )
    rows = list(Dataset(root).rows("motions"))
    swapped, dropped, leaked, exchanged = [row for row in rows if not row["mirrored_of"]][:4]
    of_review = {"video_id": "v", "clip_id": "c", "track_id": 0, "sample": 0, "text_hash": ""}
    of_review |= {"level": "fine", "judgment": "accepted", "value": None, "reviewer": "Ada"}
    save_review(root, new_review(**of_review))
    config = AuditConfig.model_validate(
        {"dataset": root, "out": tmp_path / "report", "workers": workers}
    )
    audit = run_audit(config)
    found = [
        Finding(Kind.SIDE_SWAP, swapped["motion_id"], "x", text_index=0, fix=Fix.SWAP_SIDES),
        Finding(Kind.STATIC, dropped["motion_id"], "x", fix=Fix.DROP_MOTION),
        Finding(Kind.SPLIT_LEAK, leaked["motion_id"], "x", fix=Fix.TO_TRAIN),
        Finding(Kind.SIDES_EXCHANGED, exchanged["motion_id"], "x", fix=Fix.EXCHANGE_SIDES),
        Finding(Kind.SIDE_SWAP, rows[-1]["motion_id"], "x", confidence=0.5, fix=Fix.SWAP_SIDES),
    ]
    done = write_fixed(
        Audit(audit.source, findings_table(found), 0, 0, audit.verdicts, audit.splits), out
    )
    assert done[Fix.DROP_MOTION] == 2  # With its mirror image.
    assert read_reviews(out) == read_reviews(root) != []
    assert not [one for one in check_dataset(out) if one.severity is Severity.ERROR]
    after = {row["motion_id"]: row for row in Dataset(out).rows("motions")}
    assert len(after) == len(rows) - 2
    spoken = [text["text"] for text in swapped["texts"]]
    written = [text["text"] for text in after[swapped["motion_id"]]["texts"]]
    assert written == [mirror_text(spoken[0]), *spoken[1:]]
    moved = [
        row
        for row in after.values()
        if leaked["motion_id"] in (row["motion_id"], row["mirrored_of"])
    ]
    assert [row["split"] for row in moved] == ["train", "train"]
    assert after[exchanged["motion_id"]]["num_frames"] == exchanged["num_frames"]
