"""How well motions show texts, as numbers by which one of several motions can be chosen.

A motion shows a text worse if it mainly does what the text does not claim. Annotations are not
checked for this, because a text may leave out what it likes.

Shapes: T frames at 20 fps, D = 263 features (see :mod:`data.motion.features`).
"""

from collections.abc import Sequence
from typing import Final

from annotators.grounding.checks import ground_claims, support_of
from annotators.grounding.claims import Claim
from annotators.grounding.lexicon import Action
from annotators.motion.describe import MotionDescription, describe_motion
from annotators.motion.events import MotionEvent
from data.arrays import FloatArray
from data.motion.features import features_to_joints
from data.motion.skeleton import FPS

_UNMEASURED: Final = 0.5
"""Support of a text of which nothing can be measured: neither right nor wrong."""
_UNTOLD: Final = 0.6
"""Factor of the support of a text that does not claim what the motion mainly does: chosen on the
validation split (docs/benchmarks.md)."""
_TOLD_AS: Final = {action.value for action in Action}
"""Kinds of events that a claim of the same name tells."""


def motion_support(texts: Sequence[str], motions: Sequence[FloatArray]) -> list[float]:
    """Return the graded support of the claims of each text by its motion, 0..1.

    Args:
        texts: English texts about the actions of one person.
        motions: features of each whole motion, (T, D), not normalized.

    Returns:
        The support of each (:func:`annotators.grounding.checks.support_of`), lower if the motion
        mainly does what the text does not claim; 0.5 if no claim of the text can be measured.
    """
    return [_support(text, motion) for text, motion in zip(texts, motions, strict=True)]


def _support(text: str, features_TD: FloatArray) -> float:
    joints_TJ3: FloatArray = features_to_joints(features_TD)
    length_s = len(joints_TJ3) / FPS
    description = describe_motion(joints_TJ3)
    found = ground_claims(text, description, start_s=0.0, end_s=length_s)
    support = support_of(found)
    if support is None:
        return _UNMEASURED
    told = _told([finding.claim for finding in found], description)
    return support * (_UNTOLD + (1 - _UNTOLD) * told)


def _told(claims: Sequence[Claim], description: MotionDescription) -> float:
    """Return the share of the events of the main activity that a claim tells, 0..1."""
    events = [event for event in description.main.events if event.kind.value in _TOLD_AS]
    told = [any(_tells(claim, event) for claim in claims) for event in events]
    return sum(told) / len(told) if told else 1.0


def _tells(claim: Claim, event: MotionEvent) -> bool:
    same_side = claim.side is None or event.side is None or claim.side is event.side
    return not claim.negated and claim.action.value == event.kind.value and same_side
