"""Motions from the poses of an annotated video dataset, with its texts.

A track is divided where the pelvis leaps; :mod:`annotators.motion.mending` mends the rest.

Shapes: T frames at 20 fps, J = 22 joints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotators.motion.mending import continuous_spans, mended_motion
from annotators.motion.signals import Span
from data.errors import ItemError, Reason
from data.motion.skeleton import FPS
from data.motion_records import Found, ImportedMotion, MotionText, Pending, content_id
from data.records import Outcome, PoseTrack
from data.schemas import load_boxes, load_track
from data.store.dataset import Dataset, RowIndex
from data.store.parquet import table_rows

_CLIP_COLUMNS: Final = ("video_id", "start_s", "end_s")
_TEXT_COLUMNS: Final = (
    *("track_id", "coarse", "medium", "fine", "activity", "annotator", "outcome"),
)


def find_video_motions(root: Path, *, reviews: bool = True) -> Found:
    """Find the motions of all people in all clips of a dataset.

    The texts of a clip belong to its annotated person.

    Args:
        root: folder of the dataset.
        reviews: read texts as reviewers left them, without people who are none.

    Raises:
        ItemError: the dataset has motions instead of poses.
    """
    dataset = Dataset(root, reviews=reviews)
    rows = {name: table["rows"] for name, table in dataset.manifest["tables"].items()}
    if rows["motions"] and not rows["poses"]:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected an annotated video dataset, found a dataset of motions in {root}.",
            "Name the sources that it was imported from, or train on it directly.",
        )
    videos = RowIndex(dataset, "videos", "video_id", ["path"])
    clips = RowIndex(dataset, "clips", "clip_id", _CLIP_COLUMNS)
    annotations = RowIndex(dataset, "annotations", "clip_id", _TEXT_COLUMNS)
    # A few tracks are read at a time, because a large dataset does not fit into memory.
    for batch in dataset.batches("poses"):
        clip_ids = batch["clip_id"].to_pylist()
        of_texts, of_clips = annotations.get(clip_ids), clips.get(clip_ids)
        of_videos = videos.get(batch["video_id"].to_pylist())
        for row in table_rows(batch):
            if load_boxes(row) is not None:
                continue  # Of a person who is seen in part there are no joints.
            clip_id, track_id = row["clip_id"], row["track_id"]
            (clip,), (video,) = of_clips[clip_id], of_videos[row["video_id"]]
            texts = tuple(
                text
                for text in of_texts.get(clip_id, ())
                if text["track_id"] == track_id and text["outcome"] == Outcome.SUCCESS
            )
            item = f"{video['path']} {clip['start_s']:.2f}-{clip['end_s']:.2f} s person {track_id}"
            parts = continuous_spans(np.reshape(row["root_trajectory"], (-1, 3)))
            for part in parts:
                key, where = str(track_id), ""
                if len(parts) > 1:
                    key = f"{track_id}/{part[0]}-{part[1]}"
                    where = f" frames {part[0]}-{part[1]}"
                motion_id = content_id("video", clip_id, key)
                read = partial(_read, row, part, clip, motion_id, video["path"], texts)
                yield Pending(motion_id, f"{clip_id}/{key}", f"{item}{where}", read)


def _read(
    row: Mapping[str, Any],
    part: Span,
    clip: Mapping[str, Any],
    motion_id: str,
    path: str,
    annotations: tuple[Mapping[str, Any], ...],
) -> ImportedMotion:
    track = _part_of(load_track(row), part)
    joints_TJ3, credible_TJ = mended_motion(track)
    return ImportedMotion(
        motion_id=motion_id,
        source="video",
        source_path=path,
        source_id=f"{clip['clip_id']}/{track.track_id}",
        fps=Fraction(FPS),
        joints_TJ3=joints_TJ3,
        group=f"video/{clip['video_id']}",
        labels=tuple(dict.fromkeys(a["activity"] for a in annotations if a["activity"])),
        texts=_texts(track, annotations, whole=track.num_frames > 0.5 * row["num_frames"]),
        quality=track.quality,
        video_id=clip["video_id"],
        clip_id=clip["clip_id"],
        track_id=track.track_id,
        credible_TJ=None if credible_TJ.all() else credible_TJ,
    )


def _part_of(track: PoseTrack, part: Span) -> PoseTrack:
    """Return the frames of a track from ``part[0]`` to ``part[1]``."""
    frames = slice(*part)
    return replace(
        track,
        pts_s=track.pts_s[frames],
        joints_3d=track.joints_3d[frames],
        root_trajectory=track.root_trajectory[frames],
        joints_2d=track.joints_2d[frames],
        confidence=track.confidence[frames],
        valid=track.valid[frames],
    )


def _texts(
    track: PoseTrack, annotations: Sequence[Mapping[str, Any]], *, whole: bool
) -> tuple[MotionText, ...]:
    """Return the texts of a motion, in its time.

    Args:
        track: frames of the motion.
        annotations: rows of the person.
        whole: whether texts about the whole clip describe the motion; otherwise only the steps do.
    """
    first_s, length_s = float(track.pts_s[0]), track.num_frames / FPS
    texts: list[MotionText] = []
    for annotation in annotations:
        who = annotation["annotator"]
        if whole and annotation["coarse"]:
            texts.append(MotionText(annotation["coarse"], 0.0, length_s, "coarse", who))
        if whole:
            medium = annotation["medium"]
            texts += [MotionText(text, 0.0, length_s, "medium", who) for text in medium]
        for step in annotation["fine"]:
            # The times of a step are those of the video; a motion begins at 0.
            start_s, end_s = step["start_s"] - first_s, step["end_s"] - first_s
            shared_s = min(end_s, length_s) - max(start_s, 0.0)
            if shared_s >= 0.5 * (end_s - start_s):
                start_s = min(max(start_s, 0.0), length_s)
                end_s = min(max(end_s, start_s), length_s)
                texts.append(MotionText(step["text"], start_s, end_s, "fine", who))
    return tuple(texts)
