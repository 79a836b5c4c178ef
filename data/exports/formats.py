"""Write a dataset as WebDataset shards or as a Lance table, each through the format's own library.

An export appears as a whole: it is written beside its place, under a temporary name, and renamed.
"""

import importlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from data.arrays import FloatArray
from data.exports.samples import Sample, count_samples, read_samples
from data.store.dataset import Dataset
from data.store.manifest import DatasetError

Format = Literal["webdataset", "lance"]
Report = Callable[[int, int], None]

SHARD_SAMPLES: Final = 2_000
SHARD_BYTES: Final = 256 * 2**20
"""Limits of a shard; whichever is met first ends it."""
_LANCE_ROWS: Final = 256
"""Rows of a batch: 160 frames of joints and features take 200 kB each."""
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")
LIBRARIES: Final[Mapping[Format, tuple[str, str]]] = {
    "webdataset": ("webdataset", "webdataset"),
    "lance": ("lance", "pylance"),
}
"""Module and package of the library of each format."""

_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("key", "split", "kind", "about")),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("num_frames", pa.int32()),
        pa.field("joints", pa.list_(pa.float32())),
        pa.field("features", pa.list_(pa.float32())),
    ]
)


@dataclass(slots=True)
class Exported:
    """What was exported.

    Attributes:
        samples: number of samples by split.
        left_out: annotations that failed, or whose person has no joints.
        bytes: size of the export.
    """

    samples: dict[str, int] = field(default_factory=dict[str, int])
    left_out: int = 0
    bytes: int = 0


def export_dataset(root: Path, out: Path, form: Format, report: Report | None = None) -> Exported:
    """Export a dataset, with the reviews of people applied.

    Args:
        root: folder of the dataset.
        out: the new folder.
        form: format.
        report: called with the number of rows that were read, and of all that will be.

    Raises:
        ValueError: the library of the format is missing, or the new folder exists.
        DatasetError: the dataset is damaged, or has no samples.
        OSError: the folder cannot be written.
    """
    module, package = LIBRARIES[form]
    try:
        library = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--format {form}: expected the package {package}, found none ({error}). Remedy: "
            f"pip install 'avatargpt[exports]', or pip install {package}."
        ) from error
    if out.exists() or out.is_symlink():
        raise ValueError(
            f"{out}: expected a new folder, found one that exists. Remedy: name another one, or "
            "remove it."
        )
    dataset = Dataset(root, reviews=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.tmp-", dir=out.parent))
    try:
        made = Exported()
        samples = _counted(dataset, made, report or (lambda _done, _total: None))
        write = _write_webdataset if form == "webdataset" else _write_lance
        write(library, samples, building / "made")
        if not made.samples:
            raise DatasetError(
                f"{root}: expected described people with joints, or motions, found none in "
                f"{made.left_out} annotations. Remedy: see `avatargpt stats {root}`."
            )
        files = [path for path in (building / "made").rglob("*") if path.is_file()]
        made.bytes = sum(path.stat().st_size for path in files)
        (building / "made").rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return made


def _counted(dataset: Dataset, made: Exported, report: Report) -> Iterator[Sample]:
    """Yield the samples of a dataset, and count them."""
    total = count_samples(dataset)
    for done, sample in enumerate(read_samples(dataset), 1):
        if sample is None:
            made.left_out += 1
        else:
            made.samples[sample.split] = made.samples.get(sample.split, 0) + 1
            yield sample
        report(done, total)


# -------------------------------------------------------------------------------------- WebDataset


def _write_webdataset(library: Any, samples: Iterator[Sample], folder: Path) -> None:
    """Write ``SPLIT-000000.tar`` and so on, whose members are JSON, texts and arrays."""
    folder.mkdir()
    with ExitStack() as stack:
        shards: dict[str, _Shards] = {}
        for sample in samples:
            if sample.split not in shards:
                shards[sample.split] = stack.enter_context(_Shards(library, folder, sample.split))
            shards[sample.split].add(_members(sample))


class _Shards:
    """The shards of a split, one open at a time."""

    def __init__(self, library: Any, folder: Path, split: str) -> None:
        self._library = library
        self._folder = folder
        self._split = split
        self._number = self._samples = self._bytes = 0
        self._file: io.BufferedWriter | None = None
        self._writer: Any = None

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, members: Mapping[str, str | bytes]) -> None:
        if self._samples >= SHARD_SAMPLES or self._bytes >= SHARD_BYTES:
            self._close()
        if self._file is None:
            path = self._folder / f"{self._split}-{self._number:06d}.tar"
            self._file = path.open("xb")
            # Times and names of the writer are left out, so that equal datasets have equal shards.
            self._writer = self._library.TarWriter(
                self._file, encoder=False, user="", group="", mtime=0.0
            )
            self._number += 1
            self._samples = self._bytes = 0
        self._bytes += self._writer.write(members)
        self._samples += 1

    def _close(self) -> None:
        if self._file is not None:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _members(sample: Sample) -> dict[str, str | bytes]:
    members: dict[str, str | bytes] = {
        "__key__": sample.key,
        "json": _json(sample).encode(),
        "txt": "\n".join(sample.captions).encode(),
        "joints.npy": _npy(sample.joints_TJ3),
    }
    if sample.features_TD is not None:
        members["features.npy"] = _npy(sample.features_TD)
    return members


def _npy(array: FloatArray) -> bytes:
    content = io.BytesIO()
    np.save(content, array.astype(np.float32), allow_pickle=False)
    return content.getvalue()


def _json(sample: Sample) -> str:
    about = sample.about | {"split": sample.split}
    return json.dumps(about, ensure_ascii=False, allow_nan=False)


# ------------------------------------------------------------------------------------------- Lance


def _write_lance(library: Any, samples: Iterator[Sample], folder: Path) -> None:
    """Write one table, whose arrays are flat lists."""
    failed: list[Exception] = []

    def batches() -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        try:
            for sample in samples:
                rows.append(_row(sample))
                if len(rows) == _LANCE_ROWS:
                    yield pa.RecordBatch.from_pylist(rows, _SCHEMA)
                    rows = []
            yield pa.RecordBatch.from_pylist(rows, _SCHEMA)
        except Exception as error:
            # The library knows only that its source has failed.
            failed.append(error)
            raise

    reader = pa.RecordBatchReader.from_batches(_SCHEMA, batches())
    try:
        library.write_dataset(reader, str(folder), schema=_SCHEMA, mode="create")
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number and not failed:
            # The library tells an error of the system, such as a full disk, as a text only.
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error
        raise (failed[0] if failed else error) from error


def _row(sample: Sample) -> dict[str, Any]:
    features = sample.features_TD
    return {
        "key": sample.key,
        "split": sample.split,
        "kind": sample.about["kind"],
        "about": _json(sample),
        "captions": list(sample.captions),
        "num_frames": len(sample.joints_TJ3),
        "joints": sample.joints_TJ3.astype(np.float32).ravel(),
        "features": None if features is None else features.astype(np.float32).ravel(),
    }
