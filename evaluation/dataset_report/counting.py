"""Counts and distributions of the columns of a table, read in batches."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.schemas import Row
from data.store.dataset import Dataset
from data.store.parquet import table_rows
from evaluation.dataset_report.figures import Count, Spread

BATCH: Final = 4096
"""Rows per batch: columns of numbers and short texts take a few megabytes."""
_BINS: Final = 24


def light_rows(dataset: Dataset, table: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of columns without large arrays, in larger batches than usual."""
    for batch in dataset.batches(table, columns, batch_rows=BATCH):
        yield from table_rows(batch)


def nested_values(batch: pa.Table, column: str, *names: str) -> pa.Array:
    """Return a nested field of all elements of a list column, or the elements themselves.

    Args:
        batch: rows.
        column: the list column.
        names: names of fields, from the outer to the inner one.
    """
    found = batch[column].combine_chunks().flatten()
    for name in names:
        found = found.field(name)
    return found


def count_values(counter: Counter[str], values: pa.Array | pa.ChunkedArray) -> None:
    """Add the values of a column to a counter. Null and empty values are left out."""
    for one in values.value_counts().to_pylist():
        if one["values"] not in (None, ""):
            counter[str(one["values"])] += one["counts"]


def numbers(batch: pa.Table, column: str, minus: str = "") -> NDArray[np.float64]:
    """Return the known, finite values of a column, or their differences from another one."""
    # Null is NaN here.
    values: NDArray[np.float64] = batch[column].cast(pa.float64()).to_numpy()
    if minus:
        values = values - batch[minus].cast(pa.float64()).to_numpy()
    return values[np.isfinite(values)]


def counts(counter: Counter[Any], most: int | None = None) -> tuple[Count, ...]:
    """Return the counts, largest first; equal ones by name."""
    ordered = sorted(counter.items(), key=lambda item: (-item[1], str(item[0])))
    return tuple(Count(name=str(name), count=count) for name, count in ordered[:most])


def spread(
    values: Iterable[NDArray[np.float64]], limit: float | None = None, *, whole: bool = False
) -> Spread | None:
    """Return the distribution of values; None without any.

    Args:
        values: the values, in pieces.
        limit: end of the histogram; None ends it at the 99th percentile. It begins at 0.
        whole: whether the values are whole numbers, which get a bin each.
    """
    pieces = list(values)
    found = np.concatenate(pieces) if pieces else np.empty(0)
    if not len(found):
        return None
    low, median, high, end = np.quantile(found, (0.05, 0.5, 0.95, 0.99))
    if whole:
        edges = np.arange(min(int(found.max()), 40) + 2) - 0.5
    else:
        last = limit if limit is not None else float(end if end > 0 else found.max())
        edges = np.linspace(0, last if last > 0 else 1.0, _BINS + 1)
    inside = np.clip(found, edges[0], edges[-1])
    return Spread(
        count=len(found),
        total=float(found.sum()),
        mean=float(found.mean()),
        low=float(low),
        median=float(median),
        high=float(high),
        least=float(found.min()),
        most=float(found.max()),
        edges=tuple(edges.tolist()),
        counts=tuple(np.histogram(inside, edges)[0].tolist()),
    )
