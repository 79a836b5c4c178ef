"""Staged files, in which a stage stores its results so that a killed run can continue."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import TypeAdapter

from data.records import (
    Annotation,
    Caption,
    Clip,
    ClipScene,
    ObjectSpan,
    PoseTrack,
    Rejection,
    VideoProbe,
    VideoScan,
)
from data.schemas import load_track, pose_row
from data.store.manifest import DatasetError, require_file_id
from data.store.parquet import open_parquet, table_rows
from data.store.writer import rows_table, write_table, write_text
from data.video.sources import path_item_id

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """A readable video file.

    Attributes:
        video_id: hash of the content.
        mtime_ns: modification time. An equal path, size and time mean unchanged content.
        probe: result of the packet scan.
        address: where the file was downloaded from, without secrets; empty for a local one.
        source: the same with them, for another download.
    """

    video_id: str
    mtime_ns: int
    probe: VideoProbe
    address: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The path or address that the user knows; rows and messages show it."""
        return self.address or str(self.probe.path)


@dataclass(frozen=True, slots=True)
class StagedScan:
    """Result of the clips stage for one video; ``scan`` is None if the video was rejected."""

    video: SourceVideo
    scan: VideoScan | None
    clips: tuple[Clip, ...]
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class StagedPoses:
    """Result of the poses stage for one clip. Its tracks are in a Parquet file beside it."""

    clip: Clip
    num_people: int
    num_tracks: int
    decoder: str
    quality: float
    issues: tuple[str, ...]
    rejection: Rejection | None


@dataclass(frozen=True, slots=True)
class StagedCaptions:
    """Result of the captions stage for one video, with the rejections of clips without a text."""

    captions: tuple[Caption, ...]
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class StagedAnnotations:
    """Result of the annotations stage for one video, with rejections of clips without a text."""

    coarse: str
    annotations: tuple[Annotation, ...]
    rejections: tuple[Rejection, ...] = ()


def write_staged(path: Path, record: Any) -> None:
    """Write a record atomically."""
    adapter = TypeAdapter[Any](type(record))
    write_text(path, adapter.dump_json(record).decode())


def load_staged(kind: type[Record], path: Path) -> Record | None:
    """Read a record; None if there is none."""
    return TypeAdapter(kind).validate_json(path.read_bytes()) if path.exists() else None


def read_staged(kind: type[Record], path: Path) -> Record:
    """Read a record that an earlier stage has written."""
    record = load_staged(kind, path)
    if record is None:
        raise AssertionError(f"{path}: expected staged work, found none")
    return record


def probe_path(work: Path, path: Path) -> Path:
    """Return the path of the result of the ingest stage for a file."""
    return work / "probes" / f"{path_item_id(path)}.json"


def video_path(work: Path, stage: str, video_id: str) -> Path:
    """Return the path of a result by video: ``scans``, ``captions`` or ``annotations``."""
    return work / stage / f"{require_file_id(video_id)}.json"


def lacks(scan: StagedScan, stage: str, work: Path) -> bool:
    """Whether the result of a text stage is missing; rejected videos have none."""
    return scan.scan is not None and not video_path(work, stage, scan.video.video_id).exists()


def poses_path(work: Path, clip: Clip) -> Path:
    """Return the path of the result of the poses stage for a clip."""
    return work / "poses" / f"{require_file_id(clip.clip_id)}.json"


def tracks_path(work: Path, clip: Clip) -> Path:
    """Return the path of a clip's rows of the ``poses`` table; no such file without people."""
    return work / "poses" / f"{require_file_id(clip.clip_id)}.parquet"


def read_tracks(work: Path, clip: Clip) -> pa.Table:
    """Read and verify the staged tracks of a clip with people.

    Raises:
        DatasetError: the file is damaged or missing.
    """
    path = tracks_path(work, clip)
    try:
        with open_parquet(path) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path}: expected the staged tracks of a clip, found: "
            f"{' '.join(str(error).split())[:200]} Remedy: delete {poses_path(work, clip).name} "
            "beside it, and run the same command again, which tracks the people of that clip anew."
        ) from error


def write_tracks(work: Path, clip: Clip, tracks: Sequence[PoseTrack], pose_model: str) -> None:
    """Stage the tracks of a clip with people.

    Args:
        work: folder of staged work.
        clip: the clip.
        tracks: at least one track.
        pose_model: name of the pose model.
    """
    table = rows_table("poses", [pose_row(clip, track, pose_model) for track in tracks])
    write_table(tracks_path(work, clip), "poses", table)


def load_tracks(work: Path, clip: Clip) -> list[PoseTrack]:
    """Load the staged tracks of a clip; none without people.

    Raises:
        DatasetError: the file is damaged.
    """
    if not tracks_path(work, clip).exists():
        return []
    return [load_track(row) for row in table_rows(read_tracks(work, clip))]


def scene_path(work: Path, clip: Clip) -> Path:
    """Return the path of what a clip shows beside its tracks; no such file if it is not known."""
    return work / "scenes" / f"{require_file_id(clip.clip_id)}.json"


def read_scene(work: Path, clip: Clip) -> ClipScene | None:
    """Read what a clip shows beside its tracks; None if it is not known."""
    return load_staged(ClipScene, scene_path(work, clip))


def read_things(work: Path, clip: Clip, clips: Iterable[Clip]) -> tuple[ObjectSpan, ...]:
    """Return the objects of the scene in a clip and in the other clips of its shot."""
    scenes = (read_scene(work, other) for other in clips if other.shot_index == clip.shot_index)
    return tuple(thing for scene in scenes if scene is not None for thing in scene.objects)


def staged_files(scan: StagedScan, work: Path) -> list[Path]:
    """Return the paths of all staged files of a video; the scan is the last one."""
    video_id = scan.video.video_id
    return [
        *(
            path
            for clip in scan.clips
            for path in (
                poses_path(work, clip),
                tracks_path(work, clip),
                scene_path(work, clip),
            )
        ),
        probe_path(work, scan.video.probe.path),
        *(video_path(work, stage, video_id) for stage in ("captions", "annotations", "scans")),
    ]
