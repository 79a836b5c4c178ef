"""Of several motions of a caption, the one that is measured to show it is chosen."""

from collections.abc import Sequence
from itertools import chain

import pytest

from training.inference.motion_model import Features, MotionModel
from training.language_model.config import Sampling

CAPTIONS = ("a person waves", "a person jumps")
SAMPLING = Sampling(temperature=1.0, seed=1, best_of=4)


def test_what_is_measured_decides_together_with_the_reading(motion_model: MotionModel) -> None:
    one = SAMPLING.model_copy(update={"best_of": 1})
    drawn = motion_model.text_to_codes([text for text in CAPTIONS for _ in range(4)], 2.0, one)
    read = motion_model.text_to_codes(CAPTIONS, 2.0, SAMPLING)
    assert len(set(drawn)) == 8
    asked: list[str] = []
    # The least likely ones by reading are those that are measured to be right.
    scores = motion_model.lm.caption_scores(drawn, [text for text in CAPTIONS for _ in range(4)])
    wanted = [drawn[min(range(i, i + 4), key=scores.__getitem__)] for i in (0, 4)]
    assert wanted != read
    right = [motion_model.decode(codes).tobytes() for codes in wanted]

    def judge(captions: Sequence[str], motions: Sequence[Features]) -> list[float]:
        asked.extend(captions)
        return [float(features_TD.tobytes() in right) for features_TD in motions]

    judged = MotionModel(motion_model.lm, motion_model.tokenizer, judge)
    assert judged.text_to_codes(CAPTIONS, 2.0, SAMPLING) == wanted
    assert asked == [text for text in CAPTIONS for _ in range(4)]
    # Where nothing can be measured the reading decides, and one sample is not measured.
    blind = MotionModel(
        motion_model.lm, motion_model.tokenizer, lambda _, motions: [0.5] * len(motions)
    )
    assert blind.text_to_codes(CAPTIONS, 2.0, SAMPLING) == read
    assert judged.text_to_codes(CAPTIONS, 2.0, one) != []
    assert len(asked) == 8


def test_the_plain_form_of_a_caption_has_a_say(motion_model: MotionModel) -> None:
    there: dict[str, str] = dict(zip(CAPTIONS, reversed(CAPTIONS), strict=True))
    plain = motion_model.judged_by(None, there.__getitem__)

    def codes(model: MotionModel, weight: float) -> list[list[int]]:
        sampling = Sampling(temperature=1.0, plain=weight)
        # Both captions with the same random numbers, which they seldom turn into different codes.
        found = [model.text_to_codes([text] * 32, 4.0, sampling) for text in CAPTIONS]
        return [[c if isinstance(c, int) else c[0] for c in chain(*motions)] for motions in found]

    alone = codes(motion_model, 0.0)
    assert alone[0] != alone[1]
    # Of two captions that are the plain form of each other, both have the same say.
    both = codes(plain, 0.5)
    assert both[0] == both[1]
    # It has none without a weight, or if there is no other form.
    assert codes(plain, 0.0) == alone
    assert codes(motion_model.judged_by(None, lambda text: text), 0.5) == alone
    assert codes(motion_model, 0.5) == alone


def test_beams_have_one_prompt() -> None:
    with pytest.raises(ValueError, match="plain: expected 0 with beams"):
        Sampling(plain=0.3, beams=2)
