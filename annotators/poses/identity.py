"""Who is who: what people look like, and which tracks belong to one person.

Shapes: H and W are the size of the analyzed frame, K points.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from annotators.poses.landmarks import Landmarks
from annotators.poses.tracklets import Observation, Tracklet, is_same_body
from data.arrays import FloatArray, ImageArray

STRANGER: Final = 0.6
"""Smallest :func:`appearance_distance` of two different people."""

STRANGER_ALONE: Final = 0.8
"""The same limit where no other person is nearby."""

_MOVEMENT_S: Final = 0.25

_NEVER: Final = 1e3


def appearance_of(image_HW3: ImageArray, landmarks: Landmarks) -> FloatArray | None:
    """Return a normalized color histogram of a person's torso and thighs, or None when hidden."""
    points = landmarks.image_N2
    parts: list[FloatArray] = []
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
    return (np.concatenate([parts[0], parts[-1]]) / 2).astype(np.float32)


def _patch(image_HW3: ImageArray, corners_42: FloatArray) -> ImageArray | None:
    """Return colors at a grid of points in a quadrangle, (K, 3), or None if outside the image."""
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


def appearance_distance(first: FloatArray | None, second: FloatArray | None) -> float:
    """Return the Hellinger distance of two appearances, from 0 (equal) to 1.

    The distance is 0.5 when one of the appearances is unknown.
    """
    if first is None or second is None:
        return 0.5
    return math.sqrt(max(0.0, 1.0 - float(np.sqrt(first * second).sum())))


def mixed(old: FloatArray | None, new: FloatArray | None) -> FloatArray | None:
    """Return an appearance that is updated with a newer one."""
    if old is None or new is None:
        return new if old is None else old
    return (0.7 * old + 0.3 * new).astype(np.float32)


def without_duplicates(tracks: Iterable[Tracklet]) -> list[Tracklet]:
    """Drop the shorter of two tracks that lie on the same person for most of their time."""
    kept: list[Tracklet] = []
    for track in sorted(tracks, key=lambda t: -len(t.observations)):
        if not any(_are_duplicates(track, other) for other in kept):
            kept.append(track)
    return kept


def _are_duplicates(track: Tracklet, other: Tracklet) -> bool:
    there = {seen.step: seen.landmarks for seen in other.observations}
    num_same = sum(
        is_same_body(seen.landmarks, there[seen.step])
        for seen in track.observations
        if seen.step in there
    )
    return num_same > 0.4 * len(track.observations)


def join_parts(tracks: Sequence[Tracklet], max_gap_s: float) -> list[Tracklet]:
    """Join a track with one that begins soon after it, if position, size and appearance match.

    Args:
        tracks: tracks of which no two lie on the same person at the same time.
        max_gap_s: longest time between the end of one track and the beginning of the next.

    Returns:
        One track per person, with all its observations.
    """
    if len(tracks) < 2:
        return list(tracks)
    cost = np.full((len(tracks), len(tracks)), _NEVER)
    for row, first in enumerate(tracks):
        for column, second in enumerate(tracks):
            others = [track for track in tracks if track is not first and track is not second]
            cost[row, column] = _join_cost(first, second, others, max_gap_s)
    next_of = {
        int(row): int(column)
        for row, column in zip(*linear_sum_assignment(cost), strict=True)
        if cost[row, column] < _NEVER
    }
    people: list[Tracklet] = []
    for start in set(range(len(tracks))) - set(next_of.values()):
        person = tracks[start]
        at = start
        while at in next_of:
            at = next_of[at]
            part = tracks[at]
            person = Tracklet(
                person.observations + part.observations,
                mixed(person.appearance, part.appearance),
                num_agreed=person.num_agreed + part.num_agreed,
                num_checked=person.num_checked + part.num_checked,
                last_agreed_step=part.last_agreed_step,
            )
        people.append(person)
    return people


def _join_cost(
    first: Tracklet, second: Tracklet, others: Sequence[Tracklet], max_gap_s: float
) -> float:
    begin = second.observations[0]
    gap_s = begin.pts_s - first.last.pts_s
    if first.replaced or begin.step <= first.last.step or gap_s > max_gap_s + 1e-6:
        return _NEVER
    end_roi, begin_roi = first.last.landmarks.next_roi, begin.landmarks.next_roi
    distance = appearance_distance(first.appearance, second.appearance)
    growth = abs(math.log(begin_roi.size_px / end_roi.size_px))
    # The position is extrapolated from both ends, because the movement of a person who jumps or
    # falls matches only one of them.
    aways = (
        _expected_distance_px(first.observations[::-1], begin),
        _expected_distance_px(second.observations, first.last),
    )
    size_px = begin_roi.size_px
    reach = min(aways) / size_px / (0.4 + 1.2 * gap_s)
    alone = not any(
        first.last.step <= seen.step <= begin.step
        and seen.landmarks.next_roi.distance_px(end_roi) < end_roi.size_px
        for other in others
        for seen in other.observations
    )
    # Light and blur change the appearance, so the position is nearly sufficient where no other
    # person is nearby.
    if reach > 1 or growth > 0.6 or distance > (STRANGER_ALONE if alone else STRANGER):
        return _NEVER
    return sum(aways) / size_px + growth + distance


def _expected_distance_px(outwards: Sequence[Observation], there: Observation) -> float:
    """Return the distance of an observation from the position extrapolated from a track.

    Args:
        outwards: observations of the track, starting at the end to extrapolate from.
        there: observation to reach.
    """
    end = outwards[0]
    near = [seen for seen in outwards if abs(seen.pts_s - end.pts_s) <= _MOVEMENT_S]
    roi, before = end.landmarks.next_roi, near[-1].landmarks.next_roi
    past_s = end.pts_s - near[-1].pts_s
    # A body does not keep its speed for long.
    ahead_s = float(np.clip(there.pts_s - end.pts_s, -2 * _MOVEMENT_S, 2 * _MOVEMENT_S))
    share = ahead_s / past_s if past_s else 0.0
    expected = replace(
        roi,
        x_px=roi.x_px + share * (roi.x_px - before.x_px),
        y_px=roi.y_px + share * (roi.y_px - before.y_px),
    )
    return expected.distance_px(there.landmarks.next_roi)
