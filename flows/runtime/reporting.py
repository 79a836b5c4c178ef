"""Artifacts of runs, and runs that survive the loss of their Prefect server.

Prefect contacts its server at the start and the end of a run and retries for minutes. Here,
artifacts are skipped while the server does not answer, and :func:`outlives_server` passes a flow's
result around the engine, so that the process ends soon after its work.
"""

import functools
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import Flow
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort
from prefect.logging import get_logger
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from flows.runtime.failures import FAILED, StageError
from flows.runtime.interruption import leave
from flows.server.process import answers, is_loopback

P = ParamSpec("P")
R = TypeVar("R")

EXIT_LIMIT_S: Final = 5.0
"""Time that Prefect gets to send pending data after the work is done."""
_ASK_EVERY_S: Final = 2.0
_SENDERS: Final = ("prefect.events.clients", "prefect._internal.concurrency", "EventsWorker")
"""Loggers of background senders, which warn about every failure."""


def artifact_key(name: str) -> str:
    """Return an artifact key that is unique to this run.

    Prefect treats artifacts with the same key as versions of one artifact.

    Args:
        name: prefix of lower-case letters, digits and hyphens.
    """
    run_id = str(flow_run.id or "")
    # IDs start with a timestamp, so only their ends differ between runs of the same minute.
    return f"{name}-{run_id[-12:]}" if run_id else name


def show_table(rows: Sequence[Mapping[str, Any]], name: str, description: str) -> None:
    """Create a table artifact, which the Prefect UI shows."""
    table = [dict(row) for row in rows]
    _send(lambda: create_table_artifact(table, key=artifact_key(name), description=description))


def show_markdown(text: str, name: str, description: str | None = None) -> None:
    """Create a Markdown artifact, which the Prefect UI shows."""
    _send(lambda: create_markdown_artifact(text, key=artifact_key(name), description=description))


class ProgressBar:
    """Progress bar of this run in the Prefect UI."""

    def __init__(self) -> None:
        self._id: UUID | None = None

    def show(self, percent: float, name: str, text: str) -> None:
        """Set the bar to a percentage from 0 to 100; the first call creates it."""

        def send() -> None:
            if self._id is None:
                made: Any = create_progress_artifact(
                    percent, key=artifact_key(name), description=text
                )
                self._id = made
            else:
                update_progress_artifact(self._id, progress=percent, description=text)

        _send(send)


class ServerLost(Abort):
    """Raised at the end of a flow whose server no longer answers; carries the outcome of the flow.

    Prefect's engine re-raises this kind of exception without contacting the server.

    Attributes:
        result: result of the flow; None if it failed.
        error: error of the flow; None if it succeeded.
    """

    def __init__(self, result: Any, error: Exception | None) -> None:
        super().__init__("the Prefect server is gone; the work is done without it")
        self.result = result
        self.error = error


def outlives_server(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a flow function to end in :class:`ServerLost` if its server no longer answers.

    The process then exits within :data:`EXIT_LIMIT_S`.
    """

    @functools.wraps(function)
    def work(*args: P.args, **kwargs: P.kwargs) -> R:
        _server.watch()
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            if _server.is_lost():
                raise ServerLost(None, error) from error
            raise
        if _server.is_lost():
            raise ServerLost(result, None)
        return result

    return work


def run_flow(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow or subflow and return its result, even if the server is lost meanwhile."""
    try:
        # Without its server, a subflow cannot be registered; it is called as a plain function.
        return flow.fn(*args, **kwargs) if flow_run.id and is_lost() else flow(*args, **kwargs)
    except ServerLost as lost:
        if not flow_run.id:
            _end_soon(FAILED if lost.error else 0)
        if lost.error is not None:
            raise lost.error from None
        return lost.result


def describe_state(name: str, state: State[Any]) -> str:
    """Explain why a run of another process did not complete, using its own error message.

    Args:
        name: description of the run.
        state: final state of the run.
    """
    message = state.message or f"expected it to complete, found the state {state.name}."
    own = message.partition(f"{StageError.__name__}: ")[2] or message
    remedy = "" if "Remedy:" in own else " Remedy: see its log in Prefect, and start it again."
    return f"{name} failed: {own}{remedy}"


def is_lost() -> bool:
    """Return whether the server of this run no longer answers."""
    return _server.is_lost()


class _Server(logging.Filter):
    """State of the server. As a log filter, it drops records while the server is lost."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._asked_s = float("-inf")
        self._lost = False
        self._warned = False
        self._watched = False

    def watch(self) -> None:
        """Install this filter, so that no records are sent to a lost server."""
        if self._watched:
            return
        self._watched = True
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, APILogHandler):
                    handler.addFilter(self)
        for name in _SENDERS:
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - of every line
        return not self.is_lost()

    def failed(self) -> None:
        """Record that a call did not reach the server."""
        with self._lock:
            self._lost, self._asked_s = True, time.monotonic()
        self._warn_once()

    def is_lost(self) -> bool:
        url = PREFECT_API_URL.value() or ""
        with self._lock:
            # A remote server may be behind a proxy, so only failed calls count as a loss.
            if is_loopback(url) and time.monotonic() - self._asked_s > _ASK_EVERY_S:
                self._lost, self._asked_s = not answers(url), time.monotonic()
            lost = self._lost
        if lost:
            self._warn_once()
        return lost

    def reached(self) -> None:
        """Record that a call reached the server."""
        with self._lock:
            self._lost, self._asked_s = False, time.monotonic()

    def _warn_once(self) -> None:
        with self._lock:
            if self._warned:
                return
            self._warned = True
        get_logger("avatargpt").warning(
            "The Prefect server at %s does not answer. The work goes on; its progress is not "
            "recorded until the server is back.",
            PREFECT_API_URL.value(),
        )


_server = _Server()


def _send(call: Callable[[], object]) -> None:
    """Call the server, unless it is lost."""
    if _server.is_lost():
        return
    try:
        call()
    except httpx.TransportError:
        _server.failed()
    else:
        _server.reached()


def _end_soon(code: int) -> None:
    """Exit this process after a delay, even if Prefect still waits for its server."""

    def end() -> None:
        time.sleep(EXIT_LIMIT_S)
        sys.stdout.flush()
        leave(signal.SIGKILL, code)

    threading.Thread(target=end, name="end-soon", daemon=True).start()
