"""Find the rows that two datasets, or two versions of one, do not have in common.

Parts that both have are not read. Of the others, 8 bytes per row are held in memory for the key and
for one column at a time; the order of rows does not count. Shapes: N rows.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.schemas import KEYS, SCHEMAS
from data.store.dataset import WHOLE_BATCH_ROWS, Dataset, open_part
from data.store.manifest import manifest_parts
from data.store.parquet import read_batches
from data.store.recipes import recipe_differences
from data.store.reviews import read_reviews
from data.store.versions import find_part
from data.upkeep.hashing import Hashes, combine, hash_values

_BATCH_ROWS: Final = 4096
"""Rows per batch while a column is hashed."""
_BATCH_ARRAYS: Final = 256
"""The same for a column of arrays, such as joints: its hashes take several times 11 MB."""

_SHOWN_CHARS, _SHOWN_BEFORE = 120, 40
"""Characters of a value in an example, and of them those before the first difference."""
_ABSENT: Final = object()

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """One changed row.

    Attributes:
        key: values of the columns that identify the row.
        columns: both values of the columns that differ, as text; of lists only the first value
            that differs.
    """

    key: Mapping[str, Any]
    columns: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """Differences between two tables of one name.

    Attributes:
        rows: number of rows of both.
        added, removed: number of rows that only the second, or only the first has, by their keys.
        changed: number of rows whose values differ.
        columns: number of changed rows by column.
        added_examples, removed_examples: keys of some of the rows.
        changed_examples: some of the changed rows.
    """

    rows: tuple[int, int]
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: Mapping[str, int] = field(default_factory=dict[str, int])
    added_examples: Sequence[Mapping[str, Any]] = ()
    removed_examples: Sequence[Mapping[str, Any]] = ()
    changed_examples: Sequence[ChangedRow] = ()

    @property
    def is_equal(self) -> bool:
        """Whether the tables have the same rows."""
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences between two datasets.

    Attributes:
        tables: differences by table, without tables that both lack.
        recipe: fields in which the recipes differ, with both values.
        reviews: number of reviews that only the first, or only the second has. They do not belong
            to a version: those of two versions of one dataset are the same.
    """

    tables: Mapping[str, TableDifference]
    recipe: Sequence[tuple[str, Any, Any]]
    reviews: tuple[int, int] = (0, 0)

    @property
    def is_equal(self) -> bool:
        """Whether all rows and reviews are equal; the recipe does not count."""
        rows = all(table.is_equal for table in self.tables.values())
        return rows and not any(self.reviews)


def compare_datasets(
    first: Dataset, second: Dataset, *, ignore: Sequence[str] = (), examples: int = 3
) -> Difference:
    """Compare the rows of two datasets as they were published, and their reviews.

    Args:
        first: dataset or version that changes are told from.
        second: dataset or version that changes are told to.
        ignore: columns that are not compared; those of keys always are.
        examples: largest number of examples of each kind and table.

    Raises:
        ValueError: no table has one of the columns to ignore.
        DatasetError: a part is missing or damaged.
    """
    known = {name for schema in SCHEMAS.values() for name in schema.names}
    unknown = sorted(set(ignore) - known)
    if unknown:
        raise ValueError(
            f"ignore: expected columns of the tables, found {', '.join(unknown)}. Remedy: correct "
            "the names; docs/dataset.md lists them."
        )
    tables = {
        table: _compare(table, first, second, set(ignore), examples)
        for table in SCHEMAS
        if first.num_rows(table) or second.num_rows(table)
    }
    recipes = (dataset.manifest["recipe"] for dataset in (first, second))
    one, other = (
        {review.review_id for review in read_reviews(dataset.root)} for dataset in (first, second)
    )
    reviews = len(one - other), len(other - one)
    return Difference(tables, recipe_differences(*recipes), reviews)


def _compare(
    table: str, first: Dataset, second: Dataset, ignore: set[str], examples: int
) -> TableDifference:
    one, other = _without_common(table, first, second)
    keys = [_unique(side.hashes(KEYS[table])) for side in (one, other)]
    _, one_rows, other_rows = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    order = np.argsort(one_rows)
    one_rows, other_rows = one_rows[order], other_rows[order]
    differs = np.zeros(len(one_rows), np.bool_)
    columns: dict[str, int] = {}
    for name in SCHEMAS[table].names:
        if name in KEYS[table] or name in ignore or not len(one_rows):
            continue
        unequal = one.hashes([name])[one_rows] != other.hashes([name])[other_rows]
        if unequal.any():
            columns[name] = int(unequal.sum())
            differs |= unequal
    removed = np.setdiff1d(np.arange(len(keys[0])), one_rows)
    added = np.setdiff1d(np.arange(len(keys[1])), other_rows)
    changed = np.flatnonzero(differs)[:examples]
    return TableDifference(
        rows=(first.num_rows(table), second.num_rows(table)),
        added=len(added),
        removed=len(removed),
        changed=int(differs.sum()),
        columns=columns,
        added_examples=other.rows(added[:examples], KEYS[table]),
        removed_examples=one.rows(removed[:examples], KEYS[table]),
        changed_examples=[
            ChangedRow(
                {name: before[name] for name in KEYS[table]},
                {
                    name: _told(before[name], after[name])
                    for name in columns
                    if before[name] != after[name]
                },
            )
            for before, after in zip(
                one.rows(one_rows[changed], [*KEYS[table], *columns]),
                other.rows(other_rows[changed], [*KEYS[table], *columns]),
                strict=True,
            )
        ],
    )


def _told(before: Any, after: Any) -> tuple[str, str]:
    """Return two different values as texts, of long ones what is near the first difference."""
    place = ""
    if isinstance(before, list) and isinstance(after, list):
        pairs = enumerate(itertools.zip_longest(before, after, fillvalue=_ABSENT))
        number, (before, after) = next(
            (pair for pair in pairs if pair[1][0] != pair[1][1]), (0, (before, after))
        )
        place = f"[{number}]: "
    texts = ["nothing" if value is _ABSENT else repr(value) for value in (before, after)]
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    common = sum(1 for _ in same)
    begin = max(0, common - _SHOWN_BEFORE)
    cut = [f"{'…' if begin else ''}{text[begin : begin + _SHOWN_CHARS]}" for text in texts]
    ends = ["…" if len(text) > begin + _SHOWN_CHARS else "" for text in texts]
    return f"{place}{cut[0]}{ends[0]}", f"{place}{cut[1]}{ends[1]}"


def _without_common(table: str, first: Dataset, second: Dataset) -> "tuple[_Side, _Side]":
    """Return both sides without the parts that are equal byte by byte."""
    sides = [manifest_parts(dataset.manifest, table) for dataset in (first, second)]
    hashes = [Counter(entry["sha256"] for entry in side if entry.get("sha256")) for side in sides]
    common = hashes[0] & hashes[1]
    found: list[_Side] = []
    for dataset, side in zip((first, second), sides, strict=True):
        left = common.copy()
        entries: list[Mapping[str, Any]] = []
        for entry in side:
            if left[entry.get("sha256")] > 0:
                left[entry["sha256"]] -= 1
            else:
                entries.append(entry)
        found.append(_Side(dataset, table, entries))
    return found[0], found[1]


@dataclass(frozen=True, slots=True)
class _Side:
    """The parts of a table that are compared.

    Attributes:
        dataset: dataset or version.
        table: name of the table.
        entries: entries of the parts.
    """

    dataset: Dataset
    table: str
    entries: Sequence[Mapping[str, Any]]

    def hashes(self, columns: Sequence[str]) -> Hashes:
        """Hash some columns of all rows, (N,)."""
        found = [np.zeros(0, np.uint64)]
        kinds = [SCHEMAS[self.table].field(name).type for name in columns]
        rows = _BATCH_ARRAYS if any(map(pa.types.is_list, kinds)) else _BATCH_ROWS
        for entry in self.entries:
            with open_part(find_part(self.dataset.root / entry["file"])) as file:
                for batch in read_batches(file, self.table, columns, batch_rows=rows):
                    values = [hash_values(batch[name]) for name in columns]
                    found.append(values[0] if len(values) == 1 else combine(values, batch.num_rows))
        return np.concatenate(found)

    def rows(self, numbers: Rows, columns: Sequence[str]) -> list[Mapping[str, Any]]:
        """Read a few rows by their numbers."""
        wanted, found = sorted(set(numbers.tolist())), dict[int, Mapping[str, Any]]()
        for number, row in self._rows_near(wanted, columns):
            found[number] = row
        return [found[number] for number in numbers.tolist()]

    def _rows_near(
        self, wanted: Sequence[int], columns: Sequence[str]
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        begin = 0
        for entry in self.entries:
            with open_part(find_part(self.dataset.root / entry["file"])) as file:
                for group in range(file.num_row_groups):
                    end = begin + file.metadata.row_group(group).num_rows
                    inside = [number - begin for number in wanted if begin <= number < end]
                    if inside:
                        batches = read_batches(
                            file, self.table, columns, groups=[group], batch_rows=WHOLE_BATCH_ROWS
                        )
                        rows = (row for batch in batches for row in batch.to_pylist())
                        for place, row in enumerate(rows):
                            if place in inside:
                                yield begin + place, row
                    begin = end


def _unique(hashes: Hashes) -> Hashes:
    """Tell rows with one key apart by their order, (N,)."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    places = np.arange(len(ordered))
    repeats = places - np.maximum.accumulate(np.where(is_first, places, 0))
    unique = np.empty_like(hashes)
    unique[order] = combine([ordered, repeats.astype(np.uint64)], len(hashes))
    return unique
