"""What benchmarks/video_truth.py counts as found, invented, a slip, recalled, true and false."""

from typing import Any

import numpy as np
import pytest

from benchmarks.support.truth.compare import TARGETS, meets_targets
from benchmarks.support.truth.events import SaidEvent, is_recalled, judge
from benchmarks.support.truth.labels import LabeledEvent, LabeledPerson, read_person
from benchmarks.support.truth.people import FoundTrack, match_people
from benchmarks.support.truth.texts import conveys, right_camera, right_class, right_count
from data.motion.skeleton import FPS, NUM_JOINTS
from data.records import PoseTrack

FRAME_PX = (1000, 500)
LEFT, RIGHT = (100, 100, 200, 400), (600, 100, 700, 400)
Box = tuple[int, int, int, int]


def labeled(box: Box, **values: Any) -> LabeledPerson:
    """A person who stands in a box for four seconds, marked at 0.5, 2 and 3.5 s."""
    row = {
        "video": "v.mp4",
        "person": 0,
        "who": "somebody",
        "box_at": [{"t": t, "xyxy": box} for t in (0.5, 2.0, 3.5)],
        "visible": [0, 4],
        "activity_class": "walk",
        "events": [],
        "camera": "static",
        **values,
    }
    return read_person(row)


def tracked(*boxes: Box) -> FoundTrack:
    """A track of four seconds whose joints fill boxes, each for an equal time."""
    num_frames = 4 * FPS
    generator = np.random.default_rng(0)
    shape_J2 = generator.uniform(0, 1, (NUM_JOINTS, 2))
    shape_J2[:2] = [[0, 0], [1, 1]]
    joints_TJ2 = np.empty((num_frames, NUM_JOINTS, 2), np.float32)
    for index, box in enumerate(boxes):
        part = slice(index * num_frames // len(boxes), (index + 1) * num_frames // len(boxes))
        joints_TJ2[part] = np.array(box[:2]) + shape_J2 * np.subtract(box[2:], box[:2])
    track = PoseTrack(
        track_id=0,
        pts_s=np.arange(num_frames) / FPS,
        joints_3d=np.zeros((num_frames, NUM_JOINTS, 3), np.float32),
        root_trajectory=np.zeros((num_frames, 3), np.float32),
        joints_2d=joints_TJ2,
        confidence=np.ones((num_frames, NUM_JOINTS), np.float32),
        valid=np.ones(num_frames, np.bool_),
        quality=1.0,
    )
    return FoundTrack("clip", track)


# ------------------------------------------------------------------------------------- people


def test_everybody_with_a_track_is_found() -> None:
    tracks = [tracked(RIGHT), tracked(LEFT)]
    matched = match_people([labeled(LEFT), labeled(RIGHT)], tracks, FRAME_PX)
    assert [matched.found(0), matched.found(1)] == [True, True]
    assert matched.tracks_of == {1: [tracks[0]], 0: [tracks[1]]}
    assert not matched.invented
    assert not matched.slips


def test_a_track_that_goes_to_another_person_is_a_slip() -> None:
    changing = tracked(LEFT, RIGHT, RIGHT)
    matched = match_people([labeled(LEFT), labeled(RIGHT)], [changing], FRAME_PX)
    assert matched.slips == [(changing, (0, 1))]
    assert not matched.found(0)
    assert matched.found(1)


def test_a_track_on_nobody_is_invented() -> None:
    stray = tracked((400, 100, 500, 400))
    matched = match_people([labeled(LEFT)], [tracked(LEFT), stray], FRAME_PX)
    assert matched.invented == [stray]


def test_hands_are_no_body_and_in_a_crowd_not_everybody_is_labeled() -> None:
    hand = tracked(LEFT)
    assert match_people([labeled(LEFT, no_body=True)], [hand], FRAME_PX).invented == [hand]
    stray = tracked(RIGHT)
    matched = match_people([labeled(LEFT, crowd=True)], [stray], FRAME_PX)
    assert matched.in_crowd == [stray]
    assert not matched.invented


def test_pieces_of_one_person_are_fragments() -> None:
    matched = match_people([labeled(LEFT)], [tracked(LEFT), tracked(LEFT)], FRAME_PX)
    assert matched.fragments == 1


# ------------------------------------------------------------------------------------- events


def label(kind: str, start_s: float, end_s: float, **values: Any) -> LabeledEvent:
    """A label, by default without side and direction."""
    row: dict[str, Any] = {
        "side": "none",
        "direction": "none",
        "count": 1,
        "main": True,
        "sure": 1.0,
        **values,
    }
    events = [{"kind": kind, "start_s": start_s, "end_s": end_s, **row}]
    return labeled(LEFT, events=events).events[0]


def said(
    name: str,
    start_s: float,
    end_s: float,
    side: str | None = None,
    direction: str | None = None,
    large: bool = True,
) -> SaidEvent:
    """One of our events."""
    return SaidEvent(name, side, direction, start_s, end_s, large)


@pytest.mark.parametrize(
    ("start_s", "end_s", "recalled"),
    [(1.25, 1.75, True), (0.8, 1.3, True), (0.2, 0.7, False), (0.0, 4.0, False), (2, 3, False)],
)
def test_a_time_is_tolerated_by_both_ends_or_by_overlap(
    start_s: float, end_s: float, recalled: bool
) -> None:
    kick = label("kick", 1.0, 1.5)
    assert is_recalled(kick, [said("kick", start_s, end_s)]) is recalled


def test_pieces_of_a_long_event_count_together() -> None:
    walk = label("walk", 0.0, 4.0)
    pieces = [said("walk", 0.0, 1.0), said("walk", 2.0, 3.0)]
    assert is_recalled(walk, pieces)
    assert not is_recalled(walk, pieces[:1])


def test_another_side_is_false_unless_the_side_is_not_sure() -> None:
    kick = said("kick", 1.0, 1.5, side="right")
    sure = label("kick", 1.0, 1.5, side="left", side_sure=0.9)
    unsure = label("kick", 1.0, 1.5, side="left", side_sure=0.6)
    assert judge(kick, [sure]).truth == "false"
    assert judge(kick, [sure]).reason == "side: kick left"
    assert not is_recalled(sure, [kick])
    assert judge(kick, [unsure]).truth == "true"
    assert is_recalled(unsure, [kick])


def test_who_stands_on_one_leg_has_raised_the_other() -> None:
    raised = label("raise_leg", 1.0, 1.5, side="right")
    assert judge(said("one_leg", 1.0, 1.5, side="left"), [raised]).truth == "true"
    assert judge(said("one_leg", 1.0, 1.5, side="right"), [raised]).truth == "false"


def test_both_sides_need_both() -> None:
    arms = label("raise_arms", 1.0, 1.5, side="both")
    left, right = (said("raise_arm", 1.0, 1.5, side=side) for side in ("left", "right"))
    assert not is_recalled(arms, [left])
    assert is_recalled(arms, [left, right])
    assert is_recalled(arms, [said("raise_arm", 1.0, 1.5, side="both")])
    assert judge(left, [arms]).truth == "true"


def test_a_jumping_jack_raises_the_arms_within_it() -> None:
    jacks = said("jumping_jack", 1.0, 4.0)
    assert is_recalled(label("raise_arms", 1.0, 1.5, side="both"), [jacks])
    assert not is_recalled(label("raise_arms", 4.5, 5.0, side="both"), [jacks])
    assert not is_recalled(label("raise_leg", 1.0, 1.5, side="left"), [jacks])


def test_another_direction_is_false() -> None:
    turn = label("turn", 1.0, 1.5, direction="left")
    assert judge(said("turn", 1.0, 1.5, direction="right"), [turn]).truth == "false"
    assert not is_recalled(turn, [said("turn", 1.0, 1.5, direction="right")])
    assert is_recalled(turn, [said("turn", 1.0, 1.5, direction="left")])


def test_large_events_that_nobody_saw_are_false_and_small_ones_unknown() -> None:
    assert judge(said("kick", 1.0, 1.5), []).truth == "false"
    assert judge(said("bend_arm", 1.0, 1.5, large=False), []).truth == "unknown"
    assert judge(said("walk", 1.0, 1.5, large=False), [label("stand", 0.0, 4.0)]).truth == "false"
    assert judge(said("kick", 1.0, 1.5), [label("juggle", 0.0, 4.0)]).truth == "unknown"


# -------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("coarse", "right"),
    [
        ("Two people are seen, filmed by a static camera.", True),
        ("Up to three people are seen at a time.", True),
        ("One person is seen.", False),
        ("No person is seen.", False),
        ("A static camera films a park.", False),
    ],
)
def test_the_number_of_people_may_include_bystanders(coarse: str, right: bool) -> None:
    people = [labeled(LEFT), labeled(RIGHT), labeled(RIGHT, background=True)]
    assert right_count(coarse, people) is right


def test_the_camera_is_right_if_nothing_is_said() -> None:
    people = [labeled(LEFT, camera="handheld")]
    assert right_camera("One person, filmed by a moving camera.", people)
    assert right_camera("One person is seen.", people)
    assert not right_camera("One person, filmed by a static camera.", people)


def test_words_and_activities_of_a_class() -> None:
    assert conveys(["A person jumps off and does a somersault."], "jump_down")
    assert not conveys(["A person jumps up."], "jump_down")
    assert right_class("walk_turn_left", "walk")
    assert not right_class("walk_turn_left", "run")


def test_a_figure_that_was_not_measured_is_not_judged() -> None:
    good = {name: target for name, target in TARGETS.items() if name != "seconds_per_video_second"}
    assert meets_targets(good)
    assert not meets_targets({**good, "seconds_per_video_second": 5.0})
    assert not meets_targets({**good, "identity_slips": 1})
