"""One thing that a body does, and one way in which it is held: what all motion rules produce.

Events and postures are enums and numbers. What was measured is put into words by
:mod:`annotators.motion.measurements`, what was done by :mod:`annotators.wording.phrases`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from annotators.motion.signals import PART_JOINTS, SIDES, Signals, Span


class EventKind(StrEnum):
    """What a part of the body does."""

    WALK = "walk"
    RUN = "run"
    TURN = "turn"
    JUMP = "jump"
    HOP = "hop"
    RISE = "rise"
    """The hips move up; ``SINK``: down."""
    SINK = "sink"
    PRESS = "press"
    """The shoulders are pushed up from the floor; ``UNPRESS``: let down."""
    UNPRESS = "unpress"
    RAISE = "raise"
    LOWER = "lower"
    WAVE = "wave"
    SWING = "swing"
    PUNCH = "punch"
    THROW = "throw"
    CIRCLE = "circle"
    CLAP = "clap"
    BEND = "bend"
    EXTEND = "extend"
    """An elbow straightens."""
    KICK = "kick"
    STRAIGHTEN = "straighten"
    """The trunk comes back to upright."""
    LEAN = "lean"
    TWIST = "twist"


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


class Level(StrEnum):
    """How high a limb ends."""

    LOW = "low"
    WAIST = "waist"
    CHEST = "chest"
    SHOULDER = "shoulder"
    HEAD = "head"
    ABOVE_HEAD = "above_head"
    KNEE = "knee"
    """``KNEE`` and ``HIP`` are heights of a foot."""
    HIP = "hip"


class Unit(StrEnum):
    """What a magnitude is counted in."""

    METERS = "m"
    DEGREES = "deg"


EventKey = EventKind | tuple[EventKind, Part]
"""Events of a kind, by any part of the body or by one."""

RAISE_ARM: Final = (EventKind.RAISE, Part.ARM)
RAISE_LEG: Final = (EventKind.RAISE, Part.LEG)
RAISE_KNEE: Final = (EventKind.RAISE, Part.KNEE)
RAISE_HEAD: Final = (EventKind.RAISE, Part.HEAD)
LOWER_ARM: Final = (EventKind.LOWER, Part.ARM)
LOWER_LEG: Final = (EventKind.LOWER, Part.LEG)
LOWER_KNEE: Final = (EventKind.LOWER, Part.KNEE)
LOWER_HEAD: Final = (EventKind.LOWER, Part.HEAD)
BEND_ARM: Final = (EventKind.BEND, Part.ARM)
BEND_TORSO: Final = (EventKind.BEND, Part.TORSO)
"""The kinds that several parts have, each by one of them."""


@dataclass(frozen=True, slots=True)
class MotionEvent:
    """A measured action of one body part; made by :func:`measure_event`.

    Attributes:
        kind: what happens.
        part: what moves.
        side: side of the part; None for parts without a side.
        direction: where it goes; None where that says nothing.
        level: where a limb ends; None for what is no limb.
        start_s, end_s: the span, seconds, in the time of the motion's frames.
        magnitude: how far, in ``unit``.
        unit: meters or degrees.
        relative: ``magnitude`` in arm lengths (arms), leg lengths (all else) or full turns
            (degrees).
        peak_speed: highest speed, ``unit`` per second.
        confidence: 0..1, how sure the pose model is of the part's joints over the span, on average
            (of two sides, the less sure one); 1 for motion capture.
        count: how often, at least 1 (steps of a walk, waves of a hand).
        frequency_hz: repetitions per second; 0 where it happens once.
        air_s: how long a jump or a hop is off the floor, seconds.
        way_m: how far it goes over the floor, meters.
        gap_m: how close the wrists of a clap come to each other, meters.
        by_side: of an event of both sides, the one of the left and the one of the right.
    """

    kind: EventKind
    part: Part
    side: Side | None
    direction: Direction | None
    level: Level | None
    start_s: float
    end_s: float
    magnitude: float
    unit: Unit
    relative: float
    peak_speed: float
    confidence: float
    count: int = 1
    frequency_hz: float = 0.0
    air_s: float = 0.0
    way_m: float = 0.0
    gap_m: float = 0.0
    by_side: tuple["MotionEvent", ...] = ()

    @property
    def duration_s(self) -> float:
        """Length of the span."""
        return self.end_s - self.start_s

    def is_one_of(self, keys: Collection[EventKey]) -> bool:
        """Whether one of the keys fits."""
        return self.kind in keys or (self.kind, self.part) in keys


def measure_event(
    signals: Signals,
    span: Span,
    kind: EventKind,
    part: Part,
    *,
    magnitude: float,
    peak_speed: float,
    unit: Unit = Unit.METERS,
    side: Side | None = None,
    direction: Direction | None = None,
    level: Level | None = None,
    count: int = 1,
    frequency_hz: float = 0.0,
    air_s: float = 0.0,
    way_m: float = 0.0,
    gap_m: float = 0.0,
) -> MotionEvent:
    """Make the event of a span of frames.

    Args:
        signals: the motion.
        span: its frames.
        kind: what happens.
        part: what moves.
        magnitude: how far, in ``unit``.
        peak_speed: highest speed, ``unit`` per second.
        unit: meters or degrees.
        side: side of the part.
        direction: where it goes.
        level: where a limb ends.
        count: how often.
        frequency_hz: repetitions per second.
        air_s: time off the floor, seconds.
        way_m: way over the floor, meters.
        gap_m: distance of the wrists, meters.
    """
    size = signals.size
    limb_m = size.arm_m if part is Part.ARM else size.leg_m
    return MotionEvent(
        kind=kind,
        part=part,
        side=side,
        direction=direction,
        level=level,
        start_s=signals.start_s(span),
        end_s=signals.end_s(span),
        magnitude=magnitude,
        unit=unit,
        relative=magnitude / (360.0 if unit is Unit.DEGREES else limb_m),
        peak_speed=peak_speed,
        confidence=signals.mean_confidence(_joints_of(part, side), span),
        count=count,
        frequency_hz=frequency_hz,
        air_s=air_s,
        way_m=way_m,
        gap_m=gap_m,
    )


def _joints_of(part: Part, side: Side | None) -> tuple[str, ...]:
    """The joints that a movement of a part is read from."""
    match part:
        case Part.TORSO | Part.HEAD:
            return PART_JOINTS[part]
        case Part.BODY:
            return *PART_JOINTS["torso"], *PART_JOINTS["left_leg"], *PART_JOINTS["right_leg"]
        case Part.ARM | Part.LEG | Part.KNEE:
            limb = Part.ARM if part is Part.ARM else Part.LEG
            sides = SIDES if side in (Side.BOTH, None) else (side,)
            return tuple(name for s in sides for name in PART_JOINTS[f"{s}_{limb}"])


class PostureKind(StrEnum):
    """How a body is held."""

    STANDING = "standing"
    SITTING = "sitting"
    SQUATTING = "squatting"
    WIDE_STANCE = "wide_stance"
    """A lunge or a straddle."""
    BENDING = "bending"
    KNEELING = "kneeling"
    LYING = "lying"
    PLANK = "plank"
    ALL_FOURS = "all_fours"
    HANDS_AND_FEET = "hands_and_feet"
    UPSIDE_DOWN = "upside_down"
    ONE_LEG = "one_leg"
    UNKNOWN = "unknown"
    """The body is not measured."""


class Facing(StrEnum):
    """Which way the chest of a lying body points."""

    PRONE = "prone"
    SUPINE = "supine"
    SIDE = "side"


@dataclass(frozen=True, slots=True)
class Posture:
    """How the body is held over a span.

    Attributes:
        kind: how.
        start_s, end_s: the span, seconds.
        tilt_deg: median angle of the trunk from upright; None where legs or torso are not measured,
            and on one leg.
        hips: median height of the hips above the floor, leg lengths; None likewise.
        facing: of a lying body.
        side: the standing leg of ``ONE_LEG``.
        lift_m: how far the other ankle is above it, meters.
    """

    kind: PostureKind
    start_s: float
    end_s: float
    tilt_deg: float | None = None
    hips: float | None = None
    facing: Facing | None = None
    side: Side | None = None
    lift_m: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length of the span."""
        return self.end_s - self.start_s
