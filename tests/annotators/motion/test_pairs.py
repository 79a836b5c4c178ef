"""Two motions placed in one space, and what the two do together.

Shapes: T frames at 20 fps, 22 joints, meters, y up.
"""

from dataclasses import replace

import numpy as np
import pytest

from annotators.motion.describe import describe_track
from annotators.motion.events import EventKind, MotionEvent, Side
from annotators.motion.pairs import describe_people, pair_events
from benchmarks.support.corpus import Motion, mocap
from data.motion.skeleton import JOINT
from data.records import PoseTrack
from data.synthetic.activities import generate_motion
from tests.support.motions import FRAME_SIZE_PX, as_track, moved, ramp, standing

AWAY_M = -5.0
"""Depth of the two people: before the camera, which is at 0."""


def _placed(motion: Motion, track_id: int, x_m: float, yaw_rad: float) -> PoseTrack:
    """Return a track of a motion that starts at x and is turned about the vertical."""
    there = moved(motion - motion[:1, :1] * np.array([1.0, 0.0, 1.0]), yaw_rad, (x_m, 0.0, AWAY_M))
    return replace(as_track(there, track_id=track_id), root_trajectory=there[:, 0])


def _kinds(*tracks: PoseTrack) -> list[list[MotionEvent]]:
    told = [describe_track(track, FRAME_SIZE_PX) for track in tracks]
    return [list(events) for events in pair_events(tracks, told)]


def _reach(motion: Motion, side: str, start: int, end: int, point_3: tuple[float, ...]) -> Motion:
    """Move a hand to a point relative to the pelvis and back between two frames."""
    share_T = ramp(len(motion), start, start + 8, 0.0, 1.0)
    share_T = share_T - ramp(len(motion), end, end + 8, 0.0, 1.0)
    for name, part in (("elbow", 0.55), ("wrist", 1.0)):
        joint = JOINT[f"{side}_{name}"]
        shoulder_T3 = motion[:, JOINT[f"{side}_shoulder"]]
        goal_T3 = shoulder_T3 + part * (motion[:, 0] + np.array(point_3) - shoulder_T3)
        motion[:, joint] += share_T[:, None] * (goal_T3 - motion[:, joint])
    return motion


def _walking(seed: int) -> Motion:
    """Return a walk along +z."""
    walk = generate_motion("walk_forward", seed, 4.0)[0].astype(np.float64)
    way_3 = walk[-1, 0] - walk[0, 0]
    return moved(walk, -float(np.arctan2(way_3[0], way_3[2])), (0.0, 0.0, 0.0))


def _facing(a: Motion, b: Motion, apart_m: float) -> list[list[MotionEvent]]:
    """Place two motions face to face; the first looks to the viewer's right."""
    return _kinds(_placed(a, 0, 0.0, np.pi / 2), _placed(b, 1, apart_m, -np.pi / 2))


def test_people_who_stand_face_to_face_do_nothing_else() -> None:
    first, second = _facing(standing(4.0), standing(4.0), 1.0)
    assert [e.kind for e in first] == [EventKind.FACE]
    assert [e.kind for e in second] == [EventKind.FACE]
    assert (first[0].partner, second[0].partner) == (1, 0)
    far, _ = _facing(standing(4.0), standing(4.0), 3.0)
    assert far == []


def test_who_walks_up_to_the_other_approaches() -> None:
    walk = _walking(3)
    way_m = float(np.linalg.norm((walk[-1, 0] - walk[0, 0])[[0, 2]]))
    stays = np.concatenate((walk, np.repeat(walk[-1:], 30, axis=0)))
    first, second = _facing(stays, standing(5.5), way_m + 0.9)
    (approach,) = [e for e in first if e.kind is EventKind.APPROACH]
    assert approach.partner == 1
    assert approach.gap_m < 1.6
    assert EventKind.APPROACH not in {e.kind for e in second}
    goes = np.concatenate((np.repeat(walk[:1], 30, axis=0), walk))
    parts, _ = _kinds(_placed(goes, 0, 0.9, np.pi / 2), _placed(standing(5.5), 1, 0.0, np.pi / 2))
    assert EventKind.PART in {e.kind for e in parts}


def test_who_passes_by_neither_approaches_nor_parts() -> None:
    passing = _placed(_walking(3), 0, -2.0, np.pi / 2)
    first, _ = _kinds(passing, _placed(standing(4.0), 1, 0.0, 0.0))
    assert not {EventKind.APPROACH, EventKind.PART} & {e.kind for e in first}


def test_right_hands_that_meet_are_shaken() -> None:
    hand = (-0.05, 0.15, 0.42)
    both = [_reach(standing(4.0), "right", 20, 50, hand) for _ in range(2)]
    first, second = _facing(both[0], both[1], 0.9)
    for events in (first, second):
        (shake,) = [e for e in events if e.kind is EventKind.SHAKE_HANDS]
        assert shake.side is Side.RIGHT
        assert shake.start_s == pytest.approx(1.3, abs=0.4)


def test_a_hand_that_meets_the_other_s_briefly_hands_over() -> None:
    giver = _reach(standing(4.0), "right", 20, 36, (-0.05, 0.2, 0.42))
    taker = _reach(standing(4.0), "left", 22, 34, (0.05, 0.2, 0.42))
    first, second = _facing(giver, taker, 0.9)
    assert [e.side for e in first if e.kind is EventKind.HAND_OVER] == [Side.RIGHT]
    assert [e.side for e in second if e.kind is EventKind.HAND_OVER] == [Side.LEFT]
    apart, _ = _facing(giver, taker, 1.6)
    assert EventKind.HAND_OVER not in {e.kind for e in apart}


def test_arms_around_the_other_are_a_hug() -> None:
    around = standing(4.0)
    for side, x in (("left", 0.12), ("right", -0.12)):
        _reach(around, side, 15, 60, (x, 0.3, 0.36))
    first, second = _facing(around, around.copy(), 0.35)
    for events in (first, second):
        kinds = [e.kind for e in events]
        assert kinds.count(EventKind.HUG) == 1
        assert EventKind.HAND_OVER not in kinds
    beside, _ = _facing(standing(4.0), standing(4.0), 0.45)
    assert EventKind.HUG not in {e.kind for e in beside}


def test_people_who_walk_in_one_direction_walk_side_by_side() -> None:
    walk = _walking(5)
    left = _placed(walk, 0, 0.0, 0.0)
    right = _placed(walk, 1, 0.8, 0.0)
    described = describe_people((left, right), FRAME_SIZE_PX)
    for told, partner in zip(described, (1, 0), strict=True):
        (together,) = [e for e in told.events if e.kind is EventKind.WALK_TOGETHER]
        assert together.partner == partner
    against, _ = _kinds(left, _placed(walk, 1, 0.8, np.pi))
    assert EventKind.WALK_TOGETHER not in {e.kind for e in against}


def test_a_hand_that_hits_a_body_which_gives_way_pushes() -> None:
    pusher = _reach(standing(4.0), "right", 30, 38, (-0.05, 0.35, 0.5))
    pushed = standing(4.0)
    pushed[:, :, 2] -= ramp(len(pushed), 34, 46, 0.0, 0.6)[:, None]
    first, second = _facing(pusher, pushed, 0.62)
    assert EventKind.PUSH in {e.kind for e in first}
    assert EventKind.PUSH not in {e.kind for e in second}
    firm, _ = _facing(pusher, standing(4.0), 0.62)
    assert EventKind.PUSH not in {e.kind for e in firm}


@pytest.mark.corpus
def test_motions_of_one_person_in_one_room_do_not_touch() -> None:
    """Two unrelated sequences two meters apart have no contact, whatever the arms do."""
    contacts = {EventKind.HUG, EventKind.HAND_OVER, EventKind.SHAKE_HANDS, EventKind.PUSH}
    sequences = [
        m[:160]
        for _, label, m in mocap("bandai_joints22_20fps.npz", "content")
        if label.startswith(("raise", "wave"))
    ][::40]
    for a, b in zip(sequences[:-1:2], sequences[1::2], strict=False):
        found, _ = _facing(a.astype(np.float64), b.astype(np.float64), 2.0)
        assert not contacts & {e.kind for e in found}
