"""Annotate videos into a text + 3-D motion dataset, and train and use a motion language model."""

import sys

import typer
from pydantic import ValidationError

from data.assets import AssetError
from flows.commands.datasets import datasets_app
from flows.commands.model import model_app
from flows.commands.server import server_app
from flows.commands.train import train_app

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
for group in (datasets_app, train_app, model_app, server_app):
    app.add_typer(group)


def main() -> None:
    """Run the command; what the user can mend ends in a message, not in a traceback."""
    try:
        app()
    except (AssetError, ValidationError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error
    except RuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
