"""People of whom only a part is seen, such as legs that walk past or a head before the camera.

The landmark network places a whole body in any crop, so that of such people it places nothing
right. The object detectors see them: a person whom both confirm, who is cut by an edge of the
picture and fills a good part of it, is followed by the box alone.

Boxes are left, top, right, bottom in pixels of the analyzed frame. Shapes: B boxes, T tracks, K
colors, H and W are the size of the frame.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from annotators.objects.detector import overlap
from annotators.objects.scene import Sighting
from annotators.poses.networks.landmarks import Landmarks
from annotators.poses.tracking.search import SUPPORT_SCORE, body_box
from annotators.poses.tracking.tracklets import Tracklet
from data.arrays import FloatArray, ImageArray
from data.records import Frame

MIN_AREA_SHARE: Final = 0.1
"""Smallest part of the picture that a box covers; the landmark network sees smaller people whole.
"""
AT_EDGE_SHARE: Final = 0.03
"""A box ends at an edge of the picture if it is as near, in sides of the picture."""
LOOK_INTERVAL_S: Final = 0.1
"""Time between looks at somebody who is followed. Who walks past close to the camera moves by half
a box in it."""
STEADY_INTERVAL_S: Final = 0.25
STEADY_OVERLAP: Final = 0.6
"""The same for those whose boxes in the last two looks overlap by so much."""
SAME_OVERLAP: Final = 0.2
"""Smallest overlap of the boxes of one person in two looks."""
COVERED_SHARE: Final = 0.5
"""Somebody is tracked by landmarks where the smaller of body and box is so far in the other."""
MAX_UNLIKENESS: Final = 0.28
"""Largest difference of the colors in the boxes of one person in two looks, from 0 (equal) to 1. It
was 0.2 at most, and 0.36 or more where a box went over to somebody else."""
_COLOR_BINS: Final = (6, 8, 8)
_CHROMA: Final = (64, 191)
"""Range of a* and b* in 8 bits that is divided; stronger colors are rare."""
_COLOR_RANGES: Final = (0, 256, 64, 192, 64, 192)
_COLOR_MEMORY: Final = 0.7
MAX_LOST_S: Final = 0.35
MIN_SURE_LOOKS: Final = 4
MIN_SURE_SHARE: Final = 0.5
"""Smallest number of looks, and share of all, in which both detectors see the person. On hands and
on things that look like a person they agree for a moment only."""
CLEAR_SCORES: Final = (0.55, 0.35)
"""Smallest scores of NanoDet and CenterNet in one of these looks at least. Hands at a bottle, which
both take for a person for up to 0.9 s, have at most 0.45 and 0.31, or 0.60 and 0.28; legs, heads
and arms before the camera have 0.58 to 0.82 and 0.36 to 0.54."""
MAX_COVERED: Final = 0.3
"""Largest share of the looks in which somebody is tracked by landmarks there."""


@dataclass(slots=True)
class PartTrack:
    """A person who is followed by the box.

    Attributes:
        steps: 0-based indices of the frames that were looked at and show the person, in order.
        times_s: their presentation times, seconds.
        boxes: the box in each.
        first_colors_K: square roots of the shares of the colors in the box that was seen first.
        colors_K: the same of all boxes, the latest weighing most.
        num_sure: number of looks in which both detectors see the person.
        is_clear: whether a look is so clear as :data:`CLEAR_SCORES` says.
        covered: whether somebody is tracked there by landmarks now.
    """

    steps: list[int]
    times_s: list[float]
    boxes: list[FloatArray]
    first_colors_K: FloatArray
    colors_K: FloatArray
    num_sure: int = 0
    is_clear: bool = False
    covered: bool = False

    def note(self, colors_K: FloatArray, score: float, consent: float) -> None:
        """Take account of a look, with the score of NanoDet and what CenterNet says of it."""
        mixed_K = _COLOR_MEMORY * self.colors_K + (1 - _COLOR_MEMORY) * colors_K
        self.colors_K = mixed_K / np.linalg.norm(mixed_K)
        self.num_sure += int(consent > 0)
        self.is_clear |= score >= CLEAR_SCORES[0] and consent >= CLEAR_SCORES[1]


@dataclass(slots=True)
class _Past:
    """A frame in memory, and what the detectors see in it, if they looked."""

    step: int
    frame: Frame
    sighting: Sighting | None = None


class PartTracker:
    """Follows people of whom only a part is seen. Add the frames of a clip in order.

    Args:
        see: returns what both detectors see in a frame, given its step and time.
        memory_s: time between the regular looks of the detectors, which is followed back.
    """

    def __init__(
        self, see: Callable[[int, float, ImageArray], Sighting], *, memory_s: float
    ) -> None:
        self._see = see
        self._memory_s = memory_s
        self._past: deque[_Past] = deque()
        self._active: list[PartTrack] = []
        self._ended: list[PartTrack] = []
        self._next_look_s = -np.inf

    def add(
        self, step: int, frame: Frame, sighting: Sighting | None, bodies: Sequence[Landmarks]
    ) -> None:
        """Follow everybody into the next frame, and begin with those who are new.

        Args:
            step: 0-based index of the frame.
            frame: the frame.
            sighting: what the detectors see in it, if they looked.
            bodies: the people who are tracked by landmarks in it.
        """
        now_s = frame.pts_s
        self._past.append(_Past(step, frame, sighting))
        while now_s - self._past[0].frame.pts_s > self._memory_s + 1e-6:
            self._past.popleft()
        if sighting is None and self._active and now_s >= self._next_look_s - 1e-6:
            sighting = self._look(self._past[-1])
        if sighting is None:
            return
        known = [box_4 for box_4 in map(body_box, bodies) if box_4 is not None]
        free = self._follow(sighting, frame.image)
        for track in list(self._active):
            track.covered = _is_covered(track.boxes[-1], known)
            if track.covered or now_s - track.times_s[-1] > MAX_LOST_S:
                self._active.remove(track)
                self._ended.append(track)
        for score, consent, box_4 in free:
            if _is_part(box_4, frame.image) and not _is_covered(box_4, known):
                colors_K = _colors(frame.image, box_4)
                track = PartTrack([step], [now_s], [box_4], colors_K, colors_K)
                track.note(colors_K, score, consent)
                self._follow_back(track)
                self._active.append(track)
        steady = all(map(_is_steady, self._active))
        self._next_look_s = now_s + (STEADY_INTERVAL_S if steady else LOOK_INTERVAL_S)

    def finish(self, people: Iterable[Tracklet], min_track_s: float) -> list[PartTrack]:
        """Return those who were surely seen for a time, and are not tracked by landmarks.

        Args:
            people: everybody who is tracked by landmarks.
            min_track_s: shortest time.
        """
        bodies: dict[int, list[FloatArray]] = {}
        for person in people:
            for seen in person.observations:
                box_4 = body_box(seen.landmarks)
                if box_4 is not None:
                    bodies.setdefault(seen.step, []).append(box_4)
        return [
            track
            for track in (*self._ended, *self._active)
            if track.num_sure >= max(MIN_SURE_LOOKS, MIN_SURE_SHARE * len(track.steps))
            and track.is_clear
            and track.times_s[-1] - track.times_s[0] >= min_track_s - LOOK_INTERVAL_S
            and _covered_share(track, bodies) <= MAX_COVERED
        ]

    def _follow(
        self, sighting: Sighting, image_HW3: ImageArray
    ) -> list[tuple[float, float, FloatArray]]:
        """Move everybody to the box in a sighting.

        Returns:
            The boxes of nobody who is known on which both agree, each after its two scores.
        """
        seen, consent_B = sighting.parts_of_people(SUPPORT_SCORE)
        seen_B4 = seen.boxes_B4
        free_B = consent_B > 0
        if self._active and len(seen_B4):
            overlap_TB = overlap(np.array([t.boxes[-1] for t in self._active]), seen_B4)
            rows, columns = linear_sum_assignment(-overlap_TB)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                track = self._active[row]
                colors_K = _colors(image_HW3, seen_B4[column])
                if overlap_TB[row, column] < SAME_OVERLAP or not _is_alike(track, colors_K):
                    continue
                track.steps.append(sighting.step)
                track.times_s.append(sighting.pts_s)
                track.boxes.append(seen_B4[column])
                track.note(colors_K, float(seen.scores_B[column]), float(consent_B[column]))
                free_B[column] = False
            free_B &= overlap_TB.max(axis=0) < SAME_OVERLAP
        return [
            (float(seen.scores_B[place]), float(consent_B[place]), seen_B4[place])
            for place in np.flatnonzero(free_B)
        ]

    def _look(self, past: _Past) -> Sighting:
        """Return what the detectors see in a frame, which they look at once."""
        if past.sighting is None:
            past.sighting = self._see(past.step, past.frame.pts_s, past.frame.image)
        return past.sighting

    def _follow_back(self, track: PartTrack) -> None:
        """Follow somebody new backward through the frames in memory."""
        for past in reversed(self._past):
            frame = past.frame
            if track.times_s[0] - frame.pts_s < LOOK_INTERVAL_S - 1e-6:
                continue
            seen, consent_B = self._look(past).parts_of_people(SUPPORT_SCORE)
            overlap_B = overlap(track.boxes[0][None], seen.boxes_B4)[0]
            if not len(overlap_B) or overlap_B.max() < SAME_OVERLAP:
                break
            best = int(np.argmax(overlap_B))
            colors_K = _colors(frame.image, seen.boxes_B4[best])
            if not _is_alike(track, colors_K):
                break
            track.steps.insert(0, past.step)
            track.times_s.insert(0, frame.pts_s)
            track.boxes.insert(0, seen.boxes_B4[best])
            track.note(colors_K, float(seen.scores_B[best]), float(consent_B[best]))


def _colors(image_HW3: ImageArray, box_4: FloatArray) -> FloatArray:
    """Return the square roots of the shares of the colors in the middle of a box, (K,)."""
    left, top, right, bottom = np.rint(box_4).astype(int).tolist()
    x_px, y_px = (right - left) // 8, (bottom - top) // 8
    middle_HW3 = image_HW3[top + y_px : bottom - y_px, left + x_px : right - x_px]
    lab_HW3 = cv2.cvtColor(np.ascontiguousarray(middle_HW3), cv2.COLOR_RGB2LAB)
    lab_HW3[..., 1:] = np.clip(lab_HW3[..., 1:], *_CHROMA)
    counts = cv2.calcHist([lab_HW3], [0, 1, 2], None, list(_COLOR_BINS), list(_COLOR_RANGES))
    return np.sqrt(counts.ravel() / max(float(counts.sum()), 1.0))


def _is_alike(track: PartTrack, colors_K: FloatArray) -> bool:
    # The latest colors alone would go over to somebody else bit by bit.
    known = (track.first_colors_K, track.colors_K)
    return all(1.0 - float(known_K @ colors_K) <= MAX_UNLIKENESS for known_K in known)


def _is_steady(track: PartTrack) -> bool:
    """Return whether the box hardly moved between the last two looks."""
    if len(track.boxes) < 2:
        return False
    return overlap(track.boxes[-2][None], track.boxes[-1][None])[0, 0] > STEADY_OVERLAP


def _is_part(box_4: FloatArray, image_HW3: ImageArray) -> bool:
    """Return whether a box is large and cut by an edge of the picture."""
    height, width = image_HW3.shape[:2]
    left, top, right, bottom = box_4.tolist()
    margin_x, margin_y = AT_EDGE_SHARE * width, AT_EDGE_SHARE * height
    cut = (
        left < margin_x or top < margin_y or right > width - margin_x or bottom > height - margin_y
    )
    return cut and (right - left) * (bottom - top) >= MIN_AREA_SHARE * width * height


def _is_covered(box_4: FloatArray, bodies: Sequence[FloatArray]) -> bool:
    """Return whether a body lies where a box is."""
    if not bodies:
        return False
    bodies_N4 = np.array(bodies)
    low_N2 = np.maximum(bodies_N4[:, :2], box_4[:2])
    high_N2 = np.minimum(bodies_N4[:, 2:], box_4[2:])
    shared_N = np.prod(np.maximum(high_N2 - low_N2, 0), axis=1)
    smaller_N = np.minimum(
        np.prod(bodies_N4[:, 2:] - bodies_N4[:, :2], axis=1), np.prod(box_4[2:] - box_4[:2])
    )
    return bool((shared_N >= COVERED_SHARE * np.maximum(smaller_N, 1.0)).any())


def _covered_share(track: PartTrack, bodies: dict[int, list[FloatArray]]) -> float:
    covered = [
        _is_covered(box_4, bodies.get(step, []))
        for step, box_4 in zip(track.steps, track.boxes, strict=True)
    ]
    return float(np.mean(covered))
