"""A dataset's first run: one that fails leaves no dataset, and its message says why."""

import shutil
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from data.records import Rejection
from data.store import MANIFEST

MAX_TOLD_REJECTIONS: Final = 5
"""In the message of a run that has nothing else to show."""


@contextmanager
def nothing_left_behind(root: Path) -> Generator[None]:
    """Take back the folder of a dataset whose first run fails before there is anything in it.

    A dataset keeps the configuration of its first run: an empty one would refuse a better one.
    Work that is staged stays, for the next run to go on with.

    Args:
        root: the dataset's folder, whose lock is held.
    """
    try:
        yield
    except Exception:
        staging = root / ".staging"
        if not (root / MANIFEST).exists() and not any(p.is_file() for p in staging.rglob("*")):
            shutil.rmtree(staging, ignore_errors=True)
            (root / ".lock").unlink(missing_ok=True)
            with suppress(OSError):  # the user's own files are in it
                root.rmdir()
        raise


def nothing_came(root: Path, found: str, rejections: Sequence[Rejection]) -> str:
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
