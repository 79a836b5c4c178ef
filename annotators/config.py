"""Configuration of ``annotate-videos``, with one section per stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field, model_validator

from annotators.chat.budget import TokenPrice
from annotators.clips.cutting import ClipConfig
from annotators.poses.estimate import PoseConfig
from annotators.texts.config import AnnotationConfig, CaptionConfig, PeopleConfig
from annotators.texts.prompts import prompts_digest
from data.config import Config, ExpandedPath, ExpandedSource
from data.presets import HOME, Presets
from data.remote.downloads import DownloadConfig
from data.video.reader import ReaderConfig
from data.video.sharing import Shard
from data.workers.workers import WorkerConfig


class AnnotateConfig(Config):
    """Configuration of a run: sources, dataset folder, and one section per stage."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {"poses_from": ("videos",)}

    videos: tuple[ExpandedSource, ...] = Field(
        default=(),
        description="Video files, folders, globs, addresses (https:// of a file, s3:// of an "
        "object or a prefix), or .txt/.csv/.parquet lists of these. Not needed "
        "with poses_from, whose videos are used.",
    )
    dataset: ExpandedPath = Field(description="Folder of the dataset to create or to extend.")
    shard: Shard | None = Field(
        default=None,
        description="Share of the videos that this run takes, such as 3/16: the third of sixteen, "
        "by name and size of the files. Merge the datasets of all shares with `avatargpt merge`.",
    )
    poses_from: ExpandedPath | None = Field(
        default=None,
        description="Folder of another dataset whose clips and poses are reused, so that only new "
        "texts are written, by another captioner or annotator.",
    )
    clips: ClipConfig = Field(default_factory=ClipConfig)
    poses: PoseConfig = Field(default_factory=PoseConfig)
    people: PeopleConfig = Field(default_factory=PeopleConfig)
    captions: CaptionConfig = Field(default_factory=CaptionConfig)
    annotations: AnnotationConfig = Field(default_factory=AnnotationConfig)
    reader: ReaderConfig = Field(default_factory=ReaderConfig)
    downloads: DownloadConfig = Field(default_factory=DownloadConfig)
    workers: WorkerConfig = Field(default_factory=WorkerConfig)
    pose_model: Path | None = Field(
        default=None,
        description="MediaPipe pose landmarker .task file. The default is downloaded at setup.",
    )
    budget_usd: float | None = Field(
        default=None, gt=0, description="Largest cost of the calls of one run. None: no limit."
    )
    budget_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Largest number of input and output tokens of one run. None: no limit.",
    )
    prices: dict[str, TokenPrice] = Field(
        default_factory=dict,
        description="Prices by model, USD per million tokens. They override the built-in list.",
    )
    concurrency_limit: str | None = Field(
        default=None,
        description="Name of a Prefect global concurrency limit for all calls.",
    )
    dry_run: bool = Field(
        default=False,
        description="Only find the clips and estimate calls, tokens and cost, without calling a "
        "model or publishing a dataset.",
    )
    shard_clips: int = Field(
        default=64, ge=1, description="Approximate number of clips (of 10 s) per Prefect task."
    )
    publish_clips: int = Field(
        default=512, ge=1, description="Number of clips after which finished videos are published."
    )
    retry_rejected: bool = Field(
        default=False,
        description="Retry items that timed out, crashed or found a service unavailable in an "
        "earlier run.",
    )

    @model_validator(mode="after")
    def _has_sources(self) -> "AnnotateConfig":
        if not self.videos and self.poses_from is None:
            raise ValueError(
                "videos: expected at least one video, found none. "
                "Remedy: name files, folders with videos, globs, or lists of paths."
            )
        if self.poses_from is not None and self.poses_from.resolve() == self.dataset.resolve():
            raise ValueError(
                f"poses_from: expected a dataset other than {self.dataset}, found the same: a "
                "dataset has one recipe. Remedy: write the new texts to another dataset folder."
            )
        return self

    def recipe(self, pose_model_sha256: str) -> dict[str, Any]:
        """Return the settings that determine the rows. A dataset has one recipe."""
        stages = {"clips", "people", "captions", "annotations"}
        recipe = self.model_dump(mode="json", include=stages) | {"poses": self.poses.recipe()}
        captions, annotations = self.captions, self.annotations
        # Settings that do not determine the rows may change between runs of one dataset.
        for stage, config, asks in (
            ("captions", captions, captions.captioner != "kinematic"),
            ("annotations", annotations, annotations.annotator != "rules"),
        ):
            service = config.service.reply_fields() if asks and config.service else None
            recipe[stage]["service"] = service
            recipe[stage]["prompts"] = prompts_digest(config.prompts) if asks else None
        if captions.captioner == "kinematic":
            recipe["captions"]["mark"] = None
        local = captions.local_model if captions.captioner == "transformers" else None
        recipe["captions"]["local_model"] = local.reply_fields() if local else None
        return {**recipe, "pose_model": pose_model_sha256}


_MODEL: Final = {"model": "gpt-4.1-mini", "max_concurrency": 32}
PRESETS: Final[Presets] = {
    # Texts are worded from the measured motion, without a model or a key.
    "local": {"videos": [f"{HOME}/videos"], "dataset": f"{HOME}/dataset"},
    # The same on the machines of the Ray cluster that this machine has joined.
    "ray": {
        "videos": [f"{HOME}/videos"],
        "dataset": f"{HOME}/dataset",
        "workers": {"executor": "ray", "cluster": {"address": "auto"}},
    },
    # A visual LLM and a language model. Set the key (docs/operations.md), model, endpoint and
    # budget.
    "production": {
        "videos": [f"{HOME}/videos"],
        "dataset": f"{HOME}/dataset-production",
        "captions": {"captioner": "openai", "use_motion": True, "service": _MODEL},
        "annotations": {
            "annotator": "openai",
            "service": _MODEL,
            "grounding": {"policy": "reask"},
        },
        "budget_usd": 20,
    },
}
"""Named sets of values that a run can start from (:mod:`data.presets`)."""
