"""The pelvis path of people in videos: feet do not slide, and the path in the image is kept."""

from dataclasses import replace

import numpy as np
import pytest

from annotators.motion.from_tracks import pelvis_path
from benchmarks.support.corpus import mocap
from data.motion.quality import foot_skate
from data.motion.skeleton import JOINT
from data.records import PoseTrack
from tests.support.motions import as_track, jumping

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
