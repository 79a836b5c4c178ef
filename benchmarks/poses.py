"""People found and speed of the pose stage, for every clip of the corpus.

The script uses one worker with one thread. Frames/s counts analyzed frames (20 per second of
video) per second of processor time. By default it takes the first four clips of each video at most;
--full takes all of them.

    .venv/bin/python benchmarks/poses.py [--full]
"""

import argparse
import csv
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Final

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from annotators.clips.cutting import ClipConfig, cut_clips, scan_video
from annotators.motion.framing import people_at_a_time
from annotators.objects.detector import ObjectDetectors
from annotators.objects.scene import SceneWatch, people_count, scene_objects
from annotators.poses.estimate import PoseConfig, estimate_poses
from annotators.poses.networks.landmarks import PoseModel
from benchmarks.support.corpus import VIDEOS, need_corpus, run_with_corpus
from data.errors import ItemError
from data.video.files import hash_file
from data.video.probe import probe_video
from data.video.reader import open_frames
from flows.settings import asset_path, pose_model_path

NO_TRACK: Final = frozenset({"pour_coffee_hands.mp4", "arm_wrestling.mp4"})
"""Clips that show a torso without a head, and people so near that no joint is placed right."""


def main() -> None:
    """Measure and print; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all clips of every video")
    most_clips = None if parser.parse_args().full else 4

    need_corpus()
    config = PoseConfig()
    with (VIDEOS / "SOURCES.tsv").open(newline="") as file:
        sources = list(csv.DictReader(file, delimiter="\t"))
    wrong: list[str] = []
    frame_rates: list[float] = []
    total_video_s = total_s = 0.0
    print(
        "| clip | people by its source | most people at a time | counted | tracks | things "
        "| frames/s | x real time |"
    )
    print("|---|---|---:|---:|---:|---|---:|---:|")
    detectors = ObjectDetectors.load(asset_path("object_detectors"))
    with PoseModel.load(pose_model_path(None)) as model:
        for source in sources:
            path = VIDEOS / source["file"]
            probe = probe_video(path)
            scan = scan_video(path, probe, ClipConfig())
            clips, _ = cut_clips(hash_file(path), scan, ClipConfig())
            people = counted = tracks = frames = 0
            things: set[str] = set()
            video_s = 0.0
            started_s = time.process_time()
            for clip in clips[:most_clips]:
                with open_frames(
                    path,
                    probe,
                    start_s=clip.start_s,
                    end_s=clip.end_s,
                    sample_fps=config.sample_fps,
                    max_side_px=config.max_side_px,
                ) as reader:
                    images = list(reader)
                frames += len(images)
                video_s += clip.end_s - clip.start_s
                watch = SceneWatch(detectors, config.object_interval_s)
                try:
                    found = estimate_poses(images, clip, probe, config, model, watch)
                except ItemError:
                    found = []
                counted = max(counted, people_count(watch.sightings) or 0)
                things |= {thing.name for thing in scene_objects(watch.sightings)}
                things |= {f"{o.name} at {o.near}" for t in found for o in t.objects}
                if not found:
                    continue
                people = max(people, people_at_a_time(found))
                tracks += len(found)
            seconds = time.process_time() - started_s
            frame_rates.append(frames / seconds)
            total_video_s += video_s
            total_s += seconds
            # "0-1" and the like promise somebody at some time; only "0" promises nobody.
            if (people > 0) != (source["persons"] != "0"):
                wrong.append(source["file"])
            print(
                f"| {source['file']} | {source['persons']} | {people} | {counted} | {tracks} "
                f"| {', '.join(sorted(things))} "
                f"| {frames / seconds:.1f} | {video_s / seconds:.2f} |",
                flush=True,
            )
    result = {
        "name": "poses",
        "figures": {
            "median_frames_per_s": round(statistics.median(frame_rates), 1),
            "x_real_time": round(total_video_s / total_s, 2),
            "clips_unlike_their_source": wrong,
        },
        "targets": {"clips_unlike_their_source": sorted(NO_TRACK)},
        "ok": set(wrong) <= NO_TRACK,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_with_corpus(main)
