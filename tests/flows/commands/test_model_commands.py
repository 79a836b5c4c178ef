"""Commands of the trained model: what they write and print is what the model answers."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

import avatargpt
from avatargpt import DescribeConfig, ImagineConfig, Model, Sampling
from data.motion.features import features_to_joints
from flows.commands.main import app, main
from tests.flows.conftest import STEPS, TASK
from training.language_model.config import CHOSEN, DRAWN

Command = Callable[..., str]
"""Arguments to what was printed."""


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    """The model that the commands load, for what they should answer."""
    return avatargpt.load_model(model_folder)


@pytest.fixture(scope="module")
def motion(model: Model) -> NDArray[np.float32]:
    """Features of three seconds, (60, 263)."""
    return model.t2m("a person waves", 3, Sampling())[0]


@pytest.fixture
def motion_file(motion: NDArray[np.float32], tmp_path: Path) -> Path:
    np.save(tmp_path / "motion.npy", motion)
    return tmp_path / "motion.npy"


@pytest.fixture
def answered(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command with the model, in a folder of its own; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> str:
        result = _run(*arguments, "--model", model_folder)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    return run


# ----------------------------------------------------------------------------- motion as answer


def test_t2m_writes_the_motion_of_the_text(answered: Command, model: Model) -> None:
    text = "a person waves"
    printed = answered("t2m", text, "--seconds", "2", "--seed", "3", "--out", "wave.npy")
    assert printed == "wave.npy: 2.0 s\n"
    sampling = CHOSEN.model_copy(update={"seed": 3})
    np.testing.assert_array_equal(np.load("wave.npy"), model.t2m(text, 2, sampling)[0])
    answered("t2m", text, "--temperature", "0", "--out", "likeliest.joints.npy")
    likeliest = features_to_joints(model.t2m(text, None, Sampling(top_p=CHOSEN.top_p))[0])
    np.testing.assert_allclose(np.load("likeliest.joints.npy"), likeliest, atol=1e-6)
    one = ("--best-of", "1", "--temperature", "1", "--out", "folder/one.npy")
    answered("t2m", text, "--seconds", "1", *one)
    sampling = Sampling(temperature=1, top_p=CHOSEN.top_p)
    np.testing.assert_array_equal(np.load("folder/one.npy"), model.t2m(text, 1, sampling)[0])


def test_predict_writes_a_motion_and_what_follows(
    answered: Command,
    model: Model,
    motion: NDArray[np.float32],
    motion_file: Path,
) -> None:
    printed = answered("predict", motion_file, "--seconds", "1", "--seed", "5", "--out", "on.npy")
    assert printed == "on.npy: 4.0 s\n"
    expected = model.predict(motion, 1, DRAWN.model_copy(update={"seed": 5}))
    np.testing.assert_array_equal(np.load("on.npy"), expected)
    answered("predict", motion_file, "--seconds", "1", "--temperature", "0", "--out", "on.npy")
    likeliest = model.predict(motion, 1, Sampling(top_p=DRAWN.top_p))
    np.testing.assert_array_equal(np.load("on.npy"), likeliest)
    assert not np.array_equal(likeliest, expected)


def test_inbetween_writes_both_motions_and_a_middle(
    answered: Command,
    model: Model,
    motion: NDArray[np.float32],
    motion_file: Path,
) -> None:
    ends = (motion_file, motion_file)
    printed = answered("inbetween", *ends, "--seconds", "1", "--out", "between.joints.npy")
    assert printed == "between.joints.npy: 7.0 s\n"
    expected = features_to_joints(model.in_between(motion, motion, 1))
    np.testing.assert_allclose(np.load("between.joints.npy"), expected, atol=1e-6)
    answered("inbetween", *ends, "--seconds", "1", "--temperature", "0", "--out", "likeliest.npy")
    likeliest = model.in_between(motion, motion, 1, Sampling(top_p=CHOSEN.top_p))
    np.testing.assert_array_equal(np.load("likeliest.npy"), likeliest)


def test_imagine_writes_a_motion_and_its_plan(answered: Command, model: Model) -> None:
    asked = ("imagine", "a kitchen", "--task", TASK, "--seconds", "4", "--seed", "1")
    asked = (*asked, "--best-of", "2", "--out", "day.npy")
    told = json.loads(answered(*asked, "--json"))

    usual = ImagineConfig()
    seeded = {"seed": 1}
    config = ImagineConfig(
        seconds=4,
        plan=usual.plan.model_copy(update=seeded),
        motion=usual.motion.model_copy(update=seeded | {"best_of": 2}),
        between=usual.between.model_copy(update=seeded),
    )
    long = model.imagine("a kitchen", TASK, config)
    features = np.concatenate(list(long.features()))
    np.testing.assert_array_equal(np.load("day.npy"), features)
    plan = [asdict(span) for span in long.plan]
    assert (plan[0]["kind"], plan[0]["task"], plan[0]["start_s"]) == ("step", TASK, 0)
    written = {"scene": "a kitchen", "plan": plan, "notes": long.notes}
    assert json.loads(Path("day.plan.json").read_text()) == written
    files = {"motion": "day.npy", "plan_file": "day.plan.json"}
    assert told == {**files, "seconds": len(features) / 20, **written}

    lines = answered(*asked).splitlines()
    assert lines[0] == f"day.npy: {len(features) / 20:.1f} s"
    assert lines[1] == f"    0.0 s  {TASK}: {plan[0]['step']}"
    assert lines[-1] == "plan: day.plan.json"
    assert len(lines) == 2 + len(plan) + len(long.notes)


# ------------------------------------------------------------------------------- text as answer


def test_plan_prints_the_tasks_and_their_steps(answered: Command, model: Model) -> None:
    learned = ("plan", "a kitchen", "--task", TASK, "--tasks", "1", "--temperature", "0")
    assert json.loads(answered(*learned, "--json")) == {
        "scene": "a kitchen",
        "plan": [{"task": TASK, "steps": list(STEPS)}],
    }
    assert answered(*learned).splitlines() == [
        TASK,
        *(f"  {number}. {step}" for number, step in enumerate(STEPS, 1)),
    ]
    # Without a task the model names the first one itself; texts are drawn as `imagine` draws them.
    drawn = json.loads(answered("plan", "a kitchen", "--tasks", "2", "--seed", "7", "--json"))
    sampling = ImagineConfig().plan.model_copy(update={"seed": 7})
    expected = model.plan("a kitchen", None, 2, sampling)
    assert drawn["plan"] == [{"task": one.task, "steps": list(one.steps)} for one in expected]


def test_m2t_prints_a_text_of_each_motion(
    answered: Command,
    model: Model,
    motion: NDArray[np.float32],
    motion_file: Path,
) -> None:
    (text,) = model.m2t(motion)
    told = json.loads(answered("m2t", motion_file, "--json"))
    assert told == {"file": str(motion_file), "texts": [text]}
    # Two motions in one file, as joints.
    np.savez("two.npz", allow_pickle=False, a=features_to_joints(motion), b=motion)
    assert len(json.loads(answered("m2t", "two.npz", "--json"))["texts"]) == 2
    answered("t2m", "a person waves", "--seconds", "2", "--out", "wave.bvh")
    assert len(json.loads(answered("m2t", "wave.bvh", "--json"))["texts"]) == 1


def test_describe_prints_steps_tasks_and_the_scene(
    answered: Command,
    model: Model,
    motion: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "long.npy", np.concatenate([motion] * 8))  # 24 s
    told = json.loads(answered("describe", "long.npy", "--json"))
    story = model.describe(np.concatenate([motion] * 8), DescribeConfig())
    assert told == json.loads(json.dumps(asdict(story)))
    assert [(step["start_s"], step["end_s"]) for step in told["steps"]] == [
        *((5.0 * index, 5.0 * index + 5) for index in range(4)),
        (20.0, 24.0),
    ]
    assert [(task["start_s"], task["end_s"]) for task in told["tasks"]] == [(0, 20), (20, 24)]
    lines = answered("describe", "long.npy").splitlines()
    times = [line.split(" s  ")[0] for line in lines if " s  " in line]
    assert times == [
        f"{0:7.1f}",
        *(f"{5.0 * i:11.1f}" for i in range(4)),
        f"{20:7.1f}",
        f"{20:11.1f}",
    ]


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("none", "none.npy"),
        ("short", "at least 4 frames, found 3"),
        ("broken", "1 of 60 rows"),
    ],
)
def test_a_motion_that_cannot_be_read_is_named(
    name: str,
    complaint: str,
    model_folder: Path,
    motion: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "short.npy", motion[:3])
    broken = motion.copy()
    broken[7] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    file = str(tmp_path / f"{name}.npy")
    monkeypatch.setattr(sys, "argv", ["avatargpt", "m2t", file, "--model", str(model_folder)])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert complaint in told
    assert "Remedy: " in told


@pytest.mark.parametrize("command", ["t2m", "imagine"])
def test_how_many_motions_are_drawn_is_checked_before_a_model_is_loaded(
    command: str, tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    result = _run(command, "a person waves", "--best-of", "0", "--model", absent)
    assert result.exit_code == 2
    assert "--best-of" in result.output


def test_several_likeliest_answers_are_refused(tmp_path: Path) -> None:
    asked = ("t2m", "a person waves", "--temperature", "0", "--model", tmp_path / "absent")
    result = _run(*asked, "--best-of", "3")
    assert "expected 1 at temperature 0, where all samples are equal, found 3" in str(
        result.exception
    )
    # Not asked for several, the likeliest answer is one: what is missing then is the model.
    assert "model.json" in str(_run(*asked).exception)
