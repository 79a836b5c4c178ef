"""Bring the parts of a dataset to a good size: many small ones are slow to open, huge ones to move.

Rows keep their order. The new parts are staged one by one, so that a compaction that was killed
goes on, and published together as one version. At most one row group is held in memory.
"""

import itertools
import math
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pydantic import TypeAdapter

from data.schemas import SCHEMA_VERSION, SCHEMAS
from data.store.dataset import Dataset, open_part
from data.store.manifest import DatasetError, manifest_parts, replaced_name
from data.store.parquet import (
    ROW_GROUP_ROWS,
    WrittenFile,
    open_table_file,
    read_batches,
    row_groups,
)
from data.store.versions import find_part
from data.store.writer import DatasetWriter, open_published, part_entry, write_json

TARGET_MB: Final = 128.0
"""Default size above which a part is divided, MB (1e6 bytes)."""

_SMALL: Final = 0.4
"""Share of the target below which a part is small. New parts have at least half of the target, so
that one that turns out a little smaller is not rewritten the next time."""
_AIM: Final = 0.95
"""Share of the target that new parts aim at, because sizes are known after a row group."""
_GAIN: Final = 1.1
"""Growth of the smallest part that is worth a version, where the number of parts stays."""

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Compacted:
    """Result of :func:`compact_dataset`.

    Attributes:
        version: number of the version that was published; None if there was nothing to gain.
        parts_before, parts_after: number of parts by table, for the tables that changed.
        bytes_before, bytes_after: size of the parts that were rewritten, and of those from them.
    """

    version: int | None
    parts_before: Mapping[str, int]
    parts_after: Mapping[str, int]
    bytes_before: int
    bytes_after: int


def compact_dataset(
    root: Path, target_mb: float = TARGET_MB, report: Report | None = None
) -> Compacted:
    """Rewrite small and huge parts into parts of half the target up to the target.

    Args:
        root: folder of the dataset.
        target_mb: size above which a part is divided, MB.
        report: called with the number of bytes that were read, and of all that will be.

    Raises:
        ValueError: the target is not above zero.
        DatasetError: there is no dataset, it is damaged or has the columns of a former schema
            version, or another process writes to it.
    """
    if not target_mb > 0:
        raise ValueError(
            f"expected a size above 0 MB, found {target_mb:g}. Remedy: correct --target-mb."
        )
    target = int(target_mb * 1e6)
    with open_published(root) as writer:
        dataset = Dataset(root)
        work = writer.work / "compaction"
        staged = work / f"{writer.next_publication:06d}-{target}"
        for stale in work.glob("*"):
            if stale != staged:
                shutil.rmtree(stale)
        runs = [run for table in SCHEMAS for run in _runs(dataset, table, target)]
        total, done = sum(run.bytes for run in runs), 0
        rewritten: list[tuple[_Run, Sequence[WrittenFile]]] = []
        for run in runs:
            files = _rewrite(dataset, run, staged / run.name, target)
            if _is_better(run, files):
                rewritten.append((run, files))
            done += run.bytes
            if report is not None:
                report(done, total)
        entries = {table: manifest_parts(dataset.manifest, table) for table in SCHEMAS}
        for run, files in rewritten:
            entries[run.table] = _with_new_parts(writer, entries[run.table], run, files, staged)
        version = writer.next_publication if rewritten else None
        if rewritten:
            writer.commit(entries, dataset.manifest.get("licenses", []))
        if work.exists():
            shutil.rmtree(work)
    changed = dict.fromkeys(run.table for run, _ in rewritten)
    return Compacted(
        version,
        {table: len(manifest_parts(dataset.manifest, table)) for table in changed},
        {table: len(entries[table]) for table in changed},
        sum(run.bytes for run, _ in rewritten),
        sum(file.bytes for _, files in rewritten for file in files),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighboring parts of a table that are rewritten together.

    Attributes:
        table: name of the table.
        entries: entries of the parts.
    """

    table: str
    entries: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Name of the folder of its new parts: table and first part."""
        return self.entries[0]["file"].removesuffix(".parquet")

    @property
    def bytes(self) -> int:
        """Size of the parts."""
        return sum(entry["bytes"] for entry in self.entries)

    @property
    def ends(self) -> list[int]:
        """Number of rows up to the end of each part."""
        return list(itertools.accumulate(entry["rows"] for entry in self.entries))

    def bytes_until(self, row: int) -> float:
        """Return about how many bytes the rows before one take."""
        size, begin = 0.0, 0
        for entry, end in zip(self.entries, self.ends, strict=True):
            share = min(1.0, max(0, row - begin) / max(1, end - begin))
            size, begin = size + share * entry["bytes"], end
        return size


def _runs(dataset: Dataset, table: str, target: int) -> list[_Run]:
    """Find the parts of a table that should be rewritten, by their sizes."""
    entries = manifest_parts(dataset.manifest, table)
    sizes = [entry["bytes"] for entry in entries]
    huge = [
        size > target and _row_groups(dataset, entry) > 1
        for size, entry in zip(sizes, entries, strict=True)
    ]
    wanted = [large or size < _SMALL * target for size, large in zip(sizes, huge, strict=True)]
    for begin, end in list(_stretches(wanted)):
        # What is small even together needs a neighbor.
        neighbors = [i for i in (begin - 1, end) if 0 <= i < len(sizes)]
        if sum(sizes[begin:end]) < target / 2 and neighbors:
            wanted[min(neighbors, key=lambda i: sizes[i])] = True
    runs: list[_Run] = []
    for begin, end in _stretches(wanted):
        total, count = sum(sizes[begin:end]), end - begin
        pieces = math.ceil(total / target)
        evens_out = count > 1 and total >= pieces * target / 2
        if pieces < count or any(huge[begin:end]) or evens_out:
            runs.append(_Run(table, entries[begin:end]))
    return runs


def _stretches(wanted: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield the begin and the end of each stretch of true values."""
    for is_wanted, group in itertools.groupby(enumerate(wanted), key=lambda item: item[1]):
        if is_wanted:
            numbers = [number for number, _ in group]
            yield numbers[0], numbers[-1] + 1


def _row_groups(dataset: Dataset, entry: Mapping[str, Any]) -> int:
    with open_part(dataset.root / entry["file"]) as file:
        return file.num_row_groups


def _footer_bytes_of_group(dataset: Dataset, run: _Run) -> int:
    """Return about how much a row group adds to the end of a file, which is written last.

    In tables of short rows this is some percent of the file.
    """
    largest = max(run.entries, key=lambda entry: entry["bytes"])
    with open_part(dataset.root / largest["file"]) as file:
        return file.metadata.serialized_size // max(1, file.num_row_groups)


def _rewrite(dataset: Dataset, run: _Run, folder: Path, target: int) -> list[WrittenFile]:
    """Stage the new parts of a run as ``0000.parquet`` and so on; those that exist are kept."""
    files = [
        TypeAdapter(WrittenFile).validate_json(path.read_bytes())
        for path in sorted(folder.glob("*.json"))
    ]
    row, num_rows = sum(file.rows for file in files), run.ends[-1]
    groups = row_groups(_rows_from(dataset, run, row))
    footer = _footer_bytes_of_group(dataset, run)
    folder.mkdir(parents=True, exist_ok=True)
    while row < num_rows:
        path = folder / f"{len(files):04d}.parquet"
        with open_table_file(path, run.table) as file:
            size = largest = 0
            for group in groups:
                before = file.bytes
                file.write(group)
                row += group.num_rows
                added = file.bytes - before + footer
                size, largest = size + added, max(largest, added)
                read = run.bytes_until(row)
                rest = (run.bytes - read) * (sum(file.bytes for file in files) + size) / read
                if _is_full(size, largest, rest, target):
                    break
        files.append(file.written())
        # Last: what has no such file is written again after a kill.
        write_json(path.with_suffix(".json"), asdict(files[-1]))
    return files


def _is_full(size: int, largest_group: int, rest: float, target: int) -> bool:
    """Whether a new part ends here, so that those of a run are of one size, below the target."""
    if rest <= 0:
        return False
    most = _AIM * target
    pieces = math.ceil((size + rest) / most)
    return size >= (size + rest) / pieces or size + min(largest_group, rest) > most


def _rows_from(dataset: Dataset, run: _Run, skip: int) -> Iterator[pa.Table]:
    """Read the rows of a run, from a row on.

    Raises:
        DatasetError: a part is damaged, or has the columns of a former schema version.
    """
    schema = SCHEMAS[run.table]
    for entry in run.entries:
        if skip >= entry["rows"]:
            skip -= entry["rows"]
            continue
        path = find_part(dataset.root / entry["file"])
        with open_part(path) as file:
            if file.schema_arrow.names != schema.names:
                raise DatasetError(
                    f"{path}: expected the columns of schema version {SCHEMA_VERSION}, found those "
                    "of a former one. Remedy: none is needed: this dataset can be read as it is."
                )
            if file.metadata.num_rows != entry["rows"]:
                raise DatasetError(
                    f"{path}: expected {entry['rows']} rows, found {file.metadata.num_rows}. "
                    f"Remedy: see `avatargpt check {dataset.root}`."
                )
            for batch in read_batches(file, run.table, schema.names, batch_rows=ROW_GROUP_ROWS):
                if skip < batch.num_rows:
                    yield batch.slice(skip).cast(schema)
                skip = max(0, skip - batch.num_rows)


def _is_better(run: _Run, files: Sequence[WrittenFile]) -> bool:
    """Whether the new parts are worth a version, now that their sizes are known."""
    if len(files) != len(run.entries):
        return True
    before = min(entry["bytes"] for entry in run.entries)
    return min(file.bytes for file in files) > _GAIN * before


def _with_new_parts(
    writer: DatasetWriter,
    entries: Sequence[Mapping[str, Any]],
    run: _Run,
    files: Sequence[WrittenFile],
    staged: Path,
) -> list[Mapping[str, Any]]:
    """Replace the parts of a run by the new ones, which move to where a commit takes them."""
    serial = writer.next_publication
    begins = itertools.accumulate((file.rows for file in files[:-1]), initial=0)
    # A new part has the name of the part in which it begins, so that names keep the rows' order.
    sources = [bisect_right(run.ends, begin) for begin in begins]
    new: list[Mapping[str, Any]] = []
    for number, (file, source) in enumerate(zip(files, sources, strict=True)):
        piece = 1 + number - sources.index(source) if sources.count(source) > 1 else None
        name = replaced_name(run.entries[source]["file"], serial, piece)
        (staged / run.name / f"{number:04d}.parquet").replace(writer.aside(name))
        new.append(part_entry(name, file, serial))
    first = entries.index(run.entries[0])
    return [*entries[:first], *new, *entries[first + len(run.entries) :]]
