"""The base class of all configurations, and types of paths in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen configuration that rejects unknown fields; also the type of a flow parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def without_removed(values: Any, *names: str) -> Any:
    """Return the values of a configuration without options that older releases had.

    Checkpoints of these releases still have them. What a command, a form or a file of a user names
    is checked before (:func:`data.presets.check_names`), and there they are unknown.
    """
    if not isinstance(values, Mapping):
        return values
    given = cast("Mapping[str, Any]", values)
    return {name: value for name, value in given.items() if name not in names}


def _expanded(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser())


ExpandedPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path; a leading ``~`` is expanded to the home folder."""

ExpandedSource = Annotated[str, AfterValidator(_expanded)]
"""A source: a path, a glob or an address; a leading ``~`` is expanded to the home folder."""
