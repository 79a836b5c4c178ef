"""Model folders that are damaged: a message with a remedy, whatever the damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evaluation.model_report.evaluate import require_datasets
from evaluation.promotion import PromotionConfig, promote
from evaluation.versions import write_model
from tests.support.evaluations import evaluated_with
from tests.support.runs import lm_config
from training.checkpoints import CheckpointError, read_checkpoint
from training.inference.motion_model import load_motion_model, version_of
from training.language_model.config import KIND as LM_KIND
from training.loop import TrainingResult
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND


@pytest.fixture(scope="module")
def folder(
    vqvae_run: TrainingResult, lm_run: TrainingResult, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    parts = read_checkpoint(vqvae_run.run, VQVAE_KIND), read_checkpoint(lm_run.run, LM_KIND)
    evaluated = evaluated_with({"reconstruction_mpjpe_mm": 1.0})
    return write_model(tmp_path_factory.mktemp("models"), *parts, evaluated)


def _cut(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _flip_header(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[3] ^= 0xFF
    file.write_bytes(data)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _list(file: Path) -> None:
    file.write_text("[]")


def _no_fields(file: Path) -> None:
    kept = {name: json.loads(file.read_text()).get(name) for name in ("format", "kind")}
    file.write_text(json.dumps(kept))


def _nested(file: Path) -> None:
    file.write_text("[" * 100_000)


def _other_shapes(file: Path) -> None:
    tensors = load_file(file)
    save_file({name: torch.zeros(3) for name in tensors}, file)
    # A folder of others may well be right about its own hash.
    model = file.parent.parent
    info = json.loads((model / "model.json").read_text())
    info["version"] = version_of(model / "vqvae", model / "lm")
    (model / "model.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.json", Path.unlink),
        ("model.json", _cut),
        ("model.json", _list),
        ("model.json", _nested),
        ("model.json", _no_fields),
        ("lm/checkpoint.json", Path.unlink),
        ("lm/checkpoint.json", _cut),
        ("lm/checkpoint.json", _list),
        ("lm/checkpoint.json", _no_fields),
        ("lm/model.safetensors", Path.unlink),
        ("lm/model.safetensors", _cut),
        ("lm/model.safetensors", _empty),
        ("lm/model.safetensors", _flip),
        ("lm/model.safetensors", _flip_header),
        ("lm/model.safetensors", _other_shapes),
        ("lm/t5.json", Path.unlink),
        ("lm/t5.json", _cut),
        ("lm/t5.json", _list),
        ("lm/tokenizer.json", Path.unlink),
        ("lm/tokenizer.json", _cut),
        ("lm/tokenizer.json", _list),
        ("vqvae/model.safetensors", _flip),
        ("vqvae/model.safetensors", _other_shapes),
        ("vqvae/stats.safetensors", Path.unlink),
        ("vqvae/stats.safetensors", _cut),
        ("vqvae/stats.safetensors", _empty),
        ("vqvae/checkpoint.json", _no_fields),
    ],
)
def test_a_damaged_model_is_a_message(
    folder: Path, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    assert (model / file).is_file()
    damage(model / file)
    with pytest.raises(CheckpointError, match=r"expected .*found .*Remedy: ") as caught:
        load_motion_model(model)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize("damage", [_cut, _list, _no_fields, _nested])
def test_a_damaged_latest_model_is_a_message(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(folder, tmp_path / folder.name)
    (tmp_path / "latest").symlink_to(folder.name)
    shutil.copytree(folder, tmp_path / "v-other")
    damage(tmp_path / folder.name / "evaluation.json")
    with pytest.raises(CheckpointError, match="Remedy: "):
        promote(tmp_path, tmp_path / "v-other", PromotionConfig())


@pytest.mark.parametrize("content", ["", "[]", '{"checkpoint": 3}', '{"checkpoint": "step-9"}'])
def test_a_damaged_pointer_is_a_message(tmp_path: Path, content: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.json").write_text(content)
    with pytest.raises(CheckpointError, match="Remedy: "):
        read_checkpoint(tmp_path, LM_KIND)


def test_a_missing_dataset_has_the_remedy_that_helps(lm_root: Path, tmp_path: Path) -> None:
    there = lm_config(lm_root, tmp_path, tmp_path)
    require_datasets(tmp_path, there)
    gone = tmp_path / "gone"
    moved = there.model_copy(update={"dataset": gone})
    with pytest.raises(ValueError, match=rf"at {gone}, found none\..* with --dataset\.$"):
        require_datasets(tmp_path, moved)
    # --dataset replaces the motions only: it is no remedy for plans.
    planned = there.model_copy(update={"plans": (gone,)})
    with pytest.raises(ValueError, match=rf"at {gone}, found none\. Remedy: put it back\.$"):
        require_datasets(tmp_path, planned)
