"""Where to look for people in a frame, and which places were looked at in vain.

Boxes are left, top, right, bottom in pixels of the analyzed frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from annotators.objects.detector import PERSON, Boxes, overlap
from annotators.objects.scene import MIN_SCORE, Sighting
from annotators.poses.networks.landmarks import Detection, Landmarks, Roi
from annotators.poses.tracking.tracklets import Observation
from data.arrays import BoolArray, FloatArray

WINDOW_STEP: Final = 0.65
"""Distance between neighboring windows in shares of their side: all people smaller than the rest
of the side lie whole in one of them."""

Window = tuple[int, int, int, int]

_UPRIGHT_SIDE, _UPRIGHT_CENTER = 1.38, 0.51
"""Side of the square that the landmark network wants, and its center from the top, in heights of
the box around a whole upright person: medians of 142 boxes of NanoDet on tracked people."""

_UPPER_SIDE, _UPPER_CENTER = 2.55, 0.93
"""The same for a person whose legs lie below the picture."""

_HEADLESS_SIDE, _HEADLESS_CENTER = 3.6, 0.1
"""The same for trunk and arms whose head lies above the picture, behind a table: where both crops
of the first frame agree on the person who pours coffee."""

_LYING_SIDE: Final = 1.3
"""Side of the square around a lying person, in widths of the box."""
_LYING_ASPECT: Final = 1.25
"""A box that is wider than this many heights may hold a lying person."""
_AT_EDGE: Final = 0.06
"""A box ends at an edge of the picture if it is as near, in heights of the picture."""

_MIN_VISIBILITY: Final = 0.3
_MARGIN: Final = 0.06
"""Outline of a body beyond its joints, in heights of the box of the joints."""

SUPPORT_SCORE: Final = 0.3
SUPPORT_OVERLAP: Final = 0.3
"""A detector sees the person of a body if it gives a box of this score and overlap."""

_SAME_PLACE: Final = 0.5
"""Overlap of two boxes at one place."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_STRICTNESS, _STRICTEST = 0.75, 0.4
"""Each refusal makes the next one more likely: the limit for this place is multiplied."""


def search_windows(width_px: int, height_px: int) -> list[Window]:
    """Return the frame and the squares that cover it, as (left, top, right, bottom), pixels."""
    side = min(width_px, height_px)
    whole: Window = (0, 0, width_px, height_px)
    squares = [
        (left, top, min(left + side, width_px), min(top + side, height_px))
        for top in _window_starts(height_px, side)
        for left in _window_starts(width_px, side)
    ]
    return [whole, *(window for window in squares if window != whole)]


def _window_starts(length_px: int, side_px: int) -> list[int]:
    spare = max(0, length_px - side_px)
    count = 1 + math.ceil(spare / (side_px * WINDOW_STEP))
    return [round(v) for v in np.linspace(0, spare, count)]


def body_squares(box_4: FloatArray, frame_height_px: int) -> list[Roi]:
    """Return the squares in which the person of a box may be, the likeliest first."""
    left, top, right, bottom = (float(v) for v in box_4)
    x_px, width, height = (left + right) / 2, max(right - left, 2.0), max(bottom - top, 2.0)
    upright = Roi(x_px, top + _UPRIGHT_CENTER * height, _UPRIGHT_SIDE * height, 0.0)
    upper = Roi(x_px, top + _UPPER_CENTER * height, _UPPER_SIDE * height, 0.0)
    if width > _LYING_ASPECT * height:
        y_px = (top + bottom) / 2
        lying = [Roi(x_px, y_px, _LYING_SIDE * width, turn) for turn in (math.pi / 2, -math.pi / 2)]
    else:
        lying = []
    if bottom >= (1 - _AT_EDGE) * frame_height_px:
        # Legs may hang below the picture; a person who is as wide as that is hardly whole.
        return [upper, upright, *lying] if width > 0.6 * height else [upright, upper, *lying]
    squares = [*lying, upright]
    if top <= _AT_EDGE * frame_height_px:
        y_px = top + _HEADLESS_CENTER * height
        squares.append(Roi(x_px, y_px, _HEADLESS_SIDE * height, 0.0))
    return squares


def body_box(landmarks: Landmarks) -> FloatArray | None:
    """Return the box around the visible landmarks of a body, (4,); None if hardly any is."""
    seen_N = landmarks.visibility_N > _MIN_VISIBILITY
    if seen_N.sum() < 4:
        return None
    points_K2 = landmarks.image_N2[seen_N]
    low_2, high_2 = points_K2.min(axis=0), points_K2.max(axis=0)
    margin = _MARGIN * float(high_2[1] - low_2[1])
    return np.concatenate([low_2 - margin, high_2 + margin]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A place where a person may be.

    Attributes:
        score: score of the detector, 0..1.
        box_4: box around the person; for a face, the square around the body.
        squares: squares for the landmark network, the likeliest first.
        is_sure: whether both object detectors see a person there.
        face_4: box of the face, if that is what was detected.
    """

    score: float
    box_4: FloatArray
    squares: tuple[Roi, ...]
    is_sure: bool = False
    face_4: FloatArray | None = None

    def fits(self, body: Landmarks) -> bool:
        """Return whether a body that was found from this proposal is the one that it shows."""
        if self.face_4 is not None:
            return True
        box_4 = body_box(body)
        return box_4 is not None and overlap(box_4[None], self.box_4[None])[0, 0] > SUPPORT_OVERLAP


def from_face(detection: Detection) -> Proposal:
    """Return the proposal of the face detector."""
    half = detection.roi.size_px / 2
    x_px, y_px = detection.roi.x_px, detection.roi.y_px
    box_4 = np.array([x_px - half, y_px - half, x_px + half, y_px + half], np.float32)
    return Proposal(detection.score, box_4, (detection.roi,), face_4=detection.box_4)


def untracked(
    sighting: Sighting, bodies: Sequence[Landmarks], frame_height_px: int
) -> list[Proposal]:
    """Return proposals for the boxes of people that belong to none of the tracked bodies.

    Each body takes one box, so that a second person behind a tracked one is proposed, unless
    their boxes are nearly equal.
    """
    people = sighting.people()
    sure_B = _seen_by_both(sighting, people)
    free = np.ones(len(people.scores_B), bool)
    known = [box_4 for box_4 in map(body_box, bodies) if box_4 is not None]
    if known and len(free):
        overlap_NB = overlap(np.array(known), people.boxes_B4)
        rows, columns = linear_sum_assignment(-overlap_NB)
        free[columns[overlap_NB[rows, columns] > SUPPORT_OVERLAP]] = False
        free &= overlap_NB.max(axis=0) < _SAME_PLACE
    return [
        Proposal(
            float(people.scores_B[place]),
            people.boxes_B4[place],
            tuple(body_squares(people.boxes_B4[place], frame_height_px)),
            is_sure=bool(sure_B[place]),
        )
        for place in np.flatnonzero(free)
    ]


def _seen_by_both(sighting: Sighting, people: Boxes) -> BoolArray:
    """Return whether both detectors see each of some people, (B,)."""
    sure_B = np.ones(len(people.scores_B), bool)
    for boxes in (sighting.nanodet, sighting.centernet):
        seen = boxes.of(PERSON, MIN_SCORE)
        overlap_BM = overlap(people.boxes_B4, seen.boxes_B4)
        sure_B &= (overlap_BM > _SAME_PLACE).any(axis=1)
    return sure_B


def is_supported(body: Landmarks, sighting: Sighting) -> bool:
    """Return whether a detector sees a person where a body is."""
    return _detectors_that_see(body, sighting) > 0


def _detectors_that_see(body: Landmarks, sighting: Sighting) -> int:
    box_4 = body_box(body)
    if box_4 is None:
        return 0
    people = [boxes.of(PERSON, SUPPORT_SCORE) for boxes in (sighting.nanodet, sighting.centernet)]
    return sum(
        bool((overlap(box_4[None], boxes.boxes_B4) > SUPPORT_OVERLAP).any()) for boxes in people
    )


def support(
    observations: Sequence[Observation], sightings: Sequence[Sighting]
) -> tuple[float, float]:
    """Return the share of the sightings in which a detector, and both, see the person of a track.

    Without a sighting they are 1 and 0.
    """
    body_at = {seen.step: seen.landmarks for seen in observations}
    found = [_detectors_that_see(body_at[s.step], s) for s in sightings if s.step in body_at]
    if not found:
        return 1.0, 0.0
    return float(np.mean([n > 0 for n in found])), float(np.mean([n == 2 for n in found]))


@dataclass(slots=True)
class _Refusal:
    box_4: FloatArray
    count: int
    next_try_s: float


class Refusals:
    """The places at which nobody was confirmed.

    A thing that resembles a person is proposed again and again, and would pass by chance one day.
    So a place is tried at ever longer intervals, and with ever stricter limits.
    """

    def __init__(self) -> None:
        self._places: list[_Refusal] = []

    def may_try(self, box_4: FloatArray, now_s: float) -> bool:
        """Return whether a place is due."""
        known = self._at(box_4)
        return known is None or now_s >= known.next_try_s - 1e-6

    def strictness(self, box_4: FloatArray) -> float:
        """Return the factor on the limits of the checks for a place, at most 1."""
        known = self._at(box_4)
        return 1.0 if known is None else max(_STRICTEST, _STRICTNESS**known.count)

    def add(self, box_4: FloatArray, now_s: float) -> None:
        """Note that nobody was confirmed at a place."""
        known = self._at(box_4)
        if known is None:
            known = _Refusal(box_4, 0, now_s)
            self._places.append(known)
        known.box_4 = box_4
        known.next_try_s = now_s + min(_FIRST_WAIT_S * 2**known.count, _LONGEST_WAIT_S)
        known.count += 1

    def _at(self, box_4: FloatArray) -> _Refusal | None:
        for known in self._places:
            if overlap(box_4[None], known.box_4[None])[0, 0] > _SAME_PLACE:
                return known
        return None
