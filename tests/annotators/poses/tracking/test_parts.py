"""People of whom only a part is seen are followed by their boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from annotators.objects.detector import PERSON, Boxes, ObjectDetectors, overlap
from annotators.objects.scene import SceneWatch, Sighting
from annotators.poses.estimate import PoseConfig, estimate_poses
from annotators.poses.networks.landmarks import Landmarks, PoseModel, Roi
from annotators.poses.tracking.parts import PartTrack, PartTracker
from annotators.poses.tracking.tracklets import Observation, Tracklet
from annotators.texts.config import PeopleConfig
from annotators.texts.people import people_of
from benchmarks.support.corpus import VIDEOS
from data.arrays import FloatArray, ImageArray
from data.errors import ItemError, Reason
from data.records import Clip, Frame
from data.video.probe import probe_video
from data.video.reader import open_frames

WIDTH, HEIGHT = 640, 360
RED, BLUE = (180, 40, 40), (40, 40, 180)


def _box(x_px: float, width_px: float = 160.0) -> FloatArray:
    """Return a box from the top to the bottom of the picture."""
    return np.array([x_px, 0.0, x_px + width_px, HEIGHT], np.float32)


def _seen(step: int, box_4: FloatArray | None, scores: tuple[float, float]) -> Sighting:
    """Return a sighting of one person with the scores of NanoDet and CenterNet."""
    boxes_B4 = np.zeros((0, 4), np.float32) if box_4 is None else box_4[None]

    def boxes(score: float) -> Boxes:
        count = len(boxes_B4)
        return Boxes(np.full(count, PERSON), np.full(count, score, np.float32), boxes_B4)

    return Sighting(step, step / 20, boxes(scores[0]), boxes(scores[1]))


def _picture(color: tuple[int, int, int]) -> ImageArray:
    return np.full((HEIGHT, WIDTH, 3), color, np.uint8)


def _body(x_px: float) -> Landmarks:
    """Return a body that fills the box at this place."""
    image_N2 = np.stack([np.linspace(x_px, x_px + 160, 33), np.linspace(0, HEIGHT, 33)], axis=1)
    return Landmarks(
        presence=1.0,
        image_N2=image_N2.astype(np.float32),
        world_N3=np.zeros((33, 3), np.float32),
        visibility_N=np.ones(33, np.float32),
        next_roi=Roi(x_px + 80, HEIGHT / 2, HEIGHT, 0.0),
    )


def _track(
    boxes: Sequence[FloatArray | None],
    scores: tuple[float, float] = (0.8, 0.5),
    pictures: list[ImageArray] | None = None,
    bodies: list[Landmarks] | None = None,
) -> list[PartTrack]:
    """Follow one box per frame; the regular looks of the detectors are half a second apart."""
    frames = [
        Frame(step, step / 20, pictures[step] if pictures else _picture(RED))
        for step in range(len(boxes))
    ]

    looked = list(range(0, len(boxes), 10))

    def see(step: int, _time_s: float, _image: ImageArray) -> Sighting:
        # No frame is looked at twice, whoever is followed through it.
        assert step not in looked
        looked.append(step)
        return _seen(step, boxes[step], scores)

    tracker = PartTracker(see, memory_s=0.5)
    for step, frame in enumerate(frames):
        sighting = _seen(step, boxes[step], scores) if step % 10 == 0 else None
        tracker.add(step, frame, sighting, [] if bodies is None else bodies)
    people = [
        Tracklet([Observation(step, step / 20, body) for step in range(len(boxes))], None)
        for body in bodies or []
    ]
    return tracker.finish(people, 0.5)


def test_somebody_who_walks_past_is_followed_from_the_first_frame_to_the_last() -> None:
    # The detectors look at frame 0, where nobody is, and at frame 10.
    boxes = [None] * 4 + [_box(20.0 * step) for step in range(20)] + [None] * 6
    (person,) = _track(boxes)
    assert person.times_s[0] == pytest.approx(0.2, abs=0.1)
    assert person.times_s[-1] == pytest.approx(1.15, abs=0.1)
    for step, box_4 in zip(person.steps, person.boxes, strict=True):
        np.testing.assert_array_equal(box_4, boxes[step])


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param((0.8, 0.1), id="only NanoDet"),
        pytest.param((0.2, 0.8), id="only CenterNet"),
        pytest.param((0.45, 0.5), id="never surely, as a hand at a bottle"),
        pytest.param((0.6, 0.28), id="never surely, as another hand"),
    ],
)
def test_both_detectors_have_to_see_a_person(scores: tuple[float, float]) -> None:
    assert _track([_box(100.0)] * 30, scores) == []


def test_a_moment_is_no_person() -> None:
    assert _track([None] * 10 + [_box(100.0)] * 5 + [None] * 15) == []


@pytest.mark.parametrize(
    "box_4",
    [
        pytest.param(np.array([200, 40, 360, 320], np.float32), id="whole in the picture"),
        pytest.param(np.array([0, 100, 60, 300], np.float32), id="small"),
    ],
)
def test_others_are_left_to_the_landmarks(box_4: FloatArray) -> None:
    assert _track([box_4] * 30) == []


def test_a_box_does_not_go_over_to_somebody_in_other_clothes() -> None:
    boxes = [_box(100.0)] * 40
    tracks = _track(boxes, pictures=[_picture(RED)] * 20 + [_picture(BLUE)] * 20)
    assert len(tracks) == 2
    assert tracks[0].times_s[-1] < 1.0 <= tracks[1].times_s[0] + 1e-6


def test_a_box_does_not_go_over_to_somebody_else_bit_by_bit() -> None:
    pictures = [_picture(RED) for _ in range(40)]
    for step, picture in enumerate(pictures):
        # Somebody in blue moves into the box from the left.
        picture[:, : 120 + 3 * step] = BLUE
    (first, *_) = _track([_box(100.0)] * 40, pictures=pictures)
    assert 0.6 < first.times_s[-1] < 1.3


def test_who_is_tracked_by_landmarks_is_not_followed_twice() -> None:
    assert len(_track([_box(100.0)] * 30)) == 1
    assert _track([_box(100.0)] * 30, bodies=[_body(110.0)]) == []
    assert len(_track([_box(100.0)] * 30, bodies=[_body(460.0)])) == 1


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("video", "start_s", "end_s", "is_found"),
    [
        pytest.param("bikes_multishot.mp4", 7.48, 8.7, True, id="legs walk past"),
        pytest.param("bottles_no_person.mp4", 35.4, 36.6, False, id="a hand at a bottle"),
    ],
)
def test_real_parts_of_people(
    pose_model_path: Path,
    detectors_path: Path,
    video: str,
    start_s: float,
    end_s: float,
    *,
    is_found: bool,
) -> None:
    path = VIDEOS / video
    probe, config = probe_video(path), PoseConfig()
    clip = Clip("clip", "video", 0, 0, 25, start_s, end_s, 0.5, "static", 0.0)
    watch = SceneWatch(ObjectDetectors.load(detectors_path), config.object_interval_s)
    with (
        PoseModel.load(pose_model_path) as model,
        open_frames(path, probe, start_s=start_s, end_s=end_s, sample_fps=20) as frames,
    ):
        if not is_found:
            with pytest.raises(ItemError) as caught:
                estimate_poses(frames, clip, probe, config, model, watch)
            assert caught.value.reason is Reason.NO_PERSON
            return
        (track,) = estimate_poses(frames, clip, probe, config, model, watch)
    assert track.boxes is not None
    assert not track.valid.any()
    assert not track.confidence.any()
    box_4 = track.boxes[int(np.argmin(np.abs(track.pts_s - 8.0)))]
    marked_4 = np.array([215, 0, 534, 272], np.float32)
    assert overlap(box_4[None], marked_4[None])[0, 0] > 0.4
    frame_size_px = (probe.width_px, probe.height_px)
    people = people_of([track], frame_size_px, PeopleConfig(min_measured_s=0, min_confidence=0))
    assert people.seen == ()
    assert "a part of the body" in people.unseen[0].problem
