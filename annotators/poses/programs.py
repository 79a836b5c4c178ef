"""Programs of the user that estimate poses: one process per device, kept running between jobs.

A program reads jobs from its standard input and writes replies to its standard output, one JSON
object per line (``docs/pose_estimators.md``)::

    program  {"ready": true}
    we       {"job": 1, "video": "/videos/a.mp4", "fps": 25.0, "output": "/work/…", "spans": [
                {"id": "5c0f…", "start_s": 0.0, "end_s": 8.0, "start_frame": 0, "end_frame": 200}]}
    program  {"job": 1, "errors": {"5c0f…": "…"}}

For each span it writes ``<output>/<id>.npz`` (:mod:`data.importers.external_poses`). Other lines on
its standard output are ignored, because many libraries print there.
"""

import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Final, cast

from pydantic import BeforeValidator, Field

from data.config import Config, ExpandedPath
from data.plain_text import plain_text

DEVICE: Final = "{device}"
"""Placeholder in a command for the device that its process uses."""
STOP_LIMIT_S: Final = 5.0
"""Time that a program gets to end after its standard input is closed."""
_MAX_LINE_CHARS: Final = 1_000_000
_LOG_TAIL_BYTES: Final = 4_000
_LOG_TAIL_LINES: Final = 6


def _words(command: Any) -> Any:
    return tuple(shlex.split(command)) if isinstance(command, str) else command


class ExternalPoseConfig(Config):
    """A pose estimator outside of this project: a program, or a folder with its results."""

    model: str = Field(
        default="external",
        min_length=1,
        max_length=100,
        description="Name and version of the estimator. It is stored with all poses, and a dataset "
        "has one.",
    )
    command: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        default=(),
        description="Program and arguments, for the estimator `command`. {device} is replaced by "
        "the device of the process.",
    )
    devices: tuple[str, ...] = Field(
        default=("cpu",),
        min_length=1,
        description="One process is started for each device, such as cuda:0 and cuda:1.",
    )
    keep_running: bool = Field(
        default=True,
        description="Keep the processes for further videos. Otherwise a process is started for "
        "each video.",
    )
    results: ExpandedPath | None = Field(
        default=None,
        description="Folder with one .npz per video, named like the video, for the estimator "
        "`results`.",
    )
    start_timeout_s: float = Field(
        default=600.0, gt=0, description="Time to load models before the program is ready."
    )
    min_timeout_s: float = Field(
        default=120.0, gt=0, description="Minimum time limit of the spans of one video."
    )
    timeout_per_video_s: float = Field(
        default=60.0, gt=0, description="Time added to the limit per second of video."
    )


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a video whose poses are estimated.

    Attributes:
        id: id of the clip; the name of the result file without its suffix.
        start_s, end_s: span, in the time of the video.
        start_frame, end_frame: half-open range of frame indices.
    """

    id: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int


class ProgramStartError(RuntimeError):
    """A program does not start, so that no video is to blame."""


class ProgramsClosedError(RuntimeError):
    """The programs were stopped because the run was interrupted, so that no video is to blame."""


class ProgramEndedError(Exception):
    """A program ended or was stopped during a job; the message says how, with its last lines.

    Attributes:
        timed_out: whether it exceeded its time limit.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class PosePrograms:
    """The processes of a pose program, one per device. Use as a context manager.

    Processes start with their first job.

    Attributes:
        config, logs: as given.

    Args:
        config: command, devices and limits.
        logs: folder for the messages (standard error) of the programs.
        environment: environment variables of the programs; None means those of this process.
    """

    def __init__(
        self, config: ExternalPoseConfig, logs: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.config = config
        self.logs = logs
        self._programs = [
            _Program(config, device, logs / f"pose-program-{number}.log", environment)
            for number, device in enumerate(config.devices)
        ]
        self._free: queue.Queue[_Program] = queue.Queue()
        for program in self._programs:
            self._free.put(program)
        self._closed = False

    def __enter__(self) -> "PosePrograms":
        return self

    def __exit__(self, *_: object) -> None:
        # They may have models to unload or results to flush.
        for program in self._programs:
            program.end()
        self.close()

    def close(self) -> None:
        """Stop all processes at once; running jobs end with :class:`ProgramsClosedError`."""
        self._closed = True
        for program in self._programs:
            program.stop()

    def run(self, video: Path, fps: float, spans: Sequence[Span], output: Path) -> dict[str, str]:
        """Estimate the poses of spans of one video; wait for a free device first.

        Args:
            video: the video.
            fps: frames per second of the video.
            spans: parts of the video.
            output: existing folder for the results.

        Returns:
            The errors of spans that the program reports, by the id of the span.

        Raises:
            ProgramStartError: the program does not start.
            ProgramsClosedError: the programs were closed.
            ProgramEndedError: the program ended or exceeded its time limit. The results of some
                spans may be there.
        """
        seconds = sum(span.end_s - span.start_s for span in spans)
        limit_s = self.config.min_timeout_s + self.config.timeout_per_video_s * seconds
        job = {
            "video": str(video),
            "fps": fps,
            "output": str(output),
            "spans": [
                {
                    "id": span.id,
                    "start_s": span.start_s,
                    "end_s": span.end_s,
                    "start_frame": span.start_frame,
                    "end_frame": span.end_frame,
                }
                for span in spans
            ],
        }
        program = self._free.get()
        try:
            self._require_open()
            return program.run(job, limit_s)
        except (ProgramEndedError, ProgramStartError):
            self._require_open()
            raise
        finally:
            if not self.config.keep_running:
                program.end()
            self._free.put(program)

    def _require_open(self) -> None:
        if self._closed:
            raise ProgramsClosedError("the pose programs were stopped")


class _Program:
    """One process; it is started when a job needs it, and again after it ended."""

    def __init__(
        self,
        config: ExternalPoseConfig,
        device: str,
        log: Path,
        environment: Mapping[str, str] | None,
    ) -> None:
        self._config = config
        self._command = [word.replace(DEVICE, device) for word in config.command]
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._log_start = 0
        self._number = 0

    def run(self, job: Mapping[str, Any], limit_s: float) -> dict[str, str]:
        process = self._process or self._start()
        self._number += 1
        line = json.dumps({"job": self._number, **job}, ensure_ascii=False)
        # If it has ended, this is found out when its reply is read.
        with contextlib.suppress(OSError):
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        reply = self._reply("job", self._number, limit_s)
        if isinstance(reply, ProgramEndedError):
            raise reply
        errors = reply.get("errors")
        if not isinstance(errors, Mapping):
            return {}
        listed = cast("Mapping[object, object]", errors)
        return {str(name): str(error) or "no message" for name, error in listed.items()}

    def end(self) -> None:
        """Let the process end by itself, and kill it if it does not."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(STOP_LIMIT_S)
        self.stop()

    def stop(self) -> int | None:
        """Kill the process and its children at once; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        code = process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return code

    def _start(self) -> "subprocess.Popen[str]":
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        guard = [sys.executable, "-P", "-m", "data.workers.guard", str(os.getpid())]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*guard, *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                env=None if self._environment is None else dict(self._environment),
            )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        self._process, self._lines = process, queue.Queue()
        threading.Thread(
            target=_read_lines, args=(process.stdout, self._lines), daemon=True
        ).start()
        reply = self._reply("ready", True, self._config.start_timeout_s)  # noqa: FBT003
        if isinstance(reply, ProgramEndedError):
            remedy = "raise poses.external.start_timeout_s" if reply.timed_out else "run it alone"
            raise ProgramStartError(
                f"pose program {shlex.join(self._command)}: expected a line "
                f'{{"ready": true}} on its standard output, found that {reply} '
                f"Remedy: {remedy}, and correct it; its messages are in {self._log}."
            )
        return process

    def _reply(
        self, key: str, value: object, limit_s: float
    ) -> "Mapping[str, Any] | ProgramEndedError":
        """Wait for the object with a value of a key; without it, kill the process."""
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                self.stop()
                found = f"it was still running after {limit_s:g} s and was stopped."
                return ProgramEndedError(f"{found}{self._last_words()}", timed_out=True)
            if line is None:
                process = self._process
                if process is not None:
                    # The pipe closes slightly before the exit code is available.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(1.0)
                code = self.stop()
                found = "closed its output" if code is None else f"ended with exit code {code}"
                return ProgramEndedError(f"it {found}.{self._last_words()}")
            reply = _parsed(line)
            if reply.get(key) == value:
                return reply

    def _last_words(self) -> str:
        """Return the last lines that the process wrote to its standard error."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - _LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [plain_text(line.strip()) for line in text.splitlines() if line.strip()]
        told = " | ".join(lines[-_LOG_TAIL_LINES:])
        return f" Its last messages: {told}." if told else ""


def _read_lines(output: IO[str], lines: "queue.Queue[str | None]") -> None:
    """Pass lines on until the output ends; longer ones than the limit come in pieces."""
    with output, contextlib.suppress(OSError, ValueError):
        while line := output.readline(_MAX_LINE_CHARS):
            lines.put(line)
    lines.put(None)


def _parsed(line: str) -> Mapping[str, Any]:
    """Return the JSON object of a line; empty for any other line."""
    try:
        value = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
