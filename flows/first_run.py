"""A run that came to nothing: its message says why."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data.records import Rejection

MAX_TOLD_REJECTIONS: Final = 5
"""In the message of a run that has nothing else to show."""


def describe_empty_run(root: Path, found: str, rejections: Sequence[Rejection]) -> str:
    """Why a dataset is empty: what was rejected, and the remedies of some of it.

    Args:
        root: the dataset's folder.
        found: such as "no clip could be annotated".
        rejections: of the run.
    """
    counts = Counter(rejection.reason.value for rejection in rejections)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    lines = [
        f"{rejection.item}: {rejection.reason.value}: {rejection.detail} Remedy: {rejection.remedy}"
        for rejection in rejections[:MAX_TOLD_REJECTIONS]
    ]
    left_out = len(rejections) - len(lines)
    if left_out > 0:
        lines.append(f"… and {left_out} more")
    told = "\n  ".join((f"rejected: {reasons or 'nothing'}", *lines))
    return f"{root}: {found}.\n  {told}\nRemedy: mend these sources, or name others, and run again."
