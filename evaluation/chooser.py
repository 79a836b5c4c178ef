"""Choose among several motions of a caption by what they show.

The claims of the caption are measured in each motion, as those of annotations are. A contrastive
network, if there is one, embeds the caption and the motion as well: it tells motions apart that
show the same claims. On unseen contents and styles both together choose better than either, and
than the model's own reading (docs/benchmarks.md). The network has to be another one than the
evaluator that judges the model.

Shapes: T frames, D = 263 features (see :mod:`data.motion.features`), N motions.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from annotators.grounding.chosen import motion_support
from annotators.grounding.plain import plain_text
from evaluation.evaluators.contrastive import KIND
from evaluation.evaluators.evaluator import MIN_FRAMES, Evaluator
from evaluation.evaluators.loading import load_evaluator
from training.checkpoints import read_checkpoint
from training.inference.motion_model import (
    Features,
    MotionJudge,
    MotionModel,
    chooser_of,
    load_motion_model,
)

_log = logging.getLogger(__name__)

_MATCHED: Final = 2 / 3
"""Weight of the distance of the embeddings, which both have length 1, relative to the support of
the claims: chosen on the validation split (docs/benchmarks.md)."""
_FARTHEST: Final = 2.0
"""Distance of opposite embeddings; that of motions too short to be embedded."""


class Chooser:
    """Measures how well motions show captions, for :class:`MotionModel`.

    Args:
        network: contrastive evaluator network.
    """

    def __init__(self, network: Evaluator) -> None:
        self._network = network

    def __call__(self, captions: Sequence[str], motions: Sequence[Features]) -> list[float]:
        """Return the support of each caption by its motion, less the distance of both, (N,)."""
        support = motion_support(captions, motions)
        distances = [_FARTHEST] * len(motions)
        there = [number for number, motion in enumerate(motions) if len(motion) >= MIN_FRAMES]
        if there:
            motions_NE = self._network.embed_motions([motions[number] for number in there])
            texts_NE = self._network.embed_texts([captions[number] for number in there])
            found_N = np.linalg.norm(motions_NE - texts_NE, axis=-1)
            for number, distance in zip(there, found_N.tolist(), strict=True):
                distances[number] = distance
        return [a - _MATCHED * b for a, b in zip(support, distances, strict=True)]


def motion_judge(
    network: Path | None = None,
    device: str = "cpu",
    sentence_encoder: Path | None = None,
    *,
    judged_by: Evaluator | None = None,
) -> MotionJudge:
    """Return the judge by which one of several motions of a caption is chosen.

    Args:
        network: run folder of a contrastive evaluator; None: the claims of captions only.
        device: torch device of the network.
        sentence_encoder: path of its sentence encoder, if it was moved.
        judged_by: evaluator that judges the chosen motions, which has to be another network.

    Raises:
        training.checkpoints.CheckpointError: the folder has no evaluator, or is damaged.
        ValueError: the evaluator is of another kind, its sentence encoder is missing, or it would
            judge its own choice.
    """
    if network is None:
        return motion_support
    loaded = load_evaluator(network, torch.device(device), sentence_encoder)
    if loaded.kind != "contrastive":
        raise ValueError(
            f"chooser: expected a contrastive evaluator, found {loaded.name} at {network}, which "
            "chooses worse than none (docs/benchmarks.md). Remedy: train one with avatargpt "
            "train-evaluator, or leave the chooser out."
        )
    # Names are hashes of weights and statistics: the same network in two folders is found out.
    if judged_by is not None and loaded.name == judged_by.name:
        raise ValueError(
            "chooser: expected another network than the evaluator, which would judge its own "
            f"choice, found {loaded.name} for both; {network} is a copy of it. Remedy: train two "
            "evaluators with different seeds (--set loop.seed=1)."
        )
    return Chooser(loaded)


def judge_of_model(
    own: Path | None,
    network: Path | None = None,
    device: str = "cpu",
    sentence_encoder: Path | None = None,
    *,
    judged_by: Evaluator | None = None,
) -> MotionJudge:
    """Return the judge by which a model's motions of a caption are chosen.

    The network is the given one, or else the model's own, if its training made one. Without the
    sentence encoder of its own network, which is another file, the claims decide alone; a warning
    says so.

    Args:
        own: checkpoint of the model's own network; None if it has none.
        network: run folder of another contrastive evaluator.
        device: torch device of the network.
        sentence_encoder: path of its sentence encoder, if it was moved.
        judged_by: evaluator that judges the chosen motions, which has to be another network.

    Raises:
        training.checkpoints.CheckpointError: the network is damaged, or is none.
        ValueError: as in :func:`motion_judge`; for the given network, a missing encoder too.
    """
    if network is not None or own is None:
        return motion_judge(network, device, sentence_encoder, judged_by=judged_by)
    trained_with = read_checkpoint(own, KIND).config["sentence_encoder"]
    encoder = sentence_encoder or Path(trained_with)
    if not encoder.exists():
        _log.warning(
            "%s: the sentence encoder %s of the network that helps to choose among motions is "
            "missing, so that the claims of texts decide alone. Remedy: run `avatargpt assets "
            "--evaluation`, or give its path as sentence_encoder.",
            own,
            encoder,
        )
        return motion_judge(judged_by=judged_by)
    return motion_judge(own, device, encoder, judged_by=judged_by)


def load_judged_model(
    folder: Path,
    network: Path | None = None,
    device: str = "cpu",
    sentence_encoder: Path | None = None,
) -> MotionModel:
    """Load a model folder with the judge of :func:`judge_of_model`, as its users have it.

    Args:
        folder: model folder that ``train-all`` wrote.
        network: run folder of another network that helps to choose among motions.
        device: torch device to compute on.
        sentence_encoder: path of the network's sentence encoder, if it was moved.

    Raises:
        training.checkpoints.CheckpointError: the folder is not a model folder, or one of the
            checkpoints is damaged.
        ValueError: as in :func:`judge_of_model`.
    """
    judge = judge_of_model(chooser_of(folder), network, device, sentence_encoder)
    return load_motion_model(folder, device, judge, plain_text)
