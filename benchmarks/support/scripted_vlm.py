"""Texts as a visual model would write them about the real clips, with deliberate errors.

Each labeled event of a person becomes a sentence that is right, and a near one that is wrong: the
other side, the opposite direction, or another action that the person does not do around that time.
What the texts say is known from the labels (``events.jsonl``), so the verdicts of grounding on our
own tracks can be compared with it, part by part.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.support.truth.labels import LabeledEvent, LabeledPerson

_ARM, _LEG, _TRUNK, _BODY = "arm", "leg", "trunk", "whole body"
SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "walk": (_BODY, "The {who} walks {direction}."),
    "run": (_BODY, "The {who} is seen running {direction}."),
    "jump": (_BODY, "The {who} jumps up."),
    "turn": (_BODY, "The {who} turns {direction}."),
    "stand": (_BODY, "The {who} is standing upright."),
    "sit": (_BODY, "The {who} is sitting."),
    "sit_down": (_BODY, "The {who} sits down."),
    "stand_up": (_BODY, "The {who} stands up."),
    "get_up": (_BODY, "The {who} gets up."),
    "squat": (_BODY, "The {who} lowers into a squat."),
    "kneel": (_BODY, "The {who} is kneeling."),
    "lie": (_BODY, "The {who} is lying down."),
    "push_up": (_BODY, "The {who} performs a push-up."),
    "balance": (_BODY, "The {who} balances on one leg."),
    "crawl": (_BODY, "The {who} crawls on all fours."),
    "bend": (_TRUNK, "The {who} bends {direction} at the waist."),
    "lean": (_TRUNK, "The {who} leans {direction}."),
    "straighten_up": (_TRUNK, "The {who} straightens up again."),
    "raise_arm": (_ARM, "The {who} raises {limb}."),
    "raise_arms": (_ARM, "The {who} lifts {limb} up."),
    "lower_arm": (_ARM, "The {who} lowers {limb}."),
    "reach": (_ARM, "The {who} reaches out with {limb}."),
    "wave": (_ARM, "The {who} waves {limb}."),
    "clap": (_ARM, "The {who} claps."),
    "punch": (_ARM, "The {who} punches with {limb}."),
    "throw": (_ARM, "The {who} throws something with {limb}."),
    "raise_leg": (_LEG, "The {who} lifts {limb}."),
    "kick": (_LEG, "The {who} kicks with {limb}."),
}
"""Part and sentence of each kind of label that a body can show."""
_NEIGHBORS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("walk", "run", "stand", "turn"), "jump"),
    **dict.fromkeys(("jump", "squat", "balance", "push_up", "crawl"), "sit"),
    **dict.fromkeys(("sit", "sit_down", "kneel", "lie", "stand_up", "get_up"), "walk"),
    **dict.fromkeys(("bend", "lean", "straighten_up"), "jump"),
    **dict.fromkeys(("raise_arm", "raise_arms", "reach", "lower_arm", "throw"), "clap"),
    **dict.fromkeys(("wave", "clap", "punch"), "kick"),
    **dict.fromkeys(("raise_leg", "kick"), "push_up"),
}
"""The action that is told wrongly instead."""
_LIKE: Final[Mapping[str, frozenset[str]]] = {
    "jump": frozenset({"jump", "jump_down", "land", "run"}),
    "sit": frozenset({"sit", "sit_down", "squat", "land", "kneel", "lie", "ride_bicycle", "hold"}),
    "walk": frozenset({"walk", "run", "step", "climb"}),
    "clap": frozenset({"clap", "handle_object", "hold", "catch"}),
    "kick": frozenset({"kick", "raise_leg", "juggle", "dribble", "balance", "hold"}),
    "push_up": frozenset({"push_up", "lie", "hold", "stretch_yoga"}),
}
"""Labels around which the wrong action is not surely wrong."""
_OPPOSITE: Final = {
    **{"left": "right", "right": "left", "forward": "backward", "backward": "forward"},
}
NEAR_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Written:
    """A sentence of the scripted model.

    Attributes:
        text: the sentence.
        part: part of the body that it is about.
        right: whether the labels say the same.
        start_s, end_s: the span that it describes, seconds.
    """

    text: str
    part: str
    right: bool
    start_s: float
    end_s: float


def write(person: LabeledPerson) -> Iterator[Written]:
    """Yield the sentences about a person."""
    for event in person.events:
        if event.kind not in SENTENCES or not event.counts:
            continue
        part, _ = SENTENCES[event.kind]
        span = event.start_s, event.end_s
        yield Written(_word(event.kind, event.side, event.direction), part, True, *span)  # noqa: FBT003
        if (wrong := _wrong(event, person.events)) is not None:
            yield Written(wrong[1], wrong[0], False, *span)  # noqa: FBT003


def _wrong(event: LabeledEvent, events: Sequence[LabeledEvent]) -> tuple[str, str] | None:
    """Return part and text of an error, which depends only on the event."""
    part, sentence = SENTENCES[event.kind]
    near = [
        e
        for e in events
        if e.start_s < event.end_s + NEAR_S and e.end_s > event.start_s - NEAR_S and e is not event
    ]
    errors: list[tuple[str, str]] = []
    if event.side in ("left", "right") and "{limb}" in sentence:
        other = _OPPOSITE[event.side]
        if not any(_moves(e, part, other) for e in near):
            errors.append((part, _word(event.kind, other, event.direction)))
    opposite = _OPPOSITE.get(event.direction or "")
    same = [e for e in near if e.kind == event.kind]
    alone = all(e.direction == event.direction for e in same)
    if opposite and "{direction}" in sentence and alone:
        errors.append((part, _word(event.kind, event.side, opposite)))
    instead = _NEIGHBORS[event.kind]
    if not any(e.kind in _LIKE[instead] for e in (*near, event)):
        errors.append((SENTENCES[instead][0], _word(instead, None, None)))
    if not errors:
        return None
    return errors[zlib.crc32(f"{event.kind} {event.start_s}".encode()) % len(errors)]


def _moves(event: LabeledEvent, part: str, side: str) -> bool:
    """Return whether a label moves a limb of a side, as far as it says."""
    other_part = SENTENCES.get(event.kind, (part, ""))[0]
    return other_part == part and event.side in (side, "both", None)


def _word(kind: str, side: str | None, direction: str | None) -> str:
    part, sentence = SENTENCES[kind]
    nouns = {_ARM: ("arm", "arms"), _LEG: ("leg", "legs")}.get(part, ("", ""))
    limb = f"both {nouns[1]}" if side == "both" else f"the {side} {nouns[0]}"
    if side not in ("left", "right", "both"):
        limb = f"a {nouns[0]}"
    way = {"left": "to the left", "right": "to the right"}.get(direction or "", direction or "")
    known = way if way in ("to the left", "to the right", "forward", "backward") else ""
    return " ".join(sentence.format(who="person", direction=known, limb=limb).split()).replace(
        " .", "."
    )
