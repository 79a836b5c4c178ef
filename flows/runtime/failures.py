"""Error messages of failed runs: what failed first, on which item, and the remedy.

These messages are the last line of a command and the message of a Prefect state. Tracebacks are
written to a log.
"""

import errno
import os
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from annotators.chat.config import SecretInUrlError

FAILED: Final = 1
WRONG_USAGE: Final = 2
"""Exit codes. An interrupted run exits with ``flows.runtime.interruption.INTERRUPTED``."""

_SHOWN_CHARS: Final = 200
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


class StageError(RuntimeError):
    """A stage of a run failed. The message gives the item, the cause and the remedy.

    Attributes:
        at_s: monotonic time of the failure. The earliest of several failures is the cause.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.at_s = time.monotonic()


@contextmanager
def stage(name: str, item: str = "") -> Generator[None]:
    """Convert exceptions to a ``StageError`` that names the stage and the item.

    Args:
        name: name of the stage.
        item: item that the stage works on; empty if the cause names it.

    Raises:
        StageError: for any exception except usage errors (see :func:`is_usage`), which are raised
            unchanged, and a ``StageError``, which already names its stage.
    """
    try:
        yield
    except StageError:
        raise
    except Exception as error:
        if is_usage(error):
            raise
        where = f"{name} of {item}" if item else name
        raise StageError(f"{where} failed: {describe(error)}") from error


def is_usage(error: BaseException) -> bool:
    """Return whether an error means that the configuration or the arguments are invalid.

    Subclasses of ``ValueError`` that libraries raise during work, such as ``ArrowInvalid`` or
    ``UnicodeDecodeError``, are not usage errors.
    """
    ours = type(error).__module__.partition(".")[0] in {"annotators", "data", "flows", "training"}
    return (
        isinstance(error, ValidationError | SecretInUrlError)
        or type(error) is ValueError
        or (ours and isinstance(error, ValueError))
    )


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error: 2 for usage errors, 1 for all others."""
    return WRONG_USAGE if is_usage(error) else FAILED


def describe(error: BaseException) -> str:
    """Describe an error without its traceback, with a remedy if one is known."""
    if isinstance(error, ValidationError):
        return describe_validation(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _describe_os_error(error)
    text = str(error).strip()
    if isinstance(error, RuntimeError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_validation(error: ValidationError, source: str = "configuration") -> str:
    """Describe an invalid configuration: one line per field with the expected and found values.

    Args:
        error: error raised by pydantic.
        source: origin of the values, such as a file name.
    """
    lines = [
        f"{'.'.join(str(part) for part in problem['loc']) or source}: {_expected(problem)}"
        for problem in error.errors(include_url=False)
    ]
    if len(lines) == 1:
        return f"{source}: {lines[0]}"
    return f"{source}: {len(lines)} fields cannot be used:\n  " + "\n  ".join(lines)


def report(error: BaseException, log: Path) -> str:
    """Return the last line of a failed command.

    Args:
        error: the error.
        log: file to which the traceback is appended if the message has no remedy.

    Returns:
        The message, always with a remedy.
    """
    text = describe(error)
    if "Remedy:" in text:
        return text
    trace = "".join(traceback.format_exception(error))
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(f"{now} process {os.getpid()}\n{trace}\n")
    except OSError:
        # Without a log, the traceback is shown rather than lost.
        return f"{trace}\n{text} Remedy: see the traceback above; if it is a defect, report it."
    return f"{text} Remedy: see the traceback in {log}; if it is a defect, report it."


def _describe_os_error(error: OSError) -> str:
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    # Errors of Arrow already contain the path and the reason in their message.
    found = (error.strerror or str(error)) if path else str(error)
    where = f"{path}: " if path else ""
    if error.errno in _FULL:
        expected = "room on the disk"
        remedy = "free space, or raise the limit, and run the same command again; finished work is"
        remedy += " kept"
    elif error.errno in _FORBIDDEN:
        expected = "the right to read or write here"
        remedy = "give this user the right, or choose another path"
    elif error.errno in _NO_FOLDER:
        expected = "a folder"
        remedy = "move away the file that stands in the path, or choose another path"
    else:
        return f"{where}{type(error).__name__}: {found}."
    return f"{where}expected {expected}, found: {found}. Remedy: {remedy}."


def _expected(problem: Any) -> str:
    """Format one problem of a ``ValidationError`` like our own messages."""
    kind, message = problem["type"], str(problem["msg"])
    if kind == "extra_forbidden":
        return "expected no such field. Remedy: correct its name, or remove it."
    if kind == "missing":
        return "expected a value, found none. Remedy: set it."
    if kind == "value_error":
        # Our own validators already use this format.
        return message.removeprefix("Value error, ")
    found = repr(problem["input"])
    found = found if len(found) <= _SHOWN_CHARS else f"{found[:_SHOWN_CHARS]}…"
    wanted = message.removeprefix("Input should be ").removeprefix("Input should have ")
    return f"expected {wanted}, found {found}. Remedy: correct it."
