"""BLEU and ROUGE-L against values worked out by hand."""

import math

import pytest

from evaluation.text_metrics import rouge_l, score_texts


def test_equal_texts_score_full() -> None:
    texts = ["a person walks forward slowly", "Someone waves the right hand."]
    scores = score_texts(texts, [[text.upper()] for text in texts])
    assert scores.bleu1 == pytest.approx(100)
    assert scores.bleu4 == pytest.approx(100)
    assert scores.rouge_l == pytest.approx(100)


def test_corpus_bleu_by_hand() -> None:
    # Words 5 of 6 ("the" counts twice as the reference has two), pairs 3 of 5, triples 1 of 4,
    # runs of four 0 of 3: smoothed to 1/2 of 1 of 3.
    hypothesis, reference = "the cat sat on the mat", "the cat is on the mat"
    scores = score_texts([hypothesis], [[reference]])
    assert scores.bleu1 == pytest.approx(100 * 5 / 6)
    assert scores.bleu4 == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)
    assert "tok:13a" in scores.signature


def test_short_texts_pay_for_brevity() -> None:
    scores = score_texts(["a person walks"], [["a person walks to the left"]])
    assert scores.bleu1 == pytest.approx(100 * math.exp(1 - 6 / 3))


def test_bleu_is_of_the_corpus_not_the_mean_of_texts() -> None:
    # 1 of 1 and 0 of 3 words; as long as the references.
    scores = score_texts(["walks", "a b c"], [["walks"], ["d e f"]])
    assert scores.bleu1 == pytest.approx(25)


def test_items_may_have_different_numbers_of_references() -> None:
    hypotheses = ["a man kicks", "a woman jumps up", "a man sits"]
    references = [["a man kicks"], ["she jumps", "a woman jumps up"], ["x", "y", "a man sits"]]
    scores = score_texts(hypotheses, references)
    assert scores.bleu1 == pytest.approx(100)
    assert scores.rouge_l == pytest.approx(100)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "common"),
    [
        ("police kill the gunman", "police killed the gunman", 3),
        ("the gunman kill police", "police killed the gunman", 2),
        ("a b c d", "d c b a", 1),
        ("a a a b", "a b a a", 3),
        ("one", "two", 0),
        ("The person, waves!", "the person waves", 3),
    ],
)
def test_rouge_l_by_hand(hypothesis: str, reference: str, common: int) -> None:
    words = len(hypothesis.split()) + len(reference.split())
    assert rouge_l(hypothesis, reference) == pytest.approx(2 * common / words)
    assert rouge_l(reference, hypothesis) == pytest.approx(2 * common / words)


def test_common_words_of_long_texts() -> None:
    words = [str(number) for number in range(300)]
    assert rouge_l(" ".join(words), " ".join(words[::2])) == pytest.approx(2 * 150 / 450)


def test_empty_texts_are_wrong() -> None:
    assert rouge_l("", "a person") == rouge_l("a person", "!") == 0
    scores = score_texts(["", "a person walks on"], [["a person walks on"], ["a person walks on"]])
    assert scores.rouge_l == pytest.approx(50)
    assert 0 < scores.bleu1 < 50
    assert score_texts([""], [["a person"]]).bleu4 == 0


def test_missing_or_blank_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 hypothesis, found 0 lists for 0"):
        score_texts([], [])
    with pytest.raises(ValueError, match="found 1 lists for 2"):
        score_texts(["a", "b"], [["a"]])
    for texts in ([], ["a", " "], "a"):
        with pytest.raises(ValueError, match="references of item 1"):
            score_texts(["a", "b"], [["a"], texts])
