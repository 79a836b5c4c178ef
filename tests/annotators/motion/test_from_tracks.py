"""Motions of people in videos: feet do not slide, leaps are mended, and nothing is invented."""

from dataclasses import replace

import numpy as np
import pytest

from annotators.motion.mending import continuous_spans, mended_motion, pelvis_path
from benchmarks.support.corpus import mocap
from data.motion.quality import MotionGates, find_flaws, foot_skate
from data.motion.skeleton import JOINT
from data.records import PoseTrack
from tests.support.motions import as_track, jumping, standing

CMU = "cmu_joints22_20fps.npz"


def _walk() -> PoseTrack:
    return as_track(next(m for key, _, m in mocap(CMU, "label") if key == "cmu_07_05"))


def _trembling(track: PoseTrack, amount_m: float) -> PoseTrack:
    """Add noise of 1-4 Hz, like that of a path estimated from images."""
    draw = np.random.default_rng(0)
    time_T = np.arange(track.num_frames) / 20
    noise_T3 = sum(
        draw.normal(0, 1, 3) * np.sin(2 * np.pi * hz * time_T[:, None] + draw.uniform(0, 6, 3))
        for hz in (1.3, 2.1, 3.7)
    )
    noise_T3 = np.asarray(noise_T3) * amount_m * np.array([1.0, 0.0, 1.0])
    return replace(track, root_trajectory=(track.root_trajectory + noise_T3).astype(np.float32))


def _skate(track: PoseTrack, root_T3: np.ndarray) -> float:
    skate = foot_skate(track.joints_3d + root_T3[:, None])
    assert skate is not None
    return skate


@pytest.mark.corpus
def test_feet_slide_less_and_the_way_stays() -> None:
    truth = _walk()
    seen = _trembling(truth, 0.02)
    path_T3 = pelvis_path(seen)
    true_T3 = truth.root_trajectory
    assert _skate(seen, seen.root_trajectory) > 2 * _skate(truth, true_T3)
    assert _skate(seen, path_T3) < 0.7 * _skate(seen, seen.root_trajectory)
    off_T3 = path_T3 - path_T3[:1] - (true_T3 - true_T3[:1])
    assert np.linalg.norm(off_T3[:, [0, 2]], axis=1).max() < 0.15


def test_a_jump_stays_a_jump() -> None:
    track = as_track(jumping(0.3))
    path_T3 = pelvis_path(track)
    feet = (track.joints_3d + path_T3[:, None])[:, [JOINT["left_ankle"], JOINT["right_ankle"]], 1]
    assert feet.min(axis=1).max() - feet.min() > 0.25


def test_a_run_has_the_pace_of_the_picture() -> None:
    """In flight both feet move, so foot odometry alone would halve the way of a runner."""
    motion = standing(3.0)
    flight_T = np.arange(len(motion)) % 8 < 5
    motion[:, :, 1] += 0.15 * flight_T[:, None]
    motion[:, :, 2] += np.cumsum(np.where(flight_T, 0.25, 0.1))[:, None]
    swing_T = np.where(flight_T, -0.25, -0.1)
    track = as_track(motion)
    body = track.joints_3d.copy()
    feet = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("ankle", "foot")]
    body[:, feet, 2] += np.cumsum(swing_T - swing_T.mean())[:, None]
    path_T3 = pelvis_path(replace(track, joints_3d=body))
    way_m = track.root_trajectory[-1, 2] - track.root_trajectory[0, 2]
    assert path_T3[-1, 2] - path_T3[0, 2] == pytest.approx(way_m, rel=0.1)


def test_a_track_is_divided_where_the_person_changes_place() -> None:
    track = as_track(standing(4.0))
    root_T3 = track.root_trajectory.copy()
    assert continuous_spans(root_T3) == [(0, 80)]
    root_T3[50:, 0] += 3.0
    assert continuous_spans(root_T3) == [(0, 50), (50, 80)]


def test_a_leap_of_the_pose_is_mended_and_marked() -> None:
    track = as_track(standing(3.0))
    body = track.joints_3d.copy()
    wrist, shoulder = JOINT["left_wrist"], JOINT["left_shoulder"]
    for joint in (JOINT["left_elbow"], wrist):
        body[30:, joint] = 2 * body[30:, shoulder] - body[30:, joint]
    motion, credible = mended_motion(replace(track, joints_3d=body))
    assert not find_flaws(motion, MotionGates(), credible_TJ=credible)
    assert np.flatnonzero(~credible[:, wrist]).tolist() == [28, 29, 30, 31]
    assert np.delete(credible, wrist, axis=1).all()


def test_legs_that_were_never_seen_are_not_invented() -> None:
    track = as_track(standing(3.0))
    legs = [JOINT[f"{s}_{n}"] for s in ("left", "right") for n in ("knee", "ankle", "foot")]
    body, confidence = track.joints_3d.copy(), track.confidence.copy()
    body[:, legs] += np.random.default_rng(0).normal(0, 0.3, (len(body), len(legs), 3))
    confidence[:, legs] = 0.1
    motion, credible = mended_motion(replace(track, joints_3d=body, confidence=confidence))
    assert not credible[:, legs].any()
    assert np.delete(credible, legs, axis=1).all()
    ankle_T3 = motion[:, JOINT["left_ankle"]] - motion[:, JOINT["left_hip"]]
    assert np.ptp(ankle_T3, axis=0).max() < 0.05
    assert np.abs(np.median(motion[:, legs, 1].min(axis=1))) < 0.05
    assert not find_flaws(motion, MotionGates(), credible_TJ=credible)


def test_frames_of_a_gap_are_not_credible() -> None:
    track = as_track(standing(3.0))
    valid = np.ones(track.num_frames, np.bool_)
    valid[20:24] = False
    _, credible = mended_motion(replace(track, valid=valid))
    assert not credible[20:24].any()
    assert credible[:20].all()
    assert credible[24:].all()
