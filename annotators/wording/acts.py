"""Acts of a timeline and its clauses, which are typed like the events that they come from."""

from dataclasses import dataclass
from enum import StrEnum

from annotators.motion.events import (
    Direction,
    EventKind,
    Facing,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
)


class BodyAct(StrEnum):
    """Action that follows from events and postures together."""

    SIT_DOWN = "sit_down"
    SQUAT_DOWN = "squat_down"
    KNEEL_DOWN = "kneel_down"
    LIE_DOWN = "lie_down"
    SINK_INTO_STANCE = "sink_into_stance"
    LUNGE = "sink_into_lunge"
    BEND_KNEES = "bend_knees"
    STAND_UP = "stand_up"
    GET_UP = "get_up"
    """A change from lying to sitting, squatting or kneeling."""
    LEAVE_STANCE = "leave_stance"
    STRAIGHTEN_LEGS = "straighten_legs"
    CARTWHEEL = "cartwheel"
    POSES = "poses"
    """An exercise that goes from one held pose to the next."""
    KEEP_STILL = "keep_still"
    STAY = "stay"
    """No movement is large enough to be named."""
    STAY_UPRIGHT = "stay_upright"
    """The same, of somebody upright of whom it is not seen that the feet keep their places."""


class Manner(StrEnum):
    """Manner of an action."""

    SLOWLY = "slowly"
    BRISKLY = "briskly"
    QUICKLY = "quickly"


@dataclass(frozen=True, slots=True)
class Way:
    """A path over the floor, as evidence."""

    length_m: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A time without movement, as evidence."""

    duration_s: float


Act = EventKind | PostureKind | BodyAct
ActKey = Act | tuple[EventKind, Part]
"""Key that matches an act, optionally of one part of the body only."""
Evidence = MotionEvent | Posture | Way | Pause


@dataclass(frozen=True, slots=True)
class Clause:
    """An action of the timeline, ready to be worded.

    Attributes:
        act: action.
        start_s, end_s: span, seconds.
        weight: importance, 0..1.
        evidence: measurements of each repetition, in order.
        event: event of the action, if it is one.
        posture: posture of the action, if it is one, or the posture that is held meanwhile.
        back: action that directly reverses this one and is worded together with it.
        count: number of repetitions.
        frequency_hz: repetitions per second; 0 if they are not rhythmic.
        manner: manner of the action.
        num_steps: number of steps of a walk; 0 if it is unreliable.
        goes_on: whether a walk continues after a turn.
        during: walk or run during which the action happens.
        along: event at the same time that is worded together with this one.
    """

    act: Act
    start_s: float
    end_s: float
    weight: float
    evidence: tuple[tuple[Evidence, ...], ...]
    event: MotionEvent | None = None
    posture: Posture | None = None
    back: "Clause | None" = None
    count: int = 1
    frequency_hz: float = 0.0
    manner: Manner | None = None
    num_steps: int = 0
    goes_on: bool = False
    during: EventKind | None = None
    along: MotionEvent | None = None

    @property
    def part(self) -> Part | None:
        """Part that moves."""
        return self.event.part if self.event else None

    @property
    def side(self) -> Side | None:
        """Side of the part, or the supporting leg."""
        if self.event:
            return self.event.side
        return self.posture.side if self.posture else None

    def is_again(self, other: "Clause") -> bool:
        """Return whether both are the same action, apart from count and extent."""
        return self._identity == other._identity

    @property
    def _identity(self) -> tuple[Act, Part | None, Side | None, Direction | Facing | None, bool]:
        way = self.event.direction if self.event else None
        if self.posture:
            way = self.posture.facing
        return self.act, self.part, self.side, way, self.back is not None

    @property
    def keys(self) -> tuple[ActKey, ...]:
        """Return the keys that match this clause: its act, and its act with its part."""
        if self.event is None:
            return (self.act,)
        return self.act, (self.event.kind, self.event.part)
