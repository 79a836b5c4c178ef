"""Annotations of several people of a clip in one reply of a model: nobody's texts are lost."""

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from annotators.chat.config import ChatConfig
from annotators.chat.service import ChatService
from annotators.motion.describe import describe_motion
from annotators.texts.checks import PeopleReply
from annotators.texts.config import AnnotationConfig
from annotators.texts.facts import body_events
from annotators.texts.language_annotations import (
    ClipTexts,
    ToldCaption,
    ToldPerson,
    VideoTexts,
    annotate_videos_with,
)
from benchmarks.support.chat_server import Asked, ChatServer
from data.records import Annotation, Clip, ObjectSpan, Outcome
from tests.support.motions import raising_left_arm, standing

RAISES, STANDS = describe_motion(raising_left_arm()), describe_motion(standing(7.0))
EVENTS = body_events(RAISES)
BALL = ObjectSpan("ball", 1.0, 2.0, 0.75, "left_wrist")
COARSE = "Two people are in a hall."


def _person(number: int, text: str, step: str) -> dict[str, Any]:
    return {
        "person": number,
        "medium": [f"A person {text}."],
        "fine": [{"text": step, "start_s": 0.0, "end_s": 4.0}],
    }


FIRST = _person(1, "raises the left arm", "raise the left arm")
SECOND = _person(2, "stands still", "stand still")


def _reply(*people: dict[str, Any]) -> str:
    return json.dumps({"coarse": COARSE, "people": list(people)})


@pytest.fixture
def server() -> Generator[ChatServer]:
    with ChatServer(answer=lambda _: _reply(FIRST, SECOND)) as server:
        yield server


Annotate = Callable[..., tuple[Annotation, Annotation]]


@pytest.fixture
def annotate(server: ChatServer, tmp_path: Path) -> Generator[Annotate]:
    chat = ChatConfig(
        model="gpt-4.1-mini", base_url=server.base_url, min_backoff_s=0.01, max_attempts=2
    )
    with ChatService(chat, None, tmp_path / "replies") as service:

        def run(**more: Any) -> Any:
            clip = Clip("c", "v", 0, 0, 140, 0.0, 7.0, 0.5, "static", 0.0)
            captions = (ToldCaption("Two people are here."), ToldCaption("An arm goes up.", 1))
            people = (
                ToldPerson(1, 7, RAISES, "on the left", EVENTS, (BALL,)),
                ToldPerson(2, 3, STANDS, "on the right"),
            )
            texts = VideoTexts("v", "", (ClipTexts(clip, captions, "", people),))
            config = AnnotationConfig(annotator="openai", service=chat, **more)
            done = annotate_videos_with([texts], service, config)["v"]
            assert done.failed == ()
            assert done.coarse == COARSE
            assert len(done.annotations) == 2
            assert [a.track_id for a in done.annotations] == [7, 3]
            assert {a.clip_id for a in done.annotations} == {"c"}
            return done.annotations

        yield run


def test_one_reply_has_texts_for_each_person(server: ChatServer, annotate: Annotate) -> None:
    first, second = annotate()
    assert (first.medium, second.medium) == (
        ("A person raises the left arm.",),
        ("A person stands still.",),
    )
    assert [step.text for step in second.fine] == ["stand still"]
    assert (first.grounding_score, second.grounding_score) == (1.0, 1.0)
    assert (first.activity, second.activity) == ("raise_left_arm", "stand")
    assert (first.objects, second.objects) == ((BALL,), ())
    assert (first.events, second.events) == (EVENTS, ())
    assert first.prompt_id == second.prompt_id
    assert first.prompt_id.startswith("annotation_people-")
    (asked,) = server.calls
    assert asked.schema == PeopleReply.model_json_schema()
    assert "Person 1 is on the left.\nPerson 2 is on the right.\n" in asked.text
    assert "one object for each of the persons 1, 2" in asked.text
    block = asked.text.split("<descriptions>\n")[1].split("\n</descriptions>")[0]
    assert [json.loads(line) for line in block.splitlines()] == [
        "Two people are here.",
        {"person": 1, "description": "An arm goes up."},
    ]


def test_the_cost_of_a_call_is_shared(server: ChatServer, annotate: Annotate) -> None:
    first, second = annotate()
    (asked,) = server.calls
    tokens_in = 20 + (len(asked.text) - len("\n")) // 4
    tokens_out = len(_reply(FIRST, SECOND)) // 4
    assert first.tokens_in + second.tokens_in == tokens_in
    assert first.tokens_out + second.tokens_out == tokens_out
    assert abs(first.tokens_in - second.tokens_in) <= 1
    assert first.cost_usd == second.cost_usd > 0
    assert first.request_id == second.request_id != ""


def test_a_person_who_is_left_out_is_asked_for_again(
    server: ChatServer, annotate: Annotate
) -> None:
    def answer(asked: Asked) -> str:
        people = (FIRST, SECOND) if "cannot be used" in asked.text else (FIRST,)
        return _reply(*people)

    server.answer = answer
    first, second = annotate()
    assert {first.outcome, second.outcome} == {Outcome.SUCCESS}
    assert len(server.calls) == 2
    assert "- people: expected person 2, found [1]" in server.calls[1].text


@pytest.mark.parametrize(
    ("people", "problem"),
    [
        ((FIRST,), "people: expected person 2, found [1]"),
        ((FIRST, SECOND, SECOND), "people[2].person: expected 2 once, found it several times"),
        ((FIRST, {**SECOND, "person": 5}), "people[5].person: expected one of [1, 2], found 5"),
        ((FIRST, {**SECOND, "medium": []}), "people[2].medium: expected 1 to 3 texts, found 0"),
        ((FIRST, {**SECOND, "medium": ["She waits."]}), "appearance word 'She'"),
    ],
)
def test_after_one_repair_only_the_person_without_texts_is_invalid(
    people: tuple[dict[str, Any], ...], problem: str, server: ChatServer, annotate: Annotate
) -> None:
    server.answer = lambda _: _reply(*people)
    first, second = annotate()
    assert (first.outcome, first.reason, first.reply) == (Outcome.SUCCESS, "", "")
    assert first.medium == ("A person raises the left arm.",)
    assert second.outcome is Outcome.INVALID
    assert second.reason.startswith("after one repair: ")
    assert problem in second.reason
    assert (second.medium, second.fine, second.reply) == ((), (), _reply(*people))
    assert second.activity == "stand"
    assert len(server.calls) == 2


def test_a_repair_that_drops_another_person_keeps_the_first_texts(
    server: ChatServer, annotate: Annotate
) -> None:
    server.answer = lambda asked: _reply(SECOND if "cannot be used" in asked.text else FIRST)
    first, second = annotate()
    assert [a.outcome for a in (first, second)] == [Outcome.SUCCESS] * 2
    assert (first.medium, second.medium) == (
        ("A person raises the left arm.",),
        ("A person stands still.",),
    )


def test_a_repair_that_fails_costs_the_missing_person_only(
    server: ChatServer, annotate: Annotate
) -> None:
    server.answer = lambda _: _reply(FIRST)
    server.fault = lambda asked: "503" if "cannot be used" in asked.text else None
    first, second = annotate()
    assert (first.outcome, second.outcome) == (Outcome.SUCCESS, Outcome.UNAVAILABLE)
    assert first.reason == ""
    assert second.reason != ""


def test_contradictions_name_the_person(server: ChatServer, annotate: Annotate) -> None:
    kicks = _person(2, "kicks with the right foot", "kick with the right foot")

    def answer(asked: Asked) -> str:
        return _reply(FIRST, SECOND if "disagrees with the measurement" in asked.text else kicks)

    server.answer = answer
    first, second = annotate(grounding={"policy": "reask"})
    assert (first.reason, second.reason) == ("", "")
    assert second.medium == ("A person stands still.",)
    again = server.calls[1].text
    assert "person 2: step 'kick with the right foot': measured instead: no kick" in again
    assert "person 1: " not in again
