"""Configuration of the captioner and the annotator."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field, model_validator

from annotators.chat.config import ChatConfig, LocalVlmConfig
from annotators.grounding.checks import GroundingConfig
from data.config import Config

MAX_STEPS: Final = 8
"""Default of the largest number of fine steps."""


class PeopleConfig(Config):
    """Who is seen well enough to have texts of their own.

    The limits are low: what is not visible at a moment is left out of the description anyway.
    """

    min_measured_s: float = Field(
        default=0.75,
        ge=0,
        description="Shortest measured time. Single actions, such as a jump, last that long.",
    )
    min_height_px: int = Field(
        default=48,
        ge=1,
        description="Smallest height of the visible body in the video. The landmark network sees "
        "256 px, and below a fifth of that the joints of a limb are hardly apart.",
    )
    min_confidence: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="Smallest mean confidence of the joints. A body whose legs are out of view has "
        "about 0.5; bodies of which a third is visible are guesses.",
    )
    max_people: int = Field(
        default=8, ge=1, le=32, description="Most people per clip, the most prominent ones."
    )


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
    mark: Literal["boxes", "crops", "none"] = Field(
        default="boxes",
        description="How a visual model is told whom to describe, where several people are in the "
        "picture. boxes draws a numbered box around each of them. crops sends frames that are "
        "cropped to one person, with a call per person. none names them only in words.",
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
