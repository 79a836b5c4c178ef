"""The coarse level of the rules: only what is measured is told as a fact."""

from dataclasses import replace

import pytest

from annotators.texts.checks import check_coarse
from annotators.texts.config import PeopleConfig
from annotators.texts.people import people_of
from annotators.texts.scene import Things, VideoFacts, summarize_video
from data.records import ClipScene, ObjectSpan
from tests.support.motions import FRAME_SIZE_PX, as_clip, as_track, standing

ONE = VideoFacts(
    duration_s=8.0,
    num_shots=1,
    num_people=1,
    counts=(1,),
    shot_sizes=("wide",),
    camera="static",
    brightness=0.5,
)


def test_counts_camera_and_length() -> None:
    assert ONE.coarse == (
        "One person is seen in a wide view, filmed by a static camera in a single shot of about "
        "eight seconds."
    )
    many = VideoFacts(100.0, 6, 2, (1, 2), ("wide", "close-up"), "moving", 0.1)
    # A fade divides a video as a cut does, so that shots are not counted.
    assert many.coarse == (
        "Up to two people are seen at a time in a wide view and a close-up, filmed by a moving "
        "camera for about 1.7 minutes, in a dark picture."
    )


@pytest.mark.parametrize(
    ("counts", "num_people", "said"),
    [
        ((), 1, "A person is seen in"),
        ((), 2, "People are seen in"),
        ((1,), 2, "People are seen in"),
        ((2,), 2, "Two people are seen in"),
        ((3, 3), 1, "Three people are seen in"),
        ((5,), 4, "More than four people are seen in"),
        ((9,), 4, "Many people are seen in"),
    ],
)
def test_a_number_that_is_not_certain_is_not_told(
    counts: tuple[int, ...], num_people: int, said: str
) -> None:
    assert replace(ONE, counts=counts, num_people=num_people).coarse.startswith(said)


def test_objects_are_told() -> None:
    bottles = Things("bottle", 3)
    held = (Things("ball"), Things("skis"), Things("umbrella"), Things("dog"))
    told = replace(ONE, held=held, around=(bottles,)).coarse
    assert "in a wide view with a ball, skis and an umbrella, filmed" in told
    assert check_coarse(told) == []
    told = replace(ONE, around=(bottles, Things("car", 4))).coarse
    assert "in a wide view with three bottles and cars in sight, filmed" in told
    assert str(Things("wine glass", 4)) == "several wine glasses"


def test_a_camera_that_is_not_certain_is_not_told() -> None:
    assert replace(ONE, camera="").coarse == (
        "One person is seen in a wide view, in a single shot of about eight seconds."
    )
    assert replace(ONE, camera="", num_shots=3).coarse == (
        "One person is seen in a wide view, in a video of about eight seconds."
    )
    clip = as_clip(as_track(standing()))
    speeds = {0.005: "static", 0.02: "", 0.1: "moving"}
    for speed, told in speeds.items():
        clips = [replace(clip, camera_speed=speed)]
        assert summarize_video(clips, {}, [], 5.0, 1).camera == told
    mixed = [replace(clip, camera_speed=speed) for speed in (0.005, 0.1)]
    assert summarize_video(mixed, {}, [], 5.0, 2).camera == ""


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        (("dog",), "A static camera films a dog in a single shot of about eight seconds."),
        ((), "A static camera films a single shot of about eight seconds."),
    ],
)
def test_nobody_is_not_told_because_hands_may_be_seen(objects: tuple[str, ...], said: str) -> None:
    things = tuple(map(Things, objects))
    facts = replace(ONE, counts=(0,), num_people=0, shot_sizes=(), around=things)
    assert facts.coarse == said


def test_somebody_whom_the_detector_does_not_count_is_told_without_a_number() -> None:
    clip = as_clip(as_track(standing()))
    person, cup = (ObjectSpan(name, 0.0, 3.0, 0.6) for name in ("person", "cup"))
    for count in (0, None):
        facts = summarize_video([clip], {}, [ClipScene(clip.clip_id, count, (cup, person))], 3.0, 1)
        assert facts.coarse == (
            "A person is seen with a cup in sight, filmed by a static camera in a single shot of "
            "about three seconds."
        )


def test_people_who_come_one_after_the_other() -> None:
    track = as_track(standing())
    clip, end_s = as_clip(track), float(track.pts_s[-1])
    (person,) = people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen

    def told(*seen: ObjectSpan, clips: int = 1, absent_s: float = 0.0) -> str:
        """The first words on a person of a first clip, and the same one in the next clips."""
        people = {
            str(i): [
                replace(person, track=replace(track, pts_s=track.pts_s + i * (end_s + absent_s)))
            ]
            for i in range(clips)
        }
        scenes = [ClipScene(clip.clip_id, 1, seen)]
        facts = summarize_video([clip], people, scenes, 9.0, 1)
        return facts.coarse.split(" seen")[0]

    assert told() == "One person is"
    # The second clip follows without a gap, so that it shows the same person.
    assert told(clips=2, absent_s=0.05) == "One person is"
    assert told(clips=2, absent_s=1.6) == "One person is"
    assert told(clips=2, absent_s=3.0) == "One person at a time is"
    # The track is lost, but the detectors see somebody all the time.
    staying = ObjectSpan("person", 0.0, 2 * end_s + 3, 0.7)
    assert told(staying, clips=2, absent_s=3.0) == "One person is"
    later = ObjectSpan("person", end_s + 3, end_s + 4, 0.7)
    assert told(later) == "One person at a time is"


def test_people_of_several_shots_may_be_others() -> None:
    track = as_track(standing())
    first = as_clip(track)
    half_s = first.end_s / 2
    shots = [replace(first, end_s=half_s), replace(first, start_s=half_s, shot_index=1)]
    people = {first.clip_id: people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen}
    scenes = [ClipScene(first.clip_id, 1)]
    assert summarize_video(shots, people, scenes, 9.0, 2).in_turns
    assert not summarize_video([first], people, scenes, 9.0, 2).in_turns


def test_a_size_is_told_if_most_people_are_measured() -> None:
    track = as_track(standing())
    clip, end_s = as_clip(track), float(track.pts_s[-1])
    people = {clip.clip_id: people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen}
    for until_s, sizes in ((end_s * 1.1, ("full",)), (end_s * 2, ())):
        scene = ClipScene(clip.clip_id, 1, (ObjectSpan("person", 0.0, until_s, 0.7),))
        assert summarize_video([clip], people, [scene], 9.0, 1).shot_sizes == sizes


def test_measurements_of_a_video() -> None:
    ball = ObjectSpan("ball", 0.0, 3.0, 0.8, "left_ankle")
    track = replace(as_track(standing()), objects=(ball,))
    clip = as_clip(track)
    people = people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen
    scenes = [
        ClipScene(clip.clip_id, 2, (ObjectSpan("bench", 0.0, 1.0, 0.5),) * 2),
        ClipScene("another", None),
    ]
    facts = summarize_video([clip], {clip.clip_id: people}, scenes, 5.0, 1)
    held, around = (Things("ball"),), (Things("bench", 2),)
    assert facts == VideoFacts(5.0, 1, 1, (2,), ("full",), "static", 0.5, held, around)
    assert summarize_video([clip], {}, [], 5.0, 3) == VideoFacts(5.0, 3, 0, (), (), "static", 0.5)
