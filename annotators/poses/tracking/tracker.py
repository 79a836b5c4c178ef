"""Track several people through the frames of one clip.

A detected person is tracked by running the landmark network at the position of the body in the
previous frame. People are searched in the boxes that two object detectors see several times a
second (:mod:`annotators.objects`), and with the face detector of the pose model on the frame and on
squares of it. A person who is detected late is also tracked backward through the most recent
frames, which are kept in memory.

The tracker distinguishes real people from false detections by repeated prediction: the landmark
network is run on shifted, rotated and mirrored crops. The joints of real people stay at the same
pixels; hallucinated joints do not. On 326 proposals from real clips this rule keeps 99 % of the
proposals on people and 1 % of those on bottles, a dog, basketball hoops and empty rooms. A track
whose person neither object detector sees is dropped at the end: they see real ones in 58 % of the
sampled frames at least, in the median in all.

Shapes: H and W are the size of the analyzed frame, N = 33 landmarks, T observations, K candidates.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import combinations
from typing import Final

import numpy as np

from annotators.objects.scene import Sighting
from annotators.poses.networks.landmarks import Landmarks, PoseModel, Roi
from annotators.poses.tracking.appearance import appearance_distance, appearance_of, mixed
from annotators.poses.tracking.identity import (
    STRANGER,
    exchange_back,
    join_parts,
    without_duplicates,
)
from annotators.poses.tracking.search import (
    Proposal,
    Refusals,
    Window,
    from_face,
    is_supported,
    search_windows,
    support,
    untracked,
)
from annotators.poses.tracking.tracklets import (
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
"""The same limit where all predictions have a high presence, or both object detectors see a person.
It admits people who are small, blurred or partly outside the image."""

SURE_PRESENCE: Final = (0.95, 0.99)
"""Range of the lowest presence over which the limit rises from the first to the second."""

CHECK_LENIENCE: Final = 2.0
"""Factor on the limits above for a person who is already tracked."""

MIN_VISIBILITY: Final = 0.3
"""Smallest mean visibility of the landmarks at which predictions are compared."""

MAX_CANDIDATES: Final = 4
"""Largest number of proposals to examine per search."""

MAX_FIRST_CANDIDATES: Final = 10
"""The same number for the first search of a clip."""

OPINIONS: Final = (((0.0, 0.1), 1.2, -0.3), ((-0.05, 0.03), 0.88, -0.25))
"""Shift, scale and rotation of the crops of the second and third prediction, which are also
mirrored."""

_MIN_SURE_PRESENCE: Final = 0.25
"""Smallest presence in the shifted crops of somebody whom both object detectors see. With this and
the limit above, 10 more of the 98 labeled people were confirmed, all of them in the right place."""

_MIN_FOLLOWED: Final = 0.12
"""A tracked person of lower mean visibility has left the image."""

_MAX_ROI_CHANGE: Final = 0.2
_SHADOWED_FRAMES: Final = 2
_BACKWARD_CHECK_FRAMES: Final = 5
_RESCUE_INTERVAL_S: Final = 0.1
_MAX_FAILED_CHECKS: Final = 3
_DOUBTED: Final = 2
"""After so many sightings in which no detector sees a person, the checks are as strict as at first.
"""
_MIN_SUPPORT: Final = 0.3
"""Smallest share of the sightings of a track in which a detector sees the person."""
_MIN_SURE_SUPPORT: Final = 0.5
_FASTEST_STEP, _FASTEST_PER_S = 0.25, 4.0
"""Farthest that a body moves from one frame to the next, in sides of its square: a part for the
network's own error, and 9 m/s."""


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
        self._sightings: list[Sighting] = []
        self._refusals = Refusals()
        self._next_search_s = -math.inf
        self._next_rescue_s = -math.inf
        self._next_check_s = -math.inf

    def add(self, frame: Frame, sighting: Sighting | None = None) -> None:
        """Track all people into the next frame and search for new people when it is due.

        Args:
            frame: the next frame.
            sighting: what the object detectors see in it, if they looked.
        """
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
        if sighting is not None:
            self._sightings.append(sighting)
            self._note_support(sighting)
        if len(self._active) >= self._max_people:
            return
        if sighting is not None:
            self._adopt(image, now_s, untracked(sighting, self.bodies, image.shape[0]))
        if now_s >= self._next_search_s:
            self._search(image, now_s)
        elif self._lost and now_s >= self._next_rescue_s:
            self._rescue(image, now_s)

    @property
    def bodies(self) -> list[Landmarks]:
        """Bodies of the people who are tracked in the latest frame."""
        return [track.last.landmarks for track in self._active]

    def finish(self) -> list[Tracklet]:
        """Return the tracks of all people in order of first appearance.

        Tracks that are parts of one person are joined. Call this once, after the last frame.
        """
        for track in [*self._active, *self._lost]:
            self._end(track)
        self._active, self._lost = [], []
        tracks = exchange_back(without_duplicates(self._ended))
        people: list[Tracklet] = []
        for person in join_parts(tracks, self._max_gap_s):
            by_one, by_both = support(person.observations, self._sightings)
            if by_one >= _MIN_SUPPORT:
                person.is_sure = by_both >= _MIN_SURE_SUPPORT
                people.append(person)
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

    def _agrees(
        self,
        image: ImageArray,
        landmarks: Landmarks,
        *,
        is_known: bool,
        strictness: float = 1.0,
        is_sure: bool = False,
    ) -> bool:
        """Return whether further predictions place the joints at the same pixels.

        Args:
            image: frame, (H, W, 3) RGB.
            landmarks: first prediction.
            is_known: whether the person is already tracked. If so, only one more prediction is
                made, with a higher limit.
            strictness: factor on the limits.
            is_sure: whether it is known to be a person, so that only the joints are in question.
        """
        if float(landmarks.visibility_N.mean()) < (_MIN_FOLLOWED if is_known else MIN_VISIBILITY):
            return False
        lenience = strictness * (CHECK_LENIENCE if is_known else 1.0)
        distances: list[float] = []
        presence = landmarks.presence
        for shift, scale, turn_rad in OPINIONS[: 1 if is_known else None]:
            roi = landmarks.next_roi.varied(shift=shift, scale=scale, turn_rad=turn_rad)
            other = self._model.landmarks(image, roi, mirrored=True)
            presence = min(presence, other.presence)
            distances.append(disagreement(landmarks, other))
            if (
                presence < (_MIN_SURE_PRESENCE if is_sure else self._min_presence)
                or distances[-1] > 2 * lenience * MAX_SURE_DISAGREEMENT
            ):
                return False
        limit = MAX_SURE_DISAGREEMENT
        if not is_sure:
            limit = np.interp(presence, SURE_PRESENCE, (MAX_DISAGREEMENT, MAX_SURE_DISAGREEMENT))
        return sum(distances) / len(distances) <= lenience * float(limit)

    def _follow(self, image: ImageArray, now_s: float, *, check: bool) -> None:
        for track in [*self._active, *self._lost]:
            was_lost = track.lost
            landmarks = self._look(image, track.predict_roi(now_s))
            if landmarks is not None and _is_too_far(track.last, landmarks, now_s):
                landmarks = None
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
        num_followed = sum(not other.lost for other in [*self._active, *self._lost])
        if num_followed >= self._max_people or self._is_followed(landmarks, except_for=track):
            return False
        distance = appearance_distance(track.appearance, appearance_of(image, landmarks))
        return distance < STRANGER and self._agrees(image, landmarks, is_known=False)

    def _check(self, image: ImageArray, track: Tracklet) -> None:
        """Check by a second prediction and by appearance that a track is still on its person."""
        track.num_checked += 1
        landmarks = track.last.landmarks
        if not self._agrees(image, landmarks, is_known=track.unsupported < _DOUBTED):
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
            if seen is not None:
                track.looks.append((self._step, seen))

    def _note_support(self, sighting: Sighting) -> None:
        for track in self._active:
            seen = is_supported(track.last.landmarks, sighting)
            track.unsupported = 0 if seen else track.unsupported + 1

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
        """Search for faces in the whole frame and in large squares of it."""
        height, width = image.shape[:2]
        faces = self._model.detect(
            image, search_windows(width, height), min_score=self._min_detection
        )
        num_found = self._adopt(image, now_s, [from_face(face) for face in faces])
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
        faces = self._model.detect(image, windows, min_score=self._min_detection)
        self._adopt(image, now_s, [from_face(face) for face in faces])
        self._next_rescue_s = now_s + _RESCUE_INTERVAL_S

    def _adopt(self, image: ImageArray, now_s: float, proposals: Sequence[Proposal]) -> int:
        """Start a track for every real person among the proposals who is not tracked yet.

        :meth:`finish` joins the new track of a lost person with the earlier one.

        Returns:
            The number of new tracks.
        """
        found = self._examine(image, now_s, proposals)
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
        self, image: ImageArray, now_s: float, proposals: Sequence[Proposal]
    ) -> list[Landmarks]:
        """Return the bodies of the strongest proposals that are not tracked yet."""
        budget = MAX_CANDIDATES if self._active else MAX_FIRST_CANDIDATES
        found: list[Landmarks] = []
        for proposal in sorted(proposals, key=lambda proposal: -proposal.score):
            known = [*(track.last.landmarks for track in self._active), *found]
            if any(_is_head_of(proposal, seen) for seen in known) or not self._refusals.may_try(
                proposal.box_4, now_s
            ):
                continue
            if budget == 0:
                break
            budget -= 1
            landmarks = self._confirm(image, proposal)
            if landmarks is None:
                self._refusals.add(proposal.box_4, now_s)
            elif not any(is_same_body(landmarks, seen) for seen in known):
                found.append(landmarks)
        return found

    def _confirm(self, image: ImageArray, proposal: Proposal) -> Landmarks | None:
        """Return the body of a proposal if several predictions agree on it, else None."""
        strictness = self._refusals.strictness(proposal.box_4)
        for square in proposal.squares:
            landmarks = self._look(image, square)
            if landmarks is not None:
                landmarks = self._look(image, landmarks.next_roi)
            if (
                landmarks is not None
                and proposal.fits(landmarks)
                and self._agrees(
                    image,
                    landmarks,
                    is_known=False,
                    strictness=strictness,
                    is_sure=proposal.is_sure,
                )
            ):
                return landmarks
        return None

    def _follow_back(self, track: Tracklet) -> None:
        """Track a newly detected person backward through the frames in memory."""
        earlier: list[Observation] = []
        roi = track.last.landmarks.next_roi
        for step, pts_s, image in reversed(list(self._past)[:-1]):
            followed = self._followed_at(step)
            if len(followed) >= self._max_people:
                break
            landmarks = self._look(image, roi)
            if landmarks is None or any(
                disagreement(landmarks, other) < SAME_PERSON for other in followed
            ):
                break
            if step % _BACKWARD_CHECK_FRAMES == 0 and not self._agrees(
                image, landmarks, is_known=True
            ):
                break
            earlier.append(Observation(step, pts_s, landmarks))
            roi = landmarks.next_roi
        track.observations[:0] = reversed(earlier)

    def _followed_at(self, step: int) -> list[Landmarks]:
        """Return the bodies that were followed at an earlier frame."""
        followed: list[Landmarks] = []
        for track in [*self._active, *self._lost, *self._ended]:
            for seen in reversed(track.observations):
                if seen.step == step:
                    followed.append(seen.landmarks)
                if seen.step <= step:
                    break
        return followed


def _is_head_of(proposal: Proposal, seen: Landmarks) -> bool:
    """Return whether the face of a proposal lies on the head of a body of similar size."""
    if proposal.face_4 is None:
        return False
    x, y = proposal.face_4[:2] / 2 + proposal.face_4[2:] / 2
    head_x, head_y = seen.image_N2[:11].mean(axis=0)
    size_px = seen.next_roi.size_px
    near = math.hypot(x - head_x, y - head_y) < 0.1 * size_px
    return near and 0.5 < proposal.squares[0].size_px / size_px < 2


def _is_too_far(last: Observation, seen: Landmarks, now_s: float) -> bool:
    """Return whether a body is farther from the last position than anybody moves."""
    roi = last.landmarks.next_roi
    farthest = _FASTEST_STEP + _FASTEST_PER_S * abs(now_s - last.pts_s)
    return seen.next_roi.distance_px(roi) > farthest * roi.size_px
