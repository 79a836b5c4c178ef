"""One thing that a body does, and one way in which it is held: what all motion rules produce."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Part(StrEnum):
    """The part that moves; ``BODY`` is the body as a whole."""

    ARM = "arm"
    LEG = "leg"
    KNEE = "knee"
    TORSO = "torso"
    HEAD = "head"
    BODY = "body"


class Side(StrEnum):
    """The person's own side."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class Direction(StrEnum):
    """Where a movement goes, in the body's own terms."""

    FORWARD = "forward"
    BACKWARD = "backward"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    SIDE = "side"
    """Away from the body's middle; ``ACROSS``: over to the other side."""
    ACROSS = "across"
    INWARD = "inward"
    OUTWARD = "outward"
    SIDE_TO_SIDE = "side_to_side"
    UP_AND_DOWN = "up_and_down"
    FORWARD_AND_BACK = "forward_and_back"
    AROUND = "around"
    """Said by texts only: no event has it."""


@dataclass(frozen=True, slots=True)
class MotionEvent:
    """A measured action of one body part.

    Attributes:
        action: what happens, e.g. ``raise``, ``wave``, ``kick``, ``walk``, ``turn``, ``jump``.
        part: ``arm``, ``leg``, ``torso``, ``head`` or ``body``.
        side: side of the part; ``none`` for parts without a side.
        direction: in the body's terms (``forward``, ``backward``, ``left``, ``right``, ``up``,
            ``down``, ``side``, ``across``), or empty where there is none.
        level: where a limb ends: ``low``, ``waist``, ``chest``, ``shoulder``, ``head``,
            ``above_head`` (hands), ``knee``, ``hip`` (feet); empty where it does not apply.
        start_s, end_s: the span, seconds, in the time of the motion's frames.
        amount: how far, in ``unit``.
        unit: ``m`` or ``deg``.
        relative: ``amount`` in arm lengths (arms), leg lengths (all else) or full turns (degrees).
        peak_speed: highest speed, ``unit`` per second.
        repetitions: how often, at least 1 (steps of a walk, waves of a hand).
        frequency_hz: repetitions per second; 0 where it happens once.
        measurement: what was measured, in words and numbers.
    """

    action: str
    part: str
    side: Literal["left", "right", "both", "none"]
    direction: str
    level: str
    start_s: float
    end_s: float
    amount: float
    unit: Literal["m", "deg"]
    relative: float
    peak_speed: float
    measurement: str
    repetitions: int = 1
    frequency_hz: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length of the span."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Posture:
    """How the body is held over a span.

    Attributes:
        kind: ``standing``, ``sitting``, ``squatting``, ``wide_stance`` (lunge, straddle),
            ``bending``, ``kneeling``, ``lying``, ``plank``, ``all_fours``, ``hands_and_feet``,
            ``upside_down``, ``one_leg``, or ``unknown`` where the body is not measured.
        detail: ``prone``, ``supine`` or ``side`` (lying), ``left`` or ``right`` (the standing leg
            of ``one_leg``), else empty.
        start_s, end_s: the span, seconds.
        measurement: what was measured, in words and numbers.
    """

    kind: str
    detail: str
    start_s: float
    end_s: float
    measurement: str

    @property
    def duration_s(self) -> float:
        """Length of the span."""
        return self.end_s - self.start_s
