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

from data.motion.normalization import load_published
from training.checkpoints import Checkpoint, CheckpointStore, content_hash, read_checkpoint, reading
from training.tokenizer.published import from_published, read_published
from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig

KIND: Final = "motion_vqvae"
"""Kind of the checkpoints of this model."""


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
        codes_BLQ = self.model.encode(self.stats.normalize(real), lengths_B.to(self.device)).cpu()
        return [
            codes[: int(length) // step].numpy()
            for codes, length in zip(codes_BLQ, lengths_B, strict=True)
        ]

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
