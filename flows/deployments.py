"""Register this project's deployments on the configured Prefect server.

They stand in ``flows/prefect.yaml``, which is part of the package (``prefect.yaml`` at the top of
the source tree is a link to it), so that they can be registered from an installed wheel.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from flows.settings import off_current_folder

DEPLOYMENTS_FILE: Final = Path(__file__).with_name("prefect.yaml")


def register_deployments(log: Path) -> None:
    """Run ``prefect deploy --all``; what it prints is appended to a log.

    The work pools of the deployments must be there. Nothing of this machine is stored: neither a
    folder nor a variable of its environment.

    Args:
        log: file for the output.

    Raises:
        RuntimeError: Prefect failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS_FILE)]
    # Prefect looks for a flow's module in the current folder first, whatever Python was told: an
    # empty one holds nothing that could hide ours.
    with log.open("ab") as output, tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=off_current_folder(),
            cwd=empty,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(
            f"deployments: expected `prefect deploy --all` to register them, it ended with exit "
            f"code {done.returncode}. Remedy: see the end of {log}."
        )
