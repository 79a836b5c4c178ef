"""What an evaluation of a model computes, and its presets."""

from typing import Any, Final, Literal

from pydantic import Field, PositiveFloat, model_validator

from annotators.chat.budget import TokenPrice
from annotators.chat.config import ChatConfig
from data.config import Config, ExpandedPath
from data.presets import HOME, Presets
from evaluation.metrics.protocol import ProtocolConfig
from training.language_model.config import CHOSEN, DRAWN, Sampling


class EvaluatorConfig(Config):
    """The network that judges how well motions match their captions (docs/evaluators.md)."""

    run: ExpandedPath = Field(description="Run folder or checkpoint of a trained evaluator.")
    sentence_encoder: ExpandedPath | None = Field(
        default=None,
        description="Sentence encoder of a contrastive evaluator, if it was moved.",
    )
    protocol: ProtocolConfig = Field(
        default_factory=ProtocolConfig, description="Repeats, sizes and seeds of the protocol."
    )
    multimodality_texts: int = Field(
        default=0,
        ge=0,
        description="Texts of MultiModality, 100 in published values; 0 leaves it out.",
    )
    multimodality_samples: int = Field(
        default=30, ge=1, description="Motions that are generated for each of these texts."
    )
    new_motions: bool = Field(
        default=False,
        description="Whether each repeat generates the motions anew, as in published values, so "
        "that intervals cover the choice of samples. It takes as many times as long.",
    )

    humanml3d_protocol: bool = Field(
        default=False,
        description="Whether the test set is that of HumanML3D's protocol: with mirror images, and "
        "for text to motion clips of 40 to 199 frames. Published rows need it, and all items.",
    )

    @model_validator(mode="after")
    def _check_samples(self) -> "EvaluatorConfig":
        pairs = self.protocol.multimodality_pairs
        if self.multimodality_texts and self.multimodality_samples < pairs:
            raise ValueError(
                f"multimodality_samples: expected at least {pairs}, the number of pairs, found "
                f"{self.multimodality_samples}. Remedy: raise it, or lower "
                "protocol.multimodality_pairs."
            )
        return self


class ChooserConfig(Config):
    """The network that helps to choose among several motions of a caption."""

    run: ExpandedPath = Field(
        description="Run folder or checkpoint of a contrastive evaluator; not that which judges."
    )
    sentence_encoder: ExpandedPath | None = Field(
        default=None, description="Its sentence encoder, if it was moved."
    )


class CoherenceConfig(Config):
    """A language model that judges whether plans are coherent."""

    service: ChatConfig = Field(description="Endpoint and model.")
    items: int = Field(default=32, ge=1, description="Maximum number of plans that are judged.")
    budget_usd: float | None = Field(
        default=None, ge=0, description="Largest cost in USD; empty means no limit."
    )
    prices: dict[str, TokenPrice] = Field(
        default_factory=dict[str, TokenPrice],
        description="Price by model; those that OpenAI published are known.",
    )


class CompletionConfig(Config):
    """In-between and prediction."""

    samples: int = Field(
        default=4, ge=1, description="Samples of each item; the best of them is reported too."
    )
    sampling: Sampling = Field(default=DRAWN, description="Sampling of completions.")
    gaps_s: tuple[PositiveFloat, ...] = Field(
        default=(0.5, 1.0, 2.0, 4.0),
        description="Lengths of gaps in seconds that in-between is measured on too, in the middle "
        "of motions that are long enough.",
    )


class EvaluationConfig(Config):
    """Size, sampling and judges of an evaluation."""

    items: int = Field(
        default=64, ge=1, description="Maximum number of items per task, and of motions per source."
    )
    text: Sampling = Field(default_factory=Sampling, description="Sampling of texts.")
    motion: Sampling = Field(
        default=CHOSEN, description="Sampling of motions of captions; by default that of t2m."
    )
    ground_truth_length: bool = Field(
        default=False,
        description="Whether motions of captions get the length of the real motion, which makes "
        "the task easier. The report says so.",
    )
    completion: CompletionConfig = Field(default_factory=CompletionConfig)
    evaluator: EvaluatorConfig | None = Field(
        default=None,
        description="Evaluator network of R-precision, MM-Dist, FID and Diversity. Empty leaves "
        "them out.",
    )
    chooser: ChooserConfig | None = Field(
        default=None,
        description="Network that chooses among the samples of motion.best_of, beside the claims "
        "of captions and the model's own reading. Empty: the model's own network, if its training "
        "made one.",
    )
    coherence: CoherenceConfig | None = Field(
        default=None, description="Language model that judges plans. Empty leaves this out."
    )
    embedding_model: str | None = Field(
        default=None,
        description="Embedding model of BERTScore: its folder, or its name on the Hugging Face "
        "Hub. None leaves BERTScore out.",
    )
    pictures: int = Field(
        default=6, ge=0, description="Motions in each gallery of the page; 0 leaves them out."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the choice of captions and of retrieved motions."
    )

    @model_validator(mode="after")
    def _check_chooser(self) -> "EvaluationConfig":
        both = self.chooser, self.evaluator
        if both[0] is not None and both[1] is not None and both[0].run == both[1].run:
            raise ValueError(
                "chooser.run: expected another network than evaluator.run, which would judge its "
                f"own choice, found {both[0].run} for both. Remedy: train two evaluators with "
                "different seeds (--set loop.seed=1)."
            )
        return self


class EvaluateConfig(Config):
    """Configuration of the flow ``evaluate``."""

    model: ExpandedPath = Field(description="Model folder that train-all wrote.")
    dataset: ExpandedPath | None = Field(
        default=None, description="New path of the training dataset, if it was moved."
    )
    out: ExpandedPath | None = Field(
        default=None,
        description="Folder of report.html and evaluation.json. Empty: the model folder, whose "
        "model card is written anew.",
    )
    compare_with: ExpandedPath | None = Field(
        default=None, description="Folder of an evaluated model to compare with."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device. auto uses the GPU if there is one."
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)


_MODEL: Final[dict[str, Any]] = {"model": f"{HOME}/train/models/latest"}
PRESETS: Final[Presets] = {
    # Wide intervals, in a minute or less for small models.
    "quick": {
        **_MODEL,
        "evaluation": {"items": 24, "completion": {"samples": 2, "gaps_s": []}, "pictures": 3},
    },
    "standard": _MODEL,
    # The whole test split. Name an evaluator for the published metrics.
    "full": {**_MODEL, "evaluation": {"items": 10_000, "completion": {"samples": 10}}},
}
"""Presets of :class:`EvaluateConfig`."""
