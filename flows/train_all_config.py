"""All that ``train-all`` can be told, and its presets."""

from typing import Any, Final

from pydantic import Field

from data.config import Config, ExpandedPath, ExpandedSource
from data.presets import HOME, Presets
from evaluation.reports import EvaluationConfig
from evaluation.versions import PromotionConfig
from training.instructions.mixture import InstructionConfig
from training.instructions.tasks import Task
from training.language_model.model import MotionLmConfig
from training.language_model.train import PRESETS as LM_PRESETS
from training.language_model.train import PUBLISHED_LOOP as LM_LOOP
from training.loop import LoopConfig
from training.tokenizer.train import PRESETS as VQVAE_PRESETS
from training.tokenizer.train import PUBLISHED_LOOP as VQVAE_LOOP
from training.tokenizer.vqvae import MotionVqvaeConfig


class VqvaeStage(Config):
    """How the motion tokenizer is trained."""

    model: MotionVqvaeConfig = Field(default_factory=MotionVqvaeConfig)
    window: int = Field(default=64, ge=4)
    loop: LoopConfig = VQVAE_LOOP


class LmStage(Config):
    """How the language model is trained."""

    model: MotionLmConfig = Field(default_factory=MotionLmConfig)
    instructions: InstructionConfig = Field(default_factory=InstructionConfig)
    pretraining: LoopConfig | None = Field(
        default=None, description="Of a stage before, on restored spans and translation."
    )
    loop: LoopConfig = LM_LOOP


class TrainAllConfig(Config):
    """From datasets to a model."""

    sources: tuple[ExpandedSource, ...] = Field(
        min_length=1,
        description="What import-motions takes: annotated video datasets, BVH, HumanML3D, arrays, "
        "plans, procedural:COUNT. A dataset of motions alone is used as it is.",
    )
    root: ExpandedPath = Field(description="Folder of the motions, runs and models.")
    min_quality: float = Field(default=0.0, ge=0, le=1, description="Least confidence of poses.")
    min_grounding_score: float | None = Field(
        default=None, ge=0, le=1, description="Least agreement of annotations with their motion."
    )
    vqvae: VqvaeStage = Field(default_factory=VqvaeStage)
    lm: LmStage = Field(default_factory=LmStage)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    promotion: PromotionConfig = Field(default_factory=PromotionConfig)
    as_deployments: str = Field(
        default="",
        description="Name of the deployments of train-motion-vqvae and train-motion-lm to run, "
        "such as paper; empty: train in this process's machine.",
    )
    processes: int = Field(default=0, ge=0, description="Of torchrun; 0: one per GPU.")


def _sizes(preset: str) -> dict[str, Any]:
    """Models and training of the presets of both models."""
    vqvae, lm = VQVAE_PRESETS[preset], LM_PRESETS[preset]
    return {
        "root": f"{HOME}/train",
        "sources": [f"{HOME}/dataset"],
        "vqvae": {name: vqvae[name] for name in ("model", "loop") if name in vqvae},
        "lm": {name: lm[name] for name in ("model", "loop") if name in lm},
    }


PRESETS: Final[Presets] = {
    # The published sizes, for a GPU.
    "paper": _sizes("paper"),
    # What two CPU cores train in an hour.
    "small": _sizes("small"),
    # A few minutes, to try an installation; what `make demo-train` runs. With a shorter training of
    # its tokenizer, no wave comes out of it, real ones neither.
    "tiny": {
        "sources": ["procedural:480", f"{HOME}/demo"],
        "root": f"{HOME}/train-demo",
        "vqvae": {
            "model": {"width": 64, "depth": 2, "quantizer": {"num_codes": 128, "code_dim": 64}},
            "loop": {
                "steps": 2400,
                "batch_size": 32,
                "learning_rate": 2e-3,
                "warmup_steps": 20,
                "decay": "cosine",
                "validate_every": 600,
                "checkpoint_every": 300,
                "log_every": 100,
            },
        },
        "lm": {
            "model": LM_PRESETS["tiny"]["model"],
            # Of the one annotated clip there is little to learn, of motions and their texts most.
            "instructions": {
                "weights": {
                    **dict.fromkeys(Task, 0.25),
                    Task.T2M: 6,
                    Task.M2T: 3,
                    Task.L2M: 1,
                    Task.M2M: 0.5,
                    Task.PREDICT: 0.5,
                }
            },
            "loop": {
                **LM_PRESETS["tiny"]["loop"],
                "steps": 900,
                "validate_every": 300,
                "checkpoint_every": 150,
                "log_every": 50,
            },
        },
        "evaluation": {"items": 24},
    },
}
"""Named sets of values; a run names one and gives what differs (:mod:`data.presets`)."""
