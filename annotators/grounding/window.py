"""The part of a measured motion that a text describes, and the result of checking a claim in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from annotators.grounding.claims import Claim
from annotators.motion.describe import MotionDescription
from annotators.motion.events import EventKey, MotionEvent, Part, Posture, PostureKind, Side
from annotators.motion.measurements import measurement_of
from data.records import Verdict

ONE_SIDE: Final = (Side.LEFT, Side.RIGHT)
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check of one claim.

    Attributes:
        claim: checked claim.
        verdict: supported, contradicted or not measurable.
        support: score from 0 (the opposite was measured) to 1 (the claim was measured), 0.5 if
            nothing relevant was measured. It is a finer scale than the verdict.
        measurement: measured values with units that decided the verdict.
        start_s, end_s: span of the measurement, seconds.
        spans: spans of the events and postures that support the claim, seconds.
    """

    claim: Claim
    verdict: Verdict
    support: float
    measurement: str
    start_s: float
    end_s: float
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a motion from ``start_s`` to ``end_s``."""

    motion: MotionDescription
    start_s: float
    end_s: float

    def events(self, *keys: EventKey) -> list[MotionEvent]:
        """Return the matching events that are mostly inside the window."""
        return [e for e in self.motion.events if e.is_one_of(keys) and self._holds(e)]

    def postures(self, *kinds: PostureKind) -> list[Posture]:
        """Return the postures of these kinds that overlap the window."""
        return [p for p in self.motion.postures if p.kind in kinds and self._touches(p)]

    def _touches(self, thing: MotionEvent | Posture) -> bool:
        return thing.start_s < self.end_s and thing.end_s > self.start_s

    def _holds(self, event: MotionEvent) -> bool:
        shared_s = min(event.end_s, self.end_s) - max(event.start_s, self.start_s)
        return shared_s > 0 and shared_s >= min(0.4 * event.duration_s, 0.3)

    @property
    def span(self) -> Span:
        """Part of the window that the motion covers."""
        start_s = max(self.start_s, self.motion.start_s)
        return start_s, max(min(self.end_s, self.motion.end_s), start_s)

    @property
    def duration_s(self) -> float:
        """Length of that part, seconds."""
        start_s, end_s = self.span
        return end_s - start_s

    @property
    def exact(self) -> bool:
        """Whether the motion was captured, and not estimated from a video.

        In an estimate, small kicks, lifts of a foot and turns are often missing, so that their
        absence contradicts nothing.
        """
        return all(event.confidence >= 1.0 for event in self.motion.events)

    @property
    def traveled_m(self) -> float:
        """Distance that the pelvis travels, meters."""
        return self.motion.traveled_m(*self.span)

    @property
    def still_s(self) -> float:
        """Time without any movement, seconds."""
        start_s, end_s = self.span
        return sum(max(0.0, min(e, end_s) - max(s, start_s)) for s, e in self.motion.still)

    @property
    def quiet_s(self) -> float:
        """Time outside of all events, seconds."""
        start_s, end_s = self.span
        quiet_s, reached_s = 0.0, start_s
        for event in sorted(self.motion.events, key=lambda e: e.start_s):
            quiet_s += max(0.0, min(event.start_s, end_s) - reached_s)
            reached_s = max(reached_s, min(event.end_s, end_s))
        return quiet_s + max(0.0, end_s - reached_s)

    def shared_s(self, thing: MotionEvent | Posture) -> float:
        """Return the time of an event or posture inside the window, seconds."""
        start_s, end_s = self.span
        return max(0.0, min(thing.end_s, end_s) - max(thing.start_s, start_s))

    def sees(self, part: Part, side: Side | None = None) -> bool:
        """Return whether a part is measured most of the time, or something that it does is."""
        shown = any(
            event.part is part and (side not in ONE_SIDE or event.side in (side, Side.BOTH))
            for event in self.motion.events
            if self._touches(event)
        )
        return shown or self.always_sees(part, side)

    def always_sees(self, part: Part, side: Side | None = None) -> bool:
        """Return whether a part is measured most of the time.

        Without a side, it is both arms or both legs. Only then does it contradict a claim that
        nothing was measured.
        """
        if part in (Part.ARM, Part.LEG):
            sides = (side,) if side in ONE_SIDE else ONE_SIDE
            return all(f"{s}_{part}" in self.motion.parts for s in sides)
        if part is Part.BODY:
            return self.motion.body_seen
        return part in self.motion.parts

    def observed(self) -> str:
        """Return the strongest activities in the window as text."""
        start_s, end_s = self.span
        seen = [a for a in self.motion.activities if a.start_s < end_s and a.end_s > start_s]
        seen.sort(key=lambda a: -a.score)
        names = list(dict.fromkeys(a.label.replace("_", " ") for a in seen))[:3]
        return ", ".join(names) or "no movement"


def supported(
    claim: Claim, things: Sequence[MotionEvent | Posture], support: float = 1.0
) -> Finding:
    """Return that events or postures show the claim."""
    return Finding(
        claim,
        Verdict.SUPPORTED,
        support,
        "; ".join(dict.fromkeys(map(measurement_of, things[:3]))),
        min(thing.start_s for thing in things),
        max(thing.end_s for thing in things),
        tuple((thing.start_s, thing.end_s) for thing in things),
    )


def contradicted(claim: Claim, window: Window, measured: str, support: float = 0.0) -> Finding:
    """Return that the measurement excludes the claim."""
    return Finding(claim, Verdict.CONTRADICTED, support, measured, *window.span)


def unknown(claim: Claim, window: Window, why: str, support: float = 0.5) -> Finding:
    """Return that the measurement does not tell."""
    return Finding(claim, Verdict.NOT_MEASURABLE, support, why, *window.span)


def unseen(claim: Claim, window: Window, part: Part) -> Finding:
    """Return that the part of the claim is not measured."""
    side = f"{claim.side} " if claim.side in ONE_SIDE and part in (Part.ARM, Part.LEG) else ""
    return unknown(claim, window, f"{side}{part} not measured")


_DISCRETE_MORE: Final = 2
"""Measured repetitions beyond twice the claimed count that contradict it. Repetitions are counted
differently only at the ends of a series."""


def counted(
    claim: Claim,
    window: Window,
    things: Sequence[MotionEvent | Posture],
    times: int,
    *,
    discrete: bool,
) -> Finding:
    """Check the count of an action that was measured.

    Args:
        claim: claim with a count or without.
        window: where it is checked.
        things: events or postures that show the action.
        times: measured repetitions.
        discrete: whether a repetition is unambiguous (a jump), unlike the strokes of a wave.
    """
    measured = f"{times} times: {measurement_of(things[0])}"
    if claim.count > 1 and times < claim.count:
        off = claim.count - times
        # Only far fewer repetitions contradict a count, because its ends are ambiguous.
        if off > max(1, 0.5 * claim.count):
            return contradicted(claim, window, measured, 0.2)
        return supported(claim, things, 1.0 if off <= 1 else 0.7)
    if claim.count > 0:
        most = (2 if discrete else 3) * claim.count + (_DISCRETE_MORE if claim.count > 1 else 1)
        if times >= most:
            return contradicted(claim, window, measured, 0.2)
        return supported(claim, things, 1.0 if times <= claim.count + 1 else 0.8)
    if claim.count < 0 and times == 1 and discrete:
        return contradicted(claim, window, measured, 0.3)
    return supported(claim, things)


def times_of(events: Sequence[MotionEvent]) -> int:
    """Return the number of repetitions; simultaneous events of both sides count once."""
    by_side = [
        sum(e.count for e in events if e.side in (side, Side.BOTH, None)) for side in ONE_SIDE
    ]
    return max(by_side)
