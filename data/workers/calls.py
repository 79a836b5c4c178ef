"""Calls of functions in worker processes, their outcomes, and what a pool of workers offers.

A pool of this machine (:mod:`data.workers.process_pool`) and of a cluster
(:mod:`data.workers.ray_pool`) take the same calls and settle them with the same outcomes.
"""

import errno
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from data.errors import Reason

START_LIMIT_S: Final = 300.0
"""Time limit for starting a process and importing the modules of a call. It is generous because
the machine may be overloaded."""
DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Values of ``OSError.errno`` that end the run, because no item is to blame."""


STOPPED: Final = "the worker processes were stopped"
"""Message of calls to a pool that is closed."""


class PoolError(RuntimeError):
    """The pool is closed, or its processes do not start."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A call that finished; ``result`` is its return value or the error of its item."""

    pickled: bytes

    @property
    def result(self) -> Any:
        """The unpickled result. Unpickling is safe because our own process wrote it."""
        return pickle.loads(self.pickled)  # noqa: S301


@dataclass(frozen=True, slots=True)
class Killed:
    """A call whose process was killed or died.

    Attributes:
        reason: ``DECODE_TIMEOUT``, ``OUT_OF_MEMORY`` or ``WORKER_CRASHED``.
        found: what happened, for the message.
    """

    reason: Reason
    found: str


@dataclass(slots=True, eq=False)
class Call:
    """A queued or running call.

    Attributes:
        pickled: the function and its argument, see :func:`pickled_call`.
        limit_s: time limit in seconds; its clock starts when the function starts.
        alone: whether the call runs in a new process while no other call runs on its machine.
        stage: stage of the call, which decides on the resources of its worker in a cluster.
        shared: files and folders that the machine of the call must see.
        future: the outcome.
        dropped: whether the caller no longer waits for the outcome.
        num_lost: how often the call was lost with its worker or machine.
    """

    pickled: bytes
    limit_s: float
    alone: bool = False
    stage: str = ""
    shared: tuple[Path, ...] = ()
    future: "Future[Returned | Killed]" = field(default_factory=Future)
    dropped: bool = False
    num_lost: int = 0


def pickled_call(function: Callable[[Any], Any], item: Any) -> bytes:
    """Pickle a module-level function and its argument."""
    return pickle.dumps((function, item))


class Pool(Protocol):
    """A pool of workers, each executing one call at a time. Safe to use from several threads."""

    def capacity(self, stage: str) -> int:
        """Return how many calls of a stage can run at once; at least 1."""
        ...

    def submit(self, call: Call) -> None:
        """Queue a call.

        Raises:
            PoolError: the pool is closed.
        """
        ...

    def drop(self, call: Call) -> None:
        """Cancel a call: remove it from the queue, or kill its process."""
        ...

    def close(self) -> None:
        """Kill all processes at once; unfinished calls fail with :class:`PoolError`."""
        ...
