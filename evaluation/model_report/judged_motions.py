"""Figures of motions by an evaluator network: R-precision, MM-Dist, FID, Diversity, MultiModality.

Shapes: N items, E = 512 the width of an embedding, R repeats, M texts with S samples each.
"""

from collections.abc import Sequence

import numpy as np

from data.arrays import FloatArray
from evaluation.evaluators.evaluator import EMBEDDING_WIDTH, MIN_FRAMES, Evaluator
from evaluation.metrics.distribution import fit_gaussian
from evaluation.metrics.protocol import ProtocolConfig, score_motions
from evaluation.model_report.tables import Figure, repeated
from training.inference.motion_model import Features


class Judge:
    """An evaluator with the captions and real motions that it compares others with.

    Args:
        evaluator: the network.
        protocol: sizes and seeds. If there are fewer items than pairs of Diversity, fewer pairs
            are drawn, which :attr:`notes` says.
        captions: caption of each item.
        real: real motion of each item.

    Attributes:
        name: name of the evaluator.
        notes: what cannot be measured, or not be compared with published values, and why.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        protocol: ProtocolConfig,
        captions: Sequence[str],
        real: Sequence[Features],
    ) -> None:
        self.name = evaluator.name
        self.notes: list[str] = []
        self._evaluator = evaluator
        items = len(captions)
        self.has_enough = items >= protocol.group_size
        if not self.has_enough:
            self.notes.append(
                f"R-precision, MM-Dist, FID and Diversity are left out: the protocol compares "
                f"groups of {protocol.group_size} items, and there are {items}. Evaluate more "
                "items, or add motions with captions to the test split."
            )
            return
        pairs = min(protocol.diversity_pairs, items)
        if pairs < protocol.diversity_pairs:
            self.notes.append(
                f"Diversity is of {pairs} pairs instead of {protocol.diversity_pairs}, for want of "
                "items."
            )
        if items < EMBEDDING_WIDTH:
            self.notes.append(
                f"FID of {items} items is larger than that of more items: compare it within this "
                "table only."
            )
        self._protocol = protocol.model_copy(update={"diversity_pairs": pairs})
        self._texts_NE = evaluator.embed_texts(captions)
        self._real_NE = self.embed(real)
        self._fitted = fit_gaussian(self._real_NE)

    def embed(self, motions: Sequence[Features | None]) -> FloatArray:
        """Embed motions, (N, E); a motion that failed is a row of NaN."""
        found_NE = np.full((len(motions), EMBEDDING_WIDTH), np.nan, np.float32)
        there = {
            index: motion
            for index, motion in enumerate(motions)
            if motion is not None and len(motion) >= MIN_FRAMES and np.isfinite(motion).all()
        }
        if there:
            found_NE[list(there)] = self._evaluator.embed_motions(list(there.values()))
        return found_NE

    def real_figures(self) -> dict[str, Figure]:
        """Return the figures of the real motions."""
        return self._figures(self._real_NE)

    def figures(
        self,
        motions: Sequence[Sequence[Features | None]],
        samples: Sequence[Sequence[Features | None]] = (),
    ) -> dict[str, Figure]:
        """Return the figures of motions of the same items; none if all but one failed.

        Args:
            motions: motion of each item, None where generation failed: one list, or one for each
                repeat of the protocol.
            samples: several motions of each of some texts, for MultiModality.
        """
        embedded = [self.embed(each) for each in motions]
        samples_MSE = np.stack([self.embed(each) for each in samples]) if samples else None
        return self._figures(embedded[0] if len(embedded) == 1 else np.stack(embedded), samples_MSE)

    def _figures(
        self, embedded: FloatArray, samples_MSE: FloatArray | None = None
    ) -> dict[str, Figure]:
        # Failed motions count for R-precision; the pairs of Diversity are of the others.
        there = int(np.isfinite(embedded).all(axis=-1).sum(axis=-1).min())
        if there < 2:
            return {}
        pairs = min(self._protocol.diversity_pairs, there)
        protocol = self._protocol.model_copy(update={"diversity_pairs": pairs})
        scores = score_motions(self._texts_NE, embedded, self._fitted, protocol, samples_MSE)
        named = {
            **{f"r_precision_{rank}": one for rank, one in enumerate(scores.r_precision, 1)},
            "mm_dist": scores.mm_dist,
            "fid": scores.fid,
            "diversity": scores.diversity,
            "multimodality": scores.multimodality,
        }
        return {name: repeated(one) for name, one in named.items() if one is not None}
