"""Import of spaCy without torch."""

import sys
from types import ModuleType


def import_spacy() -> ModuleType:
    """Import spaCy, and keep it from importing torch.

    spaCy's neural library imports torch if it is installed, though our model does not use it. That
    takes 2 s of processor time and 240 MB more in each worker process that checks a text. A process
    that has imported torch already keeps it, and one that has not can still import it afterwards.
    """
    if "torch" in sys.modules or "spacy" in sys.modules:
        import spacy  # noqa: PLC0415 - takes seconds, and most processes check no text

        return spacy
    # An entry of None makes an import raise ImportError, which the library expects.
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        import spacy  # noqa: PLC0415
    finally:
        del sys.modules["torch"]
    return spacy
