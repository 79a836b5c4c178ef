"""Faults of annotation runs. Each function disturbs a run, and returns what is wrong afterwards."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks.support.faults.job import Job, Started
from benchmarks.support.postgres import REMEDY, postgres, postgres_programs
from benchmarks.support.prefect_server import PrefectServer, prefect_server

SIGTERM_LIMIT_S: Final = 30.0
POSTGRES_DOWN_S: Final = 3.0
LIBFAKETIME: Final = "libfaketimeMT.so.1"


class SkippedError(Exception):
    """The machine does not allow this fault; the message says why."""


Fault = Callable[[Job], list[str]]


def _at_work(job: Job, root: Path, *options: str, **environment: str) -> Started:
    """Start a run, and wait until it works on clips."""
    started = job.start(root, *options, **environment)
    if not started.wait_until(lambda: bool(list(root.glob(".staging/work-*/scans/*.json")))):
        raise RuntimeError(f"the run ended before it was disturbed: {started.told}")
    return started


def _ended_well(job: Job, root: Path, started: Started) -> list[str]:
    """Wait for a run that must end well by itself."""
    code = started.wait()
    if code:
        return [f"it ended with {code}: {started.told[-1500:]}"]
    return job.problems(root)


def kill_worker(job: Job) -> list[str]:
    """Kill a worker process: its item is tried once more in another one."""
    root = job.fresh("worker")
    started = _at_work(job, root)
    started.wait_until(lambda: bool(started.children("spawn_main")))
    for worker in started.children("spawn_main"):
        worker.kill()
    return _ended_well(job, root, started)


def kill_flow(job: Job) -> list[str]:
    """Kill the flow's own process: its workers end, and the same command goes on."""
    root = job.fresh("flow")
    started = _at_work(job, root)
    workers = started.children("spawn_main")
    started.kill()
    found = job.problems_after_kill(root) + job.finish(root)
    return found + [f"worker {one.pid} was left behind" for one in workers if one.is_running()]


def end_flow(job: Job) -> list[str]:
    """Ask a run to end (SIGTERM): it leaves at once with 130, and the same command goes on."""
    root = job.fresh("sigterm")
    started = _at_work(job, root)
    started.process.send_signal(signal.SIGTERM)
    try:
        code = started.process.wait(SIGTERM_LIMIT_S)
    except subprocess.TimeoutExpired:
        started.end()
        return ["it did not end at SIGTERM"]
    found = [] if code == 130 else [f"expected exit code 130, found {code}"]
    if "Traceback" in started.told:
        found.append(f"a traceback: {started.told[-1500:]}")
    return found + job.problems_after_kill(root) + job.finish(root)


def kill_server(job: Job, server: PrefectServer) -> list[str]:
    """Kill the Prefect server: the run goes on without it."""
    root = job.fresh("server")
    started = _at_work(job, root)
    server.kill()
    try:
        return _ended_well(job, root, started)
    finally:
        server.start()


def restart_server(job: Job, server: PrefectServer) -> list[str]:
    """Kill the Prefect server, and start it again while the run works."""
    root = job.fresh("server-again")
    started = _at_work(job, root)
    server.kill()
    server.start()
    return _ended_well(job, root, started)


def kill_postgres(job: Job) -> list[str]:
    """Kill PostgreSQL below the Prefect server, and start it again while the run works."""
    if postgres_programs() is None:
        raise SkippedError(REMEDY)
    root = job.fresh("postgres")
    with postgres() as database, prefect_server(job.folder / "team", database.url) as server:
        started = _at_work(job, root, **_address(server.client))
        database.crash()
        time.sleep(POSTGRES_DOWN_S)
        database.restart()
        return _ended_well(job, root, started)


def _address(client: Mapping[str, str]) -> dict[str, str]:
    return {name: client[name] for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}


def _on_cluster(job: Job, name: str, word: str) -> list[str]:
    """Kill one process of a Ray cluster of two machines while a run uses it."""
    from benchmarks.support.ray_cluster import local_cluster  # noqa: PLC0415 - Ray imports slowly

    root = job.fresh(name)
    with local_cluster(2) as cluster:
        options = ("--executor", "ray", "--ray-address", cluster.address)
        started = _at_work(job, root, *options)
        if word == "raylet":
            cluster.kill(0)
        else:
            _kill_actor(cluster.raylet(0), started)
        return _ended_well(job, root, started)


def _kill_actor(raylet: int, started: Started) -> None:
    import psutil  # noqa: PLC0415 - beside its only use

    def actors() -> list[psutil.Process]:
        children = psutil.Process(raylet).children()
        return [one for one in children if "Worker" in " ".join(one.cmdline())]

    started.wait_until(lambda: bool(actors()))
    for actor in actors():
        actor.kill()


def kill_actor(job: Job) -> list[str]:
    """Kill the actors of a machine of a Ray cluster: their items are done elsewhere."""
    return _on_cluster(job, "actor", "actor")


def kill_raylet(job: Job) -> list[str]:
    """Kill the raylet of a machine of a Ray cluster, as if it were switched off."""
    return _on_cluster(job, "raylet", "raylet")


def fill_disk(job: Job) -> list[str]:
    """Fill the disk of the dataset: one message, nothing half-written; with room, it goes on."""
    mount = job.folder / "small-disk"
    mount.mkdir()
    needed = sum(path.stat().st_size for path in job.reference.rglob("*") if path.is_file())
    size = f"size={max(64, needed // 2048)}k"
    mount_program = shutil.which("mount") or "mount"
    tmpfs = [mount_program, "-t", "tmpfs", "-o", size, "tmpfs", str(mount)]
    if os.geteuid() or subprocess.run(tmpfs, capture_output=True, check=False).returncode:
        raise SkippedError("needs the right to mount a tmpfs")
    root = mount / "dataset"
    try:
        started = job.start(root)
        code = started.wait()
        found: list[str] = []
        if code != 1 or "expected room on the disk" not in started.told:
            found.append(f"exit code {code} without the message: {started.told[-1500:]}")
        if "Traceback" in started.told:
            found.append(f"a traceback: {started.told[-1500:]}")
        found += job.problems_after_kill(root)
        subprocess.run([mount_program, "-o", "remount,size=200m", str(mount)], check=True)
        return found + job.finish(root)
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(mount)], check=False)


def _together(job: Job, count: int) -> list[str]:
    """Start several runs on one dataset: one of them works, the others are refused."""
    root = job.fresh(f"{count}-runs")
    started = [job.start(root) for _ in range(count)]
    codes = [one.wait() for one in started]
    found: list[str] = []
    for one, code in zip(started, codes, strict=True):
        if code and not (code == 2 and "Remedy:" in one.told and "process " in one.told):
            found.append(f"expected a message and its remedy, found {code}: {one.told[-800:]}")
    if 0 not in codes:
        found.append(f"no run ended well: {codes}")
    return found + job.problems(root)


def two_runs(job: Job) -> list[str]:
    """Start two runs on one dataset at once."""
    return _together(job, 2)


def eight_runs(job: Job) -> list[str]:
    """Start eight runs on one dataset at once."""
    return _together(job, 8)


def jump_clock(job: Job) -> list[str]:
    """Set the clock of a run a day ahead and two days back while it works (libfaketime)."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{LIBFAKETIME}"))
    if not found:
        raise SkippedError("needs libfaketime (apt-get install faketime)")
    root, clock = job.fresh("clock"), job.folder / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # The clock of the wall jumps; the monotonic one does not, as when somebody sets the time.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    started = _at_work(job, root, **environment)
    clock.write_text("+86400")
    started.wait_until(lambda: bool(list(root.glob(".staging/work-*/poses/*.json"))))
    clock.write_text("-172800")
    return _ended_well(job, root, started)


def random_kills(job: Job, count: int, seed: int) -> list[str]:
    """Kill the run, or a worker of it, at random moments, and resume it until it is done."""
    rng, found, kills = random.Random(seed), list[str](), 0  # noqa: S311 - no secret
    while kills < count:
        root = job.fresh("random")
        while True:
            started = job.start(root)
            moment_s = rng.uniform(0.0, 1.1 * job.duration_s)
            while started.process.poll() is None and time.monotonic() - started.at_s < moment_s:
                time.sleep(0.02)
            if started.process.poll() is not None or kills == count:
                code = started.wait()
                break
            kills += 1
            workers = started.children("spawn_main")
            if workers and rng.random() < 0.25:
                rng.choice(workers).kill()
                code = started.wait()
                break
            started.kill()
            found += job.problems_after_kill(root)
        if code:
            found.append(f"a run ended with {code}: {started.told[-1500:]}")
        else:
            found += job.problems(root)
        shutil.rmtree(root)
    return found


SERVER_FAULTS: Final[Mapping[str, Callable[[Job, PrefectServer], list[str]]]] = {
    "kill -9 of the Prefect server": kill_server,
    "restart of the Prefect server": restart_server,
}
FAULTS: Final[Mapping[str, Fault]] = {
    "kill -9 of a worker": kill_worker,
    "kill -9 of the flow": kill_flow,
    "SIGTERM to the flow": end_flow,
    "kill -9 of PostgreSQL": kill_postgres,
    "kill -9 of Ray actors": kill_actor,
    "kill -9 of a raylet": kill_raylet,
    "disk full": fill_disk,
    "two runs on one dataset": two_runs,
    "eight runs on one dataset": eight_runs,
    "clock jump": jump_clock,
}
"""Faults by name. Those of object storage belong here too."""
