"""Divide sources among independent runs: each takes a share that all of them agree on.

The share of a file is a hash of its name and size, or of its address. It depends neither on the
folder that a machine sees it in, nor on the order or the number of the other files.
"""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator

from data.video.files import size_of
from data.video.sources import Discovery

_SHARD: Final = re.compile(r"(?P<number>[0-9]{1,6})/(?P<count>[0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Share:
    """One of several shares of the sources.

    Attributes:
        number: number of the share, from 1.
        count: number of shares.
    """

    number: int
    count: int

    def holds(self, path: Path) -> bool:
        """Whether a file belongs to this share; of a missing file only the name counts."""
        return self._holds(os.fsencode(path.name) + b"\0" + str(size_of(path)).encode())

    def holds_address(self, address: str) -> bool:
        """Whether a video that is not on this machine belongs to this share."""
        return self._holds(address.encode())

    def _holds(self, name: bytes) -> bool:
        digest = hashlib.sha256(name).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def parse_share(shard: str) -> Share:
    """Read a share such as ``3/16``: the third of sixteen.

    Raises:
        ValueError: the text is something else.
    """
    match = _SHARD.fullmatch(shard)
    share = Share(int(match["number"]), int(match["count"])) if match else Share(0, 0)
    if not 1 <= share.number <= share.count:
        raise ValueError(
            "expected NUMBER/COUNT with a number from 1 to the count, such as 3/16, found "
            f"{shard!r}. Remedy: correct it."
        )
    return share


def _check_shard(shard: str) -> str:
    parse_share(shard)
    return shard


Shard = Annotated[str, AfterValidator(_check_shard)]
"""A share as text, in a configuration."""


def take_share(discovery: Discovery, shard: str | None) -> Discovery:
    """Keep the files and the rejections of one share; those of all shares are the whole.

    Args:
        discovery: all of them.
        shard: the share, see :func:`parse_share`; None for all.

    Raises:
        ValueError: the text is no share, or the share holds none of the files.
    """
    if shard is None:
        return discovery
    share = parse_share(shard)
    files = tuple(path for path in discovery.files if share.holds(path))
    rejections = tuple(one for one in discovery.rejections if share.holds(Path(one.item)))
    remote = tuple(one for one in discovery.remote if share.holds_address(one.address))
    if not files and not rejections and not remote:
        raise ValueError(
            f"shard: expected files in share {shard}, found none among "
            f"{len(discovery.files) + len(discovery.remote)} files. Remedy: nothing is to do for "
            "this share; use fewer shares for so few files."
        )
    return replace(discovery, files=files, rejections=rejections, remote=remote)
