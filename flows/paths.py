"""Paths of a run: absolute ones, because a worker runs in a folder of its own."""

from collections.abc import Sequence
from pathlib import Path

from prefect.runtime import deployment

from data.video.sources import shortened


def require_absolute(paths: Sequence[str | Path], fields: str) -> None:
    """Refuse relative paths of a deployment's run.

    Args:
        paths: of its configuration.
        fields: where they stand in it, for the message.

    Raises:
        ValueError: one is relative, and a deployment runs.
    """
    relative = [str(path) for path in paths if not Path(path).is_absolute()]
    if relative and deployment.id is not None:
        raise ValueError(
            f"expected absolute paths, found {shortened(relative)}: a worker runs in a folder of "
            f"its own. Remedy: give absolute paths in {fields}."
        )
