"""The samples of an export: described people with their joints, and motions with their features.

Shapes: T frames at 20 fps, 22 joints, 263 features.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from data.arrays import FloatArray
from data.motion.features import features_to_joints
from data.motion.skeleton import FPS
from data.motion.splits import SplitConfig, split_of
from data.schemas import Row, load_features, load_motion
from data.store.dataset import Dataset, RowIndex
from data.store.parquet import table_rows

_PERSON: Final = ("clip_id", "track_id", "sample", "video_id", "start_s", "end_s", "activity")
_MOTION: Final = ("motion_id", "clip_id", "track_id", "video_id", "source", "source_id", "group")
_READ: Final = (
    *_PERSON,
    *("coarse", "medium", "fine", "medium_grounding", "grounding_score", "annotator", "outcome"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A described person, or a motion.

    Attributes:
        key: unique name of letters, digits, ``-`` and ``_``.
        split: ``train``, ``val`` or ``test``.
        about: ids, texts with their times and verdicts, and origin, as JSON knows them.
        captions: texts of the whole motion.
        joints_TJ3: positions, (T, 22, 3), meters, y up.
        features_TD: features of HumanML3D, (T, 263); None for people.
    """

    key: str
    split: str
    about: Row
    captions: tuple[str, ...]
    joints_TJ3: FloatArray
    features_TD: FloatArray | None


def count_samples(dataset: Dataset) -> int:
    """Return the greatest number of samples that a dataset may have."""
    return dataset.num_rows("annotations") + dataset.num_rows("motions")


def read_samples(dataset: Dataset) -> Iterator[Sample | None]:
    """Read the samples of a dataset, a few at a time.

    Yields:
        A sample for every annotation and every motion; None where there is none: an annotation
        failed, or describes a person without joints.

    Raises:
        DatasetError: a part is missing or damaged.
    """
    splits = {
        row["video_id"]: row["split"]
        for row in dataset.rows("motions", ["video_id", "split"])
        if row["video_id"]
    }
    if dataset.num_rows("annotations"):
        poses = RowIndex(dataset, "poses", "clip_id")
        for batch in dataset.batches("annotations", _READ):
            rows = list(table_rows(batch))
            found = poses.get({row["clip_id"] for row in rows})
            for row in rows:
                of_clip = found.get(row["clip_id"], [])
                pose = next((p for p in of_clip if p["track_id"] == row["track_id"]), None)
                yield _person(row, pose, splits)
    for row in dataset.rows("motions"):
        yield _motion(row)


def _person(row: Row, pose: Row | None, splits: Mapping[str, str]) -> Sample | None:
    if pose is None or len(pose["boxes"]) or row["outcome"] != "success":
        return None
    verdicts = [one["verdict"] for one in row["medium_grounding"]]
    medium = list(row["medium"])
    about = {
        "kind": "person",
        **{name: _plain(row[name]) for name in _PERSON},
        "fps": FPS,
        "coarse": row["coarse"],
        "medium": [
            {"text": text, "verdict": verdicts[i] if i < len(verdicts) else None}
            for i, text in enumerate(medium)
        ],
        "fine": [_step(step) for step in row["fine"]],
        "grounding_score": _plain(row["grounding_score"]),
        "annotator": row["annotator"],
    }
    # The clips of a video are a group, see docs/dataset.md.
    video = row["video_id"]
    split = splits.get(video) or split_of(f"video/{video}", SplitConfig())
    key = f"person-{row['clip_id']}-{row['track_id']}-{row['sample']}"
    return Sample(key, split, about, tuple(medium), load_motion(pose), None)


def _motion(row: Row) -> Sample:
    texts = [
        {name: _plain(text[name]) for name in ("text", "level", "source", "start_s", "end_s")}
        for text in row["texts"]
    ]
    about = {
        "kind": "motion",
        **{name: _plain(row[name]) for name in _MOTION},
        "mirrored_of": row["mirrored_of"],
        "fps": FPS,
        "labels": list(row["labels"]),
        "texts": texts,
        "license": row["license"],
    }
    captions = tuple(text["text"] for text in texts if text["level"] != "fine")
    features_TD = load_features(row)
    joints_TJ3 = features_to_joints(features_TD)
    key = f"motion-{row['motion_id']}"
    return Sample(key, row["split"], about, captions, joints_TJ3, features_TD)


def _step(step: Mapping[str, Any]) -> Row:
    found = {name: _plain(step[name]) for name in ("text", "start_s", "end_s")}
    return found | {name: step["grounding"][name] for name in ("verdict", "measurement")}


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; numbers that are not finite become null."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
