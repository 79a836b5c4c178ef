"""What is wrong with the texts of one motion: in themselves, and against the measured motion."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from pydantic import Field

from annotators.grounding.checks import ground_claims, ground_statement
from annotators.motion.describe import MotionDescription
from data.config import Config
from data.inflection import classes_of
from data.motion.features import mirror_text
from data.records import Grounding, Verdict
from evaluation.audit.findings import Finding, Fix, Kind, Severity
from evaluation.audit.sources import Item, ItemText
from evaluation.duplicates import normalized_text

_WORD: Final = re.compile(r"[^\W\d_]+")
_LOST: Final = re.compile(
    "\N{REPLACEMENT CHARACTER}|[ÃÂâ][\u0080-\u00bf€™œ]|&(?:amp|quot|#\\d+);|<[a-z/]"
)
"""Characters that a wrong encoding leaves, and markup."""
_FUNCTION_WORDS: Final = frozenset(
    word
    for words in (
        "a an the of to and or in on at by with from his her their its it he she they them him",
        "is are was were be been being then that this while as for up down out off over around",
        "into onto who which if but so than very not no some one two three four both each other",
        "another someone something himself herself themselves there their before after during",
        "without through",
    )
    for word in words.split()
)


class TextLimits(Config):
    """Limits of a text."""

    min_words: int = Field(default=2, ge=0, description="Fewer words hardly describe a motion.")
    max_words: int = Field(
        default=60, gt=0, description="More words are more than loaders of the field keep (20)."
    )
    known_words: float = Field(
        default=0.5, ge=0, le=1, description="Share of English words below which a text is none."
    )
    tolerance_s: float = Field(
        default=0.5, ge=0, description="Tolerance of the times of a text on a part, seconds."
    )


def text_findings(item: Item, limits: TextLimits) -> Iterator[Finding]:
    """Check the texts of a motion in themselves."""
    known: dict[tuple[str, float, float], int] = {}
    for index, text in enumerate(item.texts):
        note = partial(
            Finding,
            item_id=item.item_id,
            split=item.split,
            text_index=index,
            text=text.text,
            field=f"line {text.line}",
        )
        words = _WORD.findall(text.text)
        if not words:
            yield note(Kind.EMPTY_TEXT, measurement="the text has no words", fix=Fix.DROP_TEXT)
            continue
        key = (normalized_text(text.text), text.start_s, text.end_s)
        if key in known:
            measured = f"equal to text {known[key] + 1} of the motion"
            yield note(Kind.REPEATED_TEXT, measurement=measured, fix=Fix.DROP_TEXT)
            continue
        known[key] = index
        share = sum(map(_is_english, words)) / len(words)
        lost = _LOST.search(text.text)
        if lost:
            measured = f"found {lost.group()!r}, which a wrong encoding or markup leaves"
            yield note(Kind.NOT_ENGLISH, measurement=measured)
        elif len(words) > 1 and share < limits.known_words:
            yield note(
                Kind.NOT_ENGLISH,
                measurement=f"{share:.0%} of {len(words)} words are English",
                value=share,
                threshold=limits.known_words,
                confidence=1 - share,
            )
        if not limits.min_words <= len(words) <= limits.max_words:
            few = len(words) < limits.min_words
            yield note(
                Kind.TEXT_LENGTH,
                measurement=f"{len(words)} word{'s' if len(words) != 1 else ''}",
                value=len(words),
                threshold=limits.min_words if few else limits.max_words,
            )


@lru_cache(maxsize=50_000)
def _is_english(word: str) -> bool:
    lower = word.lower()
    return lower in _FUNCTION_WORDS or (len(lower) > 1 and bool(classes_of(lower)))


@dataclass(frozen=True, slots=True)
class GroundedTexts:
    """The texts of a motion against what was measured.

    Attributes:
        findings: contradicted texts, and those with swapped sides.
        verdicts: verdict of each text.
    """

    findings: Sequence[Finding]
    verdicts: Sequence[Verdict]


def ground_texts(item: Item, description: MotionDescription, limits: TextLimits) -> GroundedTexts:
    """Check the texts of a motion against it.

    Left and right of a text are swapped if the motion contradicts the text, and supports it with
    the sides swapped.
    """
    findings: list[Finding] = []
    verdicts: list[Verdict] = []
    for index, text in enumerate(item.texts):
        found = _ground(text.text, text, description, limits)
        verdicts.append(found.verdict)
        if found.verdict is not Verdict.CONTRADICTED:
            continue
        note = partial(
            Finding,
            item_id=item.item_id,
            split=item.split,
            text_index=index,
            text=text.text,
            field=f"line {text.line}",
            start_s=found.start_s,
            end_s=found.end_s,
        )
        sureness = _sureness(text, description, limits)
        turned = mirror_text(text.text)
        # What a text denies has no side: "who is not confident walks left".
        has_side = turned != text.text and sureness > _DENIED
        other = _ground(turned, text, description, limits) if has_side else None
        if other is not None and other.verdict is Verdict.SUPPORTED:
            measured = f"measured: {found.measurement}; fits {turned!r}"
            swap = note(Kind.SIDE_SWAP, measurement=measured, confidence=0.95, fix=Fix.SWAP_SIDES)
            findings.append(swap)
        else:
            findings.append(
                note(
                    Kind.CONTRADICTED,
                    measurement=f"measured: {found.measurement}",
                    confidence=sureness,
                    severity=None if sureness > _DENIED else Severity.INFO,
                )
            )
    return GroundedTexts(findings, verdicts)


def _span(text: ItemText, description: MotionDescription, limits: TextLimits) -> dict[str, float]:
    start_s, end_s = description.start_s, description.end_s
    if math.isinf(text.end_s) or (text.start_s <= start_s and text.end_s >= end_s):
        return {"start_s": start_s, "end_s": end_s}
    return {
        "start_s": max(start_s, text.start_s - limits.tolerance_s),
        "end_s": min(end_s, text.end_s + limits.tolerance_s),
    }


def _ground(
    words: str, text: ItemText, description: MotionDescription, limits: TextLimits
) -> Grounding:
    return ground_statement(words, description, **_span(text, description, limits))


def _sureness(text: ItemText, description: MotionDescription, limits: TextLimits) -> float:
    """Return how far the measurement is from the claim, 0.5 to 1; less if the text denies it."""
    checked = ground_claims(text.text, description, **_span(text, description, limits))
    wrong = [one for one in checked if one.verdict is Verdict.CONTRADICTED]
    said = [one.support for one in wrong if not one.claim.negated]
    return 1.0 - min(said) / 2 if said else _DENIED


_DENIED: Final = 0.3
"""Confidence in the contradiction of a denial, which is hard to parse."""
