"""Run a training under torchrun and report its metrics to Prefect."""

import functools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from prefect import get_run_logger

from data.store.writer import write_text
from flows.runtime.interruption import stopping
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.reporting import ProgressBar
from flows.settings import off_current_folder
from training.loop import METRICS_FILE

LOG_FILE: Final = "training.log"
REQUEST_FILE: Final = "request.json"
POLL_S: Final = 1.0
GRACE_S: Final = 20.0
JOIN_LIMIT_S: Final = 600
"""How long the machines of a training wait for each other."""
_ERROR: Final = "error: "
_EXCEPTION: Final = re.compile(r"(\[rank\d+\]: )?(?P<error>[A-Za-z_][\w.]*(Error|Exception)\b.*)")
"""Last line of a traceback. The failed process prints its traceback before torchrun does."""
_KILLED: Final = re.compile(r"Signal 9 \(SIGKILL\)")
_NOT_MET: Final = re.compile(r"Rendezvous\w*Error|DistNetworkError|DistStoreError")
_HIDDEN: Final = {"losses", "of", "event", "step"}


def num_processes(device: str, asked: int) -> int:
    """Return the number of training processes: as requested, else one per GPU, else one."""
    if asked:
        return asked
    return max(1, torch.cuda.device_count()) if device in {"auto", "cuda"} else 1


@dataclass(frozen=True, slots=True)
class Machines:
    """Where a training runs.

    Attributes:
        processes: number of processes on each machine.
        nodes: number of machines, each of which starts the training.
        rendezvous: ``HOST:PORT`` where they meet, if there are several.
    """

    processes: int = 1
    nodes: int = 1
    rendezvous: str = ""

    @property
    def log_name(self) -> str:
        """Name of the log of this machine in the run folder, which all machines share."""
        return LOG_FILE if self.nodes == 1 else f"training-{socket.gethostname()}.log"

    def options(self, run: Path) -> list[str]:
        """Return the options of torchrun for a training in a folder."""
        count = ["--nproc-per-node", str(self.processes)]
        if self.nodes == 1:
            return ["--standalone", *count]
        endpoint = ["--rdzv-backend", "c10d", "--rdzv-endpoint", self.rendezvous]
        # Names of machines may not be known to the others, their addresses are.
        own = ["--local-addr", _own_address(self.rendezvous), "--rdzv-id", str(run)]
        timeout = ["--rdzv-conf", f"join_timeout={JOIN_LIMIT_S}"]
        return ["--nnodes", str(self.nodes), *count, *endpoint, *own, *timeout]


def run_training(module: str, config_json: str, run: Path, machines: Machines, key: str) -> None:
    """Run ``torchrun -m module`` and report its metrics as log lines and a progress artifact.

    Args:
        module: module to run; its argument is the path of the configuration.
        config_json: resolved configuration.
        run: run folder, to which the module writes its metrics.
        machines: processes of this machine, and the others that take part.
        key: key of the artifact.

    Raises:
        RuntimeError: the training failed; the message is that of the training.
        ValueError: the host of the rendezvous is unknown.
    """
    logger = get_run_logger()
    run.mkdir(parents=True, exist_ok=True)
    request = run / REQUEST_FILE
    # Replaced at once, since the other machines write the same file.
    write_text(request, config_json)
    command = [
        *(sys.executable, "-m", "training.launch", str(os.getpid())),
        *(*machines.options(run), "-m", module, str(request)),
    ]
    path = run / machines.log_name
    where = f" on each of {machines.nodes} machines" if machines.nodes > 1 else ""
    logger.info("%s: %d processes%s, output in %s", module, machines.processes, where, path)
    # Show the bar from the start; the first step takes a while.
    report_progress(StageProgress(key, 0, None, note="starting"))
    report = _reporter(key)
    with path.open("ab") as log:
        begin = log.tell()
        # Skip the metrics of earlier starts.
        seen = _Tail(run / METRICS_FILE)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=off_current_folder(),
        )
        try:
            with stopping(functools.partial(_stop, process)):
                while process.poll() is None:
                    time.sleep(POLL_S)
                    seen.read(report)
        finally:
            _stop(process)
    seen.read(report)
    if process.returncode:
        raise RuntimeError(describe_end(path, begin, process.returncode, machines))


def _own_address(rendezvous: str) -> str:
    """Return the address of this machine in the network of the rendezvous."""
    host, _, port = rendezvous.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing
            return probe.getsockname()[0]
    except OSError as error:
        raise ValueError(
            f"rendezvous: expected HOST:PORT of a machine that can be reached, found {rendezvous} "
            f"({error.strerror}). Remedy: correct loop.rendezvous."
        ) from error


def describe_metrics(row: dict[str, Any]) -> str:
    """Format a line of metrics, without the per-step losses."""
    numbers = ", ".join(
        f"{name} {value:.4g}"
        for name, value in row.items()
        if isinstance(value, int | float) and name not in _HIDDEN
    )
    return f"step {row['step']} {row['event']}: {numbers}"


class _Tail:
    """Reads complete new lines of a file that grows or is rewritten."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def read(self, report: Callable[[dict[str, Any]], None]) -> None:
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._offset:
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                with suppress(ValueError):
                    report(json.loads(line))


def _reporter(key: str) -> Callable[[dict[str, Any]], None]:
    logger = get_run_logger()
    bar = ProgressBar()
    total = 0

    def report(row: dict[str, Any]) -> None:
        nonlocal total
        text = describe_metrics(row)
        logger.info(text)
        total = row.get("of", total)
        if not total:
            return
        report_progress(
            StageProgress(
                key,
                row["step"],
                total,
                note=f"loss {row['loss']:.4g}" if "loss" in row else row["event"],
            )
        )
        percent = 100.0 * row["step"] / total
        bar.show(percent, key, text)

    return report


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Let a training save a checkpoint and exit; kill all processes that do not exit in time."""
    if process.poll() is not None:
        return
    # torchrun runs each process in its own session and forwards SIGTERM.
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in started:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def describe_end(log: Path, begin: int, code: int, machines: Machines | None = None) -> str:
    """Return the error message of a training from its log."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    for line in lines:
        if line.startswith(_ERROR):
            return line.removeprefix(_ERROR)
    for line in lines:
        if found := _KILLED.search(line):
            return (
                f"a training process was killed ({found[0]}), as systems do that run out of "
                "memory. Remedy: lower loop.batch_size or raise loop.accumulate, and start the "
                f"same command again; its log is {log}."
            )
    if machines is not None and machines.nodes > 1 and any(map(_NOT_MET.search, lines)):
        return (
            f"expected {machines.nodes} machines to meet at {machines.rendezvous} within "
            f"{JOIN_LIMIT_S // 60} minutes and to stay, found fewer. Remedy: start the training "
            "with the same loop.nodes and loop.rendezvous on all of them, see that no firewall is "
            f"between them, and start all of them again; the log is {log}."
        )
    found = next(filter(None, map(_EXCEPTION.match, lines)), None)
    message = found["error"] if found else f"it ended with exit code {code}."
    return f"{message} Remedy: see the log {log}; if it is a defect, report it."
