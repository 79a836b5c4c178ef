"""Results that carry their evaluator and test set, so that figures are never mixed.

A table holds the results of one evaluator on one test set. Published rows are shown only beside
results of the published evaluator on HumanML3D's test set whose ground truth has the published
R-precision: other weights, statistics or clips give figures that cannot be compared.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from data.importers.humanml3d import KNOWN_BAD
from evaluation.evaluators.evaluator import Evaluator, EvaluatorKind
from evaluation.evaluators.pairs import PairDataConfig, Pairs

GROUND_TRUTH: Final = "ground truth"
"""Name of the row of the real motions."""
TOLERANCE: Final = 0.01
"""Largest difference of the ground truth's R-precision@3 from the published value. The published
95 % interval is 0.002; the choice of captions and the cropping of clips add to it."""

_HUMANML3D_NAMES: Final = "2bec333e2f170dc03af55223ba13bb40e88d4167558c2b06fc7af0693c88be7f"
"""SHA-256 of the sorted names of HumanML3D's 4,384 test motions without the known bad clips."""
_PROTOCOL_FRAMES: Final = (40, 199)


class ClipSet(BaseModel):
    """What results were computed on.

    Attributes:
        test_set_id: hash of the names and captions of the clips.
        clips: number of clips.
        is_humanml3d: whether it is the test set of HumanML3D, with clips of 40 to 199 frames.
    """

    model_config = ConfigDict(frozen=True)

    test_set_id: str
    clips: int
    is_humanml3d: bool


class JudgedResult(BaseModel):
    """The figures of one row, as measured with one evaluator.

    Attributes:
        row: what was measured, e.g. ``ground truth`` or the version of a model.
        evaluator: name of the evaluator.
        evaluator_kind: its kind.
        test_set: the clips.
        values: mean of each metric, e.g. ``r_precision_3``.
        half_widths: half width of the 95 % interval of metrics that were repeated.
    """

    model_config = ConfigDict(frozen=True)

    row: str
    evaluator: str
    evaluator_kind: EvaluatorKind
    test_set: ClipSet
    values: dict[str, float]
    half_widths: dict[str, float] = Field(default_factory=dict)


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


class ResultTable(BaseModel):
    """Rows that may stand in one table.

    Attributes:
        judged: results of one evaluator on one test set.
        published: published results beside them; empty unless they can be compared.
    """

    model_config = ConfigDict(frozen=True)

    judged: tuple[JudgedResult, ...]
    published: tuple[PublishedResult, ...] = ()


def describe_test_set(pairs: Pairs, config: PairDataConfig) -> ClipSet:
    """Describe the clips of a test split.

    Args:
        pairs: the test split of :func:`~evaluation.evaluators.pairs.prepare_pairs`.
        config: selection that it was read with.
    """
    digest = hashlib.sha256()
    for clip in pairs.clips:
        digest.update("\0".join((clip.source_id, *clip.captions, "")).encode())
    names = sorted(name for name in pairs.names if name.removeprefix("M") not in KNOWN_BAD)
    named = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return ClipSet(
        test_set_id=digest.hexdigest()[:16],
        clips=len(pairs),
        is_humanml3d=named == _HUMANML3D_NAMES
        and all(clip.source == "humanml3d" for clip in pairs.clips)
        and (config.min_frames, config.max_frames) == _PROTOCOL_FRAMES,
    )


def judged_by(
    evaluator: Evaluator,
    test_set: ClipSet,
    row: str,
    values: Mapping[str, float],
    half_widths: Mapping[str, float] | None = None,
) -> JudgedResult:
    """Return the figures of one row with the evaluator that they were measured with."""
    return JudgedResult(
        row=row,
        evaluator=evaluator.name,
        evaluator_kind=evaluator.kind,
        test_set=test_set,
        values=dict(values),
        half_widths=dict(half_widths or {}),
    )


def result_table(results: Sequence[JudgedResult], *, published: bool = False) -> ResultTable:
    """Put results into one table.

    Args:
        results: at least one result.
        published: whether to add the published rows.

    Raises:
        ValueError: the results are of several evaluators or test sets, or cannot be compared with
            the published rows.
    """
    for what, found in (
        ("evaluator", {result.evaluator for result in results}),
        ("test set", {result.test_set.test_set_id for result in results}),
    ):
        if len(found) != 1:
            raise ValueError(
                f"results: expected those of one {what} in a table, found {sorted(found)}. "
                f"Remedy: make a table for each {what}."
            )
    if not published:
        return ResultTable(judged=tuple(results))
    first = results[0]
    if first.evaluator_kind != "published" or not first.test_set.is_humanml3d:
        raise ValueError(
            "published rows: expected results of the published evaluator on HumanML3D's test set, "
            f"found those of {first.evaluator} on {first.test_set.clips} clips"
            f"{'' if first.test_set.is_humanml3d else ' of another set'}. Remedy: leave the "
            "published rows out, or import the evaluator with import_published and HumanML3D with "
            "its split lists, and set mirrored_test."
        )
    expected = PUBLISHED[0].values["r_precision_3"]
    real = [result.values.get("r_precision_3") for result in results if result.row == GROUND_TRUTH]
    if len(real) != 1 or real[0] is None or abs(real[0] - expected) > TOLERANCE:
        raise ValueError(
            f"published rows: expected one row {GROUND_TRUTH!r} with the published R-precision@3 "
            f"of {expected} +- {TOLERANCE}, found {real}. Remedy: check the weights, the word "
            "vectors and the statistics of the evaluator."
        )
    return ResultTable(judged=tuple(results), published=PUBLISHED)
