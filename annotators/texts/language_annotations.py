"""Annotations by a language model: captions in, one validated, typed reply with three levels out.

One reply describes all people of a clip, with texts for each of them. A reply that breaks the rules
is sent back once with its errors. A reply that the measured motion contradicts is sent back once
with the measurements, if the grounding policy is ``reask``. The texts of a person that are still
unusable, or missing, are stored with the outcome ``invalid``; those of the others are kept.

Captions are untrusted input (an image may show "ignore the above"). They are passed to the model as
JSON strings between markers. Replies are untrusted as well, see :mod:`annotators.texts.checks`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from pydantic import ValidationError

from annotators.chat.cache import ChatReply
from annotators.chat.model import ChatModel
from annotators.chat.protocol import ChatRequest
from annotators.grounding.checks import contradictions, ground_annotation
from annotators.motion.describe import MotionDescription
from annotators.texts.checks import (
    MIN_STEP_S,
    AnnotationReply,
    PeopleReply,
    PersonReply,
    check_reply,
    parse_reply,
    tidy_reply,
)
from annotators.texts.config import AnnotationConfig
from annotators.texts.prompts import Prompt, load_prompt
from data.errors import UnexpectedItemError
from data.records import (
    Annotation,
    BodyEvent,
    Clip,
    Cost,
    FineStep,
    Grounding,
    ObjectSpan,
    Outcome,
    Verdict,
    total_cost,
)

MAX_CAPTION_CHARS: Final = 6000
ASSUMED_MOTION: Final = '"kind":"raise","part":"arm","side":"left","start_s":1.25,"end_s":2.5 ' * 30
"""Placeholder for the measured motion of one person; a person has about 20 events in 10 s."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ToldCaption:
    """A usable caption; ``person`` is the number of the person it is about, None for all."""

    text: str
    person: int | None = None


@dataclass(frozen=True, slots=True)
class ToldPerson:
    """A person whose annotation is asked for.

    Attributes:
        number: number of the person in prompts and replies.
        track_id: track of the person.
        description: measured motion.
        where: what tells the person apart from the others; empty for a single one.
        events: events of the description, as they are stored.
        objects: objects near the person.
    """

    number: int
    track_id: int
    description: MotionDescription
    where: str = ""
    events: tuple[BodyEvent, ...] = ()
    objects: tuple[ObjectSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipTexts:
    """Input for the annotations of a clip.

    Attributes:
        clip: clip to annotate.
        captions: usable captions.
        problem: why there are no captions, empty otherwise.
        people: people to annotate, at least one.
        motion: the measured motion as text, empty if it is not part of the prompt.
    """

    clip: Clip
    captions: tuple[ToldCaption, ...]
    problem: str
    people: tuple[ToldPerson, ...]
    motion: str = ""

    @property
    def numbers(self) -> list[int]:
        """Numbers of the people."""
        return [person.number for person in self.people]


@dataclass(frozen=True, slots=True)
class VideoTexts:
    """Input for the annotation of a video; ``scene`` is the caption of the whole video or empty."""

    video_id: str
    scene: str
    clips: tuple[ClipTexts, ...]


@dataclass(frozen=True, slots=True)
class VideoAnnotations:
    """The annotations of a video.

    Attributes:
        coarse: coarse text of the video; empty if no reply had a usable one.
        annotations: one annotation per person of each clip, in the order of the clips.
        failed: clips whose annotations failed with an unexpected error; their outcome is
            ``invalid``.
    """

    coarse: str
    annotations: tuple[Annotation, ...]
    failed: tuple[tuple[Clip, UnexpectedItemError], ...] = ()


def annotate_videos_with(
    videos: Sequence[VideoTexts], model: ChatModel, config: AnnotationConfig
) -> dict[str, VideoAnnotations]:
    """Annotate all people in all clips of several videos.

    The first usable reply for a clip of a video determines the coarse text of the video. The
    prompts of the other clips contain this text, so that a video has only one.

    Args:
        videos: videos with the texts of their clips.
        model: model that writes the annotations.
        config: settings of the prompts and limits of the annotations.

    Returns:
        Annotations by ``video_id``. An error on one clip affects only its own annotations.
    """
    prompts = _Prompts.load(config)
    talks = {
        video.video_id: [_Talk(texts, video.scene) for texts in video.clips] for video in videos
    }
    coarse: dict[str, str] = {}
    # Until a video has its coarse text, only one of its clips is annotated at a time, which usually
    # is the first.
    while firsts := [
        open_talk
        for video_id, listed in talks.items()
        if not coarse.get(video_id) and (open_talk := next(_unasked(listed), None))
    ]:
        _converse(firsts, model, prompts, config)
        for talk in firsts:
            if talk.answers:
                coarse[talk.texts.clip.video_id] = talk.said_coarse
        if any(talk.outcome is Outcome.BUDGET for talk in firsts):
            break
    rest: list[_Talk] = []
    for video_id, listed in talks.items():
        for talk in _unasked(listed):
            talk.coarse = coarse.get(video_id, "")
            rest.append(talk)
    _converse(rest, model, prompts, config)
    finished: dict[str, VideoAnnotations] = {}
    for video_id, listed in talks.items():
        scene = coarse.get(video_id, "")
        annotations = tuple(
            replace(annotation, coarse=scene)
            for talk in listed
            for annotation in _finished(talk, model.name, prompts, config)
        )
        failed = tuple((talk.texts.clip, talk.error) for talk in listed if talk.error is not None)
        finished[video_id] = VideoAnnotations(scene, annotations, failed)
    return finished


def estimated_request(
    clip: Clip, captions: Sequence[str], num_people: int, config: AnnotationConfig
) -> ChatRequest:
    """Return the first request for the annotations of a clip, to estimate its cost.

    Args:
        clip: clip to annotate.
        captions: captions of the clip, or placeholders of the expected length.
        num_people: number of people to annotate.
        config: settings of the prompts.
    """
    told = [ToldCaption(text) for text in captions]
    people = dict.fromkeys(range(1, num_people + 1), "second from the left")
    motion = ASSUMED_MOTION * num_people if config.use_motion else ""
    return _first_request(clip, told, people, "", "", motion, _Prompts.load(config), config)


# --------------------------------------------------------------------------------- conversation


@dataclass(frozen=True, slots=True)
class _Prompts:
    annotation: Prompt
    people: Prompt
    repair: Prompt
    contradiction: Prompt

    @classmethod
    def load(cls, config: AnnotationConfig) -> "_Prompts":
        names = ("annotation", "annotation_people", "repair", "contradiction")
        return cls(*(load_prompt(name, config.prompts) for name in names))

    def of(self, num_people: int) -> Prompt:
        """Return the prompt of a clip with so many people."""
        return self.annotation if num_people == 1 else self.people


@dataclass(slots=True)
class _Talk:
    """The conversation about one clip: its requests, the last reply, and the cost so far.

    Attributes:
        texts: input.
        scene: caption of the whole video.
        coarse: coarse text to use, empty for the first clip of a video.
        outcome, reason, reply: of the last call; None before it.
        said_coarse: coarse text of the usable replies.
        answers: usable texts, by the number of the person.
    """

    texts: ClipTexts
    scene: str
    coarse: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    reply: str = ""
    said_coarse: str = ""
    answers: dict[int, PersonReply] = field(default_factory=dict[int, PersonReply])
    cost: Cost = field(default_factory=Cost)
    model: str = ""
    request_id: str = ""
    error: UnexpectedItemError | None = None

    def fail(self, error: Exception) -> None:
        """End the conversation with an unexpected error."""
        self.error = UnexpectedItemError.of(error)
        self.outcome, self.answers = Outcome.INVALID, {}
        self.reason = f"unexpected error: {self.error.detail}"

    def take(self, reply: ChatReply) -> None:
        """Record the outcome and cost of a call. The text of the reply is validated later."""
        self.outcome, self.reason, self.reply = reply.outcome, reply.reason, reply.text
        self.cost = Cost(**total_cost(self.cost, reply))
        self.model = reply.model or self.model
        self.request_id = reply.request_id or self.request_id

    @property
    def is_complete(self) -> bool:
        """Whether all people have usable texts."""
        return set(self.answers) == set(self.texts.numbers)


def _guarded(talk: _Talk, work: Callable[[], Result]) -> Result | None:
    """Return the result of work on one clip, or None if it fails, which ends the conversation."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - logged, and the clip is rejected
        talk.fail(error)
        return None


def _unasked(talks: Sequence[_Talk]) -> Iterator[_Talk]:
    return (talk for talk in talks if talk.outcome is None and talk.texts.captions)


def _converse(
    talks: Sequence[_Talk], model: ChatModel, prompts: _Prompts, config: AnnotationConfig
) -> None:
    """Send the requests of all clips, then one repair for errors and one for contradictions."""
    requests = [
        (talk, request)
        for talk in talks
        if (request := _guarded(talk, partial(_request, talk, prompts, config))) is not None
    ]
    asked = {id(talk): request for talk, request in requests}
    to_repair: list[tuple[_Talk, ChatRequest]] = []
    for talk, reply in model.ask_many(requests):
        problems = _guarded(talk, partial(_take, talk, reply, prompts, config))
        if problems:
            told = prompts.repair.fill_user(problems="\n".join(f"- {p}" for p in problems))
            to_repair.append((talk, _continued(asked[id(talk)], reply.text, told)))
    for talk, reply in model.ask_many(to_repair):
        problems = _guarded(talk, partial(_take, talk, reply, prompts, config))
        if problems and not talk.is_complete:
            talk.outcome = Outcome.INVALID
            talk.reason = f"after one repair: {'; '.join(problems)}"
    if config.grounding.policy == "reask":
        _ask_about_contradictions(talks, asked, model, prompts, config)


def _take(talk: _Talk, reply: ChatReply, prompts: _Prompts, config: AnnotationConfig) -> list[str]:
    """Parse and check a reply, and return the errors that the model can repair.

    Usable texts replace those of an earlier reply, person by person.
    """
    talk.take(reply)
    if reply.outcome is not Outcome.SUCCESS:
        return []
    clip, numbers = talk.texts.clip, talk.texts.numbers
    try:
        answer = tidy_reply(parse_reply(reply.text, numbers))
    except ValidationError as error:
        return [
            f"{'.'.join(str(part) for part in problem['loc']) or 'reply'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
    system = prompts.of(len(numbers)).system
    checked = check_reply(answer, numbers, clip.end_s - clip.start_s, system, config)
    if checked.people:
        talk.said_coarse = checked.coarse
        talk.answers |= checked.people
    return checked.problems


def _ask_about_contradictions(
    talks: Sequence[_Talk],
    asked: dict[int, ChatRequest],
    model: ChatModel,
    prompts: _Prompts,
    config: AnnotationConfig,
) -> None:
    """Ask once more about replies that the motion contradicts; worse new texts are ignored."""
    again: list[tuple[_Talk, ChatRequest]] = []
    first: dict[int, dict[int, list[str]]] = {}
    for talk in talks:
        said = _guarded(talk, partial(_contradicted, talk, prompts, config))
        if said:
            first[id(talk)] = said
            lines = [f"- {line}" for found in said.values() for line in found]
            told = prompts.contradiction.fill_user(contradictions="\n".join(lines))
            again.append((talk, _continued(asked[id(talk)], talk.reply, told)))
    for talk, reply in model.ask_many(again):
        before, answers, coarse = first[id(talk)], dict(talk.answers), talk.said_coarse
        kept = talk.outcome, talk.reason, talk.reply
        _guarded(talk, partial(_take, talk, reply, prompts, config))
        after = _guarded(talk, partial(_contradicted, talk, prompts, config))
        if talk.error is not None or after is None:
            continue
        talk.outcome, talk.reason, talk.reply = kept
        for number, answer in answers.items():
            if len(after.get(number, ())) > len(before.get(number, ())):
                talk.answers[number] = answer
        if talk.answers == answers:
            talk.said_coarse = coarse


def _contradicted(talk: _Talk, prompts: _Prompts, config: AnnotationConfig) -> dict[int, list[str]]:
    """Return what the motion contradicts, by the number of the person; empty for nothing."""
    found: dict[int, list[str]] = {}
    for person in talk.texts.people:
        if person.number not in talk.answers:
            continue
        said = contradictions(_grounded(talk, person, "", prompts, config))
        who = f"person {person.number}: " if len(talk.texts.people) > 1 else ""
        if said:
            found[person.number] = [f"{who}{line}" for line in said]
    return found


def _request(talk: _Talk, prompts: _Prompts, config: AnnotationConfig) -> ChatRequest:
    texts = talk.texts
    people = {person.number: person.where for person in texts.people}
    return _first_request(
        texts.clip,
        texts.captions,
        people,
        talk.scene,
        talk.coarse,
        texts.motion,
        prompts,
        config,
    )


def _first_request(
    clip: Clip,
    captions: Sequence[ToldCaption],
    people: Mapping[int, str],
    scene: str,
    coarse: str,
    motion: str,
    prompts: _Prompts,
    config: AnnotationConfig,
) -> ChatRequest:
    prompt = prompts.of(len(people))
    told = f"The whole video: {json.dumps(_cut(scene))}\n" if scene else ""
    if coarse:
        told += f"Use this as coarse, word for word: {json.dumps(coarse)}\n"
    values: dict[str, object] = {
        "num_medium": config.num_medium,
        "max_steps": config.max_steps,
        "length_s": f"{clip.end_s - clip.start_s:.1f}",
    }
    if len(people) > 1:
        values["numbers"] = ", ".join(map(str, people))
        values["people"] = "\n".join(f"Person {n} is {where}." for n, where in people.items())
    user = prompt.fill_user(
        scene=told,
        motion=f"Measured, with times from the clip's start: {motion}\n" if motion else "",
        descriptions="\n".join(_description(caption, len(people)) for caption in captions),
        **values,
    )
    return ChatRequest(
        system=prompt.fill_system(**values),
        parts=(user,),
        prompt_id=_prompt_id(prompt, motion),
        schema=AnnotationReply if len(people) == 1 else PeopleReply,
    )


def _prompt_id(prompt: Prompt, motion: str) -> str:
    return prompt.prompt_id + ("+motion" if motion else "")


def _description(caption: ToldCaption, num_people: int) -> str:
    """Return a caption as one line of JSON."""
    text = _cut(caption.text)
    if caption.person is None or num_people == 1:
        return json.dumps(text)
    return json.dumps({"person": caption.person, "description": text})


def _cut(text: str) -> str:
    # JSON does not escape angle brackets, and a caption must not be able to close its own block.
    return text[:MAX_CAPTION_CHARS].replace("<", "(").replace(">", ")")


def _continued(request: ChatRequest, reply: str, answer: str) -> ChatRequest:
    return replace(request, history=(*request.history, (reply, answer)))


# ---------------------------------------------------------------------------------- annotations


def _annotation(
    talk: _Talk, person: ToldPerson, name: str, prompts: _Prompts, config: AnnotationConfig
) -> Annotation:
    texts, answer = talk.texts, talk.answers.get(person.number)
    outcome, reason = talk.outcome, talk.reason
    if outcome is None:
        outcome, reason = Outcome.SKIPPED, f"no caption to work from: {texts.problem}"
    elif answer is not None:
        # The last reply may have failed for another person only.
        outcome, reason = Outcome.SUCCESS, ""
    return Annotation(
        clip_id=texts.clip.clip_id,
        video_id=texts.clip.video_id,
        track_id=person.track_id,
        coarse=talk.said_coarse if answer else "",
        medium=tuple(dict.fromkeys(answer.medium)) if answer else (),
        fine=_steps(answer, texts.clip) if answer else (),
        activity=person.description.activity,
        annotator=config.annotator,
        model=talk.model or name,
        prompt_id=_prompt_id(prompts.of(len(texts.people)), texts.motion),
        outcome=outcome,
        reason=reason,
        **total_cost(_share(talk, person)),
        request_id=talk.request_id,
        reply="" if answer else talk.reply,
        events=person.events,
        objects=person.objects,
        others=tuple(sorted({e.partner for e in person.events if e.partner is not None})),
    )


def _share(talk: _Talk, person: ToldPerson) -> Cost:
    """Return the part of the cost of a clip that belongs to one person; the parts add up to it."""
    count, cost = len(talk.texts.people), talk.cost
    index = talk.texts.people.index(person)
    return Cost(
        tokens_in=(cost.tokens_in + index) // count,
        tokens_out=(cost.tokens_out + index) // count,
        cost_usd=cost.cost_usd / count,
        latency_s=cost.latency_s / count,
    )


def _steps(answer: PersonReply, clip: Clip) -> tuple[FineStep, ...]:
    """Convert steps to the time of the video, clipped to the clip and not grounded yet."""
    steps: list[FineStep] = []
    for step in answer.fine:
        start_s = min(max(clip.start_s + step.start_s, clip.start_s), clip.end_s - MIN_STEP_S)
        end_s = max(min(clip.start_s + step.end_s, clip.end_s), start_s + MIN_STEP_S)
        unchecked = Grounding(Verdict.NOT_MEASURABLE, "", start_s, end_s)
        steps.append(FineStep(step.text, start_s, end_s, unchecked))
    return tuple(steps)


def _finished(
    talk: _Talk, name: str, prompts: _Prompts, config: AnnotationConfig
) -> list[Annotation]:
    people = talk.texts.people

    def grounded() -> list[Annotation]:
        return [_grounded(talk, person, name, prompts, config) for person in people]

    # Without a usable reply there is nothing to ground.
    return _guarded(talk, grounded) or [
        _annotation(talk, person, name, prompts, config) for person in people
    ]


def _grounded(
    talk: _Talk, person: ToldPerson, name: str, prompts: _Prompts, config: AnnotationConfig
) -> Annotation:
    annotation = _annotation(talk, person, name, prompts, config)
    if annotation.outcome is not Outcome.SUCCESS:
        return annotation
    return ground_annotation(annotation, person.description, config.grounding)
