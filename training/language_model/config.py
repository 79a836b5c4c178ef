"""Configuration of the motion language model: its architecture, its training and its decoding.

It stands apart from the networks, because importing those takes seconds, and commands and flows
check a configuration before they start anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from data.config import Config, ExpandedPath, without_removed
from data.motion.splits import SplitConfig
from data.presets import HOME, Presets
from training.instructions.mixture import InstructionConfig
from training.instructions.tasks import Task
from training.loop import LoopConfig

KIND: Final = "motion_lm"
"""Kind of the checkpoints of this model."""


class ResidualConfig(Config):
    """Size and loss of the residual decoder; a tokenizer with one codebook has none."""

    layers: int = Field(default=4, ge=1, description="Number of layers.")
    heads: int = Field(
        default=4, ge=1, description="Number of attention heads. It must divide the width of T5."
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout probability.")
    loss_weight: float = Field(
        default=1.0, ge=0, description="Weight of its loss beside that of the language model."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_removed(cls, values: Any) -> Any:
        return without_removed(values, "detached")


class T5Size(Config):
    """Size of a T5 that is trained from scratch; the defaults are small enough for a CPU."""

    width: int = Field(default=256, ge=8, description="Width of the embeddings (d_model).")
    ff_width: int = Field(default=512, ge=8, description="Width of the feed-forward layers (d_ff).")
    layers: int = Field(
        default=4, ge=1, description="Number of layers of the encoder, and of the decoder."
    )
    heads: int = Field(default=4, ge=1, description="Number of attention heads.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout probability.")
    num_pieces: int = Field(
        default=2000,
        ge=128,
        description="Vocabulary size of the text tokenizer, which is trained on the texts.",
    )


class MotionLmConfig(Config):
    """Architecture of the language model."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "base": ("scratch",),
        "scratch": ("base",),
    }

    base: str = Field(
        default="",
        description="Hub name or folder of a pretrained T5 or FLAN-T5. Empty: train from scratch.",
    )
    scratch: T5Size = Field(default_factory=T5Size, description="Size of the T5 if base is empty.")
    embedding: Literal["adapter", "learned"] = Field(
        default="adapter",
        description="Embeddings of motion tokens. adapter: projected from the codebook; learned: "
        "trained from scratch.",
    )
    heads: Literal["two", "shared"] = Field(
        default="two",
        description="two: separate softmax for text and motion; shared: one softmax over both.",
    )
    residual: ResidualConfig = Field(
        default_factory=ResidualConfig,
        description="Decoder of the residual codes, if the motion tokenizer has any.",
    )
    lora_rank: int = Field(
        default=0, ge=0, description="Rank of LoRA on T5's attention; 0: full fine-tuning."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Whether to save memory by recomputing activations."
    )
    attention_groups: int = Field(
        default=2,
        ge=1,
        description="Number of groups of similar lengths that rows are padded in for attention. "
        "More groups need less padding but more kernel calls.",
    )


PUBLISHED_LOOP: Final = LoopConfig(
    steps=300_000,
    batch_size=32,
    accumulate=4,
    learning_rate=2e-4,
    warmup_steps=1000,
    decay="none",
    betas=(0.9, 0.999),
    clip_norm=1.0,
    validate_every=5000,
    checkpoint_every=1000,
)


class TrainMotionLmConfig(Config):
    """Configuration of a training of the motion language model."""

    run: ExpandedPath = Field(description="Folder of the run. An interrupted run in it is resumed.")
    dataset: ExpandedPath = Field(
        description="Folder of the dataset. It must have motions and their tokens."
    )
    plans: tuple[ExpandedPath, ...] = Field(
        default=(), description="More datasets whose annotations are used for the planning tasks."
    )
    reviews: bool = Field(
        default=True,
        description="Learn texts as reviewers left them, without people who are none; false: what "
        "was published.",
    )
    tokenizer: ExpandedPath = Field(
        description="Folder of a training run or checkpoint of the motion VQ-VAE."
    )
    model: MotionLmConfig = Field(
        default_factory=MotionLmConfig, description="Architecture of the language model."
    )
    instructions: InstructionConfig = Field(
        default_factory=InstructionConfig, description="Weights of the tasks, and their limits."
    )
    splits: SplitConfig = Field(
        default_factory=SplitConfig,
        description="Shares of the splits of plans. Motions and their videos have theirs in the "
        "motions table.",
    )
    min_grounding_score: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Annotations with a lower grounding score are skipped; empty: none.",
    )
    min_quality: float = Field(
        default=0.0, ge=0, le=1, description="Motions with a lower pose confidence are skipped."
    )
    stage: Literal["pretrain", "instruct"] = Field(
        default="instruct",
        description="pretrain: span corruption of text and motion, and translation between them; "
        "instruct: all tasks.",
    )
    initial: Path | None = Field(
        default=None,
        description="Run or checkpoint to initialize the weights from, such as a pre-training.",
    )
    max_prompt: int = Field(
        default=512, ge=16, description="Instructions with longer prompts, in ids, are skipped."
    )
    max_answer: int = Field(
        default=256, ge=8, description="Instructions with longer answers, in ids, are skipped."
    )
    validation_items: int = Field(
        default=48, ge=1, description="Maximum number of validation instructions of each task."
    )
    loop: LoopConfig = Field(
        default=PUBLISHED_LOOP, description="Steps, batch size, optimizer and checkpoints."
    )


PRESETS: Final[Presets] = {
    # The published configuration on FLAN-T5-large, for GPUs.
    "paper": {
        "run": f"{HOME}/runs/lm-paper",
        "dataset": f"{HOME}/motions",
        "tokenizer": f"{HOME}/runs/vqvae-paper",
        "model": {"base": "google/flan-t5-large", "gradient_checkpointing": True},
        "loop": PUBLISHED_LOOP.model_dump(mode="json", exclude_unset=True),
    },
    # Trains from scratch on two CPU cores in 30 minutes; its results are in docs/benchmarks.md.
    "small": {
        "run": f"{HOME}/runs/lm-small",
        "dataset": f"{HOME}/motions",
        "tokenizer": f"{HOME}/runs/vqvae-small",
        "model": {
            "scratch": {
                "width": 192,
                "ff_width": 384,
                "layers": 3,
                "heads": 4,
                "dropout": 0.0,
                "num_pieces": 2000,
            },
            "residual": {"layers": 2, "heads": 4, "dropout": 0.0},
            "attention_groups": 8,
        },
        # Most weight is on motions of texts; the texts of plans are learned by heart early.
        "instructions": {
            "weights": {
                **dict.fromkeys(Task, 0.35),
                Task.T2M: 4,
                Task.M2T: 2,
                Task.M2M: 1.5,
                Task.L2M: 1,
                Task.PREDICT: 0.5,
            },
            "token_noise": 0.4,
        },
        "loop": {
            "steps": 6000,
            "batch_size": 60,
            "learning_rate": 1e-3,
            "warmup_steps": 100,
            "decay": "cosine",
            "clip_norm": 1.0,
            "weight_decay": 0.01,
            "betas": [0.9, 0.98],
            "validate_every": 250,
            "checkpoint_every": 250,
            "log_every": 50,
            "max_minutes": 30,
        },
    },
    # A few steps, to check an installation.
    "tiny": {
        "run": f"{HOME}/runs/lm-tiny",
        "dataset": f"{HOME}/motions",
        "tokenizer": f"{HOME}/runs/vqvae-tiny",
        "model": {
            "scratch": {
                "width": 96,
                "ff_width": 192,
                "layers": 2,
                "heads": 4,
                "dropout": 0.0,
                "num_pieces": 800,
            },
            "residual": {"layers": 2, "heads": 4, "dropout": 0.0},
            "attention_groups": 6,
        },
        "loop": {
            "steps": 250,
            "batch_size": 26,
            "learning_rate": 2e-3,
            "warmup_steps": 20,
            "decay": "cosine",
            "clip_norm": 1.0,
            "validate_every": 125,
            "checkpoint_every": 50,
            "log_every": 25,
        },
    },
}
"""Presets of this configuration; a run overrides single fields of one (:mod:`data.presets`)."""


# ---------------------------------------------------------------------------------- decoding


class Sampling(Config):
    """Decoding parameters; the default is greedy decoding."""

    temperature: float = Field(
        default=0.0, ge=0, description="Sampling temperature; 0: greedy decoding or beam search."
    )
    top_k: int = Field(
        default=0, ge=0, description="Sample only from this many most likely tokens; 0: from all."
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Sample only from the most likely tokens with this total probability.",
    )
    beams: int = Field(default=1, ge=1, description="Number of beams.")
    residual_temperature: float = Field(
        default=0.0,
        ge=0,
        description="Sampling temperature of residual codes; 0: the most likely ones.",
    )
    own_ends: bool = Field(
        default=True,
        description="Whether a motion ends as often as the model says, whatever temperature, top_k "
        "and top_p are; a greedy one has the median length. Otherwise its end is chosen like any "
        "other token, as always with beams.",
    )
    cut_loops: bool = Field(
        default=True,
        description="Whether a plan ends where it begins to repeat the steps it has just given.",
    )
    seed: int = Field(default=0, description="Seed of the samples.")
    plain: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Weight of the plain form of a caption in what is drawn: the caption without "
        "the parts that change no claim on the body, such as a manner. 0: the caption alone. Not "
        "with beams.",
    )
    best_of: int = Field(
        default=1,
        ge=1,
        description="Number of motions that are sampled, of which one is returned. For a text, it "
        "is the one that shows most of what the text claims and can be measured, and that the "
        "model would most likely describe with it, and rather one that ended by itself; between "
        "two motions, the one after which the second is most likely.",
    )

    @model_validator(mode="after")
    def _check_plain(self) -> "Sampling":
        if self.plain and self.beams > 1:
            raise ValueError(
                f"plain: expected 0 with beams, found {self.plain:g} with {self.beams} beams. "
                "Remedy: set beams to 1, or plain to 0."
            )
        return self

    @model_validator(mode="after")
    def _check_best_of(self) -> "Sampling":
        if self.best_of > 1 and not self.temperature:
            raise ValueError(
                f"best_of: expected 1 at temperature 0, where all samples are equal, found "
                f"{self.best_of}. Remedy: raise temperature, or set best_of to 1."
            )
        return self


DRAWN: Final = Sampling(temperature=1.0, top_p=0.9)
"""Default for motions without a caption, such as predictions. Greedy motions seldom end by
themselves (docs/benchmarks.md)."""
CHOSEN: Final = Sampling(temperature=0.7, top_p=0.95, plain=0.3, best_of=16)
"""Default for motions with a caption: a lower temperature, the plain form has a say, and the best
of sixteen samples. In docs/benchmarks.md more of these motions show their caption than of
:data:`DRAWN` ones."""
BETWEEN: Final = Sampling(temperature=0.7, top_p=0.95, best_of=4)
"""Default for in-betweens: the best of four samples."""
