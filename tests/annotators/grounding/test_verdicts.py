"""Verdicts of texts about motions that are made here: one test for each rule of the check."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from annotators.grounding.checks import ground_claims, ground_statement, support_of
from annotators.motion.describe import MotionDescription, describe_motion, describe_track
from annotators.motion.events import (
    Direction,
    EventKind,
    MotionEvent,
    Part,
    PostureKind,
    Side,
    Unit,
)
from data.records import Verdict
from data.synthetic.activities import generate_motion
from tests.support.motions import (
    FRAME_SIZE_PX,
    as_track,
    jumping,
    raising_left_arm,
    standing,
    waving_right_hand,
)

SUPPORTED, CONTRADICTED, UNKNOWN = Verdict


@cache
def _made(activity: str, seed: int) -> MotionDescription:
    return describe_motion(np.asarray(generate_motion(activity, seed, 6.0)[0], np.float64))


def _check(text: str, motion: MotionDescription) -> Verdict:
    span = {"start_s": motion.start_s, "end_s": motion.end_s}
    return ground_statement(text, motion, **span).verdict


def _support(text: str, motion: MotionDescription) -> float | None:
    span = {"start_s": motion.start_s, "end_s": motion.end_s}
    return support_of(ground_claims(text, motion, **span))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("He walks in a clockwise circle.", SUPPORTED),
        ("He walks in an anti-clockwise circle.", CONTRADICTED),
        ("There is a right turn.", SUPPORTED),
        ("There is a left turn.", CONTRADICTED),
        ("She follows a bend to the right.", SUPPORTED),
        ("She walks without turning.", CONTRADICTED),
        ("She walks on the spot.", CONTRADICTED),
        ("She stays where she is.", CONTRADICTED),
        ("She walks backward.", CONTRADICTED),
        ("She is running.", CONTRADICTED),
        ("She takes forty steps.", CONTRADICTED),
        ("She takes about eight steps.", SUPPORTED),
    ],
)
def test_a_walk_to_the_right(text: str, verdict: Verdict) -> None:
    assert _check(text, _made("walk_circle", 1)) is verdict


def test_pace() -> None:
    fast, slow = _made("walk_forward", 2), _made("walk_forward", 1)
    assert _check("He walks very slowly.", fast) is CONTRADICTED
    assert _check("He walks quickly.", fast) is SUPPORTED
    assert _check("He walks slowly.", slow) is SUPPORTED
    assert _check("He hurries along.", slow) is not SUPPORTED


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("He waves.", SUPPORTED),
        ("He waves with only the right hand.", SUPPORTED),
        ("a right-handed wave", SUPPORTED),
        ("a left-handed wave", CONTRADICTED),
        ("He waves both arms.", CONTRADICTED),
        ("He waves the right hand while the left arm hangs down.", SUPPORTED),
        ("He waves the right hand while sitting.", CONTRADICTED),
        ("He waves, staying in place.", SUPPORTED),
        ("He waves while walking.", CONTRADICTED),
        ("Resting the right arm at his side, he stands.", CONTRADICTED),
        ("She wipes the window with the right hand.", SUPPORTED),
        ("She wipes the window with the left hand.", CONTRADICTED),
        ("She sings while standing.", UNKNOWN),
        ("She sings while kneeling.", CONTRADICTED),
    ],
)
def test_a_wave(text: str, verdict: Verdict) -> None:
    assert _check(text, describe_motion(waving_right_hand(5))) is verdict


def test_only_one_side() -> None:
    both = _made("raise_arms", 1)
    assert _check("Both arms are raised.", both) is SUPPORTED
    assert _check("Only the left arm is raised.", both) is CONTRADICTED
    # A text may name one of two.
    assert _check("The left arm is raised.", both) is SUPPORTED


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("She does two squats.", SUPPORTED),
        ("She does ten squats.", CONTRADICTED),
        ("She squats and stands up again.", SUPPORTED),
        ("She sits cross-legged on the floor all the time.", CONTRADICTED),
        ("She lies on her back.", CONTRADICTED),
        ("She is upright the whole time.", CONTRADICTED),
    ],
)
def test_two_squats(text: str, verdict: Verdict) -> None:
    assert _check(text, _made("squat", 1)) is verdict


def test_order() -> None:
    wave, jump = waving_right_hand(3), jumping()
    motion = describe_motion(np.concatenate((wave, jump)))
    assert _check("He waves, then jumps.", motion) is SUPPORTED
    assert _check("He jumps after waving.", motion) is SUPPORTED
    assert _check("He jumps, then waves.", motion) is CONTRADICTED
    assert _check("He jumps before waving.", motion) is CONTRADICTED
    # Without a word of order, both happened.
    assert _check("He jumps and waves.", motion) is SUPPORTED


def test_jumps() -> None:
    motion = describe_motion(jumping())
    assert _check("One jump on the spot.", motion) is SUPPORTED
    assert _check("A long jump forward.", motion) is CONTRADICTED
    assert _check("She jumps again and again, seven times.", motion) is CONTRADICTED
    # A crouch belongs to every jump.
    assert _check("She crouches.", motion) is UNKNOWN
    assert _check("She does jumping jacks.", motion) is UNKNOWN
    assert _check("She does a somersault.", motion) is CONTRADICTED


def test_who_stands_still() -> None:
    assert _check("She stands motionless.", describe_motion(standing())) is SUPPORTED
    assert _check("She stands still the whole time.", _made("walk_forward", 1)) is CONTRADICTED
    assert _check("She dances.", describe_motion(standing())) is CONTRADICTED


def test_a_text_that_leaves_out_the_main_thing_is_supported_less() -> None:
    kick = _made("kick", 1)
    whole, part = _support("She kicks.", kick), _support("She stands upright.", kick)
    assert whole is not None
    assert part is not None
    assert whole > part
    assert _check("She stands upright.", kick) is SUPPORTED


def _event(kind: EventKind, **changed: object) -> MotionEvent:
    event = MotionEvent(
        kind=kind,
        part=Part.BODY,
        side=None,
        direction=None,
        level=None,
        start_s=1.0,
        end_s=2.0,
        magnitude=0.5,
        unit=Unit.METERS,
        relative=0.5,
        peak_speed=1.0,
        confidence=1.0,
    )
    return replace(event, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "text", "other"),
    [
        (_event(EventKind.JUMPING_JACK, count=2), "two jumping jacks", "nine jumping jacks"),
        (
            _event(EventKind.SOMERSAULT, direction=Direction.FORWARD),
            "a forward somersault",
            "a backward somersault",
        ),
        (
            _event(EventKind.PICK_UP, part=Part.ARM, side=Side.LEFT),
            "picks something up with the left hand",
            "picks something up with the right hand",
        ),
        (
            _event(EventKind.STEP, part=Part.LEG, side=Side.LEFT, direction=Direction.BACKWARD),
            "steps back",
            "steps forward",
        ),
    ],
)
def test_rarer_events(event: MotionEvent, text: str, other: str) -> None:
    motion = replace(describe_motion(standing()), events=(event,))
    assert _check(text, motion) is SUPPORTED
    assert _check(other, motion) is CONTRADICTED


def test_what_needs_two_people_or_a_thing_is_never_contradicted() -> None:
    alone = describe_motion(standing())
    for text in ("They hug.", "She shakes hands with him.", "He rides a bicycle.", "He climbs."):
        assert _check(text, alone) is UNKNOWN
    hug = replace(alone, events=(_event(EventKind.HUG, part=Part.BODY),))
    assert _check("They hug each other.", hug) is SUPPORTED


def test_a_part_that_is_seen_now_and_then_supports_but_does_not_contradict() -> None:
    track = as_track(raising_left_arm())
    confidence = track.confidence.copy()
    confidence[40:, 16:] = 0.1  # the arms are in the picture for two of four seconds
    motion = describe_track(replace(track, confidence=confidence), FRAME_SIZE_PX)
    raised = _event(EventKind.RAISE, part=Part.ARM, side=Side.LEFT, start_s=1.0, end_s=1.8)
    motion = replace(motion, events=(raised,))
    assert "left_arm" not in motion.parts
    assert _check("The left arm is raised.", motion) is SUPPORTED
    assert _check("The left arm is lowered and waved.", motion) is not CONTRADICTED


def test_small_movements_may_be_missing_in_an_estimate() -> None:
    motion = describe_motion(raising_left_arm())
    estimated = replace(motion, events=tuple(replace(e, confidence=0.8) for e in motion.events))
    for text in ("He kicks with the left foot.", "He turns to the left."):
        assert _check(text, motion) is CONTRADICTED
        assert _check(text, estimated) is UNKNOWN
    assert _check("He turns around.", estimated) is CONTRADICTED
    assert _check("He raises the right arm.", estimated) is CONTRADICTED


def test_a_lunge_is_a_posture() -> None:
    motion = describe_motion(standing())
    assert _check("a deep lunge", motion) is CONTRADICTED
    posture = replace(motion.postures[0], kind=PostureKind.LUNGE)
    assert _check("a deep lunge", replace(motion, postures=(posture,))) is SUPPORTED
