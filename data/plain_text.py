"""Clean untrusted text (file names, model replies, error messages) before it is stored or shown.

A terminal executes escape sequences, Parquet and JSON reject lone surrogates, and the message of a
library can contain a whole file.
"""

import re
from typing import Final

MAX_MESSAGE_CHARS: Final = 1000
"""Maximum length of a text in a message or in a row's ``detail``."""
MAX_TEXT_CHARS: Final = 20_000
"""Maximum length of a caption, a step or a plan. Longer texts do not describe a motion."""

# ECMA-48: control sequences (CSI), strings that a terminal takes as commands (OSC, DCS, SOS, PM,
# APC), and the two- or three-character escapes; each also with its one-character C1 introducer.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Bidirectional control characters, which make a name look like another one.
_DIRECTIONS: Final = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


def plain_text(text: str, max_chars: int | None = None) -> str:
    """Return a text that is safe to store and to display.

    Args:
        text: the untrusted text.
        max_chars: maximum length; a longer text is cut and ends with an ellipsis. None: no limit.

    Returns:
        The text without escape sequences, without control characters other than line breaks and
        tabs, and without bidirectional control characters. A lone surrogate becomes U+FFFD.
    """
    if max_chars is not None and len(text) > max_chars:
        text = text[: max_chars - 1] + "…"
    text = text.replace("\r\n", "\n")
    for pattern in (_ESCAPES, _CONTROLS, _DIRECTIONS):
        text = pattern.sub("", text)
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
