"""What decides the rows of a dataset: the recipe, and how two of them differ."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

MISSING: Final = "nothing"
"""Shown for a field that one of two recipes lacks."""

FORMER_FIELDS: Final = frozenset({"base_url", "api_key_name", "max_concurrency"})
"""Fields that recipes of earlier versions may hold, though they decide no row."""

_SHOWN: Final = 8
"""Differences named in a message."""


def plain_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without the fields that decide no row."""
    return {
        name: plain_recipe(value) if isinstance(value, Mapping) else value
        for name, value in recipe.items()
        if name not in FORMER_FIELDS
    }


def recipe_differences(
    expected: Mapping[str, Any], found: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Where two recipes differ.

    Args:
        expected: one recipe.
        found: the other.

    Returns:
        For each field, sorted: its dotted path and both values; :data:`MISSING` for one that a
        recipe lacks.
    """
    return sorted(
        _differences(plain_recipe(expected), plain_recipe(found), ""), key=lambda found: found[0]
    )


def told_differences(differences: list[tuple[str, Any, Any]]) -> str:
    """The differences as a message names them: ``poses.max_people (expected 4, found 2)``."""
    told = [f"{path} (expected {one!r}, found {other!r})" for path, one, other in differences]
    more = len(told) - _SHOWN
    return ", ".join(told[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any, Any]]:
    for name in {*expected, *found}:
        one, other = expected.get(name, MISSING), found.get(name, MISSING)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{prefix}{name}.")
        elif one != other:
            yield f"{prefix}{name}", one, other
