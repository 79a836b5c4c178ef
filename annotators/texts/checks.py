"""Rules that all annotations have to follow, whoever writes them, and the replies of models.

A reply is untrusted: every field is validated, and a reply that repeats the instructions is
rejected.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from annotators.texts.config import AnnotationConfig

MAX_WORDS: Final = 30
"""Largest number of words of a text (AvatarGPT's limit for the medium level)."""
FORBIDDEN_WORDS: Final = {
    "appearance": (
        "man men woman women boy boys girl girls lady gentleman male female guy he she his her him "
        "hers shirt shirts t-shirt dress trousers pants jeans jacket coat hat helmet shoe shoes "
        "skirt clothes clothing outfit uniform hair haired beard blonde bald tall slim young old "
        "elderly wearing wears dressed colour color red blue green yellow black white grey gray"
    ),
    "environment": (
        "room gym park street road field court kitchen office house home garden beach indoors "
        "indoor outdoors outdoor outside background tree grass sky sun"
    ),
    "film": (
        "scene camera frame frames picture pictures video videos clip clips screen footage image "
        "images photo description caption"
    ),
    "first person": "i we me us my our mine ours",
}
"""Words that a text about motion must not contain. Objects that people handle (a chair, a door, a
ball) are allowed, because texts such as "sit down on the chair" need them."""

_FORBIDDEN_PATTERNS: Final = {
    kind: re.compile(rf"\b({'|'.join(map(re.escape, words.split()))})\b", re.IGNORECASE)
    for kind, words in FORBIDDEN_WORDS.items()
}


_SHOWS: Final = re.compile(
    r"\b(video|clip|footage|image|frame|picture|scene|description|caption)s? "
    r"(shows?|showcases?|depicts?|features?|captures?|displays?|presents?|describes?)\b",
    re.IGNORECASE,
)


def _problems(text: str, allowed: Sequence[str] = ()) -> list[str]:
    found = [
        f"{kind} word {match.group(0)!r}"
        for kind, pattern in _FORBIDDEN_PATTERNS.items()
        if kind not in allowed and (match := pattern.search(text))
    ]
    words = len(text.split())
    if words == 0:
        found.append("no text")
    if words > MAX_WORDS:
        found.append(f"{words} words, expected at most {MAX_WORDS}")
    if re.search(r"\b(nan|none|null)\b", text, re.IGNORECASE):
        found.append("a value that is missing")
    return found


def check_coarse(text: str) -> list[str]:
    """Return the errors of a coarse text.

    It has at most 30 words, one sentence, no first person and no "the video shows". Appearance and
    environment are allowed, because they describe a scene.
    """
    return [*_problems(text, allowed=("appearance", "environment", "film")), *_no_sentence(text)]


def check_medium(text: str, *, environment_allowed: bool = False) -> list[str]:
    """Return the errors of a medium text.

    It has at most 30 words, one sentence, no appearance, no first person and no words about the
    video itself.

    Args:
        text: text to check.
        environment_allowed: whether it may name the place of the activity.
    """
    allowed = ("environment",) if environment_allowed else ()
    return [*_problems(text, allowed), *_no_sentence(text)]


def _no_sentence(text: str) -> list[str]:
    found: list[str] = []
    if text and not (text[0].isupper() and text.endswith(".")):
        found.append("expected one sentence with a capital letter and a full stop")
    if re.search(r"[.!?]\s", text.strip()):
        found.append("expected one sentence, found several")
    if _SHOWS.search(text):
        found.append('found "the video shows" or the like')
    return found


def check_step(text: str) -> list[str]:
    """Return the errors of a fine step.

    It is an instruction of at most 30 words in lower case without a period, without appearance,
    environment and first person.
    """
    found = _problems(text)
    if text and (text[0].isupper() or text.endswith(".")):
        found.append("expected an instruction in lower case without a full stop")
    return found


# --------------------------------------------------------------------------------------- replies

TIME_TOLERANCE_S: Final = 0.5
"""A step may exceed its clip by this time and is then clipped to it, because the times of frames in
prompts are rounded to a tenth of a second."""
MIN_STEP_S: Final = 0.05
LEAK_WORDS: Final = 8
"""Number of consecutive words of the instructions in a reply that counts as repeating them."""

_NUMBERING: Final = re.compile(r"^(?:step\s*)?\d+\s*[.):]\s*", re.IGNORECASE)


# The docstrings of the models of a reply are part of their JSON schema, and thereby of requests and
# cache keys.
class StepReply(BaseModel):
    """A fine step as the model writes it; times are from the start of the clip."""

    model_config = ConfigDict(extra="forbid")

    text: str
    start_s: float
    end_s: float


class AnnotationReply(BaseModel):
    """The three levels as the model writes them."""

    model_config = ConfigDict(extra="forbid")

    coarse: str
    medium: list[str]
    fine: list[StepReply]


class PersonReply(BaseModel):
    """The texts of one person as the model writes them."""

    model_config = ConfigDict(extra="forbid")

    person: int
    medium: list[str]
    fine: list[StepReply]


class PeopleReply(BaseModel):
    """The scene, and the texts of every person, as the model writes them."""

    model_config = ConfigDict(extra="forbid")

    coarse: str
    people: list[PersonReply]


@dataclass(frozen=True, slots=True)
class CheckedReply:
    """A reply after its check.

    Attributes:
        coarse: text of the scene.
        people: usable texts, by the number of the person.
        problems: errors, which the model can repair.
    """

    coarse: str
    people: dict[int, PersonReply]
    problems: list[str]


def parse_reply(text: str, numbers: Collection[int] = (1,)) -> PeopleReply:
    """Parse a reply. Text around its JSON object is ignored.

    Args:
        text: the reply.
        numbers: numbers of the people whom it describes; for a single one, the reply is an
            :class:`AnnotationReply`.

    Raises:
        pydantic.ValidationError: the reply does not contain a valid object.
    """
    start, end = text.find("{"), text.rfind("}")
    told = text[start : end + 1] if 0 <= start < end else text
    if len(numbers) > 1:
        return PeopleReply.model_validate_json(told)
    reply = AnnotationReply.model_validate_json(told)
    (number,) = numbers
    person = PersonReply(person=number, medium=reply.medium, fine=reply.fine)
    return PeopleReply(coarse=reply.coarse, people=[person])


def tidy_reply(reply: PeopleReply) -> PeopleReply:
    """Correct what needs no model: spaces, numbering, capital letters and periods."""
    return PeopleReply(
        coarse=_as_sentence(reply.coarse), people=[_tidy_person(person) for person in reply.people]
    )


def _tidy_person(person: PersonReply) -> PersonReply:
    steps = [
        step.model_copy(update={"text": _as_step(step.text)})
        for step in sorted(person.fine, key=lambda step: (step.start_s, step.end_s))
    ]
    medium = [_as_sentence(text) for text in person.medium]
    return PersonReply(person=person.person, medium=medium, fine=steps)


def check_reply(
    reply: PeopleReply,
    numbers: Collection[int],
    length_s: float,
    instructions: str,
    config: AnnotationConfig,
) -> CheckedReply:
    """Check a reply.

    The texts of a person are usable without those of another one, but not without the scene, and
    nothing of a reply that repeats the instructions is usable.

    Args:
        reply: reply after :func:`tidy_reply`.
        numbers: numbers of the people whom it has to describe.
        length_s: duration of the clip, seconds.
        instructions: system prompt of the request.
        config: limits of the annotation.
    """
    found = [f"coarse: {problem}" for problem in check_coarse(reply.coarse)]
    texts = [text for person in reply.people for text in _texts(person)]
    if _repeats(instructions, " ".join((reply.coarse, *texts))):
        found.append("expected an annotation, found words of the instructions")
    usable = not found
    told = Counter(person.person for person in reply.people)
    people: dict[int, PersonReply] = {}
    for person in reply.people:
        where = f"people[{person.person}]." if len(numbers) > 1 else ""
        problems = _check_person(person, length_s, config)
        if told[person.person] > 1:
            problems.append(f"person: expected {person.person} once, found it several times")
        if person.person not in numbers:
            problems.append(f"person: expected one of {sorted(numbers)}, found {person.person}")
        found += [f"{where}{problem}" for problem in problems]
        if usable and not problems:
            people[person.person] = person
    found += [
        f"people: expected person {number}, found {sorted(told)}"
        for number in numbers
        if number not in told
    ]
    return CheckedReply(reply.coarse, people, found)


def _check_person(person: PersonReply, length_s: float, config: AnnotationConfig) -> list[str]:
    found: list[str] = []
    if not 1 <= len(person.medium) <= config.num_medium:
        found.append(f"medium: expected 1 to {config.num_medium} texts, found {len(person.medium)}")
    for index, text in enumerate(person.medium):
        problems = check_medium(text, environment_allowed=True)
        found += [f"medium[{index}]: {problem}" for problem in problems]
    if not 1 <= len(person.fine) <= config.max_steps:
        found.append(f"fine: expected 1 to {config.max_steps} steps, found {len(person.fine)}")
    for index, step in enumerate(person.fine):
        where = f"fine[{index}] ({step.text[:60]!r})"
        found += [f"{where}: {problem}" for problem in check_step(step.text)]
        inside = (
            -TIME_TOLERANCE_S <= step.start_s < step.end_s <= length_s + TIME_TOLERANCE_S
            and step.start_s < length_s - MIN_STEP_S
            and step.end_s > MIN_STEP_S
        )
        if not inside:
            found.append(
                f"{where}: expected 0 <= start_s < end_s <= {length_s:.1f}, "
                f"found {step.start_s:g} and {step.end_s:g}"
            )
    return found


def _texts(person: PersonReply) -> list[str]:
    return [*person.medium, *(step.text for step in person.fine)]


def _repeats(instructions: str, text: str) -> bool:
    words, known = _words(text), _words(instructions)
    runs = {tuple(known[i : i + LEAK_WORDS]) for i in range(len(known) - LEAK_WORDS + 1)}
    return any(tuple(words[i : i + LEAK_WORDS]) in runs for i in range(len(words) - LEAK_WORDS + 1))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _as_sentence(text: str) -> str:
    text = " ".join(text.split())
    if text and text[-1] not in ".!?":
        text += "."
    return text[:1].upper() + text[1:]


def _as_step(text: str) -> str:
    text = _NUMBERING.sub("", " ".join(text.split())).rstrip(".!; ")
    return text[:1].lower() + text[1:]
