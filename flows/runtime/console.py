"""Log lines of a flow in the terminal."""

import copy
import logging

from prefect.logging.handlers import PrefectConsoleHandler

from data.plain_text import plain_text


class ConsoleHandler(PrefectConsoleHandler):
    """Console handler that drops tracebacks and control characters.

    The server keeps the tracebacks, and the last line of a command says what failed. File names,
    replies of services and messages of libraries may contain escape sequences.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a copy of the record; other handlers receive the original."""
        shown = copy.copy(record)
        shown.exc_info = shown.exc_text = None
        try:
            shown.msg, shown.args = plain_text(record.getMessage()), None
        except Exception:  # noqa: BLE001 - bad arguments are reported by logging itself
            self.handleError(record)
            return
        super().emit(shown)
