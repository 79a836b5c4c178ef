"""Training the language model: it learns all tasks, resumes exactly, and says what is wrong."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.motion.features import features_to_joints
from data.motion.quality import jitter
from data.motion.splits import SplitConfig
from evaluation.reports import EvaluationConfig, evaluate_model
from evaluation.versions import PromotionConfig, promote, write_model
from tests.support.runs import LM_STEPS, kill_training, lm_config, losses
from training.checkpoints import CheckpointStore, read_checkpoint
from training.inference.motion_model import MotionModel, load_motion_model
from training.instructions.material import read_plan_items
from training.instructions.tasks import Task
from training.language_model.model import KIND
from training.language_model.train import train_motion_lm
from training.loop import TrainingError, TrainingResult, read_metrics
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND
from training.tokenizer.reconstruction import reconstruction
from training.tokenizer.windows import MotionDataConfig, prepare_data


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


def test_versions_are_evaluated_and_promoted_when_not_worse(
    motion_model: MotionModel,
    lm_run: TrainingResult,
    lm_root: Path,
    vqvae_run: TrainingResult,
    tmp_path: Path,
) -> None:
    training = lm_config(lm_root, vqvae_run.run, lm_run.run)
    config = EvaluationConfig(items=6)
    cache = tmp_path / "cache"
    judged: list[str] = []

    def judge(joints: NDArray[np.floating]) -> str:
        judged.append(f"{len(joints) > 60}")
        return judged[-1]

    report = evaluate_model(motion_model, training, config, judge, cache)
    tokenizer = motion_model.tokenizer
    test = prepare_data(MotionDataConfig(dataset=lm_root), cache).splits["test"]
    rebuilt = reconstruction(tokenizer.model, test, tokenizer.stats, tokenizer.device)
    assert report.metrics["reconstruction_mpjpe_mm"] == rebuilt["mpjpe_mm"]
    assert report.metrics["reconstruction_pa_mpjpe_mm"] < rebuilt["mpjpe_mm"]
    chosen = np.linspace(0, len(test) - 1, 6).astype(int).tolist()
    real = [features_to_joints(test.motion(i)[: len(test.motion(i)) // 4 * 4]) for i in chosen]
    assert report.metrics["real_jitter_m_s3"] == pytest.approx(
        np.mean([jitter(one) or 0 for one in real])
    )
    assert {"round_trip_foot_skate_m_s", "round_trip_float_mm"} <= report.metrics.keys()
    # Each real motion is judged before the motion that was generated for its text.
    pairs = list(zip(judged[::2], judged[1::2], strict=True))
    assert len(pairs) == 6
    right = sum(real == made for real, made in pairs)
    assert report.metrics["t2m_class_accuracy"] == pytest.approx(right / 6)
    commonest = Counter(real for real, _ in pairs).most_common(1)[0][1]
    assert report.metrics["t2m_class_chance"] == commonest / 6
    assert {"m2t_bleu4", "t2s_rouge_l", "ct2t_loss", "m2m_accuracy"} <= report.metrics.keys()
    assert 0 < report.metrics["t2s_distinct"] <= 1
    assert {"t2s_step_f1", "t2s_looping"} <= report.metrics.keys()
    assert report.metrics["m2t_cider"] >= 0
    assert "m2t_bert_f1" not in report.metrics
    assert "t2c_loss" not in report.metrics
    assert report.examples["t2s"][0]["expected"].startswith("1. ")
    vqvae, lm = read_checkpoint(vqvae_run.run, VQVAE_KIND), read_checkpoint(lm_run.run, KIND)
    models = tmp_path / "models"
    folder = write_model(models, vqvae, lm, report)
    assert promote(models, folder, PromotionConfig()) == (
        True,
        f"the first version; reconstruction_mpjpe_mm is "
        f"{report.metrics['reconstruction_mpjpe_mm']:.4g}",
    )
    assert "| m2t_bleu4 |" in (folder / "README.md").read_text()
    assert not list(folder.rglob("trainer.safetensors"))
    # A worse one stays beside it.
    worse = report.model_copy(
        update={"metrics": {**report.metrics, "reconstruction_mpjpe_mm": 1e6}}
    )
    older = sorted((vqvae_run.run / "checkpoints").glob("step-*"))[-2]
    other = write_model(models, read_checkpoint(older, VQVAE_KIND), lm, worse)
    assert not promote(models, other, PromotionConfig())[0]
    assert (models / "latest").resolve() == folder.resolve()
    better = PromotionConfig(metric="reconstruction_mpjpe_mm", higher_is_better=True)
    assert promote(models, other, better)[0]
    assert (models / "latest").resolve() == other.resolve()
    # The folder alone answers; parts of two models do not go together.
    shutil.move(str(folder), tmp_path / "moved")
    loaded = load_motion_model(tmp_path / "moved")
    (features,) = loaded.text_to_motion(["a person waves"], seconds=2.0)
    assert features.shape == (40, 263)
    with pytest.raises(ValueError, match="which the language model was trained with"):
        load_motion_model(other)
