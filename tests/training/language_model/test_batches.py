"""Rows in groups of like lengths."""

from itertools import combinations

import numpy as np

from training.instructions.tasks import Instruction, Task
from training.language_model.batches import Encoded, cheapest_groups


def _rows(lengths: list[tuple[int, int]]) -> list[Encoded]:
    one = Instruction(Task.T2S, ("a",), "b", "c")
    return [Encoded(one, [3] * prompt, [4] * answer) for prompt, answer in lengths]


def _cost(groups: list[list[Encoded]]) -> int:
    cost = 0
    for group in groups:
        prompt, answer = (max(map(len, ids)) for ids in zip(*map(_ids, group), strict=True))
        cost += len(group) * (prompt**2 + answer**2 + prompt * answer)
    return cost


def _ids(one: Encoded) -> tuple[list[int], list[int]]:
    return one.prompt, one.answer


def test_groups_are_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)
    given = _rows([(int(a), int(b)) for a, b in rng.integers(1, 60, (9, 2))])
    for count in (1, 2, 4, 9):
        groups = cheapest_groups(given, count)
        rows = [one for group in groups for one in group]
        assert sorted(map(id, rows)) == sorted(map(id, given))
        assert len(groups) == count
        assert all(groups)
        every = [
            [rows[i:j] for i, j in zip((0, *cuts), (*cuts, len(rows)), strict=True)]
            for cuts in combinations(range(1, len(rows)), count - 1)
        ]
        assert _cost(groups) == min(map(_cost, every))


def test_a_long_row_stands_alone() -> None:
    rows = _rows([(10, 5), (200, 90), (12, 5), (11, 5)])
    assert [len(group) for group in cheapest_groups(rows, 2)] == [3, 1]


def test_rows_of_a_group_are_alike() -> None:
    rng = np.random.default_rng(1)
    # Instructions are short, and a few are long.
    rows = _rows([(int(a), int(b)) for a, b in rng.geometric((1 / 80, 1 / 30), (80, 2))])
    by_prompt = sorted(rows, key=lambda one: len(one.prompt))
    sorted_groups = [by_prompt[first : first + 10] for first in range(0, 80, 10)]
    assert _cost(cheapest_groups(rows, 8)) < 0.6 * _cost(sorted_groups)
