"""Feature statistics compared with the published files and with a direct computation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from benchmarks.support.corpus import REFERENCE
from data.motion.features import (
    FEATURE_GROUPS,
    FOOT_CONTACTS,
    LOCAL_POSITIONS,
    NUM_FEATURES,
    ROOT_HEIGHT,
    joints_to_features,
)
from data.motion.normalization import FeatureStats, compute_stats, group_std, load_published
from tests.support.motions import some_motions

SAMPLE = REFERENCE / "humanml3d_sample"


@pytest.fixture(scope="module")
def features() -> list[NDArray[np.float32]]:
    """Features of motions of different lengths."""
    return [joints_to_features(motion).astype(np.float32) for motion in some_motions()[::5]]


@pytest.fixture(scope="module")
def real_features(corpus: Path) -> list[NDArray[np.float32]]:
    """Features of real motions of different lengths."""
    with np.load(corpus / "mocap/cmu_joints22_20fps.npz", allow_pickle=False) as file:
        motions = np.split(file["positions"], file["offsets"][1:-1])
    return [joints_to_features(motion) for motion in motions[::6]]


@pytest.fixture(scope="module")
def published(reference: Path) -> FeatureStats:
    sample = reference / "humanml3d_sample"
    return load_published(sample / "Mean.npy", sample / "Std.npy")


def test_streamed_statistics_are_those_of_all_rows_at_once(
    features: list[NDArray[np.float32]],
) -> None:
    stats = compute_stats(iter(features))
    rows = np.concatenate(features).astype(np.float64)
    np.testing.assert_allclose(stats.mean_D, rows.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(stats.std_D, group_std(rows.std(axis=0)), rtol=1e-10)


def test_statistics_keep_their_digits_beside_a_large_mean() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(1e7, 1e-3, (4000, NUM_FEATURES))
    stats = compute_stats(np.array_split(rows, 37))
    np.testing.assert_allclose(stats.std_D, group_std(rows.std(axis=0)), rtol=1e-6)


def test_deviations_are_equal_within_a_group_as_in_the_published_file(
    features: list[NDArray[np.float32]], published: FeatureStats
) -> None:
    for stats in (compute_stats(features), published):
        for group in FEATURE_GROUPS.values():
            np.testing.assert_allclose(stats.std_D[group], stats.std_D[group][0], rtol=1e-5)
    np.testing.assert_allclose(group_std(published.std_D), published.std_D, rtol=1e-5)


def test_statistics_of_real_motion_are_near_the_published_ones(
    real_features: list[NDArray[np.float32]], published: FeatureStats
) -> None:
    stats = compute_stats(real_features)
    # Other motions, so other numbers; another unit, frame rate or order would be far off.
    assert abs(stats.mean_D - published.mean_D)[LOCAL_POSITIONS].mean() < 0.05
    for group in FEATURE_GROUPS.values():
        assert stats.std_D[group][0] == pytest.approx(published.std_D[group][0], rel=0.9)


def test_evaluator_statistics_are_near_the_published_evaluators(published: FeatureStats) -> None:
    expected = load_published(SAMPLE / "evaluator_Mean.npy", SAMPLE / "evaluator_Std.npy")
    found = published.for_evaluator()
    np.testing.assert_allclose(found.std_D, expected.std_D, rtol=0.02)
    np.testing.assert_array_equal(found.mean_D, published.mean_D)
    np.testing.assert_allclose(published.std_D[ROOT_HEIGHT] / found.std_D[ROOT_HEIGHT], 25)
    np.testing.assert_allclose(published.std_D[FOOT_CONTACTS] / found.std_D[FOOT_CONTACTS], 25)
    np.testing.assert_array_equal(
        published.std_D[LOCAL_POSITIONS], found.std_D[LOCAL_POSITIONS]
    )  # and the dataset's own statistics have not been changed on the way


def test_own_training_rows_normalize_to_zero_mean(features: list[NDArray[np.float32]]) -> None:
    stats = compute_stats(features)
    rows = stats.normalize(np.concatenate(features).astype(np.float64))
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-9)
    deviations = rows.std(axis=0)
    for group in FEATURE_GROUPS.values():
        assert deviations[group].mean() == pytest.approx(1)


def test_denormalize_undoes_normalize_for_numpy_and_torch(
    features: list[NDArray[np.float32]], published: FeatureStats
) -> None:
    given = features[0]
    normalized = published.normalize(given)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(published.denormalize(normalized), given, atol=1e-5)
    tensor = torch.from_numpy(given)[None].requires_grad_()
    from_torch = published.normalize(tensor)
    assert from_torch.dtype == torch.float32
    assert from_torch.requires_grad
    np.testing.assert_allclose(from_torch.detach().numpy()[0], normalized, atol=1e-5)


def test_stored_statistics_come_back_exactly(tmp_path: Path, published: FeatureStats) -> None:
    path = tmp_path / "stats.safetensors"
    published.save(path)
    loaded = FeatureStats.load(path)
    np.testing.assert_array_equal(loaded.mean_D, published.mean_D)
    np.testing.assert_array_equal(loaded.std_D, published.std_D)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_files_that_are_no_statistics_are_named(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not safetensors at all")
    with pytest.raises(ValueError, match=r"garbage\.safetensors: expected a safetensors file"):
        FeatureStats.load(garbage)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"mean": np.zeros(3), "std": np.ones(3)}, foreign)
    with pytest.raises(ValueError, match=r"expected the format motion_feature_stats/1, found none"):
        FeatureStats.load(foreign)
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        FeatureStats.load(tmp_path / "missing.safetensors")


def test_statistics_of_another_layout_are_refused(tmp_path: Path, published: FeatureStats) -> None:
    path = tmp_path / "stats.safetensors"
    save_file(
        {"mean": published.mean_D, "std": published.std_D},
        path,
        metadata={"format": "motion_feature_stats/1", "layout": "{}"},
    )
    with pytest.raises(ValueError, match="expected the feature layout"):
        FeatureStats.load(path)


@pytest.mark.corpus
def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "Mean.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"Mean\.npy: expected a \.npy file of 263 numbers"):
        load_published(path, SAMPLE / "Std.npy")


def test_wrong_statistics_say_what_is_wrong() -> None:
    mean, std = np.zeros(NUM_FEATURES), np.ones(NUM_FEATURES)
    with pytest.raises(ValueError, match=r"std: expected shape \(263,\), found \(251,\)"):
        FeatureStats(mean, np.ones(251))
    for value, text in ((0.0, "above 0"), (-1.0, "above 0"), (np.nan, "finite")):
        wrong = std.copy()
        wrong[[5, 9]] = value
        with pytest.raises(ValueError, match=rf"{text}.*2 wrong.*local_positions \(feature 5\)"):
            FeatureStats(mean, wrong)


def test_motions_that_cannot_be_counted_are_named(features: list[NDArray[np.float32]]) -> None:
    with pytest.raises(ValueError, match="found none"):
        compute_stats([])
    with pytest.raises(ValueError, match=r"motion 1: expected features of shape .* \(4, 22\)"):
        compute_stats([features[0], np.zeros((4, 22))])
    broken = features[1].copy()
    broken[3, 7] = np.inf
    with pytest.raises(ValueError, match="motion 2: expected finite features, found 1 other"):
        compute_stats([features[0], features[0], broken])
    with pytest.raises(ValueError, match="never changes"):
        compute_stats([features[0][:1]])


def test_the_same_statistics_are_the_same_file(tmp_path: Path, published: FeatureStats) -> None:
    for number in range(8):
        published.save(tmp_path / f"{number}.safetensors")
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
