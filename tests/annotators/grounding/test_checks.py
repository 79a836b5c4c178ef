"""English claims are parsed and checked against the measured motion."""

import re
from dataclasses import replace

import numpy as np
import pytest

from annotators.grounding.checks import (
    GroundingConfig,
    contradictions,
    ground_annotation,
    ground_claims,
    ground_statement,
    grounding_score,
    support_of,
)
from annotators.grounding.claims import parse_claims
from annotators.grounding.syntax import spelled
from annotators.motion.describe import MotionDescription, describe_motion, describe_track
from annotators.wording.phrases import in_words
from annotators.wording.timeline import timeline
from benchmarks.support.corpus import Motion, mocap
from data.records import Annotation, FineStep, Grounding, Outcome, Verdict
from tests.support.motions import (
    FRAME_SIZE_PX,
    as_track,
    jumping,
    mirrored,
    raising_left_arm,
    standing,
    waving_right_hand,
)

CMU = "cmu_joints22_20fps.npz"


def _cmu(key: str) -> MotionDescription:
    return describe_motion(next(motion for name, _, motion in mocap(CMU, "label") if name == key))


def _verdict(text: str, motion: MotionDescription | Motion) -> Verdict:
    described = motion if isinstance(motion, MotionDescription) else describe_motion(motion)
    span = {"start_s": described.start_s, "end_s": described.end_s}
    return ground_statement(text, described, **span).verdict


# -------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("A person walks forward, then turns around.", ["walk forward", "turn around"]),
        ("raises his left hand above the head, lowers it", ["raise arm left up", "lower arm left"]),
        ("raise and lower both arms", ["raise arm both", "lower arm both"]),
        ("A human kicks with the right foot twice", ["kick leg right 2"]),
        ("jumps up and down three times", ["jump up 3"]),
        ("takes three steps forward", ["walk forward 3"]),
        ("does ten push ups", ["push_up 10"]),
        ("the man is waving repeatedly with both hands", ["wave arm both x"]),
        ("turn a full circle to the left", ["turn left"]),
        ("walks in a circle counterclockwise", ["walk left", "turn left"]),
        ("makes a circle with the right arm", ["circle arm right"]),
        ("spin around twice", ["turn around 2"]),
        ("sits down on a chair and stands up", ["sit_down down", "stand_up up"]),
        ("move the left hand up and down", ["swing arm left up_and_down"]),
        (
            "puts his left arm out to the side and swings it",
            ["reach arm left side", "swing arm left"],
        ),
        ("left arm raises", ["raise arm left"]),
        ("lift the right knee to the waist", ["raise leg right"]),
        ("bends the knees", ["bend leg"]),
        ("straighten up", ["straighten torso up"]),
        ("does not walk", ["not walk"]),
        ("a person does not move", ["still"]),
        ("do jumping jacks", ["jumping_jack"]),
        ("bringing both arms up, then pushed up", ["raise arm both up", "push_up up"]),
        ("She smiles at the camera.", []),
        ("A person plays the guitar.", []),
        ("a person raises an eyebrow", []),
        ("the walk of a king", ["walk"]),
    ],
)
def test_claims(text: str, claims: list[str]) -> None:
    found: list[str] = []
    for claim in parse_claims(text):
        assert spelled(text).lower()[slice(*claim.place)].startswith(claim.word)
        count = {0: "", -1: "x"}.get(claim.count, str(claim.count))
        said = (claim.action, claim.part, claim.side, claim.direction, count)
        found.append(" ".join([*(["not"] if claim.negated else []), *filter(None, said)]))
    assert found == claims


# -------------------------------------------------------------------------------------- verdicts

SUPPORTED, CONTRADICTED, UNKNOWN = Verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("raise the left arm above the head", SUPPORTED),
        ("The person lifts one hand up.", SUPPORTED),
        ("raise the right arm", CONTRADICTED),
        ("kick with the left foot", CONTRADICTED),
        ("walk forward", CONTRADICTED),
        ("jump", CONTRADICTED),
        ("turn around", CONTRADICTED),
        ("sit down", CONTRADICTED),
        ("stand", SUPPORTED),
        ("not walk", SUPPORTED),
        ("do not raise the left arm", CONTRADICTED),
        ("look at the camera", UNKNOWN),
        ("play the guitar", UNKNOWN),
    ],
)
def test_a_raised_left_arm(text: str, verdict: Verdict) -> None:
    assert _verdict(text, raising_left_arm()) is verdict


def test_sides_follow_the_mirror() -> None:
    for motion, side, other in (
        (raising_left_arm(), "left", "right"),
        (mirrored(raising_left_arm()), "right", "left"),
    ):
        assert _verdict(f"raise the {side} arm", motion) is SUPPORTED
        assert _verdict(f"raise the {other} arm", motion) is CONTRADICTED


def test_repetitions_count() -> None:
    four = waving_right_hand(4)
    assert _verdict("wave the right hand four times", four) is SUPPORTED
    assert _verdict("wave the right hand three times", four) is SUPPORTED
    assert _verdict("wave the right hand", four) is SUPPORTED
    assert _verdict("wave the right hand twelve times", four) is CONTRADICTED


def test_time_decides_for_a_step() -> None:
    motion = describe_motion(np.concatenate((standing(4.0), jumping())))
    early = ground_statement("jump", motion, start_s=0.0, end_s=2.0)
    late = ground_statement("jump", motion, start_s=5.0, end_s=7.0)
    assert (early.verdict, late.verdict) == (CONTRADICTED, SUPPORTED)
    assert re.search(r"both feet [0-9.]+ m off the floor", late.measurement)
    assert 4.0 < late.start_s < late.end_s < 8.0


def test_what_is_not_seen_is_neither_right_nor_wrong() -> None:
    track = as_track(raising_left_arm())
    confidence = track.confidence.copy()
    confidence[:, [4, 5, 7, 8, 10, 11]] = 0.1  # both legs below the hips
    seated = replace(track, confidence=confidence)
    motion = describe_track(seated, FRAME_SIZE_PX)
    assert _verdict("walk forward", motion) is UNKNOWN
    assert _verdict("kick with the left foot", motion) is UNKNOWN
    assert _verdict("jump up", motion) is UNKNOWN
    assert _verdict("raise the left arm", motion) is SUPPORTED


@pytest.mark.corpus
def test_real_motion_capture() -> None:
    walk = _cmu("cmu_07_04")
    assert _verdict("a person walks forward at a slow pace.", walk) is SUPPORTED
    assert _verdict("a person runs in a circle", walk) is CONTRADICTED
    assert _verdict("walk backward", walk) is CONTRADICTED
    assert _verdict("A person performs a cartwheel.", walk) is CONTRADICTED
    assert _verdict("A person performs a cartwheel.", _cmu("cmu_49_07")) is SUPPORTED
    hops = _cmu("cmu_49_02")
    text = "A person is jumping in the air with both feet and also single foot."
    assert _verdict(text, hops) is SUPPORTED
    assert _verdict("a person sits still on a chair", walk) is CONTRADICTED


def test_support_is_graded() -> None:
    motion = describe_motion(raising_left_arm())
    span = {"start_s": motion.start_s, "end_s": motion.end_s}

    def support(text: str) -> float | None:
        return support_of(ground_claims(text, motion, **span))

    assert support("raise the left arm") == 1.0
    assert support("raise the left arm and jump") == 0.25
    assert support("jump and walk") == 0.0
    assert support("play the guitar") is None


@pytest.mark.corpus
def test_the_rules_own_steps_are_supported_and_their_mirror_images_are_not() -> None:
    """Uses every seventh sequence of the motion capture; benchmarks/grounding.py uses all."""
    supported = contradicted = total = sided = 0
    swap = {"left": "right", "right": "left"}
    for _, _, joints_TJ3 in mocap(CMU, "label")[::7]:
        motion = describe_motion(joints_TJ3)
        for clause in timeline(motion, 8):
            text = in_words(clause, "base", "the")
            span = {"start_s": clause.start_s, "end_s": clause.end_s}
            total += 1
            supported += ground_statement(text, motion, **span).verdict is SUPPORTED
            other = re.sub(r"\b(left|right)\b", lambda found: swap[found.group()], text)
            if other != text:
                sided += 1
                contradicted += ground_statement(other, motion, **span).verdict is CONTRADICTED
    # A step of two claims may be supported in one of them only.
    assert supported >= 0.98 * total
    assert contradicted >= 0.7 * sided


# -------------------------------------------------------------------------------------- policies


def _annotation(*texts: str) -> Annotation:
    unchecked = Grounding(Verdict.NOT_MEASURABLE, "", 0.0, 4.0)
    return Annotation(
        clip_id="clip",
        video_id="video",
        track_id=0,
        coarse="A hall.",
        medium=("A person raises the left arm.", "A person runs.", "A person smiles."),
        fine=tuple(FineStep(text, 0.0, 3.9, unchecked) for text in texts),
        activity="raise_left_arm",
        annotator="openai",
        model="m",
        prompt_id="p",
        outcome=Outcome.SUCCESS,
    )


def test_each_grounding_policy_treats_contradicted_steps_as_named() -> None:
    motion = describe_motion(raising_left_arm())
    given = _annotation("stand", "raise the left arm", "kick with the right foot", "smile")
    flagged = ground_annotation(given, motion, GroundingConfig())
    assert [s.grounding.verdict for s in flagged.fine] == [
        *(SUPPORTED, SUPPORTED, CONTRADICTED, UNKNOWN),
    ]
    assert [g.verdict for g in flagged.medium_grounding] == [SUPPORTED, CONTRADICTED, UNKNOWN]
    assert flagged.reason.startswith("contradicted 1 of the steps: 'kick with the right foot'")
    # Two steps and one text are supported, of five that are measurable.
    assert flagged.grounding_score == pytest.approx(3 / 5)

    kept = ground_annotation(given, motion, GroundingConfig(policy="keep"))
    assert (kept.fine, kept.reason) == (flagged.fine, "")

    dropped = ground_annotation(given, motion, GroundingConfig(policy="drop"))
    assert [s.text for s in dropped.fine] == ["stand", "raise the left arm", "smile"]
    assert dropped.reason.startswith("dropped 1 of the steps: 'kick with the right foot'")
    assert dropped.grounding_score == pytest.approx(3 / 4)

    # A row keeps its steps if all of them are contradicted, because an empty row is useless.
    wrong = ground_annotation(_annotation("jump"), motion, GroundingConfig(policy="drop"))
    assert [s.text for s in wrong.fine] == ["jump"]
    assert wrong.reason.startswith("contradicted 1")


def test_a_model_is_told_what_was_measured() -> None:
    motion = describe_motion(raising_left_arm())
    grounded = ground_annotation(_annotation("walk forward"), motion, GroundingConfig())
    step, medium = contradictions(grounded)
    assert re.match(r"step 'walk forward': measured instead: pelvis travels 0\.\d m in ", step)
    assert medium.startswith("medium 'A person runs.': measured instead: pelvis travels 0.")


def test_a_score_needs_something_measurable() -> None:
    assert grounding_score([Grounding(UNKNOWN, "", 0.0, 1.0)]) is None
    assert grounding_score([]) is None
