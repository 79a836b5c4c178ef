"""The timeline of a motion, and its wording."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from annotators.motion.describe import describe_motion
from annotators.motion.events import (
    Direction,
    EventKind,
    Facing,
    Level,
    MotionEvent,
    Part,
    Posture,
    PostureKind,
    Side,
    Unit,
)
from annotators.motion.measurements import RHYTHMS, measurement_of
from annotators.wording.acts import BodyAct, Clause, Manner, Way
from annotators.wording.phrases import (
    count_word,
    in_other_words,
    in_words,
    is_compound,
    measurement,
)
from annotators.wording.timeline import timeline
from benchmarks.support.corpus import Motion
from data.motion.skeleton import JOINT
from data.synthetic.activities import generate_motion
from tests.support.motions import raising_left_arm, ramp, set_arm, standing

PARTS = {
    EventKind.RAISE: (Part.ARM, Part.LEG, Part.KNEE, Part.HEAD),
    EventKind.LOWER: (Part.ARM, Part.LEG, Part.KNEE, Part.HEAD),
    EventKind.BEND: (Part.ARM, Part.TORSO),
    EventKind.KICK: (Part.LEG,),
    **dict.fromkeys((EventKind.STRAIGHTEN, EventKind.LEAN, EventKind.TWIST), (Part.TORSO,)),
    **dict.fromkeys((EventKind.PRESS, EventKind.UNPRESS), (Part.TORSO,)),
    **dict.fromkeys(
        (
            *(EventKind.WALK, EventKind.RUN, EventKind.TURN, EventKind.JUMP, EventKind.HOP),
            *(EventKind.RISE, EventKind.SINK, EventKind.SKIP, EventKind.CRAWL, EventKind.CLIMB),
            *(EventKind.RIDE, EventKind.JUMPING_JACK, EventKind.JUMP_DOWN, EventKind.LAND),
            *(EventKind.SOMERSAULT, EventKind.APPROACH, EventKind.PART, EventKind.FACE),
            *(EventKind.HAND_OVER, EventKind.HUG, EventKind.SHAKE_HANDS, EventKind.PUSH),
            *(EventKind.WALK_TOGETHER, EventKind.DRINK, EventKind.READ, EventKind.PLAY),
        ),
        (Part.BODY,),
    ),
    EventKind.STEP: (Part.LEG,),
    EventKind.JUGGLE: (Part.LEG,),
}
"""The parts of each kind of event; others are events of the arms."""


def _event(kind: EventKind, part: Part, side: Side | None = None) -> MotionEvent:
    return MotionEvent(
        kind=kind,
        part=part,
        side=side,
        direction=Direction.SIDE_TO_SIDE if kind is EventKind.WAVE else Direction.FORWARD,
        level=Level.CHEST,
        start_s=0.0,
        end_s=1.0,
        magnitude=0.5,
        unit=Unit.METERS,
        relative=0.5,
        peak_speed=1.0,
        confidence=1.0,
        count=2 if kind is EventKind.WAVE else 1,
    )


def _raising_and_lowering_both_arms() -> Motion:
    motion = standing(5.0)
    angle_T = ramp(len(motion), 20, 40, 0.0, 3.0) - ramp(len(motion), 50, 70, 0.0, 3.0)
    return set_arm(set_arm(motion, "left", angle_T), "right", angle_T)


def _walking_round_a_corner() -> Motion:
    """Return a walk straight ahead with a quarter turn to the left in it."""
    walk = generate_motion("walk_forward", 1, 9.0)[0].astype(np.float64)
    yaw_T = ramp(len(walk), 80, 100, 0.0, np.pi / 2)
    cos_T1, sin_T1 = np.cos(yaw_T)[:, None], np.sin(yaw_T)[:, None]

    def turned(x_TN: Motion, z_TN: Motion) -> tuple[Motion, Motion]:
        return cos_T1 * x_TN + sin_T1 * z_TN, cos_T1 * z_TN - sin_T1 * x_TN

    pelvis_T13 = walk[:, :1]
    steps_T13 = np.diff(pelvis_T13, axis=0, prepend=pelvis_T13[:1])
    path = [np.cumsum(axis, axis=0) for axis in turned(steps_T13[..., 0], steps_T13[..., 2])]
    body = turned(*(walk[..., axis] - pelvis_T13[..., axis] for axis in (0, 2)))
    return np.stack((body[0] + path[0], walk[..., 1], body[1] + path[1]), axis=2)


# ---------------------------------------------------------------------------------- typed clauses


def test_arms_that_go_up_and_down_are_one_clause() -> None:
    description = describe_motion(_raising_and_lowering_both_arms())
    (clause,) = [c for c in timeline(description) if c.act is EventKind.RAISE]
    assert clause.back is not None
    assert (clause.part, clause.side) == (Part.ARM, Side.BOTH)
    assert (clause.back.act, clause.back.side) == (EventKind.LOWER, Side.BOTH)
    assert clause.evidence == ((clause.event, clause.back.event),)
    text = "raises both arms above their head and lowers them again"
    assert in_words(clause, "third", "their") == text
    assert is_compound(clause)


def test_an_event_of_both_sides_keeps_both() -> None:
    description = describe_motion(_raising_and_lowering_both_arms())
    raised = next(e for e in description.events if e.kind is EventKind.RAISE)
    assert [event.side for event in raised.by_side] == [Side.LEFT, Side.RIGHT]
    assert measurement_of(raised) == "; ".join(map(measurement_of, raised.by_side))
    assert raised.magnitude == max(event.magnitude for event in raised.by_side)


def test_a_walk_goes_on_after_a_turn() -> None:
    description = describe_motion(_walking_round_a_corner())
    before, turn, after = (c for c in timeline(description) if c.act is not BodyAct.KEEP_STILL)
    assert (before.act, before.goes_on) == (EventKind.WALK, False)
    assert (turn.act, turn.during) == (EventKind.TURN, EventKind.WALK)
    assert (after.act, after.goes_on) == (EventKind.WALK, True)
    for leg in (before, after):
        way = Way(description.traveled_m(leg.start_s, leg.end_s), leg.end_s - leg.start_s)
        assert leg.evidence == ((way,),)
        assert measurement(leg).startswith(f"pelvis travels {way.length_m:.1f} m in ")
    assert in_words(turn, "base", "the") == "turn to the left while walking"
    assert in_words(after, "third", "their") == "walks on"


def test_a_walk_is_told_by_its_steps_where_they_are_sure() -> None:
    walk, _ = generate_motion("walk_forward", 1, 4.0)
    (clause,) = (c for c in timeline(describe_motion(walk)) if c.act is EventKind.WALK)
    assert clause.event is not None
    assert clause.num_steps == clause.event.count
    steps = f"takes {count_word(clause.num_steps)} steps forward"
    assert in_other_words(clause, "third", "their").endswith(steps)


def test_what_is_done_again_is_counted_with_all_its_evidence() -> None:
    squats, _ = generate_motion("squat", 0, 8.0)
    (clause,) = (c for c in timeline(describe_motion(squats)) if c.act is BodyAct.SQUAT_DOWN)
    assert clause.count == len(clause.evidence) == 3
    assert [
        [thing.kind for thing in done if isinstance(thing, MotionEvent)] for done in clause.evidence
    ] == 3 * [[EventKind.SINK, EventKind.RISE]]
    assert measurement(clause).startswith("3 times: hips move ")
    assert in_words(clause, "ing", "their") == "squatting down and standing up again three times"


def test_how_a_hand_moves_is_detail() -> None:
    slow = standing(6.0)
    set_arm(slow, "left", ramp(len(slow), 20, 80, 0.0, 1.6))
    (clause,) = (c for c in timeline(describe_motion(slow)) if c.act is EventKind.RAISE)
    assert clause.manner is Manner.SLOWLY
    assert in_words(clause, "base", "the").startswith("slowly raise")
    assert in_words(clause, "base", "the", detail=False).startswith("raise")


# ----------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_has_words_and_numbers(kind: EventKind) -> None:
    for part in PARTS.get(kind, (Part.ARM,)):
        limb = part in (Part.ARM, Part.LEG, Part.KNEE) or kind is EventKind.HOP
        event = _event(kind, part, Side.LEFT if limb else None)
        assert re.search(r"\d", measurement_of(event)) or kind is EventKind.CLAP
        if kind in (EventKind.RISE, EventKind.SINK):
            continue  # Told by the postures before and after.
        clause = Clause(kind, 0.0, 1.0, 0.5, ((event,),), event=event)
        text = in_words(clause, "third", "their")
        assert re.fullmatch(r"[a-z]+s( [a-z-]+,?)*", text)
        both = kind in (EventKind.CLAP, EventKind.GESTURE)
        assert ("left" in text) == (limb and not both)
        assert is_compound(clause) == (" and " in text)


def test_every_posture_and_act_has_words() -> None:
    for act in (*PostureKind, *BodyAct):
        if act in (PostureKind.STANDING, PostureKind.UNKNOWN):
            continue
        posture = Posture(PostureKind.LYING, 0.0, 2.0, 80.0, 0.1, Facing.PRONE)
        if act is PostureKind.ONE_LEG:
            posture = Posture(act, 0.0, 2.0, side=Side.RIGHT, lift_m=0.3)
        clause = Clause(act, 0.0, 2.0, 0.5, ((posture,),), posture=posture)
        text = in_words(clause, "ing", "their")
        assert re.fullmatch(r"[a-z]+ing( [a-z-]+,?)*", text)
        assert is_compound(clause) == (" and " in text)


@pytest.mark.parametrize("direction", [None, *RHYTHMS])
def test_the_way_of_a_rhythm_may_have_an_and_of_its_own(direction: Direction | None) -> None:
    swing = replace(_event(EventKind.SWING, Part.ARM, Side.LEFT), direction=direction, count=3)
    clause = Clause(swing.kind, 0.0, 1.0, 0.5, ((swing,),), event=swing)
    assert is_compound(clause) == (" and " in in_words(clause, "base", "the"))


def test_acts_are_told_apart_by_value() -> None:
    values = [str(act) for act in (*EventKind, *PostureKind, *BodyAct)]
    assert len(set(values)) == len(values)


# ----------------------------------------------------------------------------------- confidence


def test_events_say_how_sure_they_are() -> None:
    motion = raising_left_arm()
    (measured,) = (e for e in describe_motion(motion).events if e.kind is EventKind.RAISE)
    assert measured.confidence == 1.0
    confidence = np.full(motion.shape[:2], 0.9)
    confidence[:, JOINT["left_wrist"]] = 0.6
    confidence[:, JOINT["right_wrist"]] = 0.5
    estimated = describe_motion(motion, confidence=confidence)
    (event,) = (e for e in estimated.events if e.kind is EventKind.RAISE)
    assert event.confidence == pytest.approx((0.9 + 0.9 + 0.6) / 3)


def test_an_exercise_of_several_poses_is_one_clause() -> None:
    kinds = (PostureKind.SIDE_PLANK, PostureKind.PLANK, PostureKind.LUNGE)
    told = describe_motion(standing(6.0))
    held = tuple(Posture(kind, 2.0 * i, 2.0 * i + 1.9, 80.0, 0.5) for i, kind in enumerate(kinds))
    clauses = timeline(replace(told, postures=held, events=(), still=()))
    (poses,) = [c for c in clauses if c.act is BodyAct.POSES]
    assert in_words(poses, "base", "the") == "move through a side plank, a plank and a lunge"
    assert poses.weight == max(c.weight for c in clauses)
    two = timeline(replace(told, postures=held[:2], events=(), still=()))
    assert BodyAct.POSES not in {c.act for c in two}


@pytest.mark.parametrize(
    ("angle", "step"), [(0.95, "turn slightly to the left"), (1.7, "turn to the left")]
)
def test_small_turns_are_slight(angle: float, step: str) -> None:
    motion = standing(4.0)
    yaw_T = ramp(len(motion), 20, 36, 0.0, angle)
    for frame, turn in enumerate(Rotation.from_rotvec(yaw_T[:, None] * [0.0, 1.0, 0.0])):
        motion[frame] = turn.apply(motion[frame] - motion[frame, 0]) + motion[frame, 0]
    assert step in [in_words(c, "base", "the") for c in timeline(describe_motion(motion))]


def test_who_trembles_on_resting_feet_stands_in_place() -> None:
    def steps(*, feet_rest: bool) -> list[str]:
        motion = standing(8.0)
        frames = len(motion)
        set_arm(motion, "left", ramp(frames, 125, 140, 0.0, 2.5))
        feet = [JOINT[f"{s}_{name}"] for s in ("left", "right") for name in ("ankle", "foot")]
        shaken = [j for j in range(22) if not feet_rest or j not in feet]
        size_m = 0.05 if feet_rest else 0.2
        motion[:, shaken, 0] += size_m * np.sin(np.arange(frames) * 0.5)[:, None]
        told = describe_motion(motion, confidence=np.full(motion.shape[:2], 0.95))
        return [in_words(clause, "base", "the") for clause in timeline(told)]

    assert steps(feet_rest=True)[0] == "stand in place"
    assert "stand in place" not in steps(feet_rest=False)
