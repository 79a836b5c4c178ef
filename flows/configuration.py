"""The configuration of a flow's run: a preset, and what the run was given over it."""

from collections.abc import Mapping
from typing import Any

from prefect import get_run_logger

from data.presets import Config, Presets, resolve
from flows.settings import Settings


def resolve_config(
    config_type: type[Config], presets: Presets, preset: str, config: Config | Mapping[str, Any]
) -> Config:
    """The configuration that a run works with, which it logs first.

    Args:
        config_type: what the values make.
        presets: the presets by name.
        preset: name of one, or empty.
        config: what the run was given over it.

    Raises:
        ValueError: there is no such preset or field, or the values do not fit together.
    """
    resolved = resolve(config_type, presets, preset, config, Settings().home_folder)
    # Keys are in no configuration: it names them.
    get_run_logger().info(
        "preset: %s; configuration: %s", preset or "none", resolved.model_dump_json()
    )
    return resolved
