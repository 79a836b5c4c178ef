"""Plans of which the scores are known."""

import pytest

from evaluation.metrics.plans import (
    cycle_consistency,
    distinct_share,
    has_loop,
    normalized,
    score_plans,
)

TEA = ["Boil water.", "Put a bag into the cup.", "Pour the water into the cup."]


def test_steps_against_the_closest_reference() -> None:
    plans = [["boil water", "pour the water into the cup"], ["Sit down."], []]
    references = [[["Walk."], TEA], [["Sit down"]], [TEA]]
    found = score_plans(plans, references)
    # 2 of 2 steps answered and 2 of 3 wanted: 2 · 2 / (2 + 3); then 1 and 0.
    assert found.step_f1 == pytest.approx((0.8 + 1 + 0) / 3)
    assert (found.empty, found.plans, found.distinct) == (1, 3, 1)
    assert (found.looping, found.repeated_steps) == (0, 0)


def test_repeated_steps_do_not_score_twice() -> None:
    found = score_plans([["walk", "walk", "walk"]], [[["walk", "sit"]]])
    assert found.step_f1 == pytest.approx(2 * 1 / (3 + 2))
    assert found.repeated_steps == pytest.approx(2 / 3)
    assert found.looping == 1


@pytest.mark.parametrize(
    ("steps", "loops"),
    [
        ("a b c", False),
        ("a b a", False),
        ("a b b", True),
        ("a b a b", True),
        ("x a b c a b c y", True),
        ("a b c a b d a b c", False),
        ("a", False),
        ("", False),
    ],
)
def test_loops_are_runs_that_follow_themselves(steps: str, loops: bool) -> None:
    assert has_loop(normalized(steps.split())) is loops


def test_distinct_answers() -> None:
    found = score_plans([TEA, ["boil water!", *TEA[1:]], ["Sit."], ["Walk."]], [[TEA]] * 4)
    assert found.distinct == pytest.approx(3 / 4)
    assert distinct_share(["Make tea.", "make  TEA", "sit", "walk"]) == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="at least 1, found none"):
        distinct_share([])


def test_cycles_that_come_back() -> None:
    goals = ["make tea", "wash the dishes", "go to bed"]
    same = cycle_consistency(goals, goals)
    assert (same.rouge_l, same.found, same.chance) == (1, 1, pytest.approx(1 / 3))
    # One comes back, one as another goal, one not at all.
    found = cycle_consistency(goals, ["Make tea!", "go to bed", ""])
    assert found.found == pytest.approx(1 / 3)
    assert found.rouge_l == pytest.approx(1 / 3)


def test_one_answer_to_everything_is_at_chance() -> None:
    goals = ["make tea", "make coffee", "make a bed", "make a cake"]
    found = cycle_consistency(goals, ["make"] * 4)
    assert found.rouge_l > 0.5
    assert found.found == pytest.approx((1 / 2 + 1 / 2 + 0 + 0) / 4)
    assert cycle_consistency(goals, ["make tea"] * 4).found == found.chance == 0.25


def test_missing_references_are_refused() -> None:
    with pytest.raises(ValueError, match="found 1 lists for 2 plans"):
        score_plans([TEA, TEA], [[TEA]])
    with pytest.raises(ValueError, match="references of item 1"):
        score_plans([TEA, TEA], [[TEA], [[]]])
    with pytest.raises(ValueError, match="found 0 for 1"):
        cycle_consistency(["make tea"], [])
    with pytest.raises(ValueError, match="expected texts with words, found '!'"):
        cycle_consistency(["make tea", "!"], ["make tea", "sit"])
