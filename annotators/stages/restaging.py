"""Restore the staged work of published videos, and forget failures that are tried again.

Two kinds of runs need new texts but no new clips and poses: a run that repeats failed calls
(``retry_rejected``), and a run with another captioner or annotator (``poses_from``).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from annotators.stages.staged import (
    SourceVideo,
    StagedAnnotations,
    StagedCaptions,
    StagedPoses,
    StagedScan,
    load_staged,
    poses_path,
    scene_path,
    tracks_path,
    video_path,
    write_staged,
)
from data.errors import RETRYABLE, ItemError, Reason, Stage
from data.records import Clip, ClipScene, Rejection, RejectionKey, Shot, VideoScan
from data.schemas import load_objects, load_rejection
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.recipes import MISSING, format_differences, recipe_differences
from data.store.writer import write_table
from data.video.sources import path_item_id

TEXT_STAGES: Final = frozenset({Stage.CAPTIONS, Stage.ANNOTATIONS})
"""Stages whose rejections go away when texts are made again."""

_CLIP_FIELDS = tuple(Clip.__dataclass_fields__)
_VIDEOS_AT_A_TIME: Final = 64
"""The joints of so many videos are held at a time."""


def restage(published: Dataset, videos: Collection[SourceVideo], work: Path) -> None:
    """Stage the scans and poses of published videos.

    Args:
        published: dataset that contains the videos.
        videos: videos to stage.
        work: folder of staged work.
    """
    listed = list(videos)
    for begin in range(0, len(listed), _VIDEOS_AT_A_TIME):
        _restage(published, listed[begin : begin + _VIDEOS_AT_A_TIME], work)


def _restage(published: Dataset, videos: Sequence[SourceVideo], work: Path) -> None:
    wanted = {"video_id": [video.video_id for video in videos]}
    rows = {
        table: _by_video(published.rows(table, where=wanted))
        for table in ("videos", "clips", "rejections")
    }
    (work / "poses").mkdir(parents=True, exist_ok=True)
    tracks = published.read("poses", where=wanted)
    for row in (row for found in rows["clips"].values() for row in found):
        table = tracks.filter(pc.field("clip_id") == row["clip_id"])
        if table.num_rows:
            write_table(tracks_path(work, _clip(row)), "poses", table)
    for video in videos:
        video_id = video.video_id
        found = map(load_rejection, rows["rejections"][video_id])
        rejections = {r.key: r for r in found if r.stage not in TEXT_STAGES}
        clips: list[Clip] = []
        for row in sorted(rows["clips"][video_id], key=lambda row: row["start_frame"]):
            clip = _clip(row)
            clips.append(clip)
            staged = StagedPoses(
                clip=clip,
                num_people=row["num_people"],
                num_tracks=row["num_tracks"],
                decoder=row["decoder"],
                quality=row["quality"],
                issues=tuple(row["issues"]),
                rejection=rejections.pop(RejectionKey(clip.clip_id, Stage.POSES), None),
            )
            if not staged.num_tracks:
                tracks_path(work, clip).unlink(missing_ok=True)
            scene = ClipScene(clip.clip_id, row["people_count"], load_objects(row))
            write_staged(scene_path(work, clip), scene)
            write_staged(poses_path(work, clip), staged)
        (told,) = rows["videos"][video_id]
        # The remaining rejections belong to shots without a clip.
        scan = StagedScan(video, _scan(told, video), tuple(clips), tuple(rejections.values()))
        write_staged(video_path(work, "scans", video_id), scan)


POSE_STAGES: Final = ("clips", "poses", "pose_model")
"""Sections of a recipe that decide the rows of ``clips`` and ``poses``."""


def forget_failures(videos: Iterable[SourceVideo], work: Path) -> None:
    """Remove staged work that failed in an earlier run and may succeed now.

    Published failures are rows. These are those of videos that are not published, such as all
    videos of a run that ended without any annotation. Texts go with the clips that they lacked.

    Args:
        videos: videos that are tried again.
        work: folder of staged work.
    """
    for video in videos:
        path = video_path(work, "scans", video.video_id)
        scan = load_staged(StagedScan, path)
        if scan is None:
            continue
        if scan.scan is None and _may_succeed(scan.rejections):
            path.unlink()
        missed = False
        for clip in scan.clips:
            staged = load_staged(StagedPoses, poses_path(work, clip))
            if staged is not None and staged.rejection and _may_succeed([staged.rejection]):
                poses_path(work, clip).unlink()
                missed = True
        for kind, stage in ((StagedCaptions, "captions"), (StagedAnnotations, "annotations")):
            texts = load_staged(kind, video_path(work, stage, video.video_id))
            missed = missed or (texts is not None and _may_succeed(texts.rejections))
            if missed:
                video_path(work, stage, video.video_id).unlink(missing_ok=True)


def _may_succeed(rejections: Iterable[Rejection]) -> bool:
    return any(rejection.reason in RETRYABLE for rejection in rejections)


def require_same_poses(root: Path, recipe: Mapping[str, Any]) -> None:
    """Check that a dataset's clips and poses were made with the configuration of a recipe.

    Args:
        root: folder of the dataset that provides clips and poses.
        recipe: recipe of the dataset that uses them.

    Raises:
        data.store.manifest.DatasetError: there is no dataset, or its configuration differs.
    """
    made_with = Dataset(root).manifest["recipe"]
    differing = recipe_differences(
        {stage: made_with.get(stage, MISSING) for stage in POSE_STAGES},
        {stage: recipe.get(stage, MISSING) for stage in POSE_STAGES},
    )
    if differing:
        raise DatasetError(
            f"{root}: its clips and poses cannot be taken, they were made with another "
            f"configuration: {format_differences(differing)}. "
            "Remedy: give the same configuration of clips, poses and pose model, or annotate "
            "without --poses-from."
        )


def restage_from(
    source: Dataset, videos: Sequence[SourceVideo], work: Path
) -> dict[str, Rejection]:
    """Stage the clips and poses of videos that another dataset contains.

    Args:
        source: dataset that provides clips and poses.
        videos: videos to stage, identified by their content.
        work: folder of staged work. Existing files are kept.

    Returns:
        Rejections of the videos that the dataset does not contain, by ``video_id``.
    """
    held = {row["video_id"] for row in source.rows("videos", ["video_id"])}
    found = [video for video in videos if video.video_id in held]
    restage(source, [video for video in found if not _is_staged(video, work)], work)
    return {v.video_id: _stranger(v, source) for v in videos if v.video_id not in held}


def _stranger(video: SourceVideo, source: Dataset) -> Rejection:
    error = ItemError(
        Reason.NOT_FOUND,
        f"expected its content among the videos of {source.root}, found other content.",
        "Annotate it into that dataset first, or leave it out.",
    )
    return Rejection.of(path_item_id(video.probe.path), video.name, Stage.INGEST, error)


def _is_staged(video: SourceVideo, work: Path) -> bool:
    scan = load_staged(StagedScan, video_path(work, "scans", video.video_id))
    return scan is not None and all(poses_path(work, clip).exists() for clip in scan.clips)


def _clip(row: Mapping[str, Any]) -> Clip:
    return Clip(**{name: row[name] for name in _CLIP_FIELDS})


def _by_video(rows: Iterable[dict[str, Any]]) -> defaultdict[str, list[dict[str, Any]]]:
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["video_id"]].append(row)
    return found


def _scan(row: dict[str, Any], video: SourceVideo) -> VideoScan:
    # After the clips stage, only the number of shots is used. Their spans are not published.
    shots = (Shot(0, row["num_frames"], 0.0, row["duration_s"], 0.0, "", 0.0),) * row["num_shots"]
    issues = tuple(row["issues"][len(video.probe.issues) :])
    return VideoScan(row["num_frames"], row["duration_s"], shots, issues)
