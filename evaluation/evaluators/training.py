"""What the trainings of both evaluators have in common, on the loop of :mod:`training.loop`.

An evaluator judges the test split, so it is trained on the training split only. Its validation
split selects the checkpoint by R-precision.

Shapes: B batch, E = 512 the width of an embedding.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from data.config import Config, ExpandedPath
from data.motion.normalization import FeatureStats
from data.motion.splits import Split
from data.presets import HOME
from evaluation.evaluators.pairs import (
    MIN_VALIDATION,
    CaptionedClip,
    PairDataConfig,
    Pairs,
    prepare_pairs,
)
from evaluation.metrics.matching import GROUP_SIZE, match
from training.loop import (
    Learner,
    LoopConfig,
    Ranks,
    TrainingResult,
    one_rank_first,
    start_ranks,
    train,
)

Batch = Sequence[tuple[CaptionedClip, str]]
"""Clips, each with one of its captions."""

TRAINED_ON: Final = {"dataset": f"{HOME}/motions"}
"""Data of the presets."""
CPU_LOOP: Final[dict[str, Any]] = {
    "batch_size": 64,
    "warmup_steps": 50,
    "decay": "cosine",
    "clip_norm": 0.5,
    "log_every": 20,
    "validate_every": 100,
    "checkpoint_every": 100,
    "keep_checkpoints": 1,
    # Leaves a minute of ten for reading and validating.
    "max_minutes": 9.0,
}
"""Loop of the presets for a CPU."""


class TrainEvaluatorConfig(Config):
    """What the trainings of both evaluators have in common."""

    run: ExpandedPath = Field(description="Folder of the run. An interrupted run in it is resumed.")
    data: PairDataConfig = Field(description="Clips with captions to train on.")
    max_validation_clips: int = Field(
        default=256, ge=MIN_VALIDATION, description="Maximum number of clips in a validation."
    )
    loop: LoopConfig = Field(description="Steps, batch size, optimizer and checkpoints.")


class PairLearner(Learner):
    """What the learners of both evaluators have in common.

    Args:
        config: configuration of the training.
        pairs: clips of each split.
        stats: statistics that the network's features are normalized with.
        data_id: hash of everything that the batches depend on.
    """

    best_metric = "r_precision_3"
    higher_is_better = True

    def __init__(
        self,
        config: TrainEvaluatorConfig,
        pairs: Mapping[Split, Pairs],
        stats: FeatureStats,
        data_id: str,
    ) -> None:
        self.config = config.model_dump(mode="json")
        self.stats = self._stats = stats
        self._loop = config.loop
        self._train = pairs["train"]
        self._validation = pairs["val"].all_once()[: config.max_validation_clips]
        listed = json.dumps([data_id, [clip.captions for clip in self._train.clips]])
        self.data: dict[str, Any] = {
            "dataset": str(config.data.dataset),
            "data_id": hashlib.sha256(listed.encode()).hexdigest()[:16],
            "clips": {split: len(clips) for split, clips in pairs.items()},
            "left_out": {split: dict(clips.left_out) for split, clips in pairs.items()},
        }

    @abstractmethod
    def embed(self, model: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the embeddings of the clips and of the captions of a batch, (B, E) each."""

    @abstractmethod
    def loss(self, motions_BE: Tensor, texts_BE: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the loss of the embeddings of clips and of their captions."""

    def losses(
        self, model: nn.Module, step: int, part: int, ranks: Ranks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one part of the batch.

        The negatives of a pair are the other pairs of the part.
        """
        share = self._loop.batch_size // (ranks.world * self._loop.accumulate)
        begin = (part * ranks.world + ranks.rank) * share
        batch = self._drawn(step)[begin : begin + share]
        motions_BE, texts_BE = self.embed(model, batch, ranks.device)
        return self.loss(motions_BE.float(), texts_BE.float(), [text for _, text in batch]), {}

    def summarize(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Return no metrics beside the loss."""
        del sums
        return {}

    @torch.inference_mode()
    def validate(self, device: torch.device) -> dict[str, float]:
        """Return loss and R-precision of the validation split, in groups of up to 32 clips."""
        size = min(GROUP_SIZE, len(self._validation))
        groups = len(self._validation) // size
        embedded = [
            self.embed(self.module, self._validation[at : at + size], device)
            for at in range(0, groups * size, size)
        ]
        losses = [
            float(self.loss(*pair, [text for _, text in self._validation[at * size :][:size]]))
            for at, pair in enumerate(embedded)
        ]
        motions, texts = (torch.cat(one).cpu().numpy() for one in zip(*embedded, strict=True))
        found = match(texts, motions, group_size=size).r_precision
        return {
            "loss": sum(losses) / len(losses),
            **{f"r_precision_{top}": share for top, share in enumerate(found, 1)},
        }

    def items_of(self, step: int) -> list[str]:
        """Return the ids of the motions in the batch of a step."""
        return list(dict.fromkeys(clip.motion_id for clip, _ in self._drawn(step)))

    def _drawn(self, step: int) -> Batch:
        return self._train.draw(self._loop.seed, step, self._loop.batch_size)


Trained = TypeVar("Trained", bound=TrainEvaluatorConfig)


def train_evaluator(
    config: Trained,
    learner_of: Callable[[Trained, Mapping[Split, Pairs], FeatureStats, str], PairLearner],
) -> TrainingResult:
    """Train in this process; see :func:`training.loop.train` for the errors it raises.

    Args:
        config: configuration of the training.
        learner_of: makes the learner of the configuration, the clips of each split, the statistics
            of the dataset and the hash of its motions.

    Raises:
        ValueError: the dataset has too few motions with captions.
    """
    with start_ranks(config.loop) as ranks:
        with one_rank_first(ranks):
            data, pairs = prepare_pairs(config.data, config.run / "cache")
        learner = learner_of(config, pairs, data.stats, data.data_id)
        return train(learner, config.loop, config.run, ranks)
