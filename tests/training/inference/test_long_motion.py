"""The closed loop on a trained (tiny) model: streams, plans, repetition, descriptions."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from data.motion.features import features_to_joints, stream_joints
from training.inference.long_motion import (
    DescribeConfig,
    ImaginationError,
    ImagineConfig,
    describe,
    imagine,
)
from training.inference.motion_model import Features, MotionModel
from training.instructions.tasks import Codes, Instruction, Task, prompt_of
from training.language_model.config import Sampling


def test_joints_of_a_stream_are_those_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 263, generator=generator, dtype=torch.float64) * 0.1
    whole = features_to_joints(features)
    for sizes in ([200], [1, 1, 198], [64, 64, 72], [7] * 28 + [4]):
        pieces = list(stream_joints(features.split(sizes)))
        assert [len(piece) for piece in pieces] == sizes
        torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-9, rtol=1e-9)


class _Scripted(MotionModel):
    """A model whose texts are given, because a tiny one cannot plan; all motion is its own."""

    def __init__(
        self, model: MotionModel, steps: Callable[[int], Sequence[str]], task: str = ""
    ) -> None:
        super().__init__(model.lm, model.tokenizer)
        self._steps, self._task = steps, task
        self.asked = 0

    def steps_of(self, task: str, sampling: Sampling | None = None) -> tuple[str, ...]:
        self.asked += 1
        assert task
        assert sampling is not None
        return tuple(self._steps(sampling.seed))

    def next_task(self, scene: str, task: str, sampling: Sampling | None = None) -> str:
        assert scene
        assert task
        assert sampling is not None
        return self._task or f"task {sampling.seed}"


class _Teller(MotionModel):
    """A model whose texts say what they are made of."""

    def motion_to_text(
        self, motions: Sequence[Features], sampling: Sampling | None = None
    ) -> list[str]:
        assert sampling == Sampling()
        return [f"step {index}" for index in range(len(motions))]

    def task_of(self, steps: Sequence[str], sampling: Sampling | None = None) -> str:
        assert sampling == Sampling()
        return ", ".join(steps)

    def scene_of(self, task: str, sampling: Sampling | None = None) -> str:
        assert sampling == Sampling()
        return "a kitchen" if "step 0" in task else "a garden"


def _some_steps(seed: int) -> Sequence[str]:
    return [f"walk {seed} steps forward", "turn left", "wave"]


def test_a_long_motion_comes_with_its_plan(motion_model: MotionModel) -> None:
    config = ImagineConfig(seconds=40.0, step_seconds=2.0)
    motion_model = _Scripted(motion_model, _some_steps)
    long = imagine(motion_model, "a person at home", "watch tv", config)
    pieces = list(long.features())
    features = np.concatenate(pieces)
    assert len(pieces) > 2
    assert np.isfinite(features).all()
    assert len(features) >= 40 * 20
    # The plan covers the motion without a gap, steps of exactly the length asked for.
    assert long.plan[0].start_s == 0
    for one, other in zip(long.plan, long.plan[1:], strict=False):
        assert other.start_s == pytest.approx(one.end_s)
    assert long.plan[-1].end_s == pytest.approx(len(features) / 20)
    steps = [span for span in long.plan if span.kind == "step"]
    assert all(span.step for span in steps)
    assert all(span.end_s - span.start_s == pytest.approx(2.0) for span in steps)
    assert [span.kind for span in long.plan[:3]] == ["step", "between", "step"]
    assert long.plan[0].task == "watch tv"
    assert long.junctions == [round(span.start_s * 20) for span in long.plan[1:]]
    # The same seed imagines the same; another does not.
    again = imagine(motion_model, "a person at home", "watch tv", config)
    assert np.array_equal(np.concatenate(list(again.features())), features)
    other = config.model_copy(update={"plan": Sampling(temperature=1.0, top_k=10, seed=5)})
    changed = imagine(motion_model, "a person at home", "watch tv", other)
    list(changed.features())
    assert changed.plan != long.plan


def test_ten_minutes_pass_in_pieces(motion_model: MotionModel) -> None:
    config = ImagineConfig(seconds=600.0, step_seconds=19.0, in_between=False)
    model = _Scripted(motion_model, _some_steps)
    long = imagine(model, "a person at home", None, config)
    frames = largest = 0
    last = None
    for joints in long.joints():
        frames += len(joints)
        largest = max(largest, len(joints))
        if last is not None:
            assert np.abs(joints[0] - last).max() < 5.0  # the path goes on where it was
        last = joints[-1]
    assert frames >= 600 * 20
    # What is held does not grow with the length.
    assert largest <= 64 * 4 + 2 * 4 * motion_model.tokenizer.model.margin_tokens


def test_a_trained_model_s_own_plan_ends(motion_model: MotionModel) -> None:
    # Whatever it says: a motion, or a message; never a loop.
    long = imagine(motion_model, "a person at home", "watch tv", ImagineConfig(seconds=20.0))
    try:
        frames = sum(len(piece) for piece in long.features())
    except ImaginationError as error:
        assert "Remedy" in str(error)
    else:
        assert frames >= 400 or "ended early" in long.notes[-1]


@pytest.mark.parametrize("steps", [(), ("turn",) * 8], ids=["unparsable", "looping"])
def test_plans_that_cannot_be_used_end_in_a_message(
    motion_model: MotionModel, steps: tuple[str, ...]
) -> None:
    model = _Scripted(motion_model, lambda _: steps, "again")
    config = ImagineConfig(seconds=10.0, tries=2, max_skipped=3)
    with pytest.raises(ImaginationError, match="found none in 3 tasks"):
        list(imagine(model, "nowhere", "again", config).features())
    assert model.asked == 2 * 3


def test_a_task_that_repeats_itself_ends_with_a_note(motion_model: MotionModel) -> None:
    model = _Scripted(motion_model, lambda _: ("walk forward", "turn"), "again")
    config = ImagineConfig(seconds=600.0, step_seconds=1.0, tries=2, max_skipped=2)
    long = imagine(model, "nowhere", "again", config)
    frames = sum(len(piece) for piece in long.features())
    # Its two steps of a second are moved once, with what leads from the one to the other.
    assert [span.kind for span in long.plan] == ["step", "between", "step"]
    between = long.plan[1]
    assert frames == 20 * 2 + round(20 * (between.end_s - between.start_s))
    assert "ended early" in long.notes[-1]
    assert any(note.startswith("repeated ") and "no other task" in note for note in long.notes)
    assert any("no new steps" in note for note in long.notes)


def test_a_motion_of_any_length_is_told(motion_model: MotionModel) -> None:
    codes: Codes = tuple(index % 7 for index in range(70))
    features = motion_model.decode(codes)
    teller = _Teller(motion_model.lm, motion_model.tokenizer)
    story = describe(teller, features, DescribeConfig(piece_seconds=2.0, steps_per_task=3))
    assert [step.text for step in story.steps] == [f"step {index}" for index in range(7)]
    assert [step.start_s for step in story.steps] == [2.0 * index for index in range(7)]
    assert story.steps[-1].end_s == 14.0
    assert [task.start_s for task in story.tasks] == [0.0, 6.0, 12.0]
    assert [task.text for task in story.tasks] == [
        "step 0, step 1, step 2",
        "step 3, step 4, step 5",
        "step 6",
    ]
    # Two of three tasks point to it.
    assert story.scene == "a garden"
    with pytest.raises(ValueError, match="expected 4 frames or more"):
        describe(motion_model, features[:3])


def test_the_middle_that_leads_to_its_ending_is_chosen(motion_model: MotionModel) -> None:
    first, second = motion_model.text_to_codes(["a person waves", "a person jumps"], seconds=3.0)
    ends = [(first, second), (second, first)]
    sampling = Sampling(temperature=1.0, seed=1)
    each = 4
    repeated = [pair for pair in ends for _ in range(each)]
    drawn = motion_model.codes_between(repeated, 1.0, sampling)
    scores = motion_model.lm.scores(
        [
            Instruction(Task.PREDICT, prompt_of(Task.PREDICT, head=(*head, *middle)), tail[:10], "")
            for (head, tail), middle in zip(repeated, drawn, strict=True)
        ]
    )
    assert len(set(scores)) > each
    best = sampling.model_copy(update={"best_of": each})
    assert motion_model.codes_between(ends, 1.0, best) == [
        max(zip(scores[i:][:each], drawn[i:][:each], strict=True))[1] for i in (0, each)
    ]
