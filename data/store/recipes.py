"""Recipes, which are the part of a configuration that decides a dataset's rows, and their diff."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

MISSING: Final = "nothing"
"""Value shown for a field that one of two recipes lacks."""

FORMER_FIELDS: Final = frozenset({"base_url", "api_key_name", "max_concurrency"})
"""Fields in recipes of earlier versions that do not affect the rows."""

_SHOWN: Final = 8
"""Maximum number of differences in a message."""


def plain_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe without the fields that do not affect the rows."""
    return {
        name: plain_recipe(value) if isinstance(value, Mapping) else value
        for name, value in recipe.items()
        if name not in FORMER_FIELDS
    }


def recipe_differences(
    expected: Mapping[str, Any], found: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Find the fields in which two recipes differ.

    Args:
        expected: one recipe.
        found: the other.

    Returns:
        Dotted path and both values of each field, sorted by path; :data:`MISSING` where a recipe
        lacks the field.
    """
    return sorted(
        _differences(plain_recipe(expected), plain_recipe(found), ""), key=lambda found: found[0]
    )


def format_differences(differences: list[tuple[str, Any, Any]]) -> str:
    """Format differences for a message: ``poses.max_people (expected 4, found 2)``."""
    texts = [f"{path} (expected {one!r}, found {other!r})" for path, one, other in differences]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any, Any]]:
    for name in {*expected, *found}:
        one, other = expected.get(name, MISSING), found.get(name, MISSING)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{prefix}{name}.")
        elif one != other:
            yield f"{prefix}{name}", one, other
