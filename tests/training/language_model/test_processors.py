"""When motions end."""

import math

import pytest
import torch
from torch import Tensor

from training.instructions.vocabulary import TEXT_END
from training.language_model.processors import OwnEnds

WIDTH = 12
ROWS = 4000


def _scores(end: float, rows: int) -> Tensor:
    """Return logits of which the end has a given probability, and the likeliest token has most."""
    chances_W = torch.full((WIDTH,), (1 - end) * 0.1 / (WIDTH - 2))
    chances_W[-1] = (1 - end) * 0.9
    chances_W[TEXT_END] = end
    return chances_W.log().repeat(rows, 1)


def _lengths(ends: list[float], motion_B: Tensor, *, greedy: bool) -> list[int]:
    """Return the step at which each row has to end, and check that it cannot end before."""
    process = OwnEnds(motion_B, greedy=greedy)
    ids = torch.zeros(len(motion_B), 1, dtype=torch.long)
    lengths = [0] * len(motion_B)
    for step, end in enumerate(ends):
        scores = _scores(end, len(motion_B))
        found = process(ids, scores.clone())
        for row in range(len(motion_B)):
            others = [score for i, score in enumerate(found[row].tolist()) if i != TEXT_END]
            forced = all(score == -math.inf for score in others)
            assert forced != (found[row, TEXT_END].item() == -math.inf)
            if not forced:
                assert others == [x for i, x in enumerate(scores[row].tolist()) if i != TEXT_END]
            lengths[row] = lengths[row] or (step if forced else 0)
    return lengths


def test_a_likely_motion_has_the_median_length() -> None:
    # 0.9 · 0.9 · 0.8 · 0.7 is the first product below one half; no end is likely by itself.
    motion_B = torch.ones(2, dtype=torch.bool)
    assert _lengths([0.0, 0.1, 0.1, 0.2, 0.3, 0.3], motion_B, greedy=True) == [4, 4]


def test_motions_end_as_often_as_the_model_says() -> None:
    torch.manual_seed(0)
    ends = [0.0, 0.05, 0.1, 0.02, 0.3]
    process = OwnEnds(torch.ones(ROWS, dtype=torch.bool), greedy=False)
    ids = torch.zeros(ROWS, 1, dtype=torch.long)
    going_on = 1.0
    for end in ends:
        found = process(ids, _scores(end, ROWS))
        going_on *= 1 - end
        share = (found[:, TEXT_END] == -torch.inf).float().mean().item()
        assert share == pytest.approx(going_on, abs=0.02)


def test_an_end_that_is_certain_ends_every_motion() -> None:
    process = OwnEnds(torch.ones(ROWS, dtype=torch.bool), greedy=False)
    scores = torch.full((ROWS, WIDTH), -torch.inf)
    scores[:, TEXT_END] = 0.0
    found = process(torch.zeros(ROWS, 1, dtype=torch.long), scores.clone())
    assert torch.equal(found, scores)


def test_a_motion_that_is_stuck_ends_in_the_end() -> None:
    rows = torch.ones(2, dtype=torch.bool)
    process = OwnEnds(rows, greedy=True)
    # The first goes on through a cycle of five tokens, the second through six.
    ids = torch.stack([3 + torch.arange(90) % 5, 3 + torch.arange(90) % 6])
    ended: list[list[bool]] = []
    for length in range(1, 90):
        found = process(ids[:, :length], _scores(1e-4, 2))
        ended.append((found[:, TEXT_END] == 0).tolist())
    first, second = zip(*ended, strict=True)
    # Seven ends of one in ten are the first that make an end likely.
    assert first.index(True) + 1 == 31 + 6
    assert not any(second)


def test_texts_are_not_changed() -> None:
    process = OwnEnds(torch.tensor([False, True]), greedy=True)
    scores = _scores(0.7, 2)
    found = process(torch.zeros(2, 1, dtype=torch.long), scores.clone())
    assert torch.equal(found[0], scores[0])
    assert found[1, TEXT_END] == 0
