"""Files of the index that are mapped into memory, so that only what is asked for is read."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

BATCH: Final = 65_536
"""Rows of a batch while the index is built."""
compute: Final[Any] = pyarrow.compute
"""Most of its functions are made when it is imported, where no type checker sees them."""
_LAST: Final = "\U0010ffff"
"""Sorts after every letter."""

Array = np.ndarray[Any, Any]
Row = dict[str, Any]


def write_array(path: Path, array: Array) -> None:
    """Write an array for :func:`map_array`; integers as the narrowest type that holds them."""
    if array.dtype.kind in "iu":
        array = array.astype(np.min_scalar_type(int(array.max(initial=0))))
    np.save(path, array)


def map_array(path: Path) -> Array:
    """Map an array into memory."""
    return np.load(path, mmap_mode="r")


class Sorted:
    """A table that is sorted by its first column, a text.

    Args:
        path: file that :meth:`write` has written.
    """

    def __init__(self, path: Path) -> None:
        self._batch = RowFile(path).batches[0]
        self._keys = self._batch.column(0)

    @staticmethod
    def write(path: Path, keys: pa.Array, **columns: Array) -> None:
        """Sort a table, and write it; rows of equal keys keep their order.

        Args:
            path: the new file.
            keys: texts; rows whose key is null are left out.
            columns: further columns, integers.
        """
        order = compute.sort_indices(keys).slice(0, len(keys) - keys.null_count)
        fields = {"key": keys.cast(pa.large_string()).take(order)}
        fields |= {name: pa.array(column).take(order) for name, column in columns.items()}
        batch = pa.RecordBatch.from_pydict(fields)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)

    def equal(self, key: str) -> list[Row]:
        """Return the rows of a key."""
        first, last = self.find(key)
        return self._batch.slice(first, last - first).to_pylist()

    def find(self, key: str) -> tuple[int, int]:
        """Return the number of the first row of a key, and after the last."""
        # No text sorts between a key and the key with the first of all letters.
        return self._position(key), self._position(key + "\0")

    def prefixed(self, prefix: str) -> tuple[int, int]:
        """Return the number of the first row whose key starts with a prefix, and after the last."""
        return self._position(prefix), self._position(prefix + _LAST)

    def keys(self, first: int, last: int) -> list[str]:
        """Return some keys, from one number to before another."""
        return self._keys.slice(first, last - first).to_pylist()

    def _position(self, key: str) -> int:
        # Texts are sorted by their bytes, which is the order of Python's texts, too.
        return bisect_left(range(len(self._keys)), key, key=lambda i: self._keys[i].as_py())


class RowFile:
    """Rows in the order in which they were written.

    Args:
        path: Arrow file.

    Attributes:
        batches: the rows.
    """

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._schema = reader.schema
        self._ends = np.cumsum([batch.num_rows for batch in self.batches])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.batches else 0

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column, which is not read before its values are."""
        columns = [batch.column(name) for batch in self.batches]
        return pa.chunked_array(columns, self._schema.field(name).type)

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """Return rows by number, in the requested order."""
        found: dict[int, Row] = {}
        for batch, chosen in self._by_batch(np.unique(np.asarray(numbers, np.int64))):
            first = int(self._ends[batch]) - self.batches[batch].num_rows
            rows = self.batches[batch].take(pa.array(chosen - first)).to_pylist()
            found |= zip(chosen.tolist(), rows, strict=True)
        return [found[number] for number in numbers]

    def _by_batch(self, numbers: Array) -> Iterator[tuple[int, Array]]:
        batches = np.searchsorted(self._ends, numbers, side="right")
        for batch in np.unique(batches).tolist():
            yield batch, numbers[batches == batch]
