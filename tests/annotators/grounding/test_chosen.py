"""Of several motions, the one that shows a text has the greatest support."""

import pytest

from annotators.grounding.chosen import motion_support
from data.motion.features import joints_to_features
from tests.support.motions import jumping, mirrored, raising_left_arm, waving_right_hand


def test_the_motion_that_shows_a_text_has_more_support() -> None:
    waves, jumps = (joints_to_features(motion) for motion in (waving_right_hand(), jumping()))
    texts = ["a person waves with the right hand", "someone jumps"]
    assert min(motion_support(texts, [waves, jumps])) > 0.7
    assert max(motion_support(texts, [jumps, waves])) < 0.3
    left, unmeasured = motion_support(
        ["a person waves with the left hand", "a person hums a tune"], [waves, waves]
    )
    assert left == pytest.approx(0, abs=0.3)
    assert unmeasured == 0.5


def test_a_motion_that_does_something_else_as_well_has_less() -> None:
    raises, waves = map(joints_to_features, (raising_left_arm(), mirrored(waving_right_hand())))
    text = "a person raises the left arm"
    raised, waved = motion_support([text, text], [raises, waves])
    assert raised > 0.9
    # A wave begins with a raise.
    assert 0.5 < waved < 0.8 * raised
