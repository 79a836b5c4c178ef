"""Shot detection against PySceneDetect's AdaptiveDetector: F1 and speed, on the same files.

    .venv/bin/python benchmarks/shots.py [--full]

Real clips: ``../shared/data/videos``; a cut is right when it is at the true frame or one beside it.
Speed is decoding and detection together, in one process each after the other, both free to use all
cores; the best of repeats that alternate between the two, so that both meet the same machine. On a
busy machine the ratio of CPU times is the steadier figure, and the one that counts where as many
workers run as there are cores.

Synthetic videos (``synthetic_shots.py``) are made from the real clips. A dissolve or fade is right
when a cut lies anywhere inside it. Thresholds were tuned on videos made from one half of the clips
("tuning"); the figure that counts is on the other half ("held-out").
"""

import argparse
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scenedetect import AdaptiveDetector, detect
from synthetic_shots import Synthetic, Transition, load_source, make_videos

from annotators.clips import ClipConfig, scan_video
from data.video import probe_video

VIDEOS_DIR: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "videos"
TRUE_CUTS: Final = {
    "bikes_multishot.mp4": (30, 76, 137, 187, 242),
    "composite_a_multishot.mp4": (100, 141, 241, 316),
}
TARGETS: Final = {"f1_gain": 0.0, "speed_ratio": 2.0}
SEEDS: Final = {"tuning": 1, "held-out": 2}

Detector = Callable[[Path], tuple[int, list[int]]]


def run_ours(path: Path) -> tuple[int, list[int]]:
    """Frames and cuts by this project; the packet scan counts too."""
    scan = scan_video(path, probe_video(path), ClipConfig())
    return scan.num_frames, [shot.start_frame for shot in scan.shots[1:]]


def run_baseline(path: Path) -> tuple[int, list[int]]:
    """Frames and cuts by PySceneDetect with its default settings and backend."""
    scenes = detect(str(path), AdaptiveDetector(), start_in_scene=True)
    return scenes[-1][1].frame_num, [start.frame_num for start, _ in scenes[1:]]


DETECTORS: Final[dict[str, Detector]] = {"ours": run_ours, "pyscenedetect": run_baseline}


@dataclass(slots=True)
class Tally:
    """Right, missed and false cuts over many videos."""

    true: Counter[str] = field(default_factory=Counter[str])
    hit: Counter[str] = field(default_factory=Counter[str])
    num_false: int = 0

    def add(self, transitions: Sequence[Transition], cuts: Iterable[int]) -> int:
        """Count one video: each cut explains one transition at most. Returns the false ones."""
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
    """Print a table over the real clips; return the figures."""
    tallies = {name: Tally() for name in DETECTORS}
    total_s = dict.fromkeys(DETECTORS, 0.0)
    total_cpu_s = dict.fromkeys(DETECTORS, 0.0)
    total_frames = 0
    print(
        f"{'clip':28} {'frames':>6} {'ours/s':>8} {'psd/s':>8} {'ratio':>6}  ours | pyscenedetect"
    )
    for path in sorted(p for p in VIDEOS_DIR.iterdir() if p.suffix not in {".tsv", ".json"}):
        best_s = dict.fromkeys(DETECTORS, float("inf"))
        best_cpu_s = dict.fromkeys(DETECTORS, float("inf"))
        cuts: dict[str, list[int]] = {}
        frames = 0
        for repeat in range(repeats):
            # Under a new name each time: the reader remembers what it found in a file's packets.
            copy = Path(shutil.copyfile(path, folder / f"{repeat}_{path.name}"))
            for name, detector in DETECTORS.items():
                started, started_cpu = time.perf_counter(), time.process_time()
                num_frames, cuts[name] = detector(copy)
                best_s[name] = min(best_s[name], time.perf_counter() - started)
                best_cpu_s[name] = min(best_cpu_s[name], time.process_time() - started_cpu)
                if name == "ours":
                    frames = num_frames
            copy.unlink()
        truth = [Transition("hard", c - 1, c + 1) for c in TRUE_CUTS.get(path.name, ())]
        for name in DETECTORS:
            tallies[name].add(truth, cuts[name])
            total_s[name] += best_s[name]
            total_cpu_s[name] += best_cpu_s[name]
        total_frames += frames
        ours_s, baseline_s = best_s["ours"], best_s["pyscenedetect"]
        print(
            f"{path.name:28} {frames:6} {frames / ours_s:8.0f} {frames / baseline_s:8.0f} "
            f"{baseline_s / ours_s:6.2f}  {cuts['ours']} | {cuts['pyscenedetect']}"
        )
    for name, tally in tallies.items():
        print(f"real, {name}: {tally}; {total_frames / total_s[name]:.0f} frames/s")
    return {
        "f1": tallies["ours"].f1,
        "f1_pyscenedetect": tallies["pyscenedetect"].f1,
        "frames_per_s": total_frames / total_s["ours"],
        "frames_per_s_pyscenedetect": total_frames / total_s["pyscenedetect"],
        "speed_ratio": total_s["pyscenedetect"] / total_s["ours"],
        "cpu_time_ratio": total_cpu_s["pyscenedetect"] / total_cpu_s["ours"],
    }


def compare_synthetic(count: int) -> dict[str, float]:
    """Print tallies over made videos; return the figures."""
    clips = sorted(
        p
        for p in VIDEOS_DIR.iterdir()
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
    with TemporaryDirectory() as folder:
        figures = compare_real(repeats=5 if full else 3, folder=Path(folder))
    figures |= compare_synthetic(count=60 if full else 15)
    figures["f1_gain"] = figures["f1"] - figures["f1_pyscenedetect"]
    ok = all(figures[name] >= target for name, target in TARGETS.items())
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"name": "shots", "figures": rounded, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    main()
