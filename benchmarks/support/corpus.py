"""The larger corpus of real clips and motion capture, which is not part of this repository.

It is the folder `AVATARGPT_CORPUS`, by default `../shared/data` beside the clone, with `videos/`,
`mocap/` and `text/`; samples of other projects lie beside it, in `../reference`.

Shapes: T frames at 20 fps, J = 22 joints, meters, y up.
"""

import os
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BESIDE: Final = Path(__file__).resolve().parents[2].with_name("shared") / "data"
CORPUS: Final = Path(os.environ.get("AVATARGPT_CORPUS") or _BESIDE).expanduser().resolve()
VIDEOS: Final = CORPUS / "videos"
MOCAP: Final = CORPUS / "mocap"
TEXT: Final = CORPUS / "text"
REFERENCE: Final = CORPUS.with_name("reference")

REMEDY: Final = (
    "Remedy: set AVATARGPT_CORPUS to the folder that holds videos/, mocap/ and text/ (with "
    "reference/ beside it), or put it at ../shared/data beside the clone. It is not published: its "
    "files have licenses of their own; ask whoever gave you this repository."
)

Motion = NDArray[np.float64]


class CorpusMissingError(Exception):
    """A part of the corpus is missing; the message says where it was expected."""


def missing_parts() -> list[Path]:
    """Return the missing folders of the corpus."""
    return [path for path in (VIDEOS, MOCAP, TEXT, REFERENCE) if not path.is_dir()]


def need_corpus() -> None:
    """Check that the corpus is there.

    Raises:
        CorpusMissingError: a part of it is not.
    """
    if missing := missing_parts():
        raise CorpusMissingError(f"{missing[0]}: expected this part of the corpus, found nothing.")


def run_with_corpus(main: Callable[[], None]) -> None:
    """Run a benchmark; without its data, say what is missing and exit with 2."""
    try:
        main()
    except CorpusMissingError as error:
        sys.stderr.write(f"error: {error} {REMEDY}\n")
        sys.exit(2)


@cache
def _load(name: str) -> dict[str, NDArray[np.generic]]:
    need_corpus()
    with np.load(MOCAP / name) as file:
        return {key: file[key] for key in file.files}


def mocap(name: str, label_key: str) -> list[tuple[str, str, Motion]]:
    """(key, label, joints (T, 22, 3)) of every sequence of a set.

    Raises:
        CorpusMissingError: the corpus is not there.
    """
    file = _load(name)
    offsets = file["offsets"].astype(np.int64)
    positions = file["positions"]
    return [
        (str(key), str(label), positions[start:end].astype(np.float64))
        for key, label, start, end in zip(
            file["keys"], file[label_key], offsets[:-1], offsets[1:], strict=True
        )
    ]


def held_out(key: str) -> bool:
    """Return the second half of the takes; thresholds were set on the first."""
    return zlib.crc32(key.encode()) % 2 == 1
