"""What the words that belong to an action say: part, side, direction, count, pace, negation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from annotators.grounding.heads import Head, Sentence
from annotators.grounding.lexicon import (
    ARM_ACTIONS,
    BENT_PATHS,
    CLOCK,
    DIRECTIONS,
    IMPLIED,
    NEGATIONS,
    NOUNS,
    NUMBERS,
    OBJECTS,
    ONE_SIDED,
    ONLY,
    PACES,
    PARTS,
    PATHS,
    PLACE_WORDS,
    REPEATED,
    RHYTHMS,
    SIDES,
    STEPS,
    TIMES,
    TURNS,
    Action,
    Pace,
)
from annotators.grounding.syntax import Word, ancestors
from annotators.motion.events import Direction, Part, Side


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of an action.

    Attributes:
        part: body part that it is about; None if none is named.
        side: side of that part; None if not stated.
        elided: whether a side stands for the limb: "raises the left".
        pronoun: whether a pronoun stands for the limb: "lowers it".
        carried: whether the part only accompanies the action: "walks with a limp arm".
        direction: direction; None if not stated.
        curve: direction of the path that is walked: "clockwise", "along a curve to the left".
        count: number of repetitions; 0 if not stated, -1 for "repeatedly".
        pace: pace of a locomotion.
        negated: whether the text denies the action.
        only: whether the text says that no other side did it.
        thing: whether the object is a thing, not a limb.
        limb_thrown: whether the object is a limb: "flings both arms up".
    """

    part: Part | None
    side: Side | None
    elided: bool
    pronoun: bool
    carried: bool
    direction: Direction | None
    curve: Direction | None
    count: int
    pace: Pace | None
    negated: bool
    only: bool
    thing: bool
    limb_thrown: bool


def read_arguments(sentence: Sentence, head: Head) -> Arguments:
    """Read the arguments of a head."""
    words = sentence.words
    owned = [words[i] for i in sentence.owned(head)]
    limb = _limb(sentence, head, owned)
    used = {limb.word.index, *limb.modifiers} if limb else set[int]()
    elided = None if limb and limb.side else _elided(words, head, owned, used)
    part, side = (limb.part, limb.side) if limb else (None, None)
    if elided is not None:
        side = SIDES[elided.text]
        used |= {elided.index}
    return Arguments(
        part=part,
        side=side,
        elided=elided is not None and part is None,
        pronoun=any(w.text in ("it", "them") and w.dep in ("dobj", "nsubjpass") for w in owned),
        carried=limb is not None and limb.carried,
        direction=_direction(words, head, owned, used),
        curve=_curve(owned, used),
        count=_count(words, head, owned),
        pace=_pace(words, head, owned),
        negated=_is_negated(words, head),
        only=_is_only(words, owned, side),
        thing=any(
            w.noun in OBJECTS and w.dep in ("dobj", "nsubjpass") and w.parent == head.index
            for w in owned
        ),
        limb_thrown=limb is not None and limb.word.dep in ("dobj", "nsubjpass"),
    )


# ----------------------------------------------------------------------------------------- limb


@dataclass(frozen=True, slots=True)
class _Limb:
    word: Word
    part: Part
    side: Side | None
    modifiers: tuple[int, ...]
    carried: bool


def _limb(sentence: Sentence, head: Head, owned: Sequence[Word]) -> _Limb | None:
    """Return the limb that acts or is moved. A limb that is only a place is none."""
    words = sentence.words
    found = [
        _as_limb(words, w)
        for w in _with_modified(words, head, owned)
        if w.noun in PARTS
        and not _is_direction_of(words, w)
        and not _is_place(words, head, w)
        and not _acts_itself(sentence, head, w)
    ]
    if not found:
        return None
    if head.action not in ONE_SIDED | {Action.JUMP, Action.BALANCE, Action.SWING}:
        modified = _modified(words, head)
        found = [f for f in found if not f.carried or f.word is modified]
    # The acting limb: a subject or object before an instrument, and both before any other.
    return min(found, key=lambda limb: _rank(words, head, limb), default=None)


def _rank(words: Sequence[Word], head: Head, limb: _Limb) -> tuple[int, bool]:
    word = limb.word
    near = {head.index, head.word.parent} if head.word.is_noun else {head.index}
    if word.dep in ("dobj", "nsubj", "nsubjpass", "compound", "amod") and word.parent in near:
        return 0, limb.side is None
    if word.dep == "pobj" and words[word.parent].parent in near:
        return 1, limb.side is None
    return 2, limb.side is None


def _acts_itself(sentence: Sentence, head: Head, word: Word) -> bool:
    """Return whether a limb has a participle of its own: "with the left arm hanging"."""
    if word.dep != "pobj" or sentence.words[word.parent].text not in ("with", "of"):
        return False
    own = [i for i in word.children if sentence.words[i].dep in ("acl", "amod")]
    return any(sentence.words[i].tag in ("VBG", "VBN") for i in own if i != head.index)


def _with_modified(words: Sequence[Word], head: Head, owned: Sequence[Word]) -> list[Word]:
    """Add the noun that a participle modifies: "raised arms"."""
    modified = _modified(words, head)
    return list(owned) if modified is None else [modified, *owned]


def _modified(words: Sequence[Word], head: Head) -> Word | None:
    word = head.word
    parent = words[word.parent] if word.dep in ("amod", "acl") else None
    if word.text == "bent" and word.index:
        parent = words[word.index - 1]  # "with elbows bent"
    return parent if parent is not None and parent.noun in PARTS else None


def _as_limb(words: Sequence[Word], word: Word) -> _Limb:
    modifiers = [
        words[i] for i in (*word.children, *_just_before(words, word)) if words[i].text in SIDES
    ]
    side = next((SIDES[m.text] for m in modifiers), None)
    return _Limb(
        word,
        PARTS[word.noun],
        side,
        tuple(m.index for m in modifiers),
        carried=word.dep == "pobj" and words[word.parent].text in ("with", "of", "in"),
    )


def _just_before(words: Sequence[Word], word: Word) -> list[int]:
    """Return the word before, which the parser sometimes gives to another noun."""
    i = word.index - 1
    return [i] if i >= 0 and words[i].text in SIDES else []


def _is_direction_of(words: Sequence[Word], word: Word) -> bool:
    """Return whether "hand" is of a direction: "a right hand bend"."""
    texts = [w.noun for w in words[word.index + 1 : word.index + 3]]
    if word.noun != "hand" or not texts or texts[:2] == ["side", "to"]:
        return False
    return texts[0] in PATHS | {"side", "direction", "turn"}


def _is_place(words: Sequence[Word], head: Head, word: Word) -> bool:
    following = words[word.index + 1].text if word.index + 1 < len(words) else ""
    if following in ("height", "level", "high"):
        return True
    if word.dep not in ("pobj", "conj", "pcomp"):
        return False
    while word.dep == "conj":
        word = words[word.parent]
    if word.dep not in ("pobj", "pcomp"):
        return False
    preposition = words[word.parent].text
    if head.action in (Action.JUMP, Action.BALANCE, Action.STAND) and preposition in (
        *("on", "off", "from", "onto"),
    ):
        return False
    return preposition in PLACE_WORDS


def _elided(
    words: Sequence[Word], head: Head, owned: Sequence[Word], used: set[int]
) -> Word | None:
    """Return a side that stands for a limb: "jabs with the left", "right kicks"."""
    if head.action not in ONE_SIDED | {Action.JUMP, Action.BALANCE}:
        return None
    for word in owned:
        if not _is_side(words, word) or word.text not in SIDES or word.index in used:
            continue
        parent = words[word.parent]
        if word.dep == "amod" and word.parent == head.index and head.action in ONE_SIDED:
            return word
        if word.dep == "amod" and parent.text in ("one", "ones", "side"):
            if parent.text != "side":
                return word
            continue
        preposition = parent.text if word.dep in ("pobj", "pcomp") else ""
        if preposition in ("with", "by", "of", "using"):
            return word
        if preposition == "on" and head.action in (Action.JUMP, Action.BALANCE):
            return word
        determined = any(words[i].tag in ("DT", "PRP$") for i in word.children)
        if determined and not preposition and word.dep in ("dobj", "nsubj", "nsubjpass", "conj"):
            return word
    return None


# ------------------------------------------------------------------------------------ direction

_LEADS: Final = (None, Direction.AROUND)
_LOCOMOTION: Final = frozenset({Action.WALK, Action.RUN, Action.MOVE, Action.JUMP})


def _direction(
    words: Sequence[Word], head: Head, owned: Sequence[Word], used: set[int]
) -> Direction | None:
    if head.action in ARM_ACTIONS | {Action.MOVE} and (rhythm := _rhythm(words, head, owned)):
        return rhythm
    if head.action is Action.CIRCLE:
        return None
    direction = IMPLIED.get(head.word.verb) if head.action in _LOCOMOTION else None
    inside, straight = [words[i] for i in head.indices], False
    for word in sorted((*inside, *owned), key=lambda w: w.index):
        if word.index in used:
            continue
        if head.action in ARM_ACTIONS and DIRECTIONS.get(word.text) is Direction.UP:
            return Direction.UP
        if direction in _LEADS or (straight and DIRECTIONS.get(word.text) is Direction.BACKWARD):
            direction = _direction_of(words, head, word, direction)
            # "in a straight line backwards"
            straight = word.text == "straight"
    return direction


def _direction_of(
    words: Sequence[Word], head: Head, word: Word, direction: Direction | None
) -> Direction | None:
    """Return the direction that one more word gives."""
    text = word.text
    if text in TURNS:
        return _turned(words, head, word) or direction
    if text in CLOCK:
        return CLOCK[text]
    if text == "side" and word.dep == "pobj":
        return direction or Direction.SIDE
    if text in DIRECTIONS:
        return _told(words, head, word, direction)
    if text == "back" and not word.is_noun:
        return _backward(words, head, word) or direction
    return direction


def _turned(words: Sequence[Word], head: Head, word: Word) -> Direction | None:
    """Return the direction of "left" or "right", if it is no limb: "on the left foot"."""
    if not _is_side(words, word) or head.action in ONE_SIDED or _is_of_a_limb(words, word):
        return None
    on = words[word.parent].text == "on" and word.dep == "pobj"
    return None if on and head.action in (Action.JUMP, Action.BALANCE) else TURNS[word.text]


def _rhythm(words: Sequence[Word], head: Head, owned: Sequence[Word]) -> Direction | None:
    """Return the direction of a movement to and fro: "up and down"."""
    own = {head.index, *(w.index for w in owned)}
    text = " ".join(w.text for w in words if w.index in own)
    return next((d for phrase, d in RHYTHMS.items() if phrase in text), None)


def _is_side(words: Sequence[Word], word: Word) -> bool:
    """Return whether a word is a side, not an adverb: "right after it"."""
    following = words[word.index + 1].text if word.index + 1 < len(words) else ""
    adverb = word.text == "right" and following in ("after", "before", "away", "now", "there")
    return word.text in TURNS and not adverb


def _told(
    words: Sequence[Word], head: Head, word: Word, direction: Direction | None
) -> Direction | None:
    """Return the direction of a word of direction."""
    told = DIRECTIONS[word.text]
    if word.text == "straight" and head.action not in (Action.WALK, Action.RUN, Action.MOVE):
        return direction  # "straight up", "a straight punch"
    following = words[word.index + 1].text if word.index + 1 < len(words) else ""
    if word.text == "front" and (following == "of" or head.action not in _LOCOMOTION):
        return direction
    if told is Direction.AROUND and direction is not None:
        return direction
    return told


def _is_of_a_limb(words: Sequence[Word], word: Word) -> bool:
    following = words[word.index + 1] if word.index + 1 < len(words) else None
    if following is None or _is_direction_of(words, following):
        return False
    return word.dep in ("amod", "compound") and following.noun in PARTS


def _backward(words: Sequence[Word], head: Head, word: Word) -> Direction | None:
    """Return whether "back" is a direction, and not a return: "turns and walks back"."""
    following = words[word.index + 1].text if word.index + 1 < len(words) else ""
    then = words[word.index + 2].text if word.index + 2 < len(words) else ""
    if following in _RETURNS or (following == "and" and then == "forth"):
        return None
    if head.action in (Action.LEAN, Action.BEND):
        return Direction.BACKWARD
    if head.action not in _LOCOMOTION:
        return None
    earlier = {w.verb for w in words[: head.index]}
    returns = earlier & {"turn", "spin", "walk", "run", "hop", "jump", "jog", "go", "come", "swing"}
    return None if returns else Direction.BACKWARD


def curve_of(words: Sequence[Word]) -> Direction | None:
    """Return the direction of a curved path that the words name, if any."""
    return _curve(words, set())


def limbs_of(sentence: Sentence) -> list[tuple[Word, Part, Side]]:
    """Return the limbs of one side with which verbs outside of the lexicon do something.

    The first value is the verb. What is only held or touched is left out.
    """
    words = sentence.words
    found: list[tuple[Word, Part, Side]] = []
    for word in words:
        part = PARTS.get(word.noun)
        if (
            part is None
            or part not in (Part.ARM, Part.LEG)
            or sentence.owner(word.index) is not None
        ):
            continue
        limb = _as_limb(words, word)
        verb = next((w for w in ancestors(words, word.index) if w.is_verb), None)
        if limb.side in (None, Side.BOTH) or verb is None or word.index in sentence.skipped:
            continue
        instrument = word.dep == "pobj" and words[word.parent].text in ("with", "using")
        subject = word.dep == "nsubj" and word.parent == verb.index
        if (instrument or subject) and verb.verb not in _HOLDS:
            found.append((verb, part, limb.side))
    return found


_HOLDS: Final = frozenset(
    {"hold", "carry", "keep", "be", "have", "touch", "cover", "grab", "grip", "stay", "remain"}
    | {"rest", "lie", "guard", "protect", "bend", "stand", "face", "support"}
)


_RETURNS: Final = frozenset({"up", "down", "to", "in", "into", "from", "over"})
"""Words after "back" that make it a return."""


def _curve(owned: Sequence[Word], used: set[int]) -> Direction | None:
    """Return the direction of a curved path."""
    clock = next((CLOCK[w.text] for w in owned if w.text in CLOCK), None)
    if clock is not None:
        return clock
    paths = [w for w in owned if w.noun in BENT_PATHS]
    sides = [w for w in owned if w.text in TURNS and w.index not in used]
    if not paths or not sides:
        return None
    nearest = min(sides, key=lambda w: min(abs(w.index - p.index) for p in paths))
    return TURNS[nearest.text]


# ------------------------------------------------------------------- count, pace, negation, only


def _count(words: Sequence[Word], head: Head, owned: Sequence[Word]) -> int:
    joined = " ".join(w.text for w in owned)
    repeated = any(_repeats(words, head, w) for w in owned) or any(
        phrase in joined for phrase in ("again and again", "over and over", "one after another")
    )
    for word in owned:
        number = _number(word)
        following = [w.text for w in words[word.index + 1 : word.index + 3]]
        if not number or (following and words[word.index + 1].noun in PARTS):
            continue
        if word.text in TIMES or any(t in ("time", "times") for t in following):
            again = any(w.verb == "repeat" for w in ancestors(words, word.index))
            return number + again
        if _counts(words, head, word):
            return number
    if "second time" in joined:
        return 2
    return -1 if repeated else 0


def _repeats(words: Sequence[Word], head: Head, word: Word) -> bool:
    if word.text not in REPEATED:
        return False
    if word.text in ("several", "multiple", "many", "numerous"):
        following = words[word.index + 1].text if word.index + 1 < len(words) else ""
        return following == "times" or word.parent == head.index
    return True


def _counts(words: Sequence[Word], head: Head, word: Word) -> bool:
    """Return whether a number counts a noun: "five punches", "a couple of kicks"."""
    if word.dep in ("nummod", "amod") and word.parent in head.indices:
        return True
    if head.word.noun in STEPS | set(NOUNS) and word.index < head.index <= word.index + 4:
        # "five straight punches" is sometimes parsed as "five straight".
        between = words[word.index + 1 : head.index]
        if all(w.tag in ("JJ", "NN", "VBN", "VBG", "VBD") for w in between):
            return True
    steps = [w for w in words[word.index + 1 : word.index + 4] if w.noun in STEPS]
    if steps and head.action in (Action.WALK, Action.RUN, Action.MOVE):
        return True
    return word.text in ("couple", "pair") and head.index - word.index in (2, 3, 4)


def _number(word: Word) -> int:
    if word.text.isascii() and word.text.isdigit() and len(word.text) < 4:
        return int(word.text)
    return NUMBERS.get(word.text, 0)


def _pace(words: Sequence[Word], head: Head, owned: Sequence[Word]) -> Pace | None:
    if head.action not in (Action.WALK, Action.RUN, Action.MOVE):
        return None
    joined = " ".join(w.text for w in (*owned, head.word))
    if "no hurry" in joined or "at a crawl" in joined or "slow motion" in joined:
        return Pace.SLOW
    if "top speed" in joined or "full speed" in joined or "fast pace" in joined:
        return Pace.FAST
    for word in (*owned, head.word):
        pace = PACES.get(word.text) or (PACES.get(word.verb) if word.index == head.index else None)
        if pace is None:
            continue
        before = words[word.index - 1].text if word.index else ""
        if pace is Pace.SLOW and before in ("very", "extremely"):
            return Pace.VERY_SLOW
        return pace
    return None


def _is_negated(words: Sequence[Word], head: Head) -> bool:
    """Return whether the text denies the action: "without turning", "never jumps"."""
    for word in (head.word, *ancestors(words, head.index)):
        if word.text == "without":
            return True
        denied = [words[i] for i in word.children if words[i].text in NEGATIONS - {"without"}]
        if any(w.index < head.index and w.dep in _DENIES for w in denied):
            return True
        if word.dep == "conj":
            # "neither walks nor runs"
            linked = {words[i].text for i in words[word.parent].children}
            if not linked & {"or", "nor"}:
                return False
        elif word.dep in ("advcl", "relcl", "acl", "ccomp", "parataxis", "ROOT"):
            return False
    return False


_DENIES: Final = frozenset({"neg", "det", "advmod", "preconj", "cc", "mark"})


def _is_only(words: Sequence[Word], owned: Sequence[Word], side: Side | None) -> bool:
    if side not in (Side.LEFT, Side.RIGHT):
        return False
    for word in owned:
        following = words[word.index + 1].text if word.index + 1 < len(words) else ""
        if word.text in ONLY and following not in (*TIMES, "a", "one", "like"):
            return True
    return False
