from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from annotators.motion.describe import describe_motion
from annotators.motion.events import EventKind
from annotators.texts.checks import check_medium, check_step
from annotators.texts.config import AnnotationConfig, PeopleConfig
from annotators.texts.people import people_of
from annotators.texts.rule_annotations import annotate_clip, only_told
from annotators.texts.scene import summarize_video
from annotators.wording.timeline import timeline
from benchmarks.support.corpus import Motion, mocap
from data.inflection import participle, third_person
from data.motion.skeleton import JOINT
from data.records import Annotation, ObjectSpan, Outcome, Verdict
from tests.support.motions import (
    FRAME_SIZE_PX,
    as_clip,
    as_track,
    jumping,
    raising_left_arm,
    ramp,
    set_arm,
    standing,
    waving_right_hand,
)

BENCH = ObjectSpan("bench", 20.5, 21.0, 0.75, "left_ankle")


def _annotate(motion: Motion, start_s: float = 20.0) -> Annotation:
    track = as_track(motion, start_s=start_s)
    clip = as_clip(track)
    people = people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen
    facts = summarize_video([clip], {clip.clip_id: people}, [], 30.0, 2)
    (annotation,) = annotate_clip(clip, people, facts, AnnotationConfig())
    return annotation


def _steps(motion: Motion) -> list[str]:
    return [step.text for step in _annotate(motion).fine]


@pytest.mark.corpus
def test_everything_written_on_mocap_passes_the_checks() -> None:
    sequences = [m for _, _, m in mocap("cmu_joints22_20fps.npz", "label")][::3]
    sequences += [m for _, _, m in mocap("bandai_joints22_20fps.npz", "content")][::45]
    for motion in sequences:
        annotation = _annotate(motion[:200])
        assert annotation.outcome is Outcome.SUCCESS
        assert 1 <= len(annotation.medium) <= 3
        assert len(set(annotation.medium)) == len(annotation.medium)
        for text in annotation.medium:
            assert check_medium(text) == [], text
        assert 1 <= len(annotation.fine) <= 8
        clock_s = 20.0
        for step in annotation.fine:
            assert check_step(step.text) == [], step.text
            assert clock_s <= step.start_s <= step.end_s <= 20.0 + len(motion[:200]) / 20
            clock_s = step.start_s
            assert step.grounding.verdict is Verdict.SUPPORTED
            assert any(c.isdigit() for c in step.grounding.measurement), step
            assert (step.grounding.start_s, step.grounding.end_s) == (step.start_s, step.end_s)
        assert annotation.grounding_score == 1.0


def test_steps_are_executable() -> None:
    assert "raise the left arm above the head" in _steps(raising_left_arm())
    assert _steps(standing()) == ["stand still"]
    waving = _steps(waving_right_hand(4))
    assert "wave the right hand above the head four times" in waving
    assert waving[-1].endswith("lower the right arm")
    assert any(step.startswith("jump up") for step in _steps(jumping()))


def test_medium_has_natural_wordings() -> None:
    assert _annotate(raising_left_arm()).medium == (
        "A person raises their left arm above their head.",
        "Someone raises their left arm above their head.",
        "The person is raising their left arm above their head.",
    )


@pytest.mark.corpus
def test_a_turn_while_walking_has_its_wording() -> None:
    turn = next(
        motion
        for _, label, motion in mocap("bandai_joints22_20fps.npz", "content")
        if label == "walk-turn-left"
    )
    first, *_ = _annotate(turn).medium
    assert first == "A person walks forward and then turns to the left while walking."


def test_repeated_actions_are_told_once() -> None:
    clauses = timeline(describe_motion(waving_right_hand(4)))
    assert len([clause for clause in clauses if clause.act is EventKind.WAVE]) == 1


@pytest.mark.parametrize(
    ("seconds", "raises", "legs", "told"),
    [
        *((0.9, False, True, False), (0.9, False, False, False)),
        *((0.9, True, True, True), (3.0, False, True, True)),
    ],
)
def test_a_glimpse_without_a_movement_is_not_told(
    seconds: float, raises: bool, legs: bool, told: bool
) -> None:
    motion = standing(seconds)
    if raises:
        set_arm(motion, "left", ramp(len(motion), 2, 14, 0.0, 2.8))
    # The feet tremble in depth, so that nobody knows whether they stand.
    feet = [JOINT["left_ankle"], JOINT["right_ankle"]]
    motion[:, feet, 2] += 0.1 * np.sin(np.arange(len(motion)) / 2)[:, None]
    track = as_track(motion)
    confidence_TJ = track.confidence.copy()
    confidence_TJ[:, feet] = 0.95 if legs else 0.1
    people = people_of([replace(track, confidence=confidence_TJ)], FRAME_SIZE_PX, PeopleConfig())
    assert len(people.seen) == 1
    kept = only_told(people)
    assert (len(kept.seen), len(kept.unseen)) == ((1, 0) if told else (0, 1))
    assert told or kept.unseen[0].problem.startswith("in view for 0.85 s")


def test_an_annotation_names_its_annotator_model_and_prompt() -> None:
    annotation = _annotate(standing())
    assert annotation.annotator == "rules"
    assert annotation.model.startswith("kinematics-")
    assert annotation.prompt_id.startswith("rules-")
    assert annotation.activity == "stand"


def test_events_and_objects_are_stored() -> None:
    track = replace(as_track(raising_left_arm(), start_s=20.0), objects=(BENCH,), track_id=5)
    people = people_of([track], FRAME_SIZE_PX, PeopleConfig()).seen
    facts = summarize_video([], {}, [], 5.0, 1)
    (annotation,) = annotate_clip(as_clip(track), people, facts, AnnotationConfig())
    assert (annotation.track_id, annotation.objects, annotation.others) == (5, (BENCH,), ())
    raised = next(event for event in annotation.events if event.kind == "raise")
    assert (raised.part, raised.side, raised.level, raised.unit) == (
        *("arm", "left", "above_head", "m"),
    )
    assert 20.0 <= raised.start_s < raised.end_s <= 27.0
    assert (raised.count, raised.partner) == (1, None)
    assert raised.magnitude > 0.5


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("A person walks forward.", []),
        ("A woman walks forward.", ["appearance word 'woman'"]),
        ("A person walks across the room.", ["environment word 'room'"]),
        (
            "The video shows a person.",
            ["film word 'video'", 'found "the video shows" or the like'],
        ),
        ("I see a person walking.", ["first person word 'I'"]),
        ("A person walks " + "on and " * 20 + "on.", ["44 words, expected at most 30"]),
        ("a person walks", ["expected one sentence with a capital letter and a full stop"]),
        ("A person walks. They stop.", ["expected one sentence, found several"]),
        ("", ["no text"]),
    ],
)
def test_bad_medium_texts_are_found(text: str, problems: list[str]) -> None:
    assert check_medium(text) == problems


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("raise the arm", []),
        ("raise her arm", ["appearance word 'her'"]),
        ("sit down in the kitchen", ["environment word 'kitchen'"]),
        ("Raise the arm.", ["expected an instruction in lower case without a full stop"]),
    ],
)
def test_bad_steps_are_found(text: str, problems: list[str]) -> None:
    assert check_step(text) == problems


def test_verbs_are_inflected() -> None:
    verbs = ["raise", "punch", "push", "lie", "sit", "swing", "do", "run", "bend", "wave", "hop"]
    verbs.append("step")
    assert [third_person(verb) for verb in verbs] == [
        *("raises", "punches", "pushes", "lies", "sits", "swings", "does"),
        *("runs", "bends", "waves", "hops", "steps"),
    ]
    assert [participle(verb) for verb in verbs] == [
        *("raising", "punching", "pushing", "lying", "sitting", "swinging", "doing"),
        *("running", "bending", "waving", "hopping", "stepping"),
    ]


def test_config_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        AnnotationConfig.model_validate({"annotator": "oracle"})
