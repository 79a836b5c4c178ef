"""Workers: a hang, a crash or a bad item affects one item; workers end with their parent."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data.errors import ItemError, Reason
from data.workers import machine
from data.workers.calls import PoolError
from data.workers.unexpected import UnexpectedErrors, UnexpectedErrorsError
from data.workers.workers import WorkerConfig, Workers
from tests.support.worker_items import (
    fail,
    grow,
    log_and_hang,
    pid_and_wait,
    running,
    sleep,
    wait_for,
    work,
    written_pids,
)

FAST = WorkerConfig(num_workers=2, min_timeout_s=3.0, timeout_per_video_s=0.001)


def _no_video(_: str) -> float:
    return 0.0


def test_bad_items_cost_only_themselves() -> None:
    items = ["a", "hang", "b", "crash", "c", "bad", "d"]
    with Workers(FAST) as workers:
        results = dict(workers.run(work, items, video_s=_no_video))
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


def test_an_unexpected_error_costs_one_item_and_is_told_with_its_traceback() -> None:
    told: list[str] = []
    with Workers(FAST, UnexpectedErrors(told.append)) as workers:
        results = dict(workers.run(work, ["a", "bug", "b"], video_s=_no_video))
        with pytest.raises(
            UnexpectedErrorsError, match=r"1 of 3 items of work .*KeyError: 'a bug'"
        ):
            workers.unexpected.require_none()
    error = results.pop("bug")
    assert isinstance(error, ItemError)
    assert (error.reason, error.detail) == (Reason.UNEXPECTED, "KeyError: 'a bug'")
    assert results == {"a": "A", "b": "B"}
    (log,) = told
    assert log.startswith("bug: unexpected error in work")
    assert 'raise KeyError("a bug")' in log


def test_a_run_stops_when_a_quarter_of_twenty_items_end_unexpectedly() -> None:
    with Workers(FAST) as workers:
        few = list(workers.run(fail, range(19), video_s=lambda _: 0.0))
        assert len(few) == 19
        seen: list[int] = []
        with pytest.raises(UnexpectedErrorsError, match="stopped early"):
            for item, _ in workers.run(fail, range(1000), video_s=lambda _: 0.0):
                seen.append(item)
    assert len(seen) < 10


def test_runs_that_share_processes_count_their_own_errors() -> None:
    with Workers(FAST) as workers:
        one, two = (workers.for_run(UnexpectedErrors(lambda _: None)) for _ in range(2))
        list(one.run(work, ["bug"], video_s=_no_video))
        list(two.run(work, ["a"], video_s=_no_video))
        assert (one.unexpected.count, two.unexpected.count, workers.unexpected.count) == (1, 0, 0)


def test_what_crashed_or_hung_is_tried_once_more_alone(tmp_path: Path) -> None:
    names = ["hang", "once", *(f"good{number}" for number in range(6))]
    config = WorkerConfig(num_workers=2, min_timeout_s=1.0, timeout_per_video_s=0.001)
    with Workers(config) as workers:
        items = [str(tmp_path / name) for name in names]
        results = {Path(i).name: r for i, r in workers.run(log_and_hang, items, video_s=_no_video)}
    assert {name: r for name, r in results.items() if name != "hang"} == dict.fromkeys(
        names[1:], "done"
    )
    error = results["hang"]
    assert isinstance(error, ItemError)
    assert error.reason is Reason.DECODE_TIMEOUT
    assert "twice" in error.detail
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    starts = [name for name, what, _ in lines if what == "starts"]
    assert starts.count("hang") == starts.count("once") == 2
    # The second tries are the last lines: everything else had ended, and each has a new process.
    tail = lines[-3:]
    assert {name for name, _, _ in tail} == {"hang", "once"}
    assert not {process for _, _, process in tail} & {process for _, _, process in lines[:-3]}


def test_limits_do_not_follow_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system clock is set an hour ahead while items are processed."""
    real_s, started_s = time.time, time.monotonic()

    def jumping_s() -> float:
        return real_s() + (3600.0 if time.monotonic() - started_s > 1.0 else 0.0)

    monkeypatch.setattr(time, "time", jumping_s)
    with Workers(WorkerConfig(num_workers=1, min_timeout_s=60.0)) as workers:
        results = dict(workers.run(sleep, [2.0, 0.0], video_s=lambda _: 0.0))
    assert time.time() - real_s() > 3000.0
    assert results == {2.0: "done", 0.0: "done"}


def test_the_clock_starts_with_the_work_of_an_item() -> None:
    """Four items of 0.6 s queue for one process, each with a limit of 1.5 s."""
    config = WorkerConfig(num_workers=1, min_timeout_s=1.5, timeout_per_video_s=0.001)
    with Workers(config) as workers:
        results = list(workers.run(sleep, [0.6, 0.61, 0.62, 0.63], video_s=lambda _: 0.0))
    assert [result for _, result in results] == ["done"] * 4


def test_a_worker_that_grows_beyond_its_memory_is_stopped() -> None:
    config = WorkerConfig(num_workers=1, memory_gb=0.5)
    with Workers(config) as workers:
        results = dict(workers.run(grow, ["large", "small"], video_s=_no_video))
    error = results["large"]
    assert isinstance(error, ItemError)
    assert error.reason is Reason.OUT_OF_MEMORY
    assert "workers.memory_gb" in error.remedy
    assert results["small"] == "done"


def test_closing_ends_items_in_progress_at_once(tmp_path: Path) -> None:
    workers = Workers(WorkerConfig(num_workers=2))
    failed: list[BaseException] = []
    files = [tmp_path / "a", tmp_path / "b"]

    def work() -> None:
        try:
            list(workers.run(pid_and_wait, map(str, files)))
        except PoolError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    pids = written_pids(files)
    workers.close()
    thread.join(60)
    assert [str(error) for error in failed] == ["the worker processes were stopped"]
    assert not any(running(pid) for pid in pids)
    with pytest.raises(PoolError, match="stopped"):
        list(workers.run(sleep, [0.0], video_s=lambda _: 0.0))


def test_a_generator_that_is_left_stops_its_items() -> None:
    with Workers(WorkerConfig(num_workers=1)) as workers:
        results = workers.run(sleep, [0.0, 600.0], video_s=lambda _: 0.0)
        assert next(results) == (0.0, "done")
        results.close()
        assert list(workers.run(sleep, [0.0], video_s=lambda _: 0.0)) == [(0.0, "done")]


def test_one_worker_per_usable_cpu_by_default() -> None:
    assert WorkerConfig().resolved_num_workers == len(os.sched_getaffinity(0))
    assert WorkerConfig().timeout_s(10.0) == 120.0 + 600.0
    # A file of 10 GB on a slow disk takes longer to read than any fixed limit.
    assert WorkerConfig().timeout_s(0.0, 10_000_000_000) == 120.0 + 1200.0


@pytest.mark.parametrize(("machine_bytes", "limit_bytes"), [(2e9, 1e9), (8e9, 2.4e9), (64e9, 4e9)])
def test_workers_share_the_memory_within_limits(
    machine_bytes: float, limit_bytes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_memory_bytes", lambda: machine_bytes)
    assert WorkerConfig(num_workers=3).resolved_memory_bytes == limit_bytes
    assert WorkerConfig(num_workers=3, memory_gb=7).resolved_memory_bytes == 7e9


_PARENT = """
import os, sys, time
from data.workers.workers import WorkerConfig, Workers
from tests.support.worker_items import pid_and_wait
if __name__ == "__main__":
    with Workers(WorkerConfig(num_workers=2)) as workers:
        list(workers.run(pid_and_wait, sys.argv[1:3], video_s=lambda _: 0.0))
"""


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    files = [tmp_path / "a", tmp_path / "b"]
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, str(script), *map(str, files)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    pids = written_pids(files)
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not any(running(pid) for pid in pids))
