"""Real clips by name: four come with the fetched assets, the others with the larger corpus."""

from collections.abc import Iterable
from typing import Any

import pytest

FETCHED = {
    "park_walk_and_jump.mp4": "sample_clip",
    "bikes_multishot.mp4": "multishot_clip",
    "empty_scene.mp4": "empty_scene_clip",
    "portrait.mp4": "portrait_clip",
}
"""Name of a clip to name of its asset; the first two are in the larger corpus as well."""


def clip_params(names: Iterable[str], *more: Any) -> list[Any]:
    """Parameters of a test that takes a clip's name; those of the corpus are marked."""
    return [with_clip(name, *more) for name in names]


def with_clip(name: str, *more: Any) -> Any:
    """A parameter set that begins with a clip's name."""
    marks = () if name in FETCHED else pytest.mark.corpus
    return pytest.param(name, *more, marks=marks)
