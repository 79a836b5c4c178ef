"""Formats measurements of a motion as short texts, the evidence for a grounded text."""

from collections.abc import Callable, Mapping
from typing import Final

from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
)
from data.motion.skeleton import FPS

RHYTHMS: Final[Mapping[Direction | None, str]] = {
    Direction.SIDE_TO_SIDE: "side to side",
    Direction.UP_AND_DOWN: "up and down",
    Direction.FORWARD_AND_BACK: "forward and back",
}
"""Wording of the directions of swings."""


def measurement_of(thing: MotionEvent | Posture) -> str:
    """Format what was measured of an event or a posture, with units."""
    if isinstance(thing, Posture):
        return _posture(thing)
    if thing.by_side:
        return "; ".join(map(measurement_of, thing.by_side))
    return _EVENTS[thing.kind](thing)


def way(length_m: float, duration_s: float) -> str:
    """Format a path over the floor."""
    return (
        f"pelvis travels {length_m:.1f} m in {duration_s:.1f} s ({length_m / duration_s:.1f} m/s)"
    )


def _posture(posture: Posture) -> str:
    if posture.kind is PostureKind.ONE_LEG:
        raised = Side.LEFT if posture.side is Side.RIGHT else Side.RIGHT
        return (
            f"{raised}_ankle {posture.lift_m:.2f} m above {posture.side}_ankle for "
            f"{posture.duration_s:.1f} s"
        )
    if posture.tilt_deg is None:
        return "legs or torso are not measured"
    return (
        f"trunk {posture.tilt_deg:.0f} deg from upright, "
        f"hips {posture.hips:.2f} leg lengths above the floor"
    )


def _locomotion(event: MotionEvent) -> str:
    if not event.has_path:
        seconds = round(event.duration_s, 6)
        return f"the feet step ahead of each other in turn, {event.count} times in {seconds:.1f} s"
    path = way(event.magnitude, max(event.duration_s, 1 / FPS))
    way_to = f", {event.direction}" if event.direction else ""
    return f"{path}, {event.count} steps{way_to}"


def _leap(event: MotionEvent) -> str:
    return (
        f"both feet {event.magnitude:.2f} m off the floor for {event.air_s:.2f} s, "
        f"moving {event.way_m:.2f} m {event.direction}"
    )


def _raise_or_lower(event: MotionEvent) -> str:
    rises = event.kind is EventKind.RAISE
    if event.part is Part.HEAD:
        return f"head tilts {event.magnitude:.0f} deg {event.direction}"
    moves = f"{'rises' if rises else 'falls'} {event.magnitude:.2f} m"
    if event.part is Part.ARM:
        return f"{event.side}_wrist {moves} against {event.side}_shoulder"
    other = Side.RIGHT if event.side is Side.LEFT else Side.LEFT
    return f"{event.side}_ankle {moves}, {other}_ankle stays lower"


def _swing(event: MotionEvent) -> str:
    if event.count == 1:
        return _stroke(event)
    # The duration is rounded before it is formatted, because frame times have rounding errors that
    # would turn 1.25 s into 1.3 s.
    seconds = round(event.duration_s, 6)
    return (
        f"{event.side}_wrist swings {event.magnitude:.2f} m {RHYTHMS[event.direction]}, "
        f"{event.count} times in {seconds:.1f} s"
    )


def _stroke(event: MotionEvent) -> str:
    moves = "moves" if event.count == 1 else "thrusts"
    times = "" if event.count == 1 else f" {event.count} times"
    wrist = f"{event.side}_wrist" if event.side else "a wrist"
    return (
        f"{wrist} {moves} {event.magnitude:.2f} m {event.direction}{times} at up to "
        f"{event.peak_speed:.1f} m/s"
    )


def _bend(event: MotionEvent) -> str:
    if event.part is Part.TORSO:
        return _tilt(event)
    bends = "bends" if event.kind is EventKind.BEND else "straightens"
    return f"{event.side}_elbow {bends} by {event.magnitude:.0f} deg"


def _tilt(event: MotionEvent) -> str:
    return f"trunk tilts {event.magnitude:.0f} deg {event.direction or 'to upright'}"


def _level_change(event: MotionEvent) -> str:
    return f"hips move {event.magnitude:.2f} m {event.direction}"


def _press(event: MotionEvent) -> str:
    return f"shoulders move {event.magnitude:.2f} m {event.direction} with the hands on the floor"


def _over(event: MotionEvent) -> str:
    return f"trunk turns {event.magnitude:.0f} deg {event.direction} about the left-right axis"


def _step(event: MotionEvent) -> str:
    way = f" {event.direction}" if event.direction else ""
    return f"{event.side}_ankle moves {event.magnitude:.2f} m{way} over the floor"


def _drop(event: MotionEvent) -> str:
    return (
        f"both feet land {event.magnitude:.2f} m below the take-off after {event.air_s:.2f} s, "
        f"falling at up to {event.peak_speed:.1f} m/s"
    )


def _jack(event: MotionEvent) -> str:
    return (
        f"ankles move {event.magnitude:.2f} m apart and back while the hands rise above the "
        f"shoulders and fall, {event.count} times in {event.duration_s:.1f} s"
    )


def _crawl(event: MotionEvent) -> str:
    return f"pelvis travels {event.magnitude:.1f} m on hands and feet or knees"


def _hand_down(event: MotionEvent) -> str:
    rises = "then rises" if event.kind is EventKind.PICK_UP else "after it was held up, falls"
    return f"{event.side}_wrist reaches {event.gap_m:.2f} m above the floor, {rises}"


def _reach(event: MotionEvent) -> str:
    return f"{event.side}_wrist moves {event.magnitude:.2f} m {event.direction} and stays there"


def _hold(event: MotionEvent) -> str:
    if event.object:
        return _with_object(event)
    seconds = round(event.duration_s, 6)
    return f"{event.side}_wrist stays raised for {seconds:.1f} s"


def _with_object(event: MotionEvent) -> str:
    where = f"{event.side}_wrist" if event.side else "body"
    return (
        f"{event.object or 'an object'} is near the {where} for {round(event.duration_s, 6):.1f} s"
    )


def _touches(event: MotionEvent) -> str:
    limb = "ankle" if event.part is Part.LEG else "wrist"
    side = "each" if event.side in (None, Side.BOTH) else event.side
    seconds = round(event.duration_s, 6)
    return f"{side} {limb} moves up and down in turn, {event.count} times in {seconds:.1f} s"


def _two(event: MotionEvent) -> str:
    return f"distance to person {event.partner} changes to {event.gap_m:.2f} m"


def _clap(event: MotionEvent) -> str:
    return f"the wrists come within {event.gap_m:.2f} m of each other {event.count} times"


def _kick(event: MotionEvent) -> str:
    return (
        f"{event.side}_ankle swings {event.direction}, {event.magnitude:.2f} m above the floor, "
        f"at up to {event.peak_speed:.1f} m/s"
    )


_EVENTS: Final[Mapping[EventKind, Callable[[MotionEvent], str]]] = {
    EventKind.WALK: _locomotion,
    EventKind.RUN: _locomotion,
    EventKind.SKIP: _locomotion,
    EventKind.CRAWL: _crawl,
    EventKind.CLIMB: _level_change,
    EventKind.RIDE: lambda e: f"pelvis travels {e.magnitude:.1f} m on a {e.object or 'vehicle'}",
    EventKind.STEP: _step,
    EventKind.JUMPING_JACK: _jack,
    EventKind.JUMP_DOWN: _drop,
    EventKind.LAND: _level_change,
    EventKind.SOMERSAULT: _over,
    EventKind.CATCH: _stroke,
    EventKind.SERVE: _stroke,
    EventKind.REACH: _reach,
    EventKind.PICK_UP: _hand_down,
    EventKind.PUT_DOWN: _hand_down,
    EventKind.DRIBBLE: _touches,
    EventKind.JUGGLE: _touches,
    EventKind.HOLD: _hold,
    EventKind.DRINK: _with_object,
    EventKind.READ: _with_object,
    EventKind.PLAY: _with_object,
    EventKind.APPROACH: _two,
    EventKind.PART: _two,
    EventKind.FACE: _two,
    EventKind.HAND_OVER: _two,
    EventKind.HUG: _two,
    EventKind.SHAKE_HANDS: _two,
    EventKind.PUSH: _two,
    EventKind.WALK_TOGETHER: _two,
    EventKind.TURN: lambda e: f"heading turns {e.magnitude:.0f} deg to the {e.direction}",
    EventKind.JUMP: _leap,
    EventKind.HOP: _leap,
    EventKind.RISE: _level_change,
    EventKind.SINK: _level_change,
    EventKind.PRESS: _press,
    EventKind.UNPRESS: _press,
    EventKind.RAISE: _raise_or_lower,
    EventKind.LOWER: _raise_or_lower,
    EventKind.WAVE: _swing,
    EventKind.SWING: _swing,
    EventKind.PUNCH: _stroke,
    EventKind.THROW: _stroke,
    EventKind.CIRCLE: lambda e: (
        f"{e.side}_wrist circles {e.side}_shoulder by {e.magnitude:.0f} deg"
    ),
    EventKind.CLAP: _clap,
    EventKind.GESTURE: lambda e: (
        f"the distance of the wrists changes by {e.magnitude:.2f} m and back {e.count} times"
    ),
    EventKind.BEND: _bend,
    EventKind.EXTEND: _bend,
    EventKind.KICK: _kick,
    EventKind.STRAIGHTEN: _tilt,
    EventKind.LEAN: _tilt,
    EventKind.TWIST: _tilt,
}
