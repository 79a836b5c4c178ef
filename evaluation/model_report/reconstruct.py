"""The motion tokenizer: errors of encoded and decoded test motions, and their naturalness.

Shapes: T frames, J = 22 joints, D = 263 features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.arrays import BoolArray, FloatArray
from data.motion.features import features_to_joints
from evaluation.metrics.intervals import bootstrap_mean
from evaluation.metrics.naturalness import naturalness
from evaluation.metrics.reconstruction import compare_motions, joint_errors_mm
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.material import Material
from evaluation.model_report.measures import natural_figures
from evaluation.model_report.tables import Row, Table, by_source, plain, ranged
from training.inference.motion_model import MotionModel
from training.instructions.mixture import evenly
from training.tokenizer.reconstruction import reconstruction

NAME = "reconstruction"


@dataclass(frozen=True, slots=True)
class RebuiltMotion:
    """A test motion and what the tokenizer makes of it.

    Attributes:
        motion_id: id of the motion.
        source: its source.
        real_TJ3: joints of the real motion, (T, J, 3), in meters.
        made_TJ3: joints of the decoded motion, (T, J, 3), in meters.
        seen_TJ: which joints of the real motion were seen, (T, J).
        error_mm: mean joint error.
    """

    motion_id: str
    source: str
    real_TJ3: FloatArray
    made_TJ3: FloatArray
    seen_TJ: BoolArray
    error_mm: float


def reconstruct(
    model: MotionModel, material: Material, config: EvaluationConfig
) -> tuple[Table, tuple[RebuiltMotion, ...]]:
    """Encode and decode test motions.

    The mean joint error and the use of codes over all sources are those of every test motion;
    everything else is of at most ``config.items`` motions of each source.

    Returns:
        The table, and the motions that were chosen from each source.
    """
    rebuilt = [_rebuilt(model, material, index) for index in _chosen(model, material, config.items)]
    whole = reconstruction(
        model.tokenizer.model, material.motions, model.tokenizer.stats, model.tokenizer.device
    )
    rows = _rows(rebuilt, config.seed, "")
    rows[0].values.update(plain(dict(whole)))
    for source, own in by_source([one.source for one in rebuilt]).items():
        rows += _rows([rebuilt[place] for place in own], config.seed, source)
    notes = (
        f"Joint error and codes over all sources: every motion of the test split "
        f"({len(material.motions)}). All else: at most {config.items} motions of each source.",
    )
    return Table(name=NAME, rows=tuple(rows), notes=notes), tuple(rebuilt)


def _chosen(model: MotionModel, material: Material, each: int) -> list[int]:
    """Return the places of motions of one token or more, at even intervals of each source."""
    motions, step = material.motions, model.tokenizer.frames_per_token
    places: dict[str, list[int]] = {}
    for index, frames in enumerate(np.diff(motions.offsets_N).tolist()):
        if frames >= step:
            source = material.source_of_motion(motions.ids[index])
            places.setdefault(source, []).append(index)
    return [place for _, own in sorted(places.items()) for place in evenly(own, each)]


def _rebuilt(model: MotionModel, material: Material, index: int) -> RebuiltMotion:
    motions = material.motions
    features_TD = motions.motion(index)
    made_TD = model.tokenizer.decode(model.tokenizer.encode([features_TD])[0])
    frames = len(made_TD)
    real_TJ3: FloatArray = features_to_joints(features_TD[:frames])
    made_TJ3: FloatArray = features_to_joints(made_TD)
    seen_TJ = motions.credible(index)[:frames]
    errors_T = joint_errors_mm(real_TJ3, made_TJ3, seen_TJ)
    motion_id = motions.ids[index]
    return RebuiltMotion(
        motion_id,
        material.source_of_motion(motion_id),
        real_TJ3,
        made_TJ3,
        seen_TJ,
        float(np.nanmean(errors_T)) if np.isfinite(errors_T).any() else float("nan"),
    )


def _rows(rebuilt: Sequence[RebuiltMotion], seed: int, source: str) -> list[Row]:
    """Return the row of the tokenizer, and that of the real motions."""
    errors = compare_motions((one.real_TJ3, one.made_TJ3, one.seen_TJ) for one in rebuilt)
    made = plain(
        {
            "mpjpe_mm": errors.mpjpe_mm,
            "pa_mpjpe_mm": errors.pa_mpjpe_mm,
            "path_mm": errors.path_mm,
            "acceleration_mm": errors.acceleration_mm,
        }
    )
    known = [one for one in rebuilt if np.isfinite(one.error_mm)]
    if known:
        frames = [float(np.any(one.seen_TJ, axis=1).sum()) for one in known]
        made["mpjpe_mm"] = ranged(bootstrap_mean([one.error_mm for one in known], seed, frames))
    made |= natural_figures([naturalness(one.made_TJ3) for one in rebuilt], seed)
    real = natural_figures([naturalness(one.real_TJ3) for one in rebuilt], seed)
    items = len(rebuilt)
    return [
        Row(name="model", items=items, values=made, source=source),
        Row(name="real", items=items, values=real, source=source),
    ]
