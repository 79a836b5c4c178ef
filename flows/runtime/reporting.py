"""What a run tells its Prefect server; the work goes on when that server is gone.

Prefect needs its server to begin and to end a run, and retries for minutes. Here artifacts are left
out while nobody answers, and :func:`outlives_server` hands a flow's result past the engine, so that
the process ends soon after its work.
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
"""How long Prefect may go on trying to send what it has, once the work is over."""
_ASK_EVERY_S: Final = 2.0
_SENDERS: Final = ("prefect.events.clients", "prefect._internal.concurrency", "EventsWorker")
"""Loggers of what sends in the background; each failure would be a warning."""


def artifact_key(name: str) -> str:
    """A key of this run's own: Prefect takes artifacts of one key for versions of one thing.

    Args:
        name: of lower-case letters, digits and hyphens.
    """
    run_id = str(flow_run.id or "")
    # The end of the id: runs of one minute share its beginning.
    return f"{name}-{run_id[-12:]}" if run_id else name


def show_table(rows: Sequence[Mapping[str, Any]], name: str, description: str) -> None:
    """Put a table where the Prefect UI shows it."""
    table = [dict(row) for row in rows]
    _send(lambda: create_table_artifact(table, key=artifact_key(name), description=description))


def show_markdown(text: str, name: str, description: str | None = None) -> None:
    """Put a text where the Prefect UI shows it."""
    _send(lambda: create_markdown_artifact(text, key=artifact_key(name), description=description))


class ProgressBar:
    """A bar of this run in the Prefect UI."""

    def __init__(self) -> None:
        self._id: UUID | None = None

    def show(self, percent: float, name: str, text: str) -> None:
        """Move the bar, from 0 to 100; it appears with the first call."""

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
    """The run's server is gone at its end; what the work came to is here.

    Prefect's engine lets this kind of exception pass without asking the server.

    Attributes:
        result: of the flow; None where it failed.
        error: that it failed on.
    """

    def __init__(self, result: Any, error: Exception | None) -> None:
        super().__init__("the Prefect server is gone; the work is done without it")
        self.result = result
        self.error = error


def outlives_server(function: Callable[P, R]) -> Callable[P, R]:
    """Let a flow's function end in :class:`ServerLost` where its server is gone by then.

    From then on this process has :data:`EXIT_LIMIT_S` to end.
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
    """Run a flow, also a part of another one, with or without its server at the end."""
    try:
        # A part of a run whose server is gone cannot be a run of its own.
        return flow.fn(*args, **kwargs) if flow_run.id and is_lost() else flow(*args, **kwargs)
    except ServerLost as lost:
        if not flow_run.id:
            _end_soon(FAILED if lost.error else 0)
        if lost.error is not None:
            raise lost.error from None
        return lost.result


def describe_state(name: str, state: State[Any]) -> str:
    """Why a run of another process did not complete, in the words of its own error.

    Args:
        name: of the run.
        state: that it ended in.
    """
    message = state.message or f"expected it to complete, found the state {state.name}."
    own = message.partition(f"{StageError.__name__}: ")[2] or message
    remedy = "" if "Remedy:" in own else " Remedy: see its log in Prefect, and start it again."
    return f"{name} failed: {own}{remedy}"


def is_lost() -> bool:
    """Whether this run's server is gone."""
    return _server.is_lost()


class _Server(logging.Filter):
    """Whether the server answers. As a filter, it keeps from the log what could not be sent."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._asked_s = float("-inf")
        self._lost = False
        self._warned = False
        self._watched = False

    def watch(self) -> None:
        """Send no log lines to a server that is gone, and warn of it once."""
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
        """A call did not reach the server."""
        with self._lock:
            self._lost, self._asked_s = True, time.monotonic()
        self._warn_once()

    def is_lost(self) -> bool:
        url = PREFECT_API_URL.value() or ""
        with self._lock:
            # Another machine may be behind a proxy: only a failed call tells.
            if is_loopback(url) and time.monotonic() - self._asked_s > _ASK_EVERY_S:
                self._lost, self._asked_s = not answers(url), time.monotonic()
            lost = self._lost
        if lost:
            self._warn_once()
        return lost

    def reached(self) -> None:
        """A call reached the server."""
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
    """Call the server; one that is gone is left alone."""
    if _server.is_lost():
        return
    try:
        call()
    except httpx.TransportError:
        _server.failed()
    else:
        _server.reached()


def _end_soon(code: int) -> None:
    """End this process, also while Prefect waits for its server."""

    def end() -> None:
        time.sleep(EXIT_LIMIT_S)
        sys.stdout.flush()
        leave(signal.SIGKILL, code)

    threading.Thread(target=end, name="end-soon", daemon=True).start()
