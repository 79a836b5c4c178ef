"""Motions from the poses of an annotated video dataset, with its texts.

Shapes: T frames at 20 fps, J = 22 joints.

The pelvis' path over the floor is taken from two sources that err differently: the picture, which
does not drift but trembles and slides the feet, and the foot that stands, which does not slide but
drifts. Above ``1 / BLEND_S`` Hz the foot is followed, below it the picture; with a moving camera,
whose own way is in the picture, only the foot.
"""

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from scipy.ndimage import gaussian_filter1d

from annotators.motion_signals import foot_odometry
from data.importers.records import Found, ImportedMotion, MotionText, Pending, content_id
from data.motion_quality import mend_spikes
from data.records import FloatArray, Outcome, PoseTrack
from data.schemas import load_track
from data.skeleton import FPS
from data.store import Dataset

BLEND_S: Final = 0.6
"""Longer than a step, shorter than the drift of a few steps matters."""
MAX_LIMB_SPEED_M_S: Final = 12.0
"""Faster than the real kicks of the CMU motions (11.2 m/s): the pose model has lost the joint."""


def is_dataset(path: Path) -> bool:
    """Whether a folder is an annotated dataset."""
    return (path / "dataset.json").is_file()


def find_video_motions(root: Path) -> Found:
    """The people of every clip of a dataset; the annotated one with the clip's texts.

    Args:
        root: the dataset.
    """
    dataset = Dataset(root)
    clips = {row["clip_id"]: row for row in dataset.read("clips").to_pylist()}
    videos = {row["video_id"]: row["path"] for row in dataset.read("videos").to_pylist()}
    texts = _texts(dataset)
    # File by file: the joints of a large dataset do not fit into memory at once.
    for part in dataset.manifest["tables"]["poses"]["parts"]:
        for batch in pq.ParquetFile(root / part["file"]).iter_batches(batch_size=64):
            for row in batch.to_pylist():
                clip = clips[row["clip_id"]]
                motion_id = content_id("video", row["clip_id"], str(row["track_id"]))
                item = f"{videos[row['video_id']]} {clip['start_s']:.2f}-{clip['end_s']:.2f} s"
                told = texts.get((row["clip_id"], row["track_id"]), ())
                yield Pending(
                    motion_id,
                    f"{item} person {row['track_id']}",
                    partial(_read, row, clip, motion_id, videos[row["video_id"]], told),
                )


def _texts(dataset: Dataset) -> dict[tuple[str, int], tuple[dict[str, Any], ...]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in dataset.read("annotations").to_pylist():
        if row["outcome"] == Outcome.SUCCESS:
            found[row["clip_id"], row["track_id"]].append(row)
    return {key: tuple(rows) for key, rows in found.items()}


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
            # A step is told in the time of the video; a motion begins at 0.
            start_s = min(max(step["start_s"] - first_s, 0.0), length_s)
            end_s = min(max(step["end_s"] - first_s, start_s), length_s)
            texts.append(MotionText(step["text"], start_s, end_s, "fine", who))
    root_T3 = pelvis_path(track, camera_moves=clip["camera"] == "moving")
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


def pelvis_path(track: PoseTrack, *, camera_moves: bool) -> FloatArray:
    """Where the pelvis goes, (T, 3), metres; y above the floor.

    Args:
        track: the person.
        camera_moves: the path in the picture is then not the person's.
    """
    by_foot_T3 = foot_odometry(track.joints_3d)
    if camera_moves:
        return by_foot_T3.astype(np.float32)
    drift_T3 = track.root_trajectory - by_foot_T3
    slow_T3 = gaussian_filter1d(drift_T3, BLEND_S * FPS, axis=0, mode="nearest")
    path_T3 = by_foot_T3 + slow_T3
    # Height: the feet leave the floor in a jump, which a foot that always stands cannot tell.
    path_T3[:, 1] = track.root_trajectory[:, 1]
    return path_T3.astype(np.float32)
