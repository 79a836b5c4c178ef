"""Motions from the poses of an annotated video dataset, with its texts.

The pelvis path is combined from two sources with different errors. The path in the image does not
drift, but it jitters and lets the feet slide. The path by foot odometry, which assumes that the
lower foot stands still, does not slide but drifts. The result follows the foot above
``1 / BLEND_S`` Hz and the image below. The motion of the camera was removed from the path in the
image by :mod:`annotators.poses.world`.

Shapes: T frames at 20 fps, J = 22 joints.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from annotators.poses.trajectory import foot_odometry
from data.arrays import FloatArray
from data.motion.quality import mend_spikes
from data.motion.skeleton import FPS
from data.motion_records import Found, ImportedMotion, MotionText, Pending, content_id
from data.records import Outcome, PoseTrack
from data.schemas import load_track
from data.store.dataset import Dataset, RowIndex
from data.store.parquet import table_rows

BLEND_S: Final = 0.6
"""Longer than a step, and shorter than the time over which the drift becomes visible."""
MAX_LIMB_SPEED_M_S: Final = 12.0
"""Joints that are faster than the kicks of the CMU motions (11.2 m/s) are errors of the pose
model."""


_CLIP_COLUMNS: Final = ("video_id", "start_s", "end_s")
_TEXT_COLUMNS: Final = (
    *("track_id", "coarse", "medium", "fine", "activity", "annotator", "outcome"),
)


def find_video_motions(root: Path) -> Found:
    """Find the motions of all people in all clips of a dataset.

    The texts of a clip belong to its annotated person.

    Args:
        root: folder of the dataset.
    """
    dataset = Dataset(root)
    videos = RowIndex(dataset, "videos", "video_id", ["path"])
    clips = RowIndex(dataset, "clips", "clip_id", _CLIP_COLUMNS)
    annotations = RowIndex(dataset, "annotations", "clip_id", _TEXT_COLUMNS)
    # A few tracks are read at a time, because a large dataset does not fit into memory.
    for batch in dataset.batches("poses"):
        clip_ids = batch["clip_id"].to_pylist()
        of_texts, of_clips = annotations.get(clip_ids), clips.get(clip_ids)
        of_videos = videos.get(batch["video_id"].to_pylist())
        for row in table_rows(batch):
            clip_id, track_id = row["clip_id"], row["track_id"]
            (clip,), (video,) = of_clips[clip_id], of_videos[row["video_id"]]
            motion_id = content_id("video", clip_id, str(track_id))
            texts = tuple(
                text
                for text in of_texts.get(clip_id, ())
                if text["track_id"] == track_id and text["outcome"] == Outcome.SUCCESS
            )
            yield Pending(
                motion_id,
                f"{clip_id}/{track_id}",
                f"{video['path']} {clip['start_s']:.2f}-{clip['end_s']:.2f} s person {track_id}",
                partial(_read, row, clip, motion_id, video["path"], texts),
            )


def _read(
    row: Mapping[str, Any],
    clip: Mapping[str, Any],
    motion_id: str,
    path: str,
    annotations: tuple[Mapping[str, Any], ...],
) -> ImportedMotion:
    track = load_track(row)
    first_s, length_s = float(track.pts_s[0]), track.num_frames / FPS
    texts: list[MotionText] = []
    for annotation in annotations:
        who = annotation["annotator"]
        if annotation["coarse"]:
            texts.append(MotionText(annotation["coarse"], 0.0, length_s, "coarse", who))
        texts += [MotionText(text, 0.0, length_s, "medium", who) for text in annotation["medium"]]
        for step in annotation["fine"]:
            # The times of a step are those of the video; a motion begins at 0.
            start_s = min(max(step["start_s"] - first_s, 0.0), length_s)
            end_s = min(max(step["end_s"] - first_s, start_s), length_s)
            texts.append(MotionText(step["text"], start_s, end_s, "fine", who))
    root_T3 = pelvis_path(track)
    joints_TJ3, _ = mend_spikes(track.joints_3d + root_T3[:, None], MAX_LIMB_SPEED_M_S)
    return ImportedMotion(
        motion_id=motion_id,
        source="video",
        source_path=path,
        source_id=f"{clip['clip_id']}/{track.track_id}",
        fps=Fraction(FPS),
        joints_TJ3=joints_TJ3,
        group=f"video/{clip['video_id']}",
        labels=tuple(dict.fromkeys(a["activity"] for a in annotations if a["activity"])),
        texts=tuple(texts),
        quality=track.quality,
        video_id=clip["video_id"],
        clip_id=clip["clip_id"],
        track_id=track.track_id,
    )


def pelvis_path(track: PoseTrack) -> FloatArray:
    """Return the pelvis path, (T, 3), meters; y is the height above the floor."""
    by_foot_T3 = foot_odometry(track.joints_3d)
    drift_T3 = track.root_trajectory - by_foot_T3
    slow_T3 = gaussian_filter1d(drift_T3, BLEND_S * FPS, axis=0, mode="nearest")
    path_T3 = by_foot_T3 + slow_T3
    # The height comes from the image, because foot odometry has no jumps.
    path_T3[:, 1] = track.root_trajectory[:, 1]
    return path_T3.astype(np.float32)
