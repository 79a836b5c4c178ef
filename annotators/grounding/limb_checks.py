"""Checks of claims on arms, legs and head: which side did it, and how often."""

from collections.abc import Mapping, Sequence
from typing import Final

from annotators.grounding.claims import Claim
from annotators.grounding.lexicon import ARM_ACTIONS, Action
from annotators.grounding.window import (
    ONE_SIDE,
    Finding,
    Window,
    contradicted,
    counted,
    supported,
    times_of,
    unknown,
    unseen,
)
from annotators.motion.events import (
    BEND_ARM,
    BEND_TORSO,
    LOWER_ARM,
    LOWER_KNEE,
    LOWER_LEG,
    RAISE_ARM,
    RAISE_KNEE,
    RAISE_LEG,
    Direction,
    EventKey,
    EventKind,
    MotionEvent,
    Part,
    Side,
)
from annotators.motion.measurements import measurement_of
from data.records import Verdict

_ARM_ACTIONS: Final = (
    *(RAISE_ARM, LOWER_ARM, EventKind.WAVE, EventKind.SWING, EventKind.PUNCH, EventKind.THROW),
    *(EventKind.CIRCLE, BEND_ARM, EventKind.EXTEND, EventKind.CLAP),
)
_LEG_ACTIONS: Final = (RAISE_LEG, RAISE_KNEE, EventKind.KICK)
_QUICK_ARMS: Final = (EventKind.PUNCH, EventKind.THROW, EventKind.EXTEND, EventKind.SWING)
_GAITS: Final = (EventKind.WALK, EventKind.RUN)
_LEAPS: Final = (EventKind.JUMP, EventKind.HOP)

HOLD_ARM: Final = (EventKind.HOLD, Part.ARM)
_HANDLES: Final = (EventKind.PICK_UP, EventKind.PUT_DOWN, EventKind.REACH)
OF_ARMS: Final = ARM_ACTIONS | {Action.PICK_UP, Action.PUT_DOWN, Action.CATCH, Action.USE}
"""Actions of arms, whether or not the text names them."""

_JUST: Final[Mapping[tuple[Action, Part], tuple[EventKey, ...]]] = {
    (Action.KICK, Part.LEG): (EventKind.KICK,),
    (Action.PUNCH, Part.ARM): (EventKind.PUNCH,),
    (Action.STRIKE, Part.ARM): (
        *(EventKind.PUNCH, EventKind.THROW, EventKind.SWING),
        *(LOWER_ARM, EventKind.CIRCLE),
    ),
    (Action.THROW, Part.ARM): (EventKind.THROW,),
    (Action.WAVE, Part.ARM): (EventKind.WAVE,),
    (Action.CLAP, Part.ARM): (EventKind.CLAP,),
    (Action.RAISE, Part.ARM): (RAISE_ARM, HOLD_ARM),
    (Action.RAISE, Part.LEG): (RAISE_LEG, RAISE_KNEE, EventKind.KICK),
    (Action.LOWER, Part.ARM): (LOWER_ARM,),
    (Action.LOWER, Part.LEG): (LOWER_LEG, LOWER_KNEE, RAISE_LEG, RAISE_KNEE, EventKind.KICK),
    (Action.REACH, Part.ARM): (
        *(EventKind.EXTEND, RAISE_ARM, EventKind.PUNCH, HOLD_ARM),
        *(EventKind.REACH, EventKind.PICK_UP, EventKind.PUT_DOWN),
    ),
    (Action.SWING, Part.ARM): (
        *(EventKind.SWING, EventKind.WAVE, EventKind.CIRCLE, EventKind.THROW, EventKind.PUNCH),
    ),
    (Action.SWING, Part.LEG): (EventKind.KICK, RAISE_LEG),
    (Action.CIRCLE, Part.ARM): (EventKind.CIRCLE,),
    (Action.BEND, Part.ARM): (BEND_ARM, RAISE_ARM),
    (Action.STRAIGHTEN, Part.ARM): (EventKind.EXTEND, LOWER_ARM, RAISE_ARM, EventKind.PUNCH),
}
"""Events that support a claim, by action and part."""
_NEAR: Final[Mapping[tuple[Action, Part], tuple[EventKey, ...]]] = {
    (Action.KICK, Part.LEG): (RAISE_LEG, RAISE_KNEE),
    (Action.PUNCH, Part.ARM): (*_QUICK_ARMS, EventKind.WAVE),
    (Action.STRIKE, Part.ARM): (*_ARM_ACTIONS,),
    (Action.THROW, Part.ARM): (*_QUICK_ARMS, RAISE_ARM, EventKind.CIRCLE),
    (Action.WAVE, Part.ARM): (EventKind.SWING, RAISE_ARM, BEND_ARM, EventKind.CIRCLE),
    (Action.CLAP, Part.ARM): (BEND_ARM, EventKind.EXTEND, EventKind.SWING, EventKind.WAVE),
    (Action.RAISE, Part.ARM): (
        *(EventKind.WAVE, EventKind.CIRCLE, EventKind.SWING, EventKind.PUNCH),
        *(BEND_ARM, EventKind.CLAP, LOWER_ARM),
    ),
    (Action.LOWER, Part.ARM): (
        *(RAISE_ARM, EventKind.WAVE, EventKind.SWING, EventKind.CIRCLE, EventKind.EXTEND),
    ),
    (Action.REACH, Part.ARM): _ARM_ACTIONS,
    (Action.SWING, Part.ARM): (*_ARM_ACTIONS, *_GAITS),
    (Action.CIRCLE, Part.ARM): (EventKind.SWING, EventKind.WAVE, RAISE_ARM, *_GAITS),
    (Action.BEND, Part.ARM): _ARM_ACTIONS,
    (Action.STRAIGHTEN, Part.ARM): _ARM_ACTIONS,
    (Action.SWING, Part.LEG): (RAISE_KNEE, *_GAITS),
}
"""Events that resemble a claimed action, so that the claim is not contradicted."""
_ONE_DOES_NOT: Final = frozenset({Action.KICK, Action.CLAP})
"""Actions that one repetition does not do "repeatedly", and whose count is unambiguous."""
_DOMINATES: Final = 3.0
"""Times that the movement of one limb must exceed that of the other to exclude the other."""
_RHYTHMS: Final = (Direction.UP_AND_DOWN, Direction.SIDE_TO_SIDE, Direction.FORWARD_AND_BACK)
_WAVES: Final = 4
"""Strokes of a swinging arm that are a wave."""
_BUSY_M: Final = 0.35
"""Movement of a limb, meters, that contradicts that it rests."""


def limb(claim: Claim, window: Window) -> Finding:
    """Check an action of an arm or a leg."""
    part = claim.part or _PART_OF.get(claim.action, Part.ARM)
    if (claim.action, part) not in _JUST:
        return unknown(claim, window, f"to {claim.action} the {part} is not measured")
    if not window.sees(part, claim.side):
        return unseen(claim, window, part)
    just = by_sides(window.events(*_JUST[claim.action, part]))
    if claim.action is Action.WAVE:
        just += [e for e in by_sides(window.events(EventKind.SWING)) if e.count >= _WAVES]
    if claim.direction in _RHYTHMS and any(e.direction == claim.direction for e in just):
        just = [e for e in just if e.direction == claim.direction]
    near = by_sides(window.events(*_NEAR.get((claim.action, part), ())))
    if claim.action is Action.CLAP:
        # One hand does not clap.
        near = [e for e in near if _strength(near, Side.LEFT) and _strength(near, Side.RIGHT)]
    if claim.side in ONE_SIDE:
        return _one_sided(claim, window, part, just, near)
    if claim.side is Side.BOTH and just:
        return _two_sided(claim, window, just, near)
    if just:
        return _done(claim, window, just)
    return _not_done(claim, window, part, near)


def by_sides(events: Sequence[MotionEvent]) -> list[MotionEvent]:
    """Return the events of both sides as one event per side."""
    return [single for event in events for single in (event.by_side or (event,))]


def _strength(events: Sequence[MotionEvent], side: Side) -> float:
    """Return how much a side moves, meters or degrees, times repetitions."""
    return sum(e.magnitude * e.count for e in events if e.side in (side, Side.BOTH, None))


def _other(side: Side | None) -> Side:
    return Side.RIGHT if side is Side.LEFT else Side.LEFT


def _on(events: Sequence[MotionEvent], side: Side | None) -> list[MotionEvent]:
    return [e for e in events if e.side in (side, Side.BOTH, None)]


def _one_sided(
    claim: Claim,
    window: Window,
    part: Part,
    just: Sequence[MotionEvent],
    near: Sequence[MotionEvent],
) -> Finding:
    side = claim.side if claim.side is not None else Side.LEFT
    mine, other = _strength(just, side), _strength(just, _other(side))
    if mine > 0:
        theirs = _on(just, _other(side))
        if claim.only and other >= 0.5 * mine:
            return contradicted(claim, window, measurement_of(theirs[0]), 0.1)
        if other >= _DOMINATES * mine:
            return contradicted(claim, window, measurement_of(theirs[0]), 0.2)
        finding = _done(claim, window, _on(just, side))
        return finding if other < 0.5 * mine else _weaker(finding)
    near_mine, near_other = _strength(near, side), _strength(near, _other(side))
    if other > 0:
        if near_mine > near_other:
            return unknown(claim, window, measurement_of(just[0]), 0.3)
        return contradicted(claim, window, measurement_of(just[0]), 0.05)
    if near_other > _DOMINATES * near_mine and near_other > _BUSY_M:
        return contradicted(claim, window, measurement_of(_on(near, _other(side))[0]), 0.1)
    return _not_done(claim, window, part, _on(near, side))


def _weaker(finding: Finding) -> Finding:
    """Lower the support where both sides did it, and the text names one."""
    if finding.verdict is not Verdict.SUPPORTED:
        return finding
    return Finding(
        finding.claim,
        finding.verdict,
        0.8 * finding.support,
        finding.measurement,
        finding.start_s,
        finding.end_s,
        finding.spans,
    )


def _two_sided(
    claim: Claim, window: Window, just: Sequence[MotionEvent], near: Sequence[MotionEvent]
) -> Finding:
    left, right = _strength(just, Side.LEFT), _strength(just, Side.RIGHT)
    if min(left, right) < 0.25 * max(left, right):
        idle = Side.LEFT if left < right else Side.RIGHT
        near_idle, near_other = _strength(near, idle), _strength(near, _other(idle))
        # A limb that is held out all the time makes no event.
        if claim.action is Action.REACH or near_idle >= 0.5 * near_other > 0:
            return unknown(claim, window, measurement_of(just[0]), 0.4)
        return contradicted(claim, window, measurement_of(just[0]), 0.1)
    return _done(claim, window, just)


def _done(claim: Claim, window: Window, just: Sequence[MotionEvent]) -> Finding:
    discrete = claim.action in _ONE_DOES_NOT
    return counted(claim, window, just, times_of(just), discrete=discrete)


def _not_done(claim: Claim, window: Window, part: Part, near: Sequence[MotionEvent]) -> Finding:
    if claim.action is Action.REACH and not near:
        # An arm may be held out all the time, which is no event.
        return unknown(claim, window, f"no movement of the {part}", 0.3)
    if near:
        return unknown(claim, window, f"near it: {measurement_of(near[0])}", 0.4)
    carries = part is Part.LEG and claim.action is not Action.KICK
    if carries and window.events(*_GAITS, *_LEAPS):
        return unknown(claim, window, "the legs carry the body meanwhile", 0.4)
    if part is Part.LEG and not window.exact:
        return unknown(claim, window, f"no {claim.action} of the leg stands out", 0.3)
    whose = f"{claim.side} " if claim.side in ONE_SIDE else ""
    measured = f"no {claim.action} of the {whose}{part}; {window.observed()}"
    return contradicted(claim, window, measured)


_PART_OF: Final[Mapping[Action, Part]] = {Action.KICK: Part.LEG}
"""Parts of actions that are not of an arm."""


def head_move(claim: Claim, window: Window) -> Finding:
    """Check a raised or lowered head."""
    if not window.sees(Part.HEAD):
        return unseen(claim, window, Part.HEAD)
    kind = EventKind.RAISE if claim.action is Action.RAISE else EventKind.LOWER
    found = window.events((kind, Part.HEAD))
    return supported(claim, found) if found else unknown(claim, window, "no nod stands out")


def rest(claim: Claim, window: Window) -> Finding:
    """Check that a limb hangs or stays where it is."""
    part = claim.part or Part.ARM
    if not window.sees(part, claim.side):
        return unseen(claim, window, part)
    busy = by_sides(window.events(*(_LEG_ACTIONS if part is Part.LEG else _BUSY_ARM)))
    sides = ONE_SIDE if claim.side not in ONE_SIDE else (claim.side,)
    mine = [e for e in busy if e.side in (*sides, Side.BOTH) and e.magnitude >= _rests_m(e)]
    if mine:
        return contradicted(claim, window, measurement_of(mine[0]), 0.15)
    if part is Part.LEG and window.events(*_GAITS):
        return unknown(claim, window, "the legs carry the body meanwhile")
    start_s, end_s = window.span
    measured = f"no large movement of the {claim.side or 'both'} {part}"
    return Finding(claim, Verdict.SUPPORTED, 0.8, measured, start_s, end_s, (window.span,))


def _rests_m(event: MotionEvent) -> float:
    """Return the movement of a limb that rests at most, meters."""
    return 0.5 * _BUSY_M if event.count > 1 else _BUSY_M


_OF_THINGS: Final[Mapping[Action, tuple[EventKind, ...]]] = {
    Action.PICK_UP: _HANDLES,
    Action.PUT_DOWN: _HANDLES,
    Action.CATCH: (EventKind.CATCH,),
    Action.DRIBBLE: (EventKind.DRIBBLE,),
    Action.JUGGLE: (EventKind.JUGGLE,),
}


def handle(claim: Claim, window: Window) -> Finding:
    """Check what is done with a thing: the joints show the hand that does it, and the bend."""
    part = claim.part or Part.ARM
    just = by_sides(window.events(*_OF_THINGS[claim.action]))
    mine = [e for e in just if claim.side not in ONE_SIDE or e.side in (claim.side, None)]
    if mine:
        return supported(claim, mine)
    if just and window.sees(part, claim.side):
        return contradicted(claim, window, measurement_of(just[0]), 0.2)
    bent = window.events(BEND_TORSO, EventKind.SINK)
    if bent and claim.action in (Action.PICK_UP, Action.PUT_DOWN):
        return supported(claim, bent, 0.7)
    if claim.side in ONE_SIDE and claim.part is not None:
        return use(claim, window)
    return unknown(claim, window, f"to {claim.action} is not measured")


_BUSY_ARM: Final = (
    *(RAISE_ARM, EventKind.WAVE, EventKind.PUNCH, EventKind.THROW, EventKind.CIRCLE),
    EventKind.CLAP,
)


def use(claim: Claim, window: Window) -> Finding:
    """Check with which limb something is done that the joints do not show."""
    part = claim.part or Part.ARM
    if not window.sees(part):
        return unseen(claim, window, part)
    moved = by_sides(window.events(*(_LEG_ACTIONS if part is Part.LEG else _ARM_ACTIONS)))
    moved = [e for e in moved if e.kind not in (EventKind.BEND, EventKind.EXTEND)]
    side = claim.side if claim.side is not None else Side.LEFT
    mine, other = _strength(moved, side), _strength(moved, _other(side))
    if other >= _DOMINATES * mine and other >= _BUSY_M:
        theirs = _on(moved, _other(side))
        return contradicted(claim, window, measurement_of(theirs[0]), 0.2)
    if mine >= other and mine >= _BUSY_M:
        return supported(claim, _on(moved, side), 0.7)
    return unknown(claim, window, "both sides move alike")
