"""The videos of a run that are not on this machine, downloaded into a bounded cache."""

from pathlib import Path
from typing import Final

from pydantic import Field

from data.config import Config
from data.remote.addresses import is_s3, parse_s3
from data.remote.cache import FileCache
from data.remote.objects import download_object
from data.remote.transfers import Fetched
from data.remote.web import download_page

DEFAULT_FOLDER: Final = Path("~/.cache/avatargpt/videos")
"""Folder of the cache where none is configured."""

_GB: Final = 10**9


class DownloadConfig(Config):
    """Limits of the videos that are downloaded."""

    cache_gb: float = Field(
        default=50.0,
        gt=0,
        description="Bound of the cache of downloaded videos, GB. It should hold the videos of two "
        "shards; if it holds those of a whole run, each is downloaded once.",
    )
    max_file_gb: float = Field(
        default=20.0, gt=0, description="Size of a video above which it is rejected, GB."
    )
    allow_private: bool = Field(
        default=False,
        description="Whether https addresses may lead into a private network. Leave it off for "
        "lists of others.",
    )


def open_cache(folder: Path, config: DownloadConfig) -> FileCache:
    """Return the cache of downloaded videos in a folder."""
    max_bytes = int(config.max_file_gb * _GB)

    def fetch(address: str, target: Path) -> Fetched:
        if is_s3(address):
            return download_object(parse_s3(address), target, max_bytes)
        return download_page(address, target, max_bytes, allow_private=config.allow_private)

    return FileCache(folder.expanduser(), int(config.cache_gb * _GB), fetch)
