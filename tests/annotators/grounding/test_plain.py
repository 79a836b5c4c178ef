"""The plain form of a text keeps its claims, and leaves out the rest."""

import pytest

from annotators.grounding import plain
from annotators.grounding.claims import Claim, parse_claims
from annotators.grounding.plain import plain_text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a person raises up both hands in a feminine way", "a person raises up both hands"),
        ("an exhausted person walks", "a person walks"),
        ("a tired old man walks", "a man walks"),
        ("Slowly, a person sits down on a low chair.", "a person sits down."),
        ("a man happily waves with his left hand", "a man waves with his left hand"),
        ("the person kicks with the right leg like a boxer", "the person kicks with the right leg"),
    ],
)
def test_a_manner_is_left_out(text: str, wanted: str) -> None:
    assert plain_text(text) == wanted
    assert plain_text(wanted) == wanted


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
    shorter = plain_text(text)
    assert len(shorter) < len(text)
    assert [(c.action, c.side, c.count, c.pace) for c in parse_claims(shorter)] == [
        (c.action, c.side, c.count, c.pace) for c in parse_claims(text)
    ]


def test_a_long_text_takes_one_parse_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " and ".join(["a tired old man slowly walks to a small red house by the sea"] * 8)
    asked: list[str] = []

    def counted(one: str) -> tuple[Claim, ...]:
        asked.append(one)
        return parse_claims(one)

    monkeypatch.setattr(plain, "parse_claims", counted)
    assert len(plain_text(text)) < len(text)
    assert len(asked) <= 8 * 8
