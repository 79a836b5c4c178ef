"""Checkpoints: safetensors and JSON, whole or not at all; nothing unpickles.

::

    RUN/checkpoints/step-00001000/model.safetensors    weights and buffers
                                  trainer.safetensors  optimiser state
                                  stats.safetensors    what features are normalised with (VQ-VAE)
                                  checkpoint.json      config, step, data, metrics, code version
        best.json  last.json                           name one of the folders
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, optim

from data.motion.normalization import FeatureStats
from data.plain_text import plain_text
from data.schemas import CODE_VERSION
from data.store.writer import write_json

FORMAT: Final = "avatargpt-checkpoint/1"
WEIGHTS: Final = "model.safetensors"
_INFO: Final = "checkpoint.json"
_SHOWN_CHARS: Final = 300


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or written; the message has the remedy."""


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Say of a folder that cannot be used what is wrong with it, whatever that is.

    Args:
        path: what is read inside: a checkpoint, a run or a model folder.

    Raises:
        CheckpointError: instead of every other exception; files that were copied by halves,
            edited or made by others fail in as many ways as the libraries that read them have.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        found = plain_text(told, _SHOWN_CHARS)
        raise CheckpointError(
            f"{path}: expected a whole checkpoint or model, found {found} "
            "Remedy: copy it again, or use another one."
        ) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stored state.

    Attributes:
        folder: where it lies.
        kind: of model, e.g. ``motion_vqvae``.
        step: updates it has seen.
        config: resolved configuration of the training.
        data: what it was trained on (dataset, ``data_id``, counts).
        state: of the trainer beside tensors (best value, patience).
        metrics: of the last validation.
    """

    folder: Path
    kind: str
    step: int
    config: dict[str, Any]
    data: dict[str, Any]
    state: dict[str, Any]
    metrics: dict[str, float]

    def model(self) -> dict[str, Tensor]:
        """Weights and buffers."""
        return _load(self.folder / WEIGHTS)

    def trainer(self) -> dict[str, Tensor]:
        """Optimiser state, flat."""
        return _load(self.folder / "trainer.safetensors")

    def stats(self) -> FeatureStats:
        """What the features are normalised with."""
        return FeatureStats.load(self.folder / "stats.safetensors")


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        run: the run's folder.
        kind: of model; a folder of another kind is refused.
        keep: how many of the newest stay; the best stays always.
    """

    def __init__(self, run: Path, kind: str, keep: int = 3) -> None:
        self._folder = run / "checkpoints"
        self._kind = kind
        self._keep = keep

    def save(
        self,
        *,
        step: int,
        model: Mapping[str, Tensor],
        trainer: Mapping[str, Tensor],
        config: dict[str, Any],
        data: dict[str, Any],
        state: dict[str, Any],
        metrics: Mapping[str, float],
        best: bool,
        stats: FeatureStats | None = None,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> Path:
        """Write a checkpoint and remove old ones.

        Raises:
            CheckpointError: the disk is full; what was there before still is.
        """
        name = f"step-{step:08d}"
        target = self._folder / name
        aside = self._folder / f"{name}.tmp"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            save_file(_plain(model), aside / WEIGHTS)
            save_file(_plain(trainer), aside / "trainer.safetensors")
            if stats is not None:
                stats.save(aside / "stats.safetensors")
            for file, content in files.items():
                (aside / file).write_text(content)
            info = {
                "format": FORMAT,
                "kind": self._kind,
                "step": step,
                "code_version": CODE_VERSION,
                "config": config,
                "data": data,
                "state": state,
                "metrics": dict(metrics),
            }
            write_json(aside / _INFO, info)
            shutil.rmtree(target, ignore_errors=True)
            aside.rename(target)
            for pointer in ("last", *(["best"] if best else [])):
                write_json(self._folder / f"{pointer}.json", {"checkpoint": name})
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            full = isinstance(error, SafetensorError) or error.errno in {errno.ENOSPC, errno.EDQUOT}
            remedy = "free space on the disk" if full else "see the cause"
            raise CheckpointError(
                f"{target}: expected to write a checkpoint, found: {error}. Remedy: {remedy} and "
                "start the same command again; it goes on from the last checkpoint."
            ) from error
        self._prune()
        return target

    def last(self) -> Checkpoint | None:
        """The newest checkpoint, or None."""
        return self._named("last")

    def best(self) -> Checkpoint | None:
        """The checkpoint of the best validation, or None."""
        return self._named("best")

    def _named(self, pointer: str) -> Checkpoint | None:
        file = self._folder / f"{pointer}.json"
        if not file.exists():
            return None
        with reading(file):
            name = json.loads(file.read_text())["checkpoint"]
            return read_checkpoint(self._folder / name, self._kind)

    def _prune(self) -> None:
        kept = {json.loads(file.read_text())["checkpoint"] for file in self._folder.glob("*.json")}
        steps = sorted(path for path in self._folder.glob("step-*") if path.is_dir())
        finished = [path for path in steps if path.suffix != ".tmp"]
        kept |= {path.name for path in finished[-self._keep :]}
        for path in steps:
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def read_checkpoint(path: Path, kind: str) -> Checkpoint:
    """Read a checkpoint's description; its tensors are read when asked for.

    Args:
        path: folder of a checkpoint, or of a run (then its best, else its last).
        kind: expected.

    Raises:
        CheckpointError: there is none, it is damaged, or of another kind or format.
    """
    path = path.expanduser()
    with reading(path):
        return _read_checkpoint(path, kind)


def _read_checkpoint(path: Path, kind: str) -> Checkpoint:
    if not (path / _INFO).exists():
        for pointer in ("best", "last"):
            file = path / "checkpoints" / f"{pointer}.json"
            if file.exists():
                name = json.loads(file.read_text())["checkpoint"]
                return read_checkpoint(path / "checkpoints" / name, kind)
        raise CheckpointError(
            f"{path}: expected a checkpoint or the folder of a training run, found neither. "
            f"Remedy: name a folder with {_INFO}, or with checkpoints/."
        )
    info = json.loads((path / _INFO).read_text())
    if info.get("format") != FORMAT or info.get("kind") != kind:
        raise CheckpointError(
            f"{path}: expected {FORMAT} of kind {kind}, found {info.get('format')} of kind "
            f"{info.get('kind')}. Remedy: name a checkpoint of a {kind}."
        )
    return Checkpoint(
        path,
        kind,
        info["step"],
        info["config"],
        info["data"],
        info["state"],
        info["metrics"],
    )


def content_hash(*paths: Path) -> str:
    """Id of a model by the bytes of its files, 16 hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def optimizer_tensors(optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as flat, named tensors."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimizer(optimizer: optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo :func:`optimizer_tensors`; the groups (learning rate) stay the optimiser's own."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, tensors_of in state.items():
        for name, value in tensors_of.items():
            if value.shape == weights[index].shape:
                # Fused optimisers take for granted that states lie in memory as weights do.
                tensors_of[name] = torch.empty_like(weights[index]).copy_(value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected a safetensors file, found: {error}. Remedy: use another checkpoint."
        ) from error


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses views and shared memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
