"""A language model on a residual tokenizer: training, checkpoint, answers, long motion."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.runs import lm_config, vqvae_config
from training.checkpoints import read_checkpoint
from training.inference.long_motion import ImagineConfig, imagine
from training.inference.motion_model import MotionModel
from training.instructions.tasks import Codes, Task
from training.language_model.generation import Sampling, load_motion_lm
from training.language_model.model import KIND
from training.language_model.train import TrainMotionLmConfig, train_motion_lm
from training.loop import TrainingResult, read_metrics
from training.tokenizer.motion_tokenizer import load_tokenizer
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions
from training.tokenizer.train import TrainMotionVqvaeConfig, train_motion_vqvae

Q = 3
SMALL = {"layers": 1, "heads": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def tokenizer_run(motions_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A tiny residual tokenizer."""
    run = tmp_path_factory.mktemp("runs") / "rvq"
    values = vqvae_config(motions_root, run).model_dump(mode="json")
    values["model"]["quantizer"] |= {"kind": "residual", "num_quantizers": Q}
    return train_motion_vqvae(TrainMotionVqvaeConfig.model_validate(values))


@pytest.fixture(scope="module")
def run(
    lm_root: Path, tokenizer_run: TrainingResult, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    """A tiny language model on its tokens."""
    tokenize_motions(TokenizeConfig(dataset=lm_root, tokenizer=tokenizer_run.run))
    folder = tmp_path_factory.mktemp("runs") / "lm"
    values = lm_config(lm_root, tokenizer_run.run, folder, steps=8, validate_every=8)
    dumped = values.model_dump(mode="json")
    dumped["model"]["residual"] = SMALL
    return train_motion_lm(TrainMotionLmConfig.model_validate(dumped))


@pytest.fixture(scope="module")
def model(run: TrainingResult, tokenizer_run: TrainingResult) -> MotionModel:
    return MotionModel(load_motion_lm(run.run), load_tokenizer(tokenizer_run.run))


def test_residual_codes_are_learned_and_reported(run: TrainingResult) -> None:
    rows = read_metrics(run.run)
    curve = [row["residual_loss"] for row in rows if row["event"] == "train"]
    assert curve[-1] < curve[0]
    (judged,) = [row for row in rows if row["event"] == "validation"]
    tasks = [judged[f"{task}_loss"] for task in Task if f"{task}_loss" in judged]
    assert judged["loss"] == pytest.approx(np.mean(tasks) + judged["residual_loss"], rel=1e-5)
    assert 0 <= judged["residual_accuracy"] <= 1


def test_a_checkpoint_gives_the_same_model(run: TrainingResult, model: MotionModel) -> None:
    stored = read_checkpoint(run.run, KIND).model()
    assert stored["t5.shared.residual_RKC"].shape == (Q - 1, 64, 32)
    loaded = model.lm.model.state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)
    decoder = model.lm.model.residual
    assert decoder is not None
    quantizer = model.tokenizer.model.quantizer
    torch.testing.assert_close(decoder.codebooks_QKC[0], quantizer.codebook())
    torch.testing.assert_close(decoder.codebooks_QKC[1:], quantizer.residual_codebooks())


def test_every_way_to_a_motion_gives_all_codes(model: MotionModel) -> None:
    def is_full(codes: Codes) -> bool:
        return all(isinstance(token, tuple) and len(token) == Q for token in codes)

    motions = model.text_to_codes(["a person waves", "a person jumps"], seconds=3.0)
    assert [len(codes) for codes in motions] == [15, 15]
    assert all(map(is_full, motions))
    # The codes of a generated motion and of its features are of one kind.
    head, tail = map(model.decode, motions)
    assert head.shape == (60, 263)
    assert is_full(model.encode(head))
    (between,) = model.codes_between([(motions[0], motions[1])], seconds=1.0)
    assert len(between) == 5
    assert is_full(between)
    assert model.in_between(head, tail, seconds=1.0).shape == (140, 263)
    assert model.predict(head, seconds=1.0).shape == (80, 263)
    assert len(model.codes_to_text(motions)) == 2
    # Base codes alone can be decoded, and show another motion.
    bases: Codes = tuple(token[0] for token in motions[0] if not isinstance(token, int))
    assert model.decode(bases).shape == head.shape
    assert not np.allclose(model.decode(bases), head)


class _Scripted(MotionModel):
    """A model whose texts are given, because a tiny one cannot plan."""

    def steps_of(self, task: str, sampling: Sampling | None = None) -> tuple[str, ...]:
        assert task
        assert sampling is not None
        return f"walk {sampling.seed} steps", "turn left", "wave"


def test_a_long_motion_streams_all_codes(model: MotionModel) -> None:
    scripted = _Scripted(model.lm, model.tokenizer)
    config = ImagineConfig(seconds=6.0, step_seconds=2.0, between_seconds=1.0)
    codes = [
        token for part in imagine(scripted, "at home", "watch tv", config).codes for token in part
    ]
    long = imagine(scripted, "at home", "watch tv", config)
    features = np.concatenate(list(long.features()))
    np.testing.assert_allclose(features, model.decode(tuple(codes)), rtol=1e-3, atol=1e-3)
    assert [span.kind for span in long.plan] == ["step", "between", "step", "between", "step"]
    assert len(features) == 8 * 20
