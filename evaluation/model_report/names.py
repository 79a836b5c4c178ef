"""Names of tables, rows and metrics in pages, cards and terminals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from evaluation.model_report.tables import RowName


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown.

    Attributes:
        title: title, with its unit.
        digits: digits after the point.
        best: whether more or less is better; None if neither: it should be near that of real
            motions, or it depends.
        factor: factor of the number that is shown, 100 for percent.
    """

    title: str
    digits: int = 2
    best: Literal["highest", "lowest"] | None = None
    factor: float = 1.0


def _share(title: str, best: Literal["highest", "lowest"] | None = None) -> Metric:
    return Metric(f"{title}, %", 1, best, 100.0)


METRICS: Final[Mapping[str, Metric]] = {
    "activity": _share("Activity right", "highest"),
    "caption_shown": _share("Caption shown", "highest"),
    "r_precision_1": Metric("R@1", 3, "highest"),
    "r_precision_2": Metric("R@2", 3, "highest"),
    "r_precision_3": Metric("R@3", 3, "highest"),
    "mm_dist": Metric("MM-Dist", 3, "lowest"),
    "fid": Metric("FID", 3, "lowest"),
    "diversity": Metric("Diversity", 3),
    "multimodality": Metric("MultiModality", 3),
    "length_s": Metric("Length, s", 2),
    "mpjpe_mm": Metric("Joint error, mm", 1, "lowest"),
    "pa_mpjpe_mm": Metric("PA joint error, mm", 1, "lowest"),
    "path_mm": Metric("Path error, mm", 1, "lowest"),
    "acceleration_mm": Metric("Acceleration error, mm/frame²", 2, "lowest"),
    "perplexity": Metric("Perplexity", 1),
    "usage": _share("Codes used"),
    "dead_codes": Metric("Dead codes", 0),
    "ade_mm": Metric("ADE, mm", 1, "lowest"),
    "fde_mm": Metric("FDE, mm", 1, "lowest"),
    "pose_ade_mm": Metric("Pose ADE, mm", 1, "lowest"),
    "best_ade_mm": Metric("Best ADE, mm", 1, "lowest"),
    "best_fde_mm": Metric("Best FDE, mm", 1, "lowest"),
    "speed_kept": _share("Speed kept"),
    "peak_jerk": Metric("Peak jerk, m/frame³", 3, "lowest"),
    "area_under_jerk": Metric("Area under jerk", 3, "lowest"),
    "joint_jump_mm": Metric("Joint jump, mm", 1, "lowest"),
    "velocity_jump_m_s": Metric("Velocity jump, m/s", 2, "lowest"),
    "foot_skate_m_s": Metric("Foot skate, m/s", 3),
    "jitter_m_s3": Metric("Jitter, m/s³", 1),
    "penetration_mm": Metric("Penetration, mm", 1),
    "float_mm": Metric("Float, mm", 1),
    "speed_m_s": Metric("Speed, m/s", 2),
    "bleu1": Metric("BLEU-1", 1, "highest"),
    "bleu4": Metric("BLEU-4", 1, "highest"),
    "rouge_l": Metric("ROUGE-L", 1, "highest"),
    "cider": Metric("CIDEr", 2, "highest"),
    "bert_f1": Metric("BERTScore", 1, "highest"),
    "step_f1": _share("Steps, F1", "highest"),
    "looping": _share("Looping", "lowest"),
    "repeated_steps": _share("Steps repeated"),
    "distinct": _share("Distinct"),
    "empty": _share("Empty", "lowest"),
    "unended": _share("Unended", "lowest"),
    "found": _share("Found", "highest"),
    "chance": _share("By chance"),
    "coherence": Metric("Coherence (1 to 5)", 2, "highest"),
    "judged": Metric("Judged", 0),
    "no_steps": Metric("Without steps", 0),
    "unanswered": Metric("Unanswered", 0),
    "cost_usd": Metric("Cost, USD", 3),
    "loss": Metric("Loss", 3, "lowest"),
    "accuracy": _share("Tokens right", "highest"),
}
"""Metrics in the order of their columns."""

ROWS: Final[Mapping[RowName, str]] = {
    "real": "Real motions",
    "uncut": "Real motions, uncut",
    "round_trip": "Tokenizer round trip",
    "another": "Another real motion of the caption",
    "model_same": "Model, on the captions of that row",
    "retrieval": "Retrieval (copied from training)",
    "chance": "Most common answer",
    "lines": "Straight lines",
    "references": "References",
    "joined": "Joined, decoded apart",
    "joined_tokens": "Joined as one stream of tokens",
    "filled": "With an in-between",
    "generated": "Generated, with an in-between",
    "model": "Model",
}
"""Rows in their order: the model comes last."""

TASKS: Final[Mapping[str, str]] = {
    "reconstruction": "Motion tokenizer",
    "t2m": "Text to motion",
    "m2m": "In-between",
    "predict": "Prediction",
    "joins": "Junctions of long motions",
    "m2t": "Motion to text",
    "ct2t": "Scene and task to next task",
    "cs2s": "Scene and steps to next steps",
    "ct2s": "Scene and task to next steps",
    "cs2t": "Scene and steps to next task",
    "t2s": "Task to steps",
    "s2t": "Steps to task",
    "t2c": "Task to scene",
    "s2c": "Steps to scene",
    "l2m": "Text and length to motion",
    "cycle": "Task to steps and back",
    "coherence": "Coherence of plans, as judged",
    "loss": "Losses",
    "residual": "Residual codes",
}

TITLES: Final[Mapping[str, str]] = {"joins": "Jerk and jumps", "m2t": "Captions of motions"}
"""Titles of tables that stand alone in their section."""

GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "Errors": ("mpjpe_mm", "pa_mpjpe_mm", "path_mm", "acceleration_mm"),
    "Codes": ("perplexity", "usage", "dead_codes"),
    "Agreement with the text": ("activity", "caption_shown", "empty", "unended", "length_s"),
    "Evaluator": (
        *("r_precision_1", "r_precision_2", "r_precision_3"),
        *("mm_dist", "fid", "diversity", "multimodality"),
    ),
    "Naturalness": (*("foot_skate_m_s", "jitter_m_s3", "penetration_mm", "float_mm", "speed_m_s"),),
}
"""Metrics of tables that are too wide for one."""


SHORT: Final[Mapping[RowName, str]] = {
    "real": "real",
    "round_trip": "round trip",
    "retrieval": "copied",
    "lines": "lines",
    "references": "references",
}
"""Short names of the rows that stand beside a main figure."""


def row_label(table: str, row: RowName) -> str:
    """Return the name of a row in a table."""
    if table == "reconstruction" and row == "model":
        return "Encoded and decoded"
    if table == "joins" and row == "round_trip":
        return "Uncut, encoded and decoded"
    if table in ("m2m", "predict") and row == "lines":
        return "Straight lines" if table == "m2m" else "Last pose held"
    return ROWS[row]


def shown(metric: str, value: float) -> str:
    """Return a number as it is shown, with the sign of percent."""
    how = METRICS.get(metric, Metric(metric, 3))
    text = f"{value * how.factor:.{how.digits}f}"
    return f"{text} %" if how.factor == 100 else text
