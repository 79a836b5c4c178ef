"""Training loss of the motion VQ-VAE.

Shapes: B is the batch size, T the number of frames, D = 263 the number of features, J = 22 joints,
F = 2 toes.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from data.motion.credibility import FEATURE_JOINTS_D
from data.motion.features import (
    LOCAL_POSITIONS,
    LOCAL_VELOCITIES,
    joint_steps,
    root_path,
)
from data.motion.normalization import FeatureStats
from data.motion.quality import SKATE_HEIGHT_M
from data.motion.skeleton import JOINT
from training.tokenizer.vqvae import MotionVqvaeConfig, VqvaeOutput

_TOES: Final = (JOINT["left_foot"], JOINT["right_foot"])
_TOE_HEIGHTS: Final = tuple(LOCAL_POSITIONS.start + 3 * (toe - 1) + 1 for toe in _TOES)
_PLANE: Final = (0, 2)
_PELVIS: Final = JOINT["pelvis"]
_LEVER_M: Final = 0.35
"""Distance from the axis of the body at which a turn is measured: about that of the limbs."""


def vqvae_loss(
    config: MotionVqvaeConfig,
    features_BTD: Tensor,
    output: VqvaeOutput,
    credible_BTJ: Tensor | None = None,
) -> Tensor:
    """Return the training loss (AvatarGPT §3.1).

    The loss is the sum of smooth-L1 on all features, weighted smooth-L1 on the local joint
    positions, and the weighted commitment loss.

    Args:
        config: weights of the losses.
        features_BTD: (B, T, D) normalized features.
        output: output of the model for these features.
        credible_BTJ: (B, T, 22) joints that were seen; None if all were. Nothing is learned from
            the features of others.
    """
    errors_BTD = functional.smooth_l1_loss(
        output.features_BTD.float(), features_BTD, reduction="none"
    )
    # Both means are computed as the mean over frames of one weighted sum. The gradient of a slice
    # of the errors would be another tensor of the size of the features.
    num_features = errors_BTD.shape[-1]
    weights_D = errors_BTD.new_full((num_features,), 1 / num_features)
    positions = weights_D[LOCAL_POSITIONS]
    positions += config.position_weight / len(positions)
    if credible_BTJ is None:
        rebuilt = (errors_BTD @ weights_D).mean()
    else:
        weights_BTD = credible_BTJ[..., torch.as_tensor(FEATURE_JOINTS_D)] * weights_D
        # The sum of the weights keeps the scale of a loss in which all joints were seen.
        share = weights_BTD.sum().clamp(min=1e-6) / weights_D.sum()
        rebuilt = (errors_BTD * weights_BTD).sum() / share
    return rebuilt + config.commitment_weight * output.commitment


def step_loss(
    config: MotionVqvaeConfig,
    stats: FeatureStats,
    features_BTD: Tensor,
    made_BTD: Tensor,
    credible_BTJ: Tensor | None = None,
) -> Tensor:
    """Return the loss on the steps of joints in the world, from each frame to the next one.

    The loss on features hardly sees a foot that slides: the steps of a foot are the difference of
    its positions in two frames, plus the step of the root, all of which are much larger.

    Args:
        config: weights of the losses.
        stats: statistics that the features were normalized with.
        features_BTD: (B, T, D) normalized features.
        made_BTD: (B, T, D) reconstructed features, normalized.
        credible_BTJ: (B, T, 22) joints that were seen; None if all were.

    Returns:
        The weighted sum of two mean absolute errors: that of the steps of all joints, and that of
        the horizontal steps of toes on the floor, weighted by their height as in
        :func:`data.motion.quality.foot_skate`. Both are in standard deviations of steps.
    """
    real_BTD = stats.denormalize(features_BTD)
    scale = 1 / float(stats.std_D[LOCAL_VELOCITIES].mean())
    errors_BTJ3 = scale * (joint_steps(stats.denormalize(made_BTD.float())) - joint_steps(real_BTD))
    errors_BTJ3 = errors_BTJ3.abs()
    if credible_BTJ is not None:
        seen_BTJ = credible_BTJ[:, 1:] & credible_BTJ[:, :-1]
        errors_BTJ3 = errors_BTJ3 * seen_BTJ[..., None]
    heights_BTF = real_BTD[..., list(_TOE_HEIGHTS)]
    heights_BTF = torch.maximum(heights_BTF[:, 1:], heights_BTF[:, :-1])
    floor_BTF = (2 - 2 ** (heights_BTF / SKATE_HEIGHT_M)).clamp(0, 1)
    sliding_BTF = errors_BTJ3[..., list(_TOES), :][..., list(_PLANE)].sum(-1)
    contact = (sliding_BTF * floor_BTF).mean()
    return config.step_weight * errors_BTJ3.mean() + config.contact_weight * contact


def drift_loss(
    stats: FeatureStats,
    features_BTD: Tensor,
    made_BTD: Tensor,
    credible_BTJ: Tensor | None = None,
) -> Tensor:
    """Return the loss on the heading and the place to which turns and steps add up.

    The other losses are on single frames. A small error of the same sign in each of them, which
    they hardly see, turns a body by tens of degrees within seconds.

    Args:
        stats: statistics that the features were normalized with.
        features_BTD: (B, T, D) normalized features.
        made_BTD: (B, T, D) reconstructed features, normalized.
        credible_BTJ: (B, T, 22) joints that were seen; None if all were. Frames after one without
            the pelvis do not count.

    Returns:
        Mean absolute error of the place, plus that of the heading at 0.35 m from the axis of the
        body, both in standard deviations of the steps of a joint.
    """
    errors_BT = stray_m(stats.denormalize(features_BTD), stats.denormalize(made_BTD.float()))
    if credible_BTJ is not None:
        errors_BT = errors_BT * credible_BTJ[..., _PELVIS].cummin(-1).values
    return errors_BT.mean() / float(stats.std_D[LOCAL_VELOCITIES].mean())


def stray_m(real_BTD: Tensor, made_BTD: Tensor) -> Tensor:
    """Return how far the heading and the place of a motion are from those of the real one.

    Args:
        real_BTD: (B, T, D) features, not normalized.
        made_BTD: (B, T, D) features of the other motion, not normalized.

    Returns:
        (B, T) absolute error of the place along an axis of the floor, on average, plus that of the
        heading at 0.35 m from the axis of the body; meters.
    """
    yaw_BT, path_BT3 = root_path(real_BTD)
    made_yaw_BT, made_path_BT3 = root_path(made_BTD)
    turned_BT = _LEVER_M * (made_yaw_BT - yaw_BT).abs()
    return turned_BT + (made_path_BT3 - path_BT3)[..., list(_PLANE)].abs().mean(-1)
