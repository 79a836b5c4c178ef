"""Prompts as text files, with ids that change when a text changes.

A file contains the system prompt, a line ``=== user ===`` and the user prompt. A file without that
line is a user prompt. ``{name}`` is a placeholder of a value, and ``{frames}`` of the images.
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
        prompt_id: name and hash of the text, e.g. ``clip_caption-1f0c93ab``.
        system: system prompt; empty for a prompt that continues a conversation.
        user: user prompt.
    """

    prompt_id: str
    system: str
    user: str

    def fill_system(self, **values: object) -> str:
        """Return the system prompt with its values."""
        return _fill(self.system, values)

    def fill_user(self, **values: object) -> str:
        """Return the user prompt with its values."""
        return _fill(self.user, values)

    def fill_parts(
        self, frames: Sequence[tuple[str, Jpeg]], **values: object
    ) -> tuple[str | Jpeg, ...]:
        """Return the user prompt with its values, and labeled images in place of ``{frames}``.

        Args:
            frames: label (such as the time) and image of each frame, in order.
            **values: values of the other placeholders.
        """
        before, _, after = self.user.partition(FRAMES)
        parts: list[str | Jpeg] = [_fill(before, values)]
        for label, picture in frames:
            parts += [label, picture]
        parts.append(_fill(after, values))
        return tuple(part for part in parts if not isinstance(part, str) or part.strip())


def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """Load a prompt.

    Args:
        name: name of the file, without ``.txt``.
        folder: folder of custom prompts. Prompts that it lacks are loaded from this package.

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
            "Remedy: correct the file, or leave `prompts` unset to use the built-in prompts."
        ) from error
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    system, mark, user = text.partition(_USER)
    if not mark:
        system, user = "", text
    return Prompt(f"{name}-{digest}", system.strip(), user)


def prompts_digest(folder: Path | None = None) -> str:
    """Return a hash of all prompts in use, which is part of the recipe of a dataset."""
    names = sorted(path.stem for path in FOLDER.glob("*.txt"))
    ids = " ".join(load_prompt(name, folder).prompt_id for name in names)
    return hashlib.sha256(ids.encode()).hexdigest()[:_HASH_LENGTH]


def _fill(text: str, values: dict[str, object]) -> str:
    """Replace placeholders by values, in one pass so that placeholders in values stay as text."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise ValueError(
                f"prompt: expected only the placeholders {sorted(values)}, found {{{name}}}. "
                "Remedy: correct the text file of the prompt."
            )
        return str(values[name])

    return _VALUE.sub(value, text)
