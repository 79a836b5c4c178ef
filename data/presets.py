"""Presets: named sets of configuration values, over which a partial configuration is merged.

A preset is a plain dict next to its configuration class. A run names a preset and passes the fields
that differ, nested like the configuration::

    resolve(TrainAllConfig, PRESETS, "tiny", {"lm": {"loop": {"steps": 500}}}, home)

Paths in presets start with :data:`HOME`, which is replaced by the home folder of the machine on
which the run executes.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import create_model as create_pydantic_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined, core_schema, from_json

HOME: Final = "$AVATARGPT_HOME"
"""Placeholder for the home folder at the start of a path."""
NOTHING: Final[dict[str, Any]] = {}
"""No changes to a preset."""
OVERRULES: Final = "overrules"
"""Name of a class attribute of configurations. It maps a field to the fields whose preset values
are dropped when the field is changed, because they only make sense together (such as ``kind`` and
``num_quantizers`` of a quantizer)."""

Presets = Mapping[str, Mapping[str, Any]]
Config = TypeVar("Config", bound=BaseModel)


def resolve(
    config_type: type[Config],
    presets: Presets,
    preset: str,
    changes: Config | Mapping[str, Any],
    home: Path,
) -> Config:
    """Create a configuration from a preset, with changes merged over it field by field.

    Args:
        config_type: class of the configuration.
        presets: presets by name.
        preset: name of the preset; empty for none.
        changes: a partial configuration, or a complete one, which is returned unchanged.
        home: home folder that replaces :data:`HOME`.

    Raises:
        ValueError: the preset or a field does not exist, or the values are invalid.
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
    """Return the values of a preset.

    Raises:
        ValueError: there is no preset of that name.
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
    """Merge values over other values, nested ones field by field.

    Forms send null for empty fields. A null is ignored if the field does not accept None.

    Args:
        config_type: class of the configuration; None for a plain mapping.
        below: values of lower priority.
        above: values of higher priority.
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
    """Check that all names are fields of a configuration, and suggest similar names.

    Raises:
        ValueError: a name is not a field, or a section is not a mapping.
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
    """Parse assignments such as ``loop.steps=500`` into a partial configuration.

    Args:
        config_type: class of the configuration.
        assignments: dotted path of field names, ``=``, and a JSON value. A value that is not valid
            JSON is taken as text.

    Raises:
        ValueError: the form is wrong, or a name is not a field.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise ValueError(
                f"{assignment!r}: expected FIELD=VALUE, such as loop.steps=500, found something "
                "else. Remedy: use this form."
            )
        changes = merge(None, changes, _nested(names, _value(config_type, names, text)))
    check_names(config_type, changes)
    return changes


def section_type(config_type: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the configuration class of a field, or None if the field holds a plain value."""
    field = config_type.model_fields.get(name)
    for one in () if field is None else _alternatives(field.annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


class PartOf:
    """Annotation of a flow parameter that accepts a partial or a complete configuration.

    ``Annotated[TrainAllConfig | dict[str, Any], PartOf(TrainAllConfig)]``: forms show all fields
    without defaults, and none is required, so that a form submits only the fields that were filled
    in.

    Args:
        config_type: class of the configuration.
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
    """Annotation of a flow parameter that names a preset. Forms offer only the existing names.

    Use it as ``Annotated[str, one_of(PRESETS)]``; the empty name selects no preset.
    """
    return Field(json_schema_extra={"enum": ["", *sorted(presets)]})


@cache
def part_model(config_type: type[BaseModel]) -> type[BaseModel]:
    """Create a copy of a configuration class in which all fields are optional, at any depth."""
    fields: dict[str, Any] = {}
    for name, field in config_type.model_fields.items():
        part = copy(field)
        # A form would show and submit a default, but not a factory, which is never called.
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
    """Replace :data:`HOME` at the start of texts by the home folder."""
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
        # A name that is not UTF-8 has surrogates, which no JSON has.
        value = from_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return text
    # A text field keeps the text: a model may be named 4.
    is_text = any(kind in {str, Path} for kind in kinds)
    return text if is_text and not isinstance(value, str | NoneType) else value


def _paths(config_type: type[BaseModel], where: str = "") -> Iterator[str]:
    for name in config_type.model_fields:
        yield f"{where}{name}"
        section = section_type(config_type, name)
        if section is not None:
            yield from _paths(section, f"{where}{name}.")


def _meant(config_type: type[BaseModel], name: str, where: str) -> str:
    """Suggest the same name in a nested section, a similar one here, or a similar nested one."""
    nested = list(_paths(config_type))
    paths = (
        [path for path in nested if path.rpartition(".")[2] == name]
        or difflib.get_close_matches(name, config_type.model_fields, n=2)
        or [path for path in nested if difflib.get_close_matches(name, [path.rpartition(".")[2]])]
    )
    if paths:
        return f"did you mean {' or '.join(f'{where}{path}' for path in paths[:4])}?"
    return f"choose one of {', '.join(config_type.model_fields)}."
