"""The plain form of a text: what it claims of the body, without the manner and the occasion.

"An exhausted person slowly raises the left hand" claims a raise of the left hand. A language model
that never saw this manner with this action may follow the manner, and do another action. In the
plain form only the action is left to follow.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from annotators.grounding.claims import Claim, parse_claims
from annotators.grounding.syntax import Word, below, parse, spelled

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
    shorter = next(_shorter(spelled(text), claims), "") if claims else ""
    return plain_text(shorter) if shorter else text


def _shorter(text: str, claims: Sequence[Claim]) -> Iterator[str]:
    """Yield the text without each of its parts, the longest first, if the claims stay."""
    words = parse(text)
    spans = [_span(words, word) for word in words if word.dep in _MANNERS]
    for start, end in sorted(filter(None, spans), key=lambda span: span[0] - span[1]):
        shorter = _joined(text[:start].rstrip(), text[end:].lstrip())
        if _claims(shorter) == claims:
            yield shorter


def _span(words: Sequence[Word], word: Word) -> tuple[int, int] | None:
    """Return the characters of a word and all under it, (start, end); None if it has gaps."""
    part = sorted(below(words, word.index), key=lambda one: one.index)
    whole = part[-1].index - part[0].index == len(part) - 1
    return (part[0].start, part[-1].end) if whole else None


def _joined(before: str, after: str) -> str:
    """Join what is left of a text, with the right article and without a loose comma."""
    article = "an" if after[:1].lower() in tuple("aeiou") else "a"
    before = _ARTICLE.sub(lambda found: found[0][0] + article[1:], before)
    joined = f"{before} {after}"
    for pattern, replacement in _LOOSE_ENDS:
        joined = pattern.sub(replacement, joined)
    return joined


def _claims(text: str) -> list[Claim]:
    return [replace(claim, place=(0, 0)) for claim in parse_claims(text)]
