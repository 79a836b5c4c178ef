"""Count the unexpected errors of a run, and stop the run when there are too many."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from data.errors import ItemError, Stage, UnexpectedItemError
from data.plain_text import plain_text
from data.records import Rejection

MIN_ITEMS: Final = 20
"""Minimum number of items of a stage before the share of errors can stop the run."""
MAX_SHARE: Final = 0.25
"""Above this share of unexpected errors among a stage's items, the run itself is assumed broken."""

logger: Final = logging.getLogger(__name__)


class UnexpectedErrorsError(RuntimeError):
    """Items of the run ended with unexpected errors; all other items are published."""


class UnexpectedErrors:
    """The unexpected errors of one run; safe to use from several threads.

    Args:
        log: called with each error and its traceback.
    """

    def __init__(self, log: Callable[[str], object] = logger.error) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._unexpected: Counter[str] = Counter()
        self._first = ""

    @property
    def count(self) -> int:
        """Number of items with an unexpected error so far."""
        return self._unexpected.total()

    def note(self, stage: str, item: str, error: ItemError | None) -> None:
        """Record the end of an item. Call this once for every item.

        Args:
            stage: the stage whose error share the item counts toward.
            item: name of the item, for the log.
            error: the error of the item, or None if it succeeded.

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
                self._log(f"{name}: unexpected error in {stage}\n{error.trace}")
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
        """Record an exception that an item raised in this process, and return its rejection."""
        problem = error if isinstance(error, ItemError) else UnexpectedItemError.of(error)
        self.note(stage.value, item, problem)
        return Rejection.of(item_id, item, stage, problem)

    def require_none(self) -> None:
        """Raise if there were unexpected errors. Call this after everything is published.

        Raises:
            UnexpectedErrorsError: at least one item ended with an unexpected error.
        """
        if self.count:
            raise UnexpectedErrorsError(self._summary())

    def _summary(self) -> str:
        failed = ", ".join(
            f"{count} of {self._ended[stage]} items of {stage}"
            for stage, count in self._unexpected.items()
        )
        return (
            f"{failed} ended with an unexpected error, the first: {self._first.rstrip('.')}. The "
            "results of all other items are kept. Remedy: report the traceback from the log; the "
            "items are in the rejections table with reason 'unexpected'."
        )
