"""Seconds per stage of the annotation pipeline, and the overhead of Prefect.

The script annotates the sample clip (with --full also every clip of the corpus) as plain functions
and as the Prefect flow, in turns. Each run writes into a fresh dataset, with the same warm worker
pool and a Prefect server that is already running.

    .venv/bin/python benchmarks/annotate.py [--full] [--repeats N]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from flows.settings import Settings, quiet_prefect

quiet_prefect()

from prefect.logging import disable_run_logger  # noqa: E402 - the settings come first
from prefect.testing.utilities import prefect_test_harness  # noqa: E402

from annotators.chat.model import NO_MODELS  # noqa: E402
from annotators.config import AnnotateConfig  # noqa: E402
from annotators.run import Progress  # noqa: E402
from annotators.stages.shards import annotate_dataset  # noqa: E402
from benchmarks.support.corpus import VIDEOS, need_corpus, run_with_corpus  # noqa: E402
from data.store.dataset import Dataset  # noqa: E402
from data.workers.workers import Workers  # noqa: E402
from flows import annotate  # noqa: E402
from flows.assets import fetch_assets  # noqa: E402

MAX_OVERHEAD = 1.15


class StageClock:
    """Wall time per stage, measured at the pipeline's progress reports."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._last_s = time.monotonic()

    def start(self) -> None:
        """Note that a run starts now."""
        self._last_s = time.monotonic()

    def report(self, progress: Progress) -> None:
        """Add the time since the last report to the stage that reports now."""
        now_s = time.monotonic()
        self.seconds[progress.stage] += now_s - self._last_s
        self._last_s = now_s


def timed(function: Callable[[AnnotateConfig], object], videos: tuple[str, ...]) -> float:
    """Return the seconds that a run into a fresh dataset takes."""
    with tempfile.TemporaryDirectory() as folder:
        config = AnnotateConfig(videos=videos, dataset=Path(folder) / "dataset")
        started_s = time.perf_counter()
        function(config)
        return time.perf_counter() - started_s


def main() -> None:
    """Measure and print; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all videos of the corpus as well")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    if arguments.full:
        need_corpus()
    assets = fetch_assets(
        Settings().cache_dir.expanduser(), only=("pose_model", "object_detectors", "sample_clip")
    )
    model_path, detectors = assets["pose_model"], assets["object_detectors"]
    videos = (str(assets["sample_clip"]),)
    if arguments.full:
        videos += (str(VIDEOS),)

    clock = StageClock()

    def plain(config: AnnotateConfig) -> None:
        workers: Workers = annotate.shared_workers(config.workers)
        clock.start()
        annotate_dataset(
            config, model_path, workers, NO_MODELS, clock.report, object_detectors=detectors
        )

    def as_flow(config: AnnotateConfig) -> None:
        annotate.annotate_videos(config=config)

    with prefect_test_harness(server_startup_timeout=180), disable_run_logger():
        with tempfile.TemporaryDirectory() as folder:
            # Starts the workers and fills the file cache for both.
            config = AnnotateConfig(videos=videos, dataset=Path(folder) / "dataset")
            as_flow(config)
            dataset = Dataset(config.dataset)
            video_s = sum(dataset.read("videos", ["duration_s"])["duration_s"].to_pylist())
            num_clips = dataset.read("clips").num_rows
        clock = StageClock()
        pairs = [(timed(plain, videos), timed(as_flow, videos)) for _ in range(arguments.repeats)]
    plain_s = statistics.median(plain for plain, _ in pairs)
    overhead = statistics.median(flow / plain for plain, flow in pairs)
    stages = {name: seconds / arguments.repeats for name, seconds in clock.seconds.items()}

    print(f"{len(videos)} sources, {num_clips} clips, {video_s:.1f} s of video")
    for name, seconds in stages.items():
        print(f"  {name:12} {seconds:7.2f} s   {video_s / seconds:8.1f} x real time")
    print(f"  plain loop   {plain_s:7.2f} s   {video_s / plain_s:8.1f} x real time")
    print(f"  flow / plain {overhead:7.2f}     (median of {arguments.repeats} pairs)")
    result = {
        "name": "annotate",
        "figures": {
            "video_s": round(video_s, 2),
            "clips": num_clips,
            "plain_s": round(plain_s, 2),
            "x_real_time": round(video_s / plain_s, 2),
            "overhead_ratio": round(overhead, 3),
            **{f"{name}_s": round(seconds, 2) for name, seconds in stages.items()},
        },
        "targets": {"overhead_ratio": MAX_OVERHEAD},
        "ok": overhead <= MAX_OVERHEAD,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_with_corpus(main)
