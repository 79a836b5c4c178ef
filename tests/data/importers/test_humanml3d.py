"""Import of a HumanML3D folder: crops, splits, mirror images, known defective clips."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.support.corpus import MOCAP, REFERENCE
from data.errors import Reason
from data.exporters import write_humanml3d
from data.importers.humanml3d import is_humanml3d, read_human_texts
from data.importers.sources import find_motions
from data.motion.features import features_to_joints, joints_to_features, mirror_features
from data.motion_records import ImportedMotion, Pending
from data.records import Rejection
from data.synthetic.activities import generate_motion

FEATURES = joints_to_features(generate_motion("walk_circle", 1, 8.5)[0]).astype(np.float32)

TEXTS = """a person walks.#a/DET person/NOUN walk/VERB#0.0#0.0
someone walks # slowly.#someone/NOUN walk/VERB#0.0#0.0
the person turns.#the/DET person/NOUN turn/VERB#1.0#3.5
a person steps back.#a/DET person/NOUN#1.0#3.5
broken line
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    features = FEATURES
    (tmp_path / "new_joint_vecs").mkdir()
    (tmp_path / "texts").mkdir()
    for name, array in (
        ("012314", features),
        ("M012314", mirror_features(features)),
        ("000021", features[:50]),
        ("007975", features),
        ("M007975", features),
        ("009707", features[:1]),
    ):
        np.save(tmp_path / "new_joint_vecs" / f"{name}.npy", array)
    for name in ("012314", "M012314"):
        (tmp_path / "texts" / f"{name}.txt").write_text(TEXTS)
    (tmp_path / "train.txt").write_text("012314\n")
    # A list that would put a mirror image elsewhere is not followed.
    (tmp_path / "test.txt").write_text("000021\nM012314\n")
    return tmp_path


def _found(folder: Path) -> tuple[dict[str, ImportedMotion], list[Rejection]]:
    items = list(find_motions(folder))
    motions = [item.read() for item in items if isinstance(item, Pending)]
    assert [m.motion_id for m in motions] == [i.motion_id for i in items if isinstance(i, Pending)]
    return {m.source_id: m for m in motions}, [i for i in items if isinstance(i, Rejection)]


def test_whole_motions_and_crops(folder: Path) -> None:
    assert is_humanml3d(folder)
    motions, _ = _found(folder)
    whole, crop = motions["012314"], motions["012314#1-3.5"]
    features = FEATURES
    assert whole.features_TD is not None
    assert crop.features_TD is not None
    np.testing.assert_array_equal(whole.features_TD, features)
    np.testing.assert_array_equal(crop.features_TD, features[20:70])
    assert [t.text for t in whole.texts] == ["a person walks.", "someone walks"]
    assert [t.text for t in crop.texts] == ["the person turns.", "a person steps back."]
    assert {(t.start_s, t.end_s) for t in crop.texts} == {(0.0, 2.5)}


@pytest.mark.corpus
def test_shipped_joints_come_out_of_shipped_features(tmp_path: Path) -> None:
    sample = REFERENCE / "humanml3d_sample"
    (tmp_path / "new_joint_vecs").mkdir()
    shutil.copy(sample / "012314_features.npy", tmp_path / "new_joint_vecs" / "012314.npy")
    whole = _found(tmp_path)[0]["012314"]
    assert whole.features_TD is not None
    ours = features_to_joints(whole.features_TD)
    joints = np.load(sample / "012314_joints.npy")
    assert np.abs(ours - joints[: len(ours)]).max() < 1e-5


def test_a_folder_that_we_wrote_reads_back(motion_sources: Path) -> None:
    motions, rejections = _found(motion_sources / "humanml3d")
    assert rejections == []
    assert {name: motion.split for name, motion in motions.items()} == {
        "000001": "train",
        "000002": "test",
    }
    joints, captions = generate_motion("bow", 5, 4.0)
    written = motions["000001"]
    assert tuple(text.text for text in written.texts) == captions[:2]
    assert written.features_TD is not None
    np.testing.assert_allclose(written.features_TD, joints_to_features(joints), atol=1e-6)


@pytest.mark.parametrize(
    ("captions", "told"),
    [((), "at least one for 1, found none"), (("a # b",), "without '#'"), (("a\nb",), "without")],
)
def test_captions_that_do_not_fit_the_layout_are_refused(
    tmp_path: Path, captions: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        write_humanml3d(tmp_path, "1", FEATURES, captions, "train")
    assert not list(tmp_path.iterdir())


def test_mirrored_motions_share_the_split_of_their_originals(folder: Path) -> None:
    motions, _ = _found(folder)
    assert motions["012314"].split == motions["M012314"].split == "train"
    assert motions["000021"].split == "test"
    assert motions["000021"].texts == ()
    assert motions["M012314"].mirrored_of == motions["012314"].motion_id
    assert motions["M012314#1-3.5"].mirrored_of == motions["012314#1-3.5"].motion_id
    groups = {m.group for name, m in motions.items() if "012314" in name}
    assert groups == {"humanml3d/012314"}


def test_known_bad_clips_and_broken_lines_are_rejections(folder: Path) -> None:
    motions, rejections = _found(folder)
    assert not {"007975", "M007975", "009707"} & set(motions)
    reasons = sorted(r.reason.value for r in rejections)
    assert reasons == ["known_bad"] * 3 + ["wrong_form"] * 2
    assert any("line 5 of 012314.txt" in r.detail for r in rejections)


def test_other_arrays_are_told(folder: Path) -> None:
    from data.errors import ItemError

    for name, array in (("1", np.zeros((9, 251))), ("2", np.array([{}], dtype=object))):
        np.save(folder / "new_joint_vecs" / f"{name}.npy", array)
    pending = [p for p in find_motions(folder) if p.item.endswith(("/1.npy", "/2.npy"))]
    assert len(pending) == 2
    for item in pending:
        assert isinstance(item, Pending)
        with pytest.raises(ItemError) as caught:
            item.read()
        assert caught.value.reason is Reason.WRONG_FORM


@pytest.mark.corpus
def test_kit_texts_of_the_shared_file() -> None:
    texts = read_human_texts(MOCAP / "cmu_texts.jsonl")
    (whole,) = texts["07_03"]
    assert (whole.text, whole.start_s, whole.end_s) == ("A person walks forward.", 0.0, math.inf)
    # Frames 19 to 219 of 459 are clip 004041 of HumanML3D.
    of_clip = [text for text in texts["01_01"] if text.source == "humanml3d"]
    assert [(text.start_s, text.end_s) for text in of_clip] == [(0.95, 10.95)] * 3
    assert of_clip[1].text == "a person hops forward then turns around."
    assert len(texts) == 30


def test_kit_texts_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "00001_annotations.json").write_text('["A human walks.", "A human walks."]')
    (tmp_path / "00001_meta.json").write_text('{"source": {"motion_id": "CMU_07_03"}}')
    (tmp_path / "00002_annotations.json").write_text('["A human runs."]')
    texts = read_human_texts(tmp_path)
    assert {name: [text.text for text in of_motion] for name, of_motion in texts.items()} == {
        "07_03": ["A human walks."],
        "00002": ["A human runs."],
    }
    (tmp_path / "00003_annotations.json").write_text("{")
    with pytest.raises(ValueError, match="expected KIT-ML texts"):
        read_human_texts(tmp_path)
