import pytest

from data.importers.label_texts import label_captions
from data.motion.features import mirror_text


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("walk", "a person walks"),
        ("walk-turn-left", "a person walks and turns left"),
        ("raise-up-right-hand", "a person raises up the right hand"),
        ("wave_both_hands", "a person waves both hands"),
        ("walk-back", "a person walks back"),
        ("TurnRight", "a person turns right"),
        ("run/jog", "a person runs or jogs"),
        ("jump up and down, hop on one foot", "a person jumps up and down and hops on one foot"),
        ("walk and turn", "a person walks and turns"),
        ("kick ball", "a person kicks ball"),
        ("clean", "a person cleans"),
        # These begin with no verb.
        ("slow walk", "a person performs slow walk"),
        ("swordplay", "a person performs swordplay"),
        ("walk, long steps", "a person performs walk, long steps"),
        ("soccer - kick ball", "a person performs soccer: kick ball"),
    ],
)
def test_a_label_becomes_a_sentence(label: str, caption: str) -> None:
    assert label_captions(label)[0] == caption


@pytest.mark.parametrize(
    ("style", "captions"),
    [
        ("normal", ("a person bows", "someone bows", "a person is bowing")),
        (
            "tired",
            (
                "a tired person bows",
                "a person bows in a tired way",
                "someone is bowing in a tired way",
            ),
        ),
        (
            "exhausted",
            (
                "an exhausted person bows",
                "a person bows in an exhausted way",
                "someone is bowing in an exhausted way",
            ),
        ),
        (
            "not-confident",
            (
                "a person who is not confident bows",
                "a person bows in a not confident way",
                "someone is bowing in a not confident way",
            ),
        ),
        ("slowly", ("a person bows slowly", "someone bows slowly", "a person is bowing slowly")),
        (
            "in a hurry",
            (
                "a person bows in a hurry",
                "someone bows in a hurry",
                "a person is bowing in a hurry",
            ),
        ),
        (
            "LeftHand",
            (
                "a person bows in left hand style",
                "someone bows in left hand style",
                "a person is bowing in left hand style",
            ),
        ),
    ],
)
def test_a_style_is_worded_as_what_it_is(style: str, captions: tuple[str, ...]) -> None:
    assert label_captions("bow", style) == captions


def test_sides_of_label_and_style_are_mirrored() -> None:
    mirrored = [mirror_text(text) for text in label_captions("walk-turn-left", "LeanRight")]
    assert mirrored == list(label_captions("walk-turn-right", "LeanLeft"))


@pytest.mark.parametrize("label", ["", " ", "-", "_"])
def test_a_label_without_words_has_no_captions(label: str) -> None:
    assert label_captions(label, "tired") == ()
