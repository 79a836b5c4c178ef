"""Motion events and postures, the output of all motion rules.

Events and postures consist of enums and numbers. :mod:`annotators.motion.measurements` formats what
was measured, and :mod:`annotators.wording.phrases` words the action.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from annotators.motion.signals import PART_JOINTS, SIDES, Signals, Span


class EventKind(StrEnum):
    """Action of a part of the body."""

    WALK = "walk"
    RUN = "run"
    TURN = "turn"
    SKIP = "skip"
    """Travel in steps with a hop on each foot."""
    CRAWL = "crawl"
    CLIMB = "climb"
    """The body moves up or down against the scene, with the limbs on holds or steps."""
    RIDE = "ride"
    """The legs pedal while the hips are carried."""
    STEP = "step"
    """One step that is not part of a walk."""
    JUMP = "jump"
    HOP = "hop"
    JUMPING_JACK = "jumping_jack"
    JUMP_DOWN = "jump_down"
    """A jump that ends clearly lower than it began."""
    LAND = "land"
    """The legs give way after a jump."""
    SOMERSAULT = "somersault"
    """The trunk turns over, forward or backward, in the air or on the floor."""
    RISE = "rise"
    """The hips move up; ``SINK`` is the opposite."""
    SINK = "sink"
    PRESS = "press"
    """The shoulders move up from the floor; ``UNPRESS`` is the opposite."""
    UNPRESS = "unpress"
    RAISE = "raise"
    LOWER = "lower"
    WAVE = "wave"
    SWING = "swing"
    PUNCH = "punch"
    THROW = "throw"
    CATCH = "catch"
    SERVE = "serve"
    """One hand goes up and the other arm strikes overhead."""
    REACH = "reach"
    """A hand goes out to a place and stays there."""
    PICK_UP = "pick_up"
    PUT_DOWN = "put_down"
    DRIBBLE = "dribble"
    """A hand or foot touches a ball again and again; ``JUGGLE`` keeps it in the air."""
    JUGGLE = "juggle"
    HOLD = "hold"
    """A raised limb stays where it is, or a hand keeps an object."""
    DRINK = "drink"
    READ = "read"
    PLAY = "play"
    """A hand is at an animal again and again."""
    CIRCLE = "circle"
    CLAP = "clap"
    GESTURE = "gesture"
    """Both hands are held together before the body and open and close again and again."""
    BEND = "bend"
    EXTEND = "extend"
    """An elbow straightens."""
    KICK = "kick"
    STRAIGHTEN = "straighten"
    """The trunk returns to upright."""
    LEAN = "lean"
    TWIST = "twist"
    APPROACH = "approach"
    """This and the following are movements of two people, see :mod:`annotators.motion.pairs`."""
    PART = "part"
    FACE = "face"
    HAND_OVER = "hand_over"
    HUG = "hug"
    SHAKE_HANDS = "shake_hands"
    PUSH = "push"
    WALK_TOGETHER = "walk_together"


class Part(StrEnum):
    """Part that moves; ``BODY`` is the whole body."""

    ARM = "arm"
    LEG = "leg"
    KNEE = "knee"
    TORSO = "torso"
    HEAD = "head"
    BODY = "body"


class Side(StrEnum):
    """Side of a part, from the person's point of view."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


class Direction(StrEnum):
    """Direction of a movement relative to the body."""

    FORWARD = "forward"
    BACKWARD = "backward"
    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    SIDE = "side"
    """Away from the middle of the body; ``ACROSS`` is toward the other side."""
    ACROSS = "across"
    INWARD = "inward"
    OUTWARD = "outward"
    SIDE_TO_SIDE = "side_to_side"
    UP_AND_DOWN = "up_and_down"
    FORWARD_AND_BACK = "forward_and_back"
    AROUND = "around"
    """A direction that occurs only in texts, not in events."""


class Level(StrEnum):
    """Height of a limb at the end of an event."""

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
    """Unit of a magnitude."""

    METERS = "m"
    DEGREES = "deg"


EventKey = EventKind | tuple[EventKind, Part]
"""Key that matches events of a kind, optionally of one part only."""

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
"""Keys of the kinds that several parts share."""


@dataclass(frozen=True, slots=True)
class MotionEvent:
    """A measured action of one body part. Use :func:`measure_event` to create one.

    Attributes:
        kind: action.
        part: part that moves.
        side: side of the part; None for parts without a side.
        direction: direction of the movement; None if it is irrelevant.
        level: level of a limb at the end; None for other parts.
        start_s, end_s: span in seconds, in the time of the motion's frames.
        magnitude: size of the movement, in ``unit``.
        unit: meters or degrees.
        relative: ``magnitude`` in arm lengths (arms), leg lengths (other parts) or full turns
            (degrees).
        peak_speed: highest speed, ``unit`` per second; 0 if it is not measured.
        confidence: mean confidence of the part's joints over the span, 0..1 (for an event of both
            sides, the lower of the two); 1 for motion capture.
        count: number of repetitions, at least 1 (steps of a walk, waves of a hand).
        frequency_hz: repetitions per second; 0 if there is only one.
        air_s: time off the floor of a jump or hop, seconds.
        way_m: horizontal distance of a jump or hop, meters.
        gap_m: smallest distance of the wrists in a clap, meters.
        by_side: for an event of both sides, the events of the left and the right side.
        posture: posture that ``SINK`` leads into, or that ``RISE`` leads out of.
        object: object that takes part, e.g. ``ball``.
        partner: ``track_id`` of the other person of a movement of two people.
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
    posture: "PostureKind | None" = None
    object: str | None = None
    partner: int | None = None

    @property
    def duration_s(self) -> float:
        """Duration of the span, seconds."""
        return self.end_s - self.start_s

    @property
    def has_path(self) -> bool:
        """Whether the path of a walk or run is measured. One that only the legs tell has none."""
        return self.peak_speed > 0.0

    def is_one_of(self, keys: Collection[EventKey]) -> bool:
        """Return whether one of the keys matches this event."""
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
    posture: "PostureKind | None" = None,
) -> MotionEvent:
    """Create the event of a span of frames. The arguments are those of :class:`MotionEvent`.

    Args:
        signals: signals of the motion.
        span: frames of the event.
        kind: action.
        part: part that moves.
        magnitude: size of the movement, in ``unit``.
        peak_speed: highest speed, ``unit`` per second.
        unit: meters or degrees.
        side: side of the part.
        direction: direction of the movement.
        level: level of a limb at the end.
        count: number of repetitions.
        frequency_hz: repetitions per second.
        air_s: time off the floor, seconds.
        way_m: horizontal distance, meters.
        gap_m: smallest distance of the wrists, meters.
        posture: posture that the movement leads into or out of.
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
        posture=posture,
    )


def _joints_of(part: Part, side: Side | None) -> tuple[str, ...]:
    """Return the joints from which a movement of a part is measured."""
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
    """Kind of a posture."""

    STANDING = "standing"
    SITTING = "sitting"
    SQUATTING = "squatting"
    WIDE_STANCE = "wide_stance"
    """A straddle, or a lunge of which the bent leg is not clear."""
    LUNGE = "lunge"
    """One knee is bent, the other leg is stretched away from it."""
    BENDING = "bending"
    KNEELING = "kneeling"
    LYING = "lying"
    PLANK = "plank"
    SIDE_PLANK = "side_plank"
    ALL_FOURS = "all_fours"
    HANDS_AND_FEET = "hands_and_feet"
    UPSIDE_DOWN = "upside_down"
    ONE_LEG = "one_leg"
    UNKNOWN = "unknown"
    """The torso or the legs are not measured."""


class Facing(StrEnum):
    """Direction of the chest of a lying body."""

    PRONE = "prone"
    SUPINE = "supine"
    SIDE = "side"


@dataclass(frozen=True, slots=True)
class Posture:
    """A posture that is held over a span.

    Attributes:
        kind: kind of the posture.
        start_s, end_s: span, seconds.
        tilt_deg: median angle of the trunk from upright; None if legs or torso are not measured,
            and for ``ONE_LEG``.
        hips: median height of the hips above the floor, leg lengths; None in the same cases.
        facing: direction of the chest of a lying body.
        side: supporting leg of ``ONE_LEG``, bent leg of ``LUNGE``, supporting arm of
            ``SIDE_PLANK``.
        lift_m: height of the other ankle above that of the supporting leg, meters.
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
        """Duration of the span, seconds."""
        return self.end_s - self.start_s
