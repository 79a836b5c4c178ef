"""Check texts against the measured motion: supported, contradicted, or not measurable.

A statement is parsed into claims (:mod:`annotators.grounding.claims`), and each claim is compared
with the measured events around its time (:class:`annotators.motion.describe.MotionDescription`). A
claim is *contradicted* only if the body part is measured at that time and the claimed action would
be visible in it. In doubt it is *not measurable*, because a correct text that is marked as wrong
costs a user more than a wrong text that is not marked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pydantic import Field

from annotators.grounding.claims import Action, Claim, parse_claims
from annotators.motion.activities import ActivityKind
from annotators.motion.describe import MotionDescription
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
    Posture,
    PostureKind,
    Side,
)
from annotators.motion.measurements import measurement_of
from data.config import Config
from data.records import Annotation, Grounding, Verdict

STATIONARY_M: Final = 0.4
"""Shorter paths of the pelvis are not a walk. It is the length of two short steps."""
RUN_MPS: Final = 1.5
"""Smallest average speed of a run. A brisk walk has 1.7 m/s, a slow jog 2 m/s."""
LOOSE_COUNT: Final = 1
"""Largest difference of counts, because the end of a repetition is ambiguous."""


class GroundingConfig(Config):
    """How texts that the measured motion contradicts are handled."""

    policy: Literal["keep", "flag", "drop", "reask"] = Field(
        default="flag",
        description="keep stores only the verdicts. flag also names contradicted steps in the "
        "row's reason. drop removes them from the row and names them. reask asks the model once "
        "more with the measurements, and flags what is still contradicted.",
    )
    tolerance_s: float = Field(
        default=1.0, ge=0, le=10, description="Tolerance of the times of a step, seconds."
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check of one claim.

    Attributes:
        claim: checked claim.
        verdict: supported, contradicted or not measurable.
        support: score from 0 (the opposite was measured) to 1 (the claim was measured), 0.5 if
            nothing relevant was measured. It is a finer scale than the verdict.
        measurement: measured values with units that decided the verdict.
        start_s, end_s: span of the measurement, seconds.
    """

    claim: Claim
    verdict: Verdict
    support: float
    measurement: str
    start_s: float
    end_s: float


def ground_claims(
    text: str, description: MotionDescription, *, start_s: float, end_s: float
) -> tuple[Finding, ...]:
    """Check every claim of a text.

    Args:
        text: English text about the actions of one person.
        description: measured motion of that person.
        start_s: start of the span that the text describes, seconds, in the time of ``description``.
        end_s: end of that span.
    """
    window = _Window(description, start_s, end_s)
    return tuple(_check(claim, window) for claim in parse_claims(text))


def support_of(findings: Sequence[Finding]) -> float | None:
    """Return the mean support of the measurable claims, 0..1, or None without any."""
    graded = [f.support for f in findings if f.verdict is not Verdict.NOT_MEASURABLE]
    return sum(graded) / len(graded) if graded else None


def ground_statement(
    text: str, description: MotionDescription, *, start_s: float, end_s: float
) -> Grounding:
    """Check a statement.

    It is contradicted if one of its claims is contradicted, else supported if one of them is
    supported, else not measurable.

    Args:
        text: English text about the actions of one person.
        description: measured motion of that person.
        start_s: start of the span that the text describes, seconds, in the time of ``description``.
        end_s: end of that span.

    Returns:
        The verdict, with the measurement of the claim that decided it.
    """
    findings = ground_claims(text, description, start_s=start_s, end_s=end_s)
    for verdict in (Verdict.CONTRADICTED, Verdict.SUPPORTED):
        deciding = [f for f in findings if f.verdict is verdict]
        if deciding:
            return Grounding(
                verdict,
                "; ".join(dict.fromkeys(f.measurement for f in deciding)),
                min(f.start_s for f in deciding),
                max(f.end_s for f in deciding),
            )
    why = findings[0].measurement if findings else "no claim on movement that can be measured"
    return Grounding(Verdict.NOT_MEASURABLE, why, start_s, end_s)


def ground_annotation(
    annotation: Annotation, description: MotionDescription, config: GroundingConfig
) -> Annotation:
    """Check the fine steps and the medium texts of an annotation, and apply the policy.

    Args:
        annotation: annotation of one clip.
        description: measured motion of the annotated person.
        config: policy and tolerance.

    Returns:
        The annotation with a verdict for each text and the grounding score.
    """
    tolerance_s = config.tolerance_s
    fine = tuple(
        replace(
            step,
            grounding=ground_statement(
                step.text,
                description,
                start_s=step.start_s - tolerance_s,
                end_s=step.end_s + tolerance_s,
            ),
        )
        for step in annotation.fine
    )
    medium = ground_medium(annotation.medium, description)
    reason = annotation.reason
    wrong = [step for step in fine if step.grounding.verdict is Verdict.CONTRADICTED]
    if wrong and config.policy != "keep":
        kept = tuple(step for step in fine if step not in wrong)
        drops = config.policy == "drop" and bool(kept)
        if drops:
            fine = kept
        steps = "; ".join(f"{step.text!r} ({step.grounding.measurement})" for step in wrong)
        flagged = f"{'dropped' if drops else 'contradicted'} {len(wrong)} of the steps: {steps}"
        reason = f"{reason}; {flagged}" if reason else flagged
    return replace(
        annotation,
        fine=fine,
        medium_grounding=medium,
        reason=reason,
        grounding_score=grounding_score([*(step.grounding for step in fine), *medium]),
    )


def ground_medium(medium: Sequence[str], description: MotionDescription) -> tuple[Grounding, ...]:
    """Check texts that describe a whole clip."""
    span = {"start_s": description.start_s, "end_s": description.end_s}
    return tuple(ground_statement(text, description, **span) for text in medium)


def grounding_score(groundings: Sequence[Grounding]) -> float | None:
    """Return the share of measurable statements that are supported, or None without any."""
    measurable = [g for g in groundings if g.verdict is not Verdict.NOT_MEASURABLE]
    if not measurable:
        return None
    return sum(g.verdict is Verdict.SUPPORTED for g in measurable) / len(measurable)


def contradictions(annotation: Annotation) -> list[str]:
    """Return one line per contradicted text, with the measurement, to send to the model."""
    pairs = [
        *((f"step {step.text!r}", step.grounding) for step in annotation.fine),
        *(
            (f"medium {text!r}", grounding)
            for text, grounding in zip(annotation.medium, annotation.medium_grounding, strict=False)
        ),
    ]
    return [
        f"{what}: measured instead: {grounding.measurement}"
        for what, grounding in pairs
        if grounding.verdict is Verdict.CONTRADICTED
    ]


# --------------------------------------------------------------------------------------- window


_ONE_SIDE: Final = (Side.LEFT, Side.RIGHT)


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a motion from ``start_s`` to ``end_s``."""

    motion: MotionDescription
    start_s: float
    end_s: float

    def events(self, *keys: EventKey) -> list[MotionEvent]:
        """Return the matching events that are mostly inside the window."""
        return [e for e in self.motion.events if e.is_one_of(keys) and self._holds(e)]

    def postures(self, *kinds: PostureKind) -> list[Posture]:
        """Return the postures of these kinds that overlap the window."""
        return [p for p in self.motion.postures if p.kind in kinds and self._touches(p)]

    def _touches(self, thing: MotionEvent | Posture) -> bool:
        return thing.start_s < self.end_s and thing.end_s > self.start_s

    def _holds(self, event: MotionEvent) -> bool:
        shared_s = min(event.end_s, self.end_s) - max(event.start_s, self.start_s)
        return shared_s > 0 and shared_s >= min(0.4 * event.duration_s, 0.3)

    @property
    def span(self) -> tuple[float, float]:
        """Part of the window that the motion covers."""
        start_s = max(self.start_s, self.motion.start_s)
        return start_s, max(min(self.end_s, self.motion.end_s), start_s)

    @property
    def traveled_m(self) -> float:
        return self.motion.traveled_m(*self.span)

    def sees(self, part: Part, side: Side | None = None) -> bool:
        """Return whether a part is measured, on one side or, without a side, on both."""
        if part in (Part.ARM, Part.LEG):
            sides = (side,) if side in _ONE_SIDE else _ONE_SIDE
            return all(f"{s}_{part}" in self.motion.parts for s in sides)
        if part is Part.BODY:
            return self.motion.body_seen
        return part in self.motion.parts

    def observed(self) -> str:
        """Return the strongest activities in the window as text."""
        start_s, end_s = self.span
        seen = [a for a in self.motion.activities if a.start_s < end_s and a.end_s > start_s]
        seen.sort(key=lambda a: -a.score)
        names = list(dict.fromkeys(a.label.replace("_", " ") for a in seen))[:3]
        return ", ".join(names) or "no movement"


def _check(claim: Claim, window: _Window) -> Finding:
    finding = _CHECKS[claim.action](claim, window)
    if not claim.negated or finding.verdict is Verdict.NOT_MEASURABLE:
        return finding
    found = finding.verdict is Verdict.SUPPORTED
    verdict = Verdict.CONTRADICTED if found else Verdict.SUPPORTED
    return replace(finding, verdict=verdict, support=1.0 - finding.support)


def _supported(
    claim: Claim, things: Sequence[MotionEvent | Posture], support: float = 1.0
) -> Finding:
    return Finding(
        claim,
        Verdict.SUPPORTED,
        support,
        "; ".join(dict.fromkeys(map(measurement_of, things[:3]))),
        min(thing.start_s for thing in things),
        max(thing.end_s for thing in things),
    )


def _contradicted(claim: Claim, window: _Window, measured: str, support: float = 0.0) -> Finding:
    return Finding(claim, Verdict.CONTRADICTED, support, measured, *window.span)


def _unknown(claim: Claim, window: _Window, why: str) -> Finding:
    return Finding(claim, Verdict.NOT_MEASURABLE, 0.5, why, *window.span)


def _unseen(claim: Claim, window: _Window, part: Part) -> Finding:
    side = f"{claim.side} " if claim.side in _ONE_SIDE and part in (Part.ARM, Part.LEG) else ""
    return _unknown(claim, window, f"{side}{part} not measured")


# --------------------------------------------------------------------------------- whole body

_SIDEWAYS: Final = (Direction.LEFT, Direction.RIGHT)
_ALONG: Final = (Direction.FORWARD, Direction.BACKWARD)
_AWAY: Final[Mapping[Direction | None, Direction]] = {
    Direction.FORWARD: Direction.BACKWARD,
    Direction.BACKWARD: Direction.FORWARD,
    Direction.LEFT: Direction.RIGHT,
    Direction.RIGHT: Direction.LEFT,
}


def _locomotion(claim: Claim, window: _Window) -> Finding:
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    way = window.events(EventKind.WALK, EventKind.RUN)
    traveled_m = window.traveled_m
    start_s, end_s = window.span
    measured = f"pelvis travels {traveled_m:.1f} m in {end_s - start_s:.1f} s"
    if not way:
        if traveled_m < STATIONARY_M:
            return _contradicted(claim, window, measured)
        leaps = window.events(EventKind.JUMP, EventKind.HOP)
        if claim.action is Action.MOVE and leaps:
            return _supported(claim, leaps, 0.7)
        if traveled_m < 2 * STATIONARY_M:
            return _unknown(claim, window, f"{measured}, too little to tell")
        return replace(_unknown(claim, window, measured), support=0.6)
    if claim.count > 0:
        steps = sum(event.count for event in way)
        # Additional steps may belong to the statements before and after.
        if claim.counts_steps and steps < 0.5 * claim.count - LOOSE_COUNT:
            return _contradicted(claim, window, f"{steps} steps", 0.3)
    if claim.action is Action.RUN:
        runs = [event for event in way if event.kind is EventKind.RUN]
        fastest_mps = max(e.magnitude / max(e.duration_s, 0.05) for e in way)
        if not runs and fastest_mps < RUN_MPS:
            return _contradicted(claim, window, measurement_of(way[0]), 0.2)
        return _along(claim, window, runs or way, 1.0 if runs else 0.6)
    if claim.action is Action.WALK and all(event.kind is EventKind.RUN for event in way):
        fastest_mps = max(e.magnitude / max(e.duration_s, 0.05) for e in way)
        if fastest_mps > 2 * RUN_MPS:
            return _contradicted(claim, window, measurement_of(way[0]), 0.3)
        return _along(claim, window, way, 0.6)
    return _along(claim, window, way, 1.0)


def _along(claim: Claim, window: _Window, way: Sequence[MotionEvent], support: float) -> Finding:
    """Check the direction of locomotion that was measured."""
    opposite = _AWAY.get(claim.direction)
    if claim.direction in _SIDEWAYS:
        # "Walks to the left" may be a sidestep or a curve.
        turned = [e for e in window.events(EventKind.TURN) if e.direction == claim.direction]
        aside = [e for e in way if e.direction in (claim.direction, Direction.SIDE)]
        away = [e for e in way if e.direction == opposite]
        if turned or aside:
            return _supported(claim, [*aside, *turned], support)
        if away and len(away) == len(way):
            return _contradicted(claim, window, measurement_of(away[0]), 0.1)
        return _supported(claim, way, 0.6 * support)
    if opposite and claim.direction in _ALONG:
        there = [e for e in way if e.direction == claim.direction]
        if not there and all(e.direction == opposite for e in way):
            return _contradicted(claim, window, measurement_of(way[0]), 0.2)
        return _supported(claim, there or way, support if there else 0.6 * support)
    if claim.direction is Direction.SIDE:
        aside = [e for e in way if e.direction in (*_SIDEWAYS, Direction.SIDE)]
        if not aside and all(e.direction in _ALONG for e in way):
            return _contradicted(claim, window, measurement_of(way[0]), 0.2)
        return _supported(claim, aside or way, support)
    if claim.direction is Direction.AROUND:
        turned_deg = sum(e.magnitude for e in window.events(EventKind.TURN))
        return _supported(claim, way, support if turned_deg >= 90 else 0.6 * support)
    return _supported(claim, way, support)


def _turn(claim: Claim, window: _Window) -> Finding:
    if not window.sees(Part.TORSO):
        return _unseen(claim, window, Part.TORSO)
    if claim.part in (Part.HEAD, Part.LEG):
        return _unknown(claim, window, f"turning of the {claim.part} is not measured")
    turned = window.events(EventKind.TURN)
    if claim.direction in _SIDEWAYS:
        same = [e for e in turned if e.direction == claim.direction]
        if same:
            return _supported(claim, same)
        if turned:
            return _contradicted(claim, window, measurement_of(turned[0]), 0.1)
    if claim.part is Part.TORSO and (twists := window.events(EventKind.TWIST)):
        return _supported(claim, twists)
    if turned:
        far = sum(e.magnitude for e in turned) >= 120
        return _supported(
            claim, turned, 1.0 if far or claim.direction is not Direction.AROUND else 0.6
        )
    if claim.part is Part.TORSO:
        return _unknown(claim, window, "no turn of the trunk stands out")
    return _contradicted(claim, window, "no turn of the body by 45 deg or more", 0.1)


def _jump(claim: Claim, window: _Window) -> Finding:
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    leaps = window.events(EventKind.JUMP, EventKind.HOP)
    if not leaps:
        return _contradicted(claim, window, f"no jump; {window.observed()}")
    opposite = _AWAY.get(claim.direction)
    if opposite and all(leap.direction == opposite for leap in leaps):
        return _contradicted(claim, window, measurement_of(leaps[0]), 0.2)
    return _counted(claim, window, leaps)


_HELD: Final[Mapping[Action, tuple[PostureKind, ...]]] = {
    Action.SIT: (PostureKind.SITTING,),
    Action.SIT_DOWN: (PostureKind.SITTING,),
    Action.SQUAT: (PostureKind.SQUATTING, PostureKind.KNEELING, PostureKind.WIDE_STANCE),
    Action.KNEEL: (
        PostureKind.KNEELING,
        PostureKind.ALL_FOURS,
        PostureKind.SQUATTING,
        PostureKind.SITTING,
    ),
    Action.LIE: (PostureKind.LYING, PostureKind.PLANK),
    Action.CRAWL: (
        PostureKind.ALL_FOURS,
        PostureKind.HANDS_AND_FEET,
        PostureKind.KNEELING,
        PostureKind.PLANK,
    ),
    Action.STAND: (PostureKind.STANDING, PostureKind.ONE_LEG, PostureKind.WIDE_STANCE),
    Action.BALANCE: (PostureKind.ONE_LEG,),
    Action.PUSH_UP: (PostureKind.PLANK,),
}
_LOW: Final = (
    PostureKind.SITTING,
    PostureKind.SQUATTING,
    PostureKind.KNEELING,
    PostureKind.LYING,
    PostureKind.PLANK,
    PostureKind.ALL_FOURS,
    PostureKind.HANDS_AND_FEET,
)
_UPRIGHT: Final = (
    PostureKind.STANDING,
    PostureKind.ONE_LEG,
    PostureKind.WIDE_STANCE,
    PostureKind.BENDING,
)


def _held(claim: Claim, window: _Window) -> Finding:
    """Check a posture. It is contradicted if the body had a very different one all the time."""
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    found = window.postures(*_HELD[claim.action])
    if claim.action is Action.BALANCE and claim.side in _ONE_SIDE and found:
        same = [p for p in found if p.side is claim.side]
        if not same:
            return _contradicted(claim, window, measurement_of(found[0]), 0.1)
        found = same
    if found:
        return _supported(claim, found)
    held = [
        p
        for p in window.postures(*_LOW, *_UPRIGHT, PostureKind.UPSIDE_DOWN)
        if p.kind != PostureKind.UNKNOWN
    ]
    measured = ", ".join(dict.fromkeys(map(measurement_of, held[:2]))) or "posture unclear"
    if not held or window.postures(PostureKind.UNKNOWN):
        return _unknown(claim, window, measured)
    if claim.action is Action.STAND:
        return _contradicted(claim, window, measured, 0.2)
    if claim.action is Action.BALANCE:
        lifted = window.events(RAISE_LEG, RAISE_KNEE, EventKind.KICK, EventKind.HOP)
        if lifted:
            return _supported(claim, lifted, 0.7)
        return _contradicted(claim, window, measured, 0.2)
    low = [p for p in held if p.kind in _LOW]
    # A crouch before a jump is not a transition to sitting.
    leaps = window.events(EventKind.JUMP, EventKind.HOP)
    sunk = (
        []
        if leaps or claim.action is Action.LIE
        else window.events(EventKind.SINK, EventKind.PRESS)
    )
    if low or sunk:
        # The body is low. Low postures differ only in details such as the height of a knee, so the
        # claim is not contradicted.
        return replace(_unknown(claim, window, measured), support=0.5)
    return _contradicted(claim, window, measured)


def _push_up(claim: Claim, window: _Window) -> Finding:
    pressed = window.events(EventKind.PRESS)
    return _counted(claim, window, pressed) if pressed else _held(claim, window)


def _stand_up(claim: Claim, window: _Window) -> Finding:
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    rises = window.events(EventKind.RISE, EventKind.STRAIGHTEN)
    if rises:
        return _supported(claim, rises)
    if window.postures(*_LOW):
        return _unknown(claim, window, "no rise of the hips stands out")
    return _contradicted(claim, window, f"no rise of the hips; {window.observed()}", 0.1)


def _still(claim: Claim, window: _Window) -> Finding:
    if claim.part:
        return _unknown(claim, window, f"whether the {claim.part} rests is not measured")
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    start_s, end_s = window.span
    still_s = sum(
        max(0.0, min(end, end_s) - max(start, start_s)) for start, end in window.motion.still
    )
    measured = f"no movement for {still_s:.1f} s of {end_s - start_s:.1f} s"
    finding = _unknown(claim, window, measured)
    if still_s >= min(1.0, 0.5 * (end_s - start_s)):
        return replace(finding, verdict=Verdict.SUPPORTED, support=1.0)
    if window.traveled_m > 2 * STATIONARY_M and still_s < 0.3:
        return _contradicted(claim, window, f"pelvis travels {window.traveled_m:.1f} m", 0.1)
    return finding


def _cartwheel(claim: Claim, window: _Window) -> Finding:
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    over = window.postures(PostureKind.UPSIDE_DOWN)
    if over:
        return _supported(claim, over)
    return _contradicted(claim, window, f"never upside down; {window.observed()}")


def _dance(claim: Claim, window: _Window) -> Finding:
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    start_s, end_s = window.span
    dances = [
        a
        for a in window.motion.activities
        if a.kind is ActivityKind.DANCE and a.start_s < end_s and a.end_s > start_s
    ]
    if dances:
        return _supported(claim, dances[0].events)
    moves = len(window.events(*_EVERYTHING))
    if moves == 0:
        return _contradicted(claim, window, "no movement", 0.1)
    # Joints do not determine whether a motion is a dance; many different movements are evidence.
    return replace(
        _unknown(claim, window, f"{moves} movements, which may be a dance or not"),
        support=0.4 if moves < 4 else 0.6,
    )


# -------------------------------------------------------------------------------------- limbs

_ARM_ACTIONS: Final = (
    *(RAISE_ARM, LOWER_ARM, EventKind.WAVE, EventKind.SWING, EventKind.PUNCH, EventKind.THROW),
    *(EventKind.CIRCLE, BEND_ARM, EventKind.EXTEND, EventKind.CLAP),
)
_LEG_ACTIONS: Final = (RAISE_LEG, RAISE_KNEE, LOWER_LEG, LOWER_KNEE, EventKind.KICK)
_TORSO_ACTIONS: Final = (BEND_TORSO, EventKind.LEAN, EventKind.TWIST, EventKind.STRAIGHTEN)
_EVERYTHING: Final = (
    *_ARM_ACTIONS,
    *_LEG_ACTIONS,
    *_TORSO_ACTIONS,
    *(
        EventKind.WALK,
        EventKind.RUN,
        EventKind.TURN,
        EventKind.JUMP,
        EventKind.HOP,
        EventKind.RISE,
        EventKind.SINK,
    ),
)
_QUICK_ARMS: Final = (EventKind.PUNCH, EventKind.THROW, EventKind.EXTEND, EventKind.SWING)

_JUST: Final[Mapping[tuple[Action, Part], tuple[EventKey, ...]]] = {
    (Action.KICK, Part.LEG): (EventKind.KICK,),
    (Action.PUNCH, Part.ARM): (EventKind.PUNCH,),
    (Action.THROW, Part.ARM): (EventKind.THROW,),
    (Action.WAVE, Part.ARM): (EventKind.WAVE,),
    (Action.CLAP, Part.ARM): (EventKind.CLAP,),
    (Action.RAISE, Part.ARM): (RAISE_ARM,),
    (Action.RAISE, Part.LEG): (RAISE_LEG, RAISE_KNEE, EventKind.KICK),
    (Action.LOWER, Part.ARM): (LOWER_ARM,),
    (Action.LOWER, Part.LEG): (LOWER_LEG, LOWER_KNEE, RAISE_LEG, RAISE_KNEE, EventKind.KICK),
    (Action.REACH, Part.ARM): (EventKind.EXTEND, RAISE_ARM, EventKind.PUNCH),
    (Action.SWING, Part.ARM): (
        EventKind.SWING,
        EventKind.WAVE,
        EventKind.CIRCLE,
        EventKind.THROW,
        EventKind.PUNCH,
    ),
    (Action.SWING, Part.LEG): (EventKind.KICK, RAISE_LEG),
    (Action.CIRCLE, Part.ARM): (EventKind.CIRCLE,),
    (Action.BEND, Part.ARM): (BEND_ARM, RAISE_ARM),
    (Action.STRAIGHTEN, Part.ARM): (EventKind.EXTEND, LOWER_ARM, RAISE_ARM, EventKind.PUNCH),
}
"""Events that support a claim, by action and part."""
_NEAR: Final[Mapping[tuple[Action, Part], tuple[EventKey, ...]]] = {
    (Action.KICK, Part.LEG): (RAISE_LEG, RAISE_KNEE),
    (Action.PUNCH, Part.ARM): _QUICK_ARMS,
    (Action.THROW, Part.ARM): (*_QUICK_ARMS, RAISE_ARM, EventKind.CIRCLE),
    (Action.WAVE, Part.ARM): (EventKind.SWING, RAISE_ARM, BEND_ARM, EventKind.CIRCLE),
    (Action.CLAP, Part.ARM): (BEND_ARM, EventKind.EXTEND, EventKind.SWING, EventKind.WAVE),
    (Action.RAISE, Part.ARM): (
        EventKind.WAVE,
        EventKind.CIRCLE,
        EventKind.SWING,
        EventKind.PUNCH,
        BEND_ARM,
        EventKind.CLAP,
    ),
    (Action.LOWER, Part.ARM): (
        RAISE_ARM,
        EventKind.WAVE,
        EventKind.SWING,
        EventKind.CIRCLE,
        EventKind.EXTEND,
    ),
    (Action.REACH, Part.ARM): _ARM_ACTIONS,
    (Action.SWING, Part.ARM): (*_ARM_ACTIONS, EventKind.WALK, EventKind.RUN),
    (Action.CIRCLE, Part.ARM): (
        EventKind.SWING,
        EventKind.WAVE,
        RAISE_ARM,
        EventKind.WALK,
        EventKind.RUN,
    ),
    (Action.BEND, Part.ARM): _ARM_ACTIONS,
    (Action.STRAIGHTEN, Part.ARM): _ARM_ACTIONS,
    (Action.SWING, Part.LEG): (RAISE_KNEE, EventKind.WALK, EventKind.RUN),
}
"""Events that resemble a claimed action, so that the claim is not contradicted."""


def _limb(claim: Claim, window: _Window) -> Finding:
    part = claim.part or _PART_OF[claim.action]
    if (claim.action, part) not in _JUST:
        return _unknown(claim, window, f"to {claim.action} the {part} is not measured")
    if not window.sees(part, claim.side):
        return _unseen(claim, window, part)
    just = window.events(*_JUST[claim.action, part])
    right_side = [e for e in just if _on_side(e, claim)]
    if right_side:
        return _counted(claim, window, right_side)
    near = window.events(*_NEAR.get((claim.action, part), ()))
    near_side = [e for e in near if _on_side(e, claim)]
    if just and claim.side in _ONE_SIDE:
        # The other side did the action. The claim is contradicted only if the claimed side did
        # nothing that resembles it.
        if not near_side:
            return _contradicted(claim, window, measurement_of(just[0]))
        return replace(_unknown(claim, window, measurement_of(just[0])), support=0.3)
    if near_side:
        return replace(
            _unknown(claim, window, f"near it: {measurement_of(near_side[0])}"), support=0.6
        )
    if part is Part.LEG and window.events(
        EventKind.WALK, EventKind.RUN, EventKind.JUMP, EventKind.HOP
    ):
        return _unknown(claim, window, "the legs carry the body meanwhile")
    return _contradicted(
        claim, window, f"no {claim.action} of the {_whose(claim)}{part}; {window.observed()}"
    )


def _whose(claim: Claim) -> str:
    return f"{claim.side} " if claim.side in _ONE_SIDE else ""


def _on_side(event: MotionEvent, claim: Claim) -> bool:
    if claim.side in (None, Side.BOTH) or event.side in (None, Side.BOTH):
        return True
    return event.side == claim.side


_ARM_ONLY: Final = (
    *(Action.PUNCH, Action.THROW, Action.WAVE, Action.CLAP),
    *(Action.REACH, Action.SWING, Action.CIRCLE),
)
_PART_OF: Final[Mapping[Action, Part]] = {
    Action.KICK: Part.LEG,
    **dict.fromkeys((*_ARM_ONLY, Action.RAISE, Action.LOWER), Part.ARM),
}


def _raise_or_lower(claim: Claim, window: _Window) -> Finding:
    if claim.part is Part.HEAD:
        if not window.sees(Part.HEAD):
            return _unseen(claim, window, Part.HEAD)
        kind = EventKind.RAISE if claim.action is Action.RAISE else EventKind.LOWER
        found = window.events((kind, Part.HEAD))
        if found:
            return _supported(claim, found)
        return _unknown(claim, window, "no nod stands out")
    if claim.part is Part.TORSO:
        return _bend(claim, window)
    return _limb(claim, window)


def _straighten(claim: Claim, window: _Window) -> Finding:
    if claim.part is Part.ARM:
        return _limb(claim, window)
    if not window.sees(Part.BODY):
        return _unseen(claim, window, Part.BODY)
    up = window.events(EventKind.RISE, EventKind.STRAIGHTEN, EventKind.PRESS, EventKind.JUMP)
    if claim.part is Part.LEG:
        up += window.events(LOWER_LEG, RAISE_LEG, EventKind.KICK)
    if up:
        return _supported(claim, up)
    return _unknown(claim, window, f"no straightening of the {claim.part} stands out")


def _bend(claim: Claim, window: _Window) -> Finding:
    if claim.part is Part.ARM:
        return _limb(claim, window)
    if claim.part is Part.LEG:
        if not window.sees(Part.BODY):
            return _unseen(claim, window, Part.BODY)
        down = [
            *window.events(
                EventKind.SINK,
                EventKind.JUMP,
                RAISE_LEG,
                RAISE_KNEE,
            ),
            *window.postures(
                PostureKind.SQUATTING,
                PostureKind.KNEELING,
                PostureKind.SITTING,
                PostureKind.WIDE_STANCE,
            ),
        ]
        if down:
            return _supported(claim, down)
        return _unknown(claim, window, "no knee bends far")
    if not window.sees(Part.TORSO):
        return _unseen(claim, window, Part.TORSO)
    moves = [
        *window.events(BEND_TORSO, EventKind.LEAN),
        *window.postures(PostureKind.BENDING),
    ]
    if moves:
        opposite = _AWAY.get(claim.direction)
        directions = {e.direction for e in moves if isinstance(e, MotionEvent)}
        wrong_way = claim.direction not in directions and opposite in directions
        if claim.direction in _SIDEWAYS and wrong_way:
            return _contradicted(claim, window, measurement_of(moves[0]), 0.2)
        return _supported(claim, moves)
    low = [
        *window.events(EventKind.SINK, EventKind.RISE),
        *window.postures(*_LOW, PostureKind.UPSIDE_DOWN),
    ]
    if low:
        return replace(_unknown(claim, window, measurement_of(low[0])), support=0.6)
    if claim.action is Action.LEAN:
        return _unknown(claim, window, "no tilt of the trunk stands out")
    return _contradicted(claim, window, "the trunk stays upright", 0.2)


def _counted(claim: Claim, window: _Window, events: Sequence[MotionEvent]) -> Finding:
    """Check the count of events that were measured."""
    times = _times(events)
    if claim.count > 1 and times < claim.count:
        off = claim.count - times
        measured = f"{times} times: {measurement_of(events[0])}"
        # Only far fewer repetitions contradict a count; more may be another way of counting.
        if off > max(LOOSE_COUNT, 0.5 * claim.count):
            return _contradicted(claim, window, measured, 0.3)
        if off > LOOSE_COUNT:
            return _supported(claim, events, 0.7)
    if claim.count == 1 and times > 3:
        return _supported(claim, events, 0.6)
    return _supported(claim, events)


def _times(events: Sequence[MotionEvent]) -> int:
    """Return the number of repetitions; simultaneous events of both hands count once."""
    by_side = {
        side: sum(e.count for e in events if e.side in (side, Side.BOTH, None))
        for side in _ONE_SIDE
    }
    return max(by_side.values())


_CHECKS: Final[Mapping[Action, Callable[[Claim, _Window], Finding]]] = {
    **dict.fromkeys((Action.WALK, Action.RUN, Action.MOVE), _locomotion),
    **dict.fromkeys(
        (
            Action.SIT,
            Action.SIT_DOWN,
            Action.SQUAT,
            Action.KNEEL,
            Action.LIE,
            Action.CRAWL,
            Action.STAND,
        ),
        _held,
    ),
    **dict.fromkeys(
        (
            Action.KICK,
            Action.PUNCH,
            Action.THROW,
            Action.WAVE,
            Action.CLAP,
            Action.REACH,
            Action.SWING,
            Action.CIRCLE,
        ),
        _limb,
    ),
    **dict.fromkeys((Action.RAISE, Action.LOWER), _raise_or_lower),
    **dict.fromkeys((Action.BEND, Action.LEAN), _bend),
    Action.JUMP: _jump,
    Action.STRAIGHTEN: _straighten,
    Action.TURN: _turn,
    Action.STILL: _still,
    Action.STAND_UP: _stand_up,
    Action.PUSH_UP: _push_up,
    Action.CARTWHEEL: _cartwheel,
    Action.DANCE: _dance,
    Action.BALANCE: _held,
}
