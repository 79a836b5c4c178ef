"""The mixture: what each task is taught with, in which shares, and what is left out."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from data.presets import check_names
from training.instructions.material import MotionItem, PlanItem
from training.instructions.mixture import Drop, InstructionConfig, Mixture, build_instructions
from training.instructions.tasks import Instruction, Task, parse_steps, prompt_of, wordings_of

MOTIONS = [
    MotionItem(f"m{number}", tuple(range(number, number + 20)), (f"walks {number}", "moves"))
    for number in range(10)
]
AFTER = PlanItem("p1", "A kitchen.", ("eats", "dines"), ("sit", "chew"))
BEFORE = PlanItem("p0", "A kitchen.", ("cooks", "boils", "fries"), ("stir", "taste"), AFTER)
PLANS = [BEFORE, AFTER]


def _config(**values: Any) -> InstructionConfig:
    return InstructionConfig.model_validate(values)


def _only(*tasks: Task, **values: Any) -> InstructionConfig:
    return _config(weights={task: float(task in tasks) for task in Task}, **values)


def _mixture(**values: Any) -> Mixture:
    return build_instructions(MOTIONS, PLANS, _config(**values))


def _tasks(batch: list[Instruction]) -> Counter[Task]:
    return Counter(instruction.task for instruction in batch)


# --------------------------------------------------------------------------------- configuration


def test_weights_are_1_where_they_are_not_named() -> None:
    weights = _config(weights={"t2m": 3, "m2m": 0}).weights
    assert weights == {**dict.fromkeys(Task, 1.0), Task.T2M: 3.0, Task.M2M: 0.0}
    assert _config().weights == dict.fromkeys(Task, 1.0)
    assert InstructionConfig.model_validate_json(_config().model_dump_json()) == _config()


def test_an_option_of_an_older_release_is_read() -> None:
    assert _config(gap_codes=[2, 20]) == _config()
    # It is no option: a command or a form that names it is refused.
    with pytest.raises(ValueError, match="gap_codes: expected a field of InstructionConfig"):
        check_names(InstructionConfig, {"gap_codes": None})


@pytest.mark.parametrize(
    "values",
    [
        {"weights": {"t2x": 1}},
        {"weights": {"t2m": -1}},
        {"weights": {"t2m": float("nan")}},
        {"weights": dict.fromkeys(Task, 0)},
        {"context_head": 0.5, "context_tail": 0.5},
        {"predict_share": 1},
        {"token_noise": 1.1},
        {"paraphrase_share": 1.1},
        {"temperature": 1},
    ],
)
def test_wrong_configurations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _config(**values)


# --------------------------------------------------------------------------------------- material


def test_each_task_asks_and_answers_what_it_should() -> None:
    mixture = _mixture()
    codes = tuple(range(20))
    scene = "A kitchen."
    expected = {
        Task.T2M: (prompt_of(Task.T2M, caption="walks 0"), codes),
        Task.M2T: (prompt_of(Task.M2T, codes=codes), "walks 0"),
        Task.M2M: (prompt_of(Task.M2M, head=codes[:8], tail=codes[12:]), codes[8:12]),
        Task.PREDICT: (prompt_of(Task.PREDICT, head=codes[:8]), codes[8:]),
        Task.L2M: (prompt_of(Task.L2M, caption="walks 0", length_s=4.0), codes),
        Task.CT2T: (prompt_of(Task.CT2T, scene=scene, task_text="cooks"), "eats"),
        Task.CS2S: (prompt_of(Task.CS2S, scene=scene, steps=BEFORE.steps), "1. sit\n2. chew"),
        Task.CT2S: (prompt_of(Task.CT2S, scene=scene, task_text="cooks"), "1. sit\n2. chew"),
        Task.CS2T: (prompt_of(Task.CS2T, scene=scene, steps=BEFORE.steps), "eats"),
        Task.T2C: (prompt_of(Task.T2C, task_text="cooks"), scene),
        Task.S2C: (prompt_of(Task.S2C, steps=BEFORE.steps), scene),
        Task.T2S: (prompt_of(Task.T2S, task_text="cooks"), "1. stir\n2. taste"),
        Task.S2T: (prompt_of(Task.S2T, steps=BEFORE.steps), "cooks"),
    }
    assert expected.keys() == set(Task)
    for task, (prompt, answer) in expected.items():
        first = mixture.all_of(task)[0]
        asked = "walks 0" if task in {"t2m", "l2m"} else ""
        assert first == Instruction(task, prompt, answer, first.source_id, asked)
        assert first.source_id == (
            "m0" if task in {"t2m", "m2t", "m2m", "predict", "l2m"} else "p0"
        )
        if task in {"cs2s", "ct2s", "t2s"}:
            expected_steps = BEFORE.steps if task == "t2s" else AFTER.steps
            assert parse_steps(str(first.answer)) == expected_steps


def test_each_wording_of_a_text_is_used() -> None:
    mixture = _mixture()
    assert mixture.counts == {
        **{Task.T2M: 20, Task.M2T: 20, Task.M2M: 10, Task.PREDICT: 10, Task.L2M: 20},
        **{Task.CT2T: 3, Task.CS2S: 1, Task.CT2S: 3, Task.CS2T: 2},
        **{Task.T2C: 5, Task.S2C: 2, Task.T2S: 5, Task.S2T: 5},
    }
    assert [one.answer for one in mixture.all_of(Task.CT2T)] == ["eats", "dines", "eats"]
    assert mixture.dropped == dict.fromkeys(
        [(task, Drop.NO_NEXT) for task in (Task.CT2T, Task.CS2S, Task.CT2S, Task.CS2T)], 1
    )
    assert all(mixture.counts.values())


def test_points_in_a_plan_tell_only_what_comes_next() -> None:
    after = PlanItem("t:1", "shower", ("wash",), ("wash", "dry"), is_progress=True)
    point = PlanItem("t:1", "shower", ("undress",), ("undress",), after, is_progress=True)
    mixture = build_instructions([], [point], _config())
    assert {task for task, count in mixture.counts.items() if count} == {
        *(Task.CT2T, Task.CS2S, Task.CT2S, Task.CS2T)
    }
    assert not {task for task, _ in mixture.dropped} & {Task.T2C, Task.S2C, Task.T2S, Task.S2T}


def test_what_does_not_fit_is_left_out_and_counted_by_reason() -> None:
    motions = [
        MotionItem("short", (1, 2, 3), ("walks",)),
        MotionItem("long", tuple(range(30)), ("walks",)),
        MotionItem("silent", tuple(range(10)), ()),
        MotionItem("told", tuple(range(10)), ("walks", "a " * 9, "turns")),
    ]
    tasks = (Task.T2M, Task.M2T, Task.M2M, Task.PREDICT, Task.S2T, Task.T2C)
    plans = [
        PlanItem("long", "", ("cooks",), ("stir the pot",) * 2 + ("taste", "stir the pot")),
        PlanItem("bare", "A kitchen.", (), ()),
    ]
    config = _only(*tasks, max_prompt_codes=20, max_answer_codes=15, max_text_words=8)
    with pytest.raises(ValueError, match="expected material"):
        build_instructions(motions[:1], plans, config)
    mixture = build_instructions(motions, plans, config)
    assert mixture.dropped == {
        **{(task, Drop.MOTION_TOO_SHORT): 1 for task in tasks[:4]},
        (Task.T2M, Drop.NO_CAPTION): 1,
        (Task.M2T, Drop.NO_CAPTION): 1,
        (Task.T2M, Drop.ANSWER_TOO_LONG): 1,
        (Task.PREDICT, Drop.ANSWER_TOO_LONG): 1,
        (Task.M2T, Drop.PROMPT_TOO_LONG): 1,
        (Task.M2M, Drop.PROMPT_TOO_LONG): 1,
        (Task.T2M, Drop.TEXT_TOO_LONG): 1,
        (Task.M2T, Drop.TEXT_TOO_LONG): 1,
        (Task.S2T, Drop.TEXT_TOO_LONG): 1,
        (Task.S2T, Drop.NO_STEPS): 1,
        (Task.T2C, Drop.NO_SCENE): 1,
        (Task.T2C, Drop.NO_TASK): 1,
    }
    assert mixture.counts == {
        **{Task.T2M: 2, Task.M2T: 2, Task.M2M: 2, Task.PREDICT: 2, Task.S2T: 0, Task.T2C: 0}
    }
    assert [task for task, n in mixture.counts.items() if not n] == [Task.T2C, Task.S2T]
    assert mixture.all_of(Task.S2T) == mixture.all_of(Task.CS2S) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_motions_are_split_into_parts_that_are_never_empty(length: int) -> None:
    motion = MotionItem("m", tuple(range(length)), ("walks",))
    config = _config(min_motion_codes=1, context_head=0.9, context_tail=0.05, predict_share=0.9)
    mixture = build_instructions([motion], [], config)
    for task in (Task.M2M, Task.PREDICT):
        for instruction in mixture.all_of(task):
            parts = [part for part in instruction.prompt if not isinstance(part, str)]
            assert all(parts)
            assert instruction.answer
            whole = (*parts[0], *instruction.answer, *(parts[1] if task == "m2m" else ()))
            assert whole == motion.codes
        assert mixture.counts[task] + mixture.dropped[task, Drop.MOTION_TOO_SHORT] == 1


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found 0 motions and 0 plans .*\. Remedy: "):
        build_instructions([], [], _config())
    with pytest.raises(ValueError, match=r"instructions of t2m: .*no_caption: 1"):
        build_instructions([MotionItem("m", (1, 2, 3, 4), ())], PLANS, _only(Task.T2M))


# ---------------------------------------------------------------------------------------- batches


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    mixture = _mixture()
    batches = [mixture.sample(7, step, 16) for step in range(5)]
    again = _mixture()
    assert [again.sample(7, step, 16) for step in (4, 3, 2, 1, 0)] == batches[::-1]
    assert again.sample(8, 0, 16) != batches[0]
    assert batches[0] != batches[1]


def test_each_batch_keeps_the_shares_of_the_tasks() -> None:
    weights = {**dict.fromkeys(Task, 0.0), Task.T2M: 4.0, Task.M2T: 2.0, Task.T2S: 1.0}
    mixture = _mixture(weights=weights)
    total = Counter[Task]()
    for step in range(100):
        counts = _tasks(mixture.sample(0, step, 10))
        total += counts
        for task, count in counts.items():
            assert abs(count - 10 * weights[task] / 7) < 1
    assert sum(total.values()) == 1000
    for task in total:
        assert abs(total[task] - 1000 * weights[task] / 7) <= 5


@pytest.mark.parametrize("batch_size", [1, 4, 13])
def test_small_batches_take_the_tasks_in_turn(batch_size: int) -> None:
    mixture = _mixture()
    total = Counter[Task]()
    for step in range(130):
        counts = _tasks(mixture.sample(0, step, batch_size))
        assert max(counts.values()) <= 1 + (batch_size == 13)
        total += counts
    assert total.keys() == set(Task)
    assert max(abs(total[task] - 10 * batch_size) for task in Task) <= 4


def test_tasks_without_weight_or_material_are_not_sampled() -> None:
    mixture = build_instructions(MOTIONS, [], _config(weights={"t2m": 0}))
    taught = {task for task, count in mixture.counts.items() if count}
    assert taught == {"m2t", "m2m", "predict", "l2m"}
    assert set(_tasks(mixture.sample(0, 0, 100))) == {"m2t", "m2m", "predict", "l2m"}
    assert mixture.all_of(Task.T2M) == []


def test_batches_use_all_material_and_all_wordings() -> None:
    mixture = build_instructions(MOTIONS, [], _only(Task.T2M))
    batch = mixture.sample(0, 0, 2000)
    expected = {
        prompt_of(Task.T2M, wording, caption=caption)
        for wording in wordings_of(Task.T2M)
        for caption in {caption for motion in MOTIONS for caption in motion.captions}
    }
    assert {one.prompt for one in batch} <= expected
    assert {one.source_id for one in batch} == {motion.motion_id for motion in MOTIONS}
    used = Counter(str(one.prompt[0]).splitlines()[0].partition("] ")[2] for one in batch)
    assert used.keys() == set(wordings_of(Task.T2M))
    assert abs(used[wordings_of(Task.T2M)[0]] - 400) < 80


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_paraphrases_is_kept(share: float) -> None:
    batch = _mixture(paraphrase_share=share).sample(0, 0, 200)
    mains = [f"[Instruction] {wordings_of(one.task)[0]}\n" in str(one.prompt[0]) for one in batch]
    assert set(mains) == {share == 0.0}


def _gaps(batch: list[Instruction]) -> list[tuple[int, int, int]]:
    """Return the lengths of beginning, middle and ending; they are parts of one motion."""
    found: list[tuple[int, int, int]] = []
    for one in batch:
        head, tail = (part for part in one.prompt if not isinstance(part, str))
        assert not isinstance(one.answer, str)
        whole = np.array([*head, *one.answer, *tail])
        assert (np.diff(whole) == 1).all()
        found.append((len(head), len(one.answer), len(tail)))
    return found


def test_the_middle_of_motions_is_filled() -> None:
    mixture = build_instructions(MOTIONS, [], _only(Task.M2M))
    assert (
        set(_gaps(mixture.sample(0, 0, 50))) == {(8, 4, 8)} == set(_gaps(mixture.all_of(Task.M2M)))
    )


def test_a_question_has_all_its_answers() -> None:
    goals = ("eats", "eats", "cooks", "eats", "sleeps")
    plans = [
        PlanItem(f"p{number}", "", (goal,), ("sit", f"step {number % 3}"))
        for number, goal in enumerate(goals)
    ]
    mixture = build_instructions([], plans, _only(Task.T2S))
    questions = mixture.questions_of(Task.T2S)
    assert [len(answers) for _, answers in questions] == [2, 1, 1]
    assert questions[0][0] == mixture.all_of(Task.T2S)[0]
    assert questions[0][1] == ("1. sit\n2. step 0", "1. sit\n2. step 1")
    assert mixture.questions_of(Task.T2S, 2) == questions[:2]
    assert mixture.questions_of(Task.T2S, 0) == []


def test_evaluation_takes_all_or_evenly_spread_ones_with_the_main_wording() -> None:
    mixture = _mixture()
    everything = mixture.all_of(Task.M2M)
    assert [one.source_id for one in everything] == [motion.motion_id for motion in MOTIONS]
    assert all(wordings_of(Task.M2M)[0] in str(one.prompt[0]) for one in everything)
    assert [one.source_id for one in mixture.all_of(Task.M2M, 4)] == ["m0", "m2", "m5", "m7"]
    assert mixture.all_of(Task.M2M, 99) == everything
    assert mixture.all_of(Task.M2M, 0) == []
