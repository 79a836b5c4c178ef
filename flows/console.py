"""The log lines of a flow in the terminal."""

import copy
import logging

from prefect.logging.handlers import PrefectConsoleHandler


class ConsoleHandler(PrefectConsoleHandler):
    """Shows log lines without tracebacks.

    The server keeps them, and the last line of the command says what failed.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record; other handlers get it whole."""
        shown = copy.copy(record)
        shown.exc_info = shown.exc_text = None
        super().emit(shown)
