"""English wording of the clauses of a timeline. No other step depends on the wording.

A clause becomes a template in which ``<verb>`` marks the verb to inflect and ``{their}`` the
possessive. One template thereby gives a step ("raise the left arm"), a statement ("raises their
left arm") and a participle ("raising their left arm").
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

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
    Direction,
    EventKind,
    Facing,
    Level,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
)
from annotators.motion.measurements import RHYTHMS, measurement_of, way
from annotators.wording.acts import Act, ActKey, BodyAct, Clause, Evidence, Pause, Way
from data.inflection import participle, third_person

PHRASES_VERSION: Final = "5"
"""Version of the wording. It is increased whenever a wording changes."""

SLIGHT_TURN_DEG: Final = 60.0
SLIGHT_LEAN_DEG: Final = 30.0
"""A viewer calls smaller turns and leans slight."""

Form = Literal["base", "third", "ing"]
"""Form of a verb: ``base`` ("raise", for steps and "they"), ``third`` ("raises"), ``ing``
("raising")."""

_COUNTS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)


def in_words(clause: Clause, form: Form, their: str, *, detail: bool = True) -> str:
    """Word a clause.

    Args:
        clause: clause to word.
        form: form of the verbs.
        their: possessive, which is ``the`` in steps.
        detail: whether to include count and manner.
    """
    return _worded(clause, _template(clause), form, their, detail=detail)


def in_other_words(clause: Clause, form: Form, their: str) -> str:
    """Word a clause differently, with all details. Only walks have an alternative: their steps."""
    template = _template(clause)
    if clause.num_steps and clause.event:
        steps = f"<take> {count_word(clause.num_steps)} steps"
        template = _spaced(steps, _to(clause.event.direction))
    return _worded(clause, template, form, their, detail=True)


def _worded(clause: Clause, template: str, form: Form, their: str, *, detail: bool) -> str:
    if detail and clause.count > 1 and clause.act not in _COUNTED:
        template = f"{template} {times(clause.count)}"
    if detail and clause.manner:
        template = f"{clause.manner} {template}"
    return _inflect(template, form).replace("{their}", their)


def is_compound(clause: Clause) -> bool:
    """Return whether the wording of a clause contains "and", so that a comma has to follow it."""
    if clause.back:
        return True
    if clause.event is None:
        listed = clause.act is BodyAct.POSES and " and " in _poses_text(clause)
        return listed or clause.act in (PostureKind.PLANK, PostureKind.ALL_FOURS)
    if clause.event.kind is EventKind.GESTURE:
        return True
    to_and_fro = clause.event.kind is EventKind.SWING and clause.event.count > 1
    return to_and_fro and clause.event.direction is not Direction.SIDE_TO_SIDE


def measurement(clause: Clause) -> str:
    """Format the measurement of a clause. The longest text of merged parts is taken."""
    measured = max(
        (", then ".join(map(_evidence_text, chain)) for chain in clause.evidence), key=len
    )
    if clause.act in (BodyAct.STAY, BodyAct.STAY_UPRIGHT):
        return f"{measured}; no movement above the thresholds"
    return f"{clause.count} times: {measured}" if len(clause.evidence) > 1 else measured


def _evidence_text(evidence: Evidence) -> str:
    if isinstance(evidence, Way):
        return way(evidence.length_m, evidence.duration_s)
    if isinstance(evidence, Pause):
        return f"no measured joint moves noticeably for {evidence.duration_s:.1f} s"
    return measurement_of(evidence)


# -------------------------------------------------------------------------------------- grammar


def count_word(number: int) -> str:
    """Return a number as a word (``four``), or as digits above twelve."""
    return _COUNTS[number] if number < len(_COUNTS) else str(number)


def times(number: int) -> str:
    """Return ``once``, ``twice``, ``three times`` and so on."""
    return {1: "once", 2: "twice"}.get(number, f"{count_word(number)} times")


def _inflect(text: str, form: Form) -> str:
    forms: Mapping[Form, Callable[[str], str]] = {
        "base": str,
        "third": third_person,
        "ing": participle,
    }
    return re.sub(r"<(\w+)>", lambda match: forms[form](match.group(1)), text)


def sentence(text: str) -> str:
    """Add a capital first letter and a period."""
    return text[0].upper() + text[1:] + "."


# ------------------------------------------------------------------------------------ templates


_COUNTED: Final[Mapping[ActKey, str]] = {
    EventKind.JUMPING_JACK: "jumping jack",
    BodyAct.CARTWHEEL: "cartwheel",
}
"""Acts whose number is part of the wording: "does two jumping jacks"."""
_AS_NOUN: Final[Mapping[EventKind, Callable[[MotionEvent], str]]] = {
    EventKind.SOMERSAULT: lambda e: f"a {e.direction} somersault",
}
"""Wording of what happens within another act."""


def _counted(clause: Clause) -> str:
    noun = _COUNTED.get(clause.act)
    if noun is None:
        return ""
    return f"<do> a {noun}" if clause.count == 1 else f"<do> {count_word(clause.count)} {noun}s"


def _template(clause: Clause) -> str:
    if clause.goes_on:
        return f"<{clause.act}> on"
    if clause.along:
        return f"<jump> down with {_AS_NOUN[clause.along.kind](clause.along)}"
    text = _counted(clause) or (_event_text(clause.event) if clause.event else _body_text(clause))
    if clause.during:
        # Of a turn in a walk a part is often outside of the picture or told as the walk.
        text = text.replace(" slightly", "")
        return f"{text} while {participle(clause.during.value)}"
    return f"{text} and {_back_text(clause, clause.back)}" if clause.back else text


_LEVELS: Final[Mapping[Level | None, str]] = {
    Level.ABOVE_HEAD: "above {their} head",
    Level.HEAD: "to head height",
    Level.SHOULDER: "to shoulder height",
    Level.CHEST: "to chest height",
    Level.WAIST: "to waist height",
}


def _spaced(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _to(direction: Direction | None) -> str:
    if direction in (Direction.LEFT, Direction.RIGHT):
        return f"to the {direction}"
    return direction or ""


def _limb(event: MotionEvent, noun: str) -> str:
    return f"both {noun}s" if event.side is Side.BOTH else f"{{their}} {event.side} {noun}"


def _raise_arm(event: MotionEvent) -> str:
    sides = "out to the sides" if event.side is Side.BOTH else "out to the side"
    ways: dict[Direction | None, str] = {Direction.FORWARD: "forward", Direction.SIDE: sides}
    high = event.level in (Level.ABOVE_HEAD, Level.HEAD)
    way = "" if high else ways.get(event.direction, "")
    return _spaced("<raise>", _limb(event, "arm"), way, _LEVELS.get(event.level, ""))


def _lower_arm(event: MotionEvent) -> str:
    return _spaced("<lower>", _limb(event, "arm"), _lowered_to(event.level))


def _lowered_to(level: Level | None) -> str:
    if level in (Level.ABOVE_HEAD, Level.HEAD):
        return "a little"
    return _LEVELS.get(level, "")


def _wave(event: MotionEvent) -> str:
    high = "above {their} head" if event.level is Level.ABOVE_HEAD else ""
    return _spaced("<wave>", _limb(event, "hand"), high)


_STROKES: Final[Mapping[Direction | None, str]] = {
    Direction.ACROSS: "across {their} body",
    Direction.SIDE: "outward",
    Direction.FORWARD: "forward",
    Direction.BACKWARD: "backward",
}


def _swing(event: MotionEvent) -> str:
    if event.object:
        return _spaced("<swing>", _a(event.object), f"with {_limb(event, 'hand')}")
    if event.count > 1:
        return _spaced("<move>", _limb(event, "hand"), RHYTHMS.get(event.direction, "to and fro"))
    return _spaced("<swing>", _limb(event, "arm"), _STROKES.get(event.direction, ""))


_REACHES: Final[Mapping[Direction | None, str]] = {
    Direction.FORWARD: "out in front",
    Direction.SIDE: "out to the side",
    Direction.UP: "upward",
}


def _extend(event: MotionEvent) -> str:
    return _spaced("<straighten>", _limb(event, "arm"), _REACHES.get(event.direction, ""))


_LEG_WAYS: Final[Mapping[Direction | None, str]] = {
    Direction.FORWARD: "in front",
    Direction.SIDE: "out to the side",
    Direction.BACKWARD: "behind {their} body",
}


def _raise_leg(event: MotionEvent) -> str:
    way = _LEG_WAYS.get(event.direction, "")
    height = "to hip height" if event.level is Level.HIP else ""
    match event.part, event.direction:
        case Part.KNEE, Direction.BACKWARD:
            return _spaced("<lift>", _limb(event, "foot"), way)
        case Part.KNEE, Direction.FORWARD:
            return _spaced("<lift>", _limb(event, "knee"), height)
        case _, Direction.BACKWARD:
            return _spaced("<lift>", _limb(event, "leg"), way)
        case _:
            return _spaced("<lift>", _limb(event, "leg"), way, height)


def _turn(event: MotionEvent) -> str:
    """Word a turn by its angle."""
    rounds = round(event.magnitude / 360)
    if event.magnitude >= 320 and rounds > 1:
        return f"<spin> around to the {event.direction} {times(rounds)}"
    if event.magnitude >= 320:
        return f"<turn> a full circle to the {event.direction}"
    extent = "around " if event.magnitude >= 150 else ""
    if event.magnitude < SLIGHT_TURN_DEG:
        extent = "slightly "
    return f"<turn> {extent}to the {event.direction}"


def _walk(event: MotionEvent) -> str:
    if event.direction not in (Direction.LEFT, Direction.RIGHT):
        return _spaced(f"<{event.kind}>", event.direction or "")
    verb = "step" if event.kind is EventKind.WALK else "run"
    return f"<{verb}> sideways to the {event.direction}"


def _lean(event: MotionEvent) -> str:
    extent = "slightly " if event.magnitude < SLIGHT_LEAN_DEG else ""
    way = "back" if event.direction is Direction.BACKWARD else _to(event.direction)
    return f"<lean> {extent}{way}"


def _kick(event: MotionEvent) -> str:
    way = "forward" if event.direction is Direction.FORWARD else "to the side"
    return f"<kick> {way} with {_limb(event, 'leg')}"


def _circle(event: MotionEvent) -> str:
    return _spaced("<circle>", _limb(event, "arm"), event.direction or "")


def _foot_down(event: MotionEvent) -> str:
    return f"<put> {_limb(event, 'foot')} down"


def _step(event: MotionEvent) -> str:
    go = f"<step> {_to(event.direction)}" if event.direction else "<take> a step"
    return f"{go} with {_limb(event, 'foot')}"


def _crawl(event: MotionEvent) -> str:
    return _spaced("<crawl>", _to(event.direction))


def _climb(event: MotionEvent) -> str:
    return f"<climb> {event.direction}"


def _jump_down(event: MotionEvent) -> str:
    way = event.direction if event.direction is not Direction.DOWN else None
    return _spaced("<jump> down", _to(way))


def _land(event: MotionEvent) -> str:
    return "<land> in a squat" if event.posture is PostureKind.SQUATTING else "<land> on both feet"


_REACH_WAYS: Final[Mapping[Direction | None, str]] = {
    Direction.FORWARD: "forward",
    Direction.SIDE: "out to the side",
    Direction.DOWN: "down",
    Direction.UP: "up",
}


def _reach(event: MotionEvent) -> str:
    return _spaced("<reach>", _REACH_WAYS.get(event.direction, ""), f"with {_limb(event, 'hand')}")


def _a(noun: str) -> str:
    """Return a noun with its article."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def _hold(event: MotionEvent) -> str:
    if event.part is Part.BODY:
        return f"<stay> with {_a(event.object or 'thing')}"
    if event.object:
        return f"<hold> {_a(event.object)} with {_limb(event, 'hand')}"
    level = "up" if event.level in (Level.ABOVE_HEAD, Level.HEAD) else "out"
    return _spaced("<hold>", _limb(event, "arm"), level)


def _touches(event: MotionEvent) -> str:
    limb = _limb(event, "foot" if event.part is Part.LEG else "hand")
    limb = {"both foots": "{their} feet", "both hands": "both hands"}.get(limb, limb)
    return f"<{event.kind}> a {event.object or 'ball'} with {limb}"


def _pick_up(event: MotionEvent) -> str:
    thing = f"a {event.object}" if event.object else "something"
    way = "up" if event.kind is EventKind.PICK_UP else "down"
    verb = "pick" if event.kind is EventKind.PICK_UP else "put"
    return f"<{verb}> {way} {thing} with {_limb(event, 'hand')}"


def _throw(event: MotionEvent) -> str:
    if event.object:
        up = "up" if event.level is Level.ABOVE_HEAD or event.side is None else ""
        hand = f"with {_limb(event, 'hand')}" if event.side else ""
        return _spaced(f"<throw> {_a(event.object)}", up, hand)
    return f"<make> a throwing movement with {_limb(event, 'arm')}"


def _serve(event: MotionEvent) -> str:
    tool = f"the {event.object}" if event.object else f"{_limb(event, 'arm')}"
    return f"<swing> {tool} overhead"


_EVENTS: Final[Mapping[ActKey, str | Callable[[MotionEvent], str]]] = {
    EventKind.WALK: _walk,
    EventKind.RUN: _walk,
    EventKind.SKIP: lambda e: _spaced("<skip>", _to(e.direction)),
    EventKind.CRAWL: _crawl,
    EventKind.CLIMB: _climb,
    EventKind.RIDE: lambda e: f"<ride> {_a(e.object or 'bicycle')}",
    EventKind.DRINK: lambda e: _spaced("<drink>", f"from {_a(e.object)}" if e.object else ""),
    EventKind.READ: lambda e: f"<read> {_a(e.object or 'book')}",
    EventKind.PLAY: lambda e: f"<play> with {_a(e.object or 'dog')}",
    EventKind.STEP: _step,
    EventKind.JUMP_DOWN: _jump_down,
    EventKind.LAND: _land,
    EventKind.SOMERSAULT: lambda e: f"<do> a {e.direction} somersault",
    EventKind.CATCH: lambda e: f"<catch> a {e.object or 'ball'} with {_limb(e, 'hand')}",
    EventKind.SERVE: _serve,
    EventKind.REACH: _reach,
    EventKind.PICK_UP: _pick_up,
    EventKind.PUT_DOWN: _pick_up,
    EventKind.DRIBBLE: _touches,
    EventKind.JUGGLE: _touches,
    EventKind.HOLD: _hold,
    EventKind.APPROACH: "<walk> up to the other person",
    EventKind.PART: "<move> away from the other person",
    EventKind.FACE: "<face> the other person",
    EventKind.HAND_OVER: "<hand> something to the other person",
    EventKind.HUG: "<hug> the other person",
    EventKind.SHAKE_HANDS: "<shake> hands with the other person",
    EventKind.PUSH: "<push> the other person",
    EventKind.WALK_TOGETHER: "<walk> side by side with the other person",
    EventKind.TURN: _turn,
    EventKind.JUMP: lambda e: f"<jump> {_to(e.direction)}",
    EventKind.HOP: lambda e: f"<hop> on {_limb(e, 'leg')}",
    EventKind.PRESS: "<push> {their} upper body up from the floor",
    EventKind.UNPRESS: "<lower> {their} upper body to the floor",
    EventKind.WAVE: _wave,
    EventKind.SWING: _swing,
    EventKind.CLAP: "<clap> {their} hands",
    EventKind.GESTURE: "<move> both hands together and apart",
    EventKind.PUNCH: lambda e: f"<punch> forward with {_limb(e, 'hand')}",
    EventKind.THROW: _throw,
    EventKind.CIRCLE: _circle,
    EventKind.EXTEND: _extend,
    EventKind.KICK: _kick,
    EventKind.STRAIGHTEN: "<straighten> up",
    EventKind.LEAN: _lean,
    EventKind.TWIST: lambda e: f"<twist> {{their}} upper body {_to(e.direction)}",
    RAISE_ARM: _raise_arm,
    LOWER_ARM: _lower_arm,
    RAISE_LEG: _raise_leg,
    RAISE_KNEE: _raise_leg,
    LOWER_LEG: _foot_down,
    LOWER_KNEE: _foot_down,
    RAISE_HEAD: "<raise> {their} head",
    LOWER_HEAD: "<lower> {their} head",
    BEND_ARM: lambda e: f"<bend> {_limb(e, 'elbow')}",
    BEND_TORSO: lambda e: f"<bend> {'far ' if e.magnitude >= 60 else ''}forward",
}


def _event_text(event: MotionEvent) -> str:
    by_kind = event.kind in _EVENTS
    wording = _EVENTS[event.kind if by_kind else (event.kind, event.part)]
    return wording if isinstance(wording, str) else wording(event)


_BODY: Final[Mapping[Act, str]] = {
    BodyAct.SIT_DOWN: "<sit> down",
    BodyAct.SQUAT_DOWN: "<squat> down",
    BodyAct.KNEEL_DOWN: "<kneel> down",
    BodyAct.LIE_DOWN: "<lie> down",
    BodyAct.SINK_INTO_STANCE: "<sink> into a low, wide stance",
    BodyAct.LUNGE: "<sink> into a lunge",
    BodyAct.BEND_KNEES: "<bend> {their} knees",
    BodyAct.STAND_UP: "<stand> up",
    BodyAct.GET_UP: "<get> up from the floor",
    BodyAct.LEAVE_STANCE: "<rise> out of the stance",
    BodyAct.STRAIGHTEN_LEGS: "<straighten> {their} legs",
    BodyAct.STAY_UPRIGHT: "<stay> upright",
    PostureKind.SITTING: "<sit>",
    PostureKind.SQUATTING: "<crouch>",
    PostureKind.KNEELING: "<kneel>",
    PostureKind.BENDING: "<stay> bent forward",
    PostureKind.WIDE_STANCE: "<hold> a low, wide stance",
    PostureKind.LUNGE: "<hold> a lunge",
    PostureKind.SIDE_PLANK: "<hold> a side plank",
    PostureKind.PLANK: "<hold> the body up on hands and feet",
    PostureKind.ALL_FOURS: "<stay> on hands and knees",
    PostureKind.HANDS_AND_FEET: "<put> both hands on the floor with {their} hips up",
    PostureKind.UPSIDE_DOWN: "<hold> an upside-down position",
}
_LYING: Final[Mapping[Facing | None, str]] = {
    Facing.PRONE: "<lie> face down",
    Facing.SUPINE: "<lie> on {their} back",
    Facing.SIDE: "<lie> on {their} side",
}
_STILL: Final[Mapping[PostureKind | None, str]] = {
    PostureKind.STANDING: "<stand> still",
    PostureKind.SITTING: "<sit> still",
    PostureKind.WIDE_STANCE: "<hold> the low, wide stance",
    PostureKind.LUNGE: "<hold> the lunge",
    PostureKind.KNEELING: "<kneel> still",
    PostureKind.LYING: "<lie> still",
    PostureKind.SQUATTING: "<stay> crouched",
    PostureKind.BENDING: "<stay> bent forward",
}
_STAYS: Final[Mapping[PostureKind | None, str]] = {
    PostureKind.STANDING: "<stand> in place",
    PostureKind.SITTING: "<stay> seated",
    PostureKind.KNEELING: "<stay> on {their} knees",
    PostureKind.LYING: "<stay> lying down",
    PostureKind.SQUATTING: "<stay> crouched",
    PostureKind.BENDING: "<stay> bent forward",
}


_POSE_NAMES: Final[Mapping[PostureKind, str]] = {
    PostureKind.SIDE_PLANK: "a side plank",
    PostureKind.PLANK: "a plank",
    PostureKind.HANDS_AND_FEET: "a pose on hands and feet",
    PostureKind.ALL_FOURS: "a pose on hands and knees",
    PostureKind.LUNGE: "a lunge",
    PostureKind.WIDE_STANCE: "a wide stance",
}


def _poses_text(clause: Clause) -> str:
    held = [thing for thing in clause.evidence[0] if isinstance(thing, Posture)]
    names = [_POSE_NAMES[posture.kind] for posture in held if posture.kind in _POSE_NAMES]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "several poses"
    return f"<move> through {listed}"


def _body_text(clause: Clause) -> str:
    posture = clause.posture
    match clause.act:
        case BodyAct.POSES:
            return _poses_text(clause)
        case PostureKind.LYING:
            return _LYING[posture.facing if posture else None]
        case PostureKind.ONE_LEG:
            return f"<balance> on {{their}} {clause.side} leg"
        case BodyAct.KEEP_STILL:
            return _STILL.get(posture.kind if posture else None, "<hold> still")
        case BodyAct.STAY:
            return _STAYS.get(posture.kind if posture else None, "<stay> in place")
        case act:
            return _BODY[act]


_BACKS: Final[Mapping[ActKey, str]] = {
    RAISE_LEG: "<put> it down again",
    RAISE_KNEE: "<put> the foot down again",
    RAISE_HEAD: "<lower> it again",
    LOWER_HEAD: "<raise> it again",
    EventKind.BEND: "<straighten> up again",
    EventKind.LEAN: "<straighten> up again",
    EventKind.PRESS: "<lower> it again",
    BodyAct.SQUAT_DOWN: "<stand> up again",
    BodyAct.SIT_DOWN: "<stay> seated",
    BodyAct.KNEEL_DOWN: "<stay> on {their} knees",
    BodyAct.SINK_INTO_STANCE: "<hold> it",
    BodyAct.LUNGE: "<hold> it",
    BodyAct.LIE_DOWN: "<stay> on the floor",
}


def _back_text(clause: Clause, back: Clause) -> str:
    known = next((_BACKS[key] for key in clause.keys if key in _BACKS), None)
    if known is not None:
        return known
    # A raised arm is lowered.
    pronoun = "them" if clause.side is Side.BOTH else "it"
    return f"<lower> {pronoun} {_lowered_to(back.event.level if back.event else None) or 'again'}"
