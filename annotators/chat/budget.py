"""Prices, budgets, and what a request will cost before it is sent."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from data.config import Config

CHARS_PER_TOKEN: Final = 4.0
"""Of English prose, by the rule of thumb that OpenAI publishes."""
TILE_PX: Final = 512
SHORT_SIDE_PX: Final = 768
PATCH_PX: Final = 32
MAX_PATCHES: Final = 1536
MESSAGE_TOKENS: Final = 8
"""Of a request's own frame: roles and separators."""


class TokenPrice(Config):
    """What a model costs, and how it counts pictures.

    Pictures count by tiles (``image_base_tokens`` plus ``image_tile_tokens`` for each tile of 512
    pixels, after the shorter side is shrunk to 768), or by patches of 32 pixels where
    ``image_patch_tokens`` is set: the two rules that OpenAI documents for its vision models.
    """

    input_usd: float = Field(ge=0, description="USD per million tokens in.")
    output_usd: float = Field(ge=0, description="USD per million tokens out.")
    image_base_tokens: int = Field(default=85, ge=0, description="Tokens of any picture.")
    image_tile_tokens: int = Field(default=170, ge=0, description="Tokens of a tile of 512 pixels.")
    image_patch_tokens: float = Field(
        default=0.0, ge=0, description="Tokens of a patch of 32 pixels; 0: counted by tiles."
    )

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """Cost of so many tokens."""
        return (tokens_in * self.input_usd + tokens_out * self.output_usd) / 1e6

    def image_tokens(self, width_px: int, height_px: int) -> int:
        """Tokens of a picture of at most 2048 pixels a side."""
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
"""As OpenAI published them in 2025. They change: what a run really pays is decided by ``prices`` of
its configuration where that names the model."""


def text_tokens(text: str) -> int:
    """Tokens of a text, roughly."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A part of a budget that is set aside for a call under way."""

    tokens: int
    usd: float


class Budget:
    """What one run may spend, over all its services; safe to use from several threads.

    A call reserves the most it can cost before it is sent and gives back the rest afterwards, so
    that calls under way together cannot overshoot.

    Args:
        usd: most money, or None.
        tokens: most tokens, in and out together, or None.
    """

    def __init__(self, usd: float | None = None, tokens: int | None = None) -> None:
        self.limit_usd = usd
        self.limit_tokens = tokens
        self._lock = threading.Lock()
        self._usd = 0.0
        self._tokens = 0

    def reserve(self, tokens: int, usd: float) -> Reservation | None:
        """Set aside what a call can cost at most; None when it does not fit."""
        with self._lock:
            if self.limit_usd is not None and self._usd + usd > self.limit_usd:
                return None
            if self.limit_tokens is not None and self._tokens + tokens > self.limit_tokens:
                return None
            self._usd += usd
            self._tokens += tokens
            return Reservation(tokens, usd)

    def settle(self, reservation: Reservation, tokens: int, usd: float) -> None:
        """Put what a call really cost in place of its reservation."""
        with self._lock:
            self._usd += usd - reservation.usd
            self._tokens += tokens - reservation.tokens

    def __str__(self) -> str:
        limits = [
            *([f"{self.limit_usd:g} USD"] if self.limit_usd is not None else []),
            *([f"{self.limit_tokens} tokens"] if self.limit_tokens is not None else []),
        ]
        return " and ".join(limits) or "no limit"
