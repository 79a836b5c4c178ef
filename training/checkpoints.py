"""Reads and writes checkpoints, which are safetensors and JSON files.

A checkpoint is written to a temporary folder and renamed, so that it is complete or absent. Nothing
is unpickled. The layout of a run's checkpoints is::

    RUN/checkpoints/step-00001000/model.safetensors    weights and buffers
                                  trainer.safetensors  optimizer state
                                  stats.safetensors    feature statistics (VQ-VAE only)
                                  checkpoint.json      config, step, data, metrics, code version
        best.json  last.json                           each names one of these folders

The folder of a run may stand for a prefix on S3 (data/remote/links.py): a saved checkpoint is sent.
"""

import errno
import hashlib
import json
import shutil
import sys
from collections.abc import Generator, Mapping, Sequence
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
from data.remote.errors import RemoteError
from data.remote.folders import send
from data.schemas import CODE_VERSION
from data.store.writer import write_json

FORMAT: Final = "avatargpt-checkpoint/1"
WEIGHTS: Final = "model.safetensors"
_INFO: Final = "checkpoint.json"
_SHOWN_CHARS: Final = 300


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or written; the message states the remedy."""


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn every exception inside the ``with`` block into a :class:`CheckpointError`.

    Files that were copied incompletely, edited or written by other software raise as many types of
    exceptions as there are libraries that read them.

    Args:
        path: checkpoint, run or model folder that is read inside the block.

    Raises:
        CheckpointError: anything inside the block failed.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        found = plain_text(told, _SHOWN_CHARS)
        raise CheckpointError(
            f"{path}: expected a complete checkpoint or model, found {found} "
            "Remedy: copy it again, or use another one."
        ) from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Description of a stored checkpoint; its tensors are read on demand.

    Attributes:
        folder: folder of the checkpoint.
        kind: kind of model, for example ``motion_vqvae``.
        step: number of updates before this checkpoint.
        config: resolved configuration of the training.
        data: description of the training data (dataset, ``data_id``, counts).
        state: state of the training loop other than tensors (best metrics, stale validations,
            minutes).
        metrics: metrics of the validation at this step; empty if there was none.
    """

    folder: Path
    kind: str
    step: int
    config: dict[str, Any]
    data: dict[str, Any]
    state: dict[str, Any]
    metrics: dict[str, float]

    def model(self) -> dict[str, Tensor]:
        """Read the weights and buffers of the model."""
        return _load(self.folder / WEIGHTS)

    def trainer(self) -> dict[str, Tensor]:
        """Read the optimizer state, in the form of :func:`optimizer_tensors`."""
        return _load(self.folder / "trainer.safetensors")

    def stats(self) -> FeatureStats:
        """Read the statistics that features are normalized with."""
        return FeatureStats.load(self.folder / "stats.safetensors")


class CheckpointStore:
    """Saves, finds and prunes the checkpoints of one run.

    Args:
        run: folder of the run.
        kind: kind of model. Checkpoints of another kind are refused.
        keep: number of the newest checkpoints to keep. The best checkpoint is always kept.
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

        Args:
            step: number of updates so far.
            model: weights and buffers.
            trainer: optimizer state, in the form of :func:`optimizer_tensors`.
            config: resolved configuration of the training.
            data: description of the training data.
            state: state of the training loop other than tensors.
            metrics: metrics of the validation at this step.
            best: whether the metrics are the best so far.
            stats: statistics that features are normalized with, if any.
            files: content of more text files to store, by name.

        Returns:
            Folder of the checkpoint.

        Raises:
            CheckpointError: the checkpoint cannot be written, for example because the disk is full.
                Earlier checkpoints are unchanged.
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
            remedy = "free disk space" if full else "remove the cause of this error"
            raise CheckpointError(
                f"{target}: expected to write a checkpoint, found: {error}. Remedy: {remedy} and "
                "start the same command again; it resumes from the last checkpoint."
            ) from error
        self._prune()
        try:
            send(self._folder.parent)
        except RemoteError as error:
            # The training goes on; what is missing is sent with the next checkpoint.
            sys.stderr.write(f"warning: the checkpoint is kept on this machine only: {error}\n")
        return target

    def last(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None if there is none."""
        return self._named("last")

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best validation metric, or None if there is none."""
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


def read_checkpoint(path: Path, *kinds: str) -> Checkpoint:
    """Read the description of a checkpoint; its tensors are read on demand.

    Args:
        path: folder of a checkpoint or of a run. Of a run, the best checkpoint is read, or the last
            one if no checkpoint is marked as the best.
        kinds: expected kinds of model, of which it must have one.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of another kind or format.
    """
    path = path.expanduser()
    with reading(path):
        return _read_checkpoint(path, kinds)


def _read_checkpoint(path: Path, kinds: Sequence[str]) -> Checkpoint:
    if not (path / _INFO).exists():
        for pointer in ("best", "last"):
            file = path / "checkpoints" / f"{pointer}.json"
            if file.exists():
                name = json.loads(file.read_text())["checkpoint"]
                return read_checkpoint(path / "checkpoints" / name, *kinds)
        raise CheckpointError(
            f"{path}: expected a checkpoint or the folder of a training run, found neither. "
            f"Remedy: give a folder that contains {_INFO} or checkpoints/."
        )
    info = json.loads((path / _INFO).read_text())
    if info.get("format") != FORMAT or info.get("kind") not in kinds:
        wanted = " or ".join(kinds)
        raise CheckpointError(
            f"{path}: expected {FORMAT} of kind {wanted}, found {info.get('format')} of kind "
            f"{info.get('kind')}. Remedy: give a checkpoint of kind {wanted}."
        )
    return Checkpoint(
        path,
        info["kind"],
        info["step"],
        info["config"],
        info["data"],
        info["state"],
        info["metrics"],
    )


def content_hash(*paths: Path) -> str:
    """Return the id of a model, a hash of the contents of its files, as 16 hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def optimizer_tensors(optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as a flat dictionary of tensors."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimizer(optimizer: optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load a state from :func:`optimizer_tensors`.

    The parameter groups, and with them the learning rate, are not changed.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, tensors_of in state.items():
        for name, value in tensors_of.items():
            if value.shape == weights[index].shape:
                # Fused optimizers assume that a state has the memory layout of its weight.
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
    # safetensors refuses views and tensors that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
