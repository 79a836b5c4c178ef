"""Find recordings that a dataset holds twice: whole, in part or mirrored.

Two takes of one action resemble each other; two copies of a take agree frame by frame. So each
motion is reduced to a *track*, the positions of five joints in the axes of the body, and to
*anchors*, the frames in which these joints are fastest or slowest. A crop and a mirror image have
the same anchors. Anchors with nearly equal poses around them propose two motions and how one is
shifted against the other; then their tracks are compared frame by frame.

Shapes: T frames at 20 fps, J = 22 joints, P = 15 coordinates (five joints), N anchors, W = 45
numbers of an anchor, Q numbers that are left of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d
from scipy.spatial import KDTree

from data.arrays import FloatArray
from data.config import Config
from data.motion.skeleton import FPS, JOINT

_TRACKED: Final = ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
_MIRRORED: Final = (0, 2, 1, 4, 3)
TRACK_SIZE: Final = 3 * len(_TRACKED)
_SMOOTH_FRAMES: Final = 2.0
_APART_FRAMES: Final = 4
"""Anchors are at least so far apart."""
_MIN_SPEED_M_S: Final = 0.1
"""Speed of the tracked joints near an anchor. Who stands still is like anybody."""
_NEAR_FRAMES: Final = 8
_AROUND: Final = (-3, 0, 3)
"""Frames whose poses describe an anchor."""
_KEPT: Final = 12
_SAMPLE: Final = 20_000
_NEIGHBORS: Final = 6
_SHIFTS: Final = (-2, -1, 0, 1, 2)
_TRIED: Final = 4
"""Motions that are compared with a motion frame by frame, the ones proposed most."""
_BLOCK: Final = 4096


class RecordingLimits(Config):
    """When two motions are one recording."""

    same_mm: float = Field(
        default=8.0,
        gt=0,
        description="Mean distance of five joints in the axes of the body, mm. Takes of one action "
        "by one actor differ by 9 mm and more.",
    )
    spread_share: float = Field(
        default=0.25,
        gt=0,
        description="Share of the motion's own spread that the distance may reach.",
    )
    min_s: float = Field(default=1.0, gt=0, description="Length of the common part, seconds.")
    whole_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of the shorter motion from which it is there as a whole.",
    )


@dataclass(frozen=True, slots=True)
class SameRecording:
    """Two motions that are one recording.

    Attributes:
        one, other: places of the motions in the given order, ``one < other``.
        distance_mm: mean distance of the tracked joints.
        mirrored: whether one is the mirror image of the other.
        start: frame of ``one`` in which the common part begins.
        frames: length of the common part.
        share: its share of the shorter motion.
    """

    one: int
    other: int
    distance_mm: float
    mirrored: bool
    start: int
    frames: int
    share: float


def body_track(joints_TJ3: FloatArray) -> NDArray[np.float16]:
    """Return the track of a motion in the axes of the body, (T, P), meters.

    Args:
        joints_TJ3: positions, (T, 22, 3), meters, y up.
    """
    across_T3 = sum(
        joints_TJ3[:, JOINT[f"left_{name}"]] - joints_TJ3[:, JOINT[f"right_{name}"]]
        for name in ("hip", "shoulder")
    )
    # Features have a smoothed heading, which a crop changes; this one is that of the frame.
    across_T2 = np.asarray(across_T3)[:, [0, 2]]
    across_T2 = across_T2 / np.maximum(np.linalg.norm(across_T2, axis=1, keepdims=True), 1e-6)
    places = joints_TJ3[:, [JOINT[name] for name in _TRACKED]]
    root_T13 = joints_TJ3[:, :1]
    x, height, z = np.moveaxis(places - root_T13, -1, 0)
    left = x * across_T2[:, :1] + z * across_T2[:, 1:]
    ahead = z * across_T2[:, :1] - x * across_T2[:, 1:]
    track = np.stack([left, height, ahead], axis=-1)
    return track.reshape(len(joints_TJ3), TRACK_SIZE).astype(np.float16)


def mirrored_track(track_TP: FloatArray) -> FloatArray:
    """Return the track of the mirror image."""
    joints = track_TP.reshape(-1, len(_TRACKED), 3)[:, list(_MIRRORED)]
    return (joints * np.array([-1, 1, 1], joints.dtype)).reshape(len(track_TP), TRACK_SIZE)


def same_recordings(
    tracks: Sequence[FloatArray],
    limits: RecordingLimits,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[SameRecording]:
    """Yield the pairs of motions that are one recording.

    Args:
        tracks: tracks of the motions, (T, P) each; they may lie in a file that is mapped.
        limits: limits.
        report: called with the number of anchors that were compared, and of all.
    """
    copies = list(_copies(tracks))
    yield from copies
    known = {(pair.one, pair.other) for pair in copies}
    anchors = _Anchors.of(tracks)
    if not len(anchors.owner_N):
        return
    tree = KDTree(anchors.plain_NQ)
    proposals: dict[tuple[int, int, bool], dict[int, int]] = {}
    total = 2 * len(anchors.owner_N)
    for turned, vectors_NQ in ((False, anchors.plain_NQ), (True, anchors.mirrored_NQ)):
        for first in range(0, len(vectors_NQ), _BLOCK):
            block = vectors_NQ[first : first + _BLOCK]
            found = tree.query(block, k=_NEIGHBORS + 1, distance_upper_bound=_reach(limits))
            distance, place = map(np.asarray, found)
            for row, neighbor in zip(*np.nonzero(np.isfinite(distance)), strict=True):
                mine, theirs = first + int(row), int(place[row, neighbor])
                one, other = int(anchors.owner_N[mine]), int(anchors.owner_N[theirs])
                if one == other:
                    continue
                shift = int(anchors.frame_N[theirs] - anchors.frame_N[mine])
                if one > other:
                    one, other, shift = other, one, -shift
                votes = proposals.setdefault((one, other, turned), {})
                votes[shift] = votes.get(shift, 0) + 1
            if report is not None:
                report(min(first + _BLOCK, len(vectors_NQ)) + turned * len(vectors_NQ), total)
    found = _verified(tracks, proposals, limits)
    yield from (pair for pair in found if (pair.one, pair.other) not in known)


def _copies(tracks: Sequence[FloatArray]) -> Iterator[SameRecording]:
    """Yield copies that are equal in every frame; motions without anchors have these only."""
    first: dict[bytes, int] = {}
    for number, track in enumerate(tracks):
        digest = sha256(track.tobytes()).digest()
        one = first.setdefault(digest, number)
        if one != number:
            frames = len(track)
            yield SameRecording(one, number, 0.0, mirrored=False, start=0, frames=frames, share=1.0)


def _reach(limits: RecordingLimits) -> float:
    # A frame in which all five joints are off by the limit in three poses.
    return 2.0 * limits.same_mm / 1000 * np.sqrt(len(_TRACKED) * len(_AROUND))


@dataclass(frozen=True, slots=True)
class _Anchors:
    owner_N: NDArray[np.int64]
    frame_N: NDArray[np.int64]
    plain_NQ: NDArray[np.float32]
    mirrored_NQ: NDArray[np.float32]

    @classmethod
    def of(cls, tracks: Sequence[FloatArray]) -> "_Anchors":
        owners: list[NDArray[np.int64]] = []
        frames: list[NDArray[np.int64]] = []
        plain: list[FloatArray] = []
        mirrored: list[FloatArray] = []
        for owner, track in enumerate(tracks):
            track_TP = np.asarray(track, np.float32)
            frame_N = _anchor_frames(track_TP)
            if not len(frame_N):
                continue
            owners.append(np.full(len(frame_N), owner))
            frames.append(frame_N)
            plain.append(_around(track_TP, frame_N).astype(np.float16))
            mirrored.append(_around(mirrored_track(track_TP), frame_N).astype(np.float16))
        if not owners:
            none = np.zeros(0, np.int64)
            return cls(none, none, np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32))
        plain_NW, mirrored_NW = np.concatenate(plain), np.concatenate(mirrored)
        step = max(1, len(plain_NW) // _SAMPLE)
        sample = plain_NW[::step].astype(np.float64)
        mean_W = sample.mean(axis=0)
        _, _, axes_WW = np.linalg.svd(sample - mean_W, full_matrices=False)
        axes_QW = axes_WW[:_KEPT]
        reduced = [
            np.concatenate(
                [
                    (vectors_NW[first : first + _BLOCK] - mean_W) @ axes_QW.T
                    for first in range(0, len(vectors_NW), _BLOCK)
                ]
            ).astype(np.float32)
            for vectors_NW in (plain_NW, mirrored_NW)
        ]
        return cls(np.concatenate(owners), np.concatenate(frames), reduced[0], reduced[1])


def _anchor_frames(track_TP: FloatArray) -> NDArray[np.int64]:
    if len(track_TP) < 2 * _AROUND[-1] + 2:
        return np.zeros(0, np.int64)
    steps = np.diff(track_TP.reshape(len(track_TP), -1, 3), axis=0)
    speed_T = FPS * np.sqrt((steps**2).sum(axis=-1).mean(axis=1))
    speed_T = gaussian_filter1d(speed_T, _SMOOTH_FRAMES)
    size = 2 * _APART_FRAMES + 1
    is_end_T = speed_T == maximum_filter1d(speed_T, size)
    is_end_T |= speed_T == minimum_filter1d(speed_T, size)
    moves_T = maximum_filter1d(speed_T, 2 * _NEAR_FRAMES + 1) > _MIN_SPEED_M_S
    frames = np.flatnonzero(is_end_T & moves_T)
    inside = (frames >= _AROUND[-1]) & (frames < len(track_TP) - _AROUND[-1])
    return frames[inside]


def _around(track_TP: FloatArray, frame_N: NDArray[np.int64]) -> FloatArray:
    return np.concatenate([track_TP[frame_N + step] for step in _AROUND], axis=1)


def _verified(
    tracks: Sequence[FloatArray],
    proposals: dict[tuple[int, int, bool], dict[int, int]],
    limits: RecordingLimits,
) -> Iterator[SameRecording]:
    tried: dict[int, int] = {}
    best: dict[tuple[int, int], SameRecording] = {}
    order = sorted(proposals, key=lambda key: -max(proposals[key].values()))
    for one, other, turned in order:
        if min(tried.get(one, 0), tried.get(other, 0)) >= _TRIED:
            continue
        votes = proposals[one, other, turned]
        found = None
        for shift in sorted(votes, key=lambda shift: -votes[shift])[:2]:
            found = found or _compare(tracks, one, other, shift, limits, turned=turned)
        if found is None:
            # Many takes of one action propose each other; copies do not compete with them.
            tried[one] = tried.get(one, 0) + 1
            tried[other] = tried.get(other, 0) + 1
        elif (one, other) not in best or found.distance_mm < best[one, other].distance_mm:
            best[one, other] = found
    yield from sorted(best.values(), key=lambda pair: (pair.one, pair.other))


def _compare(
    tracks: Sequence[FloatArray],
    one: int,
    other: int,
    shift: int,
    limits: RecordingLimits,
    *,
    turned: bool,
) -> SameRecording | None:
    """Compare two tracks of which ``other`` is later by ``shift`` frames."""
    mine_TP = np.asarray(tracks[one], np.float32)
    theirs_TP = np.asarray(tracks[other], np.float32)
    if turned:
        theirs_TP = mirrored_track(theirs_TP)
    shortest = min(len(mine_TP), len(theirs_TP))
    needed = min(round(limits.min_s * FPS), round(limits.whole_share * shortest))
    found: SameRecording | None = None
    for offset in (shift + step for step in _SHIFTS):
        start = max(0, -offset)
        frames = min(len(mine_TP) - start, len(theirs_TP) - start - offset)
        if frames < max(needed, 2):
            continue
        own_TP = mine_TP[start : start + frames]
        off_TP = own_TP - theirs_TP[start + offset : start + offset + frames]
        if turned:
            # Bones of the reference skeleton differ between the sides by 8 mm, wherever they are.
            off_TP = off_TP - off_TP.mean(axis=0)
        distance_mm = 1000 * float(np.sqrt((off_TP**2).sum(axis=1) / len(_TRACKED)).mean())
        spread_mm = 1000 * float(np.sqrt(own_TP.var(axis=0).sum() / len(_TRACKED)))
        if distance_mm > min(limits.same_mm, limits.spread_share * spread_mm):
            continue
        if found is None or distance_mm < found.distance_mm:
            share = frames / shortest
            found = SameRecording(one, other, distance_mm, turned, start, frames, share)
    return found
