"""The ``rules`` annotator, and the rules that all annotations have to follow.

An annotation has three levels: coarse scene, medium activity and fine steps. The ``rules``
annotator words what :mod:`annotators.motion.describe` measured, so every step has the measurement
that it was made from.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field, model_validator

from annotators.chat.config import ChatConfig
from annotators.grounding.checks import GroundingConfig, ground_medium, grounding_score
from annotators.motion.activities import ActivityKind
from annotators.motion.describe import (
    KINEMATICS_VERSION,
    MotionDescription,
    describe_track,
)
from annotators.texts.kinematic_captions import by_prominence, framing, people_at_a_time
from annotators.wording.phrases import (
    PHRASES_VERSION,
    count_word,
    in_other_words,
    in_words,
    is_compound,
    measurement,
    sentence,
)
from annotators.wording.timeline import Clause, timeline
from data.config import Config
from data.records import (
    Annotation,
    Clip,
    FineStep,
    Grounding,
    Outcome,
    PoseTrack,
    Verdict,
)

ANNOTATIONS_VERSION: Final = "1"
"""Version of the annotator. It is increased whenever its texts change."""

MAX_WORDS: Final = 30
"""Largest number of words of a text (AvatarGPT's limit for the medium level)."""
MAX_STEPS: Final = 8
MAX_ACTIVITIES: Final = 3
MIN_RELATIVE_WEIGHT: Final = 0.72
"""Clauses of lower weight, relative to the largest weight, are not part of the medium text."""

DARK: Final = 0.25
BRIGHT: Final = 0.65
"""Limits of the mean luma of dark and bright videos."""

FORBIDDEN_WORDS: Final = {
    "appearance": (
        "man men woman women boy boys girl girls lady gentleman male female guy he she his her him "
        "hers shirt shirts t-shirt dress trousers pants jeans jacket coat hat helmet shoe shoes "
        "skirt clothes clothing outfit uniform hair haired beard blonde bald tall slim young old "
        "elderly wearing wears dressed colour color red blue green yellow black white grey gray"
    ),
    "environment": (
        "room gym park street road field court kitchen office house home garden beach indoors "
        "indoor outdoors outdoor outside background tree grass sky sun"
    ),
    "film": (
        "scene camera frame frames picture pictures video videos clip clips screen footage image "
        "images photo description caption"
    ),
    "first person": "i we me us my our mine ours",
}
"""Words that a text about motion must not contain. Objects that people handle (a chair, a door, a
ball) are allowed, because texts such as "sit down on the chair" need them."""

_FORBIDDEN_PATTERNS: Final = {
    kind: re.compile(rf"\b({'|'.join(map(re.escape, words.split()))})\b", re.IGNORECASE)
    for kind, words in FORBIDDEN_WORDS.items()
}


_SHOWS: Final = re.compile(
    r"\b(video|clip|footage|image|frame|picture|scene|description|caption)s? "
    r"(shows?|showcases?|depicts?|features?|captures?|displays?|presents?|describes?)\b",
    re.IGNORECASE,
)


class AnnotationConfig(Config):
    """The annotator and the limits of its texts."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {"annotator": ("service",)}

    annotator: Literal["rules", "openai"] = Field(
        default="rules",
        description="rules words the measured motion, without a model. openai calls a language "
        "model at an OpenAI-compatible endpoint with the captions.",
    )
    service: ChatConfig | None = Field(
        default=None, description="Endpoint and model of annotator openai."
    )
    num_medium: int = Field(default=3, ge=1, le=10, description="Number of medium texts.")
    max_steps: int = Field(default=MAX_STEPS, ge=1, le=20, description="Most fine steps per clip.")
    use_motion: bool = Field(default=False, description="Add the measured motion to the prompt.")
    grounding: GroundingConfig = Field(
        default_factory=GroundingConfig,
        description="How texts that the measured motion contradicts are handled.",
    )
    prompts: Path | None = Field(
        default=None,
        description="Folder of prompts that replace those of annotators/texts/prompts.",
    )

    @model_validator(mode="after")
    def _check_service(self) -> "AnnotationConfig":
        if self.annotator == "openai" and self.service is None:
            raise ValueError(
                "annotations.service: expected an endpoint and model for annotator openai, found "
                'nothing. Remedy: set annotations.service, e.g. {"model": "gpt-4.1-mini"}.'
            )
        return self


# ---------------------------------------------------------------------------------- validation


def _problems(text: str, allowed: Sequence[str] = ()) -> list[str]:
    found = [
        f"{kind} word {match.group(0)!r}"
        for kind, pattern in _FORBIDDEN_PATTERNS.items()
        if kind not in allowed and (match := pattern.search(text))
    ]
    words = len(text.split())
    if words == 0:
        found.append("no text")
    if words > MAX_WORDS:
        found.append(f"{words} words, expected at most {MAX_WORDS}")
    if re.search(r"\b(nan|none|null)\b", text, re.IGNORECASE):
        found.append("a value that is missing")
    return found


def check_coarse(text: str) -> list[str]:
    """Return the errors of a coarse text.

    It has at most 30 words, one sentence, no first person and no "the video shows". Appearance and
    environment are allowed, because they describe a scene.
    """
    return [*_problems(text, allowed=("appearance", "environment", "film")), *_no_sentence(text)]


def check_medium(text: str, *, environment_allowed: bool = False) -> list[str]:
    """Return the errors of a medium text.

    It has at most 30 words, one sentence, no appearance, no first person and no words about the
    video itself.

    Args:
        text: text to check.
        environment_allowed: whether it may name the place of the activity.
    """
    allowed = ("environment",) if environment_allowed else ()
    return [*_problems(text, allowed), *_no_sentence(text)]


def _no_sentence(text: str) -> list[str]:
    found: list[str] = []
    if text and not (text[0].isupper() and text.endswith(".")):
        found.append("expected one sentence with a capital letter and a full stop")
    if re.search(r"[.!?]\s", text.strip()):
        found.append("expected one sentence, found several")
    if _SHOWS.search(text):
        found.append('found "the video shows" or the like')
    return found


def check_step(text: str) -> list[str]:
    """Return the errors of a fine step.

    It is an instruction of at most 30 words in lower case without a period, without appearance,
    environment and first person.
    """
    found = _problems(text)
    if text and (text[0].isupper() or text.endswith(".")):
        found.append("expected an instruction in lower case without a full stop")
    return found


# -------------------------------------------------------------------------------------- coarse


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Measurements of a whole video.

    Attributes:
        duration_s: duration, seconds.
        num_shots: number of shots.
        num_people: largest number of people at the same time, over all clips.
        shot_sizes: ``close-up``, ``medium``, ``full`` or ``wide``, the most frequent first.
        camera: ``static``, ``moving`` or ``mixed``.
        brightness: mean luma, 0..1.
        frame_size_px: (width, height) of the frames.
    """

    duration_s: float
    num_shots: int
    num_people: int
    shot_sizes: tuple[str, ...]
    camera: str
    brightness: float
    frame_size_px: tuple[int, int]

    @property
    def coarse(self) -> str:
        """Return one sentence about the video."""
        if self.num_people == 1:
            who = "one person is seen"
        else:
            who = f"up to {count_word(self.num_people)} people are seen at a time"
        if self.shot_sizes:
            who += f" in {' and '.join(_SIZES[size] for size in self.shot_sizes[:2])}"
        camera = {
            "static": "a static camera",
            "moving": "a moving camera",
            "mixed": "a partly static, partly moving camera",
        }[self.camera]
        length = _length(self.duration_s)
        takes = (
            f"a single shot of {length}"
            if self.num_shots == 1
            else f"{count_word(self.num_shots)} shots lasting {length} in total"
        )
        light = ""
        if self.brightness < DARK:
            light = ", in a dark picture"
        elif self.brightness > BRIGHT:
            light = ", in a bright picture"
        if self.num_people == 0:
            return sentence(f"{camera} films {takes}{light}, and no person is seen")
        return sentence(f"{who}, filmed by {camera} in {takes}{light}")


_SIZES: Final = {
    "close-up": "a close-up",
    "medium": "a medium view",
    "full": "a full-body view",
    "wide": "a wide view",
}


def _length(seconds: float) -> str:
    if seconds >= 90:
        minutes = seconds / 60
        return f"about {minutes:.1f} minutes".replace(".0 ", " ")
    whole = round(seconds)
    return "about one second" if whole <= 1 else f"about {count_word(whole)} seconds"


def shot_size(track: PoseTrack, frame_size_px: tuple[int, int]) -> str:
    """Return ``close-up``, ``medium``, ``full`` or ``wide``, by the extent and size of the body."""
    frame = framing(track, frame_size_px)
    if frame.extent == "full":
        return "wide" if frame.height_share < 0.4 else "full"
    if frame.extent in ("knees_up", "hips_up"):
        return "medium"
    return "close-up" if frame.height_share > 0.5 else "medium"


def summarize_video(
    clips: Sequence[Clip],
    tracks_by_clip: Mapping[str, Sequence[PoseTrack]],
    duration_s: float,
    frame_size_px: tuple[int, int],
    num_shots: int,
) -> VideoFacts:
    """Collect the measurements of a whole video.

    Args:
        clips: all clips of the video.
        tracks_by_clip: pose tracks by ``clip_id``; clips without people may be missing.
        duration_s: duration of the video, seconds.
        frame_size_px: (width, height) of the frames.
        num_shots: number of shots.
    """
    sizes: Counter[str] = Counter()
    for clip in clips:
        for track in by_prominence(tracks_by_clip.get(clip.clip_id, ()), frame_size_px)[:1]:
            sizes[shot_size(track, frame_size_px)] += int(track.num_frames)
    total = max(sum(sizes.values()), 1)
    weights = [max(clip.end_s - clip.start_s, 1e-3) for clip in clips]
    moving = sum(w for w, c in zip(weights, clips, strict=True) if c.camera == "moving")
    share = moving / max(sum(weights), 1e-3)
    brightness = sum(w * c.brightness for w, c in zip(weights, clips, strict=True))
    return VideoFacts(
        duration_s=duration_s,
        num_shots=num_shots,
        num_people=max((people_at_a_time(t) for t in tracks_by_clip.values()), default=0),
        shot_sizes=tuple(size for size, n in sizes.most_common() if n >= 0.2 * total),
        camera="moving" if share > 0.8 else ("static" if share < 0.2 else "mixed"),
        brightness=brightness / max(sum(weights), 1e-3) if clips else 0.5,
        frame_size_px=frame_size_px,
    )


# -------------------------------------------------------------------------------------- medium


def _leading(clauses: Sequence[Clause]) -> list[Clause]:
    """Return the clauses of the main activity, in order of time."""
    strongest = max(clause.weight for clause in clauses)
    worth = [c for c in clauses if c.weight >= MIN_RELATIVE_WEIGHT * strongest and not c.goes_on]
    worth = sorted(worth, key=lambda c: (c.weight, c.end_s - c.start_s), reverse=True)
    # Of several clauses with the same wording only one is kept.
    by_wording: dict[str, Clause] = {}
    for clause in worth:
        by_wording.setdefault(in_words(clause, "base", "their", detail=False), clause)
    chosen = list(by_wording.values())[:MAX_ACTIVITIES]
    return sorted(chosen, key=lambda c: c.start_s)


def _joined(clauses: Sequence[Clause], parts: Sequence[str]) -> str:
    """Join the wordings of clauses into one sentence."""
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        link = ", then" if is_compound(clauses[0]) else " and then"
        return f"{parts[0]}{link} {parts[1]}"
    return f"{parts[0]}, then {parts[1]}, and finally {parts[2]}"


def medium_texts(description: MotionDescription, clauses: Sequence[Clause]) -> tuple[str, ...]:
    """Return up to three wordings of the main activity, of at most 30 words each."""
    chosen = _leading(clauses)
    dances = description.main.kind is ActivityKind.DANCE
    wordings: list[str] = []
    while True:
        third = [in_words(c, "third", "their", detail=False) for c in chosen]
        counted = [in_other_words(c, "third", "their") for c in chosen]
        doing = [in_words(c, "ing", "their", detail=False) for c in chosen]
        if dances:
            wordings = [
                f"A person moves in a dance-like way, {' and '.join(doing[:2])}.",
                f"Someone performs dance-like movements and {counted[-1]}.",
                f"The person is making dance-like movements, {' and '.join(doing[-2:])}.",
            ]
        elif len(chosen) == 1:
            wordings = [
                f"A person {third[0]}.",
                f"Someone {counted[0]}.",
                f"The person is {doing[0]}.",
            ]
        else:
            wordings = [
                f"A person {_joined(chosen, third)}.",
                f"Someone {_joined(chosen, counted)}.",
                f"After {doing[0]}, the person {_joined(chosen[1:], third[1:])}.",
            ]
        fitting = [text for text in dict.fromkeys(wordings) if not check_medium(text)]
        if fitting or len(chosen) == 1:
            return tuple(fitting)
        weakest = min(chosen, key=lambda c: c.weight)
        chosen = [c for c in chosen if c is not weakest]


# ---------------------------------------------------------------------------------------- fine


def fine_steps(clauses: Sequence[Clause], clip: Clip) -> tuple[FineStep, ...]:
    """Return steps in order of time, clipped to the clip, each with its measurement."""
    steps: list[FineStep] = []
    for clause in clauses:
        start_s = min(max(clause.start_s, clip.start_s), clip.end_s)
        end_s = min(max(clause.end_s, start_s), clip.end_s)
        steps.append(
            FineStep(
                text=in_words(clause, "base", "the"),
                start_s=start_s,
                end_s=end_s,
                grounding=Grounding(Verdict.SUPPORTED, measurement(clause), start_s, end_s),
            )
        )
    return tuple(steps)


def annotate_clip(
    clip: Clip, tracks: Sequence[PoseTrack], facts: VideoFacts, config: AnnotationConfig
) -> Annotation:
    """Write the three levels of one clip.

    Args:
        clip: clip to annotate.
        tracks: pose tracks of at least one person, of whom the most prominent is annotated.
        facts: measurements of the whole video.
        config: limits of the annotation.
    """
    if not tracks:
        raise ValueError(f"clip {clip.clip_id}: expected at least one person, found none.")
    track = by_prominence(tracks, facts.frame_size_px)[0]
    description = describe_track(track, facts.frame_size_px)
    clauses = timeline(description, config.max_steps)
    medium = medium_texts(description, clauses)[: config.num_medium]
    fine = fine_steps(clauses, clip)
    medium_grounding = ground_medium(medium, description)
    version = f"{KINEMATICS_VERSION}.{PHRASES_VERSION}.{ANNOTATIONS_VERSION}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:8]
    return Annotation(
        clip_id=clip.clip_id,
        video_id=clip.video_id,
        track_id=track.track_id,
        coarse=facts.coarse,
        medium=medium,
        fine=fine,
        activity=description.activity,
        annotator=config.annotator,
        model=f"kinematics-{KINEMATICS_VERSION}",
        prompt_id=f"rules-{digest}",
        outcome=Outcome.SUCCESS,
        medium_grounding=medium_grounding,
        # Every step is supported by the measurement that it was made from, so only the medium texts
        # are checked.
        grounding_score=grounding_score([*(s.grounding for s in fine), *medium_grounding]),
    )
