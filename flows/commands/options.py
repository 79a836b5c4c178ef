"""What the options of several commands share."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from data.plain_text import plain_text

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
    from data.synthetic.activities import parse_procedural  # noqa: PLC0415 - slow

    if parse_procedural(source) is not None:
        return source
    return str(Path(source).expanduser().absolute())


def print_json(value: Any) -> None:
    """Print a result as one JSON document; a number that is not finite becomes null."""
    typer.echo(_json(value, indent=1))


def print_json_rows(head: Mapping[str, Any], name: str, rows: Iterable[Any]) -> None:
    """Print rows as they come, as one JSON document.

    Args:
        head: what comes before them.
        name: of the field that holds them.
        rows: values.
    """
    typer.echo(f"{_json(head).removesuffix('}')},{_json(name)}:[", nl=False)
    for index, row in enumerate(rows):
        typer.echo(f"{',' if index else ''}\n {_json(row)}", nl=False)
    typer.echo("\n]}")


def _json(value: Any, indent: int | None = None) -> str:
    from pydantic_core import to_json  # noqa: PLC0415 - slow, and not always needed

    return to_json(value, indent=indent, inf_nan_mode="null", serialize_unknown=True).decode()


def printable(line: str) -> str:
    """A line as a terminal may show it: names of files may hold control characters."""
    return plain_text(line).replace("\n", " ")


def show(line: str) -> None:
    """Print a line of a result."""
    typer.echo(printable(line))


def folder_for(file: Path) -> Path:
    """Make the folder of a file that a command will write, before its work; returns the file.

    Raises:
        OSError: it cannot be made.
        ValueError: a folder has the file's name.
    """
    path = file.expanduser()
    if path.is_dir():
        raise ValueError(
            f"{path}: expected a file's name, found a folder. Remedy: name a file in it."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refuse_idle(option: str, needed: str, found: str, remedy: str) -> NoReturn:
    """Refuse an option that would have no effect: whoever gave it expects one.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{option} has no effect: expected {needed}, found {found}. Remedy: {remedy}, or leave "
        f"{option} out."
    )
