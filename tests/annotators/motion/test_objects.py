"""Objects and motion together: the activity that they name, and what is not said.

Shapes: T frames at 20 fps, 22 joints, meters, y up.
"""

from dataclasses import replace

import numpy as np
import pytest

from annotators.motion.describe import MotionDescription, describe_track
from annotators.motion.events import EventKind, Part, Side
from annotators.wording.phrases import in_words
from annotators.wording.timeline import timeline
from benchmarks.support.corpus import Motion
from data.motion.skeleton import FPS, JOINT
from data.records import ObjectSpan
from tests.support.motions import FRAME_SIZE_PX, as_track, ramp, set_arm, standing


def _told(motion: Motion, *objects: ObjectSpan) -> MotionDescription:
    return describe_track(replace(as_track(motion), objects=objects), FRAME_SIZE_PX)


def _kinds(told: MotionDescription) -> set[EventKind]:
    return {event.kind for event in told.events}


def _steps(told: MotionDescription) -> list[str]:
    return [in_words(clause, "base", "the") for clause in timeline(told)]


def _tapping(times: int) -> Motion:
    """Lift the feet in turn, a little, every 0.6 s."""
    motion = standing(2.0 + 0.6 * times)
    for tap in range(times):
        side = ("left", "right")[tap % 2]
        middle = round((1.0 + 0.6 * tap) * FPS)
        lift_T = 0.12 * np.clip(1 - ((np.arange(len(motion)) - middle) / 4.0) ** 2, 0, None)
        for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
            motion[:, JOINT[f"{side}_{joint}"], 1] += share * lift_T
            motion[:, JOINT[f"{side}_{joint}"], 2] += share * lift_T
    return motion


def _pushing(times: int) -> Motion:
    """Hold the right forearm out and push it down every 0.6 s."""
    motion = standing(2.0 + 0.6 * times)
    phase_T = np.clip((np.arange(len(motion)) / FPS - 1.0) / 0.6, 0, times)
    shoulder_T3 = motion[:, JOINT["right_shoulder"]]
    motion[:, JOINT["right_elbow"]] = shoulder_T3 + np.array([-0.03, -0.27, 0.02])
    low_T = 0.09 * (1 - np.cos(2 * np.pi * phase_T))
    wrist_T3 = np.stack(
        (np.full_like(low_T, -0.03), -0.20 - low_T, np.full_like(low_T, 0.24)), axis=1
    )
    motion[:, JOINT["right_wrist"]] = shoulder_T3 + wrist_T3
    return motion


def test_feet_that_keep_touching_a_ball_juggle_it() -> None:
    near_feet = [
        ObjectSpan("ball", 0.8, 1.5, 0.6, "left_ankle"),
        ObjectSpan("ball", 1.9, 4.9, 0.6, "right_ankle"),
    ]
    told = _told(_tapping(6), *near_feet)
    (juggled,) = [event for event in told.events if event.kind is EventKind.JUGGLE]
    assert (juggled.part, juggled.object) == (Part.LEG, "ball")
    assert juggled.count >= 5
    assert told.activity == "juggle"
    assert _steps(told) == ["juggle a ball with the feet"]


def test_neither_the_ball_nor_the_feet_alone_are_juggling() -> None:
    assert EventKind.JUGGLE not in _kinds(_told(_tapping(6)))
    lying_about = ObjectSpan("ball", 0.0, 4.0, 0.9, "left_ankle")
    assert EventKind.JUGGLE not in _kinds(_told(standing(4.0), lying_about))


def test_a_hand_that_pushes_a_ball_dribbles_it() -> None:
    told = _told(_pushing(4), ObjectSpan("ball", 0.5, 4.2, 0.6, "right_wrist"))
    (dribbled,) = [event for event in told.events if event.kind is EventKind.DRIBBLE]
    assert (dribbled.part, dribbled.side) == (Part.ARM, Side.RIGHT)
    assert "dribble a ball with the right hand" in _steps(told)
    assert EventKind.DRIBBLE not in _kinds(_told(_pushing(4)))


def test_a_ball_that_leaves_a_fast_hand_is_thrown() -> None:
    motion = standing(4.0)
    set_arm(motion, "right", ramp(len(motion), 20, 27, 0.3, 2.9))
    ball = ObjectSpan("ball", 0.0, 1.3, 0.6, "right_wrist")
    told = _told(motion, ball)
    (thrown,) = [event for event in told.events if event.kind is EventKind.THROW]
    assert (thrown.side, thrown.object) == (Side.RIGHT, "ball")
    assert "throw a ball up with the right hand" in _steps(told)
    kept = _told(motion, replace(ball, end_s=3.9))
    assert EventKind.THROW not in _kinds(kept)


def test_a_swing_with_a_racket_names_it() -> None:
    motion = standing(4.0)
    frames = len(motion)
    set_arm(motion, "right", np.full(frames, 1.3), ramp(frames, 20, 26, 1.2, -1.0))
    racket = ObjectSpan("tennis racket", 0.0, 3.9, 0.7, "right_wrist")
    swung = [e for e in _told(motion, racket).events if e.object == "tennis racket"]
    assert {event.kind for event in swung} == {EventKind.SWING}
    assert any("swing a tennis racket" in step for step in _steps(_told(motion, racket)))


def test_who_glides_with_a_bicycle_rides_and_who_stands_does_not() -> None:
    bicycle = ObjectSpan("bicycle", 0.0, 4.0, 0.7, "left_ankle")
    gliding = standing(4.0)
    gliding[:, :, 0] += np.linspace(0.0, 6.0, len(gliding))[:, None]
    track = replace(as_track(gliding), objects=(bicycle,))
    assert "ride a bicycle" in _steps(describe_track(track, FRAME_SIZE_PX))
    waiting = _told(standing(4.0), bicycle)
    assert EventKind.RIDE not in _kinds(waiting)
    assert "stay with a bicycle" in _steps(waiting)


@pytest.mark.parametrize(("up", "kind"), [(2.2, EventKind.DRINK), (0.6, EventKind.HOLD)])
def test_a_cup_at_the_mouth_is_drunk_from(up: float, kind: EventKind) -> None:
    motion = standing(4.0)
    share_T = ramp(len(motion), 20, 30, 0.0, 1.0)[:, None]
    head_T3 = motion[:, JOINT["head"]]
    mouth_T3 = head_T3 + np.array([-0.05, -0.05, 0.12])
    low_T3 = motion[:, JOINT["right_shoulder"]] + np.array([-0.02, -0.25, 0.25])
    goal_T3 = mouth_T3 if up > 1 else low_T3
    wrist = JOINT["right_wrist"]
    motion[:, wrist] += share_T * (goal_T3 - motion[:, wrist])
    elbow = JOINT["right_elbow"]
    middle_T3 = (motion[:, wrist] + motion[:, JOINT["right_shoulder"]]) / 2
    motion[:, elbow] = middle_T3 + np.array([-0.08, -0.12, 0.0])
    told = _told(motion, ObjectSpan("cup", 0.5, 3.9, 0.6, "right_wrist"))
    assert {e.kind for e in told.events if e.object == "cup"} == {kind}


def _shooting(*, seconds: float = 0.25, start_deg: float = 120.0, aims: bool = False) -> Motion:
    """Hold the right hand bent at the head, straighten the arm overhead, lower it much later.

    Who aims raises the hand all the time before, with an arm that is bent more at first.
    """
    motion = standing(5.0)
    frames = len(motion)
    up_T = ramp(frames, 30, 30 + round(seconds * FPS), 0.0, 1.0)
    more_T = ramp(frames, 0, 28, 25.0 if aims else 0.0, 0.0)
    bend_T = np.radians(start_deg + more_T) * (1 - up_T)
    # The upper arm goes from obliquely ahead to straight up, the forearm always points up.
    lift_T = ramp(frames, 0, 30 if aims else 12, 0.0, 1.0) * (np.pi - bend_T)
    shoulder_T3 = motion[:, JOINT["right_shoulder"]]
    zeros_T = np.zeros(frames)
    upper_T3 = np.stack((zeros_T, -np.cos(lift_T), np.sin(lift_T)), axis=1)
    fore_T3 = np.stack((zeros_T, -np.cos(lift_T + bend_T), np.sin(lift_T + bend_T)), axis=1)
    motion[:, JOINT["right_elbow"]] = shoulder_T3 + 0.28 * upper_T3
    motion[:, JOINT["right_wrist"]] = motion[:, JOINT["right_elbow"]] + 0.25 * fore_T3
    return motion


def test_an_arm_that_straightens_overhead_at_once_throws_the_ball_of_the_scene() -> None:
    ball = ObjectSpan("ball", 2.0, 4.0, 0.6)
    told = _told(_shooting(), ball)
    (thrown,) = [event for event in told.events if event.kind is EventKind.THROW]
    assert (thrown.side, thrown.object) == (Side.RIGHT, "ball")
    assert 1.3 <= thrown.start_s <= 1.6
    assert "throw a ball up with the right hand" in _steps(told)
    assert EventKind.RAISE not in {e.kind for e in told.events if e.start_s > 1.0}
    assert EventKind.THROW not in _kinds(_told(_shooting()))
    assert EventKind.THROW not in _kinds(_told(_shooting(seconds=1.5), ball))
    assert EventKind.THROW not in _kinds(_told(_shooting(start_deg=40.0), ball))
    dog = replace(ball, name="dog")
    assert EventKind.THROW not in _kinds(_told(_shooting(), dog))


def test_who_aims_before_throws_where_the_arm_straightens() -> None:
    told = _told(_shooting(aims=True), ObjectSpan("ball", 2.0, 4.0, 0.6))
    (thrown,) = [event for event in told.events if event.kind is EventKind.THROW]
    assert 1.2 <= thrown.start_s <= 1.6


def _unsure(motion: Motion, joints: list[str], until: int, confidence: float) -> MotionDescription:
    """Describe a motion with a ball in the scene and joints that are unsure until a frame."""
    track = as_track(motion)
    confidence_TJ = track.confidence.copy()
    confidence_TJ[:until, [JOINT[name] for name in joints]] = confidence
    ball = ObjectSpan("ball", 2.0, 4.0, 0.6)
    shown = replace(track, confidence=confidence_TJ, objects=(ball,))
    return describe_track(shown, FRAME_SIZE_PX)


def _held_up(motion: Motion) -> Motion:
    """Hold the left hand up at the head with a bent arm, and let it sink after 1.7 s."""
    share_T = ramp(len(motion), 34, 50, 1.0, 0.0)[:, None]
    shoulder_T3 = motion[:, JOINT["left_shoulder"]]
    for joint, up_3 in (("elbow", (0.12, 0.0, 0.22)), ("wrist", (-0.05, 0.2, 0.2))):
        place_T3 = motion[:, JOINT[f"left_{joint}"]]
        place_T3 += share_T * (shoulder_T3 + np.array(up_3) - place_T3)
    return motion


@pytest.mark.parametrize(
    ("hidden", "held", "throws"), [(35, True, 1), (35, False, 0), (20, True, 1)]
)
def test_a_hidden_arm_that_appears_overhead_has_thrown_the_ball(
    hidden: int, held: bool, throws: int
) -> None:
    motion = _held_up(_shooting()) if held else _shooting()
    told = _unsure(motion, ["right_elbow", "right_wrist"], hidden, 0.05)
    thrown = [event for event in told.events if event.kind is EventKind.THROW]
    assert [event.side for event in thrown] == [Side.RIGHT] * throws
    if throws:
        assert 1.3 <= thrown[0].start_s <= thrown[0].end_s <= 2.0
        assert not [e for e in told.events if e.kind is EventKind.LOWER and e.end_s < 2.3]


@pytest.mark.parametrize(
    ("confidence", "side", "text"),
    [(0.95, Side.BOTH, "throw a ball up with both hands"), (0.45, None, "throw a ball up")],
)
def test_a_throw_names_both_hands_only_if_both_are_seen(
    confidence: float, side: Side | None, text: str
) -> None:
    motion = _shooting()
    for joint in ("elbow", "wrist"):
        right_T3 = motion[:, JOINT[f"right_{joint}"]]
        motion[:, JOINT[f"left_{joint}"]] = right_T3 * np.array([-1.0, 1.0, 1.0])
    # Gaps are short enough to be bridged.
    track = as_track(motion)
    confidence_TJ = track.confidence.copy()
    for first in range(28, 40, 4):
        confidence_TJ[first : first + 2, JOINT["left_wrist"]] = confidence
    ball = ObjectSpan("ball", 2.0, 4.0, 0.6)
    told = describe_track(replace(track, confidence=confidence_TJ, objects=(ball,)), FRAME_SIZE_PX)
    (thrown,) = [event for event in told.events if event.kind is EventKind.THROW]
    assert thrown.side is side
    assert text in _steps(told)
