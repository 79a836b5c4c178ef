"""A process that ends when the one that started it does, however that ended."""

import os
import signal
import threading
import time
from typing import Final

POLL_S: Final = 0.5


def end_with_parent(parent: int, grace_s: float = 20.0) -> None:
    """End this process soon after its parent is gone, also when that was killed.

    The system tells it by giving the orphan another parent, on Linux and macOS alike.

    Args:
        parent: process id of the parent, as that process knows it: it may have died already.
        grace_s: how long this process may take to end in order on SIGTERM before it is killed.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
