"""Checks of the paths in a configuration. Workers run in a folder of their own."""

from collections.abc import Sequence
from pathlib import Path

from prefect.runtime import deployment

from data.remote.addresses import is_address
from data.video.sources import shortened


def require_absolute(paths: Sequence[str | Path], fields: str) -> None:
    """Reject relative paths in a run of a deployment.

    Args:
        paths: paths of the configuration.
        fields: names of their fields, for the message.

    Raises:
        ValueError: this is a run of a deployment and a path is relative.
    """
    relative = [
        str(path) for path in paths if not Path(path).is_absolute() and not is_address(str(path))
    ]
    if relative and deployment.id is not None:
        raise ValueError(
            f"expected absolute paths, found {shortened(relative)}: a worker runs in a folder of "
            f"its own. Remedy: give absolute paths in {fields}."
        )
