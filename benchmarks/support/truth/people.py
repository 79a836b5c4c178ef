"""Tracks matched to labeled people: who was found, invented, or mistaken for somebody else.

Shapes: T frames of a track at 20 fps, J = 22 joints. Boxes are (4,) pixels: left, top, right,
bottom.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.support.truth.labels import LabeledPerson
from data.arrays import FloatArray
from data.records import PoseTrack

MIN_IOU: Final = 0.3
"""Labeled boxes are drawn to 5 % of their size, and joints lie inside the outline of a body."""
MIN_FOUND_SHARE: Final = 0.5
"""A person is found if a track lies on at least this share of the marked boxes."""
TOLERANCE_S: Final = 0.1
"""A track is compared with a box at the frame nearest in time, if it is as near as this."""
NEAR_IOU: Final = 0.1
"""Between the marked boxes the place is interpolated, so that a smaller overlap is enough."""
MIN_CONFIDENCE: Final = 0.3
MARGIN: Final = 0.08
"""Outline of a body beyond its joints, in heights of the box of the joints."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundTrack:
    """A track of a clip of a video.

    Attributes:
        clip_id: the clip.
        track: the track.
    """

    clip_id: str
    track: PoseTrack

    @property
    def name(self) -> str:
        """Short name for reports, with the span."""
        pts_s = self.track.pts_s
        return f"track {self.track.track_id} of {pts_s[0]:.1f}-{pts_s[-1]:.1f} s"


@dataclass(slots=True)
class Matched:
    """The tracks of a video matched to its labeled people.

    Attributes:
        tracks_of: tracks of each labeled person, by index in the list of people.
        share_of: share of the marked boxes of each person on which a track lies.
        invented: tracks that lie on nobody.
        in_crowd: tracks that lie on no labeled person of a crowd in which not all are labeled.
        slips: tracks that lie on several people, with the indices of the people.
        fragments: number of tracks beyond the first of a person in one clip.
    """

    tracks_of: dict[int, list[FoundTrack]] = field(default_factory=dict[int, list[FoundTrack]])
    share_of: dict[int, float] = field(default_factory=dict[int, float])
    invented: list[FoundTrack] = field(default_factory=list[FoundTrack])
    in_crowd: list[FoundTrack] = field(default_factory=list[FoundTrack])
    slips: list[tuple[FoundTrack, tuple[int, ...]]] = field(
        default_factory=list[tuple[FoundTrack, tuple[int, ...]]]
    )
    fragments: int = 0

    def found(self, index: int) -> bool:
        """Return whether a person is found."""
        return self.share_of.get(index, 0.0) >= MIN_FOUND_SHARE


def frame_at(track: PoseTrack, time_s: float) -> int | None:
    """Return the frame of a track at a time; None if it has none there."""
    frame = int(np.argmin(np.abs(track.pts_s - time_s)))
    return frame if abs(float(track.pts_s[frame]) - time_s) <= TOLERANCE_S else None


def box_of(track: PoseTrack, frame: int, frame_size_px: tuple[int, int]) -> FloatArray | None:
    """Return the box of a body at a frame, inside the picture; None if no joint is seen.

    Args:
        track: the track.
        frame: index of the frame.
        frame_size_px: (width, height) of the picture.
    """
    if track.boxes is not None:
        return track.boxes[frame]
    points_J2 = track.joints_2d[frame]
    inside_J = ((points_J2 >= 0) & (points_J2 <= frame_size_px)).all(1)
    seen_J = inside_J & (track.confidence[frame] >= MIN_CONFIDENCE)
    if seen_J.sum() < 2:
        return None
    low_2, high_2 = points_J2[seen_J].min(0), points_J2[seen_J].max(0)
    margin = MARGIN * float(high_2[1] - low_2[1])
    box_4 = np.concatenate([low_2 - margin, high_2 + margin])
    return np.clip(box_4, 0, [*frame_size_px, *frame_size_px])


def iou(first_4: FloatArray, second_4: FloatArray) -> float:
    """Return the intersection over union of two boxes."""
    low_2, high_2 = np.maximum(first_4[:2], second_4[:2]), np.minimum(first_4[2:], second_4[2:])
    shared = float(np.prod(np.maximum(high_2 - low_2, 0)))
    areas = [float(np.prod(box_4[2:] - box_4[:2])) for box_4 in (first_4, second_4)]
    return shared / max(sum(areas) - shared, 1e-9)


def match_people(
    people: Sequence[LabeledPerson], tracks: Sequence[FoundTrack], frame_size_px: tuple[int, int]
) -> Matched:
    """Match the tracks of a video to its labeled people.

    At each marked time, tracks and visible people are matched one to one, with the largest sum of
    overlaps, of those marked at that time. A track belongs to the person on whose boxes it lies
    most often. A track that lies on the boxes of several people is a slip. A track that lies on no
    marked box belongs to the person near whose interpolated boxes it stays; if there is none, it is
    invented.
    """
    votes = [Counter[int]() for _ in tracks]
    times = sorted({time_s for person in people for time_s in person.times_s})
    hits = Counter[int]()
    for time_s in times:
        marked = [
            (index, person.boxes[person.times_s.index(time_s)])
            for index, person in enumerate(people)
            if time_s in person.times_s
        ]
        boxes = [(row, b) for row, b in _boxes_at(tracks, time_s, frame_size_px) if b is not None]
        for row, index in _assigned(boxes, marked):
            votes[row][index] += 1
            hits[index] += 1
    matched = Matched()
    for index, person in enumerate(people):
        matched.share_of[index] = hits[index] / len(person.times_s)
    for track, vote in zip(tracks, votes, strict=True):
        owner = vote.most_common(1)[0][0] if vote else _nearest(people, track, frame_size_px)
        if len(vote) > 1:
            matched.slips.append((track, tuple(sorted(vote))))
        if owner is not None:
            matched.tracks_of.setdefault(owner, []).append(track)
        elif any(person.role == "crowd" for person in people):
            matched.in_crowd.append(track)
        else:
            matched.invented.append(track)
    _set_hands_aside(people, matched)
    for found in matched.tracks_of.values():
        matched.fragments += len(found) - len({track.clip_id for track in found})
    return matched


def _set_hands_aside(people: Sequence[LabeledPerson], matched: Matched) -> None:
    """Where only hands are seen, a track invents the body."""
    for index, person in enumerate(people):
        if person.role == "no_body":
            matched.invented += matched.tracks_of.pop(index, [])


def _boxes_at(
    tracks: Sequence[FoundTrack], time_s: float, frame_size_px: tuple[int, int]
) -> list[tuple[int, FloatArray | None]]:
    frames = [frame_at(found.track, time_s) for found in tracks]
    return [
        (row, None if frame is None else box_of(found.track, frame, frame_size_px))
        for row, (found, frame) in enumerate(zip(tracks, frames, strict=True))
    ]


def _assigned(
    boxes: Sequence[tuple[int, FloatArray]], marked: Sequence[tuple[int, FloatArray]]
) -> list[tuple[int, int]]:
    """Return pairs of a track and a person at one time."""
    if not boxes or not marked:
        return []
    overlaps_TP = np.array([[iou(box, person) for _, person in marked] for _, box in boxes])
    overlaps_TP[overlaps_TP < MIN_IOU] = 0.0
    rows, columns = linear_sum_assignment(-overlaps_TP)
    return [
        (boxes[row][0], marked[column][0])
        for row, column in zip(rows, columns, strict=True)
        if overlaps_TP[row, column] > 0
    ]


def _nearest(
    people: Sequence[LabeledPerson], found: FoundTrack, frame_size_px: tuple[int, int]
) -> int | None:
    """Return the person near whom a track stays for most of its time."""
    votes = Counter[int]()
    frames = range(0, found.track.num_frames, 4)
    for frame in frames:
        time_s = float(found.track.pts_s[frame])
        box = box_of(found.track, frame, frame_size_px)
        near = [
            (iou(box, person.box_near(time_s)), index)
            for index, person in enumerate(people)
            if box is not None and person.is_visible(time_s)
        ]
        best, index = max(near, default=(0.0, -1))
        if best >= NEAR_IOU:
            votes[index] += 1
    index, count = votes.most_common(1)[0] if votes else (-1, 0)
    return index if count >= 0.5 * len(frames) else None
