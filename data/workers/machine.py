"""CPUs and memory of this machine, and a worker's share of them."""

import os
from pathlib import Path


def usable_cpus() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory_bytes() -> int:
    """Memory that this process may use: the limit of its container, or all of the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def memory_limit_bytes(memory_gb: float, num_workers: int) -> int:
    """Return the memory limit of a worker in bytes.

    Args:
        memory_gb: configured limit; 0 means an equal share of the machine, between 1 and 4 GB.
        num_workers: number of workers on the machine.
    """
    share = 0.9 * usable_memory_bytes() / num_workers
    return int(memory_gb * 1e9) or int(min(max(share, 1e9), 4e9))
