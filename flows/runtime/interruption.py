"""Interruption by Ctrl-C and SIGTERM: print one line, stop the work, exit with code 130.

Finished work is already on disk, so a run can end at any point. A command handles signals itself
(:func:`answer_signals`); under a Prefect worker, Prefect raises its own exception on SIGTERM. In
both cases, a flow registers in :func:`stopping` what must be stopped.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

import psutil

INTERRUPTED: Final = 130
STOP_LIMIT_S: Final = 2.5
"""Time after which a command exits, even if its threads are still busy."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Raised in the main thread of an interrupted command."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


class _Answer:
    """Signal handler of this process.

    Attributes:
        installed: whether the handler is installed. Runs of a Prefect worker leave signals to
            Prefect.
        kept: message printed on the first signal: what is kept and how to resume.
        limit_s: time that the work gets to stop.
        asked: whether a signal was received.
        stops: callables that stop the current work.
    """

    def __init__(self) -> None:
        self.installed = False
        self.kept = ""
        self.limit_s = STOP_LIMIT_S
        self.asked = False
        self.stops: list[Callable[[], object]] = []

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:
            leave(signal.SIGKILL)
        self.asked = True
        # Errors from now on are caused by the interruption.
        logging.disable(logging.CRITICAL)
        newline = "\n" if sys.stderr.isatty() else ""
        message = f"stopping; {self.kept}" if self.kept else "stopping"
        os.write(2, f"{newline}{message}\n".encode())
        threading.Thread(target=self._stop, name="stopping", daemon=True).start()
        raise Interrupted

    def _stop(self) -> None:
        deadline_s = time.monotonic() + self.limit_s
        # In a thread of its own, because a stop callable may wait for the work.
        threading.Thread(target=stop_work, args=(self.stops,), daemon=True).start()
        time.sleep(max(0.0, deadline_s - time.monotonic()))
        leave(signal.SIGKILL)


_answer = _Answer()


@contextmanager
def answer_signals() -> Generator[None]:
    """Raise :class:`Interrupted` on Ctrl-C and SIGTERM; a second signal exits at once."""
    global _answer  # noqa: PLW0603 - signal handlers are per process
    _answer = _Answer()
    before = {number: signal.signal(number, _answer) for number in _SIGNALS}
    _answer.installed = True
    try:
        yield
    finally:
        _answer.installed = False
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_when_stopped(kept: str, limit_s: float = STOP_LIMIT_S) -> None:
    """Set the message of an interrupted command and the time its work gets to stop.

    Args:
        kept: message, such as "finished clips are kept; run the same command to resume".
        limit_s: time in seconds.
    """
    _answer.kept, _answer.limit_s = kept, limit_s


@contextmanager
def stopping(*stops: Callable[[], object]) -> Generator[None]:
    """Stop the work of other threads and processes if the flow is interrupted in this context.

    Args:
        stops: callables that stop work. They are called from any thread, possibly repeatedly.
    """
    answers = _answer.installed and threading.current_thread() is threading.main_thread()
    # Prefect has replaced our handlers with its own.
    before = {number: signal.signal(number, _answer) for number in _SIGNALS} if answers else {}
    _answer.stops += stops
    try:
        yield
    except Exception:
        raise
    except BaseException:
        stop_work(list(stops))
        raise
    finally:
        for stop in stops:
            _answer.stops.remove(stop)
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_work(stops: list[Callable[[], object]]) -> None:
    """Call all stop callables; an error in one does not prevent the others."""
    for stop in tuple(stops):
        try:
            stop()
        except Exception:
            logging.getLogger(__name__).debug("cannot stop %r", stop, exc_info=True)


def leave(end: signal.Signals, code: int = INTERRUPTED) -> NoReturn:
    """Signal all child processes and exit this process at once.

    Args:
        end: signal for the child processes. SIGTERM allows them to clean up, SIGKILL does not.
        code: exit code of this process.
    """
    for child in psutil.Process().children(recursive=True):
        try:
            child.send_signal(end)
        except psutil.NoSuchProcess:
            continue
    # `sys.exit` would wait for threads that are blocked in a call.
    os._exit(code)
