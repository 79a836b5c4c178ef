"""Presets: named sets of values of a configuration, with a part of it merged over them.

A preset is a plain dict beside the configuration that it fills. Whoever runs something names one
and gives the fields that differ, nested as the configuration is::

    resolve(TrainAllConfig, PRESETS, "tiny", {"lm": {"loop": {"steps": 500}}}, home)

Paths of presets begin with :data:`HOME`, which stands for the folder of the machine that runs.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import create_model as create_pydantic_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

HOME: Final = "$AVATARGPT_HOME"
"""What a path under the home folder of the running machine begins with."""
NOTHING: Final[dict[str, Any]] = {}
"""No change to a preset."""
OVERRULES: Final = "overrules"
"""Class attribute of a configuration: field to the fields that a preset loses when it is changed,
because they only make sense together (``kind`` of a quantizer and its ``num_quantizers``)."""

Presets = Mapping[str, Mapping[str, Any]]
Config = TypeVar("Config", bound=BaseModel)


def resolve(
    config_type: type[Config],
    presets: Presets,
    preset: str,
    changes: Config | Mapping[str, Any],
    home: Path,
) -> Config:
    """A preset with changes merged over it field by field.

    Args:
        config_type: what the values make.
        presets: the presets by name.
        preset: name of one; empty: none, and the changes are all there is.
        changes: a part of the configuration; or a whole one, which stands as it is.
        home: what :data:`HOME` at the beginning of a value stands for.

    Raises:
        ValueError: there is no such preset or field, or the values do not fit together.
    """
    if isinstance(changes, BaseModel):
        if preset:
            raise ValueError(
                f"preset: expected none beside a whole {config_type.__name__}, found {preset!r}. "
                "Remedy: give the fields that differ from the preset, as a dict."
            )
        return changes
    below = preset_values(presets, preset) if preset else {}
    check_names(config_type, changes)
    merged = merge(config_type, below, changes)
    return config_type.model_validate(_at_home(merged, str(home)))


def preset_values(presets: Presets, preset: str) -> Mapping[str, Any]:
    """The values of a preset.

    Raises:
        ValueError: there is none of that name.
    """
    if preset not in presets:
        raise ValueError(
            f"preset: expected one of {', '.join(sorted(presets))}, found {preset!r}. "
            "Remedy: choose one of them."
        )
    return presets[preset]


def merge(
    config_type: type[BaseModel] | None, below: Mapping[str, Any], above: Mapping[str, Any]
) -> dict[str, Any]:
    """Values over other values, nested ones field by field.

    A null says "as the preset has it" where the configuration takes none (forms send such), and is
    a value where it does.

    Args:
        config_type: what the values are of; None: of a plain mapping.
        below: values that hold where ``above`` says nothing.
        above: values that win.
    """
    above = {
        name: value
        for name, value in above.items()
        if value is not None or config_type is None or _takes_none(config_type, name)
    }
    merged = dict(below)
    overrules: Mapping[str, Sequence[str]] = getattr(config_type, OVERRULES, {})
    for name, value in above.items():
        if value != below.get(name):
            for overruled in overrules.get(name, ()):
                merged.pop(overruled, None)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            lower = cast("Mapping[str, Any]", old) if isinstance(old, Mapping) else {}
            section = section_type(config_type, name) if config_type is not None else None
            merged[name] = merge(section, lower, inner)
        else:
            merged[name] = value
    return merged


def check_names(config_type: type[BaseModel], values: Mapping[str, Any], where: str = "") -> None:
    """Refuse names that are no fields of a configuration, and say which may be meant.

    Raises:
        ValueError: there is one, or a section is not made of fields.
    """
    for name, value in values.items():
        path = f"{where}{name}"
        if name not in config_type.model_fields:
            raise ValueError(
                f"{path}: expected a field of {config_type.__name__}, found none of that name. "
                f"Remedy: {_meant(config_type, name, where)}"
            )
        section = section_type(config_type, name)
        if section is None or value is None or isinstance(value, section):
            continue
        if not isinstance(value, Mapping):
            raise ValueError(
                f"{path}: expected fields of {section.__name__}, found {value!r}. "
                f"Remedy: give some of {', '.join(section.model_fields)}."
            )
        check_names(section, cast("Mapping[str, Any]", value), f"{path}.")


def parse_assignments(config_type: type[BaseModel], assignments: Sequence[str]) -> dict[str, Any]:
    """``loop.steps=500`` and the like as a part of a configuration.

    Args:
        config_type: the configuration.
        assignments: a path of field names, ``=``, and a JSON value; what is not JSON is a text.

    Raises:
        ValueError: one is no assignment, or names no field.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise ValueError(
                f"{assignment!r}: expected FIELD=VALUE, such as loop.steps=500, found something "
                "else. Remedy: write it so."
            )
        changes = merge(None, changes, _nested(names, _value(config_type, names, text)))
    check_names(config_type, changes)
    return changes


def section_type(config_type: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The configuration that a field holds (or may hold), or None when it holds a value."""
    field = config_type.model_fields.get(name)
    for one in () if field is None else _alternatives(field.annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


class PartOf:
    """Marks a flow's parameter that takes a part of a configuration, or a whole one.

    ``Annotated[TrainAllConfig | dict[str, Any], PartOf(TrainAllConfig)]``: forms show every field,
    none is required, and none has a default, so that a form gives only what was filled in.

    Args:
        config_type: the configuration.
    """

    def __init__(self, config_type: type[BaseModel]) -> None:
        self._config_type = config_type

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        del schema
        return handler(part_model(self._config_type).__pydantic_core_schema__)

    def _check(self, value: Any) -> Any:
        if isinstance(value, Mapping | self._config_type):
            return cast("Any", value)
        raise ValueError(
            f"expected fields of {self._config_type.__name__}, found {value!r}. "
            f"Remedy: give some of {', '.join(self._config_type.model_fields)}."
        )


def one_of(presets: Presets) -> Any:
    """Marks a flow's parameter that names a preset: forms offer the names, other ones are refused.

    ``Annotated[str, one_of(PRESETS)]``; the empty name is no preset.
    """
    return Field(json_schema_extra={"enum": ["", *sorted(presets)]})


@cache
def part_model(config_type: type[BaseModel]) -> type[BaseModel]:
    """A model like a configuration, every field of which may be left out, at any depth."""
    fields: dict[str, Any] = {}
    for name, field in config_type.model_fields.items():
        part = copy(field)
        # A factory, which is never called, is no default that a form would show and send.
        part.default, part.default_factory, part.validate_default = PydanticUndefined, dict, False
        fields[name] = (_parts_in(field.annotation), part)
    return create_pydantic_model(
        config_type.__name__,
        __config__=ConfigDict(extra="forbid"),
        __doc__=config_type.__doc__,
        **fields,
    )


def _parts_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return part_model(annotation)
    if get_origin(annotation) in {Union, UnionType}:
        return Union[tuple(_parts_in(one) for one in get_args(annotation))]  # noqa: UP007 - dynamic
    return annotation


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in {Union, UnionType}
    return get_args(annotation) if is_union else (annotation,)


def _takes_none(config_type: type[BaseModel], name: str) -> bool:
    field = config_type.model_fields.get(name)
    return field is None or NoneType in _alternatives(field.annotation)


def _at_home(value: Any, home: str) -> Any:
    """A value with the home folder where :data:`HOME` stands at a beginning."""
    if isinstance(value, str):
        is_there = value == HOME or value.startswith(f"{HOME}/")
        return home + value.removeprefix(HOME) if is_there else value
    if isinstance(value, Mapping):
        return {k: _at_home(v, home) for k, v in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_at_home(one, home) for one in cast("Sequence[Any]", value)]
    return value


def _nested(names: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(names):
        value = {name: value}
    return value


def _value(config_type: type[BaseModel], names: Sequence[str], text: str) -> Any:
    section: type[BaseModel] | None = config_type
    for name in names[:-1]:
        section = section and section_type(section, name)
    field = section.model_fields.get(names[-1]) if section else None
    kinds = _alternatives(field.annotation) if field else ()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # A model named 4 is a text, where a text is expected.
    is_text = any(kind in {str, Path} for kind in kinds)
    return text if is_text and not isinstance(value, str | NoneType) else value


def _paths(config_type: type[BaseModel], where: str = "") -> Iterator[str]:
    for name in config_type.model_fields:
        yield f"{where}{name}"
        section = section_type(config_type, name)
        if section is not None:
            yield from _paths(section, f"{where}{name}.")


def _meant(config_type: type[BaseModel], name: str, where: str) -> str:
    """What a wrong name may stand for: a like name here, or the same one further in."""
    paths = difflib.get_close_matches(name, config_type.model_fields, n=2)
    for cutoff in (1.0, 0.6):
        paths = paths or [
            path
            for path in _paths(config_type)
            if difflib.get_close_matches(name, [path.split(".")[-1]], cutoff=cutoff)
        ]
    if paths:
        return f"did you mean {' or '.join(f'{where}{path}' for path in paths[:4])}?"
    return f"choose one of {', '.join(config_type.model_fields)}."
