"""Publish the staged results of complete videos as rows of the dataset."""

import hashlib
import json
import socket
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa

from annotators.config import AnnotateConfig
from annotators.stages.ingest import Ingested
from annotators.stages.restaging import require_same_poses
from annotators.stages.staged import (
    StagedAnnotations,
    StagedCaptions,
    StagedPoses,
    StagedScan,
    load_staged,
    poses_path,
    read_scene,
    read_staged,
    read_tracks,
    staged_files,
    video_path,
)
from data.records import Rejection
from data.remote.leases import hold_lease
from data.remote.links import find_link
from data.schemas import (
    Row,
    annotation_row,
    caption_row,
    clip_row,
    rejection_row,
    video_row,
)
from data.store.dataset import Dataset
from data.store.writer import DatasetWriter, Publication, rows_table


def publish_videos(
    writer: DatasetWriter, ingested: Ingested, video_ids: Collection[str]
) -> Publication | None:
    """Publish the staged results of complete videos, and the rejections of ingest.

    Args:
        writer: writer of the dataset.
        ingested: what the ingest stage found since the last publication.
        video_ids: videos of which all stages are staged.

    Returns:
        The publication, or None if there was nothing to publish. A first publication needs at least
        one annotation, because its recipe becomes the recipe of the dataset for all later runs.
    """
    work = writer.work
    rows: dict[str, list[Row]] = {
        name: [] for name in ("videos", "clips", "captions", "annotations", "rejections")
    }
    poses: list[pa.Table] = []
    rows["rejections"] += [rejection_row(r, video_id) for r, video_id in ingested.rejections]
    finished: list[Path] = []
    for video_id in video_ids:
        scan = read_staged(StagedScan, video_path(work, "scans", video_id))
        finished += staged_files(scan, work)
        rows["rejections"] += [rejection_row(r, video_id) for r in scan.rejections]
        if scan.scan is None:
            continue
        for clip in scan.clips:
            staged = read_staged(StagedPoses, poses_path(work, clip))
            rows["clips"].append(
                clip_row(
                    clip,
                    num_people=staged.num_people,
                    num_tracks=staged.num_tracks,
                    decoder=staged.decoder,
                    quality=staged.quality,
                    issues=staged.issues,
                    scene=read_scene(work, clip),
                )
            )
            if staged.rejection is not None:
                rows["rejections"].append(rejection_row(staged.rejection, video_id))
            if staged.num_tracks:
                poses.append(read_tracks(work, clip))
        captions = read_staged(StagedCaptions, video_path(work, "captions", video_id))
        texts = read_staged(StagedAnnotations, video_path(work, "annotations", video_id))
        for rejection in (*captions.rejections, *texts.rejections):
            rows["rejections"].append(rejection_row(rejection, video_id))
        rows["captions"] += [caption_row(caption) for caption in captions.captions]
        clips = {clip.clip_id: clip for clip in scan.clips}
        rows["annotations"] += [annotation_row(a, clips[a.clip_id]) for a in texts.annotations]
        video = scan.video
        rows["videos"].append(
            video_row(
                video_id, video.mtime_ns, video.probe, scan.scan, len(scan.clips), texts.coarse
            )
            | {"path": video.name}
        )
    replaced = [video_id for video_id in ingested.replaced if video_id in set(video_ids)]
    if writer.published() is None and not rows["annotations"]:
        return None
    if not any(rows.values()) and not ingested.superseded:
        return None
    tables = {name: rows_table(name, listed) for name, listed in rows.items() if listed}
    if poses:
        tables["poses"] = pa.concat_tables(poses)
    publication = writer.publish(
        tables, replace_rejections=ingested.superseded, replace_videos=replaced
    )
    for path in finished:
        path.unlink(missing_ok=True)
    return publication


def hold_work(config: AnnotateConfig) -> AbstractContextManager[None]:
    """Keep other machines from annotating the same videos into a dataset on S3 at the same time.

    A local dataset is locked by its writer.

    Raises:
        data.remote.leases.LeasedError: another machine annotates them, within the context.
    """
    link = find_link(config.dataset)
    if link is None:
        return nullcontext()
    sources = [sorted(config.videos), config.shard, str(config.poses_from or "")]
    name = hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]
    share = f", share {config.shard}" if config.shard else ""
    return hold_lease(
        link.address.child(f".leases/{name}.json"),
        f"{socket.gethostname()}:{config.dataset}",
        f"{link.address}{share}",
    )


def recipe_of(config: AnnotateConfig, model_path: Path | None) -> dict[str, Any]:
    """Return the part of the configuration that determines the rows of a dataset.

    Args:
        config: configuration of the run.
        model_path: file of the pose model; None for another estimator, and if poses come from a
            dataset that names it.

    Raises:
        data.store.manifest.DatasetError: ``poses_from`` cannot provide clips and poses.
    """
    if config.poses_from is None:
        if model_path is None and config.poses.estimator == "mediapipe":
            raise AssertionError("expected a pose model or poses_from, found neither")
        return config.recipe("" if model_path is None else file_sha256(model_path))
    made_with = Dataset(config.poses_from).manifest["recipe"].get("pose_model", "")
    recipe = config.recipe(made_with if model_path is None else file_sha256(model_path))
    require_same_poses(config.poses_from, recipe)
    return recipe


def list_rejections(
    ingest: Sequence[Rejection], scans: Sequence[StagedScan], work: Path
) -> list[Rejection]:
    """Return the rejections of a run, published or not.

    Args:
        ingest: rejections of the ingest stage.
        scans: scanned videos.
        work: folder of staged work.
    """
    found = [*ingest]
    for scan in scans:
        found += scan.rejections
        poses = (load_staged(StagedPoses, poses_path(work, clip)) for clip in scan.clips)
        found += [staged.rejection for staged in poses if staged and staged.rejection]
        for kind, stage in ((StagedCaptions, "captions"), (StagedAnnotations, "annotations")):
            texts = load_staged(kind, video_path(work, stage, scan.video.video_id))
            found += texts.rejections if texts is not None else ()
    return found


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
