"""Run a program that ends with the process that started it, even if that one was killed.

    python -P -m data.workers.guard PARENT_PID PROGRAM ARGUMENT…

The program is not ours, so it cannot watch its parent itself (:mod:`data.workers.parent`). It
inherits the standard streams. The caller starts the guard in a session of its own, whose processes
are killed together.
"""

import os
import signal
import subprocess
import sys

from data.workers.parent import POLL_S


def main() -> int:
    """Run the program and return its exit code; 128 plus the signal that ended it."""
    parent, *command = sys.argv[1:]
    child = subprocess.Popen(command)
    while True:
        try:
            code = child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            if os.getppid() != int(parent):
                os.killpg(0, signal.SIGKILL)
        else:
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
