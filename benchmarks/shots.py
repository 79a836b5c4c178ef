"""F1 and speed of shot detection, against PySceneDetect's AdaptiveDetector on the same files.

    .venv/bin/python benchmarks/shots.py [--full]

Real clips are those of ``../shared/data/videos``; a cut is right if it is at most one frame off.
Speed is measured on the whole folder, decoding and detection together, with each tool as it is
normally run: this project with one video per worker process, PySceneDetect with one video after
another and the threads of its decoder. Two more figures separate the effect of the processes:
PySceneDetect in the same workers, and this project in one process. Repeats alternate between the
tools, so that both meet the same load, and the best one counts.

Synthetic videos (``synthetic_shots.py``) are made from the real clips. A dissolve or fade is found
if a cut lies anywhere inside it. Thresholds were tuned on videos made from one half of the clips
("tuning"); the result is that on the other half ("held-out").
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scenedetect import AdaptiveDetector, detect
from synthetic_shots import Synthetic, Transition, load_source, make_videos

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from annotators.clips.cutting import ClipConfig, scan_video
from benchmarks.support.corpus import VIDEOS, need_corpus, run_with_corpus
from data.errors import ItemError
from data.video.probe import probe_video
from data.workers.workers import WorkerConfig, Workers

TRUE_CUTS: Final = {
    "bikes_multishot.mp4": (30, 76, 137, 187, 242),
    "composite_a_multishot.mp4": (100, 141, 241, 316),
}
TARGETS: Final = {"f1_gain": 0.0, "speed_ratio": 2.0}
SEEDS: Final = {"tuning": 1, "held-out": 2}

Detector = Callable[[Path], tuple[int, list[int]]]
FolderRun = Callable[[Sequence[Path], Workers], dict[Path, tuple[int, list[int]]]]


def run_ours(path: Path) -> tuple[int, list[int]]:
    """Return the frames and cuts of this project; the time includes the packet scan."""
    scan = scan_video(path, probe_video(path), ClipConfig())
    return scan.num_frames, [shot.start_frame for shot in scan.shots[1:]]


def run_baseline(path: Path) -> tuple[int, list[int]]:
    """Return the frames and cuts of PySceneDetect with its default settings and backend."""
    scenes = detect(str(path), AdaptiveDetector(), start_in_scene=True)
    return scenes[-1][1].frame_num, [start.frame_num for start, _ in scenes[1:]]


def one_after_another(detector: Detector) -> FolderRun:
    """Process the videos in this process; the decoder may use threads."""
    return lambda videos, _: {video: detector(video) for video in videos}


def in_workers(detector: Detector) -> FolderRun:
    """Process the videos in one process per core, as the flow does."""

    def run(videos: Sequence[Path], workers: Workers) -> dict[Path, tuple[int, list[int]]]:
        results: dict[Path, tuple[int, list[int]]] = {}
        for video, result in workers.run(detector, videos, video_s=lambda _: 60.0):
            if isinstance(result, ItemError):
                raise result
            results[video] = result
        return results

    return run


DETECTORS: Final[dict[str, Detector]] = {"ours": run_ours, "pyscenedetect": run_baseline}
RUNS: Final[dict[str, FolderRun]] = {
    "ours": in_workers(run_ours),
    "ours, one process": one_after_another(run_ours),
    "pyscenedetect": one_after_another(run_baseline),
    "pyscenedetect in workers": in_workers(run_baseline),
}


@dataclass(slots=True)
class Tally:
    """Counts of right, missed and false cuts over many videos."""

    true: Counter[str] = field(default_factory=Counter[str])
    hit: Counter[str] = field(default_factory=Counter[str])
    num_false: int = 0

    def add(self, transitions: Sequence[Transition], cuts: Iterable[int]) -> int:
        """Count one video, where a cut matches at most one transition; return the false cuts."""
        left = sorted(cuts)
        for transition in transitions:
            self.true[transition.kind] += 1
            match = next((c for c in left if transition.first <= c <= transition.last), None)
            if match is not None:
                self.hit[transition.kind] += 1
                left.remove(match)
        self.num_false += len(left)
        return len(left)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        num_hit = self.hit.total()
        return 2 * num_hit / (num_hit + self.num_false + self.true.total())

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {self.hit[kind]}/{self.true[kind]}" for kind in self.true)
        return f"F1 {self.f1:.3f}  false {self.num_false}  found: {kinds}"


def compare_real(repeats: int, folder: Path) -> dict[str, float]:
    """Print tables over the real clips; return the figures."""
    videos = [p for p in VIDEOS.iterdir() if p.suffix not in {".tsv", ".json"}]
    # Longest work first, as the pipeline does it.
    videos.sort(key=lambda p: p.stat().st_size, reverse=True)
    best_s = dict.fromkeys(RUNS, float("inf"))
    found: dict[str, dict[str, tuple[int, list[int]]]] = {}
    with Workers(WorkerConfig()) as workers:
        for run in RUNS.values():  # starts the processes and loads the libraries
            run([videos[-1]] * workers.config.resolved_num_workers, workers)
        for repeat in range(repeats):
            # Under a new name each time: the reader remembers what it found in a file's packets.
            copies = [Path(shutil.copyfile(p, folder / f"{repeat}_{p.name}")) for p in videos]
            for name, run in RUNS.items():
                started = time.perf_counter()
                results = run(copies, workers)
                best_s[name] = min(best_s[name], time.perf_counter() - started)
                found[name] = {
                    video.name: results[c] for video, c in zip(videos, copies, strict=True)
                }
            for copy in copies:
                copy.unlink()

    tallies = {name: Tally() for name in ("ours", "pyscenedetect")}
    print(f"{'clip':28} {'frames':>6}  ours | pyscenedetect")
    for video in sorted(video.name for video in videos):
        truth = [Transition("hard", c - 1, c + 1) for c in TRUE_CUTS.get(video, ())]
        for name, tally in tallies.items():
            tally.add(truth, found[name][video][1])
        frames, cuts = found["ours"][video]
        print(f"{video:28} {frames:6}  {cuts} | {found['pyscenedetect'][video][1]}")
    for name, tally in tallies.items():
        print(f"real, {name}: {tally}")
    num_frames = sum(frames for frames, _ in found["ours"].values())
    for name, seconds in best_s.items():
        print(f"{name:30} {seconds:6.2f} s {num_frames / seconds:6.0f} frames/s")
    return {
        "f1": tallies["ours"].f1,
        "f1_pyscenedetect": tallies["pyscenedetect"].f1,
        "frames_per_s": num_frames / best_s["ours"],
        "speed_ratio": best_s["pyscenedetect"] / best_s["ours"],
        "speed_ratio_both_in_workers": best_s["pyscenedetect in workers"] / best_s["ours"],
        "speed_ratio_ours_in_one_process": best_s["pyscenedetect"] / best_s["ours, one process"],
    }


def compare_synthetic(count: int) -> dict[str, float]:
    """Print tallies over made videos; return the figures."""
    clips = sorted(
        p
        for p in VIDEOS.iterdir()
        if p.suffix not in {".tsv", ".json"}
        and "multishot" not in p.name
        and "5frames" not in p.name
    )
    figures: dict[str, float] = {}
    for half, (name, seed) in enumerate(SEEDS.items()):
        with TemporaryDirectory() as folder:
            sources = [load_source(path) for path in clips[half::2]]
            videos: list[Synthetic] = make_videos(sources, Path(folder), count, seed)
            for detector_name, detector in DETECTORS.items():
                tally = Tally()
                for video in videos:
                    tally.add(video.transitions, detector(video.path)[1])
                print(f"synthetic, {name}, {detector_name}: {tally}")
                suffix = "" if detector_name == "ours" else f"_{detector_name}"
                figures[f"f1_{name.replace('-', '_')}{suffix}"] = tally.f1
    return figures


def main() -> None:
    """Run the comparison; the last line printed is its result as JSON."""
    parser = argparse.ArgumentParser(description="Shot detection against PySceneDetect.")
    parser.add_argument("--full", action="store_true", help="more repeats and synthetic videos")
    full: bool = parser.parse_args().full
    need_corpus()
    with TemporaryDirectory() as folder:
        figures = compare_real(repeats=5 if full else 3, folder=Path(folder))
    figures |= compare_synthetic(count=60 if full else 15)
    figures["f1_gain"] = figures["f1"] - figures["f1_pyscenedetect"]
    ok = all(figures[name] >= target for name, target in TARGETS.items())
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"name": "shots", "figures": rounded, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
