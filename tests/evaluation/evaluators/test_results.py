"""Published results stand only beside results that can be compared with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.corpus import REFERENCE
from data.arrays import FloatArray
from evaluation.evaluators.evaluator import EMBEDDING_WIDTH, EvaluatorKind
from evaluation.evaluators.pairs import CaptionedClip, PairDataConfig, Pairs
from evaluation.evaluators.results import PUBLISHED, is_humanml3d_test, why_not_comparable
from evaluation.metrics.protocol import ProtocolConfig


class _Named:
    """An evaluator of which only kind and name matter."""

    def __init__(self, kind: EvaluatorKind) -> None:
        self.kind: EvaluatorKind = kind
        self.name = f"{kind}-1"

    def embed_motions(self, motions: Sequence[Any]) -> FloatArray:
        return np.zeros((len(motions), EMBEDDING_WIDTH))

    def embed_texts(self, captions: Sequence[str]) -> FloatArray:
        return np.zeros((len(captions), EMBEDDING_WIDTH))


def _why(
    kind: EvaluatorKind = "published",
    real: float | None = 0.795,
    *,
    is_humanml3d: bool = True,
    **protocol: int,
) -> str:
    sizes = ProtocolConfig.model_validate(protocol)
    return why_not_comparable(_Named(kind), sizes, real, is_humanml3d=is_humanml3d)


def test_published_results_stand_beside_comparable_ones() -> None:
    assert _why() == _why(real=0.806) == _why(seed=3) == ""
    assert PUBLISHED[0].values["r_precision_3"] == 0.797
    assert PUBLISHED[0].values["fid"] == 0.002


@pytest.mark.parametrize(
    ("why", "told"),
    [
        (_why("matching"), "matching-1 is not the published evaluator"),
        (_why("contrastive"), "contrastive-1 is not the published evaluator"),
        (_why(is_humanml3d=False), "the clips are not those of HumanML3D's test set"),
        (_why(real=0.6), "R-precision@3 of the real motions is 0.600, the published one is 0.797"),
        (_why(real=None), "R-precision@3 of the real motions is not measured"),
        (_why(group_size=16), "the sizes of the protocol are not the published ones"),
    ],
)
def test_published_results_do_not_stand_beside_others(why: str, told: str) -> None:
    assert told in why


def _clip(name: str, source: str = "humanml3d") -> CaptionedClip:
    return CaptionedClip(name, source, name, np.zeros((40, 263), np.float32), ("a person walks",))


def test_other_test_sets_are_not_that_of_humanml3d() -> None:
    config = PairDataConfig(dataset=Path("x"), mirrored_test=True)
    clips = _clip("000001"), _clip("000002")
    assert not is_humanml3d_test(Pairs(clips, names=frozenset(("000001", "000002"))), config)


@pytest.mark.corpus
def test_the_test_set_of_humanml3d_is_recognized() -> None:
    names = (REFERENCE / "humanml3d_sample" / "test.txt").read_text().split()
    # The loader of HumanML3D rejects the known bad clips.
    names = [name for name in names if name not in {"007975", "M007975"}]
    config = PairDataConfig(dataset=Path("x"), mirrored_test=True)
    pairs = Pairs((_clip(names[0]),), names=frozenset(names))
    assert is_humanml3d_test(pairs, config)
    assert not is_humanml3d_test(Pairs(pairs.clips, names=frozenset(names[1:])), config)
    others = Pairs((_clip(names[0], "arrays"),), names=frozenset(names))
    assert not is_humanml3d_test(others, config)
    assert not is_humanml3d_test(pairs, config.model_copy(update={"max_frames": 300}))
