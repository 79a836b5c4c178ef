"""The log lines of a flow in the terminal."""

import copy
import logging

from prefect.logging.handlers import PrefectConsoleHandler

from data.plain_text import plain_text


class ConsoleHandler(PrefectConsoleHandler):
    """Shows log lines without tracebacks, and without what a terminal obeys.

    The server keeps tracebacks, and the last line of the command says what failed. Names of files,
    replies of services and messages of libraries may hold escape sequences.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record; other handlers get it whole."""
        shown = copy.copy(record)
        shown.exc_info = shown.exc_text = None
        try:
            shown.msg, shown.args = plain_text(record.getMessage()), None
        except Exception:  # noqa: BLE001 - arguments that do not fit: told as logging tells it
            self.handleError(record)
            return
        super().emit(shown)
