"""Published results, and when they may stand beside measured ones.

They are shown only beside results of the published evaluator on HumanML3D's test set whose real
motions have the published R-precision: other weights, statistics or clips give figures that cannot
be compared.
"""

import hashlib
from typing import Final

from pydantic import BaseModel, ConfigDict

from data.importers.humanml3d import KNOWN_BAD
from evaluation.evaluators.evaluator import Evaluator
from evaluation.evaluators.pairs import PairDataConfig, Pairs
from evaluation.metrics.protocol import ProtocolConfig

PROTOCOL_FRAMES: Final = (40, 199)
"""Frames of the shortest and of the longest clip of the published protocol."""
_TOLERANCE: Final = 0.01
"""Largest difference of the real motions' R-precision@3 from the published value. The published
95 % interval is 0.002; the choice of captions and the cropping of clips add to it."""
_HUMANML3D_NAMES: Final = "2bec333e2f170dc03af55223ba13bb40e88d4167558c2b06fc7af0693c88be7f"
"""SHA-256 of the sorted names of HumanML3D's 4,384 test motions without the known bad clips."""


class PublishedResult(BaseModel):
    """The figures of one row, as published.

    Attributes:
        row: the method.
        source: the publication.
        values: value of each metric.
    """

    model_config = ConfigDict(frozen=True)

    row: str
    source: str
    values: dict[str, float]


def _published(row: str, source: str, *values: float | None) -> PublishedResult:
    names = ("fid", "r_precision_1", "r_precision_2", "r_precision_3", "mm_dist", "diversity")
    known = zip((*names, "multimodality"), values, strict=True)
    return PublishedResult(
        row=row, source=source, values={name: one for name, one in known if one is not None}
    )


PUBLISHED: Final = (
    _published(
        *("real motion", "Guo et al., CVPR 2022"),
        *(0.002, 0.511, 0.703, 0.797, 2.974, 9.503, None),
    ),
    _published(
        *("T2M-GPT", "Zhang et al., CVPR 2023"),
        *(0.116, 0.491, 0.680, 0.775, 3.118, 9.761, 1.856),
    ),
    _published(
        *("MotionGPT", "Jiang et al., NeurIPS 2023"),
        *(0.232, 0.492, 0.681, 0.778, 3.096, 9.528, 2.008),
    ),
    _published(
        *("MoMask", "Guo et al., CVPR 2024"),
        *(0.045, 0.521, 0.713, 0.807, 2.958, None, 1.241),
    ),
    _published(
        *("AvatarGPT", "Zhou et al., CVPR 2024"),
        *(0.168, 0.510, None, None, None, None, None),
    ),
)
"""Published results of text-to-motion on HumanML3D's test set."""


def is_humanml3d_test(pairs: Pairs, config: PairDataConfig) -> bool:
    """Whether a test split is that of HumanML3D, with clips of the protocol's lengths.

    Args:
        pairs: the test split of :func:`~evaluation.evaluators.pairs.read_pairs`.
        config: selection that it was read with.
    """
    names = sorted(name for name in pairs.names if name.removeprefix("M") not in KNOWN_BAD)
    named = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return (
        named == _HUMANML3D_NAMES
        and all(clip.source == "humanml3d" for clip in pairs.clips)
        and (config.min_frames, config.max_frames) == PROTOCOL_FRAMES
    )


def why_not_comparable(
    evaluator: Evaluator,
    protocol: ProtocolConfig,
    real_r_precision_3: float | None,
    *,
    is_humanml3d: bool,
) -> str:
    """Return why published results cannot stand beside measured ones; empty if they can.

    Args:
        evaluator: what the results were measured with.
        protocol: sizes that they were measured with.
        real_r_precision_3: R-precision@3 of the real motions; None if it was not measured.
        is_humanml3d: whether all clips of HumanML3D's test set, and no others, were measured.
    """
    if evaluator.kind != "published":
        return f"{evaluator.name} is not the published evaluator"
    if not is_humanml3d:
        return (
            "the clips are not those of HumanML3D's test set, mirror images included, with "
            "{} to {} frames".format(*PROTOCOL_FRAMES)
        )
    if protocol.model_copy(update={"seed": 0}) != ProtocolConfig():
        return "the sizes of the protocol are not the published ones"
    expected = PUBLISHED[0].values["r_precision_3"]
    if real_r_precision_3 is None or abs(real_r_precision_3 - expected) > _TOLERANCE:
        found = "not measured" if real_r_precision_3 is None else f"{real_r_precision_3:.3f}"
        return (
            f"R-precision@3 of the real motions is {found}, the published one is {expected}: check "
            "the weights, the word vectors and the statistics of the evaluator"
        )
    return ""
