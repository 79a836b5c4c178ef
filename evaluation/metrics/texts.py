"""Similarity of generated and reference texts: BLEU, ROUGE-L, CIDEr and BERTScore.

Implementations of these metrics differ, so each result carries a signature that names ours:

- BLEU (Papineni et al., ACL 2002) by sacrebleu (Post, WMT 2018), which fixes the tokenization.
- ROUGE-L (Lin, 2004) is computed here, because ``rouge-score`` was last released in 2022 and
  depends on NLTK for a stemmer that is not used.
- CIDEr (Vedantam et al., CVPR 2015), the variant CIDEr-D, is computed here, because
  ``pycocoevalcap`` was last released in 2020. Values are those of its ``Cider`` for texts of plain
  words; its tokenizer, which needs Java, treats punctuation in other ways.
- BERTScore (Zhang et al., ICLR 2020) is computed here, with an embedding model of the user:
  ``bert-score`` was last released in 2023, and torchmetrics 1.9 sorts texts by length and puts them
  back in another order, so that it compares texts with the references of other items.

Shapes: B texts of a batch, L tokens, D embedding size.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

CIDER_ORDER: Final = 4
"""Largest n-gram of CIDEr."""
CIDER_SIGMA: Final = 6.0
"""Difference of lengths, in words, at which CIDEr-D keeps ``exp(-1/2)`` of the similarity."""

_BATCH: Final = 64
_MAX_TOKENS: Final = 512
_WORD: Final = re.compile(r"[a-z0-9]+")
_Ngram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextScores:
    """Scores of a set of texts.

    Attributes:
        bleu1: corpus BLEU with unigrams only, from 0 to 100.
        bleu4: corpus BLEU with up to 4-grams, from 0 to 100.
        rouge_l: mean over texts of the ROUGE-L F1 against the closest reference, from 0 to 100.
        cider: mean CIDEr-D over texts, from 0 to 10. Tables often show 100 times this value.
        bert_f1: mean over texts of the BERTScore F1 against the closest reference, at most 100;
            None without an embedding model.
        signature: the implementations, their versions and options, and whether an embedding model
            was given, to be reported with the scores.
    """

    bleu1: float
    bleu4: float
    rouge_l: float
    cider: float
    bert_f1: float | None
    signature: str


def score_texts(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    embedding_model: str | None = None,
) -> TextScores:
    """Score generated texts against one or more references each, ignoring case.

    Args:
        hypotheses: one text per item; an empty text scores 0.
        references: references of each item; at least one, none empty.
        embedding_model: folder of a model in the format of ``transformers``, or its name on the
            Hugging Face Hub, for BERTScore; None leaves BERTScore out.

    Returns:
        The scores of the set.

    Raises:
        ValueError: no texts, different numbers of hypotheses and references, an item without a
            reference, or an embedding model that cannot be loaded.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"references: expected a list for each of at least 1 hypothesis, found "
            f"{len(references)} lists for {len(hypotheses)} hypotheses. Remedy: pass one list "
            "per hypothesis."
        )
    for number, texts in enumerate(references):
        if isinstance(texts, str) or not texts or not all(words_of(text) for text in texts):
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
    bert_f1, bert = None, "not computed, no embedding model was given"
    if embedding_model is not None:
        bert_f1 = 100 * float(np.mean(bert_scores(hypotheses, references, embedding_model)))
        bert = f"no weights, no rescaling, last layer of {embedding_model}"
    return TextScores(
        score1.score,
        score4.score,
        100 * sum(rouge) / len(rouge),
        float(np.mean(cider_scores(hypotheses, references))),
        bert_f1,
        f"BLEU: {bleu4.get_signature()}; ROUGE-L: F1 of words, no stemming; CIDEr: CIDEr-D, "
        f"n={CIDER_ORDER}, sigma={CIDER_SIGMA:g}; BERTScore: {bert}",
    )


def rouge_l(hypothesis: str, reference: str) -> float:
    """Return the ROUGE-L F1 of two texts, from 0 to 1.

    Words are runs of a-z and digits in lower case, without stemming, as in ``rouge-score``.

    Args:
        hypothesis: generated text.
        reference: reference text.
    """
    first, second = words_of(hypothesis), words_of(reference)
    if not first or not second:
        return 0.0
    # 2 P R / (P + R) with P = common / len(first) and R = common / len(second).
    return 2 * _num_common(first, second) / (len(first) + len(second))


def cider_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, ...]:
    """Compute the CIDEr-D of each text, from 0 to 10.

    N-grams of 1 to 4 words are weighted by how few items have them in a reference, so that a value
    depends on the whole set, and a set of one item scores 0. The similarity to a reference is the
    cosine of the weighted counts, in which no n-gram counts more often than in the reference, times
    a Gaussian of the difference of lengths. A text scores ten times the mean over lengths of
    n-grams and over its references.

    Args:
        hypotheses: one text per item.
        references: references of each item, at least one.
    """
    grams = [[_ngrams(text) for text in texts] for texts in references]
    items_with: Counter[_Ngram] = Counter()
    for texts in grams:
        items_with.update({ngram for counts in texts for ngram in counts})
    weights = {n: math.log(len(references)) - math.log(held) for n, held in items_with.items()}
    unseen = math.log(max(len(references), 1))

    def weighted(counts: Mapping[_Ngram, int]) -> dict[_Ngram, float]:
        return {ngram: count * weights.get(ngram, unseen) for ngram, count in counts.items()}

    found: list[float] = []
    for hypothesis, texts in zip(hypotheses, grams, strict=True):
        counts = _ngrams(hypothesis)
        own = weighted(counts)
        similar = [
            _similarity(own, weighted(text)) * _length_factor(counts, text) for text in texts
        ]
        found.append(10 * sum(similar) / len(similar))
    return tuple(found)


def bert_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], embedding_model: str
) -> tuple[float, ...]:
    """Compute the BERTScore F1 of each text against its closest reference, at most 1.

    Each token is embedded by the last layer and matched with the token of the other text whose
    cosine is largest: precision is the mean over tokens of the text, recall over those of the
    reference. Rare words weigh no more than others, and values are not rescaled. Values of
    different embedding models are not comparable.

    Args:
        hypotheses: one text per item; a text without words scores 0.
        references: references of each item, at least one.
        embedding_model: folder of a model in the format of ``transformers``, or its name on the
            Hugging Face Hub.

    Raises:
        ValueError: the model cannot be loaded.
    """
    distinct = {*hypotheses, *(text for texts in references for text in texts)}
    tokens = _embed_tokens(sorted(filter(words_of, distinct)), embedding_model)
    return tuple(
        max(_bert_f1(tokens[hypothesis], tokens[text]) for text in texts)
        if words_of(hypothesis)
        else 0.0
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    )


def words_of(text: str) -> list[str]:
    """Return the words of a text: runs of a-z and digits in lower case."""
    return _WORD.findall(text.lower())


@torch.inference_mode()
def _embed_tokens(texts: Sequence[str], embedding_model: str) -> dict[str, Tensor]:
    """Return the unit embeddings of the tokens of each text, (L, D), without special tokens."""
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - takes seconds

    try:
        tokenizer = AutoTokenizer.from_pretrained(embedding_model)
        model: Any = AutoModel.from_pretrained(embedding_model, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{embedding_model}: expected an embedding model in the format of transformers, found "
            f"none that can be loaded ({type(error).__name__}). Remedy: give the folder of one, or "
            "leave BERTScore out."
        ) from error
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    found: dict[str, Tensor] = {}
    # Batches of similar lengths need little padding.
    ordered = sorted(texts, key=len)
    for first in range(0, len(ordered), _BATCH):
        batch = ordered[first : first + _BATCH]
        encoded = tokenizer(
            batch,
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        special_BL = encoded.pop("special_tokens_mask").bool()
        hidden_BLD = torch.nn.functional.normalize(
            model(**encoded).last_hidden_state.float(), dim=-1
        )
        for text, hidden_LD, special_L in zip(batch, hidden_BLD, special_BL, strict=True):
            found[text] = hidden_LD[~special_L]
    return found


def _bert_f1(own_LD: Tensor, other_LD: Tensor) -> float:
    cosines_LL = own_LD @ other_LD.T
    precision, recall = cosines_LL.amax(1).mean(), cosines_LL.amax(0).mean()
    return float(2 * precision * recall / (precision + recall))


def _ngrams(text: str) -> Counter[_Ngram]:
    words = words_of(text)
    return Counter(
        tuple(words[start : start + order])
        for order in range(1, CIDER_ORDER + 1)
        for start in range(len(words) - order + 1)
    )


def _similarity(own: Mapping[_Ngram, float], other: Mapping[_Ngram, float]) -> float:
    """Return the mean over the lengths of n-grams of the clipped cosine."""
    dots, own_squares, other_squares = np.zeros((3, CIDER_ORDER))
    for ngram, weight in own.items():
        own_squares[len(ngram) - 1] += weight**2
        shared = other.get(ngram, 0.0)
        dots[len(ngram) - 1] += min(weight, shared) * shared
    for ngram, weight in other.items():
        other_squares[len(ngram) - 1] += weight**2
    norms = np.sqrt(own_squares * other_squares)
    return float(np.divide(dots, norms, out=np.zeros(CIDER_ORDER), where=norms > 0).mean())


def _length_factor(first: Mapping[_Ngram, int], second: Mapping[_Ngram, int]) -> float:
    lengths = [sum(n for ngram, n in one.items() if len(ngram) == 1) for one in (first, second)]
    return math.exp(-((lengths[0] - lengths[1]) ** 2) / (2 * CIDER_SIGMA**2))


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
