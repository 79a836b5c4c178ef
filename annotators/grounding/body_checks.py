"""Checks of claims on the whole body: locomotion, turns, jumps, postures and the trunk."""

from collections.abc import Mapping, Sequence
from typing import Final

from annotators.grounding.claims import Claim
from annotators.grounding.lexicon import Action, Pace
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
from annotators.motion.activities import ActivityKind
from annotators.motion.events import (
    BEND_TORSO,
    LOWER_LEG,
    RAISE_KNEE,
    RAISE_LEG,
    Direction,
    EventKind,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
)
from annotators.motion.measurements import measurement_of
from data.records import Verdict

STATIONARY_M: Final = 0.4
"""Shorter paths of the pelvis are not a walk. It is the length of two short steps."""
RUN_MPS: Final = 2.0
"""Locomotion without flight that never reaches it is no run. The walks of CMU reach 1.9 m/s."""
WALK_MPS: Final = 2.3
"""Faster locomotion with flight is no walk."""
SLOW_MPS: Final = 1.75
VERY_SLOW_MPS: Final = 1.25
SLOW_RUN_MPS: Final = 3.2
FAST_MPS: Final = 0.95
"""Speeds that contradict "slowly", "very slowly", "runs slowly" (above) and "fast" (below). People
write "slowly" of walks of up to 1.6 m/s."""
FAR_M: Final = 1.2
"""Locomotion over this distance contradicts that a person keeps the place."""
QUIET_SHARE: Final = 0.2
"""Smallest share of the time without any event in which a person may be called still."""
TURN_DEG: Final = 40.0
"""Smallest turn to a side that a text may name."""
SINK_M: Final = 0.3
"""A smaller descent of the hips does not end in a low posture; jumps and steps sink by 0.2 m."""

_SIDEWAYS: Final = (Direction.LEFT, Direction.RIGHT)
_ALONG: Final = (Direction.FORWARD, Direction.BACKWARD)
_AWAY: Final[Mapping[Direction | None, Direction]] = {
    Direction.FORWARD: Direction.BACKWARD,
    Direction.BACKWARD: Direction.FORWARD,
    Direction.LEFT: Direction.RIGHT,
    Direction.RIGHT: Direction.LEFT,
}
_LOCOMOTION: Final = (EventKind.WALK, EventKind.RUN, EventKind.SKIP)
_LEAPS: Final = (EventKind.JUMP, EventKind.HOP, EventKind.JUMPING_JACK, EventKind.JUMP_DOWN)


# ----------------------------------------------------------------------------------- locomotion


def locomotion(claim: Claim, window: Window) -> Finding:
    """Check a walk, a run or another way over the floor."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    way = window.events(*_LOCOMOTION)
    if claim.on_spot:
        return _in_place(claim, window, way)
    measured = f"pelvis travels {window.traveled_m:.1f} m in {window.duration_s:.1f} s"
    if not way:
        return _without_way(claim, window, measured)
    steps = sum(event.count for event in way)
    # Additional steps may belong to the statements before and after.
    if claim.counts_steps and steps < 0.5 * claim.count - 1:
        return contradicted(claim, window, f"{steps} steps", 0.2)
    finding = _gait(claim, window, way)
    if finding.verdict is Verdict.SUPPORTED:
        finding = _paced(finding, window, way)
    return finding


def _without_way(claim: Claim, window: Window, measured: str) -> Finding:
    steps = window.events(EventKind.STEP)
    if steps:
        return _stepped(claim, window, steps)
    if window.traveled_m < STATIONARY_M:
        return contradicted(claim, window, measured)
    leaps = window.events(*_LEAPS)
    if claim.action is Action.MOVE and leaps:
        return supported(claim, leaps, 0.7)
    # A path without steps is that of a shifted weight; over a long time it adds up.
    if window.traveled_m < max(2 * STATIONARY_M, 0.15 * window.duration_s):
        return contradicted(claim, window, measured, 0.2)
    return unknown(claim, window, measured, 0.4)


def _stepped(claim: Claim, window: Window, steps: Sequence[MotionEvent]) -> Finding:
    """Check steps that are no walk, because they are few or lead back to where they began."""
    if claim.action is Action.RUN:
        slow = window.traveled_m < RUN_MPS * window.duration_s
        check = contradicted if slow else unknown
        return check(claim, window, measurement_of(steps[0]), 0.2)
    times = sum(event.count for event in steps)
    if claim.counts_steps and times < 0.5 * claim.count - 1:
        return contradicted(claim, window, f"{times} steps", 0.2)
    goes = claim.word.startswith("step") or _way_of(steps) >= FAR_M
    if not goes:
        # "walks": a step or two of a dance are no walk.
        check = contradicted if window.traveled_m < STATIONARY_M else unknown
        return check(claim, window, measurement_of(steps[0]), 0.2)
    there = [e for e in steps if e.direction == claim.direction]
    away = [e for e in steps if e.direction == _AWAY.get(claim.direction)]
    if away and not there:
        return contradicted(claim, window, measurement_of(away[0]), 0.15)
    return supported(claim, there or steps, 1.0)


def _way_of(steps: Sequence[MotionEvent]) -> float:
    """Return how far steps lead if the body does not turn, meters; to and fro cancel."""
    along = {d: sum(e.magnitude for e in steps if e.direction is d) for d in Direction}
    forward_m = along[Direction.FORWARD] - along[Direction.BACKWARD]
    return abs(forward_m) + abs(along[Direction.LEFT] - along[Direction.RIGHT])


def _in_place(claim: Claim, window: Window, way: Sequence[MotionEvent]) -> Finding:
    """Check steps on the spot."""
    steps = window.events(EventKind.STEP)
    if sum(event.magnitude for event in way) + _way_of(steps) >= FAR_M:
        return contradicted(claim, window, measurement_of([*way, *steps][0]), 0.1)
    stepped = window.events(RAISE_KNEE, RAISE_LEG, EventKind.KICK)
    if stepped or way:
        return supported(claim, [*stepped, *way], 0.7)
    if window.still_s >= 0.8 * window.duration_s:
        return contradicted(claim, window, "no movement", 0.1)
    return unknown(claim, window, "small steps on the spot are not measured")


def _gait(claim: Claim, window: Window, way: Sequence[MotionEvent]) -> Finding:
    runs = [event for event in way if event.kind is EventKind.RUN]
    fastest_mps = max(_speed([event]) for event in way)
    if claim.action is Action.RUN:
        if not runs and max(fastest_mps, *(e.peak_speed for e in way)) < RUN_MPS:
            return contradicted(claim, window, measurement_of(way[0]), 0.15)
        return _along(claim, window, runs or way, 1.0 if runs else 0.6)
    if claim.action is Action.WALK and len(runs) == len(way):
        if fastest_mps > WALK_MPS:
            return contradicted(claim, window, measurement_of(way[0]), 0.2)
        return _along(claim, window, way, 0.7)
    return _along(claim, window, way, 1.0)


def _speed(way: Sequence[MotionEvent]) -> float:
    """Return the average speed of a locomotion, m/s."""
    return sum(e.magnitude for e in way) / max(sum(e.duration_s for e in way), 0.05)


def _paced(finding: Finding, window: Window, way: Sequence[MotionEvent]) -> Finding:
    """Check the pace of a locomotion that was measured."""
    claim, speed_mps = finding.claim, _speed(way)
    if claim.pace is None:
        return finding
    if claim.pace is Pace.FAST:
        wrong, doubtful = speed_mps < FAST_MPS, speed_mps < FAST_MPS + 0.25
    else:
        most = SLOW_MPS if claim.pace is Pace.SLOW else VERY_SLOW_MPS
        most = SLOW_RUN_MPS if claim.action is Action.RUN else most
        wrong, doubtful = speed_mps > most, speed_mps > most - 0.4
    if wrong:
        return contradicted(claim, window, measurement_of(way[0]), 0.15)
    if doubtful:
        return supported(claim, way, 0.7 * finding.support)
    return finding


def _along(claim: Claim, window: Window, way: Sequence[MotionEvent], support: float) -> Finding:
    """Check the direction of a locomotion."""
    if claim.direction in _SIDEWAYS:
        return _aside(claim, window, way, support)
    opposite = _AWAY.get(claim.direction)
    if opposite and claim.direction in _ALONG:
        there = sum(e.magnitude for e in way if e.direction == claim.direction)
        away = sum(e.magnitude for e in way if e.direction == opposite)
        if away > 0 and there < 0.25 * away:
            return contradicted(claim, window, measurement_of(way[0]), 0.1)
        known = [e for e in way if e.direction == claim.direction]
        return supported(claim, known or way, support if known else 0.6 * support)
    if claim.direction is Direction.SIDE:
        aside = [e for e in way if e.direction in (*_SIDEWAYS, Direction.SIDE)]
        if not aside and all(e.direction in _ALONG for e in way):
            return contradicted(claim, window, measurement_of(way[0]), 0.2)
        return supported(claim, aside or way, support)
    return supported(claim, way, support)


def _aside(claim: Claim, window: Window, way: Sequence[MotionEvent], support: float) -> Finding:
    """Check "walks to the left", which may be a sidestep, a curve, or a slanted path."""
    opposite = _AWAY[claim.direction]
    turned = [e for e in window.events(EventKind.TURN) if e.direction == claim.direction]
    aside = [e for e in way if e.direction in (claim.direction, Direction.SIDE)]
    if turned or aside:
        return supported(claim, [*aside, *turned], support)
    away = [e for e in (*way, *window.events(EventKind.TURN)) if e.direction == opposite]
    if away:
        return contradicted(claim, window, measurement_of(away[0]), 0.15)
    return unknown(claim, window, measurement_of(way[0]), 0.45)


def stay(claim: Claim, window: Window) -> Finding:
    """Check that the person keeps the place on the floor."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    way, leaps = window.events(*_LOCOMOTION), window.events(*_LEAPS)
    steps = window.events(EventKind.STEP)
    far_m = sum(e.magnitude for e in way) + sum(e.way_m for e in leaps) + _way_of(steps)
    if far_m >= FAR_M:
        moved = [*way, *leaps, *steps]
        return contradicted(claim, window, measurement_of(moved[0]), 0.1)
    if far_m < STATIONARY_M:
        measured = f"pelvis travels {window.traveled_m:.1f} m"
        start_s, end_s = window.span
        return Finding(claim, Verdict.SUPPORTED, 0.8, measured, start_s, end_s, (window.span,))
    return unknown(claim, window, f"{far_m:.1f} m of steps")


def still(claim: Claim, window: Window) -> Finding:
    """Check that the body does not move."""
    if claim.part:
        return unknown(claim, window, f"whether the {claim.part} rests is not measured")
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    still_s, duration_s = window.still_s, window.duration_s
    measured = f"no movement for {still_s:.1f} s of {duration_s:.1f} s"
    if max(still_s, window.quiet_s) < QUIET_SHARE * duration_s and (claim.throughout or claim.main):
        return contradicted(claim, window, measured, 0.15)
    if still_s >= min(1.0, 0.5 * duration_s):
        start_s, end_s = window.span
        spans = tuple(s for s in window.motion.still if s[1] > start_s and s[0] < end_s)
        return Finding(claim, Verdict.SUPPORTED, 1.0, measured, start_s, end_s, spans)
    if window.traveled_m > 2 * STATIONARY_M and still_s < 0.3:
        return contradicted(claim, window, f"pelvis travels {window.traveled_m:.1f} m", 0.1)
    return unknown(claim, window, measured, 0.45)


# ------------------------------------------------------------------------------- turns and jumps


def turn(claim: Claim, window: Window) -> Finding:
    """Check a turn of the body, or a twist of the trunk."""
    if not window.sees(Part.TORSO):
        return unseen(claim, window, Part.TORSO)
    if claim.part in (Part.HEAD, Part.LEG):
        return unknown(claim, window, f"turning of the {claim.part} is not measured")
    twists = window.events(EventKind.TWIST) if claim.part is Part.TORSO else []
    turned = window.events(EventKind.TURN)
    if claim.direction in _SIDEWAYS:
        return _turn_to(claim, window, turned, twists)
    if twists:
        return supported(claim, twists)
    if not turned:
        return _no_turn(claim, window)
    far_deg = sum(e.magnitude for e in turned)
    if claim.direction is not Direction.AROUND or far_deg >= 120:
        return supported(claim, turned)
    if far_deg >= 70:
        return supported(claim, turned, 0.7)
    return unknown(claim, window, measurement_of(turned[0]), 0.35)


def _turn_to(
    claim: Claim,
    window: Window,
    turned: Sequence[MotionEvent],
    twists: Sequence[MotionEvent],
) -> Finding:
    same = [e for e in (*turned, *twists) if e.direction == claim.direction]
    other = [e for e in turned if e.direction == _AWAY[claim.direction]]
    same_deg, other_deg = (sum(e.magnitude for e in es) for es in (same, other))
    if other and same_deg < 0.3 * other_deg:
        return contradicted(claim, window, measurement_of(other[0]), 0.05 if not same else 0.2)
    if same_deg >= TURN_DEG or same:
        return supported(claim, same)
    return _no_turn(claim, window)


def _no_turn(claim: Claim, window: Window) -> Finding:
    if claim.part is Part.TORSO:
        return unknown(claim, window, "no turn of the trunk stands out")
    measured = "no turn of the body by 45 deg or more"
    if not window.exact and claim.direction is not Direction.AROUND:
        return unknown(claim, window, measured, 0.35)
    return contradicted(claim, window, measured, 0.1)


def jump(claim: Claim, window: Window) -> Finding:
    """Check jumps and hops: on which foot, where to, how often."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    leaps = window.events(*_LEAPS)
    if not leaps:
        return contradicted(claim, window, f"no jump; {window.observed()}")
    wrong = _wrong_foot(claim, window, leaps) or _wrong_way(claim, window, leaps)
    if wrong is not None:
        return wrong
    return counted(claim, window, leaps, sum(e.count for e in leaps), discrete=True)


def _wrong_foot(claim: Claim, window: Window, leaps: Sequence[MotionEvent]) -> Finding | None:
    hops = [e for e in leaps if e.kind is EventKind.HOP]
    if claim.side is Side.BOTH and len(hops) == len(leaps):
        return contradicted(claim, window, measurement_of(hops[0]), 0.3)
    if claim.side not in ONE_SIDE:
        return None
    one_legged = [*hops, *window.postures(PostureKind.ONE_LEG)]
    same_s = sum(window.shared_s(t) for t in one_legged if t.side is claim.side)
    other = [t for t in one_legged if t.side not in (claim.side, None)]
    other_s = sum(window.shared_s(t) for t in other)
    if other and same_s < 0.3 * other_s:
        return contradicted(claim, window, measurement_of(other[0]), 0.05)
    if not one_legged and len(leaps) > 2:
        return contradicted(claim, window, measurement_of(leaps[0]), 0.25)
    return None


def _wrong_way(claim: Claim, window: Window, leaps: Sequence[MotionEvent]) -> Finding | None:
    opposite = _AWAY.get(claim.direction)
    longest_m = max(leap.way_m for leap in leaps)
    if claim.on_spot and longest_m >= 0.35 and sum(leap.way_m for leap in leaps) >= 0.5:
        return contradicted(claim, window, measurement_of(leaps[0]), 0.2)
    if opposite in _SIDEWAYS and {leap.direction for leap in leaps} == {opposite}:
        return contradicted(claim, window, measurement_of(leaps[0]), 0.2)
    if opposite in _ALONG:
        known = {leap.direction for leap in leaps}
        if opposite in known and claim.direction not in known:
            return contradicted(claim, window, measurement_of(leaps[0]), 0.1)
        if claim.direction not in known and longest_m < 0.15:
            return contradicted(claim, window, measurement_of(leaps[0]), 0.25)
    return None


# ------------------------------------------------------------------------------------- postures

_HELD: Final[Mapping[Action, tuple[PostureKind, ...]]] = {
    Action.SIT: (PostureKind.SITTING,),
    Action.SIT_DOWN: (PostureKind.SITTING,),
    Action.SQUAT: (
        *(PostureKind.SQUATTING, PostureKind.KNEELING, PostureKind.WIDE_STANCE),
        PostureKind.LUNGE,
    ),
    Action.KNEEL: (PostureKind.KNEELING, PostureKind.ALL_FOURS),
    Action.LIE: (PostureKind.LYING, PostureKind.PLANK),
    Action.CRAWL: (
        PostureKind.ALL_FOURS,
        PostureKind.HANDS_AND_FEET,
        PostureKind.KNEELING,
        PostureKind.PLANK,
    ),
    Action.STAND: (
        *(PostureKind.STANDING, PostureKind.ONE_LEG, PostureKind.WIDE_STANCE),
        PostureKind.LUNGE,
    ),
    Action.BALANCE: (PostureKind.ONE_LEG,),
    Action.PUSH_UP: (PostureKind.PLANK,),
    Action.PLANK: (PostureKind.PLANK, PostureKind.SIDE_PLANK),
    Action.LUNGE: (PostureKind.LUNGE, PostureKind.WIDE_STANCE),
    Action.CARTWHEEL: (PostureKind.UPSIDE_DOWN,),
}
_LOW: Final = (
    PostureKind.SITTING,
    PostureKind.SQUATTING,
    PostureKind.KNEELING,
    PostureKind.LYING,
    PostureKind.PLANK,
    PostureKind.SIDE_PLANK,
    PostureKind.ALL_FOURS,
    PostureKind.HANDS_AND_FEET,
)
_UPRIGHT: Final = (
    PostureKind.STANDING,
    PostureKind.LUNGE,
    PostureKind.ONE_LEG,
    PostureKind.WIDE_STANCE,
    PostureKind.BENDING,
)
_SHORT_S: Final = 0.5


def held(claim: Claim, window: Window) -> Finding:
    """Check a posture. It is contradicted if the body had a very different one all the time."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    found = window.postures(*_HELD[claim.action])
    if claim.throughout and (other := _most_of_the_time(claim, window)) is not None:
        return contradicted(claim, window, measurement_of(other), 0.1)
    if found and claim.action is Action.BALANCE and claim.side in ONE_SIDE:
        found = [p for p in found if p.side is claim.side]
        if not found:
            other = window.postures(PostureKind.ONE_LEG)[0]
            return contradicted(claim, window, measurement_of(other), 0.05)
    if found:
        return counted(claim, window, found, _episodes(found), discrete=True)
    return _not_held(claim, window)


def _most_of_the_time(claim: Claim, window: Window) -> Posture | None:
    """Return a very different posture that lasts at least a quarter of the time."""
    upright = claim.action in (Action.STAND, Action.BALANCE)
    different = (*_LOW, PostureKind.UPSIDE_DOWN) if upright else _UPRIGHT
    least = 0.08 if upright else 0.25
    others = [p for p in window.postures(*different) if p.kind is not PostureKind.ONE_LEG]
    if sum(map(window.shared_s, others)) >= least * window.duration_s:
        return max(others, key=window.shared_s)
    return None


def _episodes(found: Sequence[Posture]) -> int:
    """Return the number of times that a posture was taken."""
    ends = [p.end_s for p in found]
    return 1 + sum(p.start_s - end > 0.3 for p, end in zip(found[1:], ends, strict=False))


def _not_held(claim: Claim, window: Window) -> Finding:
    seen = window.postures(*_LOW, *_UPRIGHT, PostureKind.UPSIDE_DOWN)
    measured = ", ".join(dict.fromkeys(map(measurement_of, seen[:2]))) or "posture unclear"
    if not seen or window.postures(PostureKind.UNKNOWN):
        return unknown(claim, window, measured)
    if claim.action is Action.STAND:
        return contradicted(claim, window, measured, 0.2)
    if claim.action is Action.BALANCE:
        return _no_balance(claim, window, measured)
    low = [p for p in seen if p.kind in _LOW and window.shared_s(p) >= _SHORT_S]
    sunk = [e for e in window.events(EventKind.SINK) if e.magnitude >= SINK_M]
    pressed = window.events(EventKind.PRESS)
    if claim.action in (Action.LIE, Action.CRAWL) and not pressed:
        low = [p for p in low if p.kind not in (PostureKind.SQUATTING, PostureKind.SITTING)]
        sunk = []
    if claim.action is Action.CRAWL and (crawls := window.events(EventKind.CRAWL)):
        return supported(claim, crawls)
    if claim.action in (Action.SQUAT, Action.LUNGE):
        # A dip of the hips is a shallow squat, and a jump begins and ends with one.
        sunk = [e for e in window.events(EventKind.SINK) if e.magnitude >= 0.5 * SINK_M]
        sunk += window.events(*_LEAPS)
    if low or sunk or pressed:
        # Low postures differ only in details such as the height of a knee.
        return unknown(claim, window, measured, 0.45)
    return contradicted(claim, window, measured)


def _no_balance(claim: Claim, window: Window, measured: str) -> Finding:
    lifted = window.events(RAISE_LEG, RAISE_KNEE, EventKind.KICK, EventKind.HOP)
    standing = {
        e.side if e.kind is EventKind.HOP else Side.LEFT if e.side is Side.RIGHT else Side.RIGHT
        for e in lifted
        if e.side in ONE_SIDE
    }
    if claim.side in ONE_SIDE and standing and claim.side not in standing:
        return contradicted(claim, window, measurement_of(lifted[0]), 0.1)
    if lifted:
        return supported(claim, lifted, 0.7)
    if claim.side not in ONE_SIDE and claim.part is None:
        # "keeps the balance" is no stand on one leg.
        return unknown(claim, window, measured)
    return contradicted(claim, window, measured, 0.2)


def squat(claim: Claim, window: Window) -> Finding:
    """Check squats, which are counted by the descents of the hips."""
    finding = held(claim, window)
    sunk = [e for e in window.events(EventKind.SINK) if e.magnitude >= 0.5 * SINK_M]
    if finding.verdict is not Verdict.SUPPORTED or not claim.count or not sunk:
        return finding
    return counted(claim, window, sunk, len(sunk), discrete=True)


def push_up(claim: Claim, window: Window) -> Finding:
    """Check push-ups."""
    pressed = window.events(EventKind.PRESS)
    if pressed:
        return counted(claim, window, pressed, times_of(pressed), discrete=True)
    return held(claim, window)


def cartwheel(claim: Claim, window: Window) -> Finding:
    """Check cartwheels, handstands and somersaults."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    over = window.postures(PostureKind.UPSIDE_DOWN)
    if over:
        return counted(claim, window, over, _episodes(over), discrete=True)
    if turned := window.events(EventKind.SOMERSAULT):
        return unknown(claim, window, measurement_of(turned[0]), 0.4)
    return contradicted(claim, window, f"never upside down; {window.observed()}")


def somersault(claim: Claim, window: Window) -> Finding:
    """Check somersaults, and whether they are forward or backward."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    turned = window.events(EventKind.SOMERSAULT)
    if not turned:
        over = window.postures(PostureKind.UPSIDE_DOWN)
        if over:
            return supported(claim, over, 0.7)
        return contradicted(claim, window, f"never upside down; {window.observed()}")
    if all(e.direction == _AWAY.get(claim.direction) for e in turned):
        return contradicted(claim, window, measurement_of(turned[0]), 0.15)
    return counted(claim, window, turned, len(turned), discrete=True)


def jumping_jack(claim: Claim, window: Window) -> Finding:
    """Check jumping jacks."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    jacks = window.events(EventKind.JUMPING_JACK)
    if jacks:
        return counted(claim, window, jacks, sum(e.count for e in jacks), discrete=True)
    leaps = window.events(*_LEAPS)
    if leaps:
        return unknown(claim, window, measurement_of(leaps[0]), 0.4)
    return contradicted(claim, window, f"no jump; {window.observed()}")


_SHOWN: Final[Mapping[Action, tuple[EventKind, ...]]] = {
    Action.CLIMB: (EventKind.CLIMB,),
    Action.RIDE: (EventKind.RIDE,),
    Action.HUG: (EventKind.HUG,),
    Action.SHAKE_HANDS: (EventKind.SHAKE_HANDS,),
    Action.HAND_OVER: (EventKind.HAND_OVER,),
    Action.PUSH: (EventKind.PUSH,),
}


def seen_or_unknown(claim: Claim, window: Window) -> Finding:
    """Check what is supported where it is measured, but whose absence tells nothing."""
    found = window.events(*_SHOWN[claim.action])
    if found:
        return supported(claim, found)
    return unknown(claim, window, f"to {claim.action} is not measured")


def stand_up(claim: Claim, window: Window) -> Finding:
    """Check a rise to standing."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    rises = window.events(EventKind.RISE)
    if rises:
        return supported(claim, rises)
    straightened = window.events(EventKind.STRAIGHTEN, EventKind.PRESS)
    if straightened:
        return supported(claim, straightened, 0.6)
    low = window.postures(*_LOW)
    ends_low = bool(low) and low[-1].end_s >= window.span[1] - 0.3
    if low and not ends_low:
        return unknown(claim, window, "no rise of the hips stands out")
    return contradicted(claim, window, f"no rise of the hips; {window.observed()}", 0.1)


def dance(claim: Claim, window: Window) -> Finding:
    """Check a dance, of which many different movements are evidence."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    start_s, end_s = window.span
    dances = [
        a
        for a in window.motion.activities
        if a.kind is ActivityKind.DANCE and a.start_s < end_s and a.end_s > start_s
    ]
    if dances:
        return supported(claim, dances[0].events)
    moves = len(window.events(*EventKind))
    if moves == 0:
        return contradicted(claim, window, "no movement", 0.1)
    if not window.events(*(kind for kind in EventKind if kind not in _LOCOMOTION)):
        return contradicted(claim, window, f"nothing but steps; {window.observed()}", 0.2)
    # Joints do not determine whether a motion is a dance.
    why = f"{moves} movements, which may be a dance or not"
    return unknown(claim, window, why, 0.4 if moves < 4 else 0.6)


# ----------------------------------------------------------------------------------- the trunk


def straighten(claim: Claim, window: Window) -> Finding:
    """Check that the trunk or the legs straighten."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    up = window.events(EventKind.RISE, EventKind.STRAIGHTEN, EventKind.PRESS, EventKind.JUMP)
    if claim.part is Part.LEG:
        up += window.events(LOWER_LEG, RAISE_LEG, EventKind.KICK)
    if up:
        return supported(claim, up, 0.8)
    return unknown(claim, window, f"no straightening of the {claim.part} stands out", 0.4)


def bend_legs(claim: Claim, window: Window) -> Finding:
    """Check bent knees."""
    if not window.sees(Part.BODY):
        return unseen(claim, window, Part.BODY)
    low = (PostureKind.SQUATTING, PostureKind.KNEELING, PostureKind.SITTING)
    down = [
        *window.events(EventKind.SINK, EventKind.JUMP, RAISE_LEG, RAISE_KNEE),
        *window.postures(*low, PostureKind.WIDE_STANCE, PostureKind.LUNGE),
    ]
    if not down:
        return unknown(claim, window, "no knee bends far", 0.4)
    sunk = window.events(EventKind.SINK)
    if sunk and claim.count > 0:
        return counted(claim, window, sunk, len(sunk), discrete=True)
    return supported(claim, down)


def bend(claim: Claim, window: Window) -> Finding:
    """Check a bend or lean of the trunk, and to which side."""
    if not window.sees(Part.TORSO):
        return unseen(claim, window, Part.TORSO)
    moves = window.events(BEND_TORSO, EventKind.LEAN)
    bent = window.postures(PostureKind.BENDING)
    if not moves and not bent:
        return _not_bent(claim, window)
    directions = {e.direction for e in moves}
    wanted = _SIDEWAYS if claim.direction is Direction.SIDE else (claim.direction,)
    if claim.direction in (*_SIDEWAYS, *_ALONG, Direction.SIDE) and moves:
        others = [e for e in moves if e.direction in (*_SIDEWAYS, *_ALONG)]
        if others and not directions & set(wanted):
            return contradicted(claim, window, measurement_of(others[0]), 0.2)
    if claim.count > 0 and (bends := window.events(BEND_TORSO)):
        return counted(claim, window, bends, len(bends), discrete=True)
    return supported(claim, [*moves, *bent])


def _not_bent(claim: Claim, window: Window) -> Finding:
    low = [
        *window.events(EventKind.SINK, EventKind.RISE),
        *window.postures(*_LOW, PostureKind.UPSIDE_DOWN),
    ]
    if low and not window.events(*_LEAPS):
        return unknown(claim, window, measurement_of(low[0]), 0.45)
    if claim.action is Action.LEAN or not claim.main:
        return unknown(claim, window, "no tilt of the trunk stands out", 0.35)
    return contradicted(claim, window, "the trunk stays upright", 0.2)
