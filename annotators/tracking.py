"""Follow several people through the frames of one clip.

Every person found is followed by running the landmark network where the last frame says the body
is. People are looked for in the whole frame and in overlapping windows of it, because the detector
misses people who are small in its view. Whoever is found late is also followed backwards through
the last frames, which are kept for that.

A hallucinated person is told from a real one by asking twice: the network is shown the mirror
image of the crop, and a slightly moved one. Joints of real people land on the same pixels; invented
ones do not (measured on 21 clips: 0.5-3 % of the body's square against 4-20 %).

Shapes: H, W frame as analysed; N = 33 landmarks; T observations; K candidates.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from annotators.pose_model import MIRRORED_LANDMARKS, Detection, Image, Landmarks, PoseModel, Roi
from data.records import Frame

Float = NDArray[np.float32]

WINDOW_SHARES: Final = (1.0, 0.62, 0.4)
"""Sides of the square search windows, in shares of the frame's shorter side."""

WINDOW_STEP: Final = 0.62
"""Distance between neighbouring windows in shares of their side: all people smaller than the rest
of the side lie whole in one of them."""

MAX_DISAGREEMENT: Final = 0.032
"""Mean distance between two opinions on the joints, in sides of the body's square."""

MAX_CANDIDATES: Final = 8
"""Proposals that are examined in one search."""

SAME_PERSON: Final = 0.09
"""Mean distance between joints, in sides of the body's square, below which two are one person."""

_BODY: Final = (0, 7, 8, *range(11, 33))
"""Landmarks that are compared: the face's details would outvote the limbs."""

_TRACK_WINDOW = 1.15
_MAX_ROI_CHANGE = 0.2
_STRANGER_APPEARANCE = 0.6


@dataclass(frozen=True, slots=True)
class Observation:
    """A person in one analysed frame.

    Attributes:
        step: 0-based number of the analysed frame.
        pts_s: its time.
        landmarks: in pixels of the analysed frame.
    """

    step: int
    pts_s: float
    landmarks: Landmarks


@dataclass(slots=True)
class Tracklet:
    """One person through the clip, with the frames in which it was seen."""

    observations: list[Observation]
    appearance: Float | None
    num_agreed: int = 1
    num_checked: int = 1
    last_agreed_step: int = 0
    failed_checks: int = 0
    shadowed_steps: int = 0
    lost_since_s: float | None = None

    @property
    def last(self) -> Observation:
        """The latest observation."""
        return self.observations[-1]

    @property
    def reliability(self) -> float:
        """Share of the checks in which both opinions agreed, 0..1."""
        return self.num_agreed / self.num_checked

    def predict_roi(self, pts_s: float) -> Roi:
        """Where the person is expected at a time, going on as in the last frames."""
        roi = self.last.landmarks.next_roi
        if len(self.observations) < 3:
            return roi
        before = self.observations[-3]
        past_s = self.last.pts_s - before.pts_s
        ahead_s = pts_s - self.last.pts_s
        if past_s <= 0 or past_s > 0.7:
            return roi
        # Not farther than was seen: a body does not keep its speed for long.
        share = min(ahead_s, past_s) / past_s
        dx = (roi.x_px - before.landmarks.next_roi.x_px) * share
        dy = (roi.y_px - before.landmarks.next_roi.y_px) * share
        reach = math.hypot(dx, dy) / (0.35 * roi.size_px)
        if reach > 1:
            dx, dy = dx / reach, dy / reach
        return Roi(roi.x_px + dx, roi.y_px + dy, roi.size_px, roi.rotation_rad)


def search_windows(width_px: int, height_px: int) -> list[list[tuple[int, int, int, int]]]:
    """Where to look for people: the whole frame, then one list of windows per scale."""
    groups = [[(0, 0, width_px, height_px)]]
    for share in WINDOW_SHARES:
        side = max(64, round(min(width_px, height_px) * share))
        if side >= max(width_px, height_px):
            continue
        lefts, tops = _window_starts(width_px, side), _window_starts(height_px, side)
        groups.append(
            [
                (left, top, min(left + side, width_px), min(top + side, height_px))
                for top in tops
                for left in lefts
            ]
        )
    return groups


def _window_starts(length_px: int, side_px: int) -> list[int]:
    spare = max(0, length_px - side_px)
    count = 1 + math.ceil(spare / (side_px * WINDOW_STEP))
    return [round(v) for v in np.linspace(0, spare, count)]


def disagreement(first: Landmarks, second: Landmarks) -> float:
    """How far two opinions on one body lie apart, in sides of its square; hidden joints count less.

    Left and right may be exchanged between the two: a body seen from behind is still a body.
    """
    size_px = 0.5 * (first.next_roi.size_px + second.next_roi.size_px)
    weights = first.visibility_N[list(_BODY)] + 1e-3
    distances: list[float] = []
    for order in (range(33), MIRRORED_LANDMARKS):
        offset_N2 = first.image_N2 - second.image_N2[list(order)]
        distance_K = np.linalg.norm(offset_N2[list(_BODY)], axis=1)
        distances.append(float(np.average(distance_K, weights=weights)))
    return min(distances) / size_px


def appearance_of(image_HW3: Image, landmarks: Landmarks) -> Float | None:
    """Colours of a person's torso and thighs: a normalised histogram, or None when hidden."""
    points = landmarks.image_N2
    parts: list[Float] = []
    for corners in ((11, 12, 24, 23), (23, 24, 26, 25)):
        patch = _patch(image_HW3, points[list(corners)])
        if patch is None:
            continue
        lab = cv2.cvtColor(patch[None], cv2.COLOR_RGB2LAB)
        hist = cv2.calcHist([lab], [0, 1, 2], None, [4, 8, 8], [0, 256, 64, 192, 64, 192]).ravel()
        total = float(hist.sum())
        if total > 0:
            parts.append((hist / total).astype(np.float32))
        if not parts:
            return None
    return np.concatenate([parts[0], parts[-1]]) / 2 if parts else None


def _patch(image_HW3: Image, corners_42: Float) -> NDArray[np.uint8] | None:
    """Colours at a grid of points inside a quadrangle, (K, 3), or None when outside the image."""
    u, v = np.meshgrid(np.linspace(0.15, 0.85, 12), np.linspace(0.1, 0.9, 12))
    u, v = u.reshape(-1, 1), v.reshape(-1, 1)
    top = corners_42[0] * (1 - u) + corners_42[1] * u
    bottom = corners_42[3] * (1 - u) + corners_42[2] * u
    points_K2 = np.rint(top * (1 - v) + bottom * v).astype(np.int64)
    height, width = image_HW3.shape[:2]
    inside = ((points_K2 >= 0) & (points_K2 < [width, height])).all(axis=1)
    if inside.mean() < 0.5:
        return None
    points_K2 = points_K2[inside]
    return image_HW3[points_K2[:, 1], points_K2[:, 0]]


def appearance_distance(first: Float | None, second: Float | None) -> float:
    """Hellinger distance of two appearances, 0 (same colours) to 1; 0.5 when one is unknown."""
    if first is None or second is None:
        return 0.5
    return math.sqrt(max(0.0, 1.0 - float(np.sqrt(first * second).sum())))


class PeopleTracker:
    """Feed it the frames of a clip in order, then call :meth:`finish`.

    Args:
        model: the networks.
        max_people: people followed at the same time.
        search_interval_s: how often new people are looked for.
        check_interval_s: how often a followed person is checked by a second opinion.
        min_presence: the network's own probability that a crop shows a person.
        min_detection: score from which a proposal is examined.
        max_gap_s: how long a person may be lost and still be the same one.
    """

    def __init__(
        self,
        model: PoseModel,
        *,
        max_people: int,
        search_interval_s: float,
        check_interval_s: float,
        min_presence: float,
        min_detection: float,
        max_gap_s: float,
    ) -> None:
        self._model = model
        self._max_people = max_people
        self._search_interval_s = search_interval_s
        self._check_interval_s = check_interval_s
        self._min_presence = min_presence
        self._min_detection = min_detection
        self._max_gap_s = max_gap_s
        self._active: list[Tracklet] = []
        self._lost: list[Tracklet] = []
        self._ended: list[Tracklet] = []
        self._past: deque[tuple[int, float, Image]] = deque()
        self._step = -1
        self._num_searches = 0
        self._next_search_s = -math.inf
        self._next_check_s = -math.inf

    def add(self, frame: Frame) -> None:
        """Follow everyone into the next frame, and look for more people when it is time."""
        self._step += 1
        image, now_s = frame.image, frame.pts_s
        self._past.append((self._step, now_s, image))
        while now_s - self._past[0][1] > self._search_interval_s + 1e-6:
            self._past.popleft()

        check = now_s >= self._next_check_s
        if check:
            self._next_check_s = now_s + self._check_interval_s
        self._follow(image, now_s, check=check)
        self._drop_shadows(image)
        self._retire(now_s)
        if now_s >= self._next_search_s:
            self._search(image, now_s)
            self._next_search_s = now_s + self._search_interval_s

    def finish(self) -> list[Tracklet]:
        """Everyone who was followed, in order of first appearance."""
        for track in [*self._active, *self._lost]:
            self._end(track)
        self._active, self._lost = [], []
        people = _without_doubles(self._ended)
        return sorted(people, key=lambda track: track.observations[0].step)

    # ------------------------------------------------------------------------------- following

    def _look(self, image: Image, roi: Roi) -> Landmarks | None:
        """Landmarks at a place, looked at again when the body fills the square differently."""
        landmarks = self._model.landmarks(image, roi)
        if landmarks.presence < self._min_presence:
            return None
        seen = landmarks.next_roi
        moved = math.hypot(seen.x_px - roi.x_px, seen.y_px - roi.y_px) / roi.size_px
        if moved > _MAX_ROI_CHANGE or abs(math.log(seen.size_px / roi.size_px)) > _MAX_ROI_CHANGE:
            landmarks = self._model.landmarks(image, seen)
            if landmarks.presence < self._min_presence:
                return None
        return landmarks if _mostly_inside(landmarks, image) else None

    def _agrees(self, image: Image, landmarks: Landmarks, *, thorough: bool) -> bool:
        """Whether a second opinion (a third, when thorough) puts the joints at the same pixels."""
        roi = landmarks.next_roi
        second = self._model.landmarks(image, roi, mirrored=True)
        if second.presence < self._min_presence:
            return False
        if disagreement(landmarks, second) > MAX_DISAGREEMENT:
            return False
        if not thorough:
            return True
        moved = roi.varied(shift=(0.04, -0.03), scale=1.12, turn_rad=0.15)
        third = self._model.landmarks(image, moved)
        return (
            third.presence >= self._min_presence
            and disagreement(landmarks, third) <= 1.3 * MAX_DISAGREEMENT
        )

    def _follow(self, image: Image, now_s: float, *, check: bool) -> None:
        for track in [*self._active, *self._lost]:
            was_lost = track.lost_since_s is not None
            landmarks = self._look(image, track.predict_roi(now_s))
            if landmarks is not None and was_lost:
                known = self._is_known_elsewhere(landmarks, track)
                stranger = (
                    appearance_distance(track.appearance, appearance_of(image, landmarks))
                    > _STRANGER_APPEARANCE
                )
                if known or stranger or not self._agrees(image, landmarks, thorough=False):
                    landmarks = None
            if landmarks is None:
                if not was_lost:
                    track.lost_since_s = now_s
                    self._next_search_s = min(self._next_search_s, now_s)
                continue
            track.observations.append(Observation(self._step, now_s, landmarks))
            track.lost_since_s = None
            if check and not was_lost:
                self._check(image, track)
        self._sort_out()

    def _check(self, image: Image, track: Tracklet) -> None:
        track.num_checked += 1
        if self._agrees(image, track.last.landmarks, thorough=False):
            track.num_agreed += 1
            track.failed_checks = 0
            track.last_agreed_step = self._step
            seen = appearance_of(image, track.last.landmarks)
            if not self._is_crowded(track):
                track.appearance = _blend(track.appearance, seen)
        else:
            track.failed_checks += 1

    def _sort_out(self) -> None:
        """Put every track where its state says it belongs."""
        everyone = [*self._active, *self._lost]
        self._active = [t for t in everyone if t.lost_since_s is None]
        self._lost = [t for t in everyone if t.lost_since_s is not None]

    def _is_known_elsewhere(self, landmarks: Landmarks, track: Tracklet | None) -> bool:
        return any(
            other is not track and disagreement(landmarks, other.last.landmarks) < SAME_PERSON
            for other in self._active
            if other.last.step >= self._step - 1
        )

    def _is_crowded(self, track: Tracklet) -> bool:
        """Whether somebody else stands so near that colours may be theirs."""
        roi = track.last.landmarks.next_roi
        return any(
            other is not track
            and math.hypot(
                other.last.landmarks.next_roi.x_px - roi.x_px,
                other.last.landmarks.next_roi.y_px - roi.y_px,
            )
            < 0.25 * (roi.size_px + other.last.landmarks.next_roi.size_px)
            for other in self._active
        )

    def _drop_shadows(self, image: Image) -> None:
        """When two tracks have come to lie on one person, the one that fits less loses it."""
        for index, first in enumerate(self._active):
            for second in self._active[index + 1 :]:
                if first.lost_since_s is not None or second.lost_since_s is not None:
                    continue
                if disagreement(first.last.landmarks, second.last.landmarks) > SAME_PERSON:
                    continue
                loser = max((first, second), key=lambda track: self._misfit(image, track))
                loser.shadowed_steps += 1
                loser.observations.pop()
                if not loser.observations:
                    loser.lost_since_s = -math.inf
                else:
                    loser.lost_since_s = loser.last.pts_s
                self._next_search_s = -math.inf
        self._active = [t for t in self._active if t.observations]
        self._sort_out()

    def _misfit(self, image: Image, track: Tracklet) -> float:
        """How little the last observation goes on from those before, in looks and in movement."""
        if len(track.observations) < 4:
            return 2.0
        last = track.last
        seen = appearance_of(image, last.landmarks)
        history = Tracklet(track.observations[:-1], None)
        expected = history.predict_roi(last.pts_s)
        jump = math.hypot(
            last.landmarks.next_roi.x_px - expected.x_px,
            last.landmarks.next_roi.y_px - expected.y_px,
        )
        return appearance_distance(track.appearance, seen) + 4 * jump / expected.size_px

    def _retire(self, now_s: float) -> None:
        for track in list(self._lost):
            if now_s - track.last.pts_s > self._max_gap_s:
                self._lost.remove(track)
                self._end(track)
        for track in list(self._active):
            if track.failed_checks >= 2:
                self._active.remove(track)
                self._end(track)

    def _end(self, track: Tracklet) -> None:
        """Let go of a track; what it saw since its joints were last confirmed is not believed."""
        if track.failed_checks > 0:
            track.observations = [
                seen for seen in track.observations if seen.step <= track.last_agreed_step
            ]
        if track.observations:
            self._ended.append(track)

    # ------------------------------------------------------------------------------- searching

    def _search(self, image: Image, now_s: float) -> None:
        room = self._max_people - len(self._active)
        if room <= 0:
            return
        height, width = image.shape[:2]
        groups = search_windows(width, height)
        everywhere = self._num_searches == 0
        small = [window for group in groups[2:] for window in group]
        turn = self._num_searches % 4
        windows = groups[0] + (groups[1] if len(groups) > 1 else [])
        windows = windows + (small if everywhere else small[turn::4])
        self._num_searches += 1
        proposals = self._model.detect(image, windows, min_score=self._min_detection)
        found = self._examine(image, proposals)
        for candidate in self._rejoin(image, now_s, found):
            if len(self._active) >= self._max_people:
                break
            track = Tracklet(
                [Observation(self._step, now_s, candidate)],
                appearance_of(image, candidate),
                last_agreed_step=self._step,
            )
            self._follow_back(track)
            self._active.append(track)

    def _examine(self, image: Image, proposals: Sequence[Detection]) -> list[Landmarks]:
        """Bodies behind proposals that nobody follows yet, largest first."""
        found: list[Landmarks] = []
        num_examined = 0
        for proposal in proposals:
            if num_examined >= MAX_CANDIDATES:
                break
            if self._is_followed(proposal):
                continue
            num_examined += 1
            landmarks = self._look(image, proposal.roi)
            if landmarks is None:
                continue
            landmarks = self._look(image, landmarks.next_roi)
            if landmarks is None or self._is_known_elsewhere(landmarks, None):
                continue
            if any(disagreement(landmarks, other) < SAME_PERSON for other in found):
                continue
            if self._agrees(image, landmarks, thorough=True):
                found.append(landmarks)
        return sorted(found, key=lambda seen: -seen.next_roi.size_px)

    def _is_followed(self, proposal: Detection) -> bool:
        """Whether a proposal's face lies on the head of somebody who is followed."""
        left, top, right, bottom = (float(v) for v in proposal.box_4)
        x, y = (left + right) / 2, (top + bottom) / 2
        for track in self._active:
            seen = track.last.landmarks
            roi = seen.next_roi
            head_x, head_y = (float(v) for v in seen.image_N2[:11].mean(axis=0))
            near = math.hypot(x - head_x, y - head_y) < 0.1 * roi.size_px
            if near and 0.5 < proposal.roi.size_px / roi.size_px < 2:
                return True
        return False

    def _rejoin(self, image: Image, now_s: float, found: list[Landmarks]) -> list[Landmarks]:
        """Give found bodies to lost tracks where place, size and looks fit; returns the others."""
        if not found or not self._lost:
            return found
        cost = np.full((len(self._lost), len(found)), 10.0)
        for row, track in enumerate(self._lost):
            expected = track.predict_roi(now_s)
            for column, landmarks in enumerate(found):
                roi = landmarks.next_roi
                away = math.hypot(roi.x_px - expected.x_px, roi.y_px - expected.y_px)
                away /= max(roi.size_px, expected.size_px)
                growth = abs(math.log(roi.size_px / expected.size_px))
                looks = appearance_distance(track.appearance, appearance_of(image, landmarks))
                if away < 0.6 and growth < 0.5 and looks < _STRANGER_APPEARANCE:
                    cost[row, column] = away + growth + looks
        taken: set[int] = set()
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if cost[row, column] < 10.0:
                track = self._lost[row]
                track.observations.append(Observation(self._step, now_s, found[column]))
                track.lost_since_s = None
                taken.add(int(column))
        self._sort_out()
        return [landmarks for column, landmarks in enumerate(found) if column not in taken]

    def _follow_back(self, track: Tracklet) -> None:
        """Follow a person who was just found back through the frames that are still kept."""
        earlier: list[Observation] = []
        roi = track.last.landmarks.next_roi
        for step, pts_s, image in reversed(list(self._past)[:-1]):
            landmarks = self._look(image, roi)
            if landmarks is None or self._was_followed(step, landmarks):
                break
            earlier.append(Observation(step, pts_s, landmarks))
            roi = landmarks.next_roi
        if earlier:
            image = next(kept for step, _, kept in self._past if step == earlier[-1].step)
            if not self._agrees(image, earlier[-1].landmarks, thorough=False):
                earlier = earlier[: len(earlier) // 2]
        track.observations[:0] = reversed(earlier)

    def _was_followed(self, step: int, landmarks: Landmarks) -> bool:
        for track in [*self._active, *self._lost, *self._ended]:
            for seen in reversed(track.observations):
                if seen.step == step and disagreement(landmarks, seen.landmarks) < SAME_PERSON:
                    return True
                if seen.step < step:
                    break
        return False


def _mostly_inside(landmarks: Landmarks, image: Image) -> bool:
    height, width = image.shape[:2]
    inside_N = ((landmarks.image_N2 >= 0) & (landmarks.image_N2 < [width, height])).all(axis=1)
    return float(inside_N[list(_BODY)].mean()) >= 0.2


def _blend(old: Float | None, new: Float | None) -> Float | None:
    if old is None or new is None:
        return new if old is None else old
    return (0.7 * old + 0.3 * new).astype(np.float32)


def _without_doubles(tracks: Iterable[Tracklet]) -> list[Tracklet]:
    """Drop the shorter of two tracks that lay on the same person most of the time."""
    kept: list[Tracklet] = []
    for track in sorted(tracks, key=lambda t: -len(t.observations)):
        doubled = False
        for other in kept:
            there = {seen.step: seen.landmarks for seen in other.observations}
            common = [
                disagreement(seen.landmarks, there[seen.step])
                for seen in track.observations
                if seen.step in there
            ]
            if len(common) > 0.5 * len(track.observations) and (
                float(np.median(common)) < SAME_PERSON
            ):
                doubled = True
        if not doubled:
            kept.append(track)
    return kept
