"""The plain form of a text keeps its claims, and leaves out the rest."""

import pytest

from annotators.grounding.claims import parse_claims
from annotators.grounding.plain import plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a person raises up both hands in a feminine way", "a person raises up both hands"),
        ("an exhausted person walks", "a person walks"),
        ("a tired old man walks", "a man walks"),
        ("Slowly, a person sits down on a low chair.", "a person sits down."),
        ("a man happily waves with his left hand", "a man waves with his left hand"),
        ("the person kicks with the right leg like a boxer", "the person kicks with the right leg"),
    ],
)
def test_a_manner_is_left_out(text: str, plain: str) -> None:
    assert plain_text(text) == plain
    assert plain_text(plain) == plain


@pytest.mark.parametrize(
    "text",
    [
        *("a person walks slowly in a circle", "someone hops backward twice on the left leg"),
        *("someone hums a happy tune", "a young person", "jumps", ""),
    ],
)
def test_what_counts_stays_and_so_does_what_nothing_is_known_of(text: str) -> None:
    assert plain_text(text) == text


def test_the_claims_are_the_same() -> None:
    text = "After a short rest, an angry-looking woman quickly turns around and claps three times!"
    plain = plain_text(text)
    assert len(plain) < len(text)
    assert [(c.action, c.side, c.count, c.pace) for c in parse_claims(plain)] == [
        (c.action, c.side, c.count, c.pace) for c in parse_claims(text)
    ]
