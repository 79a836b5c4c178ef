"""Progress bars of a run in a terminal: one per stage, with rate and time left."""

import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text
from rich.theme import Theme

from flows.runtime.progress import StageProgress, listening

RATE_PERIOD_S = 300.0
"""Rate and time left come from the items of this time: a clip may take a minute."""


class ProgressBars:
    """Draws what stages tell.

    Args:
        console: of the terminal.
    """

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _CountColumn(),
            _RateColumn(),
            _TimeColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            speed_estimate_period=RATE_PERIOD_S,
        )
        self._tasks: dict[str, TaskID] = {}
        self._parts: dict[str, dict[str, StageProgress]] = {}
        # Stages tell from threads of their own.
        self._lock = threading.Lock()

    def show(self, progress: StageProgress) -> None:
        """Move the stage's bar."""
        with self._lock:
            parts = self._parts.setdefault(progress.stage, {})
            parts[progress.part] = progress
            if progress.stage not in self._tasks:
                # A line of its own for each stage, in the order in which they begin.
                self._tasks[progress.stage] = self.bars.add_task(
                    progress.stage, total=None, note="", about=False
                )
            totals = [part.total for part in parts.values() if part.total is not None]
            begun = len(totals) == progress.parts
            # Parts that have not begun are taken to be as large as the others.
            expected = round(sum(totals) * progress.parts / len(totals)) if totals else None
            self.bars.update(
                self._tasks[progress.stage],
                completed=sum(part.done for part in parts.values()),
                total=expected,
                note=progress.note,
                about=not begun,
            )


class _CountColumn(ProgressColumn):
    """Finished and expected items; ``~`` where not every part of a stage has begun."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{int(task.completed)}")
        about = "~" if task.fields["about"] else ""
        return Text(f"{int(task.completed)}/{about}{int(task.total)}")


class _RateColumn(ProgressColumn):
    """Items per second, or per minute where that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min")


class _TimeColumn(ProgressColumn):
    """Time left, or the time that a finished stage took."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"in {_clock(task.finished_time)}")
        left_s = task.time_remaining
        return Text("" if left_s is None else f"{_clock(left_s)} left")


def _clock(seconds: float | None) -> str:
    minutes, rest_s = divmod(round(seconds or 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest_s:02d}" if hours else f"{minutes}:{rest_s:02d}"


@contextmanager
def progress_bars(*, quiet: bool) -> Generator[None]:
    """Show bars while a flow runs; not in a log, where its lines tell the same.

    Args:
        quiet: show none.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    console = _log_console()
    shown = ProgressBars(console)
    # Prefect's console knows the styles of log lines only.
    with console.use_theme(Theme()), shown.bars, listening(shown.show):
        # A run that is killed could not bring a hidden cursor back.
        shown.bars.console.show_cursor(show=True)
        yield


def _log_console() -> Console:
    """The console that Prefect writes log lines to: it keeps lines and bars apart."""
    # Prefect writes none where no flow runs, and importing it takes seconds.
    if "prefect" not in sys.modules:
        return Console(stderr=True)
    from prefect.logging.handlers import PrefectConsoleHandler  # noqa: PLC0415 - starts Prefect

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            return handler.console
    return Console(stderr=True)
