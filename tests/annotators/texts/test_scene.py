"""The coarse level of the rules: only what is measured is told as a fact."""

from dataclasses import replace

import pytest

from annotators.texts.checks import check_coarse
from annotators.texts.config import PeopleConfig
from annotators.texts.people import people_of
from annotators.texts.scene import VideoFacts, summarize_video
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
        ((9,), 4, "More than five people are seen in"),
    ],
)
def test_a_number_that_is_not_certain_is_not_told(
    counts: tuple[int, ...], num_people: int, said: str
) -> None:
    assert replace(ONE, counts=counts, num_people=num_people).coarse.startswith(said)


def test_objects_are_told() -> None:
    told = replace(ONE, objects=("ball", "skis", "umbrella", "dog")).coarse
    assert "in a wide view with a ball, skis and an umbrella, filmed" in told
    assert check_coarse(told) == []


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        (("dog",), "A static camera films a dog in a single shot of about eight seconds."),
        ((), "A static camera films a single shot of about eight seconds."),
    ],
)
def test_nobody_is_not_told_because_hands_may_be_seen(objects: tuple[str, ...], said: str) -> None:
    facts = replace(ONE, counts=(0,), num_people=0, shot_sizes=(), objects=objects)
    assert facts.coarse == said


def test_people_who_come_one_after_the_other() -> None:
    track = as_track(standing())
    later = replace(track, track_id=1, pts_s=track.pts_s + track.pts_s[-1] + 1.0)
    clip = as_clip(track)
    alone, both = (
        people_of(tracks, FRAME_SIZE_PX, PeopleConfig()).seen
        for tracks in ([track], [track, later])
    )
    counted = [ClipScene(clip.clip_id, 1)]
    facts = summarize_video([clip], {clip.clip_id: both}, counted, 9.0, 1)
    assert facts.coarse.startswith("One person at a time is seen in")
    for people, num_shots in ((alone, 1), (alone, 3)):
        facts = summarize_video([clip], {clip.clip_id: people}, counted, 9.0, num_shots)
        assert facts.coarse.startswith("One person is seen in")
    # The second clip follows without a gap, so that it shows the same person.
    following = {"first": alone, "second": alone}
    facts = summarize_video([clip], following, counted, 9.0, 1)
    assert facts.coarse.startswith("One person is seen in")
    facts = summarize_video([clip], following, [*counted, ClipScene("empty", 0)], 9.0, 1)
    assert facts.coarse.startswith("One person at a time is seen in")


def test_measurements_of_a_video() -> None:
    ball = ObjectSpan("ball", 0.0, 3.0, 0.8, "left_ankle")
    track = replace(as_track(standing()), objects=(ball,))
    clip = as_clip(track)
    people = people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen
    scenes = [
        ClipScene(clip.clip_id, 2, (ObjectSpan("bench", 0.0, 1.0, 0.5),)),
        ClipScene("another", None),
    ]
    facts = summarize_video([clip], {clip.clip_id: people}, scenes, 5.0, 1)
    assert facts == VideoFacts(5.0, 1, 1, (2,), ("full",), "static", 0.5, ("ball", "bench"))
    assert summarize_video([clip], {}, [], 5.0, 3) == VideoFacts(5.0, 3, 0, (), (), "static", 0.5)
