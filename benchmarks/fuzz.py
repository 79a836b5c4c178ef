"""500 mutated inputs of every kind that a user can give: no crash, hang, traceback or half result.

Every input goes through the public command or function that takes it, in a process with limits on
time and memory. It must be taken, be rejected by a row with a reason, or be refused with one
message and its remedy. Nothing may be published in part.

    .venv/bin/python benchmarks/fuzz.py [--seed N] [--share 0.06] [--only KIND…]
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from flows.settings import Settings, quiet_prefect

quiet_prefect()

if TYPE_CHECKING:
    from benchmarks.support.fuzzing.running import Batch

COUNTS = {
    "videos": 100,
    "video file names": 19,
    "pose programs": 14,
    "cached replies": 30,
    "bvh": 50,
    "numpy": 60,
    "pose results": 25,
    "archive": 20,
    "motion file names": 19,
    "humanml3d": 32,
    "plans": 24,
    "texts": 15,
    "AvatarGPT": 25,
    "configuration": 30,
    "assignments": 40,
    "datasets": 55,
    "models": 30,
}
"""Number of inputs by kind; more than 500."""
PRELOADED = (
    *("annotators.chat.cache", "annotators.motion.from_tracks", "annotators.stages.shards"),
    *("annotators.status", "data.importers.avatargpt_json", "data.store.check", "data.store.card"),
    *("data.upkeep.collection", "data.upkeep.comparison", "data.upkeep.merging"),
    *("data.upkeep.compaction", "flows.commands.main", "training.language_model.config"),
    *("training.tokenizer.train",),
)
"""What the calls import, so that each of 500 processes does not do it again."""
SHOWN_CHARS = 500
PROBLEMS = ("crash", "hang", "traceback", "partial", "lost")


def _numbers(seed: int, kind: str) -> Random:
    """Return random numbers of a kind, which other kinds do not change."""
    return Random(f"{seed} {kind}")  # noqa: S311 - no secret


def batches(folder: Path, seed: int, counts: dict[str, int]) -> "Iterator[Batch]":
    """Yield the batches of all kinds."""
    from benchmarks.support.fuzzing import files, motions, videos  # noqa: PLC0415 - imports slowly
    from flows.assets import fetch_assets  # noqa: PLC0415

    yield from files.config_batches(
        folder / "config", _numbers(seed, "config"), counts["configuration"], counts["assignments"]
    )
    yield from files.release_batches(folder / "a", _numbers(seed, "release"), counts["AvatarGPT"])
    if counts["datasets"]:
        yield from files.dataset_batches(folder / "d", _numbers(seed, "data"), counts["datasets"])
    yield from motions.motion_batches(folder / "m", _numbers(seed, "motions"), counts)
    assets = fetch_assets(
        Settings().cache_dir.expanduser(), only=("pose_model", "object_detectors", "sample_clip")
    )
    control = videos.first_frames(assets["sample_clip"], folder / "control.mp4")
    yield from videos.video_batches(folder / "v", _numbers(seed, "videos"), counts, control, assets)
    yield from files.model_batches(folder / "models", _numbers(seed, "models"), counts["models"])


def main() -> None:
    """Run all batches; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the inputs")
    parser.add_argument("--only", nargs="*", choices=COUNTS, help="kinds of inputs; all by default")
    arguments = parser.parse_args()
    from benchmarks.support.fuzzing.running import in_fork, run_batch  # noqa: PLC0415 - imports slowly

    for name in PRELOADED:
        importlib.import_module(name)
    only = arguments.only or COUNTS
    counts = {
        kind: round(count * arguments.share) if kind in only else 0
        for kind, count in COUNTS.items()
    }
    inputs, outcomes = Counter[str](), defaultdict[str, Counter[str]](Counter)
    problems, contained = Counter[str](), Counter[str]()
    seconds = defaultdict[str, float](float)
    with tempfile.TemporaryDirectory() as place:
        made = batches(Path(place), arguments.seed, counts)
        for number, batch in enumerate(made):
            started_s = time.monotonic()
            run = Path(place) / "runs" / str(number)
            verdict = in_fork(partial(run_batch, batch, run))
            seconds[batch.kind] += time.monotonic() - started_s
            inputs[batch.kind] += len(batch.inputs)
            outcomes[batch.kind].update(verdict.outcomes)
            contained.update(verdict.contained)
            for problem, seen in verdict.problems:
                problems[problem] += 1
                told = "; ".join(batch.inputs)[:SHOWN_CHARS]
                print(f"\n{problem} in {batch.kind}: {told}\n{seen}", flush=True)
    for kind, count in inputs.items():
        told = ", ".join(f"{number} {name}" for name, number in sorted(outcomes[kind].items()))
        print(f"{kind:<20}{count:>5} inputs {seconds[kind]:>6.0f} s   {told}")
    figures = {
        "inputs": inputs.total(),
        **{problem: problems[problem] for problem in PROBLEMS},
        "contained": dict(contained),
    }
    targets = dict.fromkeys(PROBLEMS, "0")
    ok = not problems
    print(json.dumps({"name": "fuzz", "figures": figures, "targets": targets, "ok": ok}))


if __name__ == "__main__":
    main()
