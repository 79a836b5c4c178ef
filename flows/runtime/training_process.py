"""Run a training under torchrun and report its metrics to Prefect."""

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from prefect import get_run_logger

from flows.runtime.interruption import stopping
from flows.runtime.progress import StageProgress, report_progress
from flows.runtime.reporting import ProgressBar
from flows.settings import off_current_folder
from training.loop import METRICS_FILE

LOG_FILE: Final = "training.log"
REQUEST_FILE: Final = "request.json"
POLL_S: Final = 1.0
GRACE_S: Final = 20.0
_ERROR: Final = "error: "
_EXCEPTION: Final = re.compile(r"(\[rank\d+\]: )?(?P<error>[A-Za-z_][\w.]*(Error|Exception)\b.*)")
"""Last line of a traceback. The failed process prints its traceback before torchrun does."""
_KILLED: Final = re.compile(r"Signal 9 \(SIGKILL\)")
_HIDDEN: Final = {"losses", "of", "event", "step"}


def num_processes(device: str, asked: int) -> int:
    """Return the number of training processes: as requested, else one per GPU, else one."""
    if asked:
        return asked
    return max(1, torch.cuda.device_count()) if device in {"auto", "cuda"} else 1


def run_training(module: str, config_json: str, run: Path, processes: int, key: str) -> None:
    """Run ``torchrun -m module`` and report its metrics as log lines and a progress artifact.

    Args:
        module: module to run; its argument is the path of the configuration.
        config_json: resolved configuration.
        run: run folder, to which the module writes its metrics.
        processes: number of processes on this machine.
        key: key of the artifact.

    Raises:
        RuntimeError: the training failed; the message is that of the training.
    """
    logger = get_run_logger()
    run.mkdir(parents=True, exist_ok=True)
    request = run / REQUEST_FILE
    request.write_text(config_json)
    command = [
        *(sys.executable, "-m", "training.launch", str(os.getpid()), "--standalone"),
        *("--nproc-per-node", str(processes), "-m", module, str(request)),
    ]
    logger.info("%s: %d processes, output in %s", module, processes, run / LOG_FILE)
    # Show the bar from the start; the first step takes a while.
    report_progress(StageProgress(key, 0, None, note="starting"))
    report = _reporter(key)
    with (run / LOG_FILE).open("ab") as log:
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
        raise RuntimeError(describe_end(run / LOG_FILE, begin, process.returncode))


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


def describe_end(log: Path, begin: int, code: int) -> str:
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
    found = next(filter(None, map(_EXCEPTION.match, lines)), None)
    message = found["error"] if found else f"it ended with exit code {code}."
    return f"{message} Remedy: see the log {log}; if it is a defect, report it."
