"""The configuration of a flow's run: a preset, and what the run was given over it."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from prefect import get_run_logger
from pydantic import BaseModel, ValidationError

from data.presets import Config, Presets, resolve
from flows.runtime.failures import describe_validation
from flows.settings import Settings

_URL_SECRET: Final = re.compile(r"://[^/@\s\"]+@")
_SHOWN_ITEMS: Final = 3
_LONG_LIST: Final = 10
"""Paths of a run may be ten thousand."""


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
    try:
        resolved = resolve(config_type, presets, preset, config, Settings().home_folder)
    except ValidationError as error:
        # The log of a run and its state's message are where users of deployments read it.
        raise ValueError(describe_validation(error)) from None
    get_run_logger().info("preset: %s; configuration: %s", preset or "none", loggable(resolved))
    return resolved


def loggable(config: BaseModel) -> str:
    """A configuration as JSON for people: long lists are cut, and there are no secrets.

    It only names keys, but an URL may hold one.
    """
    shown = _cut(config.model_dump(mode="json"))
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return _URL_SECRET.sub("://…@", text)


def _cut(value: Any) -> Any:
    """A JSON value whose long lists have their first items, and say how many there are."""
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        shown = [_cut(item) for item in items[:_SHOWN_ITEMS]]
        return items if len(items) <= _LONG_LIST else [*shown, f"… ({len(items)} in all)"]
    return value
