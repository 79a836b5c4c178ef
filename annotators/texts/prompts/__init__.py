"""Prompts as text files: what a model is told, with an id that changes when the text does.

A file holds the system text, a line ``=== user ===`` and the user text; a file without that line is
a user text. ``{name}`` marks a value; ``{frames}`` stands where the pictures go.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from annotators.chat.protocol import Jpeg

FOLDER: Final = Path(__file__).parent
FRAMES: Final = "{frames}"

_USER: Final = "=== user ===\n"
_VALUE: Final = re.compile(r"\{([a-z_0-9]+)\}")
_HASH_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt.

    Attributes:
        prompt_id: name and hash of its text, e.g. ``clip_caption-1f0c93ab``.
        system: system text; empty for a prompt that continues a conversation.
        user: user text.
    """

    prompt_id: str
    system: str
    user: str

    def fill_system(self, **values: object) -> str:
        """The system text with its values."""
        return _fill(self.system, values)

    def fill_user(self, **values: object) -> str:
        """The user text with its values."""
        return _fill(self.user, values)

    def fill_parts(
        self, frames: Sequence[tuple[str, Jpeg]], **values: object
    ) -> tuple[str | Jpeg, ...]:
        """The user text with its values, and with labelled pictures in place of ``{frames}``.

        Args:
            frames: label (such as its time) and picture, in the order in which they are shown.
            **values: of the other marks.
        """
        before, _, after = self.user.partition(FRAMES)
        parts: list[str | Jpeg] = [_fill(before, values)]
        for label, picture in frames:
            parts += [label, picture]
        parts.append(_fill(after, values))
        return tuple(part for part in parts if not isinstance(part, str) or part.strip())


def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """Read a prompt.

    Args:
        name: of the file, without ``.txt``.
        folder: of the user's own prompts; one that is not there is taken from this package.

    Raises:
        ValueError: the file cannot be read as text.
    """
    own = folder.expanduser() / f"{name}.txt" if folder else None
    path = own if own is not None and own.is_file() else FOLDER / f"{name}.txt"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected a prompt as UTF-8 text, found {type(error).__name__}. "
            "Remedy: correct the file, or leave `prompts` unset to use the project's own."
        ) from error
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    system, mark, user = text.partition(_USER)
    if not mark:
        system, user = "", text
    return Prompt(f"{name}-{digest}", system.strip(), user)


def prompts_digest(folder: Path | None = None) -> str:
    """A hash of all prompts as they are used, to tell whether rows are made alike."""
    names = sorted(path.stem for path in FOLDER.glob("*.txt"))
    ids = " ".join(load_prompt(name, folder).prompt_id for name in names)
    return hashlib.sha256(ids.encode()).hexdigest()[:_HASH_LENGTH]


def _fill(text: str, values: dict[str, object]) -> str:
    """Put values in place of their marks; one pass, so that marks inside a value stay text."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise ValueError(
                f"prompt: found the mark {{{name}}}, expected only {sorted(values)}. "
                "Remedy: correct the prompt's text file."
            )
        return str(values[name])

    return _VALUE.sub(value, text)
