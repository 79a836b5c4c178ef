"""Captions of motions that only have labels: what is done, and in which style.

Labels are made of few words without grammar, such as ``walk-turn-left`` in the style ``tired``. A
caption reads as English ("a tired person walks and turns left"), because a model that is trained on
it is asked in English. Each motion gets three wordings; which ones depends on the labels alone.

A label whose parts begin with verbs becomes a sentence with these verbs; any other, such as
``swordplay``, is performed: "a person performs swordplay". A style is worded as what it is:
an adjective (``tired``), an adverb (``slowly``), or the name of a style (``zombie``).
"""

import re
from collections.abc import Callable
from typing import Final

from data.inflection import classes_of, participle, third_person

LABEL_TEXTS: Final = "labels"
"""Author of these captions, see :class:`~data.motion_records.MotionText`."""

_PLAIN_STYLES: Final = frozenset(("", "normal", "neutral", "none", "default", "standard"))
_FURTHER_VERBS: Final = frozenset(
    (
        *("balance", "bend", "bow", "crouch", "hop", "jog", "jump", "kick", "leap", "punch"),
        *("run", "sit", "spin", "stand", "stop", "turn", "walk"),
    )
)
"""Verbs that begin a further action after the first one. Of other words, most are objects, even if
they could be verbs: ``kick ball``."""
_LIMBS: Final = frozenset(
    (
        *("ankle", "arm", "elbow", "fist", "foot", "hand"),
        *("heel", "hip", "knee", "leg", "shoulder", "wrist"),
    )
)
_PREPOSITIONS: Final = frozenset(("as", "in", "like", "on", "while", "with", "without"))
_BREAKS: Final = re.compile(r"[\s_-]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PARTS: Final = re.compile(r"\s*,\s*")


def label_captions(label: str, style: str = "") -> tuple[str, ...]:
    """Return three captions of a motion.

    Args:
        label: what is done, e.g. ``walk-turn-left``, ``run/jog`` or ``soccer - kick ball``.
        style: how it is done, e.g. ``tired``; empty or ``normal`` if nothing is to be said.

    Returns:
        The captions; none if the label has no words.
    """
    if not _words(label):
        return ()
    does, doing = _predicate(label, third_person), _predicate(label, participle)
    words = " ".join(_words(style))
    if words in _PLAIN_STYLES:
        return f"a person {does}", f"someone {does}", f"a person is {doing}"
    kind = _kind_of_style(words)
    if kind == "adverb":
        return f"a person {does} {words}", f"someone {does} {words}", f"a person is {doing} {words}"
    if kind == "name":
        manner = f"in {words} style"
        return (
            f"a person {does} {manner}",
            f"someone {does} {manner}",
            f"a person is {doing} {manner}",
        )
    manner = f"in {_with_article(words)} way"
    is_so = f"who is {words}" if " " in words else ""
    person = f"a person {is_so}" if is_so else f"{_with_article(words)} person"
    return f"{person} {does}", f"a person {does} {manner}", f"someone is {doing} {manner}"


# ---------------------------------------------------------------------------------------- sentences


def _predicate(label: str, inflect: Callable[[str], str]) -> str:
    """Return the label with its verbs inflected, e.g. ``walks and turns left``."""
    parts = _PARTS.split(label)
    if all(map(_is_action, parts)):
        return " and ".join(_action(part, inflect) for part in parts)
    shown = re.sub(r"\s+-\s+", ": ", label)
    # Only separators within words are removed: those between words tell them apart.
    return f"{inflect('perform')} {' '.join(_words(shown))}"


def _is_action(part: str) -> bool:
    words = _words(part)
    if not words or " - " in part or not all(map(_is_verb, words[0].split("/"))):
        return False
    # A "slow walk" is a walk.
    return len(words) == 1 or "ADJ" not in classes_of(words[0])


def _action(part: str, inflect: Callable[[str], str]) -> str:
    first, *rest = _words(part)
    found = [" or ".join(map(inflect, first.split("/")))]
    for index, word in enumerate(rest):
        before = rest[index - 1] if index else first
        if word in _FURTHER_VERBS:
            found += [inflect(word)] if before in ("and", "or") else ["and", inflect(word)]
        elif word in ("left", "right") and rest[index + 1 : index + 2] and _limb(rest[index + 1]):
            found += ["the", word]
        else:
            found.append(word)
    return " ".join(found)


def _limb(word: str) -> bool:
    return word in _LIMBS or word.removesuffix("s") in _LIMBS


def _words(label: str) -> list[str]:
    """Return the words of a label: of ``walk-turn_left``, ``BigSteps`` or plain text."""
    return [word for word in _BREAKS.split(_CAMEL.sub(" ", label).lower()) if word]


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


# ----------------------------------------------------------------------------- classes of words


def _kind_of_style(words: str) -> str:
    """Return ``adjective``, ``adverb`` or ``name``, by the last word."""
    first, *_, word = (*words.split()[:1], *words.split())
    classes = classes_of(word)
    if first in _PREPOSITIONS or (first == word and "ADV" in classes):
        return "adverb"
    # "Exhausted" is listed as a form of the verb only; "lean left" is no adjective.
    is_form = classes.get("VERB", word) != word and word.endswith(("ed", "ing"))
    is_adjective = ("ADJ" in classes and "ADV" not in classes) or is_form
    return "adjective" if is_adjective else "name"


def _is_verb(word: str) -> bool:
    return classes_of(word).get("VERB") == word
