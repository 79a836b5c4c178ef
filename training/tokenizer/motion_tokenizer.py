"""A trained motion VQ-VAE with its statistics, which encodes and decodes motions.

Shapes: T is the number of frames, D = 263 the number of features, L the number of tokens, Q the
codes per token.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from data.motion.features import ROOT_VELOCITY, ROOT_YAW_VELOCITY
from data.motion.normalization import load_published
from training.checkpoints import Checkpoint, CheckpointStore, content_hash, read_checkpoint, reading
from training.tokenizer.losses import stray_m
from training.tokenizer.published import from_published, read_published
from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig

KIND: Final = "motion_vqvae"
"""Kind of the checkpoints of this model."""
_STEPS: Final = slice(ROOT_YAW_VELOCITY.start, ROOT_VELOCITY.stop)
_FEEDBACKS: Final = 4
_FED_BACK: Final = 0.5
"""Share of what was lost that is added before the motion is encoded again."""
_SMOOTHED: Final = 8
"""Frames over which what was lost is averaged, because it changes from code to code."""


class MotionTokenizer:
    """Encodes motion features into tokens and decodes tokens into features.

    Args:
        checkpoint: checkpoint of a VQ-VAE.
        device: device to compute on; None: the CPU.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device | None = None) -> None:
        config = MotionVqvaeConfig.model_validate(checkpoint.config["model"])
        self.model = MotionVqvae(config)
        self.model.load_state_dict(checkpoint.model())
        self.model.eval()
        self.device = device or torch.device("cpu")
        self.model.to(self.device)
        self.stats = checkpoint.stats()
        files = "model.safetensors", "stats.safetensors"
        self.tokenizer_id = content_hash(*(checkpoint.folder / name for name in files))
        self.data = checkpoint.data

    @property
    def frames_per_token(self) -> int:
        """Number of frames that one token covers."""
        return self.model.config.frames_per_token

    def encode(self, motions: Sequence[NDArray[np.float32]]) -> list[NDArray[np.int64]]:
        """Encode motions into tokens, in one padded batch.

        The small errors of turns and steps add up along a motion. They are therefore fed back: the
        root's velocities are encoded again with what the decoded motion has lost so far added to
        them, a few times, and the codes that stray least are kept. The codes of a motion do not
        depend on the other motions.

        Args:
            motions: features of each motion, (T, D), not normalized.

        Returns:
            Codes of each motion, (T // frames_per_token, Q).
        """
        step = self.frames_per_token
        lengths_B = torch.tensor([len(motion) for motion in motions])
        real = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(motion) for motion in motions], batch_first=True
        ).to(self.device)
        codes_BLQ = self._encoded(real, lengths_B.to(self.device)).cpu()
        return [
            codes[: int(length) // step].numpy()
            for codes, length in zip(codes_BLQ, lengths_B, strict=True)
        ]

    @torch.no_grad()
    def _encoded(self, real_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the codes whose motion strays least from the heading and path, (B, L, Q)."""
        step = self.frames_per_token
        frames_B = lengths_B // step * step
        real_BTD = real_BTD[:, : int(frames_B.max())]
        inside_BT = torch.arange(real_BTD.shape[1], device=self.device) < frames_B[:, None]
        aimed_BTD = real_BTD.clone()
        codes_BLQ = best_BLQ = self.model.encode(self.stats.normalize(real_BTD), frames_B)
        least_B = torch.full_like(frames_B, torch.inf, dtype=real_BTD.dtype)
        for number in range(_FEEDBACKS + 1 if real_BTD.shape[1] else 0):
            if number:
                codes_BLQ = self.model.encode(self.stats.normalize(aimed_BTD), frames_B)
            made_BTD = self.stats.denormalize(self.model.decode(codes_BLQ, frames_B // step))
            strayed_B = (stray_m(real_BTD, made_BTD) * inside_BT).sum(1)
            nearer_B = strayed_B < least_B
            least_B = torch.where(nearer_B, strayed_B, least_B)
            best_BLQ = torch.where(nearer_B[:, None, None], codes_BLQ, best_BLQ)
            lost_BTR = ((real_BTD - made_BTD)[..., _STEPS] * inside_BT[..., None]).cumsum(1)
            ends = _SMOOTHED // 2, _SMOOTHED // 2 - 1
            smooth_BTR = functional.avg_pool1d(
                functional.pad(lost_BTR.mT, ends, "replicate"), _SMOOTHED, 1
            ).mT
            aimed_BTD[..., _STEPS] += _FED_BACK * smooth_BTR.diff(
                dim=1, prepend=torch.zeros_like(smooth_BTR[:, :1])
            )
        return best_BLQ

    def decode(self, codes_LQ: NDArray[np.int64]) -> NDArray[np.float32]:
        """Decode the tokens of one motion into features, (L · frames_per_token, D).

        Args:
            codes_LQ: codes, (L, Q) or (L,). The features returned are not normalized.
        """
        codes = torch.from_numpy(np.asarray(codes_LQ, np.int64))
        if codes.ndim == 1:
            codes = codes[:, None]
        features_BTD = self.model.decode(codes[None].to(self.device))
        return self.stats.denormalize(features_BTD)[0].cpu().numpy()


def import_published(
    weights: Path, mean: Path, std: Path, run: Path, config: MotionVqvaeConfig
) -> Path:
    """Write a run folder with released weights in the layout of T2M-GPT.

    The folder can be used like that of a training run.

    Args:
        weights: ``.pth`` or safetensors file of the weights.
        mean: ``.npy`` file of the feature means that the weights were trained with.
        std: ``.npy`` file of the standard deviations.
        run: run folder to write.
        config: sizes of the weights. The default configuration has the sizes of the releases.

    Returns:
        Folder of the checkpoint.

    Raises:
        ValueError: the files have another format, or the sizes differ.
        CheckpointError: the folder cannot be written.
    """
    state = from_published(config, read_published(weights))
    return CheckpointStore(run, KIND).save(
        step=0,
        model=state,
        trainer={},
        config={"model": config.model_dump(mode="json")},
        data={"dataset": str(weights), "data_id": "published", "motions": {}},
        state={},
        metrics={},
        best=True,
        stats=load_published(mean, std),
    )


def load_tokenizer(path: Path, device: torch.device | None = None) -> MotionTokenizer:
    """Load the tokenizer of a checkpoint, or of the best checkpoint of a run.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    with reading(path):
        return MotionTokenizer(read_checkpoint(path, KIND), device)
