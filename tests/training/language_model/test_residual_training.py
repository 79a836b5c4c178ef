"""A language model on a residual tokenizer: training, checkpoint, answers, long motion."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from data.store.dataset import Dataset
from tests.support.runs import lm_config, vqvae_config
from training.checkpoints import read_checkpoint
from training.inference.long_motion import ImagineConfig, imagine
from training.inference.motion_model import MotionModel
from training.instructions.tasks import (
    Codes,
    Instruction,
    Task,
    code_array,
    codes_of,
    prompt_of,
)
from training.instructions.vocabulary import train_text_tokenizer
from training.language_model.batches import InstructionEncoder
from training.language_model.config import KIND, MotionLmConfig, Sampling, TrainMotionLmConfig
from training.language_model.generation import MotionLanguageModel, Request, load_motion_lm
from training.language_model.model import MotionLm, build_t5
from training.language_model.train import train_motion_lm
from training.loop import TrainingResult, read_metrics
from training.tokenizer.losses import vqvae_loss
from training.tokenizer.motion_tokenizer import load_tokenizer
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions
from training.tokenizer.train import TrainMotionVqvaeConfig, train_motion_vqvae
from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig

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
    of_tasks = {task: judged[f"{task}_loss"] for task in Task if f"{task}_loss" in judged}
    weights = [2.0 if task is Task.T2M else 1.0 for task in of_tasks]
    # The best checkpoint is that of the tasks; the loss of the residual codes stands beside it.
    expected = np.average(list(of_tasks.values()), weights=weights)
    assert judged["loss"] == pytest.approx(expected, rel=1e-5)
    assert judged["residual_loss"] > 0
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


def _residual_vqvae(features_BTD: torch.Tensor) -> MotionVqvae:
    """Fit coarse codebooks to a few motions, so that each of them adds detail."""
    torch.manual_seed(0)
    quantizer = {"kind": "residual", "num_codes": 8, "code_dim": 16, "num_quantizers": Q}
    config = MotionVqvaeConfig.model_validate({"width": 48, "depth": 1, "quantizer": quantizer})
    model = MotionVqvae(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        vqvae_loss(config, features_BTD, model(features_BTD)).backward()
        optimizer.step()
    return model.eval()


def _taught(
    vqvae: MotionVqvae, instructions: Sequence[Instruction], steps: int
) -> MotionLanguageModel:
    """Train a language model on a few instructions until it knows them by heart."""
    torch.manual_seed(0)
    text = train_text_tokenizer([one.caption for one in instructions], 200)
    size = {"width": 32, "ff_width": 64, "layers": 1, "heads": 2, "dropout": 0.0}
    config = MotionLmConfig.model_validate({"scratch": size, "residual": SMALL})
    codebook_KC, residual_RKC = vqvae.quantizer.codebook(), vqvae.quantizer.residual_codebooks()
    module = MotionLm(config, build_t5(config, text.num_pieces), codebook_KC, residual_RKC).train()
    encoder = InstructionEncoder(text, module.vocabulary, 512, 512)
    batch = encoder.batch([[encoder.encode(one) for one in instructions]])
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    for step in range(steps):
        torch.manual_seed(step)
        output = module(batch)
        assert output.residual is not None
        optimizer.zero_grad()
        (output.losses_B.mean() + output.residual.losses_B.mean()).backward()
        optimizer.step()
    return MotionLanguageModel(module, text, "t", torch.device("cpu"))


def test_more_codebooks_bring_a_text_s_motion_nearer_to_the_real_one(motions_root: Path) -> None:
    rows = list(Dataset(motions_root).rows("motions", ["features", "split"], {"split": ["train"]}))
    real_BTD = torch.stack(
        [torch.tensor(row["features"]).reshape(-1, 263)[:40] for row in rows[:4]]
    )
    real_BTD = (real_BTD - real_BTD.mean((0, 1))) / (real_BTD.std((0, 1)) + 1e-2)
    vqvae = _residual_vqvae(real_BTD)
    captions = ("walk", "jump high", "wave to me", "sit down")
    instructions = [
        Instruction(Task.T2M, prompt_of(Task.T2M, caption=caption), codes_of(codes), "a", caption)
        for caption, codes in zip(captions, vqvae.encode(real_BTD).numpy(), strict=True)
    ]
    lm = _taught(vqvae, instructions, 200)
    requests = [
        Request(one.prompt, motion=True, min_length=10, max_length=10) for one in instructions
    ]
    answers = [codes for codes in lm.answer(requests) if not isinstance(codes, str)]
    codes_BLQ = torch.tensor(np.stack([code_array(codes, Q) for codes in answers]))
    errors: list[float] = []
    for used in range(1, Q + 1):
        known_BLQ = codes_BLQ.masked_fill(torch.arange(Q) >= used, -1)
        errors.append(float((vqvae.decode(known_BLQ) - real_BTD).abs().mean()))
    # Each codebook lowers the error of the motions that the captions are answered with.
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.9 * errors[0]
