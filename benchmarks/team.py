"""Prefect servers of a team under the tasks of 2,000 clips and of many runs: SQLite and PostgreSQL.

Each run is a flow with the tasks that 2,000 clips make (shards of 64 clips in four stages, ingest,
publications), on the same threads and with the same reports as `annotate-videos`; the tasks do
nothing, so that the server is the limit. So many runs at once go to a new server on SQLite, and to
one on Debian's PostgreSQL, as fast as they can. A state is lost if it is not recorded a minute
after the runs have ended.

    .venv/bin/python benchmarks/team.py [--runs 1 4 16] [--clips 2000] [--pause-s 0]
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from annotators.config import AnnotateConfig
from annotators.stages.shards import STAGES
from benchmarks.support.postgres import postgres, postgres_programs
from benchmarks.support.prefect_server import PrefectServer, prefect_server
from flows.settings import quiet_prefect

WAIT_S = 60.0
LOCKED = re.compile(r"database is locked|QueuePool limit|TimeoutError|too many clients")


def num_tasks(clips: int) -> int:
    """Return how many Prefect tasks a run of `annotate-videos` makes for so many clips."""
    fields = AnnotateConfig.model_fields
    shards = math.ceil(clips / fields["shard_clips"].default)
    publications = max(1, clips // fields["publish_clips"].default)
    return 1 + shards * len(STAGES) + publications


def work(runs: int, clips: int, pause_s: float) -> None:
    """Make so many runs at once in this process; print what it saw as JSON."""
    quiet_prefect()
    from prefect import flow, task  # noqa: PLC0415 - the settings come first
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415
    from prefect.task_runners import ThreadPoolTaskRunner  # noqa: PLC0415

    from flows.annotate import TASK_THREADS  # noqa: PLC0415
    from flows.runtime.reporting import ProgressBar, outlives_server  # noqa: PLC0415

    @task(cache_policy=NO_CACHE)
    def stage(given: tuple[Any]) -> int:
        bar = ProgressBar()
        bar.show(0.0, "load", "begin")
        time.sleep(pause_s)
        bar.show(100.0, "load", "end")
        return len(given)

    # The type annotations of Prefect do not accept its own task runner here.
    runner: Any = ThreadPoolTaskRunner(max_workers=TASK_THREADS)

    @flow(name="load", task_runner=runner)
    @outlives_server
    def load() -> int:
        rest = num_tasks(clips) - len(STAGES) * (num_tasks(clips) // len(STAGES))
        chains = num_tasks(clips) // len(STAGES)
        results: list[Any] = [stage.submit((number,)) for number in range(rest)]
        for number in range(chains):
            given: Any = number
            for _ in STAGES:
                given = stage.submit((given,))
                results.append(given)
        return len([result.result() for result in results])

    failures: list[str] = []

    def one() -> None:
        try:
            load()
        except Exception as error:  # noqa: BLE001 - counted
            failures.append(f"{type(error).__name__}: {error}")

    started_s = time.monotonic()
    threads = [threading.Thread(target=one) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = {
        "seconds": time.monotonic() - started_s,
        "failures": failures[:3],
        "failed": len(failures),
    }
    print(json.dumps(told))


def recorded(server: PrefectServer, expected: dict[str, int]) -> dict[str, Any]:
    """Wait until the server has recorded all states, a minute at most; return what it has."""
    started_s = time.monotonic()
    while True:
        completed = {kind: _count(server, kind, "COMPLETED") for kind in expected}
        waited_s = time.monotonic() - started_s
        if completed == expected or waited_s > WAIT_S:
            return {"lag_s": waited_s, **completed}
        time.sleep(0.5)


def _count(server: PrefectServer, kind: str, state: str) -> int:
    return int(server.api(f"{kind}/count", {kind: {"state": {"type": {"any_": [state]}}}}))


def _call(server: PrefectServer, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__)), *arguments]
    environment = os.environ | server.client | {"PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


def measure(server: PrefectServer, runs: int, clips: int, pause_s: float) -> dict[str, Any]:
    """Measure so many runs at once on a server."""
    added = {"flow_runs": runs, "task_runs": runs * num_tasks(clips)}
    before = {kind: _count(server, kind, "COMPLETED") for kind in added}
    begin = server.log.stat().st_size
    size = ["--runs", str(runs), "--clips", str(clips)]
    worked = _call(server, "--case", "work", *size, "--pause-s", str(pause_s))
    expected = {kind: before[kind] + count for kind, count in added.items()}
    seen = recorded(server, expected)
    log = server.log.read_bytes()[begin:].decode(errors="replace")
    return {
        "tasks": added["task_runs"],
        "seconds": round(worked["seconds"], 1),
        "tasks_per_s": round(added["task_runs"] / worked["seconds"], 1),
        "lag_s": round(seen["lag_s"], 1),
        "lost_task_states": expected["task_runs"] - seen["task_runs"],
        "lost_flow_states": expected["flow_runs"] - seen["flow_runs"],
        "failed_runs": worked["failed"],
        "failures": worked["failures"],
        "errors": dict(Counter(LOCKED.findall(log + worked["stderr"]))),
    }


def main() -> None:
    """Measure, and print; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--pause-s", type=float, default=0.0, help="duration of each task")
    parser.add_argument("--databases", nargs="+", default=["SQLite", "PostgreSQL"])
    parser.add_argument("--case", choices=["work"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case == "work":
        work(arguments.runs[0], arguments.clips, arguments.pause_s)
        return
    figures: dict[str, Any] = {"tasks of a run": num_tasks(arguments.clips)}
    with tempfile.TemporaryDirectory() as folder:
        for database in arguments.databases:
            if database == "PostgreSQL" and postgres_programs() is None:
                figures[database] = "skipped: not installed"
                continue
            with ExitStack() as stack:
                url = stack.enter_context(postgres()).url if database == "PostgreSQL" else ""
                server = stack.enter_context(prefect_server(Path(folder) / database, url))
                for runs in arguments.runs:
                    found = measure(server, runs, arguments.clips, arguments.pause_s)
                    figures[f"{database}, {runs} runs"] = found
                    print(f"{database:<12}{runs:>4} runs  {found}", flush=True)
    lost = [
        one["lost_task_states"] + one["lost_flow_states"] + one["failed_runs"]
        for name, one in figures.items()
        if name.startswith(("PostgreSQL, ", "SQLite, 1 "))
    ]
    targets = {"lost states on PostgreSQL, and of one run on SQLite": "0"}
    print(json.dumps({"name": "team", "figures": figures, "targets": targets, "ok": not any(lost)}))


if __name__ == "__main__":
    main()
