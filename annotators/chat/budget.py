"""Prices, budgets, and estimates of the cost of a request before it is sent."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from data.config import Config

CHARS_PER_TOKEN: Final = 4.0
"""Average for English prose, from the rule of thumb that OpenAI publishes."""
TILE_PX: Final = 512
SHORT_SIDE_PX: Final = 768
PATCH_PX: Final = 32
MAX_PATCHES: Final = 1536
MESSAGE_TOKENS: Final = 8
"""Tokens of the roles and separators of a request."""


class TokenPrice(Config):
    """Price of a model, and how it counts the tokens of images.

    Images count by tiles (``image_base_tokens`` plus ``image_tile_tokens`` for each tile of 512
    pixels, after the shorter side is scaled down to 768), or by patches of 32 pixels if
    ``image_patch_tokens`` is set. OpenAI documents these two rules for its vision models.
    """

    input_usd: float = Field(ge=0, description="USD per million input tokens.")
    output_usd: float = Field(ge=0, description="USD per million output tokens.")
    image_base_tokens: int = Field(default=85, ge=0, description="Tokens per image.")
    image_tile_tokens: int = Field(default=170, ge=0, description="Tokens per tile of 512 pixels.")
    image_patch_tokens: float = Field(
        default=0.0, ge=0, description="Tokens per patch of 32 pixels. 0 counts by tiles."
    )

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """Return the cost of a number of tokens in USD."""
        return (tokens_in * self.input_usd + tokens_out * self.output_usd) / 1e6

    def image_tokens(self, width_px: int, height_px: int) -> int:
        """Return the tokens of an image of at most 2048 pixels a side."""
        if self.image_patch_tokens:
            patches = math.ceil(width_px / PATCH_PX) * math.ceil(height_px / PATCH_PX)
            return math.ceil(min(patches, MAX_PATCHES) * self.image_patch_tokens)
        scale = min(1.0, SHORT_SIDE_PX / min(width_px, height_px))
        tiles = math.ceil(width_px * scale / TILE_PX) * math.ceil(height_px * scale / TILE_PX)
        return self.image_base_tokens + tiles * self.image_tile_tokens


DEFAULT_PRICES: Final[Mapping[str, TokenPrice]] = {
    "gpt-4o": TokenPrice(input_usd=2.5, output_usd=10.0),
    "gpt-4o-mini": TokenPrice(
        input_usd=0.15, output_usd=0.6, image_base_tokens=2833, image_tile_tokens=5667
    ),
    "gpt-4.1": TokenPrice(input_usd=2.0, output_usd=8.0),
    "gpt-4.1-mini": TokenPrice(input_usd=0.4, output_usd=1.6, image_patch_tokens=1.62),
    "gpt-4.1-nano": TokenPrice(input_usd=0.1, output_usd=0.4, image_patch_tokens=2.46),
    "gpt-5-mini": TokenPrice(input_usd=0.25, output_usd=2.0, image_patch_tokens=1.62),
}
"""Prices that OpenAI published in 2025. The ``prices`` of a configuration take precedence, because
prices change."""


def text_tokens(text: str) -> int:
    """Estimate the number of tokens of a text."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A part of a budget that is reserved for a call in progress."""

    tokens: int
    usd: float


class Budget:
    """Budget of one run, shared by all its services. It is thread-safe.

    A call reserves its maximum cost before it is sent and releases the rest afterwards, so that
    concurrent calls cannot exceed the budget.

    Args:
        usd: largest cost in USD, or None for no limit.
        tokens: largest number of input and output tokens, or None for no limit.
    """

    def __init__(self, usd: float | None = None, tokens: int | None = None) -> None:
        self.limit_usd = usd
        self.limit_tokens = tokens
        self._lock = threading.Lock()
        self._usd = 0.0
        self._tokens = 0

    def reserve(self, tokens: int, usd: float) -> Reservation | None:
        """Reserve the maximum cost of a call, or return None if the budget does not allow it."""
        with self._lock:
            if self.limit_usd is not None and self._usd + usd > self.limit_usd:
                return None
            if self.limit_tokens is not None and self._tokens + tokens > self.limit_tokens:
                return None
            self._usd += usd
            self._tokens += tokens
            return Reservation(tokens, usd)

    def settle(self, reservation: Reservation, tokens: int, usd: float) -> None:
        """Replace a reservation by the actual cost of its call."""
        with self._lock:
            self._usd += usd - reservation.usd
            self._tokens += tokens - reservation.tokens

    def __str__(self) -> str:
        limits = [
            *([f"{self.limit_usd:g} USD"] if self.limit_usd is not None else []),
            *([f"{self.limit_tokens} tokens"] if self.limit_tokens is not None else []),
        ]
        return " and ".join(limits) or "no limit"
