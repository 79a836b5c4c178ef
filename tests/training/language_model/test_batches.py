"""Rows in groups of like lengths."""

from itertools import combinations

import numpy as np

from training.instructions.tasks import Instruction, Task, prompt_of
from training.instructions.vocabulary import Vocabulary, train_text_tokenizer
from training.language_model.batches import (
    Encoded,
    InstructionEncoder,
    cheapest_groups,
    with_noise,
)


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


def test_noise_replaces_earlier_tokens_of_motions_alone() -> None:
    text = train_text_tokenizer(["walk walks run runs"], 128)
    vocabulary = Vocabulary(text.num_pieces, 50)
    encoder = InstructionEncoder(text, vocabulary, 512, 256)
    codes = tuple(range(25)) * 8
    motions = [
        Instruction(Task.T2M, prompt_of(Task.T2M, caption="walks"), codes, "m") for _ in range(40)
    ]
    texts = [Instruction(Task.M2T, prompt_of(Task.M2T, codes=codes), "walks runs", "m")]
    batch = encoder.batch([[encoder.encode(one) for one in (*motions, *texts)]])
    noisy = with_noise(batch, vocabulary, 0.5, np.random.default_rng(0))
    assert noisy.labels_M is batch.labels_M
    assert noisy.prompts_N is batch.prompts_N
    changed_M = noisy.inputs_M != batch.inputs_M
    rows_M = batch.answers.rows_N
    assert not changed_M[rows_M == 40].any()
    shares = [float(changed_M[rows_M == row].float().mean()) for row in range(40)]
    assert max(shares) < 0.6
    assert min(shares) < 0.1
    assert 0.2 < float(np.mean(shares)) < 0.3
    # The start of an answer stays; what replaces a code is a code.
    starts_M = batch.inputs_M == vocabulary.motion_start
    assert not changed_M[starts_M].any()
    drawn = noisy.inputs_M[changed_M]
    assert ((drawn >= vocabulary.num_text) & (drawn < vocabulary.motion_start)).all()
    assert len(drawn.unique()) == 50
