"""The training loop of both models: start or resume, step, log, validate, save.

The data, dropout and codebook resets of a step are a function of the seed and the step alone, so
that a killed run which is started again repeats exactly the steps after its last checkpoint. A run
has one process, or several under ``torchrun``, each of which computes its share of the same global
batch.

The folder of a run holds::

    config.json      resolved configuration
    metrics.jsonl    one line per log interval and per validation; the Prefect flow reads it
    tensorboard/     the same metrics for TensorBoard
    checkpoints/     see training.checkpoints
"""

import json
import math
import os
import re
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Final, Literal, TypeVar, cast

import torch
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from data.config import Config
from data.motion.normalization import FeatureStats
from data.remote.links import shared_part
from data.store.locks import LockedError, lock_folder
from training.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    load_optimizer,
    optimizer_tensors,
)

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"

_ADDRESS: Final = re.compile(r"[^\s:/@]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")

Trained = TypeVar("Trained", bound=Config)


class TrainingError(RuntimeError):
    """Training cannot continue; the message states the cause and the remedy."""


class LoopConfig(Config):
    """Settings of the training loop that do not depend on the model."""

    steps: int = Field(ge=1, description="Total number of updates.")
    batch_size: int = Field(ge=1, description="Global batch size of an update, over all processes.")
    accumulate: int = Field(
        default=1,
        ge=1,
        description="Gradient accumulation: number of parts that a batch is computed in.",
    )
    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps of linear warm-up of the learning rate from 0."
    )
    decay: Literal["drop", "cosine", "none"] = Field(
        default="drop",
        description="Schedule of the learning rate after the warm-up. The cosine reaches 0 at the "
        "last step, or at max_minutes if these pass sooner.",
    )
    drop_at: tuple[int, ...] = Field(
        default=(), description="Steps at which the drop schedule multiplies the learning rate."
    )
    drop_factor: float = Field(default=0.05, gt=0, lt=1, description="Factor of the drop schedule.")
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="Betas of AdamW.")
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay of AdamW.")
    clip_norm: float | None = Field(
        default=None, gt=0, description="Maximum norm of the gradients; empty: no clipping."
    )
    seed: int = Field(default=0, description="Seed of the initialization, the batches and dropout.")
    log_every: int = Field(default=50, ge=1, description="Steps between log lines.")
    validate_every: int = Field(
        default=1000, ge=1, description="Steps between validations. Each one saves a checkpoint."
    )
    checkpoint_every: int = Field(default=1000, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(
        default=3, ge=1, description="Number of the newest checkpoints to keep, beside the best."
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="Stop after this many validations in a row without improvement; 0: never.",
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="Stop after this training time, summed over all starts of the run.",
    )
    max_loss: float = Field(
        default=1e4, gt=0, description="A greater loss, or NaN, stops the run as diverged."
    )
    device: str = Field(
        default="auto",
        description="Torch device: auto, cpu, cuda, or a specific GPU such as cuda:1.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 autocast on GPUs, float32 on CPUs."
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto", description="Use of torch.compile; auto: on GPUs only."
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads per process; 0: shared among the processes."
    )
    nodes: int = Field(
        default=1,
        ge=1,
        description="Number of machines; the same training is started on each of them.",
    )
    rendezvous: str = Field(
        default="",
        description="HOST:PORT where the machines meet; HOST is one of them, and the port is free.",
    )
    tensorboard: bool = Field(default=True, description="Whether to write TensorBoard logs.")

    @field_validator("drop_at", mode="after")
    @classmethod
    def _sort(cls, drop_at: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(drop_at))

    @model_validator(mode="after")
    def _check_machines(self) -> "LoopConfig":
        if self.nodes > 1 and not _ADDRESS.fullmatch(self.rendezvous):
            raise ValueError(
                f"rendezvous: expected HOST:PORT of one of the {self.nodes} machines, found "
                f"{self.rendezvous!r}. Remedy: give the same free port of one machine on all of "
                "them, such as 10.0.0.1:29400."
            )
        return self

    def rate_at(self, step: int, minutes: float = 0.0) -> float:
        """Return the learning rate of a step.

        Args:
            step: number of the step, counted from 0.
            minutes: training time so far. A slow machine has its time limit before its last step,
                and a run that ends while the rate is high is far from its best weights.
        """
        rate = self.learning_rate
        if step < self.warmup_steps:
            return rate * (step + 1) / self.warmup_steps
        if self.decay == "drop":
            return rate * self.drop_factor ** sum(step >= at for at in self.drop_at)
        if self.decay == "cosine":
            done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
            if self.max_minutes is not None:
                done = min(1.0, max(done, minutes / self.max_minutes))
            return rate * 0.5 * (1 + math.cos(math.pi * done))
        return rate


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the processes of a run.

    Attributes:
        rank: rank of this process.
        world: number of processes.
        device: device that this process computes on.
    """

    rank: int
    world: int
    device: torch.device


class Learner(ABC):
    """Interface between the training loop and a model with its data.

    Attributes:
        kind: kind of model, stored in checkpoints.
        module: the network.
        config_type: type that parses the configuration of a checkpoint.
        config: resolved configuration, as JSON values.
        data: description of the training data, as JSON values.
        stats: statistics that features are normalized with, stored in checkpoints; None if the
            features are not normalized.
        best_metric: name of the validation metric that selects the best checkpoint.
        higher_is_better: whether a higher ``best_metric`` is better.
        files: content of more text files that are stored in checkpoints, by name.
    """

    kind: str
    module: nn.Module
    config_type: type[BaseModel]
    config: dict[str, Any]
    data: dict[str, Any]
    stats: FeatureStats | None
    best_metric: str
    higher_is_better: bool = False
    files: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def losses(
        self, model: nn.Module, step: int, part: int, ranks: Ranks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of this process's share of one part of a batch.

        Args:
            model: the module to call, which is wrapped if there are several processes.
            step: step of the run.
            part: index of the part, below ``accumulate``.
            ranks: this process.

        Returns:
            The mean loss, and named tensors for logging. The tensors are summed over parts, steps
            and processes until they are logged (see :meth:`summarize`).
        """

    @abstractmethod
    def summarize(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the metrics to log, computed from the sums of :meth:`losses`."""

    @abstractmethod
    def validate(self, device: torch.device) -> dict[str, float]:
        """Return the metrics on the validation split."""

    @abstractmethod
    def items_of(self, step: int) -> list[str]:
        """Return the ids of the motions and plans in the batch of a step, for error messages."""

    def compile(self) -> None:  # noqa: B027 - compiling nothing is a valid default
        """Compile the parts of the module that become faster; called before the first step."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Result of a finished run.

    Attributes:
        run: folder of the run.
        step: total number of updates.
        best: metrics of the best validation.
        stopped: reason for the end: ``steps``, ``patience`` or ``max_minutes``.
    """

    run: Path
    step: int
    best: dict[str, float]
    stopped: str


@contextmanager
def start_ranks(config: LoopConfig) -> Generator[Ranks]:
    """Set up this process: its device, its threads, and under ``torchrun`` its process group.

    Raises:
        ValueError: the device is not available, or the batch cannot be divided evenly among the
            processes and parts.
    """
    launched = dist.is_torchelastic_launched()
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device: expected {device}, found no GPU that torch can use. "
            "Remedy: set device to auto or cpu, or install a CUDA build of torch."
        )
    if launched:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        rank, world = (dist.get_rank(), dist.get_world_size()) if launched else (0, 1)
        if launched and device == "cuda":
            local = dist.distributed_c10d.get_node_local_rank()
            device = f"cuda:{local}"
        chosen = torch.device(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        elif config.threads:
            torch.set_num_threads(config.threads)
        elif launched:
            # Processes that share the cores must not each start one thread per core.
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
        if config.batch_size % (world * config.accumulate):
            raise ValueError(
                f"batch_size: expected a multiple of {world} processes x {config.accumulate} parts"
                f", found {config.batch_size}. Remedy: change batch_size or accumulate."
            )
        yield Ranks(rank, world, chosen)
        if launched:
            # No process may leave while another one still receives its last message.
            dist.barrier()
    finally:
        if launched:
            dist.destroy_process_group()


@contextmanager
def one_rank_first(ranks: Ranks) -> Generator[None]:
    """Let rank 0 run a block before the other ranks, which read what it has written."""
    if ranks.rank:
        dist.barrier()
    yield
    if ranks.world > 1 and not ranks.rank:
        dist.barrier()


def train_from_file(
    config_type: type[Trained],
    run: Callable[[Trained], object],
    arguments: Sequence[str],
) -> None:
    """Train from a configuration file; an error that the user can fix is printed as a message.

    Args:
        config_type: class of the configuration.
        run: trains in this process.
        arguments: the command line: the path of the file.
    """
    try:
        (path,) = arguments
        run(config_type.model_validate_json(Path(path).read_text()))
    except (ValueError, OSError, TrainingError, CheckpointError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error


def train(
    learner: Learner, config: LoopConfig, run: Path, ranks: Ranks, *, initial: bool = True
) -> TrainingResult:
    """Train a model, or resume its training.

    Args:
        learner: model and data.
        config: settings of the loop.
        run: folder of the run. If it has checkpoints, training resumes from the last one.
        ranks: this process.
        initial: whether to validate before the first step.

    Raises:
        TrainingError: Ctrl-C or SIGTERM arrived (a checkpoint is saved first), the loss diverged,
            the GPU ran out of memory, or another process is training in this folder.
        ValueError: the folder holds a run with another configuration or other data.
        training.checkpoints.CheckpointError: a checkpoint cannot be written or read.
    """
    with _locked(run) if ranks.rank == 0 else nullcontext(), _signals() as signals:
        # ------------------------------------------------------- model, optimizer, last checkpoint
        module = learner.module.to(ranks.device)
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(
            weights,
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        store = CheckpointStore(run, learner.kind, config.keep_checkpoints)
        found = store.last()
        begin, best, stale, minutes_before = 0, dict[str, float](), 0, 0.0
        if found is not None:
            _check_same(found, learner, run)
            module.load_state_dict(found.model())
            load_optimizer(optimizer, found.trainer())
            begin = found.step
            best, stale = found.state["best"], found.state["stale"]
            minutes_before = found.state["minutes"]
        _check_same_step(run, begin, ranks)
        if found is not None:
            stopped = _stop_reason(config, begin, stale, minutes_before)
            if stopped is not None and found.state.get("judged", True):
                # The run may have been killed between its last checkpoint and its "end" event.
                if ranks.rank == 0 and not has_ended(run):
                    log = _Log(run, learner.config, begin, tensorboard=False)
                    log.write({"step": begin, "event": "end", "stopped": stopped})
                    log.close()
                return TrainingResult(run, begin, best, stopped)
        if _is_enabled(config.compile, ranks.device):
            learner.compile()
        model: nn.Module = module
        if ranks.world > 1:
            # The quantizer itself keeps the buffers (codebooks) of the processes equal.
            ids = [ranks.device.index] if ranks.device.type == "cuda" else None
            model = DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)
        autocast = config.precision == "bfloat16" or (
            config.precision == "auto" and ranks.device.type == "cuda"
        )
        log = _Log(run, learner.config, begin, config.tensorboard) if ranks.rank == 0 else None

        def save(step: int, metrics: Mapping[str, float], *, better: bool, judged: bool) -> None:
            if ranks.rank == 0:
                store.save(
                    step=step,
                    model=module.state_dict(),
                    trainer=optimizer_tensors(optimizer),
                    config=learner.config,
                    data=learner.data,
                    state={"best": best, "stale": stale, "minutes": minutes, "judged": judged},
                    metrics=metrics,
                    best=better,
                    stats=learner.stats,
                    files=learner.files,
                )

        # ---------------------------------------------------- validation before the first new step
        minutes = minutes_before
        if found is None and initial and _validate(learner, 0, best, log, signals, ranks) is None:
            raise TrainingError(
                "training was interrupted before its first step. Remedy: start it again."
            )
        if found is not None and not found.state.get("judged", True):
            verdict = _validate(learner, begin, best, log, signals, ranks)
            if verdict is None:
                raise _interrupted(begin)
            metrics, better = verdict
            best, stale = (metrics, 0) if better else (best, stale + 1)
            save(begin, metrics, better=better, judged=True)
            stopped = _stop_reason(config, begin, stale, minutes)
            if stopped is not None:
                if log is not None:
                    log.write({"step": begin, "event": "end", "stopped": stopped})
                    log.close()
                return TrainingResult(run, begin, best, stopped)

        # ------------------------------------------------------------------------------- the steps
        started = time.monotonic()
        stopped = "steps"
        step = begin
        pending: list[Tensor] = []
        sums: dict[str, Tensor] = {}
        norms: list[Tensor] = []
        logged_at, logged_step = started, begin
        while step < config.steps:
            module.train()
            rate = config.rate_at(step, minutes)
            for group in optimizer.param_groups:
                group["lr"] = rate
            # A resumed run has the same dropout masks as an uninterrupted one.
            torch.manual_seed((config.seed * 1_000_003 + step) * 4_099 + ranks.rank)
            optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), device=ranks.device)
            try:
                for part in range(config.accumulate):
                    with torch.autocast(ranks.device.type, torch.bfloat16, enabled=autocast):
                        loss, parts = learner.losses(model, step, part, ranks)
                    (loss / config.accumulate).backward()
                    total += loss.detach() / config.accumulate
                    for name, value in parts.items():
                        sums[name] = sums[name] + value if name in sums else value
                if config.clip_norm is not None:
                    norms.append(nn.utils.clip_grad_norm_(weights, config.clip_norm))
                optimizer.step()
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"step {step}: {ranks.device} is out of memory with batch_size "
                    f"{config.batch_size} in {config.accumulate} parts on {ranks.world} processes: "
                    f"{str(error).splitlines()[0]} Remedy: raise accumulate (the same batch in "
                    "smaller parts), or lower batch_size."
                ) from error
            pending.append(total)
            step += 1

            # --------------------------------------------------------- log, validate, save, or stop
            minutes = minutes_before + (time.monotonic() - started) / 60
            # The clock of rank 0 counts; a signal may arrive at any rank, as one machine of several
            # is taken away.
            minutes, came = _largest((0.0 if ranks.rank else minutes, signals.came), ranks)
            interrupted = bool(came)
            late = config.max_minutes is not None and minutes >= config.max_minutes
            out_of_time = late and not interrupted
            last = step == config.steps or out_of_time
            judging = step % config.validate_every == 0 or last
            storing = judging or interrupted or step % config.checkpoint_every == 0
            if storing or step % config.log_every == 0:
                losses = _mean_over_ranks(torch.stack(pending), ranks).tolist()
                _check_losses(losses, step - len(losses), config, learner)
                totals = {name: _sum_over_ranks(value, ranks) for name, value in sums.items()}
                if log is not None:
                    now = time.monotonic()
                    speed = (step - logged_step) / max(now - logged_at, 1e-9)
                    logged_at, logged_step = now, step
                    extra = {"gradient_norm": float(torch.stack(norms).mean())} if norms else {}
                    log.write(
                        {
                            "step": step,
                            "event": "train",
                            "of": config.steps,
                            "losses": losses,
                            "loss": sum(losses) / len(losses),
                            "learning_rate": rate,
                            "steps_per_s": speed,
                            "minutes": minutes,
                            **extra,
                            **learner.summarize(totals),
                        }
                    )
                pending, sums, norms = [], {}, []
            metrics, better, judged = dict[str, float](), False, True
            if judging:
                verdict = _validate(learner, step, best, log, signals, ranks)
                if verdict is None:
                    # The checkpoint is saved without a validation; the next start makes up for it.
                    interrupted, judged, last = True, False, False
                else:
                    metrics, better = verdict
                    best, stale = (metrics, 0) if better else (best, stale + 1)
                    if config.patience and stale >= config.patience and not last:
                        stopped, last = "patience", True
            if storing:
                save(step, metrics, better=better, judged=judged)
            if interrupted and not last:
                if log is not None:
                    log.close()
                raise _interrupted(step)
            if last:
                stopped = "max_minutes" if out_of_time and step < config.steps else stopped
                break
        if log is not None:
            log.write({"step": step, "event": "end", "stopped": stopped})
            log.close()
        return TrainingResult(run, step, best, stopped)


# ---------------------------------------------------------------------------------------- details


def _validate(
    learner: Learner,
    step: int,
    best: Mapping[str, float],
    log: "_Log | None",
    signals: "_Signals",
    ranks: Ranks,
) -> tuple[dict[str, float], bool] | None:
    """Validate on rank 0.

    Returns:
        The metrics (empty on other ranks) and whether they are the best so far (on all ranks);
        None if a signal interrupted the validation.
    """
    metrics, better, ended = dict[str, float](), False, False
    if log is not None:
        learner.module.eval()
        try:
            with signals.raised():
                metrics = learner.validate(ranks.device)
        except _StopRequestedError:
            ended = True
        else:
            log.write({"step": step, "event": "validation", **metrics})
            better = _is_better(learner, metrics, best)
    ended, better = map(bool, _broadcast((ended, better), ranks))
    return None if ended else (metrics, better)


def _interrupted(step: int) -> TrainingError:
    return TrainingError(
        f"step {step}: training was interrupted, and a checkpoint was saved. "
        "Remedy: start the same command again to resume."
    )


def _check_losses(
    losses: list[float], first_step: int, config: LoopConfig, learner: Learner
) -> None:
    for offset, loss in enumerate(losses):
        if not loss <= config.max_loss:  # true for NaN as well
            step = first_step + offset
            ids = learner.items_of(step)
            named = ", ".join(ids[:20]) + (", …" if len(ids) > 20 else "")
            raise TrainingError(
                f"step {step}: expected a loss of at most {config.max_loss:g}, found {loss:g}: "
                f"training diverged. The batch contained {named}. Remedy: check this data, lower "
                "learning_rate, or raise warmup_steps. The last checkpoint is from an earlier step."
            )


def _stop_reason(config: LoopConfig, step: int, stale: int, minutes: float) -> str | None:
    """Return the limit that an existing run has already reached, or None."""
    if step >= config.steps:
        return "steps"
    if config.max_minutes is not None and minutes >= config.max_minutes:
        return "max_minutes"
    return "patience" if config.patience and stale >= config.patience else None


def _check_same(found: Checkpoint, learner: Learner, run: Path) -> None:
    # Settings that do not change what is learned may change between starts.
    free = {
        *("steps", "log_every", "validate_every", "checkpoint_every", "keep_checkpoints"),
        *("patience", "max_minutes", "device", "precision", "compile", "threads", "tensorboard"),
        *("accumulate", "gradient_checkpointing", "attention_groups", "run", "nodes", "rendezvous"),
    }
    try:
        # An option that did not exist when the run was started has its default value.
        known = learner.config_type.model_validate(found.config).model_dump(mode="json")
    except ValidationError:
        known = found.config
    before, now = _without(known, free), _without(learner.config, free)
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if changed:
        raise ValueError(
            f"{run}: expected the configuration that this run was started with, found other values "
            f"of {', '.join(changed)}. Remedy: restore them, or choose another run folder."
        )
    if found.data["data_id"] != learner.data["data_id"]:
        raise ValueError(
            f"{run}: expected the data that this run was started with ({found.data['data_id']}), "
            f"found other data ({learner.data['data_id']}): the dataset has changed. "
            "Remedy: choose another run folder."
        )


def _check_same_step(run: Path, begin: int, ranks: Ranks) -> None:
    newest, negative = _largest((begin, -begin), ranks)
    if newest != -negative:
        raise TrainingError(
            f"{run}: expected the same checkpoint on all machines, found those of steps "
            f"{-negative:.0f} and {newest:.0f}. Remedy: put the run folder on storage that all "
            "machines share, and start all of them again."
        )


def _without(config: Mapping[str, Any], free: set[str]) -> dict[str, Any]:
    inner = {
        f"{part}.{name}": value
        for part in ("loop", "model")
        for name, value in config[part].items()
        if name not in free
    }
    return inner | {
        name: _shared(value)
        for name, value in config.items()
        if name not in {"loop", "model"} and name not in free
    }


def _shared(value: Any) -> Any:
    """Replace paths to what is on S3 by what they are on all machines."""
    if isinstance(value, Mapping):
        return {name: _shared(one) for name, one in cast(Mapping[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_shared(one) for one in cast(list[Any], value)]
    return shared_part(value) if isinstance(value, str) else value


def _is_better(learner: Learner, metrics: Mapping[str, float], best: Mapping[str, float]) -> bool:
    name = learner.best_metric
    if math.isnan(metrics[name]):
        return False
    if name not in best:
        return True
    new, old = metrics[name], best[name]
    return new > old if learner.higher_is_better else new < old


def _is_enabled(choice: str, device: torch.device) -> bool:
    return choice == "on" or (choice == "auto" and device.type == "cuda")


def _broadcast(numbers: Sequence[float], ranks: Ranks) -> list[float]:
    """Return the numbers of rank 0 on all ranks."""
    if ranks.world == 1:
        return list(numbers)
    sent = torch.tensor(numbers, dtype=torch.float64, device=ranks.device)
    dist.broadcast(sent, src=0)
    return sent.tolist()


def _largest(numbers: Sequence[float], ranks: Ranks) -> list[float]:
    """Return the largest of each number over all ranks, on all ranks."""
    if ranks.world == 1:
        return list(numbers)
    sent = torch.tensor(numbers, dtype=torch.float64, device=ranks.device)
    dist.all_reduce(sent, dist.ReduceOp.MAX)
    return sent.tolist()


class _StopRequestedError(Exception):
    """A signal arrived during work that may be abandoned at any point."""


class _Signals:
    """Signal handler that records signals, and raises an exception only inside :meth:`raised`.

    Attributes:
        came: whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.came = False
        self._raises = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        if self._raises:
            raise _StopRequestedError

    @contextmanager
    def raised(self) -> Generator[None]:
        """Raise :class:`_StopRequestedError` in the block when a signal arrives or has arrived."""
        self._raises = True
        try:
            if self.came:
                raise _StopRequestedError
            yield
        finally:
            self._raises = False


@contextmanager
def _signals() -> Generator[_Signals]:
    """Record Ctrl-C and SIGTERM instead of ending the process in the middle of a step.

    Outside the main thread nothing is installed, because only the main thread receives signals.
    """
    signals = _Signals()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, signals)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _mean_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    return _sum_over_ranks(values, ranks) / ranks.world


def _sum_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    if ranks.world > 1:
        dist.all_reduce(values)
    return values


@contextmanager
def _locked(run: Path) -> Generator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(run))
        except LockedError as error:
            raise TrainingError(
                f"{run}: another process is training in this folder ({error}). "
                "Remedy: wait until it ends, stop it, or choose another run folder."
            ) from error
        yield


class _Log:
    """Writes metrics to ``metrics.jsonl``, to TensorBoard and to standard output."""

    def __init__(self, run: Path, config: dict[str, Any], begin: int, tensorboard: bool) -> None:
        (run / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")
        path = run / METRICS_FILE
        # Steps after the last checkpoint are computed and logged again.
        kept = [row for row in read_metrics(run) if row["step"] <= begin] if begin else []
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")
        self._board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow to import

            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=begin)

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        numbers = {
            name: value
            for name, value in row.items()
            if isinstance(value, float) and name not in {"step", "of"}
        }
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(f"{row['event']}/{name}", value, row["step"])
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        sys.stdout.write(f"step {row['step']} {row['event']}  {shown}\n")
        sys.stdout.flush()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def has_ended(run: Path) -> bool:
    """Return whether the metrics of a run have an ``end`` event."""
    return any(row["event"] == "end" for row in read_metrics(run))


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl`` of a run; an incomplete last line is ignored."""
    path = run / METRICS_FILE
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
