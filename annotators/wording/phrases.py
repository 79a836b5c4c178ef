"""English for measured motion: one clause per thing done, in order of time.

A clause is a template in which ``<verb>`` marks what is inflected and ``{their}`` the possessive,
so that one wording gives a step ("raise the left arm"), a statement ("raises their left arm") and
a participle ("raising their left arm").
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from annotators.inflection import participle, third_person
from annotators.motion.describe import WEIGHTS, MotionDescription
from annotators.motion.events import MotionEvent, Posture
from annotators.motion.measurements import RHYTHMS, measurement_of

PHRASES_VERSION: Final = "2"
"""Raised whenever a wording changes."""

MAX_GAP_S: Final = 2.0
"""Repeated actions further apart than this are told one by one."""
MIN_TELL_GAP_S: Final = 1.5
"""A pause between actions that is worth a step of its own."""

_COUNTS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)


@dataclass(frozen=True, slots=True)
class Clause:
    """Something done, ready to be put into words.

    Attributes:
        text: the template, e.g. ``<raise> {their} left arm above {their} head``.
        key: what it is apart from count and extent; equal keys merge.
        start_s, end_s: the span.
        weight: how much it matters, 0..1.
        measurement: what was measured.
        repetitions: how often.
        frequency_hz: per second, 0 where it is not a rhythm.
        manner: adverb (``slowly``, ``quickly``) or empty.
        counted: the text already says how often.
        other_text: another wording, or empty.
    """

    text: str
    key: str
    start_s: float
    end_s: float
    weight: float
    measurement: str
    repetitions: int = 1
    frequency_hz: float = 0.0
    manner: str = ""
    counted: bool = False
    other_text: str = ""

    def other_words(self, form: str, their: str) -> str:
        """The other wording where there is one, else the usual one with all detail."""
        if self.other_text:
            return replace(self, text=self.other_text).words(form, their)
        return self.words(form, their)

    def words(self, form: str, their: str, *, detail: bool = True) -> str:
        """The clause in words.

        Args:
            form: ``base`` ("raise", for steps and "they"), ``third`` ("raises") or ``ing``.
            their: the possessive, ``the`` in steps.
            detail: whether count and manner are told.
        """
        text = self.text
        if detail and not self.counted and self.repetitions > 1:
            text = f"{text} {times(self.repetitions)}"
        if detail and self.manner:
            text = f"{self.manner} {text}"
        return _inflect(text, form).replace("{their}", their)


def count_word(number: int) -> str:
    """``four``; digits above twelve."""
    return _COUNTS[number] if number < len(_COUNTS) else str(number)


def times(number: int) -> str:
    """``once``, ``twice``, ``three times``."""
    return {1: "once", 2: "twice"}.get(number, f"{count_word(number)} times")


def _inflect(text: str, form: str) -> str:
    forms = {"base": str, "third": third_person, "ing": participle}
    return re.sub(r"<(\w+)>", lambda match: forms[form](match.group(1)), text)


def sentence(text: str) -> str:
    """With a capital first letter and a full stop."""
    return text[0].upper() + text[1:] + "."


# -------------------------------------------------------------------------- wording of one event

_LEVELS: Final = {
    "above_head": "above {their} head",
    "head": "to head height",
    "shoulder": "to shoulder height",
    "chest": "to chest height",
    "waist": "to waist height",
    "low": "",
}


def _arms(event: MotionEvent) -> str:
    return "both arms" if event.side == "both" else f"{{their}} {event.side} arm"


def _hands(event: MotionEvent) -> str:
    return "both hands" if event.side == "both" else f"{{their}} {event.side} hand"


def _raise_arm(event: MotionEvent) -> str:
    sides = "to the sides" if event.side == "both" else "to the side"
    way = {"forward": "forward", "side": f"out {sides}"}.get(event.direction or "", "")
    if event.level in ("above_head", "head"):
        way = ""
    return " ".join(f"<raise> {_arms(event)} {way} {_LEVELS[event.level or 'low']}".split())


def _lower_arm(event: MotionEvent) -> str:
    if event.level == "low":
        return f"<lower> {_arms(event)}"
    if event.level in ("above_head", "head"):
        return f"<lower> {_arms(event)} a little"
    return f"<lower> {_arms(event)} {_LEVELS[event.level or 'low']}"


def _wave(event: MotionEvent) -> str:
    high = " above {their} head" if event.level == "above_head" else ""
    return f"<wave> {_hands(event)}{high}"


def _swing(event: MotionEvent) -> str:
    if event.count > 1:
        return f"<move> {_hands(event)} {RHYTHMS.get(event.direction, 'to and fro')}"
    way = {
        "across": "across {their} body",
        "side": "outward",
        "forward": "forward",
        "backward": "backward",
    }.get(event.direction or "", "")
    return f"<swing> {_arms(event)} {way}".rstrip()


def _extend(event: MotionEvent) -> str:
    way = {"forward": "out in front", "side": "out to the side", "up": "upward"}
    return " ".join(f"<straighten> {_arms(event)} {way.get(event.direction or '', '')}".split())


def _raise_leg(event: MotionEvent) -> str:
    way = {"forward": "in front", "side": "out to the side", "backward": "behind {their} body"}
    noun = "knee" if event.part == "knee" and event.direction == "forward" else "leg"
    if event.part == "knee" and event.direction == "backward":
        return f"<lift> {{their}} {event.side} foot behind {{their}} body"
    where = "" if noun == "knee" else " " + way.get(event.direction or "", "")
    height = " to hip height" if event.level == "hip" and event.direction != "backward" else ""
    return f"<lift> {{their}} {event.side} {noun}{where}{height}"


def turn_text(event: MotionEvent) -> str:
    """Wording of a turn by its angle."""
    side = event.direction
    if event.magnitude >= 320:
        rounds = round(event.magnitude / 360)
        if rounds <= 1:
            return f"<turn> a full circle to the {side}"
        return f"<spin> around to the {side} {times(rounds)}"
    if event.magnitude >= 150:
        return f"<turn> around to the {side}"
    return f"<turn> to the {side}"


def _walk_verb(event: MotionEvent, description: MotionDescription) -> tuple[str, str]:
    """Template and manner of a walk or a run."""
    speed = event.magnitude / max(event.duration_s, 0.05) / description.size.leg_m
    verb = "run" if event.kind == "run" else "walk"
    if event.direction in ("left", "right"):
        verb = "step" if verb == "walk" else verb
        text = f"<{verb}> sideways to the {event.direction}"
    else:
        text = f"<{verb}> {event.direction}"
    manner = ""
    if verb == "walk" and speed < SLOW_WALK:
        manner = "slowly"
    elif verb == "walk" and speed > BRISK_WALK:
        manner = "briskly"
    return text, manner


SLOW_WALK: Final = 0.9
"""Leg lengths per second; about 0.75 m/s."""
BRISK_WALK: Final = 2.0
"""Leg lengths per second; about 1.7 m/s."""
SLOW_HAND_MPS: Final = 0.7
FAST_HAND_MPS: Final = 2.6


def _hand_manner(event: MotionEvent) -> str:
    if event.peak_speed > FAST_HAND_MPS:
        return "quickly"
    return "slowly" if event.peak_speed < SLOW_HAND_MPS and event.duration_s > 1.0 else ""


def _lean(event: MotionEvent) -> str:
    return f"<lean> {'back' if event.direction == 'backward' else _to(event.direction)}"


_WORDINGS: Final[dict[str, tuple[str, str | Callable[[MotionEvent], str]]]] = {
    "raise arm": ("raise", _raise_arm),
    "lower arm": ("lower", _lower_arm),
    "wave arm": ("wave", _wave),
    "swing arm": ("swing", _swing),
    "clap arm": ("clap", "<clap> {their} hands"),
    "punch arm": ("punch", lambda e: f"<punch> forward with {_hands(e)}"),
    "throw arm": ("throw", lambda e: f"<make> a throwing movement with {_arms(e)}"),
    "circle arm": ("circle", lambda e: f"<circle> {_arms(e)} {e.direction or ''}".rstrip()),
    "extend arm": ("reach", _extend),
    "bend arm": ("bend_arm", lambda e: f"<bend> {_elbows(e)}"),
    "kick leg": ("kick", lambda e: f"<kick> {_kick_way(e)} with {{their}} {e.side} leg"),
    "raise leg": ("raise_leg", _raise_leg),
    "raise knee": ("raise_leg", _raise_leg),
    "lower leg": ("lower", lambda e: f"<put> {{their}} {e.side} foot down"),
    "lower knee": ("lower", lambda e: f"<put> {{their}} {e.side} foot down"),
    "raise head": ("lower", "<raise> {their} head"),
    "lower head": ("lower", "<lower> {their} head"),
    "bend torso": ("bend", lambda e: f"<bend> {'far ' if e.magnitude >= 60 else ''}forward"),
    "straighten torso": ("lower", "<straighten> up"),
    "lean torso": ("lean", _lean),
    "twist torso": ("twist", lambda e: f"<twist> {{their}} upper body {_to(e.direction)}"),
    "press torso": ("push_up", "<push> {their} upper body up from the floor"),
    "unpress torso": ("push_up", "<lower> {their} upper body to the floor"),
    "jump body": ("jump", lambda e: f"<jump> {_to(e.direction)}"),
    "hop body": ("hop", lambda e: f"<hop> on {{their}} {e.side} leg"),
    "turn body": ("turn", turn_text),
}
"""Weight and template by action and part."""


def _event_clause(event: MotionEvent, description: MotionDescription) -> Clause | None:
    """The clause of one event; None for what is told by another."""
    if event.kind in ("sink", "rise"):
        return _level_clause(event, description)
    if event.kind in ("walk", "run"):
        return _walk_clause(event, description)
    kind, wording = _WORDINGS[f"{event.kind} {event.part}"]
    raises_arm = event.part == "arm" and event.kind in ("raise", "lower")
    return Clause(
        text=wording if isinstance(wording, str) else wording(event),
        key=f"{event.kind} {event.part} {event.side} {event.direction}",
        start_s=event.start_s,
        end_s=event.end_s,
        weight=WEIGHTS[kind],
        measurement=measurement_of(event),
        repetitions=event.count,
        frequency_hz=event.frequency_hz,
        manner=_hand_manner(event) if raises_arm else "",
        counted=event.kind == "turn",
    )


def _walk_clause(event: MotionEvent, description: MotionDescription) -> Clause:
    text, manner = _walk_verb(event, description)
    other = ""
    # Longer steps than a leg: some were not seen.
    plausible = event.magnitude / event.count <= description.size.leg_m
    if event.kind == "walk" and event.count <= 12 and plausible:
        other = f"<take> {count_word(event.count)} steps {_to(event.direction)}"
    return Clause(
        text=text,
        key=f"{event.kind} body none {event.direction}",
        start_s=event.start_s,
        end_s=event.end_s,
        weight=WEIGHTS[event.kind],
        measurement=measurement_of(event),
        manner=manner,
        counted=True,
        other_text=other,
    )


def _kick_way(event: MotionEvent) -> str:
    return "forward" if event.direction == "forward" else "to the side"


def _elbows(event: MotionEvent) -> str:
    return "both elbows" if event.side == "both" else f"{{their}} {event.side} elbow"


def _to(direction: str | None) -> str:
    return f"to the {direction}" if direction in ("left", "right") else direction or ""


def _posture_at(description: MotionDescription, time_s: float) -> str:
    for posture in description.postures:
        if posture.kind != "one_leg" and posture.start_s - 0.03 <= time_s <= posture.end_s + 0.03:
            return posture.kind
    return "unknown"


def _level_clause(event: MotionEvent, description: MotionDescription) -> Clause | None:
    """Sitting down, squatting, standing up: by the posture before and after."""
    before = _posture_at(description, event.start_s - 0.1)
    after = _posture_at(description, event.end_s + 0.1)
    low = {"sitting", "squatting", "kneeling", "lying"}
    if event.kind == "sink":
        text, kind = {
            "sitting": ("<sit> down", "sit_down"),
            "squatting": ("<squat> down", "squat"),
            "kneeling": ("<kneel> down", "kneel_down"),
            "lying": ("<lie> down", "lie_down"),
            "wide_stance": ("<sink> into a low, wide stance", "wide_stance"),
        }.get(after, ("<bend> {their} knees", "lower"))
        if after in ("bending", "plank", "all_fours", "hands_and_feet", "upside_down"):
            return None
        if before == after and after in low:
            return None
    else:
        if after in ("plank", "all_fours", "hands_and_feet", "upside_down", "unknown"):
            return None
        if before in low and after in ("standing", "bending"):
            text, kind = "<stand> up", "stand_up"
        elif before == "lying" and after in low:
            text, kind = "<get> up from the floor", "get_up"
        elif before == "wide_stance" and after == "standing":
            text, kind = "<rise> out of the stance", "lower"
        elif after == "standing":
            text, kind = "<straighten> {their} legs", "lower"
        else:
            return None
    return Clause(
        text=text,
        key=f"{event.kind} {kind}",
        start_s=event.start_s,
        end_s=event.end_s,
        weight=WEIGHTS[kind],
        measurement=measurement_of(event),
    )


_HELD: Final = {
    "sitting": ("<sit>", "sit"),
    "squatting": ("<crouch>", "crouch"),
    "kneeling": ("<kneel>", "kneel"),
    "bending": ("<stay> bent forward", "crouch"),
    "wide_stance": ("<hold> a low, wide stance", "wide_stance"),
    "plank": ("<hold> the body up on hands and feet", "plank"),
    "all_fours": ("<stay> on hands and knees", "kneel"),
    "hands_and_feet": ("<put> both hands on the floor with {their} hips up", "bend"),
}
_LYING: Final = {
    "prone": "<lie> face down",
    "supine": "<lie> on {their} back",
    "side": "<lie> on {their} side",
}


def _posture_clause(posture: Posture, description: MotionDescription) -> Clause | None:
    held_s = posture.duration_s
    match posture.kind:
        case "standing" | "unknown":
            return None
        case "lying":
            text, kind = _LYING[posture.facing or ""], "lie"
        case "one_leg":
            text, kind = f"<balance> on {{their}} {posture.side} leg", "balance"
        case "upside_down":
            upright = any(p.kind == "standing" for p in description.postures)
            cartwheel = upright and held_s < 2.0
            text = "<do> a cartwheel" if cartwheel else "<hold> an upside-down position"
            kind = "cartwheel" if cartwheel else "upside_down"
        case _:
            text, kind = _HELD[posture.kind]
    if kind not in ("cartwheel", "upside_down") and held_s < 1.0:
        return None
    return Clause(
        text=text,
        key=f"posture {posture.kind} {posture.facing or posture.side}",
        start_s=posture.start_s,
        end_s=posture.end_s,
        weight=WEIGHTS[kind],
        measurement=measurement_of(posture),
    )


# --------------------------------------------------------------------------------- the timeline


def timeline(description: MotionDescription, max_clauses: int = 8) -> list[Clause]:
    """What is done, in order of time: merged, without trifles, at most ``max_clauses``."""
    clauses = [c for e in description.events if (c := _event_clause(e, description))]
    clauses += [c for p in description.postures if (c := _posture_clause(p, description))]
    clauses = _split_walks(clauses, description)
    clauses = _pair(clauses)
    clauses = _merge(clauses)
    clauses = _drop_shadowed(clauses)
    clauses = sorted(clauses, key=lambda c: (c.start_s, c.end_s))
    if len(clauses) > max_clauses:
        kept = sorted(clauses, key=_importance, reverse=True)[:max_clauses]
        clauses = [c for c in clauses if c in kept]
    clauses = _fill_pauses(clauses, description, max_clauses)
    return clauses or [_fallback(description)]


def _importance(clause: Clause) -> float:
    return clause.weight + min(clause.end_s - clause.start_s, 2.0) * 0.05


def _split_walks(clauses: Sequence[Clause], description: MotionDescription) -> list[Clause]:
    """A walk with turns becomes walk, turn, walk on."""
    turns = [c for c in clauses if c.key.startswith("turn ")]
    result: list[Clause] = [c for c in clauses if c not in turns]
    loose = list(turns)
    for walk in [c for c in clauses if c.key.startswith(("walk ", "run "))]:
        within = [
            t
            for t in turns
            if min(t.end_s, walk.end_s) - max(t.start_s, walk.start_s) > 0.5 * (t.end_s - t.start_s)
        ]
        if not within:
            continue
        verb = walk.key.split()[0]
        result.remove(walk)
        loose = [t for t in loose if t not in within]
        clock = walk.start_s
        first = True
        for turn in within:
            if turn.start_s - clock >= 0.7:
                text = walk.text if first else f"<{verb}> on"
                result.append(_leg_of(walk, text, clock, turn.start_s, description))
                first = False
            turning = f"{turn.text} while {participle(verb)}"
            result.append(replace(turn, text=turning, weight=max(turn.weight, walk.weight - 0.01)))
            clock = turn.end_s
        if walk.end_s - clock >= 0.7:
            text = walk.text if first else f"<{verb}> on"
            result.append(_leg_of(walk, text, clock, walk.end_s, description))
    return result + loose


def _leg_of(
    walk: Clause, text: str, start_s: float, end_s: float, description: MotionDescription
) -> Clause:
    """A part of a walk, with its own measurement."""
    way_m, seconds = description.travelled_m(start_s, end_s), end_s - start_s
    measurement = f"pelvis travels {way_m:.1f} m in {seconds:.1f} s ({way_m / seconds:.1f} m/s)"
    return replace(
        walk,
        text=text,
        start_s=start_s,
        end_s=end_s,
        measurement=measurement,
        other_text="",
        manner="" if text.endswith(" on") else walk.manner,
    )


_BACK: Final = {
    "raise arm": ("lower arm", 1.2),
    "raise leg": ("lower leg", 1.2),
    "raise knee": ("lower knee", 1.2),
    "bend torso": ("straighten torso", 0.8),
    "lean torso": ("straighten torso", 0.8),
    "sink squat": ("rise stand_up", 1.0),
    "sink sit_down": ("posture sitting", 0.5),
    "sink kneel_down": ("posture kneeling", 0.5),
    "sink wide_stance": ("posture wide_stance", 0.5),
    "sink lie_down": ("posture lying", 0.5),
    "press torso": ("unpress torso", 1.0),
    "raise head": ("lower head", 0.8),
    "lower head": ("raise head", 0.8),
}
"""First action, the one that undoes it, and the longest pause (s) between them to tell as one."""


def _pair(clauses: Sequence[Clause]) -> list[Clause]:
    """Raising an arm and lowering it become one where the second follows at once."""
    ordered = sorted(clauses, key=lambda c: c.start_s)
    used: set[int] = set()
    result: list[Clause] = []
    for index, first in enumerate(ordered):
        if index in used:
            continue
        words = first.key.split()
        back = _BACK.get(" ".join(words[:2]))
        partner = None
        if back is not None:
            for other_index in range(index + 1, len(ordered)):
                other = ordered[other_index]
                if (
                    other_index not in used
                    and " ".join(other.key.split()[:2]) == back[0]
                    and (other.key.split()[2:3] == words[2:3] or words[0] == "sink")
                    and -0.6 <= other.start_s - first.end_s <= back[1]
                ):
                    partner = other_index
                    break
        if partner is None:
            result.append(first)
            continue
        used.add(partner)
        other = ordered[partner]
        again = _again(first, other)
        result.append(
            replace(
                first,
                text=f"{first.text} and {again}",
                key=f"pair {first.key}",
                end_s=max(first.end_s, other.end_s),
                measurement=f"{first.measurement}, then {other.measurement}",
            )
        )
    return result


def _again(first: Clause, second: Clause) -> str:
    kind = " ".join(first.key.split()[:2])
    if kind == "raise arm":
        pronoun = "them" if "both" in first.text else "it"
        low = second.text.endswith("arm") or second.text.endswith("arms")
        tail = (
            " again" if low else second.text.split(" arms" if "both" in second.text else " arm")[-1]
        )
        return f"<lower> {pronoun}{tail}"
    return {
        "raise leg": "<put> it down again",
        "raise knee": "<put> the foot down again",
        "bend torso": "<straighten> up again",
        "lean torso": "<straighten> up again",
        "sink squat": "<stand> up again",
        "sink sit_down": "<stay> seated",
        "sink kneel_down": "<stay> on {their} knees",
        "sink wide_stance": "<hold> it",
        "sink lie_down": "<stay> on the floor",
        "press torso": "<lower> it again",
        "raise head": "<lower> it again",
        "lower head": "<raise> it again",
    }[kind]


_ONCE: Final = ("walk", "run", "turn", "posture", "straighten", "lower", "rise", "still")
"""What is done once: a walk that goes on after a turn, a way back to the usual posture."""


def _merge(clauses: Sequence[Clause]) -> list[Clause]:
    """The same action done again soon becomes one clause with a count."""
    latest: dict[str, int] = {}
    result: list[Clause] = []
    for clause in sorted(clauses, key=lambda c: c.start_s):
        position = latest.get(clause.key)
        if position is not None and not clause.key.startswith(_ONCE):
            before = result[position]
            if clause.start_s - before.end_s <= MAX_GAP_S:
                bolder = max(before, clause, key=lambda c: c.end_s - c.start_s)
                count = before.repetitions + clause.repetitions
                span_s = max(clause.end_s - before.start_s, 0.1)
                result[position] = replace(
                    before,
                    text=bolder.text,
                    end_s=max(before.end_s, clause.end_s),
                    repetitions=count,
                    frequency_hz=count / span_s if before.frequency_hz > 0 else 0.0,
                    weight=min(before.weight + 0.03, 0.99),
                    manner=before.manner if before.manner == clause.manner else "",
                    measurement=_longer_measurement(before, clause, count),
                )
                continue
        latest[clause.key] = len(result)
        result.append(clause)
    return result


def _longer_measurement(before: Clause, clause: Clause, count: int) -> str:
    first = before.measurement.removeprefix(f"{before.repetitions} times: ")
    larger = first if len(first) >= len(clause.measurement) else clause.measurement
    return f"{count} times: {larger}"


def _drop_shadowed(clauses: Sequence[Clause]) -> list[Clause]:
    """Leave out what a stronger clause over the same span implies or makes doubtful."""
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


_IMPLIED: Final = {
    "cartwheel": (
        "raise",
        "lower",
        "bend",
        "lean",
        "straighten",
        "turn",
        "pair",
        "sink",
        "rise",
        "swing",
        "posture bending",
        "posture hands",
        "walk",
        "extend",
        "twist",
        "wave",
    ),
    "<sit> down": ("bend", "straighten", "lean", "pair bend", "pair lean"),
    "<stand> up": ("bend", "straighten", "lean", "pair bend", "pair lean"),
    "<squat>": (
        "posture bending",
        "posture squatting",
        "bend",
        "straighten",
        "lean",
        "pair bend",
        "pair lean",
    ),
    "<jump>": (
        "sink",
        "rise",
        "bend torso",
        "straighten",
        "pair bend",
        "pair sink",
        "raise leg",
        "raise knee",
        "lower leg",
        "lower knee",
        "pair raise leg",
        "pair raise knee",
        "posture",
        "walk",
    ),
    "<hop>": (
        "raise leg",
        "raise knee",
        "lower leg",
        "lower knee",
        "posture one_leg",
        "walk",
        "sink",
        "rise",
    ),
    "<bend>": ("sink", "rise", "posture bending", "lower head", "raise head", "pair lower head"),
    "<kick>": (
        "raise leg",
        "raise knee",
        "lower leg",
        "lower knee",
        "pair raise leg",
        "pair raise knee",
        "lean",
        "pair lean",
    ),
    "<lie>": (
        "bend",
        "straighten",
        "lean",
        "turn",
        "raise",
        "lower",
        "pair raise arm",
        "pair bend",
        "pair lean",
        "posture bending",
    ),
    "<balance>": ("lower leg", "lower knee"),
    "<push>": (
        "posture",
        "bend",
        "lean",
        "straighten",
        "pair bend",
        "lower head",
        "raise head",
        "sink",
        "rise",
    ),
}
"""By the words of the stronger clause: keys that it makes needless."""


def _shadows(strong: Clause, weak: Clause) -> bool:
    return any(
        marker in strong.text and weak.key.startswith(prefixes)
        for marker, prefixes in _IMPLIED.items()
    )


def _fill_pauses(
    clauses: list[Clause], description: MotionDescription, max_clauses: int
) -> list[Clause]:
    """Tell of standing (or sitting) still where nothing else is told for long."""
    result = list(clauses)
    for start_s, end_s in description.still:
        begin, end = start_s, end_s
        for clause in clauses:
            if clause.end_s > begin and clause.start_s <= begin:
                begin = clause.end_s
            if begin < clause.start_s < end:
                end = clause.start_s
        if end - begin >= MIN_TELL_GAP_S and len(result) < max_clauses:
            text = _still_text(description, (begin + end) / 2)
            result.append(
                Clause(
                    text=text,
                    key="still",
                    start_s=begin,
                    end_s=end,
                    weight=WEIGHTS["stand"],
                    measurement=f"no measured joint moves noticeably for {end - begin:.1f} s",
                )
            )
    return sorted(result, key=lambda c: (c.start_s, c.end_s))


def _still_text(description: MotionDescription, time_s: float) -> str:
    return {
        "standing": "<stand> still",
        "sitting": "<sit> still",
        "wide_stance": "<hold> the low, wide stance",
        "kneeling": "<kneel> still",
        "lying": "<lie> still",
        "squatting": "<stay> crouched",
        "bending": "<stay> bent forward",
    }.get(_posture_at(description, time_s), "<hold> still")


def _fallback(description: MotionDescription) -> Clause:
    """Nothing happened that is large enough to be named."""
    longest = max(description.postures, key=lambda p: p.duration_s)
    text = {
        "standing": "<stand> in place",
        "sitting": "<stay> seated",
        "kneeling": "<stay> on {their} knees",
        "lying": "<stay> lying down",
        "squatting": "<stay> crouched",
        "bending": "<stay> bent forward",
    }.get(longest.kind, "<stay> in place")
    return Clause(
        text=text,
        key="still",
        start_s=description.start_s,
        end_s=description.end_s,
        weight=WEIGHTS["still"],
        measurement=f"{measurement_of(longest)}; no movement above the thresholds",
    )
