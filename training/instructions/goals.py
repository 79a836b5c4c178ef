"""Keys of plans: of a goal, the same for the same goal in other words, and of a whole plan.

The plans of one goal are nearly the same, so they must not be divided among splits. A key is
coarser than a goal: "turn on the light" and "turn the lights off" share one. That never lets a plan
leak, and it needs no knowledge of other goals, so that plans which are added move no others.
"""

import re
from collections.abc import Sequence
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")
_LIGHT_WORDS: Final = """
a about again all an and are as at be by down for from front get getting go going got her his i in
into is it its me my new of off on onto or our out over own please put set some something take
taking that the their them then this to up use using was with your
"""
_LIGHT: Final = frozenset(_LIGHT_WORDS.split())
"""Words that a goal keeps its meaning without, among them the verbs that take any object."""
_SAME: Final = {
    "television": "tv",
    "telephone": "phone",
    "smartphone": "phone",
    "internet": "net",
    "web": "net",
    "picture": "painting",
    "photo": "painting",
    "laptop": "computer",
    "pc": "computer",
    "film": "movie",
    "gaze": "look",
    "watch": "look",
    "sent": "send",
    "wrote": "write",
    "shut": "close",
    "wash": "clean",
    "arrange": "organize",
    "rearrange": "organize",
    "sofa": "couch",
    "fridge": "refrigerator",
    "bath": "bathroom",
}
_SHORTEST: Final = 3
"""Fewest letters that are left of a word."""


def goal_key(goal: str) -> str:
    """Return the key of a goal: its telling words, without endings, once each, in order.

    Args:
        goal: the goal of a plan, such as "Getting dressed".
    """
    words = _WORD.findall(goal.casefold())
    telling = [word for word in words if word not in _LIGHT] or words
    stems = {_stem(word) for word in telling}
    return " ".join(sorted(_SAME_STEMS.get(stem, stem) for stem in stems))


def plan_key(goal: str, steps: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the words of a goal and of its steps, which are equal if only the spelling differs.

    Unlike :func:`goal_key`, it tells goals apart whose words differ.

    Args:
        goal: the goal of a plan.
        steps: its steps, in order.
    """
    return tuple(tuple(_WORD.findall(text.casefold())) for text in (goal, *steps))


def _stem(word: str) -> str:
    """Return a word without the endings of its forms: washes, washing and washed are wash."""
    for ending in ("s", "ing", "ed"):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < _SHORTEST or (stem.endswith("s") and ending == "s"):
            continue
        # Cutting is cut, but telling is tell and dressing dress.
        doubled = ending != "s" and stem[-1] == stem[-2] and stem[-1] not in "ls"
        word = stem[:-1] if doubled else stem
    # Use and using, tidy and tidies.
    word = word[:-1] if len(word) > _SHORTEST and word.endswith("e") else word
    return f"{word[:-1]}i" if len(word) > _SHORTEST and word.endswith("y") else word


_SAME_STEMS: Final = {_stem(word): _stem(other) for word, other in _SAME.items()}
