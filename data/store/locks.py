"""Lock a folder, so that only one process at a time writes to it."""

import errno
import fcntl
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK: Final = ".lock"
"""Name of the locked file, which its holder removes."""

_NO_LOCKS: Final = frozenset(
    {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
)
"""Errors of file systems without locks, such as NFS without its lock service."""

_HOLDER_BYTES: Final = 100
"""Maximum number of bytes to read from a lock file."""


class LockedError(RuntimeError):
    """Another process holds the lock; the message names it."""


class LockUnavailableError(ValueError):
    """The folder cannot be locked; the message states the reason and the remedy."""


@contextmanager
def lock_folder(folder: Path) -> Generator[None]:
    """Hold the lock of a folder, which is created if missing.

    Raises:
        LockedError: another process holds it.
        LockUnavailableError: the file system has no locks, or ``.lock`` is not a plain file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = _acquire(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}".encode())
        yield
    finally:
        # Removed while the lock is held: another process that has the file open notices in
        # `_acquire`.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def lock_holder(folder: Path) -> str:
    """Return which process holds the lock of a folder, or an empty text. Changes nothing."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # no lock file, or a symbolic link, which we never create
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    except OSError:  # a file system without locks
        return ""
    finally:
        os.close(descriptor)
    return ""


def _holder(descriptor: int) -> str:
    holder = os.pread(descriptor, _HOLDER_BYTES, 0).decode(errors="replace").strip()
    return holder or "an unknown process"


def _acquire(path: Path) -> int:
    """Open and lock the file. The descriptor holds the lock until it is closed."""
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor, path)
            if _is_still(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The last holder removed the file between our `open` and our `flock`: lock the new file.
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise _not_a_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_file(path)
    return descriptor


def _not_a_file(path: Path) -> LockUnavailableError:
    return LockUnavailableError(
        f"{path}: expected a plain file, found a link or something else. "
        "Remedy: inspect it and remove it."
    )


def _lock(descriptor: int, path: Path) -> None:
    # The kernel releases this lock when the process ends, even if it is killed.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(_holder(descriptor)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise LockUnavailableError(
            f"{path.parent}: expected a file system with locks, found that it refuses them "
            f"({error.strerror}). Two runs could write here at the same time and destroy each "
            "other's work. Remedy: use a folder on a local disk, or enable locks on this file "
            "system (NFS: its lock service)."
        ) from error


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
