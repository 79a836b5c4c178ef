"""Resampling, quality measures and gates on real motions and on signals with known answers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from data.arrays import FloatArray
from data.motion.features import joints_to_features
from data.motion.quality import (
    FlawKind,
    MotionGates,
    bone_length_drift,
    find_flaws,
    foot_skate,
    jitter,
    mend_leaps,
    resample,
)
from data.motion.skeleton import FPS, JOINT
from data.synthetic.activities import generate_motion
from tests.support import motions

RATES = [
    Fraction(120),
    Fraction(60),
    Fraction(30),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(24000, 1001),
    Fraction(25, 2),
    Fraction(119.88),
]


@pytest.fixture(scope="module")
def walk() -> FloatArray:
    """A walking person."""
    return generate_motion("walk_forward", 4, 3.0)[0].astype(np.float64)


@pytest.fixture(scope="module")
def mocap(corpus: Path) -> dict[str, FloatArray]:
    """Real motions by key."""
    with np.load(corpus / "mocap/cmu_joints22_20fps.npz", allow_pickle=False) as file:
        motions = np.split(file["positions"].astype(np.float64), file["offsets"][1:-1])
        return dict(zip(file["keys"].tolist(), motions, strict=True))


@pytest.fixture(scope="module")
def standing() -> FloatArray:
    """One frame, repeated for 3 s, with feet on the floor."""
    frame = motions.standing(1.0)[:1]
    return (frame - [0, frame[..., 1].min(), 0]).repeat(3 * FPS, axis=0)


def _sine(frequency_hz: float, fps: Fraction, duration_s: float) -> tuple[FloatArray, FloatArray]:
    time_s = np.arange(int(duration_s * fps)) / float(fps)
    return np.sin(2 * np.pi * frequency_hz * time_s + 0.3), time_s


@pytest.mark.parametrize("fps", RATES)
def test_resampling_keeps_time_to_a_thousandth_of_the_signal(fps: Fraction) -> None:
    frequency_hz = 2.3
    values, time_s = _sine(frequency_hz, fps, 20)
    found = resample(values, fps)
    assert len(found) == int(Fraction(len(values) - 1) / fps * FPS) + 1
    times_s = np.arange(len(found)) / FPS
    assert time_s[-1] - 1 / FPS < times_s[-1] <= time_s[-1] + 1e-9
    expected = np.sin(2 * np.pi * frequency_hz * times_s + 0.3)
    interior = slice(3 * FPS, -3 * FPS)
    np.testing.assert_allclose(found[interior], expected[interior], atol=1e-3)


def test_time_stays_exact_in_a_long_motion() -> None:
    fps = Fraction(30000, 1001)
    values = np.arange(30 * 1200, dtype=np.float64)  # 20 minutes; the value is the frame number
    found = resample(values, fps)
    expected = np.arange(len(found)) * float(fps) / FPS
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("frequency_hz", [10.5, 13.0, 19.0, 37.0])
def test_what_20_fps_cannot_hold_is_removed_and_not_folded(frequency_hz: float) -> None:
    fps = Fraction(120)
    values, _ = _sine(frequency_hz, fps, 10)
    interior = slice(3 * FPS, -3 * FPS)
    assert abs(resample(values, fps)[interior]).max() < 1e-3
    # The signal is in the input, and taking every sixth frame folds it down.
    assert abs(values[::6][interior]).max() > 0.9


def test_constant_and_steady_motion_are_kept_up_to_the_ends() -> None:
    for fps in RATES:
        frames = np.arange(37) / float(fps)
        found = resample(np.stack([np.full(37, 1.5), 2 + 3 * frames], axis=1), fps)
        times_s = np.arange(len(found)) / FPS
        np.testing.assert_allclose(found[:, 0], 1.5, atol=1e-12)
        np.testing.assert_allclose(found[:, 1], 2 + 3 * times_s, atol=1e-4)


def test_the_same_rate_and_single_frames_pass_unchanged(walk: FloatArray) -> None:
    motion = walk.astype(np.float32)
    same = resample(motion, Fraction(20))
    np.testing.assert_array_equal(same, motion)
    assert same is not motion
    assert resample(motion, Fraction(60)).dtype == np.float32
    np.testing.assert_allclose(resample(motion[:1], Fraction(120)), motion[:1], atol=1e-6)


def test_a_real_motion_survives_a_detour_over_another_rate(mocap: dict[str, FloatArray]) -> None:
    motion = mocap["cmu_01_01"]
    there = resample(motion, Fraction(20), Fraction(60000, 1001))
    back = resample(there, Fraction(60000, 1001))
    assert len(motion) - 1 <= len(back) <= len(motion)
    error = np.linalg.norm(back - motion[: len(back)], axis=-1)
    assert error.mean() < 0.003  # meters


def test_impossible_rates_and_no_frames_are_named() -> None:
    with pytest.raises(ValueError, match="rates above 0, found 0 and 20"):
        resample(np.zeros((3, 2)), Fraction(0))
    with pytest.raises(ValueError, match="at least 1 frame, found 0"):
        resample(np.zeros((0, 2)), Fraction(30))


def test_a_sliding_statue_skates_at_its_speed(standing: FloatArray) -> None:
    time_s = np.arange(len(standing))[:, None] / FPS
    assert foot_skate(standing) == pytest.approx(0)
    slide = standing + time_s[..., None] * np.array([0.3, 0.0, 0.4])
    assert foot_skate(slide) == pytest.approx(0.5)
    # Feet in the air do not skate: here the wrists carry the body.
    handstand = slide * np.array([1, -1, 1])
    assert foot_skate(handstand) is None


def test_real_walks_skate_less_than_walks_on_the_spot(walk: FloatArray) -> None:
    treadmill = walk - (walk[:, :1] - walk[:1, :1]) * np.array([1, 0, 1])
    real, sliding = foot_skate(walk), foot_skate(treadmill)
    assert real is not None
    assert sliding is not None
    assert real < 0.3 * sliding


def test_jitter_is_the_mean_third_derivative(standing: FloatArray) -> None:
    assert jitter(standing) == pytest.approx(0)
    time_s = np.arange(len(standing))[:, None, None] / FPS
    cubic = standing + time_s**3 * np.array([0.5, 0.0, 0.0])
    assert jitter(cubic) == pytest.approx(3.0)  # d3(t^3 / 2) = 3 m/s^3
    assert jitter(standing[:3]) is None


def test_noise_raises_jitter(walk: FloatArray) -> None:
    motion = walk
    noise = np.random.default_rng(0).normal(0, 0.01, motion.shape)
    clean, noisy = jitter(motion), jitter(motion + noise)
    assert clean is not None
    assert noisy is not None
    assert noisy > 2 * clean


def test_limb_drift_names_the_bone_that_grows(standing: FloatArray) -> None:
    drift, _ = bone_length_drift(standing)
    assert drift == pytest.approx(0)
    growing = standing.copy()
    factor_T = np.linspace(0.5, 1.5, len(growing))[:, None]
    elbow, wrist = JOINT["left_elbow"], JOINT["left_wrist"]
    growing[:, wrist] = growing[:, elbow] + factor_T * (growing[:, wrist] - growing[:, elbow])
    drift, bone = bone_length_drift(growing)
    assert bone == "left_wrist"
    assert drift == pytest.approx(0.9)  # 95th minus 5th percentile of 0.5..1.5


def _kinds(motion: FloatArray, gates: MotionGates | None = None) -> list[FlawKind]:
    return [flaw.kind for flaw in find_flaws(motion, gates or MotionGates())]


def test_what_passes_the_gates_has_features(mocap: dict[str, FloatArray]) -> None:
    passed = [motion for motion in mocap.values() if not _kinds(motion)]
    assert len(passed) > 0.85 * len(mocap)
    for motion in passed[::5]:
        assert np.isfinite(joints_to_features(motion)).all()


def test_real_tracking_errors_are_found_and_named(mocap: dict[str, FloatArray]) -> None:
    found = {
        key: flaw.detail
        for key, motion in mocap.items()
        for flaw in find_flaws(motion, MotionGates())
        if flaw.kind is FlawKind.TELEPORT
    }
    # Three recordings in which a foot jumps 0.8 to 1.7 m within 1/20 s.
    assert len(found) == 3
    assert any("left_foot" in text and "33.9" in text for text in found.values())


def test_each_gate_names_its_flaw(walk: FloatArray) -> None:
    motion = walk
    assert _kinds(motion) == []

    assert _kinds(motion[:17]) == []
    assert _kinds(motion[:16]) == [FlawKind.TOO_SHORT]
    assert _kinds(motion[:16], MotionGates(min_frames=16)) == []
    assert _kinds(motion[:0]) == [FlawKind.TOO_SHORT]

    broken = motion.copy()
    broken[12, 3] = np.nan
    broken[14, 3] = np.inf
    (flaw,) = find_flaws(broken, MotionGates())
    assert flaw.kind is FlawKind.NON_FINITE
    assert f"2 of {len(walk)} frames, the first in frame 12" in flaw.detail

    jumped = motion.copy()
    jumped[20:] += [1.0, 0.0, 0.0]
    (flaw,) = find_flaws(jumped, MotionGates())
    assert flaw.kind is FlawKind.TELEPORT
    assert "pelvis" in flaw.detail
    assert "between frames 19 and 20" in flaw.detail

    stretched = motion.copy()
    stretched *= np.linspace(0.7, 1.3, len(motion))[:, None, None]
    assert _kinds(stretched) == [FlawKind.LIMB_DRIFT]

    collapsed = motion.copy()
    collapsed[:, JOINT["right_wrist"]] = collapsed[:, JOINT["right_elbow"]]
    (flaw,) = find_flaws(collapsed, MotionGates())
    assert flaw.kind is FlawKind.COLLAPSED
    assert "right_wrist on its parent in frame 0" in flaw.detail


def test_gates_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError, match="max_sped"):
        MotionGates.model_validate({"max_sped": 3})
    with pytest.raises(ValueError, match=r"expected \(T, 22, 3\), found \(5, 24, 3\)"):
        find_flaws(np.zeros((5, 24, 3)), MotionGates())


def test_a_joint_that_leaps_away_and_back_is_mended(walk: FloatArray) -> None:
    wrist = JOINT["right_wrist"]
    spiked = walk.copy()
    spiked[20:23, wrist] += (0.9, 0.4, -0.7)
    mended, lost = mend_leaps(spiked, 12.0)
    assert lost.sum() == 3
    assert lost[20:23, wrist].all()
    assert np.abs(mended - walk).max() < 0.1
    untouched = np.delete(mended - walk, wrist, axis=1)
    assert np.abs(untouched).max() < 1e-9
    same, lost = mend_leaps(walk, 12.0)
    assert (same is walk, lost.sum()) == (True, 0)


def test_a_joint_that_leaps_once_moves_smoothly_and_is_marked(walk: FloatArray) -> None:
    wrist = JOINT["right_wrist"]
    moved = walk.copy()
    moved[20:, wrist] += (0.9, 0.4, -0.7)
    assert "teleport" in [flaw.kind for flaw in find_flaws(moved, MotionGates())]
    mended, lost = mend_leaps(moved, 12.0)
    assert np.flatnonzero(lost[:, wrist]).tolist() == [18, 19, 20, 21]
    assert lost.sum() == 4
    np.testing.assert_allclose(mended[22:], moved[22:], atol=1e-9)
    assert "teleport" not in [flaw.kind for flaw in find_flaws(mended, MotionGates())]


def test_a_touch_of_a_moment_is_no_skating(walk: FloatArray) -> None:
    """Feet that hardly touch the lowest level say nothing about sliding."""
    flying = walk.copy()
    flying[:, :, 1] += 0.5
    flying[20, :, 1] -= 0.5
    flying[21, :, 1] -= 0.485
    assert foot_skate(flying) is None
    assert foot_skate(walk) is not None
