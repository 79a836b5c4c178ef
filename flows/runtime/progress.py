"""Progress events of the stages of a run: published by flows, received by listeners."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Progress of one part of a stage.

    Attributes:
        stage: name of the stage.
        done: number of finished items.
        total: number of items of this part; None if unknown.
        part: part of the stage, such as a shard.
        parts: number of parts of the stage, including those that have not started.
        note: short additional information, such as the cost so far.
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
    """Send a progress event to all listeners. Thread-safe."""
    for listener in tuple(_listeners):
        listener(progress)


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Register a listener for the progress events of this process."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
