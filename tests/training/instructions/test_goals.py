"""Keys of goals: one for the same goal in other words, others for other goals."""

import pytest

from training.instructions.goals import goal_key


@pytest.mark.parametrize(
    "goals",
    [
        ("Wash the dishes", "wash dishes.", "Washing  a dish", "Clean dishes"),
        ("Turn on light", "Turn lights off", "Turning the light on"),
        ("Get dressed", "Getting  dresses", "Dressing"),
        ("Send email", "Sent emails"),
        ("Straighten pictures on wall", "Straighten paintings on the walls"),
        ("Tidy up", "Tidying", "tidies"),
        ("Cut bread", "Cutting the bread"),
        ("Watch TV", "watch television"),
    ],
)
def test_a_goal_in_other_words_has_the_same_key(goals: tuple[str, ...]) -> None:
    assert len({goal_key(goal) for goal in goals}) == 1


def test_other_goals_have_other_keys() -> None:
    goals = ("Wash dishes", "Wash hands", "Send email", "Watch movie", "Sit", "Relax on sofa")
    assert len({goal_key(goal) for goal in goals}) == len(goals)
    # Nothing but light words is a goal too.
    assert goal_key("Get up") == "get up"
    assert goal_key("?") == ""
