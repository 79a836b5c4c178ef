"""The pipeline on the labeled videos, by the same stages that the flow runs, in this process."""

import hashlib
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.motion.describe import MotionDescription
from annotators.motion.pairs import describe_people
from annotators.stages.shards import annotate_dataset
from benchmarks.support.truth.people import FoundTrack
from data.records import PoseTrack
from data.schemas import load_objects, load_track
from data.store.dataset import Dataset
from data.workers.workers import WorkerConfig, Workers
from flows.settings import asset_path

PROJECT: Final = Path(__file__).parents[3]
POSE_CODE: Final = (
    *("annotators/clips", "annotators/poses", "annotators/objects", "annotators/stages/poses.py"),
    *("annotators/stages/clips.py", "data/video"),
)
"""Code that clips, tracks and objects depend on, beside the fields of a track."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a run took.

    Attributes:
        wall_s: wall-clock time.
        cpu_s: processor time of this process and its workers.
    """

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """What the dataset says of one video.

    Attributes:
        name: file name.
        path: the file.
        duration_s: duration, seconds.
        frame_size_px: (width, height).
        coarse: coarse text.
        clips: rows of the table ``clips``.
        tracks: tracks of people.
        annotations: rows of the table ``annotations``.
    """

    name: str
    path: Path
    duration_s: float
    frame_size_px: tuple[int, int]
    coarse: str
    clips: tuple[dict[str, Any], ...]
    tracks: tuple[FoundTrack, ...]
    annotations: tuple[dict[str, Any], ...]

    def annotations_of(self, found: FoundTrack) -> list[dict[str, Any]]:
        """Return the annotations of a track."""
        return [
            row
            for row in self.annotations
            if (row["clip_id"], row["track_id"]) == (found.clip_id, found.track.track_id)
        ]

    def describe(self) -> dict[FoundTrack, MotionDescription]:
        """Return the descriptions of all tracks with joints, as the text stages describe them."""
        described: dict[FoundTrack, MotionDescription] = {}
        for clip in self.clips:
            together = [
                found
                for found in self.tracks
                if found.clip_id == clip["clip_id"] and found.track.boxes is None
            ]
            things = tuple(
                thing
                for other in self.clips
                if other["shot_index"] == clip["shot_index"]
                for thing in load_objects(other)
            )
            told = describe_people([f.track for f in together], self.frame_size_px, things)
            described.update(zip(together, told, strict=True))
        return described


def annotate(
    videos: Sequence[Path], dataset: Path, pose_model: Path, poses_from: Path | None
) -> Seconds:
    """Annotate videos into a new dataset.

    Args:
        videos: the files.
        dataset: folder of the new dataset.
        pose_model: file of the pose model.
        poses_from: dataset whose clips and poses are reused; None: they are computed.
    """
    config = AnnotateConfig(
        videos=() if poses_from else tuple(map(str, videos)), dataset=dataset, poses_from=poses_from
    )
    started_s, cpu_s = time.monotonic(), _cpu_s()
    workers = Workers(WorkerConfig())
    try:
        worked = annotate_dataset(
            config, pose_model, workers, NO_MODELS, object_detectors=asset_path("object_detectors")
        )
    finally:
        workers.close()
    if worked.failures:
        raise worked.failures[0]
    return Seconds(time.monotonic() - started_s, _cpu_s() - cpu_s)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def annotate_with_cache(
    videos: Sequence[Path], dataset: Path, pose_model: Path, cache: Path
) -> Seconds:
    """Annotate videos; tracks are reused from the cache while the code that makes them is the same.

    Returns:
        What it took, with the time that the reused tracks took when they were made.
    """
    kept = cache / pose_code_hash(videos, pose_model)
    told = kept / "seconds.json"
    if not told.exists():
        seconds = annotate(videos, kept / "dataset", pose_model, None)
        told.write_text(json.dumps([seconds.wall_s, seconds.cpu_s]))
    poses = Seconds(*json.loads(told.read_text()))
    annotate(videos, dataset, pose_model, kept / "dataset")
    return poses


def pose_code_hash(videos: Sequence[Path], pose_model: Path) -> str:
    """Return a hash of the code, the model and the files that tracks depend on."""
    digest = hashlib.sha256(" ".join(PoseTrack.__dataclass_fields__).encode())
    for place in (PROJECT / name for name in POSE_CODE):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes() if path.exists() else b"")
    for path in (pose_model, *videos):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:12]


def read_told(dataset: Path) -> dict[str, Told]:
    """Read what a dataset says of its videos, by file name."""
    opened = Dataset(dataset)
    videos = list(opened.rows("videos"))
    told: dict[str, Told] = {}
    for video in videos:
        where = {"video_id": [video["video_id"]]}
        path = Path(video["path"])
        told[path.name] = Told(
            name=path.name,
            path=path,
            duration_s=video["duration_s"],
            frame_size_px=(video["width_px"], video["height_px"]),
            coarse=video["coarse"],
            clips=tuple(sorted(opened.rows("clips", where=where), key=lambda r: r["start_s"])),
            tracks=tuple(
                FoundTrack(row["clip_id"], load_track(row))
                for row in opened.rows("poses", where=where)
            ),
            annotations=tuple(opened.rows("annotations", where=where)),
        )
    return told
