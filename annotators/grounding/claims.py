"""Parse English texts about motion into claims: action, body part, side, direction and count.

The grammar is small: a lexicon lists verbs and nouns of movement, and the words up to the next of
them are the argument, from which body part, side, direction and count are read. Words that are not
in the lexicon make no claim, so they are never contradicted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from annotators.inflection import verb_lemma
from annotators.motion.events import Direction, Part, Side


class Action(StrEnum):
    """Action of a claim."""

    WALK = "walk"
    RUN = "run"
    MOVE = "move"
    JUMP = "jump"
    TURN = "turn"
    KICK = "kick"
    PUNCH = "punch"
    THROW = "throw"
    WAVE = "wave"
    CLAP = "clap"
    RAISE = "raise"
    LOWER = "lower"
    REACH = "reach"
    SWING = "swing"
    CIRCLE = "circle"
    BEND = "bend"
    STRAIGHTEN = "straighten"
    LEAN = "lean"
    SQUAT = "squat"
    KNEEL = "kneel"
    SIT = "sit"
    SIT_DOWN = "sit_down"
    STAND_UP = "stand_up"
    STAND = "stand"
    STILL = "still"
    LIE = "lie"
    CRAWL = "crawl"
    DANCE = "dance"
    CARTWHEEL = "cartwheel"
    PUSH_UP = "push_up"
    BALANCE = "balance"


@dataclass(frozen=True, slots=True)
class Claim:
    """One action that a text claims.

    Attributes:
        action: claimed action.
        part: part of the body; None if the action implies it or the text does not name it.
        side: side from the person's point of view; None if not stated.
        direction: direction; None if not stated.
        count: number of repetitions; 0 if not stated, -1 for "repeatedly".
        counts_steps: whether the count is a number of steps, not of paths.
        negated: whether the text denies the action.
        word: word of the text that names the action.
        place: position of that word in the text, (start, end) in characters.
    """

    action: Action
    part: Part | None
    side: Side | None
    direction: Direction | None
    count: int
    counts_steps: bool
    negated: bool
    word: str
    place: tuple[int, int]


def parse_claims(text: str) -> tuple[Claim, ...]:
    """Parse the claims of a text, in order. A text without a known action has none."""
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
        # "raises and lowers both arms": the shared argument follows the last verb.
        argument = _clause(words[i + length : stop])
        bare = all(w.text in ("and", "or") for w in argument)
        if bare and action in _NOT_ALONE and stop < len(words):
            shared = next((j for j, _ in heads if j > stop), len(words))
            argument = [w for w in _clause(words[stop + 1 : shared]) if w.text in _PARTS_OR_SIDES]
        before = words[max(0, i - 4) : i]
        claim = _claim(
            action, [w.text for w in argument], [w.text for w in before], words[i : i + length]
        )
        # "raises the left arm and lowers it": the part is that of the previous claim.
        pronoun = any(w.text in _PRONOUNS for w in argument)
        if claims and pronoun and not claim.part and action in _NOT_ALONE:
            claim = replace(claim, part=claims[-1].part, side=claim.side or claims[-1].side)
        claims.append(claim)
    return tuple(_without_repeats(claims))


# -------------------------------------------------------------------------------------- lexicon

_VERBS: Final[Mapping[str, Action]] = {
    verb: Action(action)
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
}

_PHRASES: Final[Sequence[tuple[str, Action]]] = (
    ("stand up", Action.STAND_UP),
    ("get up", Action.STAND_UP),
    ("stand still", Action.STILL),
    ("keep still", Action.STILL),
    ("hold still", Action.STILL),
    ("stand in place", Action.STILL),
    ("stand on one", Action.BALANCE),
    ("balance on", Action.BALANCE),
    ("sit down", Action.SIT_DOWN),
    ("take a seat", Action.SIT_DOWN),
    ("lie down", Action.LIE),
    ("kneel down", Action.KNEEL),
    ("squat down", Action.SQUAT),
    ("crouch down", Action.SQUAT),
    ("push up", Action.PUSH_UP),
    ("push-up", Action.PUSH_UP),
    ("pushup", Action.PUSH_UP),
    ("press-up", Action.PUSH_UP),
    ("jumping jack", Action.JUMP),
    ("put up", Action.RAISE),
    ("put down", Action.LOWER),
    ("bring down", Action.LOWER),
    ("bring up", Action.RAISE),
    ("put out", Action.REACH),
    ("stretch out", Action.REACH),
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
    **dict.fromkeys(("arm", "hand", "wrist", "elbow", "fist", "palm", "forearm"), Part.ARM),
    **dict.fromkeys(("leg", "foot", "feet", "knee", "thigh", "ankle"), Part.LEG),
    **dict.fromkeys(("head", "chin"), Part.HEAD),
    **dict.fromkeys(("torso", "body", "waist", "trunk", "back", "hip"), Part.TORSO),
}
_DIRECTIONS: Final[Mapping[str, Direction]] = {
    **dict.fromkeys(("forward", "forwards", "ahead", "front", "straight"), Direction.FORWARD),
    **dict.fromkeys(("backward", "backwards"), Direction.BACKWARD),
    **dict.fromkeys(("sideways", "sidewards", "laterally", "sidestep"), Direction.SIDE),
    **dict.fromkeys(("up", "upward", "upwards", "overhead"), Direction.UP),
    **dict.fromkeys(("down", "downward", "downwards"), Direction.DOWN),
    **dict.fromkeys(("around", "circle", "circles", "round"), Direction.AROUND),
    "clockwise": Direction.RIGHT,
    "counterclockwise": Direction.LEFT,
    "counter-clockwise": Direction.LEFT,
    "anticlockwise": Direction.LEFT,
}
_SIDES: Final = {"left": Side.LEFT, "right": Side.RIGHT, "both": Side.BOTH}
_TURNS: Final = {"left": Direction.LEFT, "right": Direction.RIGHT}
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
    # Ambiguous verbs are actions of a body only together with a body part.
    Action.RAISE: frozenset({Part.ARM, Part.LEG, Part.HEAD}),
    Action.LOWER: frozenset({Part.ARM, Part.LEG, Part.HEAD, Part.TORSO}),
    Action.REACH: frozenset({Part.ARM}),
    Action.SWING: frozenset({Part.ARM, Part.LEG}),
    Action.CIRCLE: frozenset({Part.ARM}),
    Action.STRAIGHTEN: frozenset({Part.ARM, Part.LEG, Part.TORSO}),
    Action.MOVE: frozenset(),
}


_OF_A_LIMB: Final[Mapping[tuple[Action, Part], Action]] = {
    (Action.MOVE, Part.ARM): Action.SWING,
    (Action.TURN, Part.ARM): Action.CIRCLE,
    (Action.MOVE, Part.LEG): Action.SWING,
}
_APART: Final = frozenset({Action.RAISE, Action.LOWER, Action.REACH})
"""Actions whose particle may follow the part: "puts his arm out"."""
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
    """Return the action that starts at word ``i`` and its number of words, or None."""
    lemma = words[i].lemma
    following = [word.text for word in words[i + 1 : i + 6]]
    for phrase, action in _PHRASES:
        first, *rest = phrase.split()
        if lemma != first and not (not rest and words[i].text.rstrip("s") == first):
            continue
        compared = following[: len(rest)]
        if compared[-1:] != rest[-1:]:
            compared = [*compared[:-1], *(word.removesuffix("s") for word in compared[-1:])]
        if not rest or compared == rest:
            return action, 1 + len(rest)
        if rest and action in _APART and rest[-1] in following and _part(following):
            return action, 1
    action = _VERBS.get(lemma)
    if action is None:
        return None
    before = {word.text for word in words[max(0, i - 3) : i]}
    if (
        action is Action.CIRCLE
        and before & {"in", "into", "a", "full"}
        and _part(following) is not Part.ARM
    ):
        return None  # "walks in a big circle", "turns a full circle": the path of another action.
    noun = i > 0 and words[i - 1].text in _NO_VERB_AFTER
    if noun and lemma not in _NOUNS_TOO:
        return None
    # "step" after "takes a few" is an action; the "steps" of a stair are not.
    if lemma == "step" and following[:1] == ["of"]:
        return None
    return action, 1


def _clause(words: Sequence[_Word]) -> list[_Word]:
    stop = next((k for k, word in enumerate(words) if word.text in _ENDS), len(words))
    return list(words[:stop])


def _part(texts: Sequence[str]) -> Part | None:
    for k, text in enumerate(texts):
        if k and any(word in _PLACE_WORDS for word in texts[max(0, k - 2) : k]):
            continue  # "a hand above the head": the head is the location.
        single = text if text in _PARTS else text.removesuffix("s")
        if single in _PARTS:
            return _PARTS[single]
    return None


def _claim(
    action: Action, argument: Sequence[str], before: Sequence[str], head: Sequence[_Word]
) -> Claim:
    part = _part(argument)
    side: Side | None = None
    direction: Direction | None = None
    loose = (None, Direction.AROUND)
    for k, text in enumerate(argument):
        if text in _SIDES:
            of_part = _part(argument[k + 1 : k + 3]) is not None
            if of_part:
                side = side or _SIDES[text]
            elif direction in loose:
                direction = _TURNS.get(text, direction)
        elif text in _DIRECTIONS and direction in loose:
            direction = _DIRECTIONS[text]
        elif text == "back" and action is Action.LEAN:
            direction = direction or Direction.BACKWARD
    plural = any(text in ("arms", "hands", "legs", "feet", "knees") for text in argument)
    if plural and not side and any(text in ("both", "two") for text in argument):
        side = Side.BOTH
    # The limb may also precede the verb ("left arm raises").
    if not part and action in _NOT_ALONE and _part(before):
        part = _part(before)
        side = side or next((_SIDES[text] for text in _SIDES if text in before), None)
    # "Moves the hand" and "rotates the arm" are actions of the limb, "moves on with a limp arm" is
    # not.
    if part and "with" not in argument and (action, part) in _OF_A_LIMB:
        action = _OF_A_LIMB[action, part]
    if action is Action.STRAIGHTEN and not part:
        part = Part.TORSO
    negated = any(text in _NEGATIONS for text in before[-2:])
    if action is Action.MOVE and negated and not direction:
        action, negated = Action.STILL, False
    return Claim(
        action=action,
        part=part,
        side=side,
        direction=direction,
        count=_count([*before[-2:], *argument]) or _number(before[-1:]),
        # "three steps" counts steps; "walks back and forth twice" counts paths.
        counts_steps=head[0].lemma == "step",
        negated=negated,
        word=head[0].text,
        place=(head[0].start, head[-1].end),
    )


def _number(texts: Sequence[str]) -> int:
    """Return the number that a text contains ("three steps"), or 0."""
    return next((_NUMBERS.get(text, int(text) if text.isdigit() else 0) for text in texts), 0)


def _count(texts: Sequence[str]) -> int:
    for k, text in enumerate(texts):
        number = _number([text])
        after = texts[k + 1] if k + 1 < len(texts) else ""
        if number and (text in ("once", "twice", "thrice") or after.startswith("time")):
            return number
    return -1 if any(text in _REPEATED for text in texts) else 0


def _without_repeats(claims: Sequence[Claim]) -> list[Claim]:
    """Drop claims that cannot be checked, and repetitions of another claim."""
    kept: list[Claim] = []
    for claim in claims:
        needed = _NOT_ALONE.get(claim.action)
        if (
            needed is not None
            and claim.part not in needed
            and not (claim.action is Action.MOVE and claim.direction)
        ):
            continue
        kept.append(claim)
    return kept
