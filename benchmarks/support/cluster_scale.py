"""Clips per second, rows and memory of runs on clusters of one and two machines with one CPU each.

The machines are raylets on this one, with a core each: it needs as many idle cores. Videos
are the sample clip, each with another comment in its header, so that their ids differ and their
frames are the same. Clips per second count from the moment when each worker has posed one clip,
which includes loading its models, to the last clip, with the time in which a worker has nothing
left to do. One and two workers without Ray show what the cores of this machine allow. CPU seconds
tell who used them: the workers, or this process and Ray. Memory and overhead are measured with
items that only hash and probe a file.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import av
import psutil

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.run import Progress
from annotators.stages.ingest import inspect_file
from annotators.stages.shards import annotate_dataset
from benchmarks.support.ray_cluster import local_cluster
from data.store.dataset import Dataset
from data.workers.cluster import ClusterConfig
from data.workers.workers import WorkerConfig, Workers
from flows.assets import fetch_assets
from flows.settings import Settings

MIN_RATIO: Final = 1.8
MAX_GROWTH_MB: Final = 30.0
"""Growth of memory between the 200th and the last item; it must not grow with their number."""
SETTLED_ITEMS: Final = 200


@dataclass
class _Poses:
    """When clips were posed, and the CPU seconds that had been used then.

    Attributes:
        num_workers: number of workers.
        ended: time, CPU seconds of worker processes, and those of all others, for each clip.
    """

    num_workers: int
    ended: list[tuple[float, float, float]] = field(
        default_factory=list[tuple[float, float, float]]
    )

    def report(self, progress: Progress) -> None:
        if progress.stage == "poses" and progress.done:
            self.ended.append((time.monotonic(), *_cpu_s()))

    def figures(self) -> dict[str, float]:
        """Return clips per second, and CPU seconds per clip, once each worker had one clip."""
        first, last = self.ended[self.num_workers - 1], self.ended[-1]
        seconds, workers_s, others_s = (b - a for a, b in zip(first, last, strict=True))
        clips = len(self.ended) - self.num_workers
        return {
            "clips_per_s": round(clips / seconds, 3),
            "worker_cpu_s": round(workers_s / clips, 2),
            "other_cpu_s": round(others_s / clips, 3),
        }


def measure_cluster(folder: Path, num_videos: int, num_items: int) -> dict[str, Any]:
    """Run all comparisons, and return the document that the benchmark prints.

    Args:
        folder: folder for videos and datasets.
        num_videos: number of videos of a run.
        num_items: number of items of the measurements of memory and overhead.
    """
    assets = fetch_assets(Settings().cache_dir.expanduser())
    videos = _copies(assets["sample_clip"], folder / "videos", num_videos)
    config = AnnotateConfig(videos=(str(videos),), dataset=folder / "unused")
    tables: dict[str, dict[str, list[str]]] = {}
    figures: dict[str, float] = {}

    def annotate(name: str, workers: Workers) -> None:
        posed = _Poses(workers.capacity)
        run = config.model_copy(update={"dataset": folder / name})
        annotate_dataset(
            run,
            assets["pose_model"],
            workers,
            NO_MODELS,
            posed.report,
            object_detectors=assets["object_detectors"],
        )
        tables[name] = _hashes(run.dataset)
        found = {f"{key}_{name}": value for key, value in posed.figures().items()}
        print(f"{name}: {found}", flush=True)
        figures.update(found)

    with Workers(WorkerConfig(num_workers=2)) as workers:
        annotate("local_two", workers)
    with Workers(WorkerConfig(num_workers=1)) as workers:
        annotate("local", workers)
        figures["local_ms_per_item"] = _ms_per_item(workers, videos, num_items)
    with local_cluster(1) as cluster:
        on_cluster = WorkerConfig(executor="ray", cluster=ClusterConfig(address=cluster.address))
        with Workers(on_cluster) as workers:
            annotate("one", workers)
            figures["ms_per_item"] = _ms_per_item(workers, videos, num_items)
            figures["growth_mb"] = _growth_mb(workers, videos, num_items)
        cluster.add()
        with Workers(on_cluster) as workers:
            annotate("two", workers)
    for ratio, two, one in (("ratio", "two", "one"), ("local_ratio", "local_two", "local")):
        figures[ratio] = round(figures[f"clips_per_s_{two}"] / figures[f"clips_per_s_{one}"], 3)
    same = all(found == tables["local"] for found in tables.values())
    return {
        "name": "cluster",
        "figures": {**figures, "videos": num_videos, "items": num_items, "same_bytes": same},
        "targets": {"ratio": MIN_RATIO, "growth_mb": MAX_GROWTH_MB, "same_bytes": True},
        "ok": same and figures["ratio"] >= MIN_RATIO and figures["growth_mb"] <= MAX_GROWTH_MB,
    }


def _copies(clip: Path, folder: Path, count: int) -> Path:
    """Write copies of a video without encoding it again; each has a content of its own."""
    folder.mkdir(parents=True)
    for number in range(count):
        with av.open(clip) as source, av.open(folder / f"{number:04d}.mp4", "w") as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            target.metadata["comment"] = str(number)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
    return folder


def _hashes(root: Path) -> dict[str, list[str]]:
    """Return the hashes of all parts of a dataset by table."""
    return {
        name: sorted(
            hashlib.sha256(part.read_bytes()).hexdigest()
            for part in (root / name).glob("*.parquet")
        )
        for name in Dataset(root).manifest["tables"]
    }


def _each(workers: Workers, videos: Path, count: int, then: Callable[[int], None]) -> None:
    files = sorted(videos.iterdir())
    items = (files[number % len(files)] for number in range(count))
    for number, _ in enumerate(workers.run(inspect_file, items)):
        then(number)


def _ms_per_item(workers: Workers, videos: Path, count: int) -> float:
    """Return the time of an item that only probes a file, once workers are warm."""
    begun_s: list[float] = []
    _each(workers, videos, count, lambda _: begun_s.append(time.monotonic()))
    return round(1000 * (begun_s[-1] - begun_s[count // 10]) / (count - count // 10), 2)


def _growth_mb(workers: Workers, videos: Path, count: int) -> float:
    """Return the growth of this process and of all workers while items pass."""
    used: dict[int, float] = {}

    def note(number: int) -> None:
        if number in {min(SETTLED_ITEMS, count // 2), count - 1}:
            processes = [psutil.Process(), *_workers()]
            used[number] = sum(process.memory_info().rss for process in processes) / 1e6

    _each(workers, videos, count, note)
    settled, last = used.values()
    return round(last - settled, 1)


def _cpu_s() -> tuple[float, float]:
    """Return the CPU seconds of all worker processes, and of this process and all others below."""
    used = {True: 0.0, False: 0.0}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used["spawn_main" in " ".join(process.cmdline())] += times.user + times.system
    return used[True], used[False]


def _workers() -> list[psutil.Process]:
    """Return the actors of the cluster, and their processes."""
    actors = [one for one in psutil.Process().children(recursive=True) if "RayWorker" in one.name()]
    return [one for actor in actors for one in (actor, *actor.children())]
