"""How well motions show texts, as numbers by which one of several motions can be chosen.

Shapes: T frames at 20 fps, D = 263 features (see :mod:`data.motion.features`).
"""

from collections.abc import Sequence
from typing import Final

from annotators.grounding.checks import ground_claims, support_of
from annotators.motion.describe import describe_motion
from data.arrays import FloatArray
from data.motion.features import features_to_joints
from data.motion.skeleton import FPS

_UNMEASURED: Final = 0.5
"""Support of a text of which nothing can be measured: neither right nor wrong."""


def motion_support(texts: Sequence[str], motions: Sequence[FloatArray]) -> list[float]:
    """Return the graded support of the claims of each text by its motion, 0..1.

    Args:
        texts: English texts about the actions of one person.
        motions: features of each whole motion, (T, D), not normalized.

    Returns:
        The support of each (:func:`annotators.grounding.checks.support_of`); 0.5 if no claim of the
        text can be measured.
    """
    return [_support(text, motion) for text, motion in zip(texts, motions, strict=True)]


def _support(text: str, features_TD: FloatArray) -> float:
    joints_TJ3: FloatArray = features_to_joints(features_TD)
    length_s = len(joints_TJ3) / FPS
    found = ground_claims(text, describe_motion(joints_TJ3), start_s=0.0, end_s=length_s)
    support = support_of(found)
    return _UNMEASURED if support is None else support
