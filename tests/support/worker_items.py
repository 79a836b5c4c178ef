"""Functions that tests let workers call, and what they leave behind.

Worker processes import this module, which therefore imports little.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from data.errors import ItemError, Reason


def work(item: str) -> str:
    match item:
        case "hang":
            time.sleep(600)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "bad":
            raise ItemError(Reason.NOT_A_VIDEO, "found text.", "Remove it.")
        case "bug":
            raise KeyError("a bug")
        case _:
            pass
    return item.upper()


def fail(item: int) -> int:
    if item % 3 == 0:
        raise ZeroDivisionError(item)
    return item


def log_and_hang(item: str) -> str:
    """Log start and end of an item; "once" dies the first time, "hang" always hangs."""
    folder = Path(item).parent
    with (folder / "log").open("a") as log:
        log.write(f"{Path(item).name} starts {os.getpid()}\n")
    if Path(item).name == "once" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600 if Path(item).name == "hang" else 0.1)
    with (folder / "log").open("a") as log:
        log.write(f"{Path(item).name} ends {os.getpid()}\n")
    return "done"


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def grow(item: str) -> str:
    if item == "large":
        kept = [bytearray(b"x" * 50_000_000) for _ in range(100)]
        return str(len(kept))
    return "done"


def pid_and_wait(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> bool:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.1)
    return False


def written_pids(files: list[Path]) -> list[int]:
    """Wait until :func:`pid_and_wait` runs for every file."""
    assert wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    return [int(file.read_text()) for file in files]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def once_and_slowly(item: tuple[str, int]) -> int:
    """Note the process and its actor, and take a while."""
    folder, number = item
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{number} {os.getpid()} {os.getppid()}\n")
    time.sleep(0.4)
    return number


def surroundings(secret: str) -> tuple[str | None, str | None, list[str], bool]:
    """Return a variable, the number of threads, the module path, and whether Ray was imported."""
    variables = os.environ
    return variables.get(secret), variables.get("OMP_NUM_THREADS"), sys.path, "ray" in sys.modules


def machine_of(_: int) -> int:
    """Return the raylet that started the actor of this process."""
    time.sleep(0.2)
    return psutil.Process(os.getppid()).ppid()


def pid_or_nothing(path: str) -> None:
    if path:
        pid_and_wait(path)
