"""Assign motions to splits by a hash, so that the assignment never changes.

The group of a motion (its subject or source video if known, else its own content) is hashed to a
number in [0, 1), which selects the split. Adding data does not move existing motions. Motions of
one subject or video, and a motion and its mirror image, stay in one split.
"""

import hashlib
from typing import Final, Literal

from pydantic import Field, model_validator

from data.config import Config

Split = Literal["train", "val", "test"]

_SALT: Final = "avatargpt-split-1"


class SplitConfig(Config):
    """Shares of the splits. The defaults are close to those of HumanML3D."""

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
    """Return the split of a group of motions.

    Args:
        group: name of the group, e.g. ``cmu/07``, a ``video_id`` or a ``motion_id``.
        config: shares of the splits.
    """
    digest = hashlib.sha256(f"{_SALT}:{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < config.test:
        return "test"
    return "val" if place < config.test + config.val else "train"
