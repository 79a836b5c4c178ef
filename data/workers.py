"""Work in processes that can be killed: what touches a stranger's file never runs in ours.

A decoder may hang, crash or eat memory on a bad file. Every call therefore runs in a worker with a
wall-clock limit; a worker that exceeds it, or dies, is replaced, and the item becomes an
:class:`~data.errors.ItemError`.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from multiprocessing.connection import wait as wait_for_sentinel
from typing import Any, Final, TypeVar

from pebble import ProcessExpired, ProcessPool
from pydantic import BaseModel, ConfigDict, Field

from data.errors import ItemError, Reason

Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUED_PER_WORKER: Final = 2
"""Enough that no worker waits for the next item, few enough that memory stays constant."""


class WorkerConfig(BaseModel):
    """How the work is spread over this machine; nothing here changes what the rows contain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_workers: int = Field(
        default=0, ge=0, description="Worker processes; 0 means one per CPU this process may use."
    )
    min_timeout_s: float = Field(
        default=120.0, gt=0, description="Wall-clock limit of one piece of work, at least."
    )
    timeout_per_video_s: float = Field(
        default=60.0, gt=0, description="Limit added for every second of video in the piece."
    )

    @property
    def resolved_num_workers(self) -> int:
        """Worker processes to start."""
        return self.num_workers or usable_cpus()

    def timeout_s(self, video_s: float) -> float:
        """Wall-clock limit for a piece of work on ``video_s`` seconds of video."""
        return self.min_timeout_s + self.timeout_per_video_s * video_s


def usable_cpus() -> int:
    """CPUs this process may run on (a container's share, where the system tells)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """A pool of killable processes. Use as a context manager.

    Args:
        config: how many, and their limits.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self._pool = ProcessPool(
            max_workers=config.resolved_num_workers,
            initializer=_die_with_parent,
            context=multiprocessing.get_context("spawn"),
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, whatever they do."""
        self._pool.stop()
        self._pool.join()

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        video_s: Callable[[Item], float],
    ) -> Generator[tuple[Item, Result | ItemError]]:
        """Call ``function(item)`` for every item, in parallel.

        Args:
            function: a module-level function; raises :class:`ItemError` for a bad item.
            items: what to call it with; taken as workers become free.
            video_s: seconds of video in an item, for its time limit.

        Yields:
            ``(item, result)`` in order of completion; the result is the error of a bad item. Any
            other exception of the function propagates.
        """
        pending: dict[Any, tuple[Item, float]] = {}
        waiting = deque(items)
        try:
            while waiting or pending:
                while (
                    waiting and len(pending) < QUEUED_PER_WORKER * self.config.resolved_num_workers
                ):
                    item = waiting.popleft()
                    limit_s = self.config.timeout_s(video_s(item))
                    pending[self._pool.schedule(function, args=[item], timeout=limit_s)] = (
                        item,
                        limit_s,
                    )
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    item, limit_s = pending.pop(future)
                    yield item, _result_or_error(future, limit_s)
        finally:
            for future in pending:
                future.cancel()


def _result_or_error(future: Any, limit_s: float) -> Any:
    try:
        return future.result()
    except ItemError as error:
        return error
    except TimeoutError:
        return ItemError(
            Reason.DECODE_TIMEOUT,
            f"expected to finish within {limit_s:.0f} s, was still working and was stopped.",
            "Re-encode the video, or raise workers.timeout_per_video_s and run again with "
            "retry_rejected.",
        )
    except ProcessExpired as error:
        return ItemError(
            Reason.WORKER_CRASHED,
            f"the process working on it died with exit code {error.exitcode}.",
            "Re-encode the video, or give the machine more memory, and run again with "
            "retry_rejected.",
        )


def _die_with_parent() -> None:
    """End this worker when its parent is gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("expected to run in a worker process, found the main process")

    def watch() -> None:
        wait_for_sentinel([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
