"""The protocol of text-to-motion, item by item as published, and with arrays as its code has it.

Both renditions start from the embeddings of an evaluator network, draw the same numbers in the same
order as :func:`evaluation.metrics.protocol.score_motions`, and so give the same values. They are
baselines of ``benchmarks/evaluate.py`` and independent calculations for the tests.

Shapes: N items, D embedding size, M texts with S samples each, B items of a group.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from evaluation.metrics.protocol import ProtocolConfig

Values = Mapping[str, list[float]]
Array = NDArray[np.floating]


def frechet(motions_ND: Array, real_ND: Array) -> float:
    """Return the FID by the square root of the product of the covariances."""
    between_D = motions_ND.mean(0) - real_ND.mean(0)
    made_DD, real_DD = np.cov(motions_ND, rowvar=False), np.cov(real_ND, rowvar=False)
    root_DD = np.real(np.asarray(sqrtm(made_DD @ real_DD)))
    return float(between_D @ between_D + np.trace(made_DD + real_DD - 2 * root_DD))


def item_by_item(
    texts_ND: Array, motions_ND: Array, real_ND: Array, samples_MSD: Array, config: ProtocolConfig
) -> Values:
    """Score motions with a loop over items, and another over pairs."""
    values: dict[str, list[float]] = {
        name: [] for name in ("r1", "r2", "r3", "mm_dist", "fid", "diversity", "multimodality")
    }
    for seed in config.seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(texts_ND))
        size = config.group_size
        hits = np.zeros(3)
        matched = 0.0
        asked = len(order) // size * size
        for first in range(0, asked, size):
            group = order[first : first + size]
            for place, item in enumerate(group):
                distances = [np.linalg.norm(texts_ND[item] - motions_ND[other]) for other in group]
                rank = int(np.argsort(distances).tolist().index(place))
                hits[rank:] += 1
                matched += float(distances[place])
        values["r1"].append(hits[0] / asked)
        values["r2"].append(hits[1] / asked)
        values["r3"].append(hits[2] / asked)
        values["mm_dist"].append(matched / asked)
        values["fid"].append(frechet(motions_ND, real_ND))
        pairs = [rng.choice(len(motions_ND), config.diversity_pairs, replace=False) for _ in "12"]
        apart = [
            np.linalg.norm(motions_ND[one] - motions_ND[other])
            for one, other in zip(*pairs, strict=True)
        ]
        values["diversity"].append(float(np.mean(apart)))
        pairs = [
            rng.choice(samples_MSD.shape[1], config.multimodality_pairs, replace=False)
            for _ in "12"
        ]
        apart = [
            np.linalg.norm(samples_SD[one] - samples_SD[other])
            for samples_SD in samples_MSD
            for one, other in zip(*pairs, strict=True)
        ]
        values["multimodality"].append(float(np.mean(apart)))
    return values


def group_by_group(
    texts_ND: Array,
    motions_ND: Array,
    real_ND: Array,
    samples_MSD: Array,
    config: ProtocolConfig,
    *,
    fid_once: bool = False,
) -> Values:
    """Score motions with a matrix of distances for each group, as the published code does.

    It computes the FID in each repeat; ``fid_once`` does so once, as the motions are the same.
    """
    known = frechet(motions_ND, real_ND) if fid_once else None
    values: dict[str, list[float]] = {
        name: [] for name in ("r1", "r2", "r3", "mm_dist", "fid", "diversity", "multimodality")
    }
    for seed in config.seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(texts_ND))
        size = config.group_size
        hits = np.zeros(3)
        matched = 0.0
        asked = len(order) // size * size
        for first in range(0, asked, size):
            group = order[first : first + size]
            texts_BD, motions_BD = texts_ND[group], motions_ND[group]
            squares_BB = (texts_BD**2).sum(1)[:, None] + (motions_BD**2).sum(1)
            distances_BB = np.sqrt(np.maximum(squares_BB - 2 * texts_BD @ motions_BD.T, 0))
            sorted_BB = np.argsort(distances_BB, axis=1)
            found_BB = sorted_BB == np.arange(size)[:, None]
            hits += found_BB[:, :3].cumsum(1).sum(0)
            matched += float(np.trace(distances_BB))
        for rank in range(3):
            values[f"r{rank + 1}"].append(hits[rank] / asked)
        values["mm_dist"].append(matched / asked)
        values["fid"].append(frechet(motions_ND, real_ND) if known is None else known)
        first_P, second_P = (
            rng.choice(len(motions_ND), config.diversity_pairs, replace=False) for _ in "12"
        )
        apart_PD = motions_ND[first_P] - motions_ND[second_P]
        values["diversity"].append(float(np.linalg.norm(apart_PD, axis=1).mean()))
        first_P, second_P = (
            rng.choice(samples_MSD.shape[1], config.multimodality_pairs, replace=False)
            for _ in "12"
        )
        apart_MPD = samples_MSD[:, first_P] - samples_MSD[:, second_P]
        values["multimodality"].append(float(np.linalg.norm(apart_MPD, axis=2).mean()))
    return values
