"""The ``kinematic`` captioner, and the configuration of all captioners.

A caption is prose about a clip. The ``kinematic`` captioner describes only what was measured: the
position of each person in the frame, how much of the body is visible, and the movements with their
times, speeds and counts.

Shapes: T frames at 20 fps, J = 22 joints.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from annotators.chat.config import ChatConfig, LocalVlmConfig
from annotators.motion.describe import (
    KINEMATICS_VERSION,
    MotionDescription,
    describe_track,
    inside_frame,
)
from annotators.motion.events import EventKind
from annotators.motion.signals import MIN_CONFIDENCE
from annotators.wording.phrases import (
    PHRASES_VERSION,
    Form,
    count_word,
    in_words,
    is_compound,
    sentence,
)
from annotators.wording.timeline import Clause, timeline
from data.config import Config
from data.motion.skeleton import JOINT
from data.records import Caption, Clip, Outcome, PoseTrack

CAPTIONS_VERSION: Final = "1"
"""Version of the prose. It is increased whenever the prose changes."""

MAX_MAIN_SENTENCES: Final = 3
MAX_OTHERS_TOLD: Final = 2
EDGE_SHARE: Final = 0.36
"""Share of the frame's width that counts as left, and as right."""
CROSSING_SHARE: Final = 0.25
NEAR_SHARE: Final = 0.80
FAR_SHARE: Final = 0.35
"""Height of a fully visible body, relative to the height of the frame."""


class CaptionConfig(Config):
    """The captioner and its input."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {"captioner": ("service",)}

    captioner: Literal["kinematic", "openai", "transformers"] = Field(
        default="kinematic",
        description="kinematic writes prose from the measured motion, without a model. openai "
        "calls a visual LLM at an OpenAI-compatible endpoint. transformers runs one locally.",
    )
    service: ChatConfig | None = Field(
        default=None, description="Endpoint and model of captioner openai."
    )
    local_model: LocalVlmConfig | None = Field(
        default=None, description="Model of captioner transformers."
    )
    mode: Literal["frames", "differential"] = Field(
        default="frames",
        description="frames sends all frames in one request. differential compares consecutive "
        "frames and summarizes the changes, with as many calls as frames and a better time order.",
    )
    frames_per_clip: int = Field(default=8, ge=2, le=64, description="Frames per clip.")
    frames_per_video: int = Field(
        default=16,
        ge=0,
        le=128,
        description="Frames per video for the caption of a whole video. 0 disables it.",
    )
    max_side_px: int = Field(default=512, ge=32, description="Longer side of the frames.")
    jpeg_quality: int = Field(default=85, ge=30, le=100, description="JPEG quality of the frames.")
    samples: int = Field(default=1, ge=1, le=16, description="Captions per clip.")
    share_context: bool = Field(
        default=True, description="Add the caption of the whole video to the prompt of each clip."
    )
    use_motion: bool = Field(
        default=False,
        description="Add the measured motion to the prompt: people, path, events with times.",
    )
    prompts: Path | None = Field(
        default=None,
        description="Folder of prompts that replace those of annotators/texts/prompts.",
    )

    @model_validator(mode="after")
    def _check_model(self) -> "CaptionConfig":
        if self.captioner == "openai" and self.service is None:
            raise ValueError(
                "captions.service: expected an endpoint and model for captioner openai, found "
                'nothing. Remedy: set captions.service, e.g. {"model": "gpt-4.1-mini"}.'
            )
        if self.captioner == "transformers" and self.local_model is None:
            raise ValueError(
                "captions.local_model: expected a model for captioner transformers, found nothing. "
                'Remedy: set captions.local_model, e.g. {"model": "/models/SmolVLM2-500M"}.'
            )
        return self


@dataclass(frozen=True, slots=True)
class Framing:
    """Position and size of a person in the image.

    Attributes:
        extent: visible part of the body: ``full``, ``knees_up``, ``hips_up``, ``upper_body``,
            ``arms`` or ``legs``.
        place: ``left``, ``centre`` or ``right``, at the middle of the track. Captions contain this
            word, so its spelling is fixed.
        start_place, end_place: place at the start and at the end of the track.
        height_share: height of the visible part, relative to the height of the frame.
    """

    extent: str
    place: str
    start_place: str
    end_place: str
    height_share: float

    @property
    def moves_across(self) -> bool:
        """Whether the person moves to another place in the image."""
        return self.start_place != self.end_place


def framing(track: PoseTrack, frame_size_px: tuple[int, int]) -> Framing:
    """Measure the position and size of a person in the image.

    Args:
        track: pose track of the person.
        frame_size_px: (width, height) of the video.
    """
    seen_TJ = (track.confidence >= MIN_CONFIDENCE) & inside_frame(track, frame_size_px)
    share_J = seen_TJ.mean(axis=0)

    def seen(*names: str) -> bool:
        return bool(max(share_J[JOINT[name]] for name in names) >= 0.5)

    if not seen("left_shoulder", "right_shoulder", "head"):
        extent = "legs" if seen("left_ankle", "right_ankle") else "arms"
    elif seen("left_ankle", "right_ankle") and seen("left_knee", "right_knee"):
        extent = "full"
    elif seen("left_knee", "right_knee"):
        extent = "knees_up"
    elif seen("left_hip", "right_hip"):
        extent = "hips_up"
    else:
        extent = "upper_body"

    points_TJ2 = np.where(seen_TJ[:, :, None], track.joints_2d, np.nan)
    points_TJ2 = points_TJ2[seen_TJ.sum(axis=1) >= 3]
    if len(points_TJ2) == 0:
        return Framing("arms", "centre", "centre", "centre", 0.0)
    x_T = np.nanmean(points_TJ2[:, :, 0], axis=1) / frame_size_px[0]
    height_T = np.nanmax(points_TJ2[:, :, 1], axis=1) - np.nanmin(points_TJ2[:, :, 1], axis=1)

    def place(x: float) -> str:
        return "left" if x < EDGE_SHARE else ("right" if x > 1 - EDGE_SHARE else "centre")

    third = max(len(x_T) // 4, 1)
    start, end = float(np.median(x_T[:third])), float(np.median(x_T[-third:]))
    across = abs(end - start) >= CROSSING_SHARE
    middle = place(float(np.median(x_T)))
    return Framing(
        extent=extent,
        place=middle,
        start_place=place(start) if across else middle,
        end_place=place(end) if across else middle,
        height_share=float(np.median(height_T)) / frame_size_px[1],
    )


def by_prominence(tracks: Sequence[PoseTrack], frame_size_px: tuple[int, int]) -> list[PoseTrack]:
    """Sort tracks by duration, size and confidence, with the main one first."""

    def prominence(track: PoseTrack) -> float:
        height = max(framing(track, frame_size_px).height_share, 0.01)
        return float(track.valid.sum()) * height * track.quality

    return sorted(tracks, key=prominence, reverse=True)


def people_at_a_time(tracks: Sequence[PoseTrack]) -> int:
    """Return the largest number of tracks at the same time."""
    starts = np.array([track.pts_s[0] for track in tracks])
    ends = np.array([track.pts_s[-1] for track in tracks])
    return max((int(((starts <= s) & (ends >= s)).sum()) for s in starts), default=0)


def caption_from_motion(
    clip: Clip, tracks: Sequence[PoseTrack], frame_size_px: tuple[int, int]
) -> list[Caption]:
    """Write the ``kinematic`` caption of one clip.

    Args:
        clip: clip to caption.
        tracks: pose tracks of its people.
        frame_size_px: (width, height) of the video.

    Returns:
        One caption, or none for a clip without people.
    """
    if not tracks:
        return []
    ordered = by_prominence(tracks, frame_size_px)
    sentences = _opening(ordered, frame_size_px)
    main = describe_track(ordered[0], frame_size_px)
    name = "the person" if people_at_a_time(ordered) == 1 else "person 1"
    sentences += _motion_sentences(main, clip, name)
    for number, track in enumerate(ordered[1 : 1 + MAX_OTHERS_TOLD], start=2):
        if len(sentences) < 6:
            sentences.append(_other(number, track, ordered[0], clip, frame_size_px))
    version = f"{KINEMATICS_VERSION}.{PHRASES_VERSION}.{CAPTIONS_VERSION}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:8]
    return [
        Caption(
            video_id=clip.video_id,
            clip_id=clip.clip_id,
            captioner="kinematic",
            model=f"kinematics-{KINEMATICS_VERSION}",
            prompt_id=f"kinematic-{digest}",
            text=" ".join(sentences),
            outcome=Outcome.SUCCESS,
        )
    ]


# ----------------------------------------------------------------------------------- sentences

_EXTENTS: Final = {
    "full": "from head to foot",
    "knees_up": "from the knees up",
    "hips_up": "from the hips up",
}
_ONLY: Final = {
    "upper_body": "Only the upper body is seen.",
    "arms": "Only the arms and hands are seen.",
    "legs": "Only the legs are seen.",
}


def _where(frame: Framing) -> str:
    if frame.moves_across:
        return f"moving from the {frame.start_place} to the {frame.end_place} of the frame"
    return (
        f"in the {frame.place} of the frame" if frame.place == "centre" else f"on the {frame.place}"
    )


def _opening(ordered: Sequence[PoseTrack], frame_size_px: tuple[int, int]) -> list[str]:
    frame = framing(ordered[0], frame_size_px)
    count = people_at_a_time(ordered)
    subject = "One person is"
    sentences: list[str] = []
    if count > 1:
        more = "up to " if count < len(ordered) else ""
        sentences.append(sentence(f"{more}{count_word(count)} people are in the picture"))
        subject = "Person 1 is"
    extent = _EXTENTS.get(frame.extent)
    seen = " ".join([subject, "seen", *([extent] if extent else [])])
    text = f"{seen}{', ' if frame.moves_across else ' '}{_where(frame)}"
    if frame.extent == "full" and frame.height_share > NEAR_SHARE:
        text += ", close to the camera"
    elif frame.extent == "full" and frame.height_share < FAR_SHARE:
        text += ", far from the camera"
    sentences.append(text + ".")
    if frame.extent in _ONLY:
        sentences[-1] += " " + _ONLY[frame.extent]
    return sentences


def _seconds(value: float) -> str:
    text = f"{max(value, 0.0):.1f}".removesuffix(".0")
    return f"{text} second" if text == "1" else f"{text} seconds"


def _when(clause: Clause, clip: Clip) -> str:
    start_s, end_s = clause.start_s - clip.start_s, clause.end_s - clip.start_s
    length_s = clip.end_s - clip.start_s
    if end_s - start_s >= 0.85 * length_s:
        return "throughout the clip"
    if start_s < 0.4:
        return f"for the first {_seconds(end_s)}" if end_s - start_s > 1.5 else "at the start"
    if end_s - start_s > 2.0:
        first = f"{start_s:.1f}".removesuffix(".0")
        return f"from {first} to {_seconds(end_s)}"
    return f"at {_seconds(start_s)}"


def _distance(clause: Clause, description: MotionDescription, clip: Clip) -> str:
    """Word the distance and speed of a walk, unless the camera moves, which hides the distance."""
    if clause.act in (EventKind.WALK, EventKind.RUN) and clip.camera == "static":
        way_m = description.traveled_m(clause.start_s, clause.end_s)
        seconds = max(clause.end_s - clause.start_s, 0.1)
        return f" for about {way_m:.1f} metres at {way_m / seconds:.1f} metres per second"
    return ""


def _rhythm(clause: Clause) -> str:
    """Word the frequency of an action that is repeated more than twice."""
    if clause.count > 2 and clause.frequency_hz > 0:
        rate = clause.frequency_hz
        if rate < 0.75:
            return f", about once every {1 / rate:.1f} seconds".replace(".0 ", " ")
        return f", about {_rate(rate)} a second"
    return ""


def _rate(rate_hz: float) -> str:
    nearest = round(rate_hz)
    if abs(rate_hz - nearest) < 0.25:
        return {1: "once", 2: "twice"}.get(nearest, f"{count_word(nearest)} times")
    return f"{rate_hz:.1f} times"


def _motion_sentences(description: MotionDescription, clip: Clip, name: str) -> list[str]:
    """Word the motion of one person.

    Returns:
        At most :data:`MAX_MAIN_SENTENCES` sentences of up to two clauses each.
    """
    clauses = timeline(description, max_clauses=2 * MAX_MAIN_SENTENCES)
    groups = [clauses[i : i + 2] for i in range(0, len(clauses), 2)]
    result: list[str] = []
    for index, group in enumerate(groups):
        # The name takes a singular verb, "they" a plural one.
        form: Form = "base" if index % 2 else "third"
        subject = "they" if index % 2 else name
        parts: list[str] = []
        for position, clause in enumerate(group):
            wording = in_words(clause, form, "their") + _distance(clause, description, clip)
            wording += _rhythm(clause)
            when = _when(clause, clip)
            if position == 0:
                parts.append(
                    f"{when} {subject} {wording}" if index % 2 else f"{when}, {subject} {wording}"
                )
            else:
                comma = "," if is_compound(group[0]) or _rhythm(group[0]) else ""
                parts.append(comma + " " + _second(clause, group[0], when, wording))
        result.append(sentence("".join(parts)))
    return result


def _second(clause: Clause, first: Clause, when: str, wording: str) -> str:
    """Join the second clause of a sentence according to its time relative to the first."""
    if clause.start_s < first.end_s - 0.3 and clause.end_s <= first.end_s + 0.5:
        return f"and meanwhile {wording}"
    if clause.start_s - first.end_s < 0.7:
        return f"and then {wording}"
    return f"and {when} {wording}"


def _other(
    number: int, track: PoseTrack, main: PoseTrack, clip: Clip, frame_size_px: tuple[int, int]
) -> str:
    description = describe_track(track, frame_size_px)
    best = max(timeline(description), key=lambda c: (c.weight, c.end_s - c.start_s))
    where = _where(framing(track, frame_size_px))
    words = in_words(best, "third", "their")
    overlap_s = min(track.pts_s[-1], main.pts_s[-1]) - max(track.pts_s[0], main.pts_s[0])
    if overlap_s <= 0:
        # This may be the same person, who was lost and detected again.
        first, last = track.pts_s[0] - clip.start_s, track.pts_s[-1] - clip.start_s
        start = f"{max(first, 0.0):.1f}".removesuffix(".0")
        order = "earlier" if track.pts_s[0] < main.pts_s[0] else "later"
        return sentence(f"{order}, from {start} to {_seconds(last)}, someone {where} {words}")
    return sentence(f"person {number}, {where}, {words}")
