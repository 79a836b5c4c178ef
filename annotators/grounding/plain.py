"""The plain form of a text: what it claims of the body, without the manner and the occasion.

"An exhausted person slowly raises the left hand" claims a raise of the left hand. A language model
that never saw this manner with this action may follow the manner, and do another action. In the
plain form only the action is left to follow.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final

from annotators.grounding.claims import Claim, parse_claims
from annotators.grounding.syntax import Word, below, parse, spelled

_Span = tuple[int, int]
_MANNERS: Final = frozenset({"acl", "advcl", "advmod", "amod", "npadvmod", "prep"})
"""Relations to their parents of the parts of a sentence that may be left out."""
_ARTICLE: Final = re.compile(r"\ban?$", re.IGNORECASE)
_LOOSE_ENDS: Final = (
    (re.compile(r"\s+(?=[,.;:!?])"), ""),
    (re.compile(r"^[\s,;:]+|[\s,;:]+$"), ""),
)


@lru_cache(maxsize=20_000)
def plain_text(text: str) -> str:
    """Return a text without the parts that change none of its claims.

    Adjectives, adverbs, phrases with a preposition and clauses beside the main one are left out,
    the longest first, as long as :func:`annotators.grounding.claims.parse_claims` finds the same
    claims in the rest.

    Args:
        text: English text about the actions of one person.

    Returns:
        The shorter text; the text itself if it has no known claim, or every part counts.
    """
    claims = _claims(text)
    if not claims:
        return text
    whole = spelled(text)
    words = parse(whole)
    spans = [_span(words, word) for word in words if word.dep in _MANNERS]
    cut: list[_Span] = []
    for span in sorted(filter(None, spans), key=lambda one: one[0] - one[1]):
        inside = any(start <= span[0] and span[1] <= end for start, end in cut)
        if not inside and _claims(_without(whole, [*cut, span])) == claims:
            cut.append(span)
    # Without some parts, others may be found that were not parts before.
    return plain_text(_without(whole, cut)) if cut else text


def _span(words: Sequence[Word], word: Word) -> _Span | None:
    """Return the characters of a word and all under it; None if others stand between them."""
    part = sorted(below(words, word.index), key=lambda one: one.index)
    whole = part[-1].index - part[0].index == len(part) - 1
    return (part[0].start, part[-1].end) if whole else None


def _without(text: str, spans: Sequence[_Span]) -> str:
    """Return a text without some spans, with the right articles and without loose commas."""
    for start, end in sorted(spans, reverse=True):
        before, after = text[:start].rstrip(), text[end:].lstrip()
        article = "an" if after[:1].lower() in tuple("aeiou") else "a"
        before = _ARTICLE.sub(partial(_like, article), before)
        text = f"{before} {after}"
    for pattern, replacement in _LOOSE_ENDS:
        text = pattern.sub(replacement, text)
    return text


def _like(article: str, found: re.Match[str]) -> str:
    """Return an article with the first letter, capital or small, of the one found."""
    return found[0][0] + article[1:]


def _claims(text: str) -> list[Claim]:
    return [replace(claim, place=(0, 0)) for claim in parse_claims(text)]
