"""What is measured of motions, whatever made them: activity, agreement with the caption, measures.

The judge is the describer of this package, which measures postures and events by rules. Its
activity of the real motion is what others are compared with, so that of real motions is right by
definition. Whether a caption is shown is checked claim by claim as annotations are
(:mod:`annotators.grounding`); there the real motions show how much can be reached.

Shapes: T frames, J = 22 joints, D = 263 features.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from annotators.grounding.checks import ground_statement
from annotators.motion.describe import describe_motion
from data.arrays import FloatArray
from data.motion.features import features_to_joints
from data.motion.skeleton import FPS
from data.records import Verdict
from evaluation.metrics.intervals import bootstrap_mean, wilson
from evaluation.metrics.naturalness import Naturalness, naturalness
from evaluation.model_report.tables import Figure, ranged
from training.inference.motion_model import Features

NOTHING = "nothing"
"""Activity of an answer without a motion."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measures of one motion.

    Attributes:
        activity: activity that the describer recognizes.
        shown: whether the motion shows its caption; None without a caption.
        natural: measures of naturalness; None for an answer without a motion.
        length_s: length in seconds; 0 without a motion.
    """

    activity: str
    shown: bool | None
    natural: Naturalness | None
    length_s: float


def measure(features_TD: Features | None, caption: str = "") -> Measured:
    """Measure a motion.

    Args:
        features_TD: features, not normalized; None or no frames if an answer has no motion.
        caption: text that the motion should show; empty if there is none.
    """
    if features_TD is None or not len(features_TD):
        return Measured(NOTHING, False if caption else None, None, 0.0)
    joints_TJ3: FloatArray = features_to_joints(features_TD)
    description = describe_motion(joints_TJ3)
    shown: bool | None = None
    length_s = len(joints_TJ3) / FPS
    if caption:
        found = ground_statement(caption, description, start_s=0.0, end_s=length_s)
        shown = found.verdict is Verdict.SUPPORTED
    return Measured(description.activity, shown, naturalness(joints_TJ3), length_s)


def activity_figures(found: Sequence[Measured], wanted: Sequence[str]) -> dict[str, Figure]:
    """Return how many motions have the wanted activity, and how many show their caption.

    Answers without a motion count as wrong.
    """
    right = sum(one.activity == activity for one, activity in zip(found, wanted, strict=True))
    figures = {"activity": ranged(wilson(right, len(found)))}
    shown = [one.shown for one in found if one.shown is not None]
    if shown:
        figures["caption_shown"] = ranged(wilson(sum(shown), len(shown)))
    return figures


def natural_figures(found: Sequence[Naturalness | None], seed: int) -> dict[str, Figure]:
    """Return the means of the measures of naturalness, with bootstrap intervals over motions.

    Args:
        found: measures of each motion; None for an answer without a motion, which is left out.
        seed: seed of the intervals.
    """
    measures = [asdict(one) for one in found if one is not None]
    figures: dict[str, Figure] = {}
    for field in fields(Naturalness):
        values = [one[field.name] for one in measures if one[field.name] is not None]
        if values:
            figures[field.name] = ranged(bootstrap_mean(values, seed))
    return figures


def chance(wanted: Sequence[str]) -> Figure:
    """Return the share of the most common activity, which a constant answer would reach."""
    return Figure(value=Counter(wanted).most_common(1)[0][1] / len(wanted))
