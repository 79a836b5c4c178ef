"""The error message of a run that produced no rows."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data.records import Rejection

MAX_SHOWN_REJECTIONS: Final = 5
"""Maximum number of rejections in the message."""


def describe_empty_run(root: Path, found: str, rejections: Sequence[Rejection]) -> str:
    """Explain why a dataset is empty: count its rejections and show the first ones.

    Args:
        root: folder of the dataset.
        found: what the run found, such as "no clip could be annotated".
        rejections: all rejections of the run.
    """
    counts = Counter(rejection.reason.value for rejection in rejections)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    lines = [
        f"{rejection.item}: {rejection.reason.value}: {rejection.detail} Remedy: {rejection.remedy}"
        for rejection in rejections[:MAX_SHOWN_REJECTIONS]
    ]
    left_out = len(rejections) - len(lines)
    if left_out > 0:
        lines.append(f"… and {left_out} more")
    details = "\n  ".join((f"rejected: {reasons or 'nothing'}", *lines))
    return (
        f"{root}: {found}.\n  {details}\nRemedy: fix these sources or give others, and run again."
    )
