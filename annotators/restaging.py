"""Published work of a video put back as staged work, so that only its texts are made again.

A service that was away costs texts, not poses: when these are asked for again
(``retry_rejected``), the clips and the people in them need not be looked for twice. Nor need they
when another captioner or annotator writes the texts of a new dataset (``poses_from``).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotators.staging import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    load_staged,
    poses_path,
    tracks_path,
    video_path,
    write_staged,
)
from data.errors import ItemError, Reason, Stage
from data.recipes import MISSING, recipe_differences, told_differences
from data.records import Clip, Rejection, Shot, VideoScan
from data.sources import path_item_id
from data.store import Dataset, DatasetError, write_table

TEXT_STAGES: Final = frozenset({Stage.CAPTIONS, Stage.ANNOTATIONS})
"""Stages whose rejections go away when texts are made again."""

_CLIP_FIELDS = tuple(Clip.__dataclass_fields__)


def restage(published: Dataset, videos: Collection[SourceVideo], work: Path) -> None:
    """Stage scans and poses of published videos as their stages left them.

    Args:
        published: the dataset.
        videos: in it.
        work: the folder of staged work.
    """
    ids = pa.array([video.video_id for video in videos], pa.string())
    rows = {
        table: _by_video(_of_videos(published, table, ids).to_pylist())
        for table in ("videos", "clips", "rejections")
    }
    (work / "poses").mkdir(parents=True, exist_ok=True)
    for part in published.parts("poses"):
        tracks = pq.read_table(part, filters=pc.field("video_id").isin(ids))
        for clip_id in tracks["clip_id"].unique().to_pylist():
            table = tracks.filter(pc.field("clip_id") == clip_id)
            write_table(work / "poses" / f"{clip_id}.parquet", "poses", table)
    for video in videos:
        video_id = video.video_id
        rejections = {
            row["item_id"]: _rejection(row)
            for row in rows["rejections"][video_id]
            if row["stage"] not in TEXT_STAGES
        }
        clips: list[Clip] = []
        for row in sorted(rows["clips"][video_id], key=lambda row: row["start_frame"]):
            clip = Clip(**{name: row[name] for name in _CLIP_FIELDS})
            clips.append(clip)
            staged = StagedPoses(
                clip=clip,
                num_people=row["num_people"],
                num_tracks=row["num_tracks"],
                decoder=row["decoder"],
                quality=row["quality"],
                issues=tuple(row["issues"]),
                rejection=rejections.pop(clip.clip_id, None),
            )
            if not staged.num_tracks:
                tracks_path(work, clip).unlink(missing_ok=True)
            write_staged(poses_path(work, clip), staged)
        (told,) = rows["videos"][video_id]
        # What is left of the rejections is of shots that made no clip.
        scan = StagedScan(video, _scan(told, video), tuple(clips), tuple(rejections.values()))
        write_staged(video_path(work, "scans", video_id), scan)


POSE_STAGES: Final = ("clips", "poses", "pose_model")
"""Sections of a recipe that decide the rows of ``clips`` and ``poses``."""


def require_same_poses(root: Path, recipe: Mapping[str, Any]) -> None:
    """Refuse to take clips and poses over that another configuration would have made.

    Args:
        root: the dataset that has them.
        recipe: of the dataset that takes them.

    Raises:
        data.store.DatasetError: there is no dataset, or its clips and poses were made otherwise.
    """
    made_with = Dataset(root).manifest["recipe"]
    differing = recipe_differences(
        {stage: made_with.get(stage, MISSING) for stage in POSE_STAGES},
        {stage: recipe.get(stage, MISSING) for stage in POSE_STAGES},
    )
    if differing:
        raise DatasetError(
            f"{root}: its clips and poses cannot be taken, they were made with another "
            f"configuration: {told_differences(differing)}. "
            "Remedy: give the same configuration of clips, poses and pose model, or annotate "
            "without --poses-from."
        )


def restage_from(
    source: Dataset, videos: Sequence[SourceVideo], work: Path
) -> dict[str, Rejection]:
    """Stage clips and poses of another dataset for the videos that it holds.

    Args:
        source: that dataset.
        videos: to be annotated, found in it by their content.
        work: the folder of staged work; what an earlier run staged there is kept.

    Returns:
        Rejections of the videos that it does not hold, by ``video_id``.
    """
    held = set(source.read("videos", ["video_id"])["video_id"].to_pylist())
    found = [video for video in videos if video.video_id in held]
    restage(source, [video for video in found if not _is_staged(video, work)], work)
    return {v.video_id: _stranger(v, source) for v in videos if v.video_id not in held}


def _stranger(video: SourceVideo, source: Dataset) -> Rejection:
    path = video.probe.path
    error = ItemError(
        Reason.NOT_FOUND,
        f"expected its content among the videos of {source.root}, found other content.",
        "Annotate it into that dataset first, or leave it out.",
    )
    return Rejection.of(path_item_id(path), str(path), Stage.INGEST, error)


def _is_staged(video: SourceVideo, work: Path) -> bool:
    scan = load_staged(StagedScan, video_path(work, "scans", video.video_id))
    return scan is not None and all(poses_path(work, clip).exists() for clip in scan.clips)


def _of_videos(published: Dataset, table: str, ids: pa.Array) -> pa.Table:
    return published.read(table).filter(pc.field("video_id").isin(ids))


def _by_video(rows: list[dict[str, Any]]) -> defaultdict[str, list[dict[str, Any]]]:
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["video_id"]].append(row)
    return found


def _rejection(row: dict[str, Any]) -> Rejection:
    return Rejection(
        item_id=row["item_id"],
        item=row["item"],
        stage=Stage(row["stage"]),
        reason=Reason(row["reason"]),
        detail=row["detail"],
        remedy=row["remedy"],
    )


def _scan(row: dict[str, Any], video: SourceVideo) -> VideoScan:
    # After the clips are cut only the number of shots counts; their spans are not published.
    shots = (Shot(0, row["num_frames"], 0.0, row["duration_s"], 0.0, "", 0.0),) * row["num_shots"]
    issues = tuple(row["issues"][len(video.probe.issues) :])
    return VideoScan(row["num_frames"], row["duration_s"], shots, issues)
