"""A published dataset, read a few rows at a time: tables do not fit into memory."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data.schemas import SCHEMAS, Row
from data.store.manifest import DatasetError, manifest_parts, read_manifest, require_plain
from data.store.overrides import Overrides, read_overrides
from data.store.parquet import (
    BATCH_ROWS,
    Where,
    open_parquet,
    read_batches,
    row_group_numbers,
    table_rows,
)
from data.store.versions import find_part, read_version, root_of_part

WHOLE_BATCH_ROWS: Final = 65_536
"""Batch size for reading a few columns of a whole table."""


@contextmanager
def open_part(part: Path) -> Generator[pq.ParquetFile]:
    """Open a part of a dataset. Page checksums are verified while it is read.

    A part that a writer has replaced meanwhile is found where older versions keep theirs.

    Raises:
        DatasetError: the part cannot be read, or a checksum does not match. Errors of reading
            within the context are converted, too.
    """
    try:
        with ExitStack() as stack:
            try:
                file = stack.enter_context(open_parquet(part))
            except FileNotFoundError:
                file = stack.enter_context(open_parquet(find_part(part)))
            yield file
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{part}: expected a readable part, found: {' '.join(str(error).split())[:200]} "
            f"Remedy: `avatargpt check {root_of_part(part)}` shows what is damaged, and what to do."
        ) from error


class Dataset:
    """A published dataset, open for reading.

    What it reads stays as it is while others write, until older versions are collected.

    Args:
        root: folder of the dataset.
        version: number of an older version to read; by default the current one.
        reviews: apply the reviews of people (:mod:`data.store.overrides`). Without, rows are as
            they were published.

    Raises:
        DatasetError: there is no dataset or version, its schema version is not supported, its
            manifest is damaged, or its reviews are.
    """

    def __init__(self, root: Path, version: int | None = None, *, reviews: bool = False) -> None:
        self.root = root
        self.overrides = read_overrides(root) if reviews else Overrides(())
        self.manifest: dict[str, Any] = (
            read_manifest(root) if version is None else read_version(root, version)
        )

    def parts(self, table: str) -> list[Path]:
        """Return the files of a table, in the order of its rows; those on S3 are downloaded.

        Raises:
            DatasetError: a file is missing, or is a symbolic link.
            data.remote.errors.RemoteError: a file cannot be downloaded.
        """
        return list(self._each_part(table))

    def _each_part(self, table: str) -> Iterator[Path]:
        """Yield the files of a table; one is downloaded when it is its turn."""
        entries = manifest_parts(self.manifest, table)
        if entries:
            require_plain(self.root / table, folder=True)
        for part in entries:
            yield find_part(self.root / part["file"])

    def batches(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        *,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.Table]:
        """Read the published rows of a table in batches, filtered in Parquet.

        Args:
            table: name of the table.
            columns: columns to read; by default all.
            where: column to requested values; by default all rows.
            batch_rows: maximum number of rows in a batch.

        Yields:
            Tables of at least one row.

        Raises:
            DatasetError: a part is missing or damaged.
        """
        wanted = list(columns) if columns is not None else SCHEMAS[table].names
        needed = self.overrides.columns(table, wanted)
        for part in self._each_part(table):
            with open_part(part) as file:
                for batch in read_batches(file, table, needed, where, batch_rows=batch_rows):
                    kept = self.overrides.apply(table, batch)
                    if kept.num_rows:
                        yield kept.select(wanted)

    def rows(
        self, table: str, columns: Sequence[str] | None = None, where: Where | None = None
    ) -> Iterator[Row]:
        """Yield the rows of :meth:`batches` as dictionaries; lists of numbers are NumPy arrays."""
        for batch in self.batches(table, columns, where):
            yield from table_rows(batch)

    def read(
        self, table: str, columns: Sequence[str] | None = None, where: Where | None = None
    ) -> pa.Table:
        """Read the rows of :meth:`batches` into one table, which must fit into memory."""
        schema = SCHEMAS[table]
        wanted = list(columns) if columns is not None else schema.names
        tables = list(self.batches(table, wanted, where, batch_rows=WHOLE_BATCH_ROWS))
        if not tables:
            return pa.schema([schema.field(name) for name in wanted]).empty_table()
        return pa.concat_tables(tables)

    def frame(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        *,
        arrow: bool = False,
    ) -> pd.DataFrame:
        """Read the rows of :meth:`read` into a DataFrame.

        Args:
            table: name of the table.
            columns: columns to read; by default all.
            where: column to requested values; by default all rows.
            arrow: keep texts and lists in Arrow's memory, which takes a fraction of the time and
                memory; a value becomes a Python object when it is looked at.
        """
        read = self.read(table, columns, where)
        return read.to_pandas(types_mapper=pd.ArrowDtype) if arrow else read.to_pandas()

    def counts(self, table: str, column: str) -> Counter[Any]:
        """Count the rows that have each value of a column."""
        found = self.counts_together(table, [column])
        return Counter({value: count for (value,), count in found.items()})

    def counts_together(self, table: str, columns: Sequence[str]) -> Counter[tuple[Any, ...]]:
        """Count the rows that have each combination of values of several columns."""
        counts = Counter[tuple[Any, ...]]()
        for batch in self.batches(table, columns, batch_rows=WHOLE_BATCH_ROWS):
            grouped = batch.group_by(list(columns)).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                counts[tuple(row[name] for name in columns)] += row["count_all"]
        return counts

    def num_rows(self, table: str) -> int:
        """Return the number of rows of a table."""
        return sum(part["rows"] for part in manifest_parts(self.manifest, table))


class RowIndex:
    """An index of a table's rows by id. Only ids are held in memory; rows are read on request.

    Args:
        dataset: the dataset.
        table: name of the table.
        key: column of the ids.
        columns: columns to read; by default all.
    """

    def __init__(
        self, dataset: Dataset, table: str, key: str, columns: Sequence[str] | None = None
    ) -> None:
        self._overrides = dataset.overrides
        self._table = table
        self._key = key
        self._columns = list(columns) if columns is not None else SCHEMAS[table].names
        self._parts = dataset.parts(table)
        self._places: dict[str, tuple[tuple[int, int], ...]] = {}
        for number, part in enumerate(self._parts):
            with open_part(part) as file:
                ids = file.read(columns=[key])[key].to_pylist()
                # The rows of a row group share one object, so that an id costs little memory.
                places = [((number, group),) for group in range(file.num_row_groups)]
                for one, group in zip(ids, row_group_numbers(file).tolist(), strict=True):
                    known = self._places.get(one, ())
                    if places[group][0] not in known:
                        self._places[one] = known + places[group] if known else places[group]

    def get(self, ids: Iterable[str]) -> dict[str, list[Row]]:
        """Read the rows of ids, in the order of the table. Ids without rows are left out."""
        wanted = {one for one in ids if one in self._places}
        groups: dict[int, set[int]] = {}
        for one in wanted:
            for part, group in self._places[one]:
                groups.setdefault(part, set()).add(group)
        found: dict[str, list[Row]] = {}
        columns = list(dict.fromkeys((self._key, *self._columns)))
        needed = self._overrides.columns(self._table, columns)
        for part in sorted(groups):
            with open_part(self._parts[part]) as file:
                batches = read_batches(
                    file, self._table, needed, {self._key: wanted}, groups=sorted(groups[part])
                )
                kept = (self._overrides.apply(self._table, batch) for batch in batches)
                for row in (row for batch in kept for row in table_rows(batch.select(columns))):
                    found.setdefault(row[self._key], []).append(row)
        return found
