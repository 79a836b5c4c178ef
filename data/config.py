"""The base class of all configurations, and types of paths in them."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen configuration that rejects unknown fields; also the type of a flow parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _expanded(path: str) -> str:
    return str(Path(path).expanduser())


ExpandedPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path; a leading ``~`` is expanded to the home folder."""

ExpandedSource = Annotated[str, AfterValidator(_expanded)]
"""A source, which may be a path or a glob; a leading ``~`` is expanded to the home folder."""
