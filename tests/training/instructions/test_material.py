"""Motions and plans read from real datasets, by split."""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.corpus import TEXT
from data.importers.plans import find_plans
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import NUM_FEATURES
from data.motion.splits import Split, SplitConfig
from data.motion_records import ImportedMotion, MotionText
from data.records import Annotation, Clip, FineStep, Grounding, Outcome, Verdict
from data.schemas import Row, annotation_row, motion_row
from data.store.manifest import DatasetError
from data.store.reviews import hash_text, new_review, save_review
from data.store.writer import open_writer, rows_table
from training.instructions.goals import goal_key
from training.instructions.material import (
    MotionItem,
    PlanItem,
    read_motion_items,
    read_plan_items,
    read_video_splits,
)
from training.instructions.tasks import clean_steps

PLANS = TEXT / "virtualhome_task_steps.json"
ALL_TRAIN = SplitConfig(train=1, val=0, test=0)
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def _publish(root: Path, table: str, rows: list[Row]) -> Path:
    with open_writer(root, {}) as writer:
        writer.publish({table: rows_table(table, rows)})
    return root


def _motion(motion_id: str, *texts: MotionText, labels: tuple[str, ...] = ()) -> Row:
    """Ten seconds of motion."""
    motion = ImportedMotion(motion_id, "joints", "", "", Fraction(20), texts=texts, labels=labels)
    features = np.zeros((200, NUM_FEATURES), np.float32)
    split = "test" if motion_id.startswith("test") else "train"
    return motion_row(motion, features, split=split, foot_skate_m_s=None, jitter_m_s3=None)


def _text(text: str, start_s: float, end_s: float, level: str = "medium") -> MotionText:
    return MotionText(text, start_s, end_s, level, "rules")


CODES = tuple(range(50))


def test_texts_on_the_whole_caption_the_motion_and_others_their_part(tmp_path: Path) -> None:
    row = _motion(
        "m0",
        _text("a park", 0, 10, "coarse"),
        _text("a person  walks\n", 0, 10),
        _text("a person walks", 0.5, 9),
        _text("steps forward", 0.0, 10.0, "fine"),
        _text("turns", 2.0, 5.0, "fine"),
        _text("spins round", 2.02, 5.02, "fine"),
        _text("stops", 8.0, 10.0, "fine"),
        _text(" ", 0, 10),
    )
    items = read_motion_items(_publish(tmp_path, "motions", [row]), {"m0": CODES}, "train")
    assert items == [
        MotionItem("m0", CODES, ("a person walks", "steps forward")),
        MotionItem("m0", CODES[10:25], ("turns", "spins round"), (10, 25)),
        MotionItem("m0", CODES[40:50], ("stops",), (40, 50)),
    ]
    assert [item.source_id for item in items] == ["m0", "m0:10-25", "m0:40-50"]


def test_labels_caption_a_motion_only_where_no_text_does(tmp_path: Path) -> None:
    rows = [
        _motion("a", labels=("walk_turn-left", "")),
        _motion("b", _text("a person runs", 0, 10), labels=("run",)),
        _motion("c", _text("waves", 4, 5, "fine"), labels=("wave",)),
        _motion("d"),
    ]
    codes = dict.fromkeys("abcd", np.arange(50))
    items = read_motion_items(_publish(tmp_path, "motions", rows), codes, "train")
    assert [(item.source_id, item.captions) for item in items] == [
        ("a", ("a person walk turn left",)),
        ("b", ("a person runs",)),
        ("c", ()),
        ("c:20-25", ("waves",)),
        ("d", ()),
    ]
    assert {type(code) for item in items for code in item.codes} == {int}


def test_motions_of_the_split_need_codes(tmp_path: Path) -> None:
    root = _publish(tmp_path, "motions", [_motion("a"), _motion("b"), _motion("test0")])
    with pytest.raises(
        ValueError, match=r"codes of 2 motions .* found 1 motions without codes, such as b. Remedy"
    ):
        read_motion_items(root, {"a": CODES}, "train")
    assert [item.motion_id for item in read_motion_items(root, {"test0": CODES}, "test")] == [
        "test0"
    ]
    with pytest.raises(DatasetError, match="Remedy"):
        read_motion_items(tmp_path / "none", {}, "train")


def test_motions_of_uncertain_poses_are_left_out(tmp_path: Path) -> None:
    rows = [_motion(name) | {"quality": quality} for name, quality in (("a", 0.4), ("b", 0.9))]
    root = _publish(tmp_path, "motions", rows)
    codes = {"a": CODES, "b": CODES}
    assert len(read_motion_items(root, codes, "train")) == 2
    (kept,) = read_motion_items(root, codes, "train", min_quality=0.5)
    assert kept.motion_id == "b"


def test_mirror_images_are_left_out_where_they_would_count_twice(tmp_path: Path) -> None:
    rows = [_motion("a"), _motion("m") | {"mirrored_of": "a"}]
    root = _publish(tmp_path, "motions", rows)
    codes = {"a": CODES, "m": CODES}
    assert len(read_motion_items(root, codes, "train")) == 2
    (kept,) = read_motion_items(root, codes, "train", mirrored=False)
    assert kept.motion_id == "a"


# ------------------------------------------------------------------------------------------- plans


def _annotation(clip_id: str, start_s: float, *medium: str, **more: Any) -> Row:
    unchecked = Grounding(Verdict.NOT_MEASURABLE, "", 0.0, 0.0)
    fine = tuple(FineStep(text, 0.0, 1.0, unchecked) for text in more.pop("steps", ("walk", "sit")))
    values: dict[str, Any] = {
        "video_id": clip_id.partition("-")[0],
        "coarse": "A kitchen.",
        "outcome": Outcome.SUCCESS,
        "annotator": "rules",
        "track_id": 0,
        **more,
    }
    annotation = Annotation(
        clip_id=clip_id,
        medium=medium,
        fine=fine,
        activity="",
        model="",
        prompt_id="",
        **values,
    )
    clip = Clip(clip_id, annotation.video_id, 0, 0, 0, start_s, start_s + 10, 0.0, "", 0.0)
    return annotation_row(annotation, clip)


def test_clips_of_a_video_are_chained_in_order_of_time(tmp_path: Path) -> None:
    rows = [
        _annotation("v-late", 20, "washes up"),
        _annotation("w-only", 0, "reads"),
        _annotation("v-early", 0, "cooks", steps=("stir", " stir", "", "taste ")),
        _annotation("v-middle", 10, "eats"),
    ]
    items = read_plan_items([_publish(tmp_path, "annotations", rows)], "train", ALL_TRAIN)
    by_id = {item.plan_id: item for item in items}
    assert [item.plan_id for item in items] == ["v-early", "v-middle", "v-late", "w-only"]
    assert by_id["v-early"].next is by_id["v-middle"]
    assert by_id["v-middle"].next is by_id["v-late"]
    assert by_id["v-late"].next is None
    assert by_id["w-only"].next is None
    assert by_id["v-early"].steps == ("stir", "taste")
    assert by_id["w-only"] == PlanItem("w-only", "A kitchen.", ("reads",), ("walk", "sit"))


def test_people_of_a_clip_have_plans_of_their_own(tmp_path: Path) -> None:
    rows = [
        _annotation("v-a", 0, "cooks"),
        _annotation("v-b", 10, "eats", track_id=1, steps=("bite",)),
        _annotation("v-b", 10, "dines", track_id=1, sample=1),
        _annotation("v-b", 10, "reads", track_id=0, steps=("turn a page",)),
        _annotation("v-c", 20, "rests"),
        _annotation("v-d", 30, "leaves"),
    ]
    items = read_plan_items([_publish(tmp_path, "annotations", rows)], "train", ALL_TRAIN)
    by_id = {item.plan_id: item for item in items}
    assert list(by_id) == ["v-a", "v-b/0", "v-b/1", "v-c", "v-d"]
    assert (by_id["v-b/0"].tasks, by_id["v-b/0"].steps) == (("reads",), ("turn a page",))
    assert (by_id["v-b/1"].tasks, by_id["v-b/1"].steps) == (("eats", "dines"), ("bite",))
    # Nothing tells which of the two goes on in another clip.
    assert {plan_id for plan_id, item in by_id.items() if item.next} == {"v-c"}
    assert by_id["v-c"].next is by_id["v-d"]


def test_samples_of_a_clip_share_its_steps_and_add_wordings(tmp_path: Path) -> None:
    rows = [
        _annotation("v-0", 0, "eats", "has a meal", sample=1, steps=("chew",)),
        _annotation("v-0", 0, "dines", "eats", sample=0, steps=("bite",)),
    ]
    items = read_plan_items([_publish(tmp_path, "annotations", rows)], "train", ALL_TRAIN)
    assert items == [PlanItem("v-0", "A kitchen.", ("dines", "eats", "has a meal"), ("bite",))]


def test_annotations_that_cannot_be_used_are_counted_and_break_the_chain(tmp_path: Path) -> None:
    rows = [
        _annotation("v-0", 0, "a", grounding_score=0.9),
        _annotation("v-1", 10, "b", grounding_score=None),
        _annotation("v-2", 20, "c", grounding_score=0.2),
        _annotation("v-3", 30, "d", grounding_score=0.5),
        _annotation("v-4", 40, "e", outcome=Outcome.REFUSED),
        _annotation("v-5", 50, "f"),
        _annotation("w-0", 0, "g", outcome=Outcome.INVALID),
    ]
    root = _publish(tmp_path, "annotations", rows)
    left_out = Counter[str]()
    items = read_plan_items([root], "train", ALL_TRAIN, min_grounding_score=0.5, left_out=left_out)
    following = {item.tasks[0]: item.next and item.next.tasks[0] for item in items}
    assert following == {"a": "b", "b": None, "d": None, "f": None}
    assert left_out == {"outcome": 2, "grounding_score": 1}
    assert len(read_plan_items([root], "train", ALL_TRAIN)) == 5


def test_a_plan_of_text_is_read_as_one_task_and_as_a_chain(tmp_path: Path) -> None:
    source = tmp_path / "plan.txt"
    source.write_text("Task: Take a shower\nStep 1: Undress\nStep 2: Wash\nStep 3: Dry\n")
    import_motions(MotionImportConfig(sources=(str(source),), dataset=tmp_path / "plans"))
    roots = [tmp_path / "plans", tmp_path / "plans" / "." / ""]
    whole, first, second = read_plan_items(roots, "train", ALL_TRAIN)
    plan_id = whole.plan_id
    goal = "Take a shower"
    assert whole == PlanItem(plan_id, "", (goal,), ("Undress", "Wash", "Dry"))
    assert first.plan_id == f"{plan_id}:1"
    assert (first.scene, first.tasks, first.steps) == (goal, ("Undress",), ("Undress",))
    assert first.next is not None
    assert (first.next.tasks, first.next.steps) == (("Wash",), ("Wash", "Dry"))
    assert (second.tasks, second.steps) == (("Wash",), ("Undress", "Wash"))
    assert second.next is not None
    assert (second.next.tasks, second.next.steps) == (("Dry",), ("Dry",))
    assert [item.is_progress for item in (whole, first, second)] == [False, True, True]


def test_plans_that_differ_in_spelling_alone_count_once(tmp_path: Path) -> None:
    same = ("Task: Read\nStep 1: Sit", "Task: Read\nStep 1: sit.\nStep 2: Sit.")
    others = ("Task: Read on\nStep 1: Sit", "Task: Read\nStep 1: Sit\nStep 2: Read")
    source = tmp_path / "plan.txt"
    source.write_text("\n\n".join((*same, *others)))
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        import_motions(MotionImportConfig(sources=(str(source),), dataset=root))
    left_out = Counter[str]()
    items = read_plan_items(roots, "train", ALL_TRAIN, left_out=left_out)
    whole = [(item.tasks, len(item.steps)) for item in items if not item.is_progress]
    assert sorted(whole) == [(("Read",), 1), (("Read",), 2), (("Read on",), 1)]
    assert left_out == {"repeated_plan": 5}


@pytest.mark.corpus
def test_real_plans_are_all_read_each_goal_in_one_split(tmp_path: Path) -> None:
    import_motions(MotionImportConfig(sources=(str(PLANS),), dataset=tmp_path))
    plans = {plan.clip_id: plan for plan in find_plans(PLANS) if isinstance(plan, Annotation)}
    splits = SplitConfig()
    seen: set[str] = set()
    goals: set[str] = set()
    left_out = Counter[str]()
    for split in SPLITS:
        items = read_plan_items([tmp_path], split, splits, left_out=left_out)
        ids = {item.plan_id.split(":")[0] for item in items}
        assert not ids & seen
        seen |= ids
        # Ways to one goal are much the same: a goal that is tested has not been trained on.
        own = {goal_key(item.tasks[0]) for item in items if not item.is_progress}
        assert len(own) > 5
        assert not own & goals
        goals |= own
        for item in items:
            if not item.is_progress:
                assert item.steps == clean_steps([s.text for s in plans[item.plan_id].fine])
    assert seen <= plans.keys()
    # Few are left to repeat: the importer takes plans of the same spelling once.
    assert len(seen) + left_out["repeated_plan"] == len(plans)
    assert len(seen) > 1000
    assert 0 < left_out["repeated_plan"] < 20


def test_clips_of_one_video_are_in_one_split(tmp_path: Path) -> None:
    rows = [_annotation(f"video{v}-{c}", 10 * c, "walks") for v in range(60) for c in range(3)]
    root = _publish(tmp_path, "annotations", rows)
    found = {
        split: Counter(
            item.plan_id.split("-")[0] for item in read_plan_items([root], split, SplitConfig())
        )
        for split in SPLITS
    }
    assert all(found.values())
    assert sum(map(len, found.values())) == 60
    assert {count for videos in found.values() for count in videos.values()} == {3}


def test_a_video_s_plans_lie_in_the_split_of_its_motions(tmp_path: Path) -> None:
    annotated = _publish(
        tmp_path / "annotated",
        "annotations",
        [_annotation(f"video{v}-0", 0, "walks") for v in range(40)],
    )
    motions: list[Row] = []
    for video in range(20):
        motion = ImportedMotion(
            f"m{video}", "video", "", "", Fraction(20), video_id=f"video{video}"
        )
        split: Split = "test" if video < 10 else "train"
        features = np.zeros((8, NUM_FEATURES), np.float32)
        motions.append(
            motion_row(motion, features, split=split, foot_skate_m_s=None, jitter_m_s3=None)
        )
    root = _publish(tmp_path / "motions", "motions", motions)
    videos = read_video_splits(root)
    assert len(videos) == 20
    found = {
        split: {
            item.plan_id
            for item in read_plan_items([annotated], split, SplitConfig(), videos=videos)
        }
        for split in SPLITS
    }
    assert {f"video{v}-0" for v in range(10)} <= found["test"]
    assert {f"video{v}-0" for v in range(10, 20)} <= found["train"]
    assert sum(map(len, found.values())) == 40


def test_reviewed_texts_are_learned_unless_switched_off(tmp_path: Path) -> None:
    rows = [_annotation("video1-0", 0, "walks"), _annotation("video2-0", 0, "jumps")]
    root = _publish(tmp_path, "annotations", rows)
    key = {"video_id": "video1", "clip_id": "video1-0", "track_id": 0, "sample": 0}
    edited = {"level": "medium", "judgment": "edited", "value": '["strolls"]'}
    text_hash = hash_text("medium", rows[0])
    save_review(root, new_review(**key, **edited, text_hash=text_hash, reviewer="Ada"))
    none = {"video_id": "video2", "clip_id": "video2-0", "level": "person", "judgment": "rejected"}
    save_review(root, new_review(**key | none, value=None, text_hash="", reviewer="Ada"))
    read = [
        [item.tasks for item in read_plan_items([root], "train", ALL_TRAIN, reviews=reviews)]
        for reviews in (True, False)
    ]
    assert read == [[("strolls",)], [("walks",), ("jumps",)]]
