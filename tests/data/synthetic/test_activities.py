"""Synthetic motions: valid bodies, the named activities, and their use as a source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from annotators.motion.describe import describe_motion
from data.importers.run import MotionImportConfig, import_motions
from data.importers.sources import find_motions
from data.motion.features import (
    REFERENCE_BONE_LENGTHS_M,
    features_to_joints,
    joints_to_features,
    mirror_text,
)
from data.motion.quality import MotionGates, bone_length_drift, find_flaws, foot_skate
from data.motion.skeleton import JOINT, JOINT_NAMES, PARENTS
from data.motion_records import Pending
from data.schemas import load_features
from data.store.dataset import Dataset
from data.synthetic.activities import (
    ACTIVITIES,
    find_procedural,
    generate_motion,
    parse_procedural,
)

SECONDS = (2.5, 3.0, 4.2, 6.0)
NUM_SEEDS = 8
LABELS = {
    "walk_forward": ("walk",),
    "walk_backward": ("walk_backward",),
    "walk_circle": ("walk_turn_left", "walk_turn_right"),
    "wave_hand": ("wave_left_arm", "wave_right_arm"),
    "raise_arms": ("raise_both_arms",),
    "clap": ("clap",),
    "punch": ("punch",),
    "squat": ("squat",),
    "jump": ("jump",),
    "kick": ("kick",),
    "bow": ("bend",),
    "sit_down": ("sit_down",),
}


def _made(activity: str) -> list[tuple[np.ndarray[Any, Any], tuple[str, ...]]]:
    return [
        generate_motion(activity, seed, SECONDS[seed % len(SECONDS)]) for seed in range(NUM_SEEDS)
    ]


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_the_describer_sees_what_is_done(activity: str) -> None:
    told = [describe_motion(motion).activity for motion, _ in _made(activity)]
    assert sum(label in LABELS[activity] for label in told) >= 0.75 * NUM_SEEDS, told


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_motions_can_be_learnt_from(activity: str) -> None:
    for motion, captions in _made(activity):
        assert find_flaws(motion, MotionGates()) == ()
        placed = features_to_joints(joints_to_features(motion))
        assert (foot_skate(motion) or 0) < 0.2
        assert (foot_skate(placed) or 0) < 0.2
        assert bone_length_drift(motion)[0] < 1e-4
        assert abs(float(motion[..., 1].min())) < 1e-4
        assert 2 <= len(set(captions)) <= 4


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_bodies_are_the_reference_made_larger_or_smaller(activity: str) -> None:
    scales = set[float]()
    for motion, _ in _made(activity):
        bones = motion[0, 1:] - motion[0, list(PARENTS[1:])]
        reference = [REFERENCE_BONE_LENGTHS_M[name] for name in JOINT_NAMES[1:]]
        ratio = np.linalg.norm(bones, axis=-1) / reference
        assert np.ptp(ratio) < 1e-4
        assert 0.9 <= ratio.mean() <= 1.1
        scales.add(round(float(ratio.mean()), 3))
    assert len(scales) > NUM_SEEDS / 2


def test_captions_name_the_side_that_moves() -> None:
    sides = set[str]()
    for motion, captions in _made("kick"):
        heights = {s: motion[:, JOINT[f"{s}_foot"], 1].max() for s in ("left", "right")}
        side = max(heights, key=lambda s: heights[s])
        assert all(side in caption for caption in captions)
        sides.add(side)
    for motion, captions in _made("wave_hand"):
        heights = {s: motion[:, JOINT[f"{s}_wrist"], 1].max() for s in ("left", "right")}
        side = max(heights, key=lambda s: heights[s])
        assert all(f"{side} " in caption for caption in captions)
    for motion, captions in _made("walk_circle"):
        side = "left" if describe_motion(motion).path.turn_deg > 0 else "right"
        clock = "counterclockwise" if side == "left" else " clockwise"
        assert side in captions[0]
        assert clock in captions[1]
    assert sides == {"left", "right"}


@pytest.mark.parametrize(("activity", "moves"), [("walk_forward", 1), ("walk_backward", -1)])
def test_walks_go_where_they_face(activity: str, moves: int) -> None:
    for motion, _ in _made(activity):
        way = (motion[-1] - motion[0])[0, [0, 2]]
        across = motion[0, JOINT["left_hip"]] - motion[0, JOINT["right_hip"]]
        facing = np.array([-across[2], across[0]]) / np.linalg.norm(across)
        assert moves * way @ facing > 0.9 * np.linalg.norm(way) > 0.9


def test_a_seed_decides_everything() -> None:
    first, texts = generate_motion("kick", 3, 4.0)
    again, same_texts = generate_motion("kick", 3, 4.0)
    other, _ = generate_motion("kick", 4, 4.0)
    np.testing.assert_array_equal(first, again)
    assert texts == same_texts
    assert first.shape == other.shape == (80, 22, 3)
    assert first.dtype == np.float32
    assert np.abs(first - other).max() > 0.1


def test_bad_wishes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of walk_forward, .* found 'fly'"):
        generate_motion("fly", 0, 4.0)
    for seconds in (2.0, 1000.0, float("nan")):
        with pytest.raises(ValueError, match=r"expected 2.5 to 120, found"):
            generate_motion("jump", 0, seconds)


def test_sources_are_spelled_with_a_count_and_a_seed() -> None:
    assert parse_procedural("procedural:24") == (24, 0)
    assert parse_procedural("procedural:24:7") == (24, 7)
    assert parse_procedural("/data/procedural:24") is None
    for source in ("procedural:", "procedural:0", "procedural:x", "procedural:3:", "procedural:-1"):
        with pytest.raises(ValueError, match="expected procedural:COUNT"):
            parse_procedural(source)
        with pytest.raises(ValidationError, match="expected procedural:COUNT"):
            MotionImportConfig(sources=(source,), dataset=Path("x"))


def test_more_of_a_seed_begin_with_the_same() -> None:
    def ids(count: int, seed: int) -> list[str]:
        found = list(find_procedural(count, seed))
        assert all(isinstance(item, Pending) for item in found)
        return [item.motion_id for item in found if isinstance(item, Pending)]

    assert ids(30, 0)[:12] == ids(12, 0)
    assert not set(ids(30, 0)) & set(ids(30, 1))
    assert len(set(ids(200, 0))) == 200
    listed = [i.motion_id for i in find_motions(Path("procedural:30:1")) if isinstance(i, Pending)]
    assert listed == ids(30, 1)


def test_procedural_sources_are_imported(tmp_path: Path) -> None:
    config = MotionImportConfig.model_validate(
        {"sources": ["procedural:12:5"], "dataset": tmp_path / "d", "workers": {"num_workers": 1}}
    )
    assert config.sources == ("procedural:12:5",)
    progress = import_motions(config)
    assert progress.added["motions"] == 24
    assert not progress.rejected
    rows = Dataset(tmp_path / "d").read("motions").to_pylist()
    plain = [row for row in rows if row["mirrored_of"] is None]
    assert {row["source"] for row in rows} == {"procedural"}
    assert sorted(row["labels"][0] for row in plain) == sorted(ACTIVITIES)
    assert {row["license"] for row in rows} == {"synthetic"}
    by_id = {row["motion_id"]: row for row in rows}
    for row in rows:
        assert 2 <= len(row["texts"]) <= 4
        assert 59 <= len(load_features(row)) <= 119
        if row["mirrored_of"] is not None:
            original = by_id[row["mirrored_of"]]
            texts = [mirror_text(text["text"]) for text in original["texts"]]
            assert [text["text"] for text in row["texts"]] == texts
    assert import_motions(config).known == 12
