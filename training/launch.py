"""torchrun that ends with the process that started it, so that no training goes on unseen.

Run as ``python -m training.launch PARENT ARGUMENTS…``; the arguments are torchrun's.
"""

import sys

from torch.distributed.run import main as torchrun

from data.workers.parent import end_with_parent


def main() -> None:
    """Run torchrun; when its parent is gone, it ends its workers as on SIGTERM."""
    parent, *arguments = sys.argv[1:]
    end_with_parent(int(parent))
    torchrun(arguments)


if __name__ == "__main__":
    main()
