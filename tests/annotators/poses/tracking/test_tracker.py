"""Tracking of people: crossings, gaps, duplicates and false detections."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from annotators.objects.detector import ObjectDetectors
from annotators.objects.scene import SceneWatch
from annotators.poses.estimate import PoseConfig, estimate_poses
from annotators.poses.networks.landmarks import Landmarks, PoseModel, Roi
from annotators.poses.tracking.appearance import appearance_distance
from annotators.poses.tracking.identity import exchange_back, join_parts, without_duplicates
from annotators.poses.tracking.search import search_windows
from annotators.poses.tracking.tracker import MAX_DISAGREEMENT
from annotators.poses.tracking.tracklets import Observation, Tracklet, disagreement, is_same_body
from data.errors import ItemError, Reason
from data.motion.skeleton import JOINT
from data.records import Clip, Frame, PoseTrack, VideoProbe
from data.video.probe import probe_video
from data.video.reader import open_frames

Image = NDArray[np.uint8]

RED = np.tile(np.array([100, 180, 160], np.float32), (13, 1))
BLUE = np.tile(np.array([90, 130, 80], np.float32), (13, 1))


@pytest.fixture(scope="module")
def model(pose_model_path: Path) -> PoseModel:
    return PoseModel.load(pose_model_path, num_threads=2)


@pytest.fixture(scope="module")
def detectors(detectors_path: Path) -> ObjectDetectors:
    return ObjectDetectors.load(detectors_path)


def body_at(x_px: float, y_px: float = 200.0, size_px: float = 200.0) -> Landmarks:
    """Return a synthetic, fully visible body."""
    rng = np.random.default_rng(7)
    shape_N2 = rng.uniform(-0.35, 0.35, (33, 2)).astype(np.float32)
    return Landmarks(
        presence=1.0,
        image_N2=shape_N2 * size_px + np.array([x_px, y_px], np.float32),
        world_N3=np.zeros((33, 3), np.float32),
        visibility_N=np.ones(33, np.float32),
        next_roi=Roi(x_px, y_px, size_px, 0.0),
    )


def walker(
    first_step: int, last_step: int, speed_px: float, color: NDArray[np.float32], x0: float = 0.0
) -> Tracklet:
    """Return a track with constant speed, which is at ``x0`` at step 0."""
    seen = [
        Observation(i, i / 20, body_at(x0 + speed_px * i)) for i in range(first_step, last_step)
    ]
    return Tracklet(seen, color)


def test_opinions_on_one_body_agree_and_on_two_do_not() -> None:
    body, moved = body_at(300), body_at(302)
    assert disagreement(body, body) == pytest.approx(0, abs=1e-5)
    assert disagreement(body, moved) < MAX_DISAGREEMENT
    assert is_same_body(body, moved)
    assert disagreement(body, body_at(380)) > 0.2
    assert not is_same_body(body, body_at(450))


def test_looks_are_compared_without_failing_on_unknown_ones() -> None:
    assert appearance_distance(RED, RED) == pytest.approx(0, abs=1e-3)
    assert appearance_distance(RED, BLUE) == pytest.approx(1)
    assert appearance_distance(RED, None) == 0.5


def test_a_short_gap_is_joined_and_a_long_one_is_not() -> None:
    first = walker(0, 20, 4, RED)
    (person,) = join_parts([first, walker(26, 40, 4, RED)], max_gap_s=0.5)
    assert [seen.step for seen in person.observations] == [*range(20), *range(26, 40)]
    assert len(join_parts([first, walker(40, 60, 4, RED)], max_gap_s=0.5)) == 2


def test_after_a_crossing_everybody_goes_on_where_they_went() -> None:
    """Both people are hidden for a while and reappear on the other side."""
    parts = [
        walker(0, 20, 10, RED),
        walker(0, 20, -10, RED, x0=440),
        walker(25, 45, 10, RED),
        walker(25, 45, -10, RED, x0=440),
    ]
    people = join_parts(parts, max_gap_s=0.5)
    assert len(people) == 2
    for person in people:
        steps = np.diff([seen.landmarks.next_roi.x_px for seen in person.observations])
        assert len({math.copysign(1, step) for step in steps}) == 1


def test_somebody_in_other_clothes_is_somebody_else() -> None:
    parts = [walker(0, 20, 4, RED), walker(24, 40, 4, BLUE)]
    assert len(join_parts(parts, max_gap_s=0.5)) == 2


def _with_looks(track: Tracklet, *changes: tuple[int, NDArray[np.float32]]) -> Tracklet:
    """Give a track a look every fourth frame: that of the last change before it."""
    for seen in track.observations[::4]:
        look = [color for step, color in changes if step <= seen.step][-1]
        track.looks.append((seen.step, look))
    return track


def test_people_who_were_exchanged_where_they_met_are_exchanged_back() -> None:
    """The tracks turn back where they meet at step 20; the clothes do not."""
    left = walker(0, 40, 0, RED)
    right = walker(0, 40, 0, BLUE)
    for step in range(40):
        x = 10 * abs(20 - step)
        left.observations[step] = Observation(step, step / 20, body_at(300 - x))
        right.observations[step] = Observation(step, step / 20, body_at(310 + x))
    _with_looks(left, (0, RED), (20, BLUE))
    _with_looks(right, (0, BLUE), (20, RED))
    red, blue = exchange_back([left, right])
    assert [seen.landmarks.next_roi.x_px for seen in red.observations][-1] > 450
    assert [seen.landmarks.next_roi.x_px for seen in blue.observations][-1] < 150
    assert all(look is RED for _, look in red.looks)
    # Who keeps their clothes has turned back indeed.
    left.looks, right.looks = [], []
    _with_looks(left, (0, RED))
    _with_looks(right, (0, BLUE))
    stayed, _ = exchange_back([left, right])
    assert stayed.observations == left.observations


def test_two_tracks_on_one_person_become_one() -> None:
    long, short = walker(0, 40, 4, RED), walker(5, 30, 4, RED, x0=3)
    assert without_duplicates([short, long]) == [long]
    other = walker(5, 30, 4, RED, x0=400)
    assert len(without_duplicates([other, long])) == 2


def test_a_person_is_expected_where_the_movement_leads() -> None:
    track = walker(0, 10, 6, RED)
    assert track.predict_roi(10 / 20).x_px == pytest.approx(60)
    # The extrapolation is limited to about a third of the body, for any time.
    assert track.predict_roi(100.0).x_px <= 54 + 0.35 * 200


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (96, 96), (64, 400), (960, 240)])
def test_windows_cover_the_frame(size: tuple[int, int]) -> None:
    width, height = size
    whole, *squares = search_windows(width, height)
    assert whole == (0, 0, width, height)
    seen = np.zeros((height, width), bool)
    for left, top, right, bottom in squares or [whole]:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        seen[top:bottom, left:right] = True
    assert seen.all()


# --------------------------------------------------------------------------- on real images


def follow(
    model: PoseModel, detectors: ObjectDetectors, images: list[Image], config: PoseConfig
) -> list[PoseTrack]:
    height, width = images[0].shape[:2]
    probe = VideoProbe(
        Path("x.mp4"),
        1,
        "",
        "",
        width,
        height,
        0,
        Fraction(20),
        0.0,
        9.0,
        9,
        constant_rate=True,
        issues=(),
    )
    clip = Clip("clip", "video", 0, 0, len(images), 0.0, len(images) / 20, 0.5, "static", 0.0)
    frames = [Frame(i, i / 20, image) for i, image in enumerate(images)]
    watch = SceneWatch(detectors, config.object_interval_s)
    return estimate_poses(frames, clip, probe, config, model, watch)


def cutout(
    path: Path,
    box: tuple[int, int, int, int],
    *,
    start_s: float = 0.0,
    seconds: float,
    speed_px: float = 0.0,
) -> list[Image]:
    """Crop a box (left, top, right, bottom), which moves right by a speed, from every frame."""
    left, top, right, bottom = box
    with open_frames(
        path, probe_video(path), start_s=start_s, end_s=start_s + seconds, sample_fps=20
    ) as frames:
        cut: list[Image] = []
        for frame in frames:
            moved_px = round(speed_px * (frame.pts_s - start_s))
            cut.append(frame.image[top:bottom, left + moved_px : right + moved_px])
        return cut


MAN_ON_THE_ROOF = (440, 20, 840, 500)
"""Box around the man in the first four seconds of the sample clip."""


def test_two_people_keep_their_tracks_when_they_cross(
    model: PoseModel, detectors: ObjectDetectors, sample_clip: Path
) -> None:
    """One real person passes in front of another one, in the opposite direction."""
    front = cutout(sample_clip, (480, 20, 810, 500), seconds=3.0)
    # The woman walks to the left, and the box follows her.
    behind = cutout(sample_clip, (1374, 530, 1594, 970), start_s=1.7, seconds=3.0, speed_px=-289)
    count = min(len(front), len(behind))
    images: list[Image] = []
    for i in range(count):
        image = np.full((560, 1080, 3), 120, np.uint8)
        share = i / (count - 1)
        for person, x, y in ((behind[i], 740 - 700 * share, 90), (front[i], 20 + 680 * share, 10)):
            height, width = person.shape[:2]
            image[y : y + height, round(x) : round(x) + width] = person
        images.append(image)
    tracks = follow(model, detectors, images, PoseConfig(max_gap_s=1.2))
    x_of = [track.joints_2d[:, JOINT["pelvis"], 0] for track in tracks]
    right = [i for i, x in enumerate(x_of) if x[-1] - x[0] > 400]
    left = [i for i, x in enumerate(x_of) if x[-1] - x[0] < -400]
    assert len(right) == 1
    assert len(left) == 1
    for i, sign in ((right[0], 1), (left[0], -1)):
        assert tracks[i].num_frames > 0.9 * count
        # A swap of the tracks would be a jump back by half the frame.
        assert (sign * np.diff(x_of[i])).min() > -60


def test_a_hidden_person_is_filled_in_and_marked(
    model: PoseModel, detectors: ObjectDetectors, sample_clip: Path
) -> None:
    images = cutout(sample_clip, MAN_ON_THE_ROOF, seconds=2.5)
    for image in (images[i] for i in range(20, 27)):
        image[:] = 110
    (track,) = follow(model, detectors, images, PoseConfig())
    hidden = (track.pts_s > 19.5 / 20) & (track.pts_s < 26.5 / 20)
    np.testing.assert_array_equal(track.valid, ~hidden)
    assert (track.confidence[hidden] == 0).all()
    assert np.isfinite(track.motion_TJ3).all()


def test_a_long_absence_makes_another_track(
    model: PoseModel, detectors: ObjectDetectors, sample_clip: Path
) -> None:
    images = cutout(sample_clip, MAN_ON_THE_ROOF, seconds=3.5)
    for image in (images[i] for i in range(20, 45)):
        image[:] = 110
    first, second = follow(model, detectors, images, PoseConfig())
    assert first.pts_s[-1] < 1.0
    assert second.pts_s[0] > 2.2
    assert first.valid.all()
    assert second.valid.all()


@pytest.mark.parametrize("kind", ["noise", "blobs", "black", "stripes"])
def test_nobody_is_seen_in_noise(model: PoseModel, detectors: ObjectDetectors, kind: str) -> None:
    rng = np.random.default_rng(1)
    fine = rng.integers(0, 255, (20, 360, 480, 3), dtype=np.uint8)
    coarse = np.kron(fine[:, ::40, ::40], np.ones((1, 40, 40, 1), np.uint8))
    waves = (127 + 120 * np.sin(np.arange(480) / 9)).astype(np.uint8)
    stripes = np.broadcast_to(waves[None, None, :, None], fine.shape)
    images = {"noise": fine, "blobs": coarse, "black": 0 * fine, "stripes": stripes}[kind]
    with pytest.raises(ItemError) as caught:
        follow(model, detectors, [np.ascontiguousarray(image) for image in images], PoseConfig())
    assert caught.value.reason is Reason.NO_PERSON
