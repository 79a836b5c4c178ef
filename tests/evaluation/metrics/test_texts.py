"""Scores of texts against values worked out by hand, and by other implementations."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizer

from evaluation.metrics.texts import bert_scores, cider_scores, rouge_l, score_texts


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


def test_cider_as_by_pycocoevalcap() -> None:
    # Values of ``CiderScorer(n=4, sigma=6.0)`` of pycocoevalcap 1.2 for the same texts.
    hypotheses = [
        "a person walks forward slowly",
        "a man jumps up and down",
        "someone waves the right hand",
    ]
    references = [
        ["a person walks forward", "the person is walking forward slowly"],
        ["a man jumps up and down twice", "he jumps", "a person jumps up"],
        ["a person waves with the right hand"],
    ]
    assert cider_scores(hypotheses, references) == pytest.approx(
        [4.90953567, 3.90613487, 3.46137313]
    )
    short = cider_scores(
        ["a person walks forward slowly", "the man"], [references[0], ["the man sits on a chair"]]
    )
    assert short == pytest.approx([5.11604972, 1.89617339])
    scores = score_texts(hypotheses, references)
    assert scores.cider == pytest.approx(4.09234789)


def test_cider_by_hand() -> None:
    # Two items share "a"; other words are of one item each, with the weight ln 2. The first text
    # has the words of its reference in another order: words agree, and no longer n-gram does.
    scores = cider_scores(["a c b", "a"], [["a b c"], ["a x y"]])
    assert scores[0] == pytest.approx(10 * 1 / 4)
    assert scores[1] == 0  # what all items have weighs nothing
    same = cider_scores(["a b c d", "e f g h"], [["a b c d"], ["e f g h"]])
    assert same == pytest.approx([10, 10])
    assert cider_scores(["", "a b"], [["a b c"], ["d e"]])[0] == 0


def _small_bert(folder: Path) -> str:
    words = ["a", "person", "walks", "forward", "jumps", "up", "the", "man", "waves"]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    torch.manual_seed(0)
    size = BertConfig(
        vocab_size=5 + len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(size).save_pretrained(folder)
    BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    return str(folder)


def test_bert_score_by_cosines_of_the_last_layer(tmp_path: Path) -> None:
    folder = _small_bert(tmp_path)
    model = BertModel.from_pretrained(folder).eval()
    tokenizer = BertTokenizer.from_pretrained(folder)

    def embedded(text: str) -> Tensor:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        return torch.nn.functional.normalize(hidden, dim=-1)

    def f1(hypothesis: str, reference: str) -> float:
        cosines = embedded(hypothesis) @ embedded(reference).T
        precision, recall = cosines.amax(1).mean(), cosines.amax(0).mean()
        return float(2 * precision * recall / (precision + recall))

    hypotheses = ["a person walks", "the man jumps up", ""]
    references = [["a man walks forward", "the person waves"], ["the man jumps up"], ["a man"]]
    found = bert_scores(hypotheses, references, folder)
    assert found[0] == pytest.approx(max(f1(hypotheses[0], text) for text in references[0]))
    assert found[1:] == pytest.approx((1, 0))
    scores = score_texts(hypotheses, references, folder)
    assert scores.bert_f1 == pytest.approx(100 * sum(found) / 3)
    assert f"last layer of {folder}" in scores.signature


def test_without_an_embedding_model_there_is_no_bert_score(tmp_path: Path) -> None:
    scores = score_texts(["a person walks"], [["a person walks"]])
    assert scores.bert_f1 is None
    assert "BERTScore: not computed, no embedding model was given" in scores.signature
    with pytest.raises(ValueError, match="expected an embedding model in the format of transf"):
        score_texts(["a person"], [["a person"]], str(tmp_path / "none"))
