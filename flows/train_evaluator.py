"""The flows that train evaluators: ``train-contrastive-evaluator``, ``train-matching-evaluator``.

They run like the other trainings (:mod:`flows.train`). ``evaluate`` and ``train-all`` use an
evaluator by the folder of its run (``evaluation.evaluator.run``).
"""

from typing import Annotated, Any

from prefect import flow

from data.presets import NOTHING, PartOf, one_of
from evaluation.evaluators import train_contrastive, train_matching
from evaluation.evaluators.contrastive import KIND as CONTRASTIVE_KIND
from evaluation.evaluators.published import KIND as MATCHING_KIND
from evaluation.evaluators.train_contrastive import TrainContrastiveConfig
from evaluation.evaluators.train_matching import TrainMatchingConfig
from flows.configuration import start_config
from flows.paths import require_absolute
from flows.runtime.reporting import outlives_server
from flows.settings import asset_path
from flows.train import TrainingSummary, train_configured


@flow(name="train-contrastive-evaluator")
@outlives_server
def train_contrastive_evaluator(
    preset: Annotated[str, one_of(train_contrastive.PRESETS)] = "",
    config: Annotated[
        TrainContrastiveConfig | dict[str, Any], PartOf(TrainContrastiveConfig)
    ] = NOTHING,
    processes: int = 0,
) -> TrainingSummary:
    """Train the contrastive evaluator on the motions and texts of a dataset. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: data, model, training and run folder; values that differ from the preset.
        processes: number of torchrun processes; 0 means one per GPU of the worker, or one.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: the training failed, or the sentence encoder cannot be fetched.
    """
    config = start_config(TrainContrastiveConfig, train_contrastive.PRESETS, preset, config)
    if config.sentence_encoder is None:
        encoder = asset_path("sentence_encoder")
        config = config.model_copy(update={"sentence_encoder": encoder})
    require_absolute((config.run, config.data.dataset), "config.run and config.data.dataset")
    return train_configured(
        "train-contrastive-evaluator",
        train_contrastive.__name__,
        CONTRASTIVE_KIND,
        config,
        processes,
    )


@flow(name="train-matching-evaluator")
@outlives_server
def train_matching_evaluator(
    preset: Annotated[str, one_of(train_matching.PRESETS)] = "",
    config: Annotated[TrainMatchingConfig | dict[str, Any], PartOf(TrainMatchingConfig)] = NOTHING,
    processes: int = 0,
) -> TrainingSummary:
    """Train the text-motion matching network on the motions and texts of a dataset. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: data, model, training and run folder; values that differ from the preset.
        processes: number of torchrun processes; 0 means one per GPU of the worker, or one.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: the training failed.
    """
    config = start_config(TrainMatchingConfig, train_matching.PRESETS, preset, config)
    require_absolute((config.run, config.data.dataset), "config.run and config.data.dataset")
    return train_configured(
        "train-matching-evaluator", train_matching.__name__, MATCHING_KIND, config, processes
    )
