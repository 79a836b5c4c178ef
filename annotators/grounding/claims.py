"""Parse English texts about motion into typed claims.

Each word of movement (:mod:`annotators.grounding.lexicon`) is the head of a claim. The words that
depend on it in the parse (:mod:`annotators.grounding.syntax`), and on no other head, tell its body
part, side, direction, count and pace. What a simile says ("like a boxer", "as if to jump") and what
is done with things ("bounces a ball") is no claim on the body.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from annotators.grounding.arguments import Arguments, curve_of, limbs_of, read_arguments
from annotators.grounding.heads import Head, Sentence, read_sentence
from annotators.grounding.lexicon import (
    AFTERWARDS,
    ARM_ACTIONS,
    NO_BODY_WITH_OBJECT,
    OF_LIMBS,
    ONE_SIDED,
    SPOT_PHRASES,
    STEPS,
    THROUGHOUT,
    Action,
    Pace,
)
from annotators.grounding.syntax import Word, ancestors
from annotators.motion.events import Direction, Part, Side


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
        place: position of that word in the spelled text, (start, end) in characters.
        only: whether the text says that no other side did it.
        pace: pace of a locomotion; None if not stated.
        on_spot: whether the text says that the person keeps the place.
        throughout: whether the text says that it lasts the whole time.
        main: whether it is what the text is about, and not said beside it ("while standing").
        after: indices of the claims of the text that the text puts before this one.
        first: whether the text puts it before everything else.
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
    only: bool = False
    pace: Pace | None = None
    on_spot: bool = False
    throughout: bool = False
    main: bool = True
    after: tuple[int, ...] = ()
    first: bool = False


@lru_cache(maxsize=20_000)
def parse_claims(text: str) -> tuple[Claim, ...]:
    """Parse the claims of a text, in order. A text without a known action has none."""
    sentence = read_sentence(text, _keeps)
    claims: list[Claim] = []
    heads: list[Head] = []
    for head in sentence.heads:
        claim = _claim(head, read_arguments(sentence, head), sentence, claims)
        if claim is not None:
            claims.append(claim)
            heads.append(head)
    claims = _with_shared_arguments(claims, heads, sentence)
    told = [n for n, c in enumerate(claims) if c.part is not None or not _needs_limb(c)]
    claims, heads = [claims[n] for n in told], [heads[n] for n in told]
    claims, heads = _without_moved_things(claims, heads, sentence)
    claims = _with_order(claims, heads, sentence)
    claims = _with_roles(claims, heads, sentence)
    claims += _turns_of_paths(claims, heads, sentence)
    claims += _uses(sentence, bool(claims))
    return tuple(_with_spot(_without_partial_counts(claims), heads, sentence))


def _without_partial_counts(claims: list[Claim]) -> list[Claim]:
    """Drop counts of an action that the text tells several times: each is of a part of it."""
    told = Counter(claim.action for claim in claims if not claim.negated)
    return [
        replace(claim, count=0) if told[claim.action] > 1 and not claim.counts_steps else claim
        for claim in claims
    ]


def _keeps(sentence: Sentence, head: Head) -> bool:
    """Return whether a head makes a claim, or its words belong to another head."""
    found = read_arguments(sentence, head)
    if found.thing and head.action in NO_BODY_WITH_OBJECT:
        return False
    if sentence.introduces(head) or _is_manner(sentence, head) or _is_said_twice(sentence, head):
        return False
    word = head.word
    if word.verb in ("shoot", "come") and head.action in (Action.STRIKE, Action.CLAP):
        return found.part is not None
    if word.verb == "land":
        return len(sentence.heads) > 1
    if word.text == "bent" and found.part is None and word.dep in ("amod", "acl"):
        return False
    if head.action is Action.REST:
        return bool(found.side) and (found.part in (Part.ARM, Part.LEG) or found.elided)
    if head.action is Action.MOVE:
        return _is_movement(head, found)
    return _has_its_limb(head, found)


def _is_movement(head: Head, found: Arguments) -> bool:
    """Return whether a plain verb of movement says how, where to or of what."""
    if head.word.text == "on":  # "on the way forward"
        return found.direction is not None
    if head.word.verb == "proceed" and found.direction is None:
        return False  # "proceeds to jump"
    told = found.direction or found.part or found.negated or found.pace or found.pronoun
    return bool(told) or head.word.verb in _PLAIN_MOVES


def _has_its_limb(head: Head, found: Arguments) -> bool:
    needed = OF_LIMBS.get(head.action)
    if needed is None or found.part in needed or found.pronoun:
        return True
    if head.action is Action.STRAIGHTEN or head.word.verb in ("rise", "reach"):
        return True
    if found.elided and head.action in ONE_SIDED:
        return True
    return head.shared and found.part is None


def _is_said_twice(sentence: Sentence, head: Head) -> bool:
    """Return whether a phrase repeats a verb: "sits on a chair" is one claim."""
    return head.word.text in ("on", "to") and any(
        other.action in _SAME.get(head.action, ()) and other.index != head.index
        for other in sentence.heads
    )


def _is_manner(sentence: Sentence, head: Head) -> bool:
    """Return whether a noun only tells how a verb is done: "walks with huge strides"."""
    moves = {h.index for h in sentence.heads if h.action in _LOCOMOTION and h.index != head.index}
    up = next((w for w in ancestors(sentence.words, head.index) if w.is_verb), None)
    return head.word.noun in STEPS and head.word.is_noun and up is not None and up.index in moves


_LOCOMOTION: Final = frozenset({Action.WALK, Action.RUN, Action.MOVE, Action.JUMP})
_SAME: Final = {
    Action.SIT: frozenset({Action.SIT, Action.SIT_DOWN}),
    Action.LIE: frozenset({Action.LIE}),
    Action.KNEEL: frozenset({Action.KNEEL}),
    Action.CRAWL: frozenset({Action.CRAWL}),
}
_PLAIN_MOVES: Final = frozenset({"approach", "retreat", "advance", "proceed", "travel", "cross"})
"""Verbs of locomotion that need no direction."""


def _claim(
    head: Head, found: Arguments, sentence: Sentence, before: Sequence[Claim]
) -> Claim | None:
    part, side = _limb_of(head.action, found, before)
    action = _action_of(head, found, part)
    direction, negated = found.direction, found.negated
    if action is Action.STRAIGHTEN and part is None:
        part = Part.TORSO
    if action is Action.MOVE and negated and not direction:
        action, negated = Action.STILL, False
    if action in (Action.SWING, Action.REST) and negated and (part or side):
        # "the right arm never moves", "the left never leaves the guard"
        action, negated = Action.REST, False
    words = sentence.words
    return Claim(
        action=action,
        part=part,
        side=side,
        direction=direction,
        count=found.count,
        counts_steps=found.count > 0 and _names_steps(sentence, head),
        negated=negated,
        word=head.word.text,
        place=(words[head.indices[0]].start, words[head.indices[-1]].end),
        only=found.only and side in (Side.LEFT, Side.RIGHT),
        pace=found.pace,
    )


def _limb_of(
    action: Action, found: Arguments, before: Sequence[Claim]
) -> tuple[Part | None, Side | None]:
    """Return the limb of a claim, where it is named, stands for itself or is that before."""
    part, side = found.part, found.side
    if action in (Action.WALK, Action.RUN) or action in _OF_THE_BODY:
        return None, None
    meant = action in OF_LIMBS or (action is Action.MOVE and found.pronoun)
    if part is None and (found.pronoun or found.elided) and before and meant:
        # "raises the left arm and lowers it", "and leaves the right hanging"
        part = before[-1].part
        side = side or (before[-1].side if found.pronoun else None)
    if part is None and side is not None:
        if action in (Action.KICK, Action.JUMP, Action.BALANCE):
            part = Part.LEG
        elif action in ARM_ACTIONS or action is Action.REST:
            part = Part.ARM
    return part, side


def _action_of(head: Head, found: Arguments, part: Part | None) -> Action:
    """Return the action that a verb means with its limb: "moves the arm up" raises it."""
    action, direction = head.action, found.direction
    if action is Action.THROW and found.limb_thrown:
        return Action.RAISE if direction is Direction.UP else Action.SWING
    if action in (Action.SWING, Action.MOVE) and part is Part.ARM and direction in _LIFTS:
        return _LIFTS[direction]
    if action is Action.RAISE and part is None and head.word.verb == "rise":
        return Action.STRAIGHTEN
    if part is None or found.carried:
        return action
    return _OF_A_LIMB.get((action, part), action)


def _without_moved_things(
    claims: list[Claim], heads: list[Head], sentence: Sentence
) -> tuple[list[Claim], list[Head]]:
    """Drop movements of a thing: "picks it up and moves it to the left"."""
    kept = [
        n
        for n, (claim, head) in enumerate(zip(claims, heads, strict=True))
        if claim.action is not Action.MOVE or not read_arguments(sentence, head).pronoun
    ]
    return [claims[n] for n in kept], [heads[n] for n in kept]


def _needs_limb(claim: Claim) -> bool:
    return claim.action in OF_LIMBS and claim.action is not Action.REACH


def _names_steps(sentence: Sentence, head: Head) -> bool:
    words = sentence.words
    return head.word.noun in STEPS or any(words[i].noun in STEPS for i in sentence.owned(head))


_LIFTS: Final[Mapping[Direction | None, Action]] = {
    Direction.UP: Action.RAISE,
    Direction.DOWN: Action.LOWER,
}
_OF_THE_BODY: Final = frozenset(
    {Action.SIT, Action.SIT_DOWN, Action.STAND, Action.STAND_UP, Action.KNEEL, Action.LIE}
    | {Action.CRAWL, Action.SQUAT, Action.DANCE, Action.PUSH_UP, Action.CARTWHEEL, Action.STILL}
)
"""Actions of the whole body, whatever limb is named beside them."""
_OF_A_LIMB: Final = {
    (Action.STRIKE, Part.LEG): Action.KICK,
    (Action.MOVE, Part.ARM): Action.SWING,
    (Action.TURN, Part.ARM): Action.CIRCLE,
    (Action.MOVE, Part.LEG): Action.SWING,
}


def _with_shared_arguments(
    claims: list[Claim], heads: Sequence[Head], sentence: Sentence
) -> list[Claim]:
    """Give coordinated verbs the limb that is named once.

    "raises and lowers both arms", "both arms are raised and brought down"
    """
    place = {head.index: number for number, head in enumerate(heads)}
    for number, head in enumerate(heads):
        claim = claims[number]
        if claim.part is not None or claim.side is not None or claim.action not in OF_LIMBS:
            continue
        word = head.word
        linked = [place[i] for i in word.children if i in place and sentence.words[i].dep == "conj"]
        if word.dep == "conj" and word.parent in place:
            linked.append(place[word.parent])
        for other in linked:
            if claims[other].part is not None:
                claims[number] = replace(
                    claim, part=claims[other].part, side=claims[other].side, only=claims[other].only
                )
                break
    return claims


# ---------------------------------------------------------------------------------------- order


def _with_order(claims: list[Claim], heads: Sequence[Head], sentence: Sentence) -> list[Claim]:
    before: list[set[int]] = [set() for _ in claims]
    words = sentence.words
    for number, head in enumerate(heads):
        governor, link = _temporal_link(head, heads, words)
        if governor is not None and link == "before":
            before[number].add(governor)
        elif governor is not None and link == "after":
            before[governor].add(number)
        elif number and _comes_next(heads[number - 1], head, words):
            before[number].add(number - 1)
    ordered = [
        replace(claim, after=tuple(sorted(earlier - {number})))
        for number, (claim, earlier) in enumerate(zip(claims, before, strict=True))
    ]
    first = [n for n, head in enumerate(heads) if _is_first(head, sentence)]
    if len(first) == 1 and len(claims) > 1:
        ordered[first[0]] = replace(ordered[first[0]], first=True)
    return ordered


def _temporal_link(
    head: Head, heads: Sequence[Head], words: Sequence[Word]
) -> tuple[int | None, str]:
    """Return the claim that "before" or "after" relates a head to, and the word."""
    link = ""
    place = {h.index: n for n, h in enumerate(heads)}
    node = head.word
    for parent in (*ancestors(words, head.index), None):
        marks = [words[i].text for i in node.children if words[i].dep in ("mark", "prep", "advmod")]
        if not link and node.dep in ("advcl", "pcomp", "pobj", "relcl"):
            link = next((m for m in marks if m in ("before", "after")), "")
            if link == "after" and any(words[i].text == "which" for i in _two_below(words, node)):
                link = "before"  # "a squat, after which the person stands"
        if parent is None:
            break
        if parent.text in ("before", "after") and not link:
            link = parent.text
        if parent.index in place and parent.index != head.index:
            return (place[parent.index], link) if link else (None, "")
        node = parent
    if link:
        # The governor is a verb without a claim: the nearest claim of the other clause.
        # "After a bow he jumps" is sometimes parsed as "a bow (that) he jumps".
        opens = head.word.parent == 0
        others = [
            n
            for n, other in enumerate(heads)
            if other.index != head.index and (opens or head.index not in _up(other, words))
        ]
        if others:
            return min(others, key=lambda n: abs(heads[n].index - head.index)), link
    return None, ""


def _two_below(words: Sequence[Word], node: Word) -> list[int]:
    return [j for i in node.children for j in (i, *words[i].children)]


def _up(head: Head, words: Sequence[Word]) -> set[int]:
    return {w.index for w in ancestors(words, head.index)}


def _comes_next(earlier: Head, later: Head, words: Sequence[Word]) -> bool:
    if earlier.index > later.index:
        return False
    between = words[earlier.index + 1 : later.index]
    texts = [w.text for w in between]
    if any(w.verb in AFTERWARDS for w in between):
        return True
    if any(a == "after" and b in ("which", "that") for a, b in itertools.pairwise(texts)):
        return True
    # "from standing to sitting"
    opening = words[earlier.index - 1].text if earlier.index else ""
    return opening == "from" and texts == ["to"]


def _is_first(head: Head, sentence: Sentence) -> bool:
    owned = {sentence.words[i].text for i in sentence.owned(head)}
    return "first" in owned or head.word.verb in ("start", "begin")


# ---------------------------------------------------------------------------------------- roles

_BESIDE: Final = frozenset({"advcl", "acl", "amod", "prep", "npadvmod", "advmod"})
_POSTURES: Final = frozenset({Action.STAND, Action.STILL, Action.STAY, Action.REST})


def _with_roles(claims: list[Claim], heads: Sequence[Head], sentence: Sentence) -> list[Claim]:
    """Mark the claims that are only said beside the main ones."""
    main = [
        not _is_beside(head, sentence) or bool(claim.after) or _is_earlier(n, claims)
        for n, (claim, head) in enumerate(zip(claims, heads, strict=True))
    ]
    rich = [n for n, claim in enumerate(claims) if main[n] and claim.action not in _POSTURES]
    if rich or sentence.other_verbs:
        # "stands and waves" is about the wave, "stands and plays the guitar" about the guitar.
        main = [
            is_main and (claim.action not in _POSTURES or bool(claim.after) or claim.first)
            for is_main, claim in zip(main, claims, strict=True)
        ]
    if not any(main) and not sentence.other_verbs:
        main = [True] * len(claims)
    return [replace(claim, main=m) for claim, m in zip(claims, main, strict=True)]


def _is_earlier(number: int, claims: Sequence[Claim]) -> bool:
    return any(number in claim.after for claim in claims)


def _is_beside(head: Head, sentence: Sentence) -> bool:
    """Return whether a head is in a clause or phrase that only accompanies another verb."""
    words = sentence.words
    node = head.word
    for parent in (*ancestors(words, head.index), None):
        if parent is None:
            return False
        if node.dep in ("conj", "relcl", "ccomp", "xcomp", "dobj", "attr", "nsubj", "parataxis"):
            node = parent
            continue
        if node.dep == "amod" and parent.index in sentence.head_indices:
            return True
        if node.dep in ("advcl", "acl") and not _is_means(node, words):
            return True
        if node.dep == "pcomp" and parent.text in ("with", "without", "while"):
            return True
        if node.dep == "prep" and node.text in ("with", "without"):
            return parent.index in sentence.head_indices or parent.is_verb
        node = parent
    return False


def _is_means(node: Word, words: Sequence[Word]) -> bool:
    return any(words[i].text in ("by", "to", "before", "after") for i in node.children)


def _uses(sentence: Sentence, has_claims: bool) -> list[Claim]:
    """Return what verbs outside of the lexicon do with one limb: "wipes with the left hand"."""
    uses: list[Claim] = []
    for word, part, side in limbs_of(sentence):
        if uses and (uses[-1].part, uses[-1].side) == (part, side):
            continue
        use = replace(_bare(Action.USE, word), part=part, side=side)
        uses.append(replace(use, main=not has_claims))
    return uses


# ----------------------------------------------------------------------------- paths and places


def _turns_of_paths(
    claims: Sequence[Claim], heads: Sequence[Head], sentence: Sentence
) -> list[Claim]:
    """Return the turns that paths imply: "walks clockwise", "along a curve to the left"."""
    turns: list[Claim] = []
    if not claims and (around := curve_of(sentence.words)) is not None:
        return [_bare(Action.TURN, sentence.words[0], direction=around)]
    for claim, head in zip(claims, heads, strict=True):
        if claim.action not in (Action.WALK, Action.RUN, Action.MOVE, Action.TURN):
            continue
        around = read_arguments(sentence, head).curve
        if around is not None and claim.action is not Action.TURN:
            turns.append(
                replace(claim, action=Action.TURN, direction=around, count=0, pace=None, after=())
            )
    return turns


def _with_spot(claims: list[Claim], heads: Sequence[Head], sentence: Sentence) -> list[Claim]:
    """Add what the text says of the person's place, and of how long it lasts."""
    text = sentence.text.lower()
    if any(phrase in text for phrase in THROUGHOUT):
        claims = [replace(claim, throughout=True) for claim in claims]
    phrase = next((p for p in SPOT_PHRASES if p in text), None)
    if phrase is None or "far from the spot" in text:
        return claims
    start = text.index(phrase)
    inside = [w.index for w in sentence.words if start <= w.start < start + len(phrase)]
    inside = [i for i in inside if i not in sentence.skipped]
    if not inside:
        return claims
    owners = {sentence.owner(i) for i in inside} - {None}
    for number, head in enumerate(heads):
        if head.index in owners and claims[number].action is Action.STILL:
            claims[number] = replace(claims[number], action=Action.STAY)  # "hardly moving from"
            return claims
        if head.index in owners and claims[number].action in _CAN_STAY:
            claims[number] = replace(claims[number], on_spot=True)
            return claims
    alone = not claims and not sentence.other_verbs
    stay = replace(_bare(Action.STAY, sentence.words[inside[0]]), main=alone)
    return [*claims, stay]


def _bare(action: Action, word: Word, *, direction: Direction | None = None) -> Claim:
    """Return a claim without arguments."""
    return Claim(
        action=action,
        part=None,
        side=None,
        direction=direction,
        count=0,
        counts_steps=False,
        negated=False,
        word=word.text,
        place=(word.start, word.end),
    )


_CAN_STAY: Final = frozenset({Action.WALK, Action.RUN, Action.JUMP, Action.TURN, Action.MOVE})
