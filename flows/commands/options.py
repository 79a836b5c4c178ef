"""What the options of several commands share."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from pydantic import BaseModel

from data.plain_text import plain_text
from data.presets import Config, Presets, check_names, merge, parse_assignments, resolve
from flows.interruption import STOP_LIMIT_S, keep_when_stopped
from flows.server import use_some_server
from flows.settings import Settings, quiet_prefect

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document; all else goes to standard error."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show the result, warnings and errors only.")
]
Preset = Annotated[
    str, typer.Option(help="Named set of values, over which --config and --set go; empty: none.")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="JSON file with more of the configuration, over the preset.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="One field of the configuration, such as loop.steps=500; may be given again.",
    ),
]
DatasetFolder = Annotated[Path, typer.Argument(help="Folder of a dataset.")]

DATASETS: Final = "Datasets"
TRAINING: Final = "Training"
MODEL: Final = "Model"
SERVER: Final = "Server"

CLIPS_KEPT: Final = "finished clips are kept; run the same command to go on"
MOTIONS_KEPT: Final = "published motions are kept; run the same command to go on"
CHECKPOINT_KEPT: Final = "a checkpoint is kept; run the same command to go on"
"""What an interrupted command tells."""
CHECKPOINT_LIMIT_S: Final = 25.0
"""For a training to finish its step and store a checkpoint."""


def changes_of(
    config_type: type[BaseModel],
    file: Path | None,
    assignments: Sequence[str] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What a command was told over its preset: a file, over it ``--set``, over both its options.

    Args:
        config_type: the configuration of the flow.
        file: JSON file with a part of it.
        assignments: values of ``--set``.
        options: a part of it, from the command's other options.

    Raises:
        ValueError: the file cannot be read, or something names no field.
    """
    values = read_config(file)
    check_names(config_type, values)
    assigned = parse_assignments(config_type, assignments or ())
    return merge(config_type, merge(config_type, values, assigned), options)


def check_config(
    config_type: type[Config], presets: Presets, preset: str, changes: Mapping[str, Any]
) -> Config:
    """What the flow will work with; refuses what it would refuse, before anything is started.

    Raises:
        ValueError: there is no such preset, or the values do not fit together.
    """
    return resolve(config_type, presets, preset, changes, Settings().home_folder)


def absolute_source(source: str) -> str:
    """A source of motions as a worker can use it: an absolute path, or ``procedural:COUNT``."""
    from data.procedural_motions import parse_procedural  # noqa: PLC0415 - slow

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


def read_config(path: Path | None) -> dict[str, Any]:
    """The values of a JSON configuration file; none without a file.

    Raises:
        ValueError: it cannot be read, or holds no JSON object; the message has the line.
    """
    if path is None:
        return {}
    try:
        values = json.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(
            f"{path}: expected a JSON file with the configuration, found: {error.strerror}. "
            "Remedy: correct the path given with --config."
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} line {error.lineno} column {error.colno}: expected JSON, found: {error.msg}. "
            "Remedy: correct the file."
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected JSON in UTF-8, found: {error}. Remedy: correct the file."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path} line 1: expected a JSON object, found {type(values).__name__}. "
            'Remedy: write the configuration as {"field": value, …}.'
        )
    return values


def ready_for_flow(kept: str, limit_s: float = STOP_LIMIT_S, *, quiet: bool = False) -> None:
    """Prepare this process to run a flow; to be called before Prefect is imported.

    Args:
        kept: told when the command is interrupted: what is kept, and how to go on.
        limit_s: for its work to stop.
        quiet: log lines of warnings and errors only, as beside the bars of a terminal.
    """
    keep_when_stopped(kept, limit_s)
    quiet_prefect()
    use_some_server(quiet=quiet)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS", "flows.console.ConsoleHandler")
    if quiet or sys.stderr.isatty():
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")


def refuse_idle(option: str, needed: str, found: str, remedy: str) -> NoReturn:
    """Refuse an option that would have no effect: whoever gave it expects one.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{option} has no effect: expected {needed}, found {found}. Remedy: {remedy}, or leave "
        f"{option} out."
    )
