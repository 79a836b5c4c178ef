"""The configuration of a flow's run: a preset, and what the run was given over it."""

import re
from collections.abc import Mapping
from typing import Any, Final

from prefect import get_run_logger
from pydantic import BaseModel

from data.presets import Config, Presets, resolve
from flows.settings import Settings

_URL_SECRET: Final = re.compile(r"://[^/@\s\"]+@")


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
    get_run_logger().info("preset: %s; configuration: %s", preset or "none", loggable(resolved))
    return resolved


def loggable(config: BaseModel) -> str:
    """A configuration as JSON without secrets: it only names keys, but an URL may hold one."""
    return _URL_SECRET.sub("://…@", config.model_dump_json())
