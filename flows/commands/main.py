"""Annotate videos into a text + 3-D motion dataset, and train and use a motion language model."""

import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from flows.commands.audit import audit_app
from flows.commands.browse import browse_app
from flows.commands.datasets import datasets_app
from flows.commands.evaluate import evaluate_app
from flows.commands.model import model_app
from flows.commands.options import DATASETS, MODEL, SERVER, TRAINING, printable
from flows.commands.server import server_app
from flows.commands.train import train_app
from flows.commands.upkeep import upkeep_app
from flows.runtime.failures import exit_code, report
from flows.runtime.interruption import Interrupted, answer_signals, leave
from flows.settings import Settings, off_current_folder

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, group in (
    (DATASETS, datasets_app),
    (DATASETS, browse_app),
    (DATASETS, audit_app),
    (DATASETS, upkeep_app),
    (TRAINING, train_app),
    (TRAINING, evaluate_app),
    (MODEL, model_app),
    (SERVER, server_app),
):
    for command in group.registered_commands:
        command.rich_help_panel = panel
    app.add_typer(group)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"avatargpt {version('avatargpt')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Annotate videos into a text + 3-D motion dataset, and train and use a motion language model.

    Run `avatargpt COMMAND -h` for the options of a command.
    Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted.
    """


def main() -> None:
    """Run the command line; report an error as one message without a traceback.

    Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted.
    """
    # Child processes must not import modules from the current folder either.
    os.environ |= off_current_folder()
    with answer_signals():
        try:
            app()
        except Interrupted:
            leave(signal.SIGTERM)
        except Exception as error:
            log = Settings().run_dir / "errors.log"
            sys.stdout.flush()
            for line in f"error: {report(error, log)}".splitlines():
                sys.stderr.write(f"{printable(line)}\n")
            raise SystemExit(exit_code(error)) from error
