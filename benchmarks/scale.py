"""Seconds and peak memory of operations on a whole dataset, at 1e3, 1e4 and 1e5 clips.

The store's own writer makes the datasets: ten clips per video, one track of 160 frames per clip,
and 5,000 clips per publication. All tracks are equal, so that zstd keeps 1e5 clips (8.8 GB of
joints) small: every byte is decoded, but the disk is used less than with a real dataset. Videos are
files of a few bytes, of which a run without new videos reads only name, size and time. Each figure
is from a separate process; loading modules counts toward memory, but not toward seconds. Growth is
judged by CPU seconds, which other work on the machine affects less than wall-clock time.

- noop: the work of the flow when nothing is new, without Prefect: ingest, an empty publication, the
  counts of the summary, and the choice of the preview's clip.
- append: one more video. replace: the rows of one video in the middle are replaced.
- pandas: clips and annotations as DataFrames (the joints of 1e5 clips do not fit into memory).
- motions: the first row of the import of the dataset's motions.
- preview: all of `picture` except decoding the video.

    .venv/bin/python benchmarks/scale.py [--clips 1000 10000 100000]

With --cluster it compares runs on clusters of one and two machines (`support/cluster_scale.py`):

    .venv/bin/python benchmarks/scale.py --cluster [--videos 16] [--items 1000]
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa

from annotators.config import AnnotateConfig
from annotators.motion.from_tracks import find_video_motions
from annotators.pictures.preview import best_clip
from annotators.run import Run
from annotators.stages.ingest import ingest_files
from annotators.stages.publish import publish_videos
from benchmarks.support.separate import measured, print_measured
from data.motion.skeleton import FPS
from data.motion_records import Pending
from data.schemas import CODE_VERSION, SCHEMA_VERSION, SCHEMAS
from data.store.dataset import Dataset
from data.store.writer import open_writer
from data.workers.workers import WorkerConfig, Workers

FRAMES, JOINTS = 160, 22
CLIPS_PER_VIDEO, CLIPS_PER_PUBLICATION = 10, 5_000
MAX_NOOP_MB = 1_000.0
SLACK = 1.5
"""Maximum relative to linear growth: ten times the clips may take fifteen times as long."""
FLOOR_S = 0.2
"""Shorter times vary too much between runs to be compared."""


def item_id(kind: str, number: int) -> str:
    """Return an id like a real one: a hash, so that ids are in no order."""
    return hashlib.sha256(f"{kind}:{number}".encode()).hexdigest()[:16]


def table(name: str, columns: dict[str, Any], rows: int) -> pa.Table:
    """Make a table of the schema; columns that are not given are null, lists empty."""
    filled = {"schema_version": [SCHEMA_VERSION] * rows, "code_version": [CODE_VERSION] * rows}
    filled |= columns
    return pa.table(
        [
            filled[field.name]
            if isinstance(filled.get(field.name), pa.Array)
            else pa.array(filled[field.name], field.type)
            if field.name in filled
            else pa.array([[]] * rows, field.type)
            if pa.types.is_list(field.type)
            else pa.nulls(rows, field.type)
            for field in SCHEMAS[name]
        ],
        schema=SCHEMAS[name],
    )


def repeated(values: np.ndarray[Any, Any], rows: int, kind: pa.DataType) -> pa.Array:
    """Make a list column whose rows are all equal."""
    offsets = pa.array(np.arange(rows + 1) * values.size, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.tile(values.ravel(), rows)), type=kind)


def poses(clip_ids: list[str], video_ids: list[str]) -> pa.Table:
    """Make one track of smooth motion for each clip."""
    rows, schema = len(clip_ids), SCHEMAS["poses"]
    time_T = np.arange(FRAMES) / FPS
    joints_TJ3 = np.sin(time_T[:, None, None] + np.arange(JOINTS * 3).reshape(1, JOINTS, 3))
    arrays = {
        "joints_3d": joints_TJ3.astype(np.float32),
        "root_trajectory": joints_TJ3[:, 0].astype(np.float32),
        "joints_2d": joints_TJ3[..., :2].astype(np.float32),
        "confidence": np.ones((FRAMES, JOINTS), np.float32),
        "valid": np.ones(FRAMES, np.bool_),
        "pts_s": time_T,
    }
    columns: dict[str, Any] = {
        name: repeated(values, rows, schema.field(name).type) for name, values in arrays.items()
    }
    columns |= {
        "clip_id": clip_ids,
        "video_id": video_ids,
        "track_id": [0] * rows,
        "num_frames": [FRAMES] * rows,
        "num_joints": [JOINTS] * rows,
        "quality": [0.9] * rows,
        "pose_model": ["full"] * rows,
    }
    return table("poses", columns, rows)


def rows_of(first: int, videos: Path, count: int) -> dict[str, pa.Table]:
    """Make all rows of ``count`` videos from number ``first`` on, and the video files."""
    numbers = range(first, first + count)
    video_ids = [item_id("video", n) for n in numbers]
    files = [videos / f"{n // 1000:04d}" / f"{n:07d}.mp4" for n in numbers]
    for file, video_id in zip(files, video_ids, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(video_id)
    clip_ids = [item_id(f"clip {v}", c) for v in video_ids for c in range(CLIPS_PER_VIDEO)]
    of_clips = [v for v in video_ids for _ in range(CLIPS_PER_VIDEO)]
    begins = list(range(0, 8 * CLIPS_PER_VIDEO, 8)) * count
    span = {"start_s": begins, "end_s": [b + 8 for b in begins]}
    ids = {"clip_id": clip_ids, "video_id": of_clips}
    rows = len(clip_ids)
    success = {"outcome": ["success"] * rows}
    told = [f"A person of clip {clip_id} walks forwards and waves." for clip_id in clip_ids]
    steps = [
        [{"text": text, "start_s": b, "end_s": b + 8.0, "grounding": None}] * 3
        for text, b in zip(told, begins, strict=True)
    ]
    return {
        "videos": table(
            "videos",
            {
                "video_id": video_ids,
                "path": [str(file) for file in files],
                "size_bytes": [file.stat().st_size for file in files],
                "mtime_ns": [file.stat().st_mtime_ns for file in files],
            },
            count,
        ),
        "clips": table("clips", {**ids, **span, "quality": [0.9] * rows}, rows),
        "poses": poses(clip_ids, of_clips),
        "captions": table("captions", {**ids, **success, "text": told}, rows),
        "annotations": table(
            "annotations",
            {
                **ids,
                **span,
                **success,
                "track_id": [0] * rows,
                "coarse": told,
                "medium": [[text] for text in told],
                "fine": steps,
                "annotator": ["rules"] * rows,
            },
            rows,
        ),
    }


def config_of(root: Path) -> AnnotateConfig:
    """Return the configuration of a run over all videos of a dataset."""
    return AnnotateConfig(
        videos=(str(root.parent / "videos"),),
        dataset=root,
        workers=WorkerConfig(num_workers=1),
    )


def recipe_of(root: Path) -> dict[str, Any]:
    """Return the recipe of :func:`config_of`."""
    return config_of(root).recipe("0" * 64)


def make(root: Path, clips: int) -> None:
    """Make a dataset through the store's own writer."""
    videos = clips // CLIPS_PER_VIDEO
    with open_writer(root, recipe_of(root)) as writer:
        for first in range(0, videos, CLIPS_PER_PUBLICATION // CLIPS_PER_VIDEO):
            count = min(CLIPS_PER_PUBLICATION // CLIPS_PER_VIDEO, videos - first)
            writer.publish(rows_of(first, root.parent / "videos", count))


# ------------------------------------------------------------------------------ what is timed


def noop(root: Path) -> None:
    """Run without new videos."""
    config = config_of(root)
    with open_writer(root, recipe_of(root)) as writer, Workers(config.workers) as workers:
        (shard,) = ingest_files(Run(config, writer.work, workers), writer.published())
        ingested = shard.found
        if ingested.videos or ingested.rejections:
            raise AssertionError("expected that every video is known")
        if publish_videos(writer, ingested, []) is not None:
            raise AssertionError("expected nothing to publish")
    dataset = Dataset(root)
    dataset.counts("rejections", "reason")
    for name in ("captions", "annotations"):
        dataset.counts(name, "outcome")
    preview(root)


def append(root: Path) -> None:
    """Add one video."""
    number = Dataset(root).num_rows("videos")
    with open_writer(root, recipe_of(root)) as writer:
        writer.publish(rows_of(number, root.parent / "videos", 1))


def replace(root: Path) -> None:
    """Replace a video in the middle."""
    number = Dataset(root).num_rows("videos") // 2
    with open_writer(root, recipe_of(root)) as writer:
        removed = writer.publish(
            rows_of(number, root.parent / "videos", 1),
            replace_videos=[item_id("video", number)],
        ).removed
    if removed.get("poses") != CLIPS_PER_VIDEO:
        raise AssertionError(f"expected {CLIPS_PER_VIDEO} replaced tracks, found {removed}")


def pandas(root: Path) -> None:
    """Read clips and annotations as DataFrames."""
    clips = pd.read_parquet(root / "clips")
    if len(pd.read_parquet(root / "annotations")) != len(clips):
        raise AssertionError("expected one annotation a clip")


def motions(root: Path) -> None:
    """Read the first motion."""
    first = next(iter(find_video_motions(root)))
    if not isinstance(first, Pending) or len(first.read().texts) != 5:
        raise AssertionError(f"expected a motion with five texts, found {first}")


def preview(root: Path) -> None:
    """Choose the clip of the preview, and read it."""
    clip = best_clip(Dataset(root))
    if clip is None or len(clip.tracks) != 1:
        raise AssertionError(f"expected a clip with one track, found {clip}")


CASES: dict[str, Callable[[Path], None]] = {
    "noop": noop,
    "pandas": pandas,
    "motions": motions,
    "preview": preview,
    "append": append,
    "replace": replace,
}


def measure(case: str, root: Path) -> None:
    """Run one case, or make a dataset of so many rows, in this process, and print its figures."""
    print_measured(lambda: make(root, int(case)) if case.isdecimal() else CASES[case](root))


def main() -> None:
    """Run all cases, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--case", nargs=2, metavar=("CASE", "DATASET"), help=argparse.SUPPRESS)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--items", type=int, default=1_000)
    arguments = parser.parse_args()
    if arguments.cluster:
        # It imports Ray, which each measured case would start with.
        from benchmarks.support.cluster_scale import measure_cluster  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            result = measure_cluster(Path(folder), arguments.videos, arguments.items)
            print(json.dumps(result))
        return
    if arguments.case:
        measure(arguments.case[0], Path(arguments.case[1]))
        return
    found: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for clips in arguments.clips:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            root = Path(folder) / "dataset"
            made = measured(__file__, str(clips), root)
            size_mb = sum(f.stat().st_size for f in root.rglob("*.parquet")) / 1e6
            print(f"{clips} clips: made in {made['seconds']:.1f} s, {size_mb:.0f} MB", flush=True)
            for case, figures in found.items():
                figures.append(measured(__file__, case, root))
                last = figures[-1]
                times = f"{last['seconds']:8.2f} s {last['cpu_s']:8.2f} s CPU"
                print(f"  {case:8} {times} {last['peak_mb']:7.0f} MB", flush=True)
    figures = {
        f"{case}_{name}_{clips}": one[name]
        for case, measurements in found.items()
        for clips, one in zip(arguments.clips, measurements, strict=True)
        for name in ("seconds", "cpu_s", "peak_mb")
    }
    growth = max(
        (
            after["cpu_s"] / max(before["cpu_s"], FLOOR_S) / (many / few)
            for measurements in found.values()
            for before, after, few, many in zip(
                measurements, measurements[1:], arguments.clips, arguments.clips[1:], strict=False
            )
        ),
        default=0.0,
    )
    noop_mb = found["noop"][-1]["peak_mb"]
    result = {
        "name": "scale",
        "figures": {**figures, "growth_over_linear": round(growth, 3), "noop_peak_mb": noop_mb},
        "targets": {"growth_over_linear": SLACK, "noop_peak_mb": MAX_NOOP_MB},
        "ok": growth <= SLACK and noop_mb < MAX_NOOP_MB,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
