"""Clips per second, rows and memory of runs on clusters of one and two machines with one CPU each.

The machines are raylets on this one, whose cores they share: it needs as many idle cores. Videos
are the sample clip, each with another comment in its header, so that their ids differ and their
frames are the same. Clips per second count from the first clip that is posed to the last one,
without the start of workers. Memory and overhead are measured with items that only hash and probe
a file.
"""

import hashlib
import time
from collections.abc import Callable
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
    """When clips were posed."""

    ended_s: list[float] = field(default_factory=list[float])

    def report(self, progress: Progress) -> None:
        if progress.stage == "poses" and progress.done:
            self.ended_s.append(time.monotonic())

    @property
    def clips_per_s(self) -> float:
        return (len(self.ended_s) - 1) / (self.ended_s[-1] - self.ended_s[0])


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
    posed: dict[str, _Poses] = {}
    tables: dict[str, dict[str, list[str]]] = {}
    figures: dict[str, float] = {}

    def annotate(name: str, workers: Workers) -> None:
        posed[name] = _Poses()
        run = config.model_copy(update={"dataset": folder / name})
        annotate_dataset(
            run,
            assets["pose_model"],
            workers,
            NO_MODELS,
            posed[name].report,
            object_detectors=assets["object_detectors"],
        )
        tables[name] = _hashes(run.dataset)
        figures[f"clips_per_s_{name}"] = round(posed[name].clips_per_s, 3)

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
    figures["ratio"] = round(figures["clips_per_s_two"] / figures["clips_per_s_one"], 3)
    same = tables["local"] == tables["one"] == tables["two"]
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


def _workers() -> list[psutil.Process]:
    """Return the actors of the cluster, and their processes."""
    actors = [one for one in psutil.Process().children(recursive=True) if "RayWorker" in one.name()]
    return [one for actor in actors for one in (actor, *actor.children())]
