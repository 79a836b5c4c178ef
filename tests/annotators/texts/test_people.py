"""Who is seen well enough, and what tells people apart."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from annotators.texts.config import PeopleConfig
from annotators.texts.people import people_of, places, poorly_seen
from data.errors import Reason
from data.records import PoseTrack
from tests.support.motions import FRAME_SIZE_PX, as_track, raising_left_arm, standing


def _at(
    x_px: float | Sequence[float], scale: float = 1.0, *, track_id: int = 0, start_s: float = 0.0
) -> PoseTrack:
    """Return a track of 4 s around these horizontal positions of the image."""
    track = as_track(standing(4.0), track_id=track_id, start_s=start_s)
    middle = np.array([640.0, 650.0], np.float32)
    joints_2d = (track.joints_2d - middle) * np.float32(scale) + middle
    joints_2d[:, :, 0] += np.broadcast_to(np.asarray(x_px) - 640.0, track.num_frames)[:, None]
    return replace(track, joints_2d=joints_2d.astype(np.float32))


@pytest.mark.parametrize(
    ("tracks", "names"),
    [
        ([_at(600)], [""]),
        ([_at(800), _at(300)], ["on the right", "on the left"]),
        # Two people on one side of the picture.
        ([_at(300), _at(150)], ["on the right", "on the left"]),
        ([_at(900), _at(200), _at(600)], ["on the right", "on the left", "in the middle"]),
        (
            [_at(x) for x in (100, 1100, 400, 800)],
            ["on the far left", "on the far right", "second from the left", "third from the left"],
        ),
        ([_at(640), _at(650, 0.6)], ["in front", "at the back"]),
        ([_at(640), _at(650, start_s=5.0)], ["seen first", "seen later"]),
        (
            [_at(200), _at(900), _at(930, 0.5)],
            ["on the left", "on the right, in front", "on the right, at the back"],
        ),
        # People who pass each other are told apart by where they start.
        (
            [_at(np.linspace(200, 1000, 80).tolist()), _at(600)],
            ["on the left at first", "on the right at first"],
        ),
        ([_at(640), _at(650)], ["number 1", "number 2"]),
    ],
)
def test_people_are_told_apart_by_place(tracks: list[PoseTrack], names: list[str]) -> None:
    assert places(tracks, FRAME_SIZE_PX) == names
    assert len(set(names)) == len(names)


def test_people_who_are_seen_poorly_are_not_described() -> None:
    good = as_track(raising_left_arm(), track_id=1)
    brief = replace(good, track_id=2, valid=np.arange(good.num_frames) < 10)
    small = replace(_at(300, 0.05), track_id=3)
    unsure = replace(good, track_id=4, quality=0.3)
    people = people_of([unsure, small, good, brief], FRAME_SIZE_PX, PeopleConfig())
    (person,) = people.seen
    assert (person.number, person.track, person.who) == (1, good, "the person")
    assert person.description.activity == "raise_left_arm"
    problems = {one.track_id: one.problem for one in people.unseen}
    assert problems == {2: "measured for 0.50 s", 3: "20 px tall", 4: "confidence 0.30"}
    error = poorly_seen([problems[4]], PeopleConfig())
    assert error.reason is Reason.POORLY_SEEN
    assert error.detail.endswith("among the 8 most prominent ones, found: confidence 0.30.")


def test_the_most_prominent_people_are_described() -> None:
    tracks = [_at(100 + 300 * number, track_id=number) for number in range(3)]
    tracks[1] = replace(tracks[1], quality=0.6)
    people = people_of(tracks, FRAME_SIZE_PX, PeopleConfig(max_people=2))
    assert [(p.number, p.track.track_id, p.where) for p in people.seen] == [
        (1, 0, "on the left"),
        (2, 2, "on the right"),
    ]
    assert [(u.track_id, u.problem) for u in people.unseen] == [(1, "2 more prominent people")]
