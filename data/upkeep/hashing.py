"""Hashes of values and rows, 64 bits each, to compare tables that do not fit into memory.

Equal hashes mean equal values, but for one in 10^19; numbers are compared bit by bit. N: rows.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_NULL: Final = 0x9E3779B97F4A7C15
_FACTOR: Final = np.uint64(0xD6E8FEB86659FD93)


def hash_rows(table: pa.Table, columns: Sequence[str]) -> Hashes:
    """Hash the rows of a table, (N,).

    Args:
        table: the table.
        columns: columns to hash; their order counts.
    """
    return combine([hash_values(table[name]) for name in columns], table.num_rows)


def combine(hashes: Iterable[Hashes], num_rows: int) -> Hashes:
    """Combine hashes of several values of each row to one, (N,); their order counts."""
    combined = np.full(num_rows, _NULL, np.uint64)
    for one in hashes:
        combined = _mix(combined * _FACTOR + one)
    return combined


def hash_values(values: pa.ChunkedArray | pa.Array) -> Hashes:
    """Hash the values of a column of any of the types of the dataset's tables, (N,).

    Raises:
        TypeError: the column has another type.
    """
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    hashes = _hash(array)
    if array.null_count:
        known = array.is_valid().to_numpy(zero_copy_only=False)
        hashes = np.where(known, hashes, np.uint64(_NULL))
    return hashes


def _hash(array: pa.Array) -> Hashes:
    """Hash values; null ones get any hash."""
    kind = array.type
    if pa.types.is_string(kind):
        encoded = array.dictionary_encode()
        texts = [text.encode() for text in encoded.dictionary.to_pylist()]
        digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
        hashes = np.frombuffer(digests + bytes(8), np.uint64)
        return hashes[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    if pa.types.is_list(kind):
        return _hash_lists(array)
    if pa.types.is_struct(kind):
        return combine(map(hash_values, array.flatten()), len(array))
    if pa.types.is_boolean(kind):
        return _hash(array.cast(pa.uint8()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
        bits = np.ascontiguousarray(numbers).view(f"u{numbers.itemsize}")
        return _mix(bits.astype(np.uint64))
    raise TypeError(f"expected a type of the dataset's tables, found {kind}")


def _hash_lists(array: pa.ListArray) -> Hashes:
    offsets = array.offsets.to_numpy().astype(np.int64)
    begin, end = offsets[0], offsets[-1]
    values = hash_values(array.values.slice(begin, end - begin))
    lengths = np.diff(offsets)
    # The place of a value counts, and so does the length: nulls and zeros are no padding.
    places = np.arange(begin, end) - np.repeat(offsets[:-1], lengths)
    placed = _mix(values + _mix(places.astype(np.uint64)))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(placed, dtype=np.uint64)])
    within = offsets - begin
    return _mix(sums[within[1:]] - sums[within[:-1]] + _mix(lengths.astype(np.uint64)))


def _mix(values: Hashes) -> Hashes:
    """Spread every bit of the values over all bits (splitmix64)."""
    mixed = values + np.uint64(_NULL)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
