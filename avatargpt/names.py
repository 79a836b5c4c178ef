"""Detection of foreign packages that shadow ours, which have common names."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

OURS: Final = ("annotators", "data", "evaluation", "training")
"""Other packages of this project."""


class HiddenPackageError(ImportError):
    """A foreign package shadows one of ours. The message gives the paths of both."""


def check_names() -> None:
    """Check that no foreign package shadows one of ours.

    Raises:
        HiddenPackageError: a foreign package comes first on ``sys.path`` or is already imported.
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
    """Return the folder of a package or the file of a module; None if there is neither."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else find_spec(name)
    if spec is None or spec.origin is None:
        # A namespace package has no origin; any regular package takes precedence over it.
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.name == "__init__.py" else origin
