"""Free English on motion to claims that can be checked: who moves what, which way, how often.

A small grammar instead of a parser: verbs and nouns of movement from a lexicon, each with the words
up to the next one as its argument, in which body part, side, direction and count are looked up.
What the lexicon does not know makes no claim, and what makes no claim is never contradicted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from annotators.inflection import verb_lemma

Action = Literal[
    "walk",
    "run",
    "move",
    "jump",
    "turn",
    "kick",
    "punch",
    "throw",
    "wave",
    "clap",
    "raise",
    "lower",
    "reach",
    "swing",
    "circle",
    "bend",
    "straighten",
    "lean",
    "squat",
    "kneel",
    "sit",
    "sit_down",
    "stand_up",
    "stand",
    "still",
    "lie",
    "crawl",
    "dance",
    "cartwheel",
    "push_up",
    "balance",
]
Part = Literal["", "arm", "leg", "head", "torso"]
Side = Literal["", "left", "right", "both"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a text says was done.

    Attributes:
        action: what.
        part: with which part of the body; empty where the action tells it or nothing does.
        side: the person's own.
        direction: ``forward``, ``backward``, ``left``, ``right``, ``side``, ``up``, ``down``,
            ``around``, or empty.
        count: how often, 0 where it is not said; -1 for "repeatedly".
        negated: said not to happen.
        word: the word that says it, as it stands in the text.
        place: position of that word in the text, (start, end) characters.
    """

    action: Action
    part: Part
    side: Side
    direction: str
    count: int
    negated: bool
    word: str
    place: tuple[int, int]


def parse_claims(text: str) -> tuple[Claim, ...]:
    """The claims of a text, in order; none where nothing in it can be checked."""
    claims: list[Claim] = []
    words = _words(text)
    heads = [(i, found) for i in range(len(words)) if (found := _head(words, i)) is not None]
    end_of_last = 0
    for number, (i, (action, length)) in enumerate(heads):
        if i < end_of_last:
            continue
        end_of_last = i + length
        following = (j for j, _ in heads[number + 1 :] if j >= end_of_last)
        stop = next(following, len(words))
        # "and lowers both arms": what several verbs share stands after the last of them.
        argument = _clause(words[i + length : stop])
        bare = all(w.text in ("and", "or") for w in argument)
        if bare and action in _NOT_ALONE and stop < len(words):
            shared = next((j for j, _ in heads if j > stop), len(words))
            argument = [w for w in _clause(words[stop + 1 : shared]) if w.text in _PARTS_OR_SIDES]
        before = words[max(0, i - 4) : i]
        claim = _claim(
            action, [w.text for w in argument], [w.text for w in before], words[i : i + length]
        )
        # "raises the left arm and lowers it": the part is that of the claim before.
        pronoun = any(w.text in _PRONOUNS for w in argument)
        if claims and pronoun and not claim.part and action in _NOT_ALONE:
            claim = replace(claim, part=claims[-1].part, side=claim.side or claims[-1].side)
        claims.append(claim)
    return tuple(_without_repeats(claims))


# -------------------------------------------------------------------------------------- lexicon

_VERBS: Final[Mapping[str, Action]] = {
    verb: action
    for action, verbs in {
        "walk": "walk stroll pace march stride stroll wander amble stomp tiptoe limp step strut",
        "run": "run jog sprint dash",
        "move": "move go travel advance proceed shuffle skip",
        "jump": "jump hop leap bounce",
        "turn": "turn rotate spin pivot twirl pirouette",
        "kick": "kick",
        "punch": "punch jab box",
        "throw": "throw toss pitch hurl",
        "wave": "wave",
        "clap": "clap applaud",
        "raise": "raise lift elevate",
        "lower": "lower drop",
        "reach": "reach stretch extend",
        "swing": "swing",
        "circle": "circle windmill",
        "bend": "bend bow stoop flex",
        "straighten": "straighten unbend",
        "lean": "lean tilt",
        "squat": "squat crouch",
        "kneel": "kneel",
        "sit": "sit",
        "stand": "stand",
        "lie": "lie",
        "crawl": "crawl",
        "dance": "dance",
        "cartwheel": "cartwheel",
        "balance": "balance",
    }.items()
    for verb in verbs.split()
}  # pyright: ignore[reportAssignmentType]

_PHRASES: Final[Sequence[tuple[str, Action]]] = (
    ("stand up", "stand_up"),
    ("get up", "stand_up"),
    ("stand still", "still"),
    ("keep still", "still"),
    ("hold still", "still"),
    ("stand in place", "still"),
    ("stand on one", "balance"),
    ("balance on", "balance"),
    ("sit down", "sit_down"),
    ("take a seat", "sit_down"),
    ("lie down", "lie"),
    ("kneel down", "kneel"),
    ("squat down", "squat"),
    ("crouch down", "squat"),
    ("push up", "push_up"),
    ("push-up", "push_up"),
    ("pushup", "push_up"),
    ("press-up", "push_up"),
    ("jumping jack", "jump"),
    ("put up", "raise"),
    ("put down", "lower"),
    ("bring down", "lower"),
    ("bring up", "raise"),
    ("put out", "reach"),
    ("stretch out", "reach"),
)
_NUMBERS: Final = {
    **{"once": 1, "twice": 2, "thrice": 3, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5},
    **{"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12},
    **{"thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "twenty": 20},
}
_REPEATED: Final = frozenset(
    {"repeatedly", "several", "multiple", "many", "continuously", "again", "keeps"}
)
_PARTS: Final[Mapping[str, Part]] = {
    **dict.fromkeys(("arm", "hand", "wrist", "elbow", "fist", "palm", "forearm"), "arm"),
    **dict.fromkeys(("leg", "foot", "feet", "knee", "thigh", "ankle"), "leg"),
    **dict.fromkeys(("head", "chin"), "head"),
    **dict.fromkeys(("torso", "body", "waist", "trunk", "back", "hip"), "torso"),
}  # pyright: ignore[reportAssignmentType]
_DIRECTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("forward", "forwards", "ahead", "front", "straight"), "forward"),
    **dict.fromkeys(("backward", "backwards"), "backward"),
    **dict.fromkeys(("sideways", "sidewards", "laterally", "sidestep"), "side"),
    **dict.fromkeys(("up", "upward", "upwards", "overhead"), "up"),
    **dict.fromkeys(("down", "downward", "downwards"), "down"),
    **dict.fromkeys(("around", "circle", "circles", "round"), "around"),
    "clockwise": "right",
    "counterclockwise": "left",
    "counter-clockwise": "left",
    "anticlockwise": "left",
}
_SIDES: Final = {"left": "left", "right": "right", "both": "both"}
_PLACE_WORDS: Final = frozenset(
    {"above", "over", "behind", "near", "at", "to", "toward", "towards", "beside", "against"}
    | {"on", "onto", "across", "past", "below", "under", "touch", "touching"}
)
_PARTS_OR_SIDES: Final = frozenset({*_PARTS, *(f"{part}s" for part in _PARTS), *_SIDES})
_NEGATIONS: Final = frozenset({"not", "never", "without", "no", "doesn't", "isn't", "don't"})
_ENDS: Final = frozenset({"then", "while", "before", "after", "as", "until", "when", ".", ",", ";"})
_NO_VERB_AFTER: Final = frozenset({"a", "an", "the", "his", "her", "their", "its", "both"})
_NOUNS_TOO: Final = frozenset(
    {"walk", "step", "jump", "hop", "leap", "kick", "punch", "turn", "spin", "run", "jog", "dance"}
    | {"cartwheel", "throw", "bow", "squat", "clap", "wave", "circle", "pirouette", "stride"}
)
_NOT_ALONE: Final[Mapping[Action, frozenset[Part]]] = {
    # Verbs of many meanings say something of a body only with a part of it.
    "raise": frozenset({"arm", "leg", "head"}),
    "lower": frozenset({"arm", "leg", "head", "torso"}),
    "reach": frozenset({"arm"}),
    "swing": frozenset({"arm", "leg"}),
    "circle": frozenset({"arm"}),
    "straighten": frozenset({"arm", "leg", "torso"}),
    "move": frozenset(),
}


_OF_A_LIMB: Final[Mapping[tuple[str, str], Action]] = {
    ("move", "arm"): "swing",
    ("turn", "arm"): "circle",
    ("move", "leg"): "swing",
}
_APART: Final = frozenset({"raise", "lower", "reach"})
"""Actions whose particle may stand after the part: "puts his arm out"."""
_PRONOUNS: Final = frozenset({"it", "them"})


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int

    @property
    def lemma(self) -> str:
        return verb_lemma(self.text)


def _words(text: str) -> list[_Word]:
    found = re.finditer(r"[a-z]+(?:['-][a-z]+)*|[0-9]+|[.,;]", text.lower())
    return [_Word(match.group(), match.start(), match.end()) for match in found]


def _head(words: Sequence[_Word], i: int) -> tuple[Action, int] | None:
    """The action that a word begins, and how many words it takes."""
    lemma = words[i].lemma
    following = [word.text for word in words[i + 1 : i + 6]]
    for phrase, action in _PHRASES:
        first, *rest = phrase.split()
        if lemma != first and not (not rest and words[i].text.rstrip("s") == first):
            continue
        said = following[: len(rest)]
        if said[-1:] != rest[-1:]:
            said = [*said[:-1], *(word.removesuffix("s") for word in said[-1:])]
        if not rest or said == rest:
            return action, 1 + len(rest)
        if rest and action in _APART and rest[-1] in following and _part(following):
            return action, 1
    action = _VERBS.get(lemma)
    if action is None:
        return None
    before = {word.text for word in words[max(0, i - 3) : i]}
    if action == "circle" and before & {"in", "into", "a", "full"} and _part(following) != "arm":
        return None  # "walks in a big circle", "turns a full circle": the way of something else.
    noun = i > 0 and words[i - 1].text in _NO_VERB_AFTER
    if noun and lemma not in _NOUNS_TOO:
        return None
    # "step" after "takes a few" is a noun of its own; "steps" of a stair is none of a body.
    if lemma == "step" and following[:1] == ["of"]:
        return None
    return action, 1


def _clause(words: Sequence[_Word]) -> list[_Word]:
    stop = next((k for k, word in enumerate(words) if word.text in _ENDS), len(words))
    return list(words[:stop])


def _part(texts: Sequence[str]) -> Part:
    for k, text in enumerate(texts):
        if k and any(word in _PLACE_WORDS for word in texts[max(0, k - 2) : k]):
            continue  # "a hand above the head": the head is where, not what.
        single = text if text in _PARTS else text.removesuffix("s")
        if single in _PARTS:
            return _PARTS[single]
    return ""


def _claim(
    action: Action, argument: Sequence[str], before: Sequence[str], head: Sequence[_Word]
) -> Claim:
    part = _part(argument)
    side: Side = ""
    direction = ""
    for k, text in enumerate(argument):
        if text in _SIDES:
            after = argument[k + 1 : k + 3]
            of_part = bool(_part(after))
            if of_part and not side:
                side = "both" if text == "both" else ("left" if text == "left" else "right")
            elif text != "both" and not of_part and direction in ("", "around"):
                direction = text
        elif text in _DIRECTIONS and direction in ("", "around"):
            direction = _DIRECTIONS[text]
        elif text == "back" and action == "lean":
            direction = direction or "backward"
    plural = any(text in ("arms", "hands", "legs", "feet", "knees") for text in argument)
    if plural and not side and any(text in ("both", "two") for text in argument):
        side = "both"
    # "with the left hand": the hand that a sentence opens with counts as well ("left arm raises").
    if not part and action in _NOT_ALONE and _part(before):
        part = _part(before)
        side = side or next((s for s in ("left", "right", "both") if s in before), "")  # pyright: ignore[reportAssignmentType]
    # "Moves the hand", "rotates the arm": said of the limb. "Moves on with a limp arm" is not.
    if part and "with" not in argument and (action, part) in _OF_A_LIMB:
        action = _OF_A_LIMB[action, part]
    if action == "straighten" and not part:
        part = "torso"
    negated = any(text in _NEGATIONS for text in before[-2:])
    if action == "move" and negated and not direction:
        action, negated = "still", False
    return Claim(
        action=action,
        part=part,
        side=side,
        direction=direction,
        count=_count([*before[-2:], *argument]) or _number(before[-1:]),
        negated=negated,
        word=head[0].text,
        place=(head[0].start, head[-1].end),
    )


def _number(texts: Sequence[str]) -> int:
    """The number that a text is ("three steps"); 0 for other words."""
    return next((_NUMBERS.get(text, int(text) if text.isdigit() else 0) for text in texts), 0)


def _count(texts: Sequence[str]) -> int:
    for k, text in enumerate(texts):
        number = _number([text])
        after = texts[k + 1] if k + 1 < len(texts) else ""
        if number and (text in ("once", "twice", "thrice") or after.startswith("time")):
            return number
    return -1 if any(text in _REPEATED for text in texts) else 0


def _without_repeats(claims: Sequence[Claim]) -> list[Claim]:
    """Drop claims that say nothing checkable, and words for what another claim has said."""
    kept: list[Claim] = []
    for claim in claims:
        needed = _NOT_ALONE.get(claim.action)
        if (
            needed is not None
            and claim.part not in needed
            and not (claim.action == "move" and claim.direction)
        ):
            continue
        kept.append(claim)
    return kept
