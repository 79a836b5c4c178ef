"""Counts the items of one run that ended in an error nobody foresaw, and stops it when many do."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from data.errors import ItemError, Stage, UnexpectedItemError
from data.plain_text import plain_text
from data.records import Rejection

MIN_ITEMS: Final = 20
"""Items of a stage before their share can stop a run."""
MAX_SHARE: Final = 0.25
"""A larger share of a stage's items means that the run itself is broken."""

logger: Final = logging.getLogger(__name__)


class UnexpectedErrorsError(RuntimeError):
    """Items of the run ended in errors that nobody foresaw; the others are published."""


class UnexpectedErrors:
    """The unexpected errors of one run; safe to use from several threads.

    Args:
        tell: is given each error with its traceback, for the run's log.
    """

    def __init__(self, tell: Callable[[str], object] = logger.error) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._unexpected: Counter[str] = Counter()
        self._first = ""

    @property
    def count(self) -> int:
        """Items so far."""
        return self._unexpected.total()

    def note(self, stage: str, item: str, error: ItemError | None) -> None:
        """An item of a stage has ended; to be called for each.

        Args:
            stage: what its share is counted by.
            item: its name, for the log.
            error: what it ended with, None if well.

        Raises:
            UnexpectedErrorsError: more than a quarter of the stage's items, of at least 20, ended
                in an unexpected error.
        """
        with self._lock:
            self._ended[stage] += 1
            if isinstance(error, UnexpectedItemError):
                self._unexpected[stage] += 1
                name = plain_text(item, 300)
                self._first = self._first or f"{name}: {error.detail}"
                self._tell(f"{name}: unexpected error in {stage}\n{error.trace}")
        if self.are_many:
            raise UnexpectedErrorsError(f"stopped early: {self._summary()}")

    @property
    def are_many(self) -> bool:
        """Whether the run should stop."""
        with self._lock:
            return any(
                self._ended[stage] >= MIN_ITEMS and count > MAX_SHARE * self._ended[stage]
                for stage, count in self._unexpected.items()
            )

    def reject(self, item_id: str, item: str, stage: Stage, error: Exception) -> Rejection:
        """The rejection of an item that raised in this process."""
        problem = error if isinstance(error, ItemError) else UnexpectedItemError.of(error)
        self.note(stage.value, item, problem)
        return Rejection.of(item_id, item, stage, problem)

    def require_none(self) -> None:
        """To be called at the end of a run, when everything is published.

        Raises:
            UnexpectedErrorsError: there were any.
        """
        if self.count:
            raise UnexpectedErrorsError(self._summary())

    def _summary(self) -> str:
        told = ", ".join(
            f"{count} of {self._ended[stage]} items of {stage}"
            for stage, count in self._unexpected.items()
        )
        return (
            f"{told} ended in an unexpected error, the first: {self._first.rstrip('.')}. What the "
            "others came to is kept. Remedy: see the log for the traceback and report it; the "
            "items are in the rejections table with reason 'unexpected'."
        )
