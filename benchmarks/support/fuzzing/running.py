"""Run one batch of inputs in a process with limits, and judge what came of it.

A batch runs in a fork of a process that has imported everything, so that 500 inputs take minutes.
That process must have no threads, which a fork does not have: everything that starts some, such as
reading Parquet, is done in forks (:func:`in_fork`).

What ends well is a success, one error message with its remedy (exit code 1 or 2), or a row in
``rejections``. Everything else is a problem.
"""

import hashlib
import os
import pickle
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import psutil

T = TypeVar("T")

LIMIT_S: Final = 240.0
"""Wall-clock limit of a batch; a worker's own limits are shorter."""
MEMORY_BYTES: Final = 4_000_000_000
"""Resident memory of a batch and of its workers together."""
KNOWN: Final = "already known: "
"""Before the number of items that a call found a second time, on its standard output."""
_POLL_S: Final = 0.02
_MEMORY_EVERY_S: Final = 0.5
_UNKNOWN: Final = "see the traceback"
"""Part of the remedy of errors that the program does not know."""
_ESCAPE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs that one call takes.

    Attributes:
        kind: kind of the inputs.
        inputs: name of each input with its mutation.
        act: the call; runs in the forked process.
        dataset: dataset that the call may write.
        sources: files of which each must end in a row or a rejection if the call succeeds.
        given: folder that the call must not change unless it succeeds.
        control: whether ``dataset`` must have rows: a good input was among the others.
    """

    kind: str
    inputs: tuple[str, ...]
    act: Callable[[], object]
    dataset: Path | None = None
    sources: tuple[Path, ...] = ()
    given: Path | None = None
    control: bool = False


@dataclass
class Verdict:
    """What came of a batch.

    Attributes:
        outcomes: number of inputs by outcome.
        problems: kind of problem (crash, hang, traceback, partial, lost) and what was seen.
        contained: crashes, timeouts and exhausted memory of workers, which were rejected.
    """

    outcomes: Counter[str] = field(default_factory=Counter[str])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    contained: Counter[str] = field(default_factory=Counter[str])


def in_fork(function: Callable[[], T]) -> T:
    """Call a function in a fork of this process, and return its result.

    Raises:
        RuntimeError: the process died.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            # Workers are spawned, and would import this script again.
            sys.modules["__main__"] = type(sys)("__main__")
            with os.fdopen(writer, "wb") as sent:
                pickle.dump(function(), sent)
            code = 0
        except BaseException:  # noqa: BLE001 - the process ends here
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as received:
        data = received.read()
    os.waitpid(pid, 0)
    if not data:
        raise RuntimeError("a process of the benchmark died; see its traceback above")
    return pickle.loads(data)  # noqa: S301 - of our own process


def run_batch(batch: Batch, folder: Path) -> Verdict:
    """Run a batch and judge it.

    Args:
        batch: the inputs and the call.
        folder: gets the output of the call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = None if batch.given is None else tree_hash(batch.given)
    code, ended = _forked(batch.act, folder)
    told = (folder / "stderr").read_text(errors="replace")
    verdict = Verdict()
    if ended:
        verdict.problems.append((ended, told[-600:]))
    elif code < 0:
        verdict.problems.append(("crash", f"signal {-code}: {told[-600:]}"))
    elif code not in {0, 1, 2}:
        verdict.problems.append(("crash", f"exit code {code}: {told[-600:]}"))
    if "Traceback (most recent call last)" in told or _UNKNOWN in told:
        verdict.problems.append(("traceback", _cause(told, folder)))
    elif code in {1, 2} and not ended and not _is_clear(told, folder):
        verdict.problems.append(("traceback", f"no remedy: {told[-600:]}"))
    if _ESCAPE.search(told):
        verdict.problems.append(("traceback", f"control characters in {told[-300:]!r}"))
    if batch.given is not None and code and tree_hash(batch.given) != before:
        verdict.problems.append(("partial", f"{batch.given} was changed by a call that failed"))
    _judge_dataset(batch, code, _known(folder), verdict)
    if not verdict.outcomes:
        outcome = "refused with a message" if code else "taken"
        verdict.outcomes[outcome] = len(batch.inputs)
    return verdict


def _is_clear(told: str, folder: Path) -> bool:
    # `check` and `diff` exit with 1 when they found something, and say so on standard output.
    return "Remedy:" in told or bool((folder / "stdout").read_text(errors="replace").strip())


def _cause(told: str, folder: Path) -> str:
    log = folder / "home" / "run" / "errors.log"
    trace = log.read_text(errors="replace")[-3000:] if log.exists() else ""
    return f"{told[-1500:]}\n{trace}"


def _known(folder: Path) -> int:
    told = (folder / "stdout").read_text(errors="replace")
    return sum(map(int, re.findall(f"{KNOWN}([0-9]+)", told)))


def _judge_dataset(batch: Batch, code: int, known: int, verdict: Verdict) -> None:
    from data.errors import Reason  # noqa: PLC0415 - imported late: processes of workers read this
    from data.store.check import Severity, check_dataset  # noqa: PLC0415
    from data.store.dataset import Dataset  # noqa: PLC0415

    root = batch.dataset
    if root is None:
        return
    if not (root / "dataset.json").exists():
        parts = [str(path) for path in root.rglob("*.parquet") if ".staging" not in path.parts]
        if parts:
            verdict.problems.append(("partial", f"parts without a manifest: {parts[:3]}"))
        if batch.control:
            verdict.problems.append(("lost", "the good input was not published"))
        return
    errors = [one for one in check_dataset(root) if one.severity is Severity.ERROR]
    if errors:
        verdict.problems.append(("partial", f"check: {errors[0].file}: {errors[0].found}"))
        return
    dataset = Dataset(root)
    rejections = dataset.read("rejections").to_pylist()
    bad = {Reason.WORKER_CRASHED, Reason.DECODE_TIMEOUT, Reason.OUT_OF_MEMORY}
    verdict.contained.update(row["reason"] for row in rejections if row["reason"] in bad)
    verdict.problems += [
        ("traceback", f"{row['item']}: {row['detail']}")
        for row in rejections
        if row["reason"] == Reason.UNEXPECTED
    ]
    if batch.control and not (dataset.num_rows("annotations") or dataset.num_rows("motions")):
        verdict.problems.append(("lost", "the good input has no row"))
    if code == 0 and batch.sources:
        rejected = [str(row["item"]) for row in rejections]
        taken = [
            str(row[name])
            for table, name in (("videos", "path"), ("motions", "source_path"))
            for row in dataset.rows(table, [name])
        ]
        _account(batch.sources, taken, rejected, known, verdict)


def _account(
    sources: Sequence[Path],
    taken: Sequence[str],
    rejected: Sequence[str],
    known: int,
    verdict: Verdict,
) -> None:
    """Find every source among the rows or the rejections."""
    lost: list[str] = []
    for source in sources:
        if any(source.name in item for item in taken):
            verdict.outcomes["taken"] += 1
        elif any(source.name in item for item in rejected):
            verdict.outcomes["rejected with a reason"] += 1
        else:
            lost.append(source.name)
    if len(lost) <= known:
        verdict.outcomes["equal to another"] += len(lost)
    else:
        verdict.problems.append(("lost", f"in neither a row nor a rejection: {lost}"))


def tree_hash(folder: Path) -> str:
    """Hash the names and the bytes of all files of a folder but locks and staged work."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if ".staging" in name.parts or name.name == ".lock" or not path.is_file():
            continue
        data = path.read_bytes()
        found.update(os.fsencode(name) + len(data).to_bytes(8) + data)
    return found.hexdigest()


def _forked(act: Callable[[], object], folder: Path) -> tuple[int, str]:
    """Run a call in a fork; return its exit code, and ``hang`` or ``crash`` if it was ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(act, folder)
    deadline_s, next_s, ended = time.monotonic() + LIMIT_S, 0.0, ""
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            break
        now_s = time.monotonic()
        if now_s > deadline_s:
            ended = "hang"
        elif now_s > next_s:
            next_s = now_s + _MEMORY_EVERY_S
            if _memory(pid) > MEMORY_BYTES:
                ended = "crash"
        if ended:
            os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(_POLL_S)
    with suppress(ProcessLookupError):  # workers that were left behind
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status), ended


def _memory(pid: int) -> int:
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    return total


def _child(act: Callable[[], object], folder: Path) -> NoReturn:
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, number)
        os.environ["AVATARGPT_HOME"] = str(folder / "home")
        # Workers are spawned, and would import this script again.
        sys.modules["__main__"] = type(sys)("__main__")
        code = as_command(act)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def as_command(act: Callable[[], object]) -> int:
    """Make a call as the command line does: return its exit code, after one message on an error."""
    from flows.commands.options import printable  # noqa: PLC0415 - imported late, see above
    from flows.runtime.failures import exit_code, report  # noqa: PLC0415
    from flows.settings import Settings  # noqa: PLC0415

    try:
        act()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # noqa: BLE001 - as the command does
        for line in f"error: {report(error, Settings().run_dir / 'errors.log')}".splitlines():
            sys.stderr.write(f"{printable(line)}\n")
        return exit_code(error)
    return 0


def command(*arguments: Any) -> Callable[[], object]:
    """Return a call of ``avatargpt ARGUMENTS`` in this process."""

    def act() -> None:
        from flows.commands.main import main  # noqa: PLC0415 - imported late, see above

        sys.argv = ["avatargpt", *map(str, arguments)]
        main()

    return act


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Divide a sequence into pieces of at most ``size``."""
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
