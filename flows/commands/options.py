"""What the options of several commands share."""

from pathlib import Path


def absolute_source(source: str) -> str:
    """A source of motions as a worker can use it: an absolute path, or ``procedural:COUNT``."""
    from data.procedural_motions import parse_procedural  # noqa: PLC0415 - slow

    if parse_procedural(source) is not None:
        return source
    return str(Path(source).expanduser().absolute())
