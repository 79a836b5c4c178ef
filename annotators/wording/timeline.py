"""The timeline of a motion: its events, merged, counted and filtered, as clauses.

Clauses are typed like the events that they come from; :mod:`annotators.wording.phrases` words them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from annotators.motion.describe import MotionDescription
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
    Posture,
    PostureKind,
)
from annotators.motion.signals import join_spans, spans
from annotators.wording.acts import ActKey, BodyAct, Clause, Pause, Way
from annotators.wording.clauses import (
    MAX_STIR_S,
    WALKS,
    event_clause,
    poses_clause,
    posture_at,
    posture_clause,
    weight_of,
)
from annotators.wording.implied import POSTURES, RISING, drop_shadowed
from data.motion.skeleton import FPS

MAX_GAP_S: Final = 2.0
"""Repeated actions that are further apart are separate clauses."""
MIN_TELL_GAP_S: Final = 1.5
"""Smallest pause between actions that becomes a clause."""
EXTENT_SHARE: Final = 0.4
"""Share of the importance of an act that depends on its extent."""
REPEAT_BONUS: Final = 0.015
LONG_PAUSE_SHARE: Final = 0.4
"""A pause that takes so much of the time is a part of what the person does."""
LONG_STAND_S: Final = 3.0
"""Standing for so long is told although the body is not still."""
MAX_SHIFT_S: Final = 0.5
"""Feet that move for a shorter time shift the weight."""
MIN_LEG_S: Final = 0.7
"""Shorter parts of a walk between its turns are dropped."""


def timeline(description: MotionDescription, max_clauses: int = 8) -> list[Clause]:
    """Return the most important clauses of a motion, in order of time.

    Args:
        description: description of the motion.
        max_clauses: largest number of clauses. Repetitions are merged before they are counted.
    """
    clauses = [c for e in description.events if (c := event_clause(e, description))]
    clauses += [c for p in description.postures if (c := posture_clause(p, description))]
    clauses += poses_clause(description)
    clauses = _split_walks(clauses, description)
    clauses = _pair(clauses)
    clauses = _merge(clauses)
    clauses = _joined_flights(drop_shadowed(clauses))
    clauses = [replace(c, weight=_salience(c, description)) for c in clauses]
    clauses = sorted(clauses, key=lambda c: (c.start_s, c.end_s))
    clauses = _fill_stands(_fill_pauses(clauses, description), description)
    if len(clauses) > max_clauses:
        kept = sorted(clauses, key=lambda c: c.weight, reverse=True)[:max_clauses]
        clauses = [c for c in clauses if c in kept]
    return clauses or [_fallback(description)]


# ---------------------------------------------------------------------------------------- salience


def _joined_flights(clauses: Sequence[Clause]) -> list[Clause]:
    """Join a jump down and the somersault in it into one clause."""
    result = list(clauses)
    for jump in [c for c in clauses if c.act is EventKind.JUMP_DOWN]:
        for over in [c for c in result if c.act is EventKind.SOMERSAULT]:
            shared_s = min(jump.end_s, over.end_s) - max(jump.start_s, over.start_s)
            if shared_s >= 0.5 * min(jump.end_s - jump.start_s, over.end_s - over.start_s):
                result.remove(over)
                result[result.index(jump)] = replace(
                    jump,
                    along=over.event,
                    weight=max(jump.weight, over.weight),
                    evidence=((*jump.evidence[0], *over.evidence[0]),),
                )
                break
    return result


def _salience(clause: Clause, description: MotionDescription) -> float:
    """Return the importance of a clause, 0..1: how rare the act is, and how far and long it goes.

    What moves most, longest and highest is the main event of a motion, not what comes first.
    """
    grown = clause.weight * (1.0 - EXTENT_SHARE + EXTENT_SHARE * _extent(clause, description))
    return min(grown + REPEAT_BONUS * min(clause.count - 1, 4), 0.99)


def _extent(clause: Clause, description: MotionDescription) -> float:
    """Return the extent of a clause relative to a full movement of its kind, 0..1."""
    share = (clause.end_s - clause.start_s) / max(description.end_s - description.start_s, 0.05)
    event = clause.event
    if event is None:
        lasts = clause.act in POSTURES and clause.act not in (
            BodyAct.CARTWHEEL,
            PostureKind.UPSIDE_DOWN,
        )
        return min(share * 1.5, 1.0) if lasts else 1.0
    full = next((_FULL[key] for key in clause.keys if key in _FULL), None)
    if full is None:
        return 1.0
    way = event.relative
    if clause.act in WALKS:
        way = description.traveled_m(clause.start_s, clause.end_s) / description.size.leg_m
    return min(max(way / full, share if clause.act in WALKS else 0.0), 1.0)


def _split_walks(clauses: Sequence[Clause], description: MotionDescription) -> list[Clause]:
    """Split walks at their turns into parts: walk, turn, walk on."""
    turns = [c for c in clauses if c.act is EventKind.TURN]
    result: list[Clause] = [c for c in clauses if c not in turns]
    loose = list(turns)
    for walk in [c for c in clauses if c.act in WALKS]:
        within = [
            t
            for t in turns
            if min(t.end_s, walk.end_s) - max(t.start_s, walk.start_s) > 0.5 * (t.end_s - t.start_s)
        ]
        if not within:
            continue
        result.remove(walk)
        loose = [t for t in loose if t not in within]
        clock = walk.start_s
        goes_on = False
        for turn in within:
            if turn.start_s - clock >= MIN_LEG_S:
                result.append(_leg_of(walk, clock, turn.start_s, description, goes_on=goes_on))
                goes_on = True
            weight = max(turn.weight, walk.weight - 0.01)
            during = EventKind.RUN if walk.act is EventKind.RUN else EventKind.WALK
            result.append(replace(turn, during=during, weight=weight))
            clock = turn.end_s
        if walk.end_s - clock >= MIN_LEG_S:
            result.append(_leg_of(walk, clock, walk.end_s, description, goes_on=goes_on))
    return result + loose


def _leg_of(
    walk: Clause, start_s: float, end_s: float, description: MotionDescription, *, goes_on: bool
) -> Clause:
    """Return a part of a walk with its own evidence."""
    way = Way(description.traveled_m(start_s, end_s), end_s - start_s)
    return replace(
        walk,
        start_s=start_s,
        end_s=end_s,
        evidence=((way,),),
        num_steps=0,
        goes_on=goes_on,
        manner=None if goes_on else walk.manner,
    )


_BACK: Final[Mapping[ActKey, tuple[ActKey, float]]] = {
    RAISE_ARM: (LOWER_ARM, 1.2),
    RAISE_LEG: (LOWER_LEG, 1.2),
    RAISE_KNEE: (LOWER_KNEE, 1.2),
    RAISE_HEAD: (LOWER_HEAD, 0.8),
    LOWER_HEAD: (RAISE_HEAD, 0.8),
    BEND_TORSO: (EventKind.STRAIGHTEN, 0.8),
    EventKind.LEAN: (EventKind.STRAIGHTEN, 0.8),
    EventKind.PRESS: (EventKind.UNPRESS, 1.0),
    BodyAct.SQUAT_DOWN: (BodyAct.STAND_UP, 1.0),
    BodyAct.SIT_DOWN: (PostureKind.SITTING, 0.5),
    BodyAct.KNEEL_DOWN: (PostureKind.KNEELING, 0.5),
    BodyAct.SINK_INTO_STANCE: (PostureKind.WIDE_STANCE, 0.5),
    BodyAct.LUNGE: (PostureKind.LUNGE, 0.5),
    BodyAct.LIE_DOWN: (PostureKind.LYING, 0.5),
}
"""An act, the act that reverses or holds it, and the longest pause between the two, seconds."""


def _pair(clauses: Sequence[Clause]) -> list[Clause]:
    """Merge clauses with those that directly reverse them, such as raising and lowering an arm."""
    ordered = sorted(clauses, key=lambda c: c.start_s)
    used: set[int] = set()
    result: list[Clause] = []
    for index, first in enumerate(ordered):
        if index in used:
            continue
        partner = _partner(first, ordered, range(index + 1, len(ordered)), used)
        if partner is None:
            result.append(first)
            continue
        used.add(partner)
        other = ordered[partner]
        result.append(
            replace(
                first,
                back=other,
                end_s=max(first.end_s, other.end_s),
                evidence=((*first.evidence[0], *other.evidence[0]),),
            )
        )
    return result


def _partner(first: Clause, ordered: Sequence[Clause], later: range, used: set[int]) -> int | None:
    """Return the index of the clause that reverses the first one, or None."""
    found = next((_BACK[key] for key in first.keys if key in _BACK), None)
    if found is None:
        return None
    back, longest_s = found
    return next(
        (
            index
            for index in later
            if index not in used
            and back in ordered[index].keys
            and ordered[index].side is first.side
            and -0.6 <= ordered[index].start_s - first.end_s <= longest_s
        ),
        None,
    )


_FULL: Final[Mapping[ActKey, float]] = {
    EventKind.WALK: 4.0,
    EventKind.RUN: 4.0,
    EventKind.TURN: 0.5,
    EventKind.STEP: 1.0,
    RAISE_ARM: 1.5,
    LOWER_ARM: 1.5,
    RAISE_LEG: 0.7,
    RAISE_KNEE: 0.7,
    LOWER_LEG: 0.7,
    LOWER_KNEE: 0.7,
    BEND_ARM: 0.3,
    EventKind.EXTEND: 0.3,
    BEND_TORSO: 0.2,
    EventKind.LEAN: 0.12,
    EventKind.STRAIGHTEN: 0.2,
    EventKind.SWING: 1.5,
    EventKind.WAVE: 0.6,
    EventKind.KICK: 0.5,
}
"""Relative magnitude (``MotionEvent.relative``; leg lengths of a walk) of a full movement."""
_ONCE: Final = frozenset(
    {
        BodyAct.POSES,
        *WALKS,
        EventKind.TURN,
        EventKind.STRAIGHTEN,
        EventKind.LOWER,
        *RISING,
        *POSTURES,
    }
)
"""Acts that are not merged with a repetition: walks, turns, postures and returns to a usual one."""


def _merge(clauses: Sequence[Clause]) -> list[Clause]:
    """Merge an action that is soon repeated into one clause with a count."""
    result: list[Clause] = []
    for clause in sorted(clauses, key=lambda c: c.start_s):
        once = clause.act in _ONCE and clause.back is None
        position = max((i for i, c in enumerate(result) if c.is_again(clause)), default=None)
        if once or position is None or clause.start_s - result[position].end_s > MAX_GAP_S:
            result.append(clause)
        else:
            result[position] = _merged(result[position], clause)
    return result


def _merged(before: Clause, again: Clause) -> Clause:
    bolder = max(before, again, key=lambda c: c.end_s - c.start_s)
    count = before.count + again.count
    span_s = max(again.end_s - before.start_s, 0.1)
    return replace(
        before,
        event=bolder.event,
        posture=bolder.posture,
        back=bolder.back,
        end_s=max(before.end_s, again.end_s),
        evidence=before.evidence + again.evidence,
        count=count,
        frequency_hz=count / span_s if before.frequency_hz > 0 else 0.0,
        weight=min(before.weight + 0.03, 0.99),
        manner=before.manner if before.manner is again.manner else None,
    )


def _fill_pauses(clauses: list[Clause], description: MotionDescription) -> list[Clause]:
    """Add clauses for standing or sitting still in long gaps between other clauses."""
    result = list(clauses)
    for start_s, end_s in _joined_pauses(description.still, clauses):
        begin, end = _between(clauses, start_s, end_s)
        if end - begin >= MIN_TELL_GAP_S:
            result.append(
                Clause(
                    act=BodyAct.KEEP_STILL,
                    start_s=begin,
                    end_s=end,
                    weight=_weight_of_rest(description, begin, end),
                    evidence=((Pause(end - begin),),),
                    posture=_sure_posture(description, begin, end),
                )
            )
    return sorted(result, key=lambda c: (c.start_s, c.end_s))


def _fill_stands(clauses: list[Clause], description: MotionDescription) -> list[Clause]:
    """Add clauses for standing in place in long gaps between other clauses.

    Of people who hardly move, but whose estimate trembles, no pause is measured; the feet stay
    where they are all the same.
    """
    if not len(description.stands_T):
        return clauses
    result = list(clauses)
    for first, last in join_spans(spans(description.stands_T), round(MAX_SHIFT_S * FPS)):
        start_s, end_s = (float(description.time_T[frame]) for frame in (first, last - 1))
        begin, end = _between(clauses, start_s, end_s)
        posture = posture_at(description, (begin + end) / 2)
        if end - begin < LONG_STAND_S or not description.stands(begin, end):
            continue
        if posture is None or posture.kind is not PostureKind.STANDING:
            continue
        result.append(
            Clause(
                act=BodyAct.STAY,
                start_s=begin,
                end_s=end,
                weight=_weight_of_rest(description, begin, end),
                evidence=((posture,),),
                posture=posture,
            )
        )
    return sorted(result, key=lambda c: (c.start_s, c.end_s))


def _between(clauses: Sequence[Clause], start_s: float, end_s: float) -> tuple[float, float]:
    """Return a span without the clauses at its beginning, which ends where another one starts."""
    begin, end = start_s, end_s
    for clause in clauses:
        if clause.end_s > begin and clause.start_s <= begin:
            begin = clause.end_s
        if begin < clause.start_s < end:
            end = clause.start_s
    return begin, end


def _weight_of_rest(description: MotionDescription, begin_s: float, end_s: float) -> float:
    """Return the weight of a clause on a rest, which is larger if it is most of the motion."""
    share = (end_s - begin_s) / max(description.end_s - description.start_s, 0.05)
    weight = weight_of(BodyAct.KEEP_STILL)
    return max(weight, 0.7 * share) if share >= LONG_PAUSE_SHARE else weight


def _sure_posture(description: MotionDescription, start_s: float, end_s: float) -> Posture | None:
    """Return the posture in a pause, or None if the person is upright and not seen to stand."""
    posture = posture_at(description, (start_s + end_s) / 2)
    upright = posture is not None and posture.kind is PostureKind.STANDING
    return None if upright and not description.stands(start_s, end_s) else posture


def _joined_pauses(
    still: Sequence[tuple[float, float]], clauses: Sequence[Clause]
) -> list[tuple[float, float]]:
    """Join pauses between which nothing is told."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in still:
        if joined and start_s - joined[-1][1] <= MAX_STIR_S:
            between = any(c.start_s < start_s and c.end_s > joined[-1][1] for c in clauses)
            if not between:
                joined[-1] = (joined[-1][0], end_s)
                continue
        joined.append((start_s, end_s))
    return joined


def _fallback(description: MotionDescription) -> Clause:
    """Return the clause of a motion without any movement that is large enough to be named."""
    longest = max(description.postures, key=lambda p: p.duration_s)
    stands = description.stands(description.start_s, description.end_s)
    upright = longest.kind is PostureKind.STANDING and not stands
    act = BodyAct.STAY_UPRIGHT if upright else BodyAct.STAY
    return Clause(
        act=act,
        start_s=description.start_s,
        end_s=description.end_s,
        weight=weight_of(act),
        evidence=((longest,),),
        posture=longest,
    )
