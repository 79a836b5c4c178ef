"""Rules on motions that are made here, each with a counter-example on which it must not fire.

Shapes: T frames at 20 fps, 22 joints, meters, y up.
"""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from annotators.motion.describe import MotionDescription, describe_motion
from annotators.motion.events import (
    Direction,
    EventKind,
    Level,
    MotionEvent,
    Part,
    PostureKind,
    Side,
)
from annotators.motion.signals import SIDES
from annotators.wording.phrases import in_words, measurement
from annotators.wording.timeline import timeline
from benchmarks.support.corpus import Motion, mocap
from data.motion.skeleton import FPS, JOINT, heading_rad
from data.synthetic.activities import generate_motion
from tests.support.motions import jumping, raising_left_arm, ramp, set_arm, standing

CMU = "cmu_joints22_20fps.npz"


def _of(kind: EventKind, motion: Motion | MotionDescription) -> list[MotionEvent]:
    told = motion if isinstance(motion, MotionDescription) else describe_motion(motion)
    return [event for event in told.events if event.kind is kind]


def _jacks(times: int, *, arms: bool = True, legs: bool = True) -> Motion:
    """Stand for a second, then open and close arms and legs every 1.2 s."""
    motion = standing(2.5 + 1.2 * times)
    phase_T = np.clip((np.arange(len(motion)) / FPS - 1.0) / 1.2, 0.0, times)
    open_T = (1.0 - np.cos(2 * np.pi * phase_T)) / 2
    if legs:
        for side, outward in (("left", 1.0), ("right", -1.0)):
            for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
                motion[:, JOINT[f"{side}_{joint}"], 0] += outward * share * 0.32 * open_T
        motion[:, :, 1] += (0.07 * np.abs(np.sin(2 * np.pi * phase_T)))[:, None]
    if arms:
        for side in ("left", "right"):
            set_arm(motion, side, 3.0 * open_T)
    return motion


def _turned_over(rounds: float, axis: str, *, seconds: float = 0.9) -> Motion:
    """Turn the whole body in the air about the left-right (x) or the forward (z) axis."""
    motion = standing(4.0)
    angle_T = ramp(len(motion), 30, 30 + round(seconds * FPS), 0.0, 2 * np.pi * rounds)
    center_T3 = motion[:, :1].copy()
    turn = Rotation.from_euler(axis, angle_T[:, None])
    for joint in range(motion.shape[1]):
        motion[:, joint] = turn.apply(motion[:, joint] - center_T3[:, 0]) + center_T3[:, 0]
    in_air_T = ramp(len(motion), 24, 36, 0.0, 1.0) - ramp(len(motion), 44, 56, 0.0, 1.0)
    motion[:, :, 1] += 0.9 * in_air_T[:, None]
    return motion


def _fallen(drop_m: float, fall_s: float) -> Motion:
    """Stand, go up a little and land lower, where the knees give way."""
    motion = standing(4.0)
    frames_T = np.arange(len(motion))
    end = 34 + round(fall_s * FPS)
    hop_T = 0.12 * np.clip(1 - ((frames_T - 32) / 4.0) ** 2, 0, None)
    share_T = np.clip((frames_T - 34) / (end - 34), 0.0, 1.0)
    motion[:, :, 1] += (hop_T + drop_m * (1.0 - share_T**2))[:, None]
    sink_T = 0.4 * (ramp(len(motion), end, end + 6, 0.0, 1.0) - ramp(len(motion), 60, 75, 0.0, 1.0))
    legs = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("ankle", "foot")]
    upper = [joint for joint in range(22) if joint not in legs]
    motion[:, upper, 1] -= sink_T[:, None]
    for side in ("left", "right"):
        motion[:, JOINT[f"{side}_knee"], 1] += sink_T / 2
        motion[:, JOINT[f"{side}_knee"], 2] += sink_T
    return motion


def test_jumping_jacks_are_counted() -> None:
    (jacks,) = _of(EventKind.JUMPING_JACK, _jacks(3))
    assert jacks.count == 3
    assert jacks.start_s == pytest.approx(1.0, abs=0.2)
    assert jacks.end_s == pytest.approx(4.6, abs=0.2)
    (clause,) = [c for c in timeline(describe_motion(_jacks(3))) if c.weight > 0.5]
    assert in_words(clause, "base", "the") == "do three jumping jacks"


def test_arms_or_legs_alone_are_no_jumping_jack() -> None:
    assert not _of(EventKind.JUMPING_JACK, _jacks(3, legs=False))
    assert not _of(EventKind.JUMPING_JACK, _jacks(3, arms=False))


@pytest.mark.parametrize(
    ("rounds", "direction"), [(1.0, Direction.FORWARD), (-1.0, Direction.BACKWARD)]
)
def test_a_somersault_turns_over_the_left_right_axis(rounds: float, direction: Direction) -> None:
    (over,) = _of(EventKind.SOMERSAULT, _turned_over(rounds, "x"))
    assert over.direction is direction
    assert over.magnitude == pytest.approx(360.0, abs=40.0)
    assert over.start_s == pytest.approx(1.5, abs=0.3)


def test_a_cartwheel_and_a_bow_are_no_somersault() -> None:
    assert not _of(EventKind.SOMERSAULT, _turned_over(1.0, "z"))
    bow = standing(5.0)
    lean_T = ramp(len(bow), 30, 45, 0.0, 1.4) - ramp(len(bow), 55, 70, 0.0, 1.4)
    upper = [JOINT[n] for n in JOINT if not any(x in n for x in ("hip", "knee", "ankle", "foot"))]
    turn = Rotation.from_euler("x", lean_T[:, None])
    for joint in upper:
        bow[:, joint] = turn.apply(bow[:, joint] - bow[:, 0]) + bow[:, 0]
    assert not _of(EventKind.SOMERSAULT, bow)


def test_a_jump_down_ends_lower_and_lands() -> None:
    told = describe_motion(_fallen(1.2, 0.5))
    (down,) = _of(EventKind.JUMP_DOWN, told)
    assert down.magnitude == pytest.approx(1.2, abs=0.25)
    (land,) = _of(EventKind.LAND, told)
    assert land.posture is PostureKind.SQUATTING
    assert down.start_s < land.start_s < land.end_s
    steps = [in_words(clause, "base", "the") for clause in timeline(told)]
    assert steps.index("jump down") < steps.index("land in a squat")


def test_a_jump_on_the_spot_and_a_slow_descent_are_no_jump_down() -> None:
    assert not _of(EventKind.JUMP_DOWN, jumping())
    assert not _of(EventKind.JUMP_DOWN, _fallen(0.9, 3.0))


@pytest.mark.corpus
def test_leaps_do_not_fire_on_motion_capture_without_them() -> None:
    rare = (EventKind.JUMPING_JACK, EventKind.JUMP_DOWN, EventKind.SOMERSAULT, EventKind.CRAWL)
    fired = [
        (key, event.kind)
        for key, _, motion in mocap(CMU, "label")[::2]
        for event in describe_motion(motion[:400]).events
        if event.kind in rare
    ]
    assert fired == []


def _stepping(side: str, way_m: float) -> Motion:
    """Move one foot forward, then the body, then the other foot after it."""
    motion = standing(4.0)
    other = "right" if side == "left" else "left"
    first_T = ramp(len(motion), 20, 30, 0.0, way_m)
    body_T = ramp(len(motion), 20, 46, 0.0, way_m)
    then_T = ramp(len(motion), 36, 46, 0.0, way_m)
    motion[:, :, 2] += body_T[:, None]
    for foot, way_T, lift in ((side, first_T, 25), (other, then_T, 41)):
        lift_T = 0.1 * np.clip(1 - ((np.arange(len(motion)) - lift) / 5.0) ** 2, 0, None)
        for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
            motion[:, JOINT[f"{foot}_{joint}"], 2] += share * (way_T - body_T)
            motion[:, JOINT[f"{foot}_{joint}"], 1] += share * lift_T
    return motion


def test_a_single_step_is_no_walk() -> None:
    told = describe_motion(_stepping("right", 0.8))
    assert not _of(EventKind.WALK, told)
    steps = _of(EventKind.STEP, told)
    assert [step.side for step in steps] == [Side.RIGHT, Side.LEFT]
    assert {step.direction for step in steps} == {Direction.FORWARD}
    assert {step.part for step in steps} == {Part.LEG}


def _facing(motion: Motion, angle_rad: float) -> Motion:
    """Turn a motion about the vertical, so that it faces the camera at 0 and +x at pi / 2."""
    turn = Rotation.from_euler("y", angle_rad - np.median(heading_rad(motion)))
    return turn.apply(motion.reshape(-1, 3)).reshape(motion.shape)


def _estimated(motion: Motion, **unsure: float) -> MotionDescription:
    """Describe a motion as an estimate, with a confidence of its own for some legs."""
    confidence_TJ = np.full(motion.shape[:2], 0.95)
    for side, value in unsure.items():
        legs = [JOINT[f"{side}_{joint}"] for joint in ("knee", "ankle", "foot")]
        confidence_TJ[:, legs] = value
    return describe_motion(motion, confidence=confidence_TJ)


@pytest.mark.parametrize(
    ("facing_rad", "direction"), [(np.pi / 2, Direction.FORWARD), (np.pi / 4, None)]
)
def test_a_step_of_unsure_facing_has_no_direction(
    facing_rad: float, direction: Direction | None
) -> None:
    aside = _stepping("right", 0.8)
    turned = _facing(aside, facing_rad)
    # The estimate shortens what lies in depth.
    turned[:, :, 2] *= 0.6
    steps = _of(EventKind.STEP, _estimated(turned))
    assert [step.side for step in steps] == [Side.RIGHT, Side.LEFT]
    assert {step.direction for step in steps} == {direction}
    told = [in_words(clause, "base", "the") for clause in timeline(_estimated(turned))]
    go = "step forward" if direction else "take a step"
    assert f"{go} with the right foot" in told


def test_a_foot_that_stays_up_or_is_hardly_seen_has_not_stepped() -> None:
    turned = _facing(_stepping("right", 0.8), np.pi / 2)
    assert not _of(EventKind.STEP, _estimated(turned, left=0.52, right=0.52))
    up_T = ramp(len(turned), 20, 26, 0.0, 0.4)[:, None]
    for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
        turned[:, JOINT[f"right_{joint}"], 1:2] += share * up_T
    assert Side.RIGHT not in {step.side for step in _of(EventKind.STEP, _estimated(turned))}


@pytest.mark.parametrize(("speed_mps", "kinds"), [(1.2, {"walk"}), (1.9, set()), (3.2, {"run"})])
def test_a_pace_between_walk_and_run_is_neither_if_a_leg_is_hidden(
    speed_mps: float, kinds: set[str]
) -> None:
    motion = standing(5.0)
    motion[:, :, 2] += speed_mps * np.clip(np.arange(len(motion)) / FPS - 1.0, 0.0, 2.5)[:, None]
    told = _estimated(_facing(motion, np.pi / 2), left=0.1)
    assert {e.kind for e in told.events if e.kind in (EventKind.WALK, EventKind.RUN)} == kinds


def test_drift_before_a_walk_is_no_part_of_it() -> None:
    walk = _facing(_walking(5.0), np.pi / 2)
    waits = np.concatenate([np.repeat(walk[:1], 40, axis=0), walk])
    drift_T = ramp(len(waits), 0, 40, -0.5, 0.0)
    waits[:, :, 0] += drift_T[:, None]
    (gait,) = _of(EventKind.WALK, _estimated(waits))
    assert gait.start_s == pytest.approx(2.0, abs=0.35)
    assert gait.direction is Direction.FORWARD


@pytest.mark.parametrize("walks_off", [False, True])
def test_a_walk_begins_where_the_feet_make_full_strides(walks_off: bool) -> None:
    walk = _facing(_walking(5.0), np.pi / 2)[:40]
    drifts = np.repeat(walk[:1], 60, axis=0)
    frames_T = np.arange(60)
    drifts[:, :, 0] += 0.6 * (frames_T - 60)[:, None] / FPS
    for joint in ("ankle", "foot"):
        drifts[:, JOINT[f"left_{joint}"], 0] += 0.08 * np.sin(2 * np.pi * frames_T / 10)
    stays = np.repeat(walk[:1], 20, axis=0)
    told = _estimated(np.concatenate([drifts, walk if walks_off else stays]))
    gaits = _of(EventKind.WALK, told)
    assert len(gaits) == walks_off
    assert all(gait.start_s == pytest.approx(3.0, abs=0.5) for gait in gaits)


def test_the_first_steps_out_of_the_picture_are_a_walk() -> None:
    motion = _facing(_walking(5.0), np.pi / 2)
    leaves = np.concatenate([np.repeat(motion[:1], 30, axis=0), motion[:22]])
    (gait,) = _of(EventKind.WALK, _estimated(leaves))
    assert gait.end_s == pytest.approx((len(leaves) - 1) / FPS, abs=0.3)
    stops = np.concatenate([leaves, np.repeat(leaves[-1:], 30, axis=0)])
    assert not _of(EventKind.WALK, _estimated(stops))


@pytest.mark.parametrize(("seconds", "balances"), [(0.9, 0), (1.6, 1)])
def test_a_lifted_foot_in_a_glimpse_is_no_balance(seconds: float, balances: int) -> None:
    motion = standing(seconds)
    for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
        motion[:, JOINT[f"right_{joint}"], 1:] += share * 0.25
    held = [p for p in _estimated(motion).postures if p.kind is PostureKind.ONE_LEG]
    assert [p.side for p in held] == [Side.LEFT] * balances
    assert any(p.kind is PostureKind.ONE_LEG for p in describe_motion(motion).postures)


@pytest.mark.parametrize(
    ("seconds", "hidden", "step", "activity"),
    [
        (3.0, False, "stand still", "stand"),
        (3.0, True, "hold still", "still"),
        (0.8, False, "stay upright", "stand"),
        (0.8, True, "stay upright", "still"),
    ],
)
def test_who_stands_has_both_feet_in_their_places(
    seconds: float, hidden: bool, step: str, activity: str
) -> None:
    told = _estimated(standing(seconds), left=0.1 if hidden else 0.95)
    assert [in_words(clause, "base", "the") for clause in timeline(told)] == [step]
    assert told.activity == activity


@pytest.mark.parametrize(("frames", "rises"), [(20, 1), (44, 0)])
def test_legs_that_straighten_very_slowly_are_drift(frames: int, rises: int) -> None:
    motion = standing(5.0)
    sink_T = ramp(len(motion), 20, 20 + frames, 0.3, 0.0)
    legs = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("ankle", "foot")]
    upper = [joint for joint in range(22) if joint not in legs]
    motion[:, upper, 1] -= sink_T[:, None]
    for side in ("left", "right"):
        motion[:, JOINT[f"{side}_knee"], 1] += sink_T / 2
        motion[:, JOINT[f"{side}_knee"], 2] += sink_T
    assert len(_of(EventKind.RISE, _estimated(motion))) == rises


def _stooping(*, keeps_up: bool) -> Motion:
    """Bend down with the right hand to the floor, and keep the hand up afterward or not."""
    motion = standing(6.0)
    lean_T = ramp(len(motion), 20, 38, 0.0, 1.5) - ramp(len(motion), 50, 68, 0.0, 1.5)
    upper = [
        JOINT[n] for n in JOINT if not any(x in n for x in ("hip", "knee", "ankle", "foot", "left"))
    ]
    upper += [JOINT[f"left_{n}"] for n in ("collar", "shoulder", "elbow", "wrist")]
    turn = Rotation.from_euler("x", lean_T[:, None])
    for joint in upper:
        motion[:, joint] = turn.apply(motion[:, joint] - motion[:, 0]) + motion[:, 0]
    set_arm(motion, "right", np.zeros(len(motion)))
    if keeps_up:
        held_T = ramp(len(motion), 58, 70, 0.0, 1.0)[:, None]
        shoulder_T3 = motion[:, JOINT["right_shoulder"]]
        for name, way in (("elbow", (0.0, -0.27, 0.02)), ("wrist", (0.0, -0.25, 0.27))):
            joint = JOINT[f"right_{name}"]
            motion[:, joint] += held_T * (shoulder_T3 + np.array(way) - motion[:, joint])
    return motion


def test_a_hand_that_goes_down_and_is_kept_up_picks_something_up() -> None:
    (picked,) = _of(EventKind.PICK_UP, _stooping(keeps_up=True))
    assert picked.side is Side.RIGHT
    told = describe_motion(_stooping(keeps_up=False))
    assert not _of(EventKind.PICK_UP, told)
    assert [event.direction for event in _of(EventKind.REACH, told)] == [Direction.DOWN]


@pytest.mark.parametrize(("first", "frames", "throws"), [(44, 6, 1), (44, 24, 0), (70, 6, 0)])
def test_a_hand_that_swings_forward_out_of_a_stoop_throws(
    first: int, frames: int, throws: int
) -> None:
    motion = _stooping(keeps_up=False)[first:]
    rises = max(56 - first, 10)
    set_arm(motion, "right", ramp(len(motion), rises, rises + frames, 0.0, 1.3))
    assert len(_of(EventKind.THROW, motion)) == throws


def _walking(seconds: float = 4.0) -> Motion:
    return generate_motion("walk_forward", 3, seconds)[0].astype(np.float64)


def test_a_walk_beside_a_camera_that_follows_is_told_by_the_legs() -> None:
    kept = _walking(5.0)
    kept[:, :, [0, 2]] -= kept[:, :1, [0, 2]]
    told = _estimated(_facing(kept, np.pi / 2))
    (gait,) = _of(EventKind.WALK, told)
    assert gait.direction is None
    assert gait.count >= 4
    assert gait.duration_s > 2.5
    (clause,) = timeline(told)
    assert in_words(clause, "base", "the").endswith("walk")
    assert "the feet step ahead of each other in turn" in measurement(clause)
    # The depth of the feet of somebody who comes toward the camera is a guess.
    assert not _of(EventKind.WALK, _estimated(_facing(kept, 0.0)))


def test_feet_that_pedal_or_lift_on_the_spot_are_no_walk() -> None:
    kept = _walking(5.0)
    kept[:, :, [0, 2]] -= kept[:, :1, [0, 2]]
    higher_T = np.maximum(kept[:, JOINT["left_ankle"], 1] - kept[:, JOINT["right_ankle"], 1], 0.0)
    assert higher_T.max() < 0.25
    for joint in ("knee", "ankle", "foot"):
        kept[:, JOINT[f"left_{joint}"], 1] += 3.0 * higher_T
    assert not _of(EventKind.WALK, _estimated(_facing(kept, np.pi / 2)))


def test_a_walk_that_gains_height_climbs() -> None:
    stairs = _walking(5.0)
    stairs[:, :, 1] += ramp(len(stairs), 20, 80, 0.0, 1.2)[:, None]
    (climb,) = _of(EventKind.CLIMB, stairs)
    assert climb.direction is Direction.UP
    assert climb.magnitude == pytest.approx(1.2, abs=0.3)
    assert not _of(EventKind.CLIMB, _walking(5.0))
    assert not _of(EventKind.CLIMB, _fallen(1.2, 0.5))


def _hopping(sides: str) -> Motion:
    """Travel forward with a hop on each of the legs, l or r, one after the other."""
    motion = standing(2.0 + 0.7 * len(sides))
    frames_T = np.arange(len(motion))
    motion[:, :, 2] += ramp(len(motion), 10, len(motion) - 10, 0.0, 1.1 * len(sides))[:, None]
    for index, letter in enumerate(sides):
        middle = 20 + round(0.7 * index * FPS)
        up_T = np.clip(1 - ((frames_T - middle) / 4.0) ** 2, 0, None)
        motion[:, :, 1] += 0.22 * up_T[:, None]
        free = "right" if letter == "l" else "left"
        bent_T = np.clip(1 - ((frames_T - middle) / 7.0) ** 2, 0, None)
        for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
            motion[:, JOINT[f"{free}_{joint}"], 1] += share * 0.35 * bent_T
            motion[:, JOINT[f"{free}_{joint}"], 2] += (0.5 - share) * 0.3 * bent_T
    return motion


def test_hops_on_alternate_legs_are_skipping_and_on_one_leg_are_not() -> None:
    (skip,) = _of(EventKind.SKIP, _hopping("lrlr"))
    assert skip.count == 4
    told = describe_motion(_hopping("llll"))
    assert len(_of(EventKind.HOP, told)) >= 3
    assert not {EventKind.SKIP, EventKind.WALK, EventKind.RUN} & {e.kind for e in told.events}


def test_a_hand_that_tosses_and_one_that_strikes_overhead_serve() -> None:
    def served(*, tosses: bool) -> Motion:
        motion = standing(5.0)
        frames = len(motion)
        if tosses:
            up_T = ramp(frames, 20, 32, 0.0, 2.9) - ramp(frames, 46, 56, 0.0, 2.9)
            set_arm(motion, "left", up_T)
        back_T = ramp(frames, 24, 36, 0.0, 3.6)
        return set_arm(motion, "right", back_T - ramp(frames, 40, 46, 0.0, 3.0))

    assert [e.side for e in _of(EventKind.SERVE, served(tosses=True))] == [Side.RIGHT]
    assert not _of(EventKind.SERVE, served(tosses=False))


def _palms(opens: int) -> Motion:
    """Hold both hands together before the chest, and open and close them."""
    motion = standing(2.0 + 0.8 * max(opens, 1))
    phase_T = np.clip((np.arange(len(motion)) / FPS - 1.0) / 0.8, 0, opens)
    apart_T = 0.05 + 0.06 * (1 - np.cos(2 * np.pi * phase_T)) / 2
    for side, outward in (("left", 1.0), ("right", -1.0)):
        wrist_T3 = motion[:, 0] + np.array([0.0, 0.35, 0.3])
        wrist_T3[:, 0] += outward * apart_T
        motion[:, JOINT[f"{side}_wrist"]] = wrist_T3
        shoulder_T3 = motion[:, JOINT[f"{side}_shoulder"]]
        elbow_T3 = (wrist_T3 + shoulder_T3) / 2 + np.array([outward * 0.1, -0.15, 0.0])
        motion[:, JOINT[f"{side}_elbow"]] = elbow_T3
    return motion


def test_palms_that_open_and_close_are_a_gesture() -> None:
    (gesture,) = _of(EventKind.GESTURE, _palms(4))
    assert gesture.count in (3, 4)
    assert not _of(EventKind.GESTURE, _palms(0))


def test_who_works_with_the_hands_does_not_hold_still() -> None:
    def stands_still(motion: Motion) -> bool:
        return any(
            start_s < 1.5 and end_s > 2.5 for start_s, end_s in describe_motion(motion).still
        )

    assert stands_still(_palms(0))
    assert not stands_still(_palms(2))


@pytest.mark.parametrize("behind_m", [0.0, 0.25])
def test_a_leg_out_to_the_side_and_the_balance_on_the_other(behind_m: float) -> None:
    motion = standing(5.0)
    share_T = ramp(len(motion), 25, 35, 0.0, 1.0) - ramp(len(motion), 60, 70, 0.0, 1.0)
    for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
        motion[:, JOINT[f"right_{joint}"], 0] -= share * 0.6 * share_T
        motion[:, JOINT[f"right_{joint}"], 1] += share * 0.2 * share_T
        motion[:, JOINT[f"right_{joint}"], 2] -= share * behind_m * share_T
    told = describe_motion(motion)
    (raised,) = [e for e in _of(EventKind.RAISE, told) if e.part is Part.LEG]
    assert (raised.side, raised.direction) == (Side.RIGHT, Direction.SIDE)
    held = [p for p in told.postures if p.kind is PostureKind.ONE_LEG]
    assert [p.side for p in held] == [Side.LEFT]


def test_a_hand_that_comes_to_rest_after_a_throw_does_not_swing() -> None:
    def shaken(*, strikes: bool) -> Motion:
        """Raise the right arm, bring it down before the body, fast or slowly, and shake it."""
        motion = standing(7.0)
        frames = len(motion)
        end = 46 if strikes else 80
        angle_T = ramp(frames, 10, 36, 0.0, 3.5) - ramp(frames, 40, end, 0.0, 2.0)
        phase_T = np.clip((np.arange(frames) - end - 1) / 7, 0, 3)
        return set_arm(motion, "right", angle_T, 0.45 * np.sin(2 * np.pi * phase_T))

    assert [e.count for e in _of(EventKind.SWING, shaken(strikes=False))] == [3]
    told = describe_motion(shaken(strikes=True))
    assert _of(EventKind.THROW, told)
    assert not _of(EventKind.SWING, told)


def _half_seen(right_up: float, confidence: float) -> list[MotionEvent]:
    """Raise the left arm overhead and the right one to an angle, of which the hand is half seen."""
    motion = raising_left_arm()
    set_arm(motion, "right", ramp(len(motion), 22, 40, 0.0, right_up))
    seen_TJ = np.full(motion.shape[:2], 0.95)
    seen_TJ[:, [JOINT["right_elbow"], JOINT["right_wrist"]]] = confidence
    told = describe_motion(motion, confidence=seen_TJ)
    return _of(EventKind.RAISE, told)


def test_arms_that_rise_together_are_told_together_if_one_is_half_hidden() -> None:
    (both,) = _half_seen(2.0, 0.45)
    assert both.side is Side.BOTH
    assert [event.side for event in both.by_side] == [Side.LEFT, Side.RIGHT]
    # Far less than the left arm.
    (less,) = _half_seen(1.2, 0.45)
    assert less.side is Side.LEFT
    (still,) = _half_seen(0.0, 0.45)
    assert still.side is Side.LEFT
    (little,) = _half_seen(0.6, 0.45)
    assert little.side is Side.LEFT
    (unseen,) = _half_seen(2.0, 0.1)
    assert unseen.side is Side.LEFT


@pytest.mark.parametrize(("right_up", "level"), [(2.8, Level.ABOVE_HEAD), (1.5, None)])
def test_arms_that_end_at_different_heights_have_no_common_one(
    right_up: float, level: Level | None
) -> None:
    motion = raising_left_arm()
    set_arm(motion, "right", ramp(len(motion), 20, 42, 0.0, right_up))
    (both,) = _of(EventKind.RAISE, _estimated(motion))
    assert (both.side, both.level) == (Side.BOTH, level)
    assert [event.side for event in both.by_side] == [Side.LEFT, Side.RIGHT]


def test_an_arm_that_is_lowered_from_the_chest_goes_down_with_the_other_one() -> None:
    motion = standing(4.0)
    set_arm(motion, "left", ramp(len(motion), 40, 52, 3.0, 0.0))
    set_arm(motion, "right", ramp(len(motion), 40, 52, 1.2, 0.0))
    seen_TJ = np.full(motion.shape[:2], 0.95)
    seen_TJ[:, [JOINT["right_elbow"], JOINT["right_wrist"]]] = 0.45
    (both,) = _of(EventKind.LOWER, describe_motion(motion, confidence=seen_TJ))
    assert both.side is Side.BOTH


@pytest.mark.parametrize(
    ("appears", "up", "side"),
    [(32, 1.6, Side.BOTH), (70, 1.6, Side.LEFT), (32, 0.0, Side.LEFT), (0, 1.6, Side.BOTH)],
)
def test_an_arm_that_comes_into_sight_raised_was_raised_with_the_other_one(
    appears: int, up: float, side: Side
) -> None:
    motion = raising_left_arm()
    # To the side, where the body cannot hide it.
    lift_T = ramp(len(motion), 20, 32, 0.0, up)
    set_arm(motion, "right", np.zeros(len(motion)), lift_T)
    seen_TJ = np.full(motion.shape[:2], 0.95)
    seen_TJ[:appears, [JOINT["right_elbow"], JOINT["right_wrist"]]] = 0.05
    raised = _of(EventKind.RAISE, describe_motion(motion, confidence=seen_TJ))
    assert [event.side for event in raised] == [side]


@pytest.mark.parametrize(("to_the_other", "sides"), [(True, set()), (False, {Side.LEFT})])
def test_a_hand_that_leaps_to_the_other_one_is_taken_for_it(
    to_the_other: bool, sides: set[Side]
) -> None:
    motion = standing(5.0)
    frames = len(motion)
    set_arm(motion, "right", np.full(frames, 2.4))
    leap_T = ramp(frames, 50, 53, 0.0, 1.0)
    set_arm(motion, "left", 2.4 * leap_T)
    if to_the_other:
        # The left elbow and hand land on those of the right arm.
        for joint in ("elbow", "wrist"):
            right_T3 = motion[:, JOINT[f"right_{joint}"]]
            left_T3 = motion[:, JOINT[f"left_{joint}"]]
            left_T3 += leap_T[:, None] * (right_T3 - left_T3)
    told = _estimated(motion)
    assert {e.side for e in told.events if e.part is Part.ARM} == sides
    # Of motion capture every hand is where it is.
    assert [e for e in describe_motion(motion).events if e.part is Part.ARM]


@pytest.mark.parametrize(("bent", "level"), [(True, Level.HEAD), (False, Level.ABOVE_HEAD)])
def test_a_hand_at_the_brow_is_at_head_height(bent: bool, level: Level) -> None:
    motion = standing(4.0)
    share_T = ramp(len(motion), 20, 42, 0.0, 1.0)
    set_arm(motion, "right", 3.0 * share_T)
    if bent:
        head_T3 = motion[:, JOINT["head"]] + np.array([-0.08, 0.14, 0.12])
        hanging_T3 = standing(4.0)[:, JOINT["right_wrist"]]
        shoulder_T3 = motion[:, JOINT["right_shoulder"]]
        wrist_T3 = hanging_T3 + share_T[:, None] * (head_T3 - hanging_T3)
        motion[:, JOINT["right_wrist"]] = wrist_T3
        out_T3 = np.stack((-0.18 * share_T, -0.05 * share_T, 0.0 * share_T), axis=1)
        motion[:, JOINT["right_elbow"]] = (shoulder_T3 + wrist_T3) / 2 + out_T3
    (raised,) = _of(EventKind.RAISE, motion)
    assert (raised.side, raised.level) == (Side.RIGHT, level)


def test_a_hand_that_is_not_seen_on_its_way_is_not_told() -> None:
    motion = raising_left_arm()
    seen_TJ = np.full(motion.shape[:2], 0.95)
    (raised,) = _of(EventKind.RAISE, describe_motion(motion, confidence=seen_TJ))
    start, end = round(raised.start_s * FPS), round(raised.end_s * FPS)
    for first in range(start, end + 1, 6):
        # Gaps that are short enough to be bridged.
        seen_TJ[first : first + 4, JOINT["left_wrist"]] = 0.1
    assert not _of(EventKind.RAISE, describe_motion(motion, confidence=seen_TJ))


def test_a_high_foot_whose_knee_is_hidden_is_a_balance_of_an_estimate() -> None:
    motion = standing(3.0)
    lift_T = ramp(len(motion), 18, 21, 0.0, 0.45) - ramp(len(motion), 31, 34, 0.0, 0.45)
    for joint, share in (("knee", 0.5), ("ankle", 1.0), ("foot", 1.0)):
        motion[:, JOINT[f"right_{joint}"], 1] += share * lift_T
        motion[:, JOINT[f"right_{joint}"], 2] += 0.5 * share * lift_T
    seen_TJ = np.full(motion.shape[:2], 0.95)
    seen_TJ[14:44, JOINT["right_knee"]] = 0.3

    def balances(told: MotionDescription) -> list[Side | None]:
        return [p.side for p in told.postures if p.kind is PostureKind.ONE_LEG]

    assert balances(describe_motion(motion, confidence=seen_TJ)) == [Side.LEFT]
    assert balances(describe_motion(motion)) == []
    seen_TJ[14:44, JOINT["right_ankle"]] = 0.3
    assert balances(describe_motion(motion, confidence=seen_TJ)) == []


def _tipping(aside_deg: float, ahead_deg: float, *, seconds: float = 0.7) -> Motion:
    """Tip the trunk to the left and forward, seen obliquely, so that the picture shows both."""
    motion = standing(4.0)
    share_T = ramp(len(motion), 20, 20 + round(seconds * FPS), 0.0, 1.0)
    legs = {JOINT[f"{s}_{name}"] for s in SIDES for name in ("hip", "knee", "ankle", "foot")}
    upper = [joint for joint in range(1, 22) if joint not in legs]
    hips_T13 = motion[:, :1].copy()
    # Left is +x of who faces the camera, and forward is +z.
    turns = Rotation.from_rotvec(share_T[:, None] * np.radians([ahead_deg, 0.0, -aside_deg])[None])
    for frame, turn in enumerate(turns):
        motion[frame, upper] = turn.apply(motion[frame, upper] - hips_T13[frame]) + hips_T13[frame]
    return _facing(motion, np.pi / 4)


def test_a_trunk_that_tips_more_to_a_side_leans() -> None:
    tilts = (EventKind.LEAN, EventKind.BEND)

    def told(motion: Motion) -> list[EventKind]:
        return [e.kind for e in _estimated(motion).events if e.kind in tilts]

    assert told(_tipping(58.0, 36.0)) == [EventKind.LEAN]
    assert EventKind.BEND in told(_tipping(0.0, 60.0))


@pytest.mark.parametrize(
    ("lean_deg", "seconds", "leans"), [(30.0, 0.7, 1), (30.0, 3.0, 0), (75.0, 3.0, 1)]
)
def test_a_small_tilt_that_takes_long_is_drift(lean_deg: float, seconds: float, leans: int) -> None:
    told = _estimated(_tipping(lean_deg, 0.0, seconds=seconds))
    assert len(_of(EventKind.LEAN, told)) == leans


@pytest.mark.parametrize(("first", "last", "estimated"), [(0, 6, 0), (20, 34, 1)])
def test_an_arm_that_settles_in_the_first_frames_is_not_lowered(
    first: int, last: int, estimated: int
) -> None:
    motion = standing(3.0)
    set_arm(motion, "left", ramp(len(motion), first, last, 1.1, 0.0))
    assert len(_of(EventKind.LOWER, motion)) == 1
    assert len(_of(EventKind.LOWER, _estimated(motion))) == estimated


def test_a_heading_that_swings_back_before_a_turn_is_a_wobble() -> None:
    motion = standing(5.0)
    yaw_T = ramp(len(motion), 20, 30, 0.0, -1.1) + ramp(len(motion), 38, 56, 0.0, 2.4)
    for frame, turn in enumerate(Rotation.from_rotvec(yaw_T[:, None] * [0.0, 1.0, 0.0])):
        motion[frame] = turn.apply(motion[frame] - motion[frame, 0]) + motion[frame, 0]
    both = [Direction.RIGHT, Direction.LEFT]
    assert [e.direction for e in _of(EventKind.TURN, motion)] == both
    assert [e.direction for e in _of(EventKind.TURN, _estimated(motion))] == [Direction.LEFT]
