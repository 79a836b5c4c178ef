"""Ctrl-C and SIGTERM: one line at once, work stopped, and out within seconds with exit code 130.

Whatever is finished is on disk already, so that a run may be left at any point. A command answers
signals itself (:func:`answer_signals`); under a Prefect worker, Prefect raises its own exception
from SIGTERM. A flow names in :func:`stopping` what has to be stopped in both cases.
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
"""After this long a command leaves whatever its threads still do."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Raised where the main thread is when a command is interrupted."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


class _Answer:
    """How this process answers signals.

    Attributes:
        installed: whether it does; a Prefect worker's runs leave that to Prefect.
        kept: told with the first signal: what is kept, and how to go on.
        limit_s: for the work to stop by itself.
        asked: whether a signal came.
        stops: what stops the work that is under way.
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
        # What fails from now on fails because it is stopped.
        logging.disable(logging.CRITICAL)
        newline = "\n" if sys.stderr.isatty() else ""
        told = f"stopping; {self.kept}" if self.kept else "stopping"
        os.write(2, f"{newline}{told}\n".encode())
        threading.Thread(target=self._stop, name="stopping", daemon=True).start()
        raise Interrupted

    def _stop(self) -> None:
        deadline_s = time.monotonic() + self.limit_s
        # Apart, since what stops work may wait for it.
        threading.Thread(target=stop_work, args=(self.stops,), daemon=True).start()
        time.sleep(max(0.0, deadline_s - time.monotonic()))
        leave(signal.SIGKILL)


_answer = _Answer()


@contextmanager
def answer_signals() -> Generator[None]:
    """Answer Ctrl-C and SIGTERM with :class:`Interrupted`; a second one leaves at once."""
    global _answer  # noqa: PLW0603 - signals belong to the process
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
    """Set what an interrupted command tells, and how long its work may take to stop.

    Args:
        kept: such as "finished clips are kept; run the same command to go on".
        limit_s: seconds.
    """
    _answer.kept, _answer.limit_s = kept, limit_s


@contextmanager
def stopping(*stops: Callable[[], object]) -> Generator[None]:
    """Stop work of other threads and processes when a flow is interrupted inside.

    Args:
        stops: each stops something, from any thread, and may be called more than once.
    """
    answers = _answer.installed and threading.current_thread() is threading.main_thread()
    # Prefect has put its own in the place of ours.
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
    """Call everything that stops work; one that fails does not keep the others."""
    for stop in tuple(stops):
        try:
            stop()
        except Exception:
            logging.getLogger(__name__).debug("cannot stop %r", stop, exc_info=True)


def leave(end: signal.Signals, code: int = INTERRUPTED) -> NoReturn:
    """End this process at once, and every process that it started.

    Args:
        end: SIGTERM lets processes end in their own way, SIGKILL does not.
        code: its exit code.
    """
    for child in psutil.Process().children(recursive=True):
        try:
            child.send_signal(end)
        except psutil.NoSuchProcess:
            continue
    # Not `sys.exit`: threads that are stuck in a call would keep the process.
    os._exit(code)
