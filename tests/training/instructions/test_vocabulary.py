"""The text tokenizer that is trained on a dataset's own texts."""

import random

from training.instructions.vocabulary import train_text_tokenizer

WORDS = [
    "walk",
    "jump",
    "person",
    "arm",
    "left",
    "right",
    "waves",
    "slowly",
    "hand",
    "raise",
    "turns",
    "kicks",
    "ball",
    "runs",
]


def test_training_on_the_same_texts_gives_the_same_pieces() -> None:
    draw = random.Random(1)  # noqa: S311 - texts of a test
    texts = [" ".join(draw.choices(WORDS, k=8)) for _ in range(2000)]
    first, *others = [train_text_tokenizer(texts, 150).serialized for _ in range(4)]
    assert others == [first] * 3


def test_a_trained_tokenizer_gives_its_texts_back() -> None:
    tokenizer = train_text_tokenizer(["a person waves"] * 50, 120)
    assert tokenizer.decode(tokenizer.encode("a person waves, then (9) jumps")) == (
        "a person waves, then (9) jumps"
    )
