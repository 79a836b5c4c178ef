"""An animation tells what the dataset tells, and shows what was seen."""

import numpy as np

from annotators.pictures.stick_figure import draw_motion, stored_steps
from data.motion.skeleton import JOINT
from tests.support.motions import standing


def test_the_stored_steps_are_told_in_order() -> None:
    texts = [
        {"text": "raises the left arm", "start_s": 1.0, "end_s": 2.0, "level": "fine"},
        {"text": "a person waves", "start_s": 0.0, "end_s": 4.0, "level": "medium"},
        {"text": "turns", "start_s": 0.0, "end_s": 0.8, "level": "fine"},
    ]
    assert stored_steps({"texts": texts}) == [
        (0.0, 0.8, "turns"),
        (1.0, 2.0, "raises the left arm"),
    ]


def test_unseen_limbs_are_gray() -> None:
    motion = standing(0.2)
    credible = np.ones(motion.shape[:2], np.bool_)
    whole = np.asarray(draw_motion(motion, "", [], credible)[0])
    np.testing.assert_array_equal(whole, np.asarray(draw_motion(motion, "", [])[0]))
    legs = [JOINT[f"{s}_{n}"] for s in ("left", "right") for n in ("knee", "ankle", "foot")]
    credible[:, legs] = False
    partly = np.asarray(draw_motion(motion, "", [], credible)[0])
    orange = (255, 140, 0)
    lower = slice(300, 480)
    assert (whole[lower] == orange).all(axis=-1).any()
    assert not (partly[lower] == orange).all(axis=-1).any()
