"""The interface of an evaluator: a network that embeds motions and captions in one space.

Shapes: N items, T frames, D = 263 features (see :mod:`data.motion.features`), E = 512 the width of
an embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from data.arrays import FloatArray
from data.motion.features import NUM_FEATURES

EMBEDDING_WIDTH: Final = 512
"""E, which is 512 as published, so that distances and FID have the published number of terms."""
MIN_FRAMES: Final = 4
"""Frames of the shortest motion that can be embedded: one step of a motion encoder."""
FRAMES_PER_STEP: Final = 4
"""Frames that a motion encoder joins into one step; further frames at the end are cut off."""
_BATCH: Final = 128
"""Number of motions that are embedded at a time."""

EvaluatorKind = Literal["published", "matching", "contrastive"]
"""``published``: the released weights of HumanML3D's evaluator. ``matching``: the same
architecture, trained by this project. ``contrastive``: the network of
:mod:`evaluation.evaluators.contrastive`."""


class Evaluator(Protocol):
    """Embeds motions and captions. Matching pairs have a small Euclidean distance.

    Values of different evaluators cannot be compared; results carry ``name``.
    """

    @property
    def kind(self) -> EvaluatorKind:
        """Kind of the evaluator."""
        ...

    @property
    def name(self) -> str:
        """Kind and a hash of everything that the embeddings depend on, e.g. ``matching-1f…``."""
        ...

    def embed_motions(self, motions: Sequence[NDArray[np.floating[Any]]]) -> FloatArray:
        """Embed motions.

        Args:
            motions: features of each motion, (T, D), not normalized. Frames beyond the evaluator's
                longest motion, and beyond a multiple of 4, are cut off.

        Returns:
            Embeddings, (N, E).

        Raises:
            ValueError: a motion has another shape, fewer than 4 frames, or values that are not
                finite. The caller counts it as a failed sample.
        """
        ...

    def embed_texts(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions, (N, E).

        Raises:
            ValueError: a caption has no words.
        """
        ...


def checked_motions(
    motions: Sequence[NDArray[np.floating[Any]]], max_frames: int
) -> list[NDArray[np.float32]]:
    """Return motions cut to at most ``max_frames`` and to a multiple of 4 frames.

    Raises:
        ValueError: see :meth:`Evaluator.embed_motions`.
    """
    cut: list[NDArray[np.float32]] = []
    for index, motion in enumerate(motions):
        if motion.ndim != 2 or motion.shape[1] != NUM_FEATURES or len(motion) < MIN_FRAMES:
            raise ValueError(
                f"motion {index}: expected features of shape (T, {NUM_FEATURES}) with T of at "
                f"least {MIN_FRAMES}, found {motion.shape}. Remedy: count it as a failed sample."
            )
        length = min(len(motion), max_frames) // FRAMES_PER_STEP * FRAMES_PER_STEP
        features_TD = np.asarray(motion[:length], np.float32)
        if not np.isfinite(features_TD).all():
            raise ValueError(
                f"motion {index}: expected finite features, found NaN or infinity. "
                "Remedy: count it as a failed sample."
            )
        cut.append(features_TD)
    return cut


def embed_in_batches(
    motions: Sequence[NDArray[np.floating[Any]]],
    max_frames: int,
    embed: Callable[[list[NDArray[np.float32]]], FloatArray],
) -> FloatArray:
    """Embed motions in batches of similar lengths, which need little padding.

    Args:
        motions: features of each motion, (T, D).
        max_frames: frames of the longest motion that the network reads.
        embed: embeds a batch of B motions, (B, E).

    Returns:
        Embeddings in the order of the motions, (N, E).

    Raises:
        ValueError: see :meth:`Evaluator.embed_motions`.
    """
    cut = checked_motions(motions, max_frames)
    found_NE = np.empty((len(cut), EMBEDDING_WIDTH), np.float32)
    order_N = np.argsort([len(features_TD) for features_TD in cut], kind="stable")
    for start in range(0, len(cut), _BATCH):
        chosen_B = order_N[start : start + _BATCH]
        found_NE[chosen_B] = embed([cut[index] for index in chosen_B])
    return found_NE
