"""What a clip shows: counted people, things that both detectors see, and things near a person."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from annotators.objects.detector import LABELS, Boxes
from annotators.objects.scene import (
    Sighting,
    objects_near,
    people_count,
    scene_objects,
)

Seen = tuple[str, float, tuple[float, float, float, float]]
PERSON = (100.0, 50.0, 200.0, 350.0)
CUP = (190.0, 150.0, 210.0, 170.0)
BALL = (150.0, 345.0, 170.0, 365.0)


def _boxes(*seen: Seen) -> Boxes:
    return Boxes(
        np.array([LABELS.index(label) for label, _, _ in seen], np.intp),
        np.array([score for _, score, _ in seen], np.float32),
        np.array([box for _, _, box in seen], np.float32).reshape(-1, 4),
    )


def _sightings(first: Sequence[Sequence[Seen]], second: Sequence[Sequence[Seen]]) -> list[Sighting]:
    """What NanoDet and CenterNet see, twice a second."""
    return [
        Sighting(10 * i, 0.5 * i, _boxes(*one), _boxes(*other))
        for i, (one, other) in enumerate(zip(first, second, strict=True))
    ]


def _both(*frames: Sequence[Seen]) -> list[Sighting]:
    return _sightings(list(frames), list(frames))


def _person(score: float = 0.8, shift_px: float = 0.0) -> Seen:
    left, top, right, bottom = PERSON
    return ("person", score, (left + shift_px, top, right + shift_px, bottom))


def test_people_are_counted_by_centernet_and_not_by_one_frame() -> None:
    two, one = [_person(), _person(shift_px=300)], [_person()]
    faint = [_person(), _person(0.35, 300)]
    assert people_count(_sightings([two] * 6, [one] * 6)) == 1
    assert people_count(_both(*[two] * 2, *[one] * 8)) == 2
    assert people_count(_both(two, *[one] * 9)) == 1
    assert people_count(_both(*[faint] * 10)) == 1
    assert people_count(_both(two)) == 2
    assert people_count([]) is None


def test_a_thing_of_the_scene_is_seen_by_both_detectors_often_enough() -> None:
    cup: Seen = ("cup", 0.6, CUP)
    (found,) = scene_objects(_both(*[[cup]] * 3, *[[]] * 7))
    assert (found.name, found.start_s, found.end_s, found.near) == ("cup", 0.0, 1.25, "")
    assert found.score == pytest.approx(0.6)
    assert scene_objects(_sightings([[cup]] * 10, [[]] * 10)) == ()
    assert scene_objects(_both([cup], *[[]] * 9)) == ()
    assert scene_objects(_both(*[[cup]] * 2, *[[]] * 18)) == ()
    far: Seen = ("cup", 0.6, (400.0, 150.0, 420.0, 170.0))
    assert scene_objects(_sightings([[cup]] * 10, [[far]] * 10)) == ()


def test_each_of_several_things_of_a_kind_has_a_span() -> None:
    cups: list[Seen] = [("cup", 0.6, (x, 150.0, x + 20, 170.0)) for x in (0.0, 100.0, 200.0)]
    found = scene_objects(_both(*[cups] * 4, *[cups[:1]] * 5, cups))
    assert [(o.name, o.start_s, o.end_s) for o in found] == [("cup", 0.0, 4.5)] * 3
    # One detector sees three, the other only two of them.
    assert len(scene_objects(_sightings([cups] * 10, [cups[:2]] * 10))) == 2
    assert len(scene_objects(_both(*[cups] * 1, *[cups[:2]] * 9))) == 2


def test_somebody_is_seen_if_one_detector_is_sure_and_the_other_agrees() -> None:
    sure, faint = [_person(0.6)], [_person(0.3)]
    frames = [*[sure] * 4, *[[]] * 4, *[sure] * 2]
    found = scene_objects(_sightings(frames, [faint] * 10))
    assert [(o.name, o.start_s, o.end_s) for o in found] == [
        ("person", 0.0, 1.75),
        ("person", 3.75, 4.5),
    ]
    assert scene_objects(_sightings([sure] * 10, [[_person(0.3, 300)]] * 10)) == ()
    assert scene_objects(_sightings([faint] * 10, [sure] * 10)) == ()
    # Two single moments are chance.
    single = _sightings([sure, [], [], [], sure, [], []], [faint] * 7)
    assert scene_objects(single) == ()
    dog: Seen = ("dog", 0.7, PERSON)
    assert [o.name for o in scene_objects(_sightings([[*sure, dog]] * 10, [faint] * 10))] == []


def test_a_ball_is_a_ball_whatever_the_detectors_call_it() -> None:
    (found,) = scene_objects(
        _sightings([[("sports ball", 0.5, BALL)]] * 4, [[("frisbee", 0.7, BALL)]] * 4)
    )
    assert (found.name, found.score) == ("ball", pytest.approx(0.6))
    both_names: list[Seen] = [("sports ball", 0.5, BALL), ("frisbee", 0.7, BALL)]
    assert [found.name for found in scene_objects(_both(*[both_names] * 4))] == ["ball"]


def _near(sightings: list[Sighting], seen: bool = True) -> list[tuple[str, float, float, str]]:
    pts_T = np.arange(101) / 20
    at: dict[str, tuple[float, float]] = {
        "right_wrist": (185.0, 160.0),
        "left_ankle": (140.0, 340.0),
    }
    joints: dict[str, NDArray[np.floating]] = {
        name: np.tile(np.array(place, np.float32), (101, 1)) for name, place in at.items()
    }
    visible = {name: np.full(101, seen) for name in joints}
    found = objects_near(sightings, joints, visible, pts_T, np.full(101, 300.0))
    return [(span.name, span.start_s, span.end_s, span.near) for span in found]


def test_what_is_near_a_joint_is_the_persons() -> None:
    cup: Seen = ("cup", 0.6, CUP)
    ball: Seen = ("sports ball", 0.5, BALL)
    seen = _both(*[[cup, ball]] * 4, *[[]] * 7)
    assert _near(seen) == [
        ("ball", 0.0, 1.75, "left_ankle"),
        ("cup", 0.0, 1.75, "right_wrist"),
    ]
    assert _near(seen, seen=False) == []
    far: Seen = ("cup", 0.6, (400.0, 150.0, 420.0, 170.0))
    assert _near(_both(*[[far]] * 11)) == []
    table: Seen = ("dining table", 0.6, (150.0, 150.0, 400.0, 350.0))
    assert _near(_both(*[[table]] * 11)) == []


def test_a_span_ends_when_a_thing_is_away_for_longer_than_a_frame() -> None:
    cup: Seen = ("cup", 0.6, CUP)
    frames = [[cup], [cup], [], [cup], [], [], [cup], [cup], [], [], []]
    assert _near(_both(*frames)) == [
        ("cup", 0.0, 1.75, "right_wrist"),
        ("cup", 2.75, 3.75, "right_wrist"),
    ]
