"""A dataset's first run: one that fails leaves no dataset."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.store import MANIFEST


@contextmanager
def nothing_left_behind(root: Path) -> Generator[None]:
    """Take back the folder of a dataset whose first run fails before there is anything in it.

    A dataset keeps the configuration of its first run: an empty one would refuse a better one.
    Work that is staged stays, for the next run to go on with.

    Args:
        root: the dataset's folder, whose lock is held.
    """
    try:
        yield
    except Exception:
        staging = root / ".staging"
        if not (root / MANIFEST).exists() and not any(p.is_file() for p in staging.rglob("*")):
            shutil.rmtree(staging, ignore_errors=True)
            (root / ".lock").unlink(missing_ok=True)
            with suppress(OSError):  # the user's own files are in it
                root.rmdir()
        raise
