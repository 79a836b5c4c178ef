"""Run functions on untrusted files in worker processes with time and memory limits.

A decoder may hang, crash or exhaust memory on a bad file. Every call therefore runs in a worker
with limits on wall-clock time and memory. A worker that exceeds them, or dies, is replaced. Its
item is tried once more while nothing else runs, because another item may have caused the failure.
If it fails again, the result is an :class:`~data.errors.ItemError`. An unexpected exception on an
item becomes an :class:`~data.errors.UnexpectedItemError`.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import Field, model_validator

from data.config import Config
from data.errors import ItemError, Reason
from data.workers.calls import Call, Killed, Pool, pickled_call
from data.workers.cluster import ClusterConfig
from data.workers.machine import memory_limit_bytes, usable_cpus
from data.workers.process_pool import ProcessPool
from data.workers.unexpected import UnexpectedErrors

Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUED_PER_WORKER: Final = 2
"""Two calls per worker keep every worker busy and bound the number of items in memory."""


class WorkerConfig(Config):
    """Place, number and limits of the worker processes. These fields never change the rows."""

    executor: Literal["local", "ray"] = Field(
        default="local",
        description="Where the work is done: in processes of this machine, or on the machines of a "
        "Ray cluster, which needs the package ray.",
    )
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    num_workers: int = Field(
        default=0,
        ge=0,
        description="Number of worker processes. 0: one per CPU that this process may use; in a "
        "cluster, as many as its machines have room for.",
    )
    min_timeout_s: float = Field(
        default=120.0, gt=0, description="Minimum wall-clock limit of one item."
    )
    timeout_per_video_s: float = Field(
        default=60.0, gt=0, description="Time added to the limit per second of video."
    )
    timeout_per_gb_s: float = Field(
        default=120.0, gt=0, description="Time added to the limit per gigabyte of the file."
    )
    max_timeout_s: float = Field(
        default=4 * 3600.0,
        gt=0,
        description="Maximum wall-clock limit of one item, whatever length its video declares.",
    )
    memory_gb: float = Field(
        default=0.0,
        ge=0,
        description="Memory limit of a worker process. 0: an equal share of the machine's memory, "
        "between 1 and 4 GB.",
    )

    @model_validator(mode="after")
    def _check_limits(self) -> "WorkerConfig":
        if self.max_timeout_s < self.min_timeout_s:
            raise ValueError(
                f"max_timeout_s: expected at least min_timeout_s ({self.min_timeout_s:g}), found "
                f"{self.max_timeout_s:g}. Remedy: raise max_timeout_s, or lower min_timeout_s."
            )
        return self

    @property
    def resolved_num_workers(self) -> int:
        """Number of worker processes to start."""
        return self.num_workers or usable_cpus()

    @property
    def resolved_memory_bytes(self) -> int:
        """Memory limit of a worker process in bytes."""
        return memory_limit_bytes(self.memory_gb, self.resolved_num_workers)

    def timeout_s(self, video_s: float, size_bytes: int = 0) -> float:
        """Wall-clock limit of one item in seconds.

        The limit never exceeds ``max_timeout_s``, because a file of a few bytes can declare a day
        of video.

        Args:
            video_s: seconds of video in the item.
            size_bytes: size of the file that the item reads.
        """
        limit_s = (
            self.min_timeout_s
            + self.timeout_per_video_s * video_s
            + self.timeout_per_gb_s * size_bytes / 1e9
        )
        return min(limit_s, self.max_timeout_s)


def zero(_: object) -> int:
    """Default for ``video_s`` and ``size_bytes``: items without video, items without a file."""
    return 0


def open_pool(config: WorkerConfig) -> Pool:
    """Open the pool that a configuration asks for.

    Raises:
        ValueError: the executor is ``ray``, and the package or the cluster is not there.
    """
    if config.executor == "local":
        return ProcessPool(config.resolved_num_workers, config.resolved_memory_bytes)
    # The module imports a package that not everybody has.
    from data.workers.ray_pool import RayPool  # noqa: PLC0415

    return RayPool(config.cluster, config.num_workers, config.memory_gb)


class Workers:
    """A pool of killable processes. Use as a context manager.

    Args:
        config: place, number and limits of the processes.
        unexpected: counter of the run's unexpected errors.
        pool: processes to use; by default a new pool.
        shared: files and folders that every machine must see.
    """

    def __init__(
        self,
        config: WorkerConfig,
        unexpected: UnexpectedErrors | None = None,
        pool: Pool | None = None,
        shared: tuple[Path, ...] = (),
    ) -> None:
        self.config = config
        self.unexpected = unexpected or UnexpectedErrors()
        self._pool = pool or open_pool(config)
        self._shared = shared

    def for_run(self, unexpected: UnexpectedErrors, shared: tuple[Path, ...] = ()) -> "Workers":
        """The same processes with another counter of unexpected errors, and other shared paths."""
        return Workers(self.config, unexpected, self._pool, shared)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def capacity(self) -> int:
        """How many items of the longest stage, poses, can be worked on at once."""
        return self._pool.capacity("poses")

    def close(self) -> None:
        """Kill all worker processes at once."""
        self._pool.close()

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        video_s: Callable[[Item], float] = zero,
        size_bytes: Callable[[Item], int] = zero,
        name: Callable[[Item], str] = str,
        stage: str = "",
    ) -> Generator[tuple[Item, Result | ItemError]]:
        """Call ``function(item)`` for every item, in parallel.

        Args:
            function: a module-level function; raises :class:`ItemError` for a bad item.
            items: arguments of the function; consumed lazily as workers become free.
            video_s: seconds of video in an item; extends its time limit.
            size_bytes: size of the file that an item reads; extends its time limit.
            name: name of an item for the log.
            stage: name under which unexpected errors are counted; by default the function's name.

        Yields:
            ``(item, result)`` in order of completion. The result is an :class:`ItemError` if the
            item is bad, exceeded its limits twice, or raised an unexpected exception.

        Raises:
            data.workers.unexpected.UnexpectedErrorsError: too many unexpected errors.
            OSError: the disk is full.
            data.workers.calls.PoolError: the pool is closed, or cannot start processes.
        """
        stage = stage or function.__name__.strip("_")
        pending: dict[Any, tuple[Item, Call]] = {}
        again: deque[Item] = deque()
        source = iter(items)

        def submit(item: Item, *, alone: bool = False) -> None:
            limit_s = self.config.timeout_s(video_s(item), size_bytes(item))
            call = Call(pickled_call(function, item), limit_s, alone, stage, self._shared)
            self._pool.submit(call)
            pending[call.future] = (item, call)

        def fill() -> None:
            room = QUEUED_PER_WORKER * self._pool.capacity(stage) - len(pending)
            for item in itertools.islice(source, max(room, 0)):
                submit(item)

        try:
            fill()
            while pending or again:
                if not pending:
                    submit(again.popleft(), alone=True)
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    item, call = pending.pop(future)
                    ended = future.result()
                    if isinstance(ended, Killed) and not call.alone:
                        again.append(item)
                        continue
                    result = _error_of(ended) if isinstance(ended, Killed) else ended.result
                    if isinstance(result, OSError):
                        raise result
                    error = result if isinstance(result, ItemError) else None
                    self.unexpected.note(stage, name(item), error)
                    yield item, result
                fill()
        finally:
            for _, call in pending.values():
                self._pool.drop(call)


def _error_of(ended: Killed) -> ItemError:
    remedies = {
        Reason.DECODE_TIMEOUT: "raise workers.min_timeout_s, workers.timeout_per_video_s or "
        "workers.max_timeout_s",
        Reason.OUT_OF_MEMORY: "raise workers.memory_gb",
    }
    remedy = remedies.get(ended.reason, "give the machine more memory")
    return ItemError(
        ended.reason,
        f"expected the item to be processed, found twice that it {ended.found}.",
        f"Re-encode or export the file again, or {remedy}, and run again with retry_rejected.",
    )
