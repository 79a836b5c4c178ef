"""What the texts of some videos will cost, before a model is asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from annotators.chat.protocol import ChatRequest
from annotators.chat.service import Estimate
from annotators.run import Run
from annotators.stages.staged import StagedScan, lacks, tracks_path
from annotators.stages.texts import clip_views, show_jobs, video_views
from annotators.texts.language_annotations import estimated_request
from annotators.texts.visual_captions import estimated_clip_requests, video_request

CAPTION_WORDS: Final = 110
"""Assumed length of a caption that is not written yet: the prompt asks for 3 to 6 sentences."""


@dataclass(frozen=True, slots=True)
class TextEstimate:
    """What is left to ask, and what it costs.

    Attributes:
        num_videos, num_clips: whose texts are not complete.
        captions, annotations: of the two stages; None where no service is asked.
    """

    num_videos: int
    num_clips: int
    captions: Estimate | None
    annotations: Estimate | None

    @property
    def calls(self) -> int:
        """Calls to be paid."""
        return sum(part.calls for part in (self.captions, self.annotations) if part)

    @property
    def tokens(self) -> int:
        """Tokens in, and out at most."""
        return sum(p.tokens_in + p.tokens_out for p in (self.captions, self.annotations) if p)

    def __str__(self) -> str:
        price = f"at most {self.usd:.4f} USD" if self.usd is not None else "price not known"
        return (
            f"{self.num_clips} clips of {self.num_videos} videos: {self.calls} calls, at most "
            f"{self.tokens} tokens, {price}"
        )

    @property
    def usd(self) -> float | None:
        """Cost; None when a price is not known."""
        costs = [part.usd for part in (self.captions, self.annotations) if part]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def estimate_texts(run: Run, scans: Sequence[StagedScan], *, people_only: bool) -> TextEstimate:
    """Estimate the calls that the texts of some videos take; asks nothing.

    Captions are counted on their real frames, so that replies already paid for are recognised.
    Annotations are counted on captions of usual length. Repairs are not counted.

    Args:
        run: the run, whose models' prices count.
        scans: the videos; those with finished texts count nothing.
        people_only: count only clips in which somebody was found; else all clips, which is the most
            that a run asks for.
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
                yield from estimated_clip_requests(view, config.captions)

        captions = models.caption_service.estimate(shown())
    asked = [
        clip
        for scan in unannotated
        for clip in scan.clips
        if not people_only or tracks_path(run.work, clip).exists()
    ]
    if models.annotation_service is not None:
        samples = 1 if config.captions.captioner == "kinematic" else config.captions.samples
        usual = " ".join(["movement"] * CAPTION_WORDS)
        annotations = models.annotation_service.estimate(
            # With the clip's id: no two clips have the same captions.
            estimated_request(clip, [f"{clip.clip_id} {usual}"] * samples, config.annotations)
            for clip in asked
        )
    return TextEstimate(len(unannotated), len(asked), captions, annotations)
