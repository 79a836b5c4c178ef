"""Folders of this machine that stand for a prefix on S3.

A dataset on S3 is opened through such a folder: it holds the parts that were read, and unfinished
work. The code that reads and writes folders needs no address; what opens them looks for the link.

A link lies beside its folder, not inside, and the name of the folder depends on the address: a
dataset of somebody else cannot bring a link along that makes this machine write elsewhere::

    HOME/s3/ds-0123456789ab/            the folder
    HOME/s3/.links/ds-0123456789ab.json its address, and the bound of all such folders
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.remote.addresses import S3Address, parse_s3
from data.remote.errors import RemoteError

DEFAULT_HOME: Final = Path("~/avatargpt")
"""Home folder where none is configured."""
DEFAULT_CACHE_GB: Final = 100.0

_FOLDER: Final = "s3"
_LINKS: Final = ".links"
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_BELOW: Final = re.compile(rf"/(?:.*/)?({_FOLDER}/[A-Za-z0-9_-]{{0,40}}-[0-9a-f]{{12}}(?:/.*)?)")


@dataclass(frozen=True, slots=True)
class Link:
    """A folder with its address.

    Attributes:
        folder: the folder.
        address: what it stands for.
        max_bytes: bound of the parts that all folders beside it hold.
    """

    folder: Path
    address: S3Address
    max_bytes: int

    @property
    def state(self) -> Path:
        """File that remembers which manifest the folder has."""
        return _links(self.folder) / f"{self.folder.name}.etag"


def link_folder(address: str, home: Path, cache_gb: float = DEFAULT_CACHE_GB) -> Path:
    """Return the folder that stands for an address; it and its link are created if missing.

    Args:
        address: ``s3://bucket/prefix``.
        home: home folder.
        cache_gb: bound of the parts of datasets that all such folders hold, GB.

    Raises:
        ValueError: the address is not valid, or names a whole bucket.
    """
    parsed = parse_s3(address)
    if not parsed.key:
        raise ValueError(
            f"{address}: expected a prefix after the bucket, found none. Remedy: name one, such as "
            f"{parsed}/dataset."
        )
    folder = home.expanduser().absolute() / _FOLDER / _name_of(parsed)
    folder.mkdir(parents=True, exist_ok=True)
    link = _links(folder) / f"{folder.name}.json"
    content = json.dumps({"address": str(parsed), "max_bytes": int(cache_gb * 1e9)})
    if not link.exists() or link.read_text() != content:
        link.parent.mkdir(exist_ok=True)
        new = link.with_name(f".{link.name}-{os.getpid()}")
        new.write_text(content)
        new.replace(link)
    return folder


def find_link(folder: Path) -> Link | None:
    """Return the link of a folder, or None: then it is an ordinary folder.

    Raises:
        RemoteError: the link is damaged.
    """
    link = _links(folder) / f"{folder.name}.json"
    try:
        text = link.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        stored = json.loads(text)
        address, max_bytes = parse_s3(stored["address"]), int(stored["max_bytes"])
        if _name_of(address) != folder.name:
            raise ValueError(f"the address {address}")
    except (ValueError, TypeError, KeyError) as error:
        raise RemoteError(
            f"{link}: expected the link of {folder.name}, found {error}. Remedy: remove the file; "
            "naming the dataset by its s3:// address makes it again."
        ) from error
    return Link(folder, address, max_bytes)


def find_link_above(path: Path) -> tuple[Link, str] | None:
    """Return the link of the nearest linked folder that holds a path, and the path below it."""
    for folder in (path, *path.parents):
        if folder.parent.name == _FOLDER and (link := find_link(folder)) is not None:
            return link, path.relative_to(folder).as_posix()
    return None


def shared_part(path: str) -> str:
    """Return the part of a path that is the same on all machines.

    That is what follows the home folder of the machine, if the path leads to a linked folder, and
    else all of it.
    """
    found = _BELOW.fullmatch(path)
    return path if found is None else found[1]


def _links(folder: Path) -> Path:
    return folder.parent / _LINKS


def _name_of(address: S3Address) -> str:
    last = _NOT_IN_NAME.sub("-", address.key.rpartition("/")[2])[:40]
    return f"{last}-{hashlib.sha256(str(address).encode()).hexdigest()[:12]}"
