"""Train the contrastive evaluator of :mod:`evaluation.evaluators.contrastive`.

Shapes: B batch, E = 512 the width of an embedding, S width of a sentence embedding.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from pydantic import Field
from torch import Tensor, nn

from data.config import ExpandedPath
from data.motion.normalization import FeatureStats
from data.motion.splits import Split
from data.presets import HOME, Presets
from evaluation.evaluators.contrastive import (
    KIND,
    MAX_FRAMES,
    ContrastiveConfig,
    ContrastiveNetwork,
    contrastive_loss,
    essential_batch,
    too_similar,
)
from evaluation.evaluators.evaluator import checked_motions
from evaluation.evaluators.pairs import Pairs
from evaluation.evaluators.sentences import SentenceEncoder
from evaluation.evaluators.training import (
    CPU_LOOP,
    TRAINED_ON,
    Batch,
    PairLearner,
    TrainEvaluatorConfig,
    train_evaluator,
)
from training.loop import TrainingResult, train_from_file


class TrainContrastiveConfig(TrainEvaluatorConfig):
    """Configuration of a training of the contrastive evaluator."""

    model: ContrastiveConfig = Field(default_factory=ContrastiveConfig, description="Sizes.")
    sentence_encoder: ExpandedPath | None = Field(
        default=None,
        description="Folder or .zip file of the sentence encoder. Empty: a run of the flow takes "
        "the asset of `avatargpt assets --evaluation`.",
    )
    temperature: float = Field(default=0.1, gt=0, description="Temperature of InfoNCE.")
    max_similarity: float = Field(
        default=0.8,
        ge=-1,
        le=1,
        description="Captions whose sentence embeddings have a greater cosine are no negatives, "
        "unless they name different sides.",
    )


PRESETS: Final[Presets] = {
    # Trains in 10 minutes on two CPU cores.
    "small": {
        "run": f"{HOME}/runs/evaluator-contrastive-small",
        "data": {**TRAINED_ON, "min_frames": 20, "max_frames": MAX_FRAMES},
        "model": {"width": 128, "layers": 2},
        "loop": {**CPU_LOOP, "steps": 800, "learning_rate": 1e-3},
    },
}
"""Presets by name; the configuration of a run overrides them (:mod:`data.presets`)."""


class ContrastiveLearner(PairLearner):
    """Adapts the contrastive evaluator to the training loop.

    Args:
        config: configuration of the training.
        pairs: clips of each split.
        stats: statistics of the dataset.
        data_id: hash of the motions.

    Raises:
        ValueError: the sentence encoder is missing or has another width.
    """

    kind = KIND
    config_type = TrainContrastiveConfig

    def __init__(
        self,
        config: TrainContrastiveConfig,
        pairs: Mapping[Split, Pairs],
        stats: FeatureStats,
        data_id: str,
    ) -> None:
        super().__init__(config, pairs, stats, data_id)
        self._config = config
        if config.sentence_encoder is None:
            raise ValueError(
                "sentence_encoder: expected the path of a sentence encoder, found none. Remedy: "
                "run `avatargpt assets --evaluation` and give the file that it names."
            )
        encoder = SentenceEncoder(config.sentence_encoder)
        if encoder.width != config.model.sentence_width:
            raise ValueError(
                f"model.sentence_width: expected {encoder.width}, the width of "
                f"{config.sentence_encoder}, found {config.model.sentence_width}. "
                "Remedy: set it to this width."
            )
        self.data["sentence_encoder_id"] = encoder.model_id
        captions = list(
            dict.fromkeys([*pairs["train"].captions(), *(text for _, text in self._validation)])
        )
        self._place = {text: index for index, text in enumerate(captions)}
        self._sentences_NS = torch.from_numpy(encoder.embed(captions))
        torch.manual_seed(config.loop.seed)
        self.module = ContrastiveNetwork(config.model)

    def embed(self, model: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the embeddings of the clips and of the captions of a batch, (B, E) each."""
        motions = checked_motions([clip.features_TD for clip, _ in batch], MAX_FRAMES)
        features_BTF, frames_B = essential_batch(motions, self._stats)
        sentences_BS = self._sentences([text for _, text in batch])
        return model(features_BTF.to(device), frames_B, sentences_BS.to(device))

    def loss(self, motions_BE: Tensor, texts_BE: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the InfoNCE loss, without negatives that are too similar."""
        similar_BB = too_similar(
            captions, self._sentences(captions), self._config.max_similarity
        ).to(motions_BE.device)
        return contrastive_loss(motions_BE, texts_BE, similar_BB, self._config.temperature)

    def _sentences(self, captions: Sequence[str]) -> Tensor:
        return self._sentences_NS[[self._place[text] for text in captions]]


def train_contrastive_evaluator(config: TrainContrastiveConfig) -> TrainingResult:
    """Train in this process; see :func:`evaluation.evaluators.training.train_evaluator`.

    The folder of the result is read by :func:`evaluation.evaluators.loading.load_evaluator`.
    """
    return train_evaluator(config, ContrastiveLearner)


if __name__ == "__main__":
    train_from_file(TrainContrastiveConfig, train_contrastive_evaluator, sys.argv[1:])
