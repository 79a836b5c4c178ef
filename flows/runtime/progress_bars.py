"""Progress bars in a terminal: one per stage, with rate and remaining time."""

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
"""Window in seconds over which rates are estimated. A single clip may take a minute."""


class ProgressBars:
    """Progress bars that are updated by progress events.

    Args:
        console: console of the terminal.
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
        # Stages run in several threads.
        self._lock = threading.Lock()

    def show(self, progress: StageProgress) -> None:
        """Update the bar of a stage."""
        with self._lock:
            parts = self._parts.setdefault(progress.stage, {})
            parts[progress.part] = progress
            if progress.stage not in self._tasks:
                # One line per stage, in the order in which the stages start.
                self._tasks[progress.stage] = self.bars.add_task(
                    progress.stage, total=None, note="", about=False
                )
            totals = [part.total for part in parts.values() if part.total is not None]
            begun = len(totals) == progress.parts
            # Parts that have not started are assumed to be as large as the others on average.
            expected = round(sum(totals) * progress.parts / len(totals)) if totals else None
            self.bars.update(
                self._tasks[progress.stage],
                completed=sum(part.done for part in parts.values()),
                total=expected,
                note=progress.note,
                about=not begun,
            )


class _CountColumn(ProgressColumn):
    """Finished and total items; ``~`` marks an estimated total."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{int(task.completed)}")
        about = "~" if task.fields["about"] else ""
        return Text(f"{int(task.completed)}/{about}{int(task.total)}")


class _RateColumn(ProgressColumn):
    """Items per second, or per minute if slower than one per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min")


class _TimeColumn(ProgressColumn):
    """Remaining time, or the duration of a finished stage."""

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
    """Show progress bars in this context if standard error is a terminal.

    Args:
        quiet: show no bars.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    console = _log_console()
    shown = ProgressBars(console)
    # The theme of Prefect's console only has the styles of log lines.
    with console.use_theme(Theme()), shown.bars, listening(shown.show):
        # A killed run could not restore a hidden cursor.
        shown.bars.console.show_cursor(show=True)
        yield


def _log_console() -> Console:
    """Return the console of Prefect's log handler, so that log lines appear above the bars."""
    # Without a flow, Prefect logs nothing, and importing it takes seconds.
    if "prefect" not in sys.modules:
        return Console(stderr=True)
    from prefect.logging.handlers import PrefectConsoleHandler  # noqa: PLC0415 - slow import

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            return handler.console
    return Console(stderr=True)
