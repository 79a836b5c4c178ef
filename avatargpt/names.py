"""Tell when a package of the user's own hides one of ours, which have common names."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

OURS: Final = ("annotators", "data", "evaluation", "training")
"""Packages beside this one that it is made of."""


class HiddenPackageError(ImportError):
    """Another package stands where one of ours belongs; the message names both."""


def check_names() -> None:
    """Refuse to go on with a foreign package under one of our names.

    Raises:
        HiddenPackageError: one comes first on ``sys.path``, or was imported already.
    """
    root = Path(__file__).resolve().parents[1]
    for name in OURS:
        found = _place(name)
        if found is not None and found != root / name:
            raise HiddenPackageError(
                f"package {name}: expected avatargpt's own in {root / name}, found {found}, which "
                "comes first on sys.path. Remedy: rename that one, or start Python in another "
                "folder (a script: python -P).",
                name=name,
                path=str(found),
            )


def _place(name: str) -> Path | None:
    """Folder of a package, or file of a module; None when there is nothing of that name."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else find_spec(name)
    if spec is None or spec.origin is None:
        # Without an origin it is a mere folder, which any package goes before.
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.name == "__init__.py" else origin
