"""Acts that another act over the same span implies, and that are therefore not told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from annotators.motion.events import (
    BEND_ARM,
    BEND_TORSO,
    LOWER_ARM,
    LOWER_HEAD,
    LOWER_KNEE,
    LOWER_LEG,
    RAISE_ARM,
    RAISE_HEAD,
    RAISE_KNEE,
    RAISE_LEG,
    EventKind,
    PostureKind,
)
from annotators.wording.acts import Act, ActKey, BodyAct, Clause
from annotators.wording.clauses import SINKS

SINKING: Final = frozenset({*SINKS.values(), BodyAct.BEND_KNEES})
RISING: Final = frozenset(
    {BodyAct.STAND_UP, BodyAct.GET_UP, BodyAct.LEAVE_STANCE, BodyAct.STRAIGHTEN_LEGS}
)
POSTURES: Final = frozenset({*PostureKind, BodyAct.CARTWHEEL})


def drop_shadowed(clauses: Sequence[Clause]) -> list[Clause]:
    """Drop clauses that a stronger clause over the same span implies or makes unreliable."""
    kept: list[Clause] = []
    for clause in clauses:
        shadows = [
            other
            for other in clauses
            if other is not clause
            and _shadows(other, clause)
            and min(other.end_s, clause.end_s) - max(other.start_s, clause.start_s)
            >= 0.5 * max(clause.end_s - clause.start_s, 0.05)
        ]
        if not shadows:
            kept.append(clause)
    return kept


@dataclass(frozen=True, slots=True)
class _Implied:
    """Acts that another act implies.

    Attributes:
        alone: implied acts without their reversal.
        with_back: implied acts that are merged with their reversal.
    """

    alone: frozenset[ActKey]
    with_back: frozenset[ActKey] = frozenset()


_LEG_LIFTS: Final = frozenset[ActKey](
    {
        RAISE_LEG,
        RAISE_KNEE,
    }
)
_LEG_MOVES: Final = _LEG_LIFTS | {
    LOWER_LEG,
    LOWER_KNEE,
}
_NODS: Final = frozenset[ActKey]({LOWER_HEAD, RAISE_HEAD})
_LEVELS: Final = frozenset[ActKey]({*SINKING, *RISING})
_TILTS: Final = frozenset[ActKey]({EventKind.BEND, EventKind.STRAIGHTEN, EventKind.LEAN})
_TILTS_AND_BACK: Final = frozenset[ActKey]({EventKind.BEND, EventKind.LEAN})
_EVERYTHING: Final = frozenset[ActKey]({*EventKind, *PostureKind, *BodyAct})
_OF_A_JUMP_DOWN: Final = frozenset[ActKey](
    {EventKind.JUMP_DOWN, EventKind.LAND, EventKind.SOMERSAULT}
)
_BENDS: Final = _Implied(_LEVELS | _NODS | {PostureKind.BENDING}, frozenset({LOWER_HEAD}))

_LYING: Final = _Implied(
    _TILTS | {EventKind.TURN, EventKind.RAISE, EventKind.LOWER, PostureKind.BENDING},
    _TILTS_AND_BACK | {RAISE_ARM},
)
_IMPLIED: Final[Mapping[Act, _Implied]] = {
    BodyAct.CARTWHEEL: _Implied(
        _TILTS
        | _LEVELS
        | {
            EventKind.RAISE,
            EventKind.LOWER,
            EventKind.TURN,
            EventKind.SWING,
            EventKind.WALK,
            EventKind.EXTEND,
            EventKind.TWIST,
            EventKind.WAVE,
            PostureKind.BENDING,
            PostureKind.HANDS_AND_FEET,
        },
        _EVERYTHING,
    ),
    BodyAct.SIT_DOWN: _Implied(_TILTS, _TILTS_AND_BACK),
    BodyAct.STAND_UP: _Implied(_TILTS, _TILTS_AND_BACK),
    BodyAct.SQUAT_DOWN: _Implied(
        _TILTS | {PostureKind.BENDING, PostureKind.SQUATTING}, _TILTS_AND_BACK
    ),
    EventKind.SOMERSAULT: _Implied(_EVERYTHING - _OF_A_JUMP_DOWN, _EVERYTHING - _OF_A_JUMP_DOWN),
    EventKind.JUMP_DOWN: _Implied(
        _LEVELS
        | _LEG_MOVES
        | POSTURES
        | _TILTS
        | {EventKind.JUMP, EventKind.WALK, EventKind.RUN, EventKind.STEP, EventKind.TURN},
        SINKING | _LEG_LIFTS | _TILTS_AND_BACK,
    ),
    EventKind.LAND: _Implied(
        _LEVELS | _TILTS | _NODS | {PostureKind.SQUATTING, PostureKind.BENDING}, _TILTS_AND_BACK
    ),
    EventKind.JUMPING_JACK: _Implied(
        _LEVELS
        | _LEG_MOVES
        | _NODS
        | {EventKind.RAISE, EventKind.LOWER, EventKind.SWING, EventKind.WAVE, EventKind.CIRCLE}
        | {EventKind.HOLD, EventKind.STEP, EventKind.JUMP, EventKind.HOP, EventKind.WALK}
        | {PostureKind.WIDE_STANCE, PostureKind.LUNGE, EventKind.EXTEND, EventKind.BEND},
        frozenset({EventKind.RAISE, LOWER_HEAD}),
    ),
    # Who turns in place shuffles the feet.
    EventKind.TURN: _Implied(frozenset({EventKind.STEP})),
    EventKind.STEP: _Implied(frozenset({LOWER_LEG, LOWER_KNEE, EventKind.WALK})),
    EventKind.CRAWL: _Implied(POSTURES | _TILTS | _LEVELS | {EventKind.PRESS, EventKind.UNPRESS}),
    EventKind.RIDE: _Implied(_LEG_MOVES | POSTURES | {EventKind.WALK, EventKind.STEP}),
    EventKind.JUGGLE: _Implied(
        _LEG_MOVES | {EventKind.KICK, EventKind.STEP, PostureKind.ONE_LEG}, _LEG_LIFTS
    ),
    EventKind.DRIBBLE: _Implied(
        frozenset({EventKind.SWING, BEND_ARM, EventKind.EXTEND, LOWER_ARM})
    ),
    EventKind.HUG: _Implied(frozenset({EventKind.HOLD, EventKind.LEAN, EventKind.APPROACH})),
    EventKind.JUMP: _Implied(
        _LEVELS | _LEG_MOVES | POSTURES | {BEND_TORSO, EventKind.STRAIGHTEN, EventKind.WALK},
        SINKING | _LEG_LIFTS | {EventKind.BEND},
    ),
    EventKind.HOP: _Implied(_LEVELS | _LEG_MOVES | {PostureKind.ONE_LEG, EventKind.WALK}),
    EventKind.BEND: _BENDS,
    BodyAct.BEND_KNEES: _BENDS,
    EventKind.KICK: _Implied(_LEG_MOVES | {EventKind.LEAN}, _LEG_LIFTS | {EventKind.LEAN}),
    BodyAct.LIE_DOWN: _LYING,
    PostureKind.LYING: _LYING,
    PostureKind.ONE_LEG: _Implied(frozenset({LOWER_LEG, LOWER_KNEE})),
    EventKind.PRESS: _Implied(
        POSTURES | _TILTS | _NODS | _LEVELS | {EventKind.EXTEND}, frozenset({EventKind.BEND})
    ),
    EventKind.UNPRESS: _Implied(frozenset({BEND_ARM})),
}
"""Implied acts by the stronger act."""


def _shadows(strong: Clause, weak: Clause) -> bool:
    implied = _IMPLIED.get(strong.act)
    if implied is None:
        return False
    needless = implied.with_back if weak.back else implied.alone
    return any(key in needless for key in weak.keys)
