"""A contrastive evaluator: a transformer over essential motion features, and sentence embeddings.

The motion encoder reads the root (yaw velocity, velocity, height) and the joint positions, which
are the essential part of the 263 features: HumanML3D computes the rotations from the positions by
inverse kinematics, the velocities are differences of the positions and of the root, and the
contacts are velocities below a threshold. A model that generates redundant features which do not
agree with its positions is judged by the motion that is shown (Meng et al., "Rethinking Diffusion
for Text-Driven Human Motion Generation", CVPR 2025).

The loss is that of TMR (Petrovich et al., "TMR: Text-to-Motion Retrieval Using Contrastive 3D Human
Motion Synthesis", ICCV 2023): InfoNCE in both directions, without the pairs of a batch whose texts
are so similar that they are no negatives (see :func:`too_similar`). There is no decoder, because
nothing is generated.

Shapes: B batch, T frames, M = T / 4 steps, F = 67 essential features, C width of the transformer,
S width of a sentence embedding, E = 512 the width of an embedding.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from data.arrays import FloatArray
from data.config import Config
from data.motion.features import LOCAL_POSITIONS
from data.motion.normalization import FeatureStats
from evaluation.evaluators.evaluator import (
    EMBEDDING_WIDTH,
    FRAMES_PER_STEP,
    EvaluatorKind,
    embed_in_batches,
)
from evaluation.evaluators.sentences import SentenceEncoder
from training.checkpoints import Checkpoint, content_hash

KIND: Final = "text_motion_contrastive"
"""Kind of the checkpoints of this network."""
NUM_ESSENTIAL: Final = LOCAL_POSITIONS.stop
"""F: the features before the rotations."""
MAX_FRAMES: Final = 200
"""Frames of a motion that are read: 10 s."""
_SIDE: Final = re.compile(r"\b(left|right|clockwise|counterclockwise|anticlockwise)\b")
_LONGEST_PERIOD: Final = 100.0
"""Steps after which the slowest wave of the position encoding has turned by one radian."""


class ContrastiveConfig(Config):
    """Sizes of the network."""

    width: int = Field(default=256, ge=2, multiple_of=2, description="Width of the transformer.")
    layers: int = Field(default=3, ge=1, description="Layers of the transformer.")
    heads: int = Field(default=4, ge=1, description="Attention heads; they divide the width.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout in both encoders.")
    sentence_width: int = Field(
        default=384, ge=1, description="Width of the sentence embeddings; 384 for MiniLM."
    )


class ContrastiveNetwork(nn.Module):
    """The encoders of motions and of sentence embeddings.

    Args:
        config: sizes.
    """

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        width = config.width
        self.steps = nn.Conv1d(NUM_ESSENTIAL, width, FRAMES_PER_STEP, stride=FRAMES_PER_STEP)
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            2 * width,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.motion_out = nn.Linear(width, EMBEDDING_WIDTH)
        self.text_in = nn.Linear(config.sentence_width, EMBEDDING_WIDTH)
        self.text_out = nn.Sequential(
            nn.GELU(), nn.Dropout(config.dropout), nn.Linear(EMBEDDING_WIDTH, EMBEDDING_WIDTH)
        )

    def embed_motions(self, features_BTF: Tensor, frames_B: Tensor) -> Tensor:
        """Embed padded, normalized essential features of ``frames_B`` frames (multiples of 4).

        Returns:
            Embeddings of length 1, (B, E).
        """
        steps_BMC = self.steps(features_BTF.transpose(1, 2)).transpose(1, 2)
        num_steps, width = steps_BMC.shape[1:]
        steps_BMC = steps_BMC + _positions(num_steps, width).to(steps_BMC)
        lengths_B1 = (frames_B // FRAMES_PER_STEP)[:, None].to(steps_BMC.device)
        real_BM = torch.arange(num_steps, device=steps_BMC.device) < lengths_B1
        states_BMC = self.transformer(steps_BMC, src_key_padding_mask=~real_BM)
        mean_BC = (states_BMC * real_BM[..., None]).sum(dim=1) / lengths_B1
        return functional.normalize(self.motion_out(mean_BC), dim=-1)

    def embed_texts(self, sentences_BS: Tensor) -> Tensor:
        """Embed sentence embeddings, (B, E), each of length 1."""
        inner_BE = self.text_in(sentences_BS)
        return functional.normalize(inner_BE + self.text_out(inner_BE), dim=-1)

    def forward(
        self, features_BTF: Tensor, frames_B: Tensor, sentences_BS: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings of motions and of captions, (B, E) each."""
        return self.embed_motions(features_BTF, frames_B), self.embed_texts(sentences_BS)


def _positions(num_steps: int, width: int) -> Tensor:
    """Return sines and cosines of the steps, (M, C)."""
    rate_H = _LONGEST_PERIOD ** -(torch.arange(width // 2) / (width // 2))
    angle_MH = torch.arange(num_steps)[:, None] * rate_H
    return torch.cat([angle_MH.sin(), angle_MH.cos()], dim=-1)


def contrastive_loss(
    motions_BE: Tensor, texts_BE: Tensor, similar_BB: Tensor, temperature: float
) -> Tensor:
    """Return the mean of the InfoNCE losses of both directions.

    Args:
        motions_BE: embeddings of motions, of length 1.
        texts_BE: embeddings of their captions, of length 1.
        similar_BB: pairs of captions that are too similar to be negatives; the diagonal does not
            matter.
        temperature: the similarities are divided by it.
    """
    scores_BB = texts_BE @ motions_BE.T / temperature
    own_BB = torch.eye(len(scores_BB), dtype=torch.bool, device=scores_BB.device)
    scores_BB = scores_BB.masked_fill(similar_BB & ~own_BB, -torch.inf)
    target_B = torch.arange(len(scores_BB), device=scores_BB.device)
    both = (functional.cross_entropy(one, target_B) for one in (scores_BB, scores_BB.T))
    return sum(both, torch.zeros((), device=scores_BB.device)) / 2


def too_similar(captions: Sequence[str], sentences_BS: Tensor, max_similarity: float) -> Tensor:
    """Return which pairs of captions are so similar that they are no negatives, (B, B).

    Unlike in TMR, captions that name different sides are always negatives. Sentence embeddings tell
    little of sides: "waves the left hand" and "waves the right hand" have a cosine of 0.98.

    Args:
        captions: the captions.
        sentences_BS: their sentence embeddings, of length 1.
        max_similarity: captions with a greater cosine are too similar.
    """
    sides = [tuple(_SIDE.findall(caption.lower())) for caption in captions]
    different_BB = torch.tensor(
        [[bool(one and other and one != other) for other in sides] for one in sides]
    )
    return (sentences_BS @ sentences_BS.T > max_similarity) & ~different_BB


def essential_batch(
    motions: Sequence[NDArray[np.float32]], stats: FeatureStats
) -> tuple[Tensor, Tensor]:
    """Return normalized essential features padded with zeros, (B, T, F), and their lengths, (B,).

    Args:
        motions: features, (T, 263), with T a multiple of 4.
        stats: statistics of the features.
    """
    lengths_B = torch.tensor([len(motion) for motion in motions])
    features_BTF = torch.zeros(len(motions), int(lengths_B.max()), NUM_ESSENTIAL)
    for row_TF, motion in zip(features_BTF, motions, strict=True):
        normal_TD = stats.normalize(torch.from_numpy(np.array(motion)))
        row_TF[: len(motion)] = normal_TD[:, :NUM_ESSENTIAL]
    return features_BTF, lengths_B


class ContrastiveEvaluator:
    """The network in evaluation; see :class:`evaluation.evaluators.evaluator.Evaluator`.

    Args:
        checkpoint: checkpoint of the network.
        device: device to compute on.
        sentence_encoder: path of the sentence encoder; None: that of the training.

    Raises:
        ValueError: the sentence encoder is missing, or is not that of the training.
    """

    kind: EvaluatorKind = "contrastive"

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, sentence_encoder: Path | None = None
    ) -> None:
        self._network = ContrastiveNetwork(
            ContrastiveConfig.model_validate(checkpoint.config["model"])
        )
        self._network.load_state_dict(checkpoint.model())
        self._network.eval().to(device)
        self._stats = checkpoint.stats()
        self._device = device
        path = sentence_encoder or Path(checkpoint.config["sentence_encoder"])
        self._sentences = SentenceEncoder(path, device)
        trained_with = checkpoint.data["sentence_encoder_id"]
        if self._sentences.model_id != trained_with:
            raise ValueError(
                f"{path}: expected the sentence encoder {trained_with}, with which the evaluator "
                f"was trained, found {self._sentences.model_id}. Remedy: give that encoder, or "
                "train the evaluator again."
            )
        files = "model.safetensors", "stats.safetensors"
        digest = content_hash(*(checkpoint.folder / name for name in files))
        # The weights fit one sentence encoder only, so their hash tells it, too.
        self.name = f"{self.kind}-{digest}"

    @torch.inference_mode()
    def embed_motions(self, motions: Sequence[NDArray[np.floating[Any]]]) -> FloatArray:
        """Embed motions, (N, E); see the protocol."""

        def embed(batch: list[NDArray[np.float32]]) -> FloatArray:
            padded_BTD, frames_B = essential_batch(batch, self._stats)
            return self._network.embed_motions(padded_BTD.to(self._device), frames_B).cpu().numpy()

        return embed_in_batches(motions, MAX_FRAMES, embed)

    @torch.inference_mode()
    def embed_texts(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions, (N, E); see the protocol."""
        for caption in captions:
            if not caption.strip():
                raise ValueError(
                    f"caption: expected a text with words, found {caption!r}. "
                    "Remedy: count it as a failed sample."
                )
        different = list(dict.fromkeys(captions))
        place = {caption: index for index, caption in enumerate(different)}
        sentences = torch.from_numpy(self._sentences.embed(different)).to(self._device)
        found_NE = self._network.embed_texts(sentences).cpu().numpy()
        return found_NE[[place[caption] for caption in captions]]
