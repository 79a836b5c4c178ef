"""Prompts, wordings, and steps as text and back."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.instructions.tasks import (
    Given,
    Task,
    clean_steps,
    code_array,
    codes_of,
    cut_loop,
    format_steps,
    parse_steps,
    prompt_of,
    wordings_of,
)

GIVEN: dict[Task, Given] = {
    Task.T2M: {"caption": "a person\nwalks "},
    Task.M2T: {"codes": (1, 2, 3)},
    Task.M2M: {"head": (1, 2), "tail": [8, 9]},
    Task.PREDICT: {"head": (1, 2)},
    Task.L2M: {"caption": "a person walks", "length_s": 3.25},
    Task.CT2T: {"scene": "A kitchen.", "task_text": "cook"},
    Task.CS2S: {"scene": "A kitchen.", "steps": ("reach up", "take a pan")},
    Task.CT2S: {"scene": "A kitchen.", "task_text": "cook"},
    Task.CS2T: {"scene": "A kitchen.", "steps": ("reach up",)},
    Task.T2C: {"task_text": "cook"},
    Task.S2C: {"steps": ("reach up",)},
    Task.T2S: {"task_text": "cook"},
    Task.S2T: {"steps": ("reach up",)},
}


@pytest.mark.parametrize("task", Task)
def test_each_task_has_a_main_wording_and_many_paraphrases(task: Task) -> None:
    wordings = wordings_of(task)
    assert len(wordings) >= 21
    assert len({wording.casefold() for wording in wordings}) == len(wordings)
    assert not [wording for wording in wordings if "[" in wording]


def test_no_two_tasks_share_a_wording() -> None:
    wordings = [wording.casefold() for task in Task for wording in wordings_of(task)]
    assert len(set(wordings)) == len(wordings)


def test_tasks_know_their_answer() -> None:
    assert len(Task) == 13
    assert {task for task in Task if task.answers_motion} == {"t2m", "m2m", "predict", "l2m"}


@pytest.mark.parametrize("task", Task)
def test_prompts_have_one_form(task: Task) -> None:
    prompt = prompt_of(task, **GIVEN[task])
    first, last = str(prompt[0]), str(prompt[-1])
    assert first.startswith(f"[Instruction] {wordings_of(task)[0]}\n[")
    assert last.endswith("\n[Response] ")
    assert prompt_of(task, "Do it.", **GIVEN[task])[0] == first.replace(
        wordings_of(task)[0], "Do it."
    )
    # Text and motion take turns, so that no separator is lost between two texts.
    assert [isinstance(part, str) for part in prompt] == [i % 2 == 0 for i in range(len(prompt))]


def test_prompts_hold_what_they_are_given() -> None:
    def tail(task: Task) -> tuple[object, ...]:
        return prompt_of(task, "W", **GIVEN[task])

    assert tail(Task.T2M) == ("[Instruction] W\n[Input] a person walks\n[Response] ",)
    assert tail(Task.M2T) == ("[Instruction] W\n[Input] ", (1, 2, 3), "\n[Response] ")
    assert tail(Task.M2M) == (
        *("[Instruction] W\n[Starting] ", (1, 2)),
        *("\n[Ending] ", (8, 9), "\n[Response] "),
    )
    assert tail(Task.L2M) == (
        "[Instruction] W\n[Input] a person walks\n[Length] 3.2 seconds\n[Response] ",
    )
    assert tail(Task.CS2S) == (
        "[Instruction] W\n[Scene] A kitchen.\n[Steps] 1. reach up\n2. take a pan\n[Response] ",
    )
    assert tail(Task.CT2T) == ("[Instruction] W\n[Scene] A kitchen.\n[Task] cook\n[Response] ",)


@pytest.mark.parametrize(
    ("task", "values", "found"),
    [
        (Task.T2M, {}, "nothing"),
        (Task.T2M, {"caption": " \n"}, "nothing"),
        (Task.T2M, {"caption": "walk", "length_s": 3.0}, "caption and length_s"),
        (Task.M2M, {"head": (1,), "tail": ()}, "head"),
        (Task.CS2S, {"scene": "A park.", "steps": ("", " ")}, "scene"),
    ],
)
def test_what_a_task_cannot_use_is_refused(task: Task, values: Given, found: str) -> None:
    with pytest.raises(ValueError, match=f"prompt of {task}: .* found {found}. Remedy: ."):
        prompt_of(task, **values)


# ------------------------------------------------------------------------------------------- steps


@given(st.lists(st.text(max_size=20), min_size=2))
def test_several_steps_survive_their_text(steps: list[str]) -> None:
    cleaned = clean_steps(steps)
    if len(cleaned) != 1:
        assert parse_steps(format_steps(steps)) == cleaned
    assert clean_steps(cleaned) == cleaned


@given(st.lists(st.text("ab, 1'.", max_size=12)))
def test_steps_survive_on_one_line(steps: list[str]) -> None:
    # On one line, numbering inside a step cannot be told from that of the list.
    cleaned = clean_steps([step for step in steps if not re.search(r"[0-9]\s*\.", step)])
    one_line = format_steps(cleaned).replace("\n", " ")
    assert parse_steps(one_line) == cleaned


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("1. walk\n2. sit", ("walk", "sit")),
        ("1) walk\n\n 2) sit\n", ("walk", "sit")),
        ("1: walk\n2: sit", ("walk", "sit")),
        ("Step 1: walk\nSTEP 2 : sit", ("walk", "sit")),
        ("(1) walk (2) sit", ("walk", "sit")),
        ("1. walk 2. sit 3. stand", ("walk", "sit", "stand")),
        ("Step 1: walk Step 2: sit", ("walk", "sit")),
        ("1.walk\n2.sit", ("walk", "sit")),
        ("Sure. Here they are: 1. walk 2. sit", ("walk", "sit")),
        ("Plan:\n1. walk to\n the chair\n2. sit", ("walk to the chair", "sit")),
        ("1. walk 1. Walk 2. walk 3. sit 3. sit", ("walk", "sit")),
        ("1. walk\n2. walk\n3. sit\n4.\n5. walk", ("walk", "sit", "walk")),
        ("1. walk 3. sit", ("walk", "sit")),
        ("1. wait until 10. Then go 2. sit", ("wait until 10. Then go", "sit")),
        ("1. raise it by 0.5 m 2. sit", ("raise it by 0.5 m", "sit")),
        ("4. walk 5. sit", ("walk", "sit")),
        ("walk", ()),
        ("they are 3. Then go", ()),
        ("", ()),
        ("1.", ()),
    ],
)
def test_steps_are_found_in_what_models_write(text: str, steps: tuple[str, ...]) -> None:
    assert parse_steps(text) == steps


def test_tokens_are_integers_if_they_have_one_code_and_tuples_if_several() -> None:
    assert (
        codes_of(np.array([3, 1])) == codes_of(np.array([[3], [1]])) == codes_of((3, 1)) == (3, 1)
    )
    several = codes_of(np.array([[3, 0], [1, 2]]))
    assert several == ((3, 0), (1, 2))
    assert type(several[0]) is tuple
    assert code_array(several, 2).tolist() == [[3, 0], [1, 2]]
    # A base code alone leaves the residual codes open.
    assert code_array((3, (1, 2, 0)), 3).tolist() == [[3, -1, -1], [1, 2, 0]]
    assert code_array((), 3).shape == (0, 3)
    with pytest.raises(ValueError, match="expected 2 in each token, found 3"):
        code_array(((1, 2), (1, 2, 3)), 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. walk\n2. sit\n3. Sit\n4. read", "1. walk\n2. sit"),
        ("1. go 2. walk 3. sit 4. walk 5. sit 6. lie", "1. go\n2. walk\n3. sit"),
        ("1. find cup\n2. find cup", "1. find cup"),
        # What comes back later is no loop, and what has none stays as it is.
        ("1. walk\n2. sit\n3. walk\n4. lie", "1. walk\n2. sit\n3. walk\n4. lie"),
        ("1. walk 2. sit", "1. walk 2. sit"),
        ("walk, walk, walk", "walk, walk, walk"),
        ("", ""),
    ],
)
def test_a_plan_ends_before_it_repeats_what_it_has_just_given(text: str, expected: str) -> None:
    assert cut_loop(text) == expected
