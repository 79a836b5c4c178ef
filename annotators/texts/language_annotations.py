"""Annotations by a language model: captions in, one validated, typed reply with three levels out.

A reply that breaks the rules is sent back once with its errors. A reply that the measured motion
contradicts is sent back once with the measurements, if the grounding policy is ``reask``. A reply
that is still unusable is stored with the outcome ``invalid``.

Captions are untrusted input (an image may show "ignore the above"). They are passed to the model as
JSON strings between markers. Replies are untrusted as well: every field is validated, and a reply
that repeats the instructions is rejected.
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
"""A step may exceed its clip by this time and is then clipped to it, because the times of frames in
prompts are rounded to a tenth of a second."""
MIN_STEP_S: Final = 0.05
LEAK_WORDS: Final = 8
"""Number of consecutive words of the instructions in a reply that counts as repeating them."""
MAX_CAPTION_CHARS: Final = 6000

Result = TypeVar("Result")

_NUMBERING: Final = re.compile(r"^(?:step\s*)?\d+\s*[.):]\s*", re.IGNORECASE)


# The docstrings of the two models of a reply are part of their JSON schema, and thereby of requests
# and cache keys.
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
    """Input for the annotation of a clip.

    Attributes:
        clip: clip to annotate.
        captions: texts of its usable captions.
        problem: why there are no captions, empty otherwise.
        description: measured motion of the main person.
        track_id: track of the main person.
        motion: prose about the measured motion, empty if it is not part of the prompt.
    """

    clip: Clip
    captions: tuple[str, ...]
    problem: str
    description: MotionDescription
    track_id: int
    motion: str = ""


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
        annotations: one annotation per clip, in the order of the clips.
        failed: clips whose annotation failed with an unexpected error; their outcome is
            ``invalid``.
    """

    coarse: str
    annotations: tuple[Annotation, ...]
    failed: tuple[tuple[Clip, UnexpectedItemError], ...] = ()


def annotate_videos_with(
    videos: Sequence[VideoTexts], model: ChatModel, config: AnnotationConfig
) -> dict[str, VideoAnnotations]:
    """Annotate all clips of several videos.

    The first usable reply for a clip of a video determines the coarse text of the video. The
    prompts of the other clips contain this text, so that a video has only one.

    Args:
        videos: videos with the texts of their clips.
        model: model that writes the annotations.
        config: settings of the prompts and limits of the annotations.

    Returns:
        Annotations by ``video_id``. An error on one clip affects only its own annotation.
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
    """Return the first request for the annotation of a clip, to estimate its cost.

    Args:
        clip: clip to annotate.
        captions: captions of the clip, or placeholders of the expected length.
        config: settings of the prompts.
    """
    prompts = _Prompts.load(config)
    return _first_request(clip, captions, "", "", "", prompts, config)


# ----------------------------------------------------------------------------------- validation


def parse_reply(text: str) -> AnnotationReply:
    """Parse a reply. Text around its JSON object is ignored.

    Raises:
        pydantic.ValidationError: the reply does not contain a valid object.
    """
    start, end = text.find("{"), text.rfind("}")
    return AnnotationReply.model_validate_json(text[start : end + 1] if 0 <= start < end else text)


def tidy_reply(reply: AnnotationReply) -> AnnotationReply:
    """Correct what needs no model: spaces, numbering, capital letters and periods."""
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
    """Return the errors of a reply.

    Args:
        reply: reply after :func:`tidy_reply`.
        length_s: duration of the clip, seconds.
        instructions: system prompt of the request.
        config: limits of the annotation.
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
    """The conversation about one clip: its requests, the current reply, and the cost so far."""

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
        """End the conversation with an unexpected error."""
        self.error = UnexpectedItemError.of(error)
        self.outcome, self.answer = Outcome.INVALID, None
        self.reason = f"unexpected error: {self.error.detail}"

    def take(self, reply: ChatReply) -> None:
        """Record the outcome and cost of a call. The text of the reply is validated later."""
        self.outcome, self.reason, self.reply = reply.outcome, reply.reason, reply.text
        self.answer = None
        self.cost = Cost(**total_cost(self.cost, reply))
        self.model = reply.model or self.model
        self.request_id = reply.request_id or self.request_id


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
        if problems:
            talk.outcome = Outcome.INVALID
            talk.reason = f"after one repair: {'; '.join(problems)}"
    if config.grounding.policy == "reask":
        _ask_about_contradictions(talks, asked, model, prompts, config)


def _take(talk: _Talk, reply: ChatReply, prompts: _Prompts, config: AnnotationConfig) -> list[str]:
    """Parse and check a reply, and return the errors that the model can repair."""
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
    """Ask once more about replies that the motion contradicts; worse new replies are ignored."""
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
    # JSON does not escape angle brackets, and a caption must not be able to close its own block.
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
    """Convert steps to the time of the video, clipped to the clip and not grounded yet."""
    steps: list[FineStep] = []
    for step in answer.fine:
        start_s = min(max(clip.start_s + step.start_s, clip.start_s), clip.end_s - MIN_STEP_S)
        end_s = max(min(clip.start_s + step.end_s, clip.end_s), start_s + MIN_STEP_S)
        unchecked = Grounding(Verdict.NOT_MEASURABLE, "", start_s, end_s)
        steps.append(FineStep(step.text, start_s, end_s, unchecked))
    return tuple(steps)


def _finished(talk: _Talk, name: str, prompts: _Prompts, config: AnnotationConfig) -> Annotation:
    annotation = _guarded(talk, partial(_grounded, talk, name, prompts, config))
    # A clip without a usable reply has nothing to ground.
    return annotation or _annotation(talk, name, prompts, config)


def _grounded(talk: _Talk, name: str, prompts: _Prompts, config: AnnotationConfig) -> Annotation:
    annotation = _annotation(talk, name, prompts, config)
    if annotation.outcome is not Outcome.SUCCESS:
        return annotation
    return ground_annotation(annotation, talk.texts.description, config.grounding)
