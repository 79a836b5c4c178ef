"""Rows beside their likes, and parts where padding costs least."""

from itertools import combinations

import numpy as np

from training.batches import Encoded, cheapest_parts, neighbours
from training.instructions import Instruction, Task


def _rows(lengths: list[tuple[int, int]]) -> list[Encoded]:
    one = Instruction(Task.T2S, ("a",), "b", "c")
    return [Encoded(one, [3] * prompt, [4] * answer) for prompt, answer in lengths]


def _cost(parts: list[list[Encoded]]) -> int:
    return sum(
        len(part) * (max(len(o.prompt) for o in part) + 2 * max(len(o.answer) for o in part))
        for part in parts
    )


def test_parts_are_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)
    rows = _rows([(int(a), int(b)) for a, b in rng.integers(1, 60, (9, 2))])
    for count in (1, 2, 4, 9):
        parts = cheapest_parts(rows, count)
        assert [one for part in parts for one in part] == rows
        assert len(parts) == count
        assert all(parts)
        every = [
            [rows[i:j] for i, j in zip((0, *cuts), (*cuts, len(rows)), strict=True)]
            for cuts in combinations(range(1, len(rows)), count - 1)
        ]
        assert _cost(parts) == min(map(_cost, every))


def test_a_long_row_stands_alone() -> None:
    rows = _rows([(10, 5), (11, 5), (12, 5), (200, 90)])
    assert [len(part) for part in cheapest_parts(rows, 2)] == [3, 1]


def test_neighbours_are_alike() -> None:
    rng = np.random.default_rng(1)
    rows = _rows([(int(a), int(b)) for a, b in rng.integers(1, 200, (400, 2))])
    ordered = neighbours(rows, 40)
    assert sorted(map(id, ordered)) == sorted(map(id, rows))
    runs = [ordered[first : first + 10] for first in range(0, 400, 10)]
    by_prompt = sorted(rows, key=lambda one: len(one.prompt))
    sorted_runs = [by_prompt[first : first + 10] for first in range(0, 400, 10)]
    assert _cost(runs) < 0.75 * _cost(sorted_runs)
