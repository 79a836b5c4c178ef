"""Promotion: ``latest`` points to a new version unless one of the chosen figures is worse."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from data.config import Config
from evaluation.model_report.files import compared, read_report
from evaluation.model_report.tables import EvaluationReport

LATEST: Final = "latest"


class Criterion(Config):
    """A figure in which a new version must not be worse."""

    figure: str = Field(
        description="Name of the figure in evaluation.json, such as t2m_fid or "
        "reconstruction_mpjpe_mm_cmu."
    )
    relative_to: Literal["", "real", "round_trip"] = Field(
        default="",
        description="Row whose figure it is divided by, so that versions with other test items can "
        "be compared; empty: none.",
    )
    higher_is_better: bool = True
    tolerance: float = Field(
        default=0.05, ge=0, description="Relative amount by which it may be worse."
    )
    optional: bool = Field(
        default=False,
        description="Whether the new version may lack the figure, such as without captions in the "
        "test split.",
    )

    @property
    def told(self) -> str:
        """The figure in words."""
        row = self.relative_to.replace("_", " ")
        return f"{self.figure} relative to {row}" if row else self.figure

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """Return the value of a version, or None if it lacks the figure."""
        found = metrics.get(self.figure)
        if found is None or not self.relative_to:
            return found
        whole = metrics.get(f"{self.figure}_{self.relative_to}")
        return found / whole if whole else None

    def is_worse(self, new: float, old: float) -> bool:
        """Return whether a value is worse than that of the latest version, beyond tolerance."""
        allowed = abs(old) * self.tolerance
        return new < old - allowed if self.higher_is_better else new > old + allowed


_MOTIONS: Final = ("t2m_activity", "t2m_caption_shown")


class PromotionConfig(Config):
    """Conditions for a version to become ``latest``."""

    criteria: tuple[Criterion, ...] = Field(
        default=(
            *(
                Criterion(figure=figure, relative_to="real", tolerance=0.1, optional=True)
                for figure in _MOTIONS
            ),
            Criterion(figure="reconstruction_mpjpe_mm", higher_is_better=False, tolerance=0.1),
        ),
        min_length=1,
        description="A version is promoted unless it is worse than the latest in one of these.",
    )


def promote(models: Path, folder: Path, config: PromotionConfig) -> tuple[bool, str]:
    """Point ``latest`` to a version unless it is worse than the current one.

    Args:
        models: folder of all versions.
        folder: folder of the new version.
        config: conditions.

    Returns:
        Whether the version is ``latest`` now, and the reason.

    Raises:
        ValueError: the new version lacks a figure that is not optional.
        training.checkpoints.CheckpointError: an evaluation cannot be read.
    """
    latest = models / LATEST
    new = read_report(folder)
    values = _values(folder, new, config)
    if latest.exists():
        if latest.resolve() == folder.resolve():
            return True, "it was the latest before"
        name = latest.resolve().name
        is_worse, why = _compare(values, new, read_report(latest), name, config)
        if is_worse:
            return False, why
    else:
        known = [f"{one.told} is {values[one]:.4g}" for one in config.criteria if one in values]
        why = "; ".join(["the first version", *known])
    aside = models / f".{LATEST}.tmp"
    aside.unlink(missing_ok=True)
    aside.symlink_to(folder.name)
    aside.replace(latest)
    return True, why


def _values(
    folder: Path, report: EvaluationReport, config: PromotionConfig
) -> dict[Criterion, float]:
    """Return the values of the new version."""
    found: dict[Criterion, float] = {}
    for criterion in config.criteria:
        value = criterion.value(report.metrics)
        if value is not None:
            found[criterion] = value
        elif not criterion.optional:
            raise ValueError(
                f"{folder}: expected the figure {criterion.told}, found "
                f"{', '.join(sorted(report.metrics))}. Remedy: correct promotion.criteria."
            )
    return found


def _compare(
    values: Mapping[Criterion, float],
    new: EvaluationReport,
    old: EvaluationReport,
    name: str,
    config: PromotionConfig,
) -> tuple[bool, str]:
    """Return whether the new version is worse, and why it is or is not."""
    worse: list[str] = []
    good: list[str] = []
    lacking: list[str] = []
    for criterion in config.criteria:
        before = criterion.value(old.metrics)
        if criterion not in values or before is None:
            lacking.append(criterion.told)
            continue
        value = values[criterion]
        told = f"{criterion.told} is {value:.4g}, was {before:.4g}"
        if criterion.is_worse(value, before):
            worse.append(f"{told} (tolerance {criterion.tolerance:.0%})")
        else:
            good.append(told)
    notes = [f"not compared, because a version lacks it: {one}" for one in lacking]
    if new.measured is not None:
        before = compared(new, old, name).before
        assert before is not None  # noqa: S101 - just set
        notes += [f"mind that {before.why}"] if before.why else []
    start = f"worse than {name}" if worse else f"not worse than {name}"
    if not worse and not good:
        start = f"no figure can be compared with {name}"
    return bool(worse), "; ".join([start, *(worse or good), *notes])
