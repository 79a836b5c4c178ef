"""Run torchrun, and end it when its parent process ends.

Without this, a training would continue unattended after the process that started it was killed. The
command line is ``python -m training.launch PARENT_PID ARGUMENTS…`` with the arguments of torchrun.
"""

import sys

from torch.distributed.run import main as torchrun

from data.workers.parent import end_with_parent


def main() -> None:
    """Run torchrun; when the parent process ends, torchrun stops its workers as on SIGTERM."""
    parent, *arguments = sys.argv[1:]
    end_with_parent(int(parent))
    torchrun(arguments)


if __name__ == "__main__":
    main()
