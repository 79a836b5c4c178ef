"""What the page shows of one clip, motion or rejection, read from the few row groups that have it.

Shapes: T frames of a track at 20 fps, J = 22 joints.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from browser.index.build import PLACED
from browser.index.catalog import Catalog
from browser.media import Portrait, Span
from data.motion.features import features_to_joints
from data.motion.skeleton import FPS, JOINT, JOINT_NAMES, PARENTS
from data.schemas import SCHEMAS, load_boxes, load_features, load_motion, load_track
from data.store.dataset import Dataset, open_part
from data.store.parquet import read_batches, row_group_numbers, table_rows

if TYPE_CHECKING:
    from annotators.motion.describe import MotionDescription

Row = dict[str, Any]


class UnknownItemError(LookupError):
    """The dataset has no item of this id."""


_PARTS_OF_BODY: Final[Mapping[str, tuple[str, ...]]] = {
    "ankles": ("left_ankle", "right_ankle"),
    "feet": ("left_foot", "right_foot", "left_ankle", "right_ankle"),
    "foot": ("left_foot", "right_foot"),
    "steps": ("left_foot", "right_foot", "left_ankle", "right_ankle"),
    "knee": ("left_knee", "right_knee"),
    "knees": ("left_knee", "right_knee"),
    "legs": ("left_knee", "right_knee", "left_ankle", "right_ankle"),
    "leg": ("left_knee", "right_knee", "left_ankle", "right_ankle"),
    "hips": ("left_hip", "right_hip", "pelvis"),
    "pelvis": ("pelvis",),
    "heading": ("pelvis", "left_hip", "right_hip", "left_shoulder", "right_shoulder"),
    "trunk": ("pelvis", "spine1", "spine2", "spine3", "neck"),
    "torso": ("pelvis", "spine1", "spine2", "spine3", "neck"),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "elbow": ("left_elbow", "right_elbow"),
    "elbows": ("left_elbow", "right_elbow"),
    "arms": ("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    "arm": ("left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    "hands": ("left_wrist", "right_wrist"),
    "hand": ("left_wrist", "right_wrist"),
    "wrists": ("left_wrist", "right_wrist"),
    "head": ("head", "neck"),
    "body": ("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
}
_SIDED: Final = re.compile(r"\b(left|right)\s+(\w+)")
_WORD: Final = re.compile(r"\w+")


def deciding_joints(measurement: str) -> list[int]:
    """Return the joints that a measurement names, as indices of the skeleton."""
    text = measurement.lower()
    names = {word for word in _WORD.findall(text) if word in JOINT}

    def of_side(match: re.Match[str]) -> str:
        side, part = match.groups()
        found = [name for name in _PARTS_OF_BODY.get(part, ()) if name.startswith(side)]
        names.update(found)
        return "" if found else match.group()

    rest = _SIDED.sub(of_side, text)
    for word in _WORD.findall(rest):
        names.update(_PARTS_OF_BODY.get(word, ()))
    return sorted(JOINT[name] for name in names)


class Reader:
    """Reads single items of a dataset with the places of its index.

    Args:
        dataset: the dataset, opened at the version of the index.
        catalog: the index.
    """

    def __init__(self, dataset: Dataset, catalog: Catalog) -> None:
        self._dataset = dataset
        self._catalog = catalog
        self._parts = {table: dataset.parts(table) for table in PLACED}
        self._told = lru_cache(maxsize=4)(self._describe)

    def rows(self, table: str, item_id: str) -> list[Row]:
        """Return the rows of an item in a table."""
        numbers: dict[int, list[int]] = {}
        for part, row in self._catalog.places(table, item_id):
            numbers.setdefault(part, []).append(row)
        found: list[Row] = []
        where = {PLACED[table]: [item_id]}
        for part, rows in numbers.items():
            with open_part(self._parts[table][part]) as file:
                groups = sorted(set(row_group_numbers(file)[rows].tolist()))
                for batch in read_batches(file, table, SCHEMAS[table].names, where, groups=groups):
                    found += table_rows(batch)
        return found

    def clip(self, clip_id: str) -> Row:
        """Return everything that the page shows of a clip.

        Raises:
            UnknownItemError: there is no such clip.
        """
        clips = self.rows("clips", clip_id)
        if not clips:
            raise UnknownItemError(clip_id)
        (clip,) = clips[:1]
        videos = self.rows("videos", clip["video_id"])
        annotations = self.rows("annotations", clip_id)
        rejections = self.rejections(clip_id)
        return {
            "kind": "clip",
            "id": clip_id,
            "start_s": clip["start_s"],
            "end_s": clip["end_s"],
            "clip": _plain(clip),
            "video": _plain(videos[0]) if videos else None,
            "people": [_person(row) for row in self.rows("poses", clip_id)],
            "annotations": [_annotation(row) for row in annotations],
            "captions": [_plain(row) for row in self.rows("captions", clip_id)],
            "rejections": [_plain(row) for row in rejections],
            "skeleton": SKELETON,
        }

    def measure(self, clip_id: str, track_id: int, text: str, start_s: float, end_s: float) -> Row:
        """Check what a reviewer wrote against the person's motion, as a step was when annotated.

        The things in the picture are not stored, so that what a text says of them stays open.

        Args:
            clip_id: clip.
            track_id: person.
            text: text of the step.
            start_s: start of the step in the video, seconds.
            end_s: its end.

        Raises:
            UnknownItemError: there is no such person.
        """
        from annotators.grounding.checks import ground_statement  # noqa: PLC0415 - seconds

        told = self._told(clip_id).get(track_id)
        if told is None:
            raise UnknownItemError(f"{clip_id}/{track_id}")
        found = ground_statement(text, told, start_s=start_s, end_s=end_s)
        joints = deciding_joints(found.measurement)
        return {"grounding": asdict(found), "joints": joints}

    def _describe(self, clip_id: str) -> "dict[int, MotionDescription]":
        """Describe the people of a clip whose joints are known, by track."""
        from annotators.motion.pairs import describe_people  # noqa: PLC0415 - seconds

        rows = self.rows("poses", clip_id)
        tracks = [load_track(row) for row in rows if load_boxes(row) is None]
        videos = self.rows("videos", rows[0]["video_id"]) if rows else []
        if not videos:
            return {}
        told = describe_people(tracks, (videos[0]["width_px"], videos[0]["height_px"]))
        return {track.track_id: one for track, one in zip(tracks, told, strict=True)}

    def motion(self, motion_id: str) -> Row:
        """Return everything that the page shows of a motion.

        Raises:
            UnknownItemError: there is no such motion.
        """
        rows = self.rows("motions", motion_id)
        if not rows:
            raise UnknownItemError(motion_id)
        row = rows[0]
        joints_TJ3 = features_to_joints(load_features(row))
        num_frames = len(joints_TJ3)
        person = {
            "track_id": 0,
            "pts_s": _rounded(np.arange(num_frames) / FPS),
            "joints_3d": _rounded(joints_TJ3),
            "valid": [True] * num_frames,
            "quality": row["quality"],
        }
        return {
            "kind": "motion",
            "id": motion_id,
            "start_s": 0.0,
            "end_s": num_frames / FPS,
            "motion": _plain({k: v for k, v in row.items() if k not in ("features", "credible")}),
            "people": [person],
            "annotations": [],
            "captions": [],
            "rejections": [],
            "skeleton": SKELETON,
        }

    def rejection(self, item_id: str) -> Row:
        """Return everything that the page shows of a rejected item, with the place in its video.

        Raises:
            UnknownItemError: there is no such item.
        """
        rows = self.rows("rejections", item_id)
        if not rows:
            raise UnknownItemError(item_id)
        clip_id, _, track_id = item_id.partition("/")
        shown: Row
        try:
            shown = self.clip(clip_id)
        except UnknownItemError:
            entry = self._entry("rejection", item_id)
            videos = self.rows("videos", rows[0]["video_id"]) if rows[0]["video_id"] else []
            shown = {
                "start_s": entry["start_s"] or 0.0,
                "end_s": entry["end_s"],
                "video": _plain(videos[0]) if videos else None,
                "people": [],
                "annotations": [],
                "captions": [],
                "skeleton": SKELETON,
            }
        return {
            **shown,
            "kind": "rejection",
            "id": item_id,
            "track_id": int(track_id) if track_id.isdecimal() else None,
            "rejections": [_plain(row) for row in rows],
        }

    def rejections(self, item_id: str) -> list[Row]:
        """Return the rejections of an item, and those of the people of a clip."""
        ids = [item_id, *self._catalog.ids("rejections", f"{item_id}/")]
        return [row for one in ids for row in self.rows("rejections", one)]

    def span(self, kind: str, item_id: str) -> Span:
        """Return the span of the video that shows an item.

        Raises:
            UnknownItemError: there is no such item, or no video belongs to it.
        """
        row = self._entry(kind, item_id)
        if not row["path"]:
            raise UnknownItemError(item_id)
        start_s = row["start_s"] or 0.0
        end_s = row["end_s"] if row["end_s"] is not None else start_s + 10.0
        return Span(Path(row["path"]), row["video_id"] or "", start_s, end_s)

    def _entry(self, kind: str, item_id: str) -> Row:
        found = self._catalog.entry(kind, item_id)
        if found is None:
            raise UnknownItemError(item_id)
        return found

    def portrait(self, kind: str, item_id: str, track_id: int | None) -> Portrait:
        """Return what a thumbnail of an entry shows: the described person in their first step.

        Raises:
            UnknownItemError: there is no such item, or no video belongs to it.
        """
        span = self.span(kind, item_id)
        middle_s = (span.start_s + span.end_s) / 2
        if kind != "person":
            return Portrait(span, middle_s, None)
        steps = [
            step
            for row in self.rows("annotations", item_id)
            if row["track_id"] == track_id
            for step in row["fine"]
        ]
        if steps:
            longest = max(steps, key=lambda step: step["end_s"] - step["start_s"])
            middle_s = (longest["start_s"] + longest["end_s"]) / 2
        for row in self.rows("poses", item_id):
            if row["track_id"] == track_id and not len(row["boxes"]):
                track = load_track(row)
                frame = int(np.abs(track.pts_s - middle_s).argmin())
                return Portrait(span, float(track.pts_s[frame]), track.joints_2d[frame])
        return Portrait(span, middle_s, None)

    def figures(self, kind: str, item_id: str, track_id: int | None) -> list[Any]:
        """Return up to three poses of an entry for a sketch, each (22, 3) meters.

        Raises:
            UnknownItemError: the entry has no poses.
        """
        if kind == "motion":
            rows = self.rows("motions", item_id)
            motions = [features_to_joints(load_features(row)) for row in rows]
        else:
            rows = self.rows("poses", item_id)
            motions = [load_motion(row) for row in rows if row["track_id"] == track_id]
        if not motions:
            raise UnknownItemError(item_id)
        frames = np.linspace(0, len(motions[0]) - 1, 5).round().astype(int)[1:-1]
        return [np.asarray(motions[0][frame], np.float64) for frame in frames]


SKELETON: Final = {"joints": list(JOINT_NAMES), "parents": list(PARENTS)}


def _person(row: Mapping[str, Any]) -> Row:
    track = load_track(row)
    person: Row = {
        "track_id": track.track_id,
        "pts_s": _rounded(track.pts_s),
        "valid": track.valid.tolist(),
        "quality": track.quality,
        "pose_model": row["pose_model"],
    }
    if track.boxes is not None:
        return {**person, "boxes": _rounded(track.boxes, 1)}
    return {
        **person,
        "joints_3d": _rounded(track.motion_TJ3),
        "joints_2d": _rounded(track.joints_2d, 1),
        "confidence": _rounded(track.confidence, 2),
    }


def _annotation(row: Mapping[str, Any]) -> Row:
    found = _plain(row)
    found["fine"] = [
        {**step, "joints": deciding_joints(step["grounding"]["measurement"] or "")}
        for step in found["fine"] or []
    ]
    return found


def _rounded(array: Any, digits: int = 3) -> list[float]:
    """Return a flat list of numbers that JSON can carry; NaN becomes 0."""
    return np.nan_to_num(np.asarray(array, np.float64).round(digits)).ravel().tolist()


def _plain(value: Any) -> Any:
    """Return a value of a row as JSON knows it."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
