"""How well generated motions match their texts: R-precision and MM-Dist.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022. Motions
and texts are embedded into one space by an evaluator network; values of different evaluators are
not comparable.

Shapes: N items, D embedding size, G groups, B items of a group (32), K the largest rank (3).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.arrays import BoolArray, FloatArray, IndexArray

GROUP_SIZE: Final = 32
"""Number of candidates among which a text looks for its motion."""
MAX_RANK: Final = 3

_SAME: Final = 1e-6
"""Relative difference of squared distances below which two candidates are equally near: copies of
one motion differ by rounding, of embeddings in single precision too."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Agreement of motions with their texts.

    Attributes:
        r_precision: share of texts whose motion is among the nearest 1, 2 and 3 candidates.
        mm_dist: mean distance of a text from its motion, over the motions that did not fail; None
            if all failed.
        items: number of texts that were asked; those of an incomplete group are not.
        failed: number of them whose motion failed.
    """

    r_precision: tuple[float, float, float]
    mm_dist: float | None
    items: int
    failed: int


def match(
    texts_ND: FloatArray,
    motions_ND: FloatArray,
    order_N: IndexArray | None = None,
    group_size: int = GROUP_SIZE,
) -> Matching:
    """Compute R-precision and MM-Dist in groups of 32 items.

    As in the published code, each text ranks the motions of its group by Euclidean distance, and
    the last incomplete group is dropped. The rank of a text's motion among equally near candidates
    is a matter of chance, so a text counts with the expected value. The published code lets the
    order of a sort decide; without ties both are equal.

    A motion that could not be generated is given as a row of NaN. It counts as not found, no other
    text finds it, and it has no distance.

    Args:
        texts_ND: embeddings of texts, (N, D), finite.
        motions_ND: embeddings of the motions of these texts, (N, D); NaN where generation failed.
        order_N: order in which items are grouped, a permutation of N; by default as given.
        group_size: number of candidates. Values of other sizes than 32 are not comparable with
            published ones.

    Raises:
        ValueError: the shapes differ, texts are not finite, or there are fewer items than one
            group has.
    """
    failed_N = check_pairs(texts_ND, motions_ND)
    num_groups = len(texts_ND) // group_size
    if group_size <= MAX_RANK or not num_groups:
        raise ValueError(
            f"items: expected at least one group of {group_size}, which has more than {MAX_RANK} "
            f"candidates, found {len(texts_ND)} items. Remedy: evaluate more items, or lower the "
            "size of a group and do not compare with published values."
        )
    used_N = np.arange(len(texts_ND)) if order_N is None else np.asarray(order_N)
    used_GB = used_N[: num_groups * group_size].reshape(num_groups, group_size)
    texts_GBD = texts_ND[used_GB].astype(np.float64)
    motions_GBD = motions_ND[used_GB].astype(np.float64)
    failed_GB = failed_N[used_GB]
    motions_GBD[failed_GB] = 0

    # One product of matrices for each group: |a - b|² = |a|² + |b|² - 2 a·b. The mean is taken out
    # first, so that little is lost where all embeddings lie far from the origin.
    center_D = texts_GBD.mean((0, 1))
    texts_GBD -= center_D
    motions_GBD -= center_D
    text_GB = np.einsum("gbd,gbd->gb", texts_GBD, texts_GBD)
    motion_GB = np.einsum("gbd,gbd->gb", motions_GBD, motions_GBD)
    squares_GBB = texts_GBD @ motions_GBD.transpose(0, 2, 1)
    squares_GBB *= -2
    squares_GBB += text_GB[:, :, None]
    squares_GBB += motion_GB[:, None, :]
    np.maximum(squares_GBB, 0, out=squares_GBB)
    own_GB = np.einsum("gbb->gb", squares_GBB).copy()
    np.putmask(squares_GBB, np.broadcast_to(failed_GB[:, None, :], squares_GBB.shape), np.inf)

    margin_GB1 = _SAME * (text_GB + motion_GB)[..., None]
    nearer_GB = (squares_GBB < own_GB[..., None] - margin_GB1).sum(-1)
    equal_GB = (squares_GBB <= own_GB[..., None] + margin_GB1).sum(-1) - nearer_GB
    found_KGB = np.stack(
        [
            np.clip((rank - nearer_GB) / np.maximum(equal_GB, 1), 0, 1)
            for rank in range(1, MAX_RANK + 1)
        ]
    )
    found_KGB[:, failed_GB] = 0
    first, second, third = found_KGB.mean((1, 2)).tolist()
    there_GB = ~failed_GB
    return Matching(
        (first, second, third),
        float(np.sqrt(own_GB[there_GB]).mean()) if there_GB.any() else None,
        int(used_GB.size),
        int(failed_GB.sum()),
    )


def check_pairs(texts_ND: FloatArray, motions_ND: FloatArray) -> BoolArray:
    """Return which motions failed, (N,), after a check of the embeddings of texts and motions.

    Raises:
        ValueError: the shapes are not the same (N, D), texts are not finite, or a row of a motion
            is neither finite nor all NaN.
    """
    if texts_ND.ndim != 2 or texts_ND.shape != motions_ND.shape:
        raise ValueError(
            f"embeddings: expected the same shape (N, D) of texts and motions, found "
            f"{texts_ND.shape} and {motions_ND.shape}. Remedy: give one motion for each text, and "
            "a row of NaN where generation failed."
        )
    if not np.isfinite(texts_ND).all():
        raise ValueError(
            "texts: expected finite embeddings, found NaN or infinity. Remedy: leave these out."
        )
    return failed_rows(motions_ND)


def failed_rows(motions_ND: FloatArray) -> BoolArray:
    """Return which rows are NaN throughout: motions that could not be generated, (N,).

    Raises:
        ValueError: the shape is not (N, D), or a row is neither finite nor all NaN.
    """
    if motions_ND.ndim != 2:
        raise ValueError(f"motions: expected embeddings (N, D), found {motions_ND.shape}.")
    failed_N = np.asarray(np.isnan(motions_ND).all(axis=1))
    broken = np.flatnonzero(~failed_N & ~np.isfinite(motions_ND).all(axis=1))
    if broken.size:
        raise ValueError(
            f"motions: expected finite embeddings, or rows of NaN for failed samples, found others "
            f"in {broken.size} of {len(motions_ND)} rows, the first in row {broken[0]}. Remedy: "
            "check the evaluator's input for NaN."
        )
    return failed_N
