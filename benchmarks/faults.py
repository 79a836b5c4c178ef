"""Processes that are killed, disks that are full, clocks that jump: the same dataset afterwards.

Each fault disturbs a run of `avatargpt annotate` on a few short clips, with a Prefect server of its
own. Afterwards, if need be after the same command again, the rows are those of an undisturbed run,
every file has one row or one rejection, and `avatargpt check` finds nothing. With --full, there are
50 random kills instead of 8, and a training on two machines loses one.

    .venv/bin/python benchmarks/faults.py [--full] [--seed N] [--only WORD…]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.support.faults.job import Job
from benchmarks.support.faults.kinds import FAULTS, SERVER_FAULTS, SkippedError, random_kills
from benchmarks.support.faults.training import Training
from benchmarks.support.prefect_server import PrefectServer, prefect_server
from flows.assets import fetch_assets
from flows.settings import Settings

RANDOM_KILLS, ALL_RANDOM_KILLS = 8, 50


def cases(
    job: Job, server: PrefectServer, training: Callable[[], Training], seed: int, *, full: bool
) -> dict[str, Callable[[], list[str]]]:
    """Return the faults by name; each returns what is wrong afterwards."""
    kills = ALL_RANDOM_KILLS if full else RANDOM_KILLS
    found: dict[str, Callable[[], list[str]]] = {
        name: lambda fault=fault: fault(job) for name, fault in FAULTS.items()
    }
    for name, disturb in SERVER_FAULTS.items():
        found[name] = lambda disturb=disturb: disturb(job, server)
    found[f"{kills} random kills"] = lambda: random_kills(job, kills, seed)
    found["a training loses its machine"] = lambda: training().preempted(1)
    if full:
        found["a training loses one of two machines"] = lambda: training().preempted(2)
    return found


def main() -> None:
    """Disturb and judge; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="50 random kills, and two machines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="faults whose names have these words")
    arguments = parser.parse_args()
    assets = fetch_assets(Settings().cache_dir.expanduser(), only=("sample_clip",))
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place, prefect_server(Path(place) / "server") as server:
        folder = Path(place)
        job = Job(folder / "job", server.client, assets["sample_clip"], arguments.clips)
        print(f"undisturbed: {job.duration_s:.1f} s", flush=True)
        made: list[Training] = []

        def training() -> Training:
            if not made:
                made.append(Training(folder / "training", server))
            return made[0]

        for name, disturb in cases(
            job, server, training, arguments.seed, full=arguments.full
        ).items():
            if arguments.only and not any(word in name for word in arguments.only):
                continue
            started_s = time.monotonic()
            try:
                problems = disturb()
                result = "ok" if not problems else "; ".join(problems)
            except SkippedError as reason:
                result = f"skipped: {reason}"
            except Exception as error:  # noqa: BLE001 - the other faults go on
                result = f"failed: {type(error).__name__}: {error}"
            results[name] = result
            print(f"{name:<40}{time.monotonic() - started_s:>7.1f} s  {result}", flush=True)
    failed = [name for name, result in results.items() if not result.startswith(("ok", "skipped"))]
    figures = {**results, "failed faults": len(failed)}
    targets = {"failed faults": "0"}
    print(json.dumps({"name": "faults", "figures": figures, "targets": targets, "ok": not failed}))


if __name__ == "__main__":
    main()
