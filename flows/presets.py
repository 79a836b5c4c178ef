"""Presets of a training are the parameters of prefect.yaml's deployments (DESIGN §5)."""

from pathlib import Path
from typing import Any, Final

import yaml

PRESETS: Final = Path(__file__).parents[1] / "prefect.yaml"


def preset_config(flow: str, preset: str) -> dict[str, Any]:
    """The ``config`` parameter of a deployment.

    Args:
        flow: its entrypoint's function in flow-name form, e.g. ``train-motion-vqvae``.
        preset: the deployment's name.

    Raises:
        ValueError: prefect.yaml is not there, or has no such deployment.
    """
    if not PRESETS.is_file():
        raise ValueError(
            f"expected {PRESETS}, found none: the package is installed without it. "
            "Remedy: give a configuration file with --config."
        )
    deployments = [
        deployment
        for deployment in yaml.safe_load(PRESETS.read_text())["deployments"]
        if deployment["entrypoint"].rsplit(".", 1)[-1].replace("_", "-") == flow
    ]
    for deployment in deployments:
        if deployment["name"] == preset:
            return dict(deployment["parameters"]["config"])
    names = sorted(deployment["name"] for deployment in deployments)
    raise ValueError(
        f"preset: expected one of {names} for {flow}, found {preset}. Remedy: choose one of them."
    )
