"""Free the older versions of a dataset that nobody needs any more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.store.versions import Version, read_versions
from data.store.writer import open_published


@dataclass(frozen=True, slots=True)
class Collected:
    """Result of :func:`collect_versions`.

    Attributes:
        versions: entries of the versions that can no longer be read, oldest first.
        freed_bytes: size of the files that were removed.
    """

    versions: Sequence[Version]
    freed_bytes: int


def collect_versions(
    root: Path, *, keep: int = 0, older_than_days: float = 0.0, now: datetime | None = None
) -> Collected:
    """Remove what only older versions need; the current version is not touched.

    Args:
        root: folder of the dataset.
        keep: number of the newest older entries of ``read_versions`` to keep.
        older_than_days: keep the entries that were replaced less than this time ago.
        now: time to measure from; by default the present.

    Raises:
        ValueError: a number is below zero.
        DatasetError: there is no dataset, it is damaged, or another process writes to it.
    """
    if keep < 0 or older_than_days < 0:
        raise ValueError(
            f"expected numbers from 0, found to keep {keep} versions and those of "
            f"{older_than_days:g} days. Remedy: correct --keep or --older-than."
        )
    until = (now or datetime.now(UTC)) - timedelta(days=older_than_days)
    with open_published(root) as writer:
        older = [version for version in read_versions(root) if version.replaced_at]
        gone: list[Version] = []
        for version in older[: max(0, len(older) - keep)]:
            # Only from the oldest on: the additions of later ones are told by those before them.
            if datetime.fromisoformat(version.replaced_at) > until:
                break
            gone.append(version)
        first = gone[-1].number + 1 if gone else 0
        return Collected(gone, writer.forget_versions(first))
