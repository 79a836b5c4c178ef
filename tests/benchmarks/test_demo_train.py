"""What the demo is held to: the judge of its motions, and that its texts are not those learnt."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotators.pictures.stick_figure import STRIP_PX, draw_strip, save_sheet
from benchmarks.demo_train import ASKED, shows
from data.synthetic.activities import ACTIVITIES, generate_motion


def test_the_judge_knows_a_wave_its_side_and_a_jump() -> None:
    waves = {
        ("right" if "right" in captions[0] else "left"): joints_TJ3
        for joints_TJ3, captions in (generate_motion("wave_hand", seed, 4.0) for seed in range(6))
    }
    assert waves.keys() == {"left", "right"}
    jump, _ = generate_motion("jump", 0, 4.0)
    for side, other in (("left", "right"), ("right", "left")):
        assert shows(waves[side], "wave", side)
        assert not shows(waves[side], "wave", other)
        assert not shows(waves[side], "jump", "")
    assert shows(jump, "jump", "")
    assert not shows(jump, "wave", "right")


@pytest.mark.parametrize("text", ASKED)
def test_the_demo_asks_in_other_words_than_it_learns(text: str) -> None:
    learnt = {
        caption
        for activity in ACTIVITIES
        for seed in range(8)
        for caption in generate_motion(activity, seed, 3.0)[1]
    }
    assert len(learnt) > 40
    assert text not in learnt


def test_a_sheet_shows_motions_below_each_other(tmp_path: Path) -> None:
    joints_TJ3, _ = generate_motion("jump", 0, 3.0)
    save_sheet(
        [draw_strip(joints_TJ3, "one", 4), draw_strip(joints_TJ3, "two", 4)], tmp_path / "s.png"
    )
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (4 * STRIP_PX, 2 * STRIP_PX)
        # The first moment is more than an empty picture.
        assert np.unique(np.asarray(sheet.convert("L"))[:STRIP_PX, :STRIP_PX]).size > 4
