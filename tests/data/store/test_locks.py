"""The lock of a folder: one holder, no leftover file, refusal where locks are unavailable."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from data.store import locks
from data.store.locks import LockedError, LockUnavailableError, lock_folder, lock_holder


def test_the_lock_is_held_by_one_and_leaves_nothing(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        assert lock_holder(tmp_path) == f"process {os.getpid()}"
        with pytest.raises(LockedError, match=f"process {os.getpid()}"), lock_folder(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
    assert lock_holder(tmp_path) == ""


def test_a_lock_file_that_is_removed_between_open_and_lock_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    opened: list[int] = []

    def late(descriptor: int, operation: int) -> None:
        opened.append(descriptor)
        if len(opened) == 1:  # its last holder ends just now
            (tmp_path / ".lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with lock_folder(tmp_path):
        assert len(opened) == 2
        monkeypatch.undo()
        with pytest.raises(LockedError), lock_folder(tmp_path):
            pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(descriptor: int, operation: int) -> None:
        del descriptor, operation
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", refused)
    with (
        pytest.raises(LockUnavailableError, match=r"file system with locks.*Remedy: use a folder"),
        lock_folder(tmp_path),
    ):
        pass


def test_a_lock_that_is_no_file_is_refused_and_what_it_points_to_is_kept(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    for name, make in (
        ("link", lambda lock: lock.symlink_to(outside)),
        ("folder", Path.mkdir),
        ("pipe", os.mkfifo),
    ):
        folder = tmp_path / name
        folder.mkdir()
        make(folder / ".lock")
        with (
            pytest.raises(LockUnavailableError, match="expected a plain file"),
            lock_folder(folder),
        ):
            pass
        assert lock_holder(folder) == ""
    assert outside.read_text() == "precious"
