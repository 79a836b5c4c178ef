"""Register the deployments of this project on the configured Prefect server.

The deployments are defined in ``flows/prefect.yaml``, which is part of the package, so that an
installed wheel can register them. ``prefect.yaml`` at the top of the source tree links to it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from flows.settings import off_current_folder

DEPLOYMENTS_FILE: Final = Path(__file__).with_name("prefect.yaml")


def register_deployments(log: Path) -> None:
    """Run ``prefect deploy --all`` and append its output to a log.

    The work pools of the deployments must exist. No folder and no environment variable of this
    machine is stored in the deployments.

    Args:
        log: file for the output.

    Raises:
        RuntimeError: Prefect failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS_FILE)]
    # Prefect imports a flow's module from the current folder first, also under PYTHONSAFEPATH. An
    # empty folder contains nothing that could shadow our modules.
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
            f"deployments: expected `prefect deploy --all` to succeed, found exit code "
            f"{done.returncode}. Remedy: see the end of {log}."
        )
