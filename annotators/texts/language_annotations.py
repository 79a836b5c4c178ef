"""The three levels of a clip by a language model: captions in, one validated, typed reply out.

A reply that breaks the rules is sent back once with what is wrong; one that measured motion
contradicts is sent back once with the measurement, where the grounding policy says so. What cannot
be used after that is kept as data: outcome ``invalid`` with the reply beside it.

Captions are a stranger's text (a picture may show "ignore the above"). They reach the model as JSON
strings between markers, and nothing that it answers is trusted: the form is checked field by field,
and a reply that repeats the instructions is no annotation.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from annotators.chat.cache import ChatReply
from annotators.chat.model import ChatModel
from annotators.chat.protocol import ChatRequest
from annotators.grounding.checks import contradictions, ground_annotation
from annotators.motion.describe import MotionDescription
from annotators.texts.prompts import Prompt, load_prompt
from annotators.texts.rule_annotations import (
    AnnotationConfig,
    check_coarse,
    check_medium,
    check_step,
)
from data.errors import UnexpectedItemError
from data.records import Annotation, Clip, Cost, FineStep, Grounding, Outcome, Verdict, total_cost

TIME_TOLERANCE_S: Final = 0.5
"""A step may lie this far outside its clip, as frames are told to a tenth of a second; it is moved
inside."""
MIN_STEP_S: Final = 0.05
LEAK_WORDS: Final = 8
"""Words in a row of the instructions from which a reply counts as repeating them."""
MAX_CAPTION_CHARS: Final = 6000

Result = TypeVar("Result")

_NUMBERING: Final = re.compile(r"^(?:step\s*)?\d+\s*[.):]\s*", re.IGNORECASE)


class StepReply(BaseModel):
    """A fine step as the model writes it; times are from the start of the clip."""

    model_config = ConfigDict(extra="forbid")

    text: str
    start_s: float
    end_s: float


class AnnotationReply(BaseModel):
    """The three levels as the model writes them."""

    model_config = ConfigDict(extra="forbid")

    coarse: str
    medium: list[str]
    fine: list[StepReply]


@dataclass(frozen=True, slots=True)
class ClipTexts:
    """What is known of a clip.

    Attributes:
        clip: the clip.
        captions: texts of its usable captions.
        problem: why there is none, empty otherwise.
        description: measured motion of its main person.
        track_id: that person.
        motion: prose on the measured motion, empty when it is not to be told.
    """

    clip: Clip
    captions: tuple[str, ...]
    problem: str
    description: MotionDescription
    track_id: int
    motion: str = ""


@dataclass(frozen=True, slots=True)
class VideoTexts:
    """What is known of a video; ``scene`` is the caption of the whole, empty without one."""

    video_id: str
    scene: str
    clips: tuple[ClipTexts, ...]


@dataclass(frozen=True, slots=True)
class VideoAnnotations:
    """What became of a video.

    Attributes:
        coarse: its scene; empty when no reply gave one.
        annotations: one per clip, in the order of the clips.
        failed: clips that an error nobody foresaw came up on; their annotation is ``invalid``.
    """

    coarse: str
    annotations: tuple[Annotation, ...]
    failed: tuple[tuple[Clip, UnexpectedItemError], ...] = ()


def annotate_videos_with(
    videos: Sequence[VideoTexts], model: ChatModel, config: AnnotationConfig
) -> dict[str, VideoAnnotations]:
    """Annotate all clips of some videos.

    The first clip's reply that can be used fixes the coarse text of its video; the other clips are
    asked with it at hand, so that one video has one scene.

    Args:
        videos: with the texts of their clips.
        model: that answers.
        config: how it is asked and what is demanded.

    Returns:
        By ``video_id``; an error on one clip costs only its own annotation.
    """
    prompts = _Prompts.load(config)
    talks = {
        video.video_id: [_Talk(texts, video.scene) for texts in video.clips] for video in videos
    }
    coarse: dict[str, str] = {}
    # Until a video has its scene, one clip of it is asked at a time; mostly that is the first.
    while firsts := [
        open_talk
        for video_id, listed in talks.items()
        if not coarse.get(video_id) and (open_talk := next(_unasked(listed), None))
    ]:
        _converse(firsts, model, prompts, config)
        for talk in firsts:
            if talk.answer is not None:
                coarse[talk.texts.clip.video_id] = talk.answer.coarse
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
            replace(_finished(talk, model.name, prompts, config), coarse=scene) for talk in listed
        )
        failed = tuple((talk.texts.clip, talk.error) for talk in listed if talk.error is not None)
        finished[video_id] = VideoAnnotations(scene, annotations, failed)
    return finished


def estimated_request(clip: Clip, captions: Sequence[str], config: AnnotationConfig) -> ChatRequest:
    """The request that annotates a clip, before any repair, for an estimate of its cost.

    Args:
        clip: the clip.
        captions: of it, or texts as long as they will be.
        config: how it is asked.
    """
    prompts = _Prompts.load(config)
    return _first_request(clip, captions, "", "", "", prompts, config)


# ----------------------------------------------------------------------------------- validation


def parse_reply(text: str) -> AnnotationReply:
    """Read a reply, whatever stands around its JSON object.

    Raises:
        pydantic.ValidationError: there is no such object.
    """
    start, end = text.find("{"), text.rfind("}")
    return AnnotationReply.model_validate_json(text[start : end + 1] if 0 <= start < end else text)


def tidy_reply(reply: AnnotationReply) -> AnnotationReply:
    """Mend what needs no model: spaces, numbering, capital letters and full stops."""
    steps = [
        step.model_copy(update={"text": _as_step(step.text)})
        for step in sorted(reply.fine, key=lambda step: (step.start_s, step.end_s))
    ]
    return AnnotationReply(
        coarse=_as_sentence(reply.coarse),
        medium=[_as_sentence(text) for text in reply.medium],
        fine=steps,
    )


def check_reply(
    reply: AnnotationReply, length_s: float, instructions: str, config: AnnotationConfig
) -> list[str]:
    """What is wrong with a reply; empty when nothing is.

    Args:
        reply: the reply, tidied.
        length_s: of the clip.
        instructions: the system text that the model was given.
        config: the demands.
    """
    found = [f"coarse: {problem}" for problem in check_coarse(reply.coarse)]
    if not 1 <= len(reply.medium) <= config.num_medium:
        found.append(f"medium: expected 1 to {config.num_medium} texts, found {len(reply.medium)}")
    for index, text in enumerate(reply.medium):
        problems = check_medium(text, environment_allowed=True)
        found += [f"medium[{index}]: {problem}" for problem in problems]
    if not 1 <= len(reply.fine) <= config.max_steps:
        found.append(f"fine: expected 1 to {config.max_steps} steps, found {len(reply.fine)}")
    for index, step in enumerate(reply.fine):
        where = f"fine[{index}] ({step.text[:60]!r})"
        found += [f"{where}: {problem}" for problem in check_step(step.text)]
        inside = (
            -TIME_TOLERANCE_S <= step.start_s < step.end_s <= length_s + TIME_TOLERANCE_S
            and step.start_s < length_s - MIN_STEP_S
            and step.end_s > MIN_STEP_S
        )
        if not inside:
            found.append(
                f"{where}: expected 0 <= start_s < end_s <= {length_s:.1f}, "
                f"found {step.start_s:g} and {step.end_s:g}"
            )
    texts = (reply.coarse, *reply.medium, *(step.text for step in reply.fine))
    if _repeats(instructions, " ".join(texts)):
        found.append("expected an annotation, found words of the instructions")
    return found


def _repeats(instructions: str, text: str) -> bool:
    words, known = _words(text), _words(instructions)
    runs = {tuple(known[i : i + LEAK_WORDS]) for i in range(len(known) - LEAK_WORDS + 1)}
    return any(tuple(words[i : i + LEAK_WORDS]) in runs for i in range(len(words) - LEAK_WORDS + 1))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _as_sentence(text: str) -> str:
    text = " ".join(text.split())
    if text and text[-1] not in ".!?":
        text += "."
    return text[:1].upper() + text[1:]


def _as_step(text: str) -> str:
    text = _NUMBERING.sub("", " ".join(text.split())).rstrip(".!; ")
    return text[:1].lower() + text[1:]


# --------------------------------------------------------------------------------- conversation


@dataclass(frozen=True, slots=True)
class _Prompts:
    annotation: Prompt
    repair: Prompt
    contradiction: Prompt

    @classmethod
    def load(cls, config: AnnotationConfig) -> "_Prompts":
        names = ("annotation", "repair", "contradiction")
        return cls(*(load_prompt(name, config.prompts) for name in names))


@dataclass(slots=True)
class _Talk:
    """The conversation about one clip: what was asked, what came back, what it cost so far."""

    texts: ClipTexts
    scene: str
    coarse: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    reply: str = ""
    answer: AnnotationReply | None = None
    cost: Cost = field(default_factory=Cost)
    model: str = ""
    request_id: str = ""
    error: UnexpectedItemError | None = None

    def fail(self, error: Exception) -> None:
        """End it with an error that nobody foresaw."""
        self.error = UnexpectedItemError.of(error)
        self.outcome, self.answer = Outcome.INVALID, None
        self.reason = f"unexpected error: {self.error.detail}"

    def take(self, reply: ChatReply) -> None:
        """Take the service's word for how the call ended; what it says is checked later."""
        self.outcome, self.reason, self.reply = reply.outcome, reply.reason, reply.text
        self.answer = None
        self.cost = Cost(**total_cost(self.cost, reply))
        self.model = reply.model or self.model
        self.request_id = reply.request_id or self.request_id


def _guarded(talk: _Talk, work: Callable[[], Result]) -> Result | None:
    """What the work on one clip gives; None when it fails, which ends the clip's talk alone."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - becomes the clip's rejection, and is logged
        talk.fail(error)
        return None


def _unasked(talks: Sequence[_Talk]) -> Iterator[_Talk]:
    return (talk for talk in talks if talk.outcome is None and talk.texts.captions)


def _converse(
    talks: Sequence[_Talk], model: ChatModel, prompts: _Prompts, config: AnnotationConfig
) -> None:
    """Ask about every clip; repair once what is wrong; ask again once about what is not so."""
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
        if problems:
            talk.outcome = Outcome.INVALID
            talk.reason = f"after one repair: {'; '.join(problems)}"
    if config.grounding.policy == "reask":
        _ask_about_contradictions(talks, asked, model, prompts, config)


def _take(talk: _Talk, reply: ChatReply, prompts: _Prompts, config: AnnotationConfig) -> list[str]:
    """Take a reply; returns what is wrong with it when the model can be asked to mend that."""
    talk.take(reply)
    if reply.outcome is not Outcome.SUCCESS:
        return []
    clip = talk.texts.clip
    try:
        answer = tidy_reply(parse_reply(reply.text))
    except ValidationError as error:
        return [
            f"{'.'.join(str(part) for part in problem['loc']) or 'reply'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
    problems = check_reply(answer, clip.end_s - clip.start_s, prompts.annotation.system, config)
    if not problems:
        talk.answer = answer
    return problems


def _ask_about_contradictions(
    talks: Sequence[_Talk],
    asked: dict[int, ChatRequest],
    model: ChatModel,
    prompts: _Prompts,
    config: AnnotationConfig,
) -> None:
    """One more chance for replies that the motion contradicts; a worse one is not taken."""
    again: list[tuple[_Talk, ChatRequest]] = []
    before: dict[int, Annotation] = {}
    for talk in talks:
        if talk.answer is None:
            continue
        annotation = _guarded(talk, partial(_grounded, talk, "", prompts, config))
        said = contradictions(annotation) if annotation is not None else ()
        if annotation is not None and said:
            before[id(talk)] = annotation
            told = prompts.contradiction.fill_user(
                contradictions="\n".join(f"- {line}" for line in said)
            )
            again.append((talk, _continued(asked[id(talk)], talk.reply, told)))
    for talk, reply in model.ask_many(again):
        kept = (talk.answer, talk.reply, talk.outcome, talk.reason)
        problems = _guarded(talk, partial(_take, talk, reply, prompts, config))
        if talk.error is not None:
            continue
        if talk.answer is None or problems:
            talk.answer, talk.reply, talk.outcome, talk.reason = kept
            continue
        after = _guarded(talk, partial(_grounded, talk, "", prompts, config))
        if after is not None and len(contradictions(after)) > len(contradictions(before[id(talk)])):
            talk.answer, talk.reply, talk.outcome, talk.reason = kept


def _request(talk: _Talk, prompts: _Prompts, config: AnnotationConfig) -> ChatRequest:
    texts = talk.texts
    return _first_request(
        texts.clip, texts.captions, talk.scene, talk.coarse, texts.motion, prompts, config
    )


def _first_request(
    clip: Clip,
    captions: Sequence[str],
    scene: str,
    coarse: str,
    motion: str,
    prompts: _Prompts,
    config: AnnotationConfig,
) -> ChatRequest:
    told = f"The whole video: {json.dumps(_cut(scene))}\n" if scene else ""
    if coarse:
        told += f"Use this as coarse, word for word: {json.dumps(coarse)}\n"
    values = {
        "num_medium": config.num_medium,
        "max_steps": config.max_steps,
        "length_s": f"{clip.end_s - clip.start_s:.1f}",
    }
    user = prompts.annotation.fill_user(
        scene=told,
        motion=f"Measured, with times from the clip's start: {motion}\n" if motion else "",
        descriptions="\n".join(json.dumps(_cut(caption)) for caption in captions),
        **values,
    )
    return ChatRequest(
        system=prompts.annotation.fill_system(**values),
        parts=(user,),
        prompt_id=prompts.annotation.prompt_id + ("+motion" if motion else ""),
        schema=AnnotationReply,
    )


def _cut(text: str) -> str:
    # JSON leaves angle brackets alone; a caption must not be able to close its own block.
    return text[:MAX_CAPTION_CHARS].replace("<", "(").replace(">", ")")


def _continued(request: ChatRequest, reply: str, answer: str) -> ChatRequest:
    return replace(request, history=(*request.history, (reply, answer)))


def _prompt_id(texts: ClipTexts, prompts: _Prompts) -> str:
    return prompts.annotation.prompt_id + ("+motion" if texts.motion else "")


# ---------------------------------------------------------------------------------- annotations


def _annotation(talk: _Talk, name: str, prompts: _Prompts, config: AnnotationConfig) -> Annotation:
    texts, answer = talk.texts, talk.answer
    outcome, reason = talk.outcome, talk.reason
    if outcome is None:
        outcome, reason = Outcome.SKIPPED, f"no caption to work from: {texts.problem}"
    return Annotation(
        clip_id=texts.clip.clip_id,
        video_id=texts.clip.video_id,
        track_id=texts.track_id,
        coarse=answer.coarse if answer else "",
        medium=tuple(dict.fromkeys(answer.medium)) if answer else (),
        fine=_steps(answer, texts.clip) if answer else (),
        activity=texts.description.activity,
        annotator=config.annotator,
        model=talk.model or name,
        prompt_id=_prompt_id(texts, prompts),
        outcome=outcome,
        reason=reason,
        **total_cost(talk.cost),
        request_id=talk.request_id,
        reply="" if answer else talk.reply,
    )


def _steps(answer: AnnotationReply, clip: Clip) -> tuple[FineStep, ...]:
    """Steps in the time of the video, inside the clip, not yet grounded."""
    steps: list[FineStep] = []
    for step in answer.fine:
        start_s = min(max(clip.start_s + step.start_s, clip.start_s), clip.end_s - MIN_STEP_S)
        end_s = max(min(clip.start_s + step.end_s, clip.end_s), start_s + MIN_STEP_S)
        unchecked = Grounding(Verdict.NOT_MEASURABLE, "", start_s, end_s)
        steps.append(FineStep(step.text, start_s, end_s, unchecked))
    return tuple(steps)


def _finished(talk: _Talk, name: str, prompts: _Prompts, config: AnnotationConfig) -> Annotation:
    annotation = _guarded(talk, partial(_grounded, talk, name, prompts, config))
    # Without an answer there is nothing to check any more.
    return annotation or _annotation(talk, name, prompts, config)


def _grounded(talk: _Talk, name: str, prompts: _Prompts, config: AnnotationConfig) -> Annotation:
    annotation = _annotation(talk, name, prompts, config)
    if annotation.outcome is not Outcome.SUCCESS:
        return annotation
    return ground_annotation(annotation, talk.texts.description, config.grounding)
