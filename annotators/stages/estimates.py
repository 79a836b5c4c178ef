"""Estimate the cost of the texts of videos before a model is called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from annotators.chat.protocol import ChatRequest
from annotators.chat.service import Estimate
from annotators.run import Run
from annotators.stages.staged import (
    StagedPoses,
    StagedScan,
    lacks,
    load_staged,
    poses_path,
    tracks_path,
)
from annotators.stages.texts import clip_views, show_jobs, video_views
from annotators.texts.language_annotations import estimated_request
from annotators.texts.visual_captions import (
    ClipView,
    ShownPerson,
    estimated_clip_requests,
    video_request,
)
from data.records import Clip

CAPTION_WORDS: Final = 110
"""Assumed length of a caption that does not exist yet; the prompt asks for 3 to 6 sentences."""


@dataclass(frozen=True, slots=True)
class TextEstimate:
    """Estimate of the calls that remain, and of their cost.

    Attributes:
        num_videos, num_clips: number of videos and clips whose texts are incomplete.
        captions, annotations: estimates of the two stages; None for a stage without a service.
    """

    num_videos: int
    num_clips: int
    captions: Estimate | None
    annotations: Estimate | None

    @property
    def calls(self) -> int:
        """Number of calls that are not in the cache of replies."""
        return sum(part.calls for part in (self.captions, self.annotations) if part)

    @property
    def tokens(self) -> int:
        """Upper bound of the tokens of prompts and replies."""
        return sum(p.tokens_in + p.tokens_out for p in (self.captions, self.annotations) if p)

    def __str__(self) -> str:
        price = f"at most {self.usd:.4f} USD" if self.usd is not None else "price not known"
        return (
            f"{self.num_clips} clips of {self.num_videos} videos: {self.calls} calls, at most "
            f"{self.tokens} tokens, {price}"
        )

    @property
    def usd(self) -> float | None:
        """Cost in USD; None if the price of a model is unknown."""
        costs = [part.usd for part in (self.captions, self.annotations) if part]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def estimate_texts(run: Run, scans: Sequence[StagedScan], *, people_only: bool) -> TextEstimate:
    """Estimate the calls that the texts of videos need, without a call.

    The requests for captions hold the real frames, so that cached replies are found. The requests
    for annotations assume captions of ``CAPTION_WORDS`` words. Repairs are not counted. Before the
    people of a clip are tracked, as many as are tracked at most are assumed.

    Args:
        run: run whose models are used.
        scans: scanned videos. Videos with finished texts are skipped.
        people_only: count only clips with people; otherwise all clips, which is an upper bound.
    """
    config, models = run.config, run.models
    uncaptioned = [scan for scan in scans if lacks(scan, "captions", run.work)]
    unannotated = [scan for scan in scans if lacks(scan, "annotations", run.work)]
    captions = annotations = None
    if models.caption_service is not None:
        videos, clips = show_jobs(run, uncaptioned, people_only=people_only)

        def shown() -> Iterator[ChatRequest]:
            for view in video_views(videos, run.workers):
                yield video_request(view, config.captions)
            for view in clip_views(clips, run.workers):
                for assumed in _assumed_views(view, run):
                    yield from estimated_clip_requests(assumed, config.captions)

        captions = models.caption_service.estimate(shown())
    asked = [
        clip
        for scan in unannotated
        for clip in scan.clips
        if not people_only or tracks_path(run.work, clip).exists()
    ]
    if models.annotation_service is not None:
        annotations = models.annotation_service.estimate(
            estimated_request(
                clip, _assumed_captions(clip, run), _most_people(clip, run), config.annotations
            )
            for clip in asked
        )
    return TextEstimate(len(unannotated), len(asked), captions, annotations)


def _most_people(clip: Clip, run: Run) -> int:
    """Return the largest number of people whose texts a clip may need, at least one."""
    config = run.config
    staged = load_staged(StagedPoses, poses_path(run.work, clip))
    tracked = config.poses.max_people if staged is None else staged.num_tracks
    return max(min(tracked, config.people.max_people), 1)


def _assumed_captions(clip: Clip, run: Run) -> list[str]:
    """Return captions of the usual length."""
    config = run.config.captions
    per_person = config.captioner == "kinematic" or config.mark == "crops"
    samples = 1 if config.captioner == "kinematic" else config.samples
    usual = " ".join(["movement"] * CAPTION_WORDS)
    # The id of the clip makes the captions of two clips differ, as real ones do.
    count = samples * (_most_people(clip, run) if per_person else 1)
    return [f"{clip.clip_id} {usual}"] * count


def _assumed_views(view: ClipView, run: Run) -> list[ClipView]:
    """Return the views of a clip whose people are not tracked yet: several if they are cropped."""
    if run.config.captions.mark != "crops" or poses_path(run.work, view.clip).exists():
        return [view]
    return [
        replace(view, people=(ShownPerson(number, number, ""),), mark="crops")
        for number in range(1, _most_people(view.clip, run) + 1)
    ]
