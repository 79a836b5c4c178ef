"""Similarity of generated and reference texts: corpus BLEU and ROUGE-L.

BLEU is computed by sacrebleu (Papineni et al., ACL 2002; Post, WMT 2018), which fixes the
tokenization, on which published values differ. ROUGE-L (Lin, 2004) is computed here, because
``rouge-score`` was last released in 2022 and depends on NLTK for a stemmer that is not used.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sacrebleu.metrics.bleu import BLEU

_WORD: Final = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class TextScores:
    """Scores of a set of texts, from 0 to 100.

    Attributes:
        bleu1: corpus BLEU with unigrams only.
        bleu4: corpus BLEU with up to 4-grams.
        rouge_l: mean over texts of the ROUGE-L F1 against the closest reference.
        signature: signature of sacrebleu, to be reported with the scores.
    """

    bleu1: float
    bleu4: float
    rouge_l: float
    signature: str


def score_texts(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> TextScores:
    """Score generated texts against one or more references each, ignoring case.

    Args:
        hypotheses: one text per item; an empty text scores 0.
        references: references of each item; at least one, none empty.

    Returns:
        The scores of the set.

    Raises:
        ValueError: no texts, different numbers of hypotheses and references, or an item without a
            reference.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"references: expected a list for each of at least 1 hypothesis, found "
            f"{len(references)} lists for {len(hypotheses)} hypotheses. Remedy: pass one list "
            "per hypothesis."
        )
    for number, texts in enumerate(references):
        if isinstance(texts, str) or not texts or not all(_words(text) for text in texts):
            raise ValueError(
                f"references of item {number}: expected a list of texts with words, found "
                f"{texts!r}. Remedy: skip the item, or give it a reference."
            )
    # sacrebleu takes one stream per reference index. Duplicates have no effect, so shorter lists
    # are padded with their last reference.
    most = max(map(len, references))
    streams = [[texts[min(i, len(texts) - 1)] for texts in references] for i in range(most)]
    bleu4 = BLEU(lowercase=True)
    score4 = bleu4.corpus_score(hypotheses, streams)
    score1 = BLEU(lowercase=True, max_ngram_order=1).corpus_score(hypotheses, streams)
    rouge = [
        max(rouge_l(hypothesis, text) for text in texts)
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    ]
    return TextScores(
        score1.score,
        score4.score,
        100 * sum(rouge) / len(rouge),
        str(bleu4.get_signature()),
    )


def rouge_l(hypothesis: str, reference: str) -> float:
    """Return the ROUGE-L F1 of two texts, from 0 to 1.

    Words are runs of a-z and digits in lower case, without stemming, as in ``rouge-score``.

    Args:
        hypothesis: generated text.
        reference: reference text.
    """
    first, second = _words(hypothesis), _words(reference)
    if not first or not second:
        return 0.0
    # 2 P R / (P + R) with P = common / len(first) and R = common / len(second).
    return 2 * _num_common(first, second) / (len(first) + len(second))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _num_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel: an integer holds a row of the dynamic program, one bit per word (Hyyrö, 2004).
    """
    places: defaultdict[str, int] = defaultdict(int)
    for index, word in enumerate(first):
        places[word] |= 1 << index
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        match = row & places[word]
        row = ((row + match) | (row - match)) & every
    return len(first) - row.bit_count()
