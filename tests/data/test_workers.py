"""Workers: a hang, a crash and a bad item each cost one item; no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.errors import ItemError, Reason
from data.workers import WorkerConfig, Workers, usable_cpus

FAST = WorkerConfig(num_workers=2, min_timeout_s=3.0, timeout_per_video_s=0.001)


def _work(item: str) -> str:
    match item:
        case "hang":
            time.sleep(600)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "bad":
            raise ItemError(Reason.NOT_A_VIDEO, "found text.", "Remove it.")
        case "bug":
            raise KeyError("a bug")
        case _:
            pass
    return item.upper()


def _no_video(_: str) -> float:
    return 0.0


def test_bad_items_cost_only_themselves() -> None:
    items = ["a", "hang", "b", "crash", "c", "bad", "d"]
    with Workers(FAST) as workers:
        results = dict(workers.run(_work, items, video_s=_no_video))
    assert {k: v for k, v in results.items() if isinstance(v, str)} == {
        k: k.upper() for k in "abcd"
    }
    reasons = {k: v.reason for k, v in results.items() if isinstance(v, ItemError)}
    assert reasons == {
        "hang": Reason.DECODE_TIMEOUT,
        "crash": Reason.WORKER_CRASHED,
        "bad": Reason.NOT_A_VIDEO,
    }
    error = results["bad"]
    assert isinstance(error, ItemError)
    assert (error.detail, error.remedy) == ("found text.", "Remove it.")


def test_a_bug_propagates() -> None:
    with Workers(FAST) as workers, pytest.raises(KeyError, match="a bug"):
        list(workers.run(_work, ["a", "bug"], video_s=_no_video))


def test_one_worker_per_usable_cpu_by_default() -> None:
    assert WorkerConfig().resolved_num_workers == usable_cpus() >= 1
    assert WorkerConfig().timeout_s(10.0) == 120.0 + 600.0


_PARENT = """
import os, sys, time
from data.workers import WorkerConfig, Workers
from tests.data.test_workers import pid_and_wait
if __name__ == "__main__":
    with Workers(WorkerConfig(num_workers=2)) as workers:
        list(workers.run(pid_and_wait, sys.argv[1:3], video_s=lambda _: 0.0))
"""


def pid_and_wait(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def _wait_for(condition: object, limit_s: float = 60.0) -> bool:
    assert callable(condition)
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    files = [tmp_path / "a", tmp_path / "b"]
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(script), *map(str, files)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert _wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    pids = [int(file.read_text()) for file in files]
    parent.kill()
    parent.wait()
    assert _wait_for(lambda: not any(_running(pid) for pid in pids))


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
