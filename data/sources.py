"""Turn what a user names (files, folders, globs, lists) into video files."""

import csv
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import ItemError, Reason, Stage
from data.records import Rejection

VIDEO_EXTENSIONS: Final = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .ivf .m1v .m2ts .m2v .m4v .mjpeg .mkv .mov .mp4"
    " .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
LIST_EXTENSIONS: Final = frozenset({".txt", ".csv", ".parquet"})
PATH_COLUMNS: Final = ("path", "video")

_ADDRESS: Final = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the sources came to.

    Attributes:
        files: existing files, sorted by path; each real file once.
        rejections: what was named but is not there, or is not a file.
        num_ignored: files in folders whose extension is not a video's.
        num_duplicates: paths that lead to a file that another path leads to.
    """

    files: tuple[Path, ...]
    rejections: tuple[Rejection, ...]
    num_ignored: int = 0
    num_duplicates: int = 0


def path_item_id(path: Path) -> str:
    """The ``item_id`` of a file whose content cannot be hashed: it depends on the path alone."""
    digest = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return f"path-{digest[:16]}"
