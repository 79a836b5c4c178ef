"""The coarse and the medium texts compared with the labels, as far as words can tell."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.support.truth.kinds import CLASS_SAID_BY, WORDS
from benchmarks.support.truth.labels import LabeledPerson

NUMBERS: Final[Mapping[str, int]] = {
    word: number
    for number, word in enumerate(
        ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"a": 1, "nobody": 0}
MANY: Final = r"\b(several|many|a (group|crowd)|crowd)\b"
_COUNT: Final = re.compile(
    rf"\b({'|'.join(NUMBERS)}|\d+)\s+(?:\w+\s+)?(?:people|persons?|men|women)\b|\b(nobody)\b",
    re.IGNORECASE,
)


def counts_said(coarse: str) -> set[int]:
    """Return the numbers of people that a text names."""
    words = [(first or second).lower() for first, second in _COUNT.findall(coarse)]
    return {NUMBERS[word] if word in NUMBERS else int(word) for word in words}


def right_count(coarse: str, people: Sequence[LabeledPerson]) -> bool:
    """Return whether the number of people in a coarse text is right.

    Right is the number of people who are seen in all, and the largest number at a time, each with
    or without bystanders. Where only hands are seen, nobody is right, and so is one person. In a
    crowd, of which not everybody is labeled, right is any number from that of the labeled on, or a
    word for many.
    """
    said = counts_said(coarse)
    if any(person.role == "crowd" for person in people):
        least = sum(person.role == "crowd" for person in people)
        return bool(re.search(MANY, coarse, re.IGNORECASE)) or bool(said and min(said) >= least)
    right: set[int] = set()
    for roles in (("main",), ("main", "background")):
        there = [person for person in people if person.role in roles]
        right |= {len(there), _at_a_time(there)}
    if any(person.role == "no_body" for person in people):
        right |= {0, 1}
    return bool(said) and said <= right


def _at_a_time(people: Sequence[LabeledPerson]) -> int:
    starts = [start for person in people for start, _ in person.visible]
    return max((sum(p.is_visible(start) for p in people) for start in starts), default=0)


def right_camera(coarse: str, people: Sequence[LabeledPerson]) -> bool:
    """Return whether a coarse text is right about the camera; true if it does not mention it."""
    static = re.search(r"\b(static|still|fixed|stationary)\b", coarse, re.IGNORECASE)
    moving = re.search(r"\b(moving|moves|hand-?held|shaky|pans?)\b", coarse, re.IGNORECASE)
    if people[0].camera == "static":
        return not moving
    return bool(moving) or not static


def conveys(mediums: Iterable[str], activity_class: str) -> bool:
    """Return whether one of the texts has a word for an activity class."""
    pattern = WORDS.get(activity_class)
    return pattern is not None and any(re.search(pattern, m, re.IGNORECASE) for m in mediums)


def main_activity(annotations: Sequence[Mapping[str, Any]]) -> str:
    """Return the activity that the annotations of a person name for the longest time."""
    lasting = Counter[str]()
    for row in annotations:
        lasting[row["activity"]] += row["end_s"] - row["start_s"]
    return lasting.most_common(1)[0][0] if lasting else ""


def right_class(activity: str, activity_class: str) -> bool:
    """Return whether an activity label, such as ``raise_both_arms``, is of a class."""
    said_by = CLASS_SAID_BY.get(activity_class, frozenset())
    return any(activity == kind or activity.startswith(f"{kind}_") for kind in said_by)
