"""Measure a piece of work in a process of its own, whose peak memory is that of the work."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def print_measured(work: Callable[[], object]) -> None:
    """Do the work in this process; print its wall-clock and CPU seconds and its peak memory."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    work()
    told = {
        "seconds": time.perf_counter() - start_s,
        "cpu_s": time.process_time() - start_cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    print(json.dumps({name: round(value, 3) for name, value in told.items()}))


def measured(script: str, case: str, root: Path) -> dict[str, float]:
    """Run a script with ``--case CASE ROOT``, which calls :func:`print_measured`.

    A child begins with its parent's peak memory: the calling process must stay small.
    """
    command = [sys.executable, script, "--case", case, str(root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
