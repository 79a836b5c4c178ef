"""A trained motion VQ-VAE with its statistics: features to motion tokens and back.

Shapes: T frames, D = 263 features, L tokens, Q codes per token.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from data.motion.normalization import load_published
from training.checkpoints import Checkpoint, CheckpointStore, content_hash, read_checkpoint, reading
from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig, from_published, read_published

KIND: Final = "motion_vqvae"
"""Of its checkpoints."""


class MotionTokenizer:
    """A trained VQ-VAE with its statistics: features to tokens and back.

    Args:
        checkpoint: of a training run.
        device: to compute on.
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
        """Frames that one token stands for."""
        return self.model.config.frames_per_token

    def encode(self, motions: Sequence[NDArray[np.float32]]) -> list[NDArray[np.int64]]:
        """Tokens of motions.

        Args:
            motions: features of each, (T, D), not normalised.

        Returns:
            (T // frames_per_token, Q) of each.
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
        """Features of tokens, (L · frames_per_token, D), not normalised."""
        codes = torch.from_numpy(np.asarray(codes_LQ, np.int64))
        if codes.ndim == 1:
            codes = codes[:, None]
        features_BTD = self.model.decode(codes[None].to(self.device))
        return self.stats.denormalize(features_BTD)[0].cpu().numpy()


def import_published(
    weights: Path, mean: Path, std: Path, run: Path, config: MotionVqvaeConfig
) -> Path:
    """A run's folder from released weights of the T2M-GPT layout, to be used like a trained one.

    Args:
        weights: ``.pth`` or safetensors.
        mean: ``.npy`` that the weights were trained with.
        std: likewise.
        run: folder to write.
        config: sizes of the weights; the default is that of the releases.

    Returns:
        The checkpoint.

    Raises:
        ValueError: the files are not of that form.
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
    """The tokenizer of a run (its best checkpoint) or of a checkpoint.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    with reading(path):
        return MotionTokenizer(read_checkpoint(path, KIND), device)
