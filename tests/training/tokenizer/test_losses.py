"""The training loss of the VQ-VAE: what counts, and how much."""

import numpy as np
import pytest
import torch

from data.motion.credibility import FEATURE_JOINTS_D
from data.motion.features import LOCAL_POSITIONS, NUM_FEATURES, ROOT_VELOCITY
from data.motion.normalization import FeatureStats
from data.motion.skeleton import JOINT, NUM_JOINTS
from training.tokenizer.losses import drift_loss, step_loss, vqvae_loss
from training.tokenizer.quantizer import QuantizerConfig
from training.tokenizer.vqvae import MotionVqvaeConfig, VqvaeOutput

CONFIG = MotionVqvaeConfig(width=24, quantizer=QuantizerConfig(num_codes=32, code_dim=16))
STATS = FeatureStats(np.zeros(NUM_FEATURES), np.full(NUM_FEATURES, 0.02))


def test_loss_weighs_positions_again() -> None:
    features = torch.zeros(2, 8, NUM_FEATURES)
    rebuilt = torch.zeros_like(features)
    rebuilt[..., 10] = 2.0  # one local position: smooth-L1 of 2 is 1.5
    output = VqvaeOutput(rebuilt, torch.zeros(2, 2, 1), torch.tensor(5.0))
    expected = 1.5 / 263 + 0.5 * 1.5 / 63 + 0.02 * 5.0
    assert float(vqvae_loss(CONFIG, features, output)) == pytest.approx(expected, rel=1e-5)


def test_nothing_is_learned_from_joints_that_were_not_seen() -> None:
    torch.manual_seed(0)
    features, rebuilt = torch.randn(2, 8, NUM_FEATURES), torch.randn(2, 8, NUM_FEATURES)
    output = VqvaeOutput(rebuilt, torch.zeros(2, 2, 1), torch.tensor(5.0))
    seen = torch.ones(2, 8, NUM_JOINTS, dtype=torch.bool)
    whole = float(vqvae_loss(CONFIG, features, output))
    assert float(vqvae_loss(CONFIG, features, output, seen)) == pytest.approx(whole, rel=1e-5)
    seen[:, 3:, JOINT["left_foot"]] = False
    masked = float(vqvae_loss(CONFIG, features, output, seen))
    assert masked == pytest.approx(whole, rel=0.05)
    about_foot = torch.as_tensor(JOINT["left_foot"] == FEATURE_JOINTS_D)
    rebuilt[:, 3:, about_foot] += 100.0
    assert float(vqvae_loss(CONFIG, features, output, seen)) == pytest.approx(masked, rel=1e-5)


def _steps(
    config: MotionVqvaeConfig, made: torch.Tensor, seen: torch.Tensor | None = None
) -> float:
    """Return the loss against a motion that stands still, with its left toe on the floor."""
    real = torch.zeros(1, 8, NUM_FEATURES)
    real[..., _height("right_foot")] = 10.0  # 20 cm
    return float(step_loss(config, STATS, real, real + made, seen))


def _height(joint: str) -> int:
    return LOCAL_POSITIONS.start + 3 * (JOINT[joint] - 1) + 1


def test_a_sliding_body_costs_the_step_of_each_joint() -> None:
    sliding = torch.zeros(1, 8, NUM_FEATURES)
    sliding[..., ROOT_VELOCITY.start] = 3.0  # each joint moves three deviations along x
    steps = CONFIG.model_copy(update={"step_weight": 2.0})
    assert _steps(steps, sliding) == pytest.approx(2 * 3 / 3)
    # Of the two toes, one is on the floor.
    contact = CONFIG.model_copy(update={"contact_weight": 2.0})
    assert _steps(contact, sliding) == pytest.approx(2 * 3 / 2)
    # A place that does not move costs nothing, and neither does a toe that moves in the air.
    still, kicking = torch.zeros(1, 8, NUM_FEATURES), torch.zeros(1, 8, NUM_FEATURES)
    still[..., LOCAL_POSITIONS] = 3.0
    assert _steps(steps, still) == pytest.approx(0, abs=1e-5)
    kicking[:, 4:, _height("right_foot") + 1] = 3.0
    assert _steps(contact, kicking) == pytest.approx(0, abs=1e-5)
    assert _steps(steps, kicking) == pytest.approx(2 * 3 / (7 * 22 * 3))


def test_steps_of_joints_that_were_not_seen_cost_nothing() -> None:
    config = CONFIG.model_copy(update={"step_weight": 1.0, "contact_weight": 1.0})
    moving = torch.zeros(1, 8, NUM_FEATURES)
    moving[:, 4:, _height("left_foot") + 1] = 3.0
    seen = torch.ones(1, 8, NUM_JOINTS, dtype=torch.bool)
    assert _steps(config, moving, seen) > 0.1
    seen[:, 4, JOINT["left_foot"]] = False
    assert _steps(config, moving, seen) == pytest.approx(0, abs=1e-5)


def test_a_small_turn_in_each_frame_adds_up() -> None:
    real, turning = torch.zeros(1, 9, NUM_FEATURES), torch.zeros(1, 9, NUM_FEATURES)
    turning[..., 0] = 0.01  # half the turn of a frame, in radians
    # The body has turned by 0.02, 0.04, … rad after a frame; frame 0 has not.
    expected = 0.35 * 0.02 * (8 * 9 / 2) / 9
    assert float(drift_loss(STATS, real, turning)) == pytest.approx(expected, rel=1e-5)
    sliding = torch.zeros(1, 9, NUM_FEATURES)
    sliding[..., ROOT_VELOCITY.start] = 3.0
    assert float(drift_loss(STATS, real, sliding)) == pytest.approx(3 * 4 / 2, rel=1e-5)
    assert float(drift_loss(STATS, turning, turning)) == 0


def test_drift_after_a_hidden_pelvis_costs_nothing() -> None:
    real, sliding = torch.zeros(1, 9, NUM_FEATURES), torch.zeros(1, 9, NUM_FEATURES)
    sliding[..., ROOT_VELOCITY.start] = 3.0
    seen = torch.ones(1, 9, NUM_JOINTS, dtype=torch.bool)
    seen[:, 2, JOINT["pelvis"]] = False
    # Only the step to frame 1 is known.
    assert float(drift_loss(STATS, real, sliding, seen)) == pytest.approx(3 / 2 / 9, rel=1e-5)
