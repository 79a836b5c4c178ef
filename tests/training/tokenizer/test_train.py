"""Training the VQ-VAE: it learns, resumes exactly, shares work, and says what is wrong."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.support.corpus import mocap
from data.importers.run import MotionImportConfig, import_motions
from data.motion.splits import SplitConfig
from data.store.dataset import Dataset
from data.workers.workers import WorkerConfig
from tests.support.runs import STEPS, kill_training, losses, torchrun, vqvae_config
from training import loop as loop_module
from training.checkpoints import CheckpointError, CheckpointStore, read_checkpoint
from training.loop import LoopConfig, TrainingError, TrainingResult, read_metrics
from training.tokenizer.motion_tokenizer import KIND, load_tokenizer
from training.tokenizer.train import TrainMotionVqvaeConfig, VqvaeLearner, train_motion_vqvae
from training.tokenizer.windows import prepare_data


def _command(config: Path) -> list[str]:
    return [sys.executable, "-m", "training.tokenizer.train", str(config)]


def _written(folder: Path, config: Any) -> Path:
    path = folder / "request.json"
    path.write_text(config.model_dump_json())
    return path


def test_training_learns_and_tells(vqvae_run: TrainingResult, motions_root: Path) -> None:
    rows = read_metrics(vqvae_run.run)
    curve = losses(rows)
    assert len(curve) == STEPS
    assert np.mean(curve[-20:]) < 0.7 * np.mean(curve[:20])
    validations = [row for row in rows if row["event"] == "validation"]
    assert [row["step"] for row in validations] == [0, 120, 240]
    assert validations[-1]["loss"] < 0.9 * validations[0]["loss"]
    assert validations[-1]["perplexity"] > 5
    best = read_checkpoint(vqvae_run.run, KIND)
    assert best.metrics["mpjpe_mm"] == min(row["mpjpe_mm"] for row in validations[1:])
    # The checkpoint tells what it was trained on, and how.
    assert best.data["dataset"] == str(motions_root)
    rows = Dataset(motions_root).rows("motions", ["split"])
    assert best.data["motions"] == Counter(row["split"] for row in rows)
    assert best.config["loop"]["steps"] == STEPS
    assert list((vqvae_run.run / "tensorboard").glob("events*"))
    kept = sorted(path.name for path in (vqvae_run.run / "checkpoints").glob("step-*"))
    assert kept[-3:] == ["step-00000160", "step-00000200", "step-00000240"]


@pytest.mark.corpus
def test_training_learns_the_path_of_real_motions(tmp_path: Path) -> None:
    """Of 48 takes, half of them to learn from: too few synthetic ones tell nothing of others."""
    sequences = [s for s in mocap("bandai_joints22_20fps.npz", "content") if len(s[2]) >= 60]
    archive = {key: joints[:200].astype(np.float32) for key, _, joints in sequences[::36][:48]}
    np.savez(tmp_path / "motions.npz", allow_pickle=False, **archive)
    root = tmp_path / "dataset"
    import_motions(
        MotionImportConfig(
            sources=(str(tmp_path / "motions.npz"),),
            dataset=root,
            mirror=False,
            splits=SplitConfig(train=0.5, val=0.25, test=0.25),
            workers=WorkerConfig(num_workers=1),
        )
    )
    result = train_motion_vqvae(vqvae_config(root, tmp_path / "run"))
    rows = read_metrics(result.run)
    first, *_, last = (row for row in rows if row["event"] == "validation")
    assert last["path_mm"] < 0.5 * first["path_mm"]
    assert last["loss"] < 0.9 * first["loss"]


def test_a_killed_training_goes_on_step_for_step(
    vqvae_run: TrainingResult, motions_root: Path, tmp_path: Path
) -> None:
    config = vqvae_config(motions_root, tmp_path / "run")
    request = _written(tmp_path, config)
    store = CheckpointStore(config.run, KIND)
    for step, point, resumed in ((80, "renamed", 40), (160, "saved", 160)):
        kill_training("training.tokenizer.train", request, step, point)
        # The kill came after the step was logged, and before or after its checkpoint counts.
        assert (config.run / f"checkpoints/step-{step:08d}").is_dir()
        last = store.last()
        assert last is not None
        assert last.step == resumed
        assert len(losses(read_metrics(config.run))) == step
    result = train_motion_vqvae(config)
    assert result.step == STEPS
    rows, expected = read_metrics(tmp_path / "run"), read_metrics(vqvae_run.run)
    assert losses(rows) == losses(expected)
    steps = [row["step"] for row in rows if row["event"] == "train"]
    assert steps == list(range(20, STEPS + 1, 20))
    for name in ("model.safetensors", "trainer.safetensors", "stats.safetensors"):
        ours, theirs = (
            (run / "checkpoints" / "step-00000240" / name).read_bytes()
            for run in (tmp_path / "run", vqvae_run.run)
        )
        assert ours == theirs, name
    # Finished: a further start computes nothing, and keeps what is there.
    again = train_motion_vqvae(config)
    assert again.step == STEPS
    assert losses(read_metrics(tmp_path / "run")) == losses(expected)


def test_two_processes_train_what_one_does(motions_root: Path, tmp_path: Path) -> None:
    # Finite scalars: what a codebook draws from a rank's share would be other latents.
    fsq = {"kind": "fsq", "code_dim": 32, "fsq_levels": [5, 5, 4]}
    curves: dict[str, list[float]] = {}
    for name in ("shared", "alone"):
        values = vqvae_config(motions_root, tmp_path / name, steps=30).model_dump(mode="json")
        values["model"]["quantizer"] = fsq
        config = TrainMotionVqvaeConfig.model_validate(values)
        if name == "alone":
            train_motion_vqvae(config)
        else:
            torchrun(2, "-m", "training.tokenizer.train", str(_written(tmp_path, config)))
        curves[name] = losses(read_metrics(tmp_path / name))
    assert len(curves["shared"]) == 30
    np.testing.assert_allclose(curves["shared"], curves["alone"], rtol=1e-3)
    ours, theirs = (read_checkpoint(tmp_path / name, KIND).model() for name in curves)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-2, atol=1e-3)


def test_a_residual_and_an_fsq_model_train_and_load(motions_root: Path, tmp_path: Path) -> None:
    for kind, more in (("residual", {"num_quantizers": 3}), ("fsq", {"fsq_levels": [5, 5, 4]})):
        config = vqvae_config(motions_root, tmp_path / kind, steps=60, validate_every=60)
        values = config.model_dump(mode="json")
        values["model"]["quantizer"] = {"kind": kind, "num_codes": 32, "code_dim": 32, **more}
        result = train_motion_vqvae(type(config).model_validate(values))
        curve = losses(read_metrics(result.run))
        assert np.mean(curve[-10:]) < 0.9 * np.mean(curve[:10])
        tokenizer = load_tokenizer(result.run)
        motion = prepare_data(config.data, tmp_path / kind / "cache").splits["test"].motion(0)
        (codes,) = tokenizer.encode([motion])
        assert codes.shape == (len(motion) // 4, more.get("num_quantizers", 1))
        assert tokenizer.decode(codes).shape == (len(codes) * 4, 263)


# -------------------------------------------------------------------------------- what goes wrong


def test_another_configuration_or_other_data_is_refused(
    vqvae_run: TrainingResult, motions_root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(vqvae_run.run, run)
    with pytest.raises(ValueError, match=r"found other values of loop\.learning_rate"):
        train_motion_vqvae(vqvae_config(motions_root, run, learning_rate=1e-3))
    other = vqvae_config(motions_root, run).model_dump(mode="json")
    other["data"]["min_quality"] = 2e-9
    with pytest.raises(ValueError, match="found other values of data"):
        train_motion_vqvae(type(vqvae_config(motions_root, run)).model_validate(other))
    # More steps of the same are no other configuration; nor is an option that the run, of an older
    # version, did not know, or the folder of another machine that stands for the same address.
    linked = tmp_path / "s3" / "motions-0123456789ab"
    linked.parent.mkdir()
    linked.symlink_to(motions_root)
    file = read_checkpoint(run, KIND).folder / "checkpoint.json"
    info = json.loads(file.read_text())
    del info["config"]["data"]["min_quality"]
    info["config"]["data"]["dataset"] = f"/home/another/s3/{linked.name}"
    file.write_text(json.dumps(info))
    longer = train_motion_vqvae(vqvae_config(linked, run, steps=STEPS + 5))
    assert longer.step == STEPS + 5


def test_divergence_stops_with_the_batch_s_motions(motions_root: Path, tmp_path: Path) -> None:
    config = vqvae_config(motions_root, tmp_path / "run", learning_rate=1e4, checkpoint_every=1000)
    with pytest.raises(TrainingError, match="training diverged") as caught:
        train_motion_vqvae(config)
    step = int(str(caught.value).split(":")[0].removeprefix("step "))
    data = prepare_data(config.data, tmp_path / "run" / "cache")
    expected = VqvaeLearner(config, data).items_of(step)
    assert ", ".join(expected[:20]) in str(caught.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_gpu_s_memory_names_the_setting(
    motions_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No GPU here: what torch raises there is raised by the loss.
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(VqvaeLearner, "losses", exhausted)
    with pytest.raises(TrainingError, match=r"2.00 GiB.*raise accumulate"):
        train_motion_vqvae(vqvae_config(motions_root, tmp_path / "run"))


_SMALL_DISK = """
import resource, sys
from pathlib import Path
from training.tokenizer.train import TrainMotionVqvaeConfig, train_motion_vqvae
from training.checkpoints import CheckpointError
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = TrainMotionVqvaeConfig.model_validate_json(Path(sys.argv[1]).read_text())
from training.tokenizer.windows import prepare_data
prepare_data(config.data, config.run / "cache")
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
try:
    train_motion_vqvae(config)
except CheckpointError as error:
    print(error)
"""


def test_a_checkpoint_that_does_not_fit_leaves_nothing_half_written(
    motions_root: Path, tmp_path: Path
) -> None:
    # A limit on the size of files stands for a full disk: the same call fails.
    config = vqvae_config(motions_root, tmp_path / "run", tensorboard=False)
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, str(_written(tmp_path, config))],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "expected to write a checkpoint" in done.stdout
    assert "resumes from the last checkpoint" in done.stdout
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_one_process_at_a_time_trains_in_a_folder(motions_root: Path, tmp_path: Path) -> None:
    config = vqvae_config(motions_root, tmp_path / "run")
    with (
        loop_module.lock_folder(tmp_path / "run"),
        pytest.raises(TrainingError, match=r"another process is training in this folder \(process"),
    ):
        train_motion_vqvae(config)


def test_early_stopping_and_time_limit(motions_root: Path, tmp_path: Path) -> None:
    early = vqvae_config(
        *(motions_root, tmp_path / "early"),
        **{"learning_rate": 1e-9, "validate_every": 20, "patience": 2, "warmup_steps": 0},
    )
    result = train_motion_vqvae(early)
    assert result.stopped == "patience"
    # The best validation, and two more that are not better.
    validations = [row for row in read_metrics(early.run) if row["event"] == "validation"][1:]
    best = min(validations, key=lambda row: row["mpjpe_mm"])
    assert validations[-1]["step"] == result.step == best["step"] + 2 * 20
    late = vqvae_config(motions_root, tmp_path / "late", max_minutes=1e-3)
    result = train_motion_vqvae(late)
    assert result.stopped == "max_minutes"
    assert read_checkpoint(tmp_path / "late", KIND).step == result.step < STEPS
    # Started again, a run that has ended has nothing to do, until it is given more.
    lines = (late.run / "metrics.jsonl").read_text()
    again = train_motion_vqvae(late)
    assert (again.stopped, again.step) == ("max_minutes", result.step)
    assert (late.run / "metrics.jsonl").read_text() == lines
    # A kill may come after the last checkpoint and before its end is written down.
    (late.run / "metrics.jsonl").write_text("\n".join(lines.splitlines()[:-1]) + "\n")
    assert not loop_module.has_ended(late.run)
    train_motion_vqvae(late)
    assert (late.run / "metrics.jsonl").read_text() == lines
    more = late.loop.model_copy(update={"max_minutes": None, "steps": result.step + 1})
    assert train_motion_vqvae(late.model_copy(update={"loop": more})).step == result.step + 1


def test_the_command_ends_in_a_message(motions_root: Path, tmp_path: Path) -> None:
    config = vqvae_config(motions_root, tmp_path / "run", device="cuda")
    done = subprocess.run(
        _command(_written(tmp_path, config)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: device: expected cuda, found no")
    with pytest.raises(CheckpointError, match="found neither"):
        read_checkpoint(tmp_path, KIND)


def test_the_learning_rate_follows_its_schedule() -> None:
    drop = LoopConfig(
        steps=300_000, batch_size=256, learning_rate=2e-4, warmup_steps=1000, drop_at=(200_000,)
    )
    assert drop.rate_at(0) == pytest.approx(2e-7)
    assert drop.rate_at(999) == drop.rate_at(199_999) == pytest.approx(2e-4)
    assert drop.rate_at(200_000) == pytest.approx(1e-5)
    cosine = LoopConfig(steps=110, batch_size=1, learning_rate=1.0, warmup_steps=10, decay="cosine")
    assert cosine.rate_at(60) == pytest.approx(0.5)
    # A machine that is too slow for all steps ends at a rate of 0 as well.
    timed = cosine.model_copy(update={"max_minutes": 40.0})
    assert timed.rate_at(60, minutes=10) == pytest.approx(0.5)
    assert timed.rate_at(20, minutes=20) == pytest.approx(0.5)
    assert timed.rate_at(30, minutes=41) == 0
    assert json.loads(cosine.model_dump_json())["decay"] == "cosine"
