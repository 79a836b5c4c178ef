"""Captions by a visual language model, from sampled frames with their times.

There are two modes (``CaptionConfig.mode``):

- ``frames`` sends all frames in one request, each with its time.
- ``differential`` asks for the change between every two consecutive frames, with the previous
  change in the prompt, and then for a summary of the changes. It needs as many calls as frames, and
  keeps the time order that models confuse when they see many frames at once (ShareGPT4Video, Chen
  et al. 2024).
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from annotators.chat.cache import ChatReply
from annotators.chat.model import ChatModel
from annotators.chat.protocol import ChatRequest, Jpeg
from annotators.texts.kinematic_captions import CaptionConfig
from annotators.texts.prompts import Prompt, load_prompt
from data.records import Caption, Clip, Outcome, VideoProbe, total_cost
from data.video.reader import ReaderConfig, open_frames

CLIPS_AT_ONCE: Final = 32
"""Number of clips whose frames are in memory at the same time in differential mode."""

_EPSILON_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A frame of a prompt and its time in the video."""

    time_s: float
    picture: Jpeg


@dataclass(frozen=True, slots=True)
class VideoView:
    """Input for the caption of a whole video."""

    video_id: str
    duration_s: float
    frames: tuple[TimedFrame, ...]


@dataclass(frozen=True, slots=True)
class ClipView:
    """Input for the captions of a clip.

    Attributes:
        clip: clip to caption.
        frames: frames in order of time; empty if they cannot be read.
        motion: prose about the measured motion, empty if it is not part of the prompt.
        scene: caption of the whole video, empty if it is not part of the prompt.
        problem: why there are no frames, empty otherwise.
    """

    clip: Clip
    frames: tuple[TimedFrame, ...]
    motion: str = ""
    scene: str = ""
    problem: str = ""


# --------------------------------------------------------------------------------------- frames


def sample_times(start_s: float, end_s: float, count: int) -> list[float]:
    """Return times spread evenly over a span: the midpoints of ``count`` equal intervals."""
    window_s = (end_s - start_s) / count
    return [start_s + (index + 0.5) * window_s for index in range(count)]


def read_clip_frames(
    path: Path, probe: VideoProbe, clip: Clip, config: CaptionConfig, reader: ReaderConfig
) -> tuple[TimedFrame, ...]:
    """Read the sampled frames of a clip in one pass.

    Raises:
        ItemError: the video cannot be read.
    """
    times_s = sample_times(clip.start_s, clip.end_s, config.frames_per_clip)
    with open_frames(
        path,
        probe,
        start_s=times_s[0],
        end_s=clip.end_s,
        sample_fps=config.frames_per_clip / (clip.end_s - clip.start_s),
        max_side_px=config.max_side_px,
        config=reader,
    ) as frames:
        return tuple(TimedFrame(f.pts_s, Jpeg.encode(f.image, config.jpeg_quality)) for f in frames)


def read_video_frames(
    path: Path, probe: VideoProbe, duration_s: float, config: CaptionConfig, reader: ReaderConfig
) -> tuple[TimedFrame, ...]:
    """Read frames spread over a whole video, with a seek to each, because they are far apart.

    Raises:
        ItemError: the video cannot be read.
    """
    found: dict[float, TimedFrame] = {}
    step_s = float(1 / probe.fps)
    for time_s in sample_times(0.0, duration_s, config.frames_per_video):
        with ExitStack() as stack:
            frames = stack.enter_context(
                open_frames(
                    path,
                    probe,
                    start_s=max(0.0, time_s - step_s),
                    end_s=time_s + step_s,
                    sample_fps=float(probe.fps),
                    max_side_px=config.max_side_px,
                    config=reader,
                )
            )
            for frame in itertools.islice(frames, 1):
                picture = Jpeg.encode(frame.image, config.jpeg_quality)
                found[frame.pts_s] = TimedFrame(frame.pts_s, picture)
    return tuple(found[time_s] for time_s in sorted(found))


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
            caption = _new_caption(view.video_id, None, view.frames, prompt, model.name, config)
            yield caption, video_request(view, config)

    for caption, reply in model.ask_many(requests()):
        yield _with_reply(caption, reply)


def caption_clips(
    views: Iterable[ClipView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    """Yield ``config.samples`` captions of each clip, in any order.

    A clip without frames gets captions with the outcome ``skipped`` and the reason.

    Args:
        views: clips to caption, which are read as the model needs them.
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
            yield _clip_request(view, load_prompt("clip_caption", config.prompts), sample)
            continue
        change = load_prompt("clip_change", config.prompts)
        for pair in itertools.pairwise(view.frames):
            yield _change_request(view, change, pair, "", sample)
        yield _summary_request(view, load_prompt("clip_summary", config.prompts), [], sample)


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
        clip = view.clip
        caption = _new_caption(clip.video_id, clip.clip_id, (), prompt, name, config)
        skipped.append(replace(caption, outcome=Outcome.SKIPPED, reason=view.problem))


def _from_frames(
    views: Iterator[ClipView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    prompt = load_prompt("clip_caption", config.prompts)

    def requests() -> Iterator[tuple[Caption, ChatRequest]]:
        for view in views:
            clip = view.clip
            for sample in range(config.samples):
                caption = _new_caption(
                    clip.video_id, clip.clip_id, view.frames, prompt, model.name, config
                )
                yield replace(caption, sample=sample), _clip_request(view, prompt, sample)

    for caption, reply in model.ask_many(requests()):
        yield _with_reply(caption, reply)


def _from_changes(
    views: Sequence[ClipView], model: ChatModel, config: CaptionConfig
) -> Iterator[Caption]:
    change = load_prompt("clip_change", config.prompts)
    summary = load_prompt("clip_summary", config.prompts)
    chains: list[_Chain] = []
    for view, sample in itertools.product(views, range(config.samples)):
        clip = view.clip
        caption = _new_caption(
            clip.video_id, clip.clip_id, view.frames, summary, model.name, config
        )
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
        (chain, _summary_request(chain.view, summary, chain.notes, chain.caption.sample))
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


def _new_caption(
    video_id: str,
    clip_id: str | None,
    frames: Sequence[TimedFrame],
    prompt: Prompt,
    name: str,
    config: CaptionConfig,
) -> Caption:
    """Create a caption without text."""
    return Caption(
        video_id=video_id,
        clip_id=clip_id,
        captioner=config.captioner,
        model=name,
        prompt_id=prompt.prompt_id,
        text="",
        outcome=Outcome.SUCCESS,
        frame_times_s=tuple(round(frame.time_s, 6) for frame in frames),
        uses_motion=config.use_motion and clip_id is not None,
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


def _clip_request(view: ClipView, prompt: Prompt, sample: int) -> ChatRequest:
    clip = view.clip
    parts = prompt.fill_parts(
        _labeled(view.frames, clip.start_s),
        length_s=_seconds(clip.end_s - clip.start_s),
        num_frames=len(view.frames),
        **_context(view),
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id, sample)


def _change_request(
    view: ClipView, prompt: Prompt, pair: Sequence[TimedFrame], note: str, sample: int
) -> ChatRequest:
    start_s, end_s = (frame.time_s - view.clip.start_s for frame in pair)
    parts = prompt.fill_parts(
        _labeled(pair, view.clip.start_s),
        start_s=_seconds(start_s),
        end_s=_seconds(end_s),
        previous=f"The change before: {note}\n" if note else "",
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id, sample)


def _summary_request(
    view: ClipView, prompt: Prompt, notes: Sequence[str], sample: int
) -> ChatRequest:
    clip = view.clip
    parts = prompt.fill_parts(
        _labeled(view.frames, clip.start_s),
        length_s=_seconds(clip.end_s - clip.start_s),
        notes="\n".join(notes),
        **_context(view),
    )
    return ChatRequest(prompt.fill_system(), parts, prompt.prompt_id, sample)


def _context(view: ClipView) -> Mapping[str, str]:
    context = f"The whole video: {view.scene}\n" if view.scene else ""
    measured = f"Measured, with times from the clip's start: {view.motion}\n"
    return {"context": context, "motion": measured if view.motion else ""}


def _labeled(frames: Sequence[TimedFrame], origin_s: float) -> list[tuple[str, Jpeg]]:
    return [(f"{_seconds(frame.time_s - origin_s)} s:", frame.picture) for frame in frames]


def _seconds(value: float) -> str:
    return f"{max(value, 0.0):.1f}"
