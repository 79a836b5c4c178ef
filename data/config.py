"""The base of all configuration, and paths in it."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen configuration, used as it is as a flow parameter; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _expanded(path: str) -> str:
    return str(Path(path).expanduser())


ExpandedPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path in which ``~`` stands for the home folder."""

ExpandedSource = Annotated[str, AfterValidator(_expanded)]
"""The same for a text that may also be a glob or a name that is no path."""
