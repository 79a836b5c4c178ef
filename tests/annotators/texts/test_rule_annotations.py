import pytest
from pydantic import ValidationError

from annotators.inflection import participle, third_person
from annotators.motion.describe import describe_motion
from annotators.motion.events import EventKind
from annotators.texts.rule_annotations import (
    AnnotationConfig,
    VideoFacts,
    annotate_clip,
    check_medium,
    check_step,
    summarize_video,
)
from annotators.wording.timeline import timeline
from benchmarks.support.corpus import Motion, mocap
from data.records import Annotation, Outcome, Verdict
from tests.support.motions import (
    FRAME_SIZE_PX,
    as_clip,
    as_track,
    jumping,
    raising_left_arm,
    standing,
    waving_right_hand,
)


def _annotate(motion: Motion, start_s: float = 20.0) -> Annotation:
    track = as_track(motion, start_s=start_s)
    clip = as_clip(track)
    facts = summarize_video([clip], {clip.clip_id: [track]}, 30.0, FRAME_SIZE_PX, 2)
    return annotate_clip(clip, [track], facts, AnnotationConfig())


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


def test_an_annotation_names_its_annotator_model_and_prompt() -> None:
    annotation = _annotate(standing())
    assert annotation.annotator == "rules"
    assert annotation.model.startswith("kinematics-")
    assert annotation.prompt_id.startswith("rules-")
    assert annotation.activity == "stand"


def test_coarse_states_people_views_camera_shots_and_light() -> None:
    facts = VideoFacts(10.0, 6, 2, ("wide", "close-up"), "moving", 0.1, FRAME_SIZE_PX)
    assert facts.coarse == (
        "Up to two people are seen at a time in a wide view and a close-up, filmed by a moving "
        "camera in six shots lasting about ten seconds in total, in a dark picture."
    )
    nobody = VideoFacts(40.0, 1, 0, (), "static", 0.5, FRAME_SIZE_PX)
    assert nobody.coarse == (
        "A static camera films a single shot of about 40 seconds, and no person is seen."
    )


def test_a_video_without_people_has_facts() -> None:
    clip = as_clip(as_track(standing()))
    facts = summarize_video([clip], {}, 5.0, FRAME_SIZE_PX, 1)
    assert facts == VideoFacts(5.0, 1, 0, (), "static", 0.5, FRAME_SIZE_PX)


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
    with pytest.raises(ValueError, match="at least one person"):
        track = as_track(standing())
        facts = summarize_video([], {}, 5.0, FRAME_SIZE_PX, 1)
        annotate_clip(as_clip(track), [], facts, AnnotationConfig())
