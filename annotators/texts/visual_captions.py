"""Captions by a visual language model, from sampled frames with their times.

There are two modes (``CaptionConfig.mode``):

- ``frames`` sends all frames in one request, each with its time.
- ``differential`` asks for the change between every two consecutive frames, with the previous
  change in the prompt, and then for a summary of the changes. It needs as many calls as frames, and
  keeps the time order that models confuse when they see many frames at once (ShareGPT4Video, Chen
  et al. 2024).

Where more than one person is in the picture, the prompt tells whom to describe (``CaptionConfig.
mark``): by numbered boxes in the frames, or in frames that are cropped to one person, or only in
words.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from annotators.chat.cache import ChatReply
from annotators.chat.model import ChatModel
from annotators.chat.protocol import ChatRequest, Jpeg
from annotators.texts.config import CaptionConfig
from annotators.texts.frames import TimedFrame
from annotators.texts.prompts import Prompt, load_prompt
from data.records import Caption, Clip, Outcome, total_cost

CLIPS_AT_ONCE: Final = 32
"""Number of clips whose frames are in memory at the same time in differential mode."""


@dataclass(frozen=True, slots=True)
class VideoView:
    """Input for the caption of a whole video."""

    video_id: str
    duration_s: float
    frames: tuple[TimedFrame, ...]


@dataclass(frozen=True, slots=True)
class ShownPerson:
    """A person whom the caption of a clip has to describe.

    Attributes:
        number: number of the person.
        track_id: track of the person.
        where: what tells the person apart from the others; may be empty.
    """

    number: int
    track_id: int
    where: str


@dataclass(frozen=True, slots=True)
class ClipView:
    """Input for the captions of a clip, or of one person in it.

    Attributes:
        clip: clip to caption.
        frames: frames in order of time; empty if they cannot be read.
        motion: prose about the measured motion, empty if it is not part of the prompt.
        scene: caption of the whole video, empty if it is not part of the prompt.
        problem: why there are no frames, empty otherwise.
        people: people to describe; empty if the prompt names nobody, because only one person is in
            the picture.
        mark: how the people are marked in the frames. The frames of ``crops`` show one person.
    """

    clip: Clip
    frames: tuple[TimedFrame, ...]
    motion: str = ""
    scene: str = ""
    problem: str = ""
    people: tuple[ShownPerson, ...] = ()
    mark: Literal["boxes", "crops", "none"] = "none"

    @property
    def track_id(self) -> int | None:
        """Track of the person that the captions are about; None for all that is seen."""
        return self.people[0].track_id if self.mark == "crops" and self.people else None


# ------------------------------------------------------------------------------------- captions


def caption_whole_videos(
    views: Iterable[VideoView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    """Yield one caption of each whole video.

    Args:
        views: videos to caption.
        model: model that writes the captions.
        config: settings of the prompts.
    """
    prompt = load_prompt("video_caption", config.prompts)

    def requests() -> Iterator[tuple[Caption, ChatRequest]]:
        for view in views:
            caption = _new_caption(view.video_id, view.frames, prompt, model.name, config)
            yield caption, video_request(view, config)

    for caption, reply in model.ask_many(requests()):
        yield _with_reply(caption, reply)


def caption_clips(
    views: Iterable[ClipView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    """Yield ``config.samples`` captions of each view of a clip, in any order.

    A view without frames gets captions with the outcome ``skipped`` and the reason.

    Args:
        views: views of clips to caption, which are read as the model needs them.
        model: model that writes the captions.
        config: settings of the prompts.
    """
    skipped: list[Caption] = []
    shown = _with_frames(views, skipped, model.name, config)
    if config.mode == "frames":
        yield from _from_frames(shown, model, config)
    else:
        while chunk := list(itertools.islice(shown, CLIPS_AT_ONCE)):
            yield from _from_changes(chunk, model, config)
    yield from skipped


def estimated_clip_requests(view: ClipView, config: CaptionConfig) -> Iterator[ChatRequest]:
    """Yield the requests for the captions of a clip, to estimate their cost.

    In differential mode they do not contain the replies to earlier requests.
    """
    for sample in range(config.samples):
        if config.mode == "frames":
            prompt = load_prompt("clip_caption", config.prompts)
            yield _clip_request(view, prompt, sample, config)
            continue
        change = load_prompt("clip_change", config.prompts)
        for pair in itertools.pairwise(view.frames):
            yield _change_request(view, change, pair, "", sample, config)
        summary = load_prompt("clip_summary", config.prompts)
        yield _summary_request(view, summary, [], sample, config)


def video_request(view: VideoView, config: CaptionConfig) -> ChatRequest:
    """Return the request for the caption of a whole video."""
    prompt = load_prompt("video_caption", config.prompts)
    parts = prompt.fill_parts(
        _labeled(view.frames, 0.0),
        length_s=_seconds(view.duration_s),
        num_frames=len(view.frames),
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id)


def _with_frames(
    views: Iterable[ClipView], skipped: list[Caption], name: str, config: CaptionConfig
) -> Iterator[ClipView]:
    prompt = load_prompt(
        "clip_caption" if config.mode == "frames" else "clip_summary", config.prompts
    )
    for view in views:
        if view.frames:
            yield view
            continue
        caption = _caption_of(view, prompt, name, config)
        skipped.append(replace(caption, outcome=Outcome.SKIPPED, reason=view.problem))


def _from_frames(
    views: Iterator[ClipView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    prompt = load_prompt("clip_caption", config.prompts)

    def requests() -> Iterator[tuple[Caption, ChatRequest]]:
        for view in views:
            caption = _caption_of(view, prompt, model.name, config)
            for sample in range(config.samples):
                yield replace(caption, sample=sample), _clip_request(view, prompt, sample, config)

    for caption, reply in model.ask_many(requests()):
        yield _with_reply(caption, reply)


def _from_changes(
    views: Sequence[ClipView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    change = load_prompt("clip_change", config.prompts)
    summary = load_prompt("clip_summary", config.prompts)
    chains: list[_Chain] = []
    for view, sample in itertools.product(views, range(config.samples)):
        caption = _caption_of(view, summary, model.name, config)
        chains.append(_Chain(view, replace(caption, sample=sample), []))
    for step in range(max(len(view.frames) for view in views) - 1):
        asked = (
            (
                chain,
                _change_request(
                    chain.view,
                    change,
                    (chain.view.frames[step], chain.view.frames[step + 1]),
                    chain.notes[-1] if chain.notes else "",
                    chain.caption.sample,
                    config,
                ),
            )
            for chain in chains
            if chain.is_open and step + 1 < len(chain.view.frames)
        )
        for chain, reply in model.ask_many(asked):
            chain.take(reply)
            if chain.is_open:
                times = chain.view.frames[step].time_s, chain.view.frames[step + 1].time_s
                start, end = (_seconds(time_s - chain.view.clip.start_s) for time_s in times)
                chain.notes.append(f"{start} s to {end} s: {reply.text.strip()}")
    summaries = (
        (chain, _summary_request(chain.view, summary, chain.notes, chain.caption.sample, config))
        for chain in chains
        if chain.is_open
    )
    for chain, reply in model.ask_many(summaries):
        chain.take(reply)
    for chain in chains:
        yield chain.caption


@dataclass(slots=True)
class _Chain:
    """The calls for one caption, in order. The chain ends with the first call that fails."""

    view: ClipView
    caption: Caption
    notes: list[str]

    @property
    def is_open(self) -> bool:
        return self.caption.outcome is Outcome.SUCCESS

    def take(self, reply: ChatReply) -> None:
        self.caption = _with_reply(self.caption, reply)


def _caption_of(view: ClipView, prompt: Prompt, name: str, config: CaptionConfig) -> Caption:
    """Create the caption of a view without text."""
    clip = view.clip
    caption = _new_caption(clip.video_id, view.frames, prompt, name, config)
    return replace(
        caption,
        clip_id=clip.clip_id,
        uses_motion=config.use_motion,
        track_id=view.track_id,
    )


def _new_caption(
    video_id: str,
    frames: Sequence[TimedFrame],
    prompt: Prompt,
    name: str,
    config: CaptionConfig,
) -> Caption:
    """Create the caption of a video without text."""
    return Caption(
        video_id=video_id,
        clip_id=None,
        captioner=config.captioner,
        model=name,
        prompt_id=prompt.prompt_id,
        text="",
        outcome=Outcome.SUCCESS,
        frame_times_s=tuple(round(frame.time_s, 6) for frame in frames),
    )


def _with_reply(caption: Caption, reply: ChatReply) -> Caption:
    """Add a reply to a caption; tokens, cost and time of all its calls add up."""
    text, outcome, reason = " ".join(reply.text.split()), reply.outcome, reply.reason
    if outcome is Outcome.SUCCESS and not text:
        outcome, reason = Outcome.INVALID, "expected prose, found an empty reply"
    return replace(
        caption,
        text=text if outcome in (Outcome.SUCCESS, Outcome.TRUNCATED) else "",
        outcome=outcome,
        reason=reason,
        model=reply.model or caption.model,
        **total_cost(caption, reply),
        request_id=reply.request_id,
    )


# ------------------------------------------------------------------------------------- requests


def _clip_request(
    view: ClipView, prompt: Prompt, sample: int, config: CaptionConfig
) -> ChatRequest:
    clip = view.clip
    parts = prompt.fill_parts(
        _labeled(view.frames, clip.start_s),
        length_s=_seconds(clip.end_s - clip.start_s),
        num_frames=len(view.frames),
        people=_people(view, config),
        **_context(view),
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id, sample)


def _change_request(
    view: ClipView,
    prompt: Prompt,
    pair: Sequence[TimedFrame],
    note: str,
    sample: int,
    config: CaptionConfig,
) -> ChatRequest:
    start_s, end_s = (frame.time_s - view.clip.start_s for frame in pair)
    parts = prompt.fill_parts(
        _labeled(pair, view.clip.start_s),
        start_s=_seconds(start_s),
        end_s=_seconds(end_s),
        previous=f"The change before: {note}\n" if note else "",
        people=_people(view, config),
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id, sample)


def _summary_request(
    view: ClipView, prompt: Prompt, notes: Sequence[str], sample: int, config: CaptionConfig
) -> ChatRequest:
    clip = view.clip
    parts = prompt.fill_parts(
        _labeled(view.frames, clip.start_s),
        length_s=_seconds(clip.end_s - clip.start_s),
        notes="\n".join(notes),
        people=_people(view, config),
        **_context(view),
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id, sample)


def _context(view: ClipView) -> Mapping[str, str]:
    context = f"The whole video: {view.scene}\n" if view.scene else ""
    measured = f"Measured, with times from the clip's start: {view.motion}\n"
    return {"context": context, "motion": measured if view.motion else ""}


def _people(view: ClipView, config: CaptionConfig) -> str:
    """Return what the prompt says about whom to describe; empty if it names nobody."""
    if not view.people:
        return ""
    told = [
        f"person {person.number}{f' ({person.where})' if person.where else ''}"
        for person in view.people
    ]
    prompt = load_prompt(f"mark_{view.mark}", config.prompts)
    return prompt.fill_user(people=", ".join(told))


def _labeled(frames: Sequence[TimedFrame], origin_s: float) -> list[tuple[str, Jpeg]]:
    return [(f"{_seconds(frame.time_s - origin_s)} s:", frame.picture) for frame in frames]


def _seconds(value: float) -> str:
    return f"{max(value, 0.0):.1f}"
