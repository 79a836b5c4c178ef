"""Model folders: versions of tokenizer and language model with their evaluation, and ``latest``.

::

    MODELS/v-<id>/model.json       format, version, training data
                  README.md        model card, with a short table
                  evaluation.json  every figure, and how it was measured
                  report.html      the same as one page, with pictures
                  vqvae/  lm/      checkpoints
                  chooser/         that of the network that helps to choose, if it was trained
    MODELS/latest -> v-<id>        updated only to a version that is not worse
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from data.schemas import CODE_VERSION
from data.store.writer import write_json, write_text
from evaluation.model_report.card import card
from evaluation.model_report.evaluate import Evaluated
from evaluation.model_report.page import write_evaluation
from training.checkpoints import Checkpoint, read_checkpoint, reading
from training.inference.motion_model import CHOOSER, FORMAT, MODEL_FILE, version_of
from training.language_model.config import KIND

CARD_FILE: Final = "README.md"


def write_model(
    models: Path,
    vqvae: Checkpoint,
    lm: Checkpoint,
    evaluated: Evaluated,
    chooser: Checkpoint | None = None,
) -> Path:
    """Write a model version atomically; of an existing one, only the evaluation is written anew.

    Args:
        models: folder of all versions.
        vqvae: checkpoint of the motion tokenizer.
        lm: checkpoint of the language model.
        evaluated: evaluation of both.
        chooser: checkpoint of the network that helps to choose among motions, if there is one.

    Returns:
        The folder of the version.
    """
    version = version_of(vqvae.folder, lm.folder, None if chooser is None else chooser.folder)
    folder = models / version
    if (folder / MODEL_FILE).exists():
        write_evaluated(folder, evaluated)
        return folder
    aside = models / f".{version}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    parts = {"vqvae": vqvae, "lm": lm}
    if chooser is not None:
        parts[CHOOSER] = chooser
    for name, checkpoint in parts.items():
        unused = shutil.ignore_patterns("trainer.safetensors")
        shutil.copytree(checkpoint.folder, aside / name, ignore=unused)
    info = {
        "format": FORMAT,
        "version": version,
        "code_version": CODE_VERSION,
        **{name: {"step": one.step, "data": one.data} for name, one in parts.items()},
    }
    write_json(aside / MODEL_FILE, info)
    write_evaluated(aside, evaluated)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def write_evaluated(folder: Path, evaluated: Evaluated) -> None:
    """Write the evaluation of a model into its folder, and its model card.

    Args:
        folder: model folder.
        evaluated: evaluation of the model.

    Raises:
        training.checkpoints.CheckpointError: the folder is not a model folder, or is damaged.
        OSError: the folder cannot be written.
    """
    with reading(folder):
        info: dict[str, Any] = json.loads((folder / MODEL_FILE).read_text())
        config = read_checkpoint(folder / "lm", KIND).config
        text = card(info, config, evaluated.report)
    write_evaluation(folder, evaluated)
    write_text(folder / CARD_FILE, text)
