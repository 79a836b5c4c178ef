"""Options and output helpers that several commands share."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, cast

import typer

from data.plain_text import plain_text
from data.remote.addresses import is_s3
from flows.settings import folder_of

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as one JSON document; logs go to standard error."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show only the result, warnings and errors.")
]


def in_folder(place: Any) -> Any:
    """Replace ``s3://bucket/prefix`` by the folder that stands for it; callback of an option.

    Args:
        place: path, list of paths, or None.
    """
    if isinstance(place, list):
        return [in_folder(one) for one in cast("list[Any]", place)]
    return folder_of(place) if place is not None and is_s3(str(place)) else place


DatasetFolder = Annotated[
    Path, typer.Argument(help="Folder of a dataset, or s3://BUCKET/PREFIX.", callback=in_folder)
]

DATASETS: Final = "Datasets"
TRAINING: Final = "Training"
MODEL: Final = "Model"
SERVER: Final = "Server"


def absolute_source(source: str) -> str:
    """Make the path of a motion source absolute; ``procedural:COUNT`` is returned unchanged.

    An address on S3 becomes the folder that stands for it.
    """
    from data.synthetic.activities import parse_procedural  # noqa: PLC0415 - slow

    if parse_procedural(source) is not None:
        return source
    return str(folder_of(source))


def print_json(value: Any) -> None:
    """Print a result as one JSON document; non-finite numbers become null."""
    typer.echo(_json(value, indent=1))


def print_json_rows(head: Mapping[str, Any], name: str, rows: Iterable[Any]) -> None:
    """Stream rows as one JSON document.

    Args:
        head: fields that precede the rows.
        name: field that holds the rows.
        rows: JSON-serializable values.
    """
    typer.echo(f"{_json(head).removesuffix('}')},{_json(name)}:[", nl=False)
    for index, row in enumerate(rows):
        typer.echo(f"{',' if index else ''}\n {_json(row)}", nl=False)
    typer.echo("\n]}")


def _json(value: Any, indent: int | None = None) -> str:
    from pydantic_core import to_json  # noqa: PLC0415 - slow, and not always needed

    return to_json(value, indent=indent, inf_nan_mode="null", serialize_unknown=True).decode()


def printable(line: str) -> str:
    """Remove control characters, which file names may contain, from a line."""
    return plain_text(line).replace("\n", " ")


def show(line: str) -> None:
    """Print one line of a result, without control characters."""
    typer.echo(printable(line))


def size_text(num_bytes: int) -> str:
    """Return a size in bytes for people: ``12.3 MB``."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def folder_for(file: Path) -> Path:
    """Create the parent folder of an output file before the work begins; return the file.

    Raises:
        OSError: the folder cannot be created.
        ValueError: the path is an existing folder.
    """
    path = file.expanduser()
    if path.is_dir():
        raise ValueError(
            f"{path}: expected a file name, found a folder. Remedy: give the path of a file in it."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refuse_file(folder: Path) -> None:
    """Check that an output folder is not an existing file, before the work begins.

    Raises:
        ValueError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"{folder}: expected a folder, found a file. Remedy: give the path of a folder."
        )


def refuse_idle(option: str, needed: str, found: str, remedy: str) -> NoReturn:
    """Reject an option that would have no effect.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{option} has no effect: expected {needed}, found {found}. Remedy: {remedy}, or leave "
        f"{option} out."
    )
