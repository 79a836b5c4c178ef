"""Near-duplicates between splits: found where they are, and only there."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mocap_dataset import mocap_dataset
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import joints_to_features, mirror_features
from data.motion.splits import Split
from data.synthetic.activities import ACTIVITIES, generate_motion
from evaluation.duplicates import (
    NEAR_MM,
    DescribedMotion,
    motion_descriptor,
    near_duplicates,
    nearest_texts,
    read_described,
    split_duplicates,
)


def _features(activity: str, seed: int, length_s: float = 4.0) -> np.ndarray:
    return joints_to_features(generate_motion(activity, seed, length_s)[0]).astype(np.float32)


def _motion(name: str, split: Split, features: np.ndarray, *texts: str) -> DescribedMotion:
    return DescribedMotion(
        motion_id=name,
        source="made",
        group=name.split("/", maxsplit=1)[0],
        split=split,
        descriptor_K=motion_descriptor(features),
        mirrored_K=motion_descriptor(mirror_features(features)),
        texts=texts,
    )


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(motion_descriptor(one) - motion_descriptor(other)))


def test_a_distance_is_in_millimeters() -> None:
    walk = _features("walk_forward", 1)
    assert _distance(walk, walk) == 0
    # All joints 20 mm to one side, in the quarters as in the whole motion.
    moved = walk.copy()
    moved[:, 4:67:3] += 0.02
    expected = 20 * np.sqrt(2 * 21 / 22)
    assert _distance(walk, moved) == pytest.approx(expected, rel=1e-4)
    # 0.4 m/s faster forward; the feature counts meters per frame.
    faster = walk.copy()
    faster[:, 2] += 0.4 / 20
    assert _distance(walk, faster) == pytest.approx(100, rel=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_very_short_motions_have_a_descriptor(frames: int) -> None:
    walk = _features("walk_forward", 1)
    assert motion_descriptor(walk[:frames]).shape == motion_descriptor(walk).shape
    assert np.isfinite(motion_descriptor(walk[:frames])).all()


def test_cuts_and_mirror_images_are_near_and_other_motions_are_not() -> None:
    walk, wave = _features("walk_circle", 1, 8.0), _features("wave_hand", 2, 4.0)
    train = [_motion("a/walk", "train", walk, "a person walks in a circle")]
    test = [
        _motion("b/cut", "test", walk[6:-4], "A person walks, in a circle!"),
        _motion("c/mirrored", "test", mirror_features(walk), "a person walks in circles"),
        _motion("d/wave", "test", wave, "someone waves"),
        _motion("a/take", "test", wave, "someone waves"),
        _motion("e/val", "val", walk, "never compared"),
    ]
    found = near_duplicates([*train, *test])["made"]
    assert (found.test, found.train) == (4, 1)
    assert found.near == 0.5
    assert found.same_group == 0.25
    by_name = {one.test: one for one in found.examples}
    assert by_name["b/cut"].distance_mm < NEAR_MM
    assert not by_name["b/cut"].mirrored
    assert by_name["c/mirrored"].distance_mm < 1e-2
    assert by_name["c/mirrored"].mirrored
    assert by_name["d/wave"].distance_mm > 2 * NEAR_MM
    # Three different texts: one the same, and "circles" is another word than "circle".
    assert (found.texts, found.same_texts) == (4 - 1, pytest.approx(1 / 3))
    assert found.text_examples[0].test == "a person walks in circles"
    with pytest.raises(ValueError, match="expected training motions, found none"):
        near_duplicates(test)


def test_texts_are_compared_by_their_rare_words() -> None:
    train = ["a person walks forward", "a person kicks", "a person waves both hands"]
    asked = ["a person waves both hands slowly", "a person kicks", "unheard words", ""]
    found = nearest_texts(asked, train)
    assert [one.train for one in found[:2]] == [train[2], train[1]]
    # By hand: of N = 7 texts, 5 have "a person", 2 each of the others, 1 "slowly"; a weight is
    # 1 + ln((1 + N) / (1 + n)).
    often, twice, once = 1 + np.log(8 / 6), 1 + np.log(8 / 3), 1 + np.log(8 / 2)
    common = 2 * often**2 + 3 * twice**2
    assert found[0].cosine == pytest.approx(np.sqrt(common / (common + once**2)))
    assert found[1].cosine == pytest.approx(1)
    assert [one.cosine for one in found[2:]] == [0, 0]
    assert nearest_texts(["a"], [])[0].cosine == 0


def test_motions_of_a_dataset_are_read_without_mirror_images(tmp_path: Path) -> None:
    source = f"procedural:{len(ACTIVITIES)}:3"
    import_motions(MotionImportConfig(sources=(source,), dataset=tmp_path / "motions"))
    motions = read_described(tmp_path / "motions")
    assert len(motions) == len(ACTIVITIES)
    assert all(motion.texts and motion.source == "procedural" for motion in motions)
    copies = [replace(one, motion_id=f"{one.motion_id}-2", split="test") for one in motions]
    alone = [replace(one, split="train") for one in motions]
    found = near_duplicates([*alone, *copies])["procedural"]
    assert (found.near, found.median_mm, found.same_texts) == (1, pytest.approx(0, abs=0.1), 1)


def test_a_large_dataset_is_compared_in_part(motions_root: Path) -> None:
    whole = split_duplicates(motions_root)
    counts = Counter(one.split for one in read_described(motions_root))
    assert (whole.test, whole.train) == (counts["test"], counts["train"])
    assert whole.sources == near_duplicates(read_described(motions_root))
    assert whole.told().startswith(f"All {whole.test} test motions were compared with all ")
    part = split_duplicates(motions_root, max_test=2, max_train=3)
    assert (part.sources["procedural"].test, part.sources["procedural"].train) == (2, 3)
    assert part.told() == (
        f"2 of {whole.test} test motions were compared with 3 of {whole.train} training motions"
    )


@pytest.mark.corpus
def test_few_test_motions_of_the_motion_capture_were_nearly_trained_on() -> None:
    found = near_duplicates(read_described(mocap_dataset()))
    assert set(found) == {"bandai-namco", "cmu"}
    for source in found.values():
        assert source.same_group == 0
        # With every take a group of its own, 79 % of Bandai's.
        assert source.near < 0.1
        assert source.test >= 0.075 * (source.test + source.train)
