"""Published work of a video put back as staged work, so that only its texts are made again.

A service that was away costs texts, not poses: when these are asked for again
(``retry_rejected``), the clips and the people in them need not be looked for twice.
"""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotators.staging import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    poses_path,
    tracks_path,
    video_path,
    write_staged,
)
from data.errors import Reason, Stage
from data.records import Clip, Rejection, Shot, VideoScan
from data.store import Dataset, write_table

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
        rejections = {row["item_id"]: _rejection(row) for row in rows["rejections"][video_id]}
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
