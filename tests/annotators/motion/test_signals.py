"""Which parts of the body are measured when, and which directions one camera measures."""

import numpy as np
import pytest

from annotators.motion.describe import describe_motion
from annotators.motion.events import EventKind, Side
from annotators.motion.signals import prepare
from data.motion.skeleton import JOINT, NUM_JOINTS
from tests.support.motions import Motion, moved, raising_left_arm, standing

LEFT_ARM = [JOINT[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")]
LEGS = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("knee", "ankle", "foot")]


def _seen(motion: Motion, joints: list[int], start: int, end: int) -> np.ndarray:
    """Confidence of a motion whose ``joints`` are seen only from ``start`` to ``end``."""
    confidence = np.full((len(motion), NUM_JOINTS), 0.95)
    confidence[:, joints] = 0.1
    confidence[start:end, joints] = 0.95
    return confidence


def _arm_movements(motion: Motion, confidence: np.ndarray) -> list[EventKind]:
    events = describe_motion(motion, confidence=confidence).events
    return [e.kind for e in events if e.side is Side.LEFT]


def test_a_movement_counts_when_its_joints_are_seen_while_it_lasts() -> None:
    arm = raising_left_arm()
    motion = np.concatenate([arm[:1].repeat(3 * len(arm), axis=0), arm])
    start = 3 * len(arm)
    assert EventKind.RAISE in _arm_movements(motion, _seen(motion, LEFT_ARM, start, len(motion)))
    # The same arm, seen as long but at another time.
    assert not _arm_movements(motion, _seen(motion, LEFT_ARM, 0, len(arm)))


def test_parts_are_told_apart_by_how_long_they_are_seen() -> None:
    motion = standing(5.0)
    signals = prepare(motion, confidence=_seen(motion, LEGS, 10, 40))
    assert "left_leg" in signals.parts
    assert "left_leg" not in signals.mostly
    assert signals.body_T[20]
    assert not signals.body_T[60]
    glimpse = prepare(motion, confidence=_seen(motion, LEGS, 10, 18))
    assert "left_leg" not in glimpse.parts
    assert not glimpse.body_seen


def test_unseen_legs_do_not_stay_behind() -> None:
    motion = standing(5.0)
    walking = motion + np.linspace(0, 4, len(motion))[:, None, None] * np.array([1.0, 0.0, 0.0])
    signals = prepare(walking, confidence=_seen(walking, LEGS, 0, 30))
    away_T = np.linalg.norm(signals.joint_T3("left_ankle") - signals.joint_T3("pelvis"), axis=1)
    assert np.ptp(away_T) < 0.05


@pytest.mark.parametrize(
    ("yaw_deg", "across", "ahead"), [(0, True, False), (90, False, True), (180, True, False)]
)
def test_one_camera_sees_only_one_horizontal_direction(
    yaw_deg: float, across: bool, ahead: bool
) -> None:
    motion = moved(standing(2.0), np.radians(yaw_deg), (0.0, 0.0, 0.0))
    span = (0, len(motion))
    signals = prepare(motion, confidence=np.full((len(motion), NUM_JOINTS), 0.95))
    assert signals.sees_direction(span, across=True) is across
    assert signals.sees_direction(span, across=False) is ahead
    exact = prepare(motion)
    assert exact.sees_direction(span, across=True)
    assert exact.sees_direction(span, across=False)


def test_a_reach_toward_the_camera_is_in_depth() -> None:
    motion = standing(2.0)
    motion[:, JOINT["left_wrist"], 2] += np.linspace(0, 0.4, len(motion))
    confidence = np.full((len(motion), NUM_JOINTS), 0.95)
    span = (0, len(motion))
    facing = prepare(motion, confidence=confidence)
    aside = prepare(moved(motion, np.pi / 2, (0.0, 0.0, 0.0)), confidence=confidence)
    assert facing.share_in_image("left_wrist", "left_shoulder", span) < 0.3
    assert aside.share_in_image("left_wrist", "left_shoulder", span) > 0.9
    assert prepare(motion).share_in_image("left_wrist", "left_shoulder", span) == 1.0
