"""Who is who: which tracks belong to one person, and which were exchanged where people met."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from annotators.poses.tracking.appearance import appearance_distance, mixed
from annotators.poses.tracking.tracklets import Observation, Tracklet, is_same_body
from data.arrays import FloatArray

STRANGER: Final = 0.6
"""Smallest :func:`appearance_distance` of two different people."""

STRANGER_ALONE: Final = 0.8
"""The same limit where no other person is nearby."""

_MEETING: Final = 0.35
"""Two people meet where they are as near as this, in sides of the larger of their squares."""
_APART_FRAMES: Final = 5
_LOOKS: Final = 4
"""Number of looks to compare before and after a meeting."""
_SURE_EXCHANGE: Final = 0.3
"""An exchange must make the people more alike by this, summed over both."""

_MOVEMENT_S: Final = 0.25

_NEVER: Final = 1e3


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


def exchange_back(tracks: Sequence[Tracklet]) -> list[Tracklet]:
    """Undo exchanges of two people who met: each goes on with the track that looks like them."""
    found = list(tracks)
    for row, column in combinations(range(len(found)), 2):
        for step in _meetings(found[row], found[column]):
            before = [_looks(found[place], step, -1) for place in (row, column)]
            after = [_looks(found[place], step, 1) for place in (row, column)]
            if not all([*before, *after]):
                continue
            stays = _unlikeness(before[0], after[0]) + _unlikeness(before[1], after[1])
            swaps = _unlikeness(before[0], after[1]) + _unlikeness(before[1], after[0])
            if swaps + _SURE_EXCHANGE < stays:
                found[row], found[column] = _exchanged(found[row], found[column], step)
    return found


def _meetings(first: Tracklet, second: Tracklet) -> list[int]:
    """Return the frames at which two people are nearest while they are close to each other."""
    there = {seen.step: seen.landmarks.next_roi for seen in second.observations}
    met: list[list[tuple[float, int]]] = []
    last_step = -_APART_FRAMES
    for seen in first.observations:
        other, roi = there.get(seen.step), seen.landmarks.next_roi
        if other is None or roi.distance_px(other) > _MEETING * max(roi.size_px, other.size_px):
            continue
        if seen.step - last_step >= _APART_FRAMES:
            met.append([])
        met[-1].append((roi.distance_px(other), seen.step))
        last_step = seen.step
    return [min(steps)[1] for steps in met]


def _looks(track: Tracklet, step: int, way: int) -> list[FloatArray]:
    """Return the looks of a track nearest to a frame, before it (-1) or after it (1)."""
    found = [look for at, look in track.looks if (at - step) * way > 0]
    return found[-_LOOKS:] if way < 0 else found[:_LOOKS]


def _unlikeness(before: Sequence[FloatArray], after: Sequence[FloatArray]) -> float:
    return float(np.mean([appearance_distance(a, b) for a in before for b in after]))


def _exchanged(first: Tracklet, second: Tracklet, step: int) -> tuple[Tracklet, Tracklet]:
    """Return two tracks that go on with each other's observations from a frame on."""
    heads = [[seen for seen in t.observations if seen.step < step] for t in (first, second)]
    tails = [[seen for seen in t.observations if seen.step >= step] for t in (first, second)]
    looks_before = [[look for look in t.looks if look[0] < step] for t in (first, second)]
    looks_after = [[look for look in t.looks if look[0] >= step] for t in (first, second)]
    return (
        replace(first, observations=heads[0] + tails[1], looks=looks_before[0] + looks_after[1]),
        replace(second, observations=heads[1] + tails[0], looks=looks_before[1] + looks_after[0]),
    )


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
