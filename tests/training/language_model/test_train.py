"""Training the language model: it learns all tasks, resumes exactly, and says what is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.motion.splits import SplitConfig
from tests.support.runs import LM_STEPS, kill_training, lm_config, losses
from training.checkpoints import CheckpointStore, read_checkpoint
from training.instructions.material import read_plan_items
from training.instructions.tasks import Task
from training.language_model.config import KIND
from training.language_model.train import train_motion_lm
from training.loop import TrainingError, TrainingResult, read_metrics


def test_every_task_is_learned_together(lm_run: TrainingResult, lm_root: Path) -> None:
    rows = [row for row in read_metrics(lm_run.run) if row["event"] == "train"]
    curve = losses(rows)
    assert len(curve) == LM_STEPS
    assert np.mean(curve[-5:]) < 0.85 * np.mean(curve[:5])
    # Text plans have no scene to be told: two tasks have no material here, and are not invented.
    per_row = [
        {name.removesuffix("_loss") for name in row if name.endswith("_loss")} for row in rows
    ]
    assert min(map(len, per_row)) > 4
    taught = set[str]().union(*per_row)
    assert taught == {task.value for task in Task} - {"t2c", "s2c"}
    checkpoint = read_checkpoint(lm_run.run, KIND)
    assert checkpoint.data["instructions"]["t2c"] == 0
    plans = read_plan_items([lm_root], "train", SplitConfig())
    assert checkpoint.data["instructions"]["t2s"] == sum(not plan.is_progress for plan in plans)


def test_tasks_weigh_as_much_in_the_choice_of_a_checkpoint_as_in_training(
    lm_run: TrainingResult,
) -> None:
    row = next(row for row in read_metrics(lm_run.run) if row["event"] == "validation")
    tasks = [task for task in Task if f"{task}_loss" in row]
    weights = [2.0 if task is Task.T2M else 1.0 for task in tasks]
    for name in ("loss", "accuracy"):
        of_tasks = [row[f"{task}_{name}"] for task in tasks]
        assert row[name] == pytest.approx(np.average(of_tasks, weights=weights))


def test_the_best_checkpoint_answers_most_tokens_right(lm_run: TrainingResult) -> None:
    rows = [row for row in read_metrics(lm_run.run) if row["event"] == "validation"]
    best = max(rows, key=lambda row: row["accuracy"])
    assert lm_run.best["accuracy"] == best["accuracy"]
    assert read_checkpoint(lm_run.run, KIND).step == best["step"]


def test_a_killed_training_goes_on_step_for_step(
    lm_run: TrainingResult, lm_root: Path, vqvae_run: TrainingResult, tmp_path: Path
) -> None:
    config = lm_config(lm_root, vqvae_run.run, tmp_path / "run")
    request = tmp_path / "request.json"
    request.write_text(config.model_dump_json())
    # Training a text tokenizer twice need not give the same pieces: a run keeps its own.
    (tmp_path / "run").mkdir()
    shutil.copy(lm_run.run / "tokenizer.json", tmp_path / "run")
    kill_training("training.language_model.train", request, 8)
    last = CheckpointStore(config.run, KIND).last()
    assert last is not None
    assert last.step == len(losses(read_metrics(config.run))) == 8
    train_motion_lm(config)
    assert losses(read_metrics(tmp_path / "run")) == losses(read_metrics(lm_run.run))
    ours, theirs = (read_checkpoint(run, KIND) for run in (tmp_path / "run", lm_run.run))
    name = "model.safetensors"
    assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes()


def test_pre_training_starts_the_next_stage(
    lm_root: Path, vqvae_run: TrainingResult, tmp_path: Path
) -> None:
    first = lm_config(lm_root, vqvae_run.run, tmp_path / "first", steps=4, validate_every=4)
    train_motion_lm(first.model_copy(update={"stage": "pretrain"}))
    second = lm_config(lm_root, vqvae_run.run, tmp_path / "second", steps=4, validate_every=4)
    train_motion_lm(second.model_copy(update={"initial": tmp_path / "first"}))
    scratch = lm_config(lm_root, vqvae_run.run, tmp_path / "scratch", steps=4, validate_every=4)
    train_motion_lm(scratch)
    warm, cold = (losses(read_metrics(tmp_path / name))[0] for name in ("second", "scratch"))
    assert warm < cold


def test_what_cannot_be_learnt_from_is_refused(
    lm_root: Path, motions_root: Path, vqvae_run: TrainingResult, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"expected tokens of .* found no tokens"):
        train_motion_lm(lm_config(motions_root, vqvae_run.run, tmp_path / "run"))
    short = lm_config(lm_root, vqvae_run.run, tmp_path / "short")
    with pytest.raises((TrainingError, ValueError), match=r"max_prompt|val split"):
        train_motion_lm(short.model_copy(update={"max_prompt": 16}))
