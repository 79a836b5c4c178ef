"""The text–motion matching network, the field's common evaluator, and its released weights.

A movement encoder halves the frames twice; a bidirectional GRU reads the movements, another one the
words of a caption; both end in one space, in which matching pairs are near.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, and the
weights released with it. Submodules have the names of the released tensors.

Shapes: B batch, T frames, M = T / 4 movements, D = 263 features, L words of a caption, E = 512 the
width of an embedding, W = 300 the width of a word vector.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from data.arrays import FloatArray
from data.config import Config
from data.motion.features import (
    FOOT_CONTACTS,
    LOCAL_POSITIONS,
    NUM_FEATURES,
    ROOT_YAW_VELOCITY,
)
from data.motion.normalization import EVALUATOR_SCALE, FeatureStats, load_published
from evaluation.evaluators.evaluator import (
    EMBEDDING_WIDTH,
    FRAMES_PER_STEP,
    EvaluatorKind,
    embed_in_batches,
)
from evaluation.evaluators.words import (
    WORD_CLASSES,
    WORD_WIDTH,
    Vocabulary,
    WordVectors,
    read_word_vectors,
    tag_captions,
)
from training.checkpoints import Checkpoint, CheckpointStore, content_hash

KIND: Final = "text_motion_matching"
"""Kind of the checkpoints of this network."""
WORDS_FILE: Final = "words.txt"
"""File of a checkpoint with the words of its vocabulary, one in a line."""
MAX_FRAMES: Final = 196
"""Frames of a motion that are read, as published."""
_TEXT_BATCH: Final = 64
_ENCODERS: Final = ("movement_encoder", "motion_encoder", "text_encoder")
_PUBLISHED_DATA: Final = "published"
_ROOT_SHARE: Final = 0.02
"""Standard deviation of the yaw velocity divided by that of the positions: 0.10 in HumanML3D's
statistics, 0.004 in those of its evaluator."""


class MatchingConfig(Config):
    """Sizes of the network; the defaults are the published ones."""

    movement_width: int = Field(default=512, ge=1, description="Channels of a movement.")
    motion_width: int = Field(default=1024, ge=1, description="Hidden size of the motion GRU.")
    text_width: int = Field(default=512, ge=1, description="Hidden size of the text GRU.")


class MovementEncoder(nn.Module):
    """Two strided convolutions over all features but the contacts: (B, T, 259) to (B, M, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(FOOT_CONTACTS.start, width, 4, stride=2, padding=1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, width, 4, stride=2, padding=1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(width, width)

    def forward(self, features_BTD: Tensor) -> Tensor:
        """Encode normalized features, without the contacts."""
        return self.out_net(self.main(features_BTD.transpose(1, 2)).transpose(1, 2))


class SequenceEncoder(nn.Module):
    """A bidirectional GRU, from whose last states an embedding is computed.

    Args:
        in_width: width of an element of the sequence.
        width: hidden size.
    """

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.input_emb = nn.Linear(in_width, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.LayerNorm(width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, EMBEDDING_WIDTH),
        )
        self.hidden = nn.Parameter(torch.randn(2, 1, width))

    def forward(self, inputs_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Embed padded sequences (B, L, in_width) of the given lengths, (B, E)."""
        packed = pack_padded_sequence(
            self.input_emb(inputs_BL), lengths_B.cpu(), batch_first=True, enforce_sorted=False
        )
        hidden = self.hidden.repeat(1, len(inputs_BL), 1)
        _, (forward_BH, backward_BH) = self.gru(packed, hidden)
        return self.output_net(torch.cat([forward_BH, backward_BH], dim=-1))


class TextEncoder(SequenceEncoder):
    """A :class:`SequenceEncoder` of word vectors, to which a vector of the word's class is added.

    Args:
        width: hidden size.
    """

    def __init__(self, width: int) -> None:
        super().__init__(WORD_WIDTH, width)
        self.pos_emb = nn.Linear(len(WORD_CLASSES), WORD_WIDTH)

    def embed_words(self, words_BLW: Tensor, classes_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Embed captions, given the vectors and classes of their words, (B, E)."""
        one_hot_BLP = functional.one_hot(classes_BL, len(WORD_CLASSES)).to(words_BLW.dtype)
        return self(words_BLW + self.pos_emb(one_hot_BLP), lengths_B)


class MatchingNetwork(nn.Module):
    """The three encoders and the word vectors.

    Args:
        config: sizes.
        num_words: number of words of the vocabulary.
        vectors: vectors of the words, which are not trained; None: vectors are learned.
    """

    def __init__(
        self, config: MatchingConfig, num_words: int, vectors: WordVectors | None = None
    ) -> None:
        super().__init__()
        self.movement_encoder = MovementEncoder(config.movement_width)
        self.motion_encoder = SequenceEncoder(config.movement_width, config.motion_width)
        self.text_encoder = TextEncoder(config.text_width)
        self.words = nn.Embedding(num_words, WORD_WIDTH)
        if vectors is not None:
            self.words.weight.data.copy_(torch.from_numpy(vectors.vectors_NW))
            self.words.weight.requires_grad_(False)  # noqa: FBT003 - the name of torch

    def embed_motions(self, features_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Embed padded, normalized motions of ``lengths_B`` frames (multiples of 4), (B, E)."""
        movements_BMC = self.movement_encoder(features_BTD[..., : FOOT_CONTACTS.start])
        return self.motion_encoder(movements_BMC, lengths_B // FRAMES_PER_STEP)

    def embed_texts(self, words_BL: Tensor, classes_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Embed padded captions, given the indices and classes of their words, (B, E)."""
        return self.text_encoder.embed_words(self.words(words_BL), classes_BL, lengths_B)

    def forward(
        self,
        features_BTD: Tensor,
        frames_B: Tensor,
        words_BL: Tensor,
        classes_BL: Tensor,
        lengths_B: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings of motions and of captions, (B, E) each."""
        motions_BE = self.embed_motions(features_BTD, frames_B)
        return motions_BE, self.embed_texts(words_BL, classes_BL, lengths_B)


def matching_loss(motions_BE: Tensor, texts_BE: Tensor, same_BB: Tensor, margin: float) -> Tensor:
    """Return the contrastive loss of Hadsell et al. (CVPR 2006), as published.

    The squared distance of a pair, plus that of each caption from other motions below the margin.
    The published code compares a caption with one other motion of the batch; all of them have the
    same expected value with less noise. Motions with the same caption are not apart.

    Args:
        motions_BE: embeddings of motions.
        texts_BE: embeddings of their captions.
        same_BB: which pairs of captions are equal, with a true diagonal.
        margin: distance beyond which others do not count.
    """
    # torch.cdist has no gradient at 0, and its fast form is inexact for near points.
    squares_BB = (texts_BE[:, None] - motions_BE[None]).square().sum(dim=-1)
    below_BB = (margin - (squares_BB + 1e-12).sqrt()).clamp_min(0).square()
    apart = below_BB[~same_BB].mean() if not bool(same_BB.all()) else below_BB.sum() * 0
    return squares_BB.diagonal().mean() + apart


# ---------------------------------------------------------------------------------- in evaluation


class MatchingEvaluator:
    """The network in evaluation; see :class:`evaluation.evaluators.evaluator.Evaluator`.

    Args:
        checkpoint: checkpoint of the network.
        device: device to compute on.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        words = (checkpoint.folder / WORDS_FILE).read_text(encoding="utf-8").splitlines()
        self._vocabulary = Vocabulary(words)
        config = MatchingConfig.model_validate(checkpoint.config["model"])
        self._network = MatchingNetwork(config, len(words))
        self._network.load_state_dict(checkpoint.model())
        self._network.eval().to(device)
        self._stats = checkpoint.stats()
        self._device = device
        self.kind: EvaluatorKind = (
            "published" if checkpoint.data["data_id"] == _PUBLISHED_DATA else "matching"
        )
        files = "model.safetensors", "stats.safetensors", WORDS_FILE
        digest = content_hash(*(checkpoint.folder / name for name in files))
        self.name = f"{self.kind}-{digest}"

    @torch.inference_mode()
    def embed_motions(self, motions: Sequence[NDArray[np.floating[Any]]]) -> FloatArray:
        """Embed motions, (N, E); see the protocol."""

        def embed(batch: list[NDArray[np.float32]]) -> FloatArray:
            padded_BTD, frames_B = motion_batch(batch, self._stats)
            return self._network.embed_motions(padded_BTD.to(self._device), frames_B).cpu().numpy()

        return embed_in_batches(motions, MAX_FRAMES, embed)

    @torch.inference_mode()
    def embed_texts(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions, (N, E); see the protocol."""
        different = list(dict.fromkeys(captions))
        encoded = [self._vocabulary.encode(words) for words in tag_captions(different)]
        found = [
            self._network.embed_texts(
                *(tensor.to(self._device) for tensor in word_batch(encoded[at : at + _TEXT_BATCH]))
            ).cpu()
            for at in range(0, len(encoded), _TEXT_BATCH)
        ]
        place = {caption: index for index, caption in enumerate(different)}
        all_NE = torch.cat([*found, torch.empty(0, EMBEDDING_WIDTH)]).numpy()
        return all_NE[[place[caption] for caption in captions]]


def motion_batch(
    motions: Sequence[NDArray[np.float32]], stats: FeatureStats
) -> tuple[Tensor, Tensor]:
    """Return normalized motions padded with zeros, (B, T, D), and their lengths, (B,).

    The published loader pads every motion to 196 frames, and the last movement of a shorter motion
    depends on whether padding follows. Therefore padding follows each motion that is shorter, also
    the longest of a batch.

    Args:
        motions: features, (T, D), with T a multiple of 4, up to 196.
        stats: statistics of the features.
    """
    lengths_B = torch.tensor([len(motion) for motion in motions])
    num_frames = min(int(lengths_B.max()) + FRAMES_PER_STEP, MAX_FRAMES)
    features_BTD = torch.zeros(len(motions), num_frames, NUM_FEATURES)
    for row_TD, motion in zip(features_BTD, motions, strict=True):
        row_TD[: len(motion)] = stats.normalize(torch.from_numpy(np.array(motion)))
    return features_BTD, lengths_B


def word_batch(encoded: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return padded indices and classes of words, (B, L) each, and the numbers of words, (B,)."""
    words, classes = zip(*encoded, strict=True)
    return (
        pad_sequence([torch.tensor(one) for one in words], batch_first=True),
        pad_sequence([torch.tensor(one) for one in classes], batch_first=True),
        torch.tensor([len(one) for one in words]),
    )


# ------------------------------------------------------------------------------- released weights


def import_published(weights: Path, vectors: Path, mean: Path, std: Path, run: Path) -> Path:
    """Write a checkpoint with the released weights of HumanML3D's evaluator.

    Args:
        weights: ``finest.tar`` of ``text_mot_match/model``. It is read without unpickling objects.
        vectors: word vectors that the weights were trained with, see
            :func:`evaluation.evaluators.words.read_word_vectors`.
        mean: ``.npy`` file of the evaluator's own means, not those of the dataset.
        std: ``.npy`` file of the evaluator's own standard deviations. They are those of the
            dataset, divided by 25 for the root and the contacts.
        run: run folder to write.

    Returns:
        Folder of the checkpoint, for :func:`evaluation.evaluators.loading.load_evaluator`.

    Raises:
        ValueError: a file has another form.
        training.checkpoints.CheckpointError: the folder cannot be written.
    """
    stats = load_published(mean, std)
    share = stats.std_D[ROOT_YAW_VELOCITY].mean() / stats.std_D[LOCAL_POSITIONS].mean()
    if share > _ROOT_SHARE:
        raise ValueError(
            f"{std}: expected the evaluator's own standard deviations, those of the root divided "
            f"by {EVALUATOR_SCALE:g}, found a yaw velocity of {share:.2g} of the positions, as in "
            "the dataset's Std.npy. Remedy: give mean.npy and std.npy of the evaluator, or save "
            "FeatureStats.for_evaluator() of the dataset's."
        )
    table = read_word_vectors(vectors)
    vocabulary = Vocabulary(table.words)
    config = MatchingConfig()
    network = MatchingNetwork(config, len(vocabulary), table)
    found = _read_encoders(weights)
    for name in _ENCODERS:
        encoder = network.get_submodule(name)
        own = encoder.state_dict()
        shapes = {key: tuple(value.shape) for key, value in found[name].items()}
        expected = {key: tuple(value.shape) for key, value in own.items()}
        if shapes != expected:
            wrong = sorted(
                key for key in {*shapes, *expected} if shapes.get(key) != expected.get(key)
            )
            raise ValueError(
                f"{weights}: expected the tensors of the published {name}, found other names or "
                f"shapes of {', '.join(wrong[:4])}. Remedy: use text_mot_match/model/finest.tar "
                "of HumanML3D; KIT-ML's evaluator reads another skeleton."
            )
        encoder.load_state_dict(found[name])
    return CheckpointStore(run, KIND).save(
        step=0,
        model=network.state_dict(),
        trainer={},
        config={"model": config.model_dump(mode="json")},
        data={"dataset": str(weights), "data_id": _PUBLISHED_DATA},
        state={},
        metrics={},
        best=True,
        stats=stats,
        files={WORDS_FILE: words_text(vocabulary)},
    )


def words_text(vocabulary: Vocabulary) -> str:
    """Return the content of :data:`WORDS_FILE`."""
    return "".join(f"{word}\n" for word in vocabulary.words)


def _read_encoders(path: Path) -> Mapping[str, dict[str, Tensor]]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        return {name: dict(loaded[name]) for name in _ENCODERS}
    except (OSError, UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a file of tensors under {', '.join(_ENCODERS)}, found "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} "
            "Remedy: use text_mot_match/model/finest.tar of HumanML3D."
        ) from error
