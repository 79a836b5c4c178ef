"""What the pipeline says of the real clips, compared with what a careful viewer saw.

Annotates the clips of the corpus as the flow does, without Prefect, and compares people, events,
activities and texts with `videos/events.jsonl`. Into the folder --out go the report, the dataset,
and pictures of every missed main event, false event, invented person and identity slip.
With --cache, clips and tracks are reused as long as the code that makes them is the same; with
--poses-from, those of a dataset are used in any case, such as DIR/dataset of an earlier run.

    .venv/bin/python benchmarks/video_truth.py [--out DIR] [--cache DIR] [--videos NAME ...]
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.support.corpus import VIDEOS, need_corpus, run_with_corpus
from benchmarks.support.truth.compare import TARGETS, VideoTruth, compare, figures_of, meets_targets
from benchmarks.support.truth.labels import load_labels
from benchmarks.support.truth.report import details, table, write_pictures
from benchmarks.support.truth.run import Seconds, annotate, annotate_with_cache, read_told
from flows.settings import pose_model_path


def main() -> None:
    """Compare and print; the last line is the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder of the report and the pictures")
    parser.add_argument("--cache", type=Path, help="folder of tracks for the next run")
    parser.add_argument("--poses-from", type=Path, help="dataset whose tracks are used as they are")
    parser.add_argument("--videos", nargs="+", help="names of the videos; all by default")
    parser.add_argument("--labels", type=Path, help="folder of videos with events.jsonl")
    parser.add_argument("--no-pictures", action="store_true", help="only the report")
    arguments = parser.parse_args()

    if arguments.labels is None:
        need_corpus()
    folder = (arguments.labels or VIDEOS).resolve()
    labels = {
        name: people
        for name, people in load_labels(folder).items()
        if arguments.videos is None or name in arguments.videos
    }
    files = [folder / name for name in labels]
    with tempfile.TemporaryDirectory() as temporary:
        out = (arguments.out or Path(temporary)).resolve()
        dataset = out / "dataset"
        shutil.rmtree(dataset, ignore_errors=True)
        model = pose_model_path(None)
        if arguments.poses_from is not None or arguments.cache is None:
            seconds = annotate(files, dataset, model, arguments.poses_from)
            seconds = None if arguments.poses_from else seconds
        else:
            seconds = annotate_with_cache(files, dataset, model, arguments.cache.resolve())
        told = read_told(dataset)
        if lost := [name for name in labels if name not in told]:
            sys.exit(f"error: expected all videos in {dataset}, found none of {', '.join(lost)}")
        videos = [compare(told[name], people) for name, people in labels.items()]
        pictures = arguments.out is not None and not arguments.no_pictures
        report(videos, seconds, out, pictures=pictures)


def report(
    videos: Sequence[VideoTruth], seconds: Seconds | None, out: Path, *, pictures: bool
) -> None:
    """Print and write the report.

    Args:
        videos: the comparisons.
        seconds: what the pipeline took; None if tracks of another run were used.
        out: folder of the report and the pictures.
        pictures: whether to write pictures.
    """
    figures = figures_of(videos)
    video_s = sum(video.told.duration_s for video in videos)
    if seconds is not None:
        figures["seconds_per_video_second"] = round(seconds.wall_s / video_s, 2)
        figures["cpu_seconds_per_video_second"] = round(seconds.cpu_s / video_s, 2)
    text = "\n\n".join([table(videos), *(details(video) for video in videos)])
    (out / "report.md").write_text(f"{text}\n", encoding="utf-8")
    print(text)
    if pictures:
        shutil.rmtree(out / "pictures", ignore_errors=True)
        for video in videos:
            write_pictures(video, out / "pictures")
    result = {
        "name": "video_truth",
        "figures": figures,
        "targets": TARGETS,
        "ok": meets_targets(figures),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_with_corpus(main)
