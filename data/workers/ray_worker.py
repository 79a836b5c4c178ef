"""The worker of a cluster: an actor on its machine, and the process that the actor watches.

The actor runs calls in a :class:`~data.workers.process_pool.ProcessPool` of one process, so that a
hang, a crash or a memory leak ends as it does on one machine: the clock starts with the function,
only the process is killed, and the actor lives on. If the actor itself is lost, so is its machine
or its connection, and no item is to blame.
"""

import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from data.workers.calls import Call, Killed, PoolError, Returned
from data.workers.machine import memory_limit_bytes, usable_cpus
from data.workers.process_pool import ProcessPool

SEEN_WITHIN_S: Final = 5.0
"""A shared file system may show a new file to another machine a little later."""


def code_version() -> str:
    """Return the versions that must agree on all machines of a cluster."""
    return f"avatargpt {version('avatargpt')}, Python {platform.python_version()}"


class RayWorker:
    """An actor with one process. Its methods are called one at a time.

    Args:
        memory_gb: memory limit of the process; 0 means an equal share of the machine.
    """

    def __init__(self, memory_gb: float) -> None:
        # A spawned process runs the main module of its parent again. Ours is Ray's, whose imports
        # would cost the process a second and 60 MB.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._pool = ProcessPool(1, memory_limit_bytes(memory_gb, usable_cpus()))
        self._seen: set[Path] = set()

    def ready(self, expected_version: str) -> str:
        """Return the id of the machine in the cluster.

        Raises:
            PoolError: the machine has another version than the run.
        """
        if code_version() != expected_version:
            raise PoolError(
                f"{self._machine}: expected {expected_version} as on the machine of the run, found "
                f"{code_version()}. Remedy: install the same version on every machine."
            )
        return _context().get_node_id()

    def run(
        self, pickled: bytes, limit_s: float, alone: bool, shared: tuple[Path, ...]
    ) -> Returned | Killed:
        """Run a call, and wait for its outcome. The arguments are those of a ``Call``.

        Raises:
            PoolError: the machine does not see a shared path, or starts no process.
        """
        for path in shared:
            self._require(path)
        call = Call(pickled, limit_s, alone)
        self._pool.submit(call)
        try:
            return call.future.result()
        except PoolError as error:
            raise PoolError(f"{self._machine}: {error}") from error

    def _require(self, path: Path) -> None:
        """Wait until a shared path is there; a path that was seen is not looked for again."""
        if path in self._seen:
            return
        deadline_s = time.monotonic() + SEEN_WITHIN_S
        while not path.exists():
            if time.monotonic() > deadline_s:
                raise PoolError(
                    f"{self._machine}: expected {path} as on the machine of the run, found "
                    "nothing. Remedy: keep dataset, videos and models in folders that every "
                    "machine of the cluster mounts at the same path."
                )
            time.sleep(0.2)
        self._seen.add(path)

    @property
    def _machine(self) -> str:
        return f"machine {platform.node()} of the cluster"


def _context() -> Any:
    import ray  # noqa: PLC0415 - only where it runs is it certain to be installed

    return ray.get_runtime_context()
