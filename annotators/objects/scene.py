"""What a clip shows: how many people, which things, and which of them are near a person.

Each detector alone is wrong about a thing in a third of the videos; a label that both give with a
score of 0.4 in 15 % of the frames was right in 19 of 19 videos. Things also lie about, so that a
thing is a person's only near their wrists, hips or ankles. CenterNet alone counts people: at 0.4 it
saw 96 % of the counted people and nobody else. It hardly sees people without a head, so that when
somebody is seen at all is told by NanoDet, with a faint consent of CenterNet.

Shapes: B boxes, K joints, T frames of a track. Boxes are left, top, right, bottom in pixels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from annotators.objects.detector import (
    LABELS,
    PERSON,
    Boxes,
    ObjectDetectors,
    keep_best,
    overlap,
)
from data.arrays import BoolArray, FloatArray, ImageArray
from data.records import ObjectSpan

MIN_SCORE: Final = 0.4
"""Smallest score at which a detector counts as seeing something."""

FAINT_SCORE: Final = 0.25
"""Smallest score at which CenterNet agrees that NanoDet sees somebody. It gives a trunk with arms
0.27 to 0.39; on a kitchen mixer, which NanoDet takes for a person in seven frames, it agrees in two
that are far apart."""

MIN_SHARE: Final = 0.15
"""Smallest share of the sampled frames in which both detectors see a thing that is named."""

MIN_FRAMES: Final = 2
"""Smallest number of these frames."""

_SAME_PLACE: Final = 0.5
"""Overlap of two boxes at one place."""

REACH: Final = 0.12
"""Largest distance of a joint from a thing of the person, in heights of the person's box."""

_NAMES: Final = {"sports ball": "ball", "frisbee": "ball"}
"""The two detectors disagree about which of the two a ball is."""

SCENERY: Final = frozenset(
    (
        *("car", "bus", "train", "truck", "boat", "airplane", "traffic light", "fire hydrant"),
        *("stop sign", "parking meter", "potted plant", "dining table", "toilet", "tv"),
        *("microwave", "oven", "toaster", "sink", "refrigerator", "clock", "vase"),
    )
)
"""Things that people pass or stand beside, which are never named as theirs."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What both detectors see in one frame.

    Attributes:
        step: 0-based index of the analyzed frame.
        pts_s: presentation time of the frame, seconds.
        nanodet, centernet: boxes of the detectors, in pixels of the analyzed frame.
    """

    step: int
    pts_s: float
    nanodet: Boxes
    centernet: Boxes

    def people(self, min_score: float = MIN_SCORE) -> Boxes:
        """Return the people that either detector sees, each once."""
        return keep_best([boxes.of(PERSON, min_score) for boxes in (self.nanodet, self.centernet)])

    def things(self) -> dict[str, list[tuple[float, FloatArray]]]:
        """Return the things that both detectors see, each once: mean score and box, by name."""
        agreed: dict[str, list[tuple[float, FloatArray]]] = {}
        first, second = _by_name(self.nanodet), _by_name(self.centernet)
        for name in first.keys() & second.keys():
            (scores_B, boxes_B4), (other_scores_M, other_boxes_M4) = first[name], second[name]
            near_BM = _near(boxes_B4, other_boxes_M4)
            rows, columns = linear_sum_assignment(near_BM * other_scores_M, maximize=True)
            agreed[name] = [
                (float(scores_B[row] + other_scores_M[column]) / 2, boxes_B4[row])
                for row, column in zip(rows, columns, strict=True)
                if near_BM[row, column]
            ]
        return {name: found for name, found in agreed.items() if found}

    def sees_somebody(self) -> bool:
        """Return whether NanoDet sees a person, or a part of one, and CenterNet does not object."""
        return bool(self.parts_of_people(MIN_SCORE)[1].any())

    def parts_of_people(self, min_score: float) -> tuple[Boxes, FloatArray]:
        """Return what NanoDet takes for people or parts of them, and what CenterNet says of it.

        Args:
            min_score: smallest score of NanoDet.

        Returns:
            The boxes, and for each the score of CenterNet there, (B,); 0 if it gives less than
            :data:`FAINT_SCORE`, if NanoDet gives less than :data:`MIN_SCORE`, or if either is surer
            of another kind of thing.
        """
        people = self.nanodet.of(PERSON, min_score)
        others = self.centernet.of(PERSON, FAINT_SCORE)
        same_BM = overlap(people.boxes_B4, others.boxes_B4) > _SAME_PLACE
        consent_B = (same_BM * others.scores_B).max(axis=1, initial=0.0)
        for place, (score, box_4) in enumerate(zip(people.scores_B, people.boxes_B4, strict=True)):
            if score < MIN_SCORE or self._is_called_otherwise(score, box_4):
                consent_B[place] = 0.0
        return people, consent_B

    def _is_called_otherwise(self, score: float, box_4: FloatArray) -> bool:
        """Return whether a detector is surer of another kind of thing at the place of a person."""
        return any(
            bool(
                (
                    (boxes.labels_B != PERSON)
                    & (boxes.scores_B > score)
                    & (overlap(box_4[None], boxes.boxes_B4)[0] > _SAME_PLACE)
                ).any()
            )
            for boxes in (self.nanodet, self.centernet)
        )


def _by_name(boxes: Boxes) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return scores and boxes of the things that a detector sees surely, by name."""
    groups: dict[str, list[Boxes]] = {}
    for label in np.unique(boxes.labels_B[boxes.labels_B != PERSON]):
        name = LABELS[int(label)]
        found = boxes.of(int(label), MIN_SCORE)
        if len(found.scores_B):
            # One label for both names of a ball, so that it is seen once.
            as_one = replace(found, labels_B=np.zeros_like(found.labels_B))
            groups.setdefault(_NAMES.get(name, name), []).append(as_one)
    merged = {name: keep_best(found) for name, found in groups.items()}
    return {name: (found.scores_B, found.boxes_B4) for name, found in merged.items()}


def _near(first_N4: FloatArray, second_M4: FloatArray) -> BoolArray:
    """Return whether each pair of boxes shows one thing, (N, M).

    The boxes of a small thing hardly overlap, so that near centers are enough.
    """
    center_N2 = (first_N4[:, :2] + first_N4[:, 2:]) / 2
    center_M2 = (second_M4[:, :2] + second_M4[:, 2:]) / 2
    size_N = np.sqrt(np.prod(np.maximum(first_N4[:, 2:] - first_N4[:, :2], 1), axis=1))
    away_NM = np.linalg.norm(center_N2[:, None] - center_M2, axis=2)
    return (overlap(first_N4, second_M4) > 0.3) | (away_NM < 0.7 * size_N[:, None])


class SceneWatch:
    """Runs the detectors on some frames of a clip and keeps what they see.

    Args:
        detectors: the two networks.
        interval_s: time between the frames that are looked at.
    """

    def __init__(self, detectors: ObjectDetectors, interval_s: float) -> None:
        self._detectors = detectors
        self._interval_s = interval_s
        self.sightings: list[Sighting] = []

    def look(self, step: int, pts_s: float, image_HW3: ImageArray) -> Sighting | None:
        """Look at a frame if it is due; the frames come in order of time."""
        if self.sightings and pts_s < self.sightings[-1].pts_s + self._interval_s - 1e-6:
            return None
        self.sightings.append(self.see(step, pts_s, image_HW3))
        return self.sightings[-1]

    def see(self, step: int, pts_s: float, image_HW3: ImageArray) -> Sighting:
        """Return what the detectors see in a frame, in addition to those that are due."""
        return Sighting(
            step, pts_s, self._detectors.nanodet(image_HW3), self._detectors.centernet(image_HW3)
        )


def people_count(sightings: Sequence[Sighting]) -> int | None:
    """Return the largest number of people that CenterNet sees at a time; None without a frame.

    A number must be seen in :data:`MIN_SHARE` of the frames and in two, if there are two, which
    leaves out a chance one.
    """
    if not sightings:
        return None
    counts = sorted(
        (len(s.centernet.of(PERSON, MIN_SCORE).scores_B) for s in sightings), reverse=True
    )
    return counts[min(_needed(sightings), len(counts)) - 1]


def scene_objects(sightings: Sequence[Sighting]) -> tuple[ObjectSpan, ...]:
    """Return the things that a clip surely shows, and when somebody is seen.

    A thing has a span from the first to the last time seen; of several things of a kind each has
    one, as many as are surely seen at the same time. ``person`` has a span for each stretch in
    which somebody is seen, whoever and however many, tracked or not.
    """
    seen: dict[str, list[tuple[float, list[float]]]] = {}
    for sighting in sightings:
        for name, found in sighting.things().items():
            scores = sorted((score for score, _ in found), reverse=True)
            seen.setdefault(name, []).append((sighting.pts_s, scores))
    half_s = _half_interval_s(sightings)
    spans: list[ObjectSpan] = []
    for name, looks in sorted(seen.items()):
        for place in range(max(len(scores) for _, scores in looks)):
            times = [(pts_s, scores[place]) for pts_s, scores in looks if len(scores) > place]
            if len(times) < _needed(sightings):
                break
            spans.append(
                ObjectSpan(
                    name=name,
                    start_s=max(times[0][0] - half_s, sightings[0].pts_s),
                    end_s=min(times[-1][0] + half_s, sightings[-1].pts_s),
                    score=float(np.mean([score for _, score in times])),
                )
            )
    return (*spans, *_somebody(sightings))


def _somebody(sightings: Sequence[Sighting]) -> list[ObjectSpan]:
    """Return the spans in which somebody is seen; two frames in a row are needed."""
    moments = [
        (s.pts_s, float(s.nanodet.of(PERSON, MIN_SCORE).scores_B.max()), "")
        for s in sightings
        if s.sees_somebody()
    ]
    if len(moments) < _needed(sightings):
        return []
    limits_s = (sightings[0].pts_s, sightings[-1].pts_s)
    spans = _spans(LABELS[PERSON], moments, sightings, limits_s)
    interval_s = 2 * _half_interval_s(sightings)
    return [span for span in spans if span.end_s - span.start_s >= interval_s + 1e-6]


def _needed(sightings: Sequence[Sighting]) -> int:
    """Return in how many of the sampled frames a thing is seen that is named."""
    return max(MIN_FRAMES, int(np.ceil(MIN_SHARE * len(sightings))))


def _half_interval_s(sightings: Sequence[Sighting]) -> float:
    """Return half the time between two looks, for which each look stands on both sides."""
    times = [sighting.pts_s for sighting in sightings]
    return float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0


def objects_near(
    sightings: Sequence[Sighting],
    joints: Mapping[str, FloatArray],
    seen: Mapping[str, BoolArray],
    pts_T: FloatArray,
    height_T: FloatArray,
) -> tuple[ObjectSpan, ...]:
    """Return the things near the joints of a person, and when.

    Args:
        sightings: what the detectors saw in the clip.
        joints: positions of the joints to look at, (T, 2) pixels of the analyzed frame, by name.
        seen: whether each joint is seen, (T,), by name.
        pts_T: times of the frames of the track, seconds.
        height_T: height of the person in the image, pixels.
    """
    touches: dict[str, list[tuple[float, float, str]]] = {}
    during = [s for s in sightings if pts_T[0] - 1e-6 <= s.pts_s <= pts_T[-1] + 1e-6]
    for sighting in during:
        frame = int(np.argmin(np.abs(pts_T - sighting.pts_s)))
        visible = {name: joints[name][frame] for name in joints if seen[name][frame]}
        for name, found in sighting.things().items():
            touch = _nearest(found, visible, REACH * float(height_T[frame]))
            if touch is not None and name not in SCENERY:
                touches.setdefault(name, []).append((sighting.pts_s, *touch))
    spans: list[ObjectSpan] = []
    for name, moments in touches.items():
        if len(moments) >= max(MIN_FRAMES, MIN_SHARE * len(during)):
            spans += _spans(name, moments, during, (float(pts_T[0]), float(pts_T[-1])))
    return tuple(sorted(spans, key=lambda span: (span.start_s, span.name)))


def _nearest(
    found: Sequence[tuple[float, FloatArray]], joints: Mapping[str, FloatArray], reach_px: float
) -> tuple[float, str] | None:
    """Return the score of the thing nearest to a joint, and the joint; None if none is near."""
    distances = [
        (
            float(np.linalg.norm(np.maximum(0, np.maximum(box_4[:2] - at_2, at_2 - box_4[2:])))),
            score,
            name,
        )
        for score, box_4 in found
        for name, at_2 in joints.items()
    ]
    distance, score, name = min(distances, default=(np.inf, 0.0, ""))
    return (score, name) if distance <= reach_px else None


def _spans(
    name: str,
    moments: Sequence[tuple[float, float, str]],
    during: Sequence[Sighting],
    limits_s: tuple[float, float],
) -> list[ObjectSpan]:
    """Group the moments at which a thing is near; one missing frame does not end a span."""
    half_s = _half_interval_s(during)
    order = {sighting.pts_s: place for place, sighting in enumerate(during)}
    groups: list[list[tuple[float, float, str]]] = [[moments[0]]]
    for moment in moments[1:]:
        if order[moment[0]] - order[groups[-1][-1][0]] > 2:
            groups.append([])
        groups[-1].append(moment)
    return [
        ObjectSpan(
            name=name,
            start_s=max(group[0][0] - half_s, limits_s[0]),
            end_s=min(group[-1][0] + half_s, limits_s[1]),
            score=float(np.mean([score for _, score, _ in group])),
            near=Counter(joint for _, _, joint in group).most_common(1)[0][0],
        )
        for group in groups
    ]
