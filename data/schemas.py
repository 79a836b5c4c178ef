"""Arrow schemas of the dataset's tables, and conversion between records and rows (DESIGN §4).

Shapes: T frames of a track at 20 fps, J = 22 joints. Arrays are stored flat, because nested lists
are 10-20 times slower to read into pandas and arrive there as nested objects. :func:`load_pose` and
the other ``load_`` functions restore the shapes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.arrays import BoolArray, FloatArray
from data.errors import Reason, Stage
from data.motion.skeleton import FPS, JOINT_NAMES, NUM_JOINTS, PARENTS
from data.motion_records import ImportedMotion
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

SCHEMA_VERSION: Final = 6
"""Raised whenever a column is added, or changes its name, type or meaning."""
READABLE_VERSIONS: Final = frozenset({3, 4, 5, SCHEMA_VERSION})
"""Versions that this code can read."""
FORMER_NAMES: Final[Mapping[str, str]] = {"license": "licence"}
"""Current name of a column to the name that it has in version 3."""
ADDED_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "clips": frozenset({"people_count", "objects"}),
    "poses": frozenset({"objects", "boxes"}),
    "captions": frozenset({"track_id"}),
    "annotations": frozenset({"events", "objects", "others"}),
    "motions": frozenset({"credible"}),
}
"""Columns by table that former versions lack. They are read as null, and lists as empty lists."""

CODE_VERSION: Final = version("avatargpt")

Row = dict[str, Any]

_PROVENANCE = [pa.field("schema_version", pa.int16()), pa.field("code_version", pa.string())]
_COST = [
    pa.field("outcome", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("tokens_in", pa.int64()),
    pa.field("tokens_out", pa.int64()),
    pa.field("cost_usd", pa.float64()),
    pa.field("latency_s", pa.float64()),
    pa.field("request_id", pa.string()),
]
_GROUNDING = pa.struct(
    [
        ("verdict", pa.string()),
        ("measurement", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
    ]
)
_FINE_STEP = pa.struct(
    [
        ("text", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("grounding", _GROUNDING),
    ]
)
_OBJECT = pa.struct(
    [
        ("name", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("score", pa.float32()),
        ("near", pa.string()),
    ]
)
_EVENT = pa.struct(
    [
        ("kind", pa.string()),
        ("part", pa.string()),
        ("side", pa.string()),
        ("direction", pa.string()),
        ("level", pa.string()),
        ("posture", pa.string()),
        ("object", pa.string()),
        ("count", pa.int32()),
        ("magnitude", pa.float64()),
        ("unit", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("confidence", pa.float32()),
        ("partner", pa.int16()),
    ]
)

_MOTION_TEXT = pa.struct(
    [
        ("text", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("level", pa.string()),
        ("source", pa.string()),
    ]
)

_METADATA: Final = {
    "avatargpt": json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "skeleton": "smpl22",
            "joint_names": JOINT_NAMES,
            "parents": PARENTS,
            "units": "meters, pixels, seconds",
            "up_axis": "y",
            "fps": FPS,
            "time_origin": "the first frame of the video is 0 s",
        }
    )
}


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema([*fields, *_PROVENANCE], metadata=_METADATA)


SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "videos": _schema(
        pa.field("video_id", pa.string()),
        pa.field("path", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("container", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("rotation_deg", pa.int16()),
        pa.field("fps", pa.float64()),
        pa.field("fps_numerator", pa.int64()),
        pa.field("fps_denominator", pa.int64()),
        pa.field("constant_rate", pa.bool_()),
        pa.field("start_offset_s", pa.float64()),
        pa.field("duration_s", pa.float64()),
        pa.field("num_frames", pa.int64()),
        pa.field("num_shots", pa.int32()),
        pa.field("num_clips", pa.int32()),
        pa.field("issues", pa.list_(pa.string())),
        pa.field("coarse", pa.string()),
    ),
    "clips": _schema(
        pa.field("clip_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("shot_index", pa.int32()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("start_frame", pa.int64()),
        pa.field("end_frame", pa.int64()),
        pa.field("num_people", pa.int16()),
        pa.field("num_tracks", pa.int16()),
        pa.field("people_count", pa.int16()),
        pa.field("objects", pa.list_(_OBJECT)),
        pa.field("decoder", pa.string()),
        pa.field("brightness", pa.float32()),
        pa.field("camera", pa.string()),
        pa.field("camera_speed", pa.float32()),
        pa.field("quality", pa.float32()),
        pa.field("issues", pa.list_(pa.string())),
    ),
    "poses": _schema(
        pa.field("clip_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("track_id", pa.int16()),
        pa.field("num_frames", pa.int32()),
        pa.field("num_joints", pa.int16()),
        pa.field("joints_3d", pa.list_(pa.float32())),
        pa.field("root_trajectory", pa.list_(pa.float32())),
        pa.field("joints_2d", pa.list_(pa.float32())),
        pa.field("confidence", pa.list_(pa.float32())),
        pa.field("valid", pa.list_(pa.bool_())),
        pa.field("pts_s", pa.list_(pa.float64())),
        pa.field("pose_model", pa.string()),
        pa.field("quality", pa.float32()),
        pa.field("objects", pa.list_(_OBJECT)),
        pa.field("boxes", pa.list_(pa.float32())),
    ),
    "captions": _schema(
        pa.field("video_id", pa.string()),
        pa.field("clip_id", pa.string()),
        pa.field("track_id", pa.int16()),
        pa.field("captioner", pa.string()),
        pa.field("model", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("sample", pa.int16()),
        pa.field("frame_times_s", pa.list_(pa.float64())),
        pa.field("uses_motion", pa.bool_()),
        *_COST,
    ),
    "annotations": _schema(
        pa.field("clip_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("sample", pa.int16()),
        pa.field("track_id", pa.int16()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("coarse", pa.string()),
        pa.field("medium", pa.list_(pa.string())),
        pa.field("fine", pa.list_(_FINE_STEP)),
        pa.field("medium_grounding", pa.list_(_GROUNDING)),
        pa.field("activity", pa.string()),
        pa.field("events", pa.list_(_EVENT)),
        pa.field("objects", pa.list_(_OBJECT)),
        pa.field("others", pa.list_(pa.int16())),
        pa.field("grounding_score", pa.float64()),
        pa.field("annotator", pa.string()),
        pa.field("model", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("reply", pa.string()),
        *_COST,
    ),
    "motions": _schema(
        pa.field("motion_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("source_path", pa.string()),
        pa.field("source_id", pa.string()),
        pa.field("source_fps", pa.float64()),
        pa.field("video_id", pa.string()),
        pa.field("clip_id", pa.string()),
        pa.field("track_id", pa.int16()),
        pa.field("group", pa.string()),
        pa.field("split", pa.string()),
        pa.field("mirrored_of", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("texts", pa.list_(_MOTION_TEXT)),
        pa.field("num_frames", pa.int32()),
        pa.field("num_features", pa.int16()),
        pa.field("features", pa.list_(pa.float32())),
        pa.field("credible", pa.list_(pa.bool_())),
        pa.field("quality", pa.float32()),
        pa.field("foot_skate_m_s", pa.float32()),
        pa.field("jitter_m_s3", pa.float32()),
        pa.field("license", pa.string()),
    ),
    "motion_tokens": _schema(
        pa.field("motion_id", pa.string()),
        pa.field("tokenizer_id", pa.string()),
        pa.field("num_tokens", pa.int32()),
        pa.field("num_quantizers", pa.int16()),
        pa.field("num_codes", pa.int32()),
        pa.field("frames_per_token", pa.int16()),
        pa.field("codes", pa.list_(pa.int32())),
    ),
    "rejections": _schema(
        pa.field("item_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("item", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("remedy", pa.string()),
    ),
}
"""All tables. Parents precede children: a publication moves the parts in this order."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "videos": ("video_id",),
    "clips": ("clip_id",),
    "poses": ("clip_id", "track_id"),
    "captions": ("video_id", "clip_id", "track_id", "captioner", "model", "prompt_id", "sample"),
    "annotations": ("clip_id", "track_id", "sample"),
    "motions": ("motion_id",),
    "motion_tokens": ("motion_id", "tokenizer_id"),
    "rejections": ("item_id", "stage"),
}
"""Columns that identify a row of a table."""

FLOAT_LEAVES: Final[Mapping[str, tuple[str, ...]]] = {
    "poses": ("joints_3d", "root_trajectory", "joints_2d", "confidence", "pts_s"),
    "motions": ("features",),
}
"""List columns whose floats are byte-stream-split, which compresses better under zstd."""

_VERSIONS: Final[Row] = {"schema_version": SCHEMA_VERSION, "code_version": CODE_VERSION}


def video_row(
    video_id: str, mtime_ns: int, probe: VideoProbe, scan: VideoScan, num_clips: int, coarse: str
) -> Row:
    """Create the ``videos`` row."""
    return {
        "video_id": video_id,
        "path": str(probe.path),
        "size_bytes": probe.size_bytes,
        "mtime_ns": mtime_ns,
        "container": probe.container,
        "codec": probe.codec,
        "width_px": probe.width_px,
        "height_px": probe.height_px,
        "rotation_deg": probe.rotation_deg,
        "fps": float(probe.fps),
        "fps_numerator": probe.fps.numerator,
        "fps_denominator": probe.fps.denominator,
        "constant_rate": probe.constant_rate,
        "start_offset_s": probe.start_offset_s,
        "duration_s": scan.duration_s,
        "num_frames": scan.num_frames,
        "num_shots": len(scan.shots),
        "num_clips": num_clips,
        "issues": [*probe.issues, *scan.issues],
        "coarse": coarse,
        **_VERSIONS,
    }


def clip_row(
    clip: Clip,
    *,
    num_people: int,
    num_tracks: int,
    decoder: str,
    quality: float,
    issues: tuple[str, ...],
    scene: ClipScene | None = None,
) -> Row:
    """Create the ``clips`` row.

    Args:
        clip: the clip.
        num_people: maximum number of people in a frame.
        num_tracks: number of tracks; a person who leaves and returns has two.
        decoder: decoder that read the frames.
        quality: mean quality of the tracks; 0 without tracks.
        issues: problems while reading the frames.
        scene: number of people and objects; None if they were not looked for.
    """
    return {
        **asdict(clip),
        "num_people": num_people,
        "num_tracks": num_tracks,
        "people_count": scene.people_count if scene else None,
        "objects": [asdict(found) for found in scene.objects] if scene else [],
        "decoder": decoder,
        "quality": quality,
        "issues": list(issues),
        **_VERSIONS,
    }


def pose_row(clip: Clip, track: PoseTrack, pose_model: str) -> Row:
    """Create the ``poses`` row, with flattened arrays."""
    return {
        "clip_id": clip.clip_id,
        "video_id": clip.video_id,
        "track_id": track.track_id,
        "num_frames": track.num_frames,
        "num_joints": NUM_JOINTS,
        "joints_3d": track.joints_3d.ravel(),
        "root_trajectory": track.root_trajectory.ravel(),
        "joints_2d": track.joints_2d.ravel(),
        "confidence": track.confidence.ravel(),
        "valid": track.valid,
        "pts_s": track.pts_s,
        "pose_model": pose_model,
        "quality": track.quality,
        "objects": [asdict(found) for found in track.objects],
        "boxes": [] if track.boxes is None else track.boxes.ravel(),
        **_VERSIONS,
    }


def caption_row(caption: Caption) -> Row:
    """Create the ``captions`` row."""
    return {**asdict(caption), "outcome": caption.outcome.value, **_VERSIONS}


def annotation_row(annotation: Annotation, clip: Clip) -> Row:
    """Create the ``annotations`` row."""
    row = asdict(annotation)
    row["outcome"] = annotation.outcome.value
    row["medium"] = list(annotation.medium)
    for grounding in (*(step["grounding"] for step in row["fine"]), *row["medium_grounding"]):
        grounding["verdict"] = grounding["verdict"].value
    return {**row, "start_s": clip.start_s, "end_s": clip.end_s, **_VERSIONS}


def motion_row(
    motion: ImportedMotion,
    features_TD: FloatArray,
    *,
    split: str,
    foot_skate_m_s: float | None,
    jitter_m_s3: float | None,
    credible_TJ: BoolArray | None = None,
) -> Row:
    """Create the ``motions`` row, with flattened features.

    Args:
        motion: source and texts of the motion.
        features_TD: features of the motion, (T, 263), not normalized.
        split: ``train``, ``val`` or ``test``.
        foot_skate_m_s: see :func:`data.motion.quality.foot_skate`.
        jitter_m_s3: see :func:`data.motion.quality.jitter`.
        credible_TJ: (T, 22) joints of each row of features that were seen; None if all were.
    """
    return {
        "motion_id": motion.motion_id,
        "source": motion.source,
        "source_path": motion.source_path,
        "source_id": motion.source_id,
        "source_fps": float(motion.fps),
        "video_id": motion.video_id or None,
        "clip_id": motion.clip_id or None,
        "track_id": motion.track_id,
        "group": motion.group,
        "split": split,
        "mirrored_of": motion.mirrored_of or None,
        "labels": [label for label in (*motion.labels, motion.style) if label],
        "texts": [asdict(text) for text in motion.texts],
        "num_frames": len(features_TD),
        "num_features": features_TD.shape[1],
        "features": features_TD.ravel(),
        "credible": [] if credible_TJ is None else credible_TJ.ravel(),
        "quality": motion.quality,
        "foot_skate_m_s": foot_skate_m_s,
        "jitter_m_s3": jitter_m_s3,
        "license": motion.license,
        **_VERSIONS,
    }


def motion_tokens_row(
    motion_id: str,
    tokenizer_id: str,
    codes_LQ: NDArray[np.int64],
    *,
    num_codes: int,
    frames_per_token: int,
) -> Row:
    """Create the ``motion_tokens`` row, with flattened codes.

    Args:
        motion_id: id of the motion.
        tokenizer_id: id of the tokenizer.
        codes_LQ: codes of L tokens by Q quantizers, (L, Q).
        num_codes: number of codes in each codebook.
        frames_per_token: number of frames that one token encodes.
    """
    return {
        "motion_id": motion_id,
        "tokenizer_id": tokenizer_id,
        "num_tokens": codes_LQ.shape[0],
        "num_quantizers": codes_LQ.shape[1],
        "num_codes": num_codes,
        "frames_per_token": frames_per_token,
        "codes": codes_LQ.ravel(),
        **_VERSIONS,
    }


def rejection_row(rejection: Rejection, video_id: str | None) -> Row:
    """Create the ``rejections`` row; ``video_id`` is None if the content could not be read."""
    return {
        "item_id": rejection.item_id,
        "video_id": video_id,
        "item": rejection.item,
        "stage": rejection.stage.value,
        "reason": rejection.reason.value,
        "detail": rejection.detail,
        "remedy": rejection.remedy,
        **_VERSIONS,
    }


def load_rejection(row: Mapping[str, Any]) -> Rejection:
    """Load the rejection of a ``rejections`` row, as returned by pandas or pyarrow."""
    return Rejection(
        item_id=row["item_id"],
        item=row["item"],
        stage=Stage(row["stage"]),
        reason=Reason(row["reason"]),
        detail=row["detail"],
        remedy=row["remedy"],
    )


def load_pose(row: Mapping[str, Any]) -> FloatArray:
    """Load the root-relative joints of one ``poses`` row.

    Args:
        row: a row of the table, as returned by pandas or pyarrow.

    Returns:
        Positions in meters, (T, 22, 3), y up, pelvis at the origin.
    """
    return _shaped(row["joints_3d"], row, 3)


def load_motion(row: Mapping[str, Any]) -> FloatArray:
    """Load the joints of one ``poses`` row with the root trajectory: (T, 22, 3), meters, y up."""
    root_T3 = np.asarray(row["root_trajectory"], np.float32).reshape(int(row["num_frames"]), 3)
    return load_pose(row) + root_T3[:, None, :]


def load_pose_2d(row: Mapping[str, Any]) -> FloatArray:
    """Load the image joints of one ``poses`` row: (T, 22, 2), pixels of the upright frame."""
    return _shaped(row["joints_2d"], row, 2)


def load_features(row: Mapping[str, Any]) -> FloatArray:
    """Load the features of one ``motions`` row: (T, 263), not normalized."""
    shape = int(row["num_frames"]), int(row["num_features"])
    return np.asarray(row["features"], np.float32).reshape(shape)


def load_credible(row: Mapping[str, Any]) -> BoolArray | None:
    """Return which joints of a ``motions`` row were seen, (T, 22); None if all were."""
    credible = np.asarray(row["credible"], np.bool_)
    return credible.reshape(-1, NUM_JOINTS) if len(credible) else None


def load_track(row: Mapping[str, Any]) -> PoseTrack:
    """Load the track of one ``poses`` row."""
    return PoseTrack(
        track_id=int(row["track_id"]),
        pts_s=np.asarray(row["pts_s"], np.float64),
        joints_3d=load_pose(row),
        root_trajectory=np.asarray(row["root_trajectory"], np.float32).reshape(-1, 3),
        joints_2d=load_pose_2d(row),
        confidence=_shaped(row["confidence"], row, 1)[..., 0],
        valid=np.asarray(row["valid"], np.bool_),
        quality=float(row["quality"]),
        objects=load_objects(row),
        boxes=load_boxes(row),
    )


def load_boxes(row: Mapping[str, Any]) -> FloatArray | None:
    """Load the boxes of a row of ``poses``, (T, 4) pixels; None for people with joints."""
    boxes = np.asarray(row["boxes"], np.float32)
    return boxes.reshape(-1, 4) if len(boxes) else None


def load_objects(row: Mapping[str, Any]) -> tuple[ObjectSpan, ...]:
    """Load the objects of a row of ``poses``, ``annotations`` or ``clips``."""
    return tuple(ObjectSpan(**found) for found in row["objects"])


def _shaped(
    flat: NDArray[np.floating] | list[float], row: Mapping[str, Any], dim: int
) -> FloatArray:
    shape = (int(row["num_frames"]), int(row["num_joints"]), dim)
    return np.asarray(flat, np.float32).reshape(shape)
