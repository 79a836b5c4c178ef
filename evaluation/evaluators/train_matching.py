"""Train the text–motion matching network of :mod:`evaluation.evaluators.published` on our data.

Shapes: B batch, E = 512 the width of an embedding.
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
from evaluation.evaluators.evaluator import checked_motions
from evaluation.evaluators.pairs import Pairs
from evaluation.evaluators.published import (
    KIND,
    MAX_FRAMES,
    WORDS_FILE,
    MatchingConfig,
    MatchingNetwork,
    matching_loss,
    motion_batch,
    word_batch,
    words_text,
)
from evaluation.evaluators.training import (
    CPU_LOOP,
    TRAINED_ON,
    Batch,
    PairLearner,
    TrainEvaluatorConfig,
    train_evaluator,
)
from evaluation.evaluators.words import Vocabulary, learned_words, read_word_vectors, tag_captions
from training.loop import TrainingResult, train_from_file


class TrainMatchingConfig(TrainEvaluatorConfig):
    """Configuration of a training of the text–motion matching network."""

    model: MatchingConfig = Field(default_factory=MatchingConfig, description="Sizes.")
    margin: float = Field(default=10.0, gt=0, description="Distance beyond which others are apart.")
    word_vectors: ExpandedPath | None = Field(
        default=None,
        description="GloVe text file or .npz file of word vectors, which are not trained. Empty: "
        "vectors of the words of the training texts are learned.",
    )


PRESETS: Final[Presets] = {
    # The published sizes and recipe, for GPUs.
    "paper": {
        "run": f"{HOME}/runs/evaluator-matching-paper",
        "data": TRAINED_ON,
        "loop": {
            "steps": 200_000,
            "batch_size": 32,
            "learning_rate": 1e-4,
            "decay": "none",
            "clip_norm": 0.5,
            "validate_every": 2000,
        },
    },
    # Narrower, which trains in 10 minutes on two CPU cores.
    "small": {
        "run": f"{HOME}/runs/evaluator-matching-small",
        "data": TRAINED_ON,
        "model": {"movement_width": 128, "motion_width": 128, "text_width": 128},
        "loop": {**CPU_LOOP, "steps": 800, "learning_rate": 2e-3},
    },
}
"""Presets by name; the configuration of a run overrides them (:mod:`data.presets`)."""


class MatchingLearner(PairLearner):
    """Adapts the text–motion matching network to the training loop.

    The three encoders are trained together. The published training takes the movement encoder from
    an autoencoder and freezes it.

    Args:
        config: configuration of the training.
        pairs: clips of each split.
        stats: statistics of the dataset, before the division by 25.
        data_id: hash of the motions.
    """

    kind = KIND
    config_type = TrainMatchingConfig

    def __init__(
        self,
        config: TrainMatchingConfig,
        pairs: Mapping[Split, Pairs],
        stats: FeatureStats,
        data_id: str,
    ) -> None:
        super().__init__(config, pairs, stats.for_evaluator(), data_id)
        self._margin = config.margin
        trained = pairs["train"].captions()
        captions = list(dict.fromkeys([*trained, *(text for _, text in self._validation)]))
        tagged = dict(zip(captions, tag_captions(captions), strict=True))
        vectors = None if config.word_vectors is None else read_word_vectors(config.word_vectors)
        vocabulary = Vocabulary(
            learned_words(tagged[text] for text in trained) if vectors is None else vectors.words
        )
        self._encoded = {text: vocabulary.encode(words) for text, words in tagged.items()}
        self.files = {WORDS_FILE: words_text(vocabulary)}
        torch.manual_seed(config.loop.seed)
        self.module = MatchingNetwork(config.model, len(vocabulary), vectors)

    def embed(self, model: nn.Module, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the embeddings of the clips and of the captions of a batch, (B, E) each."""
        motions = checked_motions([clip.features_TD for clip, _ in batch], MAX_FRAMES)
        features_BTD, frames_B = motion_batch(motions, self._stats)
        words_BL, classes_BL, lengths_B = word_batch([self._encoded[text] for _, text in batch])
        return model(
            features_BTD.to(device), frames_B, words_BL.to(device), classes_BL.to(device), lengths_B
        )

    def loss(self, motions_BE: Tensor, texts_BE: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the contrastive loss with a margin."""
        place = {text: index for index, text in enumerate(dict.fromkeys(captions))}
        index_B = torch.tensor([place[text] for text in captions], device=motions_BE.device)
        same_BB = index_B[:, None] == index_B
        return matching_loss(motions_BE, texts_BE, same_BB, self._margin)


def train_matching_evaluator(config: TrainMatchingConfig) -> TrainingResult:
    """Train in this process; see :func:`evaluation.evaluators.training.train_evaluator`.

    The folder of the result is read by :func:`evaluation.evaluators.loading.load_evaluator`.
    """
    return train_evaluator(config, MatchingLearner)


if __name__ == "__main__":
    train_from_file(TrainMatchingConfig, train_matching_evaluator, sys.argv[1:])
