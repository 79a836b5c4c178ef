"""Train the motion VQ-VAE: ``python -m training.tokenizer.train config.json``.

Several processes are started with ``torchrun --nproc-per-node N -m training.tokenizer.train
config.json``, which is also what the Prefect flow ``train-motion-vqvae`` runs. The same command
resumes an interrupted training.

Shapes: B is the batch size, T the number of frames, D the number of features, L the number of
tokens, Q the codes per token.
"""

import sys
from collections.abc import Mapping
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.config import Config, ExpandedPath
from data.presets import HOME, Presets
from training.loop import (
    Learner,
    LoopConfig,
    Ranks,
    TrainingResult,
    one_rank_first,
    start_ranks,
    train,
    train_from_file,
)
from training.tokenizer.losses import drift_loss, step_loss, vqvae_loss
from training.tokenizer.motion_tokenizer import KIND
from training.tokenizer.reconstruction import code_uses, codebook_use, reconstruction
from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig
from training.tokenizer.windows import MotionDataConfig, PreparedData, Windows, prepare_data

PUBLISHED_LOOP: Final = LoopConfig(
    steps=300_000,
    batch_size=256,
    learning_rate=2e-4,
    warmup_steps=1000,
    drop_at=(200_000,),
    validate_every=5000,
    checkpoint_every=1000,
)


class VqvaeRecipe(Config):
    """Model and training of the motion VQ-VAE; the defaults are the published values."""

    model: MotionVqvaeConfig = Field(
        default_factory=MotionVqvaeConfig, description="Architecture of the VQ-VAE."
    )
    window: int = Field(
        default=64,
        ge=4,
        description="Length of a training window in frames. It must be a multiple of the frames "
        "per token.",
    )
    root_emphasis: float = Field(
        default=1.0,
        gt=0,
        description="Factor by which the normalized features of the root and the contacts are "
        "larger, so that they count more (MoMask: 5).",
    )
    balance: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="How equally the sources of motions are sampled; 0: in proportion to their "
        "windows; 0.5: to the square root; 1: equally.",
    )
    loop: LoopConfig = Field(
        default=PUBLISHED_LOOP, description="Steps, batch size, optimizer and checkpoints."
    )

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        step = self.model.frames_per_token
        if self.window % step:
            raise ValueError(
                f"window: expected a multiple of the {step} frames per token, found "
                f"{self.window}. Remedy: change window or down_stages."
            )
        return self


class TrainMotionVqvaeConfig(VqvaeRecipe):
    """Configuration of a training of the motion VQ-VAE."""

    run: ExpandedPath = Field(description="Folder of the run. An interrupted run in it is resumed.")
    data: MotionDataConfig = Field(description="Motions to train on.")
    max_validation_motions: int = Field(
        default=256, ge=1, description="Maximum number of motions in a validation."
    )


_DATA: Final = {"dataset": f"{HOME}/motions"}
PRESETS: Final[Presets] = {
    # The published configuration, for GPUs.
    "paper": {
        "run": f"{HOME}/runs/vqvae-paper",
        "data": _DATA,
        "loop": PUBLISHED_LOOP.model_dump(mode="json", exclude_unset=True),
    },
    # Trains in about 18 minutes on two CPU cores; its results are in docs/benchmarks.md.
    "small": {
        "run": f"{HOME}/runs/vqvae-small",
        "data": _DATA,
        "root_emphasis": 5,
        "balance": 0.5,
        "model": {
            "width": 128,
            "position_weight": 2.0,
            "step_weight": 0.25,
            "contact_weight": 0.5,
            "drift_weight": 0.05,
            "linear_path": True,
            "quantizer": {
                "kind": "residual",
                "num_codes": 256,
                "num_quantizers": 16,
                "code_dim": 64,
                "reset_below": 0.2,
                "mixing": 2.0,
            },
        },
        "loop": {
            "steps": 12_000,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "warmup_steps": 100,
            "decay": "cosine",
            "clip_norm": 1.0,
            "validate_every": 1000,
            "checkpoint_every": 500,
            "log_every": 100,
            "max_minutes": 18,
        },
    },
    # A few steps, to check an installation.
    "tiny": {
        "run": f"{HOME}/runs/vqvae-tiny",
        "data": _DATA,
        "model": {"width": 32, "depth": 1, "quantizer": {"num_codes": 64, "code_dim": 32}},
        "loop": {
            "steps": 200,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "validate_every": 100,
            "checkpoint_every": 100,
            "log_every": 20,
        },
    },
}
"""Presets of this configuration; a run overrides single fields of one (:mod:`data.presets`)."""


class VqvaeLearner(Learner):
    """Adapts the motion VQ-VAE to the training loop.

    Args:
        config: configuration of the training.
        data: motions and statistics.
    """

    kind = KIND
    config_type = TrainMotionVqvaeConfig
    best_metric = "mpjpe_mm"

    def __init__(self, config: TrainMotionVqvaeConfig, data: PreparedData) -> None:
        torch.manual_seed(config.loop.seed)
        self.module = self._vqvae = MotionVqvae(config.model)
        self.config = config.model_dump(mode="json")
        self.stats = self._stats = data.stats.emphasized(config.root_emphasis)
        self._config = config
        self._windows = Windows(data.splits["train"], config.window, config.balance)
        self._validation = data.splits["val"]
        self.data = {
            "dataset": str(config.data.dataset),
            "data_id": data.data_id,
            "motions": {split: len(motions) for split, motions in data.splits.items()},
            "shorter_than_window": self._windows.num_shorter,
        }

    def losses(
        self, model: nn.Module, step: int, part: int, ranks: Ranks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one part of the batch, and how often each code was used."""
        rows_B = self._drawn(step)
        shares = ranks.world * self._config.loop.accumulate
        mine_B = rows_B.reshape(shares, -1)[part * ranks.world + ranks.rank]
        windows = torch.from_numpy(self._windows.take(mine_B))
        if ranks.device.type == "cuda":
            windows = windows.pin_memory().to(ranks.device, non_blocking=True)
        features_BTD = self._stats.normalize(windows)
        output = model(features_BTD)
        seen_BTJ = self._windows.take_credible(mine_B)
        mask_BTJ = None if seen_BTJ is None else torch.from_numpy(seen_BTJ).to(ranks.device)
        config = self._config.model
        loss = vqvae_loss(config, features_BTD, output, mask_BTJ)
        made_BTD = output.features_BTD
        if config.step_weight or config.contact_weight:
            loss = loss + step_loss(config, self._stats, features_BTD, made_BTD, mask_BTJ)
        if config.drift_weight:
            drift = drift_loss(self._stats, features_BTD, made_BTD, mask_BTJ)
            loss = loss + config.drift_weight * drift
        return loss, {"uses": self._uses(output.codes_BLQ)}

    def summarize(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the codebook metrics of the logged steps."""
        return codebook_use(sums["uses"])

    def validate(self, device: torch.device) -> dict[str, float]:
        """Return the reconstruction metrics of whole motions of the validation split."""
        return reconstruction(
            self._vqvae, self._validation, self._stats, device, self._config.max_validation_motions
        )

    def items_of(self, step: int) -> list[str]:
        """Return the ids of the motions that the windows of a step are taken from."""
        return self._windows.ids_at(self._drawn(step))

    def compile(self) -> None:
        """Compile the encoder and the decoder.

        The quantizer is not compiled, because it communicates with the other processes.
        """
        self._vqvae.encoder.compile()
        self._vqvae.decoder.compile()

    def _drawn(self, step: int) -> NDArray[np.int64]:
        loop = self._config.loop
        return self._windows.draw(loop.seed, step, loop.batch_size)

    def _uses(self, codes_BLQ: Tensor) -> Tensor:
        return code_uses(codes_BLQ, self._vqvae.quantizer.num_codes)


def train_motion_vqvae(config: TrainMotionVqvaeConfig) -> TrainingResult:
    """Train in this process; see :func:`training.loop.train` for the errors it raises."""
    with start_ranks(config.loop) as ranks:
        with one_rank_first(ranks):
            data = prepare_data(config.data, config.run / "cache")
        return train(VqvaeLearner(config, data), config.loop, config.run, ranks)


if __name__ == "__main__":
    train_from_file(TrainMotionVqvaeConfig, train_motion_vqvae, sys.argv[1:])
