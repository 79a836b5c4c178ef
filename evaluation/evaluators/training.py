"""Train an evaluator on a dataset of ours, on the loop of :mod:`training.loop`.

An evaluator judges the test split, so it is trained on the training split only. Its validation
split selects the checkpoint by R-precision.

Shapes: B batch, T frames, E = 512 the width of an embedding, S width of a sentence embedding.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from data.config import Config, ExpandedPath
from data.motion.normalization import FeatureStats
from data.motion.splits import Split
from data.presets import HOME, Presets
from evaluation.evaluators import contrastive, published
from evaluation.evaluators.contrastive import (
    ContrastiveConfig,
    ContrastiveNetwork,
    contrastive_loss,
    essential_batch,
    too_similar,
)
from evaluation.evaluators.evaluator import checked_motions
from evaluation.evaluators.pairs import CaptionedClip, PairDataConfig, Pairs, prepare_pairs
from evaluation.evaluators.published import (
    WORDS_FILE,
    MatchingConfig,
    MatchingNetwork,
    matching_loss,
    motion_batch,
    word_batch,
    words_text,
)
from evaluation.evaluators.sentences import SentenceEncoder
from evaluation.evaluators.words import Vocabulary, learned_words, read_word_vectors, tag_captions
from evaluation.metrics.matching import GROUP_SIZE, match
from training.loop import Learner, LoopConfig, Ranks, TrainingResult, start_ranks, train

Batch = Sequence[tuple[CaptionedClip, str]]
"""Clips, each with one of its captions."""

_MINUTES: Final = 9.0
"""Time limit of the presets for a CPU, which leaves a minute for reading and validating."""


class TrainEvaluatorConfig(Config):
    """What the trainings of both evaluators have in common."""

    run: ExpandedPath = Field(description="Folder of the run. An interrupted run in it is resumed.")
    data: PairDataConfig = Field(description="Clips with captions to train on.")
    max_validation_clips: int = Field(
        default=256, ge=2, description="Maximum number of clips in a validation."
    )
    loop: LoopConfig = Field(description="Steps, batch size, optimizer and checkpoints.")


class TrainMatchingConfig(TrainEvaluatorConfig):
    """Configuration of a training of the text–motion matching network."""

    model: MatchingConfig = Field(default_factory=MatchingConfig, description="Sizes.")
    margin: float = Field(default=10.0, gt=0, description="Distance beyond which others are apart.")
    word_vectors: ExpandedPath | None = Field(
        default=None,
        description="GloVe text file or .npz file of word vectors, which are not trained. Empty: "
        "vectors of the words of the training texts are learned.",
    )


class TrainContrastiveConfig(TrainEvaluatorConfig):
    """Configuration of a training of the contrastive evaluator."""

    model: ContrastiveConfig = Field(default_factory=ContrastiveConfig, description="Sizes.")
    sentence_encoder: ExpandedPath = Field(
        description="Folder or .zip file of the sentence encoder, such as the asset "
        "sentence_encoder."
    )
    temperature: float = Field(default=0.1, gt=0, description="Temperature of InfoNCE.")
    max_similarity: float = Field(
        default=0.8,
        ge=-1,
        le=1,
        description="Captions whose sentence embeddings have a greater cosine are no negatives, "
        "unless they name different sides.",
    )


_DATA: Final = {"dataset": f"{HOME}/motions"}
_CPU_LOOP: Final[dict[str, Any]] = {
    "batch_size": 64,
    "warmup_steps": 50,
    "decay": "cosine",
    "clip_norm": 0.5,
    "log_every": 20,
    "validate_every": 100,
    "checkpoint_every": 100,
    "keep_checkpoints": 1,
    "max_minutes": _MINUTES,
}
MATCHING_PRESETS: Final[Presets] = {
    # The published sizes and recipe, for GPUs.
    "paper": {
        "run": f"{HOME}/runs/evaluator-matching-paper",
        "data": _DATA,
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
        "data": _DATA,
        "model": {"movement_width": 128, "motion_width": 128, "text_width": 128},
        "loop": {**_CPU_LOOP, "steps": 800, "learning_rate": 2e-3},
    },
}
"""Presets of :class:`TrainMatchingConfig`."""
CONTRASTIVE_PRESETS: Final[Presets] = {
    "small": {
        "run": f"{HOME}/runs/evaluator-contrastive-small",
        "data": {**_DATA, "min_frames": 20, "max_frames": contrastive.MAX_FRAMES},
        "model": {"width": 128, "layers": 2},
        "loop": {**_CPU_LOOP, "steps": 800, "learning_rate": 1e-3},
    },
}
"""Presets of :class:`TrainContrastiveConfig`."""


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

    kind = published.KIND
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
        motions = checked_motions([clip.features_TD for clip, _ in batch], published.MAX_FRAMES)
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

    kind = contrastive.KIND
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
        motions = checked_motions([clip.features_TD for clip, _ in batch], contrastive.MAX_FRAMES)
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


def train_matching_evaluator(config: TrainMatchingConfig) -> TrainingResult:
    """Train in this process; see :func:`training.loop.train` for the errors it raises.

    The folder of the result is read by :func:`evaluation.evaluators.loading.load_evaluator`.
    """
    with start_ranks(config.loop) as ranks:
        data, pairs = prepare_pairs(config.data, config.run / "cache")
        learner = MatchingLearner(config, pairs, data.stats, data.data_id)
        return train(learner, config.loop, config.run, ranks)


def train_contrastive_evaluator(config: TrainContrastiveConfig) -> TrainingResult:
    """Train in this process; see :func:`training.loop.train` for the errors it raises.

    The folder of the result is read by :func:`evaluation.evaluators.loading.load_evaluator`.
    """
    with start_ranks(config.loop) as ranks:
        data, pairs = prepare_pairs(config.data, config.run / "cache")
        learner = ContrastiveLearner(config, pairs, data.stats, data.data_id)
        return train(learner, config.loop, config.run, ranks)
