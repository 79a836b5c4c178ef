"""End a process when its parent process ends, even if the parent was killed."""

import os
import signal
import threading
import time
from typing import Final

POLL_S: Final = 0.5


def end_with_parent(parent: int, grace_s: float = 20.0) -> None:
    """Terminate this process soon after its parent ends, even if the parent was killed.

    A daemon thread polls the parent process id, which changes when the parent ends, on both Linux
    and macOS.

    Args:
        parent: process id of the parent, as passed by the parent itself. ``os.getppid()`` would
            return another id if the parent had already ended.
        grace_s: seconds between SIGTERM and SIGKILL.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
