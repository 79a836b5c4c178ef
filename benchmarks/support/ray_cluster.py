"""A Ray cluster on this machine: a head without CPUs, and machines with one CPU each.

All of its servers listen on loopback. A process can have one such cluster at a time.
"""

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import psutil
from ray.cluster_utils import Cluster

from data.workers.ray_connection import use_loopback

START_LIMIT_S: Final = 180.0
STORE_BYTES: Final = 80 * 2**20
"""Memory of each object store, the least that Ray takes: items and results are small."""
_QUIET: Final[dict[str, Any]] = {
    "node_ip_address": "127.0.0.1",
    "object_store_memory": STORE_BYTES,
    "include_dashboard": False,
    "include_log_monitor": False,
}


class LocalCluster:
    """Processes of a cluster on this machine.

    Args:
        folder: folder for its sockets and logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = Cluster()
        self._machines: list[Any] = []
        with patient_start():
            self._cluster.add_node(num_cpus=0, temp_dir=str(folder), **_QUIET)

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return str(self._cluster.address)

    def add(self, **resources: float) -> int:
        """Add a machine with one CPU and custom resources, and return its number.

        All that runs there has one core of this machine: a worker whose decoder has a thread of its
        own would else use those of other machines, too.
        """
        with patient_start():
            added = self._cluster.add_node(num_cpus=1, resources=resources, **_QUIET)
        self._machines.append(added)
        number = len(self._machines) - 1
        cores = psutil.Process().cpu_affinity() or []
        raylet = psutil.Process(self.raylet(number))
        for process in (raylet, *raylet.children(recursive=True)):
            process.cpu_affinity([cores[number % len(cores)]])
        return number

    def raylet(self, number: int) -> int:
        """Return the process id of a machine's raylet, the parent of all actors there."""
        (raylet,) = self._machines[number].all_processes["raylet"]
        return raylet.process.pid

    def kill(self, number: int) -> None:
        """Kill the raylet of a machine with SIGKILL, as if the machine were switched off."""
        (raylet,) = self._machines[number].all_processes["raylet"]
        raylet.process.kill()
        # A raylet that is not waited for stays a zombie, which its workers take for alive.
        raylet.process.wait()

    def close(self) -> None:
        """End all processes, and remove the folder."""
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def patient_start() -> Generator[None]:
    """Give Ray's processes minutes to start, on a machine with much other work; Ray gives 30 s."""
    services: Any = import_module("ray._private.services")
    once = services.get_node

    def get_node(address: str, node_id: str) -> Any:
        deadline_s = time.monotonic() + START_LIMIT_S
        while True:
            try:
                return once(address, node_id)
            except RuntimeError:
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(0.5)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = once


@contextmanager
def local_cluster(num_machines: int) -> Generator[LocalCluster]:
    """Start a cluster with so many machines, and end it."""
    use_loopback()
    # The path of a socket has at most 107 characters.
    cluster = LocalCluster(Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")))
    try:
        for _ in range(num_machines):
            cluster.add()
        yield cluster
    finally:
        cluster.close()
