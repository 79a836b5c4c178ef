"""What a run that failed tells its user: what failed first, on what, and what to do about it.

The last line of a command and the message of a Prefect state are made here. Tracebacks go to a
log: what a user can cause ends in a message.
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
"""Exit codes; a run that was interrupted ends with ``flows.runtime.interruption.INTERRUPTED``."""

_SHOWN_CHARS: Final = 200
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


class StageError(RuntimeError):
    """A stage of a run failed; the message says on what, why, and what to do.

    Attributes:
        at_s: when, on the monotonic clock: of several, the first is the cause.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.at_s = time.monotonic()


@contextmanager
def stage(name: str, item: str = "") -> Generator[None]:
    """Name the stage and the item of whatever goes wrong inside.

    Args:
        name: of the stage.
        item: that it works on; empty where the cause names it.

    Raises:
        StageError: instead of any exception but a ``ValueError``, which is the user's to mend and
            names what it is about, and a ``StageError``, which has its stage.
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
    """Whether an error says that the configuration or the arguments cannot be used.

    Subclasses of ``ValueError`` that libraries raise in the middle of work, such as those of Arrow
    or of a text's encoding, do not.
    """
    ours = type(error).__module__.partition(".")[0] in {"annotators", "data", "flows", "training"}
    return (
        isinstance(error, ValidationError | SecretInUrlError)
        or type(error) is ValueError
        or (ours and isinstance(error, ValueError))
    )


def exit_code(error: BaseException) -> int:
    """What a command ends with: 2 for wrong usage, 1 for everything else that fails."""
    return WRONG_USAGE if is_usage(error) else FAILED


def describe(error: BaseException) -> str:
    """An error in words, without its traceback and with a remedy where one is known."""
    if isinstance(error, ValidationError):
        return describe_validation(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _describe_os_error(error)
    text = str(error).strip()
    if isinstance(error, RuntimeError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_validation(error: ValidationError, source: str = "configuration") -> str:
    """What is wrong with a configuration: a line per field, with what was expected and found.

    Args:
        error: of pydantic.
        source: where the values come from, such as a file's name.
    """
    lines = [
        f"{'.'.join(str(part) for part in problem['loc']) or source}: {_expected(problem)}"
        for problem in error.errors(include_url=False)
    ]
    if len(lines) == 1:
        return f"{source}: {lines[0]}"
    return f"{source}: {len(lines)} fields cannot be used:\n  " + "\n  ".join(lines)


def report(error: BaseException, log: Path) -> str:
    """The last line of a command that failed.

    Args:
        error: what it failed on.
        log: file that the traceback is appended to where the message has no remedy.

    Returns:
        The message; it always says what to do.
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
        # Nowhere to put it: better seen than lost.
        return f"{trace}\n{text} Remedy: see the traceback above; if it is a defect, report it."
    return f"{text} Remedy: see the traceback in {log}; if it is a defect, report it."


def _describe_os_error(error: OSError) -> str:
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    # Arrow puts the path into its message, and the reason as well.
    found = (error.strerror or str(error)) if path else str(error)
    where = f"{path}: " if path else ""
    if error.errno in _FULL:
        expected = "room on the disk"
        remedy = "free space, or raise the limit, and run the same command again; what is done is"
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
    """One problem of a ``ValidationError`` in the words of our own messages."""
    kind, message = problem["type"], str(problem["msg"])
    if kind == "extra_forbidden":
        return "expected no such field. Remedy: correct its name, or remove it."
    if kind == "missing":
        return "expected a value, found none. Remedy: set it."
    if kind == "value_error":
        # A check of ours: it has its own words.
        return message.removeprefix("Value error, ")
    found = repr(problem["input"])
    found = found if len(found) <= _SHOWN_CHARS else f"{found[:_SHOWN_CHARS]}…"
    wanted = message.removeprefix("Input should be ").removeprefix("Input should have ")
    return f"expected {wanted}, found {found}. Remedy: correct it."
