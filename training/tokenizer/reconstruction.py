"""Metrics of a motion VQ-VAE: reconstruction error and codebook usage.

Shapes: B is the batch size, T the number of frames, D the number of features, L the number of
tokens, Q the codes per token, K the codebook size, N the number of motions.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from data.motion.features import features_to_joints
from data.motion.normalization import FeatureStats
from training.tokenizer.vqvae import MotionVqvae
from training.tokenizer.windows import MotionArray

_BATCH: Final = 32


def code_uses(codes_BLQ: Tensor, num_codes: int) -> Tensor:
    """Count how often each code of each codebook occurs, (Q, K) int64; -1 is not counted."""
    columns = [
        torch.bincount(codes.flatten() + 1, minlength=num_codes + 1)[1:]
        for codes in codes_BLQ.unbind(-1)
    ]
    return torch.stack(columns)


def codebook_use(uses_QK: Tensor) -> dict[str, float]:
    """Compute codebook metrics from the counts of :func:`code_uses`.

    Returns:
        ``perplexity``, the mean over the codebooks; ``usage``, the share of all codes that occur;
        and ``dead_codes``, the number of codes that do not occur, over all codebooks.
    """
    shares_QK = uses_QK / uses_QK.sum(1, keepdim=True).clamp(min=1)
    entropy_Q = -(shares_QK * shares_QK.clamp(min=1e-12).log()).sum(1)
    dead = int((uses_QK == 0).sum())
    return {
        "perplexity": float(entropy_Q.exp().mean()),
        "usage": 1 - dead / uses_QK.numel(),
        "dead_codes": float(dead),
    }


@torch.no_grad()
def reconstruction(
    model: MotionVqvae,
    motions: MotionArray,
    stats: FeatureStats,
    device: torch.device,
    limit: int | None = None,
) -> dict[str, float]:
    """Encode and decode whole motions, and compare the joints with the originals.

    Args:
        model: VQ-VAE in evaluation mode.
        motions: motions of a split.
        stats: statistics that the model was trained with.
        device: device to compute on.
        limit: maximum number of motions, taken at even intervals from the split; None: all.

    Returns:
        ``mpjpe_mm``, the mean error in millimeters of the joints that were seen, after the pelvis
        of each frame is aligned;
        ``path_mm``, the mean error of the pelvis on the floor in millimeters; ``loss``, the mean
        absolute error of the normalized features; and the metrics of :func:`codebook_use`.
    """
    step = model.config.frames_per_token
    lengths_N = np.diff(motions.offsets_N) // step * step
    usable_N = np.flatnonzero(lengths_N)
    if limit is not None and len(usable_N) > limit:
        usable_N = usable_N[np.linspace(0, len(usable_N) - 1, limit).astype(int)]
    # Batches of similar lengths need little padding.
    order = sorted(usable_N.tolist(), key=lambda index: int(lengths_N[index]))
    errors_mm, path_mm, losses, frames = 0.0, 0.0, 0.0, 0
    uses_QK = torch.zeros(
        model.quantizer.num_quantizers, model.quantizer.num_codes, dtype=torch.int64
    )
    for first in range(0, len(order), _BATCH):
        batch = order[first : first + _BATCH]
        lengths_B = torch.tensor([int(lengths_N[index]) for index in batch])
        real = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(motions.motion(i)[: int(lengths_N[i])]) for i in batch], batch_first=True
        ).to(device)
        features_BTD = stats.normalize(real)
        codes_BLQ = model.encode(features_BTD, lengths_B.to(device))
        rebuilt_BTD = model.decode(codes_BLQ, (lengths_B // step).to(device))
        inside_BT = torch.arange(real.shape[1]) < lengths_B[:, None]
        losses += float((rebuilt_BTD - features_BTD).abs().mean(-1).cpu()[inside_BT].sum())
        truth = features_to_joints(real.cpu())
        made = features_to_joints(stats.denormalize(rebuilt_BTD).cpu())
        posed = (truth - truth[..., :1, :]) - (made - made[..., :1, :])
        seen_BTJ = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(motions.credible(i)[: int(lengths_N[i])]) for i in batch],
            batch_first=True,
        )
        error_BT = (posed.norm(dim=-1) * seen_BTJ).sum(-1) / seen_BTJ.sum(-1).clamp(min=1)
        errors_mm += 1000 * float(error_BT[inside_BT].sum())
        path = (truth - made)[..., 0, [0, 2]].norm(dim=-1)
        path_mm += 1000 * float(path[inside_BT].sum())
        frames += int(lengths_B.sum())
        uses_QK += code_uses(codes_BLQ.cpu(), model.quantizer.num_codes)
    total = max(frames, 1)
    return {
        "mpjpe_mm": errors_mm / total,
        "path_mm": path_mm / total,
        "loss": losses / total,
        **codebook_use(uses_QK),
    }
