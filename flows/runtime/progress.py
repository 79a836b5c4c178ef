"""How far the stages of a run are: told here by flows, shown by whoever listens."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far one part of a stage is.

    Attributes:
        stage: its name.
        part: of the stage, such as a shard.
        parts: how many parts the stage has; those that have not begun say nothing yet.
        done: items that are finished.
        total: items of this part; None where nobody can tell.
        note: what else there is to say, such as the cost so far; short.
    """

    stage: str
    done: int
    total: int | None
    part: str = ""
    parts: int = 1
    note: str = ""


Listener = Callable[[StageProgress], None]
_listeners: list[Listener] = []


def report_progress(progress: StageProgress) -> None:
    """Tell everybody who listens; from any thread."""
    for listener in tuple(_listeners):
        listener(progress)


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Listen to the stages of this process."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
