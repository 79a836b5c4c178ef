"""The track of one person while it is made, and when two skeletons lie on one body.

Shapes: N = 33 landmarks, K compared landmarks.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np

from annotators.poses.networks.landmarks import MIRRORED_LANDMARKS, Landmarks, Roi
from data.arrays import FloatArray

_BODY: Final = (0, 7, 8, *range(11, 33))
"""Landmarks to compare. Most landmarks of the face are left out, because they would outweigh the
limbs."""

SAME_PERSON: Final = 0.15
"""Two bodies of lower disagreement belong to one person."""

_LIMBS: Final = (
    *((11, 12), (23, 24), (11, 23), (12, 24), (11, 13), (13, 15), (12, 14), (14, 16)),
    *((23, 25), (25, 27), (24, 26), (26, 28), (27, 31), (28, 32)),
)

_LIMB_ENDS: Final = (0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)

_MAX_ON_LIMBS: Final = 0.7

_JUMP: Final = 0.13


@dataclass(frozen=True, slots=True)
class Observation:
    """A person in one analyzed frame.

    Attributes:
        step: 0-based index of the analyzed frame.
        pts_s: presentation time of the frame, seconds.
        landmarks: landmarks in pixels of the analyzed frame.
    """

    step: int
    pts_s: float
    landmarks: Landmarks


@dataclass(slots=True)
class Tracklet:
    """The track of one person through the clip.

    Attributes:
        observations: at least one observation, in order of time.
        appearance: colors by part (:mod:`annotators.poses.tracking.appearance`), or None.
        num_agreed, num_checked: number of checks that confirmed the joints, and of all checks.
        last_agreed_step: frame of the last check that confirmed the joints.
        failed_checks: number of checks since then.
        lost: whether the person is missing in the latest frame.
        replaced: whether the track ended because the skeleton moved to another person.
        unsupported: number of sightings in a row in which no detector sees the person.
        is_sure: whether both object detectors see the person, most of the time.
        appearance_distances: appearance distances measured at the checks.
        looks: appearances at the checks at which nobody else was near, with their frames.
    """

    observations: list[Observation]
    appearance: FloatArray | None
    num_agreed: int = 1
    num_checked: int = 1
    last_agreed_step: int = 0
    failed_checks: int = 0
    lost: bool = False
    replaced: bool = False
    unsupported: int = 0
    is_sure: bool = False
    appearance_distances: list[float] = field(default_factory=list[float])
    looks: list[tuple[int, FloatArray]] = field(default_factory=list[tuple[int, FloatArray]])

    @property
    def last(self) -> Observation:
        """Latest observation."""
        return self.observations[-1]

    @property
    def reliability(self) -> float:
        """Share of the checks in which the predictions agreed, 0..1."""
        return self.num_agreed / self.num_checked

    def has_jumped_since(self, step: int) -> bool:
        """Return whether the square of the body moved or grew abruptly since ``step``."""
        squares = [seen.landmarks.next_roi for seen in self.observations if seen.step >= step]
        return any(
            after.distance_px(before) > _JUMP * before.size_px
            or abs(math.log(after.size_px / before.size_px)) > _JUMP
            for before, after in pairwise(squares)
        )

    def is_stranger(self, distance: float) -> bool:
        """Return whether an appearance distance is far larger than those of this person so far."""
        usual = float(np.median(self.appearance_distances)) if self.appearance_distances else 0.25
        return distance > max(0.35, 2 * usual + 0.05)

    def predict_roi(self, pts_s: float) -> Roi:
        """Extrapolate the position of the person to a time from the latest frames."""
        roi = self.last.landmarks.next_roi
        if len(self.observations) < 3:
            return roi
        before = self.observations[-3]
        past_s = abs(self.last.pts_s - before.pts_s)
        if not 0 < past_s <= 0.7:
            return roi
        # The extrapolation is not longer than the observed movement, because a body does not keep
        # its speed for long.
        share = min(abs(pts_s - self.last.pts_s), past_s) / past_s
        dx = (roi.x_px - before.landmarks.next_roi.x_px) * share
        dy = (roi.y_px - before.landmarks.next_roi.y_px) * share
        excess = max(1.0, math.hypot(dx, dy) / (0.35 * roi.size_px))
        return replace(roi, x_px=roi.x_px + dx / excess, y_px=roi.y_px + dy / excess)


def disagreement(first: Landmarks, second: Landmarks) -> float:
    """Return the mean distance between two predictions of the joints, relative to the body size.

    The body size is 3.6 standard deviations of the joints, which is about the side of the square
    around a standing body. Joints that are hidden in the first prediction and joints outside the
    image have a low weight, because predictions of invisible joints agree by default. Left and
    right may be exchanged between the two predictions, as happens for people seen from behind.
    """
    body = list(_BODY)
    points_K2 = first.image_N2[body]
    weight_K = first.visibility_N[body] + np.float32(1e-3)
    weight_K = weight_K / weight_K.sum()
    away_K2 = points_K2 - weight_K @ points_K2
    size_px = 3.6 * math.sqrt(float(weight_K @ (away_K2**2).sum(axis=1)))
    distances = [
        float(weight_K @ np.linalg.norm(points_K2 - second.image_N2[order][body], axis=1))
        for order in (list(range(33)), list(MIRRORED_LANDMARKS))
    ]
    return min(distances) / max(size_px, 1.0)


def is_same_body(first: Landmarks, second: Landmarks) -> bool:
    """Return whether two skeletons lie on one person.

    Either the two agree, or the smaller one lies on the limbs of the other.
    """
    if disagreement(first, second) < SAME_PERSON:
        return True
    inner, outer = sorted((first, second), key=lambda seen: seen.next_roi.size_px)
    points_K12 = inner.image_N2[list(_LIMB_ENDS)][:, None]
    start_B2, end_B2 = (outer.image_N2[list(side)] for side in zip(*_LIMBS, strict=True))
    along_B2 = end_B2 - start_B2
    length_B = np.maximum((along_B2**2).sum(axis=1), 1e-6)
    share_KB = np.clip(((points_K12 - start_B2) * along_B2).sum(axis=2) / length_B, 0, 1)
    nearest_KB2 = start_B2 + share_KB[..., None] * along_B2
    away_K = np.linalg.norm(points_K12 - nearest_KB2, axis=2).min(axis=1)
    weight_K = inner.visibility_N[list(_LIMB_ENDS)] + np.float32(1e-3)
    on_limbs = np.average(away_K < 0.05 * outer.next_roi.size_px, weights=weight_K)
    return float(on_limbs) > _MAX_ON_LIMBS
