"""Track several people through the frames of one clip.

A detected person is tracked by running the landmark network at the position of the body in the
previous frame. The detector runs on the whole frame and on overlapping windows of it, because it
misses people who are small in its input. A person who is detected late is also tracked backward
through the most recent frames, which are kept in memory.

The tracker distinguishes real people from false detections by repeated prediction: the landmark
network is run on shifted, rotated and mirrored crops. The joints of real people stay at the same
pixels; hallucinated joints do not. On 326 proposals from real clips this rule keeps 99 % of the
proposals on people and 1 % of those on bottles, a dog, basketball hoops and empty rooms.

Shapes: H and W are the size of the analyzed frame, N = 33 landmarks, T observations, K candidates.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import combinations
from typing import Final

import numpy as np

from annotators.poses.identity import (
    STRANGER,
    appearance_distance,
    appearance_of,
    join_parts,
    mixed,
    without_duplicates,
)
from annotators.poses.landmarks import Detection, Landmarks, PoseModel, Roi
from annotators.poses.search import Window, search_windows
from annotators.poses.tracklets import (
    SAME_PERSON,
    Observation,
    Tracklet,
    disagreement,
    is_same_body,
)
from data.arrays import ImageArray
from data.records import Frame

MAX_DISAGREEMENT: Final = 0.045
"""Largest mean :func:`disagreement` of the predictions for a new person."""

MAX_SURE_DISAGREEMENT: Final = 0.11
"""The same limit where all predictions have a high presence, which admits people who are small,
blurred or partly outside the image."""

SURE_PRESENCE: Final = (0.95, 0.99)
"""Range of the lowest presence over which the limit rises from the first to the second."""

CHECK_LENIENCE: Final = 2.0
"""Factor on the limits above for a person who is already tracked."""

MIN_VISIBILITY: Final = 0.3
"""Smallest mean visibility of the landmarks at which predictions are compared."""

MAX_CANDIDATES: Final = 4
"""Largest number of proposals to examine per search, separately for large and small windows."""

MAX_FIRST_CANDIDATES: Final = 10
"""The same number for the first search of a clip."""

OPINIONS: Final = (((0.0, 0.1), 1.2, -0.3), ((-0.05, 0.03), 0.88, -0.25))
"""Shift, scale and rotation of the crops of the second and third prediction, which are also
mirrored."""

_MIN_FOLLOWED: Final = 0.12
"""A tracked person of lower mean visibility has left the image."""

_MAX_ROI_CHANGE: Final = 0.2
_SHADOWED_FRAMES: Final = 2
_BACKWARD_CHECK_FRAMES: Final = 5
_RESCUE_INTERVAL_S: Final = 0.1
_MAX_FAILED_CHECKS: Final = 3
_MAX_ROI_IN_WINDOWS: Final = 2.0
_SMALL_WINDOW_TURNS: Final = 4
"""One search covers every fourth small window, so that four searches cover all of them."""


class PeopleTracker:
    """Tracks the people of a clip. Add its frames in order, then call :meth:`finish`.

    Args:
        model: pose networks.
        max_people: largest number of people tracked at the same time.
        search_interval_s: time between searches for new people.
        check_interval_s: time between checks of a tracked person by a second prediction.
        min_presence: smallest probability that a crop shows a person, by the landmark network.
        min_detection: smallest detector score of a proposal.
        max_gap_s: longest time for which a person may be lost without ending the track.
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
        self._past: deque[tuple[int, float, ImageArray]] = deque()
        self._step = -1
        self._refused: list[Roi] = []
        self._num_searches = 0
        self._next_search_s = -math.inf
        self._next_rescue_s = -math.inf
        self._next_check_s = -math.inf

    def add(self, frame: Frame) -> None:
        """Track all people into the next frame and search for new people when it is due."""
        self._step += 1
        image, now_s = frame.image, frame.pts_s
        self._past.append((self._step, now_s, image))
        while now_s - self._past[0][1] > 2 * self._search_interval_s + 1e-6:
            self._past.popleft()

        check = now_s >= self._next_check_s
        if check:
            self._next_check_s = now_s + self._check_interval_s
        self._follow(image, now_s, check=check)
        self._drop_shadows(image)
        self._retire(now_s)
        if len(self._active) >= self._max_people:
            return
        if now_s >= self._next_search_s:
            self._search(image, now_s)
        elif self._lost and now_s >= self._next_rescue_s:
            self._rescue(image, now_s)

    def finish(self) -> list[Tracklet]:
        """Return the tracks of all people in order of first appearance.

        Tracks that are parts of one person are joined. Call this once, after the last frame.
        """
        for track in [*self._active, *self._lost]:
            self._end(track)
        self._active, self._lost = [], []
        people = join_parts(without_duplicates(self._ended), self._max_gap_s)
        return sorted(people, key=lambda track: track.observations[0].step)

    # -------------------------------------------------------------------------------- tracking

    def _look(self, image: ImageArray, roi: Roi) -> Landmarks | None:
        """Predict landmarks in a square, and once more if the body does not fit the square."""
        landmarks = self._model.landmarks(image, roi)
        if landmarks.presence < self._min_presence:
            return None
        seen = landmarks.next_roi
        moved = math.hypot(seen.x_px - roi.x_px, seen.y_px - roi.y_px) / roi.size_px
        if moved > _MAX_ROI_CHANGE or abs(math.log(seen.size_px / roi.size_px)) > _MAX_ROI_CHANGE:
            landmarks = self._model.landmarks(image, seen)
            if landmarks.presence < self._min_presence:
                return None
        return landmarks if float(landmarks.visibility_N.mean()) > _MIN_FOLLOWED else None

    def _agrees(self, image: ImageArray, landmarks: Landmarks, *, is_known: bool) -> bool:
        """Return whether further predictions place the joints at the same pixels.

        Args:
            image: frame, (H, W, 3) RGB.
            landmarks: first prediction.
            is_known: whether the person is already tracked. If so, only one more prediction is
                made, with a higher limit.
        """
        if float(landmarks.visibility_N.mean()) < (_MIN_FOLLOWED if is_known else MIN_VISIBILITY):
            return False
        lenience = CHECK_LENIENCE if is_known else 1.0
        distances: list[float] = []
        presence = landmarks.presence
        for shift, scale, turn_rad in OPINIONS[: 1 if is_known else None]:
            roi = landmarks.next_roi.varied(shift=shift, scale=scale, turn_rad=turn_rad)
            other = self._model.landmarks(image, roi, mirrored=True)
            presence = min(presence, other.presence)
            distances.append(disagreement(landmarks, other))
            if (
                presence < self._min_presence
                or distances[-1] > 2 * lenience * MAX_SURE_DISAGREEMENT
            ):
                return False
        limit = np.interp(presence, SURE_PRESENCE, (MAX_DISAGREEMENT, MAX_SURE_DISAGREEMENT))
        return sum(distances) / len(distances) <= lenience * float(limit)

    def _follow(self, image: ImageArray, now_s: float, *, check: bool) -> None:
        for track in [*self._active, *self._lost]:
            was_lost = track.lost
            landmarks = self._look(image, track.predict_roi(now_s))
            if landmarks is not None and was_lost and not self._is_back(image, track, landmarks):
                landmarks = None
            track.lost = landmarks is None
            if landmarks is not None:
                track.observations.append(Observation(self._step, now_s, landmarks))
                if check and not was_lost:
                    self._check(image, track)
        self._sort_out()

    def _is_back(self, image: ImageArray, track: Tracklet, landmarks: Landmarks) -> bool:
        """Return whether a body found at the expected position of a lost person is that person."""
        if self._is_followed(landmarks, except_for=track):
            return False
        distance = appearance_distance(track.appearance, appearance_of(image, landmarks))
        return distance < STRANGER and self._agrees(image, landmarks, is_known=False)

    def _check(self, image: ImageArray, track: Tracklet) -> None:
        """Check by a second prediction and by appearance that a track is still on its person."""
        track.num_checked += 1
        landmarks = track.last.landmarks
        if not self._agrees(image, landmarks, is_known=True):
            track.failed_checks += 1
            return
        track.num_agreed += 1
        seen = appearance_of(image, landmarks)
        distance = appearance_distance(track.appearance, seen)
        if track.has_jumped_since(track.last_agreed_step) and track.is_stranger(distance):
            # The skeleton moved to another person, who will be detected as a new person.
            track.replaced = True
            return
        track.failed_checks = 0
        track.last_agreed_step = self._step
        if not self._is_crowded(track):
            track.appearance = mixed(track.appearance, seen)
            track.appearance_distances.append(distance)

    def _sort_out(self) -> None:
        everyone = [*self._active, *self._lost]
        self._active = [track for track in everyone if not track.lost]
        self._lost = [track for track in everyone if track.lost]

    def _is_followed(self, landmarks: Landmarks, *, except_for: Tracklet | None = None) -> bool:
        return any(
            track is not except_for and disagreement(landmarks, track.last.landmarks) < SAME_PERSON
            for track in self._active
        )

    def _is_crowded(self, track: Tracklet) -> bool:
        """Return whether another person is close enough to affect the measured colors."""
        roi = track.last.landmarks.next_roi
        return any(
            other is not track
            and roi.distance_px(other.last.landmarks.next_roi)
            < 0.25 * (roi.size_px + other.last.landmarks.next_roi.size_px)
            for other in self._active
        )

    def _drop_shadows(self, image: ImageArray) -> None:
        """Mark the worse of two tracks that lie on one person as lost."""
        for first, second in combinations(list(self._active), 2):
            if first.lost or second.lost:
                continue
            if disagreement(first.last.landmarks, second.last.landmarks) > SAME_PERSON:
                continue
            loser = max((first, second), key=lambda track: self._misfit(image, track))
            loser.lost = True
            # Two skeletons converge over several frames, so the latest observations of the worse
            # track are dropped.
            keep = max(1, len(loser.observations) - _SHADOWED_FRAMES)
            del loser.observations[keep:]
        self._sort_out()

    def _misfit(self, image: ImageArray, track: Tracklet) -> float:
        """Return how badly the last observation fits the track in appearance and movement."""
        if len(track.observations) < 4:
            return 2.0
        last = track.last
        distance = appearance_distance(track.appearance, appearance_of(image, last.landmarks))
        expected = Tracklet(track.observations[:-1], None).predict_roi(last.pts_s)
        jump = expected.distance_px(last.landmarks.next_roi) / expected.size_px
        return distance + 4 * jump

    def _retire(self, now_s: float) -> None:
        for track in [*self._active, *self._lost]:
            gone = track.lost and now_s - track.last.pts_s > self._max_gap_s
            if gone or track.replaced or track.failed_checks >= _MAX_FAILED_CHECKS:
                (self._lost if track.lost else self._active).remove(track)
                self._end(track)

    def _end(self, track: Tracklet) -> None:
        """End a track and drop its observations after the last check that confirmed the joints."""
        if track.failed_checks > 0 or track.replaced:
            believed = [seen for seen in track.observations if seen.step <= track.last_agreed_step]
            track.observations = believed
        if track.observations:
            self._ended.append(track)

    # ------------------------------------------------------------------------------- searching

    def _search(self, image: ImageArray, now_s: float) -> None:
        """Search for people in all windows."""
        height, width = image.shape[:2]
        large, small = search_windows(width, height)
        is_first = self._num_searches == 0
        if not is_first:
            small = small[self._num_searches % _SMALL_WINDOW_TURNS :: _SMALL_WINDOW_TURNS]
        self._num_searches += 1
        near = self._model.detect(image, large, min_score=self._min_detection)
        far: list[Detection] = []
        for window in small:
            # People larger than this are fully inside the large windows.
            limit_px = _MAX_ROI_IN_WINDOWS * (window[2] - window[0]) if self._active else math.inf
            far += [
                proposal
                for proposal in self._model.detect(image, [window], min_score=self._min_detection)
                if proposal.roi.size_px <= limit_px
            ]
        budget = MAX_FIRST_CANDIDATES if is_first or not self._active else MAX_CANDIDATES
        refused: list[Roi] = []
        num_found = sum(
            self._adopt(image, now_s, proposals, budget, refused) for proposals in (near, far)
        )
        # Every second search examines rejected proposals again.
        self._refused = [] if self._refused else refused
        wait = 1.0
        if not self._active:
            wait = 0.5
        elif num_found == 0 and not self._lost:
            wait = 2.0
        self._next_search_s = now_s + wait * self._search_interval_s

    def _rescue(self, image: ImageArray, now_s: float) -> None:
        """Search for lost people around their expected positions."""
        height, width = image.shape[:2]
        windows: list[Window] = []
        for track in self._lost:
            roi = track.predict_roi(now_s)
            reach = 0.9 * roi.size_px
            left, right = np.clip([roi.x_px - reach, roi.x_px + reach], 0, width).astype(int)
            top, bottom = np.clip([roi.y_px - reach, roi.y_px + reach], 0, height).astype(int)
            if min(right - left, bottom - top) >= 16:
                windows.append((left, top, right, bottom))
        proposals = self._model.detect(image, windows, min_score=self._min_detection)
        self._adopt(image, now_s, proposals, MAX_CANDIDATES, [])
        self._next_rescue_s = now_s + _RESCUE_INTERVAL_S

    def _adopt(
        self,
        image: ImageArray,
        now_s: float,
        proposals: Sequence[Detection],
        budget: int,
        refused: list[Roi],
    ) -> int:
        """Start a track for every real person among the proposals who is not tracked yet.

        :meth:`finish` joins the new track of a lost person with the earlier one.

        Returns:
            The number of new tracks.
        """
        found = self._examine(image, proposals, budget, refused)
        found.sort(key=lambda seen: -seen.next_roi.size_px)
        found = found[: max(0, self._max_people - len(self._active))]
        for landmarks in found:
            track = Tracklet(
                [Observation(self._step, now_s, landmarks)],
                appearance_of(image, landmarks),
                last_agreed_step=self._step,
            )
            self._follow_back(track)
            self._active.append(track)
        return len(found)

    def _examine(
        self,
        image: ImageArray,
        proposals: Sequence[Detection],
        budget: int,
        refused: list[Roi],
    ) -> list[Landmarks]:
        """Return the bodies of the strongest proposals that are not tracked yet."""
        found: list[Landmarks] = []
        for proposal in sorted(proposals, key=lambda proposal: -proposal.score):
            known = [*(track.last.landmarks for track in self._active), *found]
            if any(_is_head_of(proposal, seen) for seen in known) or any(
                _is_like(proposal.roi, roi) for roi in [*refused, *self._refused]
            ):
                continue
            if budget == 0:
                break
            budget -= 1
            landmarks = self._confirm(image, proposal.roi)
            if landmarks is None:
                refused.append(proposal.roi)
            elif not any(is_same_body(landmarks, seen) for seen in known):
                found.append(landmarks)
        return found

    def _confirm(self, image: ImageArray, roi: Roi) -> Landmarks | None:
        """Return the body in a square if several predictions agree on it, else None."""
        landmarks = self._look(image, roi)
        if landmarks is not None:
            landmarks = self._look(image, landmarks.next_roi)
        if landmarks is None:
            return None
        return landmarks if self._agrees(image, landmarks, is_known=False) else None

    def _follow_back(self, track: Tracklet) -> None:
        """Track a newly detected person backward through the frames in memory."""
        earlier: list[Observation] = []
        roi = track.last.landmarks.next_roi
        for step, pts_s, image in reversed(list(self._past)[:-1]):
            landmarks = self._look(image, roi)
            if landmarks is None or self._was_followed(step, landmarks):
                break
            if step % _BACKWARD_CHECK_FRAMES == 0 and not self._agrees(
                image, landmarks, is_known=True
            ):
                break
            earlier.append(Observation(step, pts_s, landmarks))
            roi = landmarks.next_roi
        track.observations[:0] = reversed(earlier)

    def _was_followed(self, step: int, landmarks: Landmarks) -> bool:
        for track in [*self._active, *self._lost, *self._ended]:
            for seen in reversed(track.observations):
                if seen.step == step and disagreement(landmarks, seen.landmarks) < SAME_PERSON:
                    return True
                if seen.step <= step:
                    break
        return False


def _is_head_of(proposal: Detection, seen: Landmarks) -> bool:
    """Return whether the face box of a proposal lies on the head of a body of similar size."""
    x, y = proposal.box_4[:2] / 2 + proposal.box_4[2:] / 2
    head_x, head_y = seen.image_N2[:11].mean(axis=0)
    size_px = seen.next_roi.size_px
    near = math.hypot(x - head_x, y - head_y) < 0.1 * size_px
    return near and 0.5 < proposal.roi.size_px / size_px < 2


def _is_like(first: Roi, second: Roi) -> bool:
    return (
        first.distance_px(second) < 0.12 * second.size_px
        and abs(math.log(first.size_px / second.size_px)) < 0.2
    )
