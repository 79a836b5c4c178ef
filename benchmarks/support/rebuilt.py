"""What is lost when motions are rebuilt from their codes: errors and naturalness, by source."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.arrays import FloatArray
from data.motion.features import features_to_joints
from evaluation.metrics.naturalness import mean_naturalness, naturalness
from evaluation.metrics.reconstruction import compare_motions
from training.tokenizer.windows import MotionArray

FRAMES: Final = 4
"""Frames of a token; the frames of an incomplete one are left out."""
Rebuild = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Encodes and decodes the features of a motion, (T, 263), not normalized."""


def measured(rebuild: Rebuild, motions: MotionArray) -> dict[str, dict[str, float]]:
    """Return errors and naturalness of whole rebuilt motions, by source."""
    figures: dict[str, dict[str, float]] = {}
    for source in sorted(set(motions.sources)):
        reals: list[FloatArray] = []
        mades: list[FloatArray] = []
        for index in np.flatnonzero(np.array(motions.sources) == source).tolist():
            motion = np.array(motions.motion(index))
            motion = motion[: len(motion) // FRAMES * FRAMES]
            reals.append(features_to_joints(motion.astype(np.float64)))
            mades.append(features_to_joints(rebuild(motion).astype(np.float64)))
        errors = compare_motions(
            (real, made, None) for real, made in zip(reals, mades, strict=True)
        )
        values: dict[str, float | None] = asdict(errors)
        for name, joints in (("real_", reals), ("", mades)):
            natural = mean_naturalness(naturalness(each) for each in joints)
            values |= {
                f"{name}foot_skate_m_s": natural.foot_skate_m_s,
                f"{name}jitter_m_s3": natural.jitter_m_s3,
            }
        figures[source] = {
            key: round(value, 3) for key, value in values.items() if value is not None
        }
    return figures
