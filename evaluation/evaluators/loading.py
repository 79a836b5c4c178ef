"""Load an evaluator from the folder of its training, or of its import."""

from pathlib import Path

import torch

from evaluation.evaluators import contrastive, published
from evaluation.evaluators.contrastive import ContrastiveEvaluator
from evaluation.evaluators.evaluator import Evaluator
from evaluation.evaluators.published import MatchingEvaluator
from training.checkpoints import read_checkpoint, reading


def load_evaluator(
    folder: Path, device: torch.device | None = None, sentence_encoder: Path | None = None
) -> Evaluator:
    """Load the best checkpoint of a run, or a checkpoint.

    Args:
        folder: run of :func:`~evaluation.evaluators.train_matching.train_matching_evaluator`, of
            :func:`~evaluation.evaluators.train_contrastive.train_contrastive_evaluator` or of
            :func:`~evaluation.evaluators.published.import_published`.
        device: device to compute on; None: the CPU.
        sentence_encoder: path of the sentence encoder of a contrastive evaluator, if it was moved.

    Raises:
        CheckpointError: the folder has no evaluator, or is damaged.
        ValueError: the sentence encoder is missing, or is not that of the training.
    """
    chosen = device or torch.device("cpu")
    checkpoint = read_checkpoint(folder, published.KIND, contrastive.KIND)
    if checkpoint.kind == contrastive.KIND:
        return ContrastiveEvaluator(checkpoint, chosen, sentence_encoder)
    with reading(folder):
        return MatchingEvaluator(checkpoint, chosen)
