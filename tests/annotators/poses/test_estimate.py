"""Poses of the people in real clips, and the invariants of their tracks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from annotators.objects.detector import ObjectDetectors
from annotators.objects.scene import SceneWatch
from annotators.poses.estimate import (
    JOINT_WEIGHTS_JN,
    PoseConfig,
    estimate_poses,
    smooth,
    with_constant_bones,
)
from annotators.poses.networks.landmarks import PoseModel
from annotators.poses.trajectory import lower_envelope
from data.errors import ItemError, Reason
from data.motion.skeleton import BONES, FPS, JOINT, heading_rad
from data.records import Clip, PoseTrack
from data.video.probe import probe_video
from data.video.reader import open_frames
from tests.support.clips import clip_params, with_clip

Estimate = Callable[..., list[PoseTrack]]

PEOPLE = {
    # name: (start_s, end_s, fewest tracks, most tracks). SOURCES.tsv has the number of main people;
    # the comments name what else is visible.
    "juggle_football.mp4": (0, 7, 1, 1),
    "woman_dog.mp4": (0, 6, 1, 1),  # the dog is not a person
    # Hands and a torso without a head: no person and one person are both right.
    "pour_coffee_hands.mp4": (0, 6, 0, 1),
    "balance_single_cam01.mp4": (0, 1.7, 1, 2),  # a bystander stands at the left edge
    "balance_single_cam03.mp4": (0, 1.7, 1, 1),
    "balance_two_cam01.mp4": (0, 1.7, 2, 3),  # the same bystander
    "park_walk_and_jump.mp4": (0, 7.7, 2, 2),
    "empty_scene.mp4": (0, 5.3, 0, 0),
    "portrait.mp4": (0, 4, 1, 1),
    "worker_walk.mp4": (0, 4.3, 1, 1),
    "sign_book.mkv": (0, 3.7, 1, 1),
    "bottles_no_person.mp4": (0, 16, 0, 0),
    "yoga_woman.mp4": (0, 6, 1, 1),
    "cake_handheld.mp4": (0, 6, 1, 2),  # a dark face and hands
    "basketball_two.mp4": (0, 7, 2, 6),  # the camera follows; three people come and go
    "arm_wrestling.mp4": (0, 5, 0, 4),  # so close that the joints are wrong, which is seen
    "street_crowd_dance.avi": (0, 4.1, 3, 8),
    "street_crowd_5frames.mp4": (0, 1, 2, 4),
    "pushup_lying.mp4": (0, 2.2, 1, 1),
    "sword_form.mp4": (0, 5, 1, 1),
}
MOVING = {"basketball_two.mp4", "arm_wrestling.mp4", "street_crowd_dance.avi", "cake_handheld.mp4"}


@pytest.fixture(scope="module")
def estimate(
    pose_model_path: Path, detectors_path: Path, real_clip: Callable[[str], Path]
) -> Estimate:
    """Return the tracks of a span of a clip, computed once; without people it is empty."""
    model = PoseModel.load(pose_model_path, num_threads=2)
    detectors = ObjectDetectors.load(detectors_path)
    known: dict[tuple[str, float, float], list[PoseTrack]] = {}

    def tracks_of(name: str, start_s: float, end_s: float) -> list[PoseTrack]:
        key = (name, start_s, end_s)
        if key in known:
            return known[key]
        path, config = real_clip(name), PoseConfig()
        probe = probe_video(path)
        camera = "moving" if name in MOVING else "static"
        clip = Clip("clip", "video", 0, 0, 0, start_s, end_s, 0.5, camera, 0.0)
        known[key] = []
        with open_frames(
            path,
            probe,
            start_s=start_s,
            end_s=min(end_s, probe.duration_s),
            sample_fps=config.sample_fps,
            max_side_px=config.max_side_px,
        ) as frames:
            try:
                known[key] = estimate_poses(
                    frames,
                    clip,
                    probe,
                    config,
                    model,
                    SceneWatch(detectors, config.object_interval_s),
                )
            except ItemError as error:
                assert error.reason is Reason.NO_PERSON
        return known[key]

    return tracks_of


def one(estimate: Estimate, name: str) -> PoseTrack:
    start_s, end_s, _, _ = PEOPLE[name]
    return estimate(name, start_s, end_s)[0]


@pytest.mark.parametrize("name", clip_params(PEOPLE))
def test_finds_the_people_who_are_there(estimate: Estimate, name: str) -> None:
    start_s, end_s, fewest, most = PEOPLE[name]
    assert fewest <= len(estimate(name, start_s, end_s)) <= most


@pytest.mark.parametrize(
    ("name", "start_s", "end_s", "count"),
    [
        with_clip("one_by_one_entry.mp4", 0, 5, 0),  # before anyone enters
        with_clip("one_by_one_entry.mp4", 10, 15, 1),
        with_clip("one_by_one_entry.mp4", 30, 33, 1),
        with_clip("bikes_multishot.mp4", 0, 1.2, 0),  # a van's roof
        # A hand, which the detector takes for a person for 0.9 s.
        with_clip("bottles_no_person.mp4", 19.91, 29.865, 0),
        with_clip("bikes_multishot.mp4", 3.08, 5.48, 1),  # a cyclist
        with_clip("composite_a_multishot.mp4", 0, 4, 2),
        with_clip("composite_a_multishot.mp4", 5.68, 9.6, 1),
    ],
)
def test_finds_people_in_parts_of_long_videos(
    estimate: Estimate, name: str, start_s: float, end_s: float, count: int
) -> None:
    assert len(estimate(name, start_s, end_s)) == count


@pytest.mark.parametrize("name", clip_params(PEOPLE))
def test_tracks_keep_their_promises(estimate: Estimate, name: str) -> None:
    start_s, end_s, _, _ = PEOPLE[name]
    tracks = estimate(name, start_s, end_s)
    assert [track.track_id for track in tracks] == list(range(len(tracks)))
    whole = [track for track in tracks if track.boxes is None]
    assert [t.pts_s[0] for t in whole] == sorted(t.pts_s[0] for t in whole)
    for track in tracks:
        count = track.num_frames
        # Three fifths of half a second, for people whom both detectors see, in frames of the video.
        assert count >= 5
        np.testing.assert_allclose(np.diff(track.pts_s), 1 / FPS, atol=1e-9)
        assert start_s <= track.pts_s[0] < track.pts_s[-1] < end_s
        for array, shape in (
            (track.joints_3d, (count, 22, 3)),
            (track.joints_2d, (count, 22, 2)),
            (track.root_trajectory, (count, 3)),
            (track.confidence, (count, 22)),
        ):
            assert array.shape == shape
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
        assert track.valid.shape == (count,)
        assert track.valid.dtype == np.bool_
        if track.boxes is not None:
            assert track.boxes.shape == (count, 4)
            assert (track.boxes[:, 2:] > track.boxes[:, :2]).all()
            assert not track.valid.any()
            assert not track.confidence.any()
            continue
        assert track.valid[[0, -1]].all()
        assert (track.joints_3d[:, 0] == 0).all()
        assert (track.root_trajectory[:, 2] < 0).all()  # in front of the camera
        assert ((track.confidence >= 0) & (track.confidence <= 1)).all()
        for parent, joint in BONES:
            bone = np.linalg.norm(track.joints_3d[:, joint] - track.joints_3d[:, parent], axis=1)
            assert np.ptp(bone) < 1e-4
            assert 0.04 < bone[0] < 0.6


@pytest.mark.corpus
def test_left_and_right_are_the_persons_own(estimate: Estimate) -> None:
    """The juggler faces the camera (+z), so his left is on the viewer's right."""
    track = one(estimate, "juggle_football.mp4")
    left, right = JOINT["left_shoulder"], JOINT["right_shoulder"]
    assert np.median(track.joints_2d[:, left, 0] - track.joints_2d[:, right, 0]) > 20
    assert np.median(track.joints_3d[:, left, 0] - track.joints_3d[:, right, 0]) > 0.1
    assert abs(mean_heading(track)) < 0.6


@pytest.mark.corpus
def test_who_is_seen_from_behind_has_made_half_a_turn(estimate: Estimate) -> None:
    assert abs(mean_heading(one(estimate, "worker_walk.mp4"))) > 2.5
    assert abs(mean_heading(estimate("one_by_one_entry.mp4", 10, 15)[0])) > 2.3


def test_headings_follow_the_picture(estimate: Estimate) -> None:
    """The woman in the park walks to the left, which is a quarter turn."""
    assert mean_heading(walking_woman(estimate)) == pytest.approx(-np.pi / 2, abs=0.5)


def mean_heading(track: PoseTrack) -> float:
    return float(np.angle(np.exp(1j * heading_rad(track.joints_3d)).mean()))


def walking_woman(estimate: Estimate) -> PoseTrack:
    tracks = estimate("park_walk_and_jump.mp4", 0, 7.7)
    return min(tracks, key=lambda t: t.root_trajectory[-1, 0] - t.root_trajectory[0, 0])


def test_the_trajectory_is_in_meters(estimate: Estimate) -> None:
    """The walk through the park has a plausible speed, goes sideways and stays on the ground."""
    track = walking_woman(estimate)
    seconds = track.pts_s[-1] - track.pts_s[0]
    way = track.root_trajectory[-1] - track.root_trajectory[0]
    assert 0.7 < -way[0] / seconds < 1.8
    assert abs(way[2]) < 0.4 * abs(way[0])
    assert np.ptp(np.percentile(track.root_trajectory[:, 1], [5, 95])) < 0.15


@pytest.mark.corpus
def test_who_walks_away_goes_back_in_space(estimate: Estimate) -> None:
    away = one(estimate, "worker_walk.mp4")
    assert away.root_trajectory[-1, 2] - away.root_trajectory[0, 2] < -1.5


@pytest.mark.corpus
def test_feet_stand_on_the_floor(estimate: Estimate) -> None:
    standing = one(estimate, "juggle_football.mp4").motion_TJ3
    lowest_T = standing[:, :, 1].min(axis=1)
    assert abs(np.median(lowest_T)) < 0.03
    assert np.percentile(lowest_T, 95) < 0.1
    assert 1.3 < np.median(standing[:, JOINT["head"], 1]) < 1.7


def test_a_jump_leaves_the_floor(estimate: Estimate) -> None:
    """The man does a somersault from a roof; the gap in his track is filled and marked."""
    jumper = max(
        estimate("park_walk_and_jump.mp4", 0, 7.7),
        key=lambda t: t.root_trajectory[-1, 0] - t.root_trajectory[0, 0],
    )
    assert jumper.motion_TJ3[:, :, 1].min(axis=1).max() > 0.3
    assert 0.8 < jumper.valid.mean() < 1


def test_people_of_a_clip_share_one_ground(estimate: Estimate) -> None:
    """The man on the roof is above the ground until he jumps down beside the woman's path."""
    woman = walking_woman(estimate)
    (man,) = (t for t in estimate("park_walk_and_jump.mp4", 0, 7.7) if t is not woman)
    pelvis_T3, time_T = man.root_trajectory, man.pts_s
    landed_m = pelvis_T3[(time_T > 6.4) & (time_T < 6.6), 1].mean()
    assert pelvis_T3[(time_T > 1) & (time_T < 5), 1].min() - landed_m > 1.2
    assert abs(pelvis_T3[-1, 1] - np.median(woman.root_trajectory[:, 1])) < 0.2
    # He lands where she went by, not nearer or farther.
    beside = np.abs(woman.root_trajectory[:, 0] - pelvis_T3[-10, 0]).argmin()
    assert abs(pelvis_T3[-10, 2] - woman.root_trajectory[beside, 2]) < 2.0


@pytest.mark.corpus
def test_lying_people_are_low(estimate: Estimate) -> None:
    assert one(estimate, "pushup_lying.mp4").root_trajectory[:, 1].max() < 0.4


@pytest.mark.corpus
def test_hidden_joints_are_unsure(estimate: Estimate) -> None:
    signer = one(estimate, "sign_book.mkv")
    confidence_J = signer.confidence.mean(axis=0)
    assert confidence_J[JOINT["left_ankle"]] < 0.3
    assert confidence_J[JOINT["left_shoulder"]] > 0.9


@pytest.mark.corpus
def test_a_crowd_is_followed_up_to_the_limit(estimate: Estimate) -> None:
    tracks = estimate("street_crowd_dance.avi", 0, 4.1)
    times = np.arange(0, 4, 1 / FPS)
    together = sum(
        ((times >= t.pts_s[0] - 1e-6) & (times <= t.pts_s[-1] + 1e-6)).astype(int) for t in tracks
    )
    assert np.max(together) <= PoseConfig().max_people


# ----------------------------------------------------------------------------- calculations


def body(seed: int = 0, num_frames: int = 40) -> NDArray[np.float64]:
    """Return random joints around a pelvis at 0."""
    rng = np.random.default_rng(seed)
    joints_TJ3 = np.tile(rng.normal(size=(1, 22, 3)) * 0.4, (num_frames, 1, 1))
    return joints_TJ3 - joints_TJ3[:, :1]


def test_joints_are_affine_combinations_of_landmarks() -> None:
    assert JOINT_WEIGHTS_JN.shape == (22, 33)
    np.testing.assert_allclose(JOINT_WEIGHTS_JN.sum(axis=1), 1)


def test_bones_are_constant_and_equal_on_both_sides() -> None:
    rng = np.random.default_rng(1)
    joints_TJ3 = body() * rng.uniform(0.8, 1.2, (40, 1, 1))
    result_TJ3 = with_constant_bones(joints_TJ3, np.ones((40, 22)), 1.7)

    def length(joint: str, parent: str) -> NDArray[np.float64]:
        return np.linalg.norm(result_TJ3[:, JOINT[joint]] - result_TJ3[:, JOINT[parent]], axis=1)

    assert np.ptp(length("left_knee", "left_hip")) < 1e-9
    np.testing.assert_allclose(
        length("left_wrist", "left_elbow"), length("right_wrist", "right_elbow")
    )
    legs = length("left_knee", "left_hip") + length("left_ankle", "left_knee")
    assert 0.6 < legs[0] < 1.1


@pytest.mark.parametrize("method", ["one_euro", "savgol"])
def test_smoothing_calms_without_delay(method: str) -> None:
    rng = np.random.default_rng(2)
    times = np.arange(100) / 20
    truth = np.stack([0.4 * np.sin(2 * np.pi * 0.8 * times), 0 * times], axis=1)[:, None]
    noisy = truth + rng.normal(scale=0.015, size=truth.shape)
    smoothed = smooth(noisy, method)  # pyright: ignore[reportArgumentType]
    assert np.std((smoothed - truth)[:, 0, 1]) < 0.8 * np.std((noisy - truth)[:, 0, 1])
    lags = [np.mean((np.roll(smoothed, -k, axis=0) - truth)[10:-10] ** 2) for k in (-1, 0, 1)]
    assert np.argmin(lags) == 1
    assert np.ptp(smoothed[:, 0, 0]) > 0.95 * np.ptp(truth[:, 0, 0])
    np.testing.assert_array_equal(smooth(noisy, "none"), noisy)


def test_the_floor_lets_jumps_stand_out() -> None:
    times = np.arange(120) / 20
    drift = 0.3 * times
    jump = np.clip(1 - ((times - 3) / 0.3) ** 2, 0, None) * 0.4
    floor = lower_envelope(drift + jump, np.ones(120))
    assert np.abs(floor - drift).max() < 0.08
    assert (drift + jump - floor).max() > 0.3


def test_a_typo_in_the_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="max_persons"):
        PoseConfig.model_validate({"max_persons": 3})
