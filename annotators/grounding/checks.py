"""Check texts against the measured motion: supported, contradicted, or not measurable.

A statement is parsed into claims (:mod:`annotators.grounding.claims`), and each claim is compared
with the measured events around its time (:class:`annotators.motion.describe.MotionDescription`). A
claim is *contradicted* only if the body part is measured at that time and the claimed action would
be visible in it. In doubt it is *not measurable*, because a correct text that is marked as wrong
costs a user more than a wrong text that is not marked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from pydantic import Field

from annotators.grounding import body_checks as body
from annotators.grounding import limb_checks as limbs
from annotators.grounding.claims import Claim, parse_claims
from annotators.grounding.lexicon import Action
from annotators.grounding.window import Finding, Window, unseen
from annotators.motion.activities import ActivityKind
from annotators.motion.describe import MotionDescription
from annotators.motion.events import Part
from data.config import Config
from data.records import Annotation, Grounding, Verdict

SURE: Final = 0.2
"""Support of a contradiction up to which a claim that is only said beside the main one decides."""
BESIDE_WEIGHT: Final = 0.4
"""Weight of such a claim in the graded support."""
LEFT_OUT: Final = 0.8
"""Factor of the support of a text that does not tell what stands out most."""
LATER_S: Final = 0.3
"""Time after the start of an action from which another one comes after it, seconds."""


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
    claims = parse_claims(text)
    window = Window(description, start_s, end_s)
    findings = _in_order([_check(claim, window) for claim in claims], window)
    return tuple(_weighed(findings, window))


def support_of(findings: Sequence[Finding]) -> float | None:
    """Return the graded support of the measurable claims, 0..1, or None without any.

    It is halfway between their weighted mean and the lowest of them, because a text with one wrong
    claim is wrong.
    """
    graded = [f for f in findings if f.verdict is not Verdict.NOT_MEASURABLE]
    if not graded:
        return None
    weights = [1.0 if f.claim.main else BESIDE_WEIGHT for f in graded]
    mean = sum(w * f.support for w, f in zip(weights, graded, strict=True)) / sum(weights)
    deciding = [f.support for f in graded if f.claim.main or _decides(f)]
    if not deciding:
        # What is said beside an unmeasured claim is little evidence.
        return 0.5 + 0.2 * (mean - 0.5)
    return 0.5 * (mean + min(deciding))


def ground_statement(
    text: str, description: MotionDescription, *, start_s: float, end_s: float
) -> Grounding:
    """Check a statement.

    It is contradicted if one of its main claims is contradicted, or surely one of those that are
    said beside them ("while sitting"). Otherwise it is supported if a main claim is supported, so
    that what is only said beside does not support it. Else it is not measurable.

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
        of_this = [f for f in findings if f.verdict is verdict]
        deciding = [f for f in of_this if f.claim.main or _decides(f)]
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


# ---------------------------------------------------------------------------------- claims


def _decides(finding: Finding) -> bool:
    """Return whether a claim that is said beside the main one decides."""
    return finding.verdict is Verdict.CONTRADICTED and finding.support <= SURE


def _check(claim: Claim, window: Window) -> Finding:
    finding = _CHECKS[claim.action](claim, window)
    part = _needed_part(claim)
    if finding.verdict is Verdict.CONTRADICTED and not window.always_sees(part, claim.side):
        return unseen(claim, window, part)
    if not claim.negated or finding.verdict is Verdict.NOT_MEASURABLE:
        return finding
    found = finding.verdict is Verdict.SUPPORTED
    verdict = Verdict.CONTRADICTED if found else Verdict.SUPPORTED
    return replace(finding, verdict=verdict, support=1.0 - finding.support, spans=())


def _needed_part(claim: Claim) -> Part:
    """Return the part that must be measured for a claim to be contradicted."""
    part = claim.part
    if part is not None and part in (Part.ARM, Part.LEG, Part.HEAD):
        return part
    if claim.action in limbs.OF_ARMS:
        return Part.ARM
    if claim.action in (Action.TURN, Action.BEND, Action.LEAN):
        return Part.TORSO
    return Part.LEG if claim.action is Action.KICK else Part.BODY


def _in_order(findings: list[Finding], window: Window) -> list[Finding]:
    """Contradict claims that are measured only before what the text puts before them."""
    checked = list(findings)
    for number, finding in enumerate(findings):
        if finding.claim.first:
            checked = _first(checked, number)
        if finding.verdict is not Verdict.SUPPORTED:
            continue
        earlier = [findings[i] for i in finding.claim.after if findings[i].spans]
        for other in earlier:
            begins_s = min(start for start, _ in other.spans) + LATER_S
            rest = replace(window, start_s=max(begins_s, window.start_s))
            again = _check(finding.claim, rest)
            if rest.duration_s > 0 and again.verdict is Verdict.CONTRADICTED:
                checked[number] = _wrong_order(
                    finding, f"{finding.measurement}, but not after {other.measurement}"
                )
    return checked


def _first(findings: list[Finding], number: int) -> list[Finding]:
    """Contradict a claim that the text puts first if something else of it came first."""
    spans = findings[number].spans
    others = [f for n, f in enumerate(findings) if n != number and f.spans and f.claim.main]
    if not spans or not others:
        return findings
    begins_s = min(start for start, _ in spans)
    sooner = [f for f in others if max(end for _, end in f.spans) < begins_s + LATER_S]
    if sooner:
        measured = f"{sooner[0].measurement} comes before {findings[number].measurement}"
        findings[number] = _wrong_order(findings[number], measured)
    return findings


def _wrong_order(finding: Finding, measured: str) -> Finding:
    return replace(finding, verdict=Verdict.CONTRADICTED, support=0.15, measurement=measured)


def _weighed(findings: list[Finding], window: Window) -> list[Finding]:
    """Lower the support of a text that leaves out what stands out most in the motion.

    The verdicts stay: a text may tell a part. But of two motions in which a person walks, "walks"
    describes that with a cartwheel less well.
    """
    start_s, end_s = window.span
    salient = [
        a
        for a in window.motion.activities
        if a.kind in _SALIENT and a.start_s < end_s and a.end_s > start_s
    ]
    if not salient:
        return findings
    told = {f.claim.action for f in findings if f.verdict is not Verdict.CONTRADICTED}
    most = max(salient, key=lambda a: a.score)
    if told & _SALIENT[most.kind]:
        return findings
    return [
        replace(f, support=LEFT_OUT * f.support) if f.verdict is Verdict.SUPPORTED else f
        for f in findings
    ]


_SALIENT: Final[Mapping[ActivityKind, frozenset[Action]]] = {
    ActivityKind.CARTWHEEL: frozenset({Action.CARTWHEEL}),
    ActivityKind.UPSIDE_DOWN: frozenset({Action.CARTWHEEL, Action.SOMERSAULT}),
    ActivityKind.SOMERSAULT: frozenset({Action.CARTWHEEL, Action.SOMERSAULT}),
    ActivityKind.JUMPING_JACK: frozenset({Action.JUMPING_JACK, Action.JUMP}),
    ActivityKind.PUSH_UP: frozenset({Action.PUSH_UP}),
    ActivityKind.KICK: frozenset({Action.KICK, Action.RAISE, Action.STRIKE, Action.USE}),
    ActivityKind.JUMP: frozenset({Action.JUMP, Action.JUMPING_JACK, Action.RUN, Action.SQUAT}),
    ActivityKind.HOP: frozenset({Action.JUMP, Action.RUN, Action.BALANCE}),
    ActivityKind.DANCE: frozenset({Action.DANCE, Action.TURN, Action.JUMP, Action.SWING}),
}
"""Activities that a text about the whole motion hardly leaves out, with the actions that tell
them."""


def _raise_or_lower(claim: Claim, window: Window) -> Finding:
    if claim.part is Part.HEAD:
        return limbs.head_move(claim, window)
    if claim.part is Part.TORSO:
        return body.bend(claim, window)
    return limbs.limb(claim, window)


def _bend(claim: Claim, window: Window) -> Finding:
    if claim.part is Part.ARM:
        return limbs.limb(claim, window)
    if claim.part is Part.LEG:
        return body.bend_legs(claim, window)
    if claim.part is Part.HEAD and not window.sees(Part.HEAD):
        return unseen(claim, window, Part.HEAD)
    return body.bend(claim, window)


def _straighten(claim: Claim, window: Window) -> Finding:
    check = limbs.limb if claim.part is Part.ARM else body.straighten
    return check(claim, window)


_CHECKS: Final[Mapping[Action, Callable[[Claim, Window], Finding]]] = {
    **dict.fromkeys((Action.WALK, Action.RUN, Action.MOVE), body.locomotion),
    **dict.fromkeys((Action.SIT, Action.SIT_DOWN, Action.KNEEL, Action.LIE), body.held),
    **dict.fromkeys((Action.CRAWL, Action.STAND, Action.BALANCE), body.held),
    **dict.fromkeys((Action.KICK, Action.PUNCH, Action.STRIKE, Action.THROW), limbs.limb),
    **dict.fromkeys((Action.WAVE, Action.CLAP, Action.REACH), limbs.limb),
    **dict.fromkeys((Action.SWING, Action.CIRCLE), limbs.limb),
    **dict.fromkeys((Action.RAISE, Action.LOWER), _raise_or_lower),
    **dict.fromkeys((Action.BEND, Action.LEAN), _bend),
    **dict.fromkeys((Action.LUNGE, Action.PLANK), body.held),
    **dict.fromkeys((Action.PICK_UP, Action.PUT_DOWN, Action.CATCH), limbs.handle),
    **dict.fromkeys((Action.DRIBBLE, Action.JUGGLE), limbs.handle),
    **dict.fromkeys((Action.CLIMB, Action.RIDE, Action.HUG), body.seen_or_unknown),
    **dict.fromkeys((Action.SHAKE_HANDS, Action.HAND_OVER, Action.PUSH), body.seen_or_unknown),
    Action.JUMPING_JACK: body.jumping_jack,
    Action.SOMERSAULT: body.somersault,
    Action.SQUAT: body.squat,
    Action.JUMP: body.jump,
    Action.STRAIGHTEN: _straighten,
    Action.TURN: body.turn,
    Action.STILL: body.still,
    Action.STAY: body.stay,
    Action.STAND_UP: body.stand_up,
    Action.PUSH_UP: body.push_up,
    Action.CARTWHEEL: body.cartwheel,
    Action.DANCE: body.dance,
    Action.REST: limbs.rest,
    Action.USE: limbs.use,
}
