"""Which motions train, validate and test: decided by content, so that it never changes.

A motion's group (its subject or source video where one is known, else its own content) is hashed to
a number from 0 to 1, and the number to a split. Data added later moves nothing; what belongs
together (one person, one video, a motion and its mirror image) stays together.
"""

import hashlib
from typing import Final, Literal

from pydantic import Field, model_validator

from data.config import Config

Split = Literal["train", "val", "test"]

_SALT: Final = "avatargpt-split-1"


class SplitConfig(Config):
    """Shares of the splits; by default about those of HumanML3D."""

    train: float = Field(default=0.80, ge=0, le=1)
    val: float = Field(default=0.05, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _check_sum(self) -> "SplitConfig":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"splits: expected shares that sum to 1, found {total:g}. "
                "Remedy: correct train, val and test."
            )
        return self


def split_of(group: str, config: SplitConfig) -> Split:
    """The split of a group of motions.

    Args:
        group: what must stay together, e.g. ``cmu/07``, a ``video_id`` or a ``motion_id``.
        config: the shares.
    """
    digest = hashlib.sha256(f"{_SALT}:{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < config.test:
        return "test"
    return "val" if place < config.test + config.val else "train"
