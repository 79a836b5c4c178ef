"""Resolving and logging the configuration of a flow run."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError

from data.presets import Config, Presets, resolve
from data.remote.addresses import S3
from flows.runtime.failures import describe_validation
from flows.settings import Settings, folder_of

_URL_SECRET: Final = re.compile(r"://[^/@\s\"]+@")
_VIDEOS: Final = "videos"
"""Field of the sources of ``annotate``."""
_SHOWN_ITEMS: Final = 3
_LONG_LIST: Final = 10
"""Longer lists are shortened in logs; a run may have ten thousand paths."""


def resolve_config(
    config_type: type[Config], presets: Presets, preset: str, config: Config | Mapping[str, Any]
) -> Config:
    """Resolve the configuration of a run on this machine.

    Commands and flows both call it on the same preset and values: a command before it starts a
    server, so that a mistake costs no waiting; a flow because a deployment calls it directly. A
    command passes the preset and the values on, not the resolved configuration, because Prefect
    records parameters: a run then shows which preset was used and what differs from it, and the
    Prefect form can start it again with other values. Resolving takes a millisecond.

    Args:
        config_type: class of the configuration.
        presets: presets by name.
        preset: name of the preset; empty means none.
        config: values that override the preset.

    Raises:
        ValueError: the preset or a field does not exist, or the configuration is invalid.
    """
    if not isinstance(config, BaseModel):
        config = _in_folders(config)
    try:
        return resolve(config_type, presets, preset, config, Settings().home_folder)
    except ValidationError as error:
        # Users of deployments read this in the log and the state message of the run.
        raise ValueError(describe_validation(error)) from None


def _in_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``s3://`` addresses of datasets, runs and models by the folders that stand for them.

    Sources of videos stay: they are downloaded one by one.
    """

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return str(folder_of(value)) if value.startswith(S3) else value
        if isinstance(value, Mapping):
            return _in_folders(cast("Mapping[str, Any]", value))
        if isinstance(value, list | tuple):
            return [replaced(one) for one in cast("Sequence[Any]", value)]
        return value

    return {name: value if name == _VIDEOS else replaced(value) for name, value in values.items()}


def start_config(
    config_type: type[Config], presets: Presets, preset: str, config: Config | Mapping[str, Any]
) -> Config:
    """Resolve the configuration at the start of a flow run, and log it; see `resolve_config`."""
    resolved = resolve_config(config_type, presets, preset, config)
    from prefect import get_run_logger  # noqa: PLC0415 - commands resolve before Prefect is loaded

    get_run_logger().info("preset: %s; configuration: %s", preset or "none", loggable(resolved))
    return resolved


def loggable(config: BaseModel) -> str:
    """Format a configuration as JSON for logs: shorten long lists and remove secrets.

    A configuration names API keys but does not contain them; a URL may contain credentials.
    """
    shown = _cut(config.model_dump(mode="json"))
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return _URL_SECRET.sub("://…@", text)


def _cut(value: Any) -> Any:
    """Shorten long lists of a JSON value to their first items and a count."""
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        shown = [_cut(item) for item in items[:_SHOWN_ITEMS]]
        return items if len(items) <= _LONG_LIST else [*shown, f"… ({len(items)} in all)"]
    return value
