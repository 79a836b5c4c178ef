"""What the options of several commands share."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document; all else goes to standard error."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show the result, warnings and errors only.")
]
DatasetFolder = Annotated[Path, typer.Argument(help="Folder of a dataset.")]

DATASETS: Final = "Datasets"
TRAINING: Final = "Training"
MODEL: Final = "Model"
SERVER: Final = "Server"


def absolute_source(source: str) -> str:
    """A source of motions as a worker can use it: an absolute path, or ``procedural:COUNT``."""
    from data.procedural_motions import parse_procedural  # noqa: PLC0415 - slow

    if parse_procedural(source) is not None:
        return source
    return str(Path(source).expanduser().absolute())


def print_json(value: Any) -> None:
    """Print a result as one JSON document; a number that is not finite becomes null."""
    from pydantic_core import to_json  # noqa: PLC0415 - slow, and not always needed

    text = to_json(value, indent=1, inf_nan_mode="null", serialize_unknown=True)
    typer.echo(text.decode())


def printable(line: str) -> str:
    """A line as a terminal may show it: names of files may hold control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
