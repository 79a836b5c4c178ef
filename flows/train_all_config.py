"""The configuration of ``train-all`` and its presets."""

from typing import Any, Final

from pydantic import Field, model_validator

from data.config import Config, ExpandedPath, ExpandedSource
from data.presets import HOME, Presets
from data.remote.links import find_link_above
from evaluation.evaluators.training import CPU_LOOP
from evaluation.model_report.config import EvaluationConfig
from evaluation.promotion import PromotionConfig
from training.instructions.mixture import InstructionConfig
from training.instructions.tasks import Task
from training.language_model.config import PRESETS as LM_PRESETS
from training.language_model.config import PUBLISHED_LOOP as LM_LOOP
from training.language_model.config import MotionLmConfig
from training.loop import LoopConfig
from training.tokenizer.train import PRESETS as VQVAE_PRESETS
from training.tokenizer.train import VqvaeRecipe


class LmStage(Config):
    """Model and training of the language model."""

    model: MotionLmConfig = Field(default_factory=MotionLmConfig)
    instructions: InstructionConfig = Field(default_factory=InstructionConfig)
    pretraining: LoopConfig | None = Field(
        default=None,
        description="Loop of an optional pretraining on span corruption and translation.",
    )
    loop: LoopConfig = LM_LOOP


class TrainAllConfig(Config):
    """Configuration of ``train-all``."""

    sources: tuple[ExpandedSource, ...] = Field(
        min_length=1,
        description="Sources of import-motions: annotated video datasets, BVH, HumanML3D, arrays, "
        "plans, procedural:COUNT. A dataset of motions is used directly; beside it, plans only.",
    )
    texts: ExpandedPath | None = Field(
        default=None,
        description="Texts of KIT-ML and HumanML3D, joined to imported motions by their ids.",
    )
    root: ExpandedPath = Field(description="Output folder for motions, runs and models.")
    min_quality: float = Field(default=0.0, ge=0, le=1, description="Minimum confidence of poses.")
    min_grounding_score: float | None = Field(
        default=None, ge=0, le=1, description="Minimum grounding score of annotations."
    )
    reviews: bool = Field(
        default=True,
        description="Import and learn texts as reviewers left them, without people who are none; "
        "false: what was published.",
    )
    vqvae: VqvaeRecipe = Field(default_factory=VqvaeRecipe)
    lm: LmStage = Field(default_factory=LmStage)
    chooser: LoopConfig | None = Field(
        default=None,
        description="Loop of the training of a contrastive network (train-evaluator, small), which "
        "helps to choose among several motions of a text. It needs the asset sentence_encoder (90 "
        "MB). Empty: no such network.",
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    promotion: PromotionConfig = Field(default_factory=PromotionConfig)
    as_deployments: str = Field(
        default="",
        description="Name of the deployments of train-motion-vqvae and train-motion-lm to run, "
        "such as paper; empty means training on this machine.",
    )
    processes: int = Field(
        default=0, ge=0, description="Number of torchrun processes; 0 means one per GPU."
    )

    @model_validator(mode="after")
    def _check_machines(self) -> "TrainAllConfig":
        loops = self.vqvae.loop, self.lm.loop, self.lm.pretraining
        if any(loop is not None and loop.nodes > 1 for loop in loops):
            raise ValueError(
                "loop.nodes: expected 1 in train-all, whose other stages run on one machine, found "
                "more. Remedy: run train-motion-vqvae, tokenize-motions and train-motion-lm, of "
                "which the trainings take loop.nodes."
            )
        return self

    @model_validator(mode="after")
    def _check_deployments(self) -> "TrainAllConfig":
        linked = find_link_above(self.root) if self.as_deployments else None
        if linked is not None:
            link, below = linked
            address = link.address if below == "." else link.address.child(below)
            raise ValueError(
                f"root: expected a shared folder with as_deployments, found {address}, which the "
                "workers of deployments do not write to. Remedy: name a folder that this machine "
                "and the workers share, or leave as_deployments out."
            )
        return self


def _sizes(preset: str) -> dict[str, Any]:
    """Combine the presets of both models."""
    vqvae, lm = VQVAE_PRESETS[preset], LM_PRESETS[preset]
    recipe = VqvaeRecipe.model_fields
    return {
        "root": f"{HOME}/train",
        "sources": [f"{HOME}/dataset"],
        "vqvae": {name: value for name, value in vqvae.items() if name in recipe},
        "lm": {name: lm[name] for name in LmStage.model_fields if name in lm},
    }


PRESETS: Final[Presets] = {
    # The published sizes, for a GPU.
    "paper": _sizes("paper"),
    # What two CPU cores train in an hour.
    "small": {
        **_sizes("small"),
        # Another seed than that of train-evaluator, so that an evaluator is another network.
        "chooser": {
            **CPU_LOOP,
            "steps": 400,
            "learning_rate": 1e-3,
            "max_minutes": 3,
            "seed": 1,
        },
    },
    # A few minutes, to try an installation; `make demo-train` runs it. With a shorter training, the
    # tokenizer cannot even reconstruct a waving arm.
    "tiny": {
        "sources": ["procedural:480", f"{HOME}/demo"],
        "root": f"{HOME}/train-demo",
        "vqvae": {
            "model": {
                "width": 64,
                "depth": 2,
                "quantizer": {
                    "kind": "residual",
                    "num_codes": 128,
                    "code_dim": 64,
                    "num_quantizers": 4,
                },
            },
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
            # The demo has a single annotated clip, so most weight is on motions and their texts.
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
        "evaluation": {"items": 24, "completion": {"samples": 2, "gaps_s": ()}, "pictures": 4},
    },
}
"""Presets by name; the configuration of a run overrides them (:mod:`data.presets`)."""
