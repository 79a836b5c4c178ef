"""The words of a text that name an action, and the words that belong to each of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from annotators.grounding.lexicon import (
    APART,
    AT_ONCE,
    CLOCK,
    HEDGES,
    LIGHT,
    NOUNS,
    OF_LIMBS,
    PACES,
    PARTS,
    PATHS,
    PHRASES,
    POSES,
    PUTS,
    SEATS,
    SIDES,
    SIMILES,
    STEPS,
    TURNS,
    VERBS,
    Action,
    synonyms,
)
from annotators.grounding.syntax import Word, ancestors, parse, spelled


@dataclass(frozen=True, slots=True)
class Head:
    """A word, or a phrase, that names an action.

    Attributes:
        action: the action.
        word: the word; for a phrase, its first one.
        indices: indices of all its words.
        shared: whether it may take its limb from a verb that it is coordinated with.
    """

    action: Action
    word: Word
    indices: tuple[int, ...]
    shared: bool

    @property
    def index(self) -> int:
        """Index of the word."""
        return self.word.index


class Sentence:
    """The words of a text, its heads, and whose argument each word is.

    Attributes:
        text: the text in the spelling that was parsed.
        words: its words.
        skipped: indices of the words of similes.
        heads: the heads, in order.
        head_indices: indices of their words.
        other_verbs: whether a finite verb outside of the lexicon tells what the text is about.
    """

    def __init__(self, text: str, words: Sequence[Word], heads: Sequence[Head]) -> None:
        self.text = text
        self.words = words
        self.skipped = _similes(words)
        self.heads = tuple(heads)
        self.head_indices = frozenset(head.index for head in heads)
        self._inside = {i: head.index for head in heads for i in head.indices}
        self._redirect = dict(self._redirects())
        self.other_verbs = any(self._is_other(word) for word in words)

    def owner(self, index: int) -> int | None:
        """Return the index of the head that a word belongs to, or None."""
        if index in self.skipped:
            return None
        for word in (self.words[index], *ancestors(self.words, index)):
            if word.index in self._inside:
                return self._inside[word.index]
            if word.index in self._redirect:
                return self._redirect[word.index]
            if word.dep in _CLAUSES and word.is_verb:
                break
        if len(self.heads) == 1 and not self.other_verbs:
            return self.heads[0].index
        return self._nearest(index) if _is_of_the_lexicon(self.words[index]) else None

    def _nearest(self, index: int) -> int | None:
        """Return a head within three words, if no verb or comma stands between."""
        near = [h for h in self.head_indices if abs(h - index) <= 3]
        for head in sorted(near, key=lambda h: abs(h - index)):
            between = self.words[min(head, index) + 1 : max(head, index)]
            if not any(w.text == "," or (w.is_verb and w.noun not in PARTS) for w in between):
                return head
        return None

    def owned(self, head: Head) -> list[int]:
        """Return the indices of the words that belong to a head, in order, without itself."""
        return [
            word.index
            for word in self.words
            if word.index != head.index and self.owner(word.index) == head.index
        ]

    def _redirects(self) -> Iterator[tuple[int, int]]:
        """Yield words without an action whose object is a head: "throws a punch"."""
        for word in self.words:
            if word.index in self._inside or not (word.is_verb or word.is_noun):
                continue
            below = [i for i in self._objects(word) if i in self.head_indices]
            if below:
                direct = [i for i in below if self.words[i].dep in _DIRECT]
                yield word.index, (direct or below)[0]

    def _objects(self, word: Word) -> Iterator[int]:
        for i in word.children:
            child = self.words[i]
            if i in self.skipped or child.dep not in _INNER or child.text in ("after", "before"):
                continue
            if child.dep in ("nsubj", "nsubjpass") and i not in self.head_indices:
                continue
            yield i
            if i not in self.head_indices:
                yield from self._objects(child)

    def _is_other(self, word: Word) -> bool:
        return (
            word.is_verb
            and word.index not in self._inside
            and word.index not in self._redirect
            and word.index not in self.skipped
            and word.dep in ("ROOT", "conj", "ccomp", "parataxis")
            and word.verb not in LIGHT | HEDGES
            and word.text not in ("left", "right")
            and word.noun not in PARTS
        )

    def introduces(self, head: Head) -> bool:
        """Return whether a head only introduces the noun of another: "throws a punch"."""
        if head.word.verb not in LIGHT or not head.word.is_verb:
            return False
        for i in head.word.children:
            child = self.words[i]
            inner = [child]
            if child.dep == "prep" and child.text in ("into", "to"):
                inner = [self.words[j] for j in child.children if self.words[j].dep == "pobj"]
            elif child.dep not in ("dobj", "attr"):
                continue
            nouns = [w for w in inner for w in (w, *(self.words[j] for j in w.children))]
            if any(w.index in self.head_indices and w.is_noun for w in nouns):
                return True
        return False


def _is_of_the_lexicon(word: Word) -> bool:
    if word.text in PACES and word.tag == "RB":
        return True
    return word.text in SIDES or word.text in CLOCK or word.text in TURNS or word.noun in PARTS


_DIRECT: Final = frozenset({"dobj", "nsubj", "nsubjpass", "attr", "xcomp"})
_CLAUSES: Final = frozenset({"advcl", "relcl", "acl", "ccomp", "conj", "parataxis"})
_INNER: Final = frozenset(
    {"dobj", "pobj", "prep", "attr", "xcomp", "pcomp", "oprd", "advmod", "npadvmod", "acomp"}
    | {"nsubj", "nsubjpass", "dative", "agent", "ccomp"}
)
"""Relations through which a verb without an action leads to the action that it introduces."""


def read_sentence(text: str, keeps: Callable[[Sentence, Head], bool]) -> Sentence:
    """Find the heads of a text.

    Args:
        text: English text.
        keeps: whether a head makes a claim with the words that belong to it. Those that make none
            are dropped, and their words may belong to another head.
    """
    text = spelled(text)
    words = parse(text)
    heads = list(_candidates(words))
    while True:
        sentence = Sentence(text, words, heads)
        kept = [head for head in heads if keeps(sentence, head)]
        if len(kept) == len(heads):
            return sentence
        heads = kept


def _candidates(words: Sequence[Word]) -> Iterator[Head]:
    taken: set[int] = set()
    skipped = _similes(words)
    for word in words:
        if word.index in taken or word.index in skipped:
            continue
        found = _phrase(words, word.index)
        if found is None:
            action = _single(words, word)
            found = (action, (word.index,)) if action is not None else None
        if found is None:
            continue
        action, indices = found
        if action is Action.LOWER and word.verb == "put" and not _puts_a_limb(words, word):
            action = Action.PUT_DOWN
        taken |= set(indices)
        yield Head(action, word, indices, _is_coordinated(words, word, action))


def _puts_a_limb(words: Sequence[Word], word: Word) -> bool:
    """Return whether what is put down is a limb, and not a thing."""
    moved = [words[i] for i in word.children if words[i].dep in ("dobj", "nsubjpass")]
    return any(w.noun in PARTS or w.text in ("it", "them") for w in moved) or not moved


def _is_coordinated(words: Sequence[Word], word: Word, action: Action) -> bool:
    if action not in OF_LIMBS:
        return False
    linked = [words[i] for i in word.children if words[i].dep == "conj"]
    if word.dep == "conj":
        linked.append(words[word.parent])
    return any(_single(words, other) in OF_LIMBS for other in linked)


def _phrase(words: Sequence[Word], i: int) -> tuple[Action, tuple[int, ...]] | None:
    """Return the action of the longest phrase that starts at a word, and its indices."""
    best: tuple[Action, tuple[int, ...]] | None = None
    for phrase, action in PHRASES.items():
        parts = phrase.split()
        if parts[0] not in (words[i].verb, words[i].text, words[i].noun):
            continue
        following = words[i + 1 : i + len(parts)]
        if len(following) == len(parts) - 1 and all(
            part in (w.text, w.noun, w.verb) for part, w in zip(parts[1:], following, strict=True)
        ):
            indices = tuple(range(i, i + len(parts)))
            if best is None or len(indices) > len(best[1]):
                best = action, indices
        elif best is None and action in APART and len(parts) == 2:
            apart = _apart(words, i, parts[1])
            best = (action, (i, apart)) if apart is not None else None
    return best


def _apart(words: Sequence[Word], i: int, particle: str) -> int | None:
    """Return the index of a particle that follows the object: "puts his arm out"."""
    for j in range(i + 2, min(i + 6, len(words))):
        if words[j].text == particle:
            named = any(w.noun in PARTS for w in words[i + 1 : j])
            return j if named else None
        if words[j].text in (",", ".", "and"):
            return None
    return None


def _single(words: Sequence[Word], word: Word) -> Action | None:
    """Return the action that one word names, or None."""
    text = word.text
    if text in ("left", "right", "back") or word.dep in ("aux", "auxpass"):
        return None
    if text in AT_ONCE:
        return AT_ONCE[text]
    if text == "still" and word.dep in ("acomp", "oprd"):
        return Action.STILL
    if word.is_verb or text.endswith("ing"):
        return _verb(words, word)
    following = words[word.index + 1].tag if word.index + 1 < len(words) else ""
    if text == "lower" and following in ("DT", "PDT", "PRP$"):
        return Action.LOWER  # "raise and lower both arms" is parsed as a comparative
    if word.is_noun:
        return _noun(words, word, following)
    if following in ("DT", "PRP$") and word.dep in ("ROOT", "amod", "advmod"):
        return VERBS.get(text)
    return None


def _verb(words: Sequence[Word], word: Word) -> Action | None:
    verb = word.verb
    if word.noun in PARTS or (word.noun in PATHS and _is_of_a_path(words, word)):
        return None
    if _sits(words, word):
        return Action.SIT_DOWN
    if word.dep == "amod" and words[word.parent].noun in POSES:
        return None
    if verb in PUTS:
        moved = [words[i] for i in word.children if words[i].dep in ("dobj", "nsubjpass")]
        return Action.MOVE if any(w.noun in PARTS for w in moved) else None
    if verb == "pick":
        # "picks something up"
        following = [w.text for w in words[word.index + 1 : word.index + 5]]
        return Action.PICK_UP if "up" in following else None
    return VERBS.get(verb) or synonyms().get(verb) or _resting(words, word)


def _noun(words: Sequence[Word], word: Word, following: str) -> Action | None:
    if word.text == "pace" or _is_of_a_thing(words, word):
        return None  # "at a slow pace", "the steps of a stair"
    if word.noun in NOUNS:
        return NOUNS[word.noun]
    # Fragments such as "raises the left" or "steps back" are often tagged as nouns.
    if word.text.endswith("s") and following in _AFTER_A_VERB:
        return VERBS.get(word.verb) or _resting(words, word)
    return None


_AFTER_A_VERB: Final = frozenset({"DT", "PRP$", "RB", "IN", "RP", "JJ", "TO", ",", ".", ""})


def _sits(words: Sequence[Word], word: Word) -> bool:
    """Return whether a verb and a seat mean to sit down: "lowers herself onto a chair"."""
    if word.verb not in ("lower", "ease", "drop", "let", "sink"):
        return False
    following = words[word.index + 1 : word.index + 9]
    oneself = word.verb == "sink" or any(w.text.endswith(("self", "selves")) for w in following)
    return oneself and any(w.noun in SEATS for w in following)


def _is_of_a_path(words: Sequence[Word], word: Word) -> bool:
    """Return whether "bend" or "curve" is a path: "a left hand bend", "a curve that bends"."""
    before = {w.text for w in words[max(0, word.index - 2) : word.index]}
    path = any(w.noun in PATHS for w in words[max(0, word.index - 2) : word.index])
    return path or bool(before & {"hand", "left", "right"} and not word.is_verb)


_HELD: Final = frozenset({"rest", "stay", "remain", "leave", "keep"})


def _resting(words: Sequence[Word], word: Word) -> Action | None:
    """Return REST for a limb that is left where it is."""
    if word.verb not in _HELD:
        return None
    # "keeps waving": the complement is the action.
    complements = [words[i] for i in word.children if words[i].dep in ("xcomp", "ccomp")]
    return None if any(VERBS.get(w.verb) for w in complements) else Action.REST


def _is_of_a_thing(words: Sequence[Word], word: Word) -> bool:
    """Return whether a noun is no action: "the steps of a stair"."""
    if word.noun not in STEPS:
        return False
    following = [words[i] for i in word.children if words[i].text == "of"]
    return any(
        words[j].noun in ("stair", "staircase", "house") for w in following for j in w.children
    )


def _similes(words: Sequence[Word]) -> frozenset[int]:
    """Return the indices of the words of similes: "like a boxer", "as if to shout"."""
    skipped: set[int] = set()
    i = 0
    while i < len(words):
        length = _simile_at(words, i)
        if not length:
            i += 1
            continue
        end = i + length
        while end < len(words) and not _ends_simile(words, end):
            end += 1
        skipped |= set(range(i, end))
        i = end
    return frozenset(skipped)


def _simile_at(words: Sequence[Word], i: int) -> int:
    from_here = tuple(word.text for word in words[i : i + 2])
    length = next((len(s) for s in SIMILES if from_here[: len(s)] == s), 0)
    before = words[i - 1].verb if i else ""
    if not length or before in HEDGES or (length == 1 and words[i].is_verb):
        return 0
    # "something like a jump"
    return 0 if before in ("something", "more") else length


def _ends_simile(words: Sequence[Word], i: int) -> bool:
    word = words[i]
    if word.text in (",", ";", ".", ":", "then", "while", "before", "after"):
        return True
    following = words[i + 1] if i + 1 < len(words) else None
    return (
        word.text == "and"
        and following is not None
        and (following.text == "then" or following.tag == "VBZ")
    )
