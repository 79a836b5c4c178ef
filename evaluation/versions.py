"""Model folders: versions of tokenizer and language model with their metrics, and ``latest``.

::

    MODELS/v-<id>/model.json       format, version, training data, metrics
                  README.md        model card
                  evaluation.json  metrics and example answers
                  vqvae/  lm/      checkpoints
    MODELS/latest -> v-<id>        updated only to a version that is not worse
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from data.config import Config
from data.schemas import CODE_VERSION
from data.store.writer import write_json, write_text
from evaluation.reports import EvaluationReport
from training.checkpoints import Checkpoint, reading
from training.inference.motion_model import FORMAT, MODEL_FILE, version_of

LATEST = "latest"


class PromotionConfig(Config):
    """Condition for a version to become ``latest``."""

    metric: str = Field(
        default="reconstruction_mpjpe_mm", description="Metric of the evaluation that is compared."
    )
    higher_is_better: bool = False
    tolerance: float = Field(
        default=0.02, ge=0, description="Relative amount by which it may be worse."
    )


def write_model(models: Path, vqvae: Checkpoint, lm: Checkpoint, report: EvaluationReport) -> Path:
    """Write a model version atomically; an existing version is not changed.

    Args:
        models: folder of all versions.
        vqvae: checkpoint of the motion tokenizer.
        lm: checkpoint of the language model.
        report: evaluation of both.

    Returns:
        The folder of the version.
    """
    version = version_of(vqvae.folder, lm.folder)
    folder = models / version
    if (folder / MODEL_FILE).exists():
        return folder
    aside = models / f".{version}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, checkpoint in (("vqvae", vqvae), ("lm", lm)):
        unused = shutil.ignore_patterns("trainer.safetensors")
        shutil.copytree(checkpoint.folder, aside / name, ignore=unused)
    write_json(aside / "evaluation.json", report.model_dump(mode="json"))
    info = {
        "format": FORMAT,
        "version": version,
        "code_version": CODE_VERSION,
        "vqvae": {"step": vqvae.step, "data": vqvae.data},
        "lm": {"step": lm.step, "data": lm.data},
        "metrics": report.metrics,
    }
    write_text(aside / "README.md", _card(info, lm.config, report))
    write_json(aside / MODEL_FILE, info)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def promote(models: Path, folder: Path, config: PromotionConfig) -> tuple[bool, str]:
    """Point ``latest`` to a version unless it is worse than the current one.

    Returns:
        Whether the version is ``latest`` now, and the reason.

    Raises:
        ValueError: the metric does not exist.
        training.checkpoints.CheckpointError: a version cannot be read.
    """
    latest = models / LATEST
    new = _metric(folder, config)
    if latest.exists():
        if latest.resolve() == folder.resolve():
            return True, "it was the latest before"
        old = _metric(latest, config)
        allowed = abs(old) * config.tolerance
        worse = new < old - allowed if config.higher_is_better else new > old + allowed
        if worse:
            return False, f"{config.metric} is {new:.4g}, that of the latest {old:.4g}"
        why = f"{config.metric} is {new:.4g}, that of the latest was {old:.4g}"
    else:
        why = f"the first version; {config.metric} is {new:.4g}"
    aside = models / f".{LATEST}.tmp"
    aside.unlink(missing_ok=True)
    aside.symlink_to(folder.name)
    aside.replace(latest)
    return True, why


def _metric(folder: Path, config: PromotionConfig) -> float:
    with reading(folder):
        metrics: dict[str, float] = json.loads((folder / MODEL_FILE).read_text())["metrics"]
    if config.metric not in metrics:
        raise ValueError(
            f"{folder}: expected the metric {config.metric}, found {sorted(metrics)}. "
            "Remedy: correct promotion.metric."
        )
    return metrics[config.metric]


def _card(info: dict[str, Any], config: dict[str, Any], report: EvaluationReport) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(report.metrics.items()))
    counts: dict[str, int] = info["lm"]["data"]["instructions"]
    taught = ", ".join(f"{task} {count}" for task, count in counts.items())
    vqvae = info["vqvae"]["data"]
    base = config["model"]["base"] or f"from scratch, {config['model']['scratch']}"
    return f"""---
library_name: avatargpt
tags: [human-motion, text-to-motion, motion-to-text]
---
# Motion language model {info["version"]}

Trained by avatargpt {info["code_version"]}. Use: `avatargpt t2m "a person kicks" --model DIR`.

- Motion tokenizer: step {info["vqvae"]["step"]}, trained on {vqvae["motions"]} motions of
  `{vqvae["dataset"]}`.
- Language model: T5 {base}; step {info["lm"]["step"]}.
- Instructions: {taught}.
- Licenses: those of the motions and texts it was trained on; see the dataset's `license` column.

## Test split
| metric | value |
|---|---:|
{rows}

The model reproduces its training data; results for other texts and motions are unreliable.
"""
