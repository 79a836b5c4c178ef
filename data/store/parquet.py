"""Write the Parquet files of the dataset's tables durably, and read them in small batches.

No function holds more than one row group in memory, because the joints of a large dataset do not
fit. Pages carry checksums, which every read verifies. Files of earlier versions without checksums
are read unverified.
"""

import functools
import hashlib
import io
import operator
import os
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.schemas import ADDED_COLUMNS, FLOAT_LEAVES, FORMER_NAMES, SCHEMAS, Row

TEMPORARY: Final = ".tmp-"
"""Between the name of a partial file's target and the ID of the process that writes it."""
ROW_GROUP_ROWS: Final = 256
BATCH_ROWS: Final = 64
"""Default number of rows in a batch; 64 tracks of 160 frames take 6 MB."""

Where = Mapping[str, Collection[Any]]
"""Column to requested values. A row matches if it has one of the values in each column."""


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """Facts about a written file.

    Attributes:
        rows: number of rows.
        bytes: size in bytes.
        sha256: SHA-256 of the content, hex.
    """

    rows: int
    bytes: int
    sha256: str


class _HashedFile(io.RawIOBase):
    """A new file whose content is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self.hash = hashlib.sha256()
        self.num_bytes = 0
        self._file = path.open("xb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)

    def close(self) -> None:
        if not self.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        super().close()


def fresh_temporary(path: Path) -> Path:
    """Return the name of this process's partial file of a file; no such file exists afterwards.

    A file that is left from a killed process of the same ID is removed, because it could be a
    symbolic link. The writer of a dataset removes those of other processes (:data:`TEMPORARY`).
    """
    temporary = path.with_name(f"{path.name}{TEMPORARY}{os.getpid()}")
    temporary.unlink(missing_ok=True)
    return temporary


class TableFile:
    """A Parquet file of a table that is being written; use :func:`open_table_file`.

    Attributes:
        rows: number of rows so far.
    """

    def __init__(self, file: _HashedFile, writer: pq.ParquetWriter) -> None:
        self.rows = 0
        self._file = file
        self._writer = writer

    @property
    def bytes(self) -> int:
        """Size so far; the footer is written last."""
        return self._file.num_bytes

    def write(self, group: pa.Table) -> None:
        """Write the next row group, of at most :data:`ROW_GROUP_ROWS` rows."""
        self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        self.rows += group.num_rows

    def written(self) -> WrittenFile:
        """Return the facts about the file, after it was closed."""
        return WrittenFile(self.rows, self._file.num_bytes, self._file.hash.hexdigest())


@contextmanager
def open_table_file(path: Path, name: str) -> Generator[TableFile]:
    """Write one Parquet file of a table with the dataset's encodings, atomically and durably.

    Args:
        path: the file; it appears when the context is left without an error.
        name: name of the table.
    """
    schema = SCHEMAS[name]
    leaves = [f"{column}.list.element" for column in FLOAT_LEAVES.get(name, ())]
    dictionary = [field.name for field in schema if pa.types.is_string(field.type)]
    temporary = fresh_temporary(path)
    with (
        _HashedFile(temporary) as file,
        pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            # The stubs know only booleans here; both take column names.
            use_dictionary=dictionary,  # pyright: ignore[reportArgumentType]
            use_byte_stream_split=leaves or False,  # pyright: ignore[reportArgumentType]
            write_page_checksum=True,
        ) as writer,
    ):
        yield TableFile(file, writer)
    temporary.replace(path)


def write_tables(path: Path, name: str, tables: Iterable[pa.Table]) -> WrittenFile:
    """Write one file of a table, see :func:`open_table_file`.

    Args:
        path: the file.
        name: name of the table.
        tables: the rows in pieces of any size; at most one row group is held in memory.
    """
    with open_table_file(path, name) as file:
        for group in row_groups(table.cast(SCHEMAS[name]) for table in tables):
            file.write(group)
    return file.written()


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Regroup rows into tables of :data:`ROW_GROUP_ROWS`; the last one may be shorter."""
    waiting: list[pa.Table] = []
    num_rows = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, ROW_GROUP_ROWS - num_rows)
            start += piece.num_rows
            num_rows += piece.num_rows
            waiting.append(piece)
            if num_rows == ROW_GROUP_ROWS:
                yield pa.concat_tables(waiting)
                waiting, num_rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


@contextmanager
def open_parquet(path: Path) -> Generator[pq.ParquetFile]:
    """Open a Parquet file whose page checksums are verified when they are read."""
    # `pre_buffer` would hold all columns of all row groups that are going to be read.
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
        yield file


def read_batches(
    file: pq.ParquetFile,
    name: str,
    columns: Sequence[str],
    where: Where | None = None,
    *,
    groups: Sequence[int] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.Table]:
    """Read rows of a file in batches.

    Args:
        file: the file.
        name: name of the table.
        columns: columns to read. Those that the file's version lacks are filled in.
        where: filter; of row groups without a match only the filter's columns are read.
        groups: row groups to read; by default all.
        batch_rows: maximum number of rows in a batch.

    Yields:
        Tables of at least one row.
    """
    if where and groups is None:
        groups = _groups_with(file, name, where)
    wanted = (*columns, *(where or ()))
    read = _stored_names(file, name, wanted)
    lacking = _lacking(file, name) & set(wanted)
    for batch in file.iter_batches(
        batch_rows,
        row_groups=None if groups is None else list(groups),
        columns=list(read),
    ):
        table = _filled(pa.Table.from_batches([batch]).rename_columns(read), name, lacking)
        if where:
            table = table.filter(_every_value(where, table.schema))
        if table.num_rows:
            yield table.select(list(columns))


def current_schema(file: pq.ParquetFile, name: str) -> pa.Schema:
    """Return the schema of a file with current column names, and with the columns that it lacks.

    Args:
        file: the file.
        name: name of the table.
    """
    names = {former: current for current, former in FORMER_NAMES.items()}
    fields = [field.with_name(names.get(field.name, field.name)) for field in file.schema_arrow]
    lacking = _lacking(file, name)
    for index, field in enumerate(SCHEMAS[name]):
        if field.name in lacking:
            fields.insert(index, field)
    return pa.schema(fields)


def _lacking(file: pq.ParquetFile, name: str) -> frozenset[str]:
    """Return the columns that the schema version of a file lacks."""
    return ADDED_COLUMNS.get(name, frozenset()) - set(file.schema_arrow.names)


def _filled(table: pa.Table, name: str, lacking: Iterable[str]) -> pa.Table:
    """Add columns that a file lacks: null, and for lists empty lists."""
    for column in lacking:
        kind = SCHEMAS[name].field(column).type
        empty = [] if pa.types.is_list(kind) else None
        table = table.append_column(column, pa.array([empty] * table.num_rows, kind))
    return table


def _stored_names(file: pq.ParquetFile, name: str, columns: Iterable[str]) -> dict[str, str]:
    """Map the names of columns in a file to their current names.

    Without any of the columns the first one is read, because rows are counted by a column.
    """
    stored, lacking = file.schema_arrow.names, _lacking(file, name)
    found = [column for column in columns if column not in lacking] or stored[:1]
    return {
        column if column in stored else FORMER_NAMES.get(column, column): column for column in found
    }


def row_group_numbers(file: pq.ParquetFile) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the row group of each row, (rows,)."""
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    return np.repeat(np.arange(len(sizes)), sizes)


def table_rows(table: pa.Table) -> Iterator[Row]:
    """Yield rows as dictionaries. Lists of numbers are NumPy arrays, a tenth of the size."""
    columns = [_values(table.column(name).combine_chunks()) for name in table.column_names]
    for values in zip(*columns, strict=True):
        yield dict(zip(table.column_names, values, strict=True))


def _every_value(where: Where, schema: pa.Schema) -> pc.Expression:
    conditions = (
        pc.field(name).isin(pa.array(list(values), schema.field(name).type))
        for name, values in where.items()
    )
    return functools.reduce(operator.and_, conditions)


def _groups_with(file: pq.ParquetFile, name: str, where: Where) -> list[int]:
    names = _stored_names(file, name, where)
    keys = file.read(columns=list(names)).rename_columns(names)
    keys = _filled(keys, name, _lacking(file, name) & set(where))
    numbered = keys.append_column("row_group", pa.array(row_group_numbers(file)))
    found = numbered.filter(_every_value(where, keys.schema))["row_group"]
    return found.unique().to_pylist()


def _values(array: pa.Array) -> Sequence[Any]:
    kind = array.type
    numbers = pa.types.is_list(kind) and (
        pa.types.is_floating(kind.value_type)
        or pa.types.is_integer(kind.value_type)
        or pa.types.is_boolean(kind.value_type)
    )
    if not numbers:
        return array.to_pylist()
    flat = array.values.to_numpy(zero_copy_only=False)
    offsets = array.offsets.to_numpy()
    known = array.is_valid().to_numpy(zero_copy_only=False)
    return [
        flat[begin:end] if is_known else None
        for begin, end, is_known in zip(offsets[:-1], offsets[1:], known, strict=True)
    ]
