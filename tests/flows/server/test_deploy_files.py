"""The files of deploy/ name commands, pools, settings and secrets that exist."""

from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml
from typer.main import get_command

import flows
from flows.commands.main import app
from flows.commands.server import POOLS

DEPLOY = Path(flows.__file__).parents[1] / "deploy"
Container = tuple[list[str], dict[str, Any]]
"""Command, and environment."""


def _of_compose() -> dict[str, Container]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return {
        f"compose {name}": (
            [*service.get("entrypoint", ["avatargpt"]), *service["command"]],
            service["environment"],
        )
        for name, service in services.items()
        if "build" in service
    }


def _of_kubernetes() -> dict[str, Container]:
    found: dict[str, Container] = {}
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for resource in yaml.safe_load_all(path.read_text()):
            pod = resource["spec"].get("template", {}).get("spec", {})
            for one in pod.get("containers", ()):
                if one["image"].startswith("avatargpt:"):
                    command = [*one.get("command", ["avatargpt"]), *one.get("args", ())]
                    environment = {variable["name"]: variable for variable in one["env"]}
                    found[f"kubernetes {resource['metadata']['name']}"] = command, environment
    return found


CONTAINERS = {**_of_compose(), **_of_kubernetes()}


def test_all_parts_are_there() -> None:
    parts = {name.split()[1] for name in CONTAINERS}
    assert parts == {"server", "register", "worker-cpu", "worker-gpu"}
    assert len(CONTAINERS) == 2 * len(parts)


@pytest.mark.parametrize("name", CONTAINERS)
def test_commands_pools_and_settings_exist(name: str) -> None:
    command, environment = CONTAINERS[name]
    if command[0] == "avatargpt":
        commands: dict[str, Any] = vars(get_command(app))["commands"]
        assert command[1] in commands
    elif "worker" in command:
        assert command[command.index("--pool") + 1] in POOLS
    for variable in environment:
        # Prefect ignores a variable that it does not know.
        assert not variable.startswith("PREFECT_") or hasattr(prefect.settings, variable), variable
