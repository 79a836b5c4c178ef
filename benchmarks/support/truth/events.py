"""Our events compared with those that a viewer saw.

Spans are (start, end) in seconds of the video.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from annotators.motion.describe import MotionDescription
from annotators.motion.events import EventKind, MotionEvent, Part, Posture
from benchmarks.support.truth.kinds import (
    AXES,
    DIRECTED,
    HELD_BY_THE_BODY,
    IMPLIES,
    LARGE,
    NEEDS_AN_OBJECT,
    OPPOSITES,
    PART_OF,
    SAID_BY,
    UMBRELLAS,
)
from benchmarks.support.truth.labels import LabeledEvent, LabeledPerson

TOLERANCE_S: Final = 0.3
MIN_IOU: Final = 0.3
"""A span is right if both ends are within the tolerance, or if it overlaps as much as this
(``EVENTS.md``)."""
MIN_OVERLAP: Final = 0.5
"""Share of the shorter of two events at the same time."""

Span = tuple[float, float]
Truth = Literal["true", "false", "unknown"]
SHARED_KINDS: Final = frozenset(
    {
        *(EventKind.RAISE, EventKind.LOWER, EventKind.BEND, EventKind.LEAN),
        *(EventKind.STRAIGHTEN, EventKind.TWIST),
    }
)
"""Kinds that several parts share, and whose names therefore contain the part."""


@dataclass(frozen=True, slots=True)
class SaidEvent:
    """One of our events or held postures, as it is compared.

    Attributes:
        name: kind, with the part where parts share a kind; kind of a posture.
        side: ``left``, ``right``, ``both`` or None.
        direction: direction of the movement, or None.
        start_s, end_s: span, seconds.
        large: whether a viewer would have labeled it.
    """

    name: str
    side: str | None
    direction: str | None
    start_s: float
    end_s: float
    large: bool

    def __str__(self) -> str:
        told = [self.name, *(word for word in (self.side, self.direction) if word)]
        return f"{' '.join(told)} {self.start_s:.2f}-{self.end_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one of our events, and why it is not true."""

    event: SaidEvent
    truth: Truth
    reason: str = ""


def name_of(event: MotionEvent) -> str:
    """Return the name of an event in the tables of kinds."""
    part = Part.LEG if event.part is Part.KNEE else event.part
    return f"{event.kind}_{part}" if event.kind in SHARED_KINDS else event.kind.value


def said_events(description: MotionDescription) -> list[SaidEvent]:
    """Return the events and postures of a description, for comparison with labels.

    Standing is a posture of who walks as well: what is compared is standing without walking.
    """
    said = [_said(event) for event in description.events]
    moving = [(e.start_s, e.end_s) for e in said if e.name in ("walk", "run")]
    for posture in description.postures:
        said += _held(posture, moving)
    return sorted(said, key=lambda e: (e.start_s, e.end_s))


def _said(event: MotionEvent) -> SaidEvent:
    name = name_of(event)
    return SaidEvent(
        name=name,
        side=None if event.side is None else event.side.value,
        direction=None if event.direction is None else event.direction.value,
        start_s=event.start_s,
        end_s=event.end_s,
        large=name in LARGE and event.relative >= LARGE[name],
    )


def _held(posture: Posture, moving: Sequence[Span]) -> list[SaidEvent]:
    name = posture.kind.value
    side = None if posture.side is None else posture.side.value
    spans = [(posture.start_s, posture.end_s)]
    if name == "standing":
        spans = without(spans, moving)
    return [SaidEvent(name, side, None, start, end, name in LARGE) for start, end in spans]


# ------------------------------------------------------------------------------------- spans


def without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return spans without what others cover."""
    left = list(spans)
    for start, end in others:
        left = [
            piece
            for begin, stop in left
            for piece in ((begin, min(stop, start)), (max(begin, end), stop))
            if piece[1] > piece[0]
        ]
    return left


def same_time(said: Sequence[Span], labeled: Span) -> bool:
    """Return whether spans agree with a labeled span.

    Several spans, such as a walk that was seen in two pieces, count by their union.
    """
    start_s, end_s = labeled
    for first, last in said:
        if abs(first - start_s) <= TOLERANCE_S and abs(last - end_s) <= TOLERANCE_S:
            return True
    near = [s for s in said if min(s[1], end_s) > max(s[0], start_s)]
    if not near:
        return False
    shared = sum(min(b, end_s) - max(a, start_s) for a, b in near)
    spread = max(end_s, *(b for _, b in near)) - min(start_s, *(a for a, _ in near))
    return shared >= MIN_IOU * max(spread, 1e-9)


def overlaps(event: SaidEvent, label: LabeledEvent) -> bool:
    """Return whether an event is at the time of a label, within the tolerance."""
    start, end = label.start_s - TOLERANCE_S, label.end_s + TOLERANCE_S
    shared = min(event.end_s, end) - max(event.start_s, start)
    shorter = min(event.end_s - event.start_s, label.end_s - label.start_s)
    return shared >= MIN_OVERLAP * max(shorter, 0.05)


# ------------------------------------------------------------------------------------ recall


def shown_by_a_body(label: LabeledEvent, person: LabeledPerson) -> bool:
    """Return whether the joints alone can show a labeled event."""
    if label.kind == "hold":
        return person.activity_class in HELD_BY_THE_BODY
    return label.kind not in NEEDS_AN_OBJECT


def countable(person: LabeledPerson) -> list[LabeledEvent]:
    """Return the main events of a person of which recall is counted."""
    return [e for e in person.events if e.main and e.counts and shown_by_a_body(e, person)]


def is_recalled(label: LabeledEvent, said: Sequence[SaidEvent]) -> bool:
    """Return whether our events say a labeled one, with its side and direction, at its time.

    An event of both sides may be said as one of each side. An event may also be contained in a
    larger one that implies it, such as the arms that are raised in a jumping jack.
    """
    if any(label.kind in IMPLIES.get(e.name, ()) and _contains(e, label) for e in said):
        return True
    alike = [
        e for e in said if e.name in SAID_BY.get(label.kind, ()) and not _wrong_direction(e, label)
    ]
    if label.side == "both" and any(e.side in ("left", "right") for e in alike):
        whole = [e for e in alike if e.side not in ("left", "right")]
        each = [[*whole, *(e for e in alike if e.side == side)] for side in ("left", "right")]
    else:
        each = [[e for e in alike if not _wrong_side(e, label)]]
    span = (label.start_s, label.end_s)
    return all(same_time([(e.start_s, e.end_s) for e in events], span) for events in each)


def _contains(event: SaidEvent, label: LabeledEvent) -> bool:
    starts_before = event.start_s - TOLERANCE_S <= label.start_s
    return starts_before and label.end_s <= event.end_s + TOLERANCE_S


# --------------------------------------------------------------------------------- precision


def judge(event: SaidEvent, labels: Sequence[LabeledEvent]) -> Judged:
    """Judge one of our events by the labels of its person.

    It is true if a labeled event of its kind, of which it is a natural part, or that contains it,
    is at its time. It is false if that event has another side or direction, if a labeled event is
    its opposite, or if it is large and not labeled. Otherwise it is unknown, because small events
    are not all labeled.
    """
    now = [label for label in labels if label.counts and overlaps(event, label)]
    alike = [
        label
        for label in now
        if event.name in SAID_BY.get(label.kind, ())
        or label.kind in PART_OF.get(event.name, ())
        or label.kind in IMPLIES.get(event.name, ())
    ]
    wrong = ""
    for label in alike:
        if _wrong_side(event, label):
            wrong = f"side: {label.kind} {label.side}"
        elif _wrong_direction(event, label):
            wrong = f"direction: {label.kind} {label.direction}"
        else:
            return Judged(event, "true")
    if wrong:
        return Judged(event, "false", wrong)
    for label in now:
        if label.kind in OPPOSITES.get(event.name, ()) and not _wrong_side(event, label):
            return Judged(event, "false", f"the label is {label.kind}")
    if event.large and not any(label.kind in UMBRELLAS for label in now):
        return Judged(event, "false", "large, not labeled")
    return Judged(event, "unknown")


def judge_all(said: Sequence[SaidEvent], person: LabeledPerson) -> list[Judged]:
    """Judge our events of a person; standing is what is left, and is not judged."""
    return [judge(e, person.events) for e in said if e.name not in ("standing", "unknown")]


def _wrong_side(event: SaidEvent, label: LabeledEvent) -> bool:
    if event.name == "one_leg" and label.kind == "raise_leg":
        # The side of a balance is the leg that the person stands on.
        return event.side is not None and event.side == label.side
    return {event.side, label.side} == {"left", "right"}


def _wrong_direction(event: SaidEvent, label: LabeledEvent) -> bool:
    if event.name not in DIRECTED or event.direction is None or label.direction is None:
        return False
    known = {"left", "right", "forward", "backward", "up", "down"}
    if not {event.direction, label.direction} <= known or event.direction == label.direction:
        return False
    same_axis = any({event.direction, label.direction} == axis for axis in AXES)
    return same_axis or label.kind == "lean"
