"""Texts from outside (file names, model replies, error messages) without what they may hide.

A terminal obeys escape sequences, Parquet and JSON refuse lone surrogates, and a library's message
can hold a whole file: such text is cleaned before it is kept, logged or shown.
"""

import re
from typing import Final

MAX_MESSAGE_CHARS: Final = 1000
"""Of a text that goes into a message or a row's ``detail``."""
MAX_TEXT_CHARS: Final = 20_000
"""Of a caption, a step or a plan: longer ones are no text on a motion."""

# ECMA-48: control sequences (CSI), strings that a terminal takes as commands (OSC, DCS, SOS, PM,
# APC), and the two- or three-character escapes; each also with its one-character C1 introducer.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Marks that turn the direction of writing, by which a name can show as another.
_DIRECTIONS: Final = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


def plain_text(text: str, max_chars: int | None = None) -> str:
    """A text that is safe to keep and to show.

    Args:
        text: from outside; may hold anything.
        max_chars: cut to this length, with an ellipsis; None: the length stays.

    Returns:
        The text without escape sequences, control characters (line breaks and tabs stay) and marks
        of writing direction; a lone surrogate becomes U+FFFD.
    """
    if max_chars is not None and len(text) > max_chars:
        text = text[: max_chars - 1] + "…"
    text = text.replace("\r\n", "\n")
    for pattern in (_ESCAPES, _CONTROLS, _DIRECTIONS):
        text = pattern.sub("", text)
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
