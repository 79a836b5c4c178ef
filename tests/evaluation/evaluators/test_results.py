"""Results carry their evaluator; published rows stand only beside comparable ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.corpus import REFERENCE
from data.arrays import FloatArray
from evaluation.evaluators.evaluator import EMBEDDING_WIDTH, EvaluatorKind
from evaluation.evaluators.pairs import CaptionedClip, PairDataConfig, Pairs
from evaluation.evaluators.results import (
    GROUND_TRUTH,
    PUBLISHED,
    ClipSet,
    JudgedResult,
    describe_test_set,
    judged_by,
    result_table,
)


class _Named:
    """An evaluator of which only kind and name matter."""

    def __init__(self, kind: EvaluatorKind, name: str) -> None:
        self.kind: EvaluatorKind = kind
        self.name = name

    def embed_motions(self, motions: Sequence[Any]) -> FloatArray:
        return np.zeros((len(motions), EMBEDDING_WIDTH))

    def embed_texts(self, captions: Sequence[str]) -> FloatArray:
        return np.zeros((len(captions), EMBEDDING_WIDTH))


_PUBLISHED = _Named("published", "published-1")
_HUMANML3D = ClipSet(test_set_id="a", clips=4640, is_humanml3d=True)
_OTHER = ClipSet(test_set_id="b", clips=265, is_humanml3d=False)


def _result(
    evaluator: _Named = _PUBLISHED,
    test_set: ClipSet = _HUMANML3D,
    row: str = GROUND_TRUTH,
    r3: float = 0.797,
) -> JudgedResult:
    return judged_by(evaluator, test_set, row, {"r_precision_3": r3})


def test_results_of_one_evaluator_and_test_set_make_a_table() -> None:
    results = [_result(), _result(row="v-1", r3=0.7)]
    assert result_table(results).judged == tuple(results)
    assert result_table(results).published == ()
    assert results[1].evaluator == "published-1"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (_result(_Named("matching", "matching-2")), "one evaluator"),
        (_result(_Named("published", "published-2")), "one evaluator"),
        (_result(test_set=_OTHER), "one test set"),
    ],
)
def test_figures_are_never_mixed(other: JudgedResult, what: str) -> None:
    with pytest.raises(ValueError, match=f"expected those of {what} in a table"):
        result_table([_result(), other])


def test_published_rows_stand_beside_comparable_results() -> None:
    table = result_table([_result(r3=0.795), _result(row="v-1", r3=0.7)], published=True)
    assert table.published == PUBLISHED
    assert table.published[0].values["fid"] == 0.002


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ([_result(_Named("matching", "matching-2"))], "found those of matching-2"),
        ([_result(test_set=_OTHER)], "265 clips of another set"),
        ([_result(r3=0.6)], r"R-precision@3 of 0.797 \+- 0.01, found \[0.6\]"),
        ([_result(row="v-1")], r"found \[\]"),
    ],
)
def test_published_rows_are_refused_beside_others(results: list[JudgedResult], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        result_table(results, published=True)


def _clip(name: str, caption: str = "a person walks") -> CaptionedClip:
    return CaptionedClip(name, "humanml3d", name, np.zeros((40, 263), np.float32), (caption,))


def test_a_test_set_is_known_by_its_clips_and_captions() -> None:
    config = PairDataConfig(dataset=Path("x"))
    first = describe_test_set(Pairs((_clip("000001"), _clip("000002"))), config)
    assert first.clips == 2
    assert not first.is_humanml3d
    again = describe_test_set(Pairs((_clip("000001"), _clip("000002"))), config)
    other = describe_test_set(Pairs((_clip("000001"), _clip("000002", "he runs"))), config)
    assert first == again
    assert first.test_set_id != other.test_set_id


@pytest.mark.corpus
def test_the_test_set_of_humanml3d_is_recognized() -> None:
    names = (REFERENCE / "humanml3d_sample" / "test.txt").read_text().split()
    # The loader of HumanML3D rejects the known bad clips.
    names = [name for name in names if name not in {"007975", "M007975"}]
    config = PairDataConfig(dataset=Path("x"), mirrored_test=True)
    pairs = Pairs((_clip(names[0]),), names=frozenset(names))
    assert describe_test_set(pairs, config).is_humanml3d
    fewer = Pairs(pairs.clips, names=frozenset(names[1:]))
    assert not describe_test_set(fewer, config).is_humanml3d
    longer = config.model_copy(update={"max_frames": 300})
    assert not describe_test_set(pairs, longer).is_humanml3d
